"""GenICam cameras, by Aravis's own fake camera over real GigE Vision on loopback."""

from __future__ import annotations

import importlib.util
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from edge.app import make_camera
from edge.cameras.capture import CapturedCamera
from edge.cameras.genicam import GenicamSource
from edge.cameras.genicam_devices import FoundDevice, choose, find_devices
from edge.cameras.pixel_formats import FORMATS, PixelFormat, as_picture, unpacked
from edge.errors import DependencyError, SourceError
from edge.opencv import cv2
from edge.pictures import NotReadableError
from edge.records import CameraCondition, Frame
from edge.settings import CameraSettings
from edge.station.watchdog import Heartbeats
from tests.brokers import wait_for
from tests.edge.cameras.clips import deep_genicam, fake_genicam, first_frame, state_with

SMALL = {"roi_px": [16, 32, 128, 96], "fps": 50}
DEEP = {"roi_px": [0, 0, 64, 64], "fps": 20, "pixel_format": "Mono12"}


def camera_of(wanted: str = "LW1", **device: object) -> CapturedCamera:
    """Make a camera by the settings, as a line does."""
    settings = {"kind": "genicam", "id": wanted, "max_age_ms": 60_000, "device": device}
    made = make_camera(CameraSettings.model_validate(settings), Heartbeats())
    assert isinstance(made, CapturedCamera)
    return made


def read_by_aravis(*features: str) -> dict[str, str]:
    """Ask the camera for features by another program, Aravis's own tool, which only reads.

    It looks for cameras for half a second; on a busy machine it finds none then, and is asked again.
    """
    command = ["arv-tool-0.8", "-a", "127.0.0.1", "control", *features]
    rows: list[list[str]] = []

    def answered() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows[:] = [line.split(" = ") for line in done.stdout.splitlines() if " = " in line]
        return bool(rows)

    wait_for(answered)
    return {name: value.split()[0] for name, value in rows}


# --- on the fake camera ---------------------------------------------------------------------------------------------


@pytest.mark.genicam
def test_it_is_set_as_the_settings_say() -> None:
    """Region, format, exposure, gain and rate reach the camera, which another program reads there; nothing is told."""
    wanted = {**SMALL, "pixel_format": "Mono8", "exposure_us": 5000, "gain": 7}
    with fake_genicam(), camera_of(**wanted) as camera:
        frame = first_frame(camera, 60)
        assert frame.pixels.shape == (96, 128, 3)
        names = ("OffsetX", "OffsetY", "Width", "Height", "PixelFormat", "ExposureTimeAbs", "GainRaw")
        expected = ("16", "32", "128", "96", "Mono8", "5000", "7")
        assert read_by_aravis(*names) == dict(zip(names, expected, strict=True))
        assert camera.facts.differences == ()


@pytest.mark.genicam
def test_what_it_does_not_take_is_told_with_both_values(caplog: pytest.LogCaptureFixture) -> None:
    """A value beyond its bounds, a format and an automatic that it lacks: each is named, once, and it runs on."""
    wanted = {"gain_db": 6, "pixel_format": "Mono12p", "white_balance_k": "auto", "exposure_us": "auto", **SMALL}
    with fake_genicam(), camera_of(**wanted) as camera:
        first_frame(camera, 60)
        told = {each.split(":")[0]: each for each in camera.facts.differences}
        assert set(told) == {f"camera.device.{key}" for key in wanted if key not in SMALL}
        assert "asked for 6, the camera has no gain in dB: set gain, in its own steps" in told["camera.device.gain_db"]
        assert "asked for Mono12p, the camera refuses it" in told["camera.device.pixel_format"]
        assert [record.message for record in caplog.records if "gain_db" in record.message] == [
            f"GenICam LW1: {told['camera.device.gain_db']}"
        ]


@pytest.mark.genicam
@pytest.mark.parametrize("pixel_format", ["Mono12", "Mono12Packed", "Mono12p"])
def test_levels_of_12_bits_keep_their_upper_eight(tmp_path: Path, pixel_format: str) -> None:
    """In each of the three ways to lay 12 bits into bytes, without being told a depth. A gain in dB is one."""
    with deep_genicam(tmp_path):
        with camera_of("DEEP", roi_px=[0, 0, 256, 96], pixel_format=pixel_format, gain_db=3) as camera:
            frame = first_frame(camera, 60)
        assert camera.facts.differences == ()
    y, x = np.mgrid[:96, :256]
    assert np.array_equal(frame.pixels[..., 1], (x + 16 * y) % 4096 >> 4)


@pytest.mark.genicam
def test_mono16_needs_a_depth() -> None:
    """Of 16 bits the settings say how many count; levels beyond them are NO_READ with the setting."""
    with fake_genicam():
        source = GenicamSource("LW1", depth_bits=12)
        source._device = CameraSettings.model_validate(
            {"kind": "genicam", "id": "LW1", "device": {**SMALL, "pixel_format": "Mono16"}}
        ).device
        with CapturedCamera("c", lambda: source, live=True) as camera:
            assert "12 bits end at 4095" in state_with(camera, CameraCondition.UNREADABLE, 60).detail


