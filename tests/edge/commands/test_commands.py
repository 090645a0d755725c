"""Commands: what a line obeys, what it answers, and what it must not be led to say."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edge.commands.requests import MAX_WAITING, Acknowledge, Inbox, read_command
from edge.records import Received
from tests.edge.messages.test_messages import VALIDATORS

ROOT = "acme/ulm/glass/l1/c1/inspect/v1"
ACK = {
    "schema": "linewatch/command-ack/1",
    "occurrence_id": "57093987-2e9c-5b16-8841-be8d02c70574",
    "user": "anna",
    "comment": "wiped",
}
# Signs that nobody sees, and one that anybody does.
UNSEEN = st.text("\0 \t\n\u00a0\u00ad\u200b\u202e\u3000\ue000\ufeff\uffff\U000e0001\U0010fffda", max_size=4)


def ack(**how: Any) -> Received:
    """Return an acknowledgement as a desk would send it."""
    given = Received(f"{ROOT}/cmd/ack", json.dumps(ACK).encode(), False, 30, f"{ROOT}/answer/desk", b"7")
    return replace(given, **how)


def test_an_acknowledgement_is_read_with_where_to_answer() -> None:
    """The body, the response topic and the correlation are those that were sent."""
    command = read_command(ack(), ROOT)
    assert (command.name, command.outcome, command.problem) == ("ack", "ok", "")
    assert command.body == Acknowledge.model_validate(ACK)
    answer = command.answer("already_acked", "")
    assert answer is not None
    assert (answer.command, answer.outcome, answer.response_topic, answer.correlation) == (
        "ack", "already_acked", f"{ROOT}/answer/desk", b"7",
    )  # fmt: skip


def test_a_retained_command_is_nobodys() -> None:
    """A command that the broker kept is refused, and not answered: it would come at every connection."""
    command = read_command(ack(retained=True), ROOT)
    assert (command.body, command.outcome) == (None, "retained")
    assert command.answer("retained", "") is None


@pytest.mark.parametrize(
    ("how", "outcome", "told"),
    [
        (
            {"topic": f"{ROOT}/cmd/selfdestruct"},
            "unknown_command",
            "challenge, bypass, part, recipe, reload, reset-counters, hand-test, received 'selfdestruct'",
        ),
        ({"topic": f"{ROOT}/cmd/replay"}, "unknown_command", "cmd/replay is called cmd/resend now"),
        ({"expiry_s": None}, "invalid", "message expiry of at most 60 s, received none"),
        ({"expiry_s": 3600}, "invalid", "received 3600 s"),
        ({"payload": b"{"}, "invalid", "the body: Invalid JSON"),
        ({"payload": b"[" * 16_000}, "invalid", "the body: Invalid JSON"),
        ({"payload": b"\xff\xfe"}, "invalid", "the body"),
        ({"payload": b" " * 16_385}, "invalid", "expected at most 16384 bytes, received 16385"),
        ({"payload": json.dumps(ACK | {"user": ""}).encode()}, "invalid", "user"),
        ({"payload": json.dumps(ACK | {"occurrence_id": "17"}).encode()}, "invalid", "occurrence_id"),
        ({"payload": json.dumps(ACK | {"force": True}).encode()}, "invalid", "force"),
        ({"payload": json.dumps({"user": "anna"}).encode()}, "invalid", "schema"),
    ],
)
def test_a_command_that_makes_no_sense_is_answered_and_not_obeyed(how: Any, outcome: str, told: str) -> None:
    """Each mistake is named in the answer, and there is nothing to obey."""
    command = read_command(ack(**how), ROOT)
    assert (command.body, command.outcome) == (None, outcome)
    assert told in command.problem


def test_a_command_need_not_want_an_answer() -> None:
    """Without a response topic a command is obeyed in silence."""
    command = read_command(ack(response_topic=None), ROOT)
    assert command.body is not None
    assert command.answer("ok", "") is None


@given(
    st.fixed_dictionaries(
        {
            "schema": st.sampled_from(["linewatch/command-ack/1", "linewatch/command-ack/2"]) | st.integers(),
            "occurrence_id": st.uuids().map(str) | st.text(max_size=5) | st.none(),
            "user": st.text(max_size=101) | UNSEEN,
            "comment": st.text(max_size=3) | UNSEEN | st.none(),
        },
        optional={"more": st.none()},
    )
)
def test_the_published_schema_and_the_line_agree(body: dict[str, Any]) -> None:
    """The line obeys what the shipped JSON Schema accepts, and refuses what it refuses."""
    command = read_command(ack(payload=json.dumps(body).encode()), ROOT)
    schema: Draft202012Validator = VALIDATORS["command-ack"]
    assert schema.is_valid(body) == (command.body is not None)


@given(
    st.sampled_from(["shelve", "unshelve", "reset"]),
    st.fixed_dictionaries(
        {"user": st.sampled_from(["anna", ""]), "comment": st.just("x" * 500) | st.just("x" * 501)},
        optional={
            "alarm": st.sampled_from(["dirt", "a/b", "", "x" * 65]),
            "occurrence_id": st.uuids().map(str),
            "kind": st.sampled_from(["timed", "one_shot", "for ever"]),
            "duration_s": st.none() | st.integers(-1, 700_000) | st.sampled_from([True, 1.5, "60"]),
        },
    ),
)
def test_the_published_schemas_of_the_other_commands_and_the_line_agree(name: str, body: dict[str, Any]) -> None:
    """Likewise for shelving and resetting: a time needs its length, an alarm a name."""
    named = {"schema": f"linewatch/command-{name}/1", **body}
    command = read_command(ack(topic=f"{ROOT}/cmd/{name}", payload=json.dumps(named).encode()), ROOT)
    schema: Draft202012Validator = VALIDATORS[f"command-{name}"]
    assert schema.is_valid(named) == (command.body is not None)


@given(
    st.sampled_from(["challenge", "bypass"]),
    st.fixed_dictionaries(
        {"user": st.sampled_from(["anna", ""])},
        optional={
            "action": st.sampled_from(["begin", "cancel", "on", "off", True, "yes"]),
            "comment": st.sampled_from(["", "x" * 501]),
            "parts": st.none() | st.sampled_from([0, 1, 1000, 1001, True, "5"]),
            "within_s": st.none() | st.sampled_from([9, 10, 86_400, 86_401]),
            "minutes": st.none() | st.sampled_from([0, 1, 480, 481, 1.5]),
            "reason": st.sampled_from(["", "  ", "lens", "x" * 500, "x" * 501]) | st.text(max_size=3) | UNSEEN,
        },
    ),
    st.booleans(),
)
def test_the_schemas_of_challenge_and_bypass_and_the_line_agree(name: str, body: dict[str, Any], whole: bool) -> None:
    """Likewise for these: no bypass without a reason and a time, nothing beside a cancelling but who and why."""
    keys = {"challenge": ("action", "parts", "within_s", "user", "comment")}
    keys["bypass"] = ("action", "minutes", "reason", "user")
    fill = {"action": {"challenge": "begin", "bypass": "on"}[name], "parts": None, "within_s": None, "comment": ""}
    fill |= {"minutes": 30, "reason": "lens"}
    named = {key: body.get(key, fill.get(key)) for key in keys[name]} if whole else body
    named = {"schema": f"linewatch/command-{name}/1", **named}
    command = read_command(ack(topic=f"{ROOT}/cmd/{name}", payload=json.dumps(named).encode()), ROOT)
    schema: Draft202012Validator = VALIDATORS[f"command-{name}"]
    assert schema.is_valid(named) == (command.body is not None)


# Python's `$` also matches before a last line break, that of the standard does not.
@given(st.none() | (st.text(max_size=3) | UNSEEN | st.just("x" * 101)).filter(lambda text: not text.endswith("\n")))
@example(" a").via("a space at an end")
@example("a b").via("a space within")
def test_the_schema_of_parts_and_the_line_agree(part_id: str | None) -> None:
    """Likewise for a part's id: what can be printed, and no space at either end."""
    body = {"schema": "linewatch/command-part/1", "action": "open", "part_id": part_id, "recipe": None}
    command = read_command(ack(topic=f"{ROOT}/cmd/part", payload=json.dumps(body).encode()), ROOT)
    schema: Draft202012Validator = VALIDATORS["command-part"]
    assert schema.is_valid(body) == (command.body is not None)


