"""Behaviour of paho that would silence a line, one test each: the rules by which it is used here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import PublishError
from edge.publishers.mqtt import MqttPublisher
from edge.records import Acknowledged, Connected, Refused, SessionLost
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
    """The end of the network's thread is told, a new one connects, and messages are taken again."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        thread = disturbed(publisher, SystemExit("the thread ends"))
        publisher.send(message())
        wait_for(lambda: not thread.is_alive())
        wait_for(lambda: listener.wait(lambda event: isinstance(event, SessionLost)) and listener.times(Connected) == 2)
        assert isinstance(listener.answer(publisher.send(message())), Acknowledged)
        told = [type(event) for event in listener.events if not isinstance(event, Acknowledged)]
        assert told == [Connected, SessionLost, Connected]


def test_a_failure_outside_of_callbacks_costs_the_connection_only(tmp_path: Path) -> None:
    """An exception in paho's own reading is told, the connection is made anew, and messages are taken again."""
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
        lost = listener.wait(lambda event: isinstance(event, SessionLost))
        assert "KeyError('in paho')" in str(lost)
        wait_for(lambda: listener.times(Connected) == 2)
        assert isinstance(listener.answer(publisher.send(message())), Acknowledged)


def test_a_pipe_that_closes_while_a_message_is_handed_over_is_no_fault(tmp_path: Path) -> None:
    """The message is the sender's again if the connection ends just then: PublishError, and no error of paho's."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        client = publisher._client
        assert client is not None
        client._sockpairW.close()  # as paho does when a connection ends
        with pytest.raises(PublishError, match="has just ended"):
            publisher.send(message())


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
        client.on_publish = lambda *_: self._held.set() or self._go.wait(120)
        self._publisher.send(message())
        assert self._held.wait(120)
        self._publisher._network._due_s = 0.0

    def __exit__(self, *_: object) -> None:
        client = self._publisher._client
        assert client is not None
        client.on_publish = self._as_it_was
        self._go.set()


def test_what_was_on_its_way_when_a_connection_broke_does_not_come_by_itself(tmp_path: Path) -> None:
    """Paho sends what was not answered again, first thing at the next connection; here it is its sender's again."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        broker.pause()
        tokens = [publisher.send(message(payload=str(number).encode())) for number in range(5)]
        broker.kill9()
        listener.wait(lambda event: isinstance(event, SessionLost))
        with broker, Subscriber(broker.port, "line/event") as subscriber:
            wait_for(lambda: listener.times(Connected) == 2)
            listener.answer(publisher.send(message(payload=b"end")))
            wait_for(subscriber.payloads)
            assert subscriber.payloads() == [b"end"]
        assert not any(getattr(event, "token", None) in tokens for event in listener.events)


def test_a_reason_that_the_standard_does_not_list_is_a_refusal(tmp_path: Path) -> None:
    """Mosquitto answers more than message_size_limit by 0x95, on which paho raises: it is Refused, and others go on."""
    with Mosquitto(tmp_path, config="message_size_limit 1000") as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        large, small = publisher.send(message(payload=b"x" * 1001)), publisher.send(message(payload=b"x" * 1000))
        assert listener.answer(large) == Refused(large, 0x95, "Packet too large")
        assert isinstance(listener.answer(small), Acknowledged)
        assert listener.times(SessionLost) == 0


def test_a_broker_without_subscribers_says_so(tmp_path: Path) -> None:
    """The acknowledgement's reason 0x10 is passed on: with nobody to get it, a message is gone at the broker."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        gone = listener.answer(publisher.send(message()))
        with Subscriber(broker.port, "line/event"):
            taken = listener.answer(publisher.send(message()))
        assert [event.reason_code for event in (gone, taken) if isinstance(event, Acknowledged)] == [0x10, 0x00]
