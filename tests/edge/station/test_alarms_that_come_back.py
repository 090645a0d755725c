"""A broker that sends a station's own messages back to it, as the demo's does: no alarm is taken away meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path

from edge.app import StandIns, run_station
from edge.bundle import load_bundle
from edge.cli.demo import BUNDLE, DemoStation, demo_cameras, demo_settings
from edge.publishers.embedded_broker import EmbeddedBroker
from tests.brokers import Subscriber

ASKING = ("scratched", "rejects")  # they must be acknowledged, and nobody does


def test_an_alarm_that_nobody_acknowledged_is_never_removed(tmp_path: Path) -> None:
    """They chatter, and so are told twice at one moment; they stay at the broker all the same."""
    station = DemoStation(demo_cameras(7, 0, 300))
    with EmbeddedBroker() as broker:
        settings = demo_settings(broker.host, broker.port)
        topics = [f"{settings.line.root}/alarm/{alarm}" for alarm in ASKING]
        with Subscriber(broker.port, topics) as heard:
            how = StandIns(cameras=station.cameras, trigger=station.trigger)
            store = tmp_path / "outbox.db"
            run_station(settings, load_bundle(BUNDLE), threading.Event(), store=store, live=True, instead=how)
    for topic in topics:
        payloads = heard.payloads(topic)
        told = [place for place, payload in enumerate(payloads) if payload]
        assert len(told) > 6
        assert all(payloads[told[0] :]), topic
