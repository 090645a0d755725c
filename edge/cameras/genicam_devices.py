"""The search for GenICam cameras by Aravis: GigE Vision on every network of this device, and USB3 Vision.

Aravis is a library of the system. Its Python side is PyGObject, which the system brings as well.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge.errors import DependencyError, SourceError
from edge.printable import printable
from edge.wording import counted

PACKAGES = "gir1.2-aravis-0.8 python3-gi"
# Aravis keeps one list of devices, by number: nobody may renew it while another reads.
_LIST = threading.Lock()


@dataclass(frozen=True)
class FoundDevice:
    """One camera as Aravis found it. `name`: what Aravis calls it; `place`: an IP address, or its port of USB."""

    name: str
    serial: str
    place: str
    vendor: str
    model: str
    protocol: str

    @property
    def known_as(self) -> frozenset[str]:
        """The words by which settings may name it."""
        return frozenset({self.serial, self.place, self.name} - {""})

    def __str__(self) -> str:
        """Say which one it is."""
        return f"{self.serial or self.name} ({self.vendor} {self.model}, {self.protocol} at {self.place or 'USB'})"


def load_aravis() -> Any:
    """Return Aravis. Raises DependencyError that names Debian's packages."""
    try:
        import gi

        gi.require_version("Aravis", "0.8")
        from gi.repository import Aravis
    except (ImportError, ValueError) as error:
        raise DependencyError(
            f"GenICam cameras need Aravis 0.8 and PyGObject, and they cannot be loaded: {error}. Run: sudo apt-get "
            f"install {PACKAGES}; and let Linewatch's virtual environment see them: make it with "
            "/usr/bin/python3 -m venv --system-site-packages"
        ) from error
    return Aravis


def vendor_error() -> type[Exception]:
    """Return what Aravis raises; it is loaded."""
    from gi.repository import GLib

    error: type[Exception] = GLib.Error
    return error


def require_aravis(camera: str) -> None:
    """Raise DependencyError where Aravis cannot be loaded."""
    try:
        load_aravis()
    except DependencyError as error:
        raise DependencyError(f"The camera {camera} is a GenICam camera. {error}") from error


def find_devices() -> list[FoundDevice]:
    """Look for cameras for a second, and return them by name. Raises DependencyError."""
    aravis = load_aravis()
    with _LIST:
        aravis.update_device_list()
        asked = (
            aravis.get_device_id,
            aravis.get_device_serial_nbr,
            aravis.get_device_address,
            aravis.get_device_vendor,
            aravis.get_device_model,
            aravis.get_device_protocol,
        )
        rows = [[printable(ask(number) or "") for ask in asked] for number in range(aravis.get_n_devices())]
    return sorted((FoundDevice(*row) for row in rows), key=lambda device: (device.name, device.place))


def choose(wanted: str, found: Sequence[FoundDevice]) -> FoundDevice:
    """Return the one device that is known as `wanted`. Raises SourceError where there is none, or more than one."""
    matching = [device for device in found if wanted in device.known_as]
    if len(matching) == 1:
        return matching[0]
    listed = "; ".join(str(device) for device in found)
    if matching:
        several = counted(len(matching), "camera is", "cameras are")
        raise SourceError(
            f"{several} known as {wanted!r}: {'; '.join(map(str, matching))}. Two cameras with one serial number "
            "cannot be told apart by it: name each by its address"
        )
    raise SourceError(
        f"no GenICam camera is known as {wanted!r}; found: {listed or 'none'}. Expected a serial number, an IP address "
        "or Aravis's name of it: check cable, power and network, or look with linewatch cameras"
    )


def is_address(wanted: str) -> bool:
    """Tell whether settings name a camera by its IP address, which can be asked though no search reaches it."""
    try:
        ipaddress.ip_address(wanted)
    except ValueError:
        return False
    return True
