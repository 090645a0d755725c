"""A view's zones over a picture of its camera: to be checked in a drawing, and to be drawn on a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import yaml
from pydantic import Field, ValidationError

from edge.bundle import Bundle
from edge.errors import ProductNotFoundError, SettingsError, SourceError
from edge.files import write_text
from edge.inspection.scale import Scale
from edge.inspection.settings import ZONES_AT_MOST, InspectSettings, ZoneSettings
from edge.inspection.zone_files import ZoneSheet
from edge.inspection.zoning import size_mm
from edge.opencv import cv2
from edge.preparing import prepare_and_locate
from edge.preparing.geometry import warped
from edge.records import Float64, PartBox, Transform, UInt8
from edge.yaml_settings import StrictModel
from edge.zones.drawing import DrawnShape, zones_svg
from edge.zones.shapes import Corners, Number


class _DrawnZone(StrictModel):
    """A zone as the page sends it: its corners in pixels of the picture that it shows."""

    name: str
    points: Annotated[tuple[tuple[Number, Number], ...], Field(min_length=3)]
    ignore: bool = False
    rectangle: bool = False


class _DrawnZones(StrictModel):
    zones: Annotated[tuple[_DrawnZone, ...], Field(max_length=ZONES_AT_MOST)]


@dataclass(frozen=True)
class Sheet:
    """The ground that zones are drawn upon.

    `pixels`: uint8 [H, W] or BGR; `part`: where the part lies in it, None = not looked for. `scale`: for zones in mm,
    None without.
    """

    pixels: UInt8
    part: PartBox | None
    scale: Scale | None

    @property
    def on(self) -> str:
        """Tell where the zones are that are drawn on its page."""
        return "frame" if self.part is None else "part"

    @property
    def shown(self) -> UInt8:
        """The picture of the page: the frame, or the part alone, upright."""
        if self.part is None:
            return self.pixels
        width, height = self.size_px
        planes = self.pixels[:, :, None] if self.pixels.ndim == 2 else self.pixels
        to_shares = Transform(np.array([[1 / width, 0.0, 0.0], [0.0, 1 / height, 0.0]]))
        return warped(planes, to_shares.then(self.part.to_frame), (width, height), 0)

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the picture that the page shows."""
        if self.part is None:
            return self.pixels.shape[1], self.pixels.shape[0]
        width, height = (max(1, round(side)) for side in self.part.size_px)
        return width, height

    @property
    def _scale(self) -> tuple[float, float]:
        """Tell how many pixels of the page's picture one unit of its zones is, across and down."""
        return (1.0, 1.0) if self.part is None else (float(self.size_px[0]), float(self.size_px[1]))

    def on_frame(self, zone: ZoneSettings) -> Float64:
        """Return a zone's corners in pixels of the frame, float64 [N, 2]. Raises SettingsError without a scale."""
        corners = np.array(zone.corners)
        if zone.on == "frame" or self.part is None:
            return corners
        if zone.on == "part_mm":
            if self.scale is None:
                raise SettingsError("a zone in mm cannot be drawn: expected mm_per_px or calibration, received none")
            corners = corners / np.array(size_mm(self.part, self.scale))
        return self.part.to_frame.apply(corners)

    def page_zones(self, zones: Mapping[str, ZoneSettings]) -> dict[str, Any]:
        """Return what the page begins with: its picture's size, and the zones that are drawn on it."""
        per = np.array(self._scale)
        own = {name: zone for name, zone in zones.items() if zone.on == self.on}
        return {
            "width": self.size_px[0],
            "height": self.size_px[1],
            "zones": [
                {
                    "name": name,
                    "points": np.round(np.array(zone.corners) * per, 2).tolist(),
                    "ignore": zone.ignore,
                    "rectangle": zone.rectangle is not None,
                }
                for name, zone in own.items()
            ],
        }

    def taken(self, given: Any, before: Mapping[str, ZoneSettings]) -> dict[str, ZoneSettings]:
        """Return all zones, with those that the page sent; limits and grades stay. Raises SettingsError."""
        try:
            drawn = _DrawnZones.model_validate(given)
        except ValidationError as error:
            raise SettingsError(_told(error)) from error
        zones = {name: zone for name, zone in before.items() if zone.on != self.on}
        for one in drawn.zones:
            if one.name in zones:
                raise SettingsError(f"expected zones with names of their own, received {one.name[:64]!r} twice")
            zones[one.name] = self._zone(one, before.get(one.name))
        try:
            ZoneSheet.model_validate({"zones": zones})  # names, and how many
        except ValidationError as error:
            raise SettingsError(_told(error)) from error
        return zones

    def _zone(self, drawn: _DrawnZone, before: ZoneSettings | None) -> ZoneSettings:
        width, height = self.size_px
        if not all(0 <= x <= width and 0 <= y <= height for x, y in drawn.points):
            raise SettingsError(f"zone {drawn.name[:64]}: expected it within the picture, received it outside")
        per_x, per_y = self._scale
        points = [(round(x / per_x, 6), round(y / per_y, 6)) for x, y in drawn.points]
        own: dict[str, Any] = {"on": self.on, "polygon": points}
        if drawn.rectangle:
            (x0, y0), (x1, y1) = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
            own = {"on": self.on, "rectangle": (x0, y0, round(x1 - x0, 6), round(y1 - y0, 6))}
        if drawn.ignore:
            own["ignore"] = True
        elif before is not None:
            own |= {"limits": before.limits, "grades": before.grades}
        try:
            return ZoneSettings.model_validate(own)
        except ValidationError as error:
            raise SettingsError(f"zone {drawn.name[:64]}: {_told(error)}") from error


