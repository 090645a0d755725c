"""A `model.keras` behind the Engine seam, with the contract's head in numpy: the reference that conversions keep to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge.engines.answers import checked
from edge.errors import BundleError, EngineError
from edge.inspection.tiling import TilePlan, cut_sequence, pad
from edge.records import Batch, Float32, GraphContract, Maps, Ticket, UInt8
from edge.wording import counted
from trainer.training.quiet_imports import import_quietly

_BUFFERS = 3


def load_model(path: Path) -> Any:
    """Open a model.keras in safe mode. Raises BundleError with Keras's words."""
    import_quietly(("tensorflow", "keras"))
    import keras

    from trainer.models.keras_file import refuse_bombs  # the families beside it import Keras

    try:
        refuse_bombs(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras and zipfile raise exceptions of many kinds
        raise BundleError(
            f"Keras cannot read {path}: {error}. Expected a model written by `linewatch-train fit`; train it again"
        ) from error


def head(probabilities: Float32, thresholds: Float32) -> Maps:
    """Apply the graph contract's head to float32 [N, h, w, K] probabilities and [K] thresholds."""
    ratios = probabilities / thresholds
    best = ratios.argmax(axis=-1)  # the lowest class wins a tie
    defective = ~(ratios.max(axis=-1) < 1)  # as in the graph: a net that answers NaN must never read as clean
    probability = np.take_along_axis(probabilities, best[..., None], axis=-1)[..., 0]
    classes = np.where(defective, best + 1, 0).astype(np.uint8)
    scores = np.nan_to_num(np.where(defective, np.round(probability * np.float32(255)), 0)).astype(np.uint8)
    return Maps(classes, scores)


class KerasEngine:
    """Answers tiles with a Keras model from float32 [N, (T,) H, W, C] (0-255) to probabilities [N, h, w, K]."""

    at_once = 2

    def __init__(self, model: Path | Any, contract: GraphContract) -> None:
        self.contract = contract
        self._source = model
        self._predict: Callable[[Any], Any] | None = None
        self._serial = itertools.count()
        frames = [contract.frames] if contract.frames > 1 else []
        shape = (contract.max_batch, *frames, contract.tile_height, contract.tile_width, contract.channels)
        self._tiles_shape = (None, *shape[1:])
        self._buffers = itertools.cycle([np.zeros(shape, np.uint8) for _ in range(_BUFFERS)])

    def __enter__(self) -> Self:
        import_quietly(("tensorflow",))
        import tensorflow as tf

        model = load_model(self._source) if isinstance(self._source, Path) else self._source
        # traced once for any number of tiles: pictures end in batches of many sizes
        self._predict = tf.function(
            lambda tiles: model(tf.cast(tiles, tf.float32), training=False),
            input_signature=[tf.TensorSpec(self._tiles_shape, tf.uint8)],
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._predict = None

    def buffer(self) -> Batch:
        """Return the next of three buffers, uint8 [B, (T,) H, W, C]."""
        return Batch(next(self._buffers))

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Answer at once; `collect` only hands the maps over."""
        answer = head(self.probabilities(batch.tiles[:count]), thresholds)
        return Ticket(next(self._serial), count, (answer, thresholds))

    def collect(self, ticket: Ticket) -> Maps:
        """Return a ticket's maps, uint8 [count, h, w] each."""
        maps, thresholds = ticket.token
        return checked(maps, ticket.count, self.contract, thresholds)

    def probabilities(self, tiles: UInt8) -> Float32:
        """Return float32 [N, h, w, K] for uint8 [N, (T,) H, W, C]. Raises EngineError with TensorFlow's words."""
        if self._predict is None:
            raise EngineError("The Keras engine is closed; open it with `with` before submitting tiles")
        try:
            answer: Float32 = self._predict(tiles).numpy()
        except Exception as error:  # TensorFlow raises exceptions of many kinds
            raise EngineError(f"TensorFlow failed on {counted(len(tiles), 'tile')}: {error}") from error
        return answer

    def stitched_probabilities(self, pixels: UInt8, tiles: TilePlan, earlier: Sequence[UInt8] = ()) -> Float32:
        """Return float32 [h, w, K] for a whole prepared picture uint8 [H, W, C], stitched as the line stitches maps.

        h and w are of the plan's `map_shape`. `earlier`: the pictures before it, oldest first, for a model of several
        frames. The oldest is shown again where there are too few, as on the line.
        """
        known = [*earlier, pixels][-self.contract.frames :]
        padded = [pad(frame, tiles) for frame in known]
        padded = padded[:1] * (self.contract.frames - len(padded)) + padded
        whole: Float32 = np.empty((*tiles.map_shape, len(self.contract.classes)), np.float32)
        batch = self.buffer().tiles
        s = tiles.stride
        for first in range(0, len(tiles.cells), len(batch)):
            cells = tiles.cells[first : first + len(batch)]
            for place, cell in enumerate(cells):
                cut_sequence(padded, tiles, cell, batch[place])
            for cell, answer in zip(cells, self.probabilities(batch[: len(cells)]), strict=True):
                y0, y1, x0, x1 = (v // s for v in (cell.keep_y0, cell.keep_y1, cell.keep_x0, cell.keep_x1))
                whole[y0:y1, x0:x1] = answer[y0 - cell.y // s : y1 - cell.y // s, x0 - cell.x // s : x1 - cell.x // s]
        return whole
