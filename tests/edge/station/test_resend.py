"""`cmd/resend`: which wishes for events are obeyed, and what is answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge.commands.requests import MAX_RESENT, Command, CommandOutcome, read_command
from edge.outbox import Outbox, Sender
from edge.publishers.memory import MemoryPublisher
from edge.records import Received
from edge.station.resend import EventResender
from tests.brokers import wait_for
from tests.edge.messages.test_messages import ROOT, UUID, VALIDATORS
from tests.edge.outbox.test_outbox import put, settled


def wish(first: int, last: int, epoch: str = UUID) -> Command:
    """Return the command for events `first` to `last` as the line reads it; the published schema accepts its body."""
    body = {
        "schema": "linewatch/command-resend/1",
        "epoch": epoch,
        "from_seq": first,
        "to_seq": last,
        "user": "mes",
        "comment": "",
    }
    VALIDATORS["command-resend"].validate(body)
    return read_command(Received(f"{ROOT}/cmd/resend", json.dumps(body).encode(), expiry_s=30), ROOT)


@pytest.mark.parametrize(
    ("first", "last", "obeyed"),
    [(1, 1, True), (5, 4 + MAX_RESENT, True), (5, 5 + MAX_RESENT, False), (5, 4, False)],
)
def test_a_wish_is_for_a_range_of_bearable_length(*, first: int, last: int, obeyed: bool) -> None:
    """From one event to 10,000, forwards; anything else is answered as invalid."""
    command = wish(first, last)
    assert (command.body is not None) == obeyed
    assert obeyed or "expected to_seq from from_seq on, and at most 10000 numbers" in command.problem


def test_a_wish_is_answered_when_it_is_known_what_comes(tmp_path: Path) -> None:
    """The counts of what comes again and what is missing are in the answer; another store's numbers are refused."""
    answers: list[tuple[CommandOutcome, str]] = []
    publisher = MemoryPublisher()
    with Outbox(tmp_path / "outbox.db") as outbox, publisher, Sender(outbox, publisher, list):
        put(outbox, *range(1, 11))
        settled(outbox)
        resender = EventResender(outbox, lambda _, outcome, detail: answers.append((outcome, detail)))
        told = resender(wish(1, 2), 0)
        assert told is not None
        assert told[0] == "unknown_epoch"
        assert resender(wish(3, 6, outbox.epoch), 0) is None
        wait_for(lambda: answers)
        assert answers == [("ok", "4 sent again, 0 not yet acknowledged, 0 missing")]
        wait_for(lambda: len(publisher.messages) == 14)


def test_a_number_that_no_store_can_hold_is_invalid(tmp_path: Path) -> None:
    """Beyond 63 bits schema and line refuse it, and the sender is told. The largest that is allowed harms no store."""
    body = {"schema": "linewatch/command-resend/1", "epoch": UUID, "user": "mes", "comment": ""}
    body |= {"from_seq": 2**64 - 1, "to_seq": 2**64 - 1}
    assert not VALIDATORS["command-resend"].is_valid(body)
    command = read_command(Received(f"{ROOT}/cmd/resend", json.dumps(body).encode(), expiry_s=30), ROOT)
    assert (command.body, "9223372036854775807" in command.problem) == (None, True)
    answers: list[tuple[CommandOutcome, str]] = []
    with Outbox(tmp_path / "outbox.db") as outbox:
        put(outbox, 1)
        resender = EventResender(outbox, lambda _, outcome, detail: answers.append((outcome, detail)))
        assert resender(wish(2**63 - 1, 2**63 - 1, outbox.epoch), 0) is None
        wait_for(lambda: answers)
        put(outbox, 2)
        assert outbox.alive
