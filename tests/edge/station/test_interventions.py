"""Challenge and bypass of a station: journal, alarms and restart on a real store, and commands by both ways."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edge.alarms import AlarmManager, alarm_rules
from edge.commands.requests import Command, Inbox
from edge.commands.socket import CommandSocket
from edge.errors import CommandError
from edge.messages.writer import MessageWriter, Stamp
from edge.outbox import Outbox, OutboxReader
from edge.parts.challenge import ChallengeSettings
from edge.parts.shifts import ShiftPlan
from edge.records import AlarmRecord, Verdict
from edge.records.delivery import Received
from edge.station.alarm_service import AlarmService
from edge.station.interventions import COMMANDS, Interventions
from tests.edge.cli.test_status_and_journal import shell
from tests.edge.messages.test_messages import IDENTITY
from tests.edge.parts.test_bypass import frame
from tests.edge.parts.test_challenge import part

S = 1_000_000_000
SIX = datetime(2026, 1, 31, 6, tzinfo=timezone.utc)
PLAN = ShiftPlan((time(6), time(14), time(22)), timezone.utc)


class Station:
    """The decider's surroundings: a store, alarms, and the clock, which is 0 at six o'clock, when a shift begins."""

    def __init__(self, outbox: Outbox, now_s: float = 0.0, *, operators: tuple[str, ...] = ()) -> None:
        self.outbox = outbox
        self.now_s = now_s
        self.number: int | None = 10
        messages = MessageWriter(IDENTITY, lambda: Stamp(SIX + timedelta(seconds=self.now_s), self.now_ns, True))
        self.alarms = AlarmService(AlarmManager(alarm_rules([])), messages, outbox)
        self.alarms.begin(self.now_ns)
        settings = ChallengeSettings(each_shift=True, parts=2, within_s=900)
        self.it = Interventions(
            settings, PLAN, self.alarms, messages, outbox, operators=operators, last_number=lambda: self.number
        )
        self.it.begin(self.now_ns)

    @property
    def now_ns(self) -> int:
        """The station's clock."""
        return round(self.now_s * S)

    def after(self, seconds: float) -> Station:
        """Let time pass, as the decider does."""
        self.now_s += seconds
        self.it.tick(self.now_ns)
        return self

    def obey(self, name: str, **body: Any) -> tuple[str, str]:
        """Give a command as MQTT would bring it."""
        inbox = Inbox(IDENTITY.root)
        given = {"schema": f"linewatch/command-{name}/1", "user": "anna", **body}
        inbox.put(Received(f"{IDENTITY.root}/cmd/{name}", json.dumps(given).encode(), False, 30))
        (command,) = inbox.take()
        if command.body is None:
            return command.outcome, command.problem
        return self.it.obey(command, self.now_ns)

    def begin_challenge(self) -> tuple[str, str]:
        """Begin a challenge as the settings say."""
        return self.obey("challenge", action="begin", parts=None, within_s=None, comment="morning")

    def bypass(self, minutes: int = 10) -> tuple[str, str]:
        """Take inspection out."""
        return self.obey("bypass", action="on", minutes=minutes, reason="lens")

    def part(self, verdict: Verdict) -> tuple[Verdict, bool]:
        """Conclude the next part; return how it is told, and whether it is a challenge's."""
        assert self.number is not None
        self.number += 1
        seen, marked, _ = self.it.part(part(self.number, verdict, self.now_ns), self.now_ns)
        return seen.judgement.verdict, marked

    def standing(self) -> set[str]:
        """Return the alarms that an operator is to see."""
        return set(self.alarms.manager.shown_alarms)

    def journal(self) -> list[tuple[str, str, str]]:
        """Return what the journal has of challenge and bypass: what, whose, and in which words."""
        assert self.outbox.flush(120)
        with OutboxReader(self.outbox.path) as reader:
            rows = [row.entry for row in reader.journal_rows(100, part="station")]
        return [(row.kind, row.user, row.detail) for row in rows]


@contextmanager
def station(folder: Path, now_s: float = 0.0, **how: Any) -> Iterator[Station]:
    """Open a station on a store."""
    with Outbox(folder / "o.db") as outbox:
        yield Station(outbox, now_s, **how)


def test_a_challenge_that_is_passed(tmp_path: Path) -> None:
    """Two bad parts are NG, are marked, and are noted as passed; the third part is an ordinary one."""
    with station(tmp_path) as line:
        assert line.begin_challenge() == ("ok", "the next 2 parts within 900 s must be NG")
        assert line.it.challenged
        told = [line.part(Verdict.NG), line.part(Verdict.NG), line.part(Verdict.OK)]
        assert told == [(Verdict.NG, True), (Verdict.NG, True), (Verdict.OK, False)]
        assert line.journal() == [("challenge", "anna", "passed: 2 known bad parts, all NG")]
        assert line.standing() == set()


