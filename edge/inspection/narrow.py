"""Widths of strokes that are narrow against the picture's blur, by least squares over the pixels around them.

Two numbers describe a box of width w under a Gaussian of deviation s. They are the variance of its profile, V = s² + w²
/ 12, and its flatness, k = w⁴ / V². Noise hides the second first. So a stroke is read about once for each pixel, and
all is laid into one profile. A frame has one blur: what one stroke tells of it helps the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.inspection.packed import Bools, Indices
from edge.inspection.profiles import erf, grey_at, unblurred
from edge.records import Float64, UInt8

# Readings of all strokes together: of more, each stroke's lie farther apart.
_READINGS_AT_MOST = 60_000
# A profile is read so far beyond its stroke's edge, in deviations of the blur, and px.
_BEYOND, _BEYOND_PX = 3.2, 1.5
# The fit is done when nothing changes by more than this share, or after so many steps.
_SETTLED, _STEPS = 0.002, 5
# The flatness k of a box 0.8 times as wide as the blur's deviation, and 20 times as wide.
_FLAT_FROM, _FLAT_TO = 0.37, 135.0
# A width is told where its standard uncertainty is at most this share of it.
_TOLD = 0.1
# The blur differs by this share of it, at least, between the places of a picture.
_BLUR_DIFFERS = 0.004
# An end tells the blur where it is square. A round end of a stroke w px wide adds so many times w² / s px. One whose
# blur is more than so many standard uncertainties from its stroke's is none.
_ROUND, _ALIKE = 0.0018, 2.5
# Readings beside each other share pixels: the fit is less certain than their scatter says.
_SHARED = 1.8


@dataclass(frozen=True)
class Lines:
    """The places where F strokes are read: N of them on their middles, float64 [N, 2] px, with unit `normals` [N, 2].

    `apart` [N]: how long a part of its stroke each stands for, px. `starts` int64 [F]: where each stroke's begin.
    `half` [F]: how wide the strokes are at half their height, px; `blur` [F]: about the blur's deviation, px.
    """

    points: Float64
    normals: Float64
    apart: Float64
    starts: Indices
    half: Float64
    blur: Float64


@dataclass(frozen=True)
class Tips:
    """The ends of strokes: at `points` float64 [E, 2] px, with the unit ways outward, [E, 2]; `of` int64 [E]: which."""

    points: Float64
    ways: Float64
    of: Indices


@dataclass(frozen=True)
class Boxes:
    """The blurred boxes that F strokes are most like, float64 [F] each, px.

    `width`, and `u`, its standard uncertainty; `blur`: the blur's deviation, as bilinear readings show it. `told` bool
    [F]: whether the pixels tell the width. `settled` bool [F]: whether the fit came to rest at all.
    """

    width: Float64
    u: Float64
    blur: Float64
    told: Bools
    settled: Bools


@dataclass(frozen=True)
class _Means:
    """The mean profiles of F strokes, float64 [F, B], read at `axis` [B] px; `inside` [F, B]: 1 where they count.

    `spread` [F]: what bilinear reading adds to the blur's variance, px².
    """

    grey: Float64
    axis: Float64
    inside: Float64
    spread: Float64


@dataclass(frozen=True)
class _Fits:
    """The findings of F strokes, float64 [F]: the `variance` of the profile, px², and the blur's deviation, px.

    `covariance` [F, 2, 2]: of these two. `settled` bool [F]: whether the fit came to rest.
    """

    variance: Float64
    blur: Float64
    covariance: Float64
    settled: Bools


@dataclass(frozen=True)
class _Blurs:
    """The picture's blur as M places tell it: its deviation and the uncertainty's square, float64 [M], px."""

    blur: Float64
    doubt: Float64


def boxes_of(picture: UInt8, lines: Lines, tips: Tips) -> Boxes:
    """Find the boxes of strokes in a picture, uint8 [H, W] or [H, W, C]; of some the ends are known."""
    means = _means(picture, lines)
    own = _fitted(means, lines)
    fits = _shared(own, means.spread, _at_tips(picture, tips, means, own))
    width = np.sqrt(np.maximum(12 * (fits.variance - fits.blur**2), 1e-6))
    # w² = 12 (V - s²)
    ways = np.stack([6 / width, -12 * fits.blur / width], axis=1)
    u = np.sqrt(np.maximum(np.einsum("fi,fij,fj->f", ways, fits.covariance, ways), 0))
    told = fits.settled & (u <= _TOLD * width) & (width <= 1.05 * lines.half)
    return Boxes(width, u, fits.blur, told, fits.settled)


def _means(picture: UInt8, lines: Lines) -> _Means:
    """Read the strokes' profiles, a px apart along and across, and lay those of each stroke over each other."""
    half = lines.half / 2 + _BEYOND * np.minimum(lines.blur, lines.half / 2) + _BEYOND_PX
    reach = int(np.ceil(half.max()))
    axis = np.arange(-reach, reach + 1, dtype=np.float64)
    room = _READINGS_AT_MOST / (len(lines.points) * len(axis))
    each = int(max(1, min(np.ceil(lines.apart.max()), room)))
    along = ((np.arange(each) + 0.5) / each - 0.5) * lines.apart[:, None]
    points, ways = (lines.points - 0.5).T.astype(np.float32), lines.normals.T.astype(np.float32)
    tangents = np.array([ways[1], -ways[0]])
    middles = points[:, :, None] + along.astype(np.float32) * tangents[:, :, None]
    x, y = middles[..., None] + (ways[:, :, None] * axis.astype(np.float32))[:, :, None, :]
    grey = grey_at(picture, x.reshape(-1, len(axis)), y.reshape(-1, len(axis)))
    counts = np.diff(np.append(lines.starts, len(lines.points)))
    total = np.add.reduceat(grey.reshape(x.shape).sum(axis=1, dtype=np.float64), lines.starts)
    share = np.array([x[:, :, ::5], y[:, :, ::5]])
    share -= np.floor(share)
    spread = ((share * (1 - share)).mean(axis=(2, 3)) * ways**2).sum(axis=0).astype(np.float64)
    return _Means(
        grey=total / (each * counts)[:, None],
        axis=axis,
        inside=(np.abs(axis) <= half[:, None]).astype(np.float64),
        spread=np.add.reduceat(spread, lines.starts) / counts,
    )


