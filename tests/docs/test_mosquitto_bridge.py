"""systemd/mosquitto/bridge.conf does what docs/scale.md says: two real mosquittos, TLS, a cut link, a full queue."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from paho.mqtt.client import topic_matches_sub
from pydantic import SecretStr

from benchmarks.proof.proxy import FaultProxy
from benchmarks.site.stations import Home, Pace, SimulatedStation
from edge.commands.requests import COMMANDS
from edge.dashboard.collector import Collector
from edge.dashboard.history import History
from edge.dashboard.settings import DashboardSettings, HistorySettings
from edge.dashboard.site import Site
from edge.messages.writer import KINDS
from edge.publishers.broker_settings import BrokerSettings, TlsSettings
from tests.brokers import Mosquitto, free_port, retained, wait_for
from tests.certificates import make_authority
from tests.conftest import ROOT
from tests.docs.test_mosquitto_example import EXAMPLE, example_broker

PLACE = "acme/ulm/glass/l1/c1"
TOPICS = f"{PLACE}/inspect/v1"
FILE = EXAMPLE / "bridge.conf"
OCCURRENCE = "57093987-2e9c-5b16-8841-be8d02c70574"


@dataclass
class Bridged:
    """A station's broker, the link to the site's broker, and what the site's dashboard hears there."""

    broker: Mosquitto
    link: FaultProxy
    site: Site
    collector: Collector
    history: History

    def numbers(self) -> list[int]:
        """Return the numbers of the events that came to the site."""
        self.history.flush()
        rows = self.history.rows("SELECT seq FROM result UNION SELECT seq FROM alarm_event ORDER BY seq")
        return [row["seq"] for row in rows]


