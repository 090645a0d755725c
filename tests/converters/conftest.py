"""Tiny nets of the trainer's kind, and bundles around them. TensorFlow costs seconds, so they are built once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bundle import GOLDEN, KERAS_MODEL, ClassEntry, Manifest, TileEntry, write_manifest
from edge.opencv import cv2
from edge.preparing import Grey, LevelLight
from edge.records import UInt8

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

TILE = 64
COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def slim_unet(classes: int, channels: int = 1, seed: int = 1) -> Any:
    """Build a two-level U-Net, float32 [N, 64, 64, channels] of 0-255 → probabilities [N, 64, 64, classes].

    One class: a sigmoid. More: a softmax whose background is sliced off. Batch normalisation has statistics as if
    trained. The last layer is scaled and shifted so that pictures of `glass` show every class.
    """
    import keras

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    pixels = keras.Input((TILE, TILE, channels))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    skip = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(x)))
    x = layers.MaxPooling2D()(skip)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x)))
    x = layers.Dropout(0.2)(x)
    x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), skip])
    background = classes > 1
    x = layers.Conv2D(classes + background, 1, name="logits")(x)
    x = layers.Activation("softmax" if background else "sigmoid")(x)
    model = keras.Model(pixels, x[..., 1:] if background else x)

    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma, beta, mean, variance = (rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights())
            layer.set_weights([gamma, beta - 1, mean - 1, variance])
    last = model.get_layer("logits")
    tiles = glass(TILE, TILE, seed)[None, :, :, :channels].astype(np.float32)
    logits = np.asarray(keras.Model(pixels, last.output)(tiles))
    scale = 3 / logits.std(axis=(0, 1, 2))
    kernel, _ = last.get_weights()
    bias = -np.median(logits, axis=(0, 1, 2)) * scale
    bias[0] += 3 if background else -3  # most of a part is clean
    last.set_weights([kernel * scale, bias])
    return model


def glass(height: int, width: int, seed: int) -> UInt8:
    """Draw a picture, uint8 [height, width, 3], of uneven light, colour noise, scratches and stains."""
    rng = np.random.default_rng(seed)
    light = np.linspace(70, 150, width)[None, :] + np.linspace(0, 30, height)[:, None]
    picture: UInt8 = np.clip(light[:, :, None] + rng.normal(0, 4, (height, width, 3)), 0, 255).astype(np.uint8)
    for _ in range(4):
        (x0, y0), (x1, y1) = rng.integers(0, (width, height), (2, 2)).tolist()
        cv2.line(picture, (x0, y0), (x1, y1), (235, 235, 235), 2)
        cv2.circle(picture, (y1 % width, x1 % height), int(rng.integers(3, 9)), (20, 20, 20), -1)
    return picture


@pytest.fixture(scope="session")
def nets() -> dict[int, Any]:
    """Return a net per count of classes."""
    return {classes: slim_unet(classes) for classes in (1, 3)}


@pytest.fixture(scope="session")
def make_bundle() -> Callable[..., Path]:
    """Return a function that writes a bundle as the trainer does: a model and golden pictures."""

    def make(folder: Path, model: Any, golden: int = 2, **manifest: Any) -> Path:
        (folder / GOLDEN).mkdir(parents=True)
        model.save(folder / KERAS_MODEL)
        for seed in range(golden):
            cv2.imwrite(str(folder / GOLDEN / f"part-{seed}.png"), glass(100, 150, seed))
        count, channels = model.output_shape[-1], model.input_shape[-1]
        classes = tuple(
            ClassEntry(id=i + 1, name=f"kind-{i + 1}", colour=COLOURS[i], threshold=0.3 + 0.1 * i, min_area_px=4)
            for i in range(count)
        )
        steps = (Grey(), LevelLight()) if channels == 1 else (LevelLight(),)
        described = {
            "name": "glass",
            "version": "1.0.0",
            "classes": classes,
            "tile": TileEntry(height=TILE, width=TILE, overlap_px=16),
            "channels": channels,
            "preparing": steps,
            "provenance": ({"step": "data"}, {"step": "keras"}),
            **manifest,
        }
        write_manifest(folder, Manifest(**described))
        return folder

    return make
