"""`linewatch-train pod`: how small a defect a bundle finds, measured on the road of `inspect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console

from edge import __version__
from edge.bundle import Bundle, load_bundle, write_manifest
from edge.cli.terminal import warn
from edge.errors import BundleError, DatasetError, StoreError
from edge.simulation.known_marks import MarkShape
from edge.simulation.products import ProductName
from edge.wording import counted
from trainer.datasets.dataset import Entry, as_anomaly, class_names, load_unprepared, read_judged
from trainer.datasets.good_names import words_on_good_names
from trainer.evaluation.evaluating import unseen, without
from trainer.evaluation.exact_interval import largest_share_of
from trainer.pod.clean_parts import clean_pictures, simulated_parts
from trainer.pod.curve import CONFIDENCE, PROBABILITY
from trainer.pod.looking import Looker, looking
from trainer.pod.plan import Asked, shape_of
from trainer.pod.summary import Summary, as_json, sentence, summarise
from trainer.pod.trials import Drawing, Drawn, Trial, real_trials
from trainer.recipe.good_parts_settings import learned_from_good_parts
from trainer.training.training_loop import progress_bar

SCHEMA = "linewatch/pod/1"


@dataclass(frozen=True)
class Measured:
    """The outcome of a measurement: the curves by class, all figures for a file, and each defect that was judged."""

    summaries: tuple[Summary, ...]
    report: dict[str, Any]
    mm_per_px: float | None
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class On:
    """The ground for defects: clean pictures of `data`, or else clean simulated parts of `product`.

    `shapes`: what stands for a class whose name does not say. `mm_per_px`: how large a pixel of the pictures is.
    """

    data: Path | None = None
    product: ProductName = "glass"
    shapes: Mapping[str, MarkShape] | None = None
    mm_per_px: float | None = None


def measure_pod(path: Path, on: On, asked: Asked, console: Console) -> Measured:
    """Draw known defects, judge them and the real ones of unknown pictures, and fit the curves.

    Raises BundleError, DatasetError, EngineError, DependencyError.
    """
    bundle = load_bundle(path)
    ids = {entry.name: entry.id for entry in bundle.classes}
    shapes = _shapes(bundle, on.shapes or {})
    entries = _entries(bundle, on.data, console)
    if clean := sum(not entry.classes for entry in entries):
        asked = replace(asked, parts=min(asked.parts, clean))  # few pictures take all defects among them
    real: list[Trial] = []
    with looking(bundle) as looker:
        drawing = Drawing(looker, shapes, ids, asked)
        drawn = _draw(drawing, entries, bundle, on, asked, console=console)
        if on.data is not None:
            real = _meet(looker, bundle, entries, ids, console)
    if drawn.parts + len(real) == 0:
        raise DatasetError(
            f"{on.data} shows nothing to measure on: expected clean pictures, or defects with masks, that "
            f"{path} does not know and can read; without a verdict: {counted(drawn.unread, 'clean one')}"
        )
    trials = [*drawn.trials, *real]
    summaries = tuple(
        summarise(name, shapes.get(name), asked.contrasts, trials, drawn.width_px, mm_per_px=on.mm_per_px)
        for name in ids
        if name in shapes or any(trial.class_name == name for trial in real)
    )
    return Measured(summaries, _report(bundle, on, asked, drawn, summaries), on.mm_per_px, tuple(trials))


def _shapes(bundle: Bundle, asked: Mapping[str, MarkShape]) -> dict[str, MarkShape]:
    """Return what stands for each class. Raises BundleError for a class that the bundle has not."""
    names = [entry.name for entry in bundle.classes]
    if foreign := sorted(set(asked) - set(names)):
        raise BundleError(f"--shape: {bundle.path} has no class {', '.join(foreign)}; it has {', '.join(names)}")
    known = {name: asked.get(name) or shape_of(name) for name in names}
    return {name: shape for name, shape in known.items() if shape is not None}


def _entries(bundle: Bundle, data: Path | None, console: Console) -> list[Entry]:
    if data is None:
        return []
    good_parts = learned_from_good_parts(bundle.manifest)
    entries, _ = read_judged(data, some_masks=good_parts)
    for words in words_on_good_names(set(class_names(entries)) - {entry.name for entry in bundle.classes}, data):
        warn(console, words)
    if good_parts:
        entries = [as_anomaly(entry) for entry in entries]
    entries = unseen(entries, bundle.path, data, include_training=False)
    names = {entry.name for entry in bundle.classes}
    foreign = sorted({name for entry in entries for name in entry.classes} - names)
    if foreign:
        warn(console, f"the bundle has no class {', '.join(foreign)}; such defects are left out")
    # a picture with foreign defects alone is not a clean one
    known = [(entry, without(entry, foreign)) for entry in entries]
    return [own for entry, own in known if own.classes or not entry.classes]


def _draw(
    drawing: Drawing, entries: Sequence[Entry], bundle: Bundle, on: On, asked: Asked, *, console: Console
) -> Drawn:
    parts = (
        simulated_parts(on.product, asked.parts, asked.seed)
        if on.data is None
        else clean_pictures(entries, asked.parts, bundle.manifest.preparing)
    )
    with progress_bar(console) as bar:
        task = bar.add_task("drawing and judging", total=asked.parts)
        drawn = drawing.onto(parts, lambda: bar.advance(task))
    if drawn.unread:
        warn(console, f"no verdict on {counted(drawn.unread, 'clean part')}, so nothing was drawn there")
    if drawn.no_room:
        warn(console, f"{counted(drawn.no_room, 'defect')} not drawn: without room in the ninth; draw smaller ones")
    if drawn.flagged > drawn.parts / 2:
        warn(console, _flagged(drawn, on))
    return drawn


def _flagged(drawn: Drawn, on: On) -> str:
    """Say what comes of clean parts that are flagged as they are, and what to do."""
    what = f"{drawn.flagged} of {counted(drawn.parts, 'clean part')} are flagged before anything is drawn"
    then = "Give DATA, with clean pictures of the parts that the bundle learned"
    if on.data is not None:
        then = "Compare them with the pictures that the bundle learned from: size, light, colour"
    return f"{what}, so that marks are hardly found on them. {then}"


def _meet(
    looker: Looker, bundle: Bundle, entries: Sequence[Entry], ids: Mapping[str, int], console: Console
) -> list[Trial]:
    shown = [entry for entry in entries if entry.masks]
    names = list(ids)
    with progress_bar(console) as bar:
        watched = bar.track(shown, description="judging real defects")
        pictures = ((entry, *load_unprepared(entry, names, bundle.manifest.preparing)) for entry in watched)
        return list(real_trials(looker, pictures, ids))


def _report(bundle: Bundle, on: On, asked: Asked, drawn: Drawn, summaries: Sequence[Summary]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "bundle": bundle.manifest.name,
        "version": bundle.manifest.version,
        "model_sha256": bundle.model_sha256,
        "thresholds": {entry.name: [entry.threshold, entry.min_area_px] for entry in bundle.classes},
        "linewatch": __version__,
        "measured_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "probability": PROBABILITY,
        "confidence": CONFIDENCE,
        "mm_per_px": on.mm_per_px,
        "on": f"simulated {on.product}" if on.data is None else on.data.resolve().name,
        "seed": asked.seed,
        "dark": asked.dark,
        "clean": {
            "parts": drawn.parts,
            "flagged": drawn.flagged,
            "flagged_at_most": largest_share_of(drawn.flagged, drawn.parts) if drawn.parts else None,
            "unread": drawn.unread,
        },
        "not_drawn": drawn.no_room,
        "classes": _of_classes(bundle, summaries, on.mm_per_px),
    }


def _of_classes(bundle: Bundle, summaries: Sequence[Summary], mm_per_px: float | None) -> dict[str, Any]:
    measured = {summary.class_name: as_json(summary, mm_per_px) for summary in summaries}
    return {
        entry.name: measured.get(entry.name)
        or {
            "shape": None,
            **dict.fromkeys(("a90_px", "a90_95_px", "a90_mm", "a90_95_mm")),
            "reason": f"nothing stands for it: name one with --shape {entry.name}=line or {entry.name}=spot",
        }
        for entry in bundle.classes
    }


def sentences(measured: Measured) -> list[str]:
    """Say for each class from which size on it is found; one sentence each."""
    return [sentence(summary, measured.mm_per_px) for summary in measured.summaries]


_NOTED = ("a90_px", "a90_95_px", "a90_mm", "a90_95_mm", "contrast", "shape", "reason", "blind", "sentence")
_NOTED_OF_ALL = ("model_sha256", "thresholds", "linewatch", "measured_at", "mm_per_px", "on", "clean")


def note_in_manifest(path: Path, measured: Measured) -> None:
    """Note in the bundle's manifest what was measured, for reports and screens. Raises BundleError, StoreError."""
    bundle = load_bundle(path)
    report = measured.report
    noted = {key: report[key] for key in _NOTED_OF_ALL}
    noted["classes"] = {
        name: {key: figures[key] for key in _NOTED if key in figures} for name, figures in report["classes"].items()
    }
    try:
        write_manifest(path, bundle.manifest.model_copy(update={"pod": noted}))
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}. Make it writable, or leave its manifest as it is: --no-note"
        ) from error
