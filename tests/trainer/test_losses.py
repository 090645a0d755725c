from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from trainer.losses import SMOOTH, make_loss, soft_dice
from trainer.settings import LossSettings, ModelSettings


def dice(probabilities: list[list[float]], target: list[list[float]]) -> float:
    """Take soft Dice of pixels x classes."""
    shape = (1, 1, len(target), len(target[0]))
    return float(
        soft_dice(
            tf.reshape(tf.constant(probabilities, tf.float32), shape),
            tf.reshape(tf.constant(target, tf.float32), shape),
        )
    )


def test_dice_of_mixed_masks() -> None:
    """Class 1: (2 * 0.9 + s) / (0.9 + 0.1 + 1 + s); class 2: (2 * 0.4 + s) / (0.4 + 0.2 + 1 + s)."""
    value = dice([[0.9, 0.2], [0.1, 0.4]], [[1, 0], [0, 1]])
    first = (2 * 0.9 + SMOOTH) / (0.9 + 0.1 + 1 + SMOOTH)
    second = (2 * 0.4 + SMOOTH) / (0.2 + 0.4 + 1 + SMOOTH)
    assert value == pytest.approx(((1 - first) + (1 - second)) / 2)


def test_dice_of_empty_and_full_masks() -> None:
    """An empty mask asks for nothing; a full one is met by ones, and by zeros costs 1 - s / (n + s)."""
    assert dice([[0.3], [0.8]], [[0], [0]]) == 0
    assert dice([[1.0], [1.0]], [[1], [1]]) == pytest.approx(0)
    assert dice([[0.0], [0.0]], [[1], [1]]) == pytest.approx(1 - SMOOTH / (2 + SMOOTH))


def test_a_class_that_is_not_shown_is_not_judged() -> None:
    """Only the class that the batch shows is averaged: (2 * 0.5 + s) / (0.5 + 1 + s)."""
    assert dice([[0.5, 0.7]], [[1, 0]]) == pytest.approx(1 - (2 * 0.5 + SMOOTH) / (0.5 + 1 + SMOOTH))


def test_softmax_cross_entropy_with_background() -> None:
    """Logits (0, ln 3) for background and scratch give p = 1/4 and 3/4: the loss is -ln 3/4 on a scratch."""
    loss = make_loss(LossSettings(cross_entropy=1, dice=0), ModelSettings(head="softmax"), 1)
    logits = tf.constant([0.0, np.log(3.0)], shape=(1, 1, 1, 2), dtype=tf.float32)
    assert float(loss(logits, np.array([[[1]]], np.uint8))) == pytest.approx(-np.log(3 / 4))
    assert float(loss(logits, np.array([[[0]]], np.uint8))) == pytest.approx(-np.log(1 / 4))


def test_sigmoid_cross_entropy_per_class() -> None:
    """Without a background each class answers for itself: (-ln 3/4 - ln(1 - 1/2)) / 2 on a scratch."""
    loss = make_loss(LossSettings(cross_entropy=1, dice=0), ModelSettings(head="sigmoid"), 2)
    logits = tf.constant([np.log(3.0), 0.0], shape=(1, 1, 1, 2), dtype=tf.float32)
    assert float(loss(logits, np.array([[[1]]], np.uint8))) == pytest.approx((-np.log(3 / 4) - np.log(1 / 2)) / 2)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_the_gradient_agrees_with_finite_differences(head: str) -> None:
    """What training follows is the slope of what it minimises."""
    generator = np.random.default_rng(1)
    model = ModelSettings.model_validate({"head": head})
    loss = make_loss(LossSettings(cross_entropy=0.7, dice=1.3), model, 2)
    logits = generator.normal(size=(1, 3, 3, 2 + model.has_background)).astype(np.float32)
    truth = generator.integers(0, 3, (1, 3, 3)).astype(np.uint8)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(variable, truth)
    gradient = tape.gradient(value, variable).numpy()
    step = np.zeros_like(logits)
    for place in ((0, 0, 0, 0), (0, 2, 1, 1), (0, 1, 2, 0)):
        step[:] = 0
        step[place] = 1e-2
        slope = (float(loss(logits + step, truth)) - float(loss(logits - step, truth))) / 2e-2
        assert gradient[place] == pytest.approx(slope, abs=2e-4)