def _told(error: ValidationError) -> str:
    first = error.errors()[0]
    at = ".".join(str(part) for part in first["loc"])
    return f"{at + ': ' if at else ''}{str(first['msg']).removeprefix('Value error, ')}"


def sheet_of(pixels: UInt8, inspect: InspectSettings, bundle: Bundle) -> Sheet:
    """Return what a view's zones are drawn upon. Raises SourceError where the part is not found."""
    part = None
    if inspect.part is not None:
        try:
            if inspect.part.find == "bundle":
                manifest = bundle.manifest
                _, _, part = prepare_and_locate(pixels, manifest.preparing, manifest.channels)
            else:
                part = inspect.part.look(pixels)
        except ProductNotFoundError as error:
            raise SourceError(f"The picture shows no part: {error}. Take another with --picture") from error
    return Sheet(pixels, part, inspect.scale)


def drawn_shapes(sheet: Sheet, inspect: InspectSettings) -> list[DrawnShape]:
    """Return part, region, mask and zones on the frame, to be drawn. Raises SettingsError for what lies outside it."""
    size = (sheet.pixels.shape[1], sheet.pixels.shape[0])
    if problem := inspect.beyond(size):
        raise SettingsError(f"key inspect.{problem}")
    shapes = [] if sheet.part is None else [DrawnShape("part", sheet.part.outline, "part")]
    if inspect.region is not None:
        shapes.append(DrawnShape("region", np.array(inspect.region.corners), "region"))
    shapes += _mask(sheet, inspect)
    for name, zone in inspect.zones.items():
        shapes.append(DrawnShape(name, sheet.on_frame(zone), "ignored" if zone.ignore else "zone"))
    return shapes


def _mask(sheet: Sheet, inspect: InspectSettings) -> list[DrawnShape]:
    """Return the outlines of what a mask ignores, on the frame."""
    if inspect.ignore is None:
        return []
    mask = inspect.ignore.pixels
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    shapes = []
    for outline in outlines:
        corners = outline.reshape(-1, 2) + 0.5
        if inspect.ignore.on == "part" and sheet.part is not None:
            corners = sheet.part.to_frame.apply(corners / np.array([mask.shape[1], mask.shape[0]]))
        shapes.append(DrawnShape("ignored", corners, "ignored"))
    return shapes


def write_zones(path: Path, zones: Mapping[str, ZoneSettings], sheet: Sheet) -> None:
    """Write zones to a file that the settings can name: YAML with all that they have, or SVG with the shapes alone.

    Raises SettingsError for another kind of file, for zones of two places in one SVG file, and for none; StoreError.
    """
    if path.suffix == ".svg":
        write_text(path, _svg(path, zones, sheet))
    elif path.suffix in {".yaml", ".yml"}:
        told = {name: _plain(zone) for name, zone in zones.items()}
        write_text(path, yaml.safe_dump({"zones": told}, sort_keys=False, default_flow_style=None, allow_unicode=True))
    else:
        raise SettingsError(f"--out: expected a file that ends in .yaml or .svg, received {path.name}")


def _plain(zone: ZoneSettings) -> dict[str, Any]:
    plain = zone.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {key: value for key, value in plain.items() if value not in ([], {}) or key == "limits"}


def _svg(path: Path, zones: Mapping[str, ZoneSettings], sheet: Sheet) -> str:
    places = sorted({zone.on for zone in zones.values()})
    if len(places) != 1:
        told = "none" if not places else f"zones on {' and '.join(places)}"
        raise SettingsError(f"{path.name}: expected zones of one place in an SVG file, received {told}. Write .yaml")
    width, height = sheet.size_px if places[0] == sheet.on else _plain_size(sheet, places[0])
    per = (width, height) if places[0] == "part" else (1.0, 1.0)
    shapes: dict[str, Corners] = {
        name: tuple((x * per[0], y * per[1]) for x, y in zone.corners) for name, zone in zones.items()
    }
    return zones_svg(shapes, (width, height))


def _plain_size(sheet: Sheet, place: str) -> tuple[float, float]:
    if place == "part_mm" and sheet.part is not None and sheet.scale is not None:
        return size_mm(sheet.part, sheet.scale)
    return float(sheet.pixels.shape[1]), float(sheet.pixels.shape[0])
