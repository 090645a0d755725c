"""The demo: a simulated line, the shipped model and a broker of its own, beside the truth."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.alarms import FLOOD_ALARM, AlarmRule
from edge.app import run_line
from edge.bundle import load_bundle
from edge.files import scratch_folder
from edge.opencv import cv2
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.embedded_broker import EmbeddedBroker
from edge.records import DefectClass, UInt8, Verdict
from edge.settings import CameraSettings, LineSettings, Settings
from edge.simulation.camera import SimulatedCamera
from edge.simulation.rendering import CLASS_NAMES, SimulatedLineSettings
from edge.station.pipeline import Decided, LineCounts

BUNDLE = Path(__file__).parent.parent / "bundles" / "simulated-glass"
FPS = 15.0
# A quarter of the smallest stain: what is less of an entering defect nobody would call one. Not the model's to choose.
VISIBLE_PX = 60
_ROWS = 12
_COLOURS = {Verdict.OK: "bold green", Verdict.NG: "bold red", Verdict.NO_READ: "bold yellow"}

DEMO_ALARMS = (
    AlarmRule.model_validate(
        {
            "id": "scratched",
            "measure": "coverage",
            "class": "scratch",
            "raise_at": 0.0003,
            "clear_below": 0.0001,
            "on_delay_ms": 100,
            "off_delay_ms": 300,
            "priority": "high",
            "text": "Scratched glass: check the rollers of the infeed",
        }
    ),
    AlarmRule(
        id="rejects",
        measure="ng",
        on_delay_ms=100,
        off_delay_ms=300,
        text="Rejects: look at the part that is passing",
    ),
    # half of the simulated parts are defective, and each of their alarms is here to be seen
    FLOOD_ALARM.model_copy(update={"out_of_service": True}),
)


@dataclass
class DemoScore:
    """What was measured against what was true.

    A frame is truly defective when its true map, uint8 [H, W] of the rendered line's ids, holds a defect of VISIBLE_PX
    or more, whatever the model's own smallest areas are; one that shows only slivers of entering or leaving defects is
    neither defective nor clean. A defective frame is missed when nothing that was found overlaps the truth; a clean one
    is false when anything was found.
    """

    classes: Sequence[DefectClass]
    defective: int = 0
    missed: int = 0
    clean: int = 0
    false: int = 0
    slivers: int = 0
    errors: list[float] = field(default_factory=list)

    def add(self, truth: UInt8, decided: Decided) -> float:
        """Count one frame and return its true coverage."""
        true_coverage = float(cv2.countNonZero(truth) / truth.size)
        found = decided.defect_map.classes_per_pixel() if decided.defect_map is not None else None
        if self._defective(truth):
            self.defective += 1
            self.missed += found is None or not bool(((found > 0) & (truth > 0)).any())
            if decided.inspection.measurement is not None:
                measured = decided.inspection.measurement.coverage
                self.errors.append(abs(measured - true_coverage) / true_coverage)
        elif true_coverage:
            self.slivers += 1
        else:
            self.clean += 1
            self.false += found is not None and bool(found.any())
        return true_coverage

    def _defective(self, truth: UInt8) -> bool:
        for entry in self.classes:
            if entry.name not in CLASS_NAMES:
                continue
            # the bundle numbers its classes in an order of its own
            mask = cv2.compare(truth, CLASS_NAMES.index(entry.name) + 1, cv2.CMP_EQ)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            if (stats[1:, cv2.CC_STAT_AREA] >= VISIBLE_PX).any():
                return True
        return False

    def summary(self, counts: LineCounts, published: int, acknowledged: int, frames_per_s: float) -> dict[str, Any]:
        """Return what the demo came to; None for a coverage error that no frame could tell."""
        return {
            "frames": counts.frames,
            "ok": counts.ok,
            "ng": counts.ng,
            "no_read": counts.no_read,
            "defective_frames": self.defective,
            "missed_frames": self.missed,
            "clean_frames": self.clean,
            "false_frames": self.false,
            "sliver_frames": self.slivers,
            "alarms_raised": counts.alarms_raised,
            "alarms_cleared": counts.alarms_cleared,
            "published": published,
            "acknowledged": acknowledged,
            "coverage_relative_error": round(statistics.median(self.errors), 4) if self.errors else None,
            "frames_per_s": round(frames_per_s, 2),
        }


@dataclass
class DemoScreen:
    """The table that lives: the last frames, the standing alarms, and how to listen in."""

    listen: str
    rows: deque[tuple[str | Text, ...]] = field(default_factory=lambda: deque(maxlen=_ROWS))
    alarms: dict[str, str] = field(default_factory=dict)

    def add(self, decided: Decided, true_coverage: float, frames_per_s: float) -> None:
        """Show one more frame."""
        verdict = decided.inspection.judgement.verdict
        measurement = decided.inspection.measurement
        counts = {name: seen.count for name, seen in measurement.classes.items()} if measurement else {}
        kinds = "  ".join(f"{name} {count}" for name, count in counts.items() if count)
        for event in decided.alarms:
            if event.state in {"active", "acknowledged"} and event.shown:
                self.alarms[event.alarm] = event.text
            else:
                self.alarms.pop(event.alarm, None)
        self.rows.append(
            (
                str(decided.inspection.frame),
                Text(verdict.value, style=_COLOURS[verdict]),
                f"{measurement.coverage:.3%}" if measurement else "-",
                f"{true_coverage:.3%}",
                kinds,
                "  ".join(self.alarms),
                f"{frames_per_s:.1f}",
            )
        )

    def __rich__(self) -> Group:
        table = Table("frame", "verdict", "coverage", "truly", "defects", "alarms", "frames/s", expand=True)
        for row in self.rows:
            table.add_row(*row)
        standing = [Text(f"ALARM {name}: {text}", style="bold white on red") for name, text in self.alarms.items()]
        return Group(table, *standing, Text(f"listen in:  {self.listen}", style="cyan"))


def run_demo(stop: threading.Event, *, headless: bool, frames: int, seed: int, console: Console) -> dict[str, Any]:
    """Inspect until `frames` are done (0: until `stop` is set) and return the summary.

    Headless, frames come as fast as they are inspected; else 15 per second.
    """
    bundle = load_bundle(BUNDLE)
    score = DemoScore(bundle.classes)
    ends_s: list[float] = []
    with ExitStack() as scope:
        broker = scope.enter_context(EmbeddedBroker())
        settings = Settings(
            line=LineSettings(enterprise="demo", device="demo"),
            # a laptop that has other things to do is no fault of the line: only a frame much older is stale here
            camera=CameraSettings(name="simulated", kind="simulated", max_age_ms=5000),
            alarms=DEMO_ALARMS,
            broker=BrokerSettings(host=broker.host, port=broker.port),
        )
        line = settings.line
        topics = f"{line.enterprise}/{line.site}/{line.area}/{line.line}/{line.cell}/inspect/v1/#"
        listen = f"mosquitto_sub -h {broker.host} -p {broker.port} -V mqttv5 -v -t '{topics}'"
        camera = SimulatedCamera(
            "simulated", SimulatedLineSettings(fps=0 if headless else FPS, frames=frames, seed=seed)
        )
        store = scope.enter_context(scratch_folder("linewatch-demo-")) / "outbox.db"
        screen = DemoScreen(listen)
        if headless:
            console.print(f"listen in:  {listen}")
        else:
            scope.enter_context(Live(screen, console=console, refresh_per_second=8))

        def watch(decided: Decided) -> None:
            ends_s.append(time.monotonic())
            if decided.inspection.frame is None:
                return
            true_coverage = score.add(camera.truth(decided.inspection.frame), decided)
            screen.add(decided, true_coverage, _frames_per_s(ends_s[-30:]))

        result = run_line(settings, bundle, stop, store=store, live=True, camera=camera, watchers=[watch])
    return score.summary(result.counts, result.published, result.outbox.acknowledged, _frames_per_s(ends_s))


def _frames_per_s(ends_s: Sequence[float]) -> float:
    """Frames per second between the first and the last decided frame."""
    return (len(ends_s) - 1) / (ends_s[-1] - ends_s[0]) if len(ends_s) > 1 and ends_s[-1] > ends_s[0] else 0.0
