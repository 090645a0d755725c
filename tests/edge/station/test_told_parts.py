"""The trigger `mqtt` with a real broker: what is told of parts becomes parts, and what cannot be taken is told."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge.app import RunResult, StandIns, Watchers, run_station
from edge.bundle import Bundle
from edge.observers.direct import DirectObserver
from edge.outbox.reader import OutboxReader
from edge.protocols import Camera
from edge.records import CameraState, Frame, UInt8
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartResult
from edge.settings import Settings
from tests.bright_bundle import TILE, part, write_bright_bundle
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.station.test_run import ROOT_TOPIC, bodies, status
from tests.edge.station.test_station import ListedCamera, opened_and_closed, replayed

GOOD = part(TILE, TILE)
BAD = part(TILE, TILE, (10, 10, 20, 4))
_TRIES = 10  # parts after a flood, of which one must be whole
_TRY_S = 5.0  # longer than a part may last, and than its frames are waited for


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("told") / "bundle")


class LiveCamera(ListedCamera):
    """Gives what it is set to show, a hundred times a second, for ever."""

    def __init__(self, name: str) -> None:
        super().__init__(name, [], ends=False)
        self.shows: UInt8 = GOOD
        self._count = 0

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame."""
        self.silent.wait(min(timeout_s, 0.01) or 0.01)
        self._count += 1
        return Frame(self.name, self._count - 1, self.shows, time.monotonic_ns(), NOW)


NOW = ListedCamera("any", [(0, GOOD)]).read(0).captured_at  # type: ignore[union-attr] # the test knows which of the union


@dataclass
class Line:
    """A running station: what it decided, and what it came to."""

    camera: LiveCamera
    parts: list[PartResult] = field(default_factory=list)
    frames: int = 0
    result: RunResult | None = None

    def watch(self, decided: Decided | DecidedPart) -> None:
        """Remember a part, and count a frame."""
        if isinstance(decided, DecidedPart):
            self.parts.append(decided.part)
        else:
            self.frames += 1


@contextmanager
def running(bright: Bundle, broker: Mosquitto, folder: Path, timeout_ms: int = 2000) -> Iterator[Line]:
    """Run a station of one camera whose parts come over MQTT; it has ended when the context is left."""
    settings = Settings.model_validate(
        {
            "camera": {"name": "top", "max_age_ms": 60_000},
            "bundle": bright.path,
            "parts": {"trigger": "mqtt", "timeout_ms": timeout_ms, "wait_ms": 300},
            "broker": {"port": broker.port, "keepalive_s": 60},
            "report": {"health_every_s": 0.5, "sequence_every_s": 0.5},
        }
    )
    line, stop = Line(LiveCamera("top")), threading.Event()

    def run() -> None:
        cameras: dict[str, Camera] = {"top": line.camera}
        line.result = run_station(
            settings,
            bright,
            stop,
            store=folder / "outbox.db",
            live=True,
            instead=StandIns(cameras),
            watchers=Watchers([DirectObserver(line.watch)]),
        )

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield line
    finally:
        stop.set()
        thread.join(240)


def command(action: str, part_id: str | None, **also: Any) -> bytes:
    """Return the body of `cmd/part`."""
    body = {"schema": "linewatch/command-part/1", "action": action, "part_id": part_id, "recipe": None} | also
    return json.dumps(body).encode()


def tell(desk: Subscriber, action: str, part_id: str | None, answer: str = "", **also: Any) -> None:
    """Send one command; with `answer`, wait for what became of it."""
    properties: dict[str, Any] = {"MessageExpiryInterval": 30}
    if answer:
        properties["ResponseTopic"] = f"{ROOT_TOPIC}/answer/{answer}"
    desk.publish(f"{ROOT_TOPIC}/cmd/part", command(action, part_id, **also), **properties)
    if answer:
        wait_for(lambda: desk.payloads(f"{ROOT_TOPIC}/answer/{answer}"))


def journal(folder: Path) -> list[str]:
    """Return what the journal has of the trigger's faults."""
    with OutboxReader(folder / "outbox.db") as reader:
        rows = [row.entry for row in reader.journal_rows(10_000) if row.entry.kind == "trigger"]
    return [entry.detail.split(":")[0] for entry in rows]


def test_parts_are_opened_and_closed_over_mqtt(bright: Bundle, tmp_path: Path) -> None:
    """They have ids and a recipe. An impossible one is judged where possible, and is an alarm and in the journal."""
    with (
        Mosquitto(tmp_path) as broker,
        Subscriber(broker.port) as desk,
        running(bright, broker, tmp_path, timeout_ms=10_000) as line,  # ten frames of a slow machine are within it
    ):
        wait_for(lambda: "online" in status(desk))
        for name, shows in (("good", GOOD), ("bad", BAD), ("good", GOOD)):
            before = len(line.parts)
            line.camera.shows = shows
            further(line, 10)
            tell(desk, "open", name, recipe="default")
            further(line, 10)
            tell(desk, "close", name)
            wait_for(lambda before=before: len(line.parts) > before)  # type: ignore[misc] # mypy#15459
        tell(desk, "close", "nobody", "a")
        tell(desk, "open", "x", "b", recipe="unknown")
        assert json.loads(desk.payloads(f"{ROOT_TOPIC}/answer/b")[0])["body"]["outcome"] == "invalid"
        tell(desk, "open", "never-closed")
        wait_for(lambda: len(bodies(desk, "event/result")) == 4)
        wait_for(lambda: desk.last(f"{ROOT_TOPIC}/alarm/trigger-fault"))
        told = [(b["part_id"], b["verdict"], b["repeated_id"], b["closing"]) for b in bodies(desk, "event/result")]
    assert told == [
        ("good", "OK", False, "trigger"),
        ("bad", "NG", False, "trigger"),
        ("good", "OK", True, "trigger"),
        ("never-closed", "OK", False, "timeout"),
    ]
    assert journal(tmp_path) == ["repeats_id", "closes_nothing", "unheard", "never_closes"]


