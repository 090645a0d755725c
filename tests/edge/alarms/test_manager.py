"""The alarm manager: acknowledging, latching, shelving, suppression, floods, chatter; and the promises about them."""

from __future__ import annotations

import random

import pytest

from edge.alarms import FLOOD_ALARM, AlarmManager, Condition, alarm_rules
from edge.records import AlarmEvent, CameraFault, ClassMeasure, DeliveryState, FrameResult, Measurement
from tests.edge.alarms.making import MS, NOON, S, by, desk, occurrences, rule, seen, told

BAD, GOOD = seen(0.9), seen(0.0)


def test_an_acknowledgement_is_of_one_occurrence_and_counts_once() -> None:
    """It carries user and comment; said again it changes nothing; the next raising is another occurrence."""
    alarms = desk(rule())
    (raised,) = alarms.look_at(BAD, 1 * MS)
    outcome, _, (event,) = alarms.acknowledge("1", by("anna", "wiped", 2 * MS))
    assert (outcome, event.transition, event.state) == ("ok", "acknowledged", "acknowledged")
    assert (event.user, event.comment, event.value, event.occurrence_id) == ("anna", "wiped", 0.9, raised.occurrence_id)
    assert alarms.acknowledge("1", by("bert"))[::2] == ("already_acked", ())
    assert told(alarms.look_at(GOOD, 3 * MS)) == [("dirt", "cleared")]
    assert alarms.states["dirt"].condition is Condition.NORMAL
    assert alarms.acknowledge("1", by("bert"))[0] == "already_acked"
    (again,) = alarms.look_at(BAD, 4 * MS)
    assert again.occurrence_id == "2"
    assert alarms.acknowledge("1", by("anna"))[0] == "unknown_occurrence"
    assert alarms.states["dirt"].condition is Condition.ACTIVE


def test_an_alarm_that_is_over_waits_for_somebody_to_see_it() -> None:
    """Unacknowledged it stands as `returned`, is shown, and an acknowledgement lets it go."""
    alarms = desk(rule())
    alarms.look_at(BAD, 1)
    alarms.look_at(GOOD, 2)
    assert alarms.states["dirt"].condition is Condition.RETURNED
    assert (alarms.active, alarms.shown_alarms) == ([], ["dirt"])
    assert alarms.acknowledge("1", by())[0] == "ok"
    assert alarms.standing("dirt", 3) is None


def test_a_latched_alarm_holds_until_it_is_reset() -> None:
    """Its cause gone and seen, it still stands; while the cause is there nobody resets it."""
    alarms = desk(rule(latch=True))
    alarms.look_at(BAD, 1)
    outcome, detail, events = alarms.reset("1", by())
    assert (outcome, detail, events) == ("not_latched", "dirt cannot be reset: its cause stands", ())
    alarms.acknowledge("1", by())
    alarms.look_at(GOOD, 2)
    assert alarms.shown_alarms == ["dirt"]
    assert alarms.reset("2", by())[0] == "unknown_occurrence"
    outcome, _, (event,) = alarms.reset("1", by("anna", "rollers changed"))
    assert (outcome, event.transition, event.state, event.user) == ("ok", "reset", "normal", "anna")


def test_only_operators_command() -> None:
    """A user not on the list is told so, whatever they name, and nothing changes. An empty list is everybody's."""
    alarms = desk(rule(), operators=("anna",))
    alarms.look_at(BAD, 1)
    for outcome, _, events in (
        alarms.acknowledge("1", by("mallory")),
        alarms.acknowledge("7", by("mallory")),
        alarms.reset("1", by("mallory")),
        alarms.shelve("dirt", 10, by("mallory")),
        alarms.unshelve("dirt", by("mallory")),
    ):
        assert (outcome, events) == ("not_authorised", ())
    assert alarms.acknowledge("1", by("anna"))[0] == "ok"


