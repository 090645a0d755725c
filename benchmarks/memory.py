"""Measure memory, threads and descriptors of a station over parts, recipe switches and reconnects. JSON.

One station runs with a real broker behind a relay that cuts the connection. Each switch of recipe opens an engine and
closes another. Of each stretch the first quarter warms up. The slope is the median of the slopes between all pairs of
marks (Theil-Sen), times the stretch. Run: python -m benchmarks.memory --json out/bench/memory.json
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cameras import SMALL, MemoryCamera, drawn
from benchmarks.free_model import write_free_bundle
from benchmarks.run import Figure, at_most
from edge.app.station import OpenStation, StandIns, Watchers, open_station
from edge.commands.socket import tell
from edge.observers.direct import DirectObserver
from edge.opencv import cv2
from edge.records.decided import Decided, DecidedPart
from edge.settings import Settings, load_bundles

MARKS = 60  # of each stretch
RECIPES = ("a", "b", "c")
WARM = 2  # of them
WAIT_S = 60.0
CUT_AGAIN_S = 1.5
DELIVERED = 20  # messages after each reconnect, more than may be on their way
SLOPE_MB = 1.0
# In a process of its own, so that it is not measured. SIGUSR1 cuts every connection.
_RELAY = """
import signal, socket, sys, threading
listening = socket.create_server(("127.0.0.1", int(sys.argv[1])))
pairs = []
def cut(*_):
    while pairs:
        for one in pairs.pop():
            try: one.shutdown(socket.SHUT_RDWR)
            except OSError: pass
            one.close()
signal.signal(signal.SIGUSR1, cut)
def pump(source, target):
    try:
        while data := source.recv(65536): target.sendall(data)
    except OSError: pass
    for one in (source, target):
        try: one.shutdown(socket.SHUT_RDWR)
        except OSError: pass
while True:
    try: ours, _ = listening.accept()
    except InterruptedError: continue
    try: broker = socket.create_connection(("127.0.0.1", int(sys.argv[2])))
    except OSError: ours.close(); continue
    pairs.append((ours, broker))
    for pair in ((ours, broker), (broker, ours)): threading.Thread(target=pump, args=pair, daemon=True).start()
