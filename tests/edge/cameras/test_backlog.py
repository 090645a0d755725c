"""A picture is as old as the clock that it shows, whatever it waited in on its way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge.cameras.capture import CapturedCamera, CaptureLimits
from edge.cameras.opencv import OpenCvSource
from edge.cameras.stream_clock import StreamClock
from edge.records import CameraCondition
from edge.simulation.usb_device import SimulatedUsbDevice
from tests.edge.cameras.clips import first_frame, state_with

SECOND = 1_000_000_000


def test_a_picture_that_waited_was_captured_earlier() -> None:
    """Pictures each second, on their way for 0.2 s, the third 5 s more: its time of capture says so, ours does not."""
    clock = StreamClock()
    ages_s = []
    for number, waited_s in enumerate((0.2, 0.2, 5.2, 4.2, 0.2)):
        arrived_ns = round((100 + number + waited_s) * SECOND)
        clock.arrived(number * SECOND, arrived_ns)
        ages_s.append((arrived_ns - clock.captured_ns(number * SECOND, arrived_ns)) / SECOND)
    assert [round(age_s, 2) for age_s in ages_s] == [0, 0, 5, 4, 0]


@given(st.floats(-100e-6, 100e-6), st.integers(1, 60))
def test_clocks_that_drift_apart_are_no_backlog(drift: float, fps: int) -> None:
    """A quartz is wrong by 100 millionths at most. After a day no picture seems to be old by more than a moment."""
    clock = StreamClock()
    for second in range(0, 86_400, 600):
        for frame in range(3):
            now_ns = second * SECOND + frame * SECOND // fps
            media_ns = round(now_ns * (1 + drift))
            clock.arrived(media_ns, now_ns)
            assert now_ns - clock.captured_ns(media_ns, now_ns) < 0.07 * SECOND


def test_a_usb_camera_whose_pictures_waited_is_no_read() -> None:
    """The driver stamps each picture; one that is older than allowed by that stamp is not looked at."""
    device = SimulatedUsbDevice(fps_at_most=100)
    source = OpenCvSource("device", "stand-in", max_age_ms=120_000, opener=lambda _kind, _source: device)
    with CapturedCamera("c", lambda: source, live=True, limits=CaptureLimits(120_000)) as camera:
        first_frame(camera)
        device.buffered_ms = 300_000.0
        told = state_with(camera, CameraCondition.UNREADABLE)
        assert "300000 ms old by the source's own clock" in told.detail
        device.buffered_ms = 0.0
        first_frame(camera)
