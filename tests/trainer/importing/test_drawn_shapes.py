"""Arrows and wide-open arcs are told from strokes: drawn by OpenCV, and through the import as it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge.opencv import cv2
from edge.records import UInt8
from tests.trainer.importing.pictures import surface
from trainer.importing.drawn_shapes import ARC, ARROW, ambiguous_shapes
from trainer.importing.red_marker import judge_drawing
from trainer.importing.red_paint import Paint

RED = (0, 0, 255)
MIDDLE = (150, 110)
Draw = Callable[[UInt8, tuple[int, int, int]], None]


def at(angle: float, length: float) -> tuple[int, int]:
    """Return a point that lies so far from the middle."""
    turn = np.radians(angle)
    return round(MIDDLE[0] + length * np.cos(turn)), round(MIDDLE[1] + length * np.sin(turn))


def arrow(angle: float, width: int) -> Draw:
    """Draw a line with two barbs."""
    return lambda canvas, paint: cv2.arrowedLine(
        canvas, MIDDLE, at(angle, 80), paint, width, cv2.LINE_AA, tipLength=0.3
    )  # type: ignore[return-value]


def filled_arrow(angle: float, width: int) -> Draw:
    """Draw a line with a triangle at its end."""

    def draw(canvas: UInt8, paint: tuple[int, int, int]) -> None:
        cv2.line(canvas, MIDDLE, at(angle, 62), paint, width, cv2.LINE_AA)
        tip = np.array([at(angle, 92), at(angle + 17, 62), at(angle - 17, 62)], np.int32)
        cv2.fillPoly(canvas, [tip], paint, cv2.LINE_AA)

    return draw


def arc(begins: float, sweep: float, radius: int, width: int) -> Draw:
    """Draw a part of a ring."""
    size = (radius, round(0.8 * radius))
    return lambda canvas, paint: cv2.ellipse(
        canvas, MIDDLE, size, 20, begins, begins + sweep, paint, width, cv2.LINE_AA
    )  # type: ignore[return-value]


def way(points: list[tuple[int, int]], width: int, closed: bool = False) -> Draw:
    """Draw lines from point to point."""
    return lambda canvas, paint: cv2.polylines(canvas, [np.array(points, np.int32)], closed, paint, width, cv2.LINE_AA)  # type: ignore[return-value]


def both(*draws: Draw) -> Draw:
    """Draw several strokes."""

    def draw(canvas: UInt8, paint: tuple[int, int, int]) -> None:
        for each in draws:
            each(canvas, paint)

    return draw


UNCLEAR: dict[str, tuple[Draw, str]] = {
    "arrow to the right": (arrow(0, 3), ARROW),
    "arrow up to the left": (arrow(230, 4), ARROW),
    "thick arrow": (arrow(70, 6), ARROW),
    "filled arrow": (filled_arrow(40, 4), ARROW),
    "filled arrow down": (filled_arrow(100, 5), ARROW),
    "half a ring": (arc(0, 200, 60, 4), ARC),
    "most of a ring": (arc(80, 280, 70, 3), ARC),
    "bracket": (way([(150, 40), (90, 40), (90, 180), (150, 180)], 4), ARC),
    "arrow at a blob": (both(arrow(0, 3), lambda c, p: cv2.circle(c, (270, 110), 14, p, -1)), ARROW),  # type: ignore[arg-type,return-value]
}
PLAIN: dict[str, Draw] = {
    "line": way([(60, 60), (240, 150)], 4),
    "bent line": way([(60, 60), (150, 80), (240, 160)], 5),
    "curve": arc(0, 110, 80, 4),
    "wave": way([(40 + 8 * step, round(110 + 30 * np.sin(step / 3))) for step in range(28)], 4),
    "zigzag": way([(60 + 12 * step, 80 + 50 * (step % 2)) for step in range(14)], 4),
    "crack that forks": both(way([(50, 110), MIDDLE], 4), way([MIDDLE, (230, 60)], 4), way([MIDDLE, (230, 165)], 4)),
    "branch": both(way([(60, 110), (240, 110)], 4), way([(150, 110), (170, 190)], 4)),
    "cross": both(way([(90, 50), (210, 170)], 4), way([(90, 170), (210, 50)], 4)),
    "tick": way([(80, 110), (115, 160), (200, 60)], 5),
    "ring": arc(0, 360, 60, 4),
    "blob": arc(0, 360, 40, -1),
    "scratch with a blob at its end": both(
        way([(60, 60), (200, 140)], 4), lambda c, p: cv2.circle(c, (200, 140), 11, p, -1)
    ),  # type: ignore[arg-type,return-value]
    "dots": lambda canvas, paint: [cv2.circle(canvas, (40 + 50 * n, 110), 6, paint, -1) for n in range(5)],  # type: ignore[return-value]
}


def drawn(draw: Draw) -> UInt8:
    """Return the strokes alone, uint8 [H, W]."""
    canvas = np.zeros((220, 320, 3), np.uint8)
    draw(canvas, (255, 255, 255))
    strokes: UInt8 = (canvas[:, :, 0] > 127).astype(np.uint8)
    return strokes


@pytest.mark.parametrize("name", UNCLEAR)
def test_arrows_and_open_arcs_are_found(name: str) -> None:
    """They are found whatever way they point, thin or thick, turned, mirrored or four times as large."""
    draw, kind = UNCLEAR[name]
    strokes = drawn(draw)
    turned = np.ascontiguousarray(strokes.T)
    large = cv2.resize(strokes, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    for seen in (strokes, turned, np.ascontiguousarray(strokes[:, ::-1]), large):
        assert [shape.kind for shape in ambiguous_shapes(seen)] == [kind]


@pytest.mark.parametrize("name", PLAIN)
def test_strokes_that_are_defects_are_not(name: str) -> None:
    """Scratches, cracks that fork, crosses, closed rings and blobs mean what they cover."""
    strokes = drawn(PLAIN[name])
    for seen in (strokes, np.ascontiguousarray(strokes.T), np.ascontiguousarray(strokes[:, ::-1])):
        assert ambiguous_shapes(seen) == []


@pytest.mark.parametrize("name", ["arrow to the right", "filled arrow", "half a ring", "bracket"])
def test_a_drawing_with_one_is_left_out_with_the_reason(name: str) -> None:
    """Through JPEG: no mask, the reason, where it is and what answers it; kept strokes are taken as they are."""
    photo = surface(3, (220, 320))
    drawing = photo.copy()
    draw, kind = UNCLEAR[name]
    draw(drawing, RED)
    saved = cv2.imdecode(cv2.imencode(".jpg", drawing, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_COLOR)
    mask, reason, detail = judge_drawing(photo, saved, Paint())
    assert (mask is None, reason) == (True, kind)
    assert "--outlines keep" in detail
    kept, reason, _ = judge_drawing(photo, saved, Paint(outlines="keep"))
    assert reason == ""
    assert kept is not None
    assert kept.any()
