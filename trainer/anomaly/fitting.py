"""`linewatch-train fit` with a recipe that learns from good parts: a dataset → a bundle.

Of the encoder nothing is trained. With `drawn` a small head is, on defects that are drawn into the good parts.
Defective pictures of the dataset are never learned from: they serve the figures only.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from edge.bundle import Bundle
from edge.cli.terminal import warn
from edge.errors import DatasetError, StoreError
from edge.wording import counted
from trainer.anomaly.drawn_head import DrawnHead
from trainer.anomaly.gathering import TileRunner, known_cells, load_prepared
from trainer.anomaly.learning import Learned, PlaceSums, Samples, gather, gather_places, learn_memory
from trainer.anomaly.memory import learn_whitening
from trainer.anomaly.thresholds import BudgetThreshold, deal_groups, within_budget
from trainer.anomaly.writing import Fitted, write_good_parts_bundle
from trainer.datasets.dataset import Entry, class_names, read_manifest
from trainer.datasets.good_names import words_on_good_names
from trainer.evaluation.ranking import UNRANKED, picture_auroc, ranked_pictures
from trainer.recipe.good_parts_settings import GoodPartsRecipe
from trainer.training.checkpointing import check_writable
from trainer.training.hardware import import_keras
from trainer.training.training_loop import progress_bar

_LEAST_GROUPS = 2
_FEW_PARTS = 20
_FEW_PIECES = 5
DRAWING = 71  # of the seed: drawing takes no chance from what is done beside it


@dataclass(frozen=True)
class DrawnHeads:
    """Heads of drawn defects by the fold that they did not learn from, None of all, and figures.

    `figures`: `tiles` learned from, and `tile_auroc`. That is the chance that a tile with a drawn defect has a larger
    logit than a good one. Other folds taught what judges each.
    """

    by_fold: Mapping[int | None, DrawnHead]
    figures: Mapping[str, Any]


def head_without(heads: DrawnHeads | None, fold: int | None) -> DrawnHead | None:
    """Return the head that did not learn from a fold; None where there are no heads."""
    return None if heads is None else heads.by_fold[fold]


@dataclass
class Fit:
    """The parts of one fit: the encoder, how it is run over pictures, and who watches."""

    recipe: GoodPartsRecipe
    encoded: Any
    console: Console

    def watched(self, entries: Iterable[Entry], words: str) -> Iterable[Entry]:
        """Yield entries beside a progress bar."""
        with progress_bar(self.console) as progress:
            yield from progress.track(list(entries), description=words)

    @property
    def cells(self) -> TileRunner:
        """Return what runs the encoder over pictures and answers the cells that are compared."""
        from trainer.anomaly.network import cells_of

        return TileRunner(cells_of(self.encoded), self.recipe, self.recipe.cell_px)

    def steps(self, count: int, words: str) -> Iterable[int]:
        """Yield 0 to count - 1 beside a progress bar."""
        with progress_bar(self.console) as progress:
            yield from progress.track(range(count), description=words)

    def drawn(self, good: Sequence[Entry], fold_of: Sequence[int]) -> DrawnHeads | None:
        """Draw defects into good pictures, and learn a head without each fold, and one of all; None without `drawn`."""
        recipe = self.recipe
        if recipe.drawn is None:
            return None
        from trainer.anomaly.drawn_learning import gather_drawn, learn_drawn

        rng = np.random.default_rng([recipe.seed, DRAWING])
        tiles = gather_drawn(good, fold_of, self.encoded, recipe=recipe, rng=rng, watch=self.watched)
        heads: dict[int | None, DrawnHead] = {}
        tops, defective = [], []
        for fold in (*sorted(set(fold_of)), None):
            judged = [place for place, of in enumerate(fold_of) if of == fold]
            learned = [place for place, of in enumerate(fold_of) if of != fold]
            words = "learning drawn defects" + ("" if fold is None else f" without part {fold + 1}")
            told = learn_drawn(
                tiles, learned, judged, settings=recipe.drawn, seed=recipe.seed, steps=self.steps, words=words
            )
            heads[fold] = told.head
            tops += told.tops.tolist()
            defective += tiles.defective[tiles.of(judged)].tolist()
        ranked = picture_auroc(
            [top for top, own in zip(tops, defective, strict=True) if not own],
            [top for top, own in zip(tops, defective, strict=True) if own],
        )
        return DrawnHeads(heads, {"tiles": len(tiles.pictures), "tile_auroc": ranked})

    def scores(self, entries: Sequence[Entry], learned: Learned, words: str) -> list[float]:
        """Return each picture's score: the largest distance in it, as the bundle would answer."""
        from trainer.anomaly.network import distance_of, scorer

        unit = float(np.sqrt(self.recipe.components))  # so that answers are far from 0 and 1
        model = scorer(self.encoded, self.recipe, learned, unit)
        runner = TileRunner(model, self.recipe, 1)
        tops = []
        for entry in self.watched(entries, words):
            picture = load_prepared(entry, self.recipe)
            answered = runner.run(picture.pixels)
            tops.append(float(answered[known_cells(picture.truth, answered.shape)].max(initial=0)))
        return [float(value) for value in distance_of(np.asarray(tops), unit)]


