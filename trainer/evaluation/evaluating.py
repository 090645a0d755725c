"""`linewatch-train evaluate`: figures on whole stitched pictures, as the line would answer them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from edge.bundle import KERAS_MODEL, ONNX_MODEL, SPLIT, Bundle, load_bundle
from edge.cli.terminal import warn
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import BundleError, DatasetError, DependencyError
from edge.inspection.inference import Inference
from edge.inspection.measuring import region, wiped
from edge.inspection.tiling import plan
from edge.installing import how_to_install
from edge.protocols import Engine
from edge.records import DefectMap, Float32, PreparedFrame, Transform, UInt8, over_pixels
from edge.wording import counted
from trainer.datasets.dataset import (
    Entry,
    Picture,
    as_anomaly,
    class_names,
    content_sha256,
    load_picture,
    read_judged,
)
from trainer.datasets.good_names import words_on_good_names
from trainer.datasets.masks import IGNORED
from trainer.datasets.recordings import Shower, judged_as, places, told
from trainer.evaluation.bootstrap import intervals
from trainer.evaluation.keras_engine import KerasEngine, head
from trainer.evaluation.metrics import (
    ALL,
    BACKGROUND,
    PictureScore,
    Scores,
    leading,
    majority,
    score_labels,
    score_picture,
)
from trainer.evaluation.ranking import UNRANKED, Ranking
from trainer.evaluation.thresholds import own_probability
from trainer.recipe.good_parts_settings import learned_from_good_parts
from trainer.training.starting import BEFORE

_BATCH = 8
# A probability below this is a score of 0 (of 255), so nothing is lost by not asking for it.
_ANY_SCORE = 1 / 1024


@dataclass(frozen=True)
class Evaluation:
    """The figures (`report`), per picture which classes it shows, answers and meets, and the points of the curves."""

    report: dict[str, Any]
    pictures: list[dict[str, Any]]
    curves: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """One picture that was judged: prepared pixels with truth, the answered map, uint8 [H, W], and its counts.

    `labels_only`: its truth is a label, so that the picture's map of the truth says nothing about where. `own`: the
    probability x 255 of the class that leads, uint8 [H, W, K], 0 for the others; None where nothing is ranked.
    """

    picture: Picture
    answer: UInt8
    score: PictureScore
    labels_only: bool
    own: UInt8 | None = None


@dataclass(frozen=True)
class Wanted:
    """The wishes for an evaluation, beside the figures that it always gives.

    `tolerance_px`: F1 of thin lines within this distance. `ranking`: PR and ROC curves, which take a second pass of the
    model over the pictures. `seed`: of the intervals' draws. `only`: judge these pictures (`image`) alone.
    """

    include_training: bool = False
    tolerance_px: float | None = None
    ranking: bool = True
    seed: int = 0
    only: frozenset[str] | None = None


def learned_from(bundle: Path) -> set[str]:
    """Return the sha256 of each picture that the bundle, or what it began with, was trained on or chosen by."""
    found: set[str] = set()
    for path in (bundle / SPLIT, bundle / BEFORE):
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                found |= {row["sha256"] for row in csv.DictReader(file) if row["split"] != "test"}
    return found


def evaluate(
    path: Path,
    data: Path,
    console: Console,
    *,
    include_training: bool = False,
    wanted: Wanted | None = None,
    watch: Callable[[Judged], None] | None = None,
) -> Evaluation:
    """Judge the bundle at `path` on the dataset folder `data`, at the manifest's thresholds and smallest areas.

    Pictures that were learned from are left out. Classes that the bundle lacks count as clean, and are named. `watch`
    is shown every picture as it is judged. Raises DatasetError, BundleError, DependencyError.
    """
    wanted = wanted or Wanted(include_training=include_training)
    # the model that will be run is verified: the device's where there is one, else the workstation's
    bundle = load_bundle(path, need_onnx=(path / ONNX_MODEL).is_file())
    names = tuple(entry.name for entry in bundle.classes)
    good_parts = learned_from_good_parts(bundle.manifest)
    entries, labels_only = read_judged(data, some_masks=good_parts)
    for words in words_on_good_names(set(class_names(entries)) - set(names), data):
        warn(console, words)
    if good_parts:
        entries = [as_anomaly(entry) for entry in entries]
        _tell_of_masks(entries, console, labels_only=labels_only)
    if wanted.only is not None:
        entries = [entry for entry in entries if entry.image in wanted.only]
    used = unseen(entries, path, data, include_training=wanted.include_training)
    foreign = sorted({name for entry in used for name in entry.classes} - set(names))
    if foreign:
        warn(console, f"the bundle has no class {', '.join(foreign)}; such defects count as clean")
    scores = Scores(
        names,
        labels_only=labels_only,
        judges_whole_pictures=_is_classifier(bundle),
        tolerance_px=None if labels_only else wanted.tolerance_px,
    )
    empty = replace(scores, pictures=[])
    ranking = Ranking(names, has_pixels=not labels_only)
    rows = []
    sequence, frames = judged_as(bundle.manifest), bundle.manifest.frames
    if sequence is not None:
        console.print(f"a model of {counted(frames, 'frame')}, judged {told(sequence, frames)}")
    ordered = places(entries, used, recording=sequence == "recording")
    shower = Shower(frames, recording=sequence == "recording")
    with ExitStack() as scope:
        answerer = _Answerer(bundle, scope, ranking=wanted.ranking, own=watch is not None)
        watched = track(ordered, "judging", console=console, transient=True, disable=not console.is_terminal)
        for place in watched:
            entry = place.entry
            known = without(entry, foreign)
            picture = load_picture(known, names, bundle.manifest.preparing, bundle.manifest.channels)
            answered = answerer.answer(shower.shown(place, picture), picture.truth)
            score = scores.append(_scored(scores, picture, answered.classes))
            empty.append(_scored(empty, picture, np.zeros_like(answered.classes)))
            if answered.ranked is not None:
                defective = _labelled_defective(known, picture.truth, score) if good_parts else None
                ranking.add(answered.ranked, picture.truth, score.shown, answered.highest, defective=defective)
            rows.append(_row(entry, names, score))
            if watch is not None:
                watch(Judged(picture, answered.classes, score, labels_only, answered.own))
    report = {
        "bundle": bundle.manifest.name,
        "version": bundle.manifest.version,
        "model": answerer.model,
        "excluded_pictures": len(entries) - len(used),
        "labels_only": labels_only,
        "sequence": None if sequence is None else {"frames": frames, "judged_as": sequence},
        **scores.report(),
        "majority_baseline": scores.majority_baseline(),
        "intervals": intervals(scores, [place.entry.group for place in ordered], seed=wanted.seed),
        "ranking": ranking.report(answerer.ranked_by) if wanted.ranking else None,
        **(ranking.of_pictures(thresholds_of(bundle)) if wanted.ranking else UNRANKED),
        "empty_baseline": empty.report(),
    }
    return Evaluation(report, rows, ranking.curves() if wanted.ranking else {})


def _tell_of_masks(entries: Sequence[Entry], console: Console, *, labels_only: bool) -> None:
    """Say that masks are left aside where only some of the defective pictures have one."""
    marked, defective = sum(bool(entry.masks) for entry in entries), sum(bool(entry.classes) for entry in entries)
    if labels_only and marked:
        warn(
            console,
            f"{defective - marked} of {counted(defective, 'defective picture')} have no mask: whole pictures are "
            "judged, by their class. Figures of pixels need a mask for each",
        )


def _labelled_defective(entry: Entry, truth: UInt8, score: PictureScore) -> bool:
    """Tell whether a picture is defective by its class, even with an empty mask; not where that may be ignored."""
    return bool(score.shown.any()) or (bool(entry.classes) and not (truth == IGNORED).any())


def told_apart(report: dict[str, Any]) -> str:
    """Say how well good pictures are told from defective ones; "" where nothing was ranked."""
    if report["ranking"] is None:
        return ""
    auroc, found = report["picture_auroc"], report["found_at_false_alarms"]
    if auroc is None or found is None:
        return "AUROC of pictures: not known, for that takes good pictures and defective ones"
    return (
        f"defective pictures are told from good ones with an AUROC of {auroc:.3f} "
        f"({interval(report['picture_auroc_95'])}); found while at most 5 % of the good ones are flagged: "
        f"{found['0.05']:.3f} ({interval(report['found_at_false_alarms_95']['0.05'])})"
    )


def thresholds_of(bundle: Bundle) -> list[float]:
    """List the thresholds of a bundle's classes, in id order."""
    return [entry.threshold for entry in bundle.classes]


