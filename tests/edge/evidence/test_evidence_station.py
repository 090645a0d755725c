"""A station that keeps evidence: its messages name it, its pictures are those that were judged, a full disk is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.app import StandIns, Watchers, run_station
from edge.bundle import Bundle
from edge.errors import StoreError
from edge.evidence.index import EvidenceIndex, Sought
from edge.evidence.observer import HeldFrames
from edge.evidence.pictures import Shot
from edge.observers.direct import DirectObserver
from edge.opencv import cv2
from edge.outbox.reader import OutboxReader
from edge.parts.triggers import ToldTrigger
from edge.protocols import Camera
from edge.publishers.memory import MemoryPublisher
from edge.records import CameraCondition, CameraState, Frame, FrameResult, Judgement, UInt8, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartClosed, PartOpened
from edge.settings import Settings
from tests.bright_bundle import part, write_bright_bundle
from tests.brokers import wait_for
from tests.edge.messages.test_messages import VALIDATORS
from tests.edge.station.test_replay import linewatch, write_pictures
from tests.edge.station.test_station import ListedCamera

MS = 1_000_000
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
GOOD = part(100, 150)
BAD = part(100, 150, (10, 10, 20, 4))
WORSE = part(100, 150, (10, 10, 40, 40))
NEAR = part(100, 150, (50, 20, 10, 10), (90, 20, 10, 10))  # two defects, of which two are allowed


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("evidence") / "bundle")


def settings_of(bright: Bundle, folder: Path, **more: Any) -> Settings:
    """Make settings of two cameras that keep lossless evidence, and change some of them."""
    evidence = {"folder": str(folder), "pictures": "png", "min_free_gb": 0, **more.pop("evidence", {})}
    inspect = {"limits": {"scratch": {"max_count": 2, "max_coverage": 0.02}}}
    given = {"cameras": {"top": {}, "side": {}}, "bundle": str(bright.path), "evidence": evidence, "inspect": inspect}
    return Settings.model_validate_json(json.dumps({**given, "parts": {"trigger": "software"}, **more}))


def ran(
    settings: Settings, bright: Bundle, folder: Path, cameras: dict[str, Camera], trigger: ToldTrigger | None
) -> list[dict[str, Any]]:
    """Replay a station, and return the bodies of its results."""
    bodies: list[dict[str, Any]] = []

    def note(decided: Decided | DecidedPart) -> None:
        if decided.body is not None:
            bodies.append(decided.body)

    run_station(
        settings,
        bright,
        threading.Event(),
        store=folder / "outbox.db",
        live=False,
        instead=StandIns(cameras, trigger, MemoryPublisher()),
        watchers=Watchers([DirectObserver(note)]),
    )
    return bodies


def parts_of(*frames: tuple[list[UInt8], list[UInt8]]) -> tuple[dict[str, Camera], ToldTrigger]:
    """Return cameras and trigger of parts, each with the frames that top and side see of it."""
    trigger, top, side = ToldTrigger(), [], []
    for number, (above, beside) in enumerate(frames):
        begins = number * 1000
        assert trigger.tell(PartOpened(begins * MS, f"part {number}"))
        assert trigger.tell(PartClosed((begins + 900) * MS))
        top += [(begins + 100 * place, pixels) for place, pixels in enumerate(above)]
        side += [(begins + 100 * place + 50, pixels) for place, pixels in enumerate(beside)]
    return {"top": ListedCamera("top", top), "side": ListedCamera("side", side)}, trigger


def record_of(folder: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """Return where a result's evidence lies, and its record."""
    (place,) = folder.glob(f"*/{name}")
    record: dict[str, Any] = json.loads((place / "record.json").read_text())
    return place, record


