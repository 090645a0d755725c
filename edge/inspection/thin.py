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

from edge.inspection.profiles import (
    LEVELS,
    Profiles,
    Stations,
    box_and_blur,
    grey_at,
    middle_of,
    read_across,
    unblurred,
)
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
_ROWS, _COLUMNS = np.linspace(0, 1, _END_ROWS), np.linspace(-1, 1, _END_COLUMNS)

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Paths:
    """What is read of S strokes: N points along them, float64 [N, 2] px, stroke by stroke, with unit `normals` [N, 2].

    `starts` int64 [S + 1]: where each stroke's points begin. `half_width` [N]: of its mask, px. `clear` [N]: no joint
    is near. `before`, `after` int64 [N]: which points are next to each. `closed`, `free`: see `Stroke`.
    """

    points: Float64
    normals: Float64
    half_width: Float64
    clear: npt.NDArray[np.bool_]
    starts: Indices
    before: Indices
    after: Indices
    closed: tuple[bool, ...]
    free: tuple[tuple[bool, bool], ...]

    @property
    def owner(self) -> Indices:
        """Tell which stroke each point belongs to, int64 [N]."""
        return np.repeat(np.arange(len(self.closed)), np.diff(self.starts))


@dataclass(frozen=True)
class SizedStroke:
    """One measured stroke: `points` float64 [N, 2] px, its middle from end to end, and its `widths` [W] px.

    `edges` [2, W, 2]: the two edges (x, y) px of each. `drawn_px`: so long is a stroke of its area with square ends.
    `blur`: standard deviation of the picture's, px. `height`: grey levels above the ground, negative where darker.
    `resolved`: whether its width is more than the blur's own. `width_px`: the mean of its widths; `width_max_px`: the
    largest that three neighbours agree on.
    """

    points: Float64
    widths: Float64
    edges: Float64
    width_px: float
    width_max_px: float
    length_px: float
    drawn_px: float
    blur: float
    height: float
    resolved: bool


def lengths_of(points: Float64, starts: Indices) -> Float64:
    """Return how long lines are, float64 [S], whose points [N, 2] of any unit begin at `starts` int64 [S]."""
    steps = np.zeros_like(points)
    np.subtract(points[1:], points[:-1], out=steps[:-1])
    steps[starts[1:] - 1] = 0
    lengths: Float64 = np.add.reduceat(np.sqrt(np.einsum("ij,ij->i", steps, steps)), starts)
    return lengths


