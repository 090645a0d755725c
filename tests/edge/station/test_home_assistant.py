"""Home Assistant's view, read as it reads it: templates by Jinja, over the messages of a running station."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest

from edge.alarms import alarm_rules
from edge.messages.home_assistant import KIND, HomeAssistantSettings, discovery, topic_of
from edge.messages.writer import Identity
from edge.outbox import Outbox
from edge.settings import Settings
from edge.station.home_assistant import tell_home_assistant
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.messages.test_messages import IDENTITY
from tests.edge.station.test_run import ALARM, ROOT_TOPIC, bodies, running, write_line

STANDING = ALARM.replace("raise_at: 1,", "raise_at: 1, off_delay_ms: 600000,")
CONFIG = "homeassistant/device/+/config"
ID = re.compile(r"[A-Za-z0-9_-]+")


def rendered(template: str, payload: bytes) -> str:
    """Return what Home Assistant makes of a payload: `value`, `value_json` and its filter `from_json`."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - no HTML
    environment.filters["from_json"] = json.loads
    values: dict[str, Any] = {"value": payload.decode()}
    if payload:
        values["value_json"] = json.loads(payload)
    return environment.from_string(template).render(**values)


def told(subscriber: Subscriber) -> dict[str, Any]:
    """Return the last announcement; {} for none, or for an emptied one."""
    found = [m for m in subscriber.messages if m.topic.startswith("homeassistant/")]
    return json.loads(found[-1].payload) if found and found[-1].payload else {}


def test_each_entity_reads_what_the_station_says(tmp_path: Path) -> None:
    """Over a real broker: each template gives its value from the topic that it names, and the device is available."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        config = write_line(tmp_path, broker.port, f"{STANDING}home_assistant: {{}}\n")
        with running(config):
            wait_for(lambda: told(subscriber))
            wait_for(lambda: min(bodies(subscriber, "state/counters")[-1][name] for name in ("ok", "ng")) >= 1)
            wait_for(lambda: bodies(subscriber, "state/health")[-1]["disk"]["free_bytes"])
            wait_for(lambda: subscriber.payloads(f"{ROOT_TOPIC}/alarm/scratched")[-1])
            wait_for(lambda: bodies(subscriber, "status")[-1]["status"] == "online")
            seen = _read(subscriber)
        wait_for(lambda: bodies(subscriber, "status")[-1]["status"] == "offline")
        assert _availability(subscriber) == "offline"
    assert seen["available"] == "online"
    assert (seen["state"], seen["recipe"], seen["camera_camera"], seen["alarm_scratched"]) == (
        *("online", "default", "OFF"),
        "ON",
    )
    assert int(seen["ng"]) >= 1
    assert 0 < float(seen["yield"]) < 100
    assert int(seen["disk"]) > 0
    assert seen["alarm_camera-lost"] == "OFF"


def _availability(subscriber: Subscriber) -> str:
    (one,) = told(subscriber)["availability"]
    message = subscriber.last(one["topic"])
    assert message is not None
    return rendered(one["value_template"], message.payload)


def _read(subscriber: Subscriber) -> dict[str, str]:
    """Return what each entity shows, whose topic has said something."""
    seen = {"available": _availability(subscriber)}
    for key, entity in told(subscriber)["components"].items():
        message = subscriber.last(entity["state_topic"])
        if message is not None:
            seen[key] = rendered(entity["value_template"], message.payload)
    return seen


def test_it_is_told_once_and_removed_with_the_option(tmp_path: Path) -> None:
    """Retained at the broker while the settings say so; a start without the key empties the topic, once."""
    with Mosquitto(tmp_path) as broker:
        config = write_line(tmp_path, broker.port, f"{ALARM}home_assistant: {{}}\n")
        with running(config), Subscriber(broker.port, CONFIG) as subscriber:
            wait_for(lambda: told(subscriber))
        with Subscriber(broker.port, CONFIG) as subscriber:
            wait_for(lambda: subscriber.messages)
            assert subscriber.messages[0].retain
        config.write_text(config.read_text().replace("home_assistant: {}\n", ""))
        with Subscriber(broker.port, CONFIG) as subscriber, running(config):
            wait_for(lambda: subscriber.messages and not subscriber.messages[-1].payload)
        with Subscriber(broker.port, "#") as subscriber:
            subscriber.settle()
            assert bodies(subscriber, "status")
            assert not [m for m in subscriber.messages if m.topic.startswith("homeassistant/")]


def settings(prefix: str | None) -> Settings:
    """Return a station's settings with a prefix, or without the option."""
    given = {} if prefix is None else {"home_assistant": {"prefix": prefix}}
    return Settings.model_validate(given)


@pytest.mark.parametrize(
    ("starts", "topics"),
    [
        ([None], []),
        (["a"], ["a"]),
        (["a", None], ["a", "-a"]),
        (["a", None, None], ["a", "-a"]),
        (["a", "b"], ["a", "-a", "b"]),
        (["a", "a"], ["a", "a"]),
        (["a", None, "a"], ["a", "-a", "a"]),
    ],
)
def test_what_an_earlier_start_announced_is_emptied(
    tmp_path: Path, starts: list[str | None], topics: list[str]
) -> None:
    """From start to start of one store: each prefix that goes is emptied, once, and none is told that is not asked."""
    found = []
    for prefix in starts:
        with Outbox(tmp_path / "outbox.db") as outbox:
            tell_home_assistant(settings(prefix), IDENTITY, outbox)
            assert outbox.flush(120)
            for row in outbox.pending(0, 10):
                found.append(("" if row.message.payload else "-") + row.message.topic.partition("/")[0])
                assert (row.message.kind, row.message.retain, row.seq) == (KIND, True, None)
                outbox.acknowledge(row)
            assert outbox.flush(120)
    assert found == topics


def test_ids_are_such_as_home_assistant_takes() -> None:
    """Of any station: the topic and each id have only its characters, ids are unique, and two stations never share."""
    make: Callable[[Identity], str] = lambda who: topic_of(who, HomeAssistantSettings())  # noqa: E731
    from dataclasses import replace

    one, other = replace(IDENTITY, line="a_b", cell="c"), replace(IDENTITY, line="a", cell="b_c")
    assert make(one) != make(other)
    message = discovery(
        one, HomeAssistantSettings(), cameras=["top", "side-2"], rules=alarm_rules([]), health_every_s=20.0
    )
    told = json.loads(message.payload)
    assert all(ID.fullmatch(part) for part in message.topic.split("/"))
    keys = list(told["components"])
    assert all(ID.fullmatch(key) for key in keys)
    assert len({entity["unique_id"] for entity in told["components"].values()}) == len(keys)
    assert not [entity for entity in told["components"].values() if "command_topic" in entity]
    assert {entity["expire_after"] for entity in told["components"].values() if "expire_after" in entity} == {60}
