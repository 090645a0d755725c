"""Write a fit on good parts as a bundle: the network, split, golden pictures, manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from edge import __version__
from edge.bundle import GOLDEN, KERAS_MODEL, ONNX_MODEL, SPLIT, Bundle, ClassEntry, Manifest, sha256_of, write_manifest
from edge.errors import StoreError
from edge.preparing import depth_bits
from trainer.anomaly.learning import Learned
from trainer.anomaly.thresholds import BudgetThreshold, noted
from trainer.bundling.bundle import write_golden
from trainer.bundling.keras_file import save_model_alone
from trainer.datasets.dataset import Entry, dataset_sha256
from trainer.datasets.split_manifest import write_split
from trainer.evaluation.thresholds import FittedClass
from trainer.recipe.good_parts_settings import ANOMALY, GoodPartsRecipe
from trainer.training.hardware import cores, processor

KEY = "good_parts"  # of a manifest's `training`


@dataclass(frozen=True)
class Fitted:
    """A recipe, the encoder, what it learned, the threshold and the held-out scores that chose it, and figures.

    `bad_scores`: the largest distance of each defective picture, in their order.
    """

    recipe: GoodPartsRecipe
    encoded: Any
    learned: Learned
    threshold: BudgetThreshold
    held_out: Sequence[float]
    bad_scores: Sequence[float]
    figures: Mapping[str, Any]


def write_good_parts_bundle(
    fitted: Fitted, out: Path, good: Sequence[Entry], bad: Sequence[Entry], started: datetime
) -> Bundle:
    """Write the bundle `out`. `bad`: what was judged and not learned from. Raises StoreError."""
    from trainer.anomaly.network import THRESHOLD, scorer

    recipe = fitted.recipe
    model = scorer(fitted.encoded, recipe, fitted.learned, fitted.threshold.distance)
    entries = [*good, *bad]
    data_sha256 = dataset_sha256(entries)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for stale in (out / ONNX_MODEL, *(out / GOLDEN).glob("*")):
            stale.unlink(missing_ok=True)
        save_model_alone(model, out / KERAS_MODEL)
        parts = {entry.image: "test" if entry.classes else "train" for entry in entries}
        write_split(out / SPLIT, entries, parts)  # type: ignore[arg-type] # both are parts of a split
        clearest = sorted(zip(fitted.bad_scores, bad, strict=True), key=lambda one: -one[0])
        write_golden(out / GOLDEN, [*good[:1], *(entry for _, entry in clearest)], depth_bits(recipe.preparing))
    except OSError as error:
        raise StoreError(
            f"The bundle {out} cannot be written: {error.strerror}. Free some space and fit again"
        ) from error
    found = FittedClass(
        threshold=THRESHOLD,
        min_area_px=1.0,
        missed=len(bad) - (fitted.figures["found"] or 0),
        false=fitted.threshold.flagged,
        shown=len(bad),
        iou=None,
        missed_region=None,
    )
    entry = ClassEntry(
        id=1, name=ANOMALY, severity=recipe.severity, colour=recipe.colour, threshold=THRESHOLD, min_area_px=1.0
    )
    manifest = Manifest(
        name=recipe.name,
        version=recipe.version,
        classes=(entry,),
        tile=recipe.tile,
        channels=recipe.channels,
        preparing=recipe.preparing,
        training={
            "recipe": recipe.model_dump(mode="json"),
            "dataset_sha256": data_sha256,
            "pictures": {"train": len(good), "validation": 0, "test": len(bad)},
            KEY: noted(fitted.held_out, fitted.threshold),
            **fitted.figures,
            "machine": {"processor": processor(), "cores": cores()},
        },
        validation={ANOMALY: asdict(found)},
        provenance=(
            {
                "step": "train",
                "at": started.isoformat(timespec="seconds"),
                "linewatch": __version__,
                "dataset_sha256": data_sha256,
                "keras_sha256": sha256_of(out / KERAS_MODEL),
                "recipe_sha256": hashlib.sha256(recipe.model_dump_json().encode()).hexdigest(),
            },
        ),
    )
    return write_manifest(out, manifest)
