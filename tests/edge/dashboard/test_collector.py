"""The dashboard at a real broker: commands and the line's own answers, holes that are filled, and others' messages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge.dashboard.collector import Answered, Collector
from edge.dashboard.history import History
from edge.dashboard.settings import DashboardSettings, HistorySettings, load_dashboard_settings
from edge.dashboard.site import Site
from edge.publishers.broker_settings import BrokerSettings
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.dashboard.stations import EPOCH, NOW, OCCURRENCE, PLACE, ROOT, envelope, part
from tests.edge.station.test_run import ROOT_TOPIC as LINE_ROOT
from tests.edge.station.test_run import running, write_line

ACK = {"occurrence_id": OCCURRENCE, "user": "anna", "comment": ""}


@contextmanager
def hearing(
    folder: Path, port: int, *, monotonic_ns: Callable[[], int] = time.monotonic_ns, **more: Any
) -> Iterator[tuple[Site, Collector]]:
    """Give a site that hears a broker."""
    settings = DashboardSettings(
        broker=BrokerSettings(port=port, keepalive_s=60),
        sites=(PLACE,),
        history=HistorySettings(path=folder / "history.db"),
        **more,
    )
    with History(settings.history.path, 90, 1_000, NOW.timestamp) as history:
        site = Site(settings, history, monotonic_ns)
        with Collector(settings, site) as collector:
            wait_for(lambda: collector.listening)
            yield site, collector


def say(station: Subscriber, topic: str, body: dict[str, Any], seq: int | None = None, **how: Any) -> None:
    """Publish a message as the station does."""
    station.publish(f"{ROOT}/{topic}", envelope(body, seq), **how)


def answer(station: Subscriber, command: str, outcome: str, *, correlation: bytes | None = None) -> None:
    """Answer the last command of this name as the station does."""
    wait_for(lambda: station.last(f"{ROOT}/cmd/{command}") is not None)
    asked = station.last(f"{ROOT}/cmd/{command}")
    assert asked is not None
    told = {"schema": "linewatch/answer/1", "command": command, "outcome": outcome, "detail": "as told"}
    data = correlation or asked.properties.CorrelationData  # type: ignore[union-attr] # the test knows which of the union
    station.publish(asked.properties.ResponseTopic, envelope(told), CorrelationData=data)  # type: ignore[union-attr]


def test_a_command_is_one_that_a_line_takes_and_its_answer_comes_back(tmp_path: Path) -> None:
    """Body, expiry and response topic are those of docs/mqtt.md; an answer with other correlation data is none."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{ROOT}/cmd/#") as station:
        with hearing(tmp_path, broker.port) as (site, collector):
            told = collector.tell(PLACE, "ack", dict(ACK))
            answer(station, "ack", "ok", correlation=b"another's")
            answer(station, "ack", "already_acked")
            assert told.result(120) == Answered("already_acked", "as told")
            assert site.skipped["answer to nothing"] == 1
        asked = station.last(f"{ROOT}/cmd/ack")
        assert asked is not None
        assert json.loads(asked.payload) == {"schema": "linewatch/command-ack/1", **ACK}
        assert not asked.retain
        assert 0 < asked.properties.MessageExpiryInterval <= 60  # type: ignore[union-attr] # the test knows which of the union
        assert asked.properties.ResponseTopic.startswith(f"{ROOT}/answer/")  # type: ignore[union-attr]


def test_a_line_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    """The station is offline: said at once. The broker forbids it: said. The broker is gone: not sent."""
    access = tmp_path / "access"
    access.write_text(f"topic read #\ntopic write {ROOT}/cmd/ack\ntopic write {ROOT}/status\n")
    with (
        Mosquitto(tmp_path, config=f"acl_file {access}\n") as broker,
        Subscriber(broker.port, "none") as station,
        hearing(tmp_path, broker.port) as (site, collector),
    ):
        say(station, "status", {"status": "offline", "reason": "stopped"})
        wait_for(lambda: site.state_of(PLACE) == "offline")
        assert collector.tell(PLACE, "ack", dict(ACK)).result(120).outcome == "no_line"
        say(station, "status", {"status": "online", "reason": "inspecting"})
        wait_for(lambda: site.state_of(PLACE) == "online")
        denied = collector.tell(PLACE, "reset", dict(ACK)).result(120)
        assert (denied.outcome, denied.detail) == ("denied", "Not authorized")
        broker.stop()
        wait_for(lambda: site.broker_trouble is not None)
        assert collector.tell(PLACE, "ack", dict(ACK)).result(120).outcome == "no_broker"


