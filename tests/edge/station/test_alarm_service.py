"""The alarm service: one commit for state, journal and messages, and everything as it was after a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edge.alarms import AlarmManager, AlarmRule, alarm_rules
from edge.commands.requests import COMMANDS, Command, Inbox
from edge.messages.writer import MessageWriter, Stamp
from edge.outbox import Outbox
from edge.records import (
    AlarmRecord,
    CameraFault,
    DeliveryState,
    FrameResult,
    Judgement,
    Message,
    Received,
    Verdict,
)
from edge.station.alarm_service import AlarmService
from tests.edge.alarms.making import MS, NOON, S, rule, seen
from tests.edge.messages.test_messages import IDENTITY, VALIDATORS

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
RULES = alarm_rules([rule(), rule(id="scratched", latch=True, raise_at=0.8)])


@contextmanager
def kept(path: Path, rules: tuple[AlarmRule, ...] = RULES, now_ns: int = 0) -> Iterator[tuple[AlarmService, Outbox]]:
    """Open a store and take the alarms up as a line does."""
    with Outbox(path) as outbox:
        service = AlarmService(AlarmManager(rules), MessageWriter(IDENTITY), outbox)
        service.begin(now_ns)
        assert outbox.flush(120)
        yield service, outbox


def messages(outbox: Outbox) -> list[Message]:
    """Return every message on disk, oldest first."""
    assert outbox.flush(120)
    return [row.message for row in outbox.pending(0, 10_000)]


def retained(outbox: Outbox) -> dict[str, dict[str, Any]]:
    """Return how each alarm that is not normal stands at a broker that got every message, by its id."""
    last = {message.topic.rsplit("/", 1)[1]: message.payload for message in messages(outbox) if message.retain}
    return {name: json.loads(payload)["body"] for name, payload in last.items() if payload}


def told(name: str, body: dict[str, Any]) -> Command:
    """Return a command as MQTT would bring it."""
    inbox = Inbox(IDENTITY.root)
    given = {"schema": f"linewatch/command-{name}/1", "user": "anna", "comment": "", **body}
    inbox.put(Received(f"{IDENTITY.root}/cmd/{name}", json.dumps(given).encode(), False, 30))
    (command,) = inbox.take()
    assert command.body is not None, command.problem
    return command


def test_a_transition_is_message_state_record_and_journal_at_once(tmp_path: Path) -> None:
    """Each event has its number, its entry in the journal, and the alarm's retained state with the same number."""
    with kept(tmp_path / "o.db") as (service, outbox):
        before = len(messages(outbox))
        service.look_at(seen(0.9), 5 * MS)
        new = [json.loads(message.payload) for message in messages(outbox)[before:]]
        for envelope in new:
            VALIDATORS[envelope["body"]["schema"].split("/")[1]].validate(envelope["body"])
        assert [(one["seq"], one["body"]["schema"], one["body"]["alarm"]) for one in new] == [
            (1, "linewatch/alarm/1", "dirt"),
            (1, "linewatch/alarm-state/1", "dirt"),
            (2, "linewatch/alarm/1", "scratched"),
            (2, "linewatch/alarm-state/1", "scratched"),
        ]
        entries = outbox.journal(10)
        assert [(entry.kind, entry.alarm, entry.detail) for entry in entries] == [
            ("raised", "dirt", "0.9 against 0.5"),
            ("raised", "scratched", "0.9 against 0.8"),
        ]
        assert [entry.occurrence_id for entry in entries] == [one["body"]["occurrence_id"] for one in new[::2]]
        assert {record.alarm for record in outbox.alarm_records()} >= {"dirt", "scratched"}


def test_a_restart_takes_every_alarm_up_and_tells_the_broker_how_it_stands(tmp_path: Path) -> None:
    """Acknowledged, latched, shelved and suppressed: the retained states of the new run are those of the old one."""
    with kept(tmp_path / "o.db") as (service, outbox):
        (raised, latched) = service.look_at(seen(0.9), 5 * MS)
        assert service.obey(told("ack", {"occurrence_id": raised.occurrence_id}), 6 * MS) == ("ok", "")
        service.look_at(seen(None, CameraFault.LOST), 7 * MS)
        service.look_at(seen(0.5), 8 * MS)
        service.look_at(seen(0.29), 9 * MS)
        shelve = told("shelve", {"alarm": "scratched", "kind": "timed", "duration_s": 600})
        assert service.obey(shelve, 10 * MS) == ("ok", "for 600 s")
        before = retained(outbox)
        events = outbox.committed
    assert before["scratched"]["state"] == "latched"
    assert before["camera-lost"]["state"] == "returned"
    assert not {"dirt", "no-read"} & set(before)  # seen, or suppressed to its end
    with kept(tmp_path / "o.db", now_ns=60 * S) as (service, outbox):
        after = retained(outbox)
        for body in (*before.values(), *after.values()):
            body.pop("raises_last_minute")
            if body["shelf"]:
                body["shelf"].pop("until")  # the clock of these tests is not the wall's
        assert after == before
        assert outbox.committed == events  # a restart is no event
        assert service.obey(told("ack", {"occurrence_id": raised.occurrence_id}), 61 * S) == ("already_acked", "")
        assert service.obey(told("reset", {"occurrence_id": latched.occurrence_id}), 61 * S) == ("ok", "")


