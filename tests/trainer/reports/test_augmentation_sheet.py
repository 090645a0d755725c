"""The preview of a recipe's augmentation: a sheet of pairs, the left of which is the picture itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from edge.opencv import cv2
from tests.trainer.painted import RECIPE, write_painted
from trainer.__main__ import app
from trainer.augmenting import CropSampler
from trainer.datasets.dataset import class_names, load_picture, read_manifest
from trainer.recipe.settings import AugmentationSettings, SamplingSettings


def test_the_command_writes_a_sheet_of_pairs(tmp_path: Path) -> None:
    """Ten pairs, three abreast: four rows of six cells."""
    folder = write_painted(tmp_path / "painted", pictures=12)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    out = tmp_path / "sheet.png"
    arguments = [
        "augmentations",
        str(tmp_path / "recipe.yaml"),
        "--data",
        str(folder),
        "--out",
        str(out),
        "--count",
        "10",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    sheet = cv2.imread(str(out))
    # each cell is 256 px wide with 4 px between, and has a caption of 20 px below
    assert sheet.shape == (4 * (256 + 24) + 4, 6 * 260 + 4, 3)


def test_a_preview_begins_with_the_window_of_its_picture(tmp_path: Path) -> None:
    """The window is cut from the named picture; with nothing on, the crop is the window."""
    entries = read_manifest(write_painted(tmp_path / "painted", pictures=6))
    names = class_names(entries)
    pictures = [load_picture(entry, names, (), 1) for entry in entries]
    still = AugmentationSettings(
        flips=False, quarter_turns=False, rotation_degrees=0, shift_share=0, zoom=1, shear=0, contrast=1, brightness=0,
        noise=0,
    )  # fmt: skip
    sampling = SamplingSettings(crop_px=32)
    for preview in CropSampler(pictures, [1, 1], sampling, still).previews(np.random.default_rng(0), 8):
        np.testing.assert_array_equal(preview.window, preview.pixels)
        np.testing.assert_array_equal(preview.window_truth, preview.truth)
        own = next(p for p in pictures if p.entry.image == preview.image)
        padded = cv2.copyMakeBorder(own.pixels, 32, 32, 32, 32, cv2.BORDER_REFLECT_101)
        assert cv2.matchTemplate(padded, preview.window, cv2.TM_SQDIFF_NORMED).min() < 1e-4
