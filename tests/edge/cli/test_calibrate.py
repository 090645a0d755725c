"""`linewatch calibrate` from a picture to lengths that are right, and each bad input by an error of its own."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.app import run_line
from edge.bundle import load_bundle, write_manifest
from edge.calibration.drift import Check, write_check
from edge.calibration.record import read_calibration
from edge.cameras.images import ImagesCamera
from edge.cli.commands import app
from edge.errors import DriftError, LinewatchError, SettingsError, SourceError, TargetError
from edge.opencv import cv2
from edge.preparing import CropRectangle, Resize
from edge.publishers.memory import MemoryPublisher
from edge.records import CameraFault
from edge.records.decided import Decided
from edge.settings import load_settings
from edge.simulation.target_scene import PinholeCamera
from tests.bright_bundle import write_bright_bundle
from tests.edge.calibration.scenes import CHESSBOARD, SIZE, camera, picture, true_mm_per_px

TILTED = camera(tilt_deg=30, k1=-0.15)
# A slanting, a level and an upright line on the plane: its middle, its angle and its length, mm.
LINES = [((-28.0, 12.0), 0.0, 30.0), ((22.0, -10.0), 90.0, 26.0), ((24.0, 22.0), 45.0, 14.0)]


def linewatch(*words: object) -> Any:
    """Run the command in this process; return how it ended."""
    return CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write settings of one camera, and a picture of a target that the camera sees tilted."""
    cv2.imwrite(str(tmp_path / "target.png"), picture(seen_by=TILTED))
    (tmp_path / "line.yaml").write_text("camera: {name: top, source: simulated}\nbundle: bundle\n")
    return tmp_path


def calibrated(folder: Path, *more: object) -> Any:
    """Calibrate the camera by the target's picture."""
    words = ("--picture", folder / "target.png", "--target", CHESSBOARD, *more)
    return linewatch("calibrate", folder / "line.yaml", "top", *words)


def test_a_picture_of_a_target_calibrates(folder: Path) -> None:
    """The pixel's size is the geometry's, it is said and written, and the settings' key is named."""
    done = calibrated(folder, "--json", folder / "found.json", "--lens", "25 mm")
    assert done.exception is None, done.exception
    told = json.loads((folder / "found.json").read_text())
    true = true_mm_per_px(TILTED, SIZE[0] / 2, SIZE[1] / 2)
    assert told["mm_per_px"] == pytest.approx(true, rel=0.002)
    assert told["residual_px"] < 0.2
    assert told["mm_per_px_along_x"] > 1.1 * told["mm_per_px_along_y"]
    assert "inspect: {calibration: calibration/top.json}" in " ".join(done.output.split())
    kept = read_calibration(folder / "calibration" / "top.json")
    assert (kept.camera.name, kept.camera.lens_id, kept.target) == ("top", "25 mm", CHESSBOARD)


