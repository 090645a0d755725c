"""The conditions that alarms watch, and rules that make no sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from edge.alarms import NO_READ_ALARM, AlarmManager, AlarmRule, alarm_rules, measure_of
from edge.alarms.conditions import delivery_measure_of
from edge.records import (
    CameraFault,
    ClassMeasure,
    Defect,
    DeliveryState,
    FrameResult,
    Grade,
    Judgement,
    Measurement,
    Verdict,
)
from tests.edge.alarms.making import NOON, measured, rule


def inspection(verdict: Verdict, measurement: Measurement | None) -> FrameResult:
    """Return an inspection of no particular frame."""
    return FrameResult("top", 1, "", NOON, 0, 1.0, Judgement(verdict, None), measurement)


def scratch(area_mm2: float | None, length_mm: float | None, name: str = "scratch") -> Defect:
    """Return a defect of this size."""
    return Defect(1, name, 0.9, 4.0, (0, 0, 2, 2), 2.0, 2.0, area_mm2, length_mm, None)


DEFECTS = tuple(scratch(None, None) for _ in range(3))
SEEN = Measurement(0.03, None, 1e6, {"scratch": ClassMeasure(0.02, 3), "stain": ClassMeasure(0.01, 0)}, DEFECTS)


@pytest.mark.parametrize(
    ("of", "ok", "ng", "no_read"),
    [
        (rule(), 0.03, 0.03, None),
        (rule(**{"class": "scratch"}), 0.02, 0.02, None),
        (rule(measure="count", raise_at=2, clear_below=1), 3.0, 3.0, None),
        (rule(**{"measure": "count", "class": "stain", "raise_at": 1}), 0.0, 0.0, None),
        (rule(**{"class": "not-of-this-model"}), None, None, None),
        (rule(measure="area_mm2", raise_at=1), None, None, None),
        (rule(id="ng", measure="ng"), 0.0, 1.0, None),
        (rule(measure="camera", camera=["lost"]), 0.0, 0.0, 0.0),
        (NO_READ_ALARM, 0.0, 0.0, 1.0),
    ],
)
def test_what_a_rule_watches(of: AlarmRule, ok: float | None, ng: float | None, no_read: float | None) -> None:
    """Each measure is taken from the inspection; of a frame that was not read only that is known."""
    assert measure_of(of, inspection(Verdict.OK, SEEN)) == ok
    assert measure_of(of, inspection(Verdict.NG, SEEN)) == ng
    assert measure_of(of, inspection(Verdict.NO_READ, None)) == no_read


def test_the_largest_and_the_longest_defect_are_watched_in_millimetres() -> None:
    """Of all classes or of one; 0 where there is none, unknown of a class that the model lacks."""
    defects = (scratch(2.0, 9.0), scratch(5.0, 3.0), scratch(7.0, 1.0, "stain"))
    classes = {"scratch": ClassMeasure(0.1, 2), "stain": ClassMeasure(0.1, 1), "chip": ClassMeasure(0, 0)}
    shown = inspection(Verdict.OK, Measurement(0.1, None, 1e6, classes, defects))
    area, length = rule(measure="area_mm2", raise_at=1), rule(measure="length_mm", raise_at=1)
    assert (measure_of(area, shown), measure_of(length, shown)) == (7.0, 9.0)
    of_class = [measure_of(area.model_copy(update={"class_name": name}), shown) for name in ("scratch", "chip", "dent")]
    assert of_class == [5.0, 0.0, None]


def test_a_zone_is_watched_alone() -> None:
    """A rule with a zone sees what the zone shows; without that zone nothing is known."""
    shown = replace(inspection(Verdict.OK, SEEN), zones={"edge": measured(0.5, scratch(1, 1))})
    assert measure_of(rule(zone="edge"), shown) == 0.5
    assert measure_of(rule(zone="edge", measure="count", raise_at=1), shown) == 1
    assert measure_of(rule(zone="rim"), shown) is None


def test_a_grade_and_a_camera_are_so_or_not() -> None:
    """1 where the frame's grade, or the camera's fault, is one of those named. A frame without a grade has none."""
    of = rule(measure="grade", grades=["C", "scrap"])
    grades = [Grade("A", 1), Grade("scrap", 0), None]
    assert [measure_of(of, replace(inspection(Verdict.OK, SEEN), grade=one)) for one in grades] == [0, 1, None]
    camera = rule(measure="camera", camera=["frozen", "blind"])
    unread = inspection(Verdict.NO_READ, None)
    faults = [CameraFault.LOST, CameraFault.FROZEN, CameraFault.BLIND, None]
    assert [measure_of(camera, replace(unread, camera_fault=one)) for one in faults] == [0, 1, 1, 0]


def test_delivery_is_watched_by_its_age_and_its_troubles() -> None:
    """The age of the oldest message in ms; 1 where one of the named troubles is there."""
    state = DeliveryState(oldest_s=2.5, refused="two messages are dead letters")
    assert delivery_measure_of(rule(measure="queue_age_ms", raise_at=1000), state) == 2500
    for troubles, there in ((["refused"], 1), (["disk", "refused"], 1), (["disk", "overflow"], 0)):
        assert delivery_measure_of(rule(measure="delivery", delivery=troubles), state) == there


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({"raise_at": None, "clear_below": None}, "expected raise_at for the measure coverage"),
        ({"clear_below": 0.6}, "expected clear_below ≤ raise_at = 0.5, received 0.6"),
        ({"deadband": 0.1}, "expected clear_below or deadband, received both"),
        ({"clear_below": None, "deadband": 0.5}, "expected deadband < raise_at = 0.5, received 0.5"),
        ({"raise_at": 5}, "expected raise_at as a fraction"),
        ({"measure": "ng", "raise_at": 0.5}, "expected neither raise_at"),
        ({"on_delay_ms": -1}, "greater than or equal to 0"),
        ({"frames": {"at_least": 4, "of": 3}}, "expected at_least ≤ of = 3, received 4"),
        ({"id": "a/b"}, "pattern"),
        ({"raise_above": 1}, "Extra inputs"),
        ({"severity": "high", "priority": "low"}, "severity"),
        ({"text": ""}, "at least 1 character"),
        ({"measure": "grade"}, "expected grades for the measure grade, received none"),
        ({"measure": "camera", "camera": ["lost"], "zone": "rim"}, "expected no zone for the measure camera"),
        ({"camera": ["lost"]}, "expected no camera for the measure coverage"),
        ({"measure": "camera", "camera": ["sleepy"]}, "'lost', 'frozen', 'blind', 'out_of_focus'"),
        ({"measure": "ng", "class": "scratch", "raise_at": None}, "expected no class for the measure ng"),
        ({"suppressed_by": ["dirt"]}, "received this one's own id"),
        ({"max_shelve_s": 0}, "greater than or equal to 1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(how: dict[str, Any], expected: str) -> None:
    """Each mistake in a rule is named when the settings are read."""
    with pytest.raises(ValidationError, match=expected):
        rule(**how)


def test_a_deadband_is_a_limit_below_the_other() -> None:
    """Raised from 0.5 on with a deadband of 0.125, it clears below 0.375."""
    assert rule(clear_below=None, deadband=0.125).clear_limit == 0.375


def test_a_raised_alarm_says_why() -> None:
    """The camera's own words go with camera-lost and no-read, those of delivery with its alarms; no other has any."""
    rules = alarm_rules([rule(raise_at=0.1, clear_below=0.1)])
    manager = AlarmManager(rules)
    lost = replace(
        inspection(Verdict.NO_READ, None),
        judgement=Judgement(Verdict.NO_READ, "no frame for 1000 ms: 401 Unauthorized"),
        camera_fault=CameraFault.LOST,
    )
    raised = {event.alarm: event for event in manager.look_at(lost, 0) if event.transition == "raised"}
    assert {name: event.detail for name, event in raised.items()} == {
        "camera-lost": "no frame for 1000 ms: 401 Unauthorized",
        "no-read": "no frame for 1000 ms: 401 Unauthorized",
    }
    full = [event for event in manager.tick(DeliveryState(disk="no space"), 1) if event.transition == "raised"]
    assert [(event.alarm, event.detail) for event in full] == [("outbox-disk", "no space")]
    dirty = [event for event in manager.look_at(inspection(Verdict.OK, measured(0.9)), 2) if event.alarm == "dirt"]
    assert [event.detail for event in dirty if event.transition == "raised"] == [""]


def test_whoever_is_missing_at_the_broker_is_missed_for_results_too() -> None:
    """`no-consumer` says what waits: results, and not alarms alone."""
    (rule,) = (rule for rule in alarm_rules(()) if rule.id == "no-consumer")
    assert "Nobody takes the results or alarms" in rule.text
