from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from edge.records import Float32
from trainer.recipe.optimizer_settings import OptimizerSettings
from trainer.recipe.settings import TrainSettings
from trainer.training.schedules import learning_rate, plateaus, share
from trainer.training.stepping import Stepper

RATE = 0.1


def schedule(**keys: Any) -> Any:
    """Read a schedule as a recipe does."""
    return OptimizerSettings.model_validate({"schedule": keys}).schedule


def stepper(optimizer: dict[str, Any], weight: float = 2.0, factor: float = 1.0, **more: Any) -> Stepper:
    """Return a network of one weight that multiplies each pixel, learning to make the mean of its answers small.

    The slope of that mean, times `factor`, in the weight is the mean of the pixels, and needs no truth.
    """
    recipe = {"name": "x", "optimizer": {"learning_rate": RATE, "clip_norm": 1e9, **optimizer}, **more}
    inner = keras.layers.Conv2D(1, 1, use_bias=False, dtype=recipe.get("precision"))
    net = keras.Sequential([keras.Input((2, 2, 1)), inner])
    net.set_weights([np.full((1, 1, 1, 1), weight)])
    return Stepper(
        TrainSettings.model_validate(recipe),
        net,
        lambda logits, truth: factor * tf.reduce_mean(tf.cast(logits, tf.float32)),  # noqa: ARG005 - a loss is told the truth
        tf.distribute.get_strategy(),
    )


def pixels(*means: float) -> Float32:
    """Return even pictures, float32 [N, 2, 2, 1]."""
    return np.stack([np.full((2, 2, 1), mean, np.float32) for mean in means])


def weight_after(one: Stepper, slopes: Sequence[float]) -> float:
    """Take a step down each slope and return the weight."""
    for slope in slopes:
        one.step(pixels(slope), np.zeros((1, 2, 2), np.uint8), RATE)
    return float(one.net.get_weights()[0].item())


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        # two slopes, 3 and 1, from the weight 2
        ({"kind": "sgd"}, 2 - RATE * 3 - RATE * 1),
        # v1 = -0.3; v2 = 0.9 * v1 - 0.1
        ({"kind": "momentum"}, 2 - 0.3 - (0.9 * 0.3 + 0.1)),
        ({"kind": "momentum", "momentum": 0.5}, 2 - 0.3 - (0.5 * 0.3 + 0.1)),
        # w += 0.9 v - rate g, v the new one: v1 = -0.3, v2 = -0.37
        ({"kind": "momentum", "nesterov": True}, 2 + (0.9 * -0.3 - 0.3) + (0.9 * -0.37 - 0.1)),
        # m1 = 0.1 * 9; m2 = 0.9 * m1 + 0.1 * 1
        ({"kind": "rmsprop"}, 2 - RATE * 3 / np.sqrt(0.9) - RATE * 1 / np.sqrt(0.9 * 0.9 + 0.1)),
        # a first step of Adam is the rate; then m = (0.9 * 0.3 + 0.1) / 0.19, v = (0.999 * 0.009 + 0.001) / 0.001999
        ({"kind": "adam"}, 2 - RATE - RATE * (0.37 / 0.19) / np.sqrt((0.999 * 0.009 + 0.001) / 0.001999)),
        ({"kind": "sgd", "weight_decay": 0.5}, (2 * (1 - RATE * 0.5) - 0.3) * (1 - RATE * 0.5) - 0.1),
    ],
)
def test_each_optimizer_keeps_to_its_formula(optimizer: dict[str, Any], expected: float) -> None:
    """Two steps by hand."""
    assert weight_after(stepper(optimizer), [3.0, 1.0]) == pytest.approx(expected, rel=1e-5)


def test_adamw_lets_weights_decay_apart_from_the_slope() -> None:
    """The default: 2 (1 - rate * 1e-4) - rate, whatever the slope's size."""
    expected = 2 * (1 - RATE * 1e-4) - RATE
    assert weight_after(stepper({}), [3.0]) == pytest.approx(expected, abs=1e-6)
    assert OptimizerSettings().kind == "adamw"


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_gradients_are_clipped_to_a_norm(precision: str) -> None:
    """A slope of 1.5 goes as one of 0.5, scaled or not. The norm that is told is the one before."""
    one = stepper({"kind": "sgd", "clip_norm": 0.5}, precision=precision)
    stepped = one.step(pixels(1.5), np.zeros((1, 2, 2), np.uint8), RATE)
    assert stepped.norm == pytest.approx(1.5)
    assert float(one.net.get_weights()[0].item()) == pytest.approx(2 - RATE * 0.5)


def test_what_a_network_asks_of_its_weights_is_part_of_the_loss() -> None:
    """L2 of 0.25 on the weight 2 costs 0.25 * 4. Its slope 0.25 * 2 * 2 = 1 joins the data's 3."""
    one = stepper({"kind": "sgd"})
    inner = keras.layers.Conv2D(1, 1, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.25))
    net = keras.Sequential([keras.Input((2, 2, 1)), inner])
    net.set_weights([np.full((1, 1, 1, 1), 2.0)])
    other = Stepper(one._settings, net, one.loss, tf.distribute.get_strategy())
    stepped = other.step(pixels(3.0), np.zeros((1, 2, 2), np.uint8), RATE)
    assert (stepped.loss, stepped.norm) == (pytest.approx(2 * 3 + 0.25 * 4), pytest.approx(3 + 1))


