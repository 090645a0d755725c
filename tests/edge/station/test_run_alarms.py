"""Alarms of a line that runs: over a real broker, from the shell, and through a kill."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edge.opencv import cv2
from tests.bright_bundle import part
from tests.brokers import Mosquitto, Subscriber, retained, wait_for
from tests.conftest import ROOT
from tests.edge.messages.test_messages import VALIDATORS
from tests.edge.station.test_run import ROOT_TOPIC, bodies, running, write_line

RULES = """
operators: [anna, bert]
inspect:
  zones: {left: {rectangle: [0, 0, 75, 100]}}
  grades:
    - {name: A, value_factor: 1, limits: {}}
    - {name: scrap, value_factor: 0.1}
alarms:
  - {id: scratched, measure: count, class: scratch, zone: left, raise_at: 1, off_delay_ms: 600000, text: look}
  - {id: worthless, measure: grade, grades: [scrap], latch: true, priority: high, text: sort out}
"""


def shell(*words: str | Path, code: int = 0) -> str:
    """Run a command as in a shell, and return what it printed."""
    command = [sys.executable, "-m", "edge", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return done.stdout + done.stderr


def standing(config: Path) -> dict[str, dict[str, Any]]:
    """Return how each alarm stands by the line, else by its file, by its id."""
    told = shell("alarms", config, "--json")
    rows: list[dict[str, Any]] = json.loads(told[: told.rindex("]") + 1])  # behind it stands which of them was asked
    return {row["alarm"]: row for row in rows}


def at_broker(port: int) -> dict[str, dict[str, Any]]:
    """Return the retained alarm states that a consumer gets who comes now, by alarm."""
    found = retained(port, f"{ROOT_TOPIC}/alarm/+")
    return {topic.rsplit("/", 1)[1]: json.loads(payload)["body"] for topic, payload in found.items()}


def test_alarms_from_the_shell_and_over_mqtt_and_through_a_kill(tmp_path: Path) -> None:
    """Acknowledged in the shell, shelved over MQTT, killed: the next run, the disk and the broker agree."""
    with Mosquitto(tmp_path, persistent=True) as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, broker.port, RULES)
        with running(config) as line:
            wait_for(lambda: {body["alarm"] for body in bodies(desk, "event/alarm")} >= {"scratched", "worthless"})
            assert standing(config)["scratched"]["state"] == "active"
            assert shell("ack", config, "scratched", "--user", "anna", "-m", "rollers wiped").strip() == "ok"
            assert shell("ack", config, "scratched", "--user", "anna").strip() == "already_acked"
            assert "not_authorised" in shell("ack", config, "scratched", "--user", "mallory", code=13)
            assert "unknown_occurrence" in shell("ack", config, "1" * 8 + "-1111" * 3 + "-" + "1" * 12, *BY, code=13)
            assert "not_latched" in shell("reset", config, "scratched", *BY, code=13)
            assert "out_of_range" in shell("shelve", config, "worthless", "--for", "7d", *BY, code=13)
            assert shell("shelve", config, "no-read", "--once", *BY).startswith("ok: until it returns")
            shelve = {
                "schema": "linewatch/command-shelve/1",
                "alarm": "worthless",
                "kind": "timed",
                "duration_s": 600,
                "user": "bert",
                "comment": "changing the product",
            }
            desk.publish(
                f"{ROOT_TOPIC}/cmd/shelve",
                json.dumps(shelve).encode(),
                MessageExpiryInterval=30,
                ResponseTopic=f"{ROOT_TOPIC}/answer/desk",
                CorrelationData=b"7",
            )
            wait_for(lambda: desk.last(f"{ROOT_TOPIC}/answer/desk"))
            answer = desk.last(f"{ROOT_TOPIC}/answer/desk")
            assert answer is not None
            assert answer.properties.CorrelationData == b"7"
            body = json.loads(answer.payload)["body"]
            VALIDATORS["answer"].validate(body)
            assert (body["command"], body["outcome"], body["detail"]) == ("shelve", "ok", "for 600 s")
            desk.publish(f"{ROOT_TOPIC}/cmd/unshelve", b"{}", MessageExpiryInterval=30)
            wait_for(lambda: any(one["shelf"] for one in bodies(desk, "alarm/worthless")))
            wait_for(lambda: "unshelve by mqtt: invalid: schema: Field required" in shell("journal", config))
            line.kill()
        before = standing(config)
        assert (before["scratched"]["state"], before["scratched"]["user"]) == ("acknowledged", "anna")
        assert before["worthless"]["shelf"]["user"] == "bert"
        assert "No line runs on the store" in shell("ack", config, "scratched", code=13)
        results = len(bodies(desk, "event/result"))
        with running(config) as line:
            # the first of them may be left over from before the kill; it must grade parts of both kinds itself
            wait_for(lambda: len(bodies(desk, "event/result")) >= results + 12)
            after = standing(config)
            assert after["scratched"] == before["scratched"]
            assert after["worthless"]["shelf"]["until_ns"] == before["worthless"]["shelf"]["until_ns"]
            assert after["no-read"]["shelf"] is not None
            assert shell("unshelve", config, "worthless", *BY).strip() == "ok"
            wait_for(lambda: not bodies(desk, "alarm/worthless")[-1]["shelf"])
            wait_for(lambda: set(bodies(desk, "state/counters")[-1]["grades"]) == {"A", "scrap"})
            line.send_signal(signal.SIGTERM)
            line.communicate(timeout=120)
        kept, on_disk = at_broker(broker.port), standing(config)
        assert set(kept) == set(on_disk)
        for name, row in on_disk.items():
            told = kept[name]
            VALIDATORS["alarm-state"].validate(told)
            for key in ("state", "occurrence_id", "user", "comment", "shown", "priority", "text"):
                assert told[key] == row[key] or row["state"] == "normal", (name, key)
        told = shell("journal", config, "--limit", "1000", "--json")
        entries = [entry for entry in json.loads(told[: told.rindex("]") + 1]) if entry["part"] != "station"]
        kinds = [(entry["alarm"], entry["kind"]) for entry in entries]
        assert [kind for alarm, kind in kinds if alarm == "scratched" and kind != "command"] == [
            "raised",
            "acknowledged",
        ]
        # every transition that was journalled was published, once
        desk.settle()
        published = [(body["alarm"], body["transition"]) for body in unique(desk, "event/alarm")]
        assert [kind for kind in kinds if kind[1] not in {"command", "forgotten"}] == published
        commands = [entry["detail"].split(":")[0] for entry in entries if entry["kind"] == "command"]
        assert commands.count("ack by shell") == 4
        assert commands.count("shelve by mqtt") == 1
        graded = [body["grade"] for body in unique(desk, "event/result") if body["grade"]]
        assert {grade["name"] for grade in graded} == {"A", "scrap"}
        counted = bodies(desk, "state/counters")[-1]
        assert set(counted["grades"]) == {"A", "scrap"}
        assert 0.1 < counted["value_factor_mean"] < 1


BY = ("--user", "anna")
COVERED = ("scratched", "worthless")


def unique(subscriber: Subscriber, topic: str) -> list[dict[str, Any]]:
    """Return the bodies that came on a topic, without repeats, in the order of their numbers."""
    envelopes = {one["id"]: one for one in map(json.loads, subscriber.payloads(f"{ROOT_TOPIC}/{topic}"))}
    return [one["body"] for one in sorted(envelopes.values(), key=lambda one: int(one["seq"]))]


def transitions(subscriber: Subscriber) -> dict[str, dict[str, Any]]:
    """Return the last transition of each alarm that came."""
    return {body["alarm"]: body for body in unique(subscriber, "event/alarm")}


def test_a_retained_command_is_refused_and_noted(tmp_path: Path) -> None:
    """A line is not given a broker's retained commands. One that comes all the same is a row, not a deed."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, broker.port, RULES)
        body = {"schema": "linewatch/command-unshelve/1", "alarm": "scratched", "user": "anna", "comment": ""}
        desk.publish(f"{ROOT_TOPIC}/cmd/unshelve", json.dumps(body).encode(), retain=True, MessageExpiryInterval=60)
        with running(config):
            wait_for(lambda: len(bodies(desk, "event/result")) >= 2)
            entries = json.loads(shell("journal", config, "--json"))
        assert [entry["detail"] for entry in entries if entry["kind"] == "command"] in (
            [],
            ["unshelve by mqtt: retained: a retained command is not obeyed"],
        )


