"""One suite over every publisher: in memory, MQTT to mosquitto, MQTT to the embedded broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
from pydantic import ValidationError

from edge.errors import PublishError, SettingsError
from edge.protocols import Publisher
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.memory import MemoryPublisher
from edge.publishers.mqtt import MqttPublisher
from edge.records import (
    Acknowledged,
    Connected,
    Displaced,
    Message,
    PublisherEvent,
    Received,
    Refused,
    SessionLost,
    Token,
    Unheard,
)
from tests.brokers import EmbeddedBroker, Mosquitto, Subscriber, free_port, wait_for

WILL = Message("w", "status", "line/status", b'{"status":"offline"}', retain=True)
ACL = "topic readwrite #\ntopic deny forbidden/#\n"

Broker = Mosquitto | EmbeddedBroker
Open = Callable[[], Publisher]


class Listener:
    """Collects a publisher's events until a given one has come."""

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        self.events: list[PublisherEvent] = []

    def wait(self, condition: Callable[[PublisherEvent], bool], timeout_s: float = 120.0) -> PublisherEvent:
        """Return the first event, old or new, for which `condition` holds."""
        wait_for(lambda: self._look(condition), timeout_s)
        return next(event for event in self.events if condition(event))

    def answer(self, token: Token) -> PublisherEvent:
        """Return what became of a message."""
        return self.wait(lambda event: getattr(event, "token", None) == token)

    def connected(self) -> PublisherEvent:
        """Wait for the broker."""
        return self.wait(lambda event: isinstance(event, Connected))

    def hears(self, publisher: MqttPublisher) -> None:
        """Wait until the publisher's subscription stands."""
        wait_for(lambda: self._look(lambda _: publisher.hears))

    def times(self, kind: type) -> int:
        """Return how many events of a kind have come by now."""
        self.events.extend(self.publisher.events())
        return sum(isinstance(event, kind) for event in self.events)

    def _look(self, condition: Callable[[PublisherEvent], bool]) -> bool:
        self.events.extend(self.publisher.events())
        return any(condition(event) for event in self.events)


def message(topic: str = "line/event", payload: bytes = b"{}", **how: object) -> Message:
    """Return a message of the test."""
    return Message(id="1", kind="result", topic=topic, payload=payload, **how)  # type: ignore[arg-type] # per test


def mqtt(broker: Broker, **settings: object) -> MqttPublisher:
    """Return a publisher to `broker`."""
    return MqttPublisher(BrokerSettings(port=broker.port, **settings), "line", WILL)  # type: ignore[arg-type] # per test


