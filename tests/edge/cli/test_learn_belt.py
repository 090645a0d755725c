"""`linewatch learn-belt` learns what an empty belt looks like, says so, and refuses what is no empty belt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.opencv import cv2
from edge.parts.belt import BeltWatch, read_belt
from edge.pictures import read_picture
from edge.records import UInt8
from tests.bright_bundle import write_bright_bundle
from tests.edge.station.test_replay import linewatch


def belt(seed: int) -> UInt8:
    """Draw an empty belt, [96, 192, 3]: one grey level with noise."""
    return np.clip(np.random.default_rng(seed).normal(80, 3, (96, 192, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write settings of one camera, and a folder of ten pictures of the empty belt."""
    write_bright_bundle(tmp_path / "bundle")
    (tmp_path / "empty").mkdir()
    for seed in range(10):
        cv2.imwrite(str(tmp_path / "empty" / f"{seed}.png"), belt(seed))
    (tmp_path / "line.yaml").write_text(
        "cameras: {top: {source: simulated, simulated: {fps: 0, offset_frames: 30}}}\nbundle: bundle\n"
        "parts: {trigger: presence, presence: {belt: belt.npz}}\n"
    )
    return tmp_path


def test_a_belt_is_learned_from_a_folder(folder: Path) -> None:
    """The file tells a part from the belt; the picture shows the region; the lesson is printed."""
    out, picture = folder / "belt.npz", folder / "belt.png"
    done = linewatch(
        *("learn-belt", folder / "line.yaml", "top", "--out", out, "--from", folder / "empty"),
        *("--region", "20,10,96,80", "--picture", picture, "--share", "0.05"),
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    # 96 x 80 px are fewer than the 96 cells of the longer side: each pixel is a cell
    assert "from 10 frames of 192 x 96 px. Region 20,10,96,80: 7680 cells of 1 x 1 px" in said
    assert "in at least 5.0% of the region" in said
    learned = read_belt(out)
    assert (learned.region, learned.share) == ((20, 10, 96, 80), 0.05)
    shown = belt(50)
    assert not BeltWatch(learned).shows_part(shown)
    shown[20:60, 30:60] = 160
    assert BeltWatch(learned).shows_part(shown)
    drawn = read_picture(picture)
    assert drawn.shape == (96, 192, 3)
    assert drawn[10, 60].tolist() == [0, 255, 0]


def test_a_belt_is_learned_from_the_settings_camera(folder: Path) -> None:
    """Twenty frames of the simulated camera, on whose belt nothing has come yet."""
    done = linewatch("learn-belt", folder / "line.yaml", "top", "--out", folder / "belt.npz")
    assert done.returncode == 0, done.stderr
    assert "from 20 frames of 640 x 480 px" in " ".join(done.stdout.split())


def with_a_part(folder: Path) -> list[str]:
    """Lay a part into one picture."""
    shown = belt(3)
    shown[20:60, 30:90] = 200
    cv2.imwrite(str(folder / "empty" / "3.png"), shown)
    return ["--from", str(folder / "empty")]


def with_a_part_that_moves(folder: Path) -> list[str]:
    """Lay a part into each picture, elsewhere in each."""
    for seed in range(10):
        shown = belt(seed)
        shown[:, 16 * seed : 16 * seed + 48] = 200
        cv2.imwrite(str(folder / "empty" / f"{seed}.png"), shown)
    return ["--from", str(folder / "empty")]


def in_the_dark(folder: Path) -> list[str]:
    """Switch the light off."""
    for seed in range(10):
        cv2.imwrite(str(folder / "empty" / f"{seed}.png"), np.zeros((96, 192, 3), np.uint8))
    return ["--from", str(folder / "empty")]


def too_few(folder: Path) -> list[str]:
    """Leave four pictures."""
    for seed in range(6):
        (folder / "empty" / f"{seed}.png").unlink()
    return ["--from", str(folder / "empty")]


REFUSED = [
    (with_a_part, 3, "frame 4 of 10 does not look like the others. Clear the belt and learn again"),
    (with_a_part_that_moves, 3, "learning the belt: "),
    (in_the_dark, 5, "frame 1 of top shows no belt: the camera is blind"),
    (too_few, 3, "expected at least 5 empty frames, received 4"),
    (lambda folder: ["--from", str(folder / "nowhere")], 5, "Nothing at"),
    (lambda folder: ["--from", str(folder / "empty"), "--region", "100,0,100,96"], 3, "does not lie in 192 x 96 px"),
    (lambda _: ["--region", "1,2,3"], 2, "expected X,Y,W,H"),
    (lambda _: ["--frames", "60"], 3, "learning the belt: "),  # parts come by from frame 30 on
]


@pytest.mark.parametrize(("make", "code", "says"), REFUSED)
def test_what_is_no_empty_belt_is_refused(make: object, code: int, says: str, folder: Path) -> None:
    """With what to do and an exit code of its own; nothing is written."""
    options = make(folder)  # type: ignore[operator]
    done = linewatch("learn-belt", folder / "line.yaml", "top", "--out", folder / "belt.npz", *options)
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert not (folder / "belt.npz").exists()


def test_a_camera_that_is_not_there_is_named(folder: Path) -> None:
    """The error lists the cameras that there are."""
    done = linewatch("learn-belt", folder / "line.yaml", "side", "--out", folder / "belt.npz")
    assert (done.returncode, "Expected a camera of top; received 'side'" in done.stderr) == (3, True)
