"""The example broker in systemd/mosquitto does what it says, with a real mosquitto and a real line."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.brokers import Mosquitto, free_port, wait_for
from tests.certificates import make_authority, make_certificate
from tests.conftest import ROOT
from tests.edge.station.test_run import running, write_line

EXAMPLE = ROOT / "systemd" / "mosquitto"
LINE = "acme/ulm/glass/l1/c1/inspect/v1"
USERS = ("line-1", "line-2", "desk", "mes")


class Listener:
    """A client of the example broker, over TLS, with a user's name and password."""

    def __init__(self, port: int, ca: Path, user: str, topics: str = "") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.granted: list[bool] = []
        self.refusals: dict[int, int] = {}
        self.client = Client(CallbackAPIVersion.VERSION2, f"{user}-{uuid.uuid4()}", protocol=MQTTProtocolVersion.MQTTv5)
        self.client.username_pw_set(user, f"pw-{user}")
        self.client.tls_set(str(ca))
        self.client.on_message = lambda _c, _d, m: self.heard.append((m.topic, m.payload))
        self.client.on_subscribe = lambda *_: self.granted.append(True)
        self.client.on_publish = lambda _c, _d, mid, reason, _p: self.refusals.update({mid: reason.value})
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        if topics:
            self.client.subscribe(topics, 1)
            wait_for(lambda: self.granted)

    def publish(self, topic: str, payload: bytes = b"{}", **properties: object) -> int:
        """Publish with QoS 1 and return the broker's reason code."""
        given = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(given, name, value)
        mid = self.client.publish(topic, payload, 1, properties=given).mid
        wait_for(lambda: mid in self.refusals)
        return self.refusals[mid]

    def close(self) -> None:
        """Leave."""
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def example_broker(folder: Path) -> Iterator[tuple[int, Path]]:
    """Run mosquitto on the example's own files, of which only paths and the port are others; its port and authority."""
    etc, var = folder / "etc", folder / "var"
    for each in (etc, var):
        each.mkdir()
    ca = make_authority(etc)
    make_certificate(etc, ca, "server", "IP:127.0.0.1")
    for user in USERS:
        how = ["mosquitto_passwd", "-b", *([] if (etc / "passwords").exists() else ["-c"])]
        subprocess.run([*how, etc / "passwords", user, f"pw-{user}"], check=True, capture_output=True)
    (etc / "acl").write_text((EXAMPLE / "acl").read_text())
    port = free_port()
    text = (EXAMPLE / "linewatch.conf").read_text()
    text = text.replace("/etc/mosquitto/linewatch/", f"{etc}/").replace("/var/lib/mosquitto/", f"{var}/")
    text = re.sub(r"^listener 8883$", f"listener {port} 127.0.0.1", text, flags=re.MULTILINE)
    with Mosquitto(folder, whole_config=f"user root\n{text}", port=port):
        yield port, ca


def write_secure_line(folder: Path, port: int, ca: Path) -> Path:
    """Write a line as the example's README has it."""
    config = write_line(folder, port)
    secret = folder / "broker-password"
    secret.write_text("pw-line-1\n")
    secret.chmod(0o640)
    plain = config.read_text()
    assert "broker: {" in plain
    text = plain.replace(
        "broker: {",
        f"broker: {{host: 127.0.0.1, username: line-1, password_file: {secret}, "
        f"tls: {{ca_file: {ca}}}, require_tls: true, ",
    )
    text += "line: {enterprise: acme, site: ulm, area: glass, line: l1, cell: c1}\n"
    config.write_text(text)
    return config


def test_a_line_a_desk_and_a_recorder_work_at_the_example_broker_and_nobody_else(tmp_path: Path) -> None:
    """Each may what the access list says and no more; a command is heard and answered. Retained messages are kept."""
    with example_broker(tmp_path) as (port, ca):
        desk = Listener(port, ca, "desk", f"{LINE}/#")
        with running(write_secure_line(tmp_path, port, ca)):

            def last(level: str) -> dict[str, object]:
                found = [payload for topic, payload in desk.heard if topic == f"{LINE}/{level}" and payload]
                return dict(json.loads(found[-1])["body"]) if found else {}

            wait_for(lambda: last("status").get("status") == "online")
            wait_for(lambda: last("event/result") and last("state/counters"))
            wish = {"schema": "linewatch/command-ack/1", "occurrence_id": str(uuid.uuid4()), "user": "a", "comment": ""}
            answer = f"{LINE}/answer/desk"
            code = desk.publish(
                f"{LINE}/cmd/ack", json.dumps(wish).encode(), MessageExpiryInterval=30, ResponseTopic=answer
            )
            assert code == 0
            wait_for(lambda: last("answer/desk"))
            assert last("answer/desk")["outcome"] == "unknown_occurrence"
            other, mes = Listener(port, ca, "line-2"), Listener(port, ca, "mes", f"{LINE}/#")
            for level in ("status", "alarm/x", "event/alarm", "cmd/ack", "answer/desk"):
                assert other.publish(f"{LINE}/{level}") == 0x87, level
            for level in ("status", "event/result", "cmd/ack"):
                assert mes.publish(f"{LINE}/{level}") == 0x87, level
            assert desk.publish(f"{LINE}/alarm/x") == 0x87
            wait_for(lambda: any(topic == f"{LINE}/event/result" for topic, _ in mes.heard))
            assert {topic.split("/")[7] for topic, _ in mes.heard} <= {"event", "seq", "answer"}
            counters = last("state/counters")
            assert (counters["foreign"], counters["dead_letters"], counters["connections_lost"]) == (0, 0, 0)
            for client in (other, mes):
                client.close()
        desk.close()
        wait_for((tmp_path / "var" / "mosquitto.db").exists)


def test_the_example_lets_nobody_in_without_tls_or_a_name() -> None:
    """One listener, with certificates; no anonymous client; memory on disk; and every topic of a line has an owner."""
    words = dict(
        line.split(maxsplit=1) for line in (EXAMPLE / "linewatch.conf").read_text().splitlines() if line[:1] not in "# "
    )
    assert words["listener"] == "8883"
    assert {"cafile", "certfile", "keyfile", "password_file", "acl_file"} <= set(words)
    assert (words["allow_anonymous"], words["persistence"], words["autosave_on_changes"]) == ("false", "true", "true")
