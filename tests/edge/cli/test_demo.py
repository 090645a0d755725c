from __future__ import annotations

import io
import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edge.bundle import load_bundle
from edge.cli.demo import BUNDLE, DemoLines, DemoScore
from edge.records import (
    ClassMeasure,
    DefectClass,
    DefectMap,
    FrameResult,
    Judgement,
    Measurement,
    UInt8,
    Verdict,
)
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import Closing, PartResult
from edge.station.counts import LineCounts
from tests.conftest import ROOT

SCRATCH = DefectClass(1, "scratch", "major", (0, 0, 0), 0.5, 10)


def decided(found: UInt8 | None) -> Decided:
    """Make what the line decided from the map that it measured, or NO_READ."""
    measurement = None
    if found is not None:
        coverage = float((found > 0).mean())
        measurement = Measurement(coverage, None, found.size, {"scratch": ClassMeasure(coverage, 1)}, ())
    judgement = Judgement(Verdict.NO_READ if found is None else Verdict.OK, None)
    now = datetime.now(timezone.utc)
    inspection = FrameResult("c", 0, "", now, 0, 0.0, judgement, measurement)
    return Decided(inspection, {}, None, None if found is None else DefectMap(found, found), ())


def square(side: int, at: int = 0) -> UInt8:
    """Draw a square defect on 20 x 20 px."""
    frame = np.zeros((20, 20), np.uint8)
    frame[at : at + side, at : at + side] = 1
    return frame


