"""Pictures through the encoder: features of good ones to learn from, and whole pictures' scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.inspection.tiling import TilePlan, cut, pad, plan
from edge.records import Float32, UInt8
from trainer.augmenting.light import disturb
from trainer.datasets.dataset import Entry, Picture, as_anomaly, load_picture
from trainer.datasets.masks import IGNORED
from trainer.recipe.good_parts_settings import ANOMALY, CopiesSettings, GoodPartsRecipe
from trainer.recipe.settings import AugmentationSettings

_BATCH = 8


def load_prepared(entry: Entry, recipe: GoodPartsRecipe) -> Picture:
    """Read and prepare one picture; any fault of it is `anomaly`. Raises DatasetError naming the file."""
    return load_picture(as_anomaly(entry), (ANOMALY,), recipe.preparing, recipe.channels)


def in_other_light(pixels: UInt8, copies: CopiesSettings, rng: np.random.Generator) -> Iterator[UInt8]:
    """Yield a prepared picture, uint8 [H, W, C], and then its copies in other light."""
    yield pixels
    how = AugmentationSettings(
        contrast=copies.contrast,
        brightness=copies.brightness,
        gamma=copies.gamma,
        defocus_px=copies.defocus_px,
        noise=0.0,
    )
    for _ in range(copies.count):
        yield np.round(disturb(pixels, how, rng)).astype(np.uint8)


class TileRunner:
    """Runs a keras.Model that answers cells over whole prepared pictures, tile by tile, as the line cuts them."""

    def __init__(self, model: Any, recipe: GoodPartsRecipe, stride_px: int) -> None:
        import tensorflow as tf

        self._tile = (recipe.tile.height, recipe.tile.width)
        self._overlap_px = recipe.tile.overlap_px
        self._stride = stride_px
        self._channels = recipe.channels
        signature = tf.TensorSpec((None, *self._tile, recipe.channels), tf.uint8)
        self._answer: Callable[[UInt8], Any] = tf.function(
            lambda tiles: model(tf.cast(tiles, tf.float32), training=False), input_signature=[signature]
        )

    def plan(self, pixels: UInt8) -> TilePlan:
        """Plan the tiles of a prepared picture, uint8 [H, W, C]."""
        height, width = pixels.shape[:2]
        return plan(height, width, self._tile, self._overlap_px, self._stride)

    def run(self, pixels: UInt8) -> Float32:
        """Return a whole picture's answered cells, float32 [h, w, F], each from the tile that the line would ask."""
        tiles = self.plan(pixels)
        padded, s = pad(pixels, tiles), tiles.stride
        whole: Float32 | None = None
        for first in range(0, len(tiles.cells), _BATCH):
            cells = tiles.cells[first : first + _BATCH]
            batch = np.empty((len(cells), *self._tile, self._channels), np.uint8)
            for place, cell in enumerate(cells):
                cut(padded, tiles, cell, batch[place])
            answers = self._answer(batch).numpy()
            if whole is None:
                whole = np.empty((*tiles.map_shape, answers.shape[-1]), np.float32)
            for cell, answer in zip(cells, answers, strict=True):
                y0, y1, x0, x1 = (v // s for v in (cell.keep_y0, cell.keep_y1, cell.keep_x0, cell.keep_x1))
                v, u = cell.y // s, cell.x // s
                whole[y0:y1, x0:x1] = answer[y0 - v : y1 - v, x0 - u : x1 - u]
        assert whole is not None  # noqa: S101 - a picture has at least one tile
        return whole


def known_cells(truth: UInt8, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell which cells of a map of `shape` [h, w, …] show nothing that the truth, uint8 [H, W], ignores."""
    height, width = shape[:2]
    known: NDArray[np.bool_] = np.ones((height, width), bool)
    if (ignored := truth == IGNORED).any():
        stride = max(1, round(truth.shape[0] / height))
        rows, columns = (np.arange(0, side, stride) for side in ignored.shape)
        shown = np.maximum.reduceat(np.maximum.reduceat(ignored, rows, axis=0), columns, axis=1)[:height, :width]
        known[: shown.shape[0], : shown.shape[1]] = ~shown
    return known


def some_cells(cells: Float32, count: int, rng: np.random.Generator, known: NDArray[np.bool_] | None = None) -> Float32:
    """Draw at most `count` of the cells of float32 [h, w, F], of those that are known, bool [h, w]; float32 [n, F]."""
    flat = cells.reshape(-1, cells.shape[-1]) if known is None else cells[known]
    return flat if len(flat) <= count else flat[rng.choice(len(flat), count, replace=False)]