def fit_good_parts(
    recipe: GoodPartsRecipe, data: Path, out: Path, console: Console, *, without: Collection[str] = ()
) -> Bundle:
    """Learn from the good pictures of the dataset folder `data` and write the bundle `out`.

    `without`: pictures (`image`) that take no part at all, so that they can judge it. Raises DatasetError,
    DependencyError, StoreError, all before the work where possible.
    """
    began_s = time.monotonic()
    started = datetime.now(timezone.utc)
    _check_target(out)
    entries = [entry for entry in read_manifest(data, need_masks=False) if entry.image not in without]
    good = [entry for entry in entries if not entry.classes]
    bad = [entry for entry in entries if entry.classes]
    for words in words_on_good_names(class_names(bad), data):
        warn(console, words)
    _check_good(data, good)
    check_writable(out)
    import_keras(recipe.seed)
    from trainer.anomaly.network import encoder

    console.print(
        f"{counted(len(good), 'good picture')} to learn from; {counted(len(bad), 'defective one')} for the figures only"
    )
    fit = Fit(recipe, encoder(recipe), console)
    rng = np.random.default_rng(recipe.seed)
    fold_of_group = deal_groups([entry.group for entry in good], recipe.folds, rng)
    fold_of = [fold_of_group[entry.group] for entry in good]
    samples = gather(good, fold_of, fit.cells, recipe=recipe, rng=rng, watch=fit.watched)
    heads = fit.drawn(good, fold_of)
    held_out, learned = _cross_fitted(fit, good, fold_of, _Gathered(samples, heads), rng)
    threshold = within_budget(held_out, recipe.false_alarms)
    bad_scores = fit.scores(bad, learned, "judging defective pictures") if bad else []
    figures = _figures(held_out, bad_scores, threshold) | {"drawn": dict(heads.figures) if heads else None}
    bundle = write_good_parts_bundle(
        Fitted(
            recipe,
            fit.encoded,
            learned,
            threshold,
            held_out,
            bad_scores,
            figures | {"seconds": round(time.monotonic() - began_s, 1)},
        ),
        out,
        good,
        bad,
        started,
    )
    _tell(console, threshold, figures, len(good), len({entry.group for entry in good}))
    return bundle


@dataclass(frozen=True)
class _Gathered:
    """Cells of good pictures, and the heads of drawn defects."""

    samples: Samples
    heads: DrawnHeads | None


def _cross_fitted(
    fit: Fit, good: Sequence[Entry], fold_of: Sequence[int], gathered: _Gathered, rng: np.random.Generator
) -> tuple[list[float], Learned]:
    """Return each good picture's score by what the other folds taught, and what all of them taught."""
    held_out = np.zeros(len(good))
    sums = _place_sums(fit, good, fold_of, gathered.samples)
    for fold in range(max(fold_of) + 1):
        own = [place for place, of in enumerate(fold_of) if of == fold]
        learned = _learned(fit, gathered, sums, fold, rng)
        held_out[own] = fit.scores([good[place] for place in own], learned, f"judging part {fold + 1}")
    return held_out.tolist(), _learned(fit, gathered, sums, None, rng)


def _place_sums(fit: Fit, good: Sequence[Entry], fold_of: Sequence[int], samples: Samples) -> PlaceSums | None:
    if not fit.recipe.placed:
        return None
    whitening = learn_whitening(samples.without(None), fit.recipe.components)
    return gather_places(good, fold_of, fit.cells, recipe=fit.recipe, whitening=whitening, watch=fit.watched)


def _learned(
    fit: Fit, gathered: _Gathered, sums: PlaceSums | None, fold: int | None, rng: np.random.Generator
) -> Learned:
    if sums is None:
        learned = learn_memory(gathered.samples, fold, fit.recipe, rng)
        return replace(learned, drawn=head_without(gathered.heads, fold))
    return Learned(sums.whitening, sums.places(fold))


def _check_target(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise StoreError(f"{out} is a file; expected a folder that is empty or absent")
    if out.exists() and any(out.iterdir()):
        raise StoreError(
            f"{out} is not empty. Name another folder, or remove it; a fit takes minutes and is begun anew"
        )


def _check_good(data: Path, good: Sequence[Entry]) -> None:
    groups = len({entry.group for entry in good})
    if groups < _LEAST_GROUPS:
        raise DatasetError(
            f"{data}: expected good pictures (class ok, good or Free) of at least {_LEAST_GROUPS} pieces, received "
            f"{counted(groups, 'piece')}: the threshold is chosen on pieces that were not learned from"
        )


def _figures(held_out: Sequence[float], bad: Sequence[float], threshold: BudgetThreshold) -> dict[str, Any]:
    if not bad:
        return {**UNRANKED, "found": None, "defective": 0}
    return {
        **ranked_pictures(held_out, bad),
        "found": sum(score >= threshold.distance for score in bad),
        "defective": len(bad),
    }


def _tell(console: Console, threshold: BudgetThreshold, figures: dict[str, Any], good: int, pieces: int) -> None:
    if figures["drawn"]:
        console.print(
            f"drawn defects, in {counted(figures['drawn']['tiles'], 'tile')}: told from good parts with an AUROC of "
            f"{figures['drawn']['tile_auroc'] or 0:.3f}, each judged by what others taught"
        )
    console.print(threshold.sentence)
    if figures["defective"]:
        low, high = figures["picture_auroc_95"]
        console.print(
            f"defective pictures: {figures['found']} of {figures['defective']} found at that threshold; AUROC "
            f"{figures['picture_auroc']:.3f} ({low:.3f} to {high:.3f}), of good pictures judged by what others taught"
        )
    if good < _FEW_PARTS:
        warn(console, f"{counted(good, 'good picture')} are few: the threshold may swing. Give {_FEW_PARTS} or more")
    elif pieces < _FEW_PIECES:
        warn(
            console,
            f"the good pictures show {counted(pieces, 'piece')} (column group). Each is judged by what the others "
            "taught, so the threshold is too high where these look different. Give more pieces, or fit each by itself",
        )