def test_a_missed_part_is_an_alarm_until_a_challenge_is_passed_also_over_a_restart(tmp_path: Path) -> None:
    """The alarm is raised with the part that is missed, before the next comes; a restart keeps it. Passing ends it."""
    with station(tmp_path) as line:
        line.begin_challenge()
        assert line.part(Verdict.OK) == (Verdict.OK, True)
        assert line.standing() == {"challenge-missed"}
        line.it.stop(line.now_ns)
    with station(tmp_path, 60) as line:
        line.after(1)
        assert line.standing() == {"challenge-missed"}
        line.begin_challenge()
        line.part(Verdict.NG)
        line.part(Verdict.NG)
        assert [row[2] for row in line.journal()] == [
            "missed: the part P-11 was OK",
            "not done: the station was stopped; 1 of 2 parts judged, 1 not NG",
            "passed: 2 known bad parts, all NG",
        ]
        # over, and still to be seen by somebody
        assert line.alarms.manager.states["challenge-missed"].condition.value == "returned"


def test_a_challenge_whose_station_was_killed_is_noted_at_the_next_start(tmp_path: Path) -> None:
    """A kill leaves no time to write: the next start notes, once, who challenged and how far it came."""
    with station(tmp_path) as line:
        line.begin_challenge()
        line.part(Verdict.NG)
    told = ("challenge", "anna", "not done: the station ended without a word; 1 of 2 parts judged, 0 not NG")
    for _ in range(2):
        with station(tmp_path, 60) as line:
            assert line.journal() == [told]
            assert not line.it.challenged
            assert line.part(Verdict.NG) == (Verdict.NG, False)


def test_a_shift_without_a_challenge_is_an_alarm(tmp_path: Path) -> None:
    """From 06:15 on the shift of six is late, if it has parts. A challenge ends that, and a restart remembers it."""
    with station(tmp_path) as line:
        line.part(Verdict.OK)
        assert line.after(899).standing() == set()
        assert line.after(1).standing() == {"challenge-due"}
        line.begin_challenge()
        line.part(Verdict.NG)
        line.part(Verdict.NG)
        assert line.alarms.manager.states["challenge-due"].active is False
    with station(tmp_path, 3_600) as line:
        line.part(Verdict.OK)
        line.after(1_000)
        assert line.alarms.manager.states["challenge-due"].active is False
        line.after(8 * 3_600)  # the next shift
        line.part(Verdict.OK)
        assert line.after(901).alarms.manager.states["challenge-due"].active is True


def test_bypass_is_a_state_an_alarm_and_an_end(tmp_path: Path) -> None:
    """Results are NO_READ and the alarm stands with who, why and until when; `no-read` does not ring beside it."""
    with station(tmp_path) as line:
        assert line.bypass() == ("ok", "inspection is out for 10 min; every result is NO_READ")
        assert line.it.bypassed(line.now_ns) == "bypassed by anna: lens"
        seen = line.it.frame(frame(), line.now_ns)
        assert seen.judgement.reason == "bypassed by anna: lens"
        line.alarms.look_at(seen, line.now_ns)
        assert line.part(Verdict.OK) == (Verdict.NO_READ, False)
        assert line.standing() == {"bypass"}
        assert line.alarms.manager.states["no-read"].active  # and suppressed, by what explains it
        assert line.alarms.manager.why["bypass"] == "bypassed by anna: lens; until 06:10 UTC"
        line.after(600)
        assert line.alarms.manager.states["bypass"].active is False
        assert line.part(Verdict.OK) == (Verdict.OK, False)
        assert line.journal() == [
            ("bypass_begin", "anna", "for 10 min"),
            ("bypass_end", "anna", "its time was over; it lasted 10 min"),
        ]


def test_bypass_survives_a_restart_until_its_end(tmp_path: Path) -> None:
    """Begun at six for ten minutes: restarted at 06:05 inspection is still out; at 06:20 its end is noted."""
    with station(tmp_path) as line:
        line.bypass()
    with station(tmp_path, 300) as line:
        assert line.part(Verdict.OK) == (Verdict.NO_READ, False)
        assert line.standing() == {"bypass"}
    with station(tmp_path, 1_200) as line:
        assert line.part(Verdict.OK) == (Verdict.OK, False)
        assert line.alarms.manager.states["bypass"].active is False
        assert line.journal()[-1] == ("bypass_end", "anna", "its time was over; it lasted 10 min")


