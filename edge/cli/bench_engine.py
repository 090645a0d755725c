"""The times of an engine on this machine: per batch size, alone and with two batches under way.

The tiles are those of the bundle's golden frames, else noise. OpenVINO in bf16 looks twice at what is in doubt; any
other engine is as fast on any picture. Latency is from `submit` to the end of `collect`, one batch at a time. The rate
is that of the line's own way of working, two batches under way.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edge.app import make_limited_engine
from edge.bundle import Bundle
from edge.engines.device import Vendor
from edge.errors import SettingsError
from edge.inspection.golden import golden_tiles
from edge.protocols import Engine
from edge.records import Batch, Float32, Ticket, UInt8
from edge.settings import EngineSettings

_WARM_UP = 3
_BATCHES_AT_LEAST = 10
_UNDER_WAY = 2


@dataclass(frozen=True)
class Timing:
    """One way of running an engine at one batch size. `median_ms`, `p95_ms`: of `batches` single batches."""

    engine: str
    batch: int
    batches: int
    median_ms: float
    p95_ms: float
    tiles_per_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return asdict(self)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0-1) of all are not above (nearest rank).

    >>> percentile([4.0, 1.0, 3.0, 2.0], 0.5), percentile([4.0, 1.0, 3.0, 2.0], 0.95)
    (2.0, 4.0)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def ways(settings: EngineSettings) -> list[tuple[str, EngineSettings]]:
    """List the ways of running the settings' engine that are worth comparing, by their names."""
    if settings.backend != "tensorrt":
        return [(f"{settings.backend} {settings.precision}".removesuffix(" auto"), settings)]
    return [
        (
            f"tensorrt {settings.precision} {memory}{' graphs' if graphs else ''}",
            settings.model_copy(update={"memory": memory, "cuda_graphs": graphs}),
        )
        for memory in ("copied", "mapped")
        for graphs in (False, True)
    ]


def bench(
    settings: EngineSettings,
    bundle: Bundle,
    sizes: Sequence[int],
    seconds: float,
    vendor: Vendor | None = None,
) -> Iterator[Timing]:
    """Measure every way of running an engine at every batch size, for `seconds` each, and yield what came.

    Raises SettingsError for no size, or one below 1.
    """
    if not sizes or min(sizes) < 1:
        raise SettingsError(f"--batch: expected sizes of 1 and more, such as 1,2,4; received {list(sizes)}")
    thresholds = np.array([entry.threshold for entry in bundle.classes], np.float32)
    tiles = golden_tiles(bundle)
    for name, way in ways(settings.model_copy(update={"batch": max(sizes)})):
        with make_limited_engine(way, bundle, vendor=vendor) as engine:
            for size in sizes:
                yield _measure(name, engine, size, seconds, thresholds=thresholds, tiles=tiles)


def fastest(timings: Sequence[Timing]) -> Timing:
    """Return the way with the lowest median at the largest batch."""
    largest = max(timing.batch for timing in timings)
    return min((timing for timing in timings if timing.batch == largest), key=lambda timing: timing.median_ms)


def _measure(name: str, engine: Engine, size: int, seconds: float, *, thresholds: Float32, tiles: UInt8) -> Timing:
    if not len(tiles):
        tiles = np.random.default_rng(0).integers(0, 256, engine.buffer().tiles.shape, np.uint8)
    first = itertools.count(step=size)

    def filled() -> Batch:
        batch, begin = engine.buffer(), next(first)
        np.take(tiles, range(begin, begin + size), axis=0, mode="wrap", out=batch.tiles[:size])
        return batch

    for _ in range(_WARM_UP):
        engine.collect(engine.submit(filled(), size, thresholds))
    times_s: list[float] = []
    ends_s = time.perf_counter() + seconds / 2
    while time.perf_counter() < ends_s or len(times_s) < _BATCHES_AT_LEAST:
        batch = filled()
        begun_s = time.perf_counter()
        engine.collect(engine.submit(batch, size, thresholds))
        times_s.append(time.perf_counter() - begun_s)
    rate = _rate(engine, size, seconds / 2, thresholds)
    median_s, p95_s = percentile(times_s, 0.5), percentile(times_s, 0.95)
    return Timing(name, size, len(times_s), median_s * 1000, p95_s * 1000, rate)


def _rate(engine: Engine, size: int, seconds: float, thresholds: Float32) -> float:
    """Return tiles per second with two batches under way, as a line has them; nothing is cut meanwhile."""
    under_way: deque[Ticket] = deque()
    done, begun_s = 0, time.perf_counter()
    while time.perf_counter() - begun_s < seconds or done < _BATCHES_AT_LEAST:
        if len(under_way) == _UNDER_WAY:
            engine.collect(under_way.popleft())
            done += 1
        under_way.append(engine.submit(engine.buffer(), size, thresholds))
    rate = done * size / max(time.perf_counter() - begun_s, 1e-9)
    for ticket in under_way:
        engine.collect(ticket)
    return rate
