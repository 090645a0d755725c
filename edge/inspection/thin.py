"""Sizes of thin defects: along and across their strokes, at the grey-value edges of the original picture.

Of each stroke the middle is read first: profiles across it, a few pixels apart, move it from the mask's middle to the
stroke's own. Then its ends are sought along it, beyond the last point of the mask's skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.inspection.narrow import Lines, Tips, boxes_of
from edge.inspection.packed import Bools, Indices, lengths_of, starts_of
from edge.inspection.profiles import (
    LEVELS,
    Profiles,
    Stations,
    grey_at,
    read_across,
    unblurred,
)
from edge.inspection.strokes import Drawing, Stroke
from edge.records import Float32, Float64, UInt8

# Profiles lie this far apart along a stroke, px, but there are no more than so many of one.
_APART_PX = 3.0
_PROFILES_AT_MOST = 300
# Ground is read this far beyond the mask, px.
_BEYOND_PX = 7.0
# The steepness of its edges tells the width of a stroke of so many blurs. In a blur this wide, px, it takes so many.
# All pixels of a narrower stroke tell its width.
_STEEP, _WIDE_PX, _STEEP_IN_WIDE = 4.0, 1.3, 4.6
# A stroke this narrow, in blurs, needs help: strokes less than so many blurs wide tell the blur with it.
_NARROW, _HELPFUL = 3.7, 10.0
# So many places of all of them together are read, at most.
_PLACES_AT_MOST = 1500
_SOUND_AT_LEAST = 0.5
# Near a joint a profile's ground differs by at most so many grey levels and this share of the height.
_GROUND_LEVELS, _GROUND_SHARE = 1.5, 0.03
_END_ROWS, _END_COLUMNS = 31, 11
# An end lacks some of the square of its width: a square end less than this share, a pointed one so much. A pointed tip
# is so many px, and deviations of the blur, farther out.
_SQUARE, _POINTED = 0.05, 0.17
_HIDDEN_PX, _HIDDEN = 0.1, 0.6
# By no more than this, px, beyond one px, the blur moves where an end is looked for.
_SOFT_PX = 3.0
_ROWS, _COLUMNS = np.linspace(0, 1, _END_ROWS), np.linspace(-1, 1, _END_COLUMNS)


@dataclass(frozen=True)
class Paths:
    """The course of S strokes: N points along them, float64 [N, 2] px, stroke by stroke, with unit `normals` [N, 2].

    `starts` int64 [S + 1]: where each stroke's points begin. `half_width` [N]: of its mask, px. `clear` [N]: no joint
    is near. `before`, `after` int64 [N]: which points are next to each. `closed` bool [S]: rings. `free` bool [S, 2]:
    whether its beginning and its end are ends of the defect. `beyond` [S, 2]: so far beyond them its mask ends, px.
    """

    points: Float64
    normals: Float64
    half_width: Float64
    clear: Bools
    starts: Indices
    before: Indices
    after: Indices
    closed: Bools
    free: Bools
    beyond: Float64

    @property
    def owner(self) -> Indices:
        """Tell which stroke each point belongs to, int64 [N]."""
        return np.repeat(np.arange(len(self.closed)), np.diff(self.starts))


@dataclass(frozen=True)
class SizedStrokes:
    """S measured strokes, one after the other; `number` int64 [S]: which of those that were asked for.

    `points` float64 [P, 2] px: their middles from end to end, each from `begins` [S + 1] on. `widths` is float64 [W]
    px. `edges` [2, W, 2] holds the two edges (x, y) px of each, from `bounds` [S + 1] on. All else is float64 [S]:
    `width_px`: the mean of its widths; `width_max_px`: the largest that three neighbours agree on. `length_px`;
    `drawn_px`: so long is a stroke of its area with square ends. `blur`: standard deviation of the picture's, px.
    `u_width_px`: standard uncertainty of the width by its pixels' noise, where that is known, or else 0. `height`: grey
    levels above the ground, negative where darker. `resolved` bool [S]: whether its width is more than the blur's own.
    """

    number: Indices
    points: Float64
    begins: Indices
    widths: Float64
    edges: Float64
    bounds: Indices
    width_px: Float64
    width_max_px: Float64
    u_width_px: Float64
    length_px: Float64
    drawn_px: Float64
    blur: Float64
    height: Float64
    resolved: Bools

    def only(self, kept: Bools) -> SizedStrokes:
        """Return those of the strokes that are `kept`, bool [S]."""
        if kept.all():
            return self
        own, read = np.repeat(kept, np.diff(self.begins)), np.repeat(kept, np.diff(self.bounds))
        return SizedStrokes(
            number=self.number[kept],
            points=self.points[own],
            begins=starts_of(np.diff(self.begins)[kept]),
            widths=self.widths[read],
            edges=self.edges[:, read],
            bounds=starts_of(np.diff(self.bounds)[kept]),
            width_px=self.width_px[kept],
            width_max_px=self.width_max_px[kept],
            u_width_px=self.u_width_px[kept],
            length_px=self.length_px[kept],
            drawn_px=self.drawn_px[kept],
            blur=self.blur[kept],
            height=self.height[kept],
            resolved=self.resolved[kept],
        )

    def moved(self, shifts: Float64) -> SizedStrokes:
        """Return the strokes each elsewhere by its shift, float64 [S, 2] px."""
        across = np.repeat(shifts, np.diff(self.bounds), axis=0)
        along = np.repeat(shifts, np.diff(self.begins), axis=0)
        return replace(self, points=self.points + along, edges=self.edges + across)


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
    starts = starts_of(apart)
    owner = np.repeat(np.arange(len(strokes)), apart)
    number = np.arange(starts[-1]) - starts[owner]
    steps = np.where(closed, counts / apart, (counts - 1) / (apart - 1))
    reach = np.minimum(3 + (half_width / 2).astype(np.int64), np.maximum(1, counts // 4))
    points = _smoothed(strokes, reach, steps[owner] * number, owner)
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
        closed=closed,
        free=np.array([stroke.free for stroke in strokes]) & ~closed[:, None],
        beyond=np.maximum(half_width[:, None], [stroke.beyond for stroke in strokes]),
    )


def _clear(points: Float64, drawings: Sequence[Drawing], starts: Indices) -> Bools:
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


@dataclass(frozen=True)
class _Lines:
    """Points of S lines, float64 [P, 2] px, each from `starts` int64 [S + 1] on; `closed` bool [S]: rings.

    `sums` float64 [P + 1, 2]: of all points before each. `owner` int64 [N]: of which line something is asked.
    """

    points: Float64
    sums: Float64
    starts: Indices
    closed: Bools
    owner: Indices


def _smoothed(strokes: Sequence[Stroke], reach: Indices, places: Float64, owner: Indices) -> Float64:
    """Return points [N, 2] at `places` [N] along strokes, `owner` [N], without the steps of their pixels.

    Each of a stroke's points is averaged with `reach` [S] of its neighbours to either side; ends stay where they are.
    """
    points = np.concatenate([stroke.points for stroke in strokes])
    counts = np.array([len(stroke.points) for stroke in strokes])
    closed = np.array([stroke.closed for stroke in strokes])
    sums = np.zeros((len(points) + 1, 2))
    np.cumsum(points, axis=0, out=sums[1:])
    far = reach[owner]
    low = np.minimum(places.astype(np.int64), (counts - 1 - ~closed)[owner])
    first = low - far
    asked = np.concatenate([[first, first + 1], [low + far + 1, low + far + 2]])
    totals = _sums_before(_Lines(points, sums, starts_of(counts), closed, owner), asked)
    one, other = totals[2:] - totals[:2]
    smooth: Float64 = (one + (other - one) * (places - low)[:, None]) / (2 * far + 1)[:, None]
    return smooth


def _sums_before(lines: _Lines, asked: Indices) -> Float64:
    """Return the sums, float64 [R, N, 2], of the points before places, int64 [R, N], counted from their line's first.

    A place may lie beyond the line. The line goes on there as its mirror image about its end, or, if closed, as itself.
    """
    base, count = lines.starts[lines.owner], np.diff(lines.starts)[lines.owner]
    within = np.minimum(np.maximum(asked, 0), count)
    totals = lines.sums[base + within]
    row, column = np.nonzero(asked != within)
    far, base, count = (asked - within)[row, column], base[column], count[column]
    ring = lines.closed[lines.owner[column]]
    before = far < 0
    # of a ring the points at its other end; else those beside the end, mirrored (2 ends less each)
    anchor = base + np.where(ring, np.where(before, count, 0), np.where(before, 1, count - 1))
    end = lines.points[base + np.where(before, 0, count - 1)]
    more = lines.sums[anchor + np.where(ring, far, -far)] - lines.sums[anchor]
    totals[row, column] += more + (2 * far * ~ring)[:, None] * end
    return totals


def _normals(points: Float64, before: Indices, after: Indices, starts: Indices, closed: Bools) -> Float64:
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


def sized(picture: UInt8, paths: Paths | None, *, sharp: bool = False) -> SizedStrokes | None:
    """Measure strokes in a picture, uint8 [H, W] or [H, W, C]; left out are those whose grey values show no edges.

    None where that leaves nothing. `sharp`: the picture is a mask, which nothing blurred.
    """
    if paths is None:
        return None
    owner = paths.owner
    profiles = read_across(
        picture, Stations(paths.points, paths.normals, paths.half_width + _BEYOND_PX, paths.half_width, owner)
    )
    sound = profiles.sound & paths.clear
    counts, clear = (np.add.reduceat(each, paths.starts[:-1], dtype=np.int64) for each in (sound, paths.clear))
    seen = counts >= np.maximum(2.0, _SOUND_AT_LEAST * clear)
    number = np.flatnonzero(seen)
    if not len(number):
        return None
    at, bounds = np.flatnonzero(sound & seen[owner]), starts_of(counts[number])
    read = _Read(profiles, at, number, bounds, paths.starts[number], paths.starts[number + 1], sharp)
    middles = (profiles.left + profiles.right) * 0.5
    lines = paths.points + _evened(middles, read, paths)[:, None] * paths.normals
    if not paths.clear.all():
        read = _undisturbed(read, (clear < np.diff(paths.starts))[number])
    ends = _ends(picture, paths, lines, read)
    return _put_together(paths, lines, ends, read, _widths(picture, paths, lines, ends, read))


def _undisturbed(read: _Read, met: Bools) -> _Read:
    """Leave out profiles whose ground is not that of their stroke: another stroke runs through it nearby.

    `met` bool [S]: which strokes meet others. Each keeps half of its profiles at least.
    """
    profiles, at = read.profiles, read.at
    height, ground = _medians(np.array([profiles.height[at], profiles.ground[at]]), read.bounds)
    owner = np.repeat(np.arange(len(met)), np.diff(read.bounds))
    alike = np.abs(profiles.ground[at] - ground[owner]) <= _GROUND_LEVELS + _GROUND_SHARE * np.abs(height)[owner]
    alike |= ~met[owner]
    return replace(read, at=at[alike], bounds=starts_of(np.bincount(owner[alike], minlength=len(met))))


def _evened(offsets: Float64, read: _Read, paths: Paths) -> Float64:
    """Return smooth offsets [N] of points, with those that are not sound taken from their stroke's neighbours."""
    counts = np.diff(paths.starts)
    first, last = np.zeros_like(counts), np.zeros_like(counts)
    first[read.number], last[read.number] = read.at[read.bounds[:-1]], read.at[read.bounds[1:] - 1]
    axis = np.minimum(np.maximum(np.arange(len(offsets)), np.repeat(first, counts)), np.repeat(last, counts))
    filled = np.interp(axis, read.at, offsets[read.at])
    even: Float64 = 0.25 * (filled[paths.before] + filled[paths.after]) + 0.5 * filled
    short = counts < 5
    if short.any():
        even = np.where(np.repeat(short, counts), filled, even)
    return even


