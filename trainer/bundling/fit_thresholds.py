"""`linewatch-train fit-thresholds`: thresholds and smallest areas anew, on further labelled pictures, without training.

A recipe's own validation pictures are few, and of a rare defect there may be a handful: where its threshold and
smallest area come to lie is then luck. Pictures labelled later, or drawn, say more. They choose, so they judge
no more.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.console import Console

from edge import __version__
from edge.bundle import (
    FP16_MODEL,
    GOLDEN,
    INT8_MODEL,
    ONNX_MODEL,
    PRECISION_PLANS,
    SPLIT,
    Bundle,
    load_bundle,
    write_manifest,
)
from edge.errors import BundleError, DatasetError, SettingsError, StoreError
from edge.wording import command
from trainer.bundling.bundle import Trained, fit_thresholds
from trainer.datasets.cells import labelled_whole
from trainer.datasets.dataset import Entry, class_names, content_sha256, dataset_sha256, load_picture, read_manifest
from trainer.datasets.split_manifest import read_split
from trainer.evaluation.evaluating import learned_from
from trainer.evaluation.keras_engine import load_model
from trainer.recipe.good_parts_settings import learned_from_good_parts
from trainer.recipe.settings import ThresholdSettings, TrainSettings, stored_recipe
from trainer.training.hardware import import_keras
from trainer.training.starting import BEFORE
from trainer.training.training_loop import progress_bar

# Files of the former thresholds: golden maps were drawn with them, and a conversion was judged by them.
_STALE = (ONNX_MODEL, FP16_MODEL, INT8_MODEL, *PRECISION_PLANS)


def fit_thresholds_again(
    path: Path, data: Path, console: Console, *, miss_cost: float | None = None, false_cost: float | None = None
) -> Bundle:
    """Fit thresholds and smallest areas of the bundle at `path` on the pictures of `data` that it does not know.

    Pictures that it learned from, was chosen by or held out take no part. Those that do are noted in the bundle, so
    that nothing judges by them later. `miss_cost`, `false_cost`: of a picture missed and of one falsely flagged, the
    recipe's if left out. A class that none of them shows keeps what it has. The bundle is to be converted again; it is
    as it was where it cannot be written. Raises BundleError where it cannot be fitted, DatasetError where no picture is
    left, SettingsError, StoreError.
    """
    bundle = load_bundle(path, need_onnx=False)
    settings = recipe_of(bundle)
    asked = {"miss_cost": miss_cost, "false_cost": false_cost}
    costs = _costs(settings, {key: cost for key, cost in asked.items() if cost is not None})
    whole = settings.model.stride_px(settings.tile.height) == settings.tile.height
    names = tuple(entry.name for entry in bundle.classes)
    entries = _unknown(bundle, read_manifest(data, need_masks=not whole), data)
    foreign = sorted(set(class_names(entries)) - set(names))
    if foreign:
        raise DatasetError(f"{data}: {path} has no class {', '.join(foreign)}; it has {', '.join(names)}")
    import_keras(settings.seed)
    with progress_bar(console) as progress:
        pictures = [
            load_picture(entry, names, settings.preparing, settings.channels)
            for entry in progress.track(entries, description="reading")
        ]
    trained = Trained(
        model=load_model(bundle.keras_path),
        names=names,
        validation=[labelled_whole(picture, names) for picture in pictures] if whole else pictures,
        started=datetime.now(timezone.utc),
        figures={},
    )
    fitted = fit_thresholds(trained, settings.model_copy(update={"thresholds": costs}), console)
    shown = {name: asdict(value) for name, value in fitted.items() if value.shown}
    step = {
        "step": "fit_thresholds",
        "at": trained.started.isoformat(timespec="seconds"),
        "linewatch": __version__,
        "dataset_sha256": dataset_sha256(entries),
        "pictures": len(entries),
        "costs": costs.model_dump(mode="json"),
        "kept": [name for name in names if name not in shown],
    }
    return set_thresholds(bundle, shown, step, [content_sha256(entry.path) for entry in entries])


def set_thresholds(
    bundle: Bundle, fitted: Mapping[str, Mapping[str, Any]], step: Mapping[str, Any], chosen_by: Sequence[str]
) -> Bundle:
    """Write thresholds and smallest areas into a bundle, which is to be converted again.

    `fitted`: of each class that was fitted, a FittedClass as keys. `step`: what the provenance says of it. `chosen_by`:
    sha256 of the pictures that chose, which judge no more. The bundle is as it was where it cannot be written. Raises
    StoreError.
    """
    path = bundle.path
    manifest = bundle.manifest.model_copy(
        update={
            "classes": tuple(
                entry.model_copy(update={key: fitted[entry.name][key] for key in ("threshold", "min_area_px")})
                if entry.name in fitted
                else entry
                for entry in bundle.manifest.classes
            ),
            "validation": {**bundle.manifest.validation, **fitted},
            "golden": (),
            "provenance": (*(each for each in bundle.manifest.provenance if each.get("step") == "train"), dict(step)),
        }
    )
    try:
        stale = (*(path / name for name in _STALE), *(path / GOLDEN).glob("*.map.png"))
        with _put_back_on_failure([path / BEFORE, *stale]) as aside:
            _note(path / BEFORE, aside[path / BEFORE], chosen_by)
            return write_manifest(path, manifest)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}. Free some space and fit them again") from error


def recipe_of(bundle: Bundle) -> TrainSettings:
    """Return the recipe that the manifest holds. Raises BundleError where there is nothing that could be fitted."""
    if not bundle.keras_path.is_file():
        raise BundleError(
            f"{bundle.path} holds no {bundle.keras_path.name}, which thresholds are fitted with: expected a bundle as "
            "`fit` wrote it, not one that was shipped"
        )
    if learned_from_good_parts(bundle.manifest):
        raise BundleError(
            f"{bundle.path} learned from good parts, whose threshold keeps to its share of false alarms. Teach it "
            f"further good parts: {command('linewatch-train', 'teach', bundle.path, '--data', 'GOOD_PARTS')}"
        )
    if bundle.manifest.training.get("only_sorts"):
        raise BundleError(f"{bundle.path} only sorts: it answers one of its classes for every tile, at any threshold")
    try:
        return TrainSettings.model_validate(stored_recipe(bundle.manifest.training.get("recipe")))
    except ValidationError as error:
        raise BundleError(
            f"{bundle.path}: the manifest's training.recipe is none of this version: "
            f"{error.errors()[0]['msg']}. Train the bundle again"
        ) from error


def _unknown(bundle: Bundle, entries: Sequence[Entry], data: Path) -> list[Entry]:
    """Leave out what the bundle learned from, was chosen by or held out to be judged by."""
    known = learned_from(bundle.path)
    if (bundle.path / SPLIT).is_file():
        known |= {row.sha256 for row in read_split(bundle.path / SPLIT)}
    used = [entry for entry in entries if content_sha256(entry.path) not in known]
    if not used:
        raise DatasetError(
            f"{bundle.path} knows every picture of {data}, or holds it out to be judged by; expected further pictures"
        )
    return used


def _costs(settings: TrainSettings, asked: dict[str, float]) -> ThresholdSettings:
    """Return the recipe's costs with those that were asked for in their place. Raises SettingsError."""
    try:
        return ThresholdSettings.model_validate({**settings.thresholds.model_dump(), **asked})
    except ValidationError as error:
        first = error.errors()[0]
        option = "--" + str(first["loc"][0]).replace("_", "-")
        raise SettingsError(f"{option}: {first['msg']}, received {first['input']}") from error


@contextmanager
def _put_back_on_failure(paths: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Set files aside, under names that no manifest answers for, and remove them; put them back where that fails.

    Yields where each of `paths` is meanwhile, whether there was one or not.
    """
    aside = {path: path.with_name(f"{path.name}.tmp") for path in paths}
    was_there = [path for path in paths if path.is_file()]
    for path in was_there:
        path.replace(aside[path])
    try:
        yield aside
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        for path in was_there:
            aside[path].replace(path)
        raise
    for path in was_there:
        aside[path].unlink()


def _note(path: Path, before: Path, chosen_by: Sequence[str]) -> None:
    """Add the pictures to what the bundle was chosen by; `before`: what was noted before, if there is such a file."""
    if before.is_file():
        shutil.copyfile(before, path)
    begun = path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if not begun:
            writer.writerow(("split", "sha256"))
        writer.writerows(("validation", sha256) for sha256 in chosen_by)
