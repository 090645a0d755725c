"""The only caller of one engine: tiles of all views that use it share batches.

A batch goes when it is full or its oldest tile has waited for `max_wait_s`. It goes, too, when the engine has nothing
to do. Tiles keep the order in which frames came. Views with other thresholds never share a batch, for an engine takes
one set of thresholds a batch.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge.engines.answers import checked
from edge.errors import BundleError, EngineError
from edge.inspection.inference import FrameJob
from edge.inspection.tiling import TilePlan, cut_sequence, pad, plan, stitch
from edge.protocols import Engine
from edge.records import Cell, DefectMap, Float32, Maps, PreparedFrame, Ticket, TileRef, UInt8

_PLANS_AT_MOST = 64  # frames that are cropped around a product come in many sizes
_IDLE_S = 0.5
_JOIN_S = 5.0


class SharedJob(FrameJob):
    """One frame on its way: `answer` is set once `waiting` has come to 0. `padded`: what its tiles are cut from."""

    def __init__(self, prepared: PreparedFrame, padded: list[UInt8], tiles: TilePlan) -> None:
        super().__init__(prepared, tiles)
        self.padded = padded
        self.answer: Future[DefectMap] = Future()


@dataclass(frozen=True)
class _Tile:
    job: SharedJob
    cell: Cell
    since_s: float


@dataclass(frozen=True)
class BatcherCounts:
    """Counts of one engine: `batches`, `tiles`, and `full` batches."""

    batches: int = 0
    tiles: int = 0
    full: int = 0


class Batcher:
    """Answers prepared frames of any view with one engine, in a thread of its own.

    `overlap_px`: of neighbouring tiles. `max_wait_s`: the longest that a tile waits for others while the engine works.
    A thread that ended by an error answers everything with that error. Raises BundleError where a model of one answer
    per tile is to overlap its tiles.
    """

    def __init__(
        self,
        engine: Engine,
        overlap_px: int,
        max_wait_s: float = 0.005,
        monotonic_s: Callable[[], float] = time.monotonic,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        contract = engine.contract
        if overlap_px and contract.stride >= min(contract.tile_height, contract.tile_width):
            raise BundleError(
                f"The model gives one answer per tile of {contract.stride} px; expected a bundle whose tile.overlap_px "
                f"is 0, received {overlap_px}. Train it again with tile: {{overlap_px: 0}}"
            )
        self._engine, self._overlap_px, self._max_wait_s = engine, overlap_px, max_wait_s
        self._monotonic_s, self._alive = monotonic_s, alive
        self._plans: dict[tuple[int, int], TilePlan] = {}
        self._waiting: dict[bytes, deque[_Tile]] = {}
        self._in_flight: deque[tuple[Ticket, list[_Tile], Float32]] = deque()
        self._at_work: list[_Tile] = []  # neither waiting nor in flight
        self._changed = threading.Condition()
        self._stopped = False
        self._failure: EngineError | None = None
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self.counts = BatcherCounts()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join(_JOIN_S)

    def infer(self, prepared: PreparedFrame, thresholds: Float32) -> SharedJob:
        """Accept a frame from any thread. `thresholds`: float32 [K], probabilities in id order.

        The job's answer gives the stitched map, or raises EngineError. Frames of one view are answered in their order.
        """
        tiles = self._plan_for(*prepared.pixels.shape[:2])
        job = SharedJob(prepared, [pad(pixels, tiles) for pixels in self._sequence(prepared)], tiles)
        now_s = self._monotonic_s()
        with self._changed:
            if self._failure is not None or self._stopped:
                job.answer.set_exception(self._failure or EngineError("the engine was closed"))
                return job
            queue = self._waiting.setdefault(thresholds.tobytes(), deque())
            queue.extend(_Tile(job, cell, now_s) for cell in tiles.cells)
            self._changed.notify_all()
        return job

    def _plan_for(self, height: int, width: int) -> TilePlan:
        key = (height, width)
        found = self._plans.get(key)
        if found is None:
            contract = self._engine.contract
            tile = (contract.tile_height, contract.tile_width)
            found = plan(height, width, tile, self._overlap_px, contract.stride)
            with self._changed:
                if len(self._plans) >= _PLANS_AT_MOST:
                    del self._plans[next(iter(self._plans))]  # the oldest
                self._plans[key] = found
        return found

    def _sequence(self, prepared: PreparedFrame) -> list[UInt8]:
        """List as many prepared pictures as the model takes, oldest first; the oldest is repeated where some lack."""
        count = self._engine.contract.frames
        known = [*prepared.earlier, prepared.pixels][-count:]
        return known[:1] * (count - len(known)) + known

    def _run(self) -> None:
        try:
            while self._turn():
                self._alive()
        except Exception as error:  # noqa: BLE001 - whoever waits for an answer must be told, whatever went wrong
            self._end(EngineError(f"the batcher failed: {error!r}"))
        else:
            self._end(EngineError("the engine was closed"))

    def _turn(self) -> bool:
        """Submit a batch, or else wait for the engine or for tiles; tell whether to go on."""
        with self._changed:
            taken = self._take()
            if taken is None and not self._in_flight:
                if self._stopped:
                    return False
                self._changed.wait(_IDLE_S)
                taken = self._take()
        if taken is not None:
            self._submit(*taken)
        elif self._in_flight:
            self._collect()
        return True

    def _take(self) -> tuple[Float32, list[_Tile]] | None:
        """Take the tiles of the next batch, if one is to go now; the lock is held."""
        if len(self._in_flight) >= self._engine.at_once or self._stopped:
            return None
        largest, now_s = self._engine.contract.max_batch, self._monotonic_s()
        due = [
            (queue[0].since_s, key)
            for key, queue in self._waiting.items()
            if queue and (len(queue) >= largest or not self._in_flight or now_s - queue[0].since_s >= self._max_wait_s)
        ]
        if not due:
            return None
        key = min(due)[1]
        queue = self._waiting[key]
        tiles = [queue.popleft() for _ in range(min(largest, len(queue)))]
        if not queue:
            del self._waiting[key]
        return np.frombuffer(key, np.float32).copy(), tiles  # OpenVINO takes none that cannot be written

    def _submit(self, thresholds: Float32, tiles: list[_Tile]) -> None:
        self._at_work = tiles
        batch = self._engine.buffer()
        for place, tile in zip(batch.tiles, tiles, strict=False):
            cut_sequence(tile.job.padded, tile.job.tiles, tile.cell, place)
            frame = tile.job.prepared.frame
            batch.refs.append(TileRef(frame.camera, frame.index, tile.cell))
        full = len(tiles) == self._engine.contract.max_batch
        counted = self.counts
        self.counts = BatcherCounts(counted.batches + 1, counted.tiles + len(tiles), counted.full + full)
        try:
            ticket = self._engine.submit(batch, len(tiles), thresholds)
        except EngineError as error:
            _fail(tiles, error)
        else:
            self._in_flight.append((ticket, tiles, thresholds))

    def _collect(self) -> None:
        ticket, tiles, thresholds = self._in_flight.popleft()
        self._at_work = tiles
        try:
            maps = checked(self._engine.collect(ticket), len(tiles), self._engine.contract, thresholds)
        except EngineError as error:
            _fail(tiles, error)
            return
        _stitch(maps, tiles)

    def _end(self, error: EngineError) -> None:
        """Answer all that waits with an error; later frames get it at once."""
        with self._changed:
            self._failure = error
            left = [tile for queue in self._waiting.values() for tile in queue]
            self._waiting.clear()
        _fail([*self._at_work, *(tile for _, tiles, _ in self._in_flight for tile in tiles), *left], error)
        self._in_flight.clear()


class SharedInference:
    """The frames of one view, answered by a batcher that other views use as well. `thresholds`: K, in id order."""

    def __init__(self, batcher: Batcher, thresholds: Sequence[float]) -> None:
        self._batcher = batcher
        self._thresholds: Float32 = np.array(thresholds, np.float32)

    def begin(self, frames: Sequence[PreparedFrame]) -> list[FrameJob]:
        """Hand the frames to the batcher; `finish` each job later."""
        return [self._batcher.infer(frame, self._thresholds) for frame in frames]

    def finish(self, job: FrameJob) -> DefectMap:
        """Wait until every tile of a job has been answered, and return its map. Raises EngineError."""
        assert isinstance(job, SharedJob)  # noqa: S101 - it came from `begin`
        error = job.answer.exception()
        if error is not None:
            raise copy(error)  # its traceback would hold the job, which holds it: no frame waits for the collector
        return job.answer.result()


def _stitch(maps: Maps, tiles: list[_Tile]) -> None:
    for place, tile in enumerate(tiles):
        job = tile.job
        stitch(maps.classes[place], maps.scores[place], job.tiles, tile.cell, job.map)
        job.waiting -= 1
        if not job.waiting and not job.answer.done():
            job.answer.set_result(job.map)


def _fail(tiles: list[_Tile], error: EngineError) -> None:
    """Fail the frames of a batch; the frames of other batches are good."""
    error.with_traceback(None)  # which would hold the tiles
    for tile in tiles:
        tile.job.waiting -= 1
        if not tile.job.answer.done():
            tile.job.answer.set_exception(error)