def unseen(entries: Sequence[Entry], bundle: Path, data: Path, *, include_training: bool) -> list[Entry]:
    """Leave out what the bundle learned from, unless `include_training`. Raises DatasetError where nothing is left."""
    excluded = set() if include_training else learned_from(bundle)
    used = [entry for entry in entries if not excluded or content_sha256(entry.path) not in excluded]
    if not used:
        raise DatasetError(
            f"Every picture of {data} was learned from by {bundle}; expected held-out pictures, or --include-training"
        )
    return used


def without(entry: Entry, foreign: Sequence[str]) -> Entry:
    """Leave out of an entry the classes that the bundle does not know."""
    masks = tuple((name, mask) for name, mask in entry.masks if name not in foreign)
    return replace(entry, masks=masks, labels=entry.labels - set(foreign))


def _is_classifier(bundle: Bundle) -> bool:
    """Tell whether a bundle gives one answer per tile, rather than per pixel."""
    tile = bundle.manifest.tile
    return bundle.manifest.stride >= min(tile.height, tile.width)


def _scored(scores: Scores, picture: Picture, answer: UInt8) -> PictureScore:
    """Compare an answer with a picture's masks or, where the dataset has none, with its labels."""
    count = len(scores.names)
    if not scores.labels_only:
        return score_picture(picture.truth, answer, count, tolerance_px=scores.tolerance_px)
    # a segmenter answers a part of the picture, a classifier all of it
    choose = majority if scores.judges_whole_pictures else leading
    answered_id = choose(np.bincount(answer[picture.truth != IGNORED], minlength=count + 1))
    labels = [scores.names.index(name) + 1 for name in picture.entry.classes]
    return score_labels(labels, answered_id, count)


