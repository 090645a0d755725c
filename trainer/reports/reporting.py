"""`linewatch-train report`: one page on what a bundle is worth, with pictures beside it and every figure as JSON."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from edge.bundle import ONNX_MODEL, SPLIT, Bundle, load_bundle
from edge.errors import StoreError
from edge.files import write_text
from edge.opencv import cv2
from edge.records import UInt8
from edge.web.page import (
    Card,
    Html,
    Section,
    beside,
    coloured,
    folded,
    heading,
    note,
    page,
    paragraph,
    picture,
    table,
)
from edge.wording import command, counted
from trainer.datasets.recordings import told
from trainer.evaluation.evaluating import RATES, Evaluation, Wanted, evaluate, figure, interval, rates_of
from trainer.evaluation.metrics import ALL, BACKGROUND
from trainer.recipe.good_parts_settings import learned_from_good_parts
from trainer.recipe.settings import GuardSettings
from trainer.reports.galleries import Exhibit, Gallery, sheet_of
from trainer.reports.plotting import draw_confusion, draw_rankings, draw_training
from trainer.reports.pod_section import pod_section
from trainer.training.collapse_guard import EpochFigures, LossOfClass, look
from trainer.training.curves import Reading, read_curves, read_log
from trainer.training.final_training import FOLDER, presumption_asked_for
from trainer.training.training_loop import cut_in_words

_LOG = Path("training") / "log.csv"
_LAST_LOG = Path("training") / FOLDER / "log.csv"  # of the final training
_PARTS = ("train", "validation", "test")
# Fewer pieces than this leave any figure to luck.
_FEW_GROUPS = 30
# An average precision from which a class is told apart well, and a share of far too many wrong pictures.
_TOLD_APART, _WRONG = 0.9, 0.5
_LISTED = 4  # values of a list; more are counted
_TITLES = {
    "healthy": "The training is healthy",
    "still_learning": "It was still learning",
    "overfitting": "It overfits",
    "data_wrong": "Something is wrong with the data",
    "plateau": "It came to a halt",
    "diverging": "The training diverges",
}


@dataclass(frozen=True)
class Report:
    """A written report: the page, the file of figures, the pictures beside them, and what the page says first."""

    page: Path
    figures: Path
    pictures: list[Path]
    verdict: Reading | None
    findings: list[LossOfClass]
    evaluation: Evaluation | None


@dataclass
class _Pictures:
    """Writes pictures into a folder and puts each into the page."""

    folder: Path
    written: list[Path] = field(default_factory=list)

    def plot(self, name: str, data: bytes, alt: str, caption: str = "") -> Html:
        self._write(name, data)
        return picture(data, "png", alt, caption)

    def sheet(self, name: str, sheet: UInt8, alt: str, caption: str) -> Html:
        """Write a sheet of photographs as PNG; the page gets it as JPEG, a tenth of the size."""
        self._write(name, cv2.imencode(".png", sheet)[1].tobytes())
        return picture(cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes(), "jpeg", alt, caption)

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder / f"{name}.png"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror}. Free some space or choose another place for --out"
            ) from error
        self.written.append(path)


def report(path: Path, data: Path | None, out: Path, console: Console, wanted: Wanted | None = None) -> Report:
    """Write the report on the bundle at `path` to the HTML file `out`.

    It is judged on the dataset folder `data` if given. Beside it: the figures as JSON, and the pictures in a folder,
    both with `out`'s name. Raises BundleError, DatasetError, StoreError, DependencyError.
    """
    _check_target(out)
    bundle = load_bundle(path, need_onnx=(path / ONNX_MODEL).is_file())
    colours = {entry.id: entry.colour for entry in bundle.manifest.classes}
    by_name = {entry.name: entry.colour for entry in bundle.manifest.classes}
    log = read_log(path / _LOG)
    readings = read_curves(log) if log else []
    later = read_log(path / _LAST_LOG)
    # the guard speaks of the kept weights, so its history goes on to the end of the last part
    history = [*log, *(replace(each, epoch=len(log) + each.epoch) for each in later)]
    findings = look(history, _guard_settings(bundle))
    gallery = Gallery([entry.name for entry in bundle.classes], colours)
    evaluation = None
    if data is not None:
        evaluation = evaluate(path, data, console, wanted=wanted, watch=gallery.watch)
    pictures = _Pictures(out.with_name(f"{out.stem}-pictures"))
    judged = evaluation.report if evaluation else None
    sections = [_advice(readings, findings, judged, bundle)]
    if evaluation is not None:
        sections += [
            _class_section(evaluation.report, by_name),
            _confusion_section(evaluation.report, pictures),
            *_ranking_section(evaluation, by_name, pictures),
            _gallery_section(gallery, evaluation.report, by_name, pictures),
        ]
    split = read_split(path / SPLIT)
    sections += [
        pod_section(bundle),
        _training_section(log, by_name, bundle, pictures, goes_on=bool(later)),
        _split_section(split),
        _bundle_section(bundle, by_name),
    ]
    manifest = bundle.manifest
    title = f"{manifest.name} {manifest.version}"
    write_text(out, page(title, _subtitle(data, judged), _cards(judged), sections))
    figures = {
        "bundle": {"name": manifest.name, "version": manifest.version, "classes": list(by_name)},
        "evaluation": judged and judged | {"per_picture": evaluation.pictures if evaluation else []},
        "curves": evaluation.curves if evaluation else {},
        "worst": {"misses": _listed(gallery.misses), "false_alarms": _listed(gallery.false_alarms)},
        "training": {
            **{key: value for key, value in manifest.training.items() if key != "recipe"},
            "epochs_read": len(log),
            "readings": [asdict(reading) for reading in readings],
            "findings": [asdict(finding) for finding in findings],
        },
        "split": {part: dict(kinds) for part, kinds in split.items()},
        "validation": manifest.validation,
        "pod": manifest.pod,
    }
    beside_page = out.with_suffix(".json")
    write_text(beside_page, json.dumps(figures, indent=1, default=list) + "\n")
    return Report(out, beside_page, pictures.written, readings[0] if readings else None, findings, evaluation)


def _check_target(out: Path) -> None:
    """Refuse a place that cannot take the page before minutes are spent on judging."""
    if out.suffix.lower() not in {".html", ".htm"}:
        raise StoreError(f"--out: expected an HTML file such as report.html, received {out}")
    if out.is_dir():
        raise StoreError(f"{out} is a folder; expected the name of an HTML file to write")
    is_new = not out.exists()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.open("a", encoding="utf-8").close()  # leaves an earlier report as it is
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error.strerror}. Choose another place for --out") from error
    if is_new:
        out.unlink()


def _guard_settings(bundle: Bundle) -> GuardSettings:
    """Return the guard of the recipe that the bundle was trained by; of older bundles the usual one."""
    recipe = bundle.manifest.training.get("recipe")
    own = recipe.get("guard") if isinstance(recipe, dict) else None
    try:
        return GuardSettings.model_validate(own or {})
    except ValueError:  # a recipe of another version
        return GuardSettings()


def read_split(path: Path) -> dict[str, dict[str, dict[str, int]]]:
    """Count a bundle's split: part → classes of a picture ("clean": none) → pictures and groups. Raises StoreError."""
    if not path.is_file():
        return {}
    pictures: dict[str, Counter[str]] = defaultdict(Counter)
    groups: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                pictures[row["split"]][row["class"]] += 1
                groups[row["split"]][row["class"]].add(row["group"])
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise StoreError(f"{path} cannot be read as a bundle's split: {error}. Copy the bundle again") from error
    return {
        part: {kind: {"pictures": n, "groups": len(groups[part][kind])} for kind, n in sorted(counted.items())}
        for part, counted in pictures.items()
    }