"""


@dataclass(frozen=True)
class Mark:
    """A station at one moment: resident memory in MB, threads, descriptors."""

    at: int
    resident_mb: float
    threads: int
    descriptors: int


@dataclass
class Line:
    """The station that is measured: how many parts it has decided, and the marks of each stretch."""

    opened: OpenStation
    parts: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    marks: dict[str, list[Mark]] = field(default_factory=dict)

    def wait(self, true: Callable[[], bool]) -> None:
        """Wait until something is so; RuntimeError where it does not come to it."""
        until_s = time.monotonic() + WAIT_S
        while not true():
            if self.ended.is_set() or time.monotonic() > until_s:
                raise RuntimeError("the station ended" if self.ended.is_set() else f"waited {WAIT_S:g} s in vain")
            time.sleep(0.002)

    def mark(self, stretch: str, at: int) -> None:
        """Note what the station has now."""
        gc.collect()
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        mark = Mark(at, resident_mb(), threading.active_count(), descriptors)
        self.marks.setdefault(stretch, []).append(mark)


def resident_mb() -> float:
    """Return the resident memory of this process, MB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def slope_mb(marks: Sequence[Mark]) -> float:
    """Return by how much the memory grows over a stretch, MB: the median of the slopes between all pairs of marks."""
    late = marks[len(marks) // 4 :]
    slopes = [
        (other.resident_mb - one.resident_mb) / (other.at - one.at)
        for one, other in itertools.combinations(late, 2)
        if other.at > one.at
    ]
    return statistics.median(slopes) * (marks[-1].at - marks[0].at) if slopes else 0.0


def more(marks: Sequence[Mark], of: str) -> float:
    """Return how many more of something there are at the end than at the beginning, each by its median."""
    late = [getattr(mark, of) for mark in marks[len(marks) // 4 :]]
    third = max(1, len(late) // 3)
    return float(statistics.median(late[-third:]) - statistics.median(late[:third]))


@contextmanager
def broker(folder: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    """Start mosquitto behind a relay; yield the relay's port, and what cuts every connection."""
    program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if program is None:
        raise SystemExit("the benchmark needs mosquitto: sudo apt-get install mosquitto")
    ports = [_free_port(), _free_port()]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {ports[0]} 127.0.0.1\nallow_anonymous true\nuser root\n", encoding="ascii")
    with ExitStack() as scope:
        for command in (
            [program, "-c", str(config)],
            [sys.executable, "-c", _RELAY, str(ports[1]), str(ports[0])],
        ):
            process = scope.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            scope.callback(process.terminate)
        time.sleep(0.5)
        yield ports[1], lambda: process.send_signal(signal.SIGUSR1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings_of(folder: Path, port: int) -> Settings:
    """Return a station of one triggered camera, each small frame of which is a part, and three recipes."""
    recipes = {name: {"views": {"top": {"bundle": str(folder / name)}}} for name in RECIPES}
    return Settings.model_validate_json(
        json.dumps(
            {
                "cameras": {"top": {"max_age_ms": 60_000, "watch": "off"}},
                "recipes": recipes,
                "recipe": "a",
                "keep_recipes": WARM,
                "parts": {"trigger": "camera"},
                "store": {"max_results": 1000, "kept_h": 0, "expect_consumer": []},
                "broker": {"port": port},
                "report": {"picture_every_s": 0},
            }
        )
    )


def stretch(line: Line, name: str, count: int, one: Callable[[int], None]) -> None:
    """Do one thing `count` times, with a mark now and then."""
    every = max(1, count // MARKS)
    for number in range(1, count + 1):
        one(number)
        if number % every == 0:
            line.mark(name, number)
            print(f"{name}: {number} of {count}", file=sys.stderr)


def measure(line: Line, cut: Callable[[], None], parts: int, switches: int, reconnects: int) -> None:
    """Go through the three stretches."""
    line.wait(lambda: line.opened.sender.connected)
    began, each = line.parts, max(1, parts // MARKS)
    stretch(line, "parts", parts // each, lambda number: line.wait(lambda: line.parts >= began + number * each))

    def switch(number: int) -> None:
        recipe = RECIPES[number % len(RECIPES)]
        body = {"schema": "linewatch/command-recipe/1", "recipe": recipe, "user": "bench", "comment": ""}
        tell(line.opened.outbox.path, "recipe", body)
        line.wait(lambda: line.opened.decider.in_force == recipe and line.opened.engines.count <= WARM)

    stretch(line, "switches", switches, switch)

    def reconnect(_number: int) -> None:
        before = line.opened.sender.counts.connections_lost
        again_s = 0.0

        def lost() -> bool:
            nonlocal again_s
            if time.monotonic() >= again_s:  # there may be none yet to cut
                again_s = time.monotonic() + CUT_AGAIN_S
                cut()
            return line.opened.sender.counts.connections_lost > before

        line.wait(lost)
        taken = line.opened.outbox.counts().acknowledged  # by the broker that is there again
        line.wait(lambda: line.opened.outbox.counts().acknowledged > taken + DELIVERED)

    stretch(line, "reconnects", reconnects, reconnect)


def run(parts: int, switches: int, reconnects: int, fps: float) -> dict[str, list[Mark]]:
    """Run the station through all stretches, and return the marks of each."""
    frames = [cv2.resize(pixels, (64, 48)) for pixels in drawn(SMALL)]
    with tempfile.TemporaryDirectory() as text, broker(Path(text)) as (port, cut):
        folder = Path(text)
        for name in RECIPES:
            write_free_bundle(folder / name)
        settings, stop = settings_of(folder, port), threading.Event()
        lines: list[Line] = []

        def note(decided: Decided | DecidedPart) -> None:
            if isinstance(decided, DecidedPart) and lines:
                lines[0].parts += 1

        with open_station(
            settings,
            load_bundles(settings),
            store=folder / "outbox.db",
            live=True,
            stop=stop,
            instead=StandIns(cameras={"top": MemoryCamera("top", frames, fps)}),
            watchers=Watchers([DirectObserver(note)]),
        ) as opened:
            line = Line(opened)
            lines.append(line)
            decides = threading.Thread(target=_decide, args=(line, stop), name="bench decider")
            decides.start()
            try:
                measure(line, cut, parts, switches, reconnects)
            finally:
                stop.set()
                decides.join()
        return line.marks


def _decide(line: Line, stop: threading.Event) -> None:
    try:
        line.opened.decider.run(stop)
    finally:
        if not stop.is_set():
            line.ended.set()


def figures(marks: dict[str, list[Mark]], wanted: dict[str, int]) -> list[Figure]:
    """Judge each stretch: memory flat within a megabyte, no thread and no descriptor more."""
    told = []
    for name, count in wanted.items():
        if name not in marks:
            continue
        own = marks[name]
        told += [
            at_most(f"memory grown over {count} {name}", [max(0.0, slope_mb(own))], "MB", SLOPE_MB),
            at_most(f"threads more after {count} {name}", [more(own, "threads")], "", 0.0),
            at_most(f"descriptors more after {count} {name}", [more(own, "descriptors")], "", 0.0),
        ]
    return told


def main() -> None:
    """Measure and print; exit code 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures and all marks here")
    parser.add_argument("--parts", type=int, default=100_000)
    parser.add_argument("--switches", type=int, default=500)
    parser.add_argument("--reconnects", type=int, default=500)
    parser.add_argument("--fps", type=float, default=0.0, help="parts in a second; 0 = as fast as they are judged")
    options = parser.parse_args()
    wanted = {"parts": options.parts, "switches": options.switches, "reconnects": options.reconnects}
    marks = run(options.parts, options.switches, options.reconnects, options.fps)
    told = figures(marks, wanted)
    for figure in told:
        reached = "yes" if figure.reached else "NO"
        print(f"{figure.name:44} {figure.value:9.2f} {figure.unit:4} {figure.target:6} {reached}")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        written: dict[str, Any] = {
            "figures": [asdict(figure) for figure in told],
            "slope_mb": {name: slope_mb(own) for name, own in marks.items()},
            "marks": {name: [asdict(mark) for mark in own] for name, own in marks.items()},
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")
    sys.exit(0 if all(figure.reached for figure in told) else 1)


if __name__ == "__main__":
    main()
