"""Zones and ignore masks from files that the settings name, read with the settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from edge.bundle import Name
from edge.errors import SettingsError
from edge.inspection.settings import ZONES_AT_MOST, InspectSettings, ZoneSettings, ZonesFile
from edge.yaml_settings import StrictModel, load_yaml
from edge.zones.svg import read_drawing


class ZoneSheet(StrictModel):
    """The file of `linewatch zones --out zones.yaml`: zones as `inspect.zones` has them."""

    zones: Annotated[dict[Name, ZoneSettings], Field(max_length=ZONES_AT_MOST)]


# The rounding by which a corner may lie beyond the viewBox, px.
_ROUNDING = 1e-3


def with_files(inspect: InspectSettings, home: Path, where: str) -> InspectSettings:
    """Return the same with zones and mask read from their files, whose names count from `home`.

    `where`: the key of this section, for errors. Raises SettingsError.
    """
    if inspect.zones_file is None and inspect.ignore is None:
        return inspect
    file, ignore = inspect.zones_file, inspect.ignore
    zones = inspect.zones
    if file is not None:
        paths = {name: home / path for name in ("svg", "file") if (path := getattr(file, name)) is not None}
        file = file.model_copy(update=paths)
        zones = zones_of(file, f"{where}.zones")
        if file.svg is not None and (file.on or "frame") == "frame":
            file = file.drawn_on(read_drawing(file.svg).box[2:])
    try:
        ignore = None if ignore is None else ignore.read(home)
    except SettingsError as error:
        raise SettingsError(f"key {where}.ignore: {error}") from error
    # the fit is looked at once more, now that the zones are known
    told = {name: getattr(inspect, name) for name in inspect.model_fields_set} | {"zones": zones, "ignore": ignore}
    try:
        whole = InspectSettings.model_validate({name: value for name, value in told.items() if name != "zones_file"})
    except ValidationError as error:
        raise SettingsError(f"key {where}: {_told(error)}") from error
    return whole.model_copy(update={"zones_file": file, "ignore": ignore})


def zones_of(file: ZonesFile, where: str) -> dict[str, ZoneSettings]:
    """Return the zones of a file. `where`: the key that names it. Raises SettingsError."""
    try:
        shapes = _of_svg(file) if file.svg is not None else _of_sheet(file)
    except SettingsError as error:
        raise SettingsError(f"key {where}: {error}") from error
    for key, named in (("limits", file.limits), ("grades", file.grades), ("ignore", file.ignore)):
        if unknown := sorted(set(named) - set(shapes)):
            raise SettingsError(
                f"key {where}.{key}: expected zones of the file ({', '.join(sorted(shapes))}), received "
                f"{', '.join(unknown)}"
            )
    zones = {}
    for name, shape in shapes.items():
        own: dict[str, Any] = dict(shape)
        own |= {key: named[name] for key, named in (("limits", file.limits), ("grades", file.grades)) if name in named}
        own |= {"ignore": True} if name in file.ignore else {}
        zones[name] = _zone(own, f"{where}: {file.svg or file.file}, the zone {name}")
    return zones


def _zone(given: dict[str, Any], where: str) -> ZoneSettings:
    try:
        return ZoneSettings.model_validate(given)
    except ValidationError as error:
        raise SettingsError(f"key {where}: {_told(error)}") from error


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    at = ".".join(str(part) for part in first["loc"])
    return f"{at + ': ' if at else ''}{str(first['msg']).removeprefix('Value error, ')}"


def _of_sheet(file: ZonesFile) -> dict[str, dict[str, Any]]:
    assert file.file is not None  # noqa: S101 - one of the two is there
    sheet = load_yaml(file.file, ZoneSheet)
    return {name: zone.model_dump(exclude_unset=True) for name, zone in sheet.zones.items()}


def _of_svg(file: ZonesFile) -> dict[str, dict[str, Any]]:
    """Return an SVG file's shapes as polygons, in pixels, shares or mm, counted from the corner of its viewBox."""
    assert file.svg is not None  # noqa: S101 - one of the two is there
    drawing = read_drawing(file.svg)
    x, y, w, h = drawing.box
    on = file.on or "frame"
    per_width, per_height = (1 / w, 1 / h) if on == "part" else (1.0, 1.0)
    if len(drawing.shapes) > ZONES_AT_MOST:
        raise SettingsError(f"{file.svg}: expected at most {ZONES_AT_MOST} zones, received {len(drawing.shapes)}")
    _require_names(drawing.shapes, file.svg)
    for name, corners in drawing.shapes.items() if on == "frame" else ():
        if max(px for px, _ in corners) > x + w + _ROUNDING or max(py for _, py in corners) > y + h + _ROUNDING:
            raise SettingsError(
                f"{file.svg}: expected the zone {name} within the viewBox, which is the frame of {w:g} x {h:g} px; it "
                "reaches beyond it"
            )
    return {
        name: {"polygon": tuple(((px - x) * per_width, (py - y) * per_height) for px, py in corners), "on": on}
        for name, corners in drawing.shapes.items()
    }


def _require_names(shapes: dict[str, Any], path: Path) -> None:
    try:
        ZoneSheet.model_validate({"zones": {name: {"rectangle": (0, 0, 1, 1)} for name in shapes}})
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][1])
        raise SettingsError(
            f"{path}: expected ids of letters, digits, _ and -, at most 64 characters, received {name!r:.90}"
        ) from error
