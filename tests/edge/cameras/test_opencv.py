from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from edge.cameras.images import ImagesCamera
from edge.cameras.opencv import OpenCvCamera
from edge.errors import DependencyError, SourceError
from edge.opencv import cv2
from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame
from edge.redacting import redacted

SERVER = Path(__file__).with_name("rtsp_server.py")
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def write_clip(path: Path, frames: int) -> Path:
    """Write a clip at 20 frames/s whose frame i is uniformly grey with value 5 i."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 20, (64, 48))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((48, 64, 3), 5 * index, np.uint8))
    writer.release()
    return path


def play(camera: Camera) -> tuple[list[Frame], CameraState]:
    """Read to the end."""
    frames: list[Frame] = []
    while True:
        item = camera.read(5.0)
        if isinstance(item, Frame):
            frames.append(item)
        elif item.condition is CameraCondition.END_OF_STREAM:
            return frames, item


def first_frame(camera: Camera, within_s: float = 20.0) -> Frame:
    """Wait for a live camera's next frame."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        item = camera.read(0.5)
        if isinstance(item, Frame):
            return item
    pytest.fail(f"no frame within {within_s} s; the camera says {item}")


def test_a_file_gives_every_frame_in_order_with_its_own_time(tmp_path: Path) -> None:
    """However slowly it is read, a file drops nothing, and frame i of a 20 frames/s clip is at 50 i ms."""
    clip = write_clip(tmp_path / "clip.mp4", 30)
    with OpenCvCamera("c", "file", str(clip), started_at=START) as camera:
        time.sleep(0.3)  # a reader that is late
        frames, end = play(camera)
    assert [frame.index for frame in frames] == list(range(30))
    assert [round(frame.captured_ns / 1e6) for frame in frames] == [50 * i for i in range(30)]
    assert (frames[20].captured_at - START).total_seconds() == pytest.approx(1.0)
    np.testing.assert_allclose([frame.pixels.mean() for frame in frames], [5 * i for i in range(30)], atol=4)
    assert (end.detail, camera.dropped) == ("", 0)


def test_a_clip_that_was_cut_off_says_so(tmp_path: Path) -> None:
    """What can be decoded of a damaged recording is given, and the end says how much was missing.

    The frame that is cut through is there, and cannot be read.
    """
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 20, (320, 240))
    noise = np.random.default_rng(0)
    for _ in range(40):
        writer.write(noise.integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    with OpenCvCamera("c", "file", str(clip)) as camera:
        frames, end = play(camera)
    assert 10 < len(frames) < 30
    assert f"ended after {len(frames) + 1} of 40 frames: it is cut off" in end.detail


@pytest.mark.parametrize("content", [None, b"", b"this is no video", b"\x00\x00\x00\x18ftypmp42"])
def test_a_recording_that_cannot_be_opened_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    """Absent, empty, foreign and beheaded files are refused when the camera is opened."""
    clip = tmp_path / "clip.mp4"
    if content is not None:
        clip.write_bytes(content)
    with pytest.raises(SourceError, match=r"clip\.mp4"), OpenCvCamera("c", "file", str(clip)):
        pass


def test_a_folder_is_read_in_name_order_and_a_bad_picture_is_told(tmp_path: Path) -> None:
    """A picture that is none is UNREADABLE under its index, and the next one is read."""
    for name in ("b", "a"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 5, 3), 9, np.uint8))
    (tmp_path / "aa.jpg").write_bytes(b"no picture")
    with ImagesCamera("c", tmp_path) as camera:
        items = [camera.read(0) for _ in range(4)]
    assert [getattr(item, "name", "") for item in items] == ["a.png", "aa.jpg", "b.png", ""]
    bad, end = items[1], items[3]
    assert isinstance(bad, CameraState)
    assert isinstance(end, CameraState)
    assert (bad.condition, bad.index) == (CameraCondition.UNREADABLE, 1)
    assert "aa.jpg is no picture" in bad.detail
    assert end.condition is CameraCondition.END_OF_STREAM


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    """An empty or absent folder is refused, naming what was expected."""
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(SourceError, match=r"No pictures at .*\.png"), ImagesCamera("c", path):
            pass


