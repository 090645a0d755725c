"""Learn what marked defects show, beside good parts: the head, and a threshold that fits it.

With the head the scores of the fit hold no more. So the good parts that lie beside the marked ones choose the
threshold: each is judged by what the other parts teach, marked ones too. So it is known whether the head helps; it is
left out where it finds fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edge.errors import DatasetError
from edge.records import Float32, Float64
from edge.wording import counted
from trainer.anomaly.fitting import DrawnHeads, Fit, head_without
from trainer.anomaly.gathering import load_prepared, some_cells
from trainer.anomaly.head import Head, MarkedCells, learn_head, split_cells
from trainer.anomaly.learning import Learned, Samples, gather
from trainer.anomaly.memory import Memory, Whitening, remember
from trainer.anomaly.thresholds import deal_groups, within_budget
from trainer.datasets.dataset import Entry
from trainer.evaluation.ranking import picture_auroc

_LEAST_GROUPS = 2
# Of a picture at most so many cells of a kind: one with a large defect is not to speak for all.
_CELLS_AT_MOST = 100


@dataclass(frozen=True)
class Marked:
    """The teaching of good and marked parts, the scores of the good ones by what others taught, and the figures.

    `drawn`: those of the head of drawn defects; empty where there is none.
    """

    learned: Learned
    held_out: list[float]
    figures: dict[str, Any]
    drawn: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        """Say what the head is worth."""
        alone, both = self.figures["without_head"], self.figures["with_head"]
        used = "it is used" if self.figures["used"] else "it finds no more, and is left out"
        return (
            f"marked defects, each judged by what others taught: AUROC {alone['picture_auroc']:.3f} without the head, "
            f"{both['picture_auroc']:.3f} with it; found {alone['found']:.0%} and {both['found']:.0%}: {used}"
        )


@dataclass(frozen=True)
class _Cells:
    """Cells by picture: drawn from good ones, whitened, and of marked ones both kinds; and the fold of each picture."""

    good: list[Float32]
    marked: list[MarkedCells]
    good_folds: list[int]
    marked_folds: list[int]

    def known(self, without: int | None) -> list[Float32]:
        return [own for own, of in zip(self.good, self.good_folds, strict=True) if of != without]

    def head(self, without: int | None) -> Head:
        marked = [own for own, of in zip(self.marked, self.marked_folds, strict=True) if of != without]
        good = np.concatenate([*self.known(without), *(own.good for own in marked)])
        return learn_head(good, np.concatenate([good[:0], *(own.defective for own in marked)]))


@dataclass(frozen=True)
class _Taught:
    """Cells of good and marked parts, and the heads of drawn defects."""

    cells: _Cells
    heads: DrawnHeads | None


def learn_marked(
    fit: Fit, good: Sequence[Entry], marked: Sequence[Entry], before: Learned, rng: np.random.Generator
) -> Marked:
    """Learn good parts and marked ones on top of what a bundle knows. Raises DatasetError for too few good pieces."""
    if len({entry.group for entry in good}) < _LEAST_GROUPS:
        raise DatasetError(
            f"expected good pictures of at least {_LEAST_GROUPS} pieces beside {counted(len(marked), 'marked one')}, "
            f"received {counted(len(good), 'good picture')}: the threshold is chosen on them. Put the good parts of "
            "the fit into the dataset as well"
        )
    dealt = deal_groups([entry.group for entry in (*good, *marked)], fit.recipe.folds, rng)
    cells = _gathered(fit, good, marked, dealt=dealt, whitening=before.whitening, rng=rng)
    heads = fit.drawn(good, cells.good_folds)  # anew: the bundle's has seen the good ones that choose the threshold
    alone, both = _judged(fit, good, marked, _Taught(cells, heads), whitening=before.whitening, rng=rng)
    figures = _figures(alone, both, len(good), fit.recipe.false_alarms)
    recipe = fit.recipe
    memory = remember(np.concatenate(cells.known(None)), recipe.memory, recipe.neighbours, rng, _memory(before))
    head = cells.head(None) if figures["used"] else Head.none(memory.points.shape[1])
    held_out = (both if figures["used"] else alone)[: len(good)]
    return Marked(
        Learned(before.whitening, memory, head, head_without(heads, None)),
        held_out.tolist(),
        figures,
        heads.figures if heads else {},
    )


def _memory(before: Learned) -> Memory:
    assert isinstance(before.known, Memory)  # noqa: S101 - placed parts are refused before
    return before.known


def _gathered(
    fit: Fit,
    good: Sequence[Entry],
    marked: Sequence[Entry],
    *,
    dealt: dict[str, int],
    whitening: Whitening,
    rng: np.random.Generator,
) -> _Cells:
    recipe = fit.recipe
    runner = fit.cells
    good_folds = [dealt[entry.group] for entry in good]
    samples: Samples = gather(good, good_folds, runner, recipe=recipe, rng=rng, watch=fit.watched)
    split: list[MarkedCells] = []
    for entry in fit.watched(marked, "learning marked defects"):
        picture = load_prepared(entry, recipe)
        own = split_cells(whitening.of(runner.run(picture.pixels)), picture.truth, recipe.cell_px)
        split.append(MarkedCells(*(some_cells(part, _CELLS_AT_MOST, rng) for part in (own.good, own.defective))))
    known = [whitening.of(cells) for cells in samples.cells]
    return _Cells(known, split, good_folds, [dealt[entry.group] for entry in marked])


def _judged(
    fit: Fit,
    good: Sequence[Entry],
    marked: Sequence[Entry],
    taught: _Taught,
    *,
    whitening: Whitening,
    rng: np.random.Generator,
) -> tuple[Float64, Float64]:
    """Return each picture's score by what the other folds taught, without the head and with it; good ones first."""
    cells = taught.cells
    entries, folds = [*good, *marked], np.array([*cells.good_folds, *cells.marked_folds])
    alone, both = np.zeros(len(entries)), np.zeros(len(entries))
    for fold in sorted(set(folds.tolist())):
        own = np.flatnonzero(folds == fold)
        memory = remember(np.concatenate(cells.known(fold)), fit.recipe.memory, fit.recipe.neighbours, rng)
        learned = Learned(whitening, memory, drawn=head_without(taught.heads, fold))
        judged = [entries[place] for place in own]
        alone[own] = fit.scores(judged, learned, f"judging part {fold + 1}")
        both[own] = fit.scores(judged, replace(learned, head=cells.head(fold)), f"judging part {fold + 1} again")
    return alone, both


def _figures(alone: Float64, both: Float64, good: int, false_alarms: float) -> dict[str, Any]:
    told = {}
    for key, scores in (("without_head", alone), ("with_head", both)):
        threshold = within_budget(scores[:good].tolist(), false_alarms).distance
        auroc = picture_auroc(scores[:good].tolist(), scores[good:].tolist())
        told[key] = {"picture_auroc": auroc or 0.0, "found": float((scores[good:] >= threshold).mean())}
    worse = any(told["with_head"][key] < told["without_head"][key] for key in ("picture_auroc", "found"))
    return {**told, "used": not worse, "marked": len(both) - good}
