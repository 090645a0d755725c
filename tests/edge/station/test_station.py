"""Several cameras and parts as one station: what is told of each part, and what one camera costs the others."""

from __future__ import annotations

import json
import signal
import sqlite3
import threading
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from typing_extensions import Self

from edge.app import StandIns, Watchers, run_station
from edge.bundle import Bundle
from edge.observers.direct import DirectObserver
from edge.opencv import cv2
from edge.outbox.reader import OutboxReader
from edge.parts.triggers import ToldTrigger
from edge.protocols import Camera
from edge.publishers.memory import MemoryPublisher
from edge.records import CameraCondition, CameraState, Frame
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartClosed, PartOpened
from edge.settings import Settings
from tests.bright_bundle import part, write_bright_bundle
from tests.brokers import wait_for
from tests.edge.station.test_replay import linewatch, write_pictures
from tests.edge.station.test_run import running

BAD = part(100, 150, (10, 10, 20, 4))
ALARM = "alarms: [{id: reject, measure: ng, priority: high, text: Take it out}]"
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("station") / "bundle")


class ListedCamera:
    """Gives frames that were listed before, each with its moment in ms, then ends, or is silent for ever."""

    def __init__(self, name: str, frames: list[tuple[int, Any]], *, ends: bool = True) -> None:
        self.name = name
        self.dropped = 0
        self.total = len(frames)
        self._frames = frames
        self._next = 0
        self._ends = ends
        self.silent = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.silent.set()

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame."""
        if self._next == len(self._frames):
            if self._ends:
                return CameraState(self.name, CameraCondition.END_OF_STREAM)
            self.silent.wait(timeout_s)
            return CameraState(self.name, CameraCondition.NO_FRAME_YET)
        at_ms, pixels = self._frames[self._next]
        self._next += 1
        return Frame(self.name, self._next - 1, pixels, at_ms * 1_000_000, NOON)


class HungCamera(ListedCamera):
    """Never comes back from its first read until it is closed, as a driver may."""

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Wait until it is closed."""
        del timeout_s
        self.silent.wait()
        return CameraState(self.name, CameraCondition.LOST, "it was closed")


