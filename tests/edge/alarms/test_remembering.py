"""An alarm survives a restart, a reboot, and clocks that were set meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from edge.alarms import AlarmState, Condition, Moment, recall, remember
from edge.alarms.states import Service, Shelving, Suppression
from tests.edge.alarms.making import NOON, S, by, desk, rule, seen, told

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
BOOT, NEXT = "boot-1", "boot-2"
RULE = rule(latch=True, max_shelve_s=3600)


def left(at_ns: int = 100 * S) -> AlarmState:
    """Return an acknowledged alarm that was shelved for an hour at 100 s."""
    alarms = desk(RULE)
    alarms.look_at(seen(0.9), 90 * S)
    alarms.acknowledge("1", by("anna", "wiped", 95 * S))
    alarms.shelve("dirt", 3600, by("bert", "cleaning", at_ns))
    return alarms.states["dirt"]


def again(state: AlarmState, then: Moment, now: Moment) -> AlarmState:
    """Write a state down at one moment and take it up at another."""
    kept = recall(RULE, remember(state, then), now)
    assert kept is not None
    return kept[0]


@pytest.mark.parametrize("boot", [BOOT, NEXT])
def test_condition_occurrence_acknowledgement_and_latch_survive(boot: str) -> None:
    """Restarted or rebooted, the alarm is the same occurrence, acknowledged by the same, and clears into its latch."""
    back = again(left(), Moment(100 * S, NOON, BOOT), Moment(200 * S, NOON + timedelta(seconds=100), boot))
    assert (back.condition, back.occurrence_id, back.user, back.comment) == (
        Condition.ACKNOWLEDGED, "1", "anna", "wiped",
    )  # fmt: skip
    assert (back.value, back.limit, back.since_ns) == (0.9, 0.5, 95 * S)
    alarms = desk(RULE)
    alarms.put_back("dirt", back, in_flood=False)
    assert told(alarms.look_at(seen(0.9), 201 * S)) == []  # its cause is still there: nothing new
    assert alarms.acknowledge("1", by("anna"))[0] == "already_acked"
    (cleared,) = alarms.look_at(seen(0.0), 202 * S)
    assert (cleared.state, cleared.occurrence_id) == ("latched_acknowledged", "1")


@pytest.mark.parametrize("wall", [NOON, NOON - timedelta(hours=1), NOON + timedelta(hours=1), EPOCH])
def test_within_a_boot_a_shelf_lasts_by_the_monotonic_clock(wall: datetime) -> None:
    """An hour from 100 s on ends at 3,700 s, by any wall clock."""
    now = Moment(1000 * S, wall, BOOT)
    back = again(left(), Moment(100 * S, NOON, BOOT), now)
    assert back.shelving is Shelving.TIMED
    assert back.shelf is not None
    assert (back.shelf.since_ns, back.shelf.until_ns, back.shelf.user) == (100 * S, 3700 * S, "bert")


@pytest.mark.parametrize(
    ("wall", "left_s"),
    [
        (NOON + timedelta(minutes=15), 45 * 60),  # off for a quarter of an hour
        (NOON + timedelta(minutes=60), 0),
        (NOON + timedelta(hours=5), 0),  # or set on by hours
        (NOON - timedelta(seconds=1), 0),  # before the shelf began: nobody knows how long it has lasted
        (EPOCH, 0),
        (datetime(9999, 12, 31, tzinfo=timezone.utc), 0),
    ],
)
def test_after_a_reboot_a_shelf_lasts_by_the_wall_clock_if_that_can_be(wall: datetime, left_s: int) -> None:
    """The alarm comes back at once if the wall clock says that its shelf is over, or not yet begun."""
    back = again(left(), Moment(100 * S, NOON, BOOT), Moment(7 * S, wall, NEXT))
    assert back.shelf is not None
    assert max(back.shelf.until_ns, 7 * S) == (7 + left_s) * S
    alarms = desk(RULE)
    alarms.put_back("dirt", back, in_flood=False)
    assert (("dirt", "unshelved") in told(alarms.begin(7 * S))) == (left_s == 0)


def test_a_rule_that_allows_less_shortens_a_shelf() -> None:
    """The settings of now hold."""
    kept = recall(rule(max_shelve_s=600), remember(left(), Moment(100 * S, NOON, BOOT)), Moment(200 * S, NOON, BOOT))
    assert kept is not None
    assert kept[0].shelf is not None
    assert kept[0].shelf.until_ns == 700 * S


def test_suppression_service_and_floods_survive_too() -> None:
    """And are looked at anew at the first look."""
    state = replace(
        left(),
        suppression=Suppression.SUPPRESSED,
        suppressed_by=("camera-lost",),
        service=Service.OUT_OF_SERVICE,
    )
    moment = Moment(100 * S, NOON, BOOT)
    kept = recall(RULE, remember(state, moment, in_flood=True), moment)
    assert kept is not None
    assert (kept[0].suppressed_by, kept[0].service, kept[1]) == (("camera-lost",), Service.OUT_OF_SERVICE, True)
    alarms = desk(RULE)
    alarms.put_back("dirt", *kept[:1], in_flood=kept[1])
    assert told(alarms.begin(101 * S)) == [("dirt", "returned_to_service"), ("dirt", "unsuppressed")]


@pytest.mark.parametrize("body", ["", "[]", "7", '{"version": 2}', '{"version": 1, "condition": "tired"}', "{"])
def test_a_record_that_is_none_is_an_error_that_says_so(body: str) -> None:
    """It raises ValueError, so that its reader can begin anew and tell."""
    moment = Moment(0, NOON, BOOT)
    if body == "[]":
        assert recall(RULE, body, moment) is None  # empty is empty
        return
    with pytest.raises(ValueError, match="expected an alarm's state of version 1"):
        recall(RULE, body, moment)


@pytest.mark.parametrize(("at_least", "of"), [(1, 1), (2, 2), (1, 4), (3, 5), (5, 8)])
def test_an_alarm_of_several_frames_still_stands_after_a_restart(at_least: int, of: int) -> None:
    """Its cause is still there: nothing is told, and it clears only when fewer than N of the last M frames have it."""
    several = rule(frames={"at_least": at_least, "of": of})
    before = desk(several)
    for second in range(at_least):
        events = before.look_at(seen(0.9), second * S)
    assert told(events) == [("dirt", "raised")]
    kept = recall(several, remember(before.states["dirt"], Moment(9 * S, NOON, BOOT)), Moment(10 * S, NOON, BOOT))
    assert kept is not None
    alarms = desk(several)
    alarms.put_back("dirt", kept[0], in_flood=False)
    assert told(alarms.look_at(seen(0.9), 11 * S)) == []
    # after k clean frames of - k of the last ones are not clean
    cleared = [bool(alarms.look_at(seen(0.0), (11 + k) * S)) for k in range(1, of - at_least + 2)]
    assert cleared == [False] * (of - at_least) + [True]