def test_a_shelved_alarm_goes_on_unseen_and_comes_back() -> None:
    """It raises in the journal and is not shown; it is shown after its time, by the monotonic clock."""
    alarms = desk(rule(max_shelve_s=60))
    outcome, detail, (shelved,) = alarms.shelve("dirt", 60, by("anna", "cleaning", 0))
    assert (outcome, detail, shelved.transition) == ("ok", "for 60 s", "shelved")
    (raised,) = alarms.look_at(BAD, 10 * S)
    assert (raised.transition, raised.shown, alarms.shown_alarms) == ("raised", False, [])
    assert told(alarms.look_at(BAD, 60 * S - 1)) == []
    (back,) = alarms.look_at(BAD, 60 * S)
    assert (back.transition, back.shown, back.detail) == ("unshelved", True, "its time is over")


def test_a_shelf_never_lasts_longer_than_it_may() -> None:
    """Longer is refused, in one piece or in several; the remaining time is told."""
    alarms = desk(rule(max_shelve_s=60))
    outcome, detail, _ = alarms.shelve("dirt", 61, by())
    assert (outcome, detail) == ("out_of_range", "dirt may be shelved for at most 60 s, not 61 s")
    assert alarms.shelve("dirt", 40, by(at_ns=0))[0] == "ok"
    outcome, detail, _ = alarms.shelve("dirt", 40, by(at_ns=30 * S))
    assert (outcome, detail) == ("out_of_range", "dirt may be shelved for at most 30 s, not 40 s")
    assert alarms.shelve("dirt", 30, by(at_ns=30 * S))[0] == "ok"
    assert told(alarms.tick(DeliveryState(), 60 * S)) == [("dirt", "unshelved")]


def test_shelved_once_it_is_back_when_it_returns() -> None:
    """It lasts to the next clearing, and at the latest to max_shelve_s."""
    alarms = desk(rule(max_shelve_s=60))
    alarms.look_at(BAD, 1)
    alarms.shelve("dirt", None, by(at_ns=1))
    assert told(alarms.look_at(GOOD, 2)) == [("dirt", "cleared"), ("dirt", "unshelved")]
    alarms.shelve("dirt", None, by(at_ns=2))
    assert told(alarms.tick(DeliveryState(), 60 * S + 2)) == [("dirt", "unshelved")]


def test_what_is_not_there_cannot_be_shelved() -> None:
    """An alarm that the line has not, and one that lies on no shelf."""
    alarms = desk(rule())
    assert alarms.shelve("dust", 10, by())[:2] == ("unknown_alarm", "expected one of dirt, received 'dust'")
    assert alarms.unshelve("dirt", by())[0] == "not_shelved"


def test_an_alarm_that_stands_alarms_again() -> None:
    """After re_alarm_ms without an acknowledgement, and as long after one; it is the same occurrence."""
    alarms = desk(rule(re_alarm_ms=10_000))
    alarms.look_at(BAD, 0)
    assert told(alarms.tick(DeliveryState(), 10 * S - 1)) == []
    assert told(alarms.tick(DeliveryState(), 10 * S)) == [("dirt", "re_alarmed")]
    alarms.acknowledge("1", by(at_ns=11 * S))
    (again,) = alarms.tick(DeliveryState(), 20 * S)
    assert (again.transition, again.state, again.occurrence_id) == ("re_alarmed", "active", "1")
    assert alarms.acknowledge("1", by(at_ns=21 * S))[0] == "ok"


def test_a_camera_that_is_lost_suppresses_what_it_should_have_seen() -> None:
    """One alarm is shown; those about frames are suppressed, and go on as they were when frames come back."""
    alarms = AlarmManager(alarm_rules([rule(), rule(id="many", measure="count", raise_at=1)]), (), occurrences())
    alarms.look_at(BAD, 1)
    assert alarms.shown_alarms == ["dirt"]
    lost = alarms.look_at(seen(None, CameraFault.LOST), 2)
    assert told(lost) == [
        ("camera-lost", "raised"),
        ("no-read", "suppressed"),
        ("no-read", "raised"),
        ("dirt", "suppressed"),
        ("many", "suppressed"),
    ]
    assert [event.shown for event in lost] == [True, False, False, False, False]
    assert alarms.shown_alarms == ["camera-lost"]
    standing = alarms.standing("dirt", 3)
    assert standing is not None
    assert (standing.state, standing.shown, standing.suppressed_by) == ("active", False, ("camera-lost",))
    assert told(alarms.look_at(BAD, 3)) == [
        ("camera-lost", "cleared"),
        ("no-read", "cleared"),
        ("no-read", "unsuppressed"),
        ("dirt", "unsuppressed"),
        ("many", "unsuppressed"),
    ]
    assert alarms.states["no-read"].condition is Condition.NORMAL  # suppressed to its end, nobody need acknowledge it
    assert alarms.shown_alarms == ["camera-lost", "dirt"]


