"""Messages: every payload keeps its schema, and says what the record said, rounded once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

import edge
from edge.alarms import AlarmRule, alarm_rules
from edge.commands.requests import COMMANDS, Answer
from edge.messages.writer import (
    KINDS,
    CameraHealth,
    Counters,
    DiffReport,
    Health,
    Identity,
    InForce,
    MessageWriter,
    ReloadReport,
    Stamp,
    result_body,
)
from edge.records import (
    AlarmEvent,
    AlarmStanding,
    ClassMeasure,
    Defect,
    FrameResult,
    Grade,
    Judgement,
    Measurement,
    Message,
    StandingShelf,
    Verdict,
)
from edge.records.health import ModelDriftNow
from edge.records.models import ModelIdentity
from edge.records.parts import Closing, PartResult, ViewResult

SCHEMAS = Path(edge.__file__).parent / "schemas"
MQTT_PAGE = Path(__file__).resolve().parents[3] / "docs" / "mqtt.md"
MODEL = ModelIdentity("glass", "1.2.0", "ab" * 32)
UUID = "4dbf8f4e-9d35-4a6e-8f3b-6f9c2a1f0e55"
IDENTITY = Identity("acme", "ulm", "glass", "l1", "c1", "jetson-1", "phone", MODEL, epoch=UUID)
ROOT = "acme/ulm/glass/l1/c1/inspect/v1"
NOON = datetime(2026, 1, 31, 12, 0, 0, 1_999, tzinfo=timezone.utc)
WRITER = MessageWriter(IDENTITY, lambda: Stamp(NOON, 5, None))
OCCURRENCE = "57093987-2e9c-5b16-8841-be8d02c70574"
RAISED = AlarmEvent("dirt", "raised", "active", OCCURRENCE, "high", 7, 0.25, 0.2, "Clean it")
SEEN = replace(RAISED, transition="acknowledged", state="acknowledged", at_ns=9, user="anna", comment="on my way")
STANDS = AlarmStanding(
    alarm="dirt",
    state="active",
    occurrence_id=OCCURRENCE,
    priority="high",
    at_ns=7,
    value=0.25,
    limit=0.2,
    text="Clean it",
    user=None,
    comment=None,
    shown=True,
    shelf=None,
    suppressed_by=(),
    out_of_service=False,
    chattering=False,
    raises_last_minute=1,
    members=None,
)
SHELVED = replace(
    STANDS, state="normal", occurrence_id=None, value=None, shelf=StandingShelf("timed", 61_500_000_000, "anna", "")
)
# Not JSON in an envelope: a JPEG, and what others send to the line.
# Of what has changed since its first version.
VERSIONS = {"counters": 3, "health": 5, "birth": 2, "recipe": 3, "result": 3, "part": 2}
NO_BODY, HEARD = {"picture"}, {f"command-{name}" for name in COMMANDS}
DRIFT = ModelDriftNow(0.6104, 0.52, None, 12, drifted=False)
HEALTH = Health({"top": CameraHealth("running", "", 10.004, None, 0, model_drift=DRIFT)}, True, 3, 0, None, None)
DIFF = DiffReport(3, 1, [{"former": "OK", "new": "NG", "count": 1}], {"scratch": {"gained": 2, "lost": 0}}, 9, 1)
RELOAD = ReloadReport("switched", "", "a", {"top": MODEL}, {"top": MODEL}, "ab" * 32, "part", DIFF, None, "anna", "")
SIGNALS = {
    "link": "simulated",
    "lost": None,
    "safe": "",
    "late": None,
    "read_s_ago": None,
    "counts": dict.fromkeys(("parts", "pulses", "late", "crowded_out", "unheard", "losses", "trigger_faults"), 0),
    "hand_test": {"refused": None, "signal": "gate", "user": "erik", "left_s": 0.7},
    "outputs": [{"signal": "gate", "rule": "pulse", "at": "gate", "level": True, "since_s": 0.3, "barred": None}],
    "inputs": [{"signal": "id", "rule": "part_id", "at": "id", "level": None, "since_s": None}],
    "omitted": 0,
}
COUNTERS = Counters(10, 0, 7, 2, 1, 0, 1, 1, 9, 0, 0)


def schema(kind: str) -> dict[str, Any]:
    """Read one schema that ships with the package."""
    loaded: dict[str, Any] = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    return loaded


VALIDATORS = {path.stem: Draft202012Validator(schema(path.stem)) for path in SCHEMAS.glob("*.json")}


def opened(message: Message) -> dict[str, Any]:
    """Validate a message as a consumer would, and return its envelope."""
    envelope: dict[str, Any] = json.loads(message.payload)
    VALIDATORS["envelope"].validate(envelope)
    kind = envelope["body"]["schema"].split("/")[1]
    assert kind == message.kind
    VALIDATORS[kind].validate(envelope["body"])
    return envelope


def defect(area_px: float = 4.0, mm: float | None = None, score: float = 0.5) -> Defect:
    """Return a defect of class scratch."""
    return Defect(1, "scratch", score, area_px, (1, 2, 3, 4), 5.0, 1.0, mm, mm, mm)


def inspection(
    measurement: Measurement | None, verdict: Verdict = Verdict.OK, reason: str | None = None
) -> FrameResult:
    """Return the inspection of one frame."""
    return FrameResult("top", 3, "a.png", NOON, 5, 12.345, Judgement(verdict, reason), measurement)


def every_part() -> Iterator[PartResult]:
    """Return a part in each of its forms: with a worst frame, with none, and repeated."""
    worst = replace(inspection(Measurement(0.1, None, 9.0, {}, (defect(),)), Verdict.NG, "scratch"), model=MODEL)
    views = {"top": ViewResult(1, 1, 1, worst=worst), "side": ViewResult()}
    yield PartResult(
        1, "p-1", False, "phone", 5, 9, Closing.TRIGGER, Judgement(Verdict.NG, "top: scratch"), views, ("side",)
    )
    unread = ViewResult(1, unread=inspection(None, Verdict.NO_READ, "stale frame"))
    missing = Judgement(Verdict.NO_READ, "top: 0 readable frames of 1; stale frame")
    yield PartResult(2, "p-1", True, None, 5, 9, Closing.TIMEOUT, missing, {"top": unread}, ("top",))


def every_message() -> Iterator[Message]:
    """Build one message of each kind and of each form that a kind has."""
    rule = AlarmRule.model_validate({"id": "dirt", "measure": "count", "raise_at": 2, "class": "scratch", "text": "x"})
    yield WRITER.result(inspection(Measurement(0.1, None, 9.0, {"scratch": ClassMeasure(0.1, 1)}, (defect(),))), 1)[0]
    yield WRITER.result(inspection(None, Verdict.NO_READ, "stale frame"), 2)[0]
    graded = replace(inspection(Measurement(0.1, None, 9.0, {}, ())), grade=Grade("B", 0.6))
    yield WRITER.result(graded, 2)[0]
    yield from (WRITER.part(each, 4, live=True)[0] for each in every_part())
    for event in (RAISED, SEEN, replace(RAISED, transition="shelved", state="normal", value=None, limit=None)):
        yield WRITER.alarm(event, 3)
    for standing in (None, STANDS, SHELVED, replace(STANDS, alarm="dirt", members=12, suppressed_by=("camera-lost",))):
        yield WRITER.alarm_state("dirt", standing, 3)
    yield from (WRITER.status("starting", "loading"), WRITER.status("online", "ready"), WRITER.will())
    yield WRITER.birth(["top"], ["scratch"], [*alarm_rules([]), rule], ["anna"], [Grade("A", 1.0)])
    yield from (WRITER.recipe(), WRITER.health(HEALTH), WRITER.counters(COUNTERS), WRITER.sequence(4))
    yield WRITER.signals(SIGNALS)
    yield from (WRITER.reload(RELOAD), WRITER.reload(replace(RELOAD, new={}, settings_sha256=None, shadow=None)))
    yield WRITER.picture(b"\xff\xd8 and so on")
    yield WRITER.answer(Answer("ack", "ok", "", "desk/answers", b"7"))


def test_every_message_keeps_its_schema() -> None:
    """Each kind of message, in each of its forms, validates against the shipped schemas; none is left untested."""
    messages = list(every_message())
    for message in messages:
        if message.payload and message.kind not in NO_BODY:
            opened(message)
    assert {message.kind for message in messages} == set(KINDS)
    assert set(KINDS) - NO_BODY | HEARD | {"envelope"} == set(VALIDATORS)


def test_every_schema_is_strict_and_described() -> None:
    """Each schema is a valid JSON Schema 2020-12, names its own kind, refuses unknown keys, and describes each key."""
    for kind in VALIDATORS:
        Draft202012Validator.check_schema(schema(kind))
        assert schema(kind)["properties"]["schema"]["const"] == f"linewatch/{kind}/{VERSIONS.get(kind, 1)}"
        for part in _objects(schema(kind)):
            assert part["additionalProperties"] is False
            assert set(part["required"]) == set(part["properties"])
            assert all("description" in value for value in part["properties"].values()), part


def _objects(part: Any) -> Iterator[dict[str, Any]]:
    if isinstance(part, dict):
        # `body` of the envelope is described by the schema that it names.
        if "properties" in part and "type" in part and part.get("description") != "The message itself.":
            yield part
        for value in part.values():
            yield from _objects(value)


def test_how_each_kind_travels() -> None:
    """Topic, QoS, retain, expiry, urgency and durability are those that docs/mqtt.md promises."""
    travels = {
        (m.kind, m.topic.removeprefix(ROOT + "/"), m.qos, m.retain, m.expiry_s, m.urgent, m.durable)
        for m in every_message()
    }
    assert travels == {
        ("status", "status", 1, True, None, False, False),
        ("birth", "birth", 1, True, None, False, False),
        ("recipe", "state/recipe", 1, True, None, False, False),
        ("reload", "state/reload", 1, True, None, False, False),
        ("part", "event/result", 1, False, 86_400, False, True),
        ("health", "state/health", 1, True, None, False, False),
        ("counters", "state/counters", 1, True, None, False, False),
        ("signals", "state/signals", 0, False, 10, False, False),
        ("result", "event/result", 1, False, 86_400, False, True),
        ("alarm", "event/alarm", 1, False, None, True, True),
        ("alarm-state", "alarm/dirt", 1, True, None, True, True),
        ("seq", "seq", 0, True, None, False, False),
        ("picture", "image/last", 0, False, 10, False, False),
        ("answer", "desk/answers", 1, False, 60, False, False),
    }  # fmt: skip


def test_the_envelope_says_who_when_and_which() -> None:
    """The speaker, both clocks, the event's number and the model stand around every body; each id is new."""
    message, _ = WRITER.result(inspection(None, Verdict.NO_READ, "dark"), 41)
    envelope = opened(message)
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    del envelope["body"]
    assert envelope == {
        "schema": "linewatch/envelope/1",
        "id": message.id,
        "seq": 41,
        "epoch": UUID,
        "boot_id": boot,
        "ts": "2026-01-31T12:00:00.001Z",
        "mono_ns": 5,
        "clock_synced": None,
        "device": "jetson-1",
        "recipe": "phone",
        "model_sha256": "ab" * 32,
    }
    ids = [m.id for m in every_message()]
    assert len(set(ids)) == len(ids)


