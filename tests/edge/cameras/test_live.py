from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edge.app import make_camera
from edge.cameras.capture import CapturedCamera, CaptureLimits, Shot
from edge.cameras.gstreamer import pipeline_trouble
from edge.cameras.network import NetworkStream
from edge.cameras.opencv import OpenCvSource
from edge.errors import DependencyError, SourceError
from edge.opencv import cv2
from edge.records import CameraCondition, CameraState, Frame
from edge.settings import CameraSettings
from edge.station.watchdog import Heartbeats
from tests.brokers import wait_for
from tests.edge.cameras.clips import first_frame, rtsp_server, state_with


def network(url: str, max_age_ms: int = 60_000) -> CapturedCamera:
    """Make a network camera."""
    limits = CaptureLimits(max_age_ms)
    return CapturedCamera("c", lambda: NetworkStream(url, max_age_ms=max_age_ms), live=True, limits=limits)


def test_rtsp_gives_frames_and_survives_the_loss_of_its_server() -> None:
    """Frames come from a real RTSP server. The camera says LOST at its death, and frames come again at its return."""
    with rtsp_server() as (server, port), network(f"rtsp://user:secret@127.0.0.1:{port}/line") as camera:
        frame = first_frame(camera)
        assert frame.pixels.shape == (240, 320, 3)
        assert 0 <= time.monotonic_ns() - frame.captured_ns < 60e9
        server.kill()
        server.wait()
        state = state_with(camera, CameraCondition.LOST)
        assert f"rtsp://***@127.0.0.1:{port}/line" in state.detail
        assert "secret" not in state.detail
        with rtsp_server(port):
            assert first_frame(camera).index > frame.index


def test_a_live_source_that_is_absent_is_lost_not_ended(tmp_path: Path) -> None:
    """A device that is not there at the start is tried for ever. It is never an error and never the end."""
    absent = str(tmp_path / "video9")
    with CapturedCamera("c", lambda: OpenCvSource("device", absent), live=True) as camera:
        state = state_with(camera, CameraCondition.LOST)
    assert "video9: plug the camera in" in state.detail
    assert "; trying again in" in state.detail


def test_without_gstreamer_a_pipeline_is_a_clear_error() -> None:
    """PyPI's OpenCV has no GStreamer, and says which one has."""
    settings = CameraSettings(source="videotestsrc ! appsink")
    if "GStreamer:                   YES" in cv2.getBuildInformation():
        make_camera(settings, Heartbeats())
        return
    with pytest.raises(DependencyError, match="python3-opencv"):
        make_camera(settings, Heartbeats())


@pytest.mark.gstreamer
def test_a_gstreamer_pipeline_gives_its_newest_frame() -> None:
    """A live pipeline's frames arrive, and those that a slow reader missed are dropped and counted."""
    pipeline = (
        "videotestsrc is-live=true ! video/x-raw,width=160,height=120,framerate=50/1 ! videoconvert "
        "! video/x-raw,format=BGR ! appsink drop=true max-buffers=1"
    )
    with CapturedCamera("c", lambda: OpenCvSource("gstreamer", pipeline), live=True) as camera:
        first = first_frame(camera)
        wait_for(lambda: camera.dropped > 5)
        second = first_frame(camera)
        assert second.pixels.shape == (120, 160, 3)
        assert second.index - first.index > 5
        assert camera.dropped >= second.index - first.index - 1


@pytest.mark.gstreamer
def test_a_camera_of_16_bits_keeps_its_upper_eight_and_a_depth_that_is_too_small_is_told() -> None:
    """Mono16 of a real pipeline arrives as 8 bits. Of 12 bits, whose levels it exceeds, no frame can be read."""
    pipeline = "videotestsrc is-live=true ! video/x-raw,format=GRAY16_LE,width=160,height=120 ! appsink"
    with CapturedCamera("c", lambda: OpenCvSource("gstreamer", pipeline, depth_bits=16), live=True) as camera:
        frame = first_frame(camera)
        assert (frame.pixels.dtype.name, int(frame.pixels.max())) == ("uint8", 60395 >> 8)
    with CapturedCamera("c", lambda: OpenCvSource("gstreamer", pipeline, depth_bits=12), live=True) as camera:
        told = state_with(camera, CameraCondition.UNREADABLE)
        assert "12 bits end at 4095" in told.detail