def drawn(path: Path, seen_by: PinholeCamera, bench: float = 40.0) -> None:
    """Write a camera's view of bright lines, 1.2 mm wide, on a dark part of 96 x 66 mm."""

    def paint(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # type: ignore[type-arg] - float64 [N]
        levels = np.where((np.abs(x) < 48) & (np.abs(y) < 33), 40.0, bench)
        for (middle_x, middle_y), angle, length in LINES:
            cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            along = (x - middle_x) * cos + (y - middle_y) * sin
            across = (y - middle_y) * cos - (x - middle_x) * sin
            levels[(np.abs(along) < length / 2) & (np.abs(across) < 0.6)] = 250.0
        return levels

    path.mkdir()
    cv2.imwrite(str(path / "lines.png"), seen_by.picture(paint))


def inspected(folder: Path, settings: str) -> list[dict[str, Any]] | None:
    """Inspect the drawn lines by settings, and return the defects, largest first; None of NO_READ."""
    (folder / "inspect.yaml").write_text(f"camera: {{name: top, source: simulated}}\nbundle: bundle\n{settings}")
    words = ("--config", folder / "inspect.yaml", "--report", folder / "r.html", "--json", folder / "r.json")
    done = linewatch("inspect", folder / "lines", *words)
    assert getattr(done.exception, "exit_code", None) in {None, 12}, done.exception
    pictures = json.loads((folder / "r.json").read_text())["pictures"]
    defects: list[dict[str, Any]] | None = pictures[0]["defects"]
    return defects


def test_lengths_under_a_tilted_camera_are_right(folder: Path) -> None:
    """Lines that lie along, across and aslant, near the middle and far from it: within 2 %, by `linewatch inspect`."""
    assert calibrated(folder).exception is None
    write_bright_bundle(folder / "bundle")
    drawn(folder / "lines", TILTED)
    defects = inspected(folder, "inspect: {calibration: calibration/top.json}\n")
    assert defects is not None
    assert sorted(defect["length_mm"] for defect in defects) == pytest.approx([14, 26, 30], rel=0.02)


@pytest.mark.parametrize("turn_deg", [0, 12])
def test_lengths_are_right_whatever_the_preparing_does(turn_deg: float, folder: Path) -> None:
    """The part is found, turned upright, cropped and stretched: lengths are still those of the camera's picture."""
    seen_by = camera(tilt_deg=12, k1=-0.15, turn_deg=turn_deg, mm_per_px=0.32)
    cv2.imwrite(str(folder / "target.png"), picture(seen_by=camera(tilt_deg=12, k1=-0.15, mm_per_px=0.32)))
    assert calibrated(folder).exception is None
    plain = write_bright_bundle(folder / "bundle")
    steps = (CropRectangle(min_fill=0.7), Resize(width=420, height=330, fit="stretch"))
    write_manifest(folder / "bundle", plain.manifest.model_copy(update={"preparing": steps}))
    drawn(folder / "lines", seen_by, bench=110.0)
    defects = inspected(folder, "inspect: {calibration: calibration/top.json}\n")
    assert defects is not None
    assert sorted(defect["length_mm"] for defect in defects) == pytest.approx([14, 26, 30], rel=0.02)


def test_a_line_raises_an_alarm_while_its_calibration_is_off(folder: Path) -> None:
    """Each frame is NO_READ by the fault of its camera, and one alarm says so in place of no-read."""
    assert calibrated(folder).exception is None
    write_bright_bundle(folder / "bundle")
    drawn(folder / "lines", TILTED)
    (folder / "own.yaml").write_text(
        "camera: {name: top, source: lines}\nbundle: bundle\ninspect: {calibration: calibration/top.json}\n"
    )
    path = folder / "calibration" / "top.json"
    for error in (0.004, 0.03):
        write_check(path, Check(read_calibration(path).sha256, "2026-11-30T06:00:00+00:00", error, 0.01))
        decided: list[Decided] = []
        run_line(
            load_settings(folder / "own.yaml"),
            load_bundle(folder / "bundle"),
            threading.Event(),
            store=folder / f"{error}.db",
            live=False,
            camera=ImagesCamera("top", folder / "lines"),
            publisher=MemoryPublisher(),
            watchers=[decided.append],
        )
        raised = {event.alarm for each in decided for event in each.alarms if event.transition == "raised"}
        (one,) = decided
        if error > 0.01:
            assert one.body["verdict"] == "NO_READ"
            assert one.inspection.camera_fault is CameraFault.DRIFTED
            assert raised - {"no-read"} == {"calibration-drifted"}
        else:
            assert one.body["verdict"] == "NG"
            assert "calibration-drifted" not in raised


def test_a_calibration_that_was_made_anew_is_another_edition(folder: Path) -> None:
    """A reload tells: settings that name the same file differ where what stands in it does."""
    (folder / "own.yaml").write_text(
        "camera: {name: top, source: simulated}\ninspect: {calibration: calibration/top.json}"
    )
    assert calibrated(folder).exception is None
    before, again = load_settings(folder / "own.yaml").inspect, load_settings(folder / "own.yaml").inspect
    cv2.imwrite(str(folder / "target.png"), picture())
    assert calibrated(folder).exception is None
    after = load_settings(folder / "own.yaml").inspect
    assert before == again
    assert before != after


def test_a_frame_of_another_size_is_no_read(folder: Path) -> None:
    """The calibration does not hold for it: nothing is measured, and why is said."""
    assert calibrated(folder).exception is None
    write_bright_bundle(folder / "bundle")
    drawn(folder / "lines", PinholeCamera((320, 240), 0.4))
    (folder / "inspect.yaml").write_text(
        (folder / "line.yaml").read_text() + "inspect: {calibration: calibration/top.json}\n"
    )
    words = ("--config", folder / "inspect.yaml", "--report", folder / "r.html", "--json", folder / "r.json")
    linewatch("inspect", folder / "lines", *words)
    (one,) = json.loads((folder / "r.json").read_text())["pictures"]
    assert one["verdict"] == "NO_READ"
    assert "the frame has 320 x 240 px, and the calibration is of 480 x 360" in one["reason"]


def test_a_drifted_calibration_reads_nothing_until_it_is_made_again(folder: Path) -> None:
    """Verified with a camera that was raised: exit code 16; frames are NO_READ; calibrated anew they are judged."""
    assert calibrated(folder).exception is None
    held = linewatch("calibrate", folder / "line.yaml", "top", "--verify", "--picture", folder / "target.png")
    assert held.exception is None
    cv2.imwrite(str(folder / "now.png"), picture(seen_by=camera(tilt_deg=30, k1=-0.15, mm_per_px=0.28)))
    off = linewatch("calibrate", folder / "line.yaml", "top", "--verify", "--picture", folder / "now.png")
    assert isinstance(off.exception, DriftError)
    assert off.exception.exit_code == 16
    write_bright_bundle(folder / "bundle")
    drawn(folder / "lines", TILTED)
    assert not inspected(folder, "inspect: {calibration: calibration/top.json}\n")
    (one,) = json.loads((folder / "r.json").read_text())["pictures"]
    assert (one["verdict"], one["reason"][:24]) == ("NO_READ", "the calibration drifted:")
    assert calibrated(folder).exception is None
    assert inspected(folder, "inspect: {calibration: calibration/top.json}\n")


BAD_SETTINGS = [
    ("inspect: {calibration: calibration/top.json, mm_per_px: 0.2}", "received both"),
    ("inspect: {calibration: calibration/none.json}", "there is no calibration"),
    ("inspect: {limits: {scratch: {max_length_mm: 2}}}", "expected mm_per_px or calibration"),
    ("camera: {name: side, source: simulated}", "it is of the camera top"),
    ("camera: {name: top, source: simulated, lens: 35 mm}", "it is of the lens 25 mm"),
    ("camera: {name: top, source: simulated, size_px: [640, 480]}", "the frame has 640 x 480 px"),
]


@pytest.mark.parametrize(("keys", "told"), BAD_SETTINGS)
def test_settings_that_a_calibration_does_not_fit_are_refused(keys: str, told: str, folder: Path) -> None:
    """Another camera, lens or size, two scales, or none: exit code 3 before anything is judged."""
    assert calibrated(folder, "--lens", "25 mm").exception is None
    text = "camera: {name: top, source: simulated}\ninspect: {calibration: calibration/top.json}\n"
    key = keys.partition(":")[0]
    lines = [line for line in text.splitlines() if not line.startswith(f"{key}:")]
    (folder / "own.yaml").write_text("\n".join([*lines, keys]) + "\n")
    with pytest.raises(SettingsError, match=told):
        load_settings(folder / "own.yaml")


def test_limits_in_mm_are_enough_with_a_calibration(folder: Path) -> None:
    """They are accepted, for alarms as well."""
    assert calibrated(folder).exception is None
    (folder / "own.yaml").write_text(
        "camera: {name: top, source: simulated}\n"
        "inspect: {calibration: calibration/top.json, limits: {scratch: {max_length_mm: 2}}}\n"
        "alarms: [{id: long, measure: length_mm, raise_at: 3, text: long}]\n"
    )
    assert load_settings(folder / "own.yaml").inspect.calibrated is not None


BAD_WORDS: list[tuple[list[str], type[BaseException], str]] = [
    (["--target", "chessboard:9x6"], LinewatchError, "Expected a target"),
    (["--picture", "target.png", "--target", "chessboard:10x7:10mm"], TargetError, "10 x 7 squares have 9 x 6"),
    (["--picture", "none.png", "--target", CHESSBOARD], SourceError, "No picture at|Nothing at"),
    (["--picture", "broken.png", "--target", CHESSBOARD], SourceError, "broken.png"),
    (
        ["--picture", "target.png", "--picture", "small.png", "--target", CHESSBOARD],
        TargetError,
        "first picture's size",
    ),
    (["--picture", "target.png", "--residual-px", "0.01", "--target", CHESSBOARD], TargetError, "Lay the target flat"),
    (["--picture", "target.png"], BaseException, "expected --target"),
    (["--picture", "target.png", "--target", "points"], BaseException, "expected --point"),
    (["--picture", "target.png", "--target", CHESSBOARD, "--point", "1,1=1,1"], BaseException, "received several"),
    (["--picture", "target.png", "--point", "1;1=1,1"], BaseException, "X,Y=X_MM,Y_MM"),
    (["--picture", "target.png", "--length", "1,1,2=3"], BaseException, "X1,Y1,X2,Y2=MM"),
    (["--picture", "target.png", "--points", "none.csv"], SourceError, "none.csv"),
    (["--picture", "target.png", "--points", "text.csv"], SettingsError, "expected numbers"),
    (["--verify", "--picture", "target.png", "--target", CHESSBOARD], SettingsError, "there is no calibration"),
    (["--verify", "--picture", "target.png"], BaseException, "expected --target"),
]


@pytest.mark.parametrize(("words", "kind", "told"), BAD_WORDS)
def test_what_cannot_calibrate_is_refused_and_writes_nothing(
    words: list[str], kind: type[BaseException], told: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its own words; the folder is as it was."""
    monkeypatch.chdir(folder)
    (folder / "broken.png").write_bytes((folder / "target.png").read_bytes()[:2000])
    cv2.imwrite(str(folder / "small.png"), np.full((240, 320), 128, np.uint8))
    (folder / "text.csv").write_text("x_px,y_px,x_mm,y_mm\n1,2,three,4\n")
    before = sorted(folder.rglob("*"))
    done = linewatch("calibrate", "line.yaml", "top", *words)
    assert isinstance(done.exception, kind)
    message = getattr(done.exception, "message", None) or str(done.exception)
    assert re.search(told, message), message
    assert sorted(folder.rglob("*")) == before


def test_an_unknown_camera_and_no_words_are_refused(folder: Path) -> None:
    """The cameras there are, or what is missing, are named."""
    assert "Expected a camera of top" in str(linewatch("calibrate", folder / "line.yaml", "side").exception)
    assert "expected CONFIG and CAMERA" in str(linewatch("calibrate").exception)
    assert "expected --out" in str(linewatch("calibrate", "--print-target", CHESSBOARD).exception)


def test_the_settings_camera_is_asked_where_no_picture_is_given(folder: Path) -> None:
    """Its frames are looked at until one shows the target; the faults of the others are said."""
    cv2.imwrite(str(folder / "empty.png"), np.full(SIZE[::-1], 128, np.uint8))
    (folder / "frames").mkdir()
    (folder / "empty.png").rename(folder / "frames" / "1.png")
    (folder / "target.png").rename(folder / "frames" / "2.png")
    (folder / "line.yaml").write_text("camera: {name: top, source: frames, fps: 100}\n")
    done = linewatch("calibrate", folder / "line.yaml", "top", "--target", CHESSBOARD)
    assert done.exception is None, done.exception
    assert read_calibration(folder / "calibration" / "top.json").residual_px < 0.2


def test_a_camera_that_never_shows_the_target_is_told(folder: Path) -> None:
    """A recording that ends without it: what its last frame lacked, and nothing is written."""
    cv2.imwrite(str(folder / "target.png"), np.full(SIZE[::-1], 128, np.uint8))
    (folder / "line.yaml").write_text("camera: {name: top, source: target.png}\n")
    done = linewatch("calibrate", folder / "line.yaml", "top", "--target", CHESSBOARD)
    assert isinstance(done.exception, TargetError)
    assert "showed it in 0 of 1 picture" in str(done.exception)
    assert not (folder / "calibration").exists()
