"""A USB camera is set as asked, everything is read back, and a refused setting is told."""

from __future__ import annotations

import logging

import pytest
from pydantic import ValidationError

from edge.cameras.capture import CapturedCamera, CaptureLimits
from edge.cameras.device_settings import DeviceSettings, apply
from edge.cameras.opencv import OpenCvSource
from edge.records import CameraCondition
from edge.settings import CameraSettings
from edge.simulation.usb_device import SimulatedUsbDevice
from tests.edge.cameras.clips import first_frame, state_with

ALL = DeviceSettings(width=1280, height=720, fps=25, fourcc="MJPG", exposure_us=5000, gain=4)


def test_what_the_camera_can_do_is_done_in_the_right_order() -> None:
    """Exposure is taken only once it is manual; 5000 µs are 50 of V4L2's units of 100 µs."""
    device = SimulatedUsbDevice()
    assert apply(ALL, device) == []
    assert (device.get(3), device.get(4), device.get(5)) == (1280, 720, 25)  # CAP_PROP_FRAME_WIDTH, _HEIGHT, _FPS
    assert (device.get(21), device.get(15)) == (1, 50)  # CAP_PROP_AUTO_EXPOSURE: manual; CAP_PROP_EXPOSURE


def test_what_the_camera_does_not_take_is_told_with_both_values() -> None:
    """Another size, a slower rate, an unknown format, a property that it does not have."""
    asked = DeviceSettings(width=1000, height=700, fps=60, fourcc="H264", white_balance_k=4600, exposure_us="auto")
    assert apply(asked, SimulatedUsbDevice()) == [
        "camera.device.fourcc: asked for H264, the camera has YUYV",
        "camera.device.width: asked for 1000, the camera has 1280",
        "camera.device.height: asked for 700, the camera has 720",
        "camera.device.fps: asked for 60, the camera has 30",
        "camera.device.white_balance_k: asked for 4600, the camera has no such setting",
    ]


def test_nothing_is_set_that_is_not_asked_for() -> None:
    """A camera that somebody has set up by other means stays as it is."""
    assert list(DeviceSettings().properties()) == []


def test_a_camera_in_another_size_than_it_was_set_to_is_no_read(caplog: pytest.LogCaptureFixture) -> None:
    """The difference is logged once, and its pictures are not measured: they were calibrated in the size asked for."""
    camera = CameraSettings(source="0", device=DeviceSettings(width=1000, height=700))
    source = OpenCvSource("device", "stand-in", device=camera.device, opener=lambda *_: SimulatedUsbDevice())
    limits = CaptureLimits(size_px=camera.expected_px)
    with (
        caplog.at_level(logging.WARNING),
        CapturedCamera("c", lambda: source, live=True, limits=limits) as captured,
    ):
        state = state_with(captured, CameraCondition.UNREADABLE)
    assert "gives 1280 x 720 px, expected the 1000 x 700 px" in state.detail
    assert "camera.device.width: asked for 1000, the camera has 1280" in caplog.text


def test_a_camera_that_takes_its_settings_gives_frames() -> None:
    """In the size that was asked for."""
    source = OpenCvSource(
        "device",
        "stand-in",
        device=DeviceSettings(width=1280, height=720, fps=25),
        opener=lambda *_: SimulatedUsbDevice(),
    )
    limits = CaptureLimits(size_px=(1280, 720))
    with CapturedCamera("c", lambda: source, live=True, limits=limits) as captured:
        assert first_frame(captured).pixels.shape == (720, 1280, 3)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"width": 640}, "width and height together"),
        ({"fourcc": "MJPEG"}, "pattern"),
        ({"exposure_us": 0}, "greater than or equal to 1"),
        ({"exposure_us": "manual"}, "a number"),
        ({"shutter": 1}, "Extra inputs"),
    ],
)
def test_settings_that_no_camera_has_are_refused(asked: dict[str, object], says: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ValidationError, match=says):
        DeviceSettings.model_validate(asked)