@pytest.mark.gstreamer
def test_a_pipeline_that_never_starts_is_lost_and_does_not_hold_the_line() -> None:
    """Opening that does not come back is told after its time limit, while the watchdog is fed; leaving is quick."""
    alive = []
    limits = CaptureLimits(open_s=3.0)
    source = OpenCvSource("gstreamer", "appsrc ! videoconvert ! appsink")
    with CapturedCamera("c", lambda: source, live=True, limits=limits, alive=lambda: alive.append(1)) as camera:
        assert camera.read(0.2).condition is CameraCondition.STARTING  # type: ignore[union-attr]
        assert "did not come back within 3 s" in state_with(camera, CameraCondition.LOST).detail
        before, left_at = len(alive), time.monotonic()
        wait_for(lambda: len(alive) > before)
    assert time.monotonic() - left_at < 60


@pytest.mark.parametrize(
    ("pipeline", "says"),
    [
        ("videotestsrc ! nvvidconv ! videoconvert ! appsink", "GStreamer has no element nvvidconv"),
        ("videotestsrc ! ! appsink", "cannot make the pipeline: syntax error"),
        ("videotestsrc colour=red ! appsink", 'no property "colour" in element "videotestsrc"'),
        ("videotestsrc ! videoconvert ! appsink", ""),
    ],
)
def test_what_a_pipeline_lacks_is_named(pipeline: str, says: str) -> None:
    """The missing element, the misspelt property, by GStreamer's own parser and before anything is started."""
    told = pipeline_trouble(pipeline)
    assert says in told
    assert bool(told) == bool(says)


class HangingSource:
    """A source whose driver does not come back, from opening or from taking, until `release` is set."""

    shown = "hanging"
    total = 0
    differences: tuple[str, ...] = ()

    def __init__(self, *, opens: bool) -> None:
        self.opens = opens
        self.release = threading.Event()
        self.closed = threading.Event()

    def open(self) -> None:
        """Come back at once, or when released."""
        if not self.opens:
            self.release.wait(120)

    def take(self) -> Sequence[Shot] | None:
        """Come back when released."""
        self.release.wait(120)
        return None

    def close(self) -> None:
        """Note it."""
        self.closed.set()


def test_an_opening_that_comes_back_too_late_is_closed() -> None:
    """A source that opens after it was given up is closed, so that the next try can have the device."""
    sources: list[HangingSource] = []

    def make() -> HangingSource:
        sources.append(HangingSource(opens=False))
        return sources[-1]

    with CapturedCamera("c", make, live=True, limits=CaptureLimits(open_s=0.2)) as camera:
        assert "did not come back within 0.2 s" in state_with(camera, CameraCondition.LOST).detail
        sources[0].release.set()
        assert sources[0].closed.wait(120)
        for source in sources:
            source.release.set()


def test_no_more_than_three_openings_hang_at_once() -> None:
    """Each holds a thread, so that memory would grow for ever."""
    sources: list[HangingSource] = []

    def make() -> HangingSource:
        sources.append(HangingSource(opens=False))
        return sources[-1]

    with CapturedCamera("three", make, live=True, limits=CaptureLimits(open_s=0.05)) as camera:
        deadline = time.monotonic() + 240
        while "restart the line" not in getattr(camera.read(0.1), "detail", ""):
            assert time.monotonic() < deadline
        hanging = [thread for thread in threading.enumerate() if thread.name == "camera three opens"]
        assert len(hanging) == 3
        for source in sources:
            source.release.set()