def test_a_result_says_what_was_measured_rounded() -> None:
    """Fractions have 8 digits, mm² 4, mm 3, scores 3, ms 1. Times are UTC whatever zone they were given in."""
    cest = timezone(timedelta(hours=2))
    seen = Measurement(0.123456789, 1.23456, 9.0, {"scratch": ClassMeasure(1 / 3, 1)}, (defect(7.06, 1.23456, 2 / 3),))
    body = result_body(
        replace(inspection(seen, Verdict.NG, "scratch: 1 defects"), captured_at=NOON.astimezone(cest)), MODEL
    )
    VALIDATORS["result"].validate(body)
    assert body == {
        "schema": "linewatch/result/3",
        "camera": "top",
        "frame": 3,
        "name": "a.png",
        "part_id": None,
        "captured_at": "2026-01-31T12:00:00.001Z",
        "age_ms": 12.3,
        "verdict": "NG",
        "reason": "scratch: 1 defects",
        "grade": None,
        "coverage": 0.12345679,
        "coverage_mm2": 1.2346,
        "classes": {"scratch": {"coverage": 0.33333333, "count": 1}},
        "defects": [
            {
                "class": "scratch",
                "score": 0.667,
                "area_px": 7.1,
                "area_mm2": 1.2346,
                "u_area_mm2": None,
                "length_mm": 1.235,
                "u_mm": None,
                "width_mm": 1.235,
                "width_max_mm": None,
                "contrast": None,
                "orientation_deg": None,
                "edge_distance_mm": None,
                "measured_by": "mask",
                "pieces": 1,
                "bbox": [1, 2, 3, 4],
            }
        ],
        "defects_omitted": 0,
        "model": {"name": "glass", "version": "1.2.0", "sha256": "ab" * 32},
        "evidence_id": None,
    }


