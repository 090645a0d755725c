"""Small datasets drawn in the test: bright lines are scratches, grey discs are stains."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
from rich.console import Console

from edge.opencv import cv2
from edge.yaml_settings import load_yaml
from trainer.recipe.settings import AugmentationSettings, TrainSettings


def write_painted(folder: Path, pictures: int = 24, size: tuple[int, int] = (96, 128)) -> Path:
    """Write a dataset: scratch, stain and clean (`ok`) by turns; two pictures per group."""
    generator = np.random.default_rng(0)
    height, width = size
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = []
    for index in range(pictures):
        kind = ("scratch", "stain", "ok")[index % 3]
        pixels = generator.integers(30, 60, size).astype(np.uint8)
        mask = np.zeros(size, np.uint8)
        if kind == "scratch":
            ends = [
                (10, int(generator.integers(10, height - 10))),
                (width - 10, int(generator.integers(10, height - 10))),
            ]
            cv2.line(mask, *ends, 255, 5)
            pixels[mask > 0] = 220
        elif kind == "stain":
            centre = (int(generator.integers(25, width - 25)), int(generator.integers(25, height - 25)))
            cv2.circle(mask, centre, 14, 255, -1)
            pixels[mask > 0] = 130
        cv2.imwrite(str(folder / "images" / f"{index}.png"), pixels)
        if kind != "ok":
            cv2.imwrite(str(folder / "masks" / f"{index}.png"), mask)
        mask_name = f"masks/{index}.png" if kind != "ok" else ""
        rows.append((f"images/{index}.png", mask_name, kind, f"piece{index // 6}-{index % 3}"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("image", "mask", "class", "group"))
        writer.writerows(rows)
    return folder


# Crops as they were cut: nothing happens to them.
STILL = AugmentationSettings(
    flips=False,
    quarter_turns=False,
    rotation_degrees=0,
    shift_share=0,
    zoom=1,
    shear=0,
    contrast=1,
    brightness=0,
    noise=0,
)

RECIPE = """
name: painted
tile: {height: 64, width: 64, overlap_px: 16}
preparing: [{step: grey}]
model: {family: slim-unet, widths: [8, 16], stem_stride: 2, dropout: 0.0}
split: {test: 0.25, validation: 0.25}
sampling: {crop_px: 64, batch: 8, steps_per_epoch: 15}
augmentation: {noise: 2, contrast: 1.1, brightness: 4}
optimizer: {learning_rate: 0.02, warm_up_steps: 5}
epochs: 8
seed: 4
"""


def recipe(folder: Path, text: str = RECIPE) -> TrainSettings:
    """Read a recipe as the command does."""
    path = folder / "recipe.yaml"
    path.write_text(text)
    return load_yaml(path, TrainSettings)


def quiet() -> Console:
    """Print to nobody."""
    return Console(file=io.StringIO())