def test_bypass_ends_a_challenge_and_none_begins_in_it(tmp_path: Path) -> None:
    """A challenge is refused while inspection is out; one that runs is not done."""
    with station(tmp_path) as line:
        line.begin_challenge()
        line.bypass()
        assert not line.it.challenged
        assert line.begin_challenge() == ("bypassed", "bypassed by anna: lens; put inspection back first")
        assert line.obey("bypass", action="off", minutes=None, reason="")[0] == "ok"
        assert line.begin_challenge()[0] == "ok"
        told = "not done: inspection was bypassed by anna; 0 of 2 parts judged, 0 not NG"
        assert ("challenge", "anna", told) in line.journal()


def test_only_operators_may(tmp_path: Path) -> None:
    """With operators in the settings nobody else challenges or bypasses; without parts there is no challenge."""
    with station(tmp_path, operators=("bert",)) as line:
        assert line.bypass() == ("not_authorised", "'anna' is not among the operators")
        assert line.begin_challenge()[0] == "not_authorised"
        assert line.journal() == []
    with station(tmp_path) as line:
        line.number = None
        assert line.begin_challenge()[0] == "no_parts"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("bypass", {"action": "on", "minutes": 481, "reason": "lens"}),
        ("bypass", {"action": "on", "minutes": 10, "reason": "  "}),
        ("bypass", {"action": "on", "minutes": None, "reason": "lens"}),
        ("bypass", {"action": "off", "minutes": 10, "reason": ""}),
        ("challenge", {"action": "begin", "parts": 0, "within_s": 60, "comment": ""}),
        ("challenge", {"action": "cancel", "parts": 5, "within_s": None, "comment": ""}),
    ],
)
def test_a_command_without_sense_is_refused(name: str, body: dict[str, Any], tmp_path: Path) -> None:
    """No reason, no time, too long a time, no parts: nothing is done."""
    with station(tmp_path) as line:
        assert line.obey(name, **body)[0] == "invalid"
        assert line.journal() == []


def test_a_record_that_is_none_is_told_and_inspection_goes_on(tmp_path: Path) -> None:
    """Records that somebody altered are as none: the journal says so, and parts are judged."""
    with Outbox(tmp_path / "o.db") as outbox:
        outbox.put(None, alarms=[AlarmRecord(f"station/{name}", "{}") for name in COMMANDS])
    with station(tmp_path) as line:
        assert line.part(Verdict.OK) == (Verdict.OK, False)
        assert line.outbox.flush(120)
        assert [entry.detail.split(":")[0] for entry in line.outbox.journal(10)] == ["bypass", "challenge"]


def test_alarms_do_not_take_a_station_s_records_for_theirs(tmp_path: Path) -> None:
    """A restart forgets no record of the station as an alarm that the settings lack, and says nothing of it."""
    with station(tmp_path) as line:
        line.bypass()
    with station(tmp_path, 60) as line:
        assert line.outbox.flush(120)
        assert not [entry for entry in line.outbox.journal(50) if entry.kind == "forgotten"]
        assert not [row for row in line.outbox.pending(0, 1_000) if "station/" in row.message.topic]


@contextmanager
def served(config: Path) -> Iterator[Station]:
    """Serve the socket of a station, as its loop does, for commands of the shell."""
    inbox, stop = Inbox(IDENTITY.root), threading.Event()
    with Outbox(config.parent / "o.db") as outbox, CommandSocket(outbox.path, IDENTITY.root, inbox.put, questions={}):
        line = Station(outbox)

        def loop() -> None:
            while not stop.wait(0.01):
                for command in inbox.take():
                    _answer(line, command)

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield line
        finally:
            stop.set()
            thread.join()


def _answer(line: Station, command: Command) -> None:
    assert command.reply is not None
    command.reply(*(line.it.obey(command, line.now_ns) if command.body else (command.outcome, command.problem)))


def test_the_shell_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    """Each command of docs/challenge-and-bypass.md, given to a station, prints the line that the page shows."""
    page = (Path(__file__).parents[3] / "docs/challenge-and-bypass.md").read_text()
    config = tmp_path / "line.yaml"
    config.write_text("store: {path: o.db}\n")
    session = page.split("```console\n")[1].split("```")[0].splitlines()
    shown = list(zip(session[::2], session[1::2], strict=True))
    assert len(shown) >= 4
    with served(config) as line:
        for asked, answer in shown:
            words = shlex.split(asked.replace("config/line.yaml", str(config)))[2:]
            code = CommandError.exit_code if answer.startswith("error") else 0
            out, stderr = shell(*words, code=code)
            assert (out + stderr).strip() == answer
        assert ("bypass_begin", "carl", "for 30 min") in line.journal()
