"""Pictures and masks for the tests of imports, and what an imported dataset holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from edge.opencv import cv2
from edge.records import UInt8
from trainer.datasets.dataset import class_names, load_picture, read_manifest
from trainer.importing.labelled import LabelSource
from trainer.importing.writing import WritingSettings, Written, write_dataset


def surface(seed: int, size: tuple[int, int] = (60, 80)) -> UInt8:
    """Paint a rough surface: uint8 BGR [H, W, 3], structures of a few pixels and uneven light."""
    generator = np.random.default_rng(seed)
    rough = cv2.GaussianBlur(generator.normal(0, 60, size).astype(np.float32), (0, 0), 1.5)
    light = cv2.resize(generator.uniform(70, 170, (3, 4)).astype(np.float32), size[::-1], interpolation=cv2.INTER_CUBIC)
    tint = np.array([0.9, 1.0, 1.05], np.float32)
    return np.asarray(np.clip((light + rough)[:, :, None] * tint, 0, 255).astype(np.uint8))


def rectangle(size: tuple[int, int], top: int, left: int, height: int, width: int) -> UInt8:
    """Make a mask with one rectangle of 255."""
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 255
    return mask


def save(path: Path, pixels: UInt8, quality: int = 75) -> Path:
    """Write a picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return path


def imported(source: LabelSource, out: Path, **settings: object) -> Written:
    """Write a source as a dataset."""
    return write_dataset(source, out, WritingSettings(**settings), Console(quiet=True))


def truths(folder: Path) -> dict[str, tuple[tuple[str, ...], UInt8]]:
    """Read an imported dataset as the trainer does: by the picture's name below images/, its classes and class map."""
    entries = read_manifest(folder, need_masks=False)
    names = class_names(entries)
    return {
        entry.image.removeprefix("images/"): (entry.classes, load_picture(entry, names, (), 3).truth)
        for entry in entries
    }


def intersection_over_union(one: UInt8, other: UInt8) -> float:
    """Compare two masks, defect where not 0; 1 if both are empty."""
    both, either = ((one > 0) & (other > 0)).sum(), ((one > 0) | (other > 0)).sum()
    return float(both / either) if either else 1.0
