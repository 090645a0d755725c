"""Sizes of compact defects, such as stains, chips and bubbles, at the grey-value edge of the original picture.

The edge is where the grey value is half-way between the ground around a defect and its own inside. Along it a pixel
counts by its share of that difference, which no blur changes. Inside it a pixel counts whole, whatever its texture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

_Points = npt.NDArray[np.int32]

_MARGIN_PX = 12
_LEVELS_AT_LEAST = 6.0
_UNEVENNESS = 3.0
# Its own edge encloses at least and at most this share of what its mask does.
_SHARE_OF_MASK = (0.03, 1.7)
# An edge's blur reaches so many of its deviations inwards, and is looked for from so much on, px.
_EDGE_REACHES, _SOFT_PX = 2.2, 1.2
# The place of an edge may be so uncertain, px. Beyond that the picture is blurred by so much first, px.
_UNSTEADY_PX, _STEADIED_PX = 0.1, 1.2
# A sharp corner reaches farther than a round one that looks alike: up to twice this, times blur and share.
_CORNERS = 1.7
# So many deviations of the blur, or px, within the outermost point a contour tells how round it is.
_CAP = 1.4
# Between pixels the edge of small defects is sought this finely.
_FINER, _SMALL_PX = 4, 250
_CROSS: UInt8 = np.ones((3, 3), np.uint8)


@dataclass(frozen=True)
class Blob:
    """One compact defect. `area_px`; `box` float64 [4, 2], the corners (x, y) px of the smallest rectangle around it.

    `height`: grey levels above the ground, negative where darker. `blur`: standard deviation of the picture's, px.
    `u_box` [2]: standard uncertainty of the box's long and short side, px. Blur hides sharp corners.
    `mask`: uint8 [h, w] 0/1 with a border of zeros, the part of its mask within its own edge. Its corner is (x, y) px.
    """

    area_px: float
    box: Float64
    height: float
    blur: float
    u_box: tuple[float, float]
    mask: UInt8
    corner: tuple[int, int]


def blob(picture: UInt8, mask: UInt8, corner: tuple[int, int]) -> Blob | None:
    """Measure a defect in a picture, uint8 [H, W] or [H, W, C].

    Its mask, uint8 [h, w] 0/1, lies at `corner` (x, y) px. None where its grey values show no edge, or it reaches the
    picture's border.
    """
    left, top = corner[0] - _MARGIN_PX, corner[1] - _MARGIN_PX
    right, bottom = corner[0] + mask.shape[1] + _MARGIN_PX, corner[1] + mask.shape[0] + _MARGIN_PX
    x0, y0 = max(0, left), max(0, top)
    crop = picture[y0 : max(0, bottom), x0 : max(0, right)]
    if not crop.size:
        return None
    height, width = crop.shape[:2]
    marked = cv2.copyMakeBorder(mask, *(_MARGIN_PX,) * 4, cv2.BORDER_CONSTANT, value=0)
    marked = marked[y0 - top : y0 - top + height, x0 - left : x0 - left + width]
    x, y, w, h = cv2.boundingRect(marked)
    if not w or x == 0 or y == 0 or x + w == width or y + h == height:
        return None
    grey = crop if crop.ndim == 2 else cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY) if crop.shape[2] == 3 else crop[..., 0]
    seen = _seen(grey, marked)
    if seen is None:
        return None
    above, inside, level, blur, uneven = seen
    share = cv2.countNonZero(inside) / max(1, cv2.countNonZero(marked))
    if not _SHARE_OF_MASK[0] <= share <= _SHARE_OF_MASK[1]:
        return None
    dark = cv2.mean(grey, inside)[0] < cv2.mean(grey, 1 - marked)[0]
    level = _plateau(above, inside, level, blur, uneven)
    box = _box(above, inside, level, blur)
    if box is None:
        return None
    return Blob(
        area_px=_area(above, inside, level, blur),
        box=box[0] + np.array([x0, y0]),
        height=-level if dark else level,
        blur=blur,
        u_box=box[1],
        mask=cv2.copyMakeBorder(cv2.min(inside, marked), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0),
        corner=(x0 - 1, y0 - 1),
    )


def _seen(grey: UInt8, marked: UInt8) -> tuple[Float32, UInt8, float, float, float] | None:
    """Return grey levels above the ground, the half-height region, the inside's height, and the blur.

    The ground's unevenness is last. None where nothing stands out. A place of the edge that noise makes uncertain is
    sought in a smoother picture.
    """
    above, uneven = _above_ground(grey, marked)
    found = _half(above, marked, uneven)
    if found is None or found[1] < max(_LEVELS_AT_LEAST, _UNEVENNESS * uneven):
        return None
    inside, level, outlines = found
    blur = _blur(above, inside, level, outlines)
    # an edge's place is as uncertain as the noise is against its steepness, which is level / (blur sqrt(2 pi))
    if uneven * max(blur, 0.5) * 2.5 > _UNSTEADY_PX * level:
        above = cv2.GaussianBlur(above, (0, 0), _STEADIED_PX)
        found = _half(above, marked, uneven)
        if found is None:
            return None
        inside, level, outlines = found
        blur = _blur(above, inside, level, outlines)
    return above, inside, level, blur, uneven


def _quantile(values: Float32 | UInt8, share: float) -> float:
    """Return the value that a share of others lie below.

    NumPy's own takes ten times as long for a few thousand.
    """
    place = min(len(values) - 1, int(share * len(values)))
    return float(np.partition(values, place)[place])


def _middle(values: Float32 | UInt8, uneven: float) -> float:
    """Return the mean of those values that lie near their median, which itself may be a whole grey level."""
    median = _quantile(values, 0.5)
    near = 1.7 * uneven + 1
    return float(values[(values >= median - near) & (values <= median + near)].mean())


def _above_ground(grey: UInt8, marked: UInt8) -> tuple[Float32, float]:
    """Return grey levels above the ground around a mask, positive for the defect, and the ground's unevenness."""
    around = cv2.dilate(marked, _CROSS, iterations=4)
    outside = grey[around == 0]
    if not outside.size:
        outside = grey[marked == 0]
    ground = _quantile(outside, 0.5)
    uneven = 1.4826 * _quantile(np.abs(outside.astype(np.float32) - ground), 0.5)
    ground = _middle(outside, uneven)
    above: Float32 = grey.astype(np.float32) - ground
    if cv2.mean(above, marked)[0] < 0:
        above = -above
    return above, uneven


