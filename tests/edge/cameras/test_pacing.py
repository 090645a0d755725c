from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from typing_extensions import Self

from edge.app import make_camera
from edge.cameras.images import ImagesCamera
from edge.cameras.looping import LoopingCamera
from edge.cameras.pacing import PacedCamera
from edge.errors import SourceError
from edge.opencv import cv2
from edge.records import CameraCondition, CameraState, Frame
from edge.settings import CameraSettings
from edge.station.watchdog import Heartbeats


class Clock:
    """A clock that only sleeping moves."""

    now_ns = 5_000_000_000

    def __call__(self) -> int:
        """Tell the time in nanoseconds."""
        return self.now_ns

    def sleep_s(self, seconds: float) -> None:
        """Move the time."""
        self.now_ns += round(seconds * 1e9)


@pytest.mark.parametrize("as_live", [False, True])
def test_frames_come_when_the_recording_says(tmp_path: Path, as_live: bool) -> None:
    """Pictures are a second apart; as live they are stamped with the line's clock, else with their own."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((2, 2, 3), np.uint8))
    clock = Clock()
    with PacedCamera(ImagesCamera("c", tmp_path), as_live=as_live, monotonic_ns=clock, sleep_s=clock.sleep_s) as camera:
        seen = []
        for _ in range(3):
            frame = camera.read(0.4)
            while not isinstance(frame, Frame):
                assert frame.condition is CameraCondition.NO_FRAME_YET
                frame = camera.read(0.4)
            seen.append((clock.now_ns, frame.captured_ns))
    assert [now for now, _ in seen] == [5_000_000_000, 6_000_000_000, 7_000_000_000]
    own = [0, 1_000_000_000, 2_000_000_000]
    assert [captured for _, captured in seen] == ([now for now, _ in seen] if as_live else own)


def test_a_picture_that_is_none_comes_at_its_own_time(tmp_path: Path) -> None:
    """Its moment is on the line's clock as a frame's is: a part that it opens is not hours old."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((2, 2, 3), np.uint8))
    (tmp_path / "1.png").write_bytes(b"nonsense")
    clock = Clock()
    camera = PacedCamera(
        ImagesCamera("c", tmp_path), as_live=True, drops=False, monotonic_ns=clock, sleep_s=clock.sleep_s
    )
    with camera:
        items = [camera.read(5.0) for _ in range(3)]
    assert [item.captured_ns for item in items] == [5_000_000_000, 6_000_000_000, 7_000_000_000]
    assert isinstance(items[1], CameraState)
    assert items[1].condition is CameraCondition.UNREADABLE


class Recorded:
    """A recording of frames 100 ms apart; reading one takes `takes_s` of the clock that only sleeping moves."""

    name = "c"
    dropped = 0

    def __init__(self, clock: Clock, frames: int, takes_s: float = 0.0) -> None:
        self._clock, self._frames, self._takes_s, self._next = clock, frames, takes_s, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def read(self, timeout_s: float) -> Frame | CameraState:  # noqa: ARG002 - a file is there at once
        """Return the next frame, or the end."""
        if self._next == self._frames:
            return CameraState(self.name, CameraCondition.END_OF_STREAM)
        index, self._next = self._next, self._next + 1
        self._clock.sleep_s(self._takes_s)
        return Frame(self.name, index, np.zeros((2, 2, 3), np.uint8), index * 100_000_000, datetime.now(timezone.utc))


def test_a_slow_line_gets_the_newest_frame_of_a_file_as_of_a_camera() -> None:
    """Frames 100 ms apart, 250 ms for each inspection: 0, 2, 5, 7, 10 …, as old as they are, the others dropped."""
    clock = Clock()
    began_ns = clock.now_ns
    seen = []
    with PacedCamera(Recorded(clock, 21), as_live=True, monotonic_ns=clock, sleep_s=clock.sleep_s) as camera:
        while isinstance(frame := camera.read(0.5), Frame):
            seen.append((frame.index, (clock.now_ns - frame.captured_ns) / 1e6))
            assert frame.captured_ns == began_ns + frame.index * 100_000_000
            clock.sleep_s(0.25)
    assert seen[:6] == [(0, 0.0), (2, 50.0), (5, 0.0), (7, 50.0), (10, 0.0), (12, 50.0)]
    assert seen[-1][0] == 20
    assert camera.dropped == 21 - len(seen)
    assert frame.condition is CameraCondition.END_OF_STREAM


def test_a_file_that_is_decoded_too_slowly_plays_more_slowly() -> None:
    """150 ms to decode what plays in 100: frames go on coming, and none is older than one reading may take."""
    clock = Clock()
    ages_ms = []
    with PacedCamera(Recorded(clock, 60, 0.15), as_live=True, monotonic_ns=clock, sleep_s=clock.sleep_s) as camera:
        while isinstance(frame := camera.read(0.5), Frame):
            ages_ms.append((clock.now_ns - frame.captured_ns) / 1e6)
    assert len(ages_ms) >= 10
    assert max(ages_ms) <= 1000


def test_a_recording_loops(tmp_path: Path) -> None:
    """After the last frame the first comes again, with indices and times that go on. A broken one keeps its place."""
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((2, 2, 3), index, np.uint8))
    (tmp_path / "2.png").write_bytes(b"no picture")
    with LoopingCamera("c", lambda: ImagesCamera("c", tmp_path)) as camera:
        items = [camera.read(1.0) for _ in range(12)]
    told = [item for item in items if isinstance(item, Frame) or item.index is not None]
    assert [item.index for item in told] == list(range(9))
    assert [item.name for item in told] == ["0.png", "1.png", "2.png"] * 3
    assert [isinstance(item, Frame) for item in told] == [True, True, False] * 3
    times = [item.captured_ns for item in told if isinstance(item, Frame)]
    assert times == sorted(set(times))


@pytest.mark.parametrize("left", ["broken", "gone"])
def test_a_loop_ends_where_nothing_is_left_to_play(tmp_path: Path, left: str) -> None:
    """A folder without a picture that can be read, or that is gone, ends the stream and does not spin."""
    (tmp_path / "0.png").write_bytes(b"no picture")
    if left == "gone":
        cv2.imwrite(str(tmp_path / "0.png"), np.zeros((2, 2, 3), np.uint8))
    with LoopingCamera("c", lambda: ImagesCamera("c", tmp_path)) as camera:
        first = camera.read(1.0)
        (tmp_path / "0.png").unlink()
        rest = [camera.read(1.0) for _ in range(3)]
    assert isinstance(first, Frame) is (left == "gone")
    last = rest[-1]
    assert isinstance(last, CameraState)
    assert last.condition is CameraCondition.END_OF_STREAM
    assert camera.read(1.0) == last


def test_only_files_loop() -> None:
    """A live camera never ends, so that `loop` beside one is a mistake."""
    with pytest.raises(ValidationError, match="loop for a file or folder only, received it for a rtsp camera"):
        CameraSettings(source="rtsp://host/path", loop=True)
    with pytest.raises(SourceError, match=r"Nothing at nowhere\.mp4"):
        make_camera(CameraSettings(source="nowhere.mp4", loop=True), Heartbeats())