def test_the_fifty_largest_defects_are_listed_and_fit_a_small_broker() -> None:
    """Of 100 defects the 50 largest are listed, from the largest down; the payload stays below 20 kB."""
    areas = [float(area) for area in range(1_000_000, 1_000_100)]
    defects = tuple(
        Defect(
            *(1, "x" * 20, 0.987, area, (4000, 3000, 4000, 3000), 1e3, 1e3, 12345.6789, 1234.567, 1234.567, 123.456),
            *(1234.567, 1234.567, 1234.567, 12345.6789, -123.45, 123.45, 1234.5, 1234.567),
        )
        for area in areas
    )
    message, body = WRITER.result(
        inspection(Measurement(0.5, 1.0, 9.0, {"x" * 20: ClassMeasure(0.5, 100)}, defects)), 1
    )
    assert [listed["area_px"] for listed in body["defects"]] == areas[:49:-1]
    assert body["defects_omitted"] == 50
    assert len(message.payload) < 20_000


Mm = st.none() | st.floats(0, 1e6)
Defects = st.builds(
    Defect,
    class_id=st.just(1),
    class_name=st.text(st.characters(codec="utf-8"), max_size=9),
    score=st.floats(0, 1),
    area_px=st.floats(0, 1e9),
    bbox=st.tuples(*[st.integers(-100, 9999)] * 4),
    length_px=st.floats(0, 1e5),
    width_px=st.floats(0, 1e5),
    area_mm2=Mm,
    length_mm=Mm,
    width_mm=Mm,
)
Measurements = st.builds(
    Measurement,
    coverage=st.floats(0, 1),
    coverage_mm2=Mm,
    region_px=st.floats(1, 1e9),
    classes=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=9), st.builds(ClassMeasure, st.floats(0, 1), st.integers(0, 999))
    ),
    defects=st.lists(Defects, max_size=5).map(tuple),
)
Texts = st.text(st.characters(codec="utf-8"))
Inspections = st.one_of(
    st.builds(inspection, Measurements),
    st.builds(inspection, Measurements, st.just(Verdict.NG), Texts),
    st.builds(inspection, st.none(), st.just(Verdict.NO_READ), Texts),
).flatmap(
    lambda seen: st.builds(
        replace, st.just(seen), name=Texts, frame=st.none() | st.integers(0), age_ms=st.none() | st.floats(0, 1e9)
    )
)


