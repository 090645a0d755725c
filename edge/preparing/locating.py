"""The place of the product: the circle or the rectangle that a picture shows, to a fraction of a pixel.

Both are found coarsely in a small picture and then drawn to the edges of the whole one. Nothing here is random, so the
same pixels always give the same place. Coordinates count from the corner of the top-left pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Circle:
    """A circle in pixels. `rim`: the share of its circumference, 0-1, along which an edge is seen."""

    x: float
    y: float
    radius: float
    rim: float


@dataclass(frozen=True)
class Rectangle:
    """A rectangle in pixels: its middle, its sides, and the angle of its `width`, radians, clockwise as seen."""

    x: float
    y: float
    width: float
    height: float
    angle: float


@dataclass(frozen=True)
class Outline:
    """The outline of a thing of any form, float64 [N, 2] px, and the smallest rectangle around it."""

    corners: Float64
    rectangle: Rectangle


# --- circles ---------------------------------------------------------------------------------------------------------

_CIRCLE_SEARCH_PX = 240  # longer side of the small picture
_EDGE_POINTS_AT_MOST = 5000
_CENTRES = 6  # candidates that are looked at
_SECTORS = 72
_ALIGNED = 0.9  # cosine between an edge's gradient and the radius
_AS_GOOD = 0.85  # an outer rim seen this well, compared with the best, is the product's
_PROFILES = 256
_ROUNDS = 10


@dataclass(frozen=True)
class _EdgePoints:
    """Edge pixels of a small picture: places, float64 [N] each, and the unit vector of their gradient."""

    x: Float64
    y: Float64
    gx: Float64
    gy: Float64


def find_circle(grey: UInt8, radii_px: tuple[float, float], min_contrast: float) -> Circle | None:
    """Find the outermost well-seen circle in uint8 [H, W], its radius in the range; None where there are no edges.

    A circular Hough transform along gradients looks at a picture of 240 px (Kimme et al., 1975). A least-squares circle
    then goes through the steepest place along each of 256 radii. `min_contrast`: grey levels across the rim.
    """
    height, width = grey.shape
    scale = min(1.0, _CIRCLE_SEARCH_PX / max(height, width))
    small = _shrunk(grey, scale)
    scale_x, scale_y = small.shape[1] / width, small.shape[0] / height
    edges = _edge_points(small, min_contrast)
    lowest, highest = max(2.0, radii_px[0] * scale), max(3.0, radii_px[1] * scale)
    if edges is None:
        return None
    radii = np.arange(math.floor(lowest), math.ceil(highest) + 1)
    candidates = [_best_rim(edges, centre, radii) for centre in _centres(edges, radii, small.shape)]
    if not candidates:
        return None
    best = max(circle.rim for circle in candidates)
    coarse = max((c for c in candidates if c.rim >= _AS_GOOD * best), key=lambda c: c.radius)
    whole = Circle(coarse.x / scale_x, coarse.y / scale_y, coarse.radius / scale, 0.0)
    return _refined_circle(grey, whole, 3.0 / scale, min_contrast)


def _shrunk(grey: UInt8, scale: float) -> UInt8:
    """Make a picture smaller and smooth it a little."""
    height, width = grey.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if scale < 1 else grey
    smooth: UInt8 = cv2.GaussianBlur(small, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    return smooth


def _edge_points(small: UInt8, min_contrast: float) -> _EdgePoints | None:
    dx = cv2.Sobel(small, cv2.CV_16S, 1, 0, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Sobel(small, cv2.CV_16S, 0, 1, borderType=cv2.BORDER_REPLICATE)
    # a step of h, smoothed with sigma 1, rises by 0.38 h over the middle pixel: Sobel's kernel makes 8 x that of it
    low = 1.5 * min_contrast
    ys, xs = np.nonzero(cv2.Canny(dx, dy, low, 2 * low, L2gradient=True))
    if not len(xs):
        return None
    gx, gy = dx[ys, xs].astype(np.float64), dy[ys, xs].astype(np.float64)
    steepness: Float64 = np.hypot(gx, gy)
    if len(xs) > _EDGE_POINTS_AT_MOST:
        kept = np.sort(np.argsort(-steepness, kind="stable")[:_EDGE_POINTS_AT_MOST])
        xs, ys, gx, gy, steepness = xs[kept], ys[kept], gx[kept], gy[kept], steepness[kept]
    return _EdgePoints(xs.astype(np.float64) + 0.5, ys.astype(np.float64) + 0.5, gx / steepness, gy / steepness)


def _centres(edges: _EdgePoints, radii: Int64, shape: tuple[int, int]) -> Iterator[tuple[float, float]]:
    """Yield the places on which most edges point from a distance of any of the radii."""
    height, width = shape
    votes = np.zeros(height * width, np.float32)
    for radius in radii:
        for sign in (-1, 1):
            x = (edges.x + sign * radius * edges.gx).astype(np.int64)
            y = (edges.y + sign * radius * edges.gy).astype(np.int64)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            votes += np.bincount(y[inside] * width + x[inside], minlength=votes.size).astype(np.float32)
    smooth = cv2.GaussianBlur(votes.reshape(shape), (0, 0), 1.5)
    apart = max(2, round(float(radii[0]) / 3))
    for _ in range(_CENTRES):
        y, x = np.unravel_index(int(smooth.argmax()), shape)
        if smooth[y, x] <= 0:
            return
        yield float(x) + 0.5, float(y) + 0.5
        smooth[max(0, y - apart) : y + apart + 1, max(0, x - apart) : x + apart + 1] = 0


def _best_rim(edges: _EdgePoints, centre: tuple[float, float], radii: Int64) -> Circle:
    """Return the outermost circle around `centre` of which as many sectors show an edge as of any."""
    from_x, from_y = edges.x - centre[0], edges.y - centre[1]
    distance = np.maximum(np.hypot(from_x, from_y), 1e-6)
    aligned = np.abs(from_x * edges.gx + from_y * edges.gy) >= _ALIGNED * distance
    sector = (np.arctan2(from_y, from_x) / (2 * math.pi) * _SECTORS).astype(np.int64) % _SECTORS
    place = np.rint(distance).astype(np.int64) - int(radii[0])
    wanted = aligned & (place >= 0) & (place < len(radii))
    seen: UInt8 = np.zeros((_SECTORS, len(radii)), np.uint8)
    seen[sector[wanted], place[wanted]] = 1
    # the centre is known to about 2 px: a rim is spread over as many radii
    rims = cv2.dilate(seen, np.ones((1, 5), np.uint8)).mean(axis=0)
    best = int(np.flatnonzero(rims >= _AS_GOOD * rims.max())[-1]) if rims.max() > 0 else 0
    # the dilation made it two larger at most: the middle of the run of equals
    return Circle(centre[0], centre[1], float(radii[max(0, best - 2)]), float(rims[best]))


def _refined_circle(grey: UInt8, coarse: Circle, reach_px: float, min_contrast: float) -> Circle:
    """Draw a circle to the edge within `reach_px` of it, in uint8 [H, W], twice; the second time from close by.

    A rim may be an edge of any kind all around, or of one kind (brighter or darker outside). A thin ring has one of
    each, and the outer one is meant.
    """
    circle = coarse
    for reach in (2 * reach_px, reach_px):
        angles = np.arange(_PROFILES) * 2 * math.pi / _PROFILES
        outwards = np.column_stack([np.cos(angles), np.sin(angles)])
        starts = np.array([circle.x, circle.y]) + circle.radius * outwards
        profiles = _profiles(grey, starts, outwards, reach)
        found = [_through_edges(circle, outwards, *_steepest(profiles, kind), min_contrast) for kind in (0, 1, -1)]
        best = max(candidate.rim for candidate in found)
        circle = max((c for c in found if c.rim >= _AS_GOOD * best), key=lambda c: c.radius) if best else found[0]
    return circle


def _through_edges(near: Circle, outwards: Float64, offsets: Float64, contrast: Float64, min_contrast: float) -> Circle:
    """Fit a circle to the edges at `offsets` px from `near`, one for each direction, that have the contrast."""
    good = contrast >= min_contrast
    lost = Circle(near.x, near.y, near.radius, 0.0)
    if np.count_nonzero(good) < 8:
        return lost
    x, y = (np.array([[near.x], [near.y]]) + (near.radius + offsets) * outwards.T)[:, good]
    weights, fitted = np.ones_like(x), near
    for _ in range(_ROUNDS):  # weighted towards the least sum of absolute errors, which bears many outliers
        fitted = _through(x, y, weights)
        errors = np.abs(np.hypot(x - fitted.x, y - fitted.y) - fitted.radius)
        weights = 1 / np.maximum(errors, 0.5)
    tolerance = max(1.5, 0.01 * near.radius)
    for _ in range(2):
        used = errors <= tolerance
        if np.count_nonzero(used) < 8:
            return lost
        fitted = _through(x[used], y[used], np.ones(np.count_nonzero(used)))
        errors = np.abs(np.hypot(x - fitted.x, y - fitted.y) - fitted.radius)
    met = float(np.count_nonzero(errors <= tolerance)) / _PROFILES
    return Circle(fitted.x, fitted.y, fitted.radius, met)


def _through(x: Float64, y: Float64, weights: Float64) -> Circle:
    """Fit a circle to points by weighted algebraic least squares (Kåsa, 1976).

    Its equation is x² + y² = 2 a x + 2 b y + c.
    """
    middle_x, middle_y = float(x.mean()), float(y.mean())
    u, v = x - middle_x, y - middle_y
    basis = np.column_stack([2 * u, 2 * v, np.ones_like(u)])
    a, b, c = np.linalg.lstsq(basis.T @ (basis * weights[:, None]), basis.T @ (weights * (u * u + v * v)), rcond=None)[
        0
    ]
    return Circle(middle_x + float(a), middle_y + float(b), math.sqrt(max(0.0, float(c + a * a + b * b))), 0.0)


@dataclass(frozen=True)
class _Profiles:
    """Lines across an edge. `along`: px from the start. `steps`, float32 [N, S]: how much brighter it gets at each."""

    along: Float64
    steps: Float32


def _profiles(grey: UInt8, starts: Float64, directions: Float64, reach_px: float) -> _Profiles:
    """Look along lines through `starts` [N, 2] in unit `directions` [N, 2], ± `reach_px`, in uint8 [H, W].

    A step is the mean of the three pixels that follow less that of the three before. It is 0 where they leave the
    picture.
    """
    height, width = grey.shape
    half = max(4, math.ceil(reach_px) + 3)
    along = np.arange(-half, half + 1, dtype=np.float64)
    x = (starts[:, :1] + along * directions[:, :1] - 0.5).astype(np.float32)
    y = (starts[:, 1:] + along * directions[:, 1:] - 0.5).astype(np.float32)
    seen: Float32 = cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    sums = np.cumsum(np.pad(seen, ((0, 0), (1, 0))), axis=1)
    means = (sums[:, 3:] - sums[:, :-3]) / 3
    steps: Float32 = (means[:, 3:] - means[:, :-3]).astype(np.float32)
    steps[~(inside[:, 5:] & inside[:, :-5])] = 0
    return _Profiles(along[2:-3] + 0.5, steps)  # the first step lies between the third and the fourth pixel


def _steepest(profiles: _Profiles, kind: int) -> tuple[Float64, Float64]:
    """Return where each profile is steepest, px from its start, and its contrast there.

    `kind`: 1 = getting brighter, -1 = darker, 0 = either.
    """
    steps = np.abs(profiles.steps) if kind == 0 else profiles.steps * kind
    best = steps.argmax(axis=1)
    rows = np.arange(len(best))
    before, at, after = (steps[rows, np.clip(best + d, 0, steps.shape[1] - 1)] for d in (-1, 0, 1))
    # the top of the parabola through three neighbours
    curved = before - 2 * at + after
    fine = np.where(curved < 0, 0.5 * (before - after) / np.where(curved < 0, curved, -1), 0.0)
    return profiles.along[best] + np.clip(fine, -0.5, 0.5), at.astype(np.float64)


# --- rectangles ------------------------------------------------------------------------------------------------------

_RECTANGLE_SEARCH_PX = 480  # longer side of the small picture
_SIDE_POINTS = 96
_OF_A_SIDE = 0.8  # its middle part: corners may be round
_SEEN_AT_LEAST = 0.3  # of a side's points have to lie on one line, or the side stays where it was found


def find_rectangle(grey: UInt8, min_area: float, min_fill: float, min_contrast: float) -> Rectangle | None:
    """Find the largest rectangular thing in uint8 [H, W] with all four sides in the picture; None if there is none.

    `min_area`: share of the picture; `min_fill`: share of its rectangle that its hull fills; `min_contrast`: grey
    levels from what surrounds it. The angle is within 45 degrees of the picture's axes.
    """
    height, width = grey.shape
    scale = min(1.0, _RECTANGLE_SEARCH_PX / max(height, width))
    small = _shrunk(grey, scale)
    candidates = [
        found for mask in _foregrounds(small, min_contrast) for found in _boxes(mask, min_area * small.size, min_fill)
    ]
    if not candidates:
        return None
    box = max(candidates, key=lambda found: found.width * found.height)
    x_scale, y_scale = width / small.shape[1], height / small.shape[0]
    coarse = Rectangle(box.x * x_scale, box.y * y_scale, box.width / scale, box.height / scale, box.angle)
    for reach in (4.0 / scale, 2.0 / scale):
        coarse = _drawn_to_the_sides(grey, coarse, reach, min_contrast)
    return coarse


def _foregrounds(small: UInt8, min_contrast: float) -> Iterator[UInt8]:
    """Yield masks, uint8 [h, w], of what may be the product.

    That is what differs from the picture's border, then what is bright, then what is dark.
    """
    strip = max(1, round(0.02 * min(small.shape)))
    border = np.concatenate(
        [part.ravel() for part in (small[:strip], small[-strip:], small[:, :strip], small[:, -strip:])]
    )
    ground = float(np.median(border))
    noise = 1.4826 * float(np.median(np.abs(border - ground)))
    difference = cv2.absdiff(small, np.full_like(small, round(ground)))
    yield (difference >= max(min_contrast, 3 * noise)).view(np.uint8)
    _, bright = cv2.threshold(small, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    if bright.any() and not bright.all() and small[bright > 0].mean() - small[bright == 0].mean() >= min_contrast:
        yield bright
        yield 1 - bright


def _boxes(mask: UInt8, min_cells: float, min_fill: float) -> Iterator[Rectangle]:
    """Yield the smallest rectangle around each thing of a mask that is large, fills it and has four sides."""
    height, width = mask.shape
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    for outline in outlines:
        x, y, w, h = cv2.boundingRect(outline)
        if w * h < min_cells or x < 1 or y < 1 or x + w > width - 1 or y + h > height - 1:
            continue
        hull = cv2.convexHull(outline)
        (middle_x, middle_y), (side_a, side_b), degrees = cv2.minAreaRect(hull)
        if side_a * side_b < min_cells or cv2.contourArea(hull) < min_fill * side_a * side_b:
            continue
        # versions of OpenCV differ in which side they call the width
        quarters = round(degrees / 90)
        sides = (side_b, side_a) if quarters % 2 else (side_a, side_b)
        # an outline runs through the centres of pixels
        yield Rectangle(
            middle_x + 0.5, middle_y + 0.5, sides[0] + 1, sides[1] + 1, math.radians(degrees - 90 * quarters)
        )


# --- outlines --------------------------------------------------------------------------------------------------------

_FINER = 4  # the small picture is looked at in quarters of its pixels
_RING_PX = 3  # of the small picture, on either side of an outline


def find_outline(grey: UInt8, min_area: float, min_contrast: float) -> Outline | None:
    """Find the largest thing in uint8 [H, W] that touches no border; None if there is none.

    `min_area`: share of the picture; `min_contrast`: grey levels from what surrounds it. It ends halfway between the
    levels within and around it. That is to a quarter of a pixel of a picture of 480. Holes in it are not seen.
    """
    height, width = grey.shape
    scale = min(1.0, _RECTANGLE_SEARCH_PX / max(height, width))
    small = _shrunk(grey, scale)
    things = [thing for mask in _foregrounds(small, min_contrast) for thing in _things(mask, min_area * small.size)]
    if not things:
        return None
    fine = _halfway(small, max(things, key=np.count_nonzero))
    outlines, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return None
    largest = cv2.approxPolyDP(max(outlines, key=cv2.contourArea), 1.0, True).reshape(-1, 2)
    if len(largest) < 3:
        return None
    per_px = np.array([width / small.shape[1], height / small.shape[0]]) / _FINER
    corners: Float64 = (largest + 0.5) * per_px
    (x, y), (side_a, side_b), degrees = cv2.minAreaRect(corners.astype(np.float32))
    quarters = round(degrees / 90)  # versions of OpenCV differ in which side they call the width
    sides = (side_b, side_a) if quarters % 2 else (side_a, side_b)
    return Outline(corners, Rectangle(x, y, sides[0], sides[1], math.radians(degrees - 90 * quarters)))


def _things(mask: UInt8, min_cells: float) -> Iterator[UInt8]:
    """Yield each large thing of a mask, uint8 0/1 and filled, that touches no border of the picture."""
    height, width = mask.shape
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(opened, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        x, y, w, h = cv2.boundingRect(outline)
        if cv2.contourArea(outline) < min_cells or x < 1 or y < 1 or x + w > width - 1 or y + h > height - 1:
            continue
        thing: UInt8 = np.zeros(mask.shape, np.uint8)
        cv2.drawContours(thing, [outline], -1, 1, -1)
        yield thing


def _halfway(small: UInt8, thing: UInt8) -> UInt8:
    """Return a thing's mask at _FINER times the small picture's size, ending halfway between inside and outside."""
    ring = np.ones((2 * _RING_PX + 1, 2 * _RING_PX + 1), np.uint8)
    core, around = cv2.erode(thing, ring), cv2.dilate(thing, ring)
    deeper, farther = cv2.erode(core, ring), cv2.dilate(around, ring)  # not at the edge itself
    rim_in, rim_out = small[(core - deeper) > 0], small[(farther - around) > 0]
    if not rim_in.size or not rim_out.size:
        rim_in, rim_out = small[thing > 0], small[thing == 0]
    size = (small.shape[1] * _FINER, small.shape[0] * _FINER)
    inside, outside = float(np.median(rim_in)), float(np.median(rim_out))
    finer = cv2.resize(small, size, interpolation=cv2.INTER_LINEAR)
    like_inside = (finer > (inside + outside) / 2) == (inside > outside)
    near, sure = (cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) > 0 for mask in (around, core))
    mask: UInt8 = ((like_inside & near) | sure).astype(np.uint8)
    return mask


def _drawn_to_the_sides(grey: UInt8, near: Rectangle, reach_px: float, min_contrast: float) -> Rectangle:
    """Draw each side of a rectangle to the line along which most of its points are steepest."""
    cos, sin = math.cos(near.angle), math.sin(near.angle)
    along_width, along_height = np.array([cos, sin]), np.array([-sin, cos])
    middle = np.array([near.x, near.y])
    distances: dict[tuple[int, int], float] = {}
    slopes: list[tuple[float, float]] = []  # radians, weight
    sides = ((along_height, along_width, near.height, near.width), (along_width, along_height, near.width, near.height))
    for axis, (normal, tangent, depth, length) in enumerate(sides):
        places = np.linspace(-0.5, 0.5, _SIDE_POINTS) * _OF_A_SIDE * length
        for sign in (-1, 1):
            starts = middle + sign * normal * depth / 2 + places[:, None] * tangent
            outwards = np.broadcast_to(sign * normal, starts.shape)
            offsets, contrast = _steepest(_profiles(grey, starts, outwards, reach_px), 0)
            line = _line(places, offsets, contrast >= min_contrast)
            distance, slope = line or (0.0, 0.0)
            distances[axis, sign] = depth / 2 + distance
            if line is not None:
                # seen outwards, +offset turns the side one way on one side and the other way on the other
                turned = sign * slope * (1 if axis == 0 else -1)
                slopes.append((turned, length**3))  # the variance of a slope falls with the cube of the length
    total = sum(weight for _, weight in slopes)
    angle = near.angle + (math.atan(sum(slope * weight for slope, weight in slopes) / total) if total else 0.0)
    height, width = (distances[axis, -1] + distances[axis, 1] for axis in (0, 1))
    middle = middle + along_height * (distances[0, 1] - distances[0, -1]) / 2
    middle = middle + along_width * (distances[1, 1] - distances[1, -1]) / 2
    return Rectangle(float(middle[0]), float(middle[1]), width, height, angle)


def _line(places: Float64, offsets: Float64, good: npt.NDArray[np.bool_]) -> tuple[float, float] | None:
    """Fit offset = distance + slope * place, robustly; None where too few good points lie on one line."""
    needed = _SEEN_AT_LEAST * len(places)
    if np.count_nonzero(good) < needed:
        return None
    x, y = places[good], offsets[good]
    # Theil and Sen: the median of the slopes between far points bears a third of outliers
    half = len(x) // 2
    slope = float(np.median((y[-half:] - y[:half]) / (x[-half:] - x[:half])))
    distance = float(np.median(y - slope * x))
    for _ in range(3):
        near = np.abs(y - distance - slope * x) <= 1.0
        if np.count_nonzero(near) < needed:
            return None
        slope, distance = (float(value) for value in np.polyfit(x[near], y[near], 1))
    return distance, slope