def _fitted(means: _Means, lines: Lines) -> _Fits:
    """Fit a box, a Gaussian, a height, a place and a straight ground to profiles: Gauss-Newton in ln V and k."""
    blur = np.clip(lines.blur, lines.half / 8, lines.half / 3)  # from a start that is too narrow it finds no way back
    width = unblurred(lines.half, blur)
    variance = blur**2 + width**2 / 12
    flat = np.minimum(width**4 / variance**2, 0.9 * _FLAT_TO)
    ends = np.flatnonzero(np.abs(means.axis) >= np.abs(means.axis).max() - 1)
    ground = means.grey[:, ends].mean(axis=1)
    middle = means.grey[:, len(means.axis) // 2]
    peak = np.where(middle == ground, 1.0, middle - ground)
    linear = np.stack([np.zeros_like(ground), peak, ground, np.zeros_like(ground)], axis=1)
    for _ in range(_STEPS):
        columns, shown = _model(means.axis, variance, flat, linear)
        columns *= means.inside[:, :, None]
        rest = (means.grey - shown) * means.inside
        turned = columns.transpose(0, 2, 1)
        normal = turned @ columns
        normal[:, _DIAGONAL, _DIAGONAL] += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None] + 1e-9
        inverse = np.linalg.inv(normal)
        pull = turned @ rest[:, :, None]
        step = (inverse @ pull)[:, :, 0]
        variance = variance * np.exp(np.clip(step[:, 0], -0.5, 0.5))
        flat = np.clip(flat + step[:, 1], np.maximum(_FLAT_FROM, flat / 3), np.minimum(_FLAT_TO, flat * 3))
        linear = linear + step[:, 2:]
        linear[:, 1] = peak * np.clip(linear[:, 1] / peak, 0.9, 6.0)  # no box is lower than what it shows
        moved = np.maximum(np.abs(step[:, 0]), np.abs(step[:, 1]) / flat)
        if moved.max() <= _SETTLED:
            break
    squares = np.einsum("fb,fb->f", rest, rest) - np.einsum("fi,fi->f", step, pull[:, :, 0])
    scatter = np.maximum(squares, 0) / np.maximum(1, means.inside.sum(axis=1) - len(_DIAGONAL))
    blur = np.sqrt(variance * (1 - np.sqrt(flat) / 12))
    # from ln V and k to V and s: s² = V (1 - sqrt(k) / 12)
    ways = np.zeros((len(flat), 2, 2))
    ways[:, 0, 0], ways[:, 1, 0] = variance, blur / 2
    ways[:, 1, 1] = -variance / (48 * blur * np.sqrt(flat))
    known = inverse[:, :2, :2] * (_SHARED * scatter)[:, None, None]
    return _Fits(variance, blur, ways @ known @ ways.transpose(0, 2, 1), moved <= 10 * _SETTLED)


