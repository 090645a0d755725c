"""The page of a comparison: what differs in numbers, and the parts that differ most, in pictures side by side."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.files import write_text
from edge.inspection.overlaying import overlay
from edge.opencv import cv2
from edge.preparing import map_to_frame
from edge.recipes.comparing import changed
from edge.records import DefectClass, FrameResult, Judgement, UInt8
from edge.records.decided import Decided
from edge.replaying.pairs import Twice
from edge.replaying.telling import Comparison, Station
from edge.web.page import Card, Html, Section, beside, heading, note, page, paragraph, picture, table
from edge.wording import counted

MOST_SHOWN = 50
_LONG_SIDE_PX = 900
_JPEG_QUALITY = 85
_DRAWN_KEPT = 256  # frames that differ, of parts that are not decided yet

Classes = Mapping[str, Sequence[DefectClass]]  # of each view
_Weight = tuple[int, float]


@dataclass(frozen=True)
class _Drawn:
    """One frame as both see it, JPEG, and how far they differ."""

    weight: _Weight
    former: bytes
    new: bytes
    frame: FrameResult


@dataclass(frozen=True, order=True)
class _Shown:
    weight: tuple[int, int, float]
    order: int  # of two alike the earlier one is kept
    twice: Twice
    drawn: tuple[_Drawn, ...]


class DifferingPictures:
    """Draws the frames that differ, and keeps those of the parts that differ most. `classes`: of both stations."""

    def __init__(self, former: Classes, new: Classes, most: int = MOST_SHOWN) -> None:
        self._classes = (former, new)
        self._most = most
        self._waiting: dict[tuple[str, int | None, int], _Drawn] = {}
        self._shown: list[_Shown] = []

    def seen(self, former: Decided, new: Decided) -> None:
        """Draw a frame that both have judged, if they differ in it."""
        one, other = former.inspection, new.inspection
        classes = changed(one, other)
        count = sum(each.gained + each.lost for each in classes.values())
        same = one.judgement.verdict is other.judgement.verdict
        pixels = former.frame or new.frame
        if pixels is None or (not count and same):
            return
        weight = (count, abs(_coverage(one) - _coverage(other)))
        jpegs = [_jpeg(each, pixels.pixels, self._classes[side]) for side, each in enumerate((former, new))]
        while len(self._waiting) >= _DRAWN_KEPT:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[one.view, one.frame, one.captured_ns] = _Drawn(weight, jpegs[0], jpegs[1], one)

    def add(self, twice: Twice) -> None:
        """Take the pictures of a part or frame judged twice, and keep them if it is among the most."""
        found = [drawn for key in twice.former.frames if (drawn := self._waiting.pop(key, None)) is not None]
        if not twice.differs:
            return
        best: dict[str, _Drawn] = {}
        for each in found:
            if each.frame.view not in best or each.weight > best[each.frame.view].weight:
                best[each.frame.view] = each
        count, coverage = len(twice.gained) + len(twice.lost), max((each.weight[1] for each in found), default=0.0)
        weight = (int(twice.verdict_differs), count, coverage)
        shown = _Shown(weight, -twice.former.number, twice, tuple(best.values()))
        heapq.heappush(self._shown, shown)
        if len(self._shown) > self._most:
            heapq.heappop(self._shown)

    def write(self, path: Path, comparison: Comparison) -> None:
        """Write the page, one file that loads nothing. Raises StoreError."""
        write_page(path, "Comparison on one recording", comparison, [_told(each) for each in _worst_first(self._shown)])


@dataclass(frozen=True)
class SeenTwice:
    """One unit on a page. `pictures`: as the former and the new one see it, JPEG, and where that is."""

    name: str
    former: Judgement
    new: Judgement | None
    gained: int
    lost: int
    pictures: Sequence[tuple[bytes, bytes, str]]


def write_page(path: Path, title: str, comparison: Comparison, shown: Sequence[SeenTwice]) -> None:
    """Write a comparison with the units that differ most as one file that loads nothing. Raises StoreError."""
    write_text(path, _page(title, comparison, shown))


def _worst_first(shown: Sequence[_Shown]) -> list[_Shown]:
    return sorted(shown, reverse=True)


def _told(shown: _Shown) -> SeenTwice:
    twice = shown.twice
    pictures = [(each.former, each.new, f"{each.frame.view}, frame {each.frame.frame}") for each in shown.drawn]
    return SeenTwice(
        twice.former.name,
        twice.former.judgement,
        None if twice.new is None else twice.new.judgement,
        len(twice.gained),
        len(twice.lost),
        pictures,
    )


def _coverage(seen: FrameResult) -> float:
    return 0.0 if seen.measurement is None else seen.measurement.coverage


def _jpeg(decided: Decided, pixels: UInt8, classes: Classes) -> bytes:
    """Draw what one station found, on the frame made small; a hairline keeps a pixel."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _LONG_SIDE_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    found: UInt8 = np.zeros((size[1], size[0]), np.uint8)
    own, kept = classes.get(decided.inspection.view, ()), decided.defect_map
    if kept is not None and decided.to_frame is not None:
        whole = map_to_frame(kept.classes, decided.to_frame, (height, width), kept.stride)
        for entry in own:
            mask = cv2.compare(whole, entry.id, cv2.CMP_EQ)
            found[cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0] = entry.id
    drawn = overlay(small, found, {entry.id: entry.colour for entry in own})
    return bytes(cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])