def test_each_view_leaves_the_frame_that_speaks_for_it(bright: Bundle, tmp_path: Path) -> None:
    """Every view's picture of an NG part is its message's very frame, and the map is the defect's."""
    cameras, trigger = parts_of(([GOOD, WORSE, GOOD], [BAD]), ([GOOD], [GOOD]), ([NEAR], [GOOD]), ([GOOD], []))
    bodies = ran(settings_of(bright, tmp_path / "kept"), bright, tmp_path, cameras, trigger)
    for body in bodies:
        VALIDATORS["part"].validate(body)
    assert [body["verdict"] for body in bodies] == ["NG", "OK", "OK", "NO_READ"]
    with EvidenceIndex(tmp_path / "kept", writes=False) as index:
        kept = {row["name"]: row["kind"] for row in index.find(Sought(), 10)}
    names = [body["evidence_id"] for body in bodies]
    assert kept == {names[0]: "ng", names[2]: "near", names[3]: "no_read"}
    assert names[1] not in kept
    place, record = record_of(tmp_path / "kept", names[0])
    assert record["body"] == bodies[0]
    assert [view["view"] for view in record["views"]] == ["top", "side"]
    assert (cv2.imread(str(place / "top.png")) == WORSE).all()
    assert (cv2.imread(str(place / "side.png")) == BAD).all()
    found = cv2.imread(str(place / "top.map.png"), cv2.IMREAD_UNCHANGED)
    assert (found == (WORSE[..., 0] > 128)).all()
    assert np.count_nonzero(found) == 1600
    _, record = record_of(tmp_path / "kept", names[3])
    assert [view["missing"] for view in record["views"]] == [None, "no frame of the part was judged"]


def test_frames_without_parts_are_kept_by_themselves(bright: Bundle, tmp_path: Path) -> None:
    """Each NG frame has its evidence where each frame has a verdict, and its message names it."""
    settings = settings_of(bright, tmp_path / "kept", parts={"trigger": "every_frame"}, cameras={"top": {}})
    camera = ListedCamera("top", [(0, GOOD), (40, WORSE), (80, GOOD)])
    bodies = ran(settings, bright, tmp_path, {"top": camera}, None)
    for body in bodies:
        VALIDATORS["result"].validate(body)
    assert len({body["evidence_id"] for body in bodies}) == 3
    (place,) = (tmp_path / "kept").glob("2*/*")
    assert place.name == bodies[1]["evidence_id"]
    assert (cv2.imread(str(place / "top.png")) == WORSE).all()


def test_without_a_folder_nothing_is_kept_or_named(bright: Bundle, tmp_path: Path) -> None:
    """A station whose settings name no folder says so in each message: null."""
    settings = settings_of(bright, tmp_path).model_copy(update={"evidence": Settings().evidence})
    cameras, trigger = parts_of(([WORSE], [GOOD]))
    (body,) = ran(settings, bright, tmp_path, cameras, trigger)
    assert body["evidence_id"] is None


@given(st.lists(st.tuples(st.sampled_from(Verdict), st.integers(1, 400)), min_size=1, max_size=40))
def test_frames_in_memory_are_bounded(frames: list[tuple[Verdict, int]]) -> None:
    """Memory holds its bytes or two frames, whatever comes. The newest frame and the worst one are among them."""
    held = HeldFrames(1_000, 10**9)
    results = []
    for number, (verdict, size) in enumerate(frames):
        frame = Frame("top", number, np.zeros((1, size), np.uint8), number, NOON)
        result = FrameResult("top", number, "", NOON, number, 1.0, Judgement(verdict, None), None)
        held.hold(result, Shot("top", "", frame))
        results.append(result)
        there = [one for one in results if held.of(one) is not None]
        order = (Verdict.OK, Verdict.NO_READ, Verdict.NG)
        assert held.bytes == sum(frames[one.captured_ns][1] for one in there)
        assert held.bytes <= 1_000 or len(there) <= 2
        assert there[-1] is result
        assert max(order.index(one.judgement.verdict) for one in there) == max(
            order.index(v) for v, _ in frames[: number + 1]
        )
    held.forget_before(len(frames))
    assert held.bytes == 0


