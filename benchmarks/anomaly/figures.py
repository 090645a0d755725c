"""From scores of pictures and of pixels to figures, each with an interval over pieces. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.opencv import cv2
from edge.records import Float64, UInt8
from trainer.evaluation.exact_interval import largest_share
from trainer.evaluation.ranking import auroc_interval, picture_auroc

BINS = 256
DRAWS = 1000
_SAME = 1e-9  # draws that differ by less do so by rounding
# At most so many clean pixels are answered where the overlap of regions is averaged. Source: Bergmann et al., "The
# MVTec anomaly detection dataset", 2021: PRO up to a false positive rate of 0.3.
_FALSE_PIXELS = 0.3


@dataclass(frozen=True)
class Judged:
    """One picture that was judged. `score`: comparable over all turns.

    `clean`, `marked`: float64 [256], how many clean and marked pixels have each score x 255, the highest first; None
    without masks. `regions`: float64 [R, 256], the share of each connected marked region.
    """

    image: str
    group: str
    defective: bool
    score: float
    clean: Float64 | None = None
    marked: Float64 | None = None
    regions: Float64 | None = None


def counted(image: str, group: str, score: float, pixels: UInt8, mask: Any, *, defective: bool) -> Judged:
    """Count a picture's pixel scores, uint8 [H, W], by its mask, bool [H, W]."""

    def histogram(values: UInt8) -> Float64:
        return np.bincount(values.ravel(), minlength=BINS)[::-1].astype(np.float64)

    number, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    own = [histogram(pixels[labels == k]) for k in range(1, number)]
    regions = np.array([one / one.sum() for one in own]).reshape(-1, BINS)
    return Judged(image, group, defective, score, histogram(pixels[~mask]), histogram(pixels[mask]), regions)


def figures_of(judged: Sequence[Judged], false_alarms: float, draws: int = DRAWS, seed: int = 0) -> dict[str, Any]:
    """Return `auroc`, `found` (at that share of false alarms), `pixel_ap` and `aupro`, each as [value, [low, high]].

    The interval is of draws of whole pieces (Efron and Tibshirani, 1993). Draws that all give the same have an interval
    of so many pieces. It is that of an area (Newcombe, 2006) or of a share (Clopper and Pearson, 1934).
    """
    groups = sorted({one.group for one in judged})
    places = [np.flatnonzero([one.group == group for one in judged]) for group in groups]
    rng = np.random.default_rng(seed)
    drawn = [np.concatenate([places[k] for k in rng.integers(len(groups), size=len(groups))]) for _ in range(draws)]
    good, bad = (len({one.group for one in judged if one.defective == kind}) for kind in (False, True))
    found: dict[str, Any] = {
        "good": sum(not one.defective for one in judged),
        "defective": sum(one.defective for one in judged),
        "pieces": len(groups),
    }

    def figure(value: Callable[[Any], float | None], exact: Callable[[float], tuple[float, float]]) -> Any:
        whole = value(np.arange(len(judged)))
        if whole is None:
            return None
        values = [one for one in map(value, drawn) if one is not None]
        low, high = np.percentile(values, [2.5, 97.5]) if np.ptp(values) > _SAME else exact(whole)
        return [round(whole, 4), [round(float(low), 4), round(float(high), 4)]]

    scores, defective = np.array([one.score for one in judged]), np.array([one.defective for one in judged])

    def auroc(of: Any) -> float | None:
        return picture_auroc(scores[of][~defective[of]].tolist(), scores[of][defective[of]].tolist())

    def share(of: Any) -> float | None:
        return found_within(scores[of][~defective[of]], scores[of][defective[of]], false_alarms)

    def all_found(value: float) -> tuple[float, float]:
        return (1 - largest_share(bad), 1.0) if value else (0.0, largest_share(bad))

    found["auroc"] = figure(auroc, lambda value: auroc_interval(value, good, bad))
    found["found"] = figure(share, all_found)
    if all(one.clean is not None for one in judged):
        found |= _pixels(judged, figure)
    return found


def found_within(good: Float64, bad: Float64, false_alarms: float) -> float | None:
    """Return the share of `bad` scores above a threshold that flags at most so many of `good`; None without both."""
    if not len(good) or not len(bad):
        return None
    ranked = np.sort(good)[::-1]
    return float((bad > ranked[min(int(false_alarms * len(good) + 1e-9), len(good) - 1)]).mean())


def _pixels(judged: Sequence[Judged], figure: Callable[..., Any]) -> dict[str, Any]:
    clean, marked = (np.array([getattr(one, kind) for one in judged]) for kind in ("clean", "marked"))
    regions = [one.regions for one in judged]
    of_region = np.array([one.sum(axis=0) for one in regions if one is not None])
    count = np.array([len(one) for one in regions if one is not None])

    def precision(of: Any) -> float | None:
        hits, false = np.cumsum(marked[of].sum(axis=0)), np.cumsum(clean[of].sum(axis=0))
        if not hits[-1]:
            return None
        steps = np.diff(hits, prepend=0.0)
        return float((steps * hits / np.maximum(hits + false, 1)).sum() / hits[-1])

    def overlap(of: Any) -> float | None:
        number, false = count[of].sum(), np.cumsum(clean[of].sum(axis=0))
        if not number or not false[-1]:
            return None
        x = np.concatenate([[0.0], false / false[-1]])
        y = np.concatenate([[0.0], np.cumsum(of_region[of].sum(axis=0)) / number])
        at = np.linspace(0, _FALSE_PIXELS, 301)
        values = np.interp(at, x, y)
        return float(((values[1:] + values[:-1]) / 2).mean())

    def as_it_is(value: float) -> tuple[float, float]:
        return value, value

    return {"pixel_ap": figure(precision, as_it_is), "aupro": figure(overlap, as_it_is)}
