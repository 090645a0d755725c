"""From judged defects to curves by contrast, orientation and ninth, blind spots, and the sentence that says it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.simulation.known_marks import MarkShape
from edge.wording import counted
from trainer.pod.curve import CONFIDENCE, PROBABILITY, Curve, fit_curve
from trainer.pod.plan import NINTHS, ORIENTATIONS
from trainer.pod.trials import Trial

_CHANCE_OF_A_FALSE_BLIND_SPOT = 0.05  # over all places that are looked at, together
_NAMED = 4  # blind spots in the sentence
_Place = tuple[int | None, int | None]  # an orientation, a ninth


@dataclass(frozen=True)
class BlindSpot:
    """A blind spot: far fewer are found than elsewhere, `found` of `judged` that are large enough."""

    orientation: int | None
    ninth: int | None
    judged: int
    found: int

    def holds(self, trial: Trial) -> bool:
        """Tell whether a defect lies here."""
        return self.orientation in {None, trial.orientation} and self.ninth in {None, trial.ninth}

    def words(self) -> str:
        """Name the place and say how many were found there."""
        angle = {0: "along rows (0°)", 90: "along columns (90°)"}.get(self.orientation or 0, f"at {self.orientation}°")
        where = [] if self.orientation is None else [angle]
        where += [] if self.ninth is None else [f"in the {NINTHS[self.ninth]} ninth"]
        return f"{' '.join(where)}: {self.found} of {self.judged} found"


@dataclass(frozen=True)
class Summary:
    """The curves of one class. `by_contrast`: of drawn ones, the first the reference; `real`: of real ones, or None.

    `contrast`, `by_orientation` (degrees) and `by_ninth` are of the reference contrast, or of the real ones where
    nothing was drawn. `shape` is None where nothing was drawn.
    """

    class_name: str
    shape: MarkShape | None
    contrast: float | None
    whole: Curve
    by_contrast: dict[float, Curve]
    by_orientation: dict[int, Curve]
    by_ninth: dict[int, Curve]
    real: Curve | None
    blind: tuple[BlindSpot, ...]
    otherwise: int
    width_px: float | None = None


def summarise(
    class_name: str,
    shape: MarkShape | None,
    contrasts: Sequence[float],
    trials: Sequence[Trial],
    width_px: float | None,
    *,
    mm_per_px: float | None = None,
) -> Summary:
    """Sum up what was drawn of one class, at these contrasts, and what was met of it in real pictures.

    `mm_per_px`: reasons tell sizes in mm.
    """

    def curve(trials: Sequence[Trial]) -> Curve:
        sizes = np.array([trial.size_px for trial in trials], np.float64)
        found = np.array([trial.found for trial in trials], np.bool_)
        return fit_curve(sizes, found, lambda px: _length(px, mm_per_px))

    own = [trial for trial in trials if trial.class_name == class_name]
    real = [trial for trial in own if trial.contrast is None]
    drawn = [trial for trial in own if trial.contrast is not None]
    reference = [trial for trial in drawn if trial.contrast == contrasts[0]] if drawn else real
    whole = curve(reference)
    orientations = {trial.orientation for trial in reference} - {None}
    return Summary(
        class_name,
        shape if drawn else None,
        contrasts[0] if drawn else None,
        whole,
        {contrast: curve([t for t in drawn if t.contrast == contrast]) for contrast in contrasts} if drawn else {},
        {o: curve([t for t in reference if t.orientation == o]) for o in ORIENTATIONS} if orientations else {},
        {ninth: curve([t for t in reference if t.ninth == ninth]) for ninth in range(len(NINTHS))},
        curve(real) if real else None,
        blind_spots(reference, whole),
        sum(trial.otherwise for trial in reference),
        width_px if drawn and shape == "line" else None,
    )


def blind_spots(trials: Sequence[Trial], whole: Curve) -> tuple[BlindSpot, ...]:
    """Name the orientations, then the ninths, then what of both together, where too few large ones are found.

    Large ones: of a90_95 or more; without it, the largest half of all sizes. Too few: so few that with a chance of 0.9
    each it would happen by luck in one of twenty whole measurements. That is for all places together (Bonferroni). A
    defect in a place that is named is not counted against another.
    """
    if not trials:
        return ()
    least = float(np.exp(np.log([t.size_px for t in trials]).mean())) if whole.a90_95 is None else whole.a90_95
    large = [trial for trial in trials if trial.size_px >= least]
    ways: tuple[Callable[[Trial], _Place], ...] = (
        lambda t: (t.orientation, None),
        lambda t: (None, t.ninth),
        lambda t: (t.orientation, t.ninth),
    )
    # a spot has no orientation: its place by both is that by its ninth
    count = len({way(trial) for way in ways for trial in large} - {(None, None)})
    named: list[BlindSpot] = []
    for way in ways:
        places: dict[_Place, list[Trial]] = {}
        for trial in large:
            if way(trial) != (None, None) and not any(spot.holds(trial) for spot in named):
                places.setdefault(way(trial), []).append(trial)
        for (orientation, ninth), own in places.items():
            found = sum(trial.found for trial in own)
            if _at_most(found, len(own)) < _CHANCE_OF_A_FALSE_BLIND_SPOT / count:
                named.append(BlindSpot(orientation, ninth, len(own), found))
    return tuple(sorted(named, key=lambda spot: spot.found / spot.judged))


def _at_most(found: int, judged: int) -> float:
    """Return the chance that at most so many are found where each is found with `PROBABILITY`: the binomial tail."""
    p = PROBABILITY
    return float(sum(math.comb(judged, k) * p**k * (1 - p) ** (judged - k) for k in range(found + 1)))


def sentence(summary: Summary, mm_per_px: float | None) -> str:
    """Say from which size on defects of a class are found, and where they are not."""
    c = summary.whole
    if not c.judged:
        return f"{summary.class_name} was not measured: nothing was drawn, and no real one was met"
    kind = f"{summary.class_name} in real pictures" if summary.contrast is None else summary.class_name
    at = "" if summary.contrast is None else f" at contrast ≥ {summary.contrast:g}"
    sure = f"found with {PROBABILITY:.0%} probability"
    if c.a90 is not None:
        bound = c.reason if c.a90_95 is None else _length(c.a90_95, mm_per_px)
        found = f"of ≥ {_length(c.a90, mm_per_px)}{at} is {sure} ({CONFIDENCE:.0%} confidence: {bound})"
    elif c.smallest is not None and c.lies_below:
        often = "always" if c.found == c.judged else "nearly always"
        bound = "" if c.a90_95 is None else f"; {CONFIDENCE:.0%} confidence: {_length(c.a90_95, mm_per_px)}"
        found = f"of ≥ {_length(c.smallest, mm_per_px)}{at} is {often} found ({c.found} of {c.judged}{bound})"
    else:
        found = f"{at.strip()} has no known size from which on it is {sure}: {c.reason}".strip()
    more = len(summary.blind) - _NAMED
    spots = [spot.words() for spot in summary.blind[:_NAMED]]
    spots += [counted(more, "place") + " more"] if more > 0 else []
    return f"{kind} {found}; blind: {', '.join(spots) or 'nowhere'}"


def _length(px: float, mm_per_px: float | None) -> str:
    return f"{px:.3g} px" if mm_per_px is None else f"{px * mm_per_px:.2g} mm"


def as_json(summary: Summary, mm_per_px: float | None) -> dict[str, Any]:
    """Lay a summary out for a file: what is not known is None, with its reason."""
    return {
        "shape": summary.shape,
        "contrast": summary.contrast,
        "width_px": _rounded(summary.width_px),
        **_of_curve(summary.whole, mm_per_px),
        "found_as_other_class": summary.otherwise,
        "by_contrast": {f"{contrast:g}": _of_curve(c, mm_per_px) for contrast, c in summary.by_contrast.items()},
        "by_orientation": {str(angle): _of_curve(c, mm_per_px) for angle, c in summary.by_orientation.items()},
        "by_region": {NINTHS[ninth]: _of_curve(c, mm_per_px) for ninth, c in summary.by_ninth.items()},
        "real": None if summary.real is None else _of_curve(summary.real, mm_per_px),
        "blind": [
            {
                "orientation_deg": spot.orientation,
                "region": None if spot.ninth is None else NINTHS[spot.ninth],
                "judged": spot.judged,
                "found": spot.found,
            }
            for spot in summary.blind
        ],
        "sentence": sentence(summary, mm_per_px),
    }


def _of_curve(c: Curve, mm_per_px: float | None) -> dict[str, Any]:
    scale = mm_per_px or 0.0
    in_mm = {
        f"{key}_mm": None if size is None or mm_per_px is None else _rounded(size * scale)
        for key, size in (("a90", c.a90), ("a90_95", c.a90_95))
    }
    return {
        "judged": c.judged,
        "found": c.found,
        "smallest_px": _rounded(c.smallest),
        "largest_px": _rounded(c.largest),
        "a50_px": _rounded(c.a50),
        "a90_px": _rounded(c.a90),
        "a90_95_px": _rounded(c.a90_95),
        **in_mm,
        "intercept": _rounded(c.intercept),
        "slope": _rounded(c.slope),
        "reason": c.reason,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")