@pytest.fixture(params=["memory", "mosquitto", "embedded"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Publisher]:
    """Each publisher in turn, open and connected to a broker that is its own."""
    with ExitStack() as stack:
        if request.param == "memory":
            yield stack.enter_context(MemoryPublisher())
        else:
            broker = EmbeddedBroker() if request.param == "embedded" else Mosquitto(tmp_path)
            yield stack.enter_context(mqtt(stack.enter_context(broker)))


@pytest.fixture(params=["mosquitto", "embedded"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each real broker in turn, without any memory of earlier tests."""
    real = EmbeddedBroker() if request.param == "embedded" else Mosquitto(tmp_path)
    with real:
        yield real


def test_a_connection_is_reported_before_anything_else(opened: Publisher) -> None:
    """The first event of a publisher with a broker is Connected."""
    listener = Listener(opened)
    listener.connected()
    assert isinstance(listener.events[0], Connected)


def test_each_accepted_message_is_acknowledged_under_its_own_token(opened: Publisher) -> None:
    """Every token is answered once, by Acknowledged with a reason below 0x80; no two tokens are alike."""
    listener = Listener(opened)
    listener.connected()
    tokens = [opened.send(message(qos=number % 2)) for number in range(100)]
    for token in tokens:
        answer = listener.answer(token)
        assert isinstance(answer, Acknowledged)
        assert answer.reason_code < 0x80
    answered = [event.token for event in listener.events if isinstance(event, Acknowledged)]
    assert sorted(answered, key=lambda token: token.number) == tokens
    assert len(set(tokens)) == 100


def test_a_closed_publisher_accepts_nothing(opened: Publisher) -> None:
    """After leaving, `send` raises PublishError: no message is dropped silently."""
    opened.__exit__(None, None, None)
    with pytest.raises(PublishError, match="closed"):
        opened.send(message())


def test_commands_are_heard_with_what_an_answer_needs(broker: Broker) -> None:
    """Payload, expiry, response topic and correlation of what is on a heard topic arrive; nothing else is heard."""
    with (
        Subscriber(broker.port, "desk/#") as desk,
        MqttPublisher(BrokerSettings(port=broker.port), "line", WILL, ["line/cmd/+"]) as publisher,
    ):
        listener = Listener(publisher)
        listener.connected()
        listener.hears(publisher)
        desk.publish("line/event", b"not for the line")
        desk.publish(
            "line/cmd/ack", b"{}", MessageExpiryInterval=30, ResponseTopic="desk/answers", CorrelationData=b"7"
        )
        heard = listener.wait(lambda event: isinstance(event, Received))
        assert isinstance(heard, Received)
        assert (heard.topic, heard.payload, heard.retained) == ("line/cmd/ack", b"{}", False)
        assert (heard.response_topic, heard.correlation) == ("desk/answers", b"7")
        assert heard.expiry_s is not None
        assert 0 < heard.expiry_s <= 30
        publisher.send(message("desk/answers", b"[]", correlation=b"7", content_type="image/jpeg"))
        wait_for(lambda: desk.last("desk/answers"))
        answer = desk.last("desk/answers")
        assert answer is not None
        assert answer.properties is not None
        assert (answer.properties.CorrelationData, answer.properties.ContentType) == (b"7", "image/jpeg")
        assert getattr(answer.properties, "PayloadFormatIndicator", 0) == 0


def test_the_memory_publisher_hears_what_it_is_told() -> None:
    """A message that a test or demo gives it is among its events."""
    said = Received("line/cmd/ack", b"{}")
    with MemoryPublisher() as publisher:
        publisher.hear(said)
        assert list(publisher.events())[1:] == [said]


def test_a_retained_command_is_known_as_such_and_does_not_come_back(tmp_path: Path) -> None:
    """One that is published while the line listens says that it was retained; after a reconnection it is not sent."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "desk/#") as desk:
        for times in (1, 0):
            with MqttPublisher(BrokerSettings(port=broker.port), f"line{times}", WILL, ["line/cmd/+"]) as publisher:
                listener = Listener(publisher)
                listener.connected()
                listener.hears(publisher)
                if times:
                    desk.publish("line/cmd/old", b"{}", retain=True)
                desk.publish("line/cmd/new", b"{}")
                listener.wait(lambda event: isinstance(event, Received) and event.topic == "line/cmd/new")
                heard = [event for event in listener.events if isinstance(event, Received)]
                assert [(event.topic, event.retained) for event in heard] == [
                    *[("line/cmd/old", True)] * times,
                    ("line/cmd/new", False),
                ]


def test_a_broker_that_lets_the_line_hear_nothing_is_reported(tmp_path: Path) -> None:
    """A subscription that the broker refuses is an event that names topic and reason, and the rest goes on."""
    access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"defaultACLAccess": access, "clients": [], "groups": [], "roles": []}))
    # an acl_file lets everybody subscribe and then delivers nothing; this plugin, of the same package, says no
    (plugin,) = Path("/usr/lib").glob("*/mosquitto_dynamic_security.so")
    with (
        Mosquitto(tmp_path, config=f"plugin {plugin}\nplugin_opt_config_file {rules}") as broker,
        MqttPublisher(BrokerSettings(port=broker.port), "line", WILL, ["line/cmd/+"]) as publisher,
    ):
        listener = Listener(publisher)
        listener.connected()
        told = listener.wait(lambda event: isinstance(event, Unheard))
        assert isinstance(told, Unheard)
        assert "line/cmd/+: Not authorized" in told.reason
        assert isinstance(listener.answer(publisher.send(message())), Acknowledged)


def test_the_last_retained_message_awaits_those_who_come_later(broker: Broker) -> None:
    """A retained message is kept by the broker, replaced by the next, and removed by an empty one."""
    with mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        for topic, payload in (("line/a", b"old"), ("line/a", b"new"), ("line/b", b"gone"), ("line/b", b"")):
            listener.answer(publisher.send(message(topic, payload, retain=True)))
        listener.answer(publisher.send(message("line/c", b"not retained")))
        with Subscriber(broker.port) as subscriber:
            wait_for(lambda: subscriber.messages)
            listener.answer(publisher.send(message("line/end")))
            wait_for(lambda: subscriber.last("line/end"))
            assert [(m.topic, m.payload, m.retain) for m in subscriber.messages] == [
                ("line/a", b"new", True),
                ("line/end", b"{}", False),
            ]


