"""`linewatch-train augmentations`: crops as training sees them, each beside the window that it was made from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edge.inspection.overlaying import overlay
from edge.records import UInt8
from trainer.augmenting import CropSampler
from trainer.augmenting.sampling import Preview
from trainer.datasets.colours import COLOURS
from trainer.datasets.contact_sheets import SheetCell, contact_sheet, write_sheet
from trainer.datasets.dataset import Entry, class_names, load_picture, read_manifest
from trainer.recipe.settings import TrainSettings

_PICTURES = 60
_PAIRS_ABREAST = 3
_CELL_PX = 256


def write_augmentation_sheet(settings: TrainSettings, data: Path, out: Path, *, count: int, seed: int) -> int:
    """Write `count` pairs of window and crop as one picture; return how many. Raises DatasetError, StoreError.

    The crops are of up to 60 pictures of `data`, evenly from its combinations of classes.
    """
    entries = read_manifest(data, need_masks=False)
    names = class_names(entries)
    pictures = [
        load_picture(entry, names, settings.preparing, settings.channels) for entry in _some_of_each(entries, _PICTURES)
    ]
    weights = [settings.sampling.class_weights.get(name, 1.0) for name in names]
    sampler = CropSampler(pictures, weights, settings.sampling, settings.augmentation, names)
    colours = {
        class_id: (settings.classes[name].colour if name in settings.classes else None)
        or COLOURS[(class_id - 1) % len(COLOURS)]
        for class_id, name in enumerate(names, start=1)
    }
    previews = sampler.previews(np.random.default_rng(seed), count)
    cells = [cell for preview in previews for cell in _cells(preview, colours)]
    write_sheet(out, contact_sheet(cells, columns=2 * min(_PAIRS_ABREAST, count), cell_px=_CELL_PX))
    return len(previews)


def _some_of_each(entries: Sequence[Entry], most: int) -> list[Entry]:
    """Choose by turns from each combination of classes, spread over the manifest; always the same."""
    of_kind: dict[tuple[str, ...], list[Entry]] = defaultdict(list)
    for entry in entries:
        of_kind[entry.classes].append(entry)
    each = -(-most // len(of_kind))
    return [own[k] for own in of_kind.values() for k in np.unique(np.linspace(0, len(own) - 1, each).astype(int))]


def _cells(preview: Preview, colours: dict[int, tuple[int, int, int]]) -> tuple[SheetCell, SheetCell]:
    def drawn(pixels: UInt8, truth: UInt8) -> UInt8:
        return overlay(pixels, truth, colours, opacity=0.15)

    crop = np.rint(preview.pixels).astype(np.uint8)
    return (
        SheetCell(drawn(preview.window, preview.window_truth), preview.image),
        SheetCell(drawn(crop, preview.truth), "augmented"),
    )