def _subtitle(data: Path | None, judged: Mapping[str, Any] | None) -> str:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    if judged is None or data is None:
        return f"Written {now}. No dataset was given, so nothing was judged."
    left_out = judged["excluded_pictures"]
    unseen = f"; left out, since it was learned from them: {left_out}" if left_out else ""
    sequence = judged["sequence"]
    fed = f" It was judged {told(sequence['judged_as'], sequence['frames'])}." if sequence else ""
    return (
        f"Written {now}. Judged by {judged['model']} on {counted(judged['pictures'], 'picture')} of {data.name}, "
        f"{counted(judged['intervals']['groups'], 'piece')}{unseen}.{fed}"
    )


def _cards(judged: Mapping[str, Any] | None) -> list[Card]:
    if judged is None:
        return []
    counts, bounds, empty = judged["counts"], judged["intervals"], judged["empty_baseline"]
    cards = []
    for title, key, whole in (
        ("Defective pictures missed", "missed_pictures", counts["defective"]),
        ("Passed as clean", "passed_pictures", counts["defective"]),
        ("Clean pictures flagged", "false_pictures", counts["clean"]),
    ):
        value = judged[key][ALL]
        if value is None:
            cards.append(Card(title, "-", ["no such picture to judge on"]))
            continue
        lines = [f"{round(value * whole)} of {whole}", f"95 %: {_percent_interval(bounds[key][ALL])}"]
        lines.append(f"all empty: {_percent(empty[key][ALL])}")
        cards.append(Card(title, _percent(value), lines, "good" if value == 0 else "bad" if value > 0.1 else ""))
    for title, key in (("Mean IoU", "miou"), ("Accuracy", "accuracy")):
        if judged[key] is None:
            continue
        most = judged["majority_baseline"]
        lines = [f"95 %: {interval(bounds[key])}", f"all empty: {figure(empty[key])}"]
        lines += [f"always {most['class']}: {figure(most['accuracy'])}"] if key == "accuracy" else []
        cards.append(Card(title, figure(judged[key]), lines))
    if judged["picture_auroc"] is not None:
        lines = [f"95 %: {interval(judged['picture_auroc_95'])}", "good pictures against defective ones"]
        lines.append(f"found at 5 % false alarms: {_percent(judged['found_at_false_alarms']['0.05'])}")
        cards.append(Card("AUROC of pictures", figure(judged["picture_auroc"]), lines))
    if (region := judged["missed_region"][ALL]) is not None:
        cards.append(Card("Defect area missed", _percent(region), ["of all true defect pixels", "all empty: 100 %"]))
    return cards


