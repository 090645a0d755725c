from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.cameras.images import ImagesCamera
from edge.cameras.pacing import PacedCamera
from edge.cameras.recordings import recorded_camera
from edge.opencv import cv2
from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame
from edge.simulation.camera import SimulatedCamera
from edge.simulation.rendering import SimulatedLineSettings

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
    deadline_s = time.monotonic() + 20
    while time.monotonic() < deadline_s:
        item = camera.read(1.0)
        if isinstance(item, Frame):
            frames.append(item)
        elif item.condition is CameraCondition.END_OF_STREAM:
            return frames, item
    pytest.fail("the stream did not end")


def test_every_frame_comes_once_in_order_and_then_the_end(camera: Camera) -> None:
    """Indices count from 0, times do not go back, pixels are uint8 BGR, the name is the camera's, the end is final."""
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
    """Leaving with frames unread returns at once."""
    with camera:
        camera.read(1.0)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 2
