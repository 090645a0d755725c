"""`linewatch-train evaluate`: figures on whole stitched pictures, as the line would answer them."""

from __future__ import annotations

import csv
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge.bundle import KERAS_MODEL, ONNX_MODEL, SPLIT, Bundle, load_bundle, sha256_of
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import BundleError, DatasetError
from edge.inference import Inference
from edge.measuring import measure, region
from edge.protocols import Engine
from edge.records import Frame, PreparedFrame, Transform, UInt8
from trainer.datasets import Entry, Picture, load_picture, read_manifest
from trainer.keras_engine import KerasEngine
from trainer.metrics import BACKGROUND, Scores

_BATCH = 8


@dataclass(frozen=True)
class Evaluation:
    """The figures (`report`), and per picture which classes it shows, answers and meets, for tables."""

    report: dict[str, Any]
    pictures: list[dict[str, Any]]


def learned_from(bundle: Path) -> set[str]:
    """Return the sha256 of each picture that the bundle was trained on or chosen by."""
    path = bundle / SPLIT
    if not path.is_file():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {row["sha256"] for row in csv.DictReader(file) if row["split"] != "test"}


def evaluate(path: Path, data: Path, console: Console, *, include_training: bool = False) -> Evaluation:
    """Judge the bundle at `path` on the dataset folder `data`, at the manifest's thresholds and smallest areas.

    Pictures that were learned from are left out. Classes that the bundle lacks count as clean, and are named.
    """
    # the model that will be run is verified: the device's where there is one, else the workstation's
    bundle = load_bundle(path, need_onnx=(path / ONNX_MODEL).is_file())
    names = tuple(entry.name for entry in bundle.classes)
    entries = read_manifest(data)
    excluded = set() if include_training else learned_from(path)
    used = [entry for entry in entries if not excluded or sha256_of(entry.path) not in excluded]
    if not used:
        raise DatasetError(
            f"Every picture of {data} was learned from by {path}; expected held-out pictures, or --include-training"
        )
    foreign = sorted({name for entry in used for name in entry.classes} - set(names))
    if foreign:
        console.print(f"[yellow]warning[/]: the bundle has no class {', '.join(foreign)}; such defects count as clean")
    scores, empty = Scores(names), Scores(names)
    rows = []
    with ExitStack() as scope:
        engine = scope.enter_context(_engine(bundle))
        inference = Inference(engine, [entry.threshold for entry in bundle.classes], bundle.manifest.tile.overlap_px)
        for index, entry in enumerate(used):
            known = replace(entry, masks=tuple((name, mask) for name, mask in entry.masks if name in names))
            picture = load_picture(known, names, bundle.manifest.preparing, bundle.manifest.channels)
            score = scores.add(picture.truth, answer(inference, bundle, picture, index))
            empty.add(picture.truth, np.zeros_like(picture.truth))
            rows.append(_row(entry, names, score))
    report = {
        "bundle": bundle.manifest.name,
        "version": bundle.manifest.version,
        "model": "model.onnx" if isinstance(engine, OnnxRuntimeEngine) else "model.keras",
        "excluded_pictures": len(entries) - len(used),
        **scores.report(),
        "empty_baseline": empty.report(),
    }
    return Evaluation(report, rows)


def _engine(bundle: Bundle) -> Engine:
    contract = bundle.contract(_BATCH)
    if bundle.onnx_path.is_file():
        return OnnxRuntimeEngine(bundle.onnx_path, contract)
    if bundle.keras_path.is_file():
        return KerasEngine(bundle.keras_path, contract)
    raise BundleError(f"{bundle.path} holds neither model.onnx nor {KERAS_MODEL}. Train it again")


def answer(inference: Inference, bundle: Bundle, picture: Picture, index: int) -> UInt8:
    """Return the class map, uint8 [H, W], that the line would measure on a picture: stitched, without specks."""
    here = Transform.identity()
    frame = Frame("evaluate", index, picture.pixels, 0, datetime.now(timezone.utc), picture.entry.image)
    (job,) = inference.begin([PreparedFrame(frame, picture.pixels, here)])
    found = inference.finish(job)
    height, width = found.classes.shape
    _, kept = measure(found, bundle.classes, region((height, width), None, here), here, None)
    cells = np.repeat(np.repeat(kept.classes, found.stride, 0), found.stride, 1)
    return cells[: picture.truth.shape[0], : picture.truth.shape[1]]


def _row(entry: Entry, names: tuple[str, ...], score: Any) -> dict[str, Any]:
    def named(flags: Any) -> list[str]:
        return [name for name, flag in zip(names, flags, strict=True) if flag]

    return {
        "image": entry.image,
        "shown": list(entry.classes),
        "answered": named(score.answered),
        "met": named(score.met),
    }


def tables(report: dict[str, Any]) -> list[Table]:
    """Lay the figures out, each beside what an all-empty mask would score."""
    empty = report["empty_baseline"]
    per_class = Table("class", "IoU", "(empty)", "Dice all", "(empty)", "Dice non-empty", "missed", "false")
    for name in report["iou"]:
        if name == BACKGROUND:
            per_class.add_row(name, _figure(report["iou"][name]), _figure(empty["iou"][name]), *[""] * 5)
            continue
        counts = report["counts"]
        shown = counts["shown"][name]
        per_class.add_row(
            name,
            _figure(report["iou"][name]),
            _figure(empty["iou"][name]),
            _figure(report["dice_all"][name]),
            _figure(empty["dice_all"][name]),
            _figure(report["dice_nonempty"][name]),
            f"{counts['missed'][name]} of {shown}",
            f"{counts['false'][name]} of {report['pictures'] - shown}",
        )
    whole = Table("figure", "value", "(empty)")
    for name, key in (("mIoU", "miou"), ("pixel accuracy", "pixel_accuracy")):
        whole.add_row(name, _figure(report[key]), _figure(empty[key]))
    for name, key in (("defective pictures missed", "missed_pictures"), ("clean pictures flagged", "false_pictures")):
        whole.add_row(name, _figure(report[key]["all"]), _figure(empty[key]["all"]))
    return [per_class, whole]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
