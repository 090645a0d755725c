"""`python -m benchmarks.dashboard_cost`: what pages that are open cost the station; JSON.

Two stations run side by side, alike, each with a dashboard. In each block of time three screens of one of them are open
in a real browser. None of the other is. The next block is the other way round. So whatever else the machine does counts
on both sides. CPU seconds are those of the stations' processes, frames those that they decided.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.proof.setting import BUNDLE, ROOT, Broker, wait_for
from benchmarks.screens import CHROMIUM
from edge.dashboard.serving import dashboard
from edge.dashboard.settings import ListenSettings, load_dashboard_settings

SCREENS = ("wall", "", "alarms")
LIMIT = 1.01
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Station:
    """`linewatch run` in a process of its own. `url`: of its dashboard."""

    config: Path
    store: Path
    process: subprocess.Popen[bytes]
    url: str = ""

    def cpu_s(self) -> float:
        """Return the CPU seconds that the process has taken."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def frames(self) -> int:
        """Return how many frames it has decided."""
        if not self.store.exists():
            return 0
        with closing(sqlite3.connect(f"{self.store.as_uri()}?mode=ro", uri=True, timeout=30)) as store:
            try:
                return int(store.execute("SELECT count(*) FROM message WHERE topic LIKE '%event/result'").fetchone()[0])
            except sqlite3.OperationalError:  # it has not made its tables yet
                return 0


@contextmanager
def running(folder: Path, port: int, cell: str, fps: float) -> Iterator[Station]:
    """Run a station on the simulated line with the shipped model, and its dashboard beside it."""
    folder.mkdir()
    config, store = folder / "line.yaml", folder / "store.db"
    config.write_text(
        f"line: {{enterprise: bench, cell: {cell}}}\nbundle: {BUNDLE}\n"
        f"camera: {{source: simulated, max_age_ms: 60000, simulated: {{fps: {fps:g}}}}}\n"
        f"engine: {{backend: onnxruntime, threads: 1}}\nbroker: {{port: {port}}}\nstore: {{path: {store}}}\n"
        "alarms: [{id: rejects, measure: ng, text: look}]\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "edge", "run", str(config)]
    with ExitStack() as scope:
        log = scope.enter_context((folder / "log").open("wb"))
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        scope.callback(process.wait, 60)
        scope.callback(process.terminate)
        station = Station(config, store, process)
        settings = load_dashboard_settings(config).model_copy(update={"listen": ListenSettings(port=0)})
        station.url = scope.enter_context(dashboard(settings)).url
        yield station


def block(browser: Browser, watched: Station, alone: Station, seconds: float) -> dict[str, float]:
    """Open the screens of one station, let time pass, and return the CPU ms per frame of both."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    for screen in SCREENS:
        context.new_page().goto(f"{watched.url}{screen}")
    began = [(each.cpu_s(), each.frames()) for each in (watched, alone)]
    time.sleep(seconds)
    ended = [(each.cpu_s(), each.frames()) for each in (watched, alone)]
    context.close()
    told = [
        1000 * (cpu - cpu_before) / max(1, frames - frames_before)
        for (cpu_before, frames_before), (cpu, frames) in zip(began, ended, strict=True)
    ]
    frames = [after[1] - before[1] for before, after in zip(began, ended, strict=True)]
    return {"watched_ms": told[0], "alone_ms": told[1], "watched_frames": frames[0], "alone_frames": frames[1]}


def come_to(blocks: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return the cost of open pages: the geometric mean over pairs of blocks, in which the stations changed places."""
    pairs = [
        (one["watched_ms"] / one["alone_ms"] * other["watched_ms"] / other["alone_ms"]) ** 0.5
        for one, other in zip(blocks[::2], blocks[1::2], strict=True)
    ]
    ratio = statistics.geometric_mean(pairs)
    return {
        "ratio": round(ratio, 4),
        "limit": LIMIT,
        "pairs": [round(pair, 4) for pair in pairs],
        "standard_error": round(statistics.stdev(pairs) / len(pairs) ** 0.5, 4) if len(pairs) > 1 else None,
        "holds": ratio <= LIMIT,
    }


def main() -> None:
    """Measure, print and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures into this file")
    parser.add_argument("--blocks", type=int, default=12, help="stretches of time; an even number")
    parser.add_argument("--seconds", type=float, default=15, help="length of each")
    parser.add_argument("--fps", type=float, default=10, help="frames/s of each station")
    asked = parser.parse_args()
    with ExitStack() as scope:
        folder = Path(scope.enter_context(tempfile.TemporaryDirectory()))
        broker = scope.enter_context(Broker())
        stations = [scope.enter_context(running(folder / name, broker.port, name, asked.fps)) for name in ("a", "b")]
        for station in stations:
            wait_for(lambda station=station: station.frames() > asked.fps, "frames", 120)  # type: ignore[misc]
        browser = scope.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        blocks = []
        for number in range(asked.blocks // 2 * 2):
            watched, alone = stations if number % 2 == 0 else stations[::-1]
            blocks.append(block(browser, watched, alone, asked.seconds))
            print(" ".join(f"{name} {value:.1f}" for name, value in blocks[-1].items()), flush=True)
        browser.close()
    told = {"screens": list(SCREENS), "blocks": blocks, **come_to(blocks)}
    print(json.dumps({name: value for name, value in told.items() if name != "blocks"}))
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
