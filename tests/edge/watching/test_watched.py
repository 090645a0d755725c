"""A station as its messages tell of it: stale, offline and unknown are never OK; anything from the wire is stood."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from io import StringIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.cli.terminal import Terminal
from edge.cli.watch_view import lasting, line, panel
from edge.messages.writer import MessageWriter, Stamp
from edge.records import AlarmStanding, FrameResult, Judgement, Message, Received, Verdict
from edge.strict_json import parse_json
from edge.watching.watched import Watched
from tests.edge.messages.test_messages import IDENTITY

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
S = 1_000_000_000
ROOT = IDENTITY.root
WRITER = MessageWriter(IDENTITY, lambda: Stamp(NOW, 1_000 * S, True))
BROKER = {"broker": {"connected": True, "trouble": None}, "outbox": {"pending": 2, "dead_letters": 0, "trouble": None}}
TOP = {"condition": "running", "detail": "", "frames_per_s": 12.5, "age_ms": 38.4}
COUNTED = {"frames": 1285, "ok": 1190, "ng": 94, "no_read": 1}
EVIL = "\x1b[2J\u202ewiped\n"


def heard(message: Message, *, retained: bool = False) -> Received:
    """Return a message as a subscriber hears it."""
    return Received(message.topic, message.payload, retained=retained, id=message.id, resent=message.resent)


def said(topic: str, body: dict[str, Any], wall: datetime = NOW) -> Message:
    """Return a message with this body, as a station of any version may say it."""
    envelope = parse_json(WRITER.sequence(1).payload) | {"body": body, "ts": wall.isoformat()}
    return Message("id", "any", f"{ROOT}/{topic}", json.dumps(envelope).encode())


HEALTH = said("state/health", {"cameras": {"top": TOP}, **BROKER})
COUNTERS = said("state/counters", COUNTED)


def result(verdict: Verdict, seq: int, reason: str | None = None) -> Message:
    """Return the message of one result."""
    seen = FrameResult("top", seq, "", NOW, 0, 1.0, Judgement(verdict, reason), None)
    return WRITER.result(seen, seq)[0]


def standing(alarm: str, priority: Any = "high", *, shown: bool = True, since_s: int = 820) -> Message:
    """Return the retained state of an alarm that stands since then on the device's clock, where it is 1,000 s."""
    state = AlarmStanding(
        alarm,
        "active",
        None,
        priority,
        since_s * S,
        1.0,
        1.0,
        "look",
        None,
        None,
        shown,
        None,
        (),
        False,
        False,
        1,
        None,
    )
    return WRITER.alarm_state(alarm, state, 7)


def watched(*messages: Message, retained: bool = False) -> Watched:
    """Return what is known after these, heard in the first second of being connected."""
    seen = Watched(ROOT, "broker:1883", 15 * S)
    seen.connected(0)
    for message in messages:
        seen.take(heard(message, retained=retained), S)
    return seen


ONLINE = WRITER.status("online", "inspecting")


def test_a_station_that_speaks_is_online_with_all_that_it_says() -> None:
    """Counts, cameras, the last result with its reason, alarms with age and what to do: as its messages say."""
    seen = watched(
        ONLINE,
        WRITER.recipe(),
        HEALTH,
        COUNTERS,
        result(Verdict.OK, 1),
        result(Verdict.NG, 2, "scratch: 1 defect"),
        standing("scratches"),
    )
    told = seen.picture(6 * S, NOW)
    assert (told["state"], told["believable"], told["silent_s"]) == ("online", True, 5.0)
    assert told["since_start"] == {"OK": 1190, "NG": 94, "NO_READ": 1}
    assert told["last_minute"] == {"OK": 1, "NG": 1, "NO_READ": 0}
    assert (told["last"]["verdict"], told["last"]["reason"], told["last"]["s_ago"]) == ("NG", "scratch: 1 defect", 5.0)
    top = {"name": "top", "condition": "running", "detail": "", "frames_per_s": 12.5, "picture_age_ms": 38.4}
    assert told["cameras"] == [top]
    # on the device's clock it stood for 1,000 - 820 s when it was told, 5 s ago
    assert [(row["alarm"], row["age_s"], row["text"]) for row in told["alarms"]] == [("scratches", 185.0, "look")]
    assert told["broker"]["connected"] is True
    assert told["outbox"]["pending"] == 2


