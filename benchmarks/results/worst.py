"""The worst cases of the sets: named in docs/results.md, shown in a page beside the bundles, which is not committed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.results.sets import SETS
from edge.errors import SourceError
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.web.page import Html, Section, heading, page, paragraph, picture, table

PAGE = "worst.html"
NAMED = 3  # of each kind; the report's sheets show up to eight
Worst = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class _Kind:
    """One way to be wrong: where a report has it, and its words. `of`: the pixels that `wrong_px` is a part of."""

    key: str
    sheet: str
    what: str
    of: str
    at_all: str


_KINDS = (
    _Kind("misses", "worst-misses.png", "missed", "true", "picture missed"),
    _Kind("false_alarms", "worst-false-alarms.png", "false", "answered", "picture flagged"),
)


def worst_of(figures: dict[str, Any]) -> Worst:
    """Return the worst misses and false alarms, the worst first, of what `linewatch-train report` wrote as JSON."""
    return {kind.key: list(figures["worst"][kind.key][:NAMED]) for kind in _KINDS}


def told(worst: Worst) -> str:
    """Write them as a table of docs/results.md."""
    if not any(worst.values()):
        return "Worst cases: none, no picture was answered wrongly."
    lines = ["| worst cases | class | wrong | which is |", "|---|---|---|---|"]
    for kind in _KINDS:
        for case in worst[kind.key]:
            wrong, whole = _counts(case)
            share = f"{wrong} of {whole} {kind.of} px {kind.what}" if wrong else kind.what
            lines.append(f"| `{case['image']}` | {case['class']} | {share} | {_at_all(kind, case)} |")
    return "\n".join(lines)


def write(out: Path, kept: dict[str, Any]) -> Path | None:
    """Write the page that shows the worst cases of every set whose report lies in `out`; None where none does.

    `kept`: what docs/results.json holds, by set.
    """
    sections = [
        Section(one.title, _shown(out / kept[one.name]["folder"] / "report-pictures", kept[one.name]["worst"]))
        for one in SETS
        if "worst" in kept.get(one.name, {}) and (out / kept[one.name]["folder"] / "report.html").is_file()
    ]
    if not sections:
        return None
    about = (
        "Where there are masks, each case four times: where it lies, close up, what is true, what was answered. "
        "The report.html of each set has examples beside them."
    )
    path = out / PAGE
    path.write_text(page("Worst cases", about, [], sections), encoding="utf-8")
    return path


def _shown(pictures: Path, worst: Worst) -> list[Html]:
    blocks: list[Html] = []
    for kind in _KINDS:
        title = kind.key.replace("_", " ")
        if not worst[kind.key]:
            blocks.append(paragraph(f"No {title}."))
            continue
        try:
            sheet = read_picture(pictures / kind.sheet)
        except SourceError as error:
            raise SystemExit(f"{error}; remove {pictures.parent}/report.html, run again") from error
        photographs = cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
        rows = [
            [case["image"], case["class"], *_counts(case), "yes" if case["whole_picture"] else "no"]
            for case in worst[kind.key]
        ]
        blocks += [
            heading(f"Worst {title}"),
            picture(photographs, "jpeg", f"worst {title}, the worst first"),
            table(["picture", "class", f"{kind.what} px", f"of {kind.of} px", kind.at_all], rows, named=2),
        ]
    return blocks


def _counts(case: dict[str, Any]) -> list[str]:
    return ["" if case[key] is None else f"{case[key]:,}" for key in ("wrong_px", "of_px")]


def _at_all(kind: _Kind, case: dict[str, Any]) -> str:
    return kind.at_all if case["whole_picture"] else "a part"
