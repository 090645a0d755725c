"""A recording comes back to the bit, in its own time; any end of a recording leaves what it had."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pytest
from typing_extensions import Self

from edge.errors import SourceError
from edge.recording.clips import ClipWriter, Pixels, Row, open_to_write, pictures_of, rows_of, shape_of
from edge.recording.manifest import MANIFEST, RecordedCameraEntry, RecordingManifest
from edge.recording.playing import RecordedCamera, load_recording, read_trigger
from edge.recording.recorder import Disk, Recorded, RecordingLimits, record
from edge.records import CameraCondition, CameraState, Frame
from edge.records.inspection import CameraFacts
from edge.records.parts import PartClosed, PartOpened
from tests.conftest import ROOT

NOW = datetime(2026, 5, 1, 12, tzinfo=timezone.utc)
BEGAN_NS = 7_000_000_000_000
STEP_NS = 40_000_000
NO_LIMITS = RecordingLimits()


def noise(shape: tuple[int, ...], dtype: type = np.uint8, seed: int = 0) -> Pixels:
    """Draw pixels that no codec can guess."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


class ListedCamera:
    """Gives what it is made of, in order, at once. `after`: called with the number of each that was given."""

    def __init__(self, name: str, items: Sequence[Any]) -> None:
        self.name = name
        self.dropped = 0
        self._items = iter(items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    @property
    def facts(self) -> CameraFacts:
        """Return the facts of a camera that did not take its gain."""
        return CameraFacts(missed=2, differences=("asked for a gain of 2, the camera has 1",))

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next item; END_OF_STREAM after the last."""
        del timeout_s
        item = next(self._items, None)
        return CameraState(self.name, CameraCondition.END_OF_STREAM) if item is None else item


def frames(name: str, count: int, shape: tuple[int, ...] = (24, 32, 3), offset_ns: int = 0) -> list[Frame]:
    """Return frames of noise, 40 ms apart."""
    return [
        Frame(
            name,
            number,
            noise(shape, seed=number),
            BEGAN_NS + offset_ns + number * STEP_NS,
            NOW + timedelta(milliseconds=40 * number),
        )
        for number in range(count)
    ]


def manifest(*cameras: str) -> RecordingManifest:
    """Return what a recording begins with."""
    return RecordingManifest(
        format="linewatch/recording/1",
        started_at=NOW,
        versions={"linewatch": "test"},
        settings_sha256="0" * 64,
        cameras={name: RecordedCameraEntry(settings={}) for name in cameras},
    )


def recorded(
    folder: Path, cameras: Sequence[ListedCamera], limits: RecordingLimits = NO_LIMITS, **how: Any
) -> Recorded:
    """Record cameras until they are over."""
    folder.mkdir()
    names = [camera.name for camera in cameras]
    return record(dict(zip(names, cameras, strict=True)), folder, manifest(*names), limits, threading.Event(), **how)


def played(folder: Path, camera: str) -> list[Frame | CameraState]:
    """Return all that a recorded camera gives."""
    given = []
    with RecordedCamera(camera, load_recording(folder), camera) as source:
        while (item := source.read(1)) and getattr(item, "condition", None) is not CameraCondition.END_OF_STREAM:
            given.append(item)
    return given


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((24, 32, 3), np.uint8),
        ((17, 33, 3), np.uint8),
        ((24, 32), np.uint8),
        ((17, 33), np.uint16),
        ((24, 32, 1), np.uint8),
    ],
)
def test_pixels_come_back_to_the_bit(shape: tuple[int, ...], dtype: type, tmp_path: Path) -> None:
    """Of colours, grey and 16 bits, also at odd sizes: noise has no neighbour to be guessed from."""
    pixels = [noise(shape, dtype, seed) for seed in range(3)]
    with ClipWriter(tmp_path / "0001", shape_of(pixels[0])) as clip:
        for number, each in enumerate(pixels):
            clip.write(Row("frame", number, number * 300_000, NOW), each)  # several within a millisecond
    back = list(pictures_of(tmp_path / "0001", rows_of(tmp_path / "0001")))
    assert [row.index for row, _, _ in back] == [0, 1, 2]
    for (_, got, trouble), each in zip(back, pixels, strict=True):
        assert not trouble
        assert got is not None
        assert got.dtype == each.dtype
        np.testing.assert_array_equal(got, each.reshape(got.shape))


def test_pixels_that_no_clip_keeps_are_refused() -> None:
    """Deep colours and floats are told, and not squeezed into 8 bits."""
    for pixels in (np.zeros((8, 8, 3), np.uint16), np.zeros((8, 8), np.float32), np.zeros((8, 8, 4), np.uint8)):
        with pytest.raises(SourceError, match="cannot be recorded"):
            shape_of(pixels)  # type: ignore[arg-type]


def test_two_cameras_come_back_with_their_times_names_and_losses(tmp_path: Path) -> None:
    """Index, UTC, name, an unreadable frame and what was dropped; times count from the first frame of both."""
    top = frames("top", 3)
    unread = CameraState(
        "top", CameraCondition.UNREADABLE, "damaged", 3, "x.png", BEGAN_NS + 3 * STEP_NS, NOW + timedelta(seconds=1)
    )
    side = frames("side", 2, (20, 20), offset_ns=5)
    told = recorded(tmp_path / "r", [ListedCamera("top", [*top, unread]), ListedCamera("side", side)])
    assert (told.reason, told.full, told.trouble) == ("the cameras gave no more", "", "")
    back = played(tmp_path / "r", "top")
    for got, given in zip(back[:3], top, strict=True):
        assert isinstance(got, Frame)
        np.testing.assert_array_equal(got.pixels, given.pixels)
        assert (got.index, got.captured_ns, got.captured_at, got.name) == (
            given.index,
            given.captured_ns - BEGAN_NS,
            given.captured_at,
            given.name,
        )
    assert back[3] == CameraState(
        "top", CameraCondition.UNREADABLE, "damaged", 3, "x.png", 3 * STEP_NS, NOW + timedelta(seconds=1)
    )
    assert [frame.captured_ns for frame in played(tmp_path / "r", "side")] == [5, 5 + STEP_NS]
    ended = json.loads((tmp_path / "r" / MANIFEST).read_text())["ended"]
    assert ended["cameras"]["top"] == {
        "frames": 3,
        "unreadable": 1,
        "dropped": 0,
        "segments": 1,
        "missed": 2,
        "differences": ["asked for a gain of 2, the camera has 1"],
    }
    assert not (tmp_path / "r" / ".reserve").exists()


def test_clips_end_by_their_length_and_where_the_size_changes(tmp_path: Path) -> None:
    """Each clip is played after the one before it, and nothing is lost between them."""
    given = [
        *frames("eye", 5),
        *(Frame("eye", 5 + n, noise((9, 16), seed=n), BEGAN_NS + 10**9 + n, NOW) for n in (0, 1)),
    ]
    recorded(tmp_path / "r", [ListedCamera("eye", given)], RecordingLimits(segment_s=0.08))
    assert len(list((tmp_path / "r" / "eye").glob("*.mkv"))) == 4
    assert [frame.index for frame in played(tmp_path / "r", "eye")] == [0, 1, 2, 3, 4, 5, 6]


class SlowFile:
    """A file whose disk takes nothing until it is let."""

    def __init__(self, path: Path, let: threading.Event) -> None:
        self._file = open_to_write(path)
        self._let = let
        self.name = str(path)

    def write(self, data: bytes) -> int:
        """Write when it is let."""
        self._let.wait(60)
        return self._file.write(data)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._file.fileno()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def test_a_slow_disk_costs_frames_that_are_counted_and_never_holds_the_camera(tmp_path: Path) -> None:
    """All frames are read while the disk takes nothing; those without room are told, also to who plays the rest."""
    let = threading.Event()
    given = frames("eye", 12)
    read_all = threading.Event()

    class Last(ListedCamera):
        def read(self, timeout_s: float) -> Frame | CameraState:
            item = super().read(timeout_s)
            if not isinstance(item, Frame):
                read_all.set()
            return item

    def when_read(_: object) -> None:
        if read_all.is_set():
            let.set()

    room = 4 * given[0].pixels.nbytes
    told = recorded(
        tmp_path / "r",
        [Last("eye", given)],
        RecordingLimits(waiting_bytes=room),
        disk=Disk(lambda path: SlowFile(path, let)),  # type: ignore[arg-type,return-value]
        each_turn=when_read,
    )
    now = told.cameras["eye"]
    assert now.dropped >= 7  # room for four, and one or more in the writer's hands
    assert now.frames + now.dropped == 12
    assert not told.full
    with RecordedCamera("eye", load_recording(tmp_path / "r"), "eye") as camera:
        for _ in range(now.frames):
            assert isinstance(camera.read(1), Frame)


class FullFile(SlowFile):
    """A file on a disk that has room for so many bytes more."""

    left = 0

    def __init__(self, path: Path) -> None:
        let = threading.Event()
        let.set()
        super().__init__(path, let)

    def write(self, data: bytes) -> int:
        """Write what there is room for."""
        taken = min(FullFile.left, len(data))
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        FullFile.left -= taken
        return super().write(bytes(memoryview(data)[:taken]))


def test_a_full_disk_ends_the_recording_and_what_was_kept_is_played(tmp_path: Path) -> None:
    """It is told; each frame whose row is there is whole."""
    FullFile.left = 20_000
    given = frames("eye", 30)
    told = recorded(tmp_path / "r", [ListedCamera("eye", given)], disk=Disk(FullFile))  # type: ignore[arg-type]
    assert "No space left on device" in told.full
    back = played(tmp_path / "r", "eye")
    assert 3 < len(back) < 30
    for got, each in zip(back, given, strict=False):
        assert isinstance(got, Frame)
        np.testing.assert_array_equal(got.pixels, each.pixels)


def test_some_of_the_disk_stays_free(tmp_path: Path) -> None:
    """A station's own store lies on the same disk: recording ends before that is full, with an end that is written."""
    told = recorded(
        tmp_path / "r", [ListedCamera("eye", frames("eye", 2))], disk=Disk(free_bytes=lambda _: 999_999_999)
    )
    assert told.reason == "the disk is full"
    assert "1.0 GB of the disk are free, and 1 GB stay so" in told.full
    assert json.loads((tmp_path / "r" / MANIFEST).read_text())["ended"]["reason"] == "the disk is full"


def test_a_budget_ends_a_recording(tmp_path: Path) -> None:
    """It may be exceeded by the frame with which it is reached, and by no more."""
    given = frames("eye", 30)
    told = recorded(tmp_path / "r", [ListedCamera("eye", given)], RecordingLimits(most_bytes=20_000))
    assert told.reason == "the budget is spent"
    assert 20_000 <= told.bytes < 20_000 + 3 * given[0].pixels.nbytes
    assert len(played(tmp_path / "r", "eye")) == told.cameras["eye"].frames


def test_what_opened_and_closed_parts_comes_back_in_the_recording_s_time(tmp_path: Path) -> None:
    """As the trigger told it, counted from the first frame."""
    told = iter([[PartOpened(BEGAN_NS + 10, "a", "glass", alone=True), PartClosed(BEGAN_NS + 90, "a")]])
    recorded(tmp_path / "r", [ListedCamera("eye", frames("eye", 2))], trigger=lambda: list(next(told, [])))
    trigger = read_trigger(load_recording(tmp_path / "r"))
    assert trigger is not None
    assert trigger.events(50) == [PartOpened(10, "a", "glass", alone=True)]
    assert trigger.events(10**12) == [PartClosed(90, "a")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_leaves_a_recording_that_is_played(number: signal.Signals, tmp_path: Path) -> None:
    """`kill -9` in the middle costs no more than the last frame of each camera; Ctrl-C is how it is ended."""
    (tmp_path / "line.yaml").write_text(
        "camera: {source: simulated, simulated: {width: 96, height: 64, fps: 50}}\nstore: {path: o.db}\n"
    )
    out = tmp_path / "r"
    command = [sys.executable, "-m", "edge", "record", str(tmp_path / "line.yaml"), "--out", str(out)]
    process = subprocess.Popen(command, cwd=ROOT)
    rows = out / "camera" / "0001.jsonl"
    until_s = time.monotonic() + 120
    while not (rows.exists() and rows.stat().st_size > 2000):
        assert process.poll() is None
        assert time.monotonic() < until_s
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(120) == (0 if number is signal.SIGINT else -signal.SIGKILL)
    written = rows.read_bytes().count(b"\n")
    recording = load_recording(out)
    assert (recording.manifest.ended is None) == (number is signal.SIGKILL)
    back = played(out, "camera")
    assert len(back) == written > 5
    assert all(isinstance(item, Frame) for item in back)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """Write a recording of eight frames in three clips."""
    recorded(tmp_path / "r", [ListedCamera("eye", frames("eye", 8))], RecordingLimits(segment_s=0.12))
    assert len(list((tmp_path / "r" / "eye").glob("*.mkv"))) == 3
    return tmp_path / "r"


def test_a_damaged_picture_is_unreadable_and_the_others_are_played(whole: Path) -> None:
    """Its row says what was recorded: bytes that differ are never shown as the picture."""
    clip = whole / "eye" / "0001.mkv"
    data = bytearray(clip.read_bytes())
    data[len(data) // 2] ^= 0xFF
    clip.write_bytes(data)
    back = played(whole, "eye")
    unread = [item for item in back if isinstance(item, CameraState)]
    assert len(back) == 8
    assert 1 <= len(unread) <= 2
    assert all("the recording is damaged" in item.detail for item in unread)


def test_a_clip_that_was_cut_off_is_told_frame_by_frame(whole: Path) -> None:
    """A frame in the rows but not in the file is UNREADABLE, so that no part is OK without it."""
    clip = whole / "eye" / "0003.mkv"
    clip.write_bytes(clip.read_bytes()[:700])
    back = played(whole, "eye")
    assert [isinstance(item, Frame) for item in back] == [True] * 6 + [False] * 2


def rewrite(path: Path, old: str, new: str) -> None:
    """Replace a piece of a text file."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


HURT: dict[str, tuple[Any, str]] = {
    "a clip is gone": (lambda folder: (folder / "eye" / "0002.mkv").unlink(), "0002.mkv is missing"),
    "a clip and its rows are gone": (
        lambda folder: [(folder / "eye" / f"0002{suffix}").unlink() for suffix in (".mkv", ".jsonl")],
        "holds the clips 0001, 0003",
    ),
    "the camera's folder is gone": (
        lambda folder: [each.unlink() for each in (folder / "eye").iterdir()] and (folder / "eye").rmdir(),
        "tells of 3 clips with 8 frames of the camera eye, and there are 0 with 0",
    ),
    "a row was taken out": (
        lambda folder: (folder / "eye" / "0001.jsonl").write_text(
            "".join((folder / "eye" / "0001.jsonl").read_text().splitlines(keepends=True)[1:])
        ),
        "there are 3 with 7",
    ),
    "rows were swapped": (
        lambda folder: (folder / "eye" / "0001.jsonl").write_text(
            "".join(reversed((folder / "eye" / "0001.jsonl").read_text().splitlines(keepends=True)))
        ),
        "stands behind",
    ),
    "a row is no JSON": (
        lambda folder: rewrite(folder / "eye" / "0001.jsonl", '"index":0', '"index":zero'),
        "0001.jsonl, line 1: expected what `linewatch record` writes of a frame",
    ),
    "a row's index was edited": (
        lambda folder: rewrite(folder / "eye" / "0001.jsonl", '"index":2', '"index":3'), "its checksum is another one"
    ),
    "a row's time is negative": (
        lambda folder: rewrite(folder / "eye" / "0001.jsonl", '"captured_ns":', '"captured_ns":-'),
        "captured_ns",
    ),
    "the count was edited": (
        lambda folder: rewrite(folder / MANIFEST, '"frames": 8', '"frames": 9'), "tells of 3 clips with 9 frames"
    ),
    "another format": (
        lambda folder: rewrite(folder / MANIFEST, "linewatch/recording/1", "linewatch/recording/2"), "key format"
    ),
    "a camera outside": (lambda folder: rewrite(folder / MANIFEST, '"eye": {', '"../eye": {'), "key cameras"),
    "no JSON": (lambda folder: (folder / MANIFEST).write_text("{"), "cannot be read"),
    "a key twice": (
        lambda folder: rewrite(folder / MANIFEST, "{", '{"format": "linewatch/recording/1",'), "cannot be read"
    ),
}  # fmt: skip


@pytest.mark.parametrize("hurt", HURT)
def test_what_was_altered_is_refused_with_its_place(hurt: str, whole: Path) -> None:
    """A file that is missing, a row taken out, a manifest that was edited: told, and nothing guessed."""
    alter, told = HURT[hurt]
    alter(whole)
    with pytest.raises(SourceError) as caught:
        load_recording(whole)
    assert told in str(caught.value)


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    """It was ended before a frame came."""
    recorded(tmp_path / "r", [ListedCamera("eye", [])])
    with pytest.raises(SourceError, match="holds no frame"):
        load_recording(tmp_path / "r")
