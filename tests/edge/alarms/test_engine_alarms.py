from __future__ import annotations

from datetime import datetime, timezone

import pytest

from edge.alarms import AlarmManager, alarm_rules
from edge.alarms.rules import AlarmRule
from edge.errors import SettingsError
from edge.inspection.limits import no_read
from edge.records import EngineFault, FrameResult, Judgement, Measurement, Verdict
from edge.settings import Settings

GOOD = Measurement(0.0, None, 100.0, {}, ())
S = 1_000_000_000


def frame(fault: EngineFault | None, *, read: bool | None = None) -> FrameResult:
    """Make a frame's result; one with a fault, or that was not read, is NO_READ."""
    read = fault is None if read is None else read
    judgement = (
        Judgement(Verdict.OK, None) if read else no_read("the engine (openvino) has not answered 4 tiles by 10 s")
    )
    measurement = GOOD if read else None
    at = datetime.now(timezone.utc)
    return FrameResult("eye", 1, "", at, 0, 1.0, judgement, measurement, engine_fault=fault)


@pytest.mark.parametrize(
    ("fault", "alarm"),
    [
        (EngineFault.HANGS, "engine-hangs"),
        (EngineFault.FAILS, "engine-fails"),
        (EngineFault.WRONG_ANSWER, "engine-answers-wrong"),
    ],
)
def test_each_fault_of_the_engine_is_an_alarm_that_names_it(fault: EngineFault, alarm: str) -> None:
    """It is shown with the engine's words, suppresses `no-read`, and clears with the first frame that is answered."""
    manager = AlarmManager(alarm_rules(()))
    events = manager.look_at(frame(fault), S)
    assert {event.alarm: event.shown for event in events if event.transition == "raised"}[alarm]
    assert "the engine (openvino)" in next(event.detail for event in events if event.alarm == alarm)
    assert manager.shown_alarms == [alarm]
    assert set(manager.active) == {alarm, "no-read"}
    manager.look_at(frame(None), 2 * S)
    assert manager.active == []


def test_a_frame_that_the_engine_never_got_tells_nothing_of_it() -> None:
    """A lost camera neither raises nor clears what is known of the engine."""
    manager = AlarmManager(alarm_rules(()))
    manager.look_at(frame(None, read=False), S)
    assert "engine-hangs" not in manager.active
    manager.look_at(frame(EngineFault.HANGS), 2 * S)
    manager.look_at(frame(None, read=False), 3 * S)
    assert "engine-hangs" in manager.active


def test_a_rule_about_the_engine_names_its_faults() -> None:
    """A rule of one's own takes `engine:`, and needs it."""
    rule = {"id": "hung", "measure": "engine", "engine": ["hangs"], "text": "restart"}
    assert AlarmRule.model_validate(rule).engine == (EngineFault.HANGS,)
    for wrong in ({**rule, "engine": []}, {**rule, "raise_at": 1}, {**rule, "per": "part"}, {**rule, "measure": "ng"}):
        with pytest.raises((ValueError, SettingsError)):
            Settings.model_validate({"alarms": [wrong]})
