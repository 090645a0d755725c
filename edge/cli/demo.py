"""The demo: a simulated line, the shipped model and a broker of its own, beside the truth."""

from __future__ import annotations

import os
import shlex
import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
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
from edge.records.decided import Decided
from edge.settings import SHIPPED_BUNDLE, CameraSettings, LineSettings, Settings
from edge.simulation.camera import SimulatedCamera
from edge.simulation.rendering import CLASS_NAMES, SimulatedLineSettings
from edge.station.counts import LineCounts
from edge.wording import counted

BUNDLE = SHIPPED_BUNDLE
FPS = 15.0
# A quarter of the smallest stain: what is less of an entering defect nobody would call one. Not the model's to choose.
VISIBLE_PX = 60
_ROWS = 12
_TOLD_EVERY_S = 10.0
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
    """The measured frames against the truth.

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
    """The table that lives: the last frames, the standing alarms, and how to listen in and end it."""

    listen: Sequence[str]
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
        return Group(table, *standing, *(Text(line, style="cyan") for line in self.listen))


@dataclass
class DemoLines:
    """The lines of a demo in a pipe, a log or without a screen: one every ten seconds."""

    console: Console
    ends: str
    counts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    alarms: set[str] = field(default_factory=set)
    began_s: float | None = None
    told_s: float = 0.0

    def add(self, decided: Decided, now_s: float, frames_per_s: float) -> None:
        """Count one more frame, and say how it stands if ten seconds have passed since it was last said."""
        self.counts[decided.inspection.judgement.verdict] += 1
        for event in decided.alarms:
            stands = event.state in {"active", "acknowledged"} and event.shown
            (self.alarms.add if stands else self.alarms.discard)(event.alarm)
        if self.began_s is None:
            self.began_s = self.told_s = now_s
        if now_s - self.told_s < _TOLD_EVERY_S:
            return
        self.told_s = now_s
        verdicts = ", ".join(f"{count} {verdict.value}" for verdict, count in self.counts.items())
        self.console.print(
            f"{now_s - self.began_s:.0f} s: {counted(sum(self.counts.values()), 'frame')}, {verdicts}; "
            f"{frames_per_s:.1f} frames/s; alarms: {', '.join(sorted(self.alarms)) or 'none'}. {self.ends}"
        )


def how_to_listen(host: str, port: int, root: str) -> list[str]:
    """Return what to type in another terminal to see results and alarms as text, and where the client comes from.

    `image/last`, which is a JPEG, is not among them.
    """
    client = f"mosquitto_sub -h {host} -p {port} -V mqttv5 -v"
    return [
        "listen in from another terminal:",
        f"  results:  {client} -t {shlex.quote(root + '/event/result')}",
        f"  alarms:   {client} -t {shlex.quote(root + '/event/alarm')}",
        "  without mosquitto_sub: sudo apt-get install mosquitto-clients",
    ]


def run_demo(stop: threading.Event, *, headless: bool, frames: int, seed: int, console: Console) -> dict[str, Any]:
    """Inspect until `frames` are done (0: until `stop` is set) and return the summary.

    Headless, frames come as fast as they are inspected; else 15 per second. A terminal gets a table that lives;
    a pipe, a log and `headless` get a line every ten seconds.
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
        root = f"{line.enterprise}/{line.site}/{line.area}/{line.line}/{line.cell}/inspect/v1"
        ends = f"It ends after {counted(frames, 'frame')}, or with Ctrl-C" if frames else "Ctrl-C ends it"
        listen = [*how_to_listen(broker.host, broker.port, root), f"{ends}; so does: kill {os.getpid()}"]
        camera = SimulatedCamera(
            "simulated", SimulatedLineSettings(fps=0 if headless else FPS, frames=frames, seed=seed)
        )
        store = scope.enter_context(scratch_folder("linewatch-demo-")) / "outbox.db"
        screen, told = DemoScreen(listen), DemoLines(console, ends)
        shows_table = console.is_terminal and not headless
        if shows_table:
            scope.enter_context(Live(screen, console=console, refresh_per_second=8))
        else:
            console.print(Text("\n".join(listen)))

        def watch(decided: Decided) -> None:
            ends_s.append(time.monotonic())
            if decided.inspection.frame is None:
                return
            true_coverage = score.add(camera.truth(decided.inspection.frame), decided)
            if shows_table:
                screen.add(decided, true_coverage, _frames_per_s(ends_s[-30:]))
            else:
                told.add(decided, ends_s[-1], _frames_per_s(ends_s[-30:]))

        result = run_line(settings, bundle, stop, store=store, live=True, camera=camera, watchers=[watch])
    return score.summary(result.counts, result.published, result.outbox.acknowledged, _frames_per_s(ends_s))


def _frames_per_s(ends_s: Sequence[float]) -> float:
    """Frames per second between the first and the last decided frame."""
    return (len(ends_s) - 1) / (ends_s[-1] - ends_s[0]) if len(ends_s) > 1 and ends_s[-1] > ends_s[0] else 0.0