@dataclass(frozen=True)
class _Ends:
    """Both ends of S strokes, float64 [S, 2]; NaN for an end at a joint, or none.

    `beyond` is how far beyond its last point each lies, px; `drawn` is the same by area. `blur` is that of the edge
    there, px.
    """

    beyond: Float64
    drawn: Float64
    blur: Float64


@dataclass(frozen=True)
class _Read:
    """All profiles, and `at` which of them are sound, int64 [A], of the strokes `number` int64 [S] alone.

    `bounds` [S + 1]: where each stroke's begin in `at`; `starts`, `stops` [S]: where in all. `sharp`: the picture is a
    mask.
    """

    profiles: Profiles
    at: Indices
    number: Indices
    bounds: Indices
    starts: Indices
    stops: Indices
    sharp: bool


@dataclass(frozen=True)
class _Asked:
    """Free ends to be found: the strokes' last points and directions outward, float64 [E, 2], and what they are there.

    `reach` [E]: how far beyond the point it may be, px. `height`, `ground`, `width` [E]: of the stroke beside it.
    `soft` [E]: by how much the picture's blur there is more than a px.
    """

    origin: Float64
    way: Float64
    reach: Float64
    height: Float64
    ground: Float64
    width: Float64
    soft: Float64


def _ends(picture: UInt8, paths: Paths, lines: Float64, read: _Read) -> _Ends:
    """Find the free ends of strokes."""
    stroke, side = np.nonzero(paths.free[read.number])
    ends = np.full((3, len(read.number), 2), np.nan)
    if len(stroke):
        ends[:, stroke, side] = _read_ends(picture, _asked(stroke, side, paths, lines, read))
    return _Ends(*ends)


