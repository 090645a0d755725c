"""A set by the product: what `linewatch-train fit` learns and writes, answered tile by tile as the line would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from rich.console import Console

from benchmarks.anomaly.figures import Judged, counted
from benchmarks.anomaly.protocols import Turn
from edge.records import Float32, UInt8
from trainer.anomaly.drawn_head import DrawnHead
from trainer.anomaly.fitting import DRAWING, Fit
from trainer.anomaly.gathering import TileRunner, load_prepared
from trainer.anomaly.learning import Learned, Samples, gather, gather_places, learn_memory
from trainer.anomaly.memory import learn_whitening
from trainer.datasets.dataset import Entry
from trainer.recipe.good_parts_settings import GoodPartsRecipe
from trainer.training.hardware import import_keras


def judge(recipe: GoodPartsRecipe, entries: Sequence[Entry], turns: Sequence[Turn], console: Console) -> list[Judged]:
    """Gather cells of good pictures once; in each turn learn from its own ones, and judge the others.

    A score is the highest probability of a picture, p = r / (r + 1) with r = (d / unit)^2. `fit` has its threshold in
    the place of the unit, which changes no order.
    """
    import_keras(recipe.seed)
    from trainer.anomaly.network import encoder, scorer

    fit = Fit(recipe, encoder(recipe), console)
    rng = np.random.default_rng(recipe.seed)
    unit = 1.0 if recipe.placed else float(np.sqrt(recipe.components))  # distances lie around it
    by_name = {entry.image: entry for entry in entries}
    good = [by_name[name] for name in sorted(frozenset().union(*(turn.learned for turn in turns)))]
    runner = fit.cells
    cells = gather(good, [0] * len(good), runner, recipe=recipe, rng=rng, watch=_untold).cells
    heads = _heads(fit, good, turns)
    judged: list[Judged] = []
    for number, turn in enumerate(turns, start=1):
        print(f"  turn {number} of {len(turns)}: {len(turn.learned)} learned, {len(turn.judged)} judged", flush=True)
        own = [place for place, entry in enumerate(good) if entry.image in turn.learned]
        samples = Samples([cells[place] for place in own], [0] * len(own))
        learned = _learned(recipe, [good[place] for place in own], samples, runner, rng)
        learned = replace(learned, drawn=heads(number - 1))
        answering = TileRunner(scorer(fit.encoded, recipe, learned, unit), recipe, 1)
        judged += _judged([by_name[name] for name in sorted(turn.judged)], recipe, answering)
    return judged


def _heads(fit: Fit, good: Sequence[Entry], turns: Sequence[Turn]) -> Callable[[int], DrawnHead | None]:
    """Draw into good pictures once; return what learns the head of a turn, by its number, from its own ones."""
    recipe = fit.recipe
    if recipe.drawn is None:
        return lambda _turn: None
    from trainer.anomaly.drawn_learning import gather_drawn, learn_drawn

    settings = recipe.drawn
    fold_of = [next((n for n, turn in enumerate(turns) if one.image in turn.judged), len(turns)) for one in good]
    rng = np.random.default_rng([recipe.seed, DRAWING])
    tiles = gather_drawn(good, fold_of, fit.encoded, recipe=recipe, rng=rng, watch=_untold)

    def head(number: int) -> DrawnHead:
        own = [place for place, entry in enumerate(good) if entry.image in turns[number].learned]
        return learn_drawn(tiles, own, (), settings=settings, seed=recipe.seed, steps=fit.steps, words="drawn").head

    return head


def _learned(
    recipe: GoodPartsRecipe, good: Sequence[Entry], samples: Samples, runner: TileRunner, rng: np.random.Generator
) -> Learned:
    if not recipe.placed:
        return learn_memory(samples, None, recipe, rng)
    whitening = learn_whitening(samples.without(None), recipe.components)
    folds = [0] * len(good)
    sums = gather_places(good, folds, runner, recipe=recipe, whitening=whitening, watch=_untold)
    return Learned(whitening, sums.places(None))


def _judged(entries: Sequence[Entry], recipe: GoodPartsRecipe, answering: TileRunner) -> list[Judged]:
    pictures = [load_prepared(entry, recipe) for entry in entries]
    answers = [answering.run(one.pixels)[: one.truth.shape[0], : one.truth.shape[1], 0] for one in pictures]
    judged = []
    for entry, picture, answer in zip(entries, pictures, answers, strict=True):
        score, defective = float(answer.max()), bool(entry.classes)
        if defective and not entry.masks:
            judged.append(Judged(entry.image, entry.group, defective, score))
        else:
            levels, mask = np.round(255 * answer).astype(np.uint8), picture.truth == 1
            judged.append(counted(entry.image, entry.group, score, levels, mask, defective=defective))
    return judged


def _untold(entries: Iterable[Entry], _words: str) -> Iterable[Entry]:
    return entries


def levels_of(maps: Sequence[Float32], unit: float) -> list[UInt8]:
    """Return score maps as levels of 0-255 that keep their order: 255 r / (r + 1), r = (score / unit)^2."""
    squares = [np.square(np.maximum(one, 0) / unit) for one in maps]
    return [np.round(255 * one / (one + 1)).astype(np.uint8) for one in squares]
