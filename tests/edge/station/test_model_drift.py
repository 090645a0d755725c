"""The drift of a model of good parts on a whole station, whose parts grow brighter and still pass."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app import StandIns, Watchers, run_station
from edge.bundle import Bundle, write_manifest
from edge.observers.direct import DirectObserver
from edge.outbox.reader import OutboxReader
from edge.parts.triggers import ToldTrigger
from edge.publishers.memory import MemoryPublisher
from edge.records import JournalEntry, UInt8, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartClosed, PartOpened
from edge.settings import Settings
from tests.bright_bundle import write_bright_bundle
from tests.edge.station.recipe_line import running
from tests.edge.station.test_station import ListedCamera

MS = 1_000_000
WINDOW = 20
# The probability of a pixel is its brightness / 255, so that a score is the root of b / (255 - b): 0.5 at 51.
REFERENCE = {"low": 0.45, "median": 0.5, "high": 0.55, "parts": 40}
STEADY, BRIGHT, FLAGGED = 51, 80, 140


def learned(folder: Path, reference: dict[str, Any] | None = REFERENCE) -> Bundle:
    """Write a bundle that says of itself that it learned good parts."""
    bundle = write_bright_bundle(folder)
    training = {"recipe": {"learn": "good-parts"}, "good_parts": {"reference": reference}}
    return write_manifest(folder, bundle.manifest.model_copy(update={"training": training}))


def frame(brightness: int) -> UInt8:
    """Draw a part of two tiles, with one spot that is its brightest."""
    pixels = np.full((64, 100, 3), 30, np.uint8)
    pixels[10:20, 70:80] = brightness
    return pixels


@dataclass(frozen=True)
class Run:
    """The words of a replay: verdicts in their order, and what the journal has of the alarm."""

    verdicts: list[Verdict]
    journal: list[JournalEntry]

    @property
    def kinds(self) -> list[str]:
        """The transitions."""
        return [entry.kind for entry in self.journal]


def replay(
    folder: Path,
    bundle: Bundle,
    brightness: Sequence[int],
    inspect: dict[str, Any] | None = None,
    *,
    parts: bool,
    frames: int = 1,
) -> Run:
    """Take one frame in 100 ms through a station. So many are a part, or each has a verdict of its own."""
    drift = {"every_s": 0, "window": WINDOW}
    told = {"bundle": str(bundle.path), "inspect": {"model_drift": drift, **(inspect or {})}}
    if parts:
        told["parts"] = {"trigger": "mqtt", "timeout_ms": 10_000}
    settings = Settings.model_validate_json(json.dumps(told))
    camera = ListedCamera(settings.camera.name, [(100 * at, frame(level)) for at, level in enumerate(brightness)])
    trigger = ToldTrigger() if parts else None
    for at in range(0, len(brightness), frames) if trigger is not None else ():
        trigger.tell(PartOpened((100 * at - 10) * MS, f"P{at}"))
        trigger.tell(PartClosed((100 * (at + frames - 1) + 10) * MS, f"P{at}"))
    decided: list[Decided | DecidedPart] = []
    run_station(
        settings,
        bundle,
        threading.Event(),
        store=folder / "outbox.db",
        live=False,
        instead=StandIns({camera.name: camera}, trigger, MemoryPublisher()),
        watchers=Watchers([DirectObserver(decided.append)]),
    )
    with OutboxReader(folder / "outbox.db") as reader:
        journal = [row for row in reader.journal(10_000, "model-drift") if row.kind in {"raised", "cleared"}]
    kind = DecidedPart if parts else Decided
    results = [one for one in decided if isinstance(one, kind)]
    return Run(
        [(one.part if isinstance(one, DecidedPart) else one.inspection).judgement.verdict for one in results], journal
    )


@pytest.mark.parametrize("parts", [False, True])
def test_parts_that_grow_other_and_still_pass_raise_it(tmp_path: Path, *, parts: bool) -> None:
    """All are OK; the alarm comes with the median, asks to teach, and ends when parts are as they were.

    Ten of twenty are bright: the median lies between 0.5 and the root of 80 / 175.
    """
    levels = [*[STEADY] * 40, *[BRIGHT] * 40, *[STEADY] * 40]
    ran = replay(tmp_path, learned(tmp_path / "bundle"), levels, parts=parts)
    assert ran.verdicts == [Verdict.OK] * 120
    assert ran.kinds == ["raised", "cleared"]
    assert "the median of their scores is 0.59" in ran.journal[0].detail


def test_steady_parts_raise_nothing(tmp_path: Path) -> None:
    """Steady parts raise nothing, however many there are."""
    levels = np.random.default_rng(0).integers(STEADY - 3, STEADY + 4, 150).tolist()
    assert replay(tmp_path, learned(tmp_path / "bundle"), levels, parts=True).kinds == []


def test_rejects_are_no_drift(tmp_path: Path) -> None:
    """Three of four parts are flagged in one of their frames, and those that pass look as ever: the tool's fault."""
    levels = [STEADY, STEADY, *[BRIGHT, FLAGGED] * 3] * 15
    ran = replay(tmp_path, learned(tmp_path / "bundle"), levels, parts=True, frames=2)
    assert ran.verdicts == [Verdict.OK, *[Verdict.NG] * 3] * 15
    assert ran.kinds == []