def test_a_line_of_one_camera_is_told_as_it_says_it() -> None:
    """A health message of one camera, and a recipe of one model, are told as those of several."""
    camera = {"name": "top", "condition": "lost", "detail": "unplugged"}
    health = {"camera": camera, "frames_per_s": 0.0, "age_ms": None}
    recipe = {"name": "phone", "model": {"name": "glass", "version": "1"}}
    told = watched(ONLINE, said("state/health", health | BROKER), said("state/recipe", recipe)).picture(S, NOW)
    assert [(one["name"], one["condition"], one["frames_per_s"]) for one in told["cameras"]] == [("top", "lost", 0.0)]
    assert (told["recipe"], told["models"]) == ("phone", ["glass 1"])
    several = {"name": "phone", "models": {"top": {"name": "a", "version": "1"}, "side": {"name": "a", "version": "1"}}}
    assert watched(said("state/recipe", several)).picture(S, NOW)["models"] == ["a 1"]
    assert told["finds"] == []
    sized = several | {"finds": {"top": ["scratch of ≥ 30 px", 7], "side": ["scratch of ≥ 30 px", "stain"], "x": 1}}
    assert watched(said("state/recipe", sized)).picture(S, NOW)["finds"] == ["scratch of ≥ 30 px", "stain"]


def test_silence_is_stale_and_never_ok() -> None:
    """Fourteen seconds after its last word a station is online, at fifteen it is stale, and is believed no more."""
    seen = watched(ONLINE, result(Verdict.OK, 1))
    assert seen.picture(15 * S, NOW)["state"] == "online"
    told = seen.picture(16 * S, NOW)
    assert (told["state"], told["believable"]) == ("stale", False)
    assert "no message for 15 s" in told["why"]


def test_what_was_retained_is_no_sign_of_life() -> None:
    """A retained `online` may be of a station that is gone: it is waited for, and then it is stale."""
    seen = watched(ONLINE, HEALTH, retained=True)
    assert (seen.picture(2 * S, NOW)["state"], seen.is_live) == ("waiting", False)
    assert seen.picture(15 * S, NOW)["state"] == "stale"
    seen.take(heard(WRITER.sequence(5)), 16 * S)
    assert seen.picture(17 * S, NOW)["state"] == "online"


def test_the_will_is_as_old_as_the_last_sign_of_life() -> None:
    """A Will was written at noon, at the connection; the last word came at 12:30. At 12:33 it is 3 min ago."""
    later = said("state/counters", COUNTED, NOW + timedelta(minutes=30))
    seen = watched(WRITER.will(), later, retained=True)
    told = seen.picture(2 * S, NOW + timedelta(minutes=33))
    assert (told["state"], told["why"], told["status"]["age_s"]) == ("offline", "the connection was lost", 180.0)
    live = watched(WRITER.will())
    assert live.picture(61 * S, NOW + timedelta(days=9))["status"]["age_s"] == 60.0


@pytest.mark.parametrize("status", [b"", b"{}", b'{"body": {"status": "fine"}}', b'{"body": {"status": 1}}', b"\xff"])
def test_a_status_that_is_none_is_unknown(status: bytes) -> None:
    """An absent, foreign or broken status is unknown, whatever else is said."""
    seen = watched(result(Verdict.OK, 1))
    seen.take(Received(f"{ROOT}/status", status), S)
    assert seen.picture(2 * S, NOW)["state"] == "unknown"