@pytest.mark.parametrize("jump", [timedelta(hours=1), timedelta(hours=-1), EPOCH - NOON])
def test_a_clock_that_is_set_moves_no_timer_and_no_order(tmp_path: Path, jump: timedelta) -> None:
    """An hour on, an hour back, 1970: the shelf ends by the monotonic clock to the nanosecond, numbers go on."""
    clock = {"wall": NOON}
    messages_of_a_set_clock = MessageWriter(IDENTITY, lambda: Stamp(clock["wall"], 0, None))
    rules = alarm_rules([rule(on_delay_ms=10_000, max_shelve_s=60)])
    with Outbox(tmp_path / "o.db") as outbox:
        service = AlarmService(AlarmManager(rules), messages_of_a_set_clock, outbox)
        service.begin(0)
        service.obey(told("shelve", {"alarm": "dirt", "kind": "timed", "duration_s": 60}), 0)
        service.look_at(seen(0.9), 1 * S)
        clock["wall"] += jump
        assert service.look_at(seen(0.9), 11 * S - 1) == ()
        (raised,) = service.look_at(seen(0.9), 11 * S)
        assert raised.transition == "raised"
        assert service.tick(DeliveryState(), 60 * S - 1) == ()
        (back,) = service.tick(DeliveryState(), 60 * S)
        assert back.transition == "unshelved"
        assert outbox.flush(120)
        assert [entry.kind for entry in outbox.journal(10)] == ["shelved", "raised", "unshelved"]
        assert outbox.journal(10)[1].at == NOON + jump
        numbers = [json.loads(m.payload)["seq"] for m in messages(outbox) if m.kind == "alarm"]
        assert numbers == [1, 2, 3]


@pytest.mark.parametrize(("wall", "shelved"), [(NOON + timedelta(minutes=5), True), (EPOCH, False)])
def test_a_reboot_keeps_what_was_acknowledged_and_what_the_wall_clock_can_vouch_for(
    tmp_path: Path, wall: datetime, shelved: bool
) -> None:
    """In the next boot the acknowledgement stands; the shelf goes on, but not by a clock that says 1970."""
    before = MessageWriter(replace(IDENTITY, boot_id="boot-1"), lambda: Stamp(NOON, 0, None))
    after = MessageWriter(replace(IDENTITY, boot_id="boot-2"), lambda: Stamp(wall, 0, None))
    with Outbox(tmp_path / "o.db") as outbox:
        service = AlarmService(AlarmManager(RULES), before, outbox)
        service.begin(900 * S)
        raised, _ = service.look_at(seen(0.9), 900 * S)
        service.obey(told("ack", {"occurrence_id": raised.occurrence_id}), 900 * S)
        service.obey(told("shelve", {"alarm": "dirt", "kind": "timed", "duration_s": 600}), 900 * S)
    with Outbox(tmp_path / "o.db") as outbox:
        service = AlarmService(AlarmManager(RULES), after, outbox)
        service.begin(3 * S)
        state = service.manager.states["dirt"]
        assert (state.condition.value, state.occurrence_id) == ("acknowledged", raised.occurrence_id)
        assert (state.shelf is not None) == shelved
        if state.shelf is not None:
            assert state.shelf.until_ns == (3 + 300) * S
        assert service.manager.shown("dirt") != shelved


def test_an_alarm_that_the_settings_no_longer_have_is_forgotten_once(tmp_path: Path) -> None:
    """Its retained state is emptied and the journal says so; the next start says nothing more of it."""
    with kept(tmp_path / "o.db") as (service, outbox):
        service.look_at(seen(0.9), 5 * MS)
        assert "scratched" in retained(outbox)
    for _ in range(2):
        with kept(tmp_path / "o.db", alarm_rules([rule()])) as (_, outbox):
            assert "scratched" not in retained(outbox)
            forgotten = [entry for entry in outbox.journal(100) if entry.kind == "forgotten"]
            assert [(entry.alarm, entry.detail) for entry in forgotten] == [
                ("scratched", "the settings have no such alarm any more")
            ]


