"""The whole line with an engine that hangs, fails or lies: NO_READ, an alarm that names the engine, and a stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edge.app import run_line
from edge.bundle import Bundle, load_bundle, write_manifest
from edge.cli.demo import BUNDLE
from edge.opencv import cv2
from edge.publishers.memory import MemoryPublisher
from edge.records.decided import Decided
from edge.settings import Settings
from tests.bright_bundle import part, write_bright_bundle
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.station.test_run import bodies, running, status

LINE = """
bundle: {bundle}
camera: {{source: simulated, max_age_ms: 120000, simulated: {{width: 256, height: 256, fps: 20}}}}
store: {{path: outbox.db}}
broker: {{port: {port}, keepalive_s: 120}}
engine: {{backend: simulated, max_batch_s: {limit}, simulated_fault: {{kind: {kind}, after_batches: 10}}}}
"""


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    """Return the shipped bundle."""
    return load_bundle(BUNDLE)


@pytest.mark.parametrize(
    ("kind", "alarm"),
    [
        ("hangs", "engine-hangs"),
        ("fails", "engine-fails"),
        ("unknown_class", "engine-answers-wrong"),
        ("small_map", "engine-answers-wrong"),
        ("few_tiles", "engine-answers-wrong"),
        ("floats", "engine-answers-wrong"),
        ("not_a_number", "engine-answers-wrong"),
        ("no_probability", "engine-answers-wrong"),
    ],
)
def test_an_engine_that_cannot_be_believed_is_no_read_and_an_alarm(
    bundle: Bundle, tmp_path: Path, kind: str, alarm: str
) -> None:
    """From the first wrong batch on no frame is OK and the alarm stands.

    The line goes on and stops when told.
    """
    text = (
        '{"camera": {"source": "simulated", "max_age_ms": 60000, "simulated": {"fps": 0, "width": 256, "height": 256}},'
        f'"engine": {{"backend": "simulated", "max_batch_s": 5, "simulated_fault": {{"kind": "{kind}",'
        ' "after_batches": 10}}}'
    )
    stop, decided, publisher = threading.Event(), [], MemoryPublisher()

    def watch(one: Decided) -> None:
        decided.append(one)
        if len(decided) >= 40:
            stop.set()

    settings = Settings.model_validate_json(text)
    result = run_line(settings, bundle, stop, store=tmp_path / "o.db", live=True, publisher=publisher, watchers=[watch])
    verdicts = [one.body["verdict"] for one in decided]
    first = verdicts.index("NO_READ")
    assert "NO_READ" not in verdicts[:first]
    assert first >= 8
    assert set(verdicts[first + 1 :]) == {"NO_READ"}
    assert "inference failed" in decided[-1].body["reason"]
    raised = [event for one in decided for event in one.alarms if event.transition == "raised"]
    assert alarm in {event.alarm for event in raised}
    assert result.engine_hangs == (kind == "hangs")


def test_a_line_whose_engine_hangs_says_so_and_stops(tmp_path: Path) -> None:
    """`linewatch run`: NO_READ, alarm `engine-hangs`; SIGTERM ends it with `offline` by its own hand and code 6."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        config = tmp_path / "line.yaml"
        config.write_text(LINE.format(bundle=BUNDLE, port=broker.port, limit=5, kind="hangs"))
        with running(config) as line:
            wait_for(lambda: "engine-hangs" in [each["alarm"] for each in bodies(subscriber, "event/alarm")])
            before = len(bodies(subscriber, "event/result"))
            wait_for(lambda: len(bodies(subscriber, "event/result")) > before + 5)  # it goes on telling
            assert {each["verdict"] for each in bodies(subscriber, "event/result")[before:]} == {"NO_READ"}
            line.send_signal(signal.SIGTERM)
            _, stderr = line.communicate(timeout=120)
        assert line.returncode == 6, stderr
        assert "was left behind" in stderr
        assert "Traceback" not in stderr
        wait_for(lambda: status(subscriber)[-1] == "offline")
        assert bodies(subscriber, "status")[-1]["reason"] == "stopped"


