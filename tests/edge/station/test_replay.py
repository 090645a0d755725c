from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app import make_recording
from edge.bundle import load_bundle
from edge.cameras.images import ImagesCamera
from edge.errors import BundleError, SourceError, StoreError
from edge.inspection.inspector import pictures_at
from edge.opencv import cv2
from edge.outbox.reader import OutboxReader
from edge.pictures import read_picture
from edge.records import UInt8
from tests.bright_bundle import part, write_bright_bundle, write_bright_cells
from tests.conftest import ROOT
from tests.verbs import linewatch

CONFIG = """
camera: {name: eye}
inspect: {mm_per_px: 0.5, limits: {scratch: {max_count: 1}}}
alarms: [{id: scratched, measure: count, class: scratch, raise_at: 1, on_delay_ms: 1000, text: look}]
"""


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bundle that finds bright pixels, and settings beside it."""
    folder = tmp_path_factory.mktemp("line")
    write_bright_bundle(folder / "bundle")
    (folder / "line.yaml").write_text(CONFIG)
    return folder


def replay(
    line: Path, recording: Path, out: Path, *more: str, config: str = "line.yaml"
) -> tuple[subprocess.CompletedProcess[str], list[dict[str, Any]]]:
    """Replay a recording and return how it ended and its events."""
    events = out / "events.jsonl"
    result = linewatch(
        "replay", recording, "--bundle", line / "bundle", "--config", line / config, "--events", events, *more
    )
    lines = events.read_text().splitlines() if events.exists() else []
    return result, [json.loads(line) for line in lines]


def write_pictures(folder: Path, *pictures: UInt8) -> Path:
    """Write pictures 0.png, 1.png, …."""
    folder.mkdir(exist_ok=True)
    for index, pixels in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index}.png"), pixels)
    return folder


def test_pictures_become_coverage_defects_and_verdicts(bright: Path, tmp_path: Path) -> None:
    """A clean part is OK. One with two scratches of 20 x 4 and 10 x 5 px is measured as drawn, and NG beyond one."""
    pictures = write_pictures(
        tmp_path / "parts", part(), part(100, 150, (10, 10, 20, 4)), part(100, 150, (10, 10, 20, 4), (60, 70, 10, 5))
    )
    result, (clean, one, two) = replay(bright, pictures, tmp_path, "--maps", str(tmp_path / "maps"))
    assert result.returncode == 0, result.stderr
    assert (clean["verdict"], clean["coverage"], clean["defects"]) == ("OK", 0, [])
    assert (one["verdict"], one["classes"]) == ("OK", {"scratch": {"coverage": round(80 / 15000, 8), "count": 1}})
    assert two["verdict"] == "NG"
    assert two["reason"] == "scratch: 2 defects, at most 1 allowed"
    assert two["coverage"] == pytest.approx((80 + 50) / 15000, abs=1e-8)
    assert two["coverage_mm2"] == pytest.approx(130 * 0.25)
    assert [d["bbox"] for d in two["defects"]] == [[10, 10, 20, 4], [60, 70, 10, 5]]
    first = two["defects"][0]
    assert (first["class"], first["score"], first["area_px"]) == (
        "scratch",
        pytest.approx(250 / 255, abs=1e-3),
        pytest.approx(80, rel=0.03),
    )
    assert (first["length_mm"], first["width_mm"], first["area_mm2"]) == pytest.approx((10, 2, 20), rel=0.03)
    assert [event["frame"] for event in (clean, one, two)] == [0, 1, 2]
    assert (two["camera"], two["name"], two["schema"]) == ("eye", "2.png", "linewatch/result/3")
    drawn = cv2.imread(str(tmp_path / "maps" / "000002.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(drawn, part(100, 150, (10, 10, 20, 4), (60, 70, 10, 5))[:, :, 0] == 250)


def without_wall_time(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drop what depends on when a replay was run."""
    return [{key: value for key, value in event.items() if key != "captured_at"} for event in events]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 30 frames at 10 frames/s; frames 10 to 24 are scratched."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (150, 100))
    for index in range(30):
        writer.write(part(100, 150, (30, 30, 40, 20)) if 10 <= index < 25 else part())
    writer.release()
    return path