@given(Inspections)
@settings(max_examples=200)
def test_any_inspection_makes_a_valid_result(seen: FrameResult) -> None:
    """The result keeps its schema, whatever was inspected, and the body is the same each time it is built."""
    message, body = WRITER.result(seen, 1)
    assert opened(message)["body"] == body == result_body(seen, MODEL)


def test_nothing_reads_as_clean_where_nothing_was_read() -> None:
    """On NO_READ every measured value is null, and the schema refuses a NO_READ that says 0 % coverage."""
    body = result_body(inspection(None, Verdict.NO_READ, "no frame for 1200 ms"), MODEL)
    measured = ["coverage", "coverage_mm2", "classes", "defects", "defects_omitted"]
    assert [body[key] for key in measured] == [None] * 5
    for key, value in zip(measured, [0.0, 0.0, {}, [], 0], strict=True):
        with pytest.raises(ValidationError):
            VALIDATORS["result"].validate(body | {key: value})
    with pytest.raises(ValidationError):
        VALIDATORS["result"].validate(body | {"verdict": "OK", "reason": None})


def test_a_transition_and_the_state_say_what_happened_and_how_it_stands() -> None:
    """The journal's entry is the event; the retained state is how the alarm stands, with its event's number."""
    journal, state = WRITER.alarm(SEEN, 4), WRITER.alarm_state("dirt", replace(STANDS, user="anna", comment="soon"), 4)
    entry, stands = opened(journal), opened(state)
    assert entry["seq"] == stands["seq"] == 4
    assert entry["body"] == {
        "schema": "linewatch/alarm/1",
        "alarm": "dirt",
        "transition": "acknowledged",
        "state": "acknowledged",
        "occurrence_id": OCCURRENCE,
        "priority": "high",
        "at_ns": 9,
        "value": 0.25,
        "limit": 0.2,
        "text": "Clean it",
        "shown": True,
        "user": "anna",
        "comment": "on my way",
        "detail": "",
    }
    assert (stands["body"]["state"], stands["body"]["user"], stands["body"]["comment"]) == ("active", "anna", "soon")
    assert (state.topic, state.retain) == (f"{ROOT}/alarm/dirt", True)


