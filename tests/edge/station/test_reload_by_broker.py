"""`linewatch run` with a real broker takes a better model and refuses worse ones, while parts pass."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

from tests.bright_bundle import write_bright_bundle
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.station.test_run import ROOT_TOPIC, bodies, running, status, write_line

RULES = (
    "parts: {trigger: camera}\n"
    "reload: {shadow_parts: 6, watch_parts: 4, disagreement_at_most: 0.2, within_s: 120, latency_ms: 60000}\n"
)


def write_station(folder: Path, port: int) -> Path:
    """Write a station whose triggered camera gives ten pictures a second, clean and scratched by turns, for ever."""
    config = write_line(folder, port, RULES)
    text = config.read_text()
    config.write_text(text.replace("source: parts,", "source: parts, fps: 10, loop: true,"))
    return config


def reload(desk: Subscriber, name: str, action: str = "begin") -> dict[str, Any]:
    """Send `cmd/reload`, wait for its answer, and return that."""
    body = {"action": action, "shadow_parts": None, "user": "mes", "comment": name}
    topic = f"{ROOT_TOPIC}/answer/{name}"
    payload = json.dumps({"schema": "linewatch/command-reload/1", **body}).encode()
    desk.publish(f"{ROOT_TOPIC}/cmd/reload", payload, MessageExpiryInterval=30, ResponseTopic=topic)
    wait_for(lambda: desk.payloads(topic))
    answer: dict[str, Any] = json.loads(desk.payloads(topic)[0])["body"]
    return answer


def replace_bundle(folder: Path, white: float = 260.0, *, not_a_number: bool = False) -> str:
    """Put another model in the place of the one on the disk, and return its hash."""
    shutil.rmtree(folder / "bundle")
    return str(write_bright_bundle(folder / "bundle", white=white, not_a_number=not_a_number).model_sha256)


def test_models_and_settings_are_taken_and_refused_while_parts_pass(tmp_path: Path) -> None:
    """The better model judges after its change; a worse, a broken and a damaged one, and wrong settings, never do."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{ROOT_TOPIC}/#") as desk:
        config = write_station(tmp_path, broker.port)
        first = str(write_bright_bundle(tmp_path / "copy").model_sha256)
        with running(config) as line:
            wait_for(lambda: "online" in status(desk))
            better = replace_bundle(tmp_path)
            answers = {"better": reload(desk, "better")}
            replace_bundle(tmp_path, 600.0)
            answers["worse"] = reload(desk, "worse")
            replace_bundle(tmp_path, not_a_number=True)
            answers["broken"] = reload(desk, "broken")
            (tmp_path / "bundle" / "model.onnx").write_bytes(b"?")
            answers["damaged"] = reload(desk, "damaged")
            replace_bundle(tmp_path)
            text = config.read_text()
            config.write_text(text + "keep_recipes: many\n")
            answers["settings"] = reload(desk, "settings")
            config.write_text(text + "inspect: {limits: {scratch: {max_count: 1}}}\n")
            answers["limits"] = reload(desk, "limits")
            seen = len(bodies(desk, "event/result"))
            wait_for(lambda: len(bodies(desk, "event/result")) > seen + 4)
            line.send_signal(signal.SIGTERM)
            assert line.wait(120) == 0, line.stderr and line.stderr.read()
            wait_for(lambda: "offline" in status(desk))
        parts = bodies(desk, "event/result")
        stages = [one["stage"] for one in bodies(desk, "state/reload")]
        births = bodies(desk, "birth")
    outcomes = {name: answer["outcome"] for name, answer in answers.items()}
    assert outcomes == {
        "better": "ok",
        "worse": "rolled_back",
        "broken": "rolled_back",
        "damaged": "failed",
        "settings": "failed",
        "limits": "rolled_back",
    }, answers
    assert "6 parts compared, 0 verdicts would differ" in answers["better"]["detail"]
    assert "NG → OK" in answers["worse"]["detail"]
    assert "NaN" in answers["broken"]["detail"]
    assert "corrupt or was altered" in answers["damaged"]["detail"]
    assert "line.yaml" in answers["settings"]["detail"]
    assert "key keep_recipes" in answers["settings"]["detail"]
    assert "NG → OK" in answers["limits"]["detail"]
    # a stage that another one follows at once is not told: of state the latest counts
    until_done = stages[: stages.index("done") + 1]
    assert until_done == [stage for stage in ("compared", "switched", "done") if stage in until_done]
    assert births[-1]["models"]["camera"]["sha256"] == better
    judged_by_one_model_each(parts, first, better)


def judged_by_one_model_each(parts: list[dict[str, Any]], first: str, better: str) -> None:
    """Look at each part: none is lost, and each is judged by the model that was in force, right but for the change."""
    numbers = [one["part_number"] for one in parts]
    assert numbers == list(range(1, len(parts) + 1))
    models = [one["views"]["camera"]["model"]["sha256"] for one in parts if one["views"]["camera"]["model"]]
    assert models == sorted(models, key=[first, better].index)
    assert set(models) == {first, better}
    unread = [one for one in parts if one["verdict"] == "NO_READ"]
    assert len(unread) <= 3, unread  # one, or those that come while a busy machine changes
    wrong = [
        one
        for one in parts
        if one["verdict"] != "NO_READ" and one["verdict"] != ("NG" if one["part_number"] % 2 == 0 else "OK")
    ]
    assert not wrong