def test_how_a_message_travels_reaches_the_subscriber(broker: Broker) -> None:
    """QoS, expiry, content type, kind and id arrive as they were given."""
    with Subscriber(broker.port) as subscriber, mqtt(broker) as publisher:
        Listener(publisher).connected()
        publisher.send(message("line/a", b"{}", expiry_s=100))
        publisher.send(message("line/b", b"{}", qos=0))
        wait_for(lambda: len(subscriber.messages) == 2)
        first, second = sorted(subscriber.messages, key=lambda m: m.topic)
        assert first.qos == 1
        if isinstance(broker, Mosquitto):  # the embedded broker raises every message to the subscription's QoS
            assert second.qos == 0
        assert first.properties is not None
        assert second.properties is not None
        assert first.properties.ContentType == "application/json"
        assert dict(first.properties.UserProperty) == {"id": "1", "kind": "result"}
        assert 0 < first.properties.MessageExpiryInterval <= 100
        assert not hasattr(second.properties, "MessageExpiryInterval")


def test_the_will_tells_of_a_killed_line_and_not_of_one_that_left(broker: Broker) -> None:
    """A process that is killed is reported offline by the broker; one that leaves its context is not."""
    with Subscriber(broker.port) as subscriber:
        with mqtt(broker) as publisher:
            Listener(publisher).connected()
        line = subprocess.Popen(
            [sys.executable, "-c", _LINE.format(port=broker.port)], stdout=subprocess.PIPE, text=True
        )
        assert line.stdout is not None
        with line, line.stdout:
            assert line.stdout.readline() == "connected\n"
            assert subscriber.payloads(WILL.topic) == []
            os.kill(line.pid, signal.SIGKILL)
        wait_for(lambda: subscriber.payloads(WILL.topic))
        assert subscriber.payloads(WILL.topic) == [WILL.payload]


_LINE = """
import time
from tests.edge.contracts.test_publishers import Listener, MqttPublisher, BrokerSettings, WILL
with MqttPublisher(BrokerSettings(port={port}), "line", WILL) as publisher:
    Listener(publisher).connected()
    print("connected", flush=True)
    time.sleep(600)
"""


def test_a_broker_may_come_later(tmp_path: Path) -> None:
    """Without a broker at the start the publisher says so and takes nothing; messages are taken once it appears."""
    broker = Mosquitto(tmp_path)
    with mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.wait(lambda event: isinstance(event, SessionLost))
        for qos in (0, 1):
            with pytest.raises(PublishError, match="no broker"):
                publisher.send(message(qos=qos))
        with broker:
            listener.connected()
            assert isinstance(listener.answer(publisher.send(message(retain=True))), Acknowledged)
            with Subscriber(broker.port) as subscriber:
                wait_for(lambda: subscriber.payloads("line/event") == [b"{}"])


def test_what_was_not_answered_is_lost_with_its_connection(tmp_path: Path) -> None:
    """A message under way when the broker was killed is never answered; after SessionLost it is its sender's again."""
    with Mosquitto(tmp_path) as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        broker.pause()
        tokens = [publisher.send(message()) for _ in range(16)]
        broker.kill9()
        listener.wait(lambda event: isinstance(event, SessionLost))
        with pytest.raises(PublishError, match="no broker"):
            publisher.send(message())
        broker.start()
        wait_for(lambda: listener.times(Connected) == 2)
        assert isinstance(listener.answer(publisher.send(message())), Acknowledged)
        assert not any(getattr(event, "token", None) in tokens for event in listener.events)


def test_what_the_broker_denies_is_refused_with_its_reason(tmp_path: Path) -> None:
    """A topic that the access list denies is Refused as not authorised (0x87); others go on."""
    (tmp_path / "acl").write_text(ACL)
    with Mosquitto(tmp_path, config=f"acl_file {tmp_path / 'acl'}") as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        denied, allowed = publisher.send(message("forbidden/a")), publisher.send(message())
        assert listener.answer(denied) == Refused(denied, 0x87, "Not authorized")
        assert isinstance(listener.answer(allowed), Acknowledged)


