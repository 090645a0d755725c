"""Styles of masks: how thick, how large, how far outside the defect's edge; and who draws otherwise.

They are compared by ranks, which ask nothing of the distribution, with Holm's correction for the number of comparisons.
Sources: Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than the other",
1947. Holm, "A simple sequentially rejective multiple test procedure", 1979.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.opencv import cv2
from edge.records import Float64, UInt8

_LEAST_MASKS = 5
_SIGNIFICANT = 0.01
_FACTOR = 1.3
_DILATION_DIFFERS_PX = 1.0
_INSIDE_PX, _OUTSIDE_PX = 16, 6
# the edge under an outline must be this much steeper than what lies around it, or the offset says nothing
_CLEAR_EDGE = 1.5
_LONGEST_SIDE_PX = 1600


@dataclass(frozen=True)
class Style:
    """One mask's drawing. `thickness_px`: of its lines or shapes; `defect_area_px`: median of its defects.

    `dilation_px`: how far the outline lies outside the steepest edge of the picture, below 0 inside. None where the
    picture has no clear edge along it.
    """

    thickness_px: float
    defect_area_px: float
    dilation_px: float | None


MEASURES = {"thickness_px": "thickness", "defect_area_px": "area per defect", "dilation_px": "dilation"}


@dataclass(frozen=True)
class StyleDifference:
    """One annotator against all others of a class. `own` and `others`: medians; `p` corrected for their number.

    `differs` where p is below 0.01 and the medians differ enough: by a factor of 1.3, or by 1 px of dilation.
    """

    annotator: str
    class_name: str
    measure: str
    masks: int
    own: float
    others: float
    p: float
    differs: bool


def measure_style(grey: UInt8, drawn: UInt8) -> Style | None:
    """Measure a mask (uint8 [H, W] of 0 and 1) on its picture (uint8 [H, W]); None where it is empty.

    Thickness: twice the median distance to the outline along the ridge of the distance transform, less one half pixel
    each side.
    """
    if not drawn.any():
        return None
    y, x = np.nonzero(drawn)
    margin = _OUTSIDE_PX + 2
    window = (
        slice(max(0, int(y.min()) - margin), int(y.max()) + margin + 1),
        slice(max(0, int(x.min()) - margin), int(x.max()) + margin + 1),
    )
    # a frame of nothing, so that a defect at the border has an outline there
    own = cv2.copyMakeBorder(drawn[window], 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inside = cv2.distanceTransform(own, cv2.DIST_L2, 5)
    ridge = (own > 0) & (inside >= cv2.dilate(inside, np.ones((3, 3), np.uint8)) - 1e-3)
    thickness = float(2 * np.median(inside[ridge]) - 1)
    _, _, stats, _ = cv2.connectedComponentsWithStats(own, connectivity=8)
    area = float(np.median(stats[1:, cv2.CC_STAT_AREA]))
    return Style(thickness, area, dilation_px(grey[window], drawn[window]))


def dilation_px(grey: UInt8, drawn: UInt8) -> float | None:
    """Return where the picture's edge is steepest on average, px inside (+) or outside (-) of the outline.

    `grey`: uint8 [H, W]; `drawn`: uint8 [H, W] of 0 and 1. None where no edge is clear.
    """
    # a frame-wide mask's rim tells little and takes long; one without an outside has none
    if max(grey.shape) > _LONGEST_SIDE_PX or drawn.all():
        return None
    smooth = cv2.GaussianBlur(grey, (0, 0), 1).astype(np.float32)
    slope = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    inside = cv2.distanceTransform(drawn, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(1 - drawn, cv2.DIST_L2, 5)
    depth = np.where(drawn > 0, np.ceil(inside) - 1, -np.ceil(outside)).astype(np.int64)
    near = (depth >= -_OUTSIDE_PX) & (depth < _INSIDE_PX)
    sums = np.bincount(depth[near] + _OUTSIDE_PX, slope[near], _INSIDE_PX + _OUTSIDE_PX)
    counts = np.bincount(depth[near] + _OUTSIDE_PX, minlength=_INSIDE_PX + _OUTSIDE_PX)
    known = counts > 0.05 * counts.max()
    means = np.where(known, sums / np.maximum(counts, 1), 0.0)
    if means.max() < _CLEAR_EDGE * np.median(means[known]):
        return None
    # depth 0 is the outermost ring of the mask, -1 the first beyond it: an exact outline has its edge between them
    return float(means.argmax() - _OUTSIDE_PX) + 0.5


def style_differences(styles: Sequence[tuple[str, str, Style]]) -> list[StyleDifference]:
    """Compare each annotator with all others, per class and measure; `styles`: (annotator, class, style) per mask.

    Those with fewer than 5 masks of a class are left out of it. Of several that differ, the surest are taken out of the
    others one by one. So one who draws otherwise does not make the rest look so. Sorted by p.
    """
    of_class: dict[str, dict[str, list[Style]]] = defaultdict(lambda: defaultdict(list))
    for annotator, class_name, style in styles:
        of_class[class_name][annotator].append(style)
    drawn: dict[tuple[str, str], dict[str, Float64]] = {}
    for class_name, of_annotator in sorted(of_class.items()):
        for measure in MEASURES:
            drawn[class_name, measure] = {
                annotator: np.array([v for style in own if (v := getattr(style, measure)) is not None], dtype=float)
                for annotator, own in sorted(of_annotator.items())
            }
    compared = [
        (annotator, key, *sides)
        for key, values in drawn.items()
        for annotator in values
        if (sides := _sides(values, annotator, ())) is not None
    ]
    ps = _holm([mann_whitney_p(own, others) for *_, own, others in compared])
    found: list[StyleDifference] = []
    gone: dict[tuple[str, str], list[str]] = defaultdict(list)
    for place in np.argsort(np.array(ps), kind="stable"):
        (annotator, key, own, others), p = compared[int(place)], ps[int(place)]
        if gone[key] and (sides := _sides(drawn[key], annotator, gone[key])) is not None:
            own, others = sides
            p = min(1.0, mann_whitney_p(own, others) * len(ps))  # Bonferroni's, which is no milder than Holm's
        a, b = float(np.median(own)), float(np.median(others))
        differs = p < _SIGNIFICANT and _far_apart(key[1], a, b)
        found.append(StyleDifference(annotator, *key, len(own), a, b, p, differs))
        if differs:
            gone[key].append(annotator)
    return sorted(found, key=lambda d: (d.p, d.class_name, d.measure, d.annotator))


def _sides(values: Mapping[str, Float64], annotator: str, without: Sequence[str]) -> tuple[Float64, Float64] | None:
    """Return an annotator's values and those of all others but `without`; None where either are too few."""
    rest = [v for name, v in values.items() if name != annotator and name not in without]
    own, others = values[annotator], np.concatenate(rest) if rest else np.empty(0)
    return (own, others) if len(own) >= _LEAST_MASKS and len(others) >= _LEAST_MASKS else None


def _far_apart(measure: str, a: float, b: float) -> bool:
    if measure == "dilation_px":
        return abs(a - b) >= _DILATION_DIFFERS_PX
    return max(a, b) > _FACTOR * max(min(a, b), 1.0)


def mann_whitney_p(own: Float64, others: Float64) -> float:
    """Return the two-sided p of two samples (float [n], [m]) being of one distribution.

    By the normal approximation, with corrections for ties and continuity; it holds from about 5 values each.
    """
    n, m = len(own), len(others)
    both = np.concatenate([own, others])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place.reshape(-1)]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    ties = float((counts.astype(float) ** 3 - counts).sum()) / ((n + m) * (n + m - 1))
    variance = n * m / 12 * (n + m + 1 - ties)
    if variance <= 0:
        return 1.0
    z = max(abs(u - n * m / 2) - 0.5, 0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def _holm(ps: Sequence[float]) -> list[float]:
    order: NDArray[np.int64] = np.argsort(np.array(ps))
    corrected, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, ps[int(place)] * (len(ps) - rank)))
        corrected[int(place)] = largest
    return corrected