def _advice(
    readings: Sequence[Reading], findings: Sequence[LossOfClass], judged: Mapping[str, Any] | None, bundle: Bundle
) -> Section:
    blocks: list[Html] = []
    for finding in findings:
        named = finding.class_name or "the whole training"
        blocks.append(note(f"Collapse guard: {named}", finding.words, "bad"))
    for reading in readings:
        mood = "good" if reading.kind == "healthy" else "bad" if reading.kind in {"diverging", "data_wrong"} else ""
        title = _TITLES[reading.kind] if reading.leading else f"Also: {_TITLES[reading.kind].lower()}"
        blocks.append(note(title, f"{reading.evidence}. {reading.remedy}.", mood))
    if readings and not findings:
        blocks.append(paragraph("The collapse guard has nothing to say: at the end every class was answered."))
    good_parts = learned_from_good_parts(bundle.manifest)
    if good_parts:
        blocks.append(paragraph(_of_good_parts(bundle.manifest.training.get("drawn"))))
    elif not readings:
        blocks.append(paragraph("The bundle holds no training/log.csv, so its training cannot be read.", soft=True))
    if cut := bundle.manifest.training.get("cut_by_clock"):
        blocks.append(note("The clock cut the training", f"{cut_in_words(cut)}.", "bad"))
    if bundle.manifest.training.get("only_sorts") is True:
        text = (
            "No picture that it learned from was clean. Each tile is answered as one of its classes, so that it cannot "
            "tell good parts from bad ones; give it clean pictures for that."
        )
        blocks.append(note("It only sorts", text))
    blocks += _not_found(bundle)
    if judged is not None:
        blocks += [note(title, text, "bad") for title, text in threshold_at_fault(judged, bundle)]
        blocks += [note(title, text) for title, text in _warnings(judged)]
        if good_parts and not judged["labels_only"]:
            text = (
                "It says roughly where a defect is. A picture that is flagged beside the mark counts as missed here. "
                "The line rejects it, so read what was passed as clean."
            )
            blocks.append(note("Missed and passed", text))
    return Section("What to make of it", blocks)


