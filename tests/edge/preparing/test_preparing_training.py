"""Preparing on the workstation: truths move with their pixels, sheets show each step, datasets are cut into tiles."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.errors import DatasetError, StoreError
from edge.opencv import cv2
from edge.pictures import to_eight_bits
from edge.preparing import CropRectangle, Depth, Grey, LevelLight, Resize, Smooth
from edge.records import UInt8
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT
from tests.trainer.painted import RECIPE, write_painted
from trainer.datasets.contact_sheets import _CAPTION_PX, _GAP_PX
from trainer.datasets.cutting import cut_dataset
from trainer.datasets.dataset import Entry, load_picture, read_manifest
from trainer.reports.preparing_sheet import _CELL_PX, draw, load_steps, walk


def linewatch_train(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the real command in a process of its own."""
    command = [sys.executable, "-m", "trainer", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert "Traceback" not in result.stderr, result.stderr
    return result


def write_dataset(folder: Path, *pictures: tuple[UInt8, dict[str, UInt8], str]) -> Path:
    """Write pictures with a mask per class and a group."""
    folder.mkdir()
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "mask", "class", "group"))
        for index, (pixels, masks, group) in enumerate(pictures):
            cv2.imwrite(str(folder / f"{index}.png"), pixels)
            for name, mask in masks.items():
                cv2.imwrite(str(folder / f"{index}-{name}.png"), mask)
                writer.writerow((f"{index}.png", f"{index}-{name}.png", name, group))
            if not masks:
                writer.writerow((f"{index}.png", "", "ok", group))
    return folder


def turned_device(angle: float) -> tuple[UInt8, UInt8]:
    """Draw a dark device on a bench, with a scratch, and the scratch's mask."""
    pixels, mask = np.full((300, 400), 110, np.uint8), np.zeros((300, 400), np.uint8)
    for canvas, size, level in ((pixels, (240, 130), 30), (pixels, (90, 10), 220), (mask, (90, 10), 255)):
        corners = cv2.boxPoints(((205.0, 148.0), size, angle)) - 0.5
        cv2.fillConvexPoly(canvas, np.round(corners * 16).astype(np.int32), level, cv2.LINE_8, 4)
    return pixels, mask


@pytest.mark.parametrize("angle", [0.0, 17.0, -40.0])
def test_a_truth_lies_on_its_defect_after_any_geometry(angle: float, tmp_path: Path) -> None:
    """Cropped, turned upright and stood in a letterbox, the pixels of the truth are the bright ones."""
    pixels, mask = turned_device(angle)
    (entry,) = read_manifest(write_dataset(tmp_path / "data", (pixels, {"scratch": mask}, "a")))
    steps = (Grey(), CropRectangle(orientation="landscape"), Resize(width=360, height=300))
    picture = load_picture(entry, ("scratch",), steps, 1)
    assert picture.pixels.shape == (300, 360, 1)
    assert picture.truth.shape == (300, 360)
    bright, truth = picture.pixels[:, :, 0] > 125, picture.truth == 1
    assert truth.sum() == pytest.approx((mask > 0).sum() * (360 / 240.5) ** 2, rel=0.03)
    assert (bright & truth).sum() / (bright | truth).sum() > 0.93
    rows = np.flatnonzero(truth.any(axis=1))
    assert rows[-1] - rows[0] < 20  # upright: as high as it is wide, 10 px x 1.5, and a rounding


