"""The name by which a broker knows a line, where the settings give none."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def machine_id(files: Sequence[Path] = MACHINE_ID_FILES) -> str:
    """Return the operating system's id of this machine (machine-id(5)), or its host name where there is none."""
    for path in files:
        with suppress(OSError, UnicodeDecodeError):
            if text := path.read_text(encoding="ascii").strip():
                return text
    return socket.gethostname()


def default_client_id(root: str, device: str, machine: str | None = None) -> str:
    """Return `linewatch-` and 13 hexadecimal digits that stand for one line on one machine.

    They are of a hash, since the machine's id is not to be shown to others (machine-id(5)). Every broker takes 23
    characters (MQTT 5, 3.1.3.1).
    """
    of = "\n".join((root, device, machine_id() if machine is None else machine))
    return f"linewatch-{hashlib.sha256(of.encode()).hexdigest()[:13]}"
