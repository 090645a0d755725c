"""The demo: a simulated station of two cameras, the shipped model and a broker of its own, beside the truth."""

from __future__ import annotations

import os
import shlex
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from edge.app import StandIns, Watchers, run_station
from edge.bundle import load_bundle
from edge.cli.demo_dashboard import demo_pages, with_evidence
from edge.files import scratch_folder
from edge.observers.direct import DirectObserver
from edge.opencv import cv2
from edge.publishers.embedded_broker import EmbeddedBroker
from edge.records import AlarmEvent, DefectClass, UInt8, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartOpened, TriggerEvent
from edge.settings import SHIPPED_BUNDLE, Settings
from edge.simulation.belt import SimulatedBelt, SimulatedTrigger
from edge.simulation.camera import SimulatedCamera
from edge.simulation.rendering import CLASS_NAMES, RenderedLine, SimulatedLineSettings
from edge.station.counts import LineCounts
from edge.station.glance import Glance
from edge.wording import counted

BUNDLE = SHIPPED_BUNDLE
FPS = 15.0
# Both look at the same parts from above, the second with 1920 x 1080 px.
CAMERAS = ("top", "fine")
# The tolerances of each recipe. The recipe changes when the first part of the next one passes the light barrier.
TOLERATED: dict[str, tuple[str, ...]] = {"display": (), "cover": ("stain",)}
RECIPES = tuple(TOLERATED)
FRAMES_PER_PART = 15
# Without an end the recipe changes after so many parts.
PARTS_PER_RECIPE = 12
# A quarter of the smallest stain: what is less of an entering defect nobody would call one. Not the model's to choose.
VISIBLE_PX = 60
_TOLD_EVERY_S = 10.0
_COLOURS = {Verdict.OK: "bold green", Verdict.NG: "bold red", Verdict.NO_READ: "bold yellow"}

# The worth of a part: spotless, with a small flaw that somebody may not mind, or nothing.
GRADES: list[dict[str, Any]] = [
    {"name": "A", "value_factor": 1.0, "limits": {}},
    {"name": "B", "value_factor": 0.6, "max_coverage": 0.003},
    {"name": "scrap", "value_factor": 0},
]

DEMO_ALARMS: list[dict[str, Any]] = [
    {
        "id": "scratched",
        "measure": "coverage",
        "class": "scratch",
        "raise_at": 0.0003,
        "clear_below": 0.0001,
        "priority": "high",
        "text": "Scratched: check the rollers of the infeed",
    },
    {"id": "rejects", "measure": "ng", "text": "A bad part: take it out"},
    # half of the simulated parts are defective, and each of their alarms is here to be seen
    {
        "id": "alarm-flood",
        "measure": "raises",
        "within_s": 600,
        "raise_at": 10,
        "clear_below": 5,
        "needs_ack": False,
        "priority": "high",
        "out_of_service": True,
        "text": "Too many alarms to be read one by one: look for their common cause",
    },
]