_DIAGONAL = np.arange(6)


def _model(axis: Float64, variance: Float64, flat: Float64, linear: Float64) -> tuple[Float64, Float64]:
    """Return how profiles change with ln V, k, place, height and the ground's two, [F, B, 6], and the profiles."""
    place, height, ground, slope = linear.T[:, :, None]
    root = np.sqrt(flat)
    width, blur = np.sqrt(root * variance)[:, None], np.sqrt(variance * (1 - root / 12))[:, None]
    right, left = (axis - place + width / 2) / blur, (axis - place - width / 2) / blur
    shape = (erf(right * 2**-0.5) - erf(left * 2**-0.5)) / 2
    here, there = (np.exp(-0.5 * each**2) / ((2 * np.pi) ** 0.5 * blur) for each in (right, left))
    by_width, by_blur = (here + there) / 2, left * there - right * here
    columns = np.empty((*shape.shape, 6))
    columns[..., 0] = height * (by_width * width + by_blur * blur) / 2
    columns[..., 1] = height * (
        by_width * width / (4 * flat[:, None]) - by_blur * variance[:, None] / (48 * blur * root[:, None])
    )
    columns[..., 2] = height * (there - here)
    columns[..., 3] = shape
    columns[..., 4] = 1.0
    columns[..., 5] = axis / axis[-1]
    return columns, height * shape + ground + slope * (axis / axis[-1])


def _at_tips(picture: UInt8, tips: Tips, means: _Means, fits: _Fits) -> _Blurs:
    """Return what the ends of strokes tell of the blur, along them.

    Ends that are not square are left out. Across, an end is weighed as its stroke's profile is; along, a step is fitted
    to it.
    """
    if not len(tips.of):
        return _Blurs(np.empty(0), np.empty(0))
    of = tips.of
    blur, width = fits.blur[of], np.sqrt(np.maximum(12 * (fits.variance - fits.blur**2), 0))[of]
    far = _BEYOND * blur + _BEYOND_PX
    along = np.arange(-int(np.ceil(far.max())), int(np.ceil(far.max())) + 1, dtype=np.float64)
    shape = (_step((means.axis + width[:, None] / 2) / blur[:, None])) - _step(
        (means.axis - width[:, None] / 2) / blur[:, None]
    )
    weights = shape * means.inside[of]
    ways = tips.ways.T[:, :, None]
    places = (tips.points - 0.5).T[:, :, None] + ways * along
    x, y = places[..., None] + (np.array([-ways[1], ways[0]]) * means.axis)[:, :, None, :]
    x, y = x.astype(np.float32), y.astype(np.float32)
    grey = grey_at(picture, x.reshape(-1, len(means.axis)), y.reshape(-1, len(means.axis))).reshape(x.shape)
    shown = np.einsum("evb,eb->ev", grey, weights) / weights.sum(axis=1)[:, None]
    inside = (np.abs(along) <= far[:, None]).astype(np.float64)
    found, doubt, settled = _steps_in(shown, along, inside, blur)
    share = np.array([x[:, :, ::5], y[:, :, ::5]])
    share -= np.floor(share)
    spread = ((share * (1 - share)).mean(axis=(2, 3)) * ways[:, :, 0] ** 2).sum(axis=0)
    pixels = np.sqrt(np.maximum(found**2 - spread, 0.01))
    theirs = np.sqrt(np.maximum(blur**2 - means.spread[of], 0.01))
    doubt = doubt + (_ROUND * width**2 / pixels) ** 2
    alike = np.abs(pixels - theirs) <= _ALIKE * np.sqrt(doubt + fits.covariance[of, 1, 1])
    return _Blurs(pixels[settled & alike], doubt[settled & alike])


