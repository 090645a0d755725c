"""Prepared frames of one or many cameras → batches → engine → stitched maps.

At most two batches are under way, so that the next tiles are cut while the engine works. Answers are taken in the order
of submission, whatever finishes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import copy
from typing import Protocol

import numpy as np

from edge.engines.answers import checked
from edge.errors import BundleError, EngineError
from edge.inspection.tiling import TilePlan, canvas, cut_sequence, pad, plan, stitch
from edge.protocols import Engine
from edge.records import Batch, DefectMap, Float32, PreparedFrame, Ticket, TileRef, UInt8

# Frames that are cropped around a product come in many sizes; so many tilings are remembered.
_PLANS_AT_MOST = 64


class FrameJob:
    """One frame on its way through the engine; `map` is complete once `waiting` has come to 0."""

    def __init__(self, prepared: PreparedFrame, tiles: TilePlan) -> None:
        self.prepared = prepared
        self.tiles = tiles
        self.map: DefectMap = canvas(tiles)
        self.waiting = len(tiles.cells)
        self.error: EngineError | None = None


class Infers(Protocol):
    """Answers prepared frames: `begin` and `finish` as of `Inference`."""

    def begin(self, frames: Sequence[PreparedFrame]) -> list[FrameJob]:
        """Begin frames; `finish` each job later."""
        ...

    def finish(self, job: FrameJob) -> DefectMap:
        """Wait for a job's map. Raises EngineError."""
        ...


class Inference:
    """Feeds an engine with frames of any size and stitches its answers.

    `thresholds`: probability per class, in id order, K of them. `overlap_px`: of neighbouring tiles. A model of several
    frames is given a frame with its earlier ones. The oldest is repeated where there are too few. Raises BundleError
    where a model of one answer per tile is to overlap its tiles.
    """

    def __init__(self, engine: Engine, thresholds: Sequence[float], overlap_px: int) -> None:
        contract = engine.contract
        if overlap_px and contract.stride >= min(contract.tile_height, contract.tile_width):
            raise BundleError(
                f"The model gives one answer per tile of {contract.stride} px; expected a bundle whose tile.overlap_px "
                f"is 0, received {overlap_px}. Train it again with tile: {{overlap_px: 0}}"
            )
        self._engine = engine
        self._thresholds: Float32 = np.array(thresholds, np.float32)
        self._overlap_px = overlap_px
        self._plans: dict[tuple[int, int], TilePlan] = {}
        self._in_flight: deque[tuple[Ticket, list[tuple[FrameJob, TileRef]]]] = deque()

    def plan_for(self, height: int, width: int) -> TilePlan:
        """Return the (remembered) tiling of prepared frames of this size."""
        key = (height, width)
        if key not in self._plans:
            if len(self._plans) >= _PLANS_AT_MOST:
                del self._plans[next(iter(self._plans))]  # the oldest
            contract = self._engine.contract
            self._plans[key] = plan(
                height, width, (contract.tile_height, contract.tile_width), self._overlap_px, contract.stride
            )
        return self._plans[key]

    def begin(self, frames: Sequence[PreparedFrame]) -> list[FrameJob]:
        """Cut the frames into batches, which they share, and start the engine on them; `finish` each job later."""
        jobs = [FrameJob(frame, self.plan_for(*frame.pixels.shape[:2])) for frame in frames]
        batch: Batch | None = None
        members: list[tuple[FrameJob, TileRef]] = []
        for job in jobs:
            padded = [pad(pixels, job.tiles) for pixels in self._sequence(job.prepared)]
            for cell in job.tiles.cells:
                if batch is None:
                    batch, members = self._next_buffer(), []
                place = batch.tiles[len(members)]
                cut_sequence(padded, job.tiles, cell, place)
                ref = TileRef(job.prepared.frame.camera, job.prepared.frame.index, cell)
                batch.refs.append(ref)
                members.append((job, ref))
                if len(members) == self._engine.contract.max_batch:
                    self._submit(batch, members)
                    batch = None
        if batch is not None:
            self._submit(batch, members)
        return jobs

    def finish(self, job: FrameJob) -> DefectMap:
        """Wait until every tile of a job has been answered, and return its map. Raises EngineError."""
        while job.waiting:
            self._collect_oldest()
        if job.error is not None:
            raise copy(job.error)  # its traceback would hold the job, which holds it
        return job.map

    def _sequence(self, prepared: PreparedFrame) -> list[UInt8]:
        """List as many prepared pictures as the model takes, oldest first."""
        count = self._engine.contract.frames
        known = [*prepared.earlier, prepared.pixels][-count:]
        return known[:1] * (count - len(known)) + known

    def _next_buffer(self) -> Batch:
        while len(self._in_flight) >= self._engine.at_once:
            self._collect_oldest()
        return self._engine.buffer()

    def _submit(self, batch: Batch, members: list[tuple[FrameJob, TileRef]]) -> None:
        try:
            ticket = self._engine.submit(batch, len(members), self._thresholds)
        except EngineError as error:
            _fail(members, error)
        else:
            self._in_flight.append((ticket, members))

    def _collect_oldest(self) -> None:
        ticket, members = self._in_flight.popleft()
        try:
            maps = checked(self._engine.collect(ticket), len(members), self._engine.contract, self._thresholds)
        except EngineError as error:
            _fail(members, error)
            return
        for place, (job, ref) in enumerate(members):
            stitch(maps.classes[place], maps.scores[place], job.tiles, ref.cell, job.map)
            job.waiting -= 1


def _fail(members: Sequence[tuple[FrameJob, TileRef]], error: EngineError) -> None:
    """Note a failure with the frames of its batch; it is not that of the frame that happens to wait."""
    error.with_traceback(None)  # which would hold the frames
    for job, _ in members:
        job.error = error
        job.waiting -= 1
