from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.errors import StoreError
from edge.opencv import cv2
from edge.outbox import OutboxReader
from tests.bright_bundle import part, write_bright_bundle
from tests.brokers import Mosquitto, Subscriber, free_port, wait_for
from tests.conftest import ROOT

ROOT_TOPIC = "enterprise/site/area/line/cell/inspect/v1"


ALARM = "alarms: [{id: scratched, measure: count, class: scratch, raise_at: 1, text: look}]\n"


# Of a line that is not there to lose its camera or its broker: a busy machine may let it wait.
MAX_AGE_MS, KEEPALIVE_S = 120_000, 30


def write_line(
    folder: Path, port: int, rules: str = ALARM, *, max_age_ms: int = MAX_AGE_MS, keepalive_s: int = KEEPALIVE_S
) -> Path:
    """Write settings, a bundle and a camera: a picture per second, clean and scratched by turns, for ten minutes.

    Pictures of even numbers are clean. Of several that are due a slow machine judges the last one.
    """
    write_bright_bundle(folder / "bundle")
    parts = folder / "parts"
    parts.mkdir()
    for index, pixels in enumerate((part(), part(100, 150, (10, 10, 20, 4)))):
        cv2.imwrite(str(parts / f"{index:03d}.png"), pixels)
    for index in range(2, 600):
        (parts / f"{index:03d}.png").hardlink_to(parts / f"{index % 2:03d}.png")
    (folder / "line.yaml").write_text(
        f"bundle: bundle\ncamera: {{source: parts, max_age_ms: {max_age_ms}}}\n"
        f"broker: {{port: {port}, keepalive_s: {keepalive_s}}}\n"
        f"store: {{path: outbox.db}}\nreport: {{health_every_s: 0.5, sequence_every_s: 0.5}}\n{rules}"
    )
    return folder / "line.yaml"


