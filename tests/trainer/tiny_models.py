"""Every family with as few channels as it can have: what is tested of one is tested of all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from edge.records import Float32, GraphContract, UInt8
from trainer.models import build_for_training
from trainer.recipe.model_settings import FAMILY_SETTINGS, ModelSettings

TILE = 64
CLASSES = ("scratch", "stain")
TINY: dict[str, dict[str, Any]] = {
    "edge-unet": {"widths": (4, 8, 8), "dropout": 0.0},
    "edge-unet separable, a quarter": {"widths": (4, 8), "block": "separable", "stem_stride": 4, "context": "none"},
    "edge-unet with detail": {"widths": (4, 8), "detail": True, "head": "sigmoid", "fine_blocks": 1},
    "edge-unet gated": {"widths": (4, 8), "gate": "scale", "stem_stride": 1, "block": "plain"},
    "slim-unet": {"widths": (4, 8), "stem_stride": 2},
    "slim-unet gated sigmoid": {"widths": (4, 8), "gate": "scale", "head": "sigmoid"},
    "classic-unet": {"widths": (4, 8, 8)},
    "vgg16-unet": {"width_share": 1 / 16, "widths": (8, 8, 4, 4)},
    "edge-unet of four views": {"widths": (4, 8), "views": 4},
    "lite-unet": {"width_share": 1 / 16, "widths": (4, 8, 8), "dropout": 0.0},
    "lite-unet with detail": {"width_share": 1 / 16, "widths": (4, 4, 8, 8, 8), "detail": True, "context": "none"},
    "instance-resunet": {"widths": (4, 8, 8)},
    "instance-resunet unpooling": {"widths": (4, 8, 8), "upsampling": "unpool", "head": "sigmoid"},
    "resunet": {"widths": (4, 8, 8), "noise": 3.0},
    "resnet50-decoder": {"width_share": 1 / 16, "widths": (8, 8, 4, 4, 4)},
    "cnn6": {"widths": (4, 4, 4, 8, 8, 8), "dense": 8, "dropout": 0.0},
    "transfer": {"width_share": 1 / 16, "head": "sigmoid"},
    "cnn-lstm": {"widths": (4, 8), "units": 8, "frames": 3, "dropout": 0.0},
}


def tiny(name: str) -> ModelSettings:
    """Return the settings of one of TINY."""
    family = name.split(maxsplit=1)[0]
    return FAMILY_SETTINGS[family].model_validate({"family": family, **TINY[name]})


@dataclass(frozen=True)
class Taught:
    """A tiny network after a few steps: the loss before each of them, and the first one's gradients by variable.

    Its head is such that every class is answered somewhere. A test that changes it builds one of its own.
    """

    settings: ModelSettings
    net: Any
    losses: list[float]
    gradients: dict[str, Float32 | None]


@cache
def taught(name: str) -> Taught:
    """Build one of TINY and train it on one batch; TensorFlow takes its time, so once per test session."""
    import keras

    keras.utils.set_random_seed(1)
    settings = tiny(name)
    net = build_for_training(settings, 1, len(CLASSES), TILE)
    told = learn(net, settings, 3 if "width_share" in TINY[name] else 4)
    enliven(net, settings)
    return Taught(settings, net, *told)


def enliven(net: Any, settings: ModelSettings) -> None:
    """Scale and shift the head: on drawn tiles each logit has mean 0 and a standard deviation of 3."""
    import keras

    pixels = as_floats(shown(settings, 12, seed=2)[0])
    head = net.get_layer("head")
    kernel, _ = head.get_weights()
    features = np.asarray(keras.Model(net.input, head.input)(pixels)).reshape(-1, kernel.shape[2])
    logits = features @ kernel[0, 0]
    scale = 3 / (logits.std(axis=0) + 1e-6)
    head.set_weights([kernel * scale, -logits.mean(axis=0) * scale])


def learn(net: Any, settings: ModelSettings, steps: int) -> tuple[list[float], dict[str, Float32 | None]]:
    """Train on one batch by cross-entropy; return the loss before each step and the first step's gradients.

    Each weight moves by 0.01 against its gradient's sign, as Adam begins: an optimizer's many small operations, one
    by one, would take longer than the rest. Nothing is compiled for the same reason.
    """
    import tensorflow as tf

    pixels, truth = shown(settings, 6)
    tiles = tf.constant(as_floats(pixels))
    target = tf.one_hot(tf.cast(truth, tf.int32), len(CLASSES) + 1)
    losses: list[float] = []
    first: dict[str, Float32 | None] = {}
    for _ in range(steps):
        with tf.GradientTape() as tape:
            logits = net(tiles, training=True)
            if settings.has_background:
                loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(target, logits))
            else:
                loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target[..., 1:], logits))
        gradients = tape.gradient(loss, net.trainable_variables)
        if not losses:
            pairs = zip(net.trainable_variables, gradients, strict=True)
            first = {variable.path: None if slope is None else slope.numpy() for variable, slope in pairs}
        for variable, slope in zip(net.trainable_variables, gradients, strict=True):
            if slope is not None:
                variable.value.assign_sub(0.01 * tf.sign(slope))
        losses.append(float(loss))
    return losses, first


def contract_of(settings: ModelSettings, channels: int = 1, batch: int = 4) -> GraphContract:
    """Return what an engine for a model of CLASSES on tiles of TILE px must promise."""
    return GraphContract(TILE, TILE, channels, settings.frames, settings.stride_px(TILE), CLASSES, batch)


def shown(settings: ModelSettings, count: int, seed: int = 0) -> tuple[UInt8, UInt8]:
    """Draw `count` tiles, uint8 [N, (T,) 64, 64, 1], and their truth [N, h, w] at the model's stride.

    A bright bar is class 1, a dark one class 2, by turns; a patch is what fills its middle.
    """
    generator = np.random.default_rng(seed)
    pixels = generator.integers(90, 130, (count, TILE, TILE, 1)).astype(np.uint8)
    truth: UInt8 = np.zeros((count, TILE, TILE), np.uint8)
    for place in range(count):
        kind = place % 3
        if kind:
            top = int(generator.integers(8, 40))
            pixels[place, top : top + 16] = (0, 240, 15)[kind]
            truth[place, top : top + 16] = kind
    if settings.stride_px(TILE) > 1:
        truth = truth.max(axis=(1, 2), keepdims=True)
    if settings.frames > 1:
        pixels = np.repeat(pixels[:, None], settings.frames, axis=1)
    return pixels, truth


def as_floats(pixels: UInt8) -> Float32:
    """Turn pixels into what Keras is given."""
    return pixels.astype(np.float32)
