"""Commands that are meant to do harm: where a line must not answer, and what it must not be led to publish."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.commands.requests import MAX_DETAIL, MAX_WAITING, PER_S, RESENDS_AT_ONCE, Inbox, read_command
from edge.errors import SettingsError
from edge.records import Crowded, Received
from edge.settings import load_settings

ROOT = "acme/ulm/glass/l1/c1/inspect/v1"
ACK = {
    "schema": "linewatch/command-ack/1",
    "occurrence_id": "57093987-2e9c-5b16-8841-be8d02c70574",
    "user": "anna",
    "comment": "wiped",
}
COMMAND = Received(f"{ROOT}/cmd/ack", json.dumps(ACK).encode(), expiry_s=30, correlation=b"7")

# (response topic, what is said of it; empty: it is answered there)
TOPICS = [
    (f"{ROOT}/answer/desk", ""),
    (f"{ROOT}/answer/desk/7", ""),
    (f"{ROOT}/answer/Büro 3", ""),
    (f"{ROOT}/answer/" + "x" * (200 - len(f"{ROOT}/answer/")), ""),
    (f"{ROOT}/answer/" + "/".join("x" * 12), ""),
    ("", "answers go below"),
    ("desk/answers", "answers go below"),
    (ROOT, "answers go below"),
    (f"{ROOT}/answer", "answers go below"),
    (f"{ROOT}/answers/desk", "answers go below"),
    (f"{ROOT}/answer/", "empty level"),
    (f"{ROOT}/answer//desk", "empty level"),
    (f"{ROOT}/answer/desk/", "empty level"),
    (f"{ROOT}/event/alarm", "answers go below"),
    (f"{ROOT}/alarm/scratched", "answers go below"),
    (f"{ROOT}/status", "answers go below"),
    (f"{ROOT}/cmd/ack", "answers go below"),
    ("acme/ulm/glass/l2/c1/inspect/v1/cmd/shelve", "answers go below"),
    ("acme/ulm/glass/l2/c1/inspect/v1/event/alarm", "answers go below"),
    ("acme/ulm/press/speed/set", "answers go below"),
    ("$SYS/broker/log", "answers go below"),
    ("$share/group/x", "answers go below"),
    (f"{ROOT}/answer/+", "wildcard"),
    (f"{ROOT}/answer/#", "wildcard"),
    (f"{ROOT}/answer/a\x00b", "cannot be printed"),
    (f"{ROOT}/answer/a\nb", "cannot be printed"),
    (f"{ROOT}/answer/\x1b[2J", "cannot be printed"),
    (f"{ROOT}/answer/\ufffe", "cannot be printed"),
    (f"{ROOT}/answer/\u202edesk", "cannot be printed"),
    (f"{ROOT}/answer/" + "x" * 200, "at most 200"),
    (f"{ROOT}/answer/" + "x/" * 80 + "x", "at most 20 are"),
    (f"{ROOT}/answer/" + "/".join("x" * 13), "at most 20"),
    ("/".join("x" * 250), "answers go below"),
    (f"{ROOT}/answer/{ROOT}/event/alarm", "a line's own messages"),
    (f"{ROOT}/answer/../event/alarm", ""),  # MQTT knows no way up: this is a level named ".."
]


@pytest.mark.parametrize(("topic", "told"), TOPICS)
def test_an_answer_goes_below_its_prefix_to_a_legal_topic_or_nowhere(topic: str, told: str) -> None:
    """The command is obeyed all the same; where it is not answered the journal is told why."""
    command = read_command(replace(COMMAND, response_topic=topic), ROOT)
    answer = command.answer("ok", "")
    assert command.body is not None
    assert (answer is None) == bool(told) == bool(command.unanswered)
    assert told in command.unanswered
    assert answer is None or answer.response_topic == topic
    assert command.unanswered.isprintable()


@given(st.text(max_size=300))
def test_nothing_but_answers_is_ever_published_because_a_command_said_so(topic: str) -> None:
    """The line publishes below the prefix, within the bounds, or not at all, whatever the response topic."""
    for wanted in (topic, f"{ROOT}/answer/{topic}"):
        answer = read_command(replace(COMMAND, response_topic=wanted), ROOT).answer("ok", "")
        if answer is not None:
            levels = answer.response_topic.split("/")
            assert answer.response_topic.startswith(f"{ROOT}/answer/")
            assert len(answer.response_topic) <= 200
            assert len(levels) <= 20
            assert all(levels)
            assert not set("+#\x00") & set(answer.response_topic)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"correlation": b"x" * 1024}, ""),
        ({"correlation": b"x" * 1025}, "1025 bytes"),
        ({"correlation": b"x" * 60_000}, "60000 bytes"),
        ({"correlation": None}, ""),
    ],
)
def test_what_is_given_back_is_bounded(how: dict[str, bytes | None], told: str) -> None:
    """Correlation data of more than a kilobyte would make an answer that a broker may break the connection over."""
    command = read_command(replace(COMMAND, response_topic=f"{ROOT}/answer/desk", **how), ROOT)  # type: ignore[arg-type] # per test
    assert (command.answer("ok", "") is None) == bool(told)
    assert told in command.unanswered


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(ACK | {"k" * 16_000: 1}).encode(),
        json.dumps({"user": "x" * 16_000}).encode(),
        b'{"a":' * 3_000 + b"1" + b"}" * 3_000,
        b"\xff" * 16_384,
    ],
)
def test_an_answer_does_not_repeat_what_it_was_sent(payload: bytes) -> None:
    """An error is told in at most 500 characters."""
    command = read_command(replace(COMMAND, payload=payload, response_topic=f"{ROOT}/answer/desk"), ROOT)
    assert command.body is None
    assert len(command.problem) <= MAX_DETAIL


# A body, and what is wrong with it.
BODIES: list[tuple[bytes, str]] = [
    (json.dumps(ACK).encode().replace(b'"user": "anna"', b'"user": "anna", "user": "eve"'), "'user' is given twice"),
    (json.dumps(ACK).encode().replace(b'"user"', b'"us\\u0065r": "eve", "user"'), "'user' is given twice"),
    (json.dumps(ACK | {"user": "   "}).encode(), "user: Value error, expected a name that can be seen"),
    (json.dumps(ACK | {"user": "\u00a0\u2003"}).encode(), "expected a name that can be seen"),
    (json.dumps(ACK | {"user": "\u200b\ufeff"}).encode(), "expected a name that can be seen"),
    (json.dumps(ACK | {"user": "\x1b\n"}).encode(), "expected a name that can be seen"),
    (json.dumps(ACK | {"user": ""}).encode(), "at least 1 character"),
    (json.dumps(ACK | {"user": None}).encode(), "user: Input should be a valid string"),
    (json.dumps(ACK | {"user": "x" * 101}).encode(), "at most 100 characters"),
    (json.dumps(ACK | {"comment": "a\0b"}).encode(), "expected text, received the character"),
    (json.dumps(ACK | {"occurrence_id": ACK["occurrence_id"].upper()}).encode(), "occurrence_id"),
    (json.dumps(ACK | {"occurrence_id": ACK["occurrence_id"] + "\n"}).encode(), "occurrence_id"),
    (json.dumps(ACK | {"schema": "linewatch/command-reset/1"}).encode(), "schema"),
    (json.dumps(ACK | {"\x1b[2J": 1}).encode(), "Extra inputs"),
    (json.dumps(ACK).encode() * 2, "trailing characters"),
    (json.dumps(ACK).encode() + b"\x00", "trailing characters"),
    (b"\xef\xbb\xbf" + json.dumps(ACK).encode(), "Invalid JSON"),
    (json.dumps(ACK).encode("utf-16"), "Invalid JSON"),
    (json.dumps(ACK).encode().replace(b"anna", rb"\ud800"), "Invalid JSON"),
    (b"[" + json.dumps(ACK).encode() + b"]", "Input should be an object"),
    (b"null", "Input should be an object"),
    (b"", "Invalid JSON"),
]


@pytest.mark.parametrize(("payload", "says"), BODIES)
def test_a_body_that_is_none_or_could_be_read_in_two_ways_is_refused(payload: bytes, says: str) -> None:
    """Nothing is done for it; the user behind a deed is known and can be seen in the journal."""
    command = read_command(replace(COMMAND, payload=payload), ROOT)
    assert (command.body, command.outcome) == (None, "invalid")
    assert says in command.problem


NO_COMMANDS = [
    "ACK",
    "ack/",
    "ack/x",
    "",
    "../ack",
    "ack\n",
    " ack",
    "\u0430ck",
    "answer",
    "+",
    "x" * 60_000,
    "\x1b[2Jack",
]


@pytest.mark.parametrize("name", NO_COMMANDS)
def test_a_name_that_is_none_is_no_command(name: str) -> None:
    """Nothing is obeyed under a name that only looks like another."""
    command = read_command(replace(COMMAND, topic=f"{ROOT}/cmd/{name}"), ROOT)
    assert (command.body, command.outcome) == (None, "unknown_command")
    assert len(command.problem) <= MAX_DETAIL


def test_a_flood_of_commands_is_cut_to_a_rate_and_counted() -> None:
    """Of 5,000 commands in a second at most MAX_WAITING at once and PER_S are taken. The rest is told at once."""
    now_s = [0.0]
    inbox = Inbox(ROOT, lambda: now_s[0])
    taken = []
    for number in range(5_000):
        now_s[0] = number / 5_000
        inbox.put(COMMAND)
        if number % 50 == 0:  # the loop looks
            taken += inbox.take()
    taken += inbox.take()
    read = [command for command in taken if command.outcome == "ok"]
    assert MAX_WAITING <= len(read) <= MAX_WAITING + PER_S + 1
    assert inbox.dropped == 5_000 - len(read)
    assert sum(command.outcome == "crowded_out" for command in taken) == 1
    inbox.put(Crowded(17))
    now_s[0] = 20.0
    more, unseen = [command for command in inbox.take() if command.outcome == "crowded_out"]
    assert inbox.dropped == 5_017 - len(read)
    assert more.problem.split()[0] == str(5_000 - len(read) - int(_first_number(taken)))
    assert unseen.problem.startswith("17 messages came faster than they could be looked at")


def _first_number(taken: list) -> str:  # type: ignore[type-arg] # of commands
    (told,) = [command for command in taken if command.outcome == "crowded_out"]
    return str(told.problem.split()[0])


def test_two_hundred_parts_a_second_are_taken_and_no_more() -> None:
    """Ten seconds of 400 openings and closings a second: all are taken. Of 2,000 a second 400 are, and it is told."""
    for per_s, most in ((400, 4_000), (2_000, 400 * 10 + 400)):
        now_s, taken = [0.0], []
        inbox = Inbox(ROOT, lambda now_s=now_s: now_s[0])  # type: ignore[misc]
        for number in range(10 * per_s):
            now_s[0] = number / per_s
            inbox.put(replace(COMMAND, topic=f"{ROOT}/cmd/part"))
            if number % (per_s // 20) == 0:
                taken += inbox.take()
        now_s[0] = 20.0
        taken += inbox.take()
        parts = [command for command in taken if command.outcome != "crowded_out"]
        assert most * 0.99 <= len(parts) <= most
        assert inbox.dropped == 10 * per_s - len(parts)
        told = [command for command in taken if command.outcome == "crowded_out"]
        assert [command.name for command in told] == ["part"] * (2 if per_s == 2_000 else 0)


def test_wishes_to_send_again_have_a_rate_of_their_own() -> None:
    """Of 100 in a second a few are obeyed, and other commands are taken meanwhile."""
    now_s = [0.0]
    inbox = Inbox(ROOT, lambda: now_s[0])
    for _ in range(100):
        inbox.put(replace(COMMAND, topic=f"{ROOT}/cmd/resend"))
    inbox.put(COMMAND)
    names = [command.name for command in inbox.take()]
    assert names.count("resend") == RESENDS_AT_ONCE
    assert names.count("ack") == 1


def test_the_shell_is_heard_in_a_flood() -> None:
    """The device's own shell finds room, however many commands come from the broker."""
    inbox, answers = Inbox(ROOT), []
    for _ in range(1_000):
        inbox.put(COMMAND)
    inbox.put(COMMAND, lambda outcome, _: answers.append(outcome))
    assert [command.source for command in inbox.take()].count("shell") == 1
    assert answers == []