# In a process of its own, so that it keeps its pace. The bytes are put together before the first is sent.
_FLOOD = """
import socket, sys, time
port, topic, parts, per_s = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
text = lambda value: len(value.encode()).to_bytes(2, "big") + value.encode()
def packet(kind, content):
    size, head = len(content), [kind]
    while True:
        head.append(size % 128 + 128 * (size > 127))
        size //= 128
        if not size:
            return bytes(head) + content
def command(action, number):
    body = '{"schema": "linewatch/command-part/1", "action": "%s", "part_id": "p%d", "recipe": null}' % (action, number)
    return packet(0x30, text(topic) + bytes([5, 2]) + (30).to_bytes(4, "big") + body.encode())
parts = [command("open", number) + command("close", number) for number in range(parts)]
with socket.create_connection(("127.0.0.1", port)) as broker:
    broker.sendall(packet(0x10, text("MQTT") + bytes([5, 2, 0, 0, 0]) + text("light barrier")))
    broker.recv(100)
    began_s = time.monotonic()
    for number in range(0, len(parts), 10):
        time.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
        broker.sendall(b"".join(parts[number : number + 10]))
    broker.sendall(packet(0xE0, b""))
    broker.recv(100)
"""


def flood(port: int, parts: int, per_s: int) -> None:
    """Open and close so many parts at an even pace, each by its id."""
    topic = f"{ROOT_TOPIC}/cmd/part"
    subprocess.run([sys.executable, "-c", _FLOOD, str(port), topic, str(parts), str(per_s)], check=True, timeout=240)


def further(line: Line, frames: int) -> None:
    """Wait until so many more frames are judged."""
    until = line.frames + frames
    wait_for(lambda: line.frames >= until)


def line_stands(line: Line, desk: Subscriber) -> None:
    """Wait until no further part is concluded, and the counters of then were told."""
    before = -1
    while before != len(line.parts):
        before = len(line.parts)
        time.sleep(2.5)  # longer than a part can last, and than its frames are waited for
        further(line, 10)
    count = len(bodies(desk, "state/counters"))
    wait_for(lambda: len(bodies(desk, "state/counters")) >= count + 2)


def whole_part(line: Line, desk: Subscriber) -> int:
    """Open and close parts until one is closed by its trigger, and return how many that took.

    After a flood the queue may still be full. On a slow machine a part may last longer than it is given.
    """
    for tried in range(1, _TRIES + 1):
        name = f"last{tried}"
        tell(desk, "open", name)
        further(line, 2)
        tell(desk, "close", name)
        until_s = time.monotonic() + _TRY_S
        while time.monotonic() < until_s:
            if any(each.part_id == name and each.closing.value == "trigger" for each in line.parts):
                return tried
            time.sleep(0.05)
    raise AssertionError(f"none of {_TRIES} parts after the flood was closed by its trigger")


@pytest.mark.parametrize(("parts", "per_s"), [(100, 200), (1000, 1000)])
def test_no_part_that_was_taken_is_lost(parts: int, per_s: int, bright: Bundle, tmp_path: Path) -> None:
    """At 1,000 parts/s some are refused: counted, and an alarm. The loop goes on judging, and the next part is whole.

    Every opening and closing that was sent was refused and counted, or is a part. Or it is the end of one, or a closing
    of none.
    """
    with (
        Mosquitto(tmp_path, config="max_queued_messages 0\nmax_inflight_messages 0") as broker,
        Subscriber(broker.port, f"{ROOT_TOPIC}/#") as desk,
        running(bright, broker, tmp_path) as line,
    ):
        wait_for(lambda: "online" in status(desk))
        frames = line.frames
        flood(broker.port, parts, per_s)
        assert line.frames > frames  # it has not stood still meanwhile
        further(line, 10)
        tried = whole_part(line, desk)
        line_stands(line, desk)
        refused = bodies(desk, "state/counters")[-1]["commands_refused"]
    faults = Counter(journal(tmp_path))
    closed = sum(each.closing.value == "trigger" for each in line.parts)
    assert len(line.parts) + closed + faults["closes_nothing"] + refused == 2 * (parts + tried)
    assert len({each.part_id for each in line.parts}) == len(line.parts)
    assert (refused > 0) == (faults["unheard"] > 0)
    assert refused > 0 or per_s == 200


def test_each_view_has_an_offset_of_its_own(bright: Bundle, tmp_path: Path) -> None:
    """Side sees parts 300 ms after the trigger: its NG frame at 320 ms is of the part at 0-50, not of that at 300."""
    one = {"bundle": str(bright.path)}
    settings = Settings.model_validate(
        {
            "cameras": {"top": {}, "side": {}},
            "recipes": {"r": {"views": {"top": one, "side": one | {"offset_ms": 300}}}},
            "parts": {"trigger": "mqtt", "wait_ms": 500},
        }
    )
    top = ListedCamera("top", [(20, GOOD), (320, GOOD), (700, GOOD)])
    side = ListedCamera("side", [(320, BAD), (620, GOOD), (800, GOOD)])
    events = opened_and_closed(("a", 0, 50), ("b", 300, 350))
    parts, _ = replayed(settings, bright, tmp_path, [top, side], events)
    assert {one.part.part_id: one.part.judgement.verdict.value for one in parts} == {"a": "NG", "b": "OK"}