def test_a_lost_broker_makes_everything_old() -> None:
    """Without the broker nothing is known of now; at the next connection what it retains is told anew."""
    seen = watched(ONLINE, standing("scratches"), result(Verdict.OK, 1))
    seen.lost("it is gone")
    assert (seen.picture(2 * S, NOW)["state"], seen.picture(2 * S, NOW)["believable"]) == ("no_broker", False)
    seen.connected(3 * S)
    assert (seen.picture(4 * S, NOW)["state"], seen.picture(4 * S, NOW)["alarms"]) == ("unknown", [])


def test_an_alarm_goes_when_its_topic_is_emptied_and_the_urgent_come_first() -> None:
    """High before low, shown before shelved, older before younger; an empty retained payload takes one out."""
    seen = watched(
        standing("low-old", "low", since_s=100),
        standing("high-young", since_s=900),
        standing("high-old", since_s=500),
        standing("shelved", shown=False, since_s=1),
        standing("gone"),
    )
    seen.take(heard(WRITER.alarm_state("gone", None, None)), S)
    told = seen.picture(S, NOW)["alarms"]
    assert [row["alarm"] for row in told] == ["high-old", "high-young", "low-old", "shelved"]


def test_a_part_is_told_as_one() -> None:
    """A result with a part id is of a part; counts named for parts are taken before those of frames."""
    envelope = parse_json(result(Verdict.NO_READ, 1, "side: 0 readable frames of 1").payload)
    envelope["body"] |= {
        "part_id": "P-17",
        "missing_views": ["side"],
        "views": {"top": {"reason": "scratch"}, "side": 3},
        "challenge": True,
    }
    counters = said("state/counters", {"frames": 99, "parts": 8, "ok": 5, "ng": 2, "no_read": 1})
    seen = watched(ONLINE)
    seen.take(Received(f"{ROOT}/event/result", json.dumps(envelope).encode()), S)
    seen.take(heard(counters), S)
    told = seen.picture(2 * S, NOW)
    assert (told["counted"], told["since_start"]) == ("parts", {"OK": 5, "NG": 2, "NO_READ": 1})
    assert (told["last"]["part_id"], told["last"]["missing_views"]) == ("P-17", ["side"])
    assert told["last"]["views"] == {"top": "scratch", "side": None}
    assert "NO_READ part P-17, 1 s ago, of a challenge: side: 0 readable frames of 1 (missing: side)" in line(told)


def test_a_late_result_is_counted_but_does_not_take_the_place_of_the_last() -> None:
    """Result 4 that comes behind 5 is counted; the last is still 5. One that comes twice is counted once."""
    seen = watched(ONLINE, *(result(verdict, seq) for verdict, seq in ((Verdict.OK, 3), (Verdict.NG, 5))))
    for _ in range(2):
        seen.take(heard(result(Verdict.OK, 4)), S)
    told = seen.picture(2 * S, NOW)
    assert (told["last"]["frame"], told["last_minute"]) == (5, {"OK": 2, "NG": 1, "NO_READ": 0})


def test_a_missing_event_is_told_and_whether_it_only_waits() -> None:
    """A gap of two is told after ten seconds, with how many wait in the station's outbox."""
    seen = watched(ONLINE, HEALTH, result(Verdict.OK, 1), result(Verdict.OK, 4))
    seen.take(heard(HEALTH), 11 * S)
    told = seen.picture(11 * S, NOW)
    assert (told["events"]["missing"], told["events"]["gaps"]) == (2, [[2, 3]])
    assert "2 events have not come: 2-3; 2 wait in the station's outbox" in line(told)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (None, "a time that is not known"),
        (0.4, "0 s"),
        (99, "99 s"),
        (180, "3 min"),
        (7_500, "2 h 5 min"),
        (270_000, "3 d 3 h"),
    ],
)
def test_durations_are_told_as_people_say_them(seconds: float | None, told: str) -> None:
    """Seconds, minutes, hours, days."""
    assert lasting(seconds) == told


def shown(told: dict[str, Any], width: int = 80) -> str:
    """Return the panel as a terminal of that width shows it, without colours."""
    file = StringIO()
    Terminal(file=file, width=width, force_terminal=True, color_system=None, legacy_windows=False).print(panel(told))
    return file.getvalue()