@pytest.fixture
def rtsp() -> Iterator[subprocess.Popen[str]]:
    """Start a real RTSP server; its port is the first line that it prints."""
    with subprocess.Popen(["/usr/bin/python3", str(SERVER)], stdout=subprocess.PIPE, text=True) as server:
        yield server
        server.kill()


def port_of(server: subprocess.Popen[str]) -> str:
    """Return the port that the server prints once it listens."""
    assert server.stdout is not None
    port = server.stdout.readline().strip()
    assert port, "the RTSP server did not start; it needs gir1.2-gst-rtsp-server-1.0 and python3-gi"
    return port


def test_rtsp_gives_frames_and_survives_the_loss_of_its_server(rtsp: subprocess.Popen[str]) -> None:
    """Frames come from a real RTSP server; when it dies the camera says LOST, and when it is back frames come again."""
    port = port_of(rtsp)
    with OpenCvCamera("c", "rtsp", f"rtsp://user:secret@127.0.0.1:{port}/line") as camera:
        frame = first_frame(camera)
        assert frame.pixels.shape == (240, 320, 3)
        assert abs(time.monotonic_ns() - frame.captured_ns) < 5e9
        rtsp.kill()
        rtsp.wait()
        deadline = time.monotonic() + 30
        state = camera.read(0.2)
        while not (isinstance(state, CameraState) and state.condition is CameraCondition.LOST):
            assert time.monotonic() < deadline, f"the loss was not noticed: {state}"
            state = camera.read(0.2)
        assert "user:***@127.0.0.1" in state.detail
        command = ["/usr/bin/python3", str(SERVER), port]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as again:
            try:
                port_of(again)
                assert first_frame(camera, 40).index > frame.index
            finally:
                again.kill()


def test_a_live_source_that_is_absent_is_lost_not_ended(tmp_path: Path) -> None:
    """A device that is not there at the start is tried for ever; it is never an error and never the end."""
    with OpenCvCamera("c", "device", str(tmp_path / "video9")) as camera:
        deadline = time.monotonic() + 10
        state = camera.read(0.1)
        while not (isinstance(state, CameraState) and state.condition is CameraCondition.LOST):
            assert time.monotonic() < deadline
            state = camera.read(0.1)
    assert "cannot be opened; trying again" in state.detail


def test_without_gstreamer_a_pipeline_is_a_clear_error() -> None:
    """PyPI's OpenCV has no GStreamer, and says which one has."""
    if "GStreamer:                   YES" in cv2.getBuildInformation():
        with OpenCvCamera("c", "gstreamer", "videotestsrc ! fakesink"):
            return
    with pytest.raises(DependencyError, match="python3-opencv"), OpenCvCamera("c", "gstreamer", "a ! b"):
        pass


@pytest.mark.gstreamer
def test_a_gstreamer_pipeline_gives_its_newest_frame() -> None:
    """A live pipeline's frames arrive, and what a slow reader missed is dropped and counted."""
    pipeline = (
        "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=50/1 ! videoconvert "
        "! video/x-raw,format=BGR ! appsink drop=true max-buffers=1"
    )
    with OpenCvCamera("c", "gstreamer", pipeline) as camera:
        first = first_frame(camera)
        time.sleep(0.5)
        second = first_frame(camera)
        assert second.pixels.shape == (120, 160, 3)
        assert second.index - first.index > 5
        assert camera.dropped >= second.index - first.index - 1


def test_a_url_is_shown_without_its_password() -> None:
    """No message ever carries an RTSP password, whatever characters it has."""
    assert redacted("rtsp://eye:p@ss:w/rd@10.0.0.1:554/a") == "rtsp://eye:***@10.0.0.1:554/a"
    assert redacted("/data/clip.mp4") == "/data/clip.mp4"
    pipeline = "rtspsrc location=rtsp://h/1 user-id=eye user-pw=hunter2 ! decodebin ! appsink"
    assert redacted(pipeline) == pipeline.replace("hunter2", "***")
    assert redacted("http://h/video?user=a&password=hunter2&x=1") == "http://h/video?user=a&password=***&x=1"
