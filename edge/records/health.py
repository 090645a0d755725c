"""A station's health: its engines, and the device that it runs on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EngineNow:
    """One open engine. `model`: the name and version of what it runs. `asked`: backend and precision of the settings.

    `in_use`: those that run it. `hangs`: whether a call of it does not return. `batches`, `tiles`, and `full` batches:
    since it was opened.
    """

    model: str
    asked: str
    in_use: str
    hangs: bool
    batches: int
    tiles: int
    full: int


@dataclass(frozen=True)
class DeviceNow:
    """The last sight of the device, at `at_ns` of the monotonic clock.

    `free_bytes`, `size_bytes`: of the disk that the store lies on, None where the system does not tell.
    `clock_synced`: None where that is unknown. `clock_jumps`: how often the wall clock jumped since the start;
    `jumped_ns`: when it last did, on the monotonic clock; `jump_s`: by how much.
    """

    at_ns: int
    free_bytes: int | None
    size_bytes: int | None
    clock_synced: bool | None
    clock_jumps: int = 0
    jumped_ns: int | None = None
    jump_s: float = 0.0


@dataclass(frozen=True)
class ModelDriftNow:
    """The distance of one view's passed parts from those that its model of good parts was taught.

    `median`: of the last `scores` ones, None before the first. `low`, `high`: between which it is expected, None while
    the line's own first parts are gathered. `drifted`: whether it is not.
    """

    median: float | None
    low: float | None
    high: float | None
    scores: int
    drifted: bool