def _page(title: str, comparison: Comparison, shown: Sequence[SeenTwice]) -> str:
    diff, unit = comparison.diff, comparison.unit
    gained = sum(one.gained for one in diff.classes.values())
    lost = sum(one.lost for one in diff.classes.values())
    cards = [
        Card("compared", str(diff.compared), [counted(diff.skipped, unit) + " not compared"]),
        Card("verdicts that differ", str(diff.differing), [], "bad" if diff.differing else "good"),
        Card("defects gained", str(gained), ["seen by the new one alone"]),
        Card("defects lost", str(lost), ["seen by the former one alone"]),
    ]
    sections = [Section("What was compared", _who(comparison)), Section("What differs", _sums(comparison))]
    if shown:
        sections.append(Section(f"The {unit}s that differ most", [block for each in shown for block in _unit(each)]))
    return page(title, diff.told(unit), cards, sections)


def _who(comparison: Comparison) -> list[Html]:
    rows = [[who, *cells] for who, station in (("former", comparison.former), ("new", comparison.new))
            for cells in _models(station)]  # fmt: skip
    return [table(["", "settings", "view", "model", "version", "SHA-256"], rows, words=True)]


def _models(station: Station) -> list[list[str]]:
    return [
        [station.settings, view, str(model["name"]), str(model["version"]), str(model["sha256"] or "unknown")[:12]]
        for view, model in station.models.items()
    ]


def _sums(comparison: Comparison) -> list[Html]:
    diff = comparison.diff
    if not diff.verdicts and not diff.classes:
        return [note("Nothing differs", "Both judge all of it alike.", "good") if diff.compared
                else note("Nothing was compared", "There was no part that both judged.", "bad")]  # fmt: skip
    changes = sorted(diff.verdicts.items(), key=lambda entry: (-entry[1], entry[0]))
    return [
        table(
            ["former verdict", "new verdict", "count"], [[o.value, n.value, str(c)] for (o, n), c in changes], named=2
        ),
        table(
            ["class", "gained", "lost"],
            [[name, str(one.gained), str(one.lost)] for name, one in sorted(diff.classes.items())],
        ),
    ]


def _unit(shown: SeenTwice) -> list[Html]:
    former, new = shown.former, shown.new
    blocks = [
        heading(f"{shown.name}: {former.verdict.value} → {new.verdict.value if new else 'none'}"),
        paragraph(f"former: {former.reason or 'good'}; new: {(new.reason if new else None) or 'good'}"),
        paragraph(f"{shown.gained} gained, {shown.lost} lost", soft=True),
    ]
    for one, other, where in shown.pictures:
        sides = [picture(one, "jpeg", f"former, {where}", f"former, {where}"),
                 picture(other, "jpeg", f"new, {where}", f"new, {where}")]  # fmt: skip
        blocks.append(beside(sides))
    return blocks