@pytest.mark.genicam
def test_packets_that_are_lost_make_no_read_and_are_counted() -> None:
    """A picture with a hole is not believed, though Aravis gives it; whole ones still come."""
    with fake_genicam(lost_per_thousand=20), camera_of(roi_px=[0, 0, 256, 128], fps=50) as camera:
        told = state_with(camera, CameraCondition.UNREADABLE, 60)
        assert "the picture is incomplete" in told.detail
        assert "packets of it were lost" in told.detail
        first_frame(camera, 60)
        assert camera.facts.unreadable >= 1


@pytest.mark.genicam
def test_pictures_that_never_came_are_counted(tmp_path: Path) -> None:
    """The camera numbers its pictures: those of the numbers between never came, and they are lost to parts."""
    device = CameraSettings.model_validate({"kind": "genicam", "id": "DEEP", "device": DEEP}).device
    source = GenicamSource("DEEP", device=device, every=True)
    with deep_genicam(tmp_path):
        opened(source)
        try:
            first = taken(source, 1)
            number = source._last_number
            shots = taken(source, 5)
            assert number is not None
            assert source._last_number is not None
            numbered = source._last_number - number
        finally:
            source.close()
    assert first[0].missed == 0
    # of five pictures in a row two lie on both sides of seven skipped numbers; a busy machine misses more
    assert sum(shot.missed for shot in shots) == numbered - len(shots)
    assert sum(shot.missed for shot in shots) >= 7
    assert all(shot.lost == shot.missed for shot in shots)


def opened(source: GenicamSource) -> None:
    """Open a source; a machine that is busy may need several tries, as a line makes them."""

    def could_be() -> bool:
        try:
            source.open()
        except SourceError:
            return False
        return True

    wait_for(could_be)


def taken(source: GenicamSource, count: int) -> list:
    """Take at least so many pictures."""
    shots: list = []
    deadline = time.monotonic() + 60
    while len(shots) < count:
        assert time.monotonic() < deadline
        shots += source.take() or []
    return shots


@pytest.mark.genicam
def test_a_line_of_the_camera_triggers_it_and_its_silence_is_no_fault() -> None:
    """A camera whose input triggers frames gives none without one, and is not lost for it."""
    settings = CameraSettings.model_validate({"kind": "genicam", "id": "LW1", "device": {"trigger": "Line0"}})
    assert settings.device.waits_for_a_line
    camera = make_camera(settings.model_copy(update={"triggered": True}), Heartbeats())
    with fake_genicam(), camera:
        state_with(camera, CameraCondition.NO_FRAME_YET, 60)
        assert read_by_aravis("TriggerMode", "TriggerSource") == {"TriggerMode": "On", "TriggerSource": "Line0"}
        assert not isinstance(camera.read(0.5), Frame)
        assert camera.read(0).condition is CameraCondition.NO_FRAME_YET  # type: ignore[union-attr]


@pytest.mark.genicam
def test_linewatch_triggers_it_by_software() -> None:
    """With `trigger: software` frames come, each as an answer to a trigger, though the camera is in trigger mode."""
    with fake_genicam(), camera_of(trigger="software", fps=20, roi_px=[0, 0, 64, 64]) as camera:
        assert first_frame(camera, 60).index < first_frame(camera, 60).index
        assert read_by_aravis("TriggerMode", "TriggerSource") == {"TriggerMode": "On", "TriggerSource": "Software"}


@pytest.mark.genicam
def test_an_id_that_is_not_there_lists_those_that_are() -> None:
    """A mistyped serial number is answered with the right one. The camera is found by its address and name too."""
    with fake_genicam("21234567"):
        with camera_of("21234568") as camera:
            wait_for(lambda: "21234567 (Aravis Fake, GigEVision at 127.0.0.1)" in camera.read(0.1).detail)  # type: ignore[union-attr]
        for wanted in ("21234567", "127.0.0.1", "Aravis-Fake-21234567"):
            with camera_of(wanted, **SMALL) as camera:
                first_frame(camera, 60)


@pytest.mark.genicam
def test_one_camera_under_two_names_is_told() -> None:
    """A second one that would control the same device says so, and the first goes on."""
    with fake_genicam(), camera_of("LW1", **SMALL) as first:
        first_frame(first, 60)
        with camera_of("127.0.0.1", **SMALL) as second:
            assert "another program controls it" in state_with(second, CameraCondition.LOST, 60).detail
        first_frame(first, 60)