def test_events_that_did_not_come_are_asked_for_and_fill_the_history(tmp_path: Path) -> None:
    """A gap leads to one cmd/resend for exactly its numbers; the answer makes the history complete."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{ROOT}/cmd/#") as station:
        with hearing(tmp_path, broker.port) as (site, _):
            say(station, "status", {"status": "online", "reason": "inspecting"}, retain=True)
            for number in (1, 2, 6):
                say(station, "event/result", part(number), number)
            say(station, "seq", {"committed": 6})
            wait_for(lambda: site.picture_of(PLACE)["complete"].came == 3)
            wait_for(lambda: station.last(f"{ROOT}/cmd/resend") is not None)
            asked = station.last(f"{ROOT}/cmd/resend")
            assert asked is not None
            told = json.loads(asked.payload)
            assert (told["epoch"], told["from_seq"], told["to_seq"], told["user"]) == (EPOCH, 3, 5, "dashboard")
            for number in (3, 4, 5):
                say(station, "event/result", part(number), number, UserProperty=[("resent", "1")])
            wait_for(lambda: site.picture_of(PLACE)["complete"].came == 6)
            complete = site.picture_of(PLACE)["complete"]
            assert (complete.expected, complete.holes) == (6, 0)
        assert len(station.payloads(f"{ROOT}/cmd/resend")) == 1


def test_the_site_stands_whatever_others_publish(tmp_path: Path) -> None:
    """Nonsense at every topic and pictures that are none are counted; the station is still heard."""
    hostile = [
        b"",
        b"\x00",
        b"{",
        b"[]",
        b'{"body": 3}',
        b'{"body": {}}',
        b'{"body": {"status": ["online"]}}',
        b"9" * 400,
    ]
    topics = [
        "status",
        "birth",
        "seq",
        "state/health",
        "state/recipe",
        "state/counters",
        "alarm/a",
        "alarm/",
        "event/result",
    ]
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "none") as other,
        hearing(tmp_path, broker.port) as (site, collector),
    ):
        for topic in [*topics, "event/alarm", "image/last", "else", "a/b/c"]:
            for payload in hostile:
                other.publish(f"{ROOT}/{topic}", payload)
        other.publish(f"{ROOT}/image/last", b"\xff\xd8\xff" + b"x" * 300_000)
        other.publish(f"{ROOT}/status", envelope({"status": "online", "reason": "\u202eevil" * 200}))
        wait_for(lambda: site.picture_of(PLACE)["state"] == "online")
        told = site.picture_of(PLACE)
        assert told["complete"].expected == 0
        assert told["picture_number"] is None
        assert sum(told["ignored"].values()) > 40
        assert collector.moves


@pytest.mark.parametrize("count", [400])
def test_stations_that_nobody_has_fill_no_memory(tmp_path: Path, count: int) -> None:
    """Of invented stations a bounded number is kept, and the others are counted."""
    settings = DashboardSettings(sites=("+",), history=HistorySettings(path=tmp_path / "history.db"))
    with History(settings.history.path, 90, 1_000) as history:
        site = Site(settings, history)
        from edge.records import Received

        for number in range(count):
            site.take(Received(f"a/b/c/d/e{number}/inspect/v1/status", envelope({"status": "online"})))
        assert len(site.places()) == 200
        assert site.skipped["too many stations"] == count - 200


def test_a_broker_that_goes_and_comes_back_is_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each change once, with the reason; a lasting state is silent."""
    caplog.set_level("INFO", "edge.dashboard")
    with Mosquitto(tmp_path) as broker, hearing(tmp_path, broker.port) as (site, collector):
        broker.stop()
        wait_for(lambda: site.broker_trouble is not None and "refused" in site.broker_trouble)
        broker.start()
        wait_for(lambda: site.broker_trouble is None and collector.listening)
    told = [record.getMessage() for record in caplog.records if "roker" in record.getMessage()]
    assert told[0] == told[-1] == f"The broker at 127.0.0.1:{broker.port} is there"
    assert any("refused" in line for line in told[1:-1])
    assert len(told) == len(set(told)) + 1


def _numbers(history: History) -> list[int]:
    history.flush()
    return sorted(row[0] for row in history.rows("SELECT seq FROM result UNION SELECT seq FROM alarm_event"))


def _without_hole(numbers: list[int]) -> bool:
    return numbers == list(range(1, len(numbers) + 1))


def test_a_dashboard_that_comes_late_has_the_whole_history(tmp_path: Path) -> None:
    """A real station's earlier words, to somebody else, are asked for, come, and have no hole."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as consumer:
        line = write_line(tmp_path, broker.port)
        with running(line):
            wait_for(lambda: len(consumer.payloads(f"{LINE_ROOT}/event/result")) >= 5)
            settings = load_dashboard_settings(line)
            with History(settings.history.path, 90, 1_000) as history:
                site = Site(settings, history)
                with Collector(settings, site):
                    (place,) = settings.sites
                    wait_for(lambda: site.picture_of(place)["complete"].came >= 8)
                    wait_for(lambda: site.picture_of(place)["complete"].holes == 0)
                    wait_for(lambda: _without_hole(_numbers(history)))  # alarms overtake results
                    numbers = _numbers(history)
    said = {json.loads(payload)["seq"] for payload in consumer.payloads(f"{LINE_ROOT}/event/result")[:5]}
    assert said <= set(numbers)