@dataclass(frozen=True)
class _Answered:
    """An answer: class map, uint8 [H, W]; probabilities x 255, uint8 [H, W, K]; their highest, float32 [K].

    Cells that the truth ignores are not among the highest. `own`: the leading class's alone, as `Judged` has it.
    """

    classes: UInt8
    ranked: UInt8 | None = None
    highest: Float32 | None = None
    own: UInt8 | None = None


class _Answerer:
    """Answers whole pictures as the line would and, if `ranking`, gives the probabilities behind the answers."""

    def __init__(self, bundle: Bundle, scope: ExitStack, *, ranking: bool, own: bool = False) -> None:
        self._bundle, self._own = bundle, own
        contract = bundle.contract(_BATCH)
        self._thresholds = [entry.threshold for entry in bundle.classes]
        self._ranking = ranking
        overlap_px = bundle.manifest.tile.overlap_px
        keras = bundle.keras_path.is_file() and find_spec("tensorflow") is not None
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it tells of processors and drivers, not of pictures
        self._keras: KerasEngine | None = None
        if bundle.onnx_path.is_file():
            engine: Engine = scope.enter_context(OnnxRuntimeEngine(bundle.onnx_path, contract))
            self.model = ONNX_MODEL
            if ranking and keras:
                self._keras = scope.enter_context(KerasEngine(bundle.keras_path, contract))
        elif keras:
            engine = self._keras = scope.enter_context(KerasEngine(bundle.keras_path, contract))
            self.model = KERAS_MODEL
        elif bundle.keras_path.is_file():
            raise DependencyError(
                f"{bundle.path} holds {KERAS_MODEL} alone, which needs TensorFlow. "
                f"{how_to_install('tensorflow', extra='train')}"
            )
        else:
            raise BundleError(f"{bundle.path} holds neither model.onnx nor {KERAS_MODEL}. Train it again")
        self.ranked_by = KERAS_MODEL if self._keras else f"{ONNX_MODEL}, the leading class alone"
        self._inference = Inference(engine, self._thresholds, overlap_px)
        self._anything = Inference(engine, [_ANY_SCORE] * len(self._thresholds), overlap_px)

    def answer(self, prepared: PreparedFrame, truth: UInt8) -> _Answered:
        """Answer a picture whose maps are as large as `truth`, uint8 [H, W]; ignored pixels of that have no say."""
        size = truth.shape
        if not self._ranking:
            return _Answered(self._answer(prepared, size))
        if self._keras is None:
            return _Answered(self._answer(prepared, size), self._leading_scores(prepared, size))
        probabilities = self._probabilities(self._keras, prepared)
        if self.model == KERAS_MODEL:  # the computed values serve for the answer
            maps = head(probabilities[None], np.array(self._thresholds, np.float32))
            found = DefectMap(maps.classes[0], maps.scores[0], self._bundle.manifest.stride)
            answered = without_specks(found, self._bundle, size)
        else:
            answered = self._answer(prepared, size)
        scores = np.round(probabilities * np.float32(255)).astype(np.uint8)
        own = self._own_probability(probabilities, truth) if self._own else None
        return _Answered(answered, self._spread(scores, size), self._highest(probabilities, truth), own)

    def _own_probability(self, probabilities: Float32, truth: UInt8) -> UInt8:
        """Return the leading class's probability x 255, uint8 [H, W, K], nothing where the truth ignores what it is."""
        own = self._spread(own_probability(probabilities), truth.shape)
        return np.where((truth == IGNORED)[:, :, None], np.uint8(0), own)

    def _answer(self, prepared: PreparedFrame, size: tuple[int, ...]) -> UInt8:
        """Return the class map, uint8 [H, W], that the line would measure: stitched, without specks."""
        return without_specks(_stitched(self._inference, prepared), self._bundle, size)

    def _highest(self, probabilities: Float32, truth: UInt8) -> Float32:
        """Return the highest probability of each class, float32 [K], over the cells that are not wholly ignored."""
        ignored = truth == IGNORED
        if not ignored.any():
            return np.asarray(probabilities.max(axis=(0, 1)), np.float32)
        rows, columns = (np.arange(0, side, self._bundle.manifest.stride) for side in ignored.shape)
        known = np.maximum.reduceat(np.maximum.reduceat(~ignored, rows, axis=0), columns, axis=1)
        highest: Float32 = probabilities[: len(rows), : len(columns)][known].max(axis=0, initial=0)
        return highest

    def _probabilities(self, engine: KerasEngine, prepared: PreparedFrame) -> Float32:
        m = self._bundle.manifest
        height, width = prepared.pixels.shape[:2]
        tiles = plan(height, width, (m.tile.height, m.tile.width), m.tile.overlap_px, m.stride)
        return engine.stitched_probabilities(prepared.pixels, tiles, prepared.earlier)

    def _leading_scores(self, prepared: PreparedFrame, size: tuple[int, ...]) -> UInt8:
        found = _stitched(self._anything, prepared)
        ids = np.arange(1, len(self._thresholds) + 1, dtype=np.uint8)
        own = found.classes[:, :, None] == ids
        return self._spread(np.where(own, found.scores[:, :, None], np.uint8(0)), size)

    def _spread(self, cells: UInt8, size: tuple[int, ...]) -> UInt8:
        return over_pixels(cells, self._bundle.manifest.stride, size)