class Belt(ListedCamera):
    """A live camera that gives the next frame when it is asked for one."""

    def __init__(self, name: str, until: Callable[[], bool]) -> None:
        super().__init__(name, [])
        self._until = until
        self._pause = threading.Event()

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return an NG frame, twenty times a second, until all is seen."""
        del timeout_s
        if self._until():
            return CameraState(self.name, CameraCondition.END_OF_STREAM)
        self._pause.wait(0.05)
        self._next += 1
        return Frame(self.name, self._next, WORSE, time.monotonic_ns(), datetime.now(timezone.utc))


@pytest.mark.parametrize("harm", ["full", "no folder"])
def test_a_disk_that_takes_nothing_is_an_alarm_and_inspection_goes_on(
    harm: str, bright: Bundle, tmp_path: Path
) -> None:
    """Live, with too little room or none for the folder: results go on, and evidence-unkept is raised and says why."""
    folder = tmp_path / "kept"
    settings = settings_of(
        bright,
        folder,
        parts={"trigger": "every_frame"},
        cameras={"top": {}},
        evidence={"min_free_gb": 1_000_000 if harm == "full" else 0},
        store={"path": str(tmp_path / "outbox.db")},
    )
    if harm != "full":
        folder.write_text("a file")
    seen: list[Any] = []
    stop = threading.Event()

    def journal() -> list[str]:
        try:
            with OutboxReader(tmp_path / "outbox.db") as reader:
                return [f"{row.kind} {row.detail}" for row in reader.journal(1000, "evidence-unkept")]
        except StoreError:  # the station is opening it
            return []

    def run() -> None:
        run_station(
            settings,
            bright,
            stop,
            store=tmp_path / "outbox.db",
            live=True,
            instead=StandIns({"top": Belt("top", stop.is_set)}, None, MemoryPublisher()),
            watchers=Watchers([DirectObserver(seen.append)]),
        )

    station = threading.Thread(target=run)
    station.start()
    try:
        wait_for(lambda: any(line.startswith("raised") for line in journal()))
        before = len(seen)
        wait_for(lambda: len(seen) > before + 5)
        assert any("ree some space" in line for line in journal())
    finally:
        stop.set()
        station.join(120)
    assert not list(folder.glob("2*/*"))


def test_two_replays_tell_and_keep_the_same(bright: Bundle, tmp_path: Path) -> None:
    """Replayed twice, each with a folder of its own, results are the same bytes, and so are pictures and maps."""
    recording = tmp_path / "recording"
    write_pictures(recording, GOOD, WORSE, NEAR, BAD)
    (tmp_path / "line.yaml").write_text("inspect: {limits: {scratch: {max_count: 2, max_coverage: 0.02}}}\n")
    told = []
    for turn in ("one", "two"):
        events, kept = tmp_path / f"{turn}.jsonl", tmp_path / turn
        arguments = ("--bundle", bright.path, "--config", tmp_path / "line.yaml", "--events", events)
        done = linewatch("replay", recording, *arguments, "--evidence", kept)
        assert done.returncode == 0, done.stderr
        files = {f"{p.parent.name}/{p.name}": p.read_bytes() for p in kept.glob("2*/*/*") if p.name != "record.json"}
        assert len(files) > 2
        told.append((events.read_bytes(), files))
    assert told[0] == told[1]
    again = linewatch("replay", recording, *arguments, "--evidence", kept)
    assert again.returncode == 3
    assert "empty or absent" in again.stderr


def test_a_replay_whose_pictures_cannot_be_kept_ends(bright: Bundle, tmp_path: Path) -> None:
    """A replay that was asked for evidence never goes on without it: the disk's trouble ends it."""
    cameras, trigger = parts_of(([WORSE], [GOOD]))
    settings = settings_of(bright, tmp_path / "kept", evidence={"min_free_gb": 1_000_000})
    with pytest.raises(StoreError, match="Free some space"):
        ran(settings, bright, tmp_path, cameras, trigger)