class FailedCamera(ListedCamera):
    """Ends at once, and says that it failed."""

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the end."""
        del timeout_s
        return CameraState(self.name, CameraCondition.END_OF_STREAM, "the driver failed")


def station(bright: Bundle, text: str) -> Settings:
    """Make settings of two cameras, with `text` beside them."""
    import yaml

    given = {"cameras": {"top": {}, "side": {}}, "bundle": str(bright.path), **yaml.safe_load(text)}
    return Settings.model_validate_json(json.dumps(given))


def replayed(
    settings: Settings, bright: Bundle, folder: Path, cameras: list[Camera], events: list[PartOpened | PartClosed]
) -> tuple[list[DecidedPart], list[Decided]]:
    """Take listed frames through a station in their own time, and return what was decided."""
    trigger = ToldTrigger()
    for event in events:
        assert trigger.tell(event)
    decided: list[Decided | DecidedPart] = []
    run_station(
        settings,
        bright,
        threading.Event(),
        store=folder / "outbox.db",
        live=False,
        instead=StandIns({camera.name: camera for camera in cameras}, trigger, MemoryPublisher()),
        watchers=Watchers([DirectObserver(decided.append)]),
    )
    parts = [one for one in decided if isinstance(one, DecidedPart)]
    return parts, [one for one in decided if isinstance(one, Decided)]


def opened_and_closed(*parts: tuple[str, int, int]) -> list[PartOpened | PartClosed]:
    """Return the events of parts that are open from one ms to another."""
    events: list[PartOpened | PartClosed] = []
    for name, begin, end in parts:
        events += [PartOpened(begin * 1_000_000, name), PartClosed(end * 1_000_000, name)]
    return events


PARTS = "parts: {trigger: mqtt, wait_ms: 100, timeout_ms: 1000}"


def test_a_part_is_bad_if_one_view_of_it_is(bright: Bundle, tmp_path: Path) -> None:
    """Frames go to the part in whose window they were captured; each part has one verdict, from both views."""
    top = ListedCamera("top", [(10, part()), (110, part()), (210, part()), (310, part())])
    side = ListedCamera("side", [(20, part()), (120, BAD), (220, part())])
    events = opened_and_closed(("a", 0, 50), ("b", 100, 150), ("c", 200, 250), ("d", 300, 350))
    parts, frames = replayed(station(bright, PARTS), bright, tmp_path, [top, side], events)
    told = {one.part.part_id: (one.body["verdict"], one.body["missing_views"]) for one in parts}
    # d was seen from above only: nobody knows what its side shows
    assert told == {"a": ("OK", []), "b": ("NG", []), "c": ("OK", []), "d": ("NO_READ", ["side"])}
    bad = next(one for one in parts if one.part.part_id == "b").body
    assert bad["reason"].startswith("side: scratch")
    assert (bad["views"]["side"]["ng"], bad["views"]["top"]["ng"]) == (1, 0)
    assert len(bad["views"]["side"]["defects"]) == 1
    assert [one.body for one in frames] == [None] * 7  # the part has the message


def test_a_frame_outside_every_part_is_counted_and_nothing_else(bright: Bundle, tmp_path: Path) -> None:
    """A part is in the picture before and after its window: its frames there are counted, and have no result."""
    top = ListedCamera("top", [(10, part()), (110, BAD)])
    side = ListedCamera("side", [(10, part())])
    parts, frames = replayed(station(bright, PARTS), bright, tmp_path, [top, side], opened_and_closed(("a", 0, 50)))
    assert [one.part.judgement.verdict.value for one in parts] == ["OK"]
    assert len(frames) == 3
    assert all(one.body is None for one in frames)


def test_faults_of_the_trigger_are_an_alarm_and_in_the_journal(bright: Bundle, tmp_path: Path) -> None:
    """A repeated id, a part that never closes and a closing of nothing: each part is judged, and each fault is told."""
    top = ListedCamera("top", [(at, part()) for at in range(10, 3000, 100)])
    events: list[PartOpened | PartClosed] = [
        *opened_and_closed(("a", 0, 50), ("a", 100, 150)),
        PartClosed(160_000_000, "nobody"),
        PartOpened(200_000_000, "b"),
    ]
    parts, _ = replayed(station(bright, f"cameras: {{top: {{}}}}\n{PARTS}"), bright, tmp_path, [top], events)
    assert [(one.part.part_id, one.part.repeated, one.part.closing.value) for one in parts] == [
        ("a", False, "trigger"),
        ("a", True, "trigger"),
        ("b", False, "timeout"),
    ]
    assert [one.part.number for one in parts] == [1, 2, 3]  # which tell the two apart
    with OutboxReader(tmp_path / "outbox.db") as reader:
        told = [row.entry.detail for row in reader.journal_rows(50) if row.entry.kind == "trigger"]
    assert [each.split(":")[0] for each in told] == ["repeats_id", "closes_nothing", "never_closes"]


def test_a_part_without_any_frame_is_no_read(bright: Bundle, tmp_path: Path) -> None:
    """A trigger without a frame is a fault: the part is NO_READ, never OK."""
    top, side = ListedCamera("top", [(900, part())]), ListedCamera("side", [(900, part())])
    parts, _ = replayed(station(bright, PARTS), bright, tmp_path, [top, side], opened_and_closed(("a", 0, 50)))
    assert [(one.body["verdict"], one.body["missing_views"]) for one in parts] == [("NO_READ", ["top", "side"])]


def test_a_camera_that_hangs_costs_the_others_nothing(bright: Bundle, tmp_path: Path) -> None:
    """The frames of one camera are judged, in their order, while the other's driver never comes back."""
    stop, seen = threading.Event(), list[Decided]()

    def watch(decided: Decided | DecidedPart) -> None:
        assert isinstance(decided, Decided)
        seen.append(decided)
        if len(seen) == 50:
            stop.set()

    frames = [(1000 + at, part()) for at in range(50)]
    good, hung = ListedCamera("top", frames, ends=False), HungCamera("side", [])
    threading.Timer(240, stop.set).start()
    run_station(
        station(bright, "cameras: {top: {max_age_ms: 3600000}, side: {max_age_ms: 3600000}}"),
        bright,
        stop,
        store=tmp_path / "outbox.db",
        live=True,
        instead=StandIns({"top": good, "side": hung}, None, MemoryPublisher()),
        watchers=Watchers([DirectObserver(watch)]),
    )
    assert [one.inspection.frame for one in seen if one.inspection.camera == "top"] == list(range(50))


