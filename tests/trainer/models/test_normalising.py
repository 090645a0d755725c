from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.models import build_for_training, for_inference
from trainer.models.normalising import FusedBatchNormalization
from trainer.recipe.model_settings import EdgeUnetSettings, SlimUnetSettings


def step_of(layer: Any, pixels: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Run one training call; return its result and the slopes of sum(result^3) by inputs, scale and offset."""
    inputs = tf.constant(pixels)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        result = layer(inputs, training=True)
        total = tf.reduce_sum(result**3)
    slopes = tape.gradient(total, [inputs, layer.gamma.value, layer.beta.value])
    return result.numpy(), [slope.numpy() for slope in slopes]


def test_the_quick_layer_learns_what_keras_own_learns() -> None:
    """Results, slopes and moved statistics of the fused operation are those of keras.layers.BatchNormalization."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(2.0, 3.0, (4, 5, 6, 7)).astype(np.float32)
    scale, offset, mean = (rng.normal(1.0, 0.5, 7).astype(np.float32) for _ in range(3))
    variance = rng.uniform(0.5, 2.0, 7).astype(np.float32)
    layers = [kind(momentum=0.9) for kind in (keras.layers.BatchNormalization, FusedBatchNormalization)]
    for layer in layers:
        layer.build(pixels.shape)
        layer.set_weights([scale, offset, mean, variance])
    (expected, expected_slopes), (result, slopes) = (step_of(layer, pixels) for layer in layers)
    np.testing.assert_allclose(result, expected, atol=1e-4)
    for slope, expected_slope in zip(slopes, expected_slopes, strict=True):
        np.testing.assert_allclose(slope, expected_slope, rtol=1e-3, atol=1e-3)
    for moved, expected_moved in zip(layers[1].get_weights(), layers[0].get_weights(), strict=True):
        np.testing.assert_allclose(moved, expected_moved, rtol=1e-5)
    # by hand: the mean moves a tenth of the way to the batch's, the variance likewise (divided by n, not n - 1)
    axes = (0, 1, 2)
    np.testing.assert_allclose(layers[1].get_weights()[2], 0.9 * mean + 0.1 * pixels.mean(axes), rtol=1e-4)
    np.testing.assert_allclose(layers[1].get_weights()[3], 0.9 * variance + 0.1 * pixels.var(axes), rtol=1e-4)


def test_what_does_not_learn_keeps_its_statistics() -> None:
    """A frozen layer normalises by what it knows and moves nothing, even in a training call."""
    layer = FusedBatchNormalization()
    layer.build((None, 2, 2, 3))
    layer.trainable = False
    before = layer.get_weights()
    pixels = np.full((1, 2, 2, 3), 8.0, np.float32)
    result = layer(pixels, training=True)
    # mean 0, variance 1, epsilon 0.001: 8 / sqrt(1.001)
    np.testing.assert_allclose(result, pixels / np.sqrt(1.001), rtol=1e-5)
    for kept, own in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(kept, own)


def test_a_bundle_holds_keras_own_layers_alone() -> None:
    """The network of a bundle is made of Keras's layers, so that any Keras opens it. Training uses the quick ones."""
    for settings in (SlimUnetSettings(widths=(4, 8)), EdgeUnetSettings(widths=(4, 8))):
        trained = build_for_training(settings, 1, 2, 32)
        assert any(type(layer) is FusedBatchNormalization for layer in trained._flatten_layers())
        deployed = for_inference(trained, settings, (32, 32, 1), 2)
        own = {type(layer).__module__ for layer in deployed._flatten_layers()}
        assert not any(module.startswith("trainer") for module in own)