def _asked(stroke: Indices, side: Indices, paths: Paths, lines: Float64, read: _Read) -> _Asked:
    """Return what is known of free ends, of each its stroke and its side, 0 or 1."""
    profiles, far = read.profiles, side.astype(np.bool_)
    start, stop = read.starts[stroke], read.stops[stroke]
    last = np.where(far, stop - 1, start)
    inner = last + (1 - 2 * side) * np.where(stop - start > 4, 2, 1)
    # the medians of the four profiles beside each end, or of as many as there are
    low, high = read.bounds[stroke], read.bounds[stroke + 1]
    count = np.minimum(4, high - low)
    beside = read.at[np.minimum(np.where(far, high - count, low)[:, None] + _FOUR, high[:, None] - 1)]
    shown = np.array([profiles.height, profiles.ground, profiles.width, profiles.blur])[:, beside]
    shown[:, count[:, None] <= _FOUR] = np.inf
    shown.sort(axis=2)
    height, ground, width, blur = shown[:, np.arange(len(stroke)), count // 2]
    soft = np.minimum(np.maximum(np.minimum(blur, width / 2) - 1.0, 0.0), _SOFT_PX)
    way = lines[last] - lines[inner]
    outward = way / np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-9)[:, None]
    reach = paths.beyond[read.number[stroke], side]
    return _Asked(lines[last], outward, reach, height, ground, width, soft)