def test_the_inbox_keeps_order_and_is_bounded() -> None:
    """Commands come out once and in order; beyond MAX_WAITING they are dropped, counted, and told of once."""
    inbox = Inbox(ROOT)
    assert inbox.take() == []
    for number in range(MAX_WAITING + 3):
        inbox.put(ack(correlation=str(number).encode()))
    *taken, more = inbox.take()
    assert [command.correlation for command in taken] == [str(number).encode() for number in range(MAX_WAITING)]
    assert (more.body, more.outcome) == (None, "crowded_out")
    assert more.problem.startswith("3 commands came while 100 waited")
    assert (inbox.take(), inbox.dropped) == ([], 3)


def test_the_shell_is_answered_by_the_way_it_came() -> None:
    """A command with a way to reply keeps it, also where there is no room for it."""
    inbox, answers = Inbox(ROOT), []
    inbox.put(ack(), lambda outcome, detail: answers.append((outcome, detail)))
    (command,) = inbox.take()
    assert (command.source, command.reply is not None) == ("shell", True)
    for _ in range(MAX_WAITING + 1):
        inbox.put(ack(), lambda outcome, _: answers.append((outcome, "")))
    assert answers == [("crowded_out", "")]


def test_what_waited_too_long_is_given_up() -> None:
    """A command whose expiry passed before the loop came to it is not obeyed, and comes out as refused."""
    now_s = [0.0]
    inbox = Inbox(ROOT, lambda: now_s[0])
    inbox.put(ack(expiry_s=30))
    inbox.put(ack(expiry_s=60))
    now_s[0] = 31.0
    late, left = inbox.take()
    assert (late.name, late.body, late.outcome) == ("ack", None, "expired")
    assert (left.name, left.outcome, inbox.dropped) == ("ack", "ok", 1)