def test_the_score_is_by_overlap_with_the_truth() -> None:
    """Found, missed, found in the wrong place, not read, a sliver, false, clean: counted as the summary says."""
    score = DemoScore((SCRATCH,))
    for truth, found in (
        (square(10), square(8)),  # found: 64 of 100 px, an error of 0.36
        (square(10), square(0)),  # missed: an error of 1
        (square(10), square(10, at=10)),  # beside the truth: missed, though its coverage is right
        (square(10), None),  # not read: missed, without a measure
        (square(7), square(7)),  # 49 px, below the 60 from which a defect is visible: a sliver
        (square(0), square(2)),  # false
        (square(0), square(0)),  # clean
    ):
        score.add(truth, decided(found))
    summary = score.summary(LineCounts(frames=7, parts=3, ok=1, ng=2), 3, 2, 12.345)
    assert [summary[key] for key in ("parts", "parts_ok", "parts_ng", "parts_no_read")] == [3, 1, 2, 0]
    assert (summary["ok"], summary["no_read"]) == (6, 1)  # of frames
    assert {key: summary[key] for key in ("defective_frames", "missed_frames", "clean_frames", "false_frames")} == {
        "defective_frames": 4,
        "missed_frames": 3,
        "clean_frames": 2,
        "false_frames": 1,
    }
    assert summary["sliver_frames"] == 1
    assert summary["coverage_relative_error"] == pytest.approx(sorted([0.36, 1, 0])[1])
    assert (summary["published"], summary["acknowledged"], summary["frames_per_s"]) == (3, 2, 12.35)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Run the demo as a user does, to its end."""
    path = tmp_path_factory.mktemp("demo") / "summary.json"
    command = [sys.executable, "-m", "edge", "demo", "--headless", "--frames", "240", "--summary", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    assert "mosquitto_sub -h 127.0.0.1" in result.stdout
    assert "It ends after 240 frames, or with Ctrl-C" in result.stdout
    loaded: dict[str, float] = json.loads(path.read_text())
    return loaded


def test_the_demo_finds_what_is_there(summary: dict[str, float]) -> None:
    """At most 5 % of defective frames are missed and 5 % of clean ones flagged; coverage is right within a quarter."""
    assert summary["frames"] == 240
    assert summary["no_read"] == 0
    assert summary["defective_frames"] >= 30
    assert summary["clean_frames"] >= 20
    assert summary["missed_frames"] <= 0.05 * summary["defective_frames"]
    assert summary["false_frames"] <= 0.05 * summary["clean_frames"]
    assert summary["coverage_relative_error"] <= 0.25


def test_the_demo_raises_and_clears_alarms_and_loses_no_message(summary: dict[str, float]) -> None:
    """Alarms come and go, and the embedded broker acknowledged all that it was handed."""
    assert summary["alarms_raised"] >= 1
    assert summary["alarms_cleared"] >= 1
    assert summary["published"] == summary["acknowledged"] >= summary["parts"]
    assert summary["ok"] + summary["ng"] == 240


def test_every_part_of_the_demo_has_a_verdict(summary: dict[str, float]) -> None:
    """120 positions of the belt are 8 parts, four of each recipe, the last of which may not have passed.

    At most one part is lost to the change of the recipe.
    """
    assert 7 <= summary["parts"] <= 8
    assert summary["parts"] == summary["parts_ok"] + summary["parts_ng"] + summary["parts_no_read"]
    assert summary["recipe_changes"] == 1
    assert summary["parts_no_read"] <= 1
    assert summary["parts_missed"] == summary["parts_false"] == 0


def part_of(verdict: Verdict, recipe: str = "display") -> DecidedPart:
    """Make a decided part."""
    part = PartResult(3, "glass-000003", False, recipe, 0, 1, Closing.TRIGGER, Judgement(verdict, None))
    return DecidedPart(part, {}, ())


def test_a_part_is_missed_if_it_is_ok_and_false_if_it_is_ng() -> None:
    """By what it truly shows and its recipe does not tolerate; a part that is NO_READ is neither."""
    score = DemoScore((SCRATCH,))
    for verdict in Verdict:
        score.add_part(part_of(verdict), ("scratch",))
        score.add_part(part_of(verdict), ())
    assert (score.parts_missed, score.parts_false) == (1, 1)
    score.add_part(part_of(Verdict.OK, "cover"), ("stain",))
    score.add_part(part_of(Verdict.OK, "cover"), ("stain", "chip"))
    assert (score.parts_missed, score.parts_false) == (2, 1)


@pytest.mark.soak
def test_another_seed_draws_another_line_and_is_inspected_as_well(tmp_path: Path) -> None:
    """The model has not learned one seed by heart: each part of another gets its verdict, few frames pass as clean."""
    path = tmp_path / "summary.json"
    command = [
        sys.executable,
        "-m",
        "edge",
        "demo",
        "--headless",
        "--frames",
        "240",
        "--seed",
        "23",
        "--summary",
        str(path),
    ]
    subprocess.run(command, capture_output=True, timeout=240, check=True, cwd=ROOT)
    summary = json.loads(path.read_text())
    assert summary["parts_missed"] == summary["parts_false"] == 0
    assert summary["missed_frames"] <= 0.15 * summary["defective_frames"]
    assert summary["false_frames"] <= 0.05 * summary["clean_frames"]
    assert summary["coverage_relative_error"] <= 0.25


def test_the_shipped_bundle_is_small_and_holds_no_keras_file() -> None:
    """A device gets at most 3 MB, verified, and nothing that it never opens."""
    bundle = load_bundle(BUNDLE)
    files = [path for path in BUNDLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 3_000_000
    assert not [path for path in files if path.suffix == ".keras" or "training" in path.parts]
    assert [entry.name for entry in bundle.classes] == ["chip", "scratch", "stain"]


def test_the_shipped_bundle_sees_here_what_it_saw_when_it_was_made() -> None:
    """`linewatch check` replays its golden frames on this machine and finds them as they were."""
    command = [sys.executable, "-m", "edge", "check", str(ROOT / "config" / "line.yaml"), "--offline"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "passed" in result.stdout


def test_into_a_pipe_a_line_every_ten_seconds() -> None:
    """A log sees at once how the demo ends, and every ten seconds how it stands: parts, verdicts, frames, alarms."""
    shown = io.StringIO()
    lines = DemoLines(Console(file=shown, width=200), "Ctrl-C ends it")
    for tenth in range(251):
        lines.add(decided(square(0)), 100 + tenth / 10, 10.0)
        if tenth % 50 == 0:
            lines.add(part_of(Verdict.NO_READ if tenth % 100 else Verdict.OK), 100 + tenth / 10, 10.0)
    assert shown.getvalue().splitlines() == [
        "10 s: 2 parts, 1 OK, 0 NG, 1 NO_READ; 101 frames, 10.0 frames/s; alarms: none. Ctrl-C ends it",
        "20 s: 4 parts, 2 OK, 0 NG, 2 NO_READ; 201 frames, 10.0 frames/s; alarms: none. Ctrl-C ends it",
    ]


def test_what_the_demo_says_to_type_shows_text() -> None:
    """The two printed lines, typed as they stand, give results and alarms as text; the printed kill ends the demo."""
    command = [sys.executable, "-m", "edge", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT) as demo:
        assert demo.stdout is not None
        printed = [demo.stdout.readline() for _ in range(8)]
        assert "/enter/" in printed[1]
        assert "apt-get install mosquitto-clients" in printed[6]
        typed = [line.split(":", 1)[1].strip() for line in printed[4:6]]
        for line, field in zip(typed, ("verdict", "transition"), strict=True):
            heard = subprocess.run(
                ["bash", "-c", f"{line} -C 1"], capture_output=True, text=True, timeout=240, check=True
            )
            topic, _, body = heard.stdout.partition(" ")
            assert topic.startswith("demo/")
            assert field in body
            assert json.loads(body)
        subprocess.run(["bash", "-c", printed[7].split("so does: ")[1]], check=True)
        demo.communicate(timeout=120)
        assert demo.returncode == 0
