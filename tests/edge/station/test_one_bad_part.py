"""One bad part among a thousand, shown in one frame: whatever opens the parts, its alarm and its result come."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app import StandIns, run_station
from edge.bundle import Bundle
from edge.outbox.reader import OutboxReader
from edge.parts.belt import learn_belt, write_belt
from edge.parts.triggers import ToldTrigger, Trigger
from edge.protocols import Camera
from edge.publishers.memory import MemoryPublisher
from edge.records import CameraState, Frame, UInt8
from edge.records.parts import PartClosed, PartOpened
from edge.settings import Settings
from edge.simulation.belt import SimulatedBelt, SimulatedTrigger, belt_part
from edge.simulation.rendering import SimulatedLineSettings
from tests.bright_bundle import TILE, part, write_bright_bundle
from tests.edge.station.test_station import ListedCamera

PARTS = 1000
MS = 1_000_000
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))]
EMPTY = part(TILE, TILE)
GOOD = EMPTY.copy()
GOOD[8:56, 8:56] = 90  # brighter than the belt, below the 128 of a scratch
BAD = GOOD.copy()
BAD[30:33, 20:40] = 250
Line = tuple[dict[str, Any], Camera, Trigger | None]


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("one") / "bundle")


def by_camera(dice: random.Random, bad: int, folder: Path) -> Line:
    """Return a triggered camera: each frame is a part; gaps of any length lie between."""
    del folder
    at_ms, frames = 0, []
    for number in range(PARTS):
        at_ms += dice.choice([5, 40, 200, 5000])
        frames.append((at_ms, BAD if number == bad else GOOD))
    return {"trigger": "camera"}, ListedCamera("top", frames), None


def by_presence(dice: random.Random, bad: int, folder: Path) -> Line:
    """Return a camera whose frames show belt and parts by turns: a part in one to three, one of them the bad one."""
    write_belt(folder / "belt.npz", learn_belt([EMPTY + np.uint8(k % 3) for k in range(8)]))
    shown: list[UInt8] = [EMPTY]
    for number in range(PARTS):
        own = [GOOD] * dice.choice([1, 1, 1, 2, 3])
        if number == bad:
            own[dice.randrange(len(own))] = BAD
        shown += [*own, EMPTY]
    frames = [(40 * place, pixels) for place, pixels in enumerate(shown)]
    looks = {"belt": str(folder / "belt.npz"), "off_frames": 1}
    return {"trigger": "presence", "presence": looks}, ListedCamera("top", frames), None


def by_word(dice: random.Random, bad: int, folder: Path) -> Line:
    """Return parts that somebody opens and closes, each with one frame anywhere in its window, the edges included."""
    del folder
    trigger, frames, at_ms = ToldTrigger(), [], 0
    for number in range(PARTS):
        lasts_ms = dice.randrange(1, 50)
        assert trigger.tell(PartOpened(at_ms * MS, f"p{number}"))
        assert trigger.tell(PartClosed((at_ms + lasts_ms) * MS, dice.choice([None, f"p{number}"])))
        seen_ms = at_ms + dice.choice([0, lasts_ms, dice.randint(0, lasts_ms)])
        frames.append((seen_ms, BAD if number == bad else GOOD))
        at_ms += lasts_ms + dice.randrange(1, 50)
    return {"trigger": "mqtt"}, ListedCamera("top", frames), trigger


class BeltCamera(ListedCamera):
    """Gives listed frames as a simulated belt moves beneath it, at the belt's own time."""

    def __init__(self, name: str, frames: list[tuple[int, Any]], belt: SimulatedBelt) -> None:
        super().__init__(name, frames)
        self._belt = belt

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the frame of the belt's next position."""
        item = super().read(timeout_s)
        if isinstance(item, CameraState):
            return item
        taken = self._belt.take(self.name, timeout_s)
        assert taken is not None
        return Frame(self.name, item.index, item.pixels, taken[1], item.captured_at)


def by_software(dice: random.Random, bad: int, folder: Path) -> Line:
    """Return the simulated light barrier over four frames a part, of which it is broken for two. One has the defect."""
    del folder
    line = SimulatedLineSettings(fps=25, frames_per_part=4, seed=dice.randrange(1000))
    clock = iter(range(0, 10**15, 40 * MS))
    belt = SimulatedBelt(25, ["top"], monotonic_ns=lambda: next(clock))
    there = belt_part(line, bad)
    inside = [index for index in range(4 * PARTS + 8) if there.opened <= index <= there.closed]
    shown = dice.choice(inside)
    frames = [(0, BAD if index == shown else GOOD) for index in range(int(belt_part(line, PARTS - 1).closed) + 2)]
    return {"trigger": "software"}, BeltCamera("top", frames, belt), SimulatedTrigger(belt, line)


KINDS: dict[str, Callable[[random.Random, int, Path], Line]] = {
    "presence": by_presence,
    "camera": by_camera,
    "mqtt": by_word,
    "software": by_software,
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_one_bad_part_of_one_frame(kind: str, seed: int, bright: Bundle, tmp_path: Path) -> None:
    """Through the whole station: a thousand results, one of them NG, its own; the alarm is raised once, and stands."""
    dice = random.Random(f"{kind} {seed}")
    bad = dice.randrange(PARTS)
    parts, camera, trigger = KINDS[kind](dice, bad, tmp_path)
    alarm = {"id": "reject", "measure": "ng", "priority": "high", "text": "Take it out"}
    given = {"camera": {"name": "top"}, "bundle": str(bright.path), "parts": parts, "alarms": [alarm]}
    publisher = MemoryPublisher(keep=20_000)
    result = run_station(
        Settings.model_validate_json(json.dumps(given)),
        bright,
        threading.Event(),
        store=tmp_path / "outbox.db",
        live=False,
        instead=StandIns({"top": camera}, trigger, publisher),
    )
    assert (result.counts.parts, result.counts.ok, result.counts.ng) == (PARTS, PARTS - 1, 1)
    told = [json.loads(each.payload)["body"] for each in publisher.messages if each.topic.endswith("event/result")]
    assert [body["part_number"] for body in told] == list(range(1, PARTS + 1))
    (ng,) = [body for body in told if body["verdict"] == "NG"]
    assert ng["part_number"] == bad + 1
    events = [json.loads(each.payload)["body"] for each in publisher.messages if each.topic.endswith("event/alarm")]
    raised = [event for event in events if event["transition"] == "raised"]
    assert [event["alarm"] for event in raised] == ["reject"]
    with OutboxReader(tmp_path / "outbox.db") as reader:
        rows = [row.entry for row in reader.journal_rows(100) if row.entry.alarm == "reject"]
    assert [entry.kind for entry in rows if entry.kind == "raised"] == ["raised"]
