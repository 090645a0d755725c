"""Charts as figures of an SVG that needs no script: lines with their holes, marks and bars. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge.dashboard.shift_figures import Change, Step

WIDTH, HEIGHT = 960, 220
_NAME_PX = 8  # of one character


@dataclass(frozen=True)
class Drawing:
    """A trend, in a box of WIDTH x HEIGHT. `lines`: points of each piece between two holes; `top`: the value at HEIGHT.

    `missing`: left edge and width of each time of which events never came. `marks`: x and name of each recipe; no
    name where there is no room.
    """

    lines: Sequence[str]
    means: Sequence[str]
    top: float
    missing: Sequence[tuple[float, float]]
    marks: Sequence[tuple[float, str]]


def drawn(steps: Sequence[Step], changes: Sequence[Change], begins_ms: int, ends_ms: int) -> Drawing:
    """Return what is to be drawn of a trend. A hole interrupts the lines; a step by itself is a short line."""
    top = max((step.highest for step in steps if step.highest is not None), default=0.0) or 0.001
    across = WIDTH / len(steps)
    missing = [(round(place * across, 1), round(across, 1)) for place, step in enumerate(steps) if step.missing]
    length = max(1, ends_ms - begins_ms)
    return Drawing(
        _pieces([step.highest for step in steps], across, top),
        _pieces([step.mean for step in steps], across, top),
        top,
        missing,
        _marks(changes, begins_ms, length),
    )


def _marks(changes: Sequence[Change], begins_ms: int, length: int) -> list[tuple[float, str]]:
    """Return where the recipe changes; a name that would lie over the one before it is left out."""
    marks: list[tuple[float, str]] = []
    free_from = 0.0
    for change in changes:
        x = round(WIDTH * (change.at_ms - begins_ms) / length, 1)
        fits = x >= free_from and x + _NAME_PX * len(change.recipe) <= WIDTH
        free_from = x + _NAME_PX * (len(change.recipe) + 1) if fits else free_from
        marks.append((x, change.recipe if fits else ""))
    return marks


def _pieces(values: Sequence[float | None], across: float, top: float) -> list[str]:
    """Return the points of each piece, each step as wide as it is."""
    pieces: list[list[str]] = []
    inside = False
    for place, value in enumerate(values):
        if value is None:
            inside = False
            continue
        if not inside:
            pieces.append([])
            inside = True
        y = round(HEIGHT * (1 - value / top), 1)
        pieces[-1] += [f"{place * across:.1f},{y}", f"{(place + 1) * across:.1f},{y}"]
    return [" ".join(points) for points in pieces]


@dataclass(frozen=True)
class Bar:
    """One bar. `loud`: its value is above what is told apart."""

    x: float
    y: float
    across: float
    height: float
    loud: bool
    value: int


def bars(values: Sequence[int], height: int, loud_above: int, at_most: int = 288) -> list[Bar]:
    """Return bars for counts; of many neighbours the highest stands for all of them."""
    each = -(-len(values) // at_most) if values else 1
    shown = [max(values[place : place + each]) for place in range(0, len(values), each)]
    top = max([loud_above + 1, *shown])
    across = WIDTH / max(1, len(shown))
    return [
        Bar(
            round(place * across, 1),
            round(height * (1 - value / top), 1),
            round(max(1.0, across - 1), 1),
            round(height * value / top, 1),
            value > loud_above,
            value,
        )
        for place, value in enumerate(shown)
        if value
    ]
