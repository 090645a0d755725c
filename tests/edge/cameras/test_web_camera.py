"""Motion JPEG over HTTP in the ways of real web cameras, by a real HTTP server."""

from __future__ import annotations

import numpy as np
import pytest

from edge.cameras.capture import CapturedCamera, CaptureLimits
from edge.cameras.network import NetworkStream
from edge.records import CameraCondition, CameraState, Frame
from tests.edge.cameras.clips import first_frame, state_with
from tests.edge.cameras.mjpeg_server import web_camera

MARK = b"\r\n--myboundary\r\nContent-Type: image/jpeg\r\n\r\n"
WAYS = {
    "with lengths": {},
    "without lengths": {"lengths": False},
    "its header names the boundary with its dashes": {"boundary": "--myboundary"},
    "with dashes and without lengths": {"boundary": "--myboundary", "lengths": False},
    "in quotes": {"boundary": '"myboundary"'},
    "the boundary stands within a picture": {"comment": MARK},
}


def looking(port: int, user: str = "") -> CapturedCamera:
    """Look at every picture of the camera at a port."""
    url = f"http://{user}127.0.0.1:{port}/video"
    limits = CaptureLimits(60_000, keeps=64, waits=True)
    return CapturedCamera("c", lambda: NetworkStream(url, max_age_ms=60_000, every=True), live=True, limits=limits)


def column(frame: Frame) -> int:
    """Return where the bright column of a picture stands, which is three times its number."""
    return int(np.argmax(frame.pixels[..., 0].mean(axis=0)))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_each_way_of_sending_gives_every_picture_whole(way: dict[str, object]) -> None:
    """One picture after the other, none twice, none cut at a boundary that is none."""
    with web_camera(**way) as served, looking(served.port) as camera:
        seen = [column(first_frame(camera, 60)) for _ in range(6)]
    assert seen == list(range(seen[0], seen[0] + 18, 3))


def test_a_boundary_within_a_picture_without_lengths_is_no_picture() -> None:
    """Then nobody can tell where a picture ends: what is cut is NO_READ, and no half of it is a frame."""
    with web_camera(comment=MARK, lengths=False) as served, looking(served.port) as camera:
        for _ in range(3):
            assert "damaged" in state_with(camera, CameraCondition.UNREADABLE, 60).detail
        assert camera.facts.unreadable >= 3


def test_a_camera_that_asks_who_looks_is_told_or_names_the_refusal() -> None:
    """With user and password it gives pictures; without them the state says 401, and it is tried for ever."""
    with web_camera(signs_in=True) as served:
        with looking(served.port, "eye:p@ss@") as camera:
            first_frame(camera, 60)
        with looking(served.port, "eye:wrong@") as camera:
            told = state_with(camera, CameraCondition.LOST, 60).detail
            assert "refuses user or password (401)" in told
            assert "; trying again in" in told
            assert "wrong" not in told


@pytest.mark.parametrize("lengths", [True, False])
def test_a_picture_that_breaks_off_is_no_read_and_the_next_connection_goes_on(lengths: bool) -> None:
    """Half a picture is never a frame, and the camera comes back by itself."""
    with web_camera(lengths=lengths, breaks_at=5) as served, looking(served.port) as camera:
        items: list[Frame | CameraState] = []
        while sum(isinstance(item, Frame) and column(item) > 15 for item in items) < 1:
            items.append(camera.read(1.0))
            assert len(items) < 200
    columns = [column(item) for item in items if isinstance(item, Frame)]
    assert columns == sorted(set(columns))
    assert any(item.condition is CameraCondition.UNREADABLE for item in items if isinstance(item, CameraState))