def test_a_camera_whose_frames_are_over_is_lost_while_others_go_on(bright: Bundle, tmp_path: Path) -> None:
    """Of two cameras one ends: it is NO_READ with its fault, not silent; a driver that failed ends the station."""
    stop, told = threading.Event(), list[Decided]()

    def watch(decided: Decided | DecidedPart) -> None:
        if isinstance(decided, Decided) and decided.inspection.camera_fault is not None:
            told.append(decided)
            stop.set()

    def run(side: Camera) -> Any:
        top = ListedCamera("top", [(1000, part())], ends=False)
        return run_station(
            station(bright, "cameras: {top: {max_age_ms: 3600000}, side: {max_age_ms: 50}}"),
            bright,
            stop,
            store=tmp_path / f"{len(told)}.db",
            live=True,
            instead=StandIns({"top": top, "side": side}, None, MemoryPublisher()),
            watchers=Watchers([DirectObserver(watch)]),
        )

    threading.Timer(240, stop.set).start()
    run(ListedCamera("side", [(1000, part())]))
    assert told[0].inspection.camera == "side"
    assert told[0].body is not None
    assert "its recording is over" in told[0].body["reason"]
    stop.clear()
    assert run(FailedCamera("side", [])).counts.ended_early == "the driver failed"


class DroppingCamera(ListedCamera):
    """Dropped three frames before its last one, as a camera does whose frames are not taken in time."""

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame."""
        if self._next == len(self._frames) - 1:
            self.dropped = 3
        return super().read(timeout_s)


def test_parts_that_no_triggered_camera_kept_are_a_fault(bright: Bundle, tmp_path: Path) -> None:
    """Both cameras dropped the frames of three parts, of which nothing is known: the journal says how many."""
    settings = Settings.model_validate(
        {"cameras": {"top": {}, "side": {}}, "bundle": bright.path, "parts": {"trigger": "camera"}}
    )
    cameras: dict[str, Camera] = {
        name: DroppingCamera(name, [(at, part()) for at in (100, 1000)]) for name in ("top", "side")
    }
    result = run_station(
        settings,
        bright,
        threading.Event(),
        store=tmp_path / "outbox.db",
        live=False,
        instead=StandIns(cameras, None, MemoryPublisher()),
    )
    assert (result.counts.parts, result.counts.trigger_faults) == (2, 1)
    with OutboxReader(tmp_path / "outbox.db") as reader:
        (told,) = [row.entry.detail for row in reader.journal_rows(500) if row.entry.kind == "trigger"]
    assert told == "lost: no camera kept up: frames of up to 3 parts were dropped unjudged by each of them"


def test_a_folder_whose_pictures_are_parts(bright: Bundle, tmp_path: Path) -> None:
    """Three pictures of a triggered camera, one bad: one NG part, its alarm once, no camera-lost; exit code 0."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index:02d}.png"), BAD if index == 1 else part())
    config = tmp_path / "station.yaml"
    config.write_text(
        f"cameras: {{top: {{kind: images, source: pictures, fps: 0.2, max_age_ms: 4500}}}}\nbundle: {bright.path}\n"
        f"parts: {{trigger: camera}}\nstore: {{path: o.db}}\nbroker: {{port: 9}}\n{ALARM}\n"
    )
    done = linewatch("run", config)
    assert done.returncode == 0, done.stderr
    assert "ended after 3 parts in 3 frames: 2 OK, 1 NG, 0 NO_READ" in done.stderr
    with OutboxReader(tmp_path / "o.db") as reader:
        raised = [row.entry.alarm for row in reader.journal_rows(500) if row.entry.kind == "raised"]
    assert raised.count("reject") == 1
    assert "camera-lost" not in raised