def test_steps_that_move_no_pixel_leave_the_truth_alone(tmp_path: Path) -> None:
    """Pixel by pixel the truth is the mask."""
    pixels, mask = turned_device(11)
    (entry,) = read_manifest(write_dataset(tmp_path / "data", (pixels, {"scratch": mask}, "a")))
    picture = load_picture(entry, ("scratch",), (Grey(), LevelLight(), Smooth(kind="median")), 1)
    np.testing.assert_array_equal(picture.truth, mask // 255)


def test_a_picture_without_its_product_is_named(tmp_path: Path) -> None:
    """Before hours are spent: the file, and what was expected of it."""
    empty = np.full((300, 400), 110, np.uint8)
    (entry,) = read_manifest(write_dataset(tmp_path / "data", (empty, {}, "a")))
    with pytest.raises(DatasetError, match=r"0\.png: the product was not found: expected a rectangle"):
        load_picture(entry, (), (CropRectangle(),), 1)


def test_a_grid_is_cut_and_put_together_again(tmp_path: Path) -> None:
    """704 x 640 px, a fifth of the source's 3520 x 3200, in tiles of 64: 11 x 10 of them make both again."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (640, 704)).astype(np.uint8)
    mask = np.zeros((640, 704), np.uint8)
    mask[100:300, 200:210] = 255
    data = write_dataset(tmp_path / "data", (pixels, {"scratch": mask}, "panel7"))
    counts = cut_dataset(read_manifest(data), tmp_path / "out", tile_px=64)
    assert (counts.pictures, counts.tiles) == (1, 110)
    seen, truth = np.zeros_like(pixels), np.zeros_like(mask)
    entries = read_manifest(tmp_path / "out")
    for entry in entries:
        row, column = (int(part[1:]) for part in entry.path.stem.split("-")[-2:])
        place = np.s_[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
        seen[place] = load_picture(entry, ("scratch",), (), 1).pixels[:, :, 0]
        truth[place] = load_picture(entry, ("scratch",), (), 1).truth * 255
    np.testing.assert_array_equal(seen, pixels)
    np.testing.assert_array_equal(truth, mask)
    # rows 1 to 4 and column 3: four tiles show the scratch
    assert counts.defective == sum(bool(entry.classes) for entry in entries) == 4
    assert {entry.group for entry in entries} == {"panel7"}


def test_masks_that_lie_on_one_another_are_both_kept(tmp_path: Path) -> None:
    """A tile has a row for each class that it shows, and masks do not eat each other. A clean tile has one row."""
    pixels = np.full((64, 128, 3), (10, 20, 200), np.uint8)
    scratch, oil = np.zeros((2, 64, 128), np.uint8)
    scratch[10:20, 10:50] = 255
    oil[5:30, 5:60] = 255
    data = write_dataset(tmp_path / "data", (pixels, {"scratch": scratch, "oil": oil}, "a"), (pixels, {}, "b"))
    counts = cut_dataset(read_manifest(data), tmp_path / "out", tile_px=64)
    assert (counts.tiles, counts.defective) == (4, 1)
    with (tmp_path / "out" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], row["group"]) for row in rows] == [
        ("oil", "a"),
        ("scratch", "a"),
        ("ok", "a"),
        ("ok", "b"),
        ("ok", "b"),
    ]
    for row, mask in zip(rows, (oil, scratch), strict=False):
        written = cv2.imread(str(tmp_path / "out" / row["mask"]), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(written, mask[:, :64])
    shown = cv2.imread(str(tmp_path / "out" / rows[0]["image"]))
    np.testing.assert_array_equal(shown, pixels[:, :64])
    without = cut_dataset(read_manifest(data), tmp_path / "only", tile_px=64, keep_clean=False)
    assert (without.tiles, without.skipped) == (1, 3)


def test_cutting_never_writes_over_anything(tmp_path: Path) -> None:
    """A folder that holds something stays as it is."""
    data = write_painted(tmp_path / "data", pictures=1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(StoreError, match="not an empty folder"):
        cut_dataset(read_manifest(data), tmp_path / "out", tile_px=64)


def test_cutting_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """The last picture's mask has another size: the error names it, and there is no half dataset."""
    data = write_painted(tmp_path / "data", pictures=2)
    cv2.imwrite(str(data / "masks" / "1.png"), np.zeros((50, 128), np.uint8))
    with pytest.raises(DatasetError, match=r"masks/1\.png: expected 128 x 96 px"):
        cut_dataset(read_manifest(data), tmp_path / "out", tile_px=64)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_the_tiles_command_makes_a_dataset_of_prepared_tiles(tmp_path: Path) -> None:
    """With a recipe the pictures are prepared first: 96 x 128 px, stretched to 64 x 64, are two tiles of 32 by two."""
    data = write_painted(tmp_path / "data", pictures=3)
    (tmp_path / "recipe.yaml").write_text("preparing: [{step: resize, width: 64, height: 64, fit: stretch}]")
    result = linewatch_train(
        "tiles", data, "--tile", "32", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "out"
    )
    assert result.returncode == 0, result.stderr
    assert "3 pictures cut into 12 tiles of 32 px" in result.stdout
    assert len(read_manifest(tmp_path / "out")) == 12


def test_a_sheet_shows_what_each_step_makes() -> None:
    """The picture and then each step's, in order, with name, size, mean and standard deviation below."""
    pixels = np.full((100, 200, 3), (0, 0, 100), np.uint8)
    seen, missing = walk(pixels, (Grey(), Resize(width=80, height=80, fill=255), Smooth(kind="mean")))
    assert missing is None
    # red of 100 is 29.9 grey; a letterbox of 80 x 80 holds 80 x 40 of it
    assert [stage.caption for stage in seen] == [
        "picture 200x100 mean 33.3 std 47.1",
        "1 grey 200x100 mean 30.0 std 0.0",
        "2 resize 80x80 mean 142.5 std 112.5",
        f"3 smooth mean 80x80 mean {seen[3].pixels.mean():.1f} std {seen[3].pixels.std():.1f}",
    ]
    sheet = draw(seen)
    assert sheet.shape[1] == 3 * (_CELL_PX + _GAP_PX) + _GAP_PX
    assert sheet.shape[0] == 2 * (_CELL_PX + _CAPTION_PX + _GAP_PX) + _GAP_PX
    middle = _GAP_PX + _CELL_PX // 2
    assert sheet[middle, middle].tolist() == [0, 0, 100]
    assert sheet[middle, middle + _CELL_PX].tolist() == [30, 30, 30]


def test_the_preparing_command_takes_recipes_and_bundles(tmp_path: Path) -> None:
    """A recipe's steps are drawn from its YAML, a bundle's from its manifest."""
    cv2.imwrite(str(tmp_path / "picture.png"), turned_device(5)[0])
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    result = linewatch_train(
        "preparing", tmp_path / "recipe.yaml", tmp_path / "picture.png", "--out", tmp_path / "s.png"
    )
    assert result.returncode == 0, result.stderr
    assert "1 grey" in result.stdout
    assert cv2.imread(str(tmp_path / "s.png")) is not None
    assert load_steps(ROOT / "edge" / "bundles" / "simulated-glass")[0] == Grey()
    write_bright_bundle(tmp_path / "bright")
    assert load_steps(tmp_path / "bright") == ()


def test_a_step_that_finds_no_product_is_told_and_the_sheet_shows_the_steps_before(tmp_path: Path) -> None:
    """Exit code 5, the picture's name, and the sheet to see why."""
    cv2.imwrite(str(tmp_path / "empty.png"), np.full((200, 300), 90, np.uint8))
    (tmp_path / "r.yaml").write_text("preparing: [{step: grey}, {step: crop_circle}]")
    result = linewatch_train("preparing", tmp_path / "r.yaml", tmp_path / "empty.png", "--out", tmp_path / "s.png")
    assert result.returncode == 5
    assert "empty.png: the product was not found: expected a circular rim" in result.stderr
    assert (tmp_path / "s.png").is_file()


def test_a_misspelt_step_is_told_with_its_place(tmp_path: Path) -> None:
    """Exit code 3; the message names the file, the key, and what there is."""
    cv2.imwrite(str(tmp_path / "p.png"), np.zeros((20, 20), np.uint8))
    (tmp_path / "r.yaml").write_text("preparing: [{step: grey}, {step: flatfield}]")
    result = linewatch_train("preparing", tmp_path / "r.yaml", tmp_path / "p.png", "--out", tmp_path / "s.png")
    assert result.returncode == 3
    assert "preparing.1" in result.stderr
    assert "'flat_field'" in result.stderr


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_training_and_the_line_see_the_same_levels_of_a_deep_camera(tmp_path: Path, bits: int) -> None:
    """With `depth` in the recipe a file's levels and a live frame's become the same; without it training refuses."""
    deep = np.linspace(0, (1 << bits) - 1, 48 * 64).astype(np.uint16).reshape(48, 64)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    entry = Entry("a.png", tmp_path / "a.png", (), "g")
    seen = load_picture(entry, (), (Depth(bits=bits), Grey()), 1).pixels[:, :, 0]
    assert np.array_equal(seen, to_eight_bits(deep, bits))
    assert len(np.unique(seen)) == 256
    with pytest.raises(DatasetError, match=f"depth, bits: {bits}"):
        load_picture(entry, (), (Grey(),), 1)
