from __future__ import annotations

import io
from datetime import datetime, timezone

import numpy as np
from rich.console import Console

from edge.cli.demo import VISIBLE_PX, DemoScore, DemoScreen
from edge.inspection.measuring import measure, region
from edge.records import (
    AlarmEvent,
    DefectClass,
    DefectMap,
    FrameResult,
    Judgement,
    Transform,
    UInt8,
    Verdict,
)
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import Closing, PartResult
from edge.station.counts import LineCounts
from edge.station.glance import Glance

# numbered as a bundle does, in alphabetical order. The rendered line calls a scratch 1, a stain 2 and a chip 3
CLASSES = (
    DefectClass(1, "chip", "major", (0, 0, 255), 0.5, 30),
    DefectClass(2, "scratch", "critical", (255, 0, 0), 0.5, 10),
    DefectClass(3, "stain", "minor", (255, 255, 0), 0.5, 20),
)
SCRATCH_TRUTH, CHIP_TRUTH = 1, 3
SIZE = (50, 100)  # 5000 px
S = 1_000_000_000


def blank() -> UInt8:
    """Return a map without defects."""
    return np.zeros(SIZE, np.uint8)


def with_box(class_id: int, y: int, x: int, height: int, width: int) -> UInt8:
    """Return a map with one rectangle."""
    found = blank()
    found[y : y + height, x : x + width] = class_id
    return found


def decided(found: UInt8, alarms: tuple[AlarmEvent, ...] = ()) -> Decided:
    """Measure a map as the line does and wrap it up as one decided frame."""
    raw = DefectMap(found, np.where(found > 0, 255, 0).astype(np.uint8))
    measurement, cleaned = measure(raw, CLASSES, region(SIZE, None, Transform.identity()), Transform.identity(), None)
    verdict = Verdict.NG if measurement.defects else Verdict.OK
    now = datetime.now(timezone.utc)
    inspection = FrameResult("c", 7, "", now, 0, 1.0, Judgement(verdict, None), measurement)
    return Decided(inspection, {}, None, cleaned, alarms)


def unread() -> Decided:
    """Return a frame that could not be read."""
    now = datetime.now(timezone.utc)
    judgement = Judgement(Verdict.NO_READ, "the engine failed")
    return Decided(FrameResult("c", 7, "", now, 0, 1.0, judgement, None), {}, None, None, ())


def score_of(
    truth: UInt8, frame: Decided, classes: tuple[DefectClass, ...] = CLASSES
) -> tuple[int, int, int, int, int]:
    """Return (defective, missed, clean, false, sliver) after one frame."""
    score = DemoScore(classes)
    score.add(truth, frame)
    return score.defective, score.missed, score.clean, score.false, score.slivers


def test_a_defect_counts_from_one_size_on_whatever_the_model_can_see() -> None:
    """One pixel less than VISIBLE_PX is a sliver; the bundle's own smallest areas (10 to 30 px) play no part."""
    assert max(entry.min_area_px for entry in CLASSES) < VISIBLE_PX
    for class_id in (SCRATCH_TRUTH, CHIP_TRUTH):
        assert score_of(with_box(class_id, 0, 0, 1, VISIBLE_PX), decided(blank())) == (1, 1, 0, 0, 0)
        assert score_of(with_box(class_id, 0, 0, 1, VISIBLE_PX - 1), decided(blank())) == (0, 0, 0, 0, 1)


def test_what_the_bundle_does_not_know_is_not_missed() -> None:
    """Classes are matched by name: a bundle of scratches alone, its number 1 or 2, is judged by the true scratches."""
    for number in (1, 2):
        only = (DefectClass(number, "scratch", "major", (0, 0, 0), 0.5, 10),)
        assert score_of(with_box(SCRATCH_TRUTH, 0, 0, 10, 20), decided(blank()), only) == (1, 1, 0, 0, 0)
        assert score_of(with_box(CHIP_TRUTH, 0, 0, 10, 20), decided(blank()), only) == (0, 0, 0, 0, 1)


def test_without_a_defective_frame_there_is_no_coverage_error() -> None:
    """A figure that no frame could tell is null, not 0."""
    assert DemoScore(CLASSES).summary(LineCounts(), 0, 0, 0.0)["coverage_relative_error"] is None


def test_the_screen_shows_parts_alarms_and_how_to_listen_at_80_columns() -> None:
    """Counts, the last part with reason and truth, each alarm with age and remedy, rates and broker."""
    screen = DemoScreen(["mosquitto_sub -t 'demo/#'"])
    console = Console(file=io.StringIO(), width=80, record=True)
    raised = AlarmEvent("scratched", "raised", "active", "1", "high", 2 * S, 0.01, 0.0003, "Scratched glass")
    cleared = AlarmEvent("scratched", "cleared", "returned", "1", "high", 9 * S, 0.0, 0.0001, "Scratched glass")
    judged = Judgement(Verdict.NG, "top: scratch: 1 defect")
    part = PartResult(7, "glass-000007", False, "glass", 0, 1, Closing.TRIGGER, judged)
    screen.glance = Glance(
        at_ns=5 * S,
        frames=240,
        parts=8,
        ok=5,
        ng=2,
        no_read=1,
        dropped=0,
        age_ms=9.0,
        camera="",
        connected=True,
        broker="",
        waiting=0,
        alarms=(),
        recipe="glass",
        recipe_changes=1,
        sent=90,
        taken=88,
    )
    screen.frames_per_s = 29.75
    screen.add(DecidedPart(part, {}, (raised,)), ("scratch",))
    console.print(screen)
    shown = console.export_text(clear=True)
    words = ["5 OK", "2 NG", "1 NO_READ", "240 frames", "glass-000007", "NG", "top: scratch: 1 defect", "scratch"]
    words += ["scratched for 3 s: Scratched glass", "29.8 frames/s from 2 cameras", "glass, changed 1 time"]
    for each in [*words, "connected: 90 sent, 88 taken", "mosquitto_sub -t 'demo/#'"]:
        assert each in shown, each
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    screen.add(DecidedPart(part, {}, (cleared,)))
    console.print(screen)
    assert "none stands" in console.export_text()
