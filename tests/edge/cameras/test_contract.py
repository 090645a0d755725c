from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge.app import make_camera
from edge.cameras.capture import CapturedCamera, CaptureLimits
from edge.cameras.images import ImagesCamera
from edge.cameras.opencv import OpenCvSource
from edge.cameras.pacing import PacedCamera
from edge.cameras.recordings import recorded_camera
from edge.opencv import cv2
from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame
from edge.settings import CameraSettings
from edge.simulation.camera import SimulatedCamera
from edge.simulation.rendering import SimulatedLineSettings
from edge.simulation.usb_device import SimulatedUsbDevice
from edge.station.watchdog import Heartbeats
from tests.brokers import wait_for
from tests.edge.cameras.clips import fake_genicam, first_frame, rtsp_server, state_with
from tests.edge.cameras.mjpeg_server import jpeg, web_camera

FRAMES = 5


def images(folder: Path) -> Camera:
    """Play a folder of pictures."""
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"{index}.png"), np.full((64, 80, 3), 40 * index, np.uint8))
    return ImagesCamera("eye", folder)


def file(folder: Path) -> Camera:
    """Play a video."""
    writer = cv2.VideoWriter(str(folder / "c.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 50, (80, 64))
    for index in range(FRAMES):
        writer.write(np.full((64, 80, 3), 40 * index, np.uint8))
    writer.release()
    return recorded_camera("eye", folder / "c.mp4")


def simulated(folder: Path) -> Camera:  # noqa: ARG001 - one signature for all
    """Render the simulated line."""
    return SimulatedCamera("eye", SimulatedLineSettings(width=80, height=64, fps=100, frames=FRAMES))


def paced(folder: Path) -> Camera:
    """Play a video at its own speed."""
    return PacedCamera(file(folder))


@pytest.fixture(params=[images, file, simulated, paced])
def camera(request: pytest.FixtureRequest, tmp_path: Path) -> Camera:
    """Return each camera, not yet opened, with five frames of 64 x 80 px."""
    make: Callable[[Path], Camera] = request.param
    return make(tmp_path)


def read_all(camera: Camera) -> tuple[list[Frame], CameraState]:
    """Read to the end."""
    frames: list[Frame] = []
    deadline_s = time.monotonic() + 240
    while time.monotonic() < deadline_s:
        item = camera.read(1.0)
        if isinstance(item, Frame):
            frames.append(item)
        elif item.condition is CameraCondition.END_OF_STREAM:
            return frames, item
    pytest.fail("the stream did not end")


def test_every_frame_comes_once_in_order_and_then_the_end(camera: Camera) -> None:
    """Indices count from 0, times do not go back, pixels are uint8 BGR.

    The name is the camera's, and the end is final.
    """
    with camera:
        frames, end = read_all(camera)
        assert camera.read(0.0) == end
    assert [frame.index for frame in frames] == list(range(FRAMES))
    assert {frame.camera for frame in frames} == {"eye"}
    assert {(frame.pixels.shape, frame.pixels.dtype.name) for frame in frames} == {((64, 80, 3), "uint8")}
    times = [frame.captured_ns for frame in frames]
    assert times == sorted(times)
    assert all(frame.captured_at.utcoffset() is not None for frame in frames)
    assert camera.dropped == 0


def test_frames_do_not_share_pixels(camera: Camera) -> None:
    """A frame that somebody keeps is not overwritten by the next."""
    with camera:
        frames, _ = read_all(camera)
    for earlier, later in itertools.pairwise(frames):
        assert not np.shares_memory(earlier.pixels, later.pixels)
        assert (earlier.pixels != later.pixels).any()


def test_a_camera_can_be_left_early(camera: Camera) -> None:
    """Leaving with frames unread returns."""
    with camera:
        camera.read(1.0)


# --- live cameras ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """A live camera and what it sees: how it is made, its name for people, and how it goes and comes back."""

    make: Callable[[bool], CapturedCamera]
    shown: str
    go: Callable[[], None]
    back: Callable[[], None]


def by_settings(**camera: object) -> Callable[[bool], CapturedCamera]:
    """Return what makes a camera of the settings, as a line does; asked whether it is to give every frame."""

    def make(every: bool) -> CapturedCamera:
        settings = CameraSettings.model_validate(
            {"name": "eye", "max_age_ms": 60_000, "take": "every" if every else "latest", **camera}
        )
        made = make_camera(settings, Heartbeats())
        assert isinstance(made, CapturedCamera)
        return made

    return make


@contextmanager
def usb(_: Path) -> Iterator[World]:
    """Let OpenCV's VideoCapture be stood in for: this kernel has no video devices."""
    plugged = threading.Event()
    devices: list[SimulatedUsbDevice] = []

    def opened(*_: object) -> SimulatedUsbDevice:
        devices.append(SimulatedUsbDevice(fps_at_most=50))
        if not plugged.is_set():
            devices[-1].release()
        return devices[-1]

    def go() -> None:
        plugged.clear()
        for device in devices:
            device.release()

    def make(every: bool) -> CapturedCamera:
        limits = CaptureLimits(60_000, keeps=64 if every else 1)
        return CapturedCamera("eye", lambda: OpenCvSource("device", "0", opener=opened), live=True, limits=limits)

    plugged.set()
    yield World(make, "0", go, plugged.set)


@contextmanager
def server_of(start: Callable[[int], AbstractContextManager[int]], address: str, **camera: object) -> Iterator[World]:
    """Serve, and again at the same port; `address` has a place for the port."""
    with ExitStack() as stack:
        serving = stack.enter_context(ExitStack())
        port = serving.enter_context(start(0))
        source = address.format(port=port)

        def back() -> None:
            serving.enter_context(start(port))

        yield World(by_settings(source=source, **camera), f"127.0.0.1:{port}", serving.close, back)


@contextmanager
def rtsp_at(port: int) -> Iterator[int]:
    """Serve RTSP."""
    with rtsp_server(str(port)) as (_, at):
        yield int(at)


@contextmanager
def http_at(port: int) -> Iterator[int]:
    """Serve Motion JPEG over HTTP."""
    with web_camera(port=port) as camera:
        yield camera.port


def rtsp(_: Path) -> AbstractContextManager[World]:
    """Look at a real RTSP server."""
    return server_of(rtsp_at, "rtsp://127.0.0.1:{port}/line")


def http(_: Path) -> AbstractContextManager[World]:
    """Look at a real HTTP server that sends JPEGs."""
    return server_of(http_at, "http://127.0.0.1:{port}/video")


def gstreamer(_: Path) -> AbstractContextManager[World]:
    """Look at the RTSP server through a pipeline of GStreamer."""
    pipeline = (
        "rtspsrc location=rtsp://127.0.0.1:{port}/line protocols=tcp latency=0 ! rtpjpegdepay ! jpegdec ! videoconvert "
        "! video/x-raw,format=BGR ! appsink sync=false"
    )
    return server_of(rtsp_at, pipeline)


@contextmanager
def folder(path: Path) -> Iterator[World]:
    """Drop pictures into a folder as an FTP server does: each under another name, then renamed."""
    watched, away = path / "drop", path / "away"
    watched.mkdir()
    ends = threading.Event()

    def drop() -> None:
        for number in itertools.count():
            if ends.wait(0.03):
                return
            with suppress(OSError):
                (watched / "next.tmp").write_bytes(jpeg(number))
                (watched / "next.tmp").rename(watched / f"{number}.jpg")

    thread = threading.Thread(target=drop, daemon=True)
    thread.start()
    files = {"settled_ms": 20, "after": "delete"}
    make = by_settings(kind="watched_folder", source=str(watched), files=files)
    try:
        yield World(make, "drop", lambda: rename(watched, away), lambda: rename(away, watched))
    finally:
        ends.set()
        thread.join()


def rename(this: Path, that: Path) -> None:
    """Rename a folder."""
    this.rename(that)


@contextmanager
def genicam(_: Path) -> Iterator[World]:
    """Look at Aravis's own fake camera."""
    with ExitStack() as stack:
        serving = stack.enter_context(ExitStack())
        serving.enter_context(fake_genicam())
        make = by_settings(kind="genicam", id="LW1", device={"fps": 50, "roi_px": [0, 0, 320, 240]})

        def back() -> None:
            serving.enter_context(fake_genicam())

        yield World(make, "GenICam LW1", serving.close, back)


LIVE = [
    usb,
    rtsp,
    http,
    folder,
    pytest.param(gstreamer, marks=pytest.mark.gstreamer),
    pytest.param(genicam, marks=pytest.mark.genicam),
]


@pytest.fixture(params=LIVE)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Return each kind of live camera, there and running."""
    with request.param(tmp_path) as made:
        yield made


def test_a_live_camera_gives_frames_is_lost_and_comes_back(world: World) -> None:
    """Frames are uint8 BGR, in order, each with its own pixels. One that goes is LOST by name, until it is back."""
    with world.make(False) as camera:
        frames = [first_frame(camera, 60) for _ in range(3)]
        assert {(frame.pixels.ndim, frame.pixels.shape[2], frame.pixels.dtype.name) for frame in frames} == {
            (3, 3, "uint8")
        }
        assert {frame.camera for frame in frames} == {"eye"}
        assert all(frame.captured_at.utcoffset() is not None for frame in frames)
        world.go()
        lost = state_with(camera, CameraCondition.LOST, 60)
        assert world.shown in lost.detail
        assert "; trying again in" in lost.detail
        world.back()
        frames.append(first_frame(camera, 60))
    for earlier, later in itertools.pairwise(frames):
        assert earlier.index < later.index
        assert earlier.captured_ns <= later.captured_ns
        assert not np.shares_memory(earlier.pixels, later.pixels)


def test_a_live_camera_leaves_out_what_nobody_reads_or_nothing(world: World) -> None:
    """With `latest` an unread frame is replaced by the next and counted; with `every` all wait, in order."""
    with world.make(False) as camera:
        wait_for(lambda: camera.dropped >= 3)
        assert len(camera._items) <= 1
        first_frame(camera, 60)
    with world.make(True) as camera:
        wait_for(lambda: len(camera._items) >= 4)
        with camera._changed:
            waiting, dropped = [item.index for item in camera._items], camera.dropped
        # beyond 64 the oldest are left out: on a machine that is busy for long
        assert waiting == list(range(waiting[0], waiting[0] + len(waiting)))
        assert dropped >= waiting[0]
        assert first_frame(camera, 60).index >= waiting[0]