def _half(above: Float32, marked: UInt8, uneven: float) -> tuple[UInt8, float, Sequence[_Points]] | None:
    """Return a defect's half-height region, uint8 [h, w] 0/1, its inside's height, and its outlines."""
    near = cv2.dilate(marked, _CROSS, iterations=2) > 0
    level = _quantile(above[marked > 0], 0.9)
    for _ in range(2):
        if level <= 0:
            return None
        inside = ((above >= level / 2) & near).view(np.uint8)
        outlines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        if not outlines:
            return None
        if len(outlines) > 1:  # holes, or islands
            inside = _without_small(inside)
            outlines, _ = cv2.findContours(inside, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        deep = cv2.erode(inside, _CROSS, iterations=2)
        deep = deep if cv2.countNonZero(deep) >= 9 else inside
        level = _middle(above[deep > 0], uneven)
    return inside, level, outlines


def _without_small(inside: UInt8) -> UInt8:
    """Return a mask, uint8 [h, w] 0/1, without islands of less than a tenth of its largest one's area."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = np.concatenate([[False], areas >= 0.1 * areas.max()])
    kept: UInt8 = keep[labels].view(np.uint8)
    return kept


def _blur(above: Float32, inside: UInt8, level: float, outlines: Sequence[_Points]) -> float:
    """Return the blur's standard deviation, px: from a quarter to three quarters an edge is 1.349 times as wide."""
    near = cv2.dilate(inside, _CROSS, iterations=4)
    band = cv2.countNonZero(((above >= level / 4) & (above < 0.75 * level) & (near > 0)).view(np.uint8))
    around = sum(cv2.arcLength(outline, True) for outline in outlines)
    return float(min(6.0, band / max(1.0, around) / 1.349))


def _area(above: Float32, inside: UInt8, level: float, blur: float) -> float:
    """Return the area in px: whole pixels within the edge, and along it each one's share."""
    reach = min(max(math.ceil(2.5 * blur) + 1, 2), 8)
    inner = cv2.erode(inside, _CROSS, iterations=reach)
    outer = cv2.dilate(inside, _CROSS, iterations=reach)
    band = (outer > inner).view(np.uint8)
    return float(cv2.countNonZero(inner) + cv2.mean(above, band)[0] * cv2.countNonZero(band) / level)


def _plateau(above: Float32, inside: UInt8, level: float, blur: float, uneven: float) -> float:
    """Return how high a defect is where the blur of its edge does not reach, or in its very middle."""
    if blur < _SOFT_PX:
        return level
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    deep = distance >= min(_EDGE_REACHES * blur, 0.6 * cv2.minMaxLoc(distance)[1])
    return max(level, _middle(above[deep], uneven))


def _box(above: Float32, inside: UInt8, level: float, blur: float) -> tuple[Float64, tuple[float, float]] | None:
    """Return the corners of the smallest rectangle around the edge, float64 [4, 2] px, found between the pixels.

    And the standard uncertainty of its long and its short side by what the blur hides, px.
    """
    x, y, w, h = cv2.boundingRect(inside)
    x0, y0 = max(0, x - 2), max(0, y - 2)
    rows, columns = slice(y0, y + h + 2), slice(x0, x + w + 2)
    finer = _FINER if max(w, h) <= _SMALL_PX else 1
    size = (above[rows, columns].shape[1] * finer, above[rows, columns].shape[0] * finer)
    fine = cv2.resize(above[rows, columns], size, interpolation=cv2.INTER_LINEAR)
    near = cv2.resize(cv2.dilate(inside[rows, columns], _CROSS), size, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(
        ((fine >= level / 2) & (near > 0)).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    if not outlines:
        return None
    points = (np.concatenate([outline.reshape(-1, 2) for outline in outlines]).astype(np.float32) + 0.5) / finer
    (middle_x, middle_y), (side_a, side_b), turn = cv2.minAreaRect(points)
    sides = np.array([side_a + 0.5 / finer, side_b + 0.5 / finer])
    ways = np.array([[math.cos(math.radians(turn)), math.sin(math.radians(turn))]])
    ways = np.concatenate([ways, [[-ways[0, 1], ways[0, 0]]]])
    # x' and y' of the points, from the rectangle's middle
    own = (points.astype(np.float64) - (middle_x, middle_y)) @ ways.T
    depth = _CAP * max(blur, 1.0)
    shares = _pointed(own, sides / 2, depth)
    hidden = shares * blur**2 / depth
    moved = (hidden[:, 1] - hidden[:, 0]) / 2
    middle = np.array([middle_x, middle_y]) + moved @ ways
    sides += hidden.sum(axis=1)
    around = ((float(middle[0]), float(middle[1])), (float(sides[0]), float(sides[1])), turn)
    corners: Float64 = cv2.boxPoints(around).astype(np.float64) + np.array([x0, y0])
    u = _CORNERS * blur * np.hypot(shares[:, 0], shares[:, 1])
    return corners, (float(u[sides.argmax()]), float(u[1 - sides.argmax()]))


def _pointed(own: Float64, half: Float64, depth: float) -> Float64:
    """Return how pointed a contour is, float64 [2, 2], 0 to 1, where its points [N, 2] touch the sides of their box.

    A blur moves an edge of radius R inwards by blur² / 2 R. A cap of depth h and width 2 c has 2 R = (c² + h²) / h.
    Its share is h² / (c² + h²). `half` [2]: of the box's sides, px.
    """
    found = np.zeros((2, 2))
    for axis in (0, 1):
        for end, sign in enumerate((-1.0, 1.0)):
            within = own[sign * own[:, axis] >= half[axis] - depth, 1 - axis]
            if len(within) > 1:
                cap = float(within.max() - within.min()) / 2
                found[axis, end] = depth**2 / (cap**2 + depth**2)
    return found
