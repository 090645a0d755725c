"""A calibration's file is read as it was written; one that was altered, or is of another camera, is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from defusedxml import ElementTree

from edge.calibration.calibrating import calibrate_by_target
from edge.calibration.drift import Check, DriftWatch, check_path, length_error, read_check, write_check
from edge.calibration.finding import find_target
from edge.calibration.printing import as_svg
from edge.calibration.record import Calibration, CameraIdentity, read_calibration, write_calibration
from edge.calibration.targets import TargetSpecError, parse_target
from edge.errors import SettingsError, TargetError
from edge.records import UInt8
from tests.edge.calibration.scenes import ORIGIN, calibration, camera, found


@pytest.fixture(scope="module")
def made() -> Calibration:
    """Return one calibration, of a tilted camera."""
    return calibration(seen_by=camera(tilt_deg=30, k1=-0.2))


def test_what_is_written_is_read(made: Calibration, tmp_path: Path) -> None:
    """Every number comes back to its last digit, and so does its identity."""
    path = tmp_path / "calibration" / "top.json"
    write_calibration(path, made)
    assert read_calibration(path) == made
    assert read_calibration(path).sha256 == made.sha256
    assert json.loads(path.read_text())["mm_per_px"] == made.mm_per_px


BAD: dict[str, Callable[[str], bytes]] = {
    "a number changed by hand": lambda text: text.replace('"k1": -', '"k1": ', 1).encode(),
    "cut off": lambda text: text[:-100].encode(),
    "empty": lambda _: b"",
    "a list": lambda _: b"[]",
    "another schema": lambda text: text.replace("calibration/1", "calibration/9").encode(),
    "no hash": lambda text: json.dumps({**json.loads(text), "sha256": None}).encode(),
    "no UTF-8": lambda text: text.replace("top", "t\u00f6p").encode("latin-1"),
    "not a number": lambda text: text.replace('"k2": 0.0', '"k2": NaN').encode(),
    "brackets without end": lambda _: b"[" * 100_000,
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_was_altered_is_refused(name: str, made: Calibration, tmp_path: Path) -> None:
    """Damaged or edited by hand: the file is named, and how to make it."""
    path = tmp_path / "top.json"
    write_calibration(path, made)
    path.write_bytes(BAD[name](path.read_text()))
    with pytest.raises(SettingsError, match="linewatch calibrate") as told:
        read_calibration(path)
    assert str(path) in str(told.value)


def test_a_file_of_another_version_is_told_as_such(tmp_path: Path) -> None:
    """It is neither damaged nor none: the version is named, and what to do."""
    path = tmp_path / "top.json"
    path.write_text('{"schema": "linewatch/calibration/2", "planes": []}')
    with pytest.raises(
        SettingsError, match="another version of Linewatch: expected the schema linewatch/calibration/1"
    ):
        read_calibration(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    """Each by its own words."""
    with pytest.raises(SettingsError, match="there is no calibration"):
        read_calibration(tmp_path / "none.json")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_calibration(tmp_path)


def test_it_says_of_which_size_camera_and_lens_it_is(made: Calibration) -> None:
    """Another one is told; a value that one of the two does not name tells nothing."""
    assert not made.misfit(made.size_px)
    assert "480 x 360" in made.misfit((640, 480))
    own = replace(made, camera=CameraIdentity("top", "rtsp://camera-1/live", "25 mm"))
    assert not own.other_camera(CameraIdentity("top", "rtsp://camera-1/live", "25 mm"))
    assert not own.other_camera(CameraIdentity("top"))
    assert "camera top, and the settings' is side" in own.other_camera(CameraIdentity("side"))
    assert "rtsp://camera-2/live" in own.other_camera(CameraIdentity("top", "rtsp://camera-2/live"))
    assert "lens 25 mm, and the settings' is 35 mm" in own.other_camera(CameraIdentity("top", None, "35 mm"))


def test_a_target_that_lies_elsewhere_shows_the_same_lengths(made: Calibration) -> None:
    """The camera did not move: turned or moved on the plane, no length is off by 0.5 %."""
    assert length_error(made, found(seen_by=camera(tilt_deg=30, k1=-0.2, turn_deg=0)).sighting) < 0.005
    turned = calibration(seen_by=camera())
    assert length_error(turned, found(seen_by=camera(turn_deg=20)).sighting) < 0.005


@pytest.mark.parametrize("moved", [camera(tilt_deg=33, k1=-0.2), camera(tilt_deg=30, k1=-0.2, mm_per_px=0.276)])
def test_a_camera_that_was_tilted_or_raised_is_found_off(made: Calibration, moved: object) -> None:
    """By 3°, or by a fiftieth of its height: lengths are off by more than 1 %."""
    assert length_error(made, found(seen_by=moved).sighting) > 0.01  # type: ignore[arg-type] - cameras


def test_a_running_line_hears_of_a_check_within_a_second(made: Calibration, tmp_path: Path) -> None:
    """Drifted, then good again; a check of another calibration, as after a new one, says nothing."""
    path = tmp_path / "top.json"
    write_calibration(path, made)
    watch = DriftWatch(path, made.sha256)
    assert not watch.told(0)
    bad = Check(made.sha256, "2026-11-30T06:00:00+00:00", 0.03, 0.01)
    write_check(path, bad)
    assert read_check(path) == bad
    assert not watch.told(900_000_000)
    assert "off by up to 3.00%; 1.00% is allowed" in watch.told(1_100_000_000)
    write_check(path, replace(bad, error=0.001))
    assert not watch.told(2_200_000_000)
    write_check(path, replace(bad, calibration="another"))
    assert not watch.told(3_300_000_000)


def test_a_check_that_is_none_is_not_taken_for_a_good_one(made: Calibration, tmp_path: Path) -> None:
    """An unreadable check is told, as if the calibration had drifted."""
    path = tmp_path / "top.json"
    for content in ("{", "[]", '{"schema": "other"}', '{"schema": "linewatch/calibration-check/1"}'):
        check_path(path).write_text(content)
        assert "no check" in DriftWatch(path, made.sha256).told(0)


BAD_SPECS = [
    "chessboard",
    "chessboard:9x6",
    "chessboard:9x6:10",
    "chessboard:9x6:0mm",
    "chessboard:2x6:10mm",
    "chessboard:900x6:10mm",
    "chessboard:-9x6:10mm",
    "chessboard:9x6:10mm:5mm",
    "charuco:9x6:10mm",
    "charuco:9x6:10mm:12mm",
    "charuco:9x6:10mm:7mm:9X9_50",
    "charuco:30x30:10mm:7mm:4X4_50",
    "grid:9x6:10mm",
    "",
    "chessboard:9x6:nanmm",
]


@pytest.mark.parametrize("text", BAD_SPECS)
def test_a_description_that_says_no_target_is_refused(text: str) -> None:
    """With what was expected and what was received."""
    with pytest.raises(TargetSpecError, match="Expected a target") as told:
        parse_target(text)
    assert told.value.exit_code == 2


@pytest.mark.parametrize("text", ["chessboard:9x6:10mm", "charuco:9x6:20mm:14mm:4X4_50", "acircles:4x11:12.5mm"])
def test_a_target_is_called_what_it_was_called(text: str) -> None:
    """The description of a target is the one that it was made of."""
    assert parse_target(text).spec == text


def drawn(svg: str, px_per_mm: float) -> UInt8:
    """Draw the rectangles and circles of an SVG, grey uint8 [H, W]."""
    root = ElementTree.fromstring(svg)
    width, height = (
        round(float(side.removesuffix("mm")) * px_per_mm) for side in (root.get("width"), root.get("height"))
    )
    y, x = (np.mgrid[:height, :width] + 0.5) / px_per_mm
    pixels = np.full((height, width), 255, np.uint8)
    group = root.find("{*}g")
    left, top = (float(each) for each in re.findall(r"[\d.]+", group.get("transform")))
    for shape in group:
        own = {
            name: float(shape.get(name)) for name in ("x", "y", "width", "height", "cx", "cy", "r") if shape.get(name)
        }
        if "r" in own:
            pixels[np.hypot(x - left - own["cx"], y - top - own["cy"]) < own["r"]] = 0
        else:
            right, down = left + own["x"], top + own["y"]
            pixels[(x >= right) & (x < right + own["width"]) & (y >= down) & (y < down + own["height"])] = 0
    return pixels


@pytest.mark.parametrize(
    "spec",
    [
        "chessboard:9x6:20mm",
        "charuco:7x5:30mm:21mm",
        "charuco:8x6:25mm:18mm:5X5_100",
        "circles:9x6:20mm",
        "acircles:4x9:16mm",
    ],
)
def test_what_is_printed_is_the_target_in_its_true_size(spec: str) -> None:
    """The drawing, looked at from above, is found as that target, and calibrates to the drawing's own scale."""
    target = parse_target(spec)
    pixels = drawn(as_svg(target), 2.5)
    size = (pixels.shape[1], pixels.shape[0])
    made = calibrate_by_target(target, [find_target(target, pixels)], size, ORIGIN)
    assert made.mm_per_px == pytest.approx(1 / 2.5, rel=0.002)


def test_a_target_that_does_not_fit_on_paper_is_refused() -> None:
    """A4 has 297 x 210 mm."""
    assert "viewBox" in as_svg(parse_target("chessboard:9x6:20mm"))
    with pytest.raises(TargetError, match="does not fit on A4"):
        as_svg(parse_target("chessboard:9x6:40mm"))
