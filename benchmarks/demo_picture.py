"""Draw what `make demo` shows into docs/demo.svg: the real table of a real run of 75 frames. Run: make picture."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from pathlib import Path

from rich.console import Console

from edge.app import run_line
from edge.bundle import load_bundle
from edge.cli.demo import BUNDLE, DEMO_ALARMS, FPS, DemoScore, DemoScreen, how_to_listen
from edge.publishers.memory import MemoryPublisher
from edge.records.decided import Decided
from edge.settings import CameraSettings, LineSettings, Settings
from edge.simulation.camera import SimulatedCamera
from edge.simulation.rendering import SimulatedLineSettings

ROOT = Path(__file__).resolve().parent.parent
FRAMES = 75


def main() -> None:
    """Run the line and save its last screen."""
    bundle = load_bundle(BUNDLE)
    camera = SimulatedCamera("simulated", SimulatedLineSettings(fps=FPS, frames=FRAMES))
    settings = Settings(
        line=LineSettings(enterprise="demo", device="demo"),
        camera=CameraSettings(kind="simulated", max_age_ms=5000),
        alarms=DEMO_ALARMS,
    )
    score = DemoScore(bundle.classes)
    # the demo's broker takes any free port
    listen = how_to_listen("127.0.0.1", 40123, "demo/site/area/line/cell/inspect/v1")
    screen = DemoScreen([*listen, "Ctrl-C ends it"])
    last_s: list[float] = []

    def watch(decided: Decided) -> None:
        if decided.inspection.frame is None:
            return
        last_s.append(time.monotonic())
        span_s = last_s[-1] - last_s[max(0, len(last_s) - 30)]
        frames_per_s = min(len(last_s) - 1, 29) / span_s if span_s else 0.0
        screen.add(decided, score.add(camera.truth(decided.inspection.frame), decided), frames_per_s)

    with tempfile.TemporaryDirectory() as folder:
        stop = threading.Event()
        store = Path(folder) / "outbox.db"
        publisher = MemoryPublisher()
        run_line(settings, bundle, stop, store=store, live=True, camera=camera, publisher=publisher, watchers=[watch])
    console = Console(record=True, width=112, file=io.StringIO(), force_terminal=True)
    console.print(screen)
    console.save_svg(str(ROOT / "docs" / "demo.svg"), title="make demo")


if __name__ == "__main__":
    main()
