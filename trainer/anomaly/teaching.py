"""`linewatch-train teach`: what further parts look like, added to a bundle without making it larger.

The whitening stays; the memory is chosen anew from what it held and what is new. The threshold is chosen on the scores
that the bundle was fitted with and on those of the new parts. The bundle and the other new parts teach what judges each
new one. marking.py learns marked defects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from rich.console import Console

from edge import __version__
from edge.bundle import (
    FP16_MODEL,
    GOLDEN,
    INT8_MODEL,
    KERAS_MODEL,
    ONNX_MODEL,
    PRECISION_PLANS,
    SPLIT,
    Bundle,
    load_bundle,
    write_manifest,
)
from edge.cli.terminal import warn
from edge.errors import BundleError, DatasetError, StoreError
from edge.records import Float32
from edge.wording import counted
from trainer.anomaly.fitting import Fit
from trainer.anomaly.learning import Learned, gather
from trainer.anomaly.marking import learn_marked
from trainer.anomaly.memory import Memory, Places, remember
from trainer.anomaly.thresholds import deal_groups, noted, within_budget
from trainer.anomaly.writing import KEY
from trainer.bundling.keras_file import save_model_alone
from trainer.datasets.dataset import Entry, class_names, content_sha256, dataset_sha256, read_manifest
from trainer.datasets.good_names import words_on_good_names
from trainer.datasets.split_manifest import append_split
from trainer.evaluation.keras_engine import load_model
from trainer.recipe.good_parts_settings import GoodPartsRecipe, learned_from_good_parts
from trainer.training.hardware import import_keras

# The conversions of the former model.
_STALE = (ONNX_MODEL, FP16_MODEL, INT8_MODEL, *PRECISION_PLANS)


def teach(path: Path, data: Path, console: Console) -> Bundle:
    """Teach the bundle at `path` the pictures of the dataset folder `data`.

    Marked defects in it are learned too, and all good pictures of the folder choose the threshold. Else the good ones
    that the bundle does not know are added.

    Raises BundleError, DatasetError, DependencyError, StoreError.
    """
    bundle, recipe = _teachable(path)
    entries = read_manifest(data, need_masks=False)
    for words in words_on_good_names(class_names(entries), data):
        warn(console, words)
    marked = [entry for entry in entries if entry.masks]
    unmarked = sum(bool(entry.classes) and not entry.masks for entry in entries)
    if unmarked:
        console.print(f"{counted(unmarked, 'defective picture')} without a mask: left out. Mark where the defect is")
    good = [entry for entry in entries if not entry.classes]
    new = _unknown(bundle, [*good, *marked])
    if not new:
        raise DatasetError(f"{data}: expected good pictures, or marked ones, that {path} does not know, received none")
    import_keras(recipe.seed)
    from trainer.anomaly.network import encoder, learned_by

    before = learned_by(load_model(bundle.keras_path))
    if isinstance(before.known, Places):
        raise BundleError(f"{path} learned placed parts, whose statistics are not added to. Fit it again on all parts")
    fit = Fit(recipe, encoder(recipe), console)
    rng = np.random.default_rng(recipe.seed + len(bundle.manifest.provenance))
    figures: dict[str, Any] = {}
    drawn: Mapping[str, Any] = bundle.manifest.training.get("drawn") or {}
    if marked:
        found = learn_marked(fit, good, marked, before, rng)
        learned, held_out, figures, drawn = found.learned, found.held_out, {"head": found.figures}, found.drawn
        console.print(found.sentence)
    else:
        learned, scores = _taught(fit, new, before, before.known, rng)
        held_out = [*bundle.manifest.training[KEY]["held_out"], *map(float, scores)]
    return _finish(fit, bundle, learned, held_out, _Told(new, figures, drawn))


@dataclass(frozen=True)
class _Told:
    """The news of a teaching, the note of it, and that of the head of drawn defects; empty without one."""

    new: Sequence[Entry]
    figures: Mapping[str, Any]
    drawn: Mapping[str, Any]


def _finish(fit: Fit, bundle: Bundle, learned: Learned, held_out: Sequence[float], told: _Told) -> Bundle:
    """Choose the threshold, write the bundle and say what it proves. Raises StoreError."""
    from trainer.anomaly.network import scorer

    threshold = within_budget(held_out, fit.recipe.false_alarms)
    model = scorer(fit.encoded, fit.recipe, learned, threshold.distance)
    kept = {"head": bundle.manifest.training[KEY].get("head")}
    written = _write(bundle, model, told, {**noted(held_out, threshold), **kept, **told.figures})
    fit.console.print(f"{counted(len(told.new), 'further picture')} taught. {threshold.sentence}")
    before = len(bundle.manifest.training[KEY]["held_out"])
    if len(held_out) < before:
        warn(
            fit.console,
            f"the threshold is chosen on {counted(len(held_out), 'good part')} now, on {before} before: beside marked "
            "defects those of the folder alone choose it. Put the good parts of the fit into it as well",
        )
    return written


def _taught(
    fit: Fit, good: Sequence[Entry], before: Learned, memory: Memory, rng: np.random.Generator
) -> tuple[Learned, Float32]:
    """Return what the bundle and all new parts teach, and each new part's score by the others' teaching."""
    recipe = fit.recipe
    folds = deal_groups([entry.group for entry in good], recipe.folds, rng)
    fold_of = [folds[entry.group] for entry in good]
    samples = gather(good, fold_of, fit.cells, recipe=recipe, rng=rng, watch=fit.watched)

    def grown(fold: int | None) -> Learned:
        own = [cells for cells, of in zip(samples.cells, fold_of, strict=True) if of != fold]
        points = np.concatenate([memory.points[:0], *(before.whitening.of(cells) for cells in own)])
        return replace(before, known=remember(points, recipe.memory, recipe.neighbours, rng, memory))

    scores: Float32 = np.zeros(len(good), np.float32)
    for fold in range(max(fold_of) + 1):
        places = [place for place, of in enumerate(fold_of) if of == fold]
        scores[places] = fit.scores([good[place] for place in places], grown(fold), f"judging part {fold + 1}")
    return grown(None), scores


def _write(bundle: Bundle, model: Any, told: _Told, learned: dict[str, Any]) -> Bundle:
    """Put the model in the place of the former one; conversions of that go. Raises StoreError."""
    path, manifest, good = bundle.path, bundle.manifest, told.new
    pictures = manifest.training["pictures"]
    step = {
        "step": "teach",
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "linewatch": __version__,
        "dataset_sha256": dataset_sha256(good),
        "pictures": len(good),
    }
    kept = tuple(one for one in manifest.provenance if one.get("step") in {"train", "teach"})
    training: dict[str, Any] = {KEY: learned, "pictures": pictures | {"train": pictures["train"] + len(good)}}
    if told.drawn:
        training |= {"drawn": dict(told.drawn)}
    changed = {"training": manifest.training | training, "golden": (), "provenance": (*kept, step)}
    try:
        unfinished = path / f"unfinished-{KERAS_MODEL}"
        save_model_alone(model, unfinished)
        for stale in (*(path / name for name in _STALE), *(path / GOLDEN).glob("*.map.png")):
            stale.unlink(missing_ok=True)
        unfinished.replace(path / KERAS_MODEL)
        append_split(path / SPLIT, good)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. Free some space and teach it again") from error
    return write_manifest(path, manifest.model_copy(update=changed))


def _teachable(path: Path) -> tuple[Bundle, GoodPartsRecipe]:
    bundle = load_bundle(path, need_onnx=False)
    if not learned_from_good_parts(bundle.manifest):
        raise BundleError(f"{path} learned marked defects, not good parts alone. Train it again with the new pictures")
    if not bundle.keras_path.is_file():
        raise BundleError(f"{path} holds no {KERAS_MODEL}: expected a bundle as fit wrote it, not one that was shipped")
    try:
        return bundle, GoodPartsRecipe.model_validate(bundle.manifest.training["recipe"])
    except ValidationError as error:
        raise BundleError(f"{path}: the manifest's training.recipe is none of this version. Fit it again") from error


def _unknown(bundle: Bundle, entries: Iterable[Entry]) -> Sequence[Entry]:
    """Return the pictures that a bundle did not learn from."""
    from trainer.evaluation.evaluating import learned_from

    known = learned_from(bundle.path)
    return [entry for entry in entries if content_sha256(entry.path) not in known]
