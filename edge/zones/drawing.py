"""Zones drawn onto a picture of the camera, to be checked by eye: as PNG or SVG; and zones as an SVG file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge.opencv import cv2
from edge.records import Float64, UInt8
from edge.web.page import escaped
from edge.zones.shapes import Corners

Kind = Literal["part", "region", "zone", "ignored"]
# red, green, blue
_COLOURS: dict[Kind, tuple[int, int, int]] = {
    "part": (255, 210, 0),
    "region": (255, 255, 255),
    "zone": (0, 220, 90),
    "ignored": (235, 60, 50),
}


@dataclass(frozen=True)
class DrawnShape:
    """A shape on the frame: its name, its corners in pixels, float64 [N, 2], and what it is."""

    name: str
    corners: Float64
    kind: Kind


def as_png(pixels: UInt8, shapes: Sequence[DrawnShape]) -> bytes:
    """Draw shapes and their names onto uint8 [H, W] or BGR [H, W, 3]; return a PNG."""
    drawn: UInt8 = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if pixels.ndim == 2 else pixels.copy()
    thick = max(1, round(max(drawn.shape[:2]) / 600))
    for shape in shapes:
        red, green, blue = _COLOURS[shape.kind]
        corners = np.round(shape.corners * 16 - 8).astype(np.int32)  # OpenCV counts from the middle of pixels
        if shape.kind == "ignored":
            shaded = drawn.copy()
            cv2.fillPoly(shaded, [corners], (blue, green, red), cv2.LINE_AA, 4)
            drawn = cv2.addWeighted(shaded, 0.35, drawn, 0.65, 0)
        cv2.polylines(drawn, [corners], True, (blue, green, red), thick, cv2.LINE_AA, 4)
        x, y = shape.corners.min(axis=0)
        at = (int(max(0, x)) + 4, int(max(0, y)) + 14 * thick + 4)
        cv2.putText(drawn, shape.name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * thick, (blue, green, red), thick)
    return bytes(cv2.imencode(".png", drawn)[1])


def as_svg(pixels: UInt8, shapes: Sequence[DrawnShape]) -> str:
    """Return an SVG page with the picture and the shapes over it, for a browser."""
    height, width = pixels.shape[:2]
    picture = base64.b64encode(bytes(cv2.imencode(".png", pixels)[1])).decode()
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">',
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{picture}"/>',
    ]
    for shape in shapes:
        colour = "rgb({}, {}, {})".format(*_COLOURS[shape.kind])
        filled = f'{colour}" fill-opacity="0.35' if shape.kind == "ignored" else "none"
        parts.append(
            f'<polygon points="{_points(shape.corners.tolist())}" stroke="{colour}" fill="{filled}" '
            f'stroke-width="{max(1, round(max(width, height) / 600))}"><title>{escaped(shape.name)}</title></polygon>'
        )
    return "\n".join([*parts, "</svg>\n"])


def zones_svg(zones: Mapping[str, Corners], size: tuple[float, float]) -> str:
    """Return zones as an SVG file that the settings can name, within a viewBox of this width and height."""
    width, height = size
    shapes = [f'<polygon id="{escaped(name)}" points="{_points(corners)}"/>' for name, corners in zones.items()]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">'
    return "\n".join([head, *shapes, "</svg>\n"])


def _points(corners: Sequence[Sequence[float]]) -> str:
    return " ".join(f"{x:.6g},{y:.6g}" for x, y in corners)
