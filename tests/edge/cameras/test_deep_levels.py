"""A USB camera of 10, 12 or 16 bits (Y16 of Video4Linux): the line sees of it what `inspect` sees of a file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.cameras.capture import CapturedCamera
from edge.cameras.device_settings import DeviceSettings
from edge.cameras.opencv import OpenCvSource
from edge.opencv import cv2
from edge.pictures import UInt16, decode, read_picture
from edge.records import CameraCondition, UInt8
from edge.simulation.usb_device import SimulatedUsbDevice
from tests.edge.cameras.clips import first_frame, state_with


def levels(bits: int) -> UInt16:
    """Paint a part of a camera of so many bits, uint16 [96, 128]: all its levels, and noise."""
    noise = np.random.default_rng(bits).integers(0, 1 << (bits - 4), (96, 128))
    ramp = np.linspace(0, (1 << bits) - 1 - (1 << (bits - 4)), 128)[None].astype(np.int64)
    return (ramp + noise).astype(np.uint16)


def source(seen: UInt16, depth_bits: int | None, fourcc: str | None = "Y16 ", big_endian: bool = False) -> OpenCvSource:
    """Return the source of a camera that sees these levels."""

    def opened(*_: object) -> SimulatedUsbDevice:
        device = SimulatedUsbDevice(levels=seen)
        if big_endian:  # a camera that somebody has set up by other means
            device.set(cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter_fourcc(*"Y16 ") | 1 << 31))
        return device

    settings = DeviceSettings(fourcc=None if big_endian else fourcc)
    return OpenCvSource("device", "stand-in", device=settings, depth_bits=depth_bits, opener=opened)


def frame_of(made: OpenCvSource) -> UInt8:
    """Return the pixels that the line inspects."""
    with CapturedCamera("c", lambda: made, live=True) as camera:
        return first_frame(camera).pixels


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("big_endian", [False, True])
def test_the_line_sees_what_a_file_of_the_same_levels_shows(tmp_path: Path, bits: int, big_endian: bool) -> None:
    """Live frames of Y16 and the same picture in a 16-bit PNG become the same 8 bits: the upper ones of the depth."""
    seen = levels(bits)
    cv2.imwrite(str(tmp_path / "part.png"), seen)
    live = frame_of(source(seen, bits, big_endian=big_endian))
    assert np.array_equal(live, read_picture(tmp_path / "part.png", bits))
    assert np.array_equal(live[..., 0], seen >> (bits - 8))
    assert len(np.unique(live)) > 200


@pytest.mark.parametrize(("fourcc", "bits"), [("Y10 ", 10), ("Y12 ", 12)])
def test_formats_of_fewer_bits_are_read_like_y16(fourcc: str, bits: int) -> None:
    """Y10 and Y12 put their levels into 16 bits as Y16 does.

    OpenCV is not left to drop the lower eight.
    """
    seen = levels(bits)
    assert np.array_equal(frame_of(source(seen, bits, fourcc))[..., 0], seen >> (bits - 8))


def test_a_depth_that_nobody_set_is_no_read_with_the_setting() -> None:
    """Levels of 10 bits are not shown as four grey levels: no frame is read, and the state says what to set."""
    for depth_bits, words in ((None, "camera: {depth_bits: 10}"), (8, "expected a depth of 10 bits or more")):
        with CapturedCamera("c", lambda bits=depth_bits: source(levels(10), bits), live=True) as camera:  # type: ignore[misc]
            assert words in state_with(camera, CameraCondition.UNREADABLE).detail


def test_inspect_sees_the_frame_of_the_camera(tmp_path: Path) -> None:
    """`inspect` of a 12-bit file finds the same as of the live frame's 8-bit picture, on the shipped model."""
    pytest.importorskip("onnxruntime")  # not beside the oldest OpenCV
    seen = cv2.resize(levels(12), (640, 480), interpolation=cv2.INTER_NEAREST)
    cv2.line(seen, (100, 100), (500, 300), 4095, 3)
    (tmp_path / "deep").mkdir()
    (tmp_path / "live").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "part.png"), seen)
    cv2.imwrite(str(tmp_path / "live" / "part.png"), frame_of(source(seen, 12)))
    config = tmp_path / "line.yaml"
    config.write_text("camera: {depth_bits: 12, watch: off}\n")
    found = []
    for folder in ("deep", "live"):
        told = tmp_path / f"{folder}.json"
        options = ["--bundle", "demo", "--config", config, "--json", told, "--report", tmp_path / "r.html"]
        command = [sys.executable, "-m", "edge", "inspect", str(tmp_path / folder), *map(str, options)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
        assert ended.returncode in {0, 12}, ended.stderr
        (picture,) = json.loads(told.read_text())["pictures"]
        notes = picture.pop("told")
        assert any("12 bits for each level are brought to 8" in note for note in notes) == (folder == "deep")
        found.append({key: value for key, value in picture.items() if key != "picture"})
    assert found[0] == found[1]
    assert found[0]["defects"]


def test_a_camera_of_motion_jpeg_gives_its_jpegs() -> None:
    """They are decoded here, so that damage is told: the frame is that of the bytes."""
    device = SimulatedUsbDevice()
    settings = DeviceSettings(fourcc="MJPG")
    with CapturedCamera(
        "c", lambda: OpenCvSource("device", "stand-in", device=settings, opener=lambda *_: device), live=True
    ) as camera:
        shape = first_frame(camera).pixels.shape
    ok, jpeg = device.retrieve()
    assert not ok  # it was released
    assert decode(jpeg.tobytes()).pixels.shape == shape == (480, 640, 3)
