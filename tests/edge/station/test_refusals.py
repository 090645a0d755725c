"""A flood of refused commands leaves a few rows and their number; an obeyed one is noted each time."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge.alarms import AlarmManager, alarm_rules
from edge.commands.requests import Command
from edge.messages.writer import Identity, MessageWriter, ModelIdentity
from edge.outbox import Outbox
from edge.station.alarm_service import AlarmService
from edge.station.refusals import TOLD, WITHIN_NS, Refusals


@given(st.lists(st.tuples(st.integers(0, 3 * WITHIN_NS), st.sampled_from("ab")), max_size=200))
def test_every_refusal_is_told_or_counted(refused: list[tuple[int, str]]) -> None:
    """Those told in full and those counted are all refusals, however they come. Few are told in full in any 10 s."""
    refusals = Refusals()
    full: list[tuple[int, str]] = []
    counted = 0
    for at_ns, outcome in sorted(refused):
        counted += sum(count for _, count in refusals.due(at_ns))
        if refusals.told(("mqtt", outcome), at_ns):
            full.append((at_ns, outcome))
    counted += sum(count for _, count in refusals.due(0, all_of_it=True))
    assert len(full) + counted == len(refused)
    for at_ns, outcome in full:
        alike = [one for one, other in full if other == outcome and at_ns <= one < at_ns + WITHIN_NS]
        assert len(alike) <= 2 * TOLD


def test_a_flood_of_commands_leaves_few_rows(tmp_path: Path) -> None:
    """Of a thousand nonsensical ones ten are rows and the others one number. An obeyed one among them is a row."""
    identity = Identity("e", "s", "a", "l", "c", "d", "r", ModelIdentity("m", "1", None), epoch="e")
    with Outbox(tmp_path / "outbox.db") as outbox:
        service = AlarmService(AlarmManager(alarm_rules(())), MessageWriter(identity), outbox)
        for number in range(1000):
            service.audit(
                Command(f"nonsense{number}", None, "unknown_command", "", None, None), "unknown_command", "no"
            )
            if number == 500:
                service.audit(Command("ack", None, "ok", "", None, None), "ok", "")
        service.note_refusals(0, all_of_it=True)
        assert outbox.flush(120)
        rows = [entry.detail for entry in outbox.journal(2000)]
    assert "ack by mqtt: ok" in rows
    refused = [row for row in rows if "unknown_command" in row]
    full = [row for row in refused if row.startswith("nonsense")]
    counted = sum(int(found[1]) for row in refused if (found := re.match(r"(\d+) more by mqtt within 10 s", row)))
    assert len(full) + counted == 1000
    assert len(refused) <= 60  # it took much less than a minute
