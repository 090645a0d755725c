"""A running station serves over HTTP what it says over MQTT."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from edge.opencv import cv2
from tests.brokers import HOST, Mosquitto, Subscriber, free_port, wait_for
from tests.conftest import ROOT
from tests.edge.station.test_run import ALARM, bodies, running, write_line

NAME = re.compile(r"linewatch_[a-z_]+")


def asked(port: int, path: str) -> tuple[int, str]:
    """Ask once, and return status and body; 0 where nobody listens."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    except ConnectionError:
        return 0, ""
    finally:
        connection.close()


def samples(port: int) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample by its name and labels."""
    families = text_string_to_metric_families(asked(port, "/metrics")[1])
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for family in families for one in family.samples}


def one(port: int, name: str, **labels: str) -> float | None:
    """Return one sample; None where it is absent."""
    return samples(port).get((f"linewatch_{name}", tuple(sorted(labels.items()))))


def picture_of(port: int, camera: str) -> Any:
    """Return the first live picture of a camera."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    connection.request("GET", f"/live/{camera}.mjpg")
    answer = connection.getresponse()
    assert answer.status == 200
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += answer.read(1)
    length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
    jpeg = answer.read(length)
    connection.close()
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Subscriber]]:
    """Run a line with monitoring, and a subscriber who gets its messages."""
    folder, port = tmp_path_factory.mktemp("watched"), free_port()
    config = write_line(folder, 0, f"{ALARM}monitoring: {{port: {port}}}\n")
    with Mosquitto(folder) as broker, Subscriber(broker.port) as subscriber:
        config.write_text(config.read_text().replace("port: 0", f"port: {broker.port}"))
        with running(config) as line:
            wait_for(lambda: len(bodies(subscriber, "event/result")) >= 5)
            wait_for(lambda: all(_count(subscriber, *what) for what in COUNTED))
            yield port, subscriber
            line.send_signal(signal.SIGTERM)
            _, stderr = line.communicate(timeout=120)
            assert (line.returncode, "Traceback" in stderr) == (0, False), stderr


# a message's fields, and the counter with its label
COUNTED = {
    ("verdict", "OK"): ("results_total", {"verdict": "OK"}),
    ("verdict", "NG"): ("results_total", {"verdict": "NG"}),
    ("transition", "raised"): ("alarms_raised_total", {"alarm": "scratched"}),
}


def _count(subscriber: Subscriber, key: str, value: str) -> int:
    topic = {"verdict": "event/result", "transition": "event/alarm"}[key]
    return sum(
        body[key] == value for body in bodies(subscriber, topic) if body.get("alarm", "scratched") == "scratched"
    )


def test_counters_are_what_the_broker_got(watched: tuple[int, Subscriber]) -> None:
    """Results by verdict, and raisings of an alarm, are as many as messages that came: none lost, none twice."""
    port, subscriber = watched
    for (key, value), (name, labels) in COUNTED.items():
        before = _count(subscriber, key, value)
        told = one(port, name, **labels)
        assert told is not None
        assert told >= before > 0
        wait_for(lambda key=key, value=value, told=told: _count(subscriber, key, value) >= told)
    assert one(port, "alarms_raised_total", alarm="camera-lost") == 0
    assert one(port, "frames_total", camera="camera") >= 5  # type: ignore[operator]


def test_promtool_accepts_the_metrics(watched: tuple[int, Subscriber]) -> None:
    """Debian's promtool finds nothing to blame in names, types and units."""
    text = asked(watched[0], "/metrics")[1]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    blamed = [line for line in done.stderr.splitlines() if line.startswith("linewatch_")]
    assert (done.returncode, blamed) == (0, []), done.stderr


def test_every_metric_of_the_rules_and_the_dashboard_is_there(watched: tuple[int, Subscriber]) -> None:
    """A name in alerts.yaml, grafana.json or docs/monitoring.md is a sample of a running station, and back."""
    there = {name for name, _ in samples(watched[0]) if name.startswith("linewatch_")}
    rules = yaml.safe_load((ROOT / "config" / "alerts.yaml").read_text())
    asked_for = {name for group in rules["groups"] for rule in group["rules"] for name in NAME.findall(rule["expr"])}
    board = json.loads((ROOT / "config" / "grafana.json").read_text())
    asked_for |= {name for panel in board["panels"] for one in panel["targets"] for name in NAME.findall(one["expr"])}
    asked_for = {name for name in asked_for if not name.startswith("linewatch_dashboard_")}  # see its own tests
    assert len(asked_for) > 20
    assert asked_for - there == set()
    page = (ROOT / "docs" / "monitoring.md").read_text()
    rows = page.partition("### Metrics")[2].partition("## Prometheus")[0]
    told = {f"linewatch_{name}" for row in rows.splitlines() if row.startswith("| `") for name in _named(row)}
    of_good_parts = {"linewatch_passed_score_median"}  # see observers/test_metrics.py: this station has no such model
    assert told - of_good_parts == {re.sub("_(bucket|count|sum)$", "", name) for name in there}
    assert of_good_parts <= told