def stands_still(count: Callable[[], int]) -> None:
    """Wait until nothing more has come for three seconds, in which 60 frames would have come."""
    before, since_s = -1, time.monotonic()
    while time.monotonic() - since_s < 3:
        if (now := count()) != before:
            before, since_s = now, time.monotonic()
        time.sleep(0.05)


def test_sigterm_ends_a_line_within_the_limit_of_a_batch(tmp_path: Path) -> None:
    """A stop that comes while a batch hangs does not wait for the 40 s that it may take."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        config = tmp_path / "line.yaml"
        config.write_text(LINE.format(bundle=BUNDLE, port=broker.port, limit=40, kind="hangs"))
        with running(config) as line:
            wait_for(lambda: len(bodies(subscriber, "event/result")) >= 8)
            stands_still(lambda: len(bodies(subscriber, "event/result")))  # the tenth batch hangs
            line.send_signal(signal.SIGTERM)
            _, stderr = line.communicate(timeout=120)
        assert line.returncode == 6, stderr


def write_endless_line(folder: Path, port: int) -> Path:
    """Write a line whose real model goes round for ever on a tile that shows a scratch, and not before."""
    bundle = write_bright_bundle(folder / "bundle")
    model = onnx.load(bundle.onnx_path)
    graph = model.graph
    for name, kind, value in (("limit", TensorProto.FLOAT, 200.0), ("none", TensorProto.FLOAT, 0.0)):
        graph.initializer.append(helper.make_tensor(name, kind, [], [value]))
    graph.initializer.append(helper.make_tensor("trips", TensorProto.INT64, [], [2**62]))
    body = helper.make_graph(
        [helper.make_node("Identity", ["goes"], ["goes_on"]), helper.make_node("Identity", ["level"], ["same"])],
        "body",
        [
            helper.make_tensor_value_info("trip", TensorProto.INT64, []),
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("level", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("same", TensorProto.FLOAT, []),
        ],
    )
    cast = next(node for node in graph.node if "tiles" in node.input)
    pixels = cast.output[0]
    for node in graph.node:
        node.input[:] = ["looped" if name == pixels else name for name in node.input]
    added = [
        helper.make_node("ReduceMax", [pixels], ["brightest"], keepdims=0),
        helper.make_node("Less", ["brightest", "limit"], ["dark"]),
        helper.make_node("Not", ["dark"], ["bright"]),
        helper.make_node("Loop", ["trips", "bright", "brightest"], ["after"], body=body),
        helper.make_node("Mul", ["after", "none"], ["nothing"]),
        helper.make_node("Add", [pixels, "nothing"], ["looped"]),
    ]
    for node in reversed(added):
        graph.node.insert(list(graph.node).index(cast) + 1, node)
    bundle.onnx_path.write_bytes(model.SerializeToString())
    write_manifest(bundle.path, bundle.manifest)
    (folder / "parts").mkdir()
    for index in range(60):
        cv2.imwrite(str(folder / "parts" / f"{index:03d}.png"), part(100, 150, *[(10, 10, 20, 4)] * (index >= 2)))
    (folder / "line.yaml").write_text(
        f"bundle: bundle\ncamera: {{source: parts, max_age_ms: 120000}}\nbroker: {{port: {port}, keepalive_s: 120}}\n"
        "store: {path: outbox.db}\nengine: {backend: onnxruntime, max_batch_s: 5}\n"
    )
    return folder / "line.yaml"


def test_a_model_that_loops_without_end_is_no_read_and_the_line_stops(tmp_path: Path) -> None:
    """A real graph on the real engine: the frames before are judged, then `engine-hangs`, and SIGTERM ends it."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        with running(write_endless_line(tmp_path, broker.port)) as line:
            wait_for(lambda: "engine-hangs" in [each["alarm"] for each in bodies(subscriber, "event/alarm")])
            line.send_signal(signal.SIGTERM)
            _, stderr = line.communicate(timeout=120)
        assert line.returncode == 6, stderr
        verdicts = [each["verdict"] for each in bodies(subscriber, "event/result")]
        first = verdicts.index("NO_READ")
        assert set(verdicts[:first]) == {"OK"}
        assert set(verdicts[first:]) == {"NO_READ"}
