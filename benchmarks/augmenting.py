"""Crops per second of our augmentation beside albumentations, where that is installed: one core, alternating.

Run: python -m benchmarks.augmenting --data DIR/phone_msd. Both cut 256 px crops with flips, turns, rotation, zoom,
shear and shift from whole pictures, reflecting at their edges. Then they change the light. albumentations cuts 384 px
first, so that turning has pixels to draw from, as ours has. Each figure is the best of several.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge.opencv import cv2
from edge.preparing import Grey
from trainer.augmenting import CropSampler
from trainer.datasets.dataset import Picture, class_names, load_picture, read_manifest
from trainer.recipe.settings import AugmentationSettings, SamplingSettings

CROP_PX, MARGIN_PX = 256, 384
FULL = {"gamma": 1.3, "light_gradient": 15, "defocus_px": 1.5, "motion_px": 5}


def theirs(pictures: list[Picture], *, full: bool) -> Callable[[], object]:
    """Compose the same steps in albumentations."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    a: Any = importlib.import_module("albumentations")
    steps = [
        a.RandomCrop(MARGIN_PX, MARGIN_PX),
        a.HorizontalFlip(p=0.5),
        a.RandomRotate90(p=1),
        a.Affine(
            scale=(1 / 1.3, 1.3),
            translate_percent=(-0.1, 0.1),
            rotate=(-15, 15),
            shear=(-5.7, 5.7),
            border_mode=cv2.BORDER_REFLECT_101,
            p=1,
        ),
        a.CenterCrop(CROP_PX, CROP_PX),
        a.RandomBrightnessContrast(brightness_limit=0.06, contrast_limit=0.4, p=1),
    ]
    if full:
        steps += [
            a.RandomGamma((77, 130), p=1),
            a.GaussianBlur(blur_limit=0, sigma_limit=(0.3, 1.5), p=1),
            a.MotionBlur((3, 5), p=1),
        ]
    pipeline = a.Compose([*steps, a.GaussNoise(std_range=(0, 5 / 255), p=1)])
    generator = np.random.default_rng(0)

    def crop() -> object:
        picture = pictures[int(generator.integers(len(pictures)))]
        return pipeline(image=picture.pixels, mask=picture.truth)["image"].astype(np.float32)

    return crop


def ours(pictures: list[Picture], count: int, *, full: bool) -> Callable[[], object]:
    """Draw single crops as training does."""
    sampling = SamplingSettings(crop_px=CROP_PX, batch=1)
    augmentation = AugmentationSettings.model_validate(FULL if full else {})
    sampler = CropSampler(pictures, [1.0] * count, sampling, augmentation)
    generator = np.random.default_rng(0)
    return lambda: sampler.batch(generator)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data: Path = parser.parse_args().data
    cv2.setNumThreads(1)
    entries = read_manifest(data)
    names = class_names(entries)
    installed = importlib.util.find_spec("albumentations") is not None
    for channels in (1, 3):
        steps = (Grey(),) if channels == 1 else ()
        pictures = [load_picture(entry, names, steps, channels) for entry in entries[:: max(1, len(entries) // 8)]]
        for full in (False, True):
            runs = {"ours": ours(pictures, len(names), full=full)}
            if installed:
                runs["albumentations"] = theirs(pictures, full=full)
            best = dict.fromkeys(runs, float("inf"))
            for _ in range(6):
                for name, crop in runs.items():
                    began = time.process_time()
                    for _ in range(60):
                        crop()
                    best[name] = min(best[name], (time.process_time() - began) / 60)
            what = "geometry, light and blur" if full else "geometry, contrast, brightness, noise"
            figures = ", ".join(f"{name} {1 / seconds:.0f} crops/s" for name, seconds in best.items())
            print(f"{channels} channel{'s' * (channels > 1)}, {what}: {figures}")


if __name__ == "__main__":
    main()