def _of_good_parts(drawn: Any) -> str:
    """Say what a bundle of good parts learned; `drawn`: of the manifest's training, None where there is no head."""
    if not isinstance(drawn, dict):
        return "It learned from good parts alone: no network was trained, so there are no curves."
    tiles, auroc = counted(drawn["tiles"], "tile"), drawn["tile_auroc"] or 0
    return (
        f"It learned from good parts alone, so there are no curves. {tiles} of them, with drawn defects or none, "
        f"taught a head to tell them: AUROC {auroc:.3f}, each judged by what others taught."
    )


def _not_found(bundle: Bundle) -> list[Html]:
    """Name the classes that were found on no validation picture, and say what that means."""
    blocks = []
    for name, found in bundle.manifest.validation.items():
        if not isinstance(found, dict):
            continue
        if found.get("presumed") and presumption_asked_for(bundle.manifest):
            text = "The recipe asks for it. Trust the figures of what was held out, and no others."
            blocks.append(note(f"{name}'s threshold is presumed", text))
        elif found.get("presumed") and not found.get("shown"):
            text = (
                "No validation picture shows it, so its threshold and smallest area are not fitted but presumed. Label "
                "more pieces with it, for fit or fit-thresholds."
            )
            blocks.append(note(f"{name}'s threshold is presumed", text))
        elif found.get("presumed"):
            text = (
                "It was not found on validation pictures before they were learned from, so its threshold and smallest "
                "area are not fitted but presumed. Trust the figures of what was held out, and no others."
            )
            blocks.append(note(f"{name}'s threshold is presumed", text))
        elif found.get("shown") and found.get("missed") == found["shown"]:
            of = counted(found["shown"], "picture")
            text = f"On validation it was found on none of {of}; do not use the model for it."
            blocks.append(note(f"{name} cannot be found", text, "bad"))
    return blocks


def threshold_at_fault(judged: Mapping[str, Any], bundle: Bundle) -> list[tuple[str, str]]:
    """Name each class that is told apart well, and answered wrongly all the same: its threshold is at fault.

    Told apart well: pictures ranked by its probability have an average precision of 0.9 or more. Answered wrongly: on
    half of the pictures without it, or not on half of those with it.
    """
    ranked = (judged["ranking"] or {}).get("by_picture") or {}
    found = []
    for entry in bundle.classes:
        precision = ranked.get(entry.name, {}).get("average_precision")
        if precision is None or precision < _TOLD_APART:
            continue
        shown = judged["counts"]["shown"][entry.name]
        tells = f"Its probabilities tell pictures apart (average precision {precision:.2f}), yet at {entry.threshold:g}"
        fit = f"Fit it on further pictures: {command('linewatch-train', 'fit-thresholds', bundle.path)} DATA"
        if learned_from_good_parts(bundle.manifest):
            how = command("linewatch-train", "teach", bundle.path)
            fit = f"Teach it good pictures that were flagged, and marked misses: {how} --data DATA"
        remedy = f"{fit}. Or set inspect.thresholds.{entry.name} in the line's settings"
        others, false = judged["pictures"] - shown, judged["false_pictures"][entry.name] or 0.0
        if others and false >= _WRONG:
            text = f"{tells} it is answered on {round(false * others)} of {counted(others, 'picture')} without it."
            found.append((f"{entry.name}'s threshold is too low", f"{text} {remedy}: a higher one."))
        missed = judged["missed_pictures"][entry.name] or 0.0
        if shown and missed >= _WRONG:
            area = f"{entry.min_area_px:g} px"
            text = f"{tells} and from {area} on it is missed on {round(missed * shown)} of {counted(shown, 'picture')}."
            found.append((f"{entry.name}'s threshold or smallest area is too high", f"{text} {remedy}: a lower one."))
    return found