_FOUR = np.arange(4)


def _read_ends(picture: UInt8, asked: _Asked) -> Float64:
    """Read rectangles of grey values around the ends of strokes, along each from within to beyond it.

    Float64 [3, E]: how far beyond the point each end lies, the same by area, and the edge's blur, all px.
    """
    # where a blur is wide an end is farther from what it hides, and from its mask's
    farther = 1.5 * asked.soft
    reach, heights, widths = asked.reach + farther, asked.height, asked.width
    inward, outward = widths / 2 + 3.0 + farther, reach + _BEYOND_PX
    along = _ROWS * (inward + outward)[:, None] - inward[:, None]
    across = _COLUMNS * (widths / 2 + 3.0)[:, None]
    inner = ((along < -1.0 - farther[:, None]) & (along > -inward[:, None])).astype(np.float64)
    grey = _rectangles(picture, asked, along, across)
    # the ground goes on from that beside the stroke to that beyond it
    last = np.sort(grey[:, -5:].reshape(len(grey), -1), axis=1)
    beyond = last[:, last.shape[1] // 2]
    share = np.minimum(np.maximum(along / outward[:, None], 0), 1)
    ground = asked.ground[:, None] + share * (beyond - asked.ground)[:, None]
    core = np.abs(across) <= np.maximum(widths / 4, 0.6)[:, None]
    core[:, _END_COLUMNS // 2] = True
    columns = np.ones((len(grey), _END_COLUMNS, 2), np.float32)
    columns[:, :, 0] = core
    total = np.matmul(grey, columns).astype(np.float64)
    sign, many = np.sign(heights)[:, None], columns[:, :, 0].sum(axis=1)[:, None]
    axis_signal, sums = sign * (total[..., 0] / many - ground), sign * (total[..., 1] - _END_COLUMNS * ground)
    inner /= np.maximum(1, inner.sum(axis=1))[:, None]
    top, body = np.einsum("er,er->e", axis_signal, inner), np.einsum("er,er->e", sums, inner)
    step = (inward + outward) / (_END_ROWS - 1)
    places, falls = _outermost(axis_signal, top * LEVELS, along <= reach[:, None] + 2.5)
    crossings = places * step - inward
    out = np.minimum(np.maximum(along / step[:, None] + 0.5, 0), 1) * (along <= reach[:, None] + 5.0)
    drawn = np.einsum("er,er->e", sums, out) * step / np.where(body > 0, body, 1)
    # a round end has less area than a square one; no end has more
    drawn = np.minimum(np.maximum(drawn, crossings[1] - 0.6 * widths - 1), crossings[1] + 1)
    # a line that goes on beyond its mark, as at a region's border, ends where the mask does
    good = (top > 0.4 * np.abs(heights)) & (body > 0) & falls[1]
    blurs = (crossings[0] - crossings[2]) / 1.349
    least = asked.reach - 0.5
    return np.where(good, [crossings[1], drawn, blurs], [least, least, np.full_like(least, np.inf)])


def _rectangles(picture: UInt8, asked: _Asked, along: Float64, across: Float64) -> Float32:
    """Return the grey values, float32 [E, R, C], at places `along` [E, R] and `across` [E, C] the ends, px."""
    ways = asked.way.T[:, :, None]
    normals = np.array([-ways[1], ways[0]])
    middles = ((asked.origin.T - 0.5)[:, :, None] + along * ways).astype(np.float32)
    x, y = middles[:, :, :, None] + (across * normals).astype(np.float32)[:, :, None, :]
    return grey_at(picture, x.reshape(len(x), -1), y.reshape(len(y), -1)).reshape(x.shape)


def _outermost(signal: Float64, level: Float64, near: Bools) -> tuple[Float64, Bools]:
    """Return the last places, in rows, at which signals [E, R] fall below levels [L, E], if they do."""
    over = (signal >= level[:, :, None]) & near
    flat, rows = signal.reshape(-1), np.arange(len(signal)) * signal.shape[1]
    last = signal.shape[1] - 1 - over[:, :, ::-1].argmax(axis=2)
    after = np.minimum(last + 1, signal.shape[1] - 1)
    high, low = flat[rows + last], flat[rows + after]
    place: Float64 = last + np.minimum(np.maximum((high - level) / np.maximum(high - low, 1e-9), 0), 1)
    return place, low < level


def _put_together(paths: Paths, lines: Float64, ends: _Ends, read: _Read, wide: _Widths) -> SizedStrokes:
    """Put strokes together from their profiles, ends and widths."""
    means, largest = _mean_and_largest(wide.widths, read.bounds)
    ends, tapered = _to_their_tips(ends, means, wide.blur)
    points, begins = _lines(paths.closed[read.number], lines, ends, read)
    lengths = lengths_of(points, begins[:-1])
    more = ends.drawn - ends.beyond
    more = np.where(np.isnan(more), 0.0, more) @ (1.0, 1.0)
    return SizedStrokes(
        number=read.number,
        points=points,
        begins=begins,
        widths=wide.widths,
        edges=_edges(paths, read.profiles, read.at, wide.widths),
        bounds=read.bounds,
        width_px=means,
        width_max_px=largest,
        u_width_px=np.hypot(wide.u, means * tapered / np.maximum(lengths, 1e-9)),
        length_px=lengths,
        drawn_px=np.maximum(0.25 * lengths, lengths + more),
        blur=wide.blur,
        height=wide.height,
        resolved=wide.resolved,
    )


def _to_their_tips(ends: _Ends, widths: Float64, blur: Float64) -> tuple[_Ends, Float64]:
    """Return ends whose pointed ones reach to their tips, which the blur hides; and how much strokes taper, [S] px.

    A pointed end has less area than a square one. `widths`, `blur` [S]: of the strokes, px.
    """
    lacking = np.where(np.isnan(ends.drawn), 0.0, ends.beyond - ends.drawn) / np.maximum(widths, 1e-9)[:, None]
    pointed = np.clip((lacking - _SQUARE) / (_POINTED - _SQUARE), 0.0, 1.0)
    hidden = pointed * (_HIDDEN_PX + _HIDDEN * blur)[:, None]
    return replace(ends, beyond=ends.beyond + hidden), pointed.sum(axis=1) * _POINTED * widths


# Far more than any value whose median is asked for.
_APART = float(2**24)


def _medians(values: Float64, bounds: Indices) -> Float64:
    """Return of each part of values, [K, W], the median, the upper one of two, [K, S]; parts begin at `bounds`."""
    counts = np.diff(bounds)
    apart = _APART * np.arange(len(counts))
    ordered = np.sort(values + np.repeat(apart, counts), axis=1)
    medians: Float64 = ordered[:, bounds[:-1] + counts // 2] - apart
    return medians


def _edges(paths: Paths, profiles: Profiles, at: Indices, widths: Float64) -> Float64:
    """Return both edges of the profiles `at`, float64 [2, A, 2] px, which are so wide, [A] px."""
    normals = paths.normals[at]
    middle = paths.points[at] + ((profiles.left[at] + profiles.right[at]) / 2)[:, None] * normals
    half = normals * (widths / 2)[:, None]
    edges = np.empty((2, *middle.shape))
    np.subtract(middle, half, out=edges[0])
    np.add(middle, half, out=edges[1])
    return edges


def _mean_and_largest(widths: Float64, bounds: Indices) -> tuple[Float64, Float64]:
    """Return of each stroke the mean of its widths, and the largest that three neighbours agree on, float64 [S]."""
    starts, stops = bounds[:-1], bounds[1:]
    counts = stops - starts
    means = np.add.reduceat(widths, starts) / counts
    agreed = np.full_like(widths, -np.inf)
    np.minimum(np.minimum(widths[:-2], widths[1:-1]), widths[2:], out=agreed[:-2])
    agreed[stops - 1], agreed[stops - 2] = -np.inf, -np.inf  # the third of these is another stroke's
    largest = np.maximum(means, np.maximum.reduceat(agreed, starts))
    few = counts < 3
    if few.any():
        largest[few] = np.maximum.reduceat(widths, starts)[few]
    return means, largest


@dataclass(frozen=True)
class _Widths:
    """The widths of S strokes: `widths` float64 [A] px, at each sound profile; all else is [S].

    `u`: standard uncertainty of their mean by the pixels' noise, px, 0 where that is not known. `blur`: its deviation,
    px, or what it looks like where that cannot be told; `height`: grey levels; `resolved` bool: whether the width is
    told from the blur.
    """

    widths: Float64
    u: Float64
    blur: Float64
    height: Float64
    resolved: Bools


def _widths(picture: UInt8, paths: Paths, lines: Float64, ends: _Ends, read: _Read) -> _Widths:
    """Return how wide strokes are without the picture's blur, as far as it can be told."""
    profiles, at = read.profiles, read.at
    shown, counts = profiles.width[at], np.diff(read.bounds)
    half, blurred, height = _medians(np.array([shown, profiles.blur[at], profiles.height[at]]), read.bounds)
    none = np.zeros_like(half)
    if read.sharp:
        return _Widths(shown, none, none, height, np.ones(len(half), np.bool_))
    resolved = half >= np.where(blurred < _WIDE_PX, _STEEP, _STEEP_IN_WIDE) * blurred
    if resolved.all():
        return _Widths(unblurred(shown, np.repeat(blurred, counts)), none, blurred, height, resolved)
    asked = ~resolved if (half >= _NARROW * blurred).all() else half < _HELPFUL * blurred
    narrow = asked & (half < _NARROW * blurred)
    around = _around(paths, lines, read, asked, np.array([half, blurred]))
    boxes = boxes_of(picture, around, _tips_of(lines, ends, read, asked, narrow))
    told = np.zeros_like(resolved)
    told[asked] = boxes.told
    blurs = np.where(resolved, blurred, _blur_of_ends(half, ends))
    blurs[told] = boxes.blur[boxes.told]
    widths = unblurred(shown, np.repeat(blurs, counts))
    own = np.add.reduceat(widths, read.bounds[:-1]) / counts
    # what is not told lies between the least that the pixels allow and what the stroke looks like
    least = np.zeros_like(own)
    least[asked] = np.where(boxes.settled, np.maximum(0, boxes.width - 2 * boxes.u), 0)
    means, u = own.copy(), np.where(resolved, 0.0, np.maximum(half - own, own - least) / 2)
    means[told], u[told] = boxes.width[boxes.told], boxes.u[boxes.told]
    widths *= np.repeat(means / np.maximum(own, 1e-9), counts)
    return _Widths(widths, u, np.where(blurs > 0, blurs, blurred), height, resolved | (blurs > 0))


def _blur_of_ends(half: Float64, ends: _Ends) -> Float64:
    """Return the blur of strokes' sharpest ends, px, [S], where that can be; 0 where not. `half`: their widths."""
    with_blur = np.where((ends.blur > 0) & np.isfinite(ends.blur), ends.blur, np.inf).min(axis=1)
    return np.where(2.3 * with_blur < half, with_blur, 0.0)


def _tips_of(lines: Float64, ends: _Ends, read: _Read, asked: Bools, narrow: Bools) -> Tips:
    """Return the free ends that the picture shows of those strokes that are `narrow`, of all `asked` for, bool [S]."""
    stroke, side = np.nonzero(np.isfinite(ends.blur) & narrow[:, None])
    last = np.where(side == 1, read.stops[stroke] - 1, read.starts[stroke])
    inner = last + (1 - 2 * side) * np.minimum(3, read.stops[stroke] - read.starts[stroke] - 1)
    way = lines[last] - lines[inner]
    way /= np.maximum(np.hypot(way[:, 0], way[:, 1]), 1e-9)[:, None]
    return Tips(lines[last] + ends.beyond[stroke, side][:, None] * way, way, (np.cumsum(asked) - 1)[stroke])


def _around(paths: Paths, lines: Float64, read: _Read, asked: Bools, shown: Float64) -> Lines:
    """Return where the strokes that are `asked` for, bool [S], are read; `shown` [2, S]: their widths and blurs, px."""
    counts = np.diff(read.bounds)
    skip = -(-int(counts[asked].sum()) // _PLACES_AT_MOST)
    number = np.arange(len(read.at)) - np.repeat(read.bounds[:-1], counts)
    kept = np.repeat(asked, counts) & (number % skip == 0)
    at = read.at[kept]
    normals = _normals(lines, paths.before, paths.after, paths.starts, paths.closed)
    before, after = paths.before[at], paths.after[at]
    way = lines[after] - lines[before]
    steps = np.maximum(1, (before != at).astype(np.int64) + (after != at))
    half, blurred = shown[:, asked]
    return Lines(
        points=lines[at],
        normals=normals[at],
        apart=np.hypot(way[:, 0], way[:, 1]) / steps,
        starts=starts_of(-(-counts[asked] // skip))[:-1],
        half=half,
        blur=blurred,
    )


def _lines(closed: Bools, lines: Float64, ends: _Ends, read: _Read) -> tuple[Float64, Indices]:
    """Return the lines of strokes to their `ends`, float64 [P, 2], and where each begins and the last ends.

    Rings end where they begin.
    """
    counts = read.stops - read.starts
    first, last = ends.beyond[:, 0] >= 0, ends.beyond[:, 1] >= 0
    begins = starts_of(counts + first + (last | closed))
    each = np.arange(len(lines)) if len(lines) == counts.sum() else _parts(read.starts, counts)
    points = np.empty((begins[-1], 2))
    points[np.arange(len(each)) + np.repeat(begins[:-1] + first - starts_of(counts)[:-1], counts)] = lines[each]
    points[begins[:-1][first]] = _tips(lines, read.starts[first], 2, ends.beyond[first, 0])
    points[begins[1:][last] - 1] = _tips(lines, read.stops[last] - 1, -2, ends.beyond[last, 1])
    points[begins[1:][closed] - 1] = lines[read.starts[closed]]
    return _shortened(points, begins, ends.beyond) if (ends.beyond < 0).any() else (points, begins)


def _parts(starts: Indices, counts: Indices) -> Indices:
    """Return the places of so many things from each of `starts` on."""
    return np.arange(counts.sum()) + np.repeat(starts - starts_of(counts)[:-1], counts)


def _tips(lines: Float64, at: Indices, inward: int, beyond: Float64) -> Float64:
    """Return the points, [E, 2], `beyond` px from those `at` the ends of lines, which go on as they came."""
    end = lines[at]
    way = end - lines[at + inward]
    tips: Float64 = end + (beyond / np.maximum(1e-9, np.hypot(way[:, 0], way[:, 1])))[:, None] * way
    return tips


def _shortened(points: Float64, begins: Indices, beyond: Float64) -> tuple[Float64, Indices]:
    """Cut lines whose ends lie before their last points: `beyond` [S, 2] is below 0 there."""
    parts = []
    places = begins.tolist()
    for start, stop, (first, last) in zip(places, places[1:], beyond.tolist(), strict=False):
        own = points[start:stop]
        if first < 0:
            own = _cut(own, -first)
        if last < 0:
            own = _cut(own[::-1], -last)[::-1]
        parts.append(own)
    return np.concatenate(parts), starts_of(np.array([len(part) for part in parts]))


def _cut(points: Float64, gone: float) -> Float64:
    """Return a line without its first `gone` px."""
    at = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    keep = at > gone
    if keep.sum() < 2:
        return points[-2:]
    start = np.array([np.interp(gone, at, points[:, axis]) for axis in (0, 1)])
    return np.concatenate([start[None], points[keep]])
