"""A target as a drawing that prints in its true size: SVG in millimetres, on paper of DIN A4."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edge.calibration.charuco import board_of
from edge.calibration.targets import Target
from edge.errors import TargetError
from edge.records import UInt8

A4_MM = (297.0, 210.0)
_MARGIN_MM = 5.0  # that a printer leaves white
_RULER_MM = 100.0
_RULER_ROOM_MM = 14.0


def circle_mm(target: Target) -> float:
    """Return the diameter of a grid's circles, mm."""
    return target.size_mm * (0.9 if target.kind == "acircles" else 0.5)


def as_svg(target: Target) -> str:
    """Return a target as SVG of an A4 page, landscape or upright, with a ruler. Raises TargetError if it is larger."""
    shapes = list(_shapes(target))
    width, height = _size_mm(target)
    page = next(
        (
            page
            for page in (A4_MM, A4_MM[::-1])
            if width + 2 * _MARGIN_MM <= page[0] and height + _RULER_ROOM_MM + 2 * _MARGIN_MM <= page[1]
        ),
        None,
    )
    if page is None:
        raise TargetError(
            f"{target.spec} is {width:g} x {height:g} mm with its white margin, and does not fit on A4 beside its "
            "ruler. Take smaller squares, or have a board made"
        )
    left, top = (page[0] - width) / 2, (page[1] - _RULER_ROOM_MM - height) / 2
    shown = f"{page[0]:g} {page[1]:g}"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{page[0]:g}mm" height="{page[1]:g}mm" viewBox="0 0 {shown}">'
    )
    ground = f'<rect width="{page[0]:g}" height="{page[1]:g}" fill="white"/>'
    group = f'<g transform="translate({left:g} {top:g})" fill="black" shape-rendering="crispEdges">'
    title = f"<title>{target.spec}</title>"
    return "\n".join(
        [head, title, ground, group, *shapes, "</g>", *_ruler(target, page[1] - _MARGIN_MM - 6), "</svg>", ""]
    )


def _ruler(target: Target, y: float) -> tuple[str, str]:
    """Return a line of known length, and what to do with it, at a height of the page in mm."""
    x, end = _MARGIN_MM, _MARGIN_MM + _RULER_MM
    line = f'<path d="M{x:g} {y - 2:g}v4m0-2H{end:g}m0-2v4" stroke="black" stroke-width="0.2" fill="none"/>'
    told = f"{_RULER_MM:g} mm: print at 100 %, measure this line. {target.spec}"
    return line, f'<text x="{end + 2:g}" y="{y + 1:g}" font-family="sans-serif" font-size="3.5">{told}</text>'


def _size_mm(target: Target) -> tuple[float, float]:
    """Return how large a target is with a white margin of a square, or of a circle."""
    if target.kind in {"circles", "acircles"}:
        across = target.points_mm.max(axis=0) + 2 * circle_mm(target)
        return float(across[0]), float(across[1])
    columns, rows = target.squares
    return (columns + 1) * target.size_mm, (rows + 1) * target.size_mm


def _shapes(target: Target) -> Iterator[str]:
    size = target.size_mm
    if target.kind in {"circles", "acircles"}:
        for x, y in (target.points_mm + circle_mm(target)).tolist():
            yield f'<circle cx="{x:g}" cy="{y:g}" r="{circle_mm(target) / 2:g}" shape-rendering="auto"/>'
        return
    columns, rows = target.squares
    for row in range(rows):
        for column in range(columns):
            x, y = size * (column + 0.5), size * (row + 0.5)
            if (row + column) % 2 == 0:
                yield f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}"/>'
            elif target.kind == "charuco":
                yield from _marker(target, x, y, _bits(target)[(row * columns + column) // 2])


def _bits(target: Target) -> list[UInt8]:
    """Return the markers of a ChArUco board in its order, each uint8 [n, n], 0 where it is black; border included."""
    board = board_of(target)
    side = int(str(target.dictionary)[0]) + 2
    return [
        np.asarray(board.getDictionary().generateImageMarker(int(number), side, borderBits=1), np.uint8)
        for number in board.getIds().ravel()
    ]


def _marker(target: Target, x: float, y: float, bits: UInt8) -> Iterator[str]:
    assert target.marker_mm is not None  # noqa: S101 - a ChArUco board has markers
    border, cell = (target.size_mm - target.marker_mm) / 2, target.marker_mm / len(bits)
    for row, column in np.argwhere(bits == 0).tolist():
        yield (
            f'<rect x="{x + border + column * cell:g}" y="{y + border + row * cell:g}" width="{cell:g}" '
            f'height="{cell:g}"/>'
        )