@pytest.mark.genicam
def test_many_threads_may_look_for_cameras() -> None:
    """Aravis keeps one list for all: two that look at once both find the whole of it."""
    found: list[list[FoundDevice]] = []
    with fake_genicam():
        wait_for(lambda: bool(find_devices()))
        threads = [threading.Thread(target=lambda: found.append(find_devices())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 2
    assert all(each == [] or each[0].serial == "LW1" for each in found)


# --- without a camera -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(importlib.util.find_spec("gi") is not None, reason="PyGObject is here")
def test_without_aravis_a_genicam_camera_is_a_clear_error() -> None:
    """It names the camera, and Debian's packages."""
    with pytest.raises(DependencyError, match=r"apt-get install gir1\.2-aravis-0\.8 python3-gi") as told:
        camera_of()
    assert "The camera camera is a GenICam camera" in str(told.value)


def found(serial: str, place: str) -> FoundDevice:
    """Return a device as a search would."""
    return FoundDevice(f"Vendor-Model-{serial}", serial, place, "Vendor", "Model", "GigEVision")


def test_two_cameras_with_one_serial_number_are_refused_with_their_addresses() -> None:
    """None of them is taken by chance; by its address each can be."""
    devices = [found("7", "10.0.0.1"), found("7", "10.0.0.2"), found("8", "10.0.0.3")]
    with pytest.raises(SourceError, match=r"2 cameras are known as '7': .*10\.0\.0\.1.*10\.0\.0\.2"):
        choose("7", devices)
    assert choose("10.0.0.2", devices) == devices[1]
    assert choose("8", devices) == devices[2]


def by_bits(data: bytes, pixel_format: PixelFormat, count: int) -> list[int]:
    """Read levels bit by bit, as the standards draw them."""
    bits = 10 if "10" in pixel_format.packing else 12
    if pixel_format.packing.endswith("p"):  # one stream, the lowest bit first
        stream = int.from_bytes(data, "little")
        return [stream >> bits * place & (1 << bits) - 1 for place in range(count)]
    levels = []
    for place in range(count):
        upper, middle, lower = data[3 * (place // 2) :][:3]
        shift, high = (0, upper) if place % 2 == 0 else (4, lower)
        levels.append(high << bits - 8 | middle >> shift & (1 << bits - 8) - 1)
    return levels


@pytest.mark.parametrize("pixel_format", [each for each in FORMATS.values() if each.packing[-1] in "pd"], ids=str)
@pytest.mark.parametrize("count", [8, 7])
def test_packed_levels_are_read_as_the_standards_draw_them(pixel_format: PixelFormat, count: int) -> None:
    """Random bytes read by bits and by arrays are the same levels, also where the last group is not full."""
    data = np.random.default_rng(count).bytes(pixel_format.size_bytes(count, 1))
    levels = unpacked(np.frombuffer(data, np.uint8), pixel_format.packing, count)
    assert levels.tolist() == by_bits(data + b"\0\0", pixel_format, count)


@pytest.mark.parametrize("mosaic", ["RG", "GR", "GB", "BG"])
@pytest.mark.parametrize(("suffix", "dtype"), [("8", "<u1"), ("12", "<u2")])
def test_a_red_part_is_red_in_each_mosaic(mosaic: str, suffix: str, dtype: str) -> None:
    """The mosaic is laid by the standard's letters, and becomes BGR."""
    name = f"Bayer{mosaic}{suffix}"
    code = next(code for code, each in FORMATS.items() if each.name == name)
    order = mosaic + {"RG": "GB", "GR": "BG", "GB": "RG", "BG": "GR"}[mosaic]
    red = np.zeros((32, 32), dtype)
    for place, letter in enumerate(order):
        red[place // 2 :: 2, place % 2 :: 2] = ((1 << int(suffix)) - 1) * (letter == "R")
    inner = as_picture(red.tobytes(), code, (32, 32), None)[4:-4, 4:-4]
    assert inner.reshape(-1, 3).mean(axis=0).round().tolist() == [0, 0, 255]


def test_colours_of_other_formats_come_out_as_they_are() -> None:
    """RGB8, BGR8 and both ways of YUV 4:2:2."""
    bgr = np.full((4, 6, 3), (200, 60, 20), np.uint8)
    assert np.array_equal(as_picture(bgr.tobytes(), 0x02180015, (6, 4), None), bgr)
    assert np.array_equal(as_picture(bgr[..., ::-1].tobytes(), 0x02180014, (6, 4), None), bgr)
    y, cr, cb = (int(each) for each in cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb)[0, 0])
    y, cb, cr = round(16 + y * 219 / 255), round(128 + (cb - 128) * 224 / 255), round(128 + (cr - 128) * 224 / 255)
    for code, pair in ((0x0210001F, [cb, y, cr, y]), (0x02100032, [y, cb, y, cr])):
        picture = as_picture(bytes(pair) * 12, code, (6, 4), None)
        assert np.abs(picture.astype(int) - bgr).max() <= 3


def test_what_cannot_be_read_is_told() -> None:
    """An unknown format lists those that are read; too few bytes say how many were to come."""
    with pytest.raises(NotReadableError, match=r"0x01080002 is not read here: .*Mono12Packed"):
        as_picture(b"\0" * 100, 0x01080002, (10, 10), None)
    with pytest.raises(NotReadableError, match="10 x 10 px of Mono12Packed take 150 bytes, and 149 came"):
        as_picture(b"\0" * 149, 0x010C0006, (10, 10), None)