def _stitched(inference: Inference, prepared: PreparedFrame) -> DefectMap:
    (job,) = inference.begin([prepared])
    return inference.finish(job)


def without_specks(found: DefectMap, bundle: Bundle, shape: tuple[int, ...]) -> UInt8:
    """Wipe what is below its class's smallest area from a stitched map; return its classes by pixel, uint8 [H, W]."""
    here = Transform.identity()
    height, width = found.classes.shape
    kept = wiped(found, bundle.classes, region((height, width), None, here))
    return over_pixels(kept.classes, found.stride, shape)


def _row(entry: Entry, names: tuple[str, ...], score: PictureScore) -> dict[str, Any]:
    def named(flags: Any) -> list[str]:
        return [name for name, flag in zip(names, flags, strict=True) if flag]

    return {
        "image": entry.image,
        "shown": list(entry.classes),
        "answered": named(score.answered),
        "met": named(score.met),
        "group": entry.group,
    }


def tables(report: dict[str, Any]) -> list[Table]:
    """Lay the figures out, each beside what an all-empty mask would score."""
    if report["labels_only"]:
        return [_rates_table(report), _whole_table(report), _confusion_table(report)]
    return [_class_table(report), _rates_table(report), _whole_table(report)]


def _class_table(report: dict[str, Any]) -> Table:
    empty = report["empty_baseline"]
    per_class = Table("class", "IoU", "(empty)", "Dice all", "(empty)", "Dice non-empty", "missed", "false")
    for name in report["iou"]:
        if name == BACKGROUND:
            per_class.add_row(name, figure(report["iou"][name]), figure(empty["iou"][name]), *[""] * 5)
            continue
        counts = report["counts"]
        shown = counts["shown"][name]
        per_class.add_row(
            name,
            figure(report["iou"][name]),
            figure(empty["iou"][name]),
            figure(report["dice_all"][name]),
            figure(empty["dice_all"][name]),
            figure(report["dice_nonempty"][name]),
            f"{counts['missed'][name]} of {shown}",
            f"{counts['false'][name]} of {report['pictures'] - shown}",
        )
    return per_class


