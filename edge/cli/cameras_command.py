"""`linewatch cameras`: which cameras this device finds, and how each is written in the settings."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from edge.cli.asking import AsJson
from edge.cli.console import output, warn


def add_to(app: typer.Typer) -> None:
    """Add the verb to the `linewatch` command."""
    app.command(epilog="Example: `linewatch cameras`")(cameras)


def cameras(as_json: AsJson = False) -> None:
    """List the cameras that this device finds, and how to write each in the settings.

    GenICam cameras (GigE Vision, USB3 Vision) are looked for with Aravis, USB cameras among the kernel's video devices.
    Cameras with an address (rtsp://, http://) and watched folders are not looked for.
    """
    found = [*_genicam(), *_usb()]
    if as_json:
        output.print_json(data=found)
        return
    table = Table("kind", "camera", "place", "in the settings")
    for row in found:
        table.add_row(row["kind"], row["camera"], row["place"], row["settings"])
    if found:
        output.print(table)
    else:
        output.print("no camera was found")


def _genicam() -> list[dict[str, Any]]:
    from edge.cameras.genicam_devices import find_devices
    from edge.errors import DependencyError

    try:
        devices = find_devices()
    except DependencyError as error:
        warn(f"GenICam cameras were not looked for. {error}")
        return []
    serials = [device.serial for device in devices]
    rows = []
    for device in devices:
        # a serial number that two have names neither
        one = device.serial if device.serial and serials.count(device.serial) == 1 else device.place or device.name
        rows.append(
            {
                "kind": "genicam",
                "camera": f"{device.vendor} {device.model}, serial number {device.serial or 'none'}",
                "place": f"{device.protocol} {device.place}".strip(),
                "settings": f'camera: {{kind: genicam, id: "{one}"}}',
            }
        )
    return rows


def _usb() -> list[dict[str, Any]]:
    from edge.cameras.usb_devices import usb_devices

    return [
        {
            "kind": "device",
            "camera": device.name,
            "place": device.path,
            "settings": f"camera: {{source: {device.stable}}}",
        }
        for device in usb_devices()
    ]
