"""The choice of the fastest engine for a model on this machine: measured once, then remembered.

Only engines that see the bundle's golden frames as they were seen at conversion take part. So speed is never paid for
with a defect. The measurement is kept in the user's cache under everything it depends on: the CPU, the versions, the
model, the batch. A cache that cannot be read or written costs the measurement again, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edge.errors import EngineError, LinewatchError, StoreError
from edge.files import cache_home, write_text
from edge.protocols import Engine
from edge.records import Float32, UInt8
from edge.strict_json import read_json

_LOG = logging.getLogger(__name__)
_SCHEMA = "linewatch/engines/2"
_CPUINFO = Path("/proc/cpuinfo")
_PACKAGES = ("onnxruntime", "openvino", "tensorrt", "numpy")
_MEASURE_S = 0.5
_BATCHES_AT_LEAST = 4
_WARM_UP = 2  # batches


class Candidate(NamedTuple):
    """One way of running a model."""

    backend: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.precision}"


@dataclass(frozen=True)
class Choice:
    """The chosen engine. `tiles_per_s`: of all that took part; `refused`: why others did not."""

    candidate: Candidate
    tiles_per_s: Mapping[str, float]
    refused: Mapping[str, str]
    remembered: bool

    def __str__(self) -> str:
        others = [f"{name} {speed:.3g}" for name, speed in self.tiles_per_s.items() if name != str(self.candidate)]
        speed = self.tiles_per_s.get(str(self.candidate))
        return (
            f"engine {self.candidate}"
            + (f": {speed:.3g} tiles/s" if speed else "")
            + (f" ({', '.join(others)})" if others else "")
            + ("; measured before on this machine" if self.remembered else "; measured now")
            + "".join(f"; not {name}: {why}" for name, why in self.refused.items())
        )


def cpu_has_bf16() -> bool:
    """Tell whether the CPU computes in bfloat16 itself: x86 with AVX-512 BF16 or AMX, Arm with BF16."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & _cpu_flags())


def _cpu_flags() -> set[str]:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {flag for line in lines if line.lower().startswith(("flags", "features")) for flag in line.split()}


def machine_key(model_sha256: str, **about: object) -> str:
    """Return a digest of the machine, the versions, the model and `about`: what a measurement depends on."""
    facts = {
        "machine": platform.machine(),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "versions": {package: _version(package) for package in _PACKAGES},
        "model": model_sha256,
        **about,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def cpu_name() -> str:
    """Return the CPU's own name, else the machine's name."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.node())


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def cache_file() -> Path | None:
    """Return where choices are remembered: in $XDG_CACHE_HOME, else ~/.cache; None where there is neither."""
    home = cache_home()
    return home and home / "linewatch" / "engines.json"


def choose(
    openers: Mapping[Candidate, Callable[[], Engine]],
    key: str,
    accept: Callable[[Engine], str],
    thresholds: Float32,
    cache: Path | None,
    *,
    tiles: Callable[[], UInt8] | None = None,
) -> Choice:
    """Return the fastest candidate, by `cache` or else by measuring each; the log says which and why.

    `accept` is asked of each open engine why it must not be used; "" lets it take part. `thresholds`: float32 [K].
    `tiles`: gives what to measure on, uint8 [N, (T,) H, W, C]; noise if there are none. Raises the last candidate's
    error where none can be used.
    """
    choice = _remembered(cache, key, openers) if cache else None
    if choice is None:
        choice = _measured(openers, accept, thresholds, tiles() if tiles else None)
        if cache:
            _remember(cache, key, choice)
        else:
            _LOG.warning("No home folder, so the next start measures again. Name one that can be written in HOME")
    _LOG.info("%s", choice)
    return choice


def _measured(
    openers: Mapping[Candidate, Callable[[], Engine]],
    accept: Callable[[Engine], str],
    thresholds: Float32,
    tiles: UInt8 | None,
) -> Choice:
    speeds: dict[Candidate, float] = {}
    refused: dict[str, str] = {}
    last: LinewatchError | None = None
    for candidate, opener in openers.items():
        try:
            with opener() as engine:
                why = accept(engine)
                if not why:
                    speeds[candidate] = tiles_per_s(engine, thresholds, tiles)
        except LinewatchError as error:
            why, last = str(error), error
        if why:
            refused[str(candidate)] = why
    if not speeds:
        if last is not None:
            raise last
        raise EngineError(f"No engine sees the golden frames as they were seen: {refused}. Convert the bundle again")
    best = max(speeds, key=lambda candidate: speeds[candidate])
    return Choice(best, {str(each): speed for each, speed in speeds.items()}, refused, remembered=False)


def tiles_per_s(engine: Engine, thresholds: Float32, tiles: UInt8 | None = None, seconds: float = _MEASURE_S) -> float:
    """Measure an open engine, two batches under way, for about `seconds`, on `tiles` in turn or on noise."""
    count = engine.contract.max_batch
    if tiles is None or not len(tiles):
        tiles = np.random.default_rng(0).integers(0, 256, engine.buffer().tiles.shape, np.uint8)
    # whole turns of the tiles: an engine that looks twice at some of them is slow for those batches only
    turn = max(1, len(tiles) // count)
    waiting: list[Any] = []
    submitted = 0
    ends_s = begun_s = time.perf_counter()
    while submitted < _WARM_UP + _BATCHES_AT_LEAST or (submitted - _WARM_UP) % turn or ends_s - begun_s < seconds:
        if submitted == _WARM_UP:
            begun_s = time.perf_counter()
        batch = engine.buffer()
        first = submitted * count
        np.take(tiles, range(first, first + count), axis=0, mode="wrap", out=batch.tiles)
        waiting.append(engine.submit(batch, count, thresholds))
        submitted += 1
        if len(waiting) == 2:
            engine.collect(waiting.pop(0))
        ends_s = time.perf_counter()
    for ticket in waiting:
        engine.collect(ticket)
    return count * (submitted - _WARM_UP) / (time.perf_counter() - begun_s)


def _remembered(cache: Path, key: str, openers: Mapping[Candidate, Callable[[], Engine]]) -> Choice | None:
    entry: Any = _read(cache).get(key)
    try:
        candidate = Candidate(*entry["candidate"])
        speeds = {str(name): float(speed) for name, speed in entry["tiles_per_s"].items()}
        refused = {str(name): str(why) for name, why in entry["refused"].items()}
    except (TypeError, KeyError, ValueError, AttributeError):
        return None
    return Choice(candidate, speeds, refused, remembered=True) if candidate in openers else None


def _read(cache: Path) -> dict[str, Any]:
    try:
        stored = read_json(cache)
        if isinstance(stored, dict) and stored.get("schema") == _SCHEMA and isinstance(stored.get("choices"), dict):
            return dict(stored["choices"])
    except (OSError, ValueError):
        pass
    return {}


def _remember(cache: Path, key: str, choice: Choice) -> None:
    entry = {"candidate": choice.candidate, "tiles_per_s": choice.tiles_per_s, "refused": choice.refused}
    choices = {**_read(cache), key: entry}
    try:
        write_text(cache, json.dumps({"schema": _SCHEMA, "choices": choices}, indent=1) + "\n")
    except StoreError as error:
        _LOG.warning("%s The next start measures again", error)
