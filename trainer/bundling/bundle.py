"""A trained model and the pictures that choose → a bundle: thresholds, split, golden pictures, manifest."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from edge import __version__
from edge.bundle import (
    GOLDEN,
    KERAS_MODEL,
    ONNX_MODEL,
    SPLIT,
    Bundle,
    ClassEntry,
    Manifest,
    sha256_of,
    write_manifest,
)
from edge.errors import StoreError
from edge.inspection.tiling import plan
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.preparing import depth_bits
from edge.records import GraphContract, UInt8
from trainer.bundling.keras_file import save_model_alone
from trainer.datasets.colours import COLOURS
from trainer.datasets.dataset import Entry, Picture, dataset_sha256
from trainer.datasets.masks import IGNORED
from trainer.datasets.split_manifest import write_split
from trainer.datasets.splitting import Split
from trainer.evaluation.keras_engine import KerasEngine
from trainer.evaluation.thresholds import FittedClass, count_sorted, fit_class, own_probability, presume_class
from trainer.recipe.settings import TrainSettings
from trainer.training.checkpointing import TRAINING
from trainer.training.hardware import cores, processor
from trainer.training.sequences import sequences_of, whole_frames
from trainer.training.starting import BEFORE

_GOLDEN_AT_MOST = 4
_BATCH = 8


@dataclass(frozen=True)
class Trained:
    """The outcome of training: the keras.Model for inference, class names in id order, figures for the manifest.

    `only_sorts`: it answers whole tiles and no tile that it saw was clean. So it cannot tell good parts from bad.
    `chooser`: the keras.Model that thresholds are fitted with. It is `model` where it is None, as long as that did not
    learn from the validation pictures. `known`: what it learned from and what chose. It speaks for a class without a
    fit, and is empty where only fitted values are of use.
    """

    model: Any
    names: tuple[str, ...]
    validation: Sequence[Picture]
    started: datetime
    figures: dict[str, Any]
    only_sorts: bool = False
    chooser: Any = None
    known: Sequence[Picture] = ()


def write_bundle(
    settings: TrainSettings,
    out: Path,
    entries: Sequence[Entry],
    *,
    parts: dict[str, Split],
    trained: Trained,
    console: Console,
) -> Bundle:
    """Fit thresholds and smallest areas on the validation pictures and write the bundle `out`. Raises StoreError."""
    fitted = fit_thresholds(trained, settings, console)
    data_sha256 = dataset_sha256(entries)
    try:
        # files of a former conversion of this folder do not belong to the new weights
        for stale in (out / ONNX_MODEL, *(out / GOLDEN).glob("*")):
            stale.unlink(missing_ok=True)
        save_model_alone(trained.model, out / KERAS_MODEL)
        write_split(out / SPLIT, entries, parts)
        if (out / TRAINING / BEFORE).is_file():
            shutil.copyfile(out / TRAINING / BEFORE, out / BEFORE)
        write_golden(out / GOLDEN, [picture.entry for picture in trained.validation], depth_bits(settings.preparing))
    except OSError as error:
        raise StoreError(
            f"The bundle {out} cannot be written: {error.strerror}. Free some space and go on with --resume"
        ) from error
    manifest = Manifest(
        name=settings.name,
        version=settings.version,
        classes=_class_entries(settings, trained.names, fitted),
        tile=settings.tile,
        stride=settings.model.stride_px(settings.tile.height),
        channels=settings.channels,
        frames=settings.model.frames,
        preparing=settings.preparing,
        training={
            "recipe": settings.model_dump(mode="json"),
            "dataset_sha256": data_sha256,
            "pictures": {part: sum(p == part for p in parts.values()) for part in ("train", "validation", "test")},
            **trained.figures,
            "only_sorts": trained.only_sorts,
            "machine": {"processor": processor(), "cores": cores()},
        },
        validation={name: asdict(value) for name, value in fitted.items()},
        provenance=(
            {
                "step": "train",
                "at": trained.started.isoformat(timespec="seconds"),
                "linewatch": __version__,
                "dataset_sha256": data_sha256,
                "keras_sha256": sha256_of(out / KERAS_MODEL),
                "recipe_sha256": hashlib.sha256(settings.model_dump_json().encode()).hexdigest(),
            },
        ),
    )
    return write_manifest(out, manifest)


def _class_entries(
    settings: TrainSettings, names: Sequence[str], fitted: dict[str, FittedClass]
) -> tuple[ClassEntry, ...]:
    entries = []
    for class_id, name in enumerate(names, start=1):
        own = settings.classes.get(name)
        entries.append(
            ClassEntry(
                id=class_id,
                name=name,
                severity=own.severity if own else "major",
                colour=(own and own.colour) or COLOURS[(class_id - 1) % len(COLOURS)],
                threshold=fitted[name].threshold,
                min_area_px=fitted[name].min_area_px,
            )
        )
    return tuple(entries)


def fit_thresholds(trained: Trained, settings: TrainSettings, console: Console) -> dict[str, FittedClass]:
    """Fit on whole pictures, in their pixels.

    Cells of a model with a stride are repeated to their pixels, as the line counts them. So areas are in pixels. No
    defect is lost from the truth because it fills little of a cell.
    """
    tile, frames = settings.tile, settings.model.frames
    stride = settings.model.stride_px(tile.height)
    contract = GraphContract(tile.height, tile.width, settings.channels, frames, stride, trained.names, _BATCH)
    sequences = sequences_of(trained.validation, settings.sequence, frames)
    probabilities: list[UInt8] = []
    chooser = trained.model if trained.chooser is None else trained.chooser
    with KerasEngine(chooser, contract) as engine:
        watched = track(sequences, "fitting thresholds", console=console, disable=not console.is_terminal)
        for sequence in watched:
            height, width = sequence[-1].truth.shape
            tiles = plan(height, width, (tile.height, tile.width), tile.overlap_px, stride)
            *earlier, pixels = whole_frames(sequence, settings.sequence)
            answered = engine.stitched_probabilities(pixels, tiles, earlier)
            own = in_pixels(own_probability(answered), stride, (height, width))
            ignored = sequence[-1].truth == IGNORED  # nothing counts there: neither true nor answered
            probabilities.append(np.where(ignored[:, :, None], np.uint8(0), own) if ignored.any() else own)
    truths = [sequence[-1].truth for sequence in sequences]
    goes_on = bool(trained.known) and settings.final_training is not None
    presumes = settings.final_training is not None and settings.final_training.thresholds == "presumed"
    fitted = {}
    for k, name in enumerate(trained.names):
        each, true = [p[:, :, k] for p in probabilities], [truth == k + 1 for truth in truths]
        fitted[name] = count_sorted(each, true) if trained.only_sorts else fit_class(each, true, settings.thresholds)
        absent = not fitted[name].shown  # any threshold is as good as another then, and none was fitted
        silent = fitted[name].missed == fitted[name].shown
        if trained.only_sorts or not (presumes or absent or (goes_on and silent)):
            continue
        known = [picture.truth == k + 1 for picture in trained.known]
        if any(mask.any() for mask in known):
            fitted[name] = presume_class(each, true, known)
    return fitted


def in_pixels(cells: UInt8, stride: int, size: tuple[int, int]) -> UInt8:
    """Repeat each cell of uint8 [h, w, K] to its `stride` x `stride` pixels, cut to `size`, (H, W)."""
    if stride == 1:
        return cells
    return np.repeat(np.repeat(cells, stride, 0), stride, 1)[: size[0], : size[1]]


def write_golden(folder: Path, entries: Sequence[Entry], depth: int | None) -> None:
    """Keep a raw validation picture of each combination of classes, lossless, for the converter to make frames of."""
    folder.mkdir(exist_ok=True)
    chosen: dict[tuple[str, ...], Entry] = {}
    for entry in entries:
        chosen.setdefault(entry.classes, entry)
    for place, entry in enumerate(list(chosen.values())[:_GOLDEN_AT_MOST]):
        pixels = read_picture(entry.path, depth)
        grey = pixels[:, :, 0]
        alike = bool((pixels == grey[:, :, None]).all())  # a grey picture takes a third of the room
        _, encoded = cv2.imencode(".png", grey if alike else pixels)
        (folder / f"{place}-{'-'.join(entry.classes) or 'clean'}.png").write_bytes(encoded.tobytes())
