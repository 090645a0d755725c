"""The video devices of this machine, as the kernel lists them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.pictures import natural_order
from edge.printable import printable

KERNEL, BY_ID = Path("/sys/class/video4linux"), Path("/dev/v4l/by-id")


@dataclass(frozen=True)
class UsbDevice:
    """One camera. `path`: /dev/videoN; `stable`: a name that stays with the camera over restarts, or else `path`."""

    name: str
    path: str
    stable: str


def usb_devices(kernel: Path = KERNEL, by_id: Path = BY_ID) -> list[UsbDevice]:
    """Return the cameras of Video4Linux by number. A camera's further devices, which give no pictures, are left out."""
    stable = dict(_stable(by_id))
    found = []
    with suppress(OSError):
        for entry in sorted(kernel.iterdir(), key=lambda each: natural_order(each.name)):
            if _word(entry / "index") not in {"", "0"}:
                continue
            path = f"/dev/{entry.name}"
            found.append(UsbDevice(_word(entry / "name") or entry.name, path, stable.get(entry.name, path)))
    return found


def _stable(by_id: Path) -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        for link in sorted(by_id.iterdir()):
            yield link.resolve().name, printable(link)


def _word(path: Path) -> str:
    try:
        return printable(path.read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return ""