def station_broker(folder: Path, to_port: int, ca: Path, queued: int = 20_000) -> Mosquitto:
    """Return the station's broker on the file as it is, of which only paths, ports and the password are others."""
    var, port = folder / "station-broker", free_port()
    var.mkdir()
    text = FILE.read_text().replace("/var/lib/mosquitto/", f"{var}/")
    for old, new in (
        ("listener 1883 127.0.0.1", f"listener {port} 127.0.0.1"),
        ("address broker.example:8883", f"address 127.0.0.1:{to_port}"),
        ("remote_password REPLACE-THIS", "remote_password pw-line-1"),
        ("bridge_cafile /etc/mosquitto/linewatch/ca.pem", f"bridge_cafile {ca}"),
        ("max_queued_messages 20000", f"max_queued_messages {queued}"),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return Mosquitto(var, whole_config=f"user root\nlog_dest file {var}/log\n{text}", port=port)


@contextmanager
def bridged(folder: Path, queued: int = 20_000) -> Iterator[Bridged]:
    """Run both brokers, and a dashboard at the site's, with the users and rights of the example."""
    with ExitStack() as scope:
        port, ca = scope.enter_context(example_broker(folder))
        link = scope.enter_context(FaultProxy(port))
        broker = scope.enter_context(station_broker(folder, link.port, ca, queued))
        settings = DashboardSettings(
            broker=BrokerSettings(
                port=port, username="desk", password=SecretStr("pw-desk"), tls=TlsSettings(ca_file=ca)
            ),
            sites=(PLACE,),
            history=HistorySettings(path=folder / "history.db"),
        )
        history = scope.enter_context(History(settings.history.path, 90, 1_000))
        site = Site(settings, history)
        collector = scope.enter_context(Collector(settings, site))
        wait_for(lambda: collector.listening)
        yield Bridged(broker, link, site, collector, history)


@contextmanager
def station(folder: Path, port: int, ng: float = 0.5) -> Iterator[SimulatedStation]:
    """Open a station at its own broker; the test has its parts pass."""
    with ExitStack() as scope:
        opened = SimulatedStation(scope, PLACE, Home(port, folder), Pace(1.0, ng, b""), lambda *_: None)
        wait_for(lambda: opened.sender.connected)
        yield opened


def passed(opened: SimulatedStation, parts: int) -> list[int]:
    """Have parts pass; return the numbers of all events so far, once the station's broker has taken them."""
    for _ in range(parts):
        opened.part()
    opened.outbox.flush(120)
    wait_for(lambda: opened.told()["waiting"] == 0)
    return list(range(1, opened.outbox.committed + 1))


def states_at_station(there: Bridged) -> dict[str, str]:
    """Return the state of each alarm, by its name, as the station's broker has it retained."""
    found = retained(there.broker.port, f"{TOPICS}/alarm/+")
    return {topic.rpartition("/")[2]: json.loads(payload)["body"]["state"] for topic, payload in found.items()}


def states_at_site(there: Bridged) -> dict[str, str]:
    """Return the same as the site's dashboard has it."""
    if not there.site.knows(PLACE):
        return {}
    return {row["alarm"]: row["state"] for row in there.site.picture_of(PLACE)["alarms"]}


def test_a_station_behind_a_bridge_is_heard_and_obeys_and_a_cut_link_costs_nothing(tmp_path: Path) -> None:
    """Events, alarms and answers come to the site; those from an outage of link and broker come afterwards."""
    with bridged(tmp_path) as there, station(tmp_path, there.broker.port) as opened:
        first = passed(opened, 4)
        wait_for(lambda: there.numbers() == first)
        wait_for(lambda: there.site.state_of(PLACE) == "online")
        told = there.collector.tell(PLACE, "ack", {"occurrence_id": OCCURRENCE, "user": "anna", "comment": ""})

        def answered() -> bool:
            opened.turn()
            return told.done()

        wait_for(answered)
        assert told.result().outcome == "unknown_occurrence"
        there.link.refuse(on=True)
        second = passed(opened, 6)
        there.broker.stop()
        there.broker.start()
        wait_for(lambda: opened.sender.connected)
        third = passed(opened, 2)
        assert len(third) > len(second) > len(first)
        there.link.refuse(on=False)
        wait_for(lambda: there.numbers() == third)
        wait_for(lambda: states_at_site(there) == states_at_station(there))
        assert "rejects" in states_at_site(there)


def test_what_found_no_room_in_the_queue_is_asked_for_by_the_site(tmp_path: Path) -> None:
    """A queue that is full loses events: the broker's log says so; the site's dashboard sees the gap, and gets them.

    Retained messages come anew at the link's return. So an alarm that was raised meanwhile is on the screen.
    """
    with bridged(tmp_path, queued=30) as there, station(tmp_path, there.broker.port, ng=0.0) as opened:
        first = passed(opened, 2)
        wait_for(lambda: there.numbers() == first)
        there.link.refuse(on=True)
        passed(opened, 100)
        opened.pace = Pace(1.0, 1.0, b"")
        committed = passed(opened, 1)
        log = tmp_path / "station-broker" / "log"
        wait_for(lambda: "messages are being dropped" in log.read_text())
        there.link.refuse(on=False)
        wait_for(lambda: states_at_site(there).get("rejects") == states_at_station(there)["rejects"])

        def complete() -> bool:
            opened.turn()
            return set(there.numbers()) >= set(committed)

        wait_for(complete, 400)  # repeated messages may find the queue full again
        assert opened.sender.counts.resent > 0


def test_a_bridge_gives_nothing_to_a_broker_of_another_authority(tmp_path: Path) -> None:
    """The bridge ends the connection and says why if the site's certificate is not of the file's authority."""
    other = tmp_path / "other"
    other.mkdir()
    stranger = make_authority(other, "stranger")
    with example_broker(tmp_path) as (port, _), station_broker(tmp_path, port, stranger):
        log = tmp_path / "station-broker" / "log"
        wait_for(lambda: "certificate verify failed" in log.read_text())


def test_the_bridge_carries_every_topic_that_a_station_has_and_no_other() -> None:
    """Each topic of docs/mqtt.md goes out with its own QoS; commands alone come in; rights are those of the example."""
    lines = re.findall(r"^topic (\S+) (\w+) (\d)$", FILE.read_text(), re.MULTILINE)
    out = {pattern: int(qos) for pattern, way, qos in lines if way == "out"}
    for kind, way in KINDS.items():
        topic = f"{TOPICS}/" + {"answer": "answer/x"}.get(kind, way.topic.replace("{alarm}", "x"))
        found = [qos for pattern, qos in out.items() if topic_matches_sub(pattern, topic)]
        assert len(found) == 1, topic
        assert found[0] >= way.qos, topic
    assert [(pattern, way) for pattern, way, _ in lines if way != "out"] == [(f"{TOPICS}/cmd/+", "in")]
    assert not any(topic_matches_sub(pattern, f"{TOPICS}/cmd/{name}") for pattern in out for name in COMMANDS)
    rights = (EXAMPLE / "acl").read_text().split("user line-1", 1)[1].split("user ", 1)[0]
    assert f"topic write {TOPICS}/#" in rights
    assert f"topic read {TOPICS}/cmd/+" in rights
    assert str(FILE.relative_to(ROOT)) in (ROOT / "docs" / "scale.md").read_text()