def _named(row: str) -> list[str]:
    return re.findall(r"`([a-z_]+)`", row.split("|")[1])


def test_labels_are_of_the_settings(watched: tuple[int, Subscriber]) -> None:
    """No label names a part, an occurrence or a person: the values are few and known beforehand."""
    occurrences = {body["occurrence_id"] for body in bodies(watched[1], "event/alarm")}
    before = set(samples(watched[0]))
    wait_for(lambda: len(bodies(watched[1], "event/result")) >= 8)
    assert set(samples(watched[0])) == before  # no new series, however many parts come
    labels = {value for _, pairs in before for _, value in pairs}
    assert not labels & (occurrences | {"anna"})


def test_it_is_ready_and_says_so(watched: tuple[int, Subscriber]) -> None:
    """A station that inspects is healthy and ready; a lack of the container's clock is a warning, not an error."""
    port = watched[0]
    wait_for(lambda: asked(port, "/healthz") == (200, '{\n  "healthy": true,\n  "reasons": []\n}\n'))
    wait_for(lambda: asked(port, "/readyz")[0] == 200)

    def levels_now() -> dict[str, str]:
        return {check["check"]: check["level"] for check in json.loads(asked(port, "/readyz")[1])["checks"]}

    wait_for(lambda: {levels_now()[name] for name in ("station", "engine", "broker", "outbox")} == {"ok"})
    levels = levels_now()
    assert set(levels) == {"station", "camera", "engine", "broker", "outbox", "disk", "clock"}


def test_its_health_is_told_at_the_broker_too(watched: tuple[int, Subscriber]) -> None:
    """`state/health` names the engine in use, the batches, the disk and the clock, as the metrics do."""
    port, subscriber = watched
    wait_for(lambda: bodies(subscriber, "state/health")[-1]["disk"]["free_bytes"])
    health = bodies(subscriber, "state/health")[-1]
    (engine,) = health["engines"]
    assert (engine["asked"], engine["in_use"], engine["hangs"]) == ("onnxruntime auto", "onnxruntime fp32", False)
    assert 0 < engine["batches"] <= one(port, "batches_total", model=engine["model"])  # type: ignore[operator]
    assert health["cameras"]["camera"]["fault"] is None
    assert health["disk"]["size_bytes"] == one(port, "disk_size_bytes")


def test_a_live_picture_is_the_camera_s(watched: tuple[int, Subscriber]) -> None:
    """The picture has the size of the line's frames, once one has come since somebody watches."""
    wait_for(lambda: picture_of(watched[0], "camera").shape[:2] in {(100, 150), (240, 640)})
    assert asked(watched[0], "/live/nobody.mjpg")[0] == 404


def test_a_station_without_its_camera_is_not_ready(tmp_path: Path) -> None:
    """An absent camera is told at every page: 503 with the reason, camera_up 0, no age, and a card for a picture."""
    port = free_port()
    config = write_line(tmp_path, free_port(), f"{ALARM}monitoring: {{port: {port}}}\n", max_age_ms=1500)
    config.write_text(config.read_text().replace("source: parts", "source: /dev/video77"))
    with running(config) as line:
        wait_for(lambda: "camera_fault" in asked(port, "/readyz")[1])
        wait_for(lambda: "warning: broker: not connected" in asked(port, "/readyz")[1])
        status, body = asked(port, "/readyz")
        assert status == 503
        assert json.loads(body)["ready"] is False
        assert any(reason.startswith("error: camera camera: lost") for reason in json.loads(body)["reasons"])
        assert "warning: broker: not connected" in body
        wait_for(lambda: asked(port, "/healthz")[0] == 200)
        assert one(port, "camera_up", camera="camera") == 0
        assert one(port, "frame_age_seconds", camera="camera") is None
        assert one(port, "coverage_ratio", camera="camera") is None
        assert one(port, "ready") == 0
        assert one(port, "broker_connected") == 0
        wait_for(lambda: picture_of(port, "camera").shape[:2] == (240, 640))  # the card
        line.send_signal(signal.SIGTERM)
        assert line.wait(120) == 0