def test_where_a_part_of_the_picture_is_inspected_the_first_parts_are_the_reference(tmp_path: Path) -> None:
    """Scores of other pictures say nothing of a region: what lies outside moves nothing, what lies within does."""
    bundle = learned(tmp_path / "bundle")
    outside = {"region": {"rectangle": [0, 0, 60, 64]}}
    inside = {"region": {"rectangle": [40, 0, 60, 64]}}
    levels = [*[90] * 40, *[110] * 40]
    (tmp_path / "outside").mkdir()
    (tmp_path / "inside").mkdir()
    assert replay(tmp_path / "outside", bundle, levels, outside, parts=False).kinds == []
    assert replay(tmp_path / "inside", bundle, levels, inside, parts=False).kinds == ["raised"]


def test_it_is_left_out_where_it_is_not_asked_for_or_means_nothing(tmp_path: Path) -> None:
    """`model_drift: null`, and a model of marked defects, whose score is no distance."""
    for name in ("off", "other"):
        (tmp_path / name).mkdir()
    off = {"model_drift": None}
    assert replay(tmp_path / "off", learned(tmp_path / "bundle"), [BRIGHT] * 40, off, parts=False).kinds == []
    other = write_bright_bundle(tmp_path / "marked")
    assert replay(tmp_path / "other", other, [BRIGHT] * 40, parts=False).kinds == []


def test_a_running_line_tells_it_and_another_recipe_begins_anew(tmp_path: Path) -> None:
    """Live, by parts: the health message has the median, the alarm comes, and another recipe has scores of its own."""
    drift = {"every_s": 0, "window": WINDOW}
    recipes = {}
    for name in ("a", "b"):
        bundle = learned(tmp_path / name)
        view = {"bundle": str(bundle.path), "inspect": {"model_drift": drift}}
        recipes[name] = {"views": {"top": view}, "part_id_prefixes": [f"{name.upper()}-"]}
    given = {
        "cameras": {"top": {"max_age_ms": 60_000}},
        "recipes": recipes,
        "recipe": "a",
        "parts": {"trigger": "mqtt"},
    }
    with running(tmp_path, given) as line:
        desk, manager = line.opened.decider.drift, line.opened.decider.recorder.alarms.manager

        def shown(name: str, scores: int) -> None:
            for number in range(10_000):
                if desk.now["top"].scores >= scores:
                    return
                assert line.verdict(f"{name}-{number}", frame(BRIGHT)) in {"OK", "NO_READ"}
            raise AssertionError(desk.now)

        shown("A", WINDOW)
        line.wait(lambda: "model-drift" in manager.shown_alarms)
        now = desk.now["top"]
        assert (now.low, now.high, now.drifted) == (0.45, 0.55, True)
        assert now.median == pytest.approx((80 / 175) ** 0.5)
        assert line.change("b")["outcome"] == "ok"
        assert desk.now["top"].scores < WINDOW
        assert not desk.now["top"].drifted
        assert "model-drift" in manager.shown_alarms  # which stands for the recipe that it is about
        assert line.journal("raised")[0].detail.startswith("top: passed parts are farther from what was taught")
        assert str(desk.told(line.opened.decider.now_ns)).startswith("a, top: passed parts are farther")