def demo_cameras(seed: int, fps: float, frames: int) -> dict[str, SimulatedLineSettings]:
    """Return the two cameras of the demo. `frames`: of both together, 0 = they never end."""
    each = -(-frames // len(CAMERAS)) if frames else 0
    top = SimulatedLineSettings(fps=fps, frames=each, seed=seed, frames_per_part=FRAMES_PER_PART)
    # of an odd number of frames the second camera takes one less
    fine = top.model_copy(update={"width": 1920, "height": 1080, "frames": frames - each if frames else 0})
    return dict(zip(CAMERAS, (top, fine), strict=True))


def demo_settings(host: str, port: int) -> Settings:
    """Return the settings of the demo's station: two cameras, two recipes, parts by a light barrier."""
    # a laptop that has other things to do is no fault of the line: only a frame much older is stale here
    camera = {"source": "simulated", "max_age_ms": 5000}
    limits: dict[str, Any] = {name: {each: {} for each in classes} for name, classes in TOLERATED.items()}
    views = {
        name: {camera: {"bundle": str(BUNDLE), "inspect": {"limits": limits[name]}} for camera in CAMERAS}
        for name in RECIPES
    }
    return Settings.model_validate(
        {
            "line": {"enterprise": "demo", "device": "demo"},
            "cameras": dict.fromkeys(CAMERAS, camera),
            "recipes": {name: {"views": views[name], "grades": GRADES} for name in RECIPES},
            "recipe": RECIPES[0],
            "parts": {"trigger": "software", "timeout_ms": 60_000, "wait_ms": 20_000},
            "alarms": DEMO_ALARMS,
            "broker": {"host": host, "port": port},
        }
    )


@dataclass
class DemoScore:
    """The measured frames against the truth.

    A frame is truly defective when its true map holds a defect of VISIBLE_PX or more. The model's smallest areas do not
    matter. The map is uint8 [H, W] of the rendered line's ids. A frame that shows only slivers of entering or leaving
    defects is neither defective nor clean. A defective frame is missed when nothing that was found overlaps the truth.
    A clean one is false when anything was found. A part is missed when it shows a defect that its recipe does not
    tolerate and is OK. It is false when it shows none such and is NG.
    """

    classes: Sequence[DefectClass]
    defective: int = 0
    missed: int = 0
    clean: int = 0
    false: int = 0
    slivers: int = 0
    parts_missed: int = 0
    parts_false: int = 0
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    errors: list[float] = field(default_factory=list)

    def add(self, truth: UInt8, decided: Decided) -> float:
        """Count one frame and return its true coverage."""
        self.verdicts[decided.inspection.judgement.verdict] += 1
        true_coverage = float(cv2.countNonZero(truth) / truth.size)
        found = decided.defect_map.classes_per_pixel() if decided.defect_map is not None else None
        if found is not None and found.shape != truth.shape:  # the bundle makes large frames smaller
            truth = cv2.resize(truth, (found.shape[1], found.shape[0]), interpolation=cv2.INTER_NEAREST)
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

    def add_part(self, part: DecidedPart, shown: Sequence[str]) -> None:
        """Count one part. `shown`: the classes that it truly shows; what its recipe tolerates makes no part bad."""
        verdict = part.part.judgement.verdict
        bad = set(shown) - set(TOLERATED.get(part.part.recipe or "", ()))
        self.parts_missed += bool(bad) and verdict is Verdict.OK
        self.parts_false += not bad and verdict is Verdict.NG

    def summary(self, counts: LineCounts, published: int, acknowledged: int, frames_per_s: float) -> dict[str, Any]:
        """Return what the demo came to; None for a coverage error that no frame could tell.

        `ok`, `ng`, `no_read` are of frames; those that begin with `parts` are of parts.
        """
        return {
            "frames": counts.frames,
            "ok": self.verdicts[Verdict.OK],
            "ng": self.verdicts[Verdict.NG],
            "no_read": self.verdicts[Verdict.NO_READ],
            "parts": counts.parts,
            "parts_ok": counts.ok,
            "parts_ng": counts.ng,
            "parts_no_read": counts.no_read,
            "parts_missed": self.parts_missed,
            "parts_false": self.parts_false,
            "recipe_changes": counts.recipe_changes,
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
class Standing:
    """The alarms that an operator is to see: text, and since when on the station's clock, by id."""

    alarms: dict[str, tuple[str, int]] = field(default_factory=dict)

    def add(self, events: Sequence[AlarmEvent]) -> None:
        """Take transitions, in order."""
        for event in events:
            if event.state in {"active", "acknowledged"} and event.shown:
                _, since_ns = self.alarms.get(event.alarm, ("", event.at_ns))
                self.alarms[event.alarm] = event.text, since_ns
            else:
                self.alarms.pop(event.alarm, None)


@dataclass
class DemoScreen:
    """The view in a terminal: parts, the last of them, standing alarms, rates, broker, and how to listen in."""

    listen: Sequence[str]
    glance: Glance | None = None
    standing: Standing = field(default_factory=Standing)
    last: tuple[DecidedPart, tuple[str, ...]] | None = None
    frames_per_s: float = 0.0

    def add(self, decided: Decided | DecidedPart, shown: tuple[str, ...] = ()) -> None:
        """Take what was decided. `shown`: of a part, the classes that it truly shows."""
        self.standing.add(decided.alarms)
        if isinstance(decided, DecidedPart):
            self.last = decided, shown

    def __rich__(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for name, told in self._rows():
            table.add_row(Text(name, style="dim"), told)
        return Group(table, Text(), *(Text(line, style="cyan") for line in self.listen))

    def _rows(self) -> list[tuple[str, Text]]:
        glance = self.glance
        if glance is None:
            return [("parts", Text("starting"))]
        rows = [("parts", _counted(glance)), *self._last_part()]
        rows += [
            (
                "ALARM",
                Text.assemble((f"{name}", "bold white on red"), f" for {_ago(glance.at_ns - since_ns)}: {text}"),
            )
            for name, (text, since_ns) in self.standing.alarms.items()
        ] or [("alarms", Text("none stands", style="green"))]
        broker = "connected" if glance.connected else glance.broker or "not there yet"
        return [
            *rows,
            ("recipe", Text(f"{glance.recipe}, changed {counted(glance.recipe_changes, 'time')}")),
            ("rate", Text(f"{self.frames_per_s:.1f} frames/s from {counted(len(CAMERAS), 'camera')}")),
            ("broker", Text(f"{broker}: {glance.sent} sent, {glance.taken} taken, {glance.waiting} wait")),
        ]

    def _last_part(self) -> list[tuple[str, Text]]:
        if self.last is None:
            return []
        part, shown = self.last[0].part, self.last[1]
        verdict = part.judgement.verdict
        told = Text.assemble(
            f"{part.part_id}  ", (verdict.value, _COLOURS[verdict]), f"  {part.judgement.reason or ''}"
        )
        truth = ", ".join(shown) or "nothing"
        return [("last part", told), ("it truly has", Text(truth))]


def _counted(glance: Glance) -> Text:
    return Text.assemble(
        (f"{glance.ok} OK", _COLOURS[Verdict.OK]),
        "   ",
        (f"{glance.ng} NG", _COLOURS[Verdict.NG]),
        "   ",
        (f"{glance.no_read} NO_READ", _COLOURS[Verdict.NO_READ]),
        f"   since the start, in {counted(glance.frames, 'frame')}",
    )


def _ago(duration_ns: int) -> str:
    return f"{max(0, duration_ns) / 1e9:.0f} s"


@dataclass
class DemoLines:
    """The lines of a demo in a pipe, a log or without a screen: one every ten seconds."""

    console: Console
    ends: str
    counts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(Verdict, 0))
    frames: int = 0
    standing: Standing = field(default_factory=Standing)
    began_s: float | None = None
    told_s: float = 0.0

    def add(self, decided: Decided | DecidedPart, now_s: float, frames_per_s: float) -> None:
        """Take what was decided, and say how it stands if ten seconds have passed since it was last said."""
        self.standing.add(decided.alarms)
        if isinstance(decided, DecidedPart):
            self.counts[decided.part.judgement.verdict] += 1
        else:
            self.frames += decided.inspection.frame is not None
        if self.began_s is None:
            self.began_s = self.told_s = now_s
        if now_s - self.told_s < _TOLD_EVERY_S:
            return
        self.told_s = now_s
        verdicts = ", ".join(f"{count} {verdict.value}" for verdict, count in self.counts.items())
        self.console.print(
            f"{now_s - self.began_s:.0f} s: {counted(sum(self.counts.values()), 'part')}, {verdicts}; "
            f"{counted(self.frames, 'frame')}, {frames_per_s:.1f} frames/s; "
            f"alarms: {', '.join(sorted(self.standing.alarms)) or 'none'}. {self.ends}"
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


class DemoTrigger(SimulatedTrigger):
    """The light barrier of the demo: after every `parts_per_recipe` parts it names the next recipe."""

    def __init__(self, belt: SimulatedBelt, settings: SimulatedLineSettings, parts_per_recipe: int) -> None:
        super().__init__(belt, settings)
        self._parts_per_recipe = parts_per_recipe

    def events(self, now_ns: int | None = None) -> tuple[TriggerEvent, ...]:
        """Return what happened since the last call."""
        return tuple(
            replace(event, recipe=self._recipe(event.part_id)) if isinstance(event, PartOpened) else event
            for event in super().events(now_ns)
        )

    def _recipe(self, part_id: str | None) -> str:
        return RECIPES[_index(part_id or "") // self._parts_per_recipe % len(RECIPES)]


def _index(part_id: str) -> int:
    """Return which part an id of the simulated belt names, from 0."""
    return int(part_id.rsplit("-", 1)[1]) - 1


class DemoStation:
    """The simulated cameras over their belt, the light barrier, and the truth of each frame and part."""

    def __init__(self, cameras: Mapping[str, SimulatedLineSettings]) -> None:
        first = next(iter(cameras.values()))
        parts = first.frames // FRAMES_PER_PART
        per_recipe = max(1, parts // len(RECIPES)) if first.frames else PARTS_PER_RECIPE
        belt = SimulatedBelt(first.fps, list(cameras))
        self.cameras = {name: SimulatedCamera(name, settings, belt=belt) for name, settings in cameras.items()}
        self.trigger = DemoTrigger(belt, first, per_recipe)
        self._line = RenderedLine(first)

    def truth(self, decided: Decided) -> UInt8 | None:
        """Return the true map of a frame, uint8 [H, W]; None where no frame came."""
        seen = decided.inspection
        return None if seen.frame is None else self.cameras[seen.camera].truth(seen.frame)

    def shown(self, part_id: str) -> tuple[str, ...]:
        """Return the classes that a part truly shows, by the number in its id."""
        return self._line.shown(_index(part_id))


@dataclass
class _Demo:
    """Takes what is decided: scores it beside the truth, and shows it."""

    station: DemoStation
    score: DemoScore
    screen: DemoScreen
    lines: DemoLines
    shows_table: bool
    ends_s: list[float] = field(default_factory=list)

    def __call__(self, decided: Decided | DecidedPart) -> None:
        shown: tuple[str, ...] = ()
        if isinstance(decided, DecidedPart):
            shown = self.station.shown(decided.part.part_id)
            self.score.add_part(decided, shown)
        elif (truth := self.station.truth(decided)) is not None:
            self.ends_s.append(time.monotonic())
            self.score.add(truth, decided)
        rate = frames_per_s(self.ends_s[-60:])
        if self.shows_table:
            self.screen.frames_per_s = rate
            self.screen.add(decided, shown)
        else:
            self.lines.add(decided, time.monotonic(), rate)

    def look(self, glance: Glance) -> None:
        """Take how the station stands."""
        self.screen.glance = glance


def run_demo(
    stop: threading.Event, *, headless: bool, frames: int, seed: int, console: Console, pages: bool = False
) -> dict[str, Any]:
    """Inspect until `frames` of both cameras are done (0: until `stop` is set) and return the summary.

    Headless, frames come as fast as they are inspected; else 15 per second. A terminal gets a panel that lives;
    a pipe, a log and `headless` get a line every ten seconds. `pages`: a dashboard runs beside it.
    """
    bundle = load_bundle(BUNDLE)
    with ExitStack() as scope:
        broker = scope.enter_context(EmbeddedBroker())
        folder = scope.enter_context(scratch_folder("linewatch-demo-"))
        settings = demo_settings(broker.host, broker.port)
        ends = f"It ends after {counted(frames, 'frame')}, or with Ctrl-C" if frames else "Ctrl-C ends it"
        listen = [
            *how_to_listen(broker.host, broker.port, settings.line.root),
            f"{ends}; so does: kill {os.getpid()}",
        ]
        if pages:
            settings = with_evidence(settings, folder)
            listen = [*scope.enter_context(demo_pages(settings, folder)).lines, *listen]
        station = DemoStation(demo_cameras(seed, 0 if headless else FPS, frames))
        screen = DemoScreen(listen)
        demo = _Demo(
            station,
            DemoScore(bundle.classes),
            screen,
            DemoLines(console, ends),
            shows_table=console.is_terminal and not headless,
        )
        if demo.shows_table:
            scope.enter_context(Live(screen, console=console, refresh_per_second=8))
        else:
            console.print(Text("\n".join(listen)))
        result = run_station(
            settings,
            bundle,
            stop,
            store=folder / "outbox.db",
            live=True,
            instead=StandIns(cameras=station.cameras, trigger=station.trigger),
            watchers=Watchers([DirectObserver(demo)], demo.look),
        )
    rate = frames_per_s(demo.ends_s)
    return demo.score.summary(result.counts, result.published, result.outbox.acknowledged, rate)


def frames_per_s(ends_s: Sequence[float]) -> float:
    """Return frames per second between the first and the last decided frame."""
    return (len(ends_s) - 1) / (ends_s[-1] - ends_s[0]) if len(ends_s) > 1 and ends_s[-1] > ends_s[0] else 0.0
