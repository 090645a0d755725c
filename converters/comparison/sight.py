"""A model's answers to the pictures it was shown: in figures, and laid over the pictures on one sheet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edge.inspection.overlaying import overlay
from edge.opencv import cv2
from edge.records import DefectClass, PreparedFrame, UInt8
from edge.wording import counted
from trainer.datasets.contact_sheets import SheetCell, contact_sheet, write_sheet

NEARLY_ALL = 0.75  # of the pixels
_ON_THE_SHEET = 24
_COLUMNS = 4


@dataclass(frozen=True)
class Sight:
    """`pictures` and their `pixels`, `defective` ones among them, and `defects` per class name, specks left out."""

    pictures: int
    pixels: int
    defective: int
    defects: dict[str, int]

    @property
    def share(self) -> float:
        """The share of the pixels that is defective, 0-1."""
        return self.defective / self.pixels if self.pixels else 0.0

    @property
    def total(self) -> int:
        """Defects of any class."""
        return sum(self.defects.values())

    @property
    def doubt(self) -> str:
        """Return why this can hardly be right; "" where it can."""
        if not self.total:
            return f"it finds no defect on {counted(self.pictures, 'picture')}"
        if self.share >= NEARLY_ALL:
            return f"it finds {self.share:.0%} of all pixels defective"
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for a report."""
        return {
            "pictures": self.pictures,
            "defective_share": self.share,
            "defects_per_picture": self.total / self.pictures if self.pictures else 0.0,
            "defects": self.defects,
        }


@dataclass
class Looking:
    """Gathers what is seen, picture by picture, and a sheet of some of them."""

    classes: tuple[DefectClass, ...]
    expected: int  # pictures, so that those on the sheet are spread over all
    _pictures: int = 0
    _pixels: int = 0
    _defective: int = 0
    _defects: dict[str, int] = field(default_factory=dict)
    _cells: list[SheetCell] = field(default_factory=list)

    def add(self, prepared: PreparedFrame, kept: UInt8) -> None:
        """Take in one picture and its class map without specks, uint8 [h, w]."""
        for entry in self.classes:
            mask = (kept == entry.id).view(np.uint8)
            count = cv2.connectedComponents(mask, connectivity=8)[0] - 1
            self._defects[entry.name] = self._defects.get(entry.name, 0) + count
        step = max(1, -(-self.expected // _ON_THE_SHEET))
        if self._pictures % step == 0:
            height, width = prepared.pixels.shape[:2]
            classes = np.repeat(np.repeat(kept, -(-height // len(kept)), 0), -(-width // kept.shape[1]), 1)
            colours = {entry.id: entry.colour for entry in self.classes}
            share = float(np.mean(kept > 0))
            drawn = overlay(prepared.pixels, np.ascontiguousarray(classes[:height, :width]), colours)
            self._cells.append(SheetCell(drawn, f"{share:.1%} {prepared.frame.name}"))
        self._pictures += 1
        self._pixels += kept.size
        self._defective += int(np.count_nonzero(kept))

    @property
    def sight(self) -> Sight:
        """The figures so far."""
        return Sight(self._pictures, self._pixels, self._defective, dict(self._defects))

    def write(self, path: Path) -> None:
        """Write the sheet. Raises StoreError."""
        write_sheet(path, contact_sheet(self._cells, columns=min(_COLUMNS, max(1, len(self._cells)))))