def test_a_record_that_cannot_be_read_stops_no_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The alarm begins anew, and the log and the journal say why."""
    with Outbox(tmp_path / "o.db") as outbox:
        outbox.put(None, alarms=[AlarmRecord("dirt", '{"version": 99}')])
    with kept(tmp_path / "o.db") as (service, outbox):
        assert service.manager.active == []
        (entry,) = outbox.journal(10, "dirt")
        assert entry.kind == "unreadable"
        assert "received '{\"version\": 99}'" in entry.detail
    assert "The state of the alarm dirt is begun anew" in caplog.text


def test_every_command_leaves_a_row_obeyed_or_refused(tmp_path: Path) -> None:
    """The row says who, by which way, and what became of it."""
    with kept(tmp_path / "o.db") as (service, outbox):
        inbox = Inbox(IDENTITY.root)
        inbox.put(Received(f"{IDENTITY.root}/cmd/ack", b"{}", True, 30))
        inbox.put(Received(f"{IDENTITY.root}/cmd/ack", b"{}", False, None))
        inbox.put(Received(f"{IDENTITY.root}/cmd/explode", b"{}", False, 5), lambda *_: None)
        for command in inbox.take():
            service.audit(command, command.outcome, command.problem)
        command = told("shelve", {"alarm": "dirt", "kind": "one_shot", "duration_s": None, "comment": "cleaning"})
        obeyed = service.obey(command, 5)
        assert obeyed is not None
        service.audit(command, *obeyed)
        assert outbox.flush(120)
        rows = [entry for entry in outbox.journal(10) if entry.kind == "command"]
        assert [row.detail for row in rows] == [
            "ack by mqtt: retained: a retained command is not obeyed",
            "ack by mqtt: invalid: expected a message expiry of at most 60 s, received none",
            f"explode by shell: unknown_command: expected one of {', '.join(COMMANDS)}, received 'explode'",
            "shelve by mqtt: ok: until it returns, at most 28800 s",
        ]
        assert (rows[-1].alarm, rows[-1].user, rows[-1].comment) == ("dirt", "anna", "cleaning")


def test_what_changes_without_a_transition_is_told_too(tmp_path: Path) -> None:
    """An alarm that chatters says so in its state before it is next raised, and again when it does not."""
    with kept(tmp_path / "o.db", alarm_rules([rule()])) as (service, outbox):
        for index in range(3):
            service.look_at(seen(0.9), index * S)
            service.look_at(seen(0.0), index * S + 1)
        assert retained(outbox)["dirt"]["chattering"]
        service.tick(DeliveryState(), 62 * S)
        assert (retained(outbox)["dirt"]["chattering"], outbox.committed) == (False, 6)


def test_delivery_raises_alarms_of_its_own(tmp_path: Path) -> None:
    """A message that the broker refused, and a disk that takes nothing, are alarms, shown like others."""
    with kept(tmp_path / "o.db") as (service, _):
        events = service.tick(DeliveryState(refused="two are dead letters", disk="full"), 5)
        assert [(event.alarm, event.transition) for event in events] == [
            ("outbox-disk", "raised"),
            ("broker-refuses", "raised"),
        ]
        assert {event.state for event in service.tick(DeliveryState(), 6)} == {"returned"}


def test_the_journal_says_when_an_alarm_stands_for_another_reason(tmp_path: Path) -> None:
    """A camera that is silent and then refuses us: the second reason is an entry; other numbers are none."""

    def lost(reason: str) -> FrameResult:
        return replace(seen(None, CameraFault.LOST), judgement=Judgement(Verdict.NO_READ, reason))

    with kept(tmp_path / "o.db") as (service, outbox):
        for second, reason in enumerate(
            ["silent for 1 s", "silent for 2 s", "401", "silent for 4 s", "no route", "401"]
        ):
            service.look_at(lost(reason.replace("401", "refused: 401")), second * S)
        messages(outbox)
        entries = [entry for entry in outbox.journal(100) if entry.alarm == "camera-lost"]
        assert [(entry.kind, entry.detail) for entry in entries] == [
            ("raised", "silent for 1 s; 1 against 1"),
            ("reason", "refused: 401"),
            ("reason", "no route"),
        ]
        assert len({entry.occurrence_id for entry in entries}) == 1
        for word in range(100):
            service.look_at(lost("".join(chr(97 + int(digit)) for digit in str(word))), (10 + word) * S)
        messages(outbox)
        # of an occurrence at most ten, the first among them
        assert sum(entry.kind == "reason" and entry.alarm == "camera-lost" for entry in outbox.journal(1_000)) == 9