def test_two_replays_of_one_file_agree(bright: Path, clip: Path, tmp_path: Path) -> None:
    """Time comes from the recording, so everything but wall time is the same, alarms included."""
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        result, events = replay(bright, clip, tmp_path / name)
        assert result.returncode == 0, result.stderr
        # scratched from 1.0 s to 2.4 s: raised after its second of delay, cleared at 2.5 s
        assert "alarms: 1 raised, 1 cleared" in result.stdout
        runs.append(without_wall_time(events))
    assert runs[0] == runs[1]
    assert [event["coverage"] > 0 for event in runs[0]] == [10 <= i < 25 for i in range(30)]
    assert {event["age_ms"] for event in runs[0]} == {0}


def test_real_pace_takes_the_recordings_own_time(bright: Path, clip: Path, tmp_path: Path) -> None:
    """30 frames at 10 frames/s last 2.9 s from first to last, with the quick replay's events."""
    started_s = time.monotonic()
    result, paced = replay(bright, clip, tmp_path, "--pace", "real")
    assert time.monotonic() - started_s > 2.9
    assert result.returncode == 0
    (tmp_path / "max").mkdir()
    _, quick = replay(bright, clip, tmp_path / "max")
    assert without_wall_time(paced) == without_wall_time(quick)


def test_a_picture_that_is_none_is_no_read_and_the_rest_is_inspected(bright: Path, tmp_path: Path) -> None:
    """Its result has null where nothing was measured, never 0; the command ends with exit code 5."""
    pictures = write_pictures(tmp_path / "parts", part(), part(), part())
    (pictures / "1.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    result, events = replay(bright, pictures, tmp_path)
    assert result.returncode == 5
    assert "1 picture could not be read" in result.stderr
    assert [event["verdict"] for event in events] == ["OK", "NO_READ", "OK"]
    bad = events[1]
    assert {bad[key] for key in ("coverage", "coverage_mm2", "classes", "defects")} == {None}
    assert "1.png is no picture" in bad["reason"]
    assert "alarms: 1 raised, 1 cleared" in result.stdout  # no-read, for that one frame


def test_a_truncated_recording_keeps_what_it_had(bright: Path, tmp_path: Path) -> None:
    """The results up to the damage are written, and the exit code is 5."""
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    noise = np.random.default_rng(0)
    for _ in range(40):
        writer.write(noise.integers(0, 90, (240, 320, 3), np.uint8))
    writer.release()
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result, events = replay(bright, clip, tmp_path)
    assert result.returncode == 5
    assert 10 < len(events) < 30
    assert f"ended after {len(events)} of 40 frames" in result.stderr


@pytest.mark.parametrize(
    ("break_it", "code", "says"),
    [
        ("absent recording", 5, "Nothing at"),
        ("empty recording", 5, "is no video that can be read"),
        ("empty folder", 5, "No pictures at"),
        ("wrong key", 3, "key camera.nmae: no such key"),
        ("absent bundle", 4, "No bundle at"),
        ("altered model", 4, "expected sha256"),
        ("foreign graph", 4, "does not keep the graph contract"),
        ("events in a file's place", 8, "cannot be written"),
        ("full disk", 8, "No space left on device"),
        ("sequence model", 4, "expected tiles as tensor(uint8) [N, 4, 64, 64, 1]"),
    ],
)
def test_bad_input_is_an_error_with_its_exit_code(tmp_path: Path, break_it: str, code: int, says: str) -> None:
    """Each kind of bad input has its message and exit code, and none a traceback."""
    line = tmp_path / "line"
    bundle = write_bright_bundle(line / "bundle")
    (line / "line.yaml").write_text("camera: {nmae: x}" if break_it == "wrong key" else CONFIG)
    recording = tmp_path / "recording.mp4"
    events = tmp_path / "events.jsonl"
    match break_it:
        case "empty recording":
            recording.touch()
        case "empty folder":
            recording.mkdir()
        case "absent recording":
            pass
        case _:
            recording = write_pictures(tmp_path / "parts", part())
    match break_it:
        case "absent bundle":
            bundle.path.rename(line / "elsewhere")
        case "altered model":
            bundle.onnx_path.write_bytes(bundle.onnx_path.read_bytes() + b"\0")
        case "foreign graph":
            text = (bundle.path / "manifest.json").read_text()
            (bundle.path / "manifest.json").write_text(text.replace('"channels": 1', '"channels": 3'))
        case "events in a file's place":
            (tmp_path / "file").touch()
            events = tmp_path / "file" / "events.jsonl"
        case "full disk":
            events = Path("/dev/full")
        case "sequence model":
            text = (bundle.path / "manifest.json").read_text()
            (bundle.path / "manifest.json").write_text(text.replace('"frames": 1', '"frames": 4'))
        case _:
            pass
    result = linewatch("replay", recording, "--bundle", bundle.path, "--config", line / "line.yaml", "--events", events)
    assert result.returncode == code, result.stderr
    assert says in result.stderr.replace("\n", " ")


def test_a_limit_for_a_class_that_the_bundle_lacks_is_refused(bright: Path, tmp_path: Path) -> None:
    """Nothing is replayed by a limit that would never act."""
    (bright / "dent.yaml").write_text("inspect: {limits: {dent: {max_count: 3}}}")
    pictures = write_pictures(tmp_path / "parts", part())
    result, events = replay(bright, pictures, tmp_path, config="dent.yaml")
    assert result.returncode == 3
    assert "inspect.limits.dent: expected a class of the bundle bright (scratch), received 'dent'" in result.stderr
    assert not events


def test_a_region_outside_the_frame_is_no_read(bright: Path, tmp_path: Path) -> None:
    """Nothing is OK where nothing is looked at."""
    (bright / "outside.yaml").write_text("inspect: {region: {rectangle: [900, 900, 10, 10]}}")
    pictures = write_pictures(tmp_path / "parts", part())
    _, (event,) = replay(bright, pictures, tmp_path, config="outside.yaml")
    assert event["verdict"] == "NO_READ"
    assert "does not lie within the frame of 150 x 100 px" in event["reason"]


def test_a_region_partly_outside_the_frame_is_no_read(bright: Path, tmp_path: Path) -> None:
    """A camera that fell back to a smaller picture is not judged by the region's remaining corner."""
    (bright / "partly.yaml").write_text("inspect: {region: {rectangle: [100, 60, 1600, 900]}}")
    pictures = write_pictures(tmp_path / "parts", part())
    _, (event,) = replay(bright, pictures, tmp_path, config="partly.yaml")
    assert (event["verdict"], event["coverage"]) == ("NO_READ", None)


def test_a_jpeg_that_is_cut_off_is_no_read(bright: Path, tmp_path: Path) -> None:
    """OpenCV fills the missing half with grey; the scratch that was there must not be lost that way."""
    grain = np.random.default_rng(0).integers(0, 30, (100, 150, 1), np.uint8)
    _, encoded = cv2.imencode(".jpg", part(100, 150, (10, 80, 40, 10)) - grain)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0.jpg").write_bytes(encoded.tobytes()[: len(encoded) // 2])
    (tmp_path / "parts" / "1.jpg").write_bytes(encoded.tobytes() + b"\0" * 50)
    result, (cut_off, whole) = replay(bright, tmp_path / "parts", tmp_path)
    assert result.returncode == 5
    assert cut_off["verdict"] == "NO_READ"
    assert "0.jpg" in cut_off["reason"]
    assert whole["classes"]["scratch"]["count"] >= 1


def test_a_patch_classifier_runs_the_whole_line(bright: Path, tmp_path: Path) -> None:
    """One answer per tile of 64 px: coverage counts cells, the map shows each at its size, boxes end with the frame."""
    write_bright_cells(tmp_path / "bundle")
    (tmp_path / "line.yaml").write_text((bright / "line.yaml").read_text())
    # 150 x 100 px: 3 x 2 cells, the last of each row 22 px wide, the lower row 36 px high
    pictures = write_pictures(tmp_path / "parts", part(), part(100, 150, (128, 64, 22, 36)))
    result, (clean, corner) = replay(tmp_path, pictures, tmp_path, "--maps", str(tmp_path / "maps"))
    assert result.returncode == 0, result.stderr
    assert (clean["verdict"], clean["coverage"]) == ("OK", 0)
    assert corner["classes"] == {"scratch": {"coverage": round(1 / 6, 8), "count": 1}}
    (defect,) = corner["defects"]
    assert defect["bbox"] == [128, 64, 22, 36]
    drawn = cv2.imread(str(tmp_path / "maps" / "000001.png"), cv2.IMREAD_UNCHANGED)
    expected = np.zeros((100, 150), np.uint8)
    expected[64:, 128:] = 1
    np.testing.assert_array_equal(drawn, expected)


def test_a_patch_classifier_whose_tiles_overlap_is_refused(bright: Path, tmp_path: Path) -> None:
    """One answer per tile cannot be cut at the middle of an overlap."""
    write_bright_cells(tmp_path / "bundle", overlap_px=8)
    (tmp_path / "line.yaml").write_text((bright / "line.yaml").read_text())
    result, _ = replay(tmp_path, write_pictures(tmp_path / "parts", part()), tmp_path)
    assert result.returncode == 4
    assert "expected a bundle whose tile.overlap_px is 0, received 8" in result.stderr.replace("\n", " ")


def test_a_sequence_model_is_fed_the_last_frames(bright: Path, tmp_path: Path) -> None:
    """The mean of 3 frames at 0.5: the second bright frame in a row is answered, and an unreadable one begins anew.

    Brightness (x 1/255): 0, 1, 1, 0, 0, unreadable, 1. The first frame stands for those before it: 0 0 0 → 0, 0 0 1 →
    1/3, 0 1 1 → 2/3. Then 1 1 0 → 2/3, 1 0 0 → 1/3 and 1 1 1 → 1.
    """
    write_bright_cells(tmp_path / "bundle", frames=3)
    (tmp_path / "line.yaml").write_text((bright / "line.yaml").read_text())
    dark, light = np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)
    pictures = write_pictures(tmp_path / "parts", dark, light, light, dark, dark, dark, light)
    (pictures / "5.png").write_bytes(b"no picture")
    _, events = replay(tmp_path, pictures, tmp_path)
    assert [event["coverage"] for event in events] == [0, 0, 1, 1, 0, None, 1]
    assert events[2]["defects"][0]["score"] == pytest.approx(2 / 3, abs=1 / 255)


