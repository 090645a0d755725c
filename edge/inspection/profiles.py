"""Grey values across and along strokes → where their edges are, to a fraction of a pixel.

Across a stroke the picture is read along its normal (bilinear). The ground is a straight line between both sides. The
edges are half-way in grey value from it to the stroke's own (full width at half maximum). A stroke that is narrow
against the picture's blur looks wider and paler than it is. A box of width w, blurred by a Gaussian of standard
deviation s, has another width at each height. Its widths at a quarter, a half and three quarters of its height tell w
and s apart. They tell w and s apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.inspection.packed import Bools
from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

# Readings across a stroke, and how many at either end are ground.
ACROSS = 49
_GROUND = 6
# A stroke is not measured by grey values where it stands out from its ground by too little. That is this many grey
# levels, or so many times the ground's own unevenness.
_LEVELS_AT_LEAST = 6.0
_UNEVENNESS = 3.0
# The height of a stroke is the mean of what reaches this share of its highest reading.
_PLATEAU = 0.75


_PLACES: Float32 = np.linspace(-1.0, 1.0, ACROSS, dtype=np.float32)


@dataclass(frozen=True)
class Profiles:
    """N readings across strokes, each float64 [N] in px: edges at `left` and `right` of the line read along.

    `above` [N, ACROSS]: grey levels above the ground, positive for what the stroke is, read every `step` [N] px.
    `width`: between both. `blur`: the standard deviation of the picture's blur there. `height`: grey levels above the
    ground, negative where the stroke is darker. `ground`: grey level. `sound`: whether it can be believed.
    """

    left: Float64
    right: Float64
    width: Float64
    blur: Float64
    height: Float64
    ground: Float64
    sound: Bools
    above: Float32
    step: Float64


def grey_at(picture: UInt8, x: Float32, y: Float32) -> Float32:
    """Read grey values, float32 [N, M], at points (x, y), float32 [N, M].

    The picture is uint8 [H, W] or [H, W, C]. Points are in px from the centre of the first pixel. Bilinear between the
    centres of pixels; beyond the picture as at its border.
    """
    read = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if read.ndim == 3:
        read = cv2.cvtColor(read, cv2.COLOR_BGR2GRAY) if read.shape[2] == 3 else read[..., 0]
    values: Float32 = read.astype(np.float32)
    return values


@dataclass(frozen=True)
class Stations:
    """The places of N profiles: at `points` [N, 2] along unit `normals` [N, 2], `reach` [N] px to either side.

    `half_width` [N]: no edge lies farther from the point. `owner` [N]: the stroke of each, in order. Neighbours of one
    stroke are averaged, and all of a stroke stand out to one side.
    """

    points: Float64
    normals: Float64
    reach: Float64
    half_width: Float64
    owner: npt.NDArray[np.int64]


def read_across(picture: UInt8, stations: Stations) -> Profiles:
    """Read profiles across strokes in a picture, uint8 [H, W] or [H, W, C]."""
    owner, reach = stations.owner, stations.reach
    offsets: Float32 = reach.astype(np.float32)[:, None] * _PLACES
    starts, ways = (stations.points - 0.5).astype(np.float32), stations.normals.astype(np.float32)
    x, y = ways[:, :1] * offsets, ways[:, 1:] * offsets
    x += starts[:, :1]
    y += starts[:, 1:]
    grey = _averaged(grey_at(picture, x, y), owner)
    ground, middle_ground = _ground(grey)
    above = grey - ground
    half_widths = stations.half_width.astype(np.float32)[:, None]
    columns = _within_reach(stations)
    far = np.abs(offsets[:, columns])
    own = above[:, columns] * (far <= half_widths + 0.5)
    sign = _sign(own, owner)
    if sign.min() < 0:
        above *= sign[:, None]
        own *= sign[:, None]
    plateau = (own >= _PLATEAU * own.max(axis=1)[:, None]).astype(np.float32)
    height = np.einsum("ij,ij->i", own, plateau).astype(np.float64) / np.maximum(1, np.einsum("ij->i", plateau))
    lefts, rights, closed = _edges(above, columns, height, far <= half_widths + 2.5)
    step, middle = reach * 2 / (ACROSS - 1), (ACROSS - 1) / 2
    widths = (rights - lefts) * step
    high = height >= np.maximum(_LEVELS_AT_LEAST, _UNEVENNESS * _unevenness(grey, ground, owner))
    # points between both ends of a profile lie in the picture as the ends do; nearly always that says all
    within = _within(picture, x[:, :: ACROSS - 1], y[:, :: ACROSS - 1])
    if not within.all():
        within = _within(picture, x, y, np.abs(offsets) <= half_widths + 2.5)
    return Profiles(
        left=(lefts[1] - middle) * step,
        right=(rights[1] - middle) * step,
        width=widths[1],
        blur=blur_of(widths[0], widths[1], widths[2]),
        height=height * sign,
        ground=middle_ground,
        sound=closed & high & within,
        above=above,
        step=step,
    )


def _within_reach(stations: Stations) -> slice:
    """Return which readings of a profile may lie at an edge, or next to one, of any station."""
    share = float(((stations.half_width + 2.5) / stations.reach).max())
    each_way = min(ACROSS // 2, math.ceil(share * (ACROSS // 2)) + 1)
    return slice(ACROSS // 2 - each_way, ACROSS // 2 + each_way + 1)


def _averaged(grey: Float32, owner: npt.NDArray[np.int64]) -> Float32:
    """Average each profile with its neighbours on the same stroke, 1 : 2 : 1."""
    if len(grey) < 2:
        return grey
    smooth, quarter = grey * 0.5, grey * 0.25
    smooth[1:] += quarter[:-1]
    smooth[:-1] += quarter[1:]
    smooth[0] += quarter[0]
    smooth[-1] += quarter[-1]
    last = np.flatnonzero(owner[1:] != owner[:-1])  # of a stroke: its own value in place of the next stroke's
    apart = quarter[last] - quarter[last + 1]
    smooth[last] += apart
    smooth[last + 1] -= apart
    return smooth


def _ground(grey: Float32) -> tuple[Float32, Float64]:
    """Return the ground beneath each profile, a straight line between what both ends show, and its mean [N]."""
    left, right = (_middle(cv2.sort(grey[:, ends], cv2.SORT_EVERY_ROW)) for ends in _ENDS)
    line: Float32 = (right - left) * _SHARE
    line += left
    return line, ((left + right) * 0.5)[:, 0].astype(np.float64)


_ENDS = slice(None, _GROUND), slice(-_GROUND, None)


def _middle(ordered: Float32) -> Float32:
    """Return the medians [N, 1] of ordered rows [N, _GROUND]."""
    half = _GROUND // 2
    medians: Float32 = (ordered[:, half - 1 : half] + ordered[:, half : half + 1]) * np.float32(0.5)
    return medians


# The place of each reading between the middle of the ground at one end and that at the other.
_SHARE: Float32 = np.clip(
    (np.arange(ACROSS) - (_GROUND - 1) / 2) / (ACROSS - _GROUND), 0, 1, dtype=np.float32, casting="unsafe"
)


def _unevenness(grey: Float32, ground: Float32, owner: npt.NDArray[np.int64]) -> Float64:
    """Return how far the ground at the ends of a stroke's profiles is from its line: the stroke's root mean square."""
    rest = np.empty((len(grey), 2 * _GROUND), np.float32)
    for ends in _ENDS:
        np.subtract(grey[:, ends], ground[:, ends], out=rest[:, ends])
    squares = np.bincount(owner, np.einsum("ij,ij->i", rest, rest))
    each: Float64 = np.sqrt(squares / np.maximum(1, 2 * _GROUND * np.bincount(owner)))[owner]
    return each


def _sign(own: Float32, owner: npt.NDArray[np.int64]) -> Float32:
    """Return for each profile 1 where its stroke is brighter than the ground, -1 where it is darker."""
    strength = np.bincount(owner, np.einsum("ij->i", own))
    signs: Float32 = np.where(strength < 0, -1.0, 1.0)[owner].astype(np.float32)
    return signs


# The shares of a stroke's height at which its width is read.
LEVELS = np.array([[0.25], [0.5], [0.75]])


def _edges(above: Float32, columns: slice, height: Float64, wide: Bools) -> tuple[Float64, Float64, Bools]:
    """Return where each profile first and last crosses `LEVELS` of its height, float64 [3, N], in readings.

    And whether it crosses the middle one at all, bool [N]. `wide` bool [N, C]: which of `columns` may be within.
    """
    level = height * LEVELS
    inside = (above[:, columns] >= level.astype(np.float32)[:, :, None]) & wide
    left = columns.start + inside.argmax(axis=2)
    right = columns.stop - 1 - inside[:, :, ::-1].argmax(axis=2)
    # the readings just without and just within each edge
    at = np.array([np.maximum(left - 1, 0), np.minimum(right + 1, ACROSS - 1), left, right])
    values = above.reshape(-1).take(at + np.arange(0, above.size, ACROSS))
    out, within = values[:2], values[2:]
    closed = (within[0, 1] >= level[1]) & (out[0, 1] < level[1]) & (out[1, 1] < level[1])
    share = _share(out, within, level)
    return at[0] + share[0], at[1] - share[1], closed


def _share(low: Float32, high: Float32, level: Float64) -> Float64:
    """Return how far from one reading to the next a level lies, 0 to 1."""
    share: Float64 = np.minimum(np.maximum((level - low) / np.maximum(high - low, 1e-9), 0), 1)
    return share


def _within(picture: UInt8, x: Float32, y: Float32, near: Bools | None = None) -> Bools:
    """Tell which profiles, read at (x, y) from the first pixel's centre, lie within the picture where they are `near`.

    None: as a whole.
    """
    bottom, right = picture.shape[0] - 0.5, picture.shape[1] - 0.5
    inside = (x >= -0.5) & (y >= -0.5) & (x <= right) & (y <= bottom)
    within: Bools = (inside if near is None else inside | ~near).all(axis=1)
    return within


_ERF_AXIS = np.linspace(-6.0, 6.0, 12_001)
_ERF = np.array([math.erf(x) for x in _ERF_AXIS.tolist()])


def erf(x: Float64) -> Float64:
    """Return the error function, to 1e-7, of float64 of any shape."""
    values: Float64 = np.interp(x, _ERF_AXIS, _ERF)
    return values


def _tables() -> tuple[Float64, Float64]:
    """Return a blurred box's width at its half, and its steepness, by width / blur of 0.2 to 20, see `_of`."""
    ratios = np.geomspace(0.2, 20, 120)
    halves, steepness = [], []
    for ratio in ratios:
        x = np.linspace(0, ratio / 2 + 5, 4000)
        shape = (erf((x + ratio / 2) / 2**0.5) - erf((x - ratio / 2) / 2**0.5)) / 2
        height = shape[shape >= _PLATEAU * shape[0]].mean()
        quarter, half, most = (2 * x[np.argmax(shape < height * level)] for level in (0.25, 0.5, 0.75))
        halves.append(half)
        steepness.append(most / quarter)
    return np.array(halves), np.array(steepness)


_RATIOS = np.geomspace(0.2, 20, 120)
_HALVES, _STEEPNESS = _tables()


def blur_of(quarter: Float64, half: Float64, most: Float64) -> Float64:
    """Return the blur's standard deviation, px, of profiles so wide at 1/4, 1/2 and 3/4 of their height, in px."""
    steepness = most / np.maximum(quarter, 1e-9)
    blur: Float64 = half / np.interp(steepness, _STEEPNESS, _HALVES)
    return blur


def unblurred(half: Float64, blur: Float64) -> Float64:
    """Return true widths, [N] px, of strokes so wide at half their height, under blurs of this deviation, px."""
    shown = half / np.where(blur > 0, blur, 1)
    narrow = (blur > 0) & (shown <= _HALVES[-1])
    width: Float64 = np.where(narrow, np.interp(shown, _HALVES, _RATIOS) * blur, half)
    return width