def test_the_memory_publisher_refuses_and_waits_as_a_broker_would() -> None:
    """It refuses what it is told to, takes nothing while away, and bounds what it keeps."""
    with MemoryPublisher(keep=2, refuses=lambda m: m.topic == "no") as publisher:
        assert [type(event) for event in publisher.events()] == [Connected]
        refused = publisher.send(message("no"))
        assert list(publisher.events()) == [Refused(refused, 0x87, "Not authorized")]
        publisher.go_away("unplugged")
        for qos in (0, 1):
            with pytest.raises(PublishError, match="no broker"):
                publisher.send(message(qos=qos))
        assert list(publisher.events()) == [SessionLost("unplugged")]
        publisher.come_back()
        held = publisher.send(message("held", retain=True))
        assert list(publisher.events()) == [Connected(session_present=False), Acknowledged(held)]
        assert publisher.retained["held"].payload == b"{}"
        publisher.go_away()
        publisher.come_back(session_present=True)
        assert list(publisher.retained) == ["held"]
        publisher.go_away()
        publisher.come_back(session_present=False)
        assert not publisher.retained
        for number in range(3):
            publisher.send(message(str(number)))
        assert [m.topic for m in publisher.messages] == ["1", "2"]


def test_what_no_broker_would_take_is_refused_and_blocks_nothing(tmp_path: Path) -> None:
    """A wrong topic, and a packet above the broker's limit, are Refused at once; the connection stays."""
    with Mosquitto(tmp_path, config="max_packet_size 2000") as broker, mqtt(broker) as publisher:
        listener = Listener(publisher)
        listener.connected()
        wrong, large = publisher.send(message("a/#")), publisher.send(message(payload=b"x" * 2000))
        fits = publisher.send(message(payload=b"x" * 1800))
        codes = [getattr(listener.answer(token), "reason_code", None) for token in (wrong, large)]
        assert codes == [0x90, 0x95]
        assert isinstance(listener.answer(fits), Acknowledged)
        assert not any(isinstance(event, SessionLost) for event in listener.events)


def test_a_refused_login_is_reported_with_the_brokers_reason_and_no_secret(tmp_path: Path) -> None:
    """A wrong password ends in SessionLost that says so; the password is in no event and no repr."""
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, "line", "right-4711"], check=True)
    with Mosquitto(tmp_path, config=f"password_file {passwords}\nallow_anonymous false") as broker:
        with mqtt(broker, username="line", password="wrong-0815") as publisher:  # noqa: S106 - a password of the test
            listener = Listener(publisher)
            told = f"the broker at 127.0.0.1:{broker.port} refused the connection: Not authorized"
            listener.wait(lambda _: len(listener.events) > 1)
            for event in listener.events:
                assert isinstance(event, SessionLost)
                assert (event.reason_code, event.reason.startswith(told)) == (0x87, True)
            assert "wrong-0815" not in repr((publisher, vars(publisher)["_settings"], listener.events))
        (tmp_path / "secret").write_text("right-4711\n")
        (tmp_path / "secret").chmod(0o640)
        with mqtt(broker, username="line", password_file=tmp_path / "secret") as publisher:
            Listener(publisher).connected()


def test_leaving_is_bounded_when_the_broker_hangs(tmp_path: Path) -> None:
    """A publisher with unacknowledged messages leaves its context though the broker answers nothing."""
    with Mosquitto(tmp_path) as broker:
        with mqtt(broker) as publisher:
            Listener(publisher).connected()
            broker.pause()
            for _ in range(30):
                publisher.send(message(payload=b"x" * 100_000))
        broker.resume()


def test_leaving_does_not_wait_for_a_handshake_that_never_ends() -> None:
    """A publisher stuck in a TLS handshake leaves its context while its thread still waits for the answer."""

    def waiting() -> bool:
        return any(thread.name == "mqtt-stuck" for thread in threading.enumerate())

    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = BrokerSettings.model_validate({"port": silent.getsockname()[1], "tls": {}})
        with MqttPublisher(settings, "stuck", WILL):
            connection, _ = silent.accept()
        assert waiting()
        connection.close()
    wait_for(lambda: not waiting())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tls": {"ca_file": "/nowhere/ca.pem"}}, "broker.tls.*nowhere/ca.pem"),
        ({"username": "line", "password_file": "/nowhere/secret"}, "broker.password_file.*nowhere/secret"),
    ],
)
def test_files_that_cannot_be_used_are_named(settings: dict[str, object], expected: str) -> None:
    """A certificate or password file that cannot be read is a SettingsError that names key and file."""
    publisher = MqttPublisher(BrokerSettings.model_validate(settings), "line", WILL)
    with pytest.raises(SettingsError, match=expected):
        publisher.__enter__()


