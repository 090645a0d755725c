"""Contact sheets: many small pictures with captions on one, to see at a glance what a program made of a dataset."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge.errors import StoreError
from edge.inspection.overlaying import as_bgr, write_on
from edge.opencv import cv2
from edge.records import UInt8

_CAPTION_PX = 20
_GAP_PX = 4
_GROUND = 32


@dataclass(frozen=True)
class SheetCell:
    """One picture of a sheet: uint8 grey or BGR of any size, shown whole, and a caption below it."""

    pixels: UInt8
    caption: str


def contact_sheet(cells: Sequence[SheetCell], *, columns: int, cell_px: int = 240) -> UInt8:
    """Lay cells out row by row; BGR uint8. Each picture keeps its shape within `cell_px` x `cell_px`."""
    rows = max(1, math.ceil(len(cells) / columns))
    pitch_x, pitch_y = cell_px + _GAP_PX, cell_px + _CAPTION_PX + _GAP_PX
    sheet: UInt8 = np.full((rows * pitch_y + _GAP_PX, columns * pitch_x + _GAP_PX, 3), _GROUND, np.uint8)
    for place, cell in enumerate(cells):
        top, left = _GAP_PX + place // columns * pitch_y, _GAP_PX + place % columns * pitch_x
        small = _fitted(cell.pixels, cell_px)
        height, width = small.shape[:2]
        y, x = top + (cell_px - height) // 2, left + (cell_px - width) // 2
        sheet[y : y + height, x : x + width] = small
        write_on(sheet, _shortened(cell.caption, cell_px), (left, top + cell_px + _CAPTION_PX - 6))
    return sheet


def _fitted(pixels: UInt8, side_px: int) -> UInt8:
    scale = side_px / max(pixels.shape[:2])
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # nearest when growing: a mask of few pixels is to be seen as it is
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return as_bgr(cv2.resize(pixels, size, interpolation=how))


def _shortened(caption: str, cell_px: int) -> str:
    fits = max(4, cell_px // 8)  # a letter is about 8 px wide
    return caption if len(caption) <= fits else f"...{caption[-(fits - 3) :]}"


def write_sheet(path: Path, sheet: UInt8) -> None:
    """Write a sheet as PNG or JPEG, by the path's suffix. Raises StoreError."""
    suffix = path.suffix.lower() if path.suffix.lower() in {".png", ".jpg", ".jpeg"} else ".png"
    _, encoded = cv2.imencode(suffix, sheet)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror}. Free some space or choose another place"
        ) from error