def test_two_recordings_play_as_one_station(bright: Bundle, tmp_path: Path) -> None:
    """Recordings of two cameras are merged by time; two replays tell the same; a missing one is refused."""
    top = write_pictures(tmp_path / "top", part(), BAD, part(), part())
    side = write_pictures(tmp_path / "side", part(), part(), part(), BAD)
    config = tmp_path / "station.yaml"
    config.write_text(
        f"cameras: {{top: {{}}, side: {{}}}}\nbundle: {bright.path}\nparts: {{trigger: camera}}\n{ALARM}\n"
    )
    told = []
    for name in ("a", "b"):
        events = tmp_path / f"{name}.jsonl"
        done = linewatch("replay", top, side, "--cameras", "top,side", "--config", config, "--events", events)
        assert done.returncode == 0, done.stderr
        told.append(events.read_text())
    assert [json.loads(line)["verdict"] for line in told[0].splitlines()] == ["OK", "NG", "OK", "NG"]
    assert told[0] == told[1]
    refused = linewatch("replay", top, "--cameras", "top", "--config", config, "--events", tmp_path / "c.jsonl")
    assert refused.returncode == 3
    assert "missing: side" in refused.stderr


def test_a_challenge_counts_nowhere_and_a_bypass_is_never_ok(bright: Bundle, tmp_path: Path) -> None:
    """Through a running station: parts of a challenge say so and are in no counter; bypassed parts are NO_READ."""
    config = tmp_path / "station.yaml"
    config.write_text(
        "cameras: {top: {source: simulated, max_age_ms: 120000, simulated: {width: 64, height: 64, fps: 30}}}\n"
        f"bundle: {bright.path}\nengine: {{backend: simulated}}\nparts: {{trigger: software}}\n"
        "store: {path: o.db}\nbroker: {port: 9}\n"
    )
    with running(config) as line:
        wait_for(lambda: len(_parts(tmp_path)) >= 2)
        begun = linewatch("challenge", config, "--parts", "2", "--user", "anna")
        assert begun.stdout.startswith("ok: the next 2 parts"), begun.stderr
        wait_for(lambda: sum(body["challenge"] for body in _parts(tmp_path)) == 2)
        taken_out = linewatch("bypass", config, "--on", "--reason", "lens cleaned", "--minutes", "5", "--user", "carl")
        assert taken_out.stdout.startswith("ok"), taken_out.stderr
        before = len(_parts(tmp_path))
        wait_for(lambda: len(_parts(tmp_path)) >= before + 3)
        line.send_signal(signal.SIGTERM)
        line.communicate(timeout=120)
    bodies = _parts(tmp_path)
    bypassed = [body for body in bodies if "bypassed by carl: lens cleaned" in (body["reason"] or "")]
    assert len(bypassed) >= 2
    assert {body["verdict"] for body in bypassed} == {"NO_READ"}
    counted = [body for body in bodies if not body["challenge"]]
    with OutboxReader(tmp_path / "o.db") as reader:
        counts: Counter[str] = Counter()
        for shift in reader.shifts():  # at midnight there are two
            counts.update({one.name: int(one.by) for one in reader.counts(shift)})
        kinds = [row.entry.kind for row in reader.journal_rows(100)]
    for name in ("OK", "NG", "NO_READ"):
        assert counts[name.lower()] == sum(body["verdict"] == name for body in counted), name
    assert counts["parts"] == len(counted)
    assert counts["down_ms:bypass"] > 0
    assert {"challenge", "bypass_begin", "started", "ended"} <= set(kinds)
    told = linewatch("report", config, "--shift", "current")
    assert told.returncode == 0, told.stderr
    assert "bypass" in told.stdout


def _parts(folder: Path) -> list[dict[str, Any]]:
    """Return the bodies of the parts that are in the store, in order."""
    with sqlite3.connect(f"file:{folder / 'o.db'}?mode=ro", uri=True) as store:
        rows = store.execute("SELECT payload FROM message WHERE kind = 'part' ORDER BY seq").fetchall()
    return [json.loads(payload)["body"] for (payload,) in rows]