def test_ctrl_c_ends_a_replay_cleanly(bright: Path, tmp_path: Path) -> None:
    """The results decided before Ctrl-C are whole in the events file, and the exit code is 130."""
    clip = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"mp4v"), 10, (150, 100))
    for _ in range(600):
        writer.write(part())
    writer.release()
    events = tmp_path / "events.jsonl"
    arguments = ["--bundle", bright / "bundle", "--config", bright / "line.yaml", "--events", events, "--pace", "real"]
    command = [sys.executable, "-m", "edge", "replay", clip, *arguments]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 240
        while not (events.exists() and len(events.read_text().splitlines()) > 3):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    frames = [json.loads(line)["frame"] for line in events.read_text().splitlines()]
    assert frames == list(range(len(frames)))
    assert len(frames) < 600


def test_check_refuses_a_bundle_without_golden_frames(bright: Path) -> None:
    """`linewatch check` says what it verified and what is missing."""
    result = linewatch("check", bright / "line.yaml", "--bundle", bright / "bundle")
    assert result.returncode == 4
    assert "1 file verified" in result.stdout
    assert "has no golden frames" in result.stderr


def test_a_missing_opencv_is_a_clear_error() -> None:
    """Without cv2 the command says what to install, on a workstation and on a Jetson, and ends with 7."""
    code = (
        "import sys; sys.modules['cv2'] = None\n"
        "sys.argv = ['linewatch', 'check', 'config/line.yaml']\n"
        "from edge.cli.commands import main; main()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, "Traceback" in result.stderr) == (7, False), result.stderr
    assert "pip install opencv-python-headless;" in result.stderr
    assert "python3-opencv" in result.stderr


def test_names_that_are_no_utf_8_are_escaped(bright: Path, tmp_path: Path) -> None:
    """Pictures packed on a machine with another character set are inspected, or told of, under escaped names."""
    pictures = write_pictures(tmp_path / "parts", part())
    whole = (pictures / "0.png").read_bytes()
    (pictures / "0.png").unlink()
    Path(os.fsdecode(os.fsencode(pictures) + b"/1pr\xfcf.png")).write_bytes(whole)
    Path(os.fsdecode(os.fsencode(pictures) + b"/2kaputt\xfc.png")).write_bytes(whole[:40])
    result, (seen, broken) = replay(bright, pictures, tmp_path)
    assert result.returncode == 5, result.stderr  # one could not be read
    assert (seen["verdict"], seen["name"]) == ("OK", r"1pr\udcfcf.png")
    assert (broken["verdict"], broken["name"]) == ("NO_READ", r"2kaputt\udcfc.png")
    assert r"kaputt\udcfc.png is no picture" in broken["reason"]


def test_a_path_that_the_system_refuses_is_no_traceback(tmp_path: Path) -> None:
    """An error of the file system itself, a name that is too long, is told as an unreadable file."""
    refused = tmp_path / ("x" * 300)
    for kind, read in (
        (SourceError, lambda: read_picture(refused)),
        (SourceError, lambda: make_recording("eye", refused)),
        (SourceError, lambda: ImagesCamera("eye", refused).__enter__()),
        (SourceError, lambda: pictures_at([refused])),
        (BundleError, lambda: load_bundle(refused)),
        (StoreError, lambda: OutboxReader(refused).__enter__()),
    ):
        with pytest.raises(kind):
            read()
