"""Of each set, what is learned from and what is judged: pieces that are judged were never learned from."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from edge.opencv import cv2
from edge.records import UInt8
from edge.simulation.belt import belt_part
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings
from trainer.anomaly.thresholds import deal_groups
from trainer.datasets.dataset import COLUMNS, Entry

FOLDS = 4
_TAUGHT = 1 / 3  # of each position's time
_PHONES = 120  # simulated ones, half of them good
# Regions of a real phone's picture: of 1920 x 1080 px, columns x rows.
_REGIONS = (8, 4)
_EACH_CLEAN = 7  # one in so many clean regions is taken
_SHOWN_PX = 200  # of a mask, so that a region shows a defect; the masks have blobs that are none


@dataclass(frozen=True)
class Turn:
    """One fit: the pictures (`image`) whose good ones it may learn from, and those that it judges."""

    learned: frozenset[str]
    judged: frozenset[str]


@dataclass(frozen=True)
class Protocol:
    """A set as it is judged. `false_alarms`: of the good pictures, within which defective ones are to be found.

    `must`: figures by their key. `changes`: what its recipe has in place of the shipped one's.
    """

    name: str
    words: str
    turns: Callable[[Sequence[Entry]], list[Turn]]
    false_alarms: float = 0.05
    must: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""  # the folder under --data; that of the set's name if empty, and none where it begins with -
    made: Callable[[Path, Path], None] | None = None  # writes the dataset: (folder of the source, to)

    def folder(self, data: Path, work: Path) -> Path:
        """Return the dataset's folder, which is written first where it is not there as it is."""
        source = data / (self.source or self.name)
        if self.made is None:
            return source
        made = work / "datasets" / self.name
        if not (made / "manifest.csv").is_file():
            self.made(source, made)
        return made


def by_piece(entries: Sequence[Entry]) -> list[Turn]:
    """Deal the pieces to folds; each fold is judged by what good pictures of the others teach."""
    fold_of = deal_groups([entry.group for entry in entries], FOLDS, np.random.default_rng(0))
    turns = []
    for fold in range(max(fold_of.values()) + 1):
        judged = frozenset(entry.image for entry in entries if fold_of[entry.group] == fold)
        turns.append(Turn(frozenset(e.image for e in entries if not e.classes and e.image not in judged), judged))
    return turns


def by_time(entries: Sequence[Entry]) -> list[Turn]:
    """Of each position teach the first third in time, where that is good, and judge all that comes later.

    File names sort by time. A position whose first third shows pitting has nothing to be taught by, and is left out.
    """
    positions: dict[str, list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: Path(entry.image).name):
        positions[_position(entry)].append(entry)
    turns = []
    for own in positions.values():
        count = round(_TAUGHT * len(own))
        if not any(entry.classes for entry in own[:count]):
            turns.append(
                Turn(frozenset(entry.image for entry in own[:count]), frozenset(entry.image for entry in own[count:]))
            )
    return turns


def _position(entry: Entry) -> str:
    """Return the position within a file name such as 01_200828110135_332500_225_crop_2.jpg."""
    return "_".join(Path(entry.image).stem.split("_")[2:])


def apart_in_time(source: Path, to: Path) -> None:
    """Write the set anew: each picture is a piece of its own, since the threshold is chosen over pieces.

    All pictures of a position are of one piece, so none could be held out by piece. Later ones still judge.
    """
    rows = []
    for row in _rows(source):
        for name in filter(None, (row["image"], row["mask"])):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, to / name)
        rows.append((row["image"], row["mask"], row["class"], Path(row["image"]).stem))
    _write(to, rows)