def paths_of(
    drawings: Sequence[Drawing], half_widths: Sequence[float], corners: Sequence[tuple[int, int]]
) -> Paths | None:
    """Return the paths along all strokes of drawings in the frame, in their order; None where there are none.

    `half_widths`: of each drawing's mask, px. `corners`: where that mask's corner (x, y) lies, px.
    """
    strokes = [stroke for drawing in drawings for stroke in drawing.strokes]
    if not strokes:
        return None
    each = np.repeat(np.arange(len(drawings)), [len(drawing.strokes) for drawing in drawings])
    counts = np.array([len(stroke.points) for stroke in strokes])
    closed = np.array([stroke.closed for stroke in strokes])
    half_width = np.array(half_widths)[each]
    apart = np.minimum(np.maximum(np.round(counts / _APART_PX), 3), _PROFILES_AT_MOST).astype(np.int64) + 1
    starts = np.concatenate([[0], np.cumsum(apart)])
    owner = np.repeat(np.arange(len(strokes)), apart)
    number = np.arange(starts[-1]) - starts[owner]
    steps = np.where(closed, counts / apart, (counts - 1) / (apart - 1))
    reach = np.minimum(3 + (half_width / 2).astype(np.int64), np.maximum(1, counts // 4))
    points = _smoothed(strokes, reach, number * steps[owner], owner)
    before, after = np.arange(-1, len(owner) - 1), np.arange(1, len(owner) + 1)
    first, last = starts[:-1], starts[1:] - 1
    before[first], after[last] = np.where(closed, last, first), np.where(closed, first, last)
    return Paths(
        points=points + np.array(corners, np.float64)[each][owner],
        normals=_normals(points, before, after, starts, closed),
        half_width=half_width[owner],
        clear=_clear(points, drawings, starts),
        starts=starts,
        before=before,
        after=after,
        closed=tuple(stroke.closed for stroke in strokes),
        free=tuple(stroke.free for stroke in strokes),
    )


def _clear(points: Float64, drawings: Sequence[Drawing], starts: Indices) -> npt.NDArray[np.bool_]:
    """Tell which points, [N, 2] from their mask's corner, are near no joint of their drawing."""
    clear = np.ones(len(points), bool)
    if not any(len(drawing.joints) for drawing in drawings):
        return clear
    stroke = 0
    for drawing in drawings:
        own = slice(starts[stroke], starts[stroke + len(drawing.strokes)])
        stroke += len(drawing.strokes)
        for joint, radius in zip(drawing.joints, drawing.radii, strict=True):
            clear[own] &= np.hypot(points[own, 0] - joint[0], points[own, 1] - joint[1]) > radius
    return clear


def _smoothed(strokes: Sequence[Stroke], reach: Indices, places: Float64, owner: Indices) -> Float64:
    """Return points [N, 2] at `places` [N] along strokes, `owner` [N], without the steps of their pixels.

    Each of a stroke's points is averaged with `reach` [S] of its neighbours to either side; ends stay where they are.
    """
    padded, ends = [_NOTHING], []
    for stroke, far in zip(strokes, reach.tolist(), strict=True):
        points = stroke.points
        if stroke.closed:
            padded += [points[-far:], points, points[:far]]
        else:
            padded += [2 * points[:1] - points[far:0:-1], points, 2 * points[-1:] - points[-2 : -far - 2 : -1]]
        ends.append(len(points) - (not stroke.closed))
    counts, closed = np.array(ends), np.array([stroke.closed for stroke in strokes])
    sums = np.concatenate(padded).cumsum(axis=0)
    width = 2 * reach + 1
    start = np.cumsum(counts + ~closed + 2 * reach) - (counts + ~closed + 2 * reach)
    low = np.minimum(places.astype(np.int64), counts[owner] - 1)
    share = (places - low)[:, None]
    high = low + 1
    high[closed[owner] & (high == counts[owner])] = 0
    wide, offset = width[owner], start[owner]
    one, other = ((sums[offset + at + wide] - sums[offset + at]) / wide[:, None] for at in (low, high))
    smooth: Float64 = one + (other - one) * share
    return smooth


_NOTHING: Float64 = np.zeros((1, 2))


def _normals(
    points: Float64, before: Indices, after: Indices, starts: Indices, closed: npt.NDArray[np.bool_]
) -> Float64:
    """Return unit normals [N, 2] of points along lines."""
    following, leading = after.copy(), before.copy()
    longer = ~closed & (np.diff(starts) > 4)
    following[starts[:-1][longer]] += 1
    leading[starts[1:][longer] - 1] -= 1
    ways = points[following] - points[leading]
    normals = np.empty_like(ways)
    np.negative(ways[:, 1], out=normals[:, 0])
    normals[:, 1] = ways[:, 0]
    normals /= np.maximum(np.hypot(ways[:, 0], ways[:, 1]), 1e-9)[:, None]
    return normals


def sized(picture: UInt8, paths: Paths | None, *, sharp: bool = False) -> list[SizedStroke | None]:
    """Measure strokes in a picture, uint8 [H, W] or [H, W, C]; None where its grey values show no edges.

    `sharp`: the picture is a mask, which nothing blurred.
    """
    if paths is None:
        return []
    profiles = read_across(
        picture,
        Stations(paths.points, paths.normals, paths.half_width + _BEYOND_PX, paths.half_width, paths.owner),
    )
    sound = profiles.sound & paths.clear
    at = np.flatnonzero(sound)
    bounds = np.searchsorted(at, paths.starts)
    least = np.maximum(2.0, _SOUND_AT_LEAST * np.add.reduceat(paths.clear, paths.starts[:-1], dtype=np.int64))
    seen = np.flatnonzero(np.diff(bounds) >= least).tolist()
    if not seen:
        return [None] * len(paths.closed)
    middles = (profiles.left + profiles.right) / 2
    lines = paths.points + _evened(middles, at, bounds, paths)[:, None] * paths.normals
    read = _Read(profiles, at, bounds.tolist(), paths.starts.tolist(), sharp)
    ends = _ends(picture, paths, lines, seen, read)
    found: list[SizedStroke | None] = [None] * len(paths.closed)
    for number, stroke in zip(seen, _put_together(paths, lines, ends, seen, read), strict=True):
        found[number] = stroke
    return found


def _evened(offsets: Float64, at: Indices, bounds: Indices, paths: Paths) -> Float64:
    """Return smooth offsets [N] of points, with those not `at` sound ones taken from their stroke's neighbours."""
    counts = np.diff(paths.starts)
    first = np.repeat(at[np.minimum(bounds[:-1], len(at) - 1)], counts)
    last = np.repeat(at[np.maximum(bounds[1:] - 1, 0)], counts)
    axis = np.minimum(np.maximum(np.arange(len(offsets)), first), last)
    filled = np.interp(axis, at, offsets[at])
    even = 0.25 * filled[paths.before] + 0.5 * filled + 0.25 * filled[paths.after]
    short: Float64 = np.where(np.repeat(counts < 5, counts), filled, even)
    return short


@dataclass(frozen=True)
class _End:
    """One end of a stroke: how far beyond its last point it lies, px; the same by area; the blur of the edge there."""

    beyond: float
    drawn: float
    blur: float


@dataclass(frozen=True)
class _Read:
    """All profiles, and `at` which of them are sound, int64 [A].

    `bounds`: where each stroke's begin in `at`; `starts`: in all. `sharp`: the picture is a mask.
    """

    profiles: Profiles
    at: Indices
    bounds: list[int]
    starts: list[int]
    sharp: bool


@dataclass(frozen=True)
class _Asked:
    """Free ends to be found: the strokes' last points and directions outward, float64 [E, 2], and what they are there.

    `reach` [E]: how far beyond the point it may be, px. `height`, `ground`, `width` [E]: of the stroke beside it.
    """

    origin: Float64
    way: Float64
    reach: Float64
    height: Float64
    ground: Float64
    width: Float64


def _ends(
    picture: UInt8, paths: Paths, lines: Float64, seen: Sequence[int], read: _Read
) -> dict[int, tuple[_End | None, _End | None]]:
    """Find the free ends of the strokes `seen`; None for an end at a joint, or none at all."""
    free = [
        (number, side) for number in seen if not paths.closed[number] for side in (0, 1) if paths.free[number][side]
    ]
    found: dict[int, list[_End | None]] = {number: [None, None] for number in seen}
    if free:
        for (number, side), end in zip(free, _read_ends(picture, _asked(free, paths, lines, read)), strict=True):
            found[number][side] = end
    return {number: (first, last) for number, (first, last) in found.items()}


def _asked(free: Sequence[tuple[int, int]], paths: Paths, lines: Float64, read: _Read) -> _Asked:
    """Return what is known of free ends: of each its stroke's number and its side, 0 or 1."""
    profiles = read.profiles
    shown = [values[read.at].tolist() for values in (profiles.height, profiles.ground, profiles.width)]
    last, inner, beside = [], [], []
    for number, side in free:
        start, stop = read.starts[number], read.starts[number + 1]
        far = 2 if stop - start > 4 else 1
        last.append(stop - 1 if side else start)
        inner.append(stop - 1 - far if side else start + far)
        low, high = read.bounds[number], read.bounds[number + 1]
        own = slice(max(low, high - 4), high) if side else slice(low, min(low + 4, high))
        beside.append([sorted(values[own])[(own.stop - own.start) // 2] for values in shown])
    way = lines[last] - lines[inner]
    height, ground, width = np.array(beside).T
    outward = way / np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-9)[:, None]
    return _Asked(lines[last], outward, paths.half_width[last], height, ground, width)


def _read_ends(picture: UInt8, asked: _Asked) -> list[_End]:
    """Read rectangles of grey values around the ends of strokes, along each from within to beyond it."""
    origins, ways, reach = asked.origin, asked.way, asked.reach
    heights, grounds, widths = asked.height, asked.ground, asked.width
    inward, outward = widths / 2 + 3.0, reach + _BEYOND_PX
    along = _ROWS * (inward + outward)[:, None] - inward[:, None]
    across = _COLUMNS * (widths / 2 + 3.0)[:, None]
    normals = np.column_stack([-ways[:, 1], ways[:, 0]])
    x, y = (
        origins[:, axis, None, None]
        + along[:, :, None] * ways[:, axis, None, None]
        + across[:, None, :] * normals[:, axis, None, None]
        for axis in (0, 1)
    )
    shape = x.shape
    flat = (axis.astype(np.float32).reshape(shape[0], -1) for axis in (x, y))
    grey = grey_at(picture, *flat).reshape(shape)
    last = np.sort(grey[:, -5:].reshape(shape[0], -1), axis=1)
    beyond = last[:, last.shape[1] // 2]
    share = np.clip(along / outward[:, None], 0, 1)
    ground = grounds[:, None] + share * (beyond - grounds)[:, None]
    above = (grey - ground[:, :, None]) * np.sign(heights)[:, None, None]
    core = np.abs(across) <= np.maximum(widths / 4, 0.6)[:, None]
    core[:, _END_COLUMNS // 2] = True
    axis_signal = np.einsum("erc,ec->er", above, core.astype(np.float64)) / core.sum(axis=1)[:, None]
    inner = (along < -1.0) & (along > -inward[:, None])
    top = (axis_signal * inner).sum(axis=1) / np.maximum(1, inner.sum(axis=1))
    step = (inward + outward) / (_END_ROWS - 1)
    near = along <= reach[:, None] + 2.5
    places, falls = _outermost(axis_signal, top * LEVELS, near)
    crossings = places * step - inward
    sums = np.einsum("erc->er", above)
    body = (sums * inner).sum(axis=1) / np.maximum(1, inner.sum(axis=1))
    out = np.clip(along / step[:, None] + 0.5, 0, 1) * near_ground(along, reach)
    drawn = (sums * out).sum(axis=1) * step / np.where(body > 0, body, 1)
    # a round end has less area than a square one; no end has more
    drawn = np.clip(drawn, crossings[1] - 0.6 * widths - 1, crossings[1] + 1)
    blurs = (crossings[0] - crossings[2]) / 1.349
    # where it goes on beyond what is marked, as at a region's border, it ends where the mask does
    good = (top > 0.4 * np.abs(heights)) & (body > 0) & falls[1]
    return [
        _End(float(c), float(d), float(b)) if ok else _End(float(r) - 0.5, float(r) - 0.5, float("inf"))
        for c, d, b, ok, r in zip(crossings[1], drawn, blurs, good, reach, strict=True)
    ]


def near_ground(along: Float64, reach: Float64) -> Float64:
    """Return 1 where an end may still be, 0 where only ground is."""
    near: Float64 = (along <= reach[:, None] + 5.0).astype(np.float64)
    return near


def _outermost(signal: Float64, level: Float64, near: npt.NDArray[np.bool_]) -> tuple[Float64, npt.NDArray[np.bool_]]:
    """Return the last places, in rows, at which signals [E, R] fall below levels [L, E], and whether they do so."""
    over = (signal >= level[:, :, None]) & near
    flat, rows = signal.reshape(-1), np.arange(len(signal)) * signal.shape[1]
    last = signal.shape[1] - 1 - over[:, :, ::-1].argmax(axis=2)
    after = np.minimum(last + 1, signal.shape[1] - 1)
    high, low = flat[rows + last], flat[rows + after]
    span = high - low
    place: Float64 = last + np.minimum(np.maximum((high - level) / np.where(span > 0, span, 1), 0), 1)
    return place, low < level


def _put_together(
    paths: Paths,
    lines: Float64,
    ends: dict[int, tuple[_End | None, _End | None]],
    seen: Sequence[int],
    read: _Read,
) -> list[SizedStroke]:
    """Put the strokes `seen` together from their profiles and ends."""
    profiles, at, bounds = read.profiles, read.at, read.bounds
    points, begins = _lines(paths, lines, ends, read.starts)
    lengths = lengths_of(points, np.array(begins[:-1])).tolist()
    shown = profiles.width[at]
    at_half, blurred, height = (values.tolist() for values in (shown, profiles.blur[at], profiles.height[at]))
    blurs, resolved = np.zeros(len(paths.closed)), {}
    for number in [] if read.sharp else seen:
        own = slice(bounds[number], bounds[number + 1])
        known = _blur(profiles, _Shown(at[own], middle_of(at_half[own]), middle_of(blurred[own])), ends[number])
        blurs[number], resolved[number] = known
    widths = unblurred(shown, np.repeat(blurs, np.diff(bounds)))
    edges = _edges(paths, profiles, at, widths)
    means, largest = _mean_and_largest(widths, bounds, seen)
    return [
        SizedStroke(
            points=points[begins[place] : begins[place + 1]],
            widths=widths[bounds[number] : bounds[number + 1]],
            edges=edges[:, bounds[number] : bounds[number + 1]],
            width_px=means[place],
            width_max_px=largest[place],
            length_px=lengths[place],
            drawn_px=max(0.25 * lengths[place], lengths[place] + _more(ends[number])),
            blur=float(blurs[number]),
            height=middle_of(height[bounds[number] : bounds[number + 1]]),
            resolved=resolved.get(number, True),
        )
        for place, number in enumerate(seen)
    ]


def _more(ends: tuple[_End | None, _End | None]) -> float:
    """Return by how much longer a stroke of a line's area is than the line, px."""
    return sum(end.drawn - end.beyond for end in ends if end is not None)


def _edges(paths: Paths, profiles: Profiles, at: Indices, widths: Float64) -> Float64:
    """Return both edges of the profiles `at`, float64 [2, A, 2] px, which are so wide, [A] px."""
    normals = paths.normals[at]
    middle = paths.points[at] + ((profiles.left[at] + profiles.right[at]) / 2)[:, None] * normals
    half = normals * (widths / 2)[:, None]
    edges = np.empty((2, *middle.shape))
    np.subtract(middle, half, out=edges[0])
    np.add(middle, half, out=edges[1])
    return edges


def _mean_and_largest(widths: Float64, bounds: Sequence[int], seen: Sequence[int]) -> tuple[list[float], list[float]]:
    """Return of each stroke `seen` the mean of its widths, and the largest that three neighbours agree on."""
    means, largest = [], []
    agreed = np.minimum(np.minimum(widths[:-2], widths[1:-1]), widths[2:]).tolist()
    every = widths.tolist()
    for number in seen:
        start, stop = bounds[number], bounds[number + 1]
        own = every[start:stop]
        mean = sum(own) / len(own)
        means.append(mean)
        largest.append(max(own) if len(own) < 3 else max(mean, *agreed[start : stop - 2]))
    return means, largest


@dataclass(frozen=True)
class _Shown:
    """A stroke's profiles, `at` int64 [W]: their width at `half` their height and their `blur`, px, medians of all."""

    at: Indices
    half: float
    blur: float


def _blur(profiles: Profiles, shown: _Shown, ends: tuple[_End | None, _End | None]) -> tuple[float, bool]:
    """Return the blur of a stroke's edges, and whether its width can be told from it; 0 where it cannot."""
    half = shown.half
    if half >= _STEEP * shown.blur:
        return shown.blur, True
    ratio, blur = box_and_blur(profiles, shown.at, half)
    at_ends = [end.blur for end in ends if end is not None and math.isfinite(end.blur) and end.blur > 0]
    if ratio >= _SHAPED:
        close = [each for each in at_ends if abs(each - blur) < _ALIKE * blur]
        return (blur + sum(close)) / (1 + len(close)), True
    if at_ends and 2.3 * min(at_ends) < half:
        return min(at_ends), True
    return 0.0, False


def _lines(
    paths: Paths, lines: Float64, ends: dict[int, tuple[_End | None, _End | None]], starts: Sequence[int]
) -> tuple[Float64, list[int]]:
    """Return the lines of strokes to their `ends`, float64 [N, 2], and where each begins, and the last ends, in it."""
    parts: list[Float64] = []
    begins = [0]
    for number, (first, last) in ends.items():
        points = lines[starts[number] : starts[number + 1]]
        if paths.closed[number]:
            points = np.concatenate([points, points[:1]])
        own = [points]
        if first is not None:
            own = [_tip(points, first.beyond), points] if first.beyond >= 0 else [_cut(points, -first.beyond)]
        if last is not None and last.beyond >= 0:
            own.append(_tip(own[-1][::-1], last.beyond, within=sum(map(len, own))))
        elif last is not None:
            own = [_cut(np.concatenate(own)[::-1], -last.beyond)[::-1]]
        parts += own
        begins.append(begins[-1] + sum(map(len, own)))
    return np.concatenate(parts), begins


def _tip(points: Float64, beyond: float, within: int = 0) -> Float64:
    """Return the point, [1, 2], `beyond` px before the beginning of a line, which has `within` points at least."""
    reach = 2 if max(within, len(points)) > 4 else 1
    (x, y), (inner_x, inner_y) = points[0].tolist(), points[min(reach, len(points) - 1)].tolist()
    times = beyond / max(1e-9, math.hypot(x - inner_x, y - inner_y))
    return np.array([[x + times * (x - inner_x), y + times * (y - inner_y)]])


def _cut(points: Float64, gone: float) -> Float64:
    """Return a line without its first `gone` px."""
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    keep = at > gone
    if keep.sum() < 2:
        return points[-2:]
    start = np.array([np.interp(gone, at, points[:, axis]) for axis in (0, 1)])
    return np.concatenate([start[None], points[keep]])