def test_what_stands_when_its_suppression_is_over_asks_to_be_seen() -> None:
    """Raised while suppressed it needs no acknowledgement; with that over it alarms again, and does."""
    alarms = desk(rule(id="cause", raise_at=0.8, clear_below=0.7), rule(id="follower", suppressed_by=["cause"]))
    alarms.look_at(BAD, 1)
    follower = alarms.states["follower"]
    assert (follower.condition, follower.user) == (Condition.ACKNOWLEDGED, None)
    events = alarms.look_at(seen(0.5), 2)
    assert told(events) == [("cause", "cleared"), ("follower", "unsuppressed"), ("follower", "re_alarmed")]
    assert (events[-1].state, events[-1].shown, events[-1].occurrence_id) == ("active", True, "2")
    assert alarms.acknowledge("2", by())[0] == "ok"


def test_an_alarm_that_is_put_aside_hides_no_other() -> None:
    """Were a shelved camera alarm to suppress others, nobody would see anything."""
    alarms = AlarmManager(alarm_rules([rule()]), (), occurrences())
    alarms.shelve("camera-lost", 600, by())
    alarms.look_at(seen(None, CameraFault.LOST), 1)
    assert alarms.shown_alarms == ["no-read"]


def test_an_alarm_out_of_service_is_told_of_and_not_shown() -> None:
    """The settings took it out: it works on, and its state says so even while it is normal."""
    alarms = desk(rule(out_of_service=True))
    assert told(alarms.begin(0)) == [("dirt", "removed_from_service")]
    standing = alarms.standing("dirt", 0)
    assert standing is not None
    assert (standing.state, standing.out_of_service, standing.shown) == ("normal", True, False)
    (raised,) = alarms.look_at(BAD, 1)
    assert (raised.transition, raised.shown) == ("raised", False)


def many(raising: set[int], count: int = 1000) -> FrameResult:
    """Return the inspection of a frame in which these of the many classes are found."""
    classes = {f"c{index}": ClassMeasure(1.0 if index in raising else 0.0, 0) for index in range(count)}
    return FrameResult("top", 1, "", NOON, 0, 1.0, BAD.judgement, Measurement(1.0, None, 1e6, classes, ()))


def test_a_flood_is_shown_as_one() -> None:
    """1,000 alarms within 60 s: all are journalled, at most 10 are shown, and the flood alarm counts the others."""
    rules = [rule(**{"id": f"a{index}", "class": f"c{index}"}) for index in range(1000)]
    alarms = AlarmManager(alarm_rules(rules), (), occurrences())
    journal: list[AlarmEvent] = []
    for frame in range(100):  # ten more in each, 600 ms apart
        journal += alarms.look_at(many(set(range(10 * frame + 10))), frame * 600 * MS)
    raised = [event for event in journal if event.transition == "raised"]
    assert len([event for event in raised if event.alarm != FLOOD_ALARM.id]) == 1000
    assert len({event.occurrence_id for event in raised}) == 1001
    assert sum(event.shown for event in raised) == len(alarms.shown_alarms) == 10
    flood = alarms.standing(FLOOD_ALARM.id, 60 * S)
    assert flood is not None
    # 9 came before the tenth raising made it a flood
    assert (flood.shown, flood.members) == (True, 991)
    assert "a0" in alarms.shown_alarms
    # ten minutes after the last it is no flood any more, and alarms that still stand are shown
    alarms.changed()
    assert told(alarms.tick(DeliveryState(), 661 * S)) == [(FLOOD_ALARM.id, "cleared")]
    assert len(alarms.shown_alarms) == 1000
    assert alarms.changed() >= {"a999", "a500"}