@contextmanager
def running(config: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `linewatch run` until it is ready, and make sure that it is gone afterwards."""
    address = config.parent / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(120)
        command = [sys.executable, "-m", "edge", "run", str(config)]
        environment = os.environ | {"NOTIFY_SOCKET": str(address)}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT) as line:
            try:
                while not systemd.recv(4096).startswith(b"READY=1"):
                    pass
                yield line
            finally:
                line.kill()


def bodies(subscriber: Subscriber, topic: str) -> list[dict[str, Any]]:
    """Return the bodies that came on a topic below the line's root; an empty one has none."""
    return [json.loads(payload)["body"] for payload in subscriber.payloads(f"{ROOT_TOPIC}/{topic}") if payload]


def judged_rightly(results: list[dict[str, Any]]) -> bool:
    """Tell whether each result of `write_line`'s camera is that of its picture, each picture once and in order."""
    frames = [result["frame"] for result in results]
    told = [result["verdict"] for result in results]
    return frames == sorted(set(frames)) and told == ["NG" if frame % 2 else "OK" for frame in frames]


def status(subscriber: Subscriber) -> list[str]:
    """Return what the line said of itself, in order."""
    return [body["status"] for body in bodies(subscriber, "status")]


def test_a_line_reports_alarms_and_leaves_politely(tmp_path: Path) -> None:
    """Results, alarms and state reach a real broker. SIGTERM ends it with `offline` by its own hand and exit code 0."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        with running(write_line(tmp_path, broker.port)) as line:
            wait_for(lambda: [event["transition"] for event in bodies(subscriber, "event/alarm")].count("raised") >= 2)
            wait_for(lambda: len(bodies(subscriber, "event/result")) >= 4)
            for topic in ("birth", "state/recipe", "state/health", "state/counters", "seq"):
                wait_for(lambda topic=topic: bodies(subscriber, topic))  # type: ignore[misc] # mypy#15459
            line.send_signal(signal.SIGTERM)
            _, stderr = line.communicate(timeout=120)
        assert line.returncode == 0, stderr
        assert "Traceback" not in stderr
        wait_for(lambda: "offline" in status(subscriber))
        assert bodies(subscriber, "status")[-1]["reason"] == "stopped"  # the Will says: the connection was lost
        results = bodies(subscriber, "event/result")
        assert judged_rightly(results), results
        assert {result["verdict"] for result in results} == {"OK", "NG"}
        transitions = [event["transition"] for event in bodies(subscriber, "event/alarm")]
        assert transitions[:3] == ["raised", "cleared", "raised"]


def test_an_operator_acknowledges_an_alarm_and_sees_the_last_frame(tmp_path: Path) -> None:
    """`cmd/ack` on a real broker is answered, changes the retained state and the journal; pictures come meanwhile."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, broker.port)
        config.write_text(config.read_text().replace("raise_at: 1,", "raise_at: 1, off_delay_ms: 600000,"))
        with running(config):
            wait_for(lambda: desk.last(f"{ROOT_TOPIC}/alarm/scratched") and bodies(desk, "event/alarm"))
            (raised,) = bodies(desk, "event/alarm")
            command = {
                "schema": "linewatch/command-ack/1",
                "occurrence_id": raised["occurrence_id"],
                "user": "anna",
                "comment": "wiped",
            }
            outcomes = []
            for what in (command, command, command | {"occurrence_id": str(uuid.uuid4())}, {}):
                asked = f"{ROOT_TOPIC}/answer/{len(outcomes)}"
                desk.publish(
                    f"{ROOT_TOPIC}/cmd/ack", json.dumps(what).encode(), MessageExpiryInterval=30, ResponseTopic=asked
                )
                wait_for(lambda asked=asked: desk.last(asked))
                outcomes.append(json.loads(desk.payloads(asked)[0])["body"]["outcome"])
            assert outcomes == ["ok", "already_acked", "unknown_occurrence", "invalid"]
            wait_for(lambda: len(bodies(desk, "event/alarm")) == 2)
            seen = bodies(desk, "event/alarm")[1]
            assert (seen["transition"], seen["user"], seen["comment"]) == ("acknowledged", "anna", "wiped")
            assert seen["occurrence_id"] == raised["occurrence_id"]
            wait_for(lambda: bodies(desk, "alarm/scratched")[-1]["state"] == "acknowledged")
            wait_for(lambda: desk.last(f"{ROOT_TOPIC}/image/last"))
            picture = desk.last(f"{ROOT_TOPIC}/image/last")
        assert picture is not None
        assert (picture.qos, picture.properties.ContentType) == (0, "image/jpeg")
        assert 0 < picture.properties.MessageExpiryInterval <= 10
        shown = cv2.imdecode(np.frombuffer(picture.payload, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (*part().shape[:2], 3)


def test_the_will_tells_of_a_killed_line(tmp_path: Path) -> None:
    """After kill -9 the broker itself says `offline`."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        with running(write_line(tmp_path, broker.port)) as line:
            wait_for(lambda: "online" in status(subscriber))
            line.kill()
        wait_for(lambda: status(subscriber)[-1] == "offline")
        assert bodies(subscriber, "status")[-1]["reason"] == "the connection was lost"


def numbers(store: Path) -> int:
    """Return how many events a line has on disk; 0 as long as there is no store."""
    try:
        with OutboxReader(store) as reader:
            return reader.committed
    except StoreError:  # it is being made
        return 0


def test_without_a_broker_the_line_goes_on_and_nothing_is_lost(tmp_path: Path) -> None:
    """Results decided while no broker was there, by a process that has since ended, arrive in order and without gap."""
    port = free_port()
    config = write_line(tmp_path, port)
    with running(config) as line:
        wait_for(lambda: numbers(tmp_path / "outbox.db") >= 4)
        line.send_signal(signal.SIGINT)
        _, stderr = line.communicate(timeout=120)
    assert line.returncode == 0
    assert "No broker" in stderr
    assert "messages wait in the outbox" in stderr
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        config.write_text(config.read_text().replace(str(port), str(broker.port)))
        with running(config):
            wait_for(lambda: len(bodies(subscriber, "event/result")) >= 5)
            wait_for(lambda: not gaps(subscriber))  # alarms overtake results
        events = [seqs(subscriber, kind) for kind in ("alarm", "result")]
        assert events == [sorted(each) for each in events]  # each class in order


def seqs(subscriber: Subscriber, kind: str) -> list[int]:
    """Return the numbers of the events of a kind that came."""
    return [json.loads(payload)["seq"] for payload in subscriber.payloads(f"{ROOT_TOPIC}/event/{kind}")]


def gaps(subscriber: Subscriber) -> set[int]:
    """Return which numbers did not come, up to the highest one that did."""
    came = {*seqs(subscriber, "alarm"), *seqs(subscriber, "result")}
    return set(range(1, max(came) + 1)) - came


def test_a_broker_lost_midway_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    """A broker that is killed and comes back misses no result: a subscriber that drops repeats sees every number."""
    with (
        Mosquitto(tmp_path, persistent=True) as broker,
        Subscriber(broker.port, keeps_session=True) as subscriber,
        running(write_line(tmp_path, broker.port)),
    ):
        wait_for(lambda: len(bodies(subscriber, "event/result")) >= 1)
        broker.kill9()
        before = len(bodies(subscriber, "event/result"))
        broker.start()
        wait_for(lambda: len(bodies(subscriber, "event/result")) >= before + 4)
        wait_for(lambda: not gaps(subscriber))


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("bundle: nowhere", 4, "No bundle at"),
        ("camera: {source: 3}", 3, "expected the key `bundle`"),
        ("bundle: bundle\nstore: {path: /proc/no/outbox.db}", 8, "/proc/no/outbox.db cannot be made"),
        ("bundle: bundle\nstore: {path: o.db}", 3, "key camera.source"),
        ("bundle: bundle\nstore: {path: o.db}\ncamera: {source: /absent.mp4}", 5, "Nothing at /absent.mp4"),
        ("bundle: bundle\nstore: {path: o.db}\nengine: {backend: coreml}", 3, "engine.backend"),
    ],
)
def test_a_line_that_cannot_start_says_why(tmp_path: Path, text: str, code: int, says: str) -> None:
    """Each ends with its message and exit code, and no traceback."""
    write_bright_bundle(tmp_path / "bundle")
    (tmp_path / "line.yaml").write_text(f"broker: {{port: {free_port()}}}\n{text}\n")
    command = [sys.executable, "-m", "edge", "run", str(tmp_path / "line.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert says in result.stderr.replace("\n", " ")


def test_a_line_that_could_not_start_says_offline(tmp_path: Path) -> None:
    """A watcher of the broker must not see `starting` for ever."""
    write_bright_bundle(tmp_path / "bundle")
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        (tmp_path / "line.yaml").write_text(
            f"bundle: bundle\nbroker: {{port: {broker.port}}}\nstore: {{path: o.db}}\ncamera: {{source: /absent.mp4}}\n"
        )
        command = [sys.executable, "-m", "edge", "run", str(tmp_path / "line.yaml")]
        subprocess.run(command, capture_output=True, timeout=240, check=False, cwd=ROOT)
        wait_for(lambda: status(subscriber)[-1:] == ["offline"])
        assert bodies(subscriber, "status")[-1]["reason"] == "could not start"


def test_the_runtime_imports_no_training_framework() -> None:
    """The runtime starts without TensorFlow, Keras, onnx or the trainer, though they are installed here."""
    code = (
        "import sys, edge.app, edge.cli.commands, edge.inspection.golden, edge.cli.demo, edge.publishers.memory\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & "
        "{'tensorflow', 'keras', 'onnx', 'tf2onnx', 'trainer', 'converters'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "[]"
