"""Measure the cameras that one process carries, and the cost of each to the others: a table, and JSON.

Cameras give frames from memory, so that neither decoding nor a simulation is measured. Ratios are taken side by side in
one run, round by round; every figure is the median. Run: python -m benchmarks.cameras --json out/bench/cameras.json
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from benchmarks.run import Figure, at_least, at_most, informative
from edge.app import StandIns, Watchers, run_station
from edge.bundle import Bundle, load_bundle
from edge.observers.direct import DirectObserver
from edge.opencv import cv2
from edge.publishers.memory import MemoryPublisher
from edge.records import CameraCondition, CameraState, Frame, UInt8
from edge.records.decided import Decided, DecidedPart
from edge.settings import SHIPPED_BUNDLE, Settings
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings

FULL_HD, SMALL = (1080, 1920), (480, 640)  # height, width
SOURCES = (1, 2, 4, 8)
WARM_UP_S = 1.0


class MemoryCamera:
    """Gives the same few frames again and again, `fps` of them in a second; 0 = whenever it is asked.

    `hangs_after_s`: its driver then never comes back, until it is closed. `flaps`: every other half second it is lost.
    `total`: so many, then it ends; 0 = never.
    """

    def __init__(
        self,
        name: str,
        frames: list[UInt8],
        fps: float = 0.0,
        *,
        hangs_after_s: float | None = None,
        flaps: bool = False,
        total: int = 0,
    ) -> None:
        self.name = name
        self.dropped = 0
        self.total = total
        self._frames = frames
        self._fps = fps
        self._hangs_after_s = hangs_after_s
        self._flaps = flaps
        self._index = 0
        self._began_ns = self._due_ns = 0
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        self._began_ns = self._due_ns = time.monotonic_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the newest frame that is due."""
        if self.total and self._index >= self.total:
            return CameraState(self.name, CameraCondition.END_OF_STREAM)
        elapsed_s = (time.monotonic_ns() - self._began_ns) / 1e9
        if self._hangs_after_s is not None and elapsed_s > self._hangs_after_s:
            self._closed.wait()
        if self._flaps and int(elapsed_s * 2) % 2:
            self._closed.wait(timeout_s)
            return CameraState(self.name, CameraCondition.LOST, "it flaps")
        if self._fps:
            wait_s = (self._due_ns - time.monotonic_ns()) / 1e9
            if wait_s > timeout_s:
                self._closed.wait(timeout_s)
                return CameraState(self.name, CameraCondition.NO_FRAME_YET)
            if wait_s > 0:
                time.sleep(wait_s)
            period_ns = round(1e9 / self._fps)
            missed = max(0, (time.monotonic_ns() - self._due_ns) // period_ns)
            self.dropped += missed
            captured_ns = self._due_ns + missed * period_ns
            self._due_ns = captured_ns + period_ns
        else:
            captured_ns = time.monotonic_ns()
        pixels = self._frames[self._index % len(self._frames)]
        self._index += 1
        return Frame(self.name, self._index - 1, pixels, captured_ns, datetime.now(timezone.utc))


@dataclass
class Seen:
    """Frames that were decided, by camera: when, and how old they were in ms."""

    at_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    age_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    tiles: int = 0

    def __call__(self, decided: Decided | DecidedPart) -> None:
        """Note a frame."""
        if isinstance(decided, Decided) and decided.inspection.frame is not None:
            self.at_s[decided.inspection.camera].append(time.monotonic())
            if decided.inspection.age_ms is not None:
                self.age_ms[decided.inspection.camera].append(decided.inspection.age_ms)

    def rates(self) -> dict[str, float]:
        """Return frames per second of each camera, the beginning left out."""
        began = min(times[0] for times in self.at_s.values()) + WARM_UP_S
        rates = {}
        for name, times in self.at_s.items():
            late = [at for at in times if at >= began]
            rates[name] = (len(late) - 1) / (late[-1] - late[0]) if len(late) > 1 else 0.0
        return rates

    def p99_ms(self, cameras: list[str]) -> float:
        """Return the 99th percentile of the age of these cameras' frames, the beginning left out."""
        ages: list[float] = []
        for name in cameras:
            ages += self.age_ms[name][len(self.age_ms[name]) // 5 :]
        return float(np.percentile(ages, 99))


def drawn(size: tuple[int, int]) -> list[UInt8]:
    """Return a few frames of the simulated line, uint8 BGR [H, W, 3]."""
    line = RenderedLine(SimulatedLineSettings(width=size[1], height=size[0], seed=3))
    return [line.frame(index)[0] for index in (5, 12, 19, 26)]


def run(
    cameras: Mapping[str, MemoryCamera], bundle: Bundle, seconds: float, engine: Mapping[str, Any], **more: Any
) -> tuple[Seen, float]:
    """Run a station of these cameras for some time; return what was decided, and the CPU seconds it took."""
    seen, stop = Seen(), threading.Event()
    settings = Settings.model_validate_json(
        json.dumps(
            {
                "cameras": {name: {"max_age_ms": 60_000, "watch": "off"} for name in cameras},
                "bundle": str(bundle.path),
                "engine": dict(engine),
                "report": {"picture_every_s": 0},
                **more,
            }
        )
    )
    timer = threading.Timer(seconds, stop.set)
    timer.start()
    began_s = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        run_station(
            settings,
            bundle,
            stop,
            store=Path(folder) / "outbox.db",
            live=True,
            instead=StandIns(cameras=cameras, publisher=MemoryPublisher(keep=10)),
            watchers=Watchers([DirectObserver(seen)]),
        )
    timer.cancel()
    return seen, time.process_time() - began_s


def several(count: int, frames: list[UInt8], fps: float = 0.0) -> dict[str, MemoryCamera]:
    """Return `count` cameras alike."""
    return {f"c{number}": MemoryCamera(f"c{number}", frames, fps) for number in range(count)}


def carried(frames: list[UInt8], bundle: Bundle, seconds: float, rounds: int) -> list[Figure]:
    """Measure what one process carries: sources of 1080p as fast as they are read, an engine that costs nothing."""
    totals: dict[int, list[float]] = defaultdict(list)
    cores: dict[int, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for count in SOURCES:
            began_s = time.monotonic()
            seen, cpu_s = run(several(count, frames), bundle, seconds, {"backend": "onnxruntime"})
            totals[count].append(sum(seen.rates().values()))
            cores[count].append(cpu_s / (time.monotonic() - began_s))
    figures = []
    for count in SOURCES:
        figures.append(
            informative(f"{count} x 1080p, engine that costs nothing: all frames", totals[count], "frames/s")
        )
        figures.append(informative(f"{count} x 1080p: processor cores used", cores[count], "cores"))
    return figures


def shared(frames: list[UInt8], bundle: Bundle, seconds: float, rounds: int) -> list[Figure]:
    """Measure four cameras on one engine beside one: tiles per second, and how even they are."""
    ratios, evenness = [], []
    for _ in range(rounds):
        one, _ = run(several(1, frames), bundle, seconds, {"backend": "onnxruntime"})
        four, _ = run(several(4, frames), bundle, seconds, {"backend": "onnxruntime"})
        rates = four.rates()
        ratios.append(sum(rates.values()) / sum(one.rates().values()))
        evenness.append(min(rates.values()) / max(rates.values()))
    return [
        at_least("4 cameras on one engine ÷ 1 camera, tiles/s", ratios, "", 0.95),
        at_least("slowest ÷ fastest of 4 cameras", evenness, "", 0.9),
    ]


def beside(frames: list[UInt8], bundle: Bundle, seconds: float, rounds: int) -> list[Figure]:
    """Measure the age of three cameras' frames while a fourth is well, hangs, flaps or sends four times as many."""
    fps = 4.0
    good = ["c0", "c1", "c2"]
    faults: dict[str, Callable[[], MemoryCamera]] = {
        "hangs": lambda: MemoryCamera("c3", frames, fps, hangs_after_s=1.0),
        "flaps": lambda: MemoryCamera("c3", frames, fps, flaps=True),
        "sends 4 x the frames": lambda: MemoryCamera("c3", frames, 4 * fps),
    }
    ratios: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        well, _ = run(several(4, frames, fps), bundle, seconds, {"backend": "onnxruntime"})
        for name, make in faults.items():
            seen, _ = run({**several(3, frames, fps), "c3": make()}, bundle, seconds, {"backend": "onnxruntime"})
            ratios[name].append(seen.p99_ms(good) / well.p99_ms(good))
    return [at_most(f"p99 of others' frame age ÷ usual, one camera {name}", ratios[name], "", 1.1) for name in faults]


def memory(bundle: Bundle, parts: int) -> list[Figure]:
    """Measure the memory, threads and descriptors over many parts of a triggered camera, one small frame each."""
    frames = [cv2.resize(pixels, (64, 48)) for pixels in drawn(SMALL)]
    marks: list[tuple[int, float, int, int]] = []
    count = 0

    def note(decided: Decided | DecidedPart) -> None:
        nonlocal count
        if isinstance(decided, DecidedPart):
            count += 1
            if count % max(1, parts // 20) == 0:
                gc.collect()
                marks.append(
                    (count, _resident_mb(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))
                )

    settings = Settings.model_validate_json(
        json.dumps(
            {
                "cameras": {"top": {"max_age_ms": 60_000, "watch": "off"}},
                "bundle": str(bundle.path),
                "parts": {"trigger": "camera"},
                "store": {"max_results": 1000, "kept_h": 0},
                "report": {"picture_every_s": 0},
            }
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        run_station(
            settings,
            bundle,
            threading.Event(),
            store=Path(folder) / "outbox.db",
            live=True,
            instead=StandIns(
                cameras={"top": MemoryCamera("top", frames, total=parts)}, publisher=MemoryPublisher(keep=10)
            ),
            watchers=Watchers([DirectObserver(note)]),
        )
    # the first quarter warms up; of the rest the beginning and the end are compared, each by its median
    late = marks[len(marks) // 4 :]
    third = max(1, len(late) // 3)
    grown = [
        statistics.median(row[k] for row in late[-third:]) - statistics.median(row[k] for row in late[:third])
        for k in (1, 2, 3)
    ]
    return [
        at_most(f"memory grown over the last 3/4 of {parts} parts", [max(0.0, grown[0])], "MB", 1.0),
        at_most("threads more than before", [grown[1]], "", 0.0),
        at_most("descriptors more than before", [grown[2]], "", 0.0),
    ]


def _resident_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def free_bundle(folder: Path) -> Bundle:
    """Write a bundle whose model costs next to nothing: one tile of 1080p, 8 x 8 px once prepared."""
    from benchmarks.free_model import write_free_bundle

    return write_free_bundle(folder / "free")


def main() -> None:
    """Measure and print; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", type=int, default=100_000, help="for the memory; 0 = not measured")
    parser.add_argument("--only", choices=["carried", "shared", "beside", "memory"], help="measure this alone")
    options = parser.parse_args()
    shipped, small = load_bundle(SHIPPED_BUNDLE), drawn(SMALL)
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        free = free_bundle(Path(folder))
        parts: dict[str, Callable[[], list[Figure]]] = {
            "carried": lambda: carried(drawn(FULL_HD), free, options.seconds, options.rounds),
            "shared": lambda: shared(small, shipped, options.seconds, options.rounds),
            "beside": lambda: beside(small, shipped, options.seconds, options.rounds),
            "memory": lambda: memory(free, options.parts) if options.parts else [],
        }
        for name, measure in parts.items():
            if options.only in {None, name}:
                figures += measure()
    print(f"{'figure':62} {'median':>9} {'unit':9} {'target':>8}  {'':3} spread")
    for figure in figures:
        mark = "" if not figure.target else "yes" if figure.reached else "NO"
        low, high = figure.spread
        print(
            f"{figure.name:62} {figure.value:9.2f} {figure.unit:9} {figure.target:>8}  {mark:3} {low:.2f} - {high:.2f}"
        )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"rounds": options.rounds, "seconds": options.seconds, "figures": [asdict(each) for each in figures]}
        options.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"written: {options.json}")
    if not all(figure.reached for figure in figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
