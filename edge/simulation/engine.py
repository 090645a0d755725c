"""An engine that knows the simulated line's truth and answers at a set speed: for tests of everything behind it."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import Self

from edge.engines.answers import checked
from edge.errors import EngineError
from edge.records import Batch, Float32, GraphContract, Maps, Ticket, UInt8
from edge.simulation.rendering import CLASS_NAMES
from edge.yaml_settings import StrictModel

_AT_ONCE = 2
# The true class map, uint8 [H, W], of a camera's frame, by the camera's name and the frame's index.
Truth = Callable[[str, int], UInt8]


class SimulatedFault(StrictModel):
    """A fault of the simulated engine: from the batch after `after_batches` on, `batches` times (0 = always).

    `hangs` does not answer for `hangs_s` seconds (0 = for ever), `fails` raises. The others answer what no model may: a
    class that the bundle lacks, a map of one cell, or too few tiles. Or they answer numbers of another kind, NaN, and a
    class without the probability that it needs.
    """

    kind: Literal[
        "hangs", "fails", "unknown_class", "small_map", "few_tiles", "floats", "not_a_number", "no_probability"
    ]
    after_batches: Annotated[int, Field(ge=0)] = 0
    batches: Annotated[int, Field(ge=0)] = 0
    hangs_s: Annotated[float, Field(ge=0)] = 0.0

    def strikes(self, batch: int) -> bool:
        """Tell whether the batch of this number, from 0, is answered wrongly."""
        return batch >= self.after_batches and not 0 < self.batches <= batch - self.after_batches

    def spoil(self, maps: Maps) -> Any:
        """Return what is answered in the place of `maps`; not at all, or late, where it hangs."""
        classes, scores = maps.classes, maps.scores
        if self.kind == "hangs":
            threading.Event().wait(self.hangs_s or None)
            return maps
        if self.kind == "fails":
            raise EngineError("The simulated engine fails, as it was told to")
        return {
            "unknown_class": lambda: Maps(np.full_like(classes, 255), np.full_like(scores, 255)),
            "small_map": lambda: Maps(classes[:, :1, :1], scores[:, :1, :1]),
            "few_tiles": lambda: Maps(classes[:-1], scores[:-1]),
            "floats": lambda: Maps(classes.astype(np.float32), scores),
            "not_a_number": lambda: Maps(classes, np.full(scores.shape, np.nan)),
            "no_probability": lambda: Maps(np.ones_like(classes), np.zeros_like(scores)),
        }[self.kind]()


class SimulatedEngine:
    """Answers a tile with the truth of its place: `truth` gives the rendered line's ids.

    A model may number its classes otherwise, so they are matched by name. One that the contract lacks is not answered.
    `tiles_per_s` 0 answers at once. Pixels beyond the frame are clean. The score is 255 wherever there is a defect. A
    class whose threshold is above 1 would not be answered, as in the graph contract. `fault`: what it does wrong.
    """

    at_once = _AT_ONCE

    def __init__(
        self,
        contract: GraphContract,
        truth: Truth,
        tiles_per_s: float = 0.0,
        fault: SimulatedFault | None = None,
    ) -> None:
        self.contract = contract
        self._truth = truth
        self._tiles_per_s = tiles_per_s
        self._fault = fault
        self._serial = itertools.count()
        self._free_at_s = 0.0
        self._open = False
        self._ids: UInt8 = np.zeros(256, np.uint8)
        for truth_id, name in enumerate(CLASS_NAMES, start=1):
            if name in contract.classes:
                self._ids[truth_id] = contract.classes.index(name) + 1
        frames = [contract.frames] if contract.frames > 1 else []
        shape = (contract.max_batch, *frames, contract.tile_height, contract.tile_width, contract.channels)
        self._buffers = itertools.cycle([np.zeros(shape, np.uint8) for _ in range(_AT_ONCE + 1)])

    def __enter__(self) -> Self:
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False

    def buffer(self) -> Batch:
        """Return the next of three buffers, uint8 [B, (T,) H, W, C]."""
        return Batch(next(self._buffers))

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Look the truth up now; the answer is due when the set speed allows."""
        if not self._open:
            raise EngineError("The simulated engine is closed; open it with `with` before submitting tiles")
        c = self.contract
        classes: UInt8 = np.zeros((count, c.tile_height, c.tile_width), np.uint8)
        for place, ref in enumerate(batch.refs[:count]):
            truth = self._truth(ref.camera, ref.frame)
            seen = truth[ref.cell.y : ref.cell.y + c.tile_height, ref.cell.x : ref.cell.x + c.tile_width]
            classes[place, : seen.shape[0], : seen.shape[1]] = seen
        answered = np.concatenate([[0], np.arange(1, len(thresholds) + 1) * (thresholds <= 1)]).astype(np.uint8)
        classes = answered[self._ids[classes]]
        if self._tiles_per_s:
            self._free_at_s = max(self._free_at_s, time.monotonic()) + count / self._tiles_per_s
        cells = classes[:, :: c.stride, :: c.stride]
        maps = Maps(cells, np.where(cells > 0, 255, 0).astype(np.uint8))
        return Ticket(next(self._serial), count, (maps, self._free_at_s, thresholds))

    def collect(self, ticket: Ticket) -> Maps:
        """Return a ticket's maps, uint8 [count, h, w] each, once they are due."""
        maps, due_s, thresholds = ticket.token
        time.sleep(max(0.0, due_s - time.monotonic()))
        if self._fault is not None and self._fault.strikes(ticket.serial):
            maps = self._fault.spoil(maps)
        return checked(maps, ticket.count, self.contract, thresholds)
