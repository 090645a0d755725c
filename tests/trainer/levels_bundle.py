"""Bundles whose answers anybody can tell from the brightness: about 130 is a stain, about 220 a scratch, dark is clean.

The network is one layer with weights written by hand, so that what an evaluation finds can be told beforehand.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from edge.bundle import Bundle, ClassEntry, Manifest, TileEntry, read_manifest, sha256_of, write_manifest

NAMES = ("scratch", "stain")
TILE = 64
COLOURS = ((230, 25, 75), (255, 225, 25))


def write_levels_bundle(path: Path, *, classifier: bool = False, min_area_px: float = 4) -> Bundle:
    """Write a segmenter, or a classifier that answers each tile by its mean brightness; tiles of 64 px."""
    import keras

    path.mkdir(parents=True)
    pixels = keras.Input((TILE, TILE, 1))
    level = keras.layers.GlobalAveragePooling2D(keepdims=True)(pixels) if classifier else pixels
    # three straight lines over brightness, of which clean leads up to 90, stain up to 175, scratch beyond
    steepness = 0.2
    layer = keras.layers.Conv2D(3, 1, activation="softmax")
    answer = layer(level)
    slopes = np.array([0.0, 2 * steepness, steepness], np.float32).reshape(1, 1, 1, 3)
    layer.set_weights([slopes, np.array([0, -265 * steepness, -90 * steepness], np.float32)])
    keras.Model(pixels, answer[..., 1:]).save(path / "model.keras")
    classes = tuple(
        ClassEntry(id=k + 1, name=name, colour=COLOURS[k], threshold=0.5, min_area_px=min_area_px)
        for k, name in enumerate(NAMES)
    )
    overlap_px = 0 if classifier else 8
    manifest = Manifest(
        name="levels",
        version="1.0.0",
        classes=classes,
        tile=TileEntry(height=TILE, width=TILE, overlap_px=overlap_px),
        stride=TILE if classifier else 1,
    )
    return write_manifest(path, manifest)


def note_split(bundle: Path, data: Path, learned: list[str]) -> None:
    """Note in a bundle's split.csv that it has learned from the pictures of a dataset whose names are given."""
    with (data / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (bundle / "split.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "class", "group", "split", "sha256"])
        for row in rows:
            part = "train" if row["image"] in learned else "test"
            writer.writerow([row["image"], row["class"], row["group"], part, sha256_of(data / row["image"])])
    write_manifest(bundle, read_manifest(bundle))
