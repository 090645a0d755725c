"""`linewatch-train fit-thresholds --folds`: a bundle gets the thresholds that all folds of a comparison chose."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from edge import __version__
from edge.bundle import SPLIT, Bundle, load_bundle
from edge.errors import BundleError, SettingsError, StoreError
from edge.yaml_settings import load_yaml
from trainer.bundling.fit_thresholds import recipe_of, set_thresholds
from trainer.comparing.folds import FOLDS, read_folds
from trainer.comparing.one_run import RECIPE
from trainer.datasets.split_manifest import read_split
from trainer.recipe.settings import TrainSettings

SUMMARY = "summary.json"
# The allowed differences of two trainings of one recipe.
_MAY_DIFFER = frozenset({"name", "version", "split", "seed", "max_minutes", "logs", "devices"})


def thresholds_over_folds(path: Path, comparison: Path) -> Bundle:
    """Set the thresholds and smallest areas of the bundle at `path` to what all folds in `comparison` chose.

    The bundle is one of the compared recipes, trained as it stands. Pictures that chose judge no more: those among its
    held-out ones are noted. It is to be converted again. Raises BundleError where none of the recipes is the bundle's.
    Raises StoreError where the comparison cannot be read or is not over.
    """
    bundle = load_bundle(path, need_onnx=False)
    told = _recipe_compared(recipe_of(bundle), comparison)
    chosen = told["thresholds"].get("classes")
    if told["failed"] or told["stopped"] or not chosen:
        why = told["thresholds"].get("why") or f"runs are missing: {', '.join([*told['failed'], *told['stopped']])}"
        raise StoreError(f"{comparison} has chosen no thresholds over all folds for this recipe: {why}")
    folds = read_folds(comparison / FOLDS)
    judged = {image for image, fold in folds.of_image.items() if fold is not None}
    rows = read_split(path / SPLIT)
    step = {
        "step": "fit_thresholds",
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "linewatch": __version__,
        "folds": folds.count,
        "pictures": told["thresholds"]["pictures"],
        "kept": [entry.name for entry in bundle.classes if not chosen[entry.name]["shown"]],
    }
    shown = {name: own for name, own in chosen.items() if own["shown"]}
    return set_thresholds(
        bundle, shown, step, [row.sha256 for row in rows if row.part == "test" and row.image in judged]
    )


def _recipe_compared(recipe: TrainSettings, comparison: Path) -> dict[str, Any]:
    """Find the recipe in a comparison's summary. Raises BundleError, StoreError."""
    try:
        summary: list[dict[str, Any]] = json.loads((comparison / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{comparison} holds no comparison by folds that came to its end: {error}. Expected {SUMMARY}, which "
            "linewatch-train compare --folds writes"
        ) from error
    wanted = _essence(recipe)
    for told in summary:
        run = next(iter(told["names"]), None)
        if run is not None and _essence_of_run(comparison / run / RECIPE) == wanted:
            return told
    names = ", ".join("-".join(told["recipe"]) for told in summary)
    raise BundleError(
        f"The bundle's recipe is none of those compared in {comparison} ({names}): expected one of them, with another "
        "seed or split at most. Train it with the recipe that was chosen"
    )


def _essence(recipe: TrainSettings) -> dict[str, Any]:
    return {key: value for key, value in recipe.model_dump(mode="json").items() if key not in _MAY_DIFFER}


def _essence_of_run(path: Path) -> dict[str, Any] | None:
    try:
        return _essence(load_yaml(path, TrainSettings))
    except SettingsError:
        return None