def _step(x: Float64) -> Float64:
    """Return the share of a Gaussian of deviation 1 below x, of any shape."""
    below: Float64 = (1 + erf(x * 2**-0.5)) / 2
    return below


def _steps_in(shown: Float64, along: Float64, inside: Float64, blur: Float64) -> tuple[Float64, Float64, Bools]:
    """Fit a blurred step down to profiles [E, V] along `along` [V], where they are `inside`, by Gauss-Newton.

    Return its blur's deviation [E], px, the square of its standard uncertainty, and whether the fit came to rest.
    """
    ground, height = shown[:, -1], shown[:, 0] - shown[:, -1]
    found = np.stack([blur, np.zeros_like(blur), height, ground], axis=1)
    for _ in range(_STEPS):
        deviation, place, height, ground = found.T[:, :, None]
        at = (place - along) / deviation
        bell = height * np.exp(-0.5 * at**2) / ((2 * np.pi) ** 0.5 * deviation)
        columns = np.stack([-at * bell, bell, _step(at), np.ones_like(at)], axis=2) * inside[:, :, None]
        rest = (shown - height * columns[:, :, 2] - ground) * inside
        turned = columns.transpose(0, 2, 1)
        normal = turned @ columns
        normal[:, _DIAGONAL[:4], _DIAGONAL[:4]] += 1e-9 * np.trace(normal, axis1=1, axis2=2)[:, None] + 1e-9
        inverse = np.linalg.inv(normal)
        pull = turned @ rest[:, :, None]
        step = (inverse @ pull)[:, :, 0]
        step[:, :2] = np.clip(step[:, :2], -0.3 * blur[:, None], 0.3 * blur[:, None])
        found = found + step
        found[:, 0] = np.clip(found[:, 0], 0.4 * blur, 2.5 * blur)
        if (np.abs(step[:, 0]) <= _SETTLED * blur).all():
            break
    squares = np.maximum(np.einsum("ev,ev->e", rest, rest) - np.einsum("ei,ei->e", step, pull[:, :, 0]), 0)
    scatter = squares / np.maximum(1, inside.sum(axis=1) - 4)
    return found[:, 0], _SHARED * scatter * inverse[:, 0, 0], np.abs(step[:, 0]) <= 10 * _SETTLED * blur


def _shared(fits: _Fits, spread: Float64, tips: _Blurs) -> _Fits:
    """Return fits, each with what the other strokes and the ends tell of the blur, where all agree."""
    if len(spread) + len(tips.blur) < 2:
        return fits
    own = np.sqrt(np.maximum(fits.blur**2 - spread, 0.01))  # the picture's, whatever the direction of reading
    blurs = np.concatenate([own, tips.blur])
    doubts = np.concatenate([fits.covariance[:, 1, 1] * (fits.blur / own) ** 2, tips.doubt])
    weights = 1 / np.maximum(doubts, 1e-8)
    mean = (weights @ blurs) / weights.sum()
    # the difference of the blurs (DerSimonian and Laird, 1986), where 99.7 % of equal ones would differ by less
    free = len(blurs) - 1
    by_chance = free * (1 - 2 / (9 * free) + 2.75 * (2 / (9 * free)) ** 0.5) ** 3  # Wilson and Hilferty, 1931
    differ = weights @ (blurs - mean) ** 2
    beyond = differ - free if differ > by_chance else 0.0
    apart = max((_BLUR_DIFFERS * mean) ** 2, beyond / (weights.sum() - (weights @ weights) / weights.sum()))
    weights = 1 / (doubts + apart)
    mine = weights[: len(own)]
    others = weights.sum() - mine
    blur = np.sqrt((weights @ blurs - mine * own) ** 2 / others**2 + spread)
    doubt = (1 / others + apart) * (own / blur) ** 2
    gain = fits.covariance[:, :, 1] / (fits.covariance[:, 1, 1] + doubt)[:, None]
    variance, shared = (np.stack([fits.variance, fits.blur], axis=1) + gain * (blur - fits.blur)[:, None]).T
    covariance = fits.covariance - gain[:, :, None] * fits.covariance[:, 1:2, :]
    return _Fits(variance, shared, covariance, fits.settled)