def test_a_camera_that_hangs_does_not_hold_the_end() -> None:
    """Leaving waits for two seconds at most for a driver that does not come back."""
    source = HangingSource(opens=True)
    with CapturedCamera("c", lambda: source, live=True) as camera:
        camera.read(0.2)
        left_at = time.monotonic()
    assert time.monotonic() - left_at < 60
    source.release.set()


class ScriptedSource:
    """Gives shots from a list, then nothing more."""

    shown = "scripted"
    total = 0
    differences: tuple[str, ...] = ()

    def __init__(self, shots: list[Shot], may: threading.Semaphore | None = None) -> None:
        self.shots = shots
        self._may = may  # acquired for each: who reads is not overtaken

    def open(self) -> None:
        """Open at once."""

    def take(self) -> Sequence[Shot] | None:
        """Give the next."""
        if self._may is not None:
            self._may.acquire(timeout=240)
        if not self.shots:
            raise SourceError("no more")
        time.sleep(0.05)
        return [self.shots.pop(0)]

    def close(self) -> None:
        """Close at once."""


def shot(side: int = 64, age_ms: float = 0, trouble: str = "") -> Shot:
    """Make a picture."""
    pixels = None if trouble else np.zeros((side, side, 3), np.uint8)
    return Shot(pixels, time.monotonic_ns() - round(age_ms * 1e6), trouble)


def taken(shots: list[Shot], limits: CaptureLimits) -> list[Frame | CameraState]:
    """Read what a live camera makes of them, until it is lost."""
    items: list[Frame | CameraState] = []
    may = threading.Semaphore(1)
    with CapturedCamera("c", lambda: ScriptedSource(shots, may), live=True, limits=limits) as camera:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            item = camera.read(0.02)
            if isinstance(item, CameraState) and item.condition is CameraCondition.LOST:
                return items
            if isinstance(item, Frame) or item.condition is CameraCondition.UNREADABLE:
                items.append(item)
                may.release()
    pytest.fail("it was never lost")


def test_an_old_or_damaged_picture_is_no_frame() -> None:
    """A picture older than `max_age_ms` when it is given, or damaged, has no pixels that could be judged."""
    items = taken(
        [shot(), shot(age_ms=300_000), shot(trouble="the picture is damaged"), shot()], CaptureLimits(120_000)
    )
    assert [isinstance(item, Frame) for item in items] == [True, False, False, True]
    assert "ms old, at most 120000 ms allowed" in items[1].detail  # type: ignore[union-attr] # the test knows which of the union
    assert items[2].detail == "the picture is damaged"  # type: ignore[union-attr] # the test knows which of the union


def test_another_size_is_no_frame_until_it_is_back() -> None:
    """Also after the connection broke: calibration and zones were made for one size."""
    items = taken([shot(64), shot(32), shot(64)], CaptureLimits())
    assert [isinstance(item, Frame) for item in items] == [True, False, True]
    assert "gives 32 x 32 px, expected the 64 x 64 px that it gave at first" in items[1].detail  # type: ignore[union-attr]
    items = taken([shot(64), shot(32)], CaptureLimits(size_px=(32, 32)))
    assert [isinstance(item, Frame) for item in items] == [False, True]
    assert "camera.size_px asks for" in items[0].detail  # type: ignore[union-attr] # the test knows which of the union


def test_a_camera_that_comes_back_in_another_size_is_no_frame() -> None:
    """A restart of the camera is no word of anybody that the new size is meant."""
    made: list[ScriptedSource] = []

    def make() -> ScriptedSource:
        made.append(ScriptedSource([shot(64)] if len(made) == 0 else [shot(32)] * 3))
        return made[-1]

    with CapturedCamera("c", make, live=True) as camera:
        assert first_frame(camera).pixels.shape == (64, 64, 3)
        assert "gives 32 x 32 px" in state_with(camera, CameraCondition.UNREADABLE).detail
