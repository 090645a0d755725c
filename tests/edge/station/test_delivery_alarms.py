"""A fault between deciding and the broker is an alarm of the line itself, and the line goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edge.errors import StoreError
from edge.outbox import Outbox, OutboxReader
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.station.test_run import ROOT_TOPIC, bodies, gaps, judged_rightly, running, write_line


def raised(subscriber: Subscriber, alarm: str) -> dict[str, Any] | None:
    """Return the raising of an alarm, if it has come."""
    events = (event for event in bodies(subscriber, "event/alarm") if event["alarm"] == alarm)
    return next((event for event in events if event["transition"] == "raised"), None)


def in_journal(store: Path, alarm: str) -> bool:
    """Tell whether a line's own store speaks of an alarm."""
    try:
        with OutboxReader(store) as reader:
            return bool(reader.journal(1, alarm))
    except StoreError:  # the line has not made it yet
        return False


def test_what_the_broker_refuses_is_a_dead_letter_and_an_alarm(tmp_path: Path) -> None:
    """Results that an access list denies are kept, the alarm says so within seconds, and nothing spins."""
    (tmp_path / "acl").write_text(f"topic readwrite #\ntopic deny {ROOT_TOPIC}/event/result\n")
    with (
        Mosquitto(tmp_path, config=f"acl_file {tmp_path / 'acl'}") as broker,
        Subscriber(broker.port) as subscriber,
        running(write_line(tmp_path, broker.port)),
    ):
        wait_for(lambda: raised(subscriber, "broker-refuses"))
        wait_for(lambda: subscriber.last(f"{ROOT_TOPIC}/alarm/broker-refuses"))
        wait_for(lambda: bodies(subscriber, "state/health")[-1]["outbox"]["dead_letters"] >= 2)
        health = bodies(subscriber, "state/health")[-1]
        assert "refused" in health["broker"]["trouble"]
        # one row for each frame: none was tried twice
        wait_for(lambda: health["outbox"]["dead_letters"] <= bodies(subscriber, "state/counters")[-1]["frames"] + 1)
        assert bodies(subscriber, "event/result") == []


def test_a_corrupt_store_is_replaced_and_an_alarm(tmp_path: Path) -> None:
    """A line that finds its store corrupt begins another, says so to its subscribers, and its numbers are new ones."""
    with Outbox(tmp_path / "outbox.db") as outbox:
        epoch = outbox.epoch
    (tmp_path / "outbox.db").write_bytes(b"no database at all" * 500)
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        with running(write_line(tmp_path, broker.port)):
            wait_for(lambda: raised(subscriber, "outbox-replaced"))
            wait_for(lambda: len(bodies(subscriber, "event/result")) >= 2)
        events = [json.loads(m.payload) for m in subscriber.messages if "/event/" in m.topic]
        assert epoch not in {event["epoch"] for event in events}
        assert 1 in {event["seq"] for event in events}
    assert list(tmp_path.glob("outbox.db.corrupt-*"))


def test_a_line_that_nobody_listens_to_says_so(tmp_path: Path) -> None:
    """Without a subscriber events wait and the alarm no-consumer is raised; a later one gets them all, and that."""
    with Mosquitto(tmp_path) as broker, running(write_line(tmp_path, broker.port)):
        wait_for(lambda: in_journal(tmp_path / "outbox.db", "no-consumer"))
        with Subscriber(broker.port) as subscriber:
            wait_for(lambda: raised(subscriber, "no-consumer"))
            wait_for(lambda: len(bodies(subscriber, "event/result")) >= 10)
            wait_for(lambda: not gaps(subscriber))
            assert judged_rightly(bodies(subscriber, "event/result"))