def _rates_table(report: dict[str, Any]) -> Table:
    table = Table("class", "counted by", "precision", "recall", "F1", "AP")
    for name in (ALL, *report["counts"]["shown"]):
        for title, rates, precision in rates_of(report, name):
            table.add_row(name, title, *[figure(rates[kind][name]) for kind in RATES], precision)
    return table


RATES = ("precision", "recall", "f1")


def rates_of(report: dict[str, Any], name: str) -> list[tuple[str, dict[str, Any], str]]:
    """List what one class is counted by: the words, the rates (`RATES`, each by class), and the average precision."""
    tolerant, ranking = report["tolerant"], report["ranking"] or {"by_pixel": {}, "by_picture": {}}
    rows = [("pixels", report["by_pixel"], figure(ranking["by_pixel"].get(name, {}).get("average_precision")))]
    if tolerant:
        rows.append((f"pixels within {tolerant['tolerance_px']:g} px", tolerant, ""))
    rows.append(("defects", report["by_defect"], ""))
    ranked = figure(ranking["by_picture"].get(name, {}).get("average_precision"))
    rows.append(("pictures", report["by_picture"], ranked))
    return rows[-1:] if report["labels_only"] else rows


def _whole_table(report: dict[str, Any]) -> Table:
    empty, bounds = report["empty_baseline"], report["intervals"]
    whole = Table("figure", "value", "95 % interval", "(empty)")
    if not report["labels_only"]:
        whole.add_row("mIoU", figure(report["miou"]), interval(bounds["miou"]), figure(empty["miou"]))
        accuracy, between = figure(report["pixel_accuracy"]), interval(bounds["pixel_accuracy"])
        whole.add_row("pixel accuracy", accuracy, between, figure(empty["pixel_accuracy"]))
    if report["accuracy"] is not None:
        whole.add_row("accuracy", figure(report["accuracy"]), interval(bounds["accuracy"]), figure(empty["accuracy"]))
        most = report["majority_baseline"]
        whole.add_row(f"  of always saying {most['class']}", figure(most["accuracy"]), "", "")
    for name, key in (
        ("defective pictures missed", "missed_pictures"),
        ("defective pictures passed", "passed_pictures"),
        ("clean pictures flagged", "false_pictures"),
    ):
        whole.add_row(name, figure(report[key][ALL]), interval(bounds[key][ALL]), figure(empty[key][ALL]))
    return whole


def _confusion_table(report: dict[str, Any]) -> Table:
    classes = report["confusion"]["picture_classes"]
    table = Table(title="pictures by what they are (rows) and what was answered (columns)", title_justify="left")
    table.add_column("", no_wrap=True)
    for name in classes:
        table.add_column(name, overflow="fold")  # classes whose names begin alike could not be told apart if cut
    for name, row in zip(classes, report["confusion"]["pictures"], strict=True):
        if any(row):
            table.add_row(name, *[str(count) if count else "" for count in row])
    return table


def figure(value: float | None) -> str:
    """Write a figure with three places; `-` for one that could not be measured."""
    return "-" if value is None else f"{value:.3f}"


def interval(bounds: Sequence[float] | None) -> str:
    """Write an interval; `-` for one that could not be told."""
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
