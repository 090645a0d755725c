"""The original as it was given, behind the Engine seam, and what it was seen to answer."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from converters.foreign.nets import Net
from converters.foreign.understanding import Reading
from edge.errors import ContractError, ConversionError
from edge.records import Batch, Float32, GraphContract, Maps, Ticket, UInt8
from trainer.evaluation.keras_engine import KerasEngine, head

_BUFFERS = 3
# Rounding of another runtime, or of halves; a net that answers 1.02 answers no probabilities.
_BEYOND = 1e-3
# The effect of another batch on a probability: other orders of summing. Statistics of a batch do far more.
_UNSTEADY = 1e-2
_UNSTEADY_CELLS = 1e-3  # the share of a tile's cells


@dataclass
class Seen:
    """The least and the greatest that a net answered for each class, float32 [K]; empty before it answered."""

    least: Float32 = field(default_factory=lambda: np.empty(0, np.float32))
    greatest: Float32 = field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def ranges(self) -> list[tuple[float, float]]:
        """Least and greatest, class by class."""
        return [(float(low), float(high)) for low, high in zip(self.least, self.greatest, strict=True)]

    def add(self, probabilities: Float32) -> None:
        """Take in float32 [N, h, w, K]."""
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        least, greatest = flat.min(axis=0), flat.max(axis=0)
        self.least = np.minimum(self.least, least) if self.least.size else least
        self.greatest = np.maximum(self.greatest, greatest) if self.greatest.size else greatest


class OriginalEngine:
    """Answers tiles with a net as it was given, by its own runtime, with the contract's head in numpy."""

    at_once = 2

    def __init__(self, net: Net, reading: Reading, contract: GraphContract) -> None:
        self.contract = contract
        self.seen = Seen()
        self._net = net
        self._reading = reading
        self._serial = itertools.count()
        frames = [contract.frames] if contract.frames > 1 else []
        shape = (contract.max_batch, *frames, contract.tile_height, contract.tile_width, contract.channels)
        self._buffers = itertools.cycle([np.zeros(shape, np.uint8) for _ in range(_BUFFERS)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def buffer(self) -> Batch:
        """Return the next of three buffers, uint8 [B, (T,) H, W, C]."""
        return Batch(next(self._buffers))

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Answer at once; `collect` only hands the maps over."""
        answer = self.probabilities(batch.tiles[:count])
        return Ticket(next(self._serial), count, head(answer, thresholds))

    def collect(self, ticket: Ticket) -> Maps:
        """Return a ticket's maps, uint8 [count, h, w] each."""
        maps: Maps = ticket.token
        return maps

    def probabilities(self, tiles: UInt8) -> Float32:
        """Return float32 [N, h, w, K] for uint8 [N, (T,) H, W, C]. Raises EngineError."""
        answer = self._reading.probabilities(self._net.run(self._reading.feed(tiles)))
        self.seen.add(answer)
        return answer


class WatchedKerasEngine(KerasEngine):
    """A `model.keras` of the trainer, which notes what it answers."""

    def __init__(self, model: Path | Any, contract: GraphContract) -> None:
        super().__init__(model, contract)
        self.seen = Seen()

    def probabilities(self, tiles: UInt8) -> Float32:
        """Return float32 [N, h, w, K] for uint8 [N, (T,) H, W, C]."""
        answer = super().probabilities(tiles)
        self.seen.add(answer)
        return answer


_REFERENCE_BYTES_AT_MOST = 1 << 31
_PER_CENT = 20.0  # of answers from 0 on, too large for logits


def check_probabilities(path: Path, seen: Seen, reading: Reading) -> None:
    """Raise ContractError, with the flag that mends it, where a net answered anything outside of 0 to 1.

    A value that is no number is told elsewhere, with the node that it comes from.
    """
    if not (np.isfinite(seen.least).all() and np.isfinite(seen.greatest).all()):
        return
    least, greatest = float(seen.least.min(initial=0)), float(seen.greatest.max(initial=0))
    if least >= -_BEYOND and greatest <= 1 + _BEYOND:
        return
    several = reading.expects.background is not None
    if reading.expects.activation != "none":
        mend = "Take another --activation"
    elif least >= -1 - _BEYOND and least < -_BEYOND and greatest <= 1 + _BEYOND:
        mend = (
            "They may come of a tanh, which no flag undoes: export the net with a sigmoid in its place. If they are "
            "logits give --activation sigmoid"
        )
    elif least >= -_BEYOND and greatest > _PER_CENT:
        mend = "They may be probabilities of 0 to 100 or 255: export the net with a division by that behind it"
    elif several:
        mend = "They look like logits: give --activation softmax (one class per pixel) or sigmoid (each for itself)"
    else:
        mend = "They look like logits: give --activation sigmoid"
        if reading.classes > 1:
            mend += ", or softmax where exactly one of the classes holds for each pixel"
    raise ContractError(
        f"{path} answers {least:.4g} to {greatest:.4g} on these pictures: expected probabilities from 0 to 1. {mend}"
    )


def check_steady(path: Path | str, answer: Callable[[UInt8], Float32], tiles: UInt8) -> None:
    """Measure that a tile is answered alike alone, again, and beside others. Raises ContractError where it is not.

    `tiles`: uint8 [N, (T,) H, W, C] of real pictures. Normalisation by the batch's own statistics shows here.
    """
    first = tiles[:1]
    others = tiles[1:4] if len(tiles) > 1 else np.concatenate([255 - first, np.flip(first, axis=-2)])
    alone = answer(first)
    again = np.abs(answer(first) - alone)
    if _unsteady(again):
        raise ContractError(
            f"{path} answers one tile in two ways, {again.max():.2g} apart: noise or dropout is left on. Save it for "
            "inference: model.eval() in PyTorch, training=False in Keras"
        )
    for other in (others, 255 - others):
        beside = np.abs(answer(np.concatenate([first, other]))[:1] - alone)
        if _unsteady(beside):
            raise ContractError(
                f"{path} answers one tile in two ways, {beside.max():.2g} apart: what else is in the batch decides. "
                "Its normalisation is left in training mode. Save it for inference: model.eval() in PyTorch, and in "
                "Keras no layer called with training=True"
            )


def _unsteady(difference: Float32) -> bool:
    """Tell whether more than rounding differs: a single cell at a threshold may."""
    return float(np.mean(difference > _UNSTEADY)) > _UNSTEADY_CELLS


def arrays_of(reference: Path) -> dict[str, Any]:
    """Read an .npz of numbers. Raises ContractError for any other file, and for numbers that prove nothing."""
    try:
        with zipfile.ZipFile(reference) as packed:
            unfolded = sum(each.file_size for each in packed.infolist())
        if unfolded > _REFERENCE_BYTES_AT_MOST:
            raise ContractError(
                f"{reference} unfolds into {unfolded / 1e9:.1f} GB: expected at most "
                f"{_REFERENCE_BYTES_AT_MOST / 1e9:.1f} GB. Give the answers to fewer pictures"
            )
        with np.load(reference, allow_pickle=False) as opened:
            known = {name: opened[name] for name in opened.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ContractError(f"{reference} cannot be read: {error}. Expected an .npz that numpy.savez wrote") from error
    for name, values in known.items():
        if not np.issubdtype(values.dtype, np.number) or not np.isfinite(values).all():
            raise ContractError(
                f"{reference}: {name} holds what is no finite number, which agrees with anything. Expected the net's "
                "answers as numbers"
            )
    if "inputs" in known and known["inputs"].dtype != np.uint8:
        raise ContractError(
            f"{reference}: expected `inputs` as uint8, pixels as the line prepares them, received "
            f"{known['inputs'].dtype}. Give the tiles before anything is divided or subtracted"
        )
    return known


def check_reference(
    reference: Path, answers: Sequence[tuple[str, UInt8]], converted: Callable[[UInt8], Float32], reading: Reading
) -> dict[str, Any]:
    """Compare what somebody else's runtime answered, an .npz, with the converted graph; return the figures.

    The file holds one of two things.

    - `inputs`, uint8 [N, (T,) H, W, C] tiles as the line prepares them (BGR or grey), and `outputs`, the net's own
      answers to them.
    - One array per picture under the picture's file name: the net's answer to that picture, which is as large as a
      tile.

    `answers`: name and tile, uint8 [(T,) H, W, C], of such pictures. `converted`: the graph's probabilities for tiles.
    Raises ContractError for a file that does not fit. Raises ConversionError where a probability differs by more than
    0.01 in more than 0.1 % of the cells.
    """
    tiles, raw = _tiles_and_answers(arrays_of(reference), reference, answers)
    try:
        difference = _apart(tiles, raw, converted, reading)
    except (ValueError, IndexError, TypeError) as error:
        raise ContractError(
            f"{reference} does not fit the net: {error}. Expected its own answers, in its own order of axes"
        ) from error
    share = float(np.mean(difference > 0.01))
    figures = {"tiles": len(tiles), "largest_difference": float(difference.max()), "differing_share": share}
    if share > 0.001:
        raise ConversionError(
            f"The converted graph answers otherwise than {reference}: {share:.1%} of the probabilities differ by "
            f"more than 0.01, at most by {difference.max():.3g}. What the flags say is not what the net was trained "
            "with: look at --input-range, --mean, --std, --colour and --activation"
        )
    return figures


def _tiles_and_answers(
    known: dict[str, Any], reference: Path, answers: Sequence[tuple[str, UInt8]]
) -> tuple[Any, Sequence[Any]]:
    """Return the tiles of a reference and the net's answers, one for each. Raises ContractError where it has none."""
    if {"inputs", "outputs"} <= set(known):
        return known["inputs"], known["outputs"]
    named = {Path(name).stem: values for name, values in known.items()}
    twice = [name for name, _ in answers if sum(Path(name).stem == Path(other).stem for other, _ in answers) > 1]
    if twice:
        raise ContractError(
            f"--data holds several pictures called {Path(twice[0]).stem}: expected names that {reference} can "
            "tell apart"
        )
    pairs = [(tile, named[Path(name).stem]) for name, tile in answers if Path(name).stem in named]
    if not pairs:
        raise ContractError(
            f"{reference} names {', '.join(sorted(known)[:5]) or 'nothing'}: expected `inputs` and `outputs`, or "
            "what the net answered under the file name of each picture of --data that is as large as a tile"
        )
    return np.stack([tile for tile, _ in pairs]), [values for _, values in pairs]


def _apart(tiles: Any, raw: Sequence[Any], converted: Callable[[UInt8], Float32], reading: Reading) -> Float32:
    """Return how far the graph's probabilities are from a reference's. Raises ValueError for one of another shape."""
    rank = _rank(reading)
    own = np.stack([values.reshape(values.shape[max(0, values.ndim - rank) :]) for values in raw])
    expected = reading.probabilities(np.asarray(own, np.float32))
    found = converted(np.ascontiguousarray(tiles, np.uint8))
    if expected.shape != found.shape or not found.size:
        raise ValueError(f"its answers are {expected.shape}, those of the graph {found.shape}")
    difference: Float32 = np.abs(expected - found)
    return difference


def _rank(reading: Reading) -> int:
    """Return the number of axes of the net's answer to one tile."""
    return {"nhwc": 3, "nchw": 3, "nhw": 2, "nk": 1, "n": 0}[reading.answer]