def test_a_flood_of_few_alarms_that_chatter_hides_no_line_of_the_display() -> None:
    """Two alarms that come and go stay two lines, however often they are raised; the camera is shown beside them."""
    alarms = AlarmManager(alarm_rules([rule(id="one"), rule(id="two")]), (), occurrences())
    journal: list[AlarmEvent] = []
    for index in range(500):
        journal += alarms.look_at(seen(0.9 * (index % 2)), index * 100 * MS)
    raised = [event for event in journal if event.transition == "raised"]
    assert len(raised) == 501
    assert sum(event.shown for event in raised) <= 10
    assert set(alarms.shown_alarms) == {"one", "two", FLOOD_ALARM.id}
    (lost, *_) = alarms.look_at(seen(None, CameraFault.LOST), 51 * S)
    assert (lost.alarm, lost.shown) == ("camera-lost", True)


def test_without_the_flood_alarm_each_is_shown() -> None:
    """Out of service it hides nothing."""
    rules = [rule(**{"id": f"a{index}", "class": f"c{index}"}) for index in range(50)]
    off = FLOOD_ALARM.model_copy(update={"out_of_service": True})
    alarms = AlarmManager(alarm_rules([*rules, off]), (), occurrences())
    alarms.begin(0)
    alarms.look_at(many(set(range(50)), 50), 1)
    assert len(alarms.shown_alarms) == 50


def test_chattering_is_counted_and_named() -> None:
    """From the third raising within a minute on, until a minute has fewer."""
    alarms = desk(rule())
    for index in range(3):
        alarms.look_at(BAD, index * 10 * S)
        alarms.look_at(GOOD, (index * 10 + 5) * S)
        standing = alarms.standing("dirt", index * 10 * S)
        assert standing is not None
        assert (standing.raises_last_minute, standing.chattering) == (index + 1, index == 2)
    assert alarms.chattered == 1
    alarms.changed()
    alarms.tick(DeliveryState(), 61 * S)
    assert alarms.changed() == {"dirt"}
    standing = alarms.standing("dirt", 61 * S)
    assert standing is not None
    assert (standing.raises_last_minute, standing.chattering, alarms.chattered) == (2, False, 1)


@pytest.mark.parametrize(
    "how",
    [
        {"raise_at": 0.5, "clear_below": 0.4},
        {"raise_at": 0.5, "clear_below": None, "deadband": 0.1},
        {"raise_at": 0.5, "clear_below": 0.5, "on_delay_ms": 500, "off_delay_ms": 2000},
    ],
)
def test_noise_around_the_limit_is_one_alarm_at_most(how: dict[str, object]) -> None:
    """10 Hz noise of ± 0.05 around the limit for 10 minutes: with a deadband, or delays, at most one raising."""
    noise, alarms, raised = random.Random(1), desk(rule(**how)), 0
    for index in range(10 * 60 * 10):
        value = 0.5 + noise.uniform(-0.05, 0.05)
        raised += told(alarms.look_at(seen(value), index * 100 * MS)).count(("dirt", "raised"))
    assert raised <= 1


def test_the_same_noise_without_a_deadband_chatters() -> None:
    """The noise of the test above is one that can raise an alarm again and again."""
    noise, alarms, raised = random.Random(1), desk(rule(raise_at=0.5, clear_below=0.5)), 0
    for index in range(10 * 60 * 10):
        value = 0.5 + noise.uniform(-0.05, 0.05)
        raised += told(alarms.look_at(seen(value), index * 100 * MS)).count(("dirt", "raised"))
    assert raised > 500


def test_those_that_suppress_are_looked_at_first_whatever_their_order() -> None:
    """A cause that comes with its consequence suppresses it before it is raised."""
    first, second = rule(id="b-cause", raise_at=0.7), rule(id="a-consequence", suppressed_by=["b-cause"])
    for alarms in (desk(first, second), desk(second, first)):
        events = alarms.look_at(BAD, 1)
        assert told(events) == [("b-cause", "raised"), ("a-consequence", "suppressed"), ("a-consequence", "raised")]
        assert alarms.shown_alarms == ["b-cause"]