def test_the_panel_reads_well_at_80_columns() -> None:
    """No line is longer than 80; every text stands whole in it, and an alarm with age and remedy."""
    seen = watched(ONLINE, HEALTH, result(Verdict.NG, 2, "scratch: " + "long words " * 12), standing("a"))
    told = shown(seen.picture(6 * S, NOW))
    assert max(len(row) for row in told.splitlines()) <= 80
    assert "ONLINE: inspecting" in told
    assert "HIGH a, active for 3 min: look" in told
    assert " ".join(told.split()).count("long words") == 12


@pytest.mark.parametrize("state", ["stale", "offline", "no_broker", "unknown"])
def test_nothing_old_looks_well(state: str) -> None:
    """The panel says before all else that a station is not online now. An OK of before is called old."""
    seen = watched(ONLINE, result(Verdict.OK, 1))
    now_ns = 2 * S
    if state == "offline":
        seen.take(heard(WRITER.will()), S)
    elif state == "no_broker":
        seen.lost("gone")
    elif state == "unknown":
        seen.take(Received(f"{ROOT}/status", b""), S)
    else:
        now_ns = 99 * S
    picture = seen.picture(now_ns, NOW)
    told = shown(picture)
    assert state.upper().replace("_", " ") in told.splitlines()[1]
    assert "It is not OK." in told
    assert "(old) OK top frame 1" in told
    assert "last (old): OK" in line(picture)


def test_what_comes_from_the_wire_cannot_steer_a_terminal() -> None:
    """Escapes, overrides of direction and line breaks in every text are shown as escapes, in panel and line."""
    messages = [WRITER.status("online", EVIL), standing("a"), result(Verdict.NG, 1, EVIL)]
    trouble = {"connected": False, "trouble": EVIL}
    health = {"cameras": {EVIL: {"condition": EVIL, "detail": EVIL}}, "broker": trouble, "outbox": trouble}
    seen = watched(said("state/health", health), *messages)
    seen.unheard(EVIL, EVIL)
    picture = seen.picture(2 * S, NOW)
    for told in (shown(picture).replace("\n", ""), line(picture)):
        assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in told), repr(told)
        assert r"\x1b[2J" in told


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
TOPICS = ("status", "state/health", "state/counters", "state/recipe", "seq", "alarm/a", "event/result", "event/alarm")
# fmt: off
KEYS = [
    "status", "reason", "camera", "cameras", "frames_per_s", "broker", "outbox", "ok", "ng", "parts", "verdict",
    "models", "finds",
    "part_id", "views", "missing_views", "grade", "state", "priority", "at_ns", "text", "user", "shown", "value",
    "committed", "name", "model", "condition", "detail",
]
# fmt: on


def _messages() -> Iterator[st.SearchStrategy[bytes]]:
    bodies = st.dictionaries(st.sampled_from(KEYS), JSON | st.sampled_from(["online", "OK", "NG"]), max_size=8)
    keys = st.sampled_from(["seq", "epoch", "ts", "mono_ns", "boot_id", "device"])
    for body in (bodies, JSON):
        yield st.builds(
            lambda rest, body: json.dumps(rest | {"body": body}).encode(), st.dictionaries(keys, JSON, max_size=6), body
        )
    yield st.binary(max_size=20)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(TOPICS), st.one_of(*_messages()), st.booleans()), max_size=8))
def test_no_message_ends_it(messages: list[tuple[str, bytes, bool]]) -> None:
    """Anything published on a station's topics can be shown, as panel, line and JSON."""
    seen = watched(ONLINE)
    for topic, payload, retained in messages:
        seen.take(Received(f"{ROOT}/{topic}", payload, retained=retained), S)
    picture = seen.picture(12 * S, NOW)
    assert shown(picture)
    assert line(picture)
    json.dumps(picture, allow_nan=False)