def test_a_frozen_camera_is_no_read_and_an_alarm_of_its_own(tmp_path: Path) -> None:
    """A folder of one picture again and again, watched like a camera: NO_READ, `camera-frozen`, nothing else shown."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, broker.port, RULES)
        for name in ("000.png", "001.png"):  # the others are links to these
            cv2.imwrite(str(tmp_path / "parts" / name), part(100, 150, (10, 10, 20, 4)))
        watch = "watch: {frozen_ms: 1500, frozen_frames: 2, contrast_below: 0}"
        config.write_text(config.read_text().replace("source: parts,", f"source: parts, {watch},"))
        with running(config):
            wait_for(lambda: any(one["verdict"] == "NO_READ" for one in bodies(desk, "event/result")))
            wait_for(lambda: transitions(desk)["camera-frozen"]["shown"])
            wait_for(lambda: {transitions(desk)[name]["transition"] for name in COVERED} == {"suppressed"})
        frozen = next(one for one in bodies(desk, "event/result") if one["verdict"] == "NO_READ")
        assert frozen["reason"].startswith("the camera is frozen: the same picture for")
        assert frozen["frame"] >= 2
        assert (frozen["coverage"], frozen["grade"]) == (None, None)


def test_the_shell_says_what_is_wrong(tmp_path: Path) -> None:
    """No store, no such alarm, no sense: an error and its exit code."""
    config = write_line(tmp_path, 1, RULES)
    assert "No outbox at" in shell("alarms", config, code=8)
    assert "No outbox at" in shell("ack", config, "scratched", code=8)
    assert "No settings at" in shell("journal", tmp_path / "no.yaml", code=3)
    assert "expected either --for with a time" in shell("shelve", config, "scratched", code=2)
    assert "expected a time such as 90s, 30m" in shell("shelve", config, "scratched", "--for", "1y", code=2)
    assert "No line runs" in shell("unshelve", config, "scratched", code=13)