def test_an_alarm_that_is_normal_leaves_no_trace_and_a_shelved_one_says_until_when() -> None:
    """An empty retained payload removes the state at the broker; a shelf's end is told as wall time."""
    gone = WRITER.alarm_state("dirt", None, 4)
    assert (gone.topic, gone.payload, gone.retain) == (f"{ROOT}/alarm/dirt", b"", True)
    shelf = opened(WRITER.alarm_state("dirt", SHELVED, None))["body"]["shelf"]
    # noon and 2 ms, and 61.5 s more
    assert shelf == {"kind": "timed", "until": "2026-01-31T12:01:01.501Z", "user": "anna", "comment": ""}


def test_a_journal_entry_is_of_now_on_both_clocks() -> None:
    """It has the wall time, the boot and the monotonic time at which it was made."""
    entry = WRITER.journal_entry("command", alarm="dirt", user="anna", detail="ack by mqtt: ok")
    assert (entry.at, entry.boot_id, entry.monotonic_ns) == (NOON, IDENTITY.boot_id, 5)
    assert (entry.kind, entry.alarm, entry.occurrence_id, entry.user) == ("command", "dirt", None, "anna")


def test_a_grade_is_in_the_result_with_what_it_is_worth() -> None:
    """A graded frame says so; the schema refuses a grade on NO_READ."""
    body = result_body(replace(inspection(Measurement(0.1, None, 9.0, {}, ())), grade=Grade("B", 0.6)), MODEL)
    assert body["grade"] == {"name": "B", "value_factor": 0.6}
    unread = result_body(inspection(None, Verdict.NO_READ, "dark"), MODEL)
    assert unread["grade"] is None
    with pytest.raises(ValidationError):
        VALIDATORS["result"].validate(unread | {"grade": body["grade"]})


def test_a_picture_is_the_jpeg_itself_and_an_answer_goes_where_it_is_wanted() -> None:
    """The picture has no envelope and says what it is; an answer carries the asker's topic and correlation."""
    picture = WRITER.picture(b"\xff\xd8")
    assert (picture.payload, picture.content_type) == (b"\xff\xd8", "image/jpeg")
    answer = WRITER.answer(Answer("ack", "invalid", "no user", "desk/answers", b"7"))
    assert (answer.topic, answer.correlation, answer.content_type) == ("desk/answers", b"7", "application/json")
    body = opened(answer)["body"]
    assert (body["command"], body["outcome"], body["detail"]) == ("ack", "invalid", "no user")


def test_a_recipe_says_how_small_a_defect_its_models_find() -> None:
    """Each view that was measured has a sentence for each class; one that was not is left out."""
    writer = MessageWriter(IDENTITY, lambda: Stamp(NOON, 5, None))
    writer.in_force = InForce("phone", {"top": MODEL, "side": MODEL}, {"top": ("scratch of ≥ 30 px",), "side": ()})
    assert opened(writer.recipe())["body"]["finds"] == {"top": ["scratch of ≥ 30 px"]}


def test_the_mqtt_page_names_every_topic_and_its_examples_hold() -> None:
    """docs/mqtt.md names each topic and schema, and each JSON example in it validates."""
    page = MQTT_PAGE.read_text(encoding="utf-8")
    for kind, way in KINDS.items():
        assert f"`{way.topic.replace('{alarm}', '{alarm_id}')}`" in page
        assert kind in NO_BODY or f"schemas/{kind}.json" in page
    assert all(f"`cmd/{name}`" in page and f"schemas/command-{name}.json" in page for name in COMMANDS)
    examples = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", page, re.DOTALL)]
    shown = set()
    for example in examples:
        if example["schema"] == "linewatch/envelope/1":
            VALIDATORS["envelope"].validate(example)
            example = example["body"]  # noqa: PLW2901 - what is inside is an example too
        kind = example["schema"].split("/")[1]
        VALIDATORS[kind].validate(example)
        shown.add(kind)
    assert shown == set(KINDS) - NO_BODY | HEARD