def _warnings(judged: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Tell what makes the figures worth less than they look."""
    found = []
    groups = judged["intervals"]["groups"]
    if groups < _FEW_GROUPS:
        text = (
            f"It was judged on {counted(groups, 'piece')}. Read the intervals rather than the figures, and hold out "
            f"at least {_FEW_GROUPS} pieces before deciding anything by them."
        )
        found.append(("Few pieces", text))
    if judged["excluded_pictures"] == 0:
        text = "Make sure that none of these pictures was learned from: the bundle left none of them out."
        found.append(("Nothing was left out", text))
    if judged["counts"]["clean"] == 0:
        text = (
            "Every picture shows a defect, so how often good parts would be rejected is not known. Add clean pictures."
        )
        found.append(("No clean picture", text))
    accuracy, most = judged["accuracy"], judged["majority_baseline"]
    if accuracy is not None and most["accuracy"] is not None and accuracy <= most["accuracy"]:
        found.append(("No better than a constant", f"Always answering {most['class']} would be right as often."))
    return found


def _class_section(judged: Mapping[str, Any], colours: Mapping[str, tuple[int, int, int]]) -> Section:
    empty, bounds, counts = judged["empty_baseline"], judged["intervals"], judged["counts"]
    blocks: list[Html] = []
    if not judged["labels_only"]:
        rows = []
        for name, iou in judged["iou"].items():
            cells = [_named(name, colours), figure(iou), interval(bounds["iou"][name]), figure(empty["iou"][name])]
            if name != BACKGROUND:
                cells += [figure(judged["dice_nonempty"][name]), _percent(judged["missed_region"][name])]
            rows.append(cells + [""] * (6 - len(cells)))
        headers = ["class", "IoU", "95 %", "all empty", "Dice, where shown", "area missed"]
        blocks += [heading("Area"), table(headers, rows)]
    rows = []
    for name in (ALL, *counts["shown"]):
        own = name != ALL
        missed_of = counts["shown"][name] if own else counts["defective"]
        false_of = judged["pictures"] - missed_of if own else counts["clean"]
        rows.append(
            [
                _named(name, colours),
                _of(judged["missed_pictures"][name], missed_of),
                _percent_interval(bounds["missed_pictures"][name]),
                _percent(empty["missed_pictures"][name]),
                _of(judged["false_pictures"][name], false_of),
                _percent_interval(bounds["false_pictures"][name]),
                _percent(empty["false_pictures"][name]),
            ]
        )
    headers = ["class", "pictures missed", "95 %", "all empty", "falsely flagged", "95 %", "all empty"]
    blocks += [heading("Pictures"), table(headers, rows)]
    rows = [
        [_named(name, colours) if not place else "", title, *[figure(rates[kind][name]) for kind in RATES], ap]
        for name in (ALL, *counts["shown"])
        for place, (title, rates, ap) in enumerate(rates_of(dict(judged), name))
    ]
    headers = ["class", "counted by", "precision", "recall", "F1", "average precision"]
    blocks += [heading("Precision and recall"), table(headers, rows, named=2)]
    words = (
        "All empty: what answering nothing would score. A dash: there was nothing to measure it on. docs/figures.md "
        "says what each figure means."
    )
    return Section("Figures per class", [*blocks, paragraph(words, soft=True)])


def _confusion_section(judged: Mapping[str, Any], pictures: _Pictures) -> Section:
    confusion = judged["confusion"]
    plots = []
    for kind, title in (("pictures", "Pictures"), ("pixels", "Pixels")):
        if confusion[kind] is None:
            continue
        classes = confusion["picture_classes" if kind == "pictures" else "pixel_classes"]
        data = draw_confusion(confusion[kind], classes, title)
        plots.append(pictures.plot(f"confusion-{kind}", data, f"confusion matrix of {kind}"))
    text = (
        "Rows are what is true, columns what was answered; shares are of the row. A picture counts as the class that "
    )
    text += "fills most of it." if not judged["labels_only"] else "it is labelled with."
    return Section("What is taken for what", [paragraph(text, soft=True), beside(plots)])


def _ranking_section(
    evaluation: Evaluation, colours: Mapping[str, tuple[int, int, int]], pictures: _Pictures
) -> list[Section]:
    ranking = evaluation.report["ranking"]
    if ranking is None:
        return []
    blocks = []
    for part, title in (("by_picture", "by picture"), ("by_pixel", "by pixel")):
        if not ranking[part]:
            continue
        data = draw_rankings(evaluation.curves[part], ranking[part], title, colours)
        blocks.append(pictures.plot(f"ranking-{title.replace(' ', '-')}", data, f"PR and ROC curves {title}"))
    text = (
        f"Every threshold at once, before smallest areas, by the probabilities of {ranking['source']}. A picture's "
        "score is the highest probability of the class in it. Dotted: what chance would reach."
    )
    return [Section("Other thresholds", [paragraph(text, soft=True), *blocks])]


def _gallery_section(
    gallery: Gallery,
    judged: Mapping[str, Any],
    colours: Mapping[str, tuple[int, int, int]],
    pictures: _Pictures,
) -> Section:
    legend = Html(" &ensp; ".join(coloured(name, colour) for name, colour in colours.items()))
    blocks = [Html(f"<p>{legend}</p>"), heading("Examples")]
    text = "Each picture with its label and what was answered."
    if not judged["labels_only"]:
        text = "Each picture twice: on top, or on the left, what is true, and then what was answered."
    blocks.append(pictures.sheet("examples", sheet_of(gallery.examples), "example pictures", text))
    close_up = "Each four times: where it lies, close up, what is true, what was answered."
    for name, title, exhibits, nothing in (
        ("worst-misses", "Worst misses", gallery.misses, "Nothing was missed, not even a pixel."),
        ("worst-false-alarms", "Worst false alarms", gallery.false_alarms, "Nothing was answered that is not there."),
    ):
        blocks.append(heading(title))
        if not exhibits:
            blocks.append(paragraph(nothing))
            continue
        caption = "" if judged["labels_only"] else close_up
        blocks.append(pictures.sheet(name, sheet_of([e.cell for e in exhibits]), title, caption))
        blocks.append(_exhibit_table(exhibits, "missed" if name == "worst-misses" else "false"))
    return Section("Pictures", blocks)


def _exhibit_table(exhibits: Sequence[Exhibit], what: str) -> Html:
    if exhibits[0].wrong_px is None:
        rows = [[exhibit.image, exhibit.true_name, exhibit.answered_name] for exhibit in exhibits]
        return table(["picture", "is", "answered as"], rows, words=True)
    of = "of true px" if what == "missed" else "of answered px"
    rows = []
    for exhibit in exhibits:
        wrong = "" if exhibit.wrong_px is None else f"{exhibit.wrong_px:,}"
        whole = "" if exhibit.of_px is None else f"{exhibit.of_px:,}"
        rows.append([exhibit.image, exhibit.class_name, wrong, whole, "yes" if exhibit.whole_picture else "no"])
    at_all = "picture missed" if what == "missed" else "picture flagged"
    return table(["picture", "class", f"{what} px", of, at_all], rows, named=2)


def _training_section(
    log: Sequence[EpochFigures],
    colours: Mapping[str, tuple[int, int, int]],
    bundle: Bundle,
    pictures: _Pictures,
    *,
    goes_on: bool,
) -> Section:
    blocks: list[Html] = []
    if log:
        blocks.append(pictures.plot("training", draw_training(log, colours), "training curves"))
    if goes_on:
        text = "The curves are of the first part; in the last one validation pictures were learned from as well."
        blocks.append(paragraph(text, soft=True))
    facts = _flat({key: value for key, value in bundle.manifest.training.items() if key != "recipe"})
    if facts:
        blocks.append(table(["training", ""], [[key.replace("_", " "), value] for key, value in facts], words=True))
    if not blocks:
        blocks.append(paragraph("The bundle says nothing of its training.", soft=True))
    return Section("Training", blocks)


def _split_section(split: Mapping[str, Mapping[str, Mapping[str, int]]]) -> Section:
    if not split:
        return Section("Split", [paragraph("The bundle holds no split.csv.", soft=True)])
    parts = [part for part in (*_PARTS, *sorted(set(split) - set(_PARTS))) if part in split]
    kinds = sorted({kind for part in parts for kind in split[part]})
    rows = []
    for kind in kinds:
        own = [split[part].get(kind, {"pictures": 0, "groups": 0}) for part in parts]
        rows.append([kind, *[f"{found['pictures']} ({found['groups']})" for found in own]])
    totals = [sum(found["pictures"] for found in split[part].values()) for part in parts]
    rows.append(["all", *[str(total) for total in totals]])
    text = "Pictures, and in brackets pieces (groups): a piece is in one part only. `test` was never seen."
    return Section("Split", [table(["class", *parts], rows), paragraph(text, soft=True)])


def _bundle_section(bundle: Bundle, colours: Mapping[str, tuple[int, int, int]]) -> Section:
    m = bundle.manifest
    rows = []
    for entry in m.classes:
        found = m.validation.get(entry.name)
        found = found if isinstance(found, dict) else {}
        missed = f"{found['missed']} of {found['shown']}" if {"missed", "shown"} <= set(found) else "-"
        rows.append(
            [
                _named(entry.name, colours),
                entry.severity,
                f"{entry.threshold:g}",
                f"{entry.min_area_px:g} px",
                missed,
                str(found.get("false", "-")),
            ]
        )
    headers = ["class", "severity", "threshold", "smallest area", "missed on validation", "false on validation"]
    text = "Thresholds were chosen on those validation pictures, so these two columns flatter."
    if learned_from_good_parts(m):
        headers[-2:] = ["missed of the fit's", "false of held-out parts"]
        text = "The threshold was chosen on good parts that were held out by turns, so the last column flatters."
    if presumption_asked_for(m):
        text = "Thresholds are presumed, as the recipe asks; these two columns are of the weights before the last part."
    blocks = [table(headers, rows), paragraph(text, soft=True)]
    if isinstance(recipe := m.training.get("recipe"), dict):
        blocks.append(folded("The recipe", yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)))
    steps = yaml.safe_dump(list(m.provenance), sort_keys=False, allow_unicode=True)
    blocks.append(folded("Where it comes from", steps))
    return Section("Bundle", blocks)


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Lay nested values out as lines of name and text."""
    lines = []
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            lines += _flat(value, f"{name}, ")
        elif key == "seconds" and isinstance(value, (int, float)):
            lines.append((name, f"{value:.0f} ({value / 60:.1f} minutes)"))
        else:
            many = isinstance(value, list) and len(value) > _LISTED
            text = counted(len(value), "value") if many else f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append((name, text))
    return lines


def _listed(exhibits: Sequence[Exhibit]) -> list[dict[str, Any]]:
    return [
        {
            "image": exhibit.image,
            "class": exhibit.class_name,
            "wrong_px": exhibit.wrong_px,
            "of_px": exhibit.of_px,
            "whole_picture": exhibit.whole_picture,
        }
        for exhibit in exhibits
    ]


def _named(name: str, colours: Mapping[str, tuple[int, int, int]]) -> str:
    return coloured(name, colours[name]) if name in colours else name


def _of(value: float | None, whole: int) -> str:
    return "-" if value is None else f"{round(value * whole)} of {whole}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _percent_interval(bounds: Sequence[float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.1%} to {bounds[1]:.1%}"
