"""The frame loop through every trouble of broker and disk, beside a twin that has neither."""

from __future__ import annotations

import json
import signal
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .consumer import Consumer
from .machine import StallingDisk, small_disk
from .proxy import FaultProxy
from .setting import Broker, Line, Row, ended, wait_for

FRAMES_PER_SLICE = 100  # of the twin
MOST_TIMES = 3.0
# Of those of the twin. The disk answers for a seventh of the time in which it stalls; a crowded machine takes half.
LEAST_FRAMES = 0.3
_SHM_MB = 256
Took = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Compared:
    """One phase of a line beside its twin.

    `times`: the median of the slices' p99 of the time that publishing took from a frame, divided by the twin's.
    `frames`, `twin_frames`: inspected in the phase. `p99_ms`, `twin_p99_ms`: medians of the slices.
    """

    times: float
    frames: int
    twin_frames: int
    p99_ms: float
    twin_p99_ms: float

    @property
    def holds(self) -> bool:
        """Tell whether the line is not slower than its twin."""
        return self.times <= MOST_TIMES and self.frames >= LEAST_FRAMES * self.twin_frames > 0


def compare(took: Took, twin: Took, from_s: float, to_s: float) -> Compared:
    """Compare two lines that ran at the same time, slice by slice.

    `took`: (moment, s; duration, s) of each frame. A phase has as many slices, of equal length, as it has hundreds of
    frames of the twin. A slice without frames counts as infinitely slow.
    """
    frames, twin_frames = (len(_within(each, from_s, to_s)) for each in (took, twin))
    slices = max(1, twin_frames // FRAMES_PER_SLICE)
    length_s = (to_s - from_s) / slices
    p99s = [
        tuple(_p99_ms(_within(each, at_s, at_s + length_s)) for each in (took, twin))
        for at_s in (from_s + number * length_s for number in range(slices))
    ]
    return Compared(
        statistics.median(own / others if others < float("inf") else float("inf") for own, others in p99s),
        frames,
        twin_frames,
        statistics.median(own for own, _ in p99s),
        statistics.median(others for _, others in p99s),
    )


def _within(took: Took, from_s: float, to_s: float) -> list[float]:
    return [took_s * 1000 for at_s, took_s in took if from_s <= at_s < to_s]


def _p99_ms(within_ms: Sequence[float]) -> float:
    return statistics.quantiles(within_ms, n=100, method="inclusive")[98] if len(within_ms) > 1 else float("inf")


def frame_loop(folder: Path, say: Callable[[str], None], phase_s: float, broken: str = "") -> Row:
    """Time what publishing takes from each frame, through every trouble of broker and disk.

    At the same time the same line runs with its store in memory and a publisher in memory: whatever the machine is
    busy with slows both.
    """
    began_s = time.monotonic()
    phases: dict[str, tuple[float, float]] = {}
    with ExitStack() as scene:
        disk = scene.enter_context(StallingDisk(folder))
        memory = scene.enter_context(small_disk(folder, _SHM_MB))
        broker = scene.enter_context(Broker())
        proxy = scene.enter_context(FaultProxy(broker.port))
        scene.enter_context(Consumer(broker.port))
        timed = folder / "timed.json", memory / "timed.json"
        line = Line(folder, proxy.port, store=disk.path / "outbox.db", timed=timed[0], broken=broken)
        twin = Line(memory, proxy.port, store=memory / "outbox.db", timed=timed[1], no_broker=True)
        for each in (line, twin):
            scene.enter_context(ended(each))
            each.start()
        wait_for(lambda: line.committed() >= 100 and twin.committed() >= 100, "the first events")

        def phase(name: str, seconds: float = phase_s) -> None:
            say(f"  {name}")
            at_s = time.monotonic()
            time.sleep(seconds)
            phases[name] = (at_s, time.monotonic())

        phase("no fault")
        broker.signal(signal.SIGSTOP)
        phase("the broker hangs")
        broker.signal(signal.SIGCONT)
        time.sleep(2.0)
        broker.kill()
        phase("the broker is dead")
        broker.start()
        time.sleep(2.0)
        proxy.refuse(on=True)
        phase("the broker refuses")
        proxy.refuse(on=False)
        time.sleep(2.0)
        say("  the disk stalls")
        phases["the disk stalls"] = _stall(disk, phase_s)
        time.sleep(2.0)
        phase("no fault again")
        line.stop()
        twin.stop()
        took, twin_took = (json.loads(file.read_text(encoding="utf-8")) for file in timed)
    compared = {name: compare(took, twin_took, *between) for name, between in phases.items()}
    return Row(
        "the frame loop while the broker hangs, dies, refuses, and while the disk stalls; beside it, at the same time, "
        "the same line with store and publisher in memory",
        f"p99 of the time that publishing takes from a frame ≤ {MOST_TIMES:g} x that of the line in memory, median of "
        f"slices of {FRAMES_PER_SLICE} frames; ≥ {100 * LEAST_FRAMES:g} % of its frames",
        "; ".join(
            f"{name}: {each.times:.2f} x, {each.frames:,} of {each.twin_frames:,} frames"
            for name, each in compared.items()
        ),
        all(each.holds for each in compared.values()),
        time.monotonic() - began_s,
        [
            "p99 here, line and line in memory, ms: "
            + "; ".join(f"{name} {each.p99_ms:.2f} and {each.twin_p99_ms:.2f}" for name, each in compared.items())
        ],
    )


def _stall(disk: StallingDisk, seconds: float) -> tuple[float, float]:
    """Have the disk not answer for most of the time; return from when to when."""
    at_s = time.monotonic()
    while time.monotonic() < at_s + seconds:
        disk.freeze(on=True)
        time.sleep(min(3.0, seconds / 2))
        disk.freeze(on=False)
        time.sleep(0.5)
    return at_s, time.monotonic()
