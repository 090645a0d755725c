"""`linewatch-train tiles`: a dataset of pictures and masks → a dataset of their tiles, rows and groups kept."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.bundle import safe_name
from edge.errors import DatasetError
from edge.inspection.tiling import cut, pad, plan
from edge.opencv import cv2
from edge.preparing import PreparingStep
from edge.records import UInt8
from trainer.datasets.dataset import COLUMNS, IGNORE_MASK, Entry, class_names, load_picture
from trainer.datasets.masks import IGNORED
from trainer.datasets.whole_folders import unwritable, whole_or_absent

_CLEAN = "ok"


@dataclass(frozen=True)
class CutCounts:
    """The counts of a cutting. `skipped`: clean tiles that were left out."""

    pictures: int
    tiles: int
    defective: int
    skipped: int


def cut_dataset(
    entries: Sequence[Entry],
    out: Path,
    *,
    tile_px: int,
    overlap_px: int = 0,
    steps: tuple[PreparingStep, ...] = (),
    keep_clean: bool = True,
    progress: Callable[[Sequence[Entry]], Iterable[Entry]] = lambda entries: entries,
) -> CutCounts:
    """Cut every picture, and its masks alike, into tiles of `tile_px` and write them with a manifest.csv into `out`.

    Pictures are cut as the line cuts them (`tiling.plan`). Sides that are multiples of the tile give each pixel to one
    tile. Of others neighbours overlap as little as will do; smaller ones are reflected. `steps` prepare first. A tile
    has a row for each class of which its mask shows a pixel, or one as clean. Its group is its picture's. `out` is
    whole at last, or absent. Raises DatasetError, StoreError.
    """
    if not 0 <= overlap_px < tile_px:
        raise DatasetError(f"expected an overlap of 0 to {tile_px - 1} px, received {overlap_px}")
    tiles = defective = skipped = 0
    try:
        with whole_or_absent(out, "cutting") as folder:
            (folder / "images").mkdir()
            (folder / "masks").mkdir()
            with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                knows_ignored = any(entry.ignored for entry in entries)
                writer.writerow((*COLUMNS, IGNORE_MASK) if knows_ignored else COLUMNS)
                for number, entry in enumerate(progress(entries)):
                    for place, pixels, masks in _tiles(entry, tile_px, overlap_px, steps):
                        if not masks.keys() - {IGNORE_MASK} and not keep_clean:
                            skipped += 1
                            continue
                        name = f"{number:05d}-{safe_name(Path(entry.image).stem)}-{place}.png"
                        rows = _write_tile(folder, name, pixels, masks, entry.group)
                        writer.writerows(rows if knows_ignored else [row[:-1] for row in rows])
                        tiles += 1
                        defective += bool(masks.keys() - {IGNORE_MASK})
    except OSError as error:
        raise unwritable(out, error) from error
    return CutCounts(len(entries), tiles, defective, skipped)


def _write_tile(
    folder: Path, name: str, pixels: UInt8, masks: Mapping[str, UInt8], group: str
) -> list[tuple[str, str, str, str, str]]:
    """Write a tile with the masks that show anything; return its rows of the manifest."""
    _write_png(folder / "images" / name, pixels)
    written = {}
    for class_name, mask in masks.items():
        written[class_name] = f"masks/{name.removesuffix('.png')}-{class_name}.png"
        _write_png(folder / written[class_name], mask)
    ignored = written.pop(IGNORE_MASK, "")
    rows = [(f"images/{name}", mask_name, class_name, group, ignored) for class_name, mask_name in written.items()]
    return rows or [(f"images/{name}", "", _CLEAN, group, ignored)]


def _tiles(
    entry: Entry, tile_px: int, overlap_px: int, steps: tuple[PreparingStep, ...]
) -> Iterator[tuple[str, UInt8, dict[str, UInt8]]]:
    """Yield each tile of a picture: its place, its pixels uint8 [T, T, C], and the masks that show anything."""
    pixels, masks = _prepared(entry, steps)
    tiles = plan(pixels.shape[0], pixels.shape[1], (tile_px, tile_px), overlap_px)
    columns = len({cell.x for cell in tiles.cells})
    layers = np.dstack([pixels, *masks.values()]) if masks else pixels
    padded, channels = pad(layers, tiles), pixels.shape[2]
    for cell in tiles.cells:
        tile: UInt8 = np.empty((tile_px, tile_px, padded.shape[2]), np.uint8)
        cut(padded, tiles, cell, tile)
        row, column = divmod(cell.index, columns)
        own = {name: tile[:, :, channels + k] for k, name in enumerate(masks)}
        yield f"r{row:02d}-c{column:02d}", tile[:, :, :channels], {n: mask for n, mask in own.items() if mask.any()}


def _prepared(entry: Entry, steps: tuple[PreparingStep, ...]) -> tuple[UInt8, dict[str, UInt8]]:
    """Return a picture's pixels, [H, W, 1] where its channels are alike, and a 0/255 mask per class, [H, W].

    An ignored region has a mask of the name `ignore_mask`.
    """
    # one class at a time: masks of several may lie on one another
    pictures = {name: load_picture(_of_class(entry, name), (name,), steps, 3) for name in class_names([entry])}
    shown = next(iter(pictures.values())) if pictures else load_picture(entry, (), steps, 3)
    grey = shown.pixels[:, :, :1]
    pixels = grey if (shown.pixels == grey).all() else shown.pixels  # a third of the room
    masks = {name: _as_mask(picture.truth == 1) for name, picture in pictures.items()}
    return pixels, masks | ({IGNORE_MASK: _as_mask(shown.truth == IGNORED)} if entry.ignored else {})


def _as_mask(where: NDArray[np.bool_]) -> UInt8:
    return np.where(where, np.uint8(255), np.uint8(0))


def _of_class(entry: Entry, name: str) -> Entry:
    return replace(entry, masks=tuple(mask for mask in entry.masks if mask[0] == name), labels=frozenset({name}))


def _write_png(path: Path, pixels: UInt8) -> None:
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    path.write_bytes(encoded.tobytes())
