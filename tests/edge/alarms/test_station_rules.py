"""Alarms of several cameras and of parts: each camera has its own, and a good one never ends that of a bad one."""

from __future__ import annotations

from datetime import datetime, timezone

from edge.alarms.manager import AlarmManager
from edge.alarms.rules import AlarmRule, Frames, station_rules
from edge.records import CameraFault, DeliveryState, FrameResult, Judgement, Measurement, Verdict
from edge.records.parts import Closing, PartResult, ViewResult

MS = 1_000_000
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
REJECT = AlarmRule(id="reject", measure="ng", on_delay_ms=100, off_delay_ms=100, needs_ack=False, text="look at it")


def frame(camera: str, at_ms: float, *, ng: bool = False, fault: CameraFault | None = None) -> FrameResult:
    """Return one frame result."""
    verdict = Verdict.NO_READ if fault else Verdict.NG if ng else Verdict.OK
    seen = None if fault else Measurement(0.01 * ng, None, 100.0, {}, ())
    told = Judgement(verdict, None if verdict is Verdict.OK else "told")
    return FrameResult(camera, 0, "", NOW, round(at_ms * MS), 1.0, told, seen, camera_fault=fault)


def part(number: int, verdict: Verdict) -> PartResult:
    """Return one part that one view saw."""
    worst = frame("top", 0, ng=verdict is Verdict.NG)
    view = ViewResult(1, int(verdict is not Verdict.NO_READ), int(verdict is Verdict.NG), 0, worst)
    told = Judgement(verdict, None if verdict is Verdict.OK else "told")
    return PartResult(number, f"p{number}", False, None, 0, 1, Closing.TRIGGER, told, {"top": view})


def test_a_bad_camera_beside_a_good_one_alternating() -> None:
    """Frames of a bad and a good camera alternate every 20 ms: the bad one's alarm is raised once, and stands."""
    alarms = AlarmManager(station_rules([REJECT], ["a", "b"], parts=False))
    told = []
    for k in range(100):
        told += alarms.look_at(frame("ab"[k % 2], k * 20, ng=k % 2 == 0), k * 20 * MS)
    assert [(event.alarm, event.transition) for event in told] == [("reject-a", "raised")]


def test_a_lost_camera_beside_a_good_one() -> None:
    """One camera is lost: its alarm is raised once and does not flap, and only its own surface alarm is suppressed."""
    alarms = AlarmManager(station_rules([REJECT], ["a", "b"], parts=False))
    told = []
    for k in range(40):
        told += alarms.look_at(frame("a", k * 20, fault=CameraFault.LOST), k * 20 * MS)
        told += alarms.look_at(frame("b", k * 20, ng=True), k * 20 * MS)
    raised = [event.alarm for event in told if event.transition == "raised"]
    assert sorted(raised) == ["camera-lost-a", "no-read-a", "reject-b"]
    assert [event.alarm for event in told if event.transition == "cleared"] == []
    assert alarms.shown("reject-b")
    assert not alarms.shown("no-read-a")


def test_one_bad_part_between_good_ones() -> None:
    """One NG part among a thousand good ones, with delays of 0, raises its alarm once."""
    rule = REJECT.model_copy(update={"on_delay_ms": 0, "off_delay_ms": 0})
    alarms = AlarmManager(station_rules([rule], ["top", "side"], parts=True))
    told = []
    for k in range(1000):
        told += alarms.look_at(frame("top", k * 1000, ng=k == 500), k * 1000 * MS)  # frames raise no alarm of parts
        told += alarms.look_at(part(k, Verdict.NG if k == 500 else Verdict.OK), k * 1000 * MS)
    assert [(event.alarm, event.transition) for event in told] == [("reject", "raised"), ("reject", "cleared")]
    assert told[0].at_ns == 500_000 * MS


def test_three_bad_parts_of_five() -> None:
    """`frames: {at_least: 3, of: 5}` counts parts where the station has parts."""
    counted = Frames(at_least=3, of=5)
    rule = REJECT.model_copy(update={"on_delay_ms": 0, "off_delay_ms": 0, "frames": counted})
    alarms = AlarmManager(station_rules([rule], ["top"], parts=True))
    verdicts = ["NG", "OK", "OK", "OK", "NG", "OK", "NG", "NG", "OK"]
    changes = [k for k, each in enumerate(verdicts) if alarms.look_at(part(k, Verdict(each)), k * MS)]
    assert changes[0] == 7  # parts 3 to 7 have three NG: 4, 6 and 7; parts 0 to 6 never have three of five


def test_names_and_suppression_follow_the_cameras() -> None:
    """A rule for one camera keeps its id. One for all is one per camera, and suppresses that of the same camera."""
    rules = station_rules(
        [
            AlarmRule(id="many", measure="count", raise_at=5, text="many"),
            AlarmRule(id="few", measure="count", raise_at=1, suppressed_by=("many",), text="few"),
            AlarmRule(id="edge", measure="count", raise_at=1, cameras=("b",), suppressed_by=("many",), text="edge"),
        ],
        ["a", "b"],
        parts=False,
    )
    by_id = {rule.id: rule for rule in rules}
    assert by_id["few-a"].suppressed_by == ("many-a",)
    assert by_id["few-b"].suppressed_by == ("many-b",)
    assert by_id["edge"].suppressed_by == ("many-b",)
    assert by_id["camera-lost-a"].text.startswith("a: ")
    alone = {rule.id for rule in station_rules([REJECT], ["a"], parts=False)}
    assert {"reject", "camera-lost"} <= alone
    assert AlarmManager(rules).tick(DeliveryState(), 0) == ()
