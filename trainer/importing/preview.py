"""A contact sheet of a dataset: pictures of every class with their masks on them, as the trainer reads them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from edge.inspection.overlaying import overlay
from edge.opencv import cv2
from edge.records import UInt8
from trainer.datasets.colours import COLOURS
from trainer.datasets.contact_sheets import SheetCell, contact_sheet, write_sheet
from trainer.datasets.dataset import Entry, class_names
from trainer.datasets.masks import read_mask
from trainer.importing.pairing import read_whole

_CELL_PX = 240
_COLUMNS = 6


def write_preview(path: Path, entries: Sequence[Entry], *, at_most: int, seed: int) -> None:
    """Write a PNG of at most `at_most` pictures, each class and the clean by turns. Raises DatasetError, StoreError."""
    names = class_names(entries)
    chosen = _by_turns(entries, names, at_most, random.Random(seed))
    cells = [_cell(entry, names) for entry in chosen]
    write_sheet(path, contact_sheet(cells, columns=min(_COLUMNS, max(1, len(cells))), cell_px=_CELL_PX))


def _by_turns(entries: Iterable[Entry], names: Sequence[str], at_most: int, chance: random.Random) -> list[Entry]:
    """Choose pictures so that each kind (first class, or none) is shown about as often; kinds stand together."""
    kinds: dict[str, list[Entry]] = {name: [] for name in (*names, "")}
    for entry in entries:
        kinds[entry.classes[0] if entry.classes else ""].append(entry)
    for kind in kinds.values():
        chance.shuffle(kind)
    taken = dict.fromkeys(kinds, 0)
    while sum(taken.values()) < at_most:
        left = [name for name, kind in kinds.items() if taken[name] < len(kind)]
        if not left:
            break
        taken[min(left, key=lambda name: taken[name])] += 1
    return [
        entry for name, kind in kinds.items() for entry in sorted(kind[: taken[name]], key=lambda entry: entry.image)
    ]


def _cell(entry: Entry, names: Sequence[str]) -> SheetCell:
    pixels = read_whole(entry.path)
    height, width = pixels.shape[:2]
    scale = min(1.0, _CELL_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small: UInt8 = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    classes = np.zeros(small.shape[:2], np.uint8)
    for name, mask_path in entry.masks:
        mask = (read_mask(mask_path, entry.path, (height, width)) > 0).astype(np.float32)
        # every pixel of the small mask that holds anything, so that a hairline is not lost in shrinking
        classes[cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0] = names.index(name) + 1
    colours = {class_id: COLOURS[(class_id - 1) % len(COLOURS)] for class_id in range(1, len(names) + 1)}
    caption = f"{' + '.join(entry.classes) or 'clean'}: {PurePosixPath(entry.image).stem}"
    return SheetCell(overlay(small, classes, colours, opacity=0.3), caption)
