"""Settings of a camera: each kind's own keys, and one device for one camera."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.cameras.network import NetworkStream
from edge.cameras.opencv import OpenCvSource
from edge.cameras.stream_clock import StreamGaps
from edge.cameras.usb_devices import usb_devices
from edge.errors import SettingsError
from edge.settings import load_settings
from edge.simulation.usb_device import SimulatedUsbDevice

GENICAM = "kind: genicam, id: '1'"
WRONG = {
    f"camera: {{{GENICAM}, source: /dev/video0}}": "expected id for a GenICam camera, and no source beside it",
    "camera: {kind: genicam}": "expected id: the serial number, IP address or name",
    "camera: {kind: genicam, id: 1e3}": "expected a serial number, an IP address or a name, in quotes",
    "camera: {kind: device, source: 0, id: '1'}": "expected id for a GenICam camera",
    f"camera: {{{GENICAM}, device: {{fourcc: MJPG}}}}": "expected for a genicam camera one of .*received device.fourcc",
    "camera: {source: 0, device: {roi_px: [0, 0, 64, 64]}}": "expected for a device camera .*received device.roi_px",
    "camera: {source: 'rtsp://h/1', device: {fps: 5}}": "expected for a rtsp camera no key of device",
    "camera: {source: simulated, device: {fps: 5}}": "expected for a simulated camera no key of device",
    f"camera: {{{GENICAM}, device: {{trigger: software}}}}": "expected fps beside trigger: software",
    f"camera: {{{GENICAM}, device: {{gain: 1, gain_db: 1}}}}": "expected gain_db, or gain in the camera's own steps",
    f"camera: {{{GENICAM}, device: {{roi_px: [0, 0, 64, 64], width: 64, height: 64}}}}": "or roi_px, which holds both",
    f"camera: {{{GENICAM}, device: {{roi_px: [0, 0, 64]}}}}": r"key camera\.device\.roi_px",
    f"camera: {{{GENICAM}, device: {{white_balance_k: 4000}}}}": "expected device.white_balance_k: auto",
    f"camera: {{{GENICAM}, device: {{pixel_format: 'Mono 12'}}}}": r"key camera\.device\.pixel_format",
    f"camera: {{{GENICAM}, triggered: true, take: latest}}": "expected take: every",
    f"camera: {{{GENICAM}, take: some}}": r"key camera\.take",
    "camera: {kind: images, source: a, watch: true}": "a camera drops files is kind: watched_folder",
    "camera: {kind: watched_folder}": "expected source, the folder that is watched; received none",
    "camera: {kind: images, source: a, files: {after: keep}}": "expected files for a watched_folder only",
    "camera: {kind: watched_folder, source: a, files: {after: burn}}": r"key camera\.files\.after",
    "camera: {kind: watched_folder, source: a, loop: true}": "expected loop for a file or folder only",
    "camera: {kind: watched_folder, source: a, files: {until: 3}}": "until",
    f"cameras: {{a: {{{GENICAM}}}, b: {{{GENICAM}}}}}": r"key cameras\.b\.id: expected a device of its own.*cameras\.a",
    f"cameras: {{a: {{{GENICAM}}}, b: {{kind: genicam, id: 1}}}}": r"key cameras\.b\.id: expected a device of its own",
    "cameras: {a: {source: 0}, b: {source: /dev/video0}}": r"key cameras\.b\.source: expected a device of its own",
    "cameras: {a: {source: 'rtsp://h/1'}, b: {source: 'rtsp://h/1'}}": r"key cameras\.b\.source: expected a device",
    "cameras: {a: {kind: watched_folder, source: d}, b: {kind: watched_folder, source: ./d/}}": r"cameras\.b\.source",
    "cameras: {a: {kind: watched_folder, source: d}, b: {kind: watched_folder, source: d/e/f}}": (
        r"key cameras\.b\.source: expected a folder beside that of cameras\.a, received one within it"
    ),
    "cameras: {a: {kind: watched_folder, source: d/e}, b: {kind: watched_folder, source: d}}": "within it",
}


@pytest.mark.parametrize(("text", "says"), WRONG.items(), ids=list(WRONG))
def test_what_does_not_fit_the_kind_of_camera_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """Each key for the kinds that have it, and none twice: nothing is left out without a word."""
    (tmp_path / "line.yaml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        load_settings(tmp_path / "line.yaml")


@pytest.mark.parametrize(
    ("text", "every", "triggered", "kind"),
    [
        ("{id: '12'}", False, False, "genicam"),
        ("{kind: genicam, source: 10.0.0.7, take: every}", True, False, "genicam"),
        ("{id: 12, device: {trigger: Line0}}", True, True, "genicam"),
        ("{id: 12, device: {trigger: software, fps: 3}}", False, False, "genicam"),
        ("{kind: watched_folder, source: drop}", True, False, "watched_folder"),
        ("{kind: watched_folder, source: drop, take: latest}", False, False, "watched_folder"),
        ("{source: 'rtsp://h/1', take: every}", True, False, "rtsp"),
    ],
)
def test_a_camera_is_triggered_and_gives_every_frame_as_its_settings_say(
    tmp_path: Path, text: str, every: bool, triggered: bool, kind: str
) -> None:
    """A line of the camera as trigger makes it a triggered one, of which no frame is left out."""
    (tmp_path / "line.yaml").write_text(f"camera: {text}")
    (camera,) = load_settings(tmp_path / "line.yaml").station_cameras.values()
    assert (camera.takes_every, camera.triggered, camera.resolved_kind()) == (every, triggered, kind)
    if kind == "watched_folder":
        assert camera.source == str(tmp_path / "drop")


def test_the_kernels_video_devices_are_listed_by_a_name_that_stays(tmp_path: Path) -> None:
    """By number, without the second device of a camera, which gives no pictures; without any the list is empty."""
    assert usb_devices(tmp_path / "none", tmp_path) == []
    kernel, by_id, dev = tmp_path / "kernel", tmp_path / "by-id", tmp_path / "dev"
    for folder in (kernel, by_id, dev):
        folder.mkdir()
    for number, name, index in ((10, "Grabber", "0"), (2, "Webcam", "0"), (3, "Webcam", "1")):
        (kernel / f"video{number}").mkdir()
        (kernel / f"video{number}" / "name").write_text(f"{name}\n")
        (kernel / f"video{number}" / "index").write_text(f"{index}\n")
        (dev / f"video{number}").touch()
    (by_id / "usb-Webcam-index0").symlink_to(dev / "video2")
    found = [(each.name, each.path, each.stable) for each in usb_devices(kernel, by_id)]
    assert found == [
        ("Webcam", "/dev/video2", str(by_id / "usb-Webcam-index0")),
        ("Grabber", "/dev/video10", "/dev/video10"),
    ]


def stamped(at_ms: int) -> SimpleNamespace:
    """Return a packet of a stream whose clock counts in milliseconds."""
    return SimpleNamespace(dts=at_ms, pts=at_ms, time_base=Fraction(1, 1000), size=1, is_keyframe=True)


def test_gaps_of_usb_and_network_cameras_come_with_their_pictures() -> None:
    """The driver's stamps and the packets' times tell of three that never came, after thirty at a steady pace."""
    clock = [0]
    device = SimulatedUsbDevice(monotonic_ns=lambda: clock[0], sleep_s=lambda _: None)
    usb = OpenCvSource("device", "0", opener=lambda *_: device, monotonic_ns=lambda: clock[0])
    usb.open()
    stream = NetworkStream("rtsp://h/1", max_age_ms=0, monotonic_ns=lambda: clock[0])
    missed = []
    for number in range(31):
        clock[0] += 40_000_000 * (1 if number < 30 else 4)
        missed += [shot.missed for shot in usb.take() or ()]
        stream._arrived(stamped(clock[0] // 1_000_000), clock[0])
    assert missed == [0] * 30 + [3]
    assert stream._missed == 3


def test_gaps_in_a_stream_without_numbers_are_counted_by_its_times() -> None:
    """At 25 pictures a second, with jitter: what is left out is counted; a new pace is a gap only for a while."""
    gaps, times = StreamGaps(), [40_000_000 * number + (number * 7919) % 4_000_000 for number in range(200)]
    left_out = {60, 100, 101, 102, 150}
    missed = {number: gaps.missed_before(at) for number, at in enumerate(times) if number not in left_out}
    assert {number: count for number, count in missed.items() if count} == {61: 1, 103: 3, 151: 1}
    slower = [gaps.missed_before(times[-1] + 80_000_000 * number) for number in range(1, 60)]
    assert sum(slower) < 20
    assert slower[-20:] == [0] * 20
    assert gaps.missed_before(0) == 0  # begun anew
