"""What paho does that would silence a line, one test each: the rules by which it is used here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.publishers.mqtt import MqttPublisher
from edge.records import Acknowledged, Connected, SessionLost
from edge.station.watchdog import Heartbeats
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.contracts.test_publishers import WILL, BrokerSettings, Listener, message, mqtt


def disturbed(publisher: MqttPublisher, error: BaseException) -> threading.Thread:
    """Have the next acknowledgement that paho reports raise `error` in paho's thread; return that thread."""
    client = publisher._client
    assert client is not None
    as_it_was = client.on_publish

    def raising(*_: object) -> None:
        client.on_publish = as_it_was
        raise error

    client.on_publish = raising
    return publisher._network._thread


def test_a_callback_that_raises_ends_nothing(tmp_path: Path) -> None:
    """After an exception in a callback the same thread goes on: the next messages are sent and acknowledged."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        thread = disturbed(publisher, ValueError("in a callback"))
        publisher.send(message())
        assert all(isinstance(listener.answer(publisher.send(message())), Acknowledged) for _ in range(20))
        assert thread.is_alive()
        assert not any(isinstance(event, SessionLost) for event in listener.events)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_noticed_and_replaced(tmp_path: Path) -> None:
    """Where the network's thread ends, that is told, a new one connects, and what was accepted is acknowledged."""
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port, "line/event") as subscriber,
        mqtt(broker) as publisher,
    ):
        listener = Listener(publisher)
        listener.connected()
        thread = disturbed(publisher, SystemExit("the thread ends"))
        tokens = [publisher.send(message(payload=str(number).encode())) for number in range(10)]
        wait_for(lambda: not thread.is_alive())
        assert all(isinstance(listener.answer(token), Acknowledged) for token in tokens)
        told = [type(event) for event in listener.events if not isinstance(event, Acknowledged)]
        assert told == [Connected, SessionLost, Connected]
        wait_for(lambda: {int(payload) for payload in subscriber.payloads()} == set(range(10)))


def test_a_failure_outside_of_callbacks_costs_the_connection_only(tmp_path: Path) -> None:
    """An exception in paho's own reading is told, the connection is made anew, and what was accepted arrives."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        client = publisher._client
        assert client is not None
        as_it_was = client.loop_misc

        def raising() -> int:
            client.loop_misc = as_it_was  # type: ignore[method-assign] # as broken as a vendor's code may be
            raise KeyError("in paho")

        client.loop_misc = raising
        token = publisher.send(message())
        lost = listener.wait(lambda event: isinstance(event, SessionLost))
        assert "KeyError('in paho')" in str(lost)
        assert isinstance(listener.answer(token), Acknowledged)


def test_the_watchdog_is_fed_while_the_network_moves_also_without_a_broker(tmp_path: Path) -> None:
    """With a broker, and with none, the mark moves; once the thread is stuck it does not."""
    now_ns = [0]
    progress = Heartbeats(lambda: now_ns[0])
    broker = Mosquitto(tmp_path)
    with MqttPublisher(BrokerSettings(port=broker.port), "line", WILL, alive=progress.mark("network")) as publisher:
        listener = Listener(publisher)

        def moved() -> bool:
            """Look whether the mark is made at the events' next reading, a minute later."""
            now_ns[0] += 60 * 10**9
            listener.events.extend(publisher.events())
            return progress.stalled(30) == []

        wait_for(lambda: moved() and any(isinstance(event, SessionLost) for event in listener.events))
        with broker:
            listener.connected()
            assert moved()
            with _stuck(publisher):
                wait_for(lambda: not moved())
            wait_for(moved)


class _stuck:  # noqa: N801 - reads as a state
    """Hold paho's thread in a callback; its deadline is brought forward, so that the test need not wait for it."""

    def __init__(self, publisher: MqttPublisher) -> None:
        self._publisher = publisher
        self._held, self._go = threading.Event(), threading.Event()

    def __enter__(self) -> None:
        client = self._publisher._client
        assert client is not None
        self._as_it_was: Callable[..., None] | None = client.on_publish
        client.on_publish = lambda *_: self._held.set() or self._go.wait(60)
        self._publisher.send(message())
        assert self._held.wait(10)
        self._publisher._network._due_s = 0.0

    def __exit__(self, *_: object) -> None:
        client = self._publisher._client
        assert client is not None
        client.on_publish = self._as_it_was
        self._go.set()


def test_a_message_accepted_without_a_broker_is_sent_once(tmp_path: Path) -> None:
    """Paho reports no connection, and keeps the message all the same: handed over once, it comes once."""
    broker = Mosquitto(tmp_path)
    with mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.wait(lambda event: isinstance(event, SessionLost))
        tokens = [publisher.send(message(payload=str(number).encode(), retain=False)) for number in range(5)]
        with broker, Subscriber(broker.port, "line/event") as subscriber:
            for token in tokens:
                assert isinstance(listener.answer(token), Acknowledged)
            listener.answer(publisher.send(message(payload=b"end")))
            wait_for(lambda: b"end" in subscriber.payloads())
            assert len(subscriber.payloads()) == len(set(subscriber.payloads()))


def test_a_broker_without_subscribers_says_so(tmp_path: Path) -> None:
    """The acknowledgement's reason 0x10 is passed on: with nobody to get it, a message is gone at the broker."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        gone = listener.answer(publisher.send(message()))
        with Subscriber(broker.port, "line/event"):
            taken = listener.answer(publisher.send(message()))
        assert [event.reason_code for event in (gone, taken) if isinstance(event, Acknowledged)] == [0x10, 0x00]
