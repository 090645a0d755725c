from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.errors import SourceError, StoreError
from edge.opencv import cv2
from edge.parts.assembler import Parts, step
from edge.parts.rules import PartRules, ViewRule
from edge.records.parts import PartClosed, PartOpened, TriggerTrouble
from edge.simulation.recording import part_truths, read_parts, station_cameras, trigger_events, write_station
from edge.simulation.rendering import CLASS_NAMES
from tests.conftest import ROOT

FRAMES = 110  # the fourth part is open at the end
CAMERAS = station_cameras((96, 128), seed=4)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a small station of 110 frames: three whole parts and the beginning of a fourth."""
    out = tmp_path_factory.mktemp("station") / "new"
    assert write_station(out, CAMERAS, FRAMES) == 3
    return out


def test_a_part_s_truth_is_what_the_class_maps_show_while_it_passes(recorded: Path) -> None:
    """For each camera, from the files alone: PNGs of the frames within opened_ns and closed_ns, at 25 frames/s."""
    with (recorded / "parts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["product"] for row in rows] == ["glass", "disc", "tile"]
    for row in rows:
        everywhere = set()
        for view in ("top", "side"):
            seen = set()
            for index in range(FRAMES):
                if int(row["opened_ns"]) <= index * 40_000_000 <= int(row["closed_ns"]):
                    png = cv2.imread(str(recorded / f"{view}-truth" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
                    seen |= {CLASS_NAMES[class_id - 1] for class_id in np.unique(png) if class_id}
            assert set(row[view].split()) == seen, (row["part_id"], view)
            everywhere |= seen
        assert set(row["classes"].split()) == everywhere
        assert row["defective"] == ("yes" if everywhere else "no")
    assert {row["defective"] for row in rows} == {"yes", "no"}


def test_both_recordings_have_every_frame(recorded: Path) -> None:
    """Frames of one index are of one moment.

    So there must be as many in each, of the size that was asked for.
    """
    for view in ("top", "side"):
        video, count = cv2.VideoCapture(str(recorded / f"{view}.mp4")), 0
        while (read := video.read())[0]:
            assert read[1].shape == (96, 128, 3)
            count += 1
        assert count == FRAMES


def test_a_station_is_the_same_for_the_same_seed(recorded: Path, tmp_path: Path) -> None:
    """Byte for byte: both recordings, the table of parts, and the maps. Another seed gives others."""
    write_station(tmp_path / "again", CAMERAS, FRAMES)
    for path in sorted(recorded.rglob("*")):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(recorded)).read_bytes() == path.read_bytes(), path
    other = station_cameras((96, 128), seed=5)
    assert list(part_truths(other, 400)) != list(part_truths(CAMERAS, 400))


def test_the_table_of_parts_is_read_as_it_was_written(recorded: Path) -> None:
    """Its parts are those that were drawn; its events open and close each in turn, with the product where asked."""
    parts = read_parts(recorded / "parts.csv")
    assert list(parts) == list(part_truths(CAMERAS, FRAMES))
    events = trigger_events(parts, recipes=True)
    assert [type(event) for event in events] == [PartOpened, PartClosed] * 3
    assert [event.recipe for event in events if isinstance(event, PartOpened)] == ["glass", "disc", "tile"]
    state, rules = Parts(), PartRules({"top": ViewRule(), "side": ViewRule()}, timeout_ns=10**10, wait_ns=10**9)
    for event in events:
        state, told = step(rules, state, event, event.at_ns)
        assert not [each for each in told if isinstance(each, TriggerTrouble)]


def test_a_table_of_real_parts_is_read(tmp_path: Path) -> None:
    """Products are those of the station's recipes; a part without an id is numbered, and its own end ends it."""
    rows = ",phone-a,0,100,no,\n,phone-b,150,250,no,\n"
    (tmp_path / "parts.csv").write_text("part_id,product,opened_ns,closed_ns,defective,classes\n" + rows)
    told = trigger_events(read_parts(tmp_path / "parts.csv"), recipes=True)
    assert told == (PartOpened(0, None, "phone-a"), PartClosed(100), PartOpened(150, None, "phone-b"), PartClosed(250))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ((",1200000000,", ",0,"), "line 2: expected a part that is opened from 0 ns on and closed no sooner"),
        ((",1200000000,", ",soon,"), "line 2: expected whole ns"),
        (("closed_ns", "end"), "closed_ns is missing"),
        ((",yes,scratch,scratch,", ",yes,scratch,dent,"), "line 3: expected classes .*; received 'dent'"),
    ],
)
def test_a_table_that_is_not_understood_is_refused(
    recorded: Path, tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    """The error names the file, the line, and what was expected there."""
    text = (recorded / "parts.csv").read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "parts.csv").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(SourceError, match=expected):
        read_parts(tmp_path / "parts.csv")


def test_a_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A missing file is a SourceError with its path; a file in the way of the folder a StoreError."""
    with pytest.raises(SourceError, match=r"parts\.csv cannot be read"):
        read_parts(tmp_path / "parts.csv")
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match="taken"):
        write_station(tmp_path / "taken", CAMERAS, 1)


def simulate(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the real command."""
    command = [sys.executable, "-m", "edge", "simulate", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_writes_a_station(tmp_path: Path) -> None:
    """It says what it wrote; products come in the order asked for."""
    ran = simulate("--station", tmp_path / "s", "--frames", 70, "--size", "128x96", "--products", "tile,disc")
    assert ran.returncode == 0, ran.stderr
    assert "70 frames of each camera, 2 whole parts" in ran.stdout
    assert [part.product for part in read_parts(tmp_path / "s" / "parts.csv")] == ["tile", "disc"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--station", "s", "--products", "glass,ball"], "expected some of glass, disc, tile"),
        (["--station", "s", "--video", "v.mp4"], "expected one of --video, --dataset, --station and --target"),
        ([], "expected one of --video, --dataset, --station and --target"),
    ],
)
def test_a_command_that_is_not_understood_is_refused(arguments: list[str], expected: str) -> None:
    """Exit code 2, with what was expected."""
    ran = simulate(*arguments)
    assert ran.returncode == 2
    assert expected in " ".join(ran.stderr.replace("│", " ").split())
