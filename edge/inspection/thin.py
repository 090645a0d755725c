"""Sizes of thin defects: along and across their strokes, at the grey-value edges of the original picture.

Of each stroke the middle is read first: profiles across it, a few pixels apart, move it from the mask's middle to the
stroke's own. Then its ends are sought along it, beyond the last point of the mask's skeleton.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.inspection.profiles import Profiles, Stations, box_and_blur, grey_at, middle_of, read_across, unblurred
from edge.inspection.strokes import Drawing, Stroke
from edge.records import Float64, UInt8

# Profiles lie this far apart along a stroke, px, but there are no more than so many of one.
_APART_PX = 3.0
_PROFILES_AT_MOST = 300
# Ground is read this far beyond the mask, px.
_BEYOND_PX = 7.0
# The steepness of its edges tells the width of a stroke this many times as wide as the blur; its whole shape that of
# one so many times as wide; less is told from a paler, wider one by its ends alone.
_STEEP, _SHAPED = 4.0, 1.7
# The blur at an end counts beside the shape's where they differ by less than this share: a tip that fades has more.
_ALIKE = 0.15
_SOUND_AT_LEAST = 0.5
_END_ROWS, _END_COLUMNS = 41, 15


@dataclass(frozen=True)
class Path:
    """What is read of one stroke: points along it, float64 [N, 2] px, with unit tangents, and how far its mask reaches.

    `half_width`: of the mask, px. `clear` [N]: no joint is near.
    """

    points: Float64
    tangents: Float64
    half_width: float
    clear: npt.NDArray[np.bool_]
    closed: bool
    free: tuple[bool, bool]


@dataclass(frozen=True)
class SizedStroke:
    """One measured stroke: `points` float64 [N, 2] px, its middle from end to end, and its `widths` [W] px.

    `edges` [2, W, 2]: the two edges (x, y) px of each. `drawn_px`: so long is a stroke of its area with square ends.
    `blur`: standard deviation of the picture's, px. `height`: grey levels above the ground, negative where darker.
    `resolved`: whether its width is more than the blur's own.
    """

    points: Float64
    widths: Float64
    edges: Float64
    length_px: float
    drawn_px: float
    blur: float
    height: float
    resolved: bool


def along(points: Float64) -> float:
    """Return how long a line through points is, [N, 2] of any unit."""
    steps = points[1:] - points[:-1]
    return float(np.sqrt(np.einsum("ij,ij->i", steps, steps)).sum())


def paths_of(drawing: Drawing, half_width: float, corner: tuple[int, int]) -> list[Path]:
    """Return the paths along a drawing's strokes in the frame, where its mask's corner lies at `corner` (x, y) px."""
    return [_path(stroke, drawing, half_width, np.array(corner, np.float64)) for stroke in drawing.strokes]


def _path(stroke: Stroke, drawing: Drawing, half_width: float, corner: Float64) -> Path:
    """Smooth the steps of a stroke's pixels away, and choose points along it."""
    count = len(stroke.points)
    reach = min(3 + int(half_width / 2), max(1, count // 4))
    smooth = _smoothed(stroke.points, reach, closed=stroke.closed)
    number = min(max(round(count / _APART_PX), 3), _PROFILES_AT_MOST) + 1
    places = np.arange(number) * (count / number if stroke.closed else (count - 1) / (number - 1))
    axis = np.arange(count + 1 if stroke.closed else count)
    rounded = np.concatenate([smooth, smooth[:1]]) if stroke.closed else smooth
    points = np.column_stack([np.interp(places, axis, rounded[:, 0]), np.interp(places, axis, rounded[:, 1])])
    clear = np.ones(number, bool)
    for joint, radius in zip(drawing.joints, drawing.radii, strict=True):
        clear &= np.hypot(points[:, 0] - joint[0], points[:, 1] - joint[1]) > radius
    return Path(points + corner, _tangents(points, closed=stroke.closed), half_width, clear, stroke.closed, stroke.free)


def _smoothed(points: Float64, reach: int, *, closed: bool) -> Float64:
    """Average each point, [N, 2], with `reach` of its neighbours to either side; ends stay where they are."""
    if closed:
        padded = np.concatenate([_NOTHING, points[-reach:], points, points[:reach]])
    else:
        before, after = 2 * points[:1] - points[reach:0:-1], 2 * points[-1:] - points[-2 : -reach - 2 : -1]
        padded = np.concatenate([_NOTHING, before, points, after])
    sums = padded.cumsum(axis=0)
    width = 2 * reach + 1
    smooth: Float64 = (sums[width:] - sums[:-width]) / width
    return smooth


_NOTHING: Float64 = np.zeros((1, 2))


def _tangents(points: Float64, *, closed: bool) -> Float64:
    """Return unit tangents [N, 2] of points along a line."""
    if closed:
        ways = np.roll(points, -1, axis=0) - np.roll(points, 1, axis=0)
    else:
        ways = np.empty_like(points)
        ways[1:-1] = points[2:] - points[:-2]
        ways[0], ways[-1] = points[1] - points[0], points[-1] - points[-2]
        if len(points) > 4:
            ways[0], ways[-1] = points[2] - points[0], points[-1] - points[-3]
    lengths = np.maximum(np.hypot(ways[:, 0], ways[:, 1]), 1e-9)
    unit: Float64 = ways / lengths[:, None]
    return unit


def sized(picture: UInt8, paths: Sequence[Path], *, sharp: bool = False) -> list[SizedStroke | None]:
    """Measure strokes in a picture, uint8 [H, W] or [H, W, C]; None where its grey values show no edges.

    `sharp`: the picture is a mask, which nothing blurred.
    """
    if not paths:
        return []
    counts = [len(path.points) for path in paths]
    starts = np.cumsum([0, *counts])
    owner = np.repeat(np.arange(len(paths)), counts)
    tangents = np.concatenate([path.tangents for path in paths])
    normals = np.column_stack([-tangents[:, 1], tangents[:, 0]])
    half_width = np.array([path.half_width for path in paths])[owner]
    points = np.concatenate([path.points for path in paths])
    profiles = read_across(picture, Stations(points, normals, half_width + _BEYOND_PX, half_width, owner))
    sound = profiles.sound & np.concatenate([path.clear for path in paths])
    middles = (profiles.left + profiles.right) / 2
    moved: list[Float64 | None] = []
    for path, start, end in zip(paths, starts, starts[1:], strict=False):
        own = sound[start:end]
        if own.sum() < max(2.0, _SOUND_AT_LEAST * path.clear.sum()):
            moved.append(None)
            continue
        offsets = _evened(middles[start:end], own, closed=path.closed)
        moved.append(path.points + offsets[:, None] * normals[start:end])
    ends = _ends(picture, paths, moved, _Read(profiles, sound, starts))
    return [
        None if line is None else _one(path, line, end, profiles, _Own(slice(start, stop), sound[start:stop], sharp))
        for path, line, end, start, stop in zip(paths, moved, ends, starts, starts[1:], strict=False)
    ]


def _evened(offsets: Float64, sound: npt.NDArray[np.bool_], *, closed: bool) -> Float64:
    """Return smooth offsets of a stroke's points, with those that are not sound taken from their neighbours."""
    axis = np.arange(len(offsets))
    filled = np.interp(axis, axis[sound], offsets[sound])
    if len(filled) < 5:
        return filled
    padded = np.concatenate([filled[-1:], filled, filled[:1]] if closed else [filled[:1], filled, filled[-1:]])
    even: Float64 = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    return even


@dataclass(frozen=True)
class _End:
    """One end of a stroke: how far beyond its last point it lies, px; the same by area; the blur of the edge there."""

    beyond: float
    drawn: float
    blur: float


@dataclass(frozen=True)
class _Read:
    """All profiles, which of them are sound, and where each stroke's begin: int64 [strokes + 1]."""

    profiles: Profiles
    sound: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Asked:
    """A free end to be found: the stroke's last point and direction outward, float64 [2] each, and what it is there.

    `reach`: how far beyond the point it may be, px. `height`, `ground`, `width`: of the stroke beside it.
    """

    number: int
    side: int
    origin: Float64
    way: Float64
    reach: float
    height: float
    ground: float
    width: float


def _ends(
    picture: UInt8, paths: Sequence[Path], lines: Sequence[Float64 | None], read: _Read
) -> list[tuple[_End | None, _End | None]]:
    """Find the free ends of strokes; None for an end at a joint, or none at all."""
    asked = [
        _asked(number, side, path, line, read)
        for number, (path, line) in enumerate(zip(paths, lines, strict=True))
        if line is not None and not path.closed
        for side in (0, 1)
        if path.free[side]
    ]
    found: list[list[_End | None]] = [[None, None] for _ in paths]
    if asked:
        for each, end in zip(asked, _read_ends(picture, asked), strict=True):
            found[each.number][each.side] = end
    return [(first, last) for first, last in found]


def _asked(number: int, side: int, path: Path, line: Float64, read: _Read) -> _Asked:
    own = slice(read.starts[number], read.starts[number + 1])
    at = np.flatnonzero(read.sound[own])
    last = at[:4] if side == 0 else at[-4:]
    inner = 2 if len(line) > 4 else 1
    way = line[0] - line[inner] if side == 0 else line[-1] - line[-1 - inner]
    height, ground, width = (
        middle_of(values[own][last]) for values in (read.profiles.height, read.profiles.ground, read.profiles.width)
    )
    outward = way / max(1e-9, float(np.hypot(*way)))
    return _Asked(number, side, line[-side], outward, path.half_width, height, ground, width)


def _read_ends(picture: UInt8, asked: Sequence[_Asked]) -> list[_End]:
    """Read rectangles of grey values around the ends of strokes, along each from within to beyond it."""
    origins, ways = np.array([each.origin for each in asked]), np.array([each.way for each in asked])
    reach, heights, grounds, widths = (
        np.array([getattr(each, name) for each in asked]) for name in ("reach", "height", "ground", "width")
    )
    inward, outward = widths / 2 + 3.0, reach + _BEYOND_PX
    along = np.linspace(0, 1, _END_ROWS) * (inward + outward)[:, None] - inward[:, None]
    across = np.linspace(-1, 1, _END_COLUMNS) * (widths / 2 + 3.0)[:, None]
    normals = np.column_stack([-ways[:, 1], ways[:, 0]])
    x, y = (
        origins[:, axis, None, None]
        + along[:, :, None] * ways[:, axis, None, None]
        + across[:, None, :] * normals[:, axis, None, None]
        for axis in (0, 1)
    )
    x, y = x.astype(np.float32), y.astype(np.float32)
    shape = x.shape
    grey = grey_at(picture, x.reshape(shape[0], -1), y.reshape(shape[0], -1)).reshape(shape)
    last = np.sort(grey[:, -5:].reshape(shape[0], -1), axis=1)
    beyond = last[:, last.shape[1] // 2]
    share = np.clip(along / outward[:, None], 0, 1)
    ground = grounds[:, None] + share * (beyond - grounds)[:, None]
    above = (grey - ground[:, :, None]) * np.sign(heights)[:, None, None]
    core = np.abs(across) <= np.maximum(widths / 4, 0.6)[:, None]
    core[:, _END_COLUMNS // 2] = True
    axis_signal = (above * core[:, None, :]).sum(axis=2) / core.sum(axis=1)[:, None]
    inner = (along < -1.0) & (along > -inward[:, None])
    top = (axis_signal * inner).sum(axis=1) / np.maximum(1, inner.sum(axis=1))
    step = (inward + outward) / (_END_ROWS - 1)
    near = along <= reach[:, None] + 2.5
    falls = [_outermost(axis_signal, top * level, near) for level in (0.25, 0.5, 0.75)]
    crossings = [place * step - inward for place, _ in falls]
    sums = above.sum(axis=2)
    body = (sums * inner).sum(axis=1) / np.maximum(1, inner.sum(axis=1))
    out = np.clip(along / step[:, None] + 0.5, 0, 1) * near_ground(along, reach)
    drawn = (sums * out).sum(axis=1) * step / np.where(body > 0, body, 1)
    # a round end has less area than a square one; no end has more
    drawn = np.clip(drawn, crossings[1] - 0.6 * widths - 1, crossings[1] + 1)
    blurs = (crossings[0] - crossings[2]) / 1.349
    # where it goes on beyond what is marked, as at a region's border, it ends where the mask does
    good = (top > 0.4 * np.abs(heights)) & (body > 0) & falls[1][1]
    return [
        _End(float(c), float(d), float(b)) if ok else _End(float(r) - 0.5, float(r) - 0.5, float("inf"))
        for c, d, b, ok, r in zip(crossings[1], drawn, blurs, good, reach, strict=True)
    ]


def near_ground(along: Float64, reach: Float64) -> Float64:
    """Return 1 where an end may still be, 0 where only ground is."""
    near: Float64 = (along <= reach[:, None] + 5.0).astype(np.float64)
    return near


def _outermost(signal: Float64, level: Float64, near: npt.NDArray[np.bool_]) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Return the last place, in rows, at which a signal [E, R] falls below its level, and whether it does so."""
    over = (signal >= level[:, None]) & near
    rows = np.arange(len(signal))
    last = signal.shape[1] - 1 - over[:, ::-1].argmax(axis=1)
    after = np.minimum(last + 1, signal.shape[1] - 1)
    high, low = signal[rows, last], signal[rows, after]
    span = high - low
    place: Float64 = last + np.clip((high - level) / np.where(span > 0, span, 1), 0, 1)
    return place, low < level


@dataclass(frozen=True)
class _Own:
    """Which profiles are a stroke's own, which of them are sound, and whether nothing blurred them."""

    profiles: slice
    sound: npt.NDArray[np.bool_]
    sharp: bool


def _one(
    path: Path, line: Float64, ends: tuple[_End | None, _End | None], profiles: Profiles, its: _Own
) -> SizedStroke:
    """Put one stroke together from its profiles and ends."""
    own, use = its.profiles, its.sound
    points = np.concatenate([line, line[:1]]) if path.closed else _extended(line, ends)
    shown = profiles.width[own][use]
    at = np.flatnonzero(use) + own.start
    blur, resolved = (0.0, True) if its.sharp else _blur(profiles, shown, at, ends)
    widths = unblurred(shown, blur)
    normals = path.tangents[use][:, ::-1] * _TURN
    middle = path.points[use] + ((profiles.left[own] + profiles.right[own]) / 2)[use][:, None] * normals
    half = normals * (widths[:, None] / 2)
    length = along(points)
    more = sum(end.drawn - end.beyond for end in ends if end is not None)
    return SizedStroke(
        points=points,
        widths=widths,
        edges=np.array([middle - half, middle + half]),
        length_px=length,
        drawn_px=max(0.25 * length, length + more),
        blur=blur,
        height=middle_of(profiles.height[own][use]),
        resolved=resolved,
    )


# Turns a tangent (x, y), written as (y, x), into the normal.
_TURN = np.array([-1.0, 1.0])


def _blur(
    profiles: Profiles, shown: Float64, at: npt.NDArray[np.int64], ends: tuple[_End | None, _End | None]
) -> tuple[float, bool]:
    """Return the blur of a stroke's edges, and whether its width can be told from it; 0 where it cannot."""
    half = middle_of(shown)
    blur = middle_of(profiles.blur[at])
    if half >= _STEEP * blur:
        return blur, True
    ratio, blur = box_and_blur(profiles, at, half)
    at_ends = [end.blur for end in ends if end is not None and math.isfinite(end.blur) and end.blur > 0]
    if ratio >= _SHAPED:
        close = [each for each in at_ends if abs(each - blur) < _ALIKE * blur]
        return (blur + sum(close)) / (1 + len(close)), True
    if at_ends and 2.3 * min(at_ends) < half:
        return min(at_ends), True
    return 0.0, False


def _extended(line: Float64, ends: tuple[_End | None, _End | None]) -> Float64:
    """Return a line with its ends where they are found; one that lies before the last point cuts it off."""
    first, last = ends
    points = line
    if first is not None:
        points = _moved_end(points, first.beyond)
    if last is not None:
        points = _moved_end(points[::-1], last.beyond)[::-1]
    return points


def _moved_end(points: Float64, beyond: float) -> Float64:
    """Move a line's beginning outwards by `beyond` px, or inwards where that is negative."""
    reach = 2 if len(points) > 4 else 1
    way = points[0] - points[reach]
    way = way / max(1e-9, float(np.hypot(*way)))
    if beyond >= 0:
        return np.concatenate([points[:1] + beyond * way, points])
    gone = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    keep = gone > -beyond
    if keep.sum() < 2:
        return points[-2:]
    start = np.array([np.interp(-beyond, gone, points[:, axis]) for axis in (0, 1)])
    return np.concatenate([start[None], points[keep]])