@pytest.mark.parametrize(
    ("prefix", "says"),
    [
        ("''", "at least 2 characters"),
        ("'a/+'", "wildcard"),
        ("'#/x'", "wildcard"),
        ("'$SYS/x'", "wildcard"),
        ("'a//b'", "empty level"),
        ('"a/\\tb"', "cannot be printed"),
        ("'acme/ulm/glass/l2/c1/inspect/v1/event'", "a line's own messages"),
        ("'enterprise/site'", "beside those of the line"),
        ("'enterprise/site/area/line/cell/inspect/v1/'", "a line's own messages"),
        (f"'{'x' * 181}'", "at most 180 characters"),
    ],
)
def test_a_prefix_that_would_let_answers_speak_for_others_is_refused(tmp_path: Path, prefix: str, says: str) -> None:
    """The settings name a place that is for answers alone."""
    (tmp_path / "line.yaml").write_text(f"commands: {{answer_prefix: {prefix}}}\n")
    with pytest.raises(SettingsError, match=says):
        load_settings(tmp_path / "line.yaml")


def test_answers_may_have_a_place_of_their_own(tmp_path: Path) -> None:
    """With a prefix in the settings answers go below it, and no more below the line's root."""
    (tmp_path / "line.yaml").write_text("commands: {answer_prefix: desks/answers}\n")
    settings = load_settings(tmp_path / "line.yaml")
    prefix = settings.commands.prefix(settings.line.root)
    assert prefix == "desks/answers/"
    for topic, goes in (("desks/answers/7", True), (f"{ROOT}/answer/7", False)):
        command = read_command(replace(COMMAND, response_topic=topic), ROOT, prefix)
        assert (command.answer("ok", "") is not None) == goes
