"""Draw what `make demo` shows into docs/demo.svg: the real panel of a real run of 300 frames. Run: make picture."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console

from edge.app import StandIns, Watchers, run_station
from edge.bundle import load_bundle
from edge.cli.demo import BUNDLE, FPS, DemoScreen, DemoStation, demo_cameras, demo_settings, frames_per_s, how_to_listen
from edge.cli.demo_dashboard import DemoPages
from edge.observers.direct import DirectObserver
from edge.publishers.memory import MemoryPublisher
from edge.records.decided import Decided, DecidedPart
from edge.station.glance import Glance

ROOT = Path(__file__).resolve().parent.parent
FRAMES = 300


def main() -> None:
    """Run the station and save its last screen."""
    settings = demo_settings("127.0.0.1", 40123)  # the demo's broker takes any free port
    pages = DemoPages("http://127.0.0.1:8080/", "http://127.0.0.1:8080/enter/this-is-for-one-browser-once-only")
    screen = DemoScreen([*pages.lines, *how_to_listen("127.0.0.1", 40123, settings.line.root), "Ctrl-C ends it"])
    station = DemoStation(demo_cameras(7, FPS, FRAMES))
    ends_s: list[float] = []

    def watch(decided: Decided | DecidedPart) -> None:
        if isinstance(decided, DecidedPart):
            screen.add(decided, station.shown(decided.part.part_id))
            return
        ends_s.append(time.monotonic())
        screen.frames_per_s = frames_per_s(ends_s[-60:])
        screen.add(decided)

    def look(glance: Glance) -> None:
        screen.glance = glance

    with tempfile.TemporaryDirectory() as folder:
        run_station(
            settings,
            load_bundle(BUNDLE),
            threading.Event(),
            store=Path(folder) / "outbox.db",
            live=True,
            instead=StandIns(station.cameras, station.trigger, MemoryPublisher()),
            watchers=Watchers([DirectObserver(watch)], look),
        )
    console = Console(record=True, width=90, file=io.StringIO(), force_terminal=True)
    console.print(screen)
    console.save_svg(str(ROOT / "docs" / "demo.svg"), title="make demo")


if __name__ == "__main__":
    main()