def simulated_phones(_source: Path, to: Path) -> None:
    """Draw parts of a simulated line, one frame of each while it lies in the middle.

    Half of them are good.
    """
    settings = SimulatedLineSettings(seed=77, defective_share=0.5)
    line, rows = RenderedLine(settings), []
    to.mkdir(parents=True, exist_ok=True)
    for number in range(_PHONES):
        part = belt_part(settings, number)
        pixels, truth = line.frame((int(part.opened) + 1 + int(part.closed)) // 2)
        name = f"{number:03d}"
        bad, planned = bool((truth > 0).any()), bool(line.shown(number))
        if bad == planned:  # a defect that lies beyond the frame says nothing
            kind = "defect" if bad else "good"
            rows.append(_kept(to / f"{name}.png", pixels, truth > 0, kind=kind, group=name))
    _write(to, rows)


def phone_regions(source: Path, to: Path) -> None:
    """Cut real phones into regions, since none is clean as a whole: each one with a mask, or without any pixel of one.

    A picture with a little of a mask is left out: the masks have blobs that are no defects. So are most clean regions.
    """
    to.mkdir(parents=True, exist_ok=True)
    rows, clean = [], 0
    for row in _rows(source):
        pixels = cv2.imread(str(source / row["image"]))
        mask = cv2.imread(str(source / row["mask"]), cv2.IMREAD_GRAYSCALE) > 0
        wide, high = pixels.shape[1] // _REGIONS[0], pixels.shape[0] // _REGIONS[1]
        for place in range(_REGIONS[0] * _REGIONS[1]):
            y, x = place // _REGIONS[0] * high, place % _REGIONS[0] * wide
            own = mask[y : y + high, x : x + wide]
            clean += not own.any()
            if (own.any() and np.count_nonzero(own) < _SHOWN_PX) or (not own.any() and clean % _EACH_CLEAN):
                continue
            name = f"{Path(row['image']).stem}-{place:02d}"
            kind = row["class"] if own.any() else "good"
            cut = np.ascontiguousarray(pixels[y : y + high, x : x + wide])
            rows.append(_kept(to / f"{name}.png", cut, own, kind=kind, group=row["group"]))
    _write(to, rows)


def _kept(file: Path, pixels: UInt8, mask: Any, *, kind: str, group: str) -> tuple[str, str, str, str]:
    """Write a picture and, where it shows a defect, its mask; return its row."""
    cv2.imwrite(str(file), pixels)
    if kind == "good":
        return file.name, "", kind, group
    masks = file.with_name(f"{file.stem}-mask.png")
    cv2.imwrite(str(masks), mask.astype(np.uint8) * 255)
    return file.name, masks.name, kind, group


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write(to: Path, rows: Sequence[tuple[str, str, str, str]]) -> None:
    with (to / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


# The option for fine defects of docs/good-parts.md.
_FINE: Mapping[str, Any] = MappingProxyType(
    {
        "stages": [5],
        "cell_px": 16,
        "contrast_cells": 9,
        "smooth_cells": 3,
        "components": 96,
        "drawn": None,
        "neighbours": 0,
    }
)


def _stretched(width: int, height: int) -> dict[str, Any]:
    return {"step": "resize", "width": width, "height": height, "fit": "stretch"}


PROTOCOLS = (
    Protocol("bottle", "4 folds by piece", by_piece, must={"auroc": 0.985, "found": 0.95}),
    Protocol("castings", "4 folds by piece", by_piece, must={"auroc": 0.93, "found": 0.70}),
    Protocol(
        "magnetic_tile",
        "4 folds by piece",
        by_piece,
        must={"auroc": 0.93},
        changes={"preparing": [{"step": "level_light"}, _stretched(256, 256)]},
    ),
    Protocol(
        "kolektor",
        "4 folds by piece",
        by_piece,
        must={"auroc": 0.93},
        changes={"preparing": [{"step": "level_light"}, _stretched(256, 640)]},
    ),
    Protocol("cookies", "4 folds by piece", by_piece, must={"auroc": 0.90}),
    Protocol(
        "ballscrew",
        "a model of each position, taught on the first third of its time",
        by_time,
        false_alarms=0.10,
        must={"found": 0.70},
        changes={
            **_FINE,
            "preparing": [_stretched(768, 320)],
            "tile": {"width": 768, "height": 320, "overlap_px": 0},
            "placed": True,
            "stages": [4, 5],
            "smooth_cells": 2,
        },
        made=apart_in_time,
    ),
    Protocol("phone_simulated", "4 folds by part", by_piece, changes=_FINE, source="phone_msd", made=simulated_phones),
    Protocol("phone_regions", "4 folds by picture", by_piece, changes=_FINE, source="phone_msd", made=phone_regions),
)
