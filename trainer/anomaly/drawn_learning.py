"""Learn to tell defects that are drawn into good parts: tiles through the encoder once, then some hundred steps.

Memory is bounded by the recipe's `drawn.tiles`, however many parts there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from edge.inspection.tiling import TilePlan, cut, pad, plan
from edge.records import Float32, UInt8
from trainer.anomaly.drawing import draw_defects, move
from trainer.anomaly.drawn_head import CELL_PX, DEEP_PX, SHOWN, TAPS, DrawnHead, DrawnTiles
from trainer.anomaly.gathering import load_prepared
from trainer.anomaly.learning import Watch
from trainer.anomaly.memory import learn_whitening
from trainer.datasets.dataset import Entry
from trainer.datasets.masks import IGNORED
from trainer.recipe.good_parts_settings import DrawnSettings, GoodPartsRecipe

Steps = Callable[[int, str], Iterable[int]]

_COMPONENTS = (96, 64, 64, 64)  # of each stage's whitened features
_FLOOR = 0.03
_WHITENED_BY = 64  # tiles
_WIDTH = 64
_AREA_PX = 256 * 256  # of larger tiles so many fewer are kept
# What a picture's first, second, … tile becomes, and again from the start.
_PLAIN, _MOVED, _DRAWN = range(3)
_TURNS = (_PLAIN, _DRAWN, _DRAWN, _MOVED, _DRAWN, _DRAWN, _MOVED, _DRAWN, _DRAWN)
_LEAST_TILES = 3  # of a picture
_PIECES = 16  # tiles of other parts that patches are taken from
_BATCH, _LEAST_STEPS, _RATE, _DECAY = 16, 240, 2e-3, 1e-4
_DROPPED, _NOISE = 0.1, 0.1  # of the whitened features in training
_STEEP = 3.0  # of the soft maximum over a tile's cells
_CLEAN_WEIGHT = 4.0  # of the cells that were not drawn into


@dataclass(frozen=True)
class Told:
    """A head, and the largest logit of each tile that judged it, float32 [n]."""

    head: DrawnHead
    tops: Float32


def gather_drawn(
    good: Sequence[Entry],
    fold_of: Sequence[int],
    encoded: Any,
    *,
    recipe: GoodPartsRecipe,
    rng: np.random.Generator,
    watch: Watch,
) -> DrawnTiles:
    """Draw into tiles of good pictures, and keep what the encoder sees of them, and of them as they are.

    `fold_of`: the fold of each. Patches of other parts are of the same fold, so that none is judged by what it taught.
    Raises DatasetError for a picture that cannot be read.
    """
    assert recipe.drawn is not None  # noqa: S101 - asked for only then
    area = recipe.tile.height * recipe.tile.width
    most = max(_LEAST_TILES, recipe.drawn.tiles * _AREA_PX // max(_AREA_PX, area))
    chosen = sorted(rng.permutation(len(good))[: max(1, most // _LEAST_TILES)].tolist())
    each = max(_LEAST_TILES, most // len(chosen))
    features = _Features(encoded)
    pieces: dict[int, list[UInt8]] = {}
    pictures: list[int] = []
    for place, entry in zip(chosen, watch([good[place] for place in chosen], "drawing defects"), strict=True):
        own = pieces.setdefault(fold_of[place], [])
        for tile, marked in _tiles_of(entry, recipe, each, own, rng):
            pictures.append(place)
            features.add(tile, marked)
    return features.kept(np.asarray(pictures))


def _tiles_of(
    entry: Entry, recipe: GoodPartsRecipe, each: int, pieces: list[UInt8], rng: np.random.Generator
) -> Iterator[tuple[UInt8, UInt8]]:
    picture = load_prepared(entry, recipe)
    height, width = picture.pixels.shape[:2]
    tile = (recipe.tile.height, recipe.tile.width)
    tiles = plan(height, width, tile, recipe.tile.overlap_px, recipe.cell_px)
    padded = pad(picture.pixels, tiles)
    truth = pad(picture.truth[..., None], tiles)
    for number in range(min(each, len(_TURNS) * len(tiles.cells))):
        place = int(rng.integers(len(tiles.cells)))
        plain, known = _cut(padded, tiles, place), _cut(truth, tiles, place)[..., 0]
        turn = _TURNS[number % len(_TURNS)]
        marked: UInt8 = np.zeros(tile, np.uint8)
        shown = plain
        if (known == IGNORED).any():
            marked[known == IGNORED] = IGNORED
        elif turn != _PLAIN:  # what is ignored would be moved along
            shown = move(plain, rng)
            if turn == _DRAWN:
                other = pieces[int(rng.integers(len(pieces)))] if pieces and rng.integers(2) else shown
                shown, marked = draw_defects(shown, other, rng)
        pieces.append(plain)
        if len(pieces) > _PIECES:
            pieces.pop(int(rng.integers(len(pieces))))
        yield shown, marked


def _cut(padded: UInt8, tiles: TilePlan, place: int) -> UInt8:
    tile: UInt8 = np.empty((tiles.tile_height, tiles.tile_width, padded.shape[2]), np.uint8)
    cut(padded, tiles, tiles.cells[place], tile)
    return tile


class _Features:
    """Tiles through the encoder; whitened by what the first of them show, since plain ones take twice the memory."""

    def __init__(self, encoded: Any) -> None:
        model = keras.Model(encoded.input, encoded.outputs[1:])
        self._answer = tf.function(lambda tile: model(tf.cast(tile, tf.float32), training=False), reduce_retracing=True)
        self._first: list[list[Float32]] = []
        self._whitenings: list[Any] = []
        self._near: list[Any] = []
        self._deep: list[Any] = []
        self._marked: list[Float32] = []

    def add(self, tile: UInt8, marked: UInt8) -> None:
        """Add a tile, uint8 [H, W, C], and where it was drawn into, uint8 [H, W]: 1 there, IGNORED = not judged."""
        taps = [each.numpy()[0] for each in self._answer(tile[None])]
        taps[0] = _in_cells(taps[0])
        rows, columns = taps[0].shape[:2]
        cells = marked.reshape(rows, CELL_PX, columns, CELL_PX)
        share = (cells == 1).mean(axis=(1, 3))
        self._marked.append(np.where((cells == IGNORED).any(axis=(1, 3)), -1, share).astype(np.float32))
        if self._whitenings:
            self._keep(taps)
            return
        self._first.append(taps)
        if len(self._first) == _WHITENED_BY:
            self._whiten()

    def _whiten(self) -> None:
        for tap, components in enumerate(_COMPONENTS):
            cells = np.concatenate([own[tap].reshape(-1, own[tap].shape[-1]) for own in self._first])
            self._whitenings.append(learn_whitening(cells, components, _FLOOR))
        for taps in self._first:
            self._keep(taps)
        self._first.clear()

    def _keep(self, taps: Sequence[Float32]) -> None:
        own = [whitening.of(tap).astype(np.float16) for whitening, tap in zip(self._whitenings, taps, strict=True)]
        self._near.append(np.concatenate(own[:2], axis=-1))
        self._deep.append(np.concatenate(own[2:], axis=-1))

    def kept(self, pictures: Any) -> DrawnTiles:
        """Return all tiles; `pictures`: int [N], whose each is."""
        if self._first:
            self._whiten()
        axes, means = zip(*((one.axes, one.mean) for one in self._whitenings), strict=True)
        near, deep, marked = (np.stack(each) for each in (self._near, self._deep, self._marked))
        return DrawnTiles(near, deep, marked, pictures, axes, means)


def _in_cells(fine: Float32) -> Float32:
    """Put each 2 x 2 features side by side: float32 [2h, 2w, F] → [h, w, 4F], by rows."""
    rows, columns, count = fine.shape
    blocks = fine.reshape(rows // 2, 2, columns // 2, 2, count).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks.reshape(rows // 2, columns // 2, 4 * count))


def learn_drawn(
    tiles: DrawnTiles,
    learned: Collection[int],
    judged: Collection[int],
    *,
    settings: DrawnSettings,
    seed: int,
    steps: Steps,
    words: str,
) -> Told:
    """Learn a head from the tiles of the pictures `learned`; tell the tops of the tiles of the pictures `judged`.

    `steps`: yields the numbers of so many steps beside a progress bar that says `words`.
    """
    keras.utils.set_random_seed(seed)
    net = _network(tiles.near.shape[-1], tiles.deep.shape[-1])
    own, rng = tiles.of(learned), np.random.default_rng(seed)
    count = max(_LEAST_STEPS, settings.rounds * len(own) // _BATCH)
    step = _step_of(net, count)
    order: list[int] = []
    for _ in steps(count, words):
        while len(order) < min(_BATCH, len(own)):
            order += rng.permutation(own).tolist()
        batch, order = np.array(order[:_BATCH]), order[_BATCH:]
        near, deep, marked = tiles.near[batch], tiles.deep[batch], tiles.marked[batch]
        if rng.integers(2):
            near, deep, marked = near[:, :, ::-1], deep[:, :, ::-1], marked[:, :, ::-1]
        step(tf.constant(near), tf.constant(deep), tf.constant(marked))
    return Told(_head(net, tiles, settings.weight), _tops(net, tiles, tiles.of(judged)))


def untaught(channels: Sequence[int], seed: int) -> DrawnHead:
    """Return a head of its size with weights by chance, for an encoder whose stages have so many channels."""
    rng = np.random.default_rng(seed)

    def kernel(side: int, into: int, out: int) -> Float32:
        return rng.normal(0, (side * side * into) ** -0.5, (side, side, into, out)).astype(np.float32)

    taps = tuple(kernel(2 if tap == TAPS[0] else 1, count, _WIDTH) for tap, count in zip(TAPS, channels, strict=True))
    after = ((3, _WIDTH), (3, _WIDTH), (1, 1))
    biases = (np.zeros(out, np.float32) for _, out in after)
    return DrawnHead(
        taps,
        np.zeros(_WIDTH, np.float32),
        tuple((kernel(side, _WIDTH, out), bias) for (side, out), bias in zip(after, biases, strict=True)),
    )


def _network(near: int, deep: int) -> Any:
    cells = keras.Input((None, None, near), dtype="float32")
    around = keras.Input((None, None, deep), dtype="float32")
    joined = layers.Concatenate()([cells, layers.UpSampling2D(DEEP_PX // CELL_PX, interpolation="bilinear")(around)])
    x = layers.SpatialDropout2D(_DROPPED)(joined)
    for side in (1, 3, 3):
        x = layers.Conv2D(_WIDTH, side, padding="same", activation="relu")(x)
    return keras.Model([cells, around], layers.Conv2D(1, 1)(x))


def _step_of(net: Any, count: int) -> Any:
    """Return a compiled step: float16 features near and deep, and float32 marks of a batch."""
    optimizer = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(_RATE, count), weight_decay=_DECAY)
    optimizer.build(net.trainable_variables)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator] # TensorFlow has no types
    def step(near: Any, deep: Any, marked: Any) -> None:
        with tf.GradientTape() as tape:
            noisy = [tf.cast(one, tf.float32) + _NOISE * tf.random.normal(tf.shape(one)) for one in (near, deep)]
            loss = _loss(net(noisy, training=True)[..., 0], marked)
        slopes = tape.gradient(loss, net.trainable_variables)
        optimizer.apply_gradients(zip(slopes, net.trainable_variables, strict=True))

    return step


def _loss(logit: Any, marked: Any) -> Any:
    """Return the loss of logits and marks, float32 [N, h, w]: of cells, the hard ones most, and of whole tiles."""
    drawn = tf.cast(marked > SHOWN, tf.float32)
    clean = tf.cast(tf.equal(marked, 0.0), tf.float32)
    of_cell = tf.nn.sigmoid_cross_entropy_with_logits(labels=drawn, logits=logit)
    of_cell *= tf.stop_gradient(tf.abs(drawn - tf.sigmoid(logit)))
    cells = tf.reduce_sum(of_cell * drawn) / (tf.reduce_sum(drawn) + 1)
    cells += _CLEAN_WEIGHT * tf.reduce_sum(of_cell * clean) / (tf.reduce_sum(clean) + 1)
    known = tf.where(marked < 0, -1e3, logit)
    top = tf.reduce_logsumexp(_STEEP * known, axis=(1, 2)) / _STEEP
    labels = tf.reduce_max(drawn, axis=(1, 2))
    return cells + tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=top))


def _tops(net: Any, tiles: DrawnTiles, own: Any) -> Float32:
    tops = []
    for first in range(0, len(own), _BATCH):
        some = own[first : first + _BATCH]
        near, deep = (tf.cast(each[some], tf.float32) for each in (tiles.near, tiles.deep))
        answered = net([near, deep], training=False).numpy()[..., 0]
        tops.append(np.where(tiles.marked[some] < 0, -np.inf, answered).max(axis=(1, 2)))
    return np.concatenate([np.zeros(0, np.float32), *tops])


def _head(net: Any, tiles: DrawnTiles, weight: float) -> DrawnHead:
    """Take whitening and first layer together, and the recipe's weight into the last."""
    kernels = [layer.get_weights() for layer in net.layers if isinstance(layer, layers.Conv2D)]
    (first, bias), *further, (last, shift) = kernels
    taps, begin = [], 0
    for tap, axes, mean in zip(TAPS, tiles.axes, tiles.means, strict=True):
        kernel = axes @ first[0, 0, begin : begin + axes.shape[1]]
        begin += axes.shape[1]
        bias = bias - mean @ kernel
        side = 2 if tap == TAPS[0] else 1
        taps.append(np.ascontiguousarray(kernel.reshape(side, side, -1, kernel.shape[-1])))
    after = tuple((kernel, own) for kernel, own in (*further, (weight * last, weight * shift)))
    return DrawnHead(tuple(taps), np.asarray(bias, np.float32), after)