def test_tls_reaches_a_broker_that_has_a_certificate(tmp_path: Path) -> None:
    """With `tls.ca_file` the publisher trusts that authority, connects, and without it does not."""
    ca, key = tmp_path / "ca.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", ca]
    subprocess.run([*make, *subject], check=True, capture_output=True)
    port = free_port()
    tls = f"listener {port} 127.0.0.1\ncafile {ca}\ncertfile {ca}\nkeyfile {key}"
    with Mosquitto(tmp_path, config=tls):
        trusting = BrokerSettings.model_validate({"port": port, "tls": {"ca_file": ca}})
        with MqttPublisher(trusting, "line", WILL) as publisher:
            Listener(publisher).connected()
        with MqttPublisher(BrokerSettings.model_validate({"port": port, "tls": {}}), "other", WILL) as publisher:
            listener = Listener(publisher)
            listener.wait(lambda event: isinstance(event, SessionLost))
            assert not any(isinstance(event, Connected) for event in listener.events)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"password": "pw-4711"}, "expected a username beside the password"),
        ({"username": "a", "password": "pw-4711", "password_file": "p"}, "received both"),
        ({"tls": {"cert_file": "c.pem"}}, "expected cert_file and key_file together"),
        ({"host": "mqtt://broker"}, "pattern"),
        ({"port": 0}, "greater than or equal to 1"),
        ({"hots": "broker"}, "Extra inputs"),
    ],
)
def test_broker_settings_that_make_no_sense_are_refused(settings: dict[str, object], expected: str) -> None:
    """Each mistake is named when the settings are read."""
    with pytest.raises(ValidationError, match=expected):
        BrokerSettings.model_validate(settings)


def test_tls_has_a_port_of_its_own_and_passwords_are_not_shown() -> None:
    """The port defaults to 1883, with TLS to 8883; no repr, str or dump of the settings shows the password."""
    assert BrokerSettings().address == ("127.0.0.1", 1883)
    assert BrokerSettings.model_validate({"tls": {}}).address == ("127.0.0.1", 8883)
    settings = BrokerSettings.model_validate({"username": "line", "password": "pw-4711"})
    assert settings.read_password() == "pw-4711"
    assert "pw-4711" not in f"{settings} {settings!r} {settings.model_dump_json()} {settings.model_dump()}"


def test_an_embedded_broker_that_cannot_start_says_why() -> None:
    """A port in use is a PublishError that names it; without iotcore a DependencyError says what to install."""
    with (
        EmbeddedBroker() as broker,
        pytest.raises(PublishError, match=f"does not start on 127.0.0.1:{broker.port}"),
    ):
        EmbeddedBroker(broker.port).__enter__()
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    program = (
        "import sys; sys.modules['iotcore'] = None\n"
        "from edge.publishers.embedded_broker import EmbeddedBroker\nEmbeddedBroker().__enter__()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("edge.errors.DependencyError")
    assert "pip install iotcore;" in last


class _LateEars:
    """A link to the broker at `port`: it keeps the connection of the ears waiting, and cuts the line's."""

    def __init__(self, port: int) -> None:
        self._broker = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self.go = threading.Event()
        self.lines: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._broker)) as broker:
            hello = client.recv(4096)
            if b"line-" in hello:
                self.go.wait()
            else:
                self.lines.append(client)
            broker.sendall(hello)
            back = threading.Thread(target=_carry, args=(broker, client), daemon=True)
            back.start()
            _carry(client, broker)
            back.join()

    def cut(self) -> None:
        """Break the connection of the line, and let its ears through."""
        self.lines.pop().shutdown(socket.SHUT_RDWR)
        self.go.set()

    def close(self) -> None:
        """Take no more connections."""
        self.go.set()
        self._server.close()


def _carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while content := one.recv(4096):
            other.sendall(content)
    with suppress(OSError):
        other.shutdown(socket.SHUT_RDWR)


def test_ears_that_come_back_over_a_bad_link_show_no_second_client(tmp_path: Path) -> None:
    """Only ears that the broker kept meanwhile show that it ended the other connection alone."""
    with Mosquitto(tmp_path) as broker, closing(_LateEars(broker.port)) as link:
        settings = BrokerSettings(port=link.port, keepalive_s=60)
        with MqttPublisher(settings, "line", WILL, ["line/cmd/+"]) as publisher:
            listener = Listener(publisher)
            listener.connected()
            link.cut()
            listener.wait(lambda event: isinstance(event, SessionLost))
            listener.hears(publisher)
            doubted_until_s = time.monotonic() + 1.5  # longer than the publisher waits for the other connection's end
            wait_for(lambda: listener.times(Connected) >= 2 and time.monotonic() > doubted_until_s)
            assert listener.times(Displaced) == 0