def test_batches_of_a_step_are_averaged_by_their_share() -> None:
    """Three pictures in batches of two and one step as all three at once do. Their mean slope is (6 + 4 + 2) / 3."""
    one = stepper({"kind": "sgd", "clip_norm": 3.0})
    truth = np.zeros((1, 2, 2), np.uint8)
    first = one.step(pixels(6.0, 4.0), truth, RATE, share=2 / 3, ends_step=False)
    assert (first.norm, first.loss) == (None, pytest.approx(2 * 5.0))
    assert float(one.net.get_weights()[0].item()) == 2
    last = one.step(pixels(2.0), truth, RATE, share=1 / 3, ends_step=True)
    assert last.norm == pytest.approx(4)
    assert float(one.net.get_weights()[0].item()) == pytest.approx(2 - RATE * 3)  # clipped as a whole


def test_the_average_of_weights_follows() -> None:
    """0.75 * 2 + 0.25 * 1.7 after one step, and the network itself is not touched."""
    one = stepper({"kind": "sgd"})
    after = weight_after(one, [3.0])
    one.follow(0.75)
    assert one.averages[0].item() == pytest.approx(0.75 * 2 + 0.25 * 1.7)
    assert float(one.net.get_weights()[0].item()) == after


def test_xla_steps_the_same() -> None:
    """Compiled by XLA or not, two steps of momentum lead to the same weight."""
    plain = weight_after(stepper({"kind": "momentum"}), [3.0, 1.0])
    assert weight_after(stepper({"kind": "momentum"}, xla=True), [3.0, 1.0]) == pytest.approx(plain, rel=1e-6)


def test_half_precision_scales_the_loss_and_skips_what_overflows() -> None:
    """A slope below half precision's least number, 6e-8, still moves the weight: by rate x 1e-6 x 0.01.

    One beyond its greatest, 65504, once scaled moves nothing, and the scale is halved.
    """
    small = stepper({"kind": "sgd"}, weight=0.0, factor=1e-6, precision="mixed_float16")
    assert weight_after(small, [0.01]) == pytest.approx(-RATE * 1e-8, rel=1e-2)
    one = stepper({"kind": "sgd"}, precision="mixed_float16")
    before = float(one.optimizer.dynamic_scale.numpy())
    assert weight_after(one, [60000.0]) == 2
    assert float(one.optimizer.dynamic_scale.numpy()) == before / 2


def test_bfloat16_needs_no_scale() -> None:
    """It has float32's range: a step is taken within its three digits."""
    assert weight_after(stepper({"kind": "sgd"}, precision="mixed_bfloat16"), [0.5]) == pytest.approx(1.95, rel=1e-2)


@pytest.mark.parametrize(
    ("keys", "progress", "expected"),
    [
        ({"kind": "constant"}, 0.9, 1.0),
        ({"kind": "cosine"}, 0.0, 1.0),
        ({"kind": "cosine"}, 0.5, 0.01 + 0.99 / 2),
        ({"kind": "cosine"}, 1.0, 0.01),
        ({"kind": "exponential", "floor": 0.04}, 0.5, 0.2),
        ({"kind": "step", "at": [0.5, 0.8]}, 0.49, 1.0),
        ({"kind": "step", "at": [0.5, 0.8]}, 0.5, 0.1),
        ({"kind": "step", "at": [0.5, 0.8], "factor": 0.5}, 0.9, 0.25),
    ],
)
def test_schedules_by_how_far_training_is(keys: dict[str, Any], progress: float, expected: float) -> None:
    """The share of the full rate, by hand."""
    assert share(schedule(**keys), progress, []) == pytest.approx(expected)


def test_a_plateau_lowers_the_rate() -> None:
    """Two epochs without anything better halve it, each time anew, and no lower than the floor."""
    scores = [0.1, 0.3, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1, 0.1]
    assert [plateaus(scores[:n], 2) for n in range(len(scores) + 1)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    halving = schedule(kind="plateau", patience_epochs=2, factor=0.5, floor=0.2)
    assert share(halving, 0.5, scores[:4]) == 0.5
    assert share(halving, 0.5, scores) == 0.2  # 1/8 is below the floor


def test_the_rate_warms_up() -> None:
    """The first of four warming steps has a quarter of the rate, the fourth and later ones all."""
    settings = OptimizerSettings.model_validate(
        {"learning_rate": RATE, "warm_up_steps": 4, "schedule": {"kind": "constant"}}
    )
    assert [learning_rate(settings, 0.0, steps, []) / RATE for steps in (0, 1, 3, 9)] == [0.25, 0.5, 1.0, 1.0]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"kind": "adam", "weight_decay": 0.1}, "expected kind: adamw beside a weight_decay"),
        ({"kind": "sgd", "momentum": 0.9}, "expected kind: momentum or rmsprop beside momentum"),
        ({"nesterov": True}, "expected kind: momentum beside nesterov"),
        ({"full_batch": True, "accumulate": 2}, "expected full_batch or accumulate"),
        ({"schedule": {"kind": "cosin"}}, "expected kind as one of: constant, cosine"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(keys: dict[str, Any], says: str) -> None:
    """A key that an optimizer would quietly not use is refused."""
    with pytest.raises(ValueError, match=says):
        OptimizerSettings.model_validate(keys)
