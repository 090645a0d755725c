from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import SettingsError
from edge.records import Float32, UInt8
from edge.yaml_settings import load_yaml
from trainer.losses import make_loss
from trainer.losses.lovasz import falling_order, jaccard_steps
from trainer.recipe.loss_settings import LossSettings
from trainer.recipe.model_settings import ModelSettings
from trainer.recipe.settings import TrainSettings

NAMES = ["scratch", "stain"]
SMOOTH = 1.0  # pixels, the default of dice and tversky


def one_term(head: str, names: list[str] | None = None, **term: Any) -> Any:
    """Make the loss of one term."""
    model = ModelSettings.model_validate({"head": head})
    return make_loss(LossSettings.model_validate({"terms": [term]}), model, names or NAMES)


def logits_of(probabilities: Any) -> Float32:
    """Return logits that a sigmoid, or a softmax over the last axis, turns into these probabilities; pixels in a row.

    Far from 0 and 1: sigmoid ln(p / (1 - p)).
    """
    p = np.clip(np.array(probabilities, np.float64), 1e-6, 1 - 1e-6)
    return np.log(p / (1 - p))[None, None].astype(np.float32)


def softmax_logits(probabilities: Any) -> Float32:
    """Return logits for a softmax: ln p, up to a constant."""
    return np.log(np.clip(np.array(probabilities, np.float64), 1e-7, 1))[None, None].astype(np.float32)


def truth_of(*ids: int) -> UInt8:
    """Lay class ids in a row of pixels, uint8 [1, 1, P]."""
    return np.array([[ids]], np.uint8)


# two pixels, one of each class; sigmoid probabilities per pixel of (scratch, stain)
MIXED = [[0.9, 0.2], [0.1, 0.4]]


def test_dice_of_mixed_masks() -> None:
    """Scratch is (2 * 0.9 + s) / (0.9 + 0.1 + 1 + s). Stain is (2 * 0.4 + s) / (0.2 + 0.4 + 1 + s)."""
    first = (2 * 0.9 + SMOOTH) / (0.9 + 0.1 + 1 + SMOOTH)
    second = (2 * 0.4 + SMOOTH) / (0.2 + 0.4 + 1 + SMOOTH)
    loss = one_term("sigmoid", kind="dice")
    assert float(loss(logits_of(MIXED), truth_of(1, 2))) == pytest.approx(((1 - first) + (1 - second)) / 2, rel=1e-5)


def test_dice_of_empty_and_full_masks() -> None:
    """An empty mask asks for nothing unless absent classes count. A full one costs 1 - s / (n + s) if left out."""
    some = logits_of([[0.3], [0.8]])
    assert float(one_term("sigmoid", ["a"], kind="dice")(some, truth_of(0, 0))) == 0
    counted = float(one_term("sigmoid", ["a"], kind="dice", absent="count")(some, truth_of(0, 0)))
    assert counted == pytest.approx(1 - SMOOTH / (0.3 + 0.8 + SMOOTH), rel=1e-5)
    full = one_term("sigmoid", ["a"], kind="dice")
    assert float(full(logits_of([[1.0], [1.0]]), truth_of(1, 1))) == pytest.approx(0, abs=1e-5)
    assert float(full(logits_of([[0.0], [0.0]]), truth_of(1, 1))) == pytest.approx(1 - SMOOTH / (2 + SMOOTH), abs=1e-5)


def test_a_class_that_is_not_shown_is_not_judged() -> None:
    """Only the class that the batch shows is averaged: (2 * 0.5 + s) / (0.5 + 1 + s)."""
    value = float(one_term("sigmoid", kind="dice")(logits_of([[0.5, 0.7]]), truth_of(1)))
    assert value == pytest.approx(1 - (2 * 0.5 + SMOOTH) / (0.5 + 1 + SMOOTH), rel=1e-5)


def test_class_weights_multiply_a_class() -> None:
    """Stain counts three times: the mean is over the classes, not over their weights."""
    first = 1 - (2 * 0.9 + SMOOTH) / (0.9 + 0.1 + 1 + SMOOTH)
    second = 1 - (2 * 0.4 + SMOOTH) / (0.2 + 0.4 + 1 + SMOOTH)
    loss = one_term("sigmoid", kind="dice", class_weights={"stain": 3.0})
    assert float(loss(logits_of(MIXED), truth_of(1, 2))) == pytest.approx((first + 3 * second) / 2, rel=1e-5)


def test_dice_is_kerass_but_for_the_smoothing() -> None:
    """With next to no smoothing and every class shown it is keras.losses.Dice taken class by class."""
    generator = np.random.default_rng(3)
    logits = generator.normal(size=(2, 4, 5, 2)).astype(np.float32)
    truth = generator.integers(0, 3, (2, 4, 5)).astype(np.uint8)
    target = np.eye(3, dtype=np.float32)[truth][..., 1:]
    ours = float(one_term("sigmoid", kind="dice", smooth=1e-7)(logits, truth))
    theirs = keras.losses.dice(target, tf.nn.sigmoid(logits), axis=(0, 1, 2))
    assert ours == pytest.approx(float(np.mean(theirs)), rel=1e-5)


def test_softmax_cross_entropy_with_background() -> None:
    """Logits (0, ln 3) for background and scratch give p = 1/4 and 3/4: the loss is -ln 3/4 on a scratch."""
    loss = one_term("softmax", ["scratch"], kind="cross_entropy")
    logits = tf.constant([0.0, np.log(3.0)], shape=(1, 1, 1, 2), dtype=tf.float32)
    assert float(loss(logits, truth_of(1))) == pytest.approx(-np.log(3 / 4))
    assert float(loss(logits, truth_of(0))) == pytest.approx(-np.log(1 / 4))


def test_sigmoid_cross_entropy_per_class() -> None:
    """Without a background each class answers for itself: (-ln 3/4 - ln(1 - 1/2)) / 2 on a scratch."""
    loss = one_term("sigmoid", kind="cross_entropy")
    logits = tf.constant([np.log(3.0), 0.0], shape=(1, 1, 1, 2), dtype=tf.float32)
    assert float(loss(logits, truth_of(1))) == pytest.approx((-np.log(3 / 4) - np.log(1 / 2)) / 2)


def test_cross_entropy_weighs_a_pixel_by_its_true_class() -> None:
    """A clean pixel at weight 1/2 and a scratch at 4 have p = 1/4 and 3/4.

    They cost (0.5 * -ln 1/4 + 4 * -ln 3/4) / 2.
    """
    loss = one_term("softmax", ["scratch"], kind="cross_entropy", class_weights={"background": 0.5, "scratch": 4.0})
    logits = softmax_logits([[0.25, 0.75], [0.25, 0.75]])
    expected = (0.5 * -np.log(1 / 4) + 4 * -np.log(3 / 4)) / 2
    assert float(loss(logits, truth_of(0, 1))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("balance", "factors"), [(0.0, (1.0, 1.0)), (0.5, (5 / 6, 2.5)), (1.0, (5 / 9, 5.0))], ids=["none", "root", "full"]
)
def test_balanced_cross_entropy_weighs_classes_by_their_pixels(balance: float, factors: tuple[float, float]) -> None:
    """Nine clean pixels of ten: shares 0.9 and 0.1, so at b weights 0.9^-b and 0.1^-b over 0.9^(1-b) + 0.1^(1-b).

    At 1/2: 1.0541 and 3.1623 over 1.2649, 5 / 6 and 5 / 2; at 1: 10 / 9 and 10 over 2, each class half of the sum. A
    class that no pixel shows (the stain) weighs nothing. With a sigmoid head all channels of a pixel weigh alike.
    """
    clean, scratched = factors
    softmax = one_term("softmax", kind="cross_entropy", balance=balance)
    logits = softmax_logits([[0.5, 0.25, 0.25]] * 10)
    expected = (9 * clean * -np.log(0.5) + scratched * -np.log(0.25)) / 10
    assert float(softmax(logits, truth_of(*[0] * 9, 1))) == pytest.approx(expected, rel=1e-5)
    if balance:
        sigmoid = one_term("sigmoid", ["scratch"], kind="cross_entropy", balance=balance)
        expected = (9 * clean * -np.log(0.75) + scratched * -np.log(0.25)) / 10
        assert float(sigmoid(logits_of([[0.25]] * 10), truth_of(*[0] * 9, 1))) == pytest.approx(expected, rel=1e-5)


def test_label_smoothing_takes_certainty_from_the_truth() -> None:
    """At 0.2 of two classes a scratch is (0.1, 0.9): -0.1 ln 1/4 - 0.9 ln 3/4. With a sigmoid it is 0.9 too."""
    softmax = one_term("softmax", ["scratch"], kind="cross_entropy", label_smoothing=0.2)
    expected = -0.1 * np.log(1 / 4) - 0.9 * np.log(3 / 4)
    assert float(softmax(softmax_logits([[0.25, 0.75]]), truth_of(1))) == pytest.approx(expected, rel=1e-5)
    sigmoid = one_term("sigmoid", ["scratch"], kind="cross_entropy", label_smoothing=0.2)
    assert float(sigmoid(logits_of([[0.75]]), truth_of(1))) == pytest.approx(expected, rel=1e-5)


def test_focal_loss_turns_from_what_is_easy() -> None:
    """Scratch at p = 3/4: (1 - 3/4)^2 * -ln 3/4. With alpha 0.9 that times 0.9, and a clean pixel times 0.1."""
    easy = 0.25**2 * -np.log(3 / 4)
    hard = 0.75**2 * -np.log(1 / 4)
    plain = one_term("softmax", ["scratch"], kind="focal", gamma=2.0)
    balanced = one_term("softmax", ["scratch"], kind="focal", gamma=2.0, alpha=0.9)
    logits = softmax_logits([[0.25, 0.75], [0.25, 0.75]])
    assert float(plain(logits, truth_of(1, 0))) == pytest.approx((easy + hard) / 2, rel=1e-4)
    assert float(balanced(logits, truth_of(1, 0))) == pytest.approx((0.9 * easy + 0.1 * hard) / 2, rel=1e-4)
    binary = one_term("sigmoid", ["scratch"], kind="focal", gamma=2.0, alpha=0.9)
    logits = logits_of([[0.75], [0.75]])
    assert float(binary(logits, truth_of(1, 0))) == pytest.approx((0.9 * easy + 0.1 * hard) / 2, rel=1e-4)


def test_focal_loss_of_empty_and_full_masks() -> None:
    """A true class at p = 3/4 costs (1 - 3/4)^2 x -ln 3/4, at 1/4 (1 - 1/4)^2 x -ln 1/4.

    A certain one costs nothing.
    """
    plain = one_term("softmax", ["scratch"], kind="focal", gamma=2.0)
    logits = softmax_logits([[0.75, 0.25], [0.25, 0.75]])
    right, wrong = 0.25**2 * -np.log(3 / 4), 0.75**2 * -np.log(1 / 4)
    assert float(plain(logits, truth_of(0, 0))) == pytest.approx((right + wrong) / 2, rel=1e-4)
    assert float(plain(logits, truth_of(1, 1))) == pytest.approx((wrong + right) / 2, rel=1e-4)
    certain = softmax_logits([[0.0, 1.0], [0.0, 1.0]])
    assert float(plain(certain, truth_of(1, 1))) == pytest.approx(0, abs=1e-6)


def test_focal_loss_without_focus_is_cross_entropy() -> None:
    """At gamma 0 nothing is turned from, on full, empty and mixed masks."""
    generator = np.random.default_rng(5)
    logits = generator.normal(size=(1, 3, 3, 3)).astype(np.float32)
    for truth in (np.zeros((1, 3, 3), np.uint8), np.ones((1, 3, 3), np.uint8), generator.integers(0, 3, (1, 3, 3))):
        focal = one_term("softmax", kind="focal", gamma=0.0)(logits, truth)
        entropy = one_term("softmax", kind="cross_entropy")(logits, truth)
        assert float(focal) == pytest.approx(float(entropy), rel=1e-5)


def test_tversky_weighs_missed_pixels_apart_from_false_ones() -> None:
    """Scratch: hits 0.9, missed 0.1, false 0.1: (0.9 + s) / (0.9 + 0.3 * 0.1 + 0.7 * 0.1 + s). Stain: 0.4, 0.6, 0.2."""
    first = (0.9 + SMOOTH) / (0.9 + 0.3 * 0.1 + 0.7 * 0.1 + SMOOTH)
    second = (0.4 + SMOOTH) / (0.4 + 0.3 * 0.2 + 0.7 * 0.6 + SMOOTH)
    loss = one_term("sigmoid", kind="tversky", alpha=0.3, beta=0.7)
    assert float(loss(logits_of(MIXED), truth_of(1, 2))) == pytest.approx(1 - (first + second) / 2, rel=1e-5)
    focal = one_term("sigmoid", kind="tversky", alpha=0.3, beta=0.7, power=0.75)
    expected = ((1 - first) ** 0.75 + (1 - second) ** 0.75) / 2
    assert float(focal(logits_of(MIXED), truth_of(1, 2))) == pytest.approx(expected, rel=1e-5)


def test_tversky_asks_for_recall() -> None:
    """With beta above alpha a missed pixel costs more than a false one: full and empty masks, p = 0 and 1."""
    loss = one_term("sigmoid", ["a"], kind="tversky", alpha=0.2, beta=0.8, absent="count")
    missed = float(loss(logits_of([[0.0]]), truth_of(1)))
    false = float(loss(logits_of([[1.0]]), truth_of(0)))
    assert missed == pytest.approx(1 - 1 / (0.8 + 1), abs=1e-5)
    assert false == pytest.approx(1 - 1 / (0.2 + 1), abs=1e-5)


def test_an_even_tversky_is_dice() -> None:
    """At alpha = beta = 1/2 the index is (2 tp + 2s) / (sum p + sum t + 2s). That is Dice with twice the smoothing."""
    even = one_term("sigmoid", kind="tversky", alpha=0.5, beta=0.5, smooth=0.5)
    dice = one_term("sigmoid", kind="dice", smooth=1.0)
    logits = logits_of(MIXED)
    assert float(even(logits, truth_of(1, 2))) == pytest.approx(float(dice(logits, truth_of(1, 2))), rel=1e-5)


def test_region_accuracy_is_linear_inside_the_true_region() -> None:
    """Scratch on two pixels at 0.2 and 0.6, clean on one at 0.7, costs 1 - ((0.2 + 0.6) / 2 + 0.7) / 2.

    A stain is absent.
    """
    probabilities = [[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.7, 0.2, 0.1]]
    loss = one_term("softmax", kind="region_accuracy")
    expected = 1 - ((0.2 + 0.6) / 2 + 0.7) / 2
    assert float(loss(softmax_logits(probabilities), truth_of(1, 1, 0))) == pytest.approx(expected, rel=1e-5)
    without = one_term("softmax", kind="region_accuracy", background=False)
    assert float(without(softmax_logits(probabilities), truth_of(1, 1, 0))) == pytest.approx(1 - 0.4, rel=1e-5)
    assert float(without(softmax_logits(probabilities), truth_of(0, 0, 0))) == 0


def test_region_accuracy_of_empty_and_full_masks() -> None:
    """Empty: 1 - the mean of 0.7 and 0.4, the background's alone. Full: 1 - the mean of 0.2 and 0.6, the scratch's."""
    probabilities = [[0.7, 0.2, 0.1], [0.4, 0.6, 0.0]]
    loss = one_term("softmax", kind="region_accuracy")
    assert float(loss(softmax_logits(probabilities), truth_of(0, 0))) == pytest.approx(1 - 0.55, rel=1e-5)
    assert float(loss(softmax_logits(probabilities), truth_of(1, 1))) == pytest.approx(1 - 0.4, rel=1e-5)


def test_cross_entropy_of_empty_and_full_masks() -> None:
    """Sigmoid p = 3/4 and 1/4: empty (-ln 1/4 - ln 3/4) / 2, and full the same the other way round."""
    loss = one_term("sigmoid", ["scratch"], kind="cross_entropy")
    logits, expected = logits_of([[0.75], [0.25]]), (-np.log(1 / 4) - np.log(3 / 4)) / 2
    assert float(loss(logits, truth_of(0, 0))) == pytest.approx(expected, rel=1e-5)
    assert float(loss(logits, truth_of(1, 1))) == pytest.approx(expected, rel=1e-5)


def test_a_sigmoids_background_is_that_nothing_is_answered() -> None:
    """Clean at p = 0.1 and 0.5: its accuracy is 0.9 * 0.5."""
    loss = one_term("sigmoid", kind="region_accuracy")
    assert float(loss(logits_of([[0.1, 0.5]]), truth_of(0))) == pytest.approx(1 - 0.9 * 0.5, rel=1e-5)


def test_lovasz_of_probabilities() -> None:
    """Truth (1, 0, 1), p (0.6, 0.3, 0.9): errors 0.4, 0.3, 0.1 in that order.

    1 - IoU with the first wrong is 1 - 1/2, with the first two 1 - 1/3, with all 1: steps 1/2, 1/6, 1/3.
    """
    loss = one_term("sigmoid", ["a"], kind="lovasz")
    value = float(loss(logits_of([[0.6], [0.3], [0.9]]), truth_of(1, 0, 1)))
    assert value == pytest.approx(0.4 / 2 + 0.3 / 6 + 0.1 / 3, rel=1e-4)


def test_lovasz_hinge() -> None:
    """Truth (1, 0) and logits (0.5, -3) have errors 1 - 0.5 and max(0, 1 - 3) = 0. The first step is 1 - 0/1."""
    loss = one_term("sigmoid", ["a"], kind="lovasz", errors="hinge")
    logits = np.array([[[[0.5], [-3.0]]]], np.float32)
    assert float(loss(logits, truth_of(1, 0))) == pytest.approx(0.5)


def test_lovasz_of_empty_and_full_masks() -> None:
    """Empty: nothing, or the greatest error where absent classes count. Full: the mean of the errors."""
    some = logits_of([[0.3], [0.8]])
    assert float(one_term("sigmoid", ["a"], kind="lovasz")(some, truth_of(0, 0))) == 0
    counted = one_term("sigmoid", ["a"], kind="lovasz", absent="count")
    assert float(counted(some, truth_of(0, 0))) == pytest.approx(0.8, rel=1e-5)
    full = one_term("sigmoid", ["a"], kind="lovasz")
    assert float(full(some, truth_of(1, 1))) == pytest.approx((0.7 + 0.2) / 2, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_lovasz_is_one_minus_iou_where_answers_are_certain(pixels: list[tuple[bool, bool]]) -> None:
    """The extension agrees with what it extends: errors of 0 and 1 give 1 - IoU."""
    truth, answer = (np.array(values) for values in zip(*pixels, strict=True))
    errors = (truth != answer).astype(np.float32)
    order = np.argsort(-errors, kind="stable")
    steps = jaccard_steps(tf.constant(truth[order].astype(np.float32))).numpy()
    union = (truth | answer).sum()
    iou = (truth & answer).sum() / union if union else 1.0
    assert float((errors[order] * steps).sum()) == pytest.approx(1 - iou, abs=1e-6)


@given(st.lists(st.sampled_from([0.0, -0.0, 1e-30, 0.25, 0.5, 0.75, 1.0, 2.5]), min_size=1, max_size=40))
@settings(deadline=None)
def test_errors_fall_in_the_order_that_tensorflow_sorts_them(errors: list[float]) -> None:
    """NumPy's order is TensorFlow's, equal errors among it."""
    values = np.array([[errors, errors[::-1]]], np.float32)
    expected = tf.argsort(values, axis=-1, direction="DESCENDING").numpy()
    assert falling_order(values).tolist() == expected.tolist()


@pytest.mark.parametrize("term", [{}, {"per_picture": True}, {"errors": "hinge"}])
def test_lovasz_is_the_same_to_the_bit_where_numpy_sorts(term: dict[str, Any]) -> None:
    """Loss and slope have the same bits, compiled into a graph as in a training."""
    head = "sigmoid" if term.get("errors") == "hinge" else "softmax"
    model = ModelSettings.model_validate({"head": head})
    draw = np.random.default_rng(3)
    logits = tf.constant(draw.normal(size=(2, 24, 24, 3 if head == "softmax" else 2)).astype(np.float32))
    truth = draw.choice(np.array([0, 1, 2, 255], np.uint8), (2, 24, 24))
    found = []
    for by_numpy in (False, True):
        loss = make_loss(
            LossSettings.model_validate({"terms": [{"kind": "lovasz", **term}]}), model, NAMES, by_numpy=by_numpy
        )

        def slope(z: Any, loss: Any = loss) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(z)
                value = loss(z, truth)
            return value, tape.gradient(value, z)

        value, gradient = tf.function(slope, autograph=False)(logits)
        found.append((value.numpy().tobytes(), gradient.numpy().tobytes()))
    assert found[0] == found[1]


def test_lovasz_per_picture_is_the_mean_of_the_pictures() -> None:
    """Two crops sorted apart give the mean of what each gives alone; a softmax may judge the background too."""
    generator = np.random.default_rng(7)
    logits = generator.normal(size=(2, 3, 3, 3)).astype(np.float32)
    truth = generator.integers(0, 3, (2, 3, 3)).astype(np.uint8)
    loss = one_term("softmax", kind="lovasz", per_picture=True, background=True)
    apart = [float(loss(logits[i : i + 1], truth[i : i + 1])) for i in range(2)]
    assert float(loss(logits, truth)) == pytest.approx(np.mean(apart), rel=1e-5)


TERMS: list[dict[str, Any]] = [
    {"kind": "cross_entropy", "label_smoothing": 0.1, "class_weights": {"stain": 2.0}},
    {"kind": "cross_entropy", "balance": 0.5},
    {"kind": "focal", "alpha": 0.7},
    {"kind": "dice", "class_weights": {"stain": 2.0}},
    {"kind": "dice", "absent": "count", "background": True},
    {"kind": "tversky", "power": 0.75},
    {"kind": "region_accuracy"},
    {"kind": "lovasz"},
    {"kind": "lovasz", "per_picture": True, "absent": "count"},
]
MASKS = {"empty": [0] * 9, "full": [1] * 9, "mixed": [0, 1, 2, 0, 0, 1, 2, 2, 0]}
CASES = [("softmax", term) for term in TERMS] + [
    ("sigmoid", term) for term in [*TERMS, {"kind": "lovasz", "errors": "hinge"}]
]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("head", "term"), CASES, ids=lambda value: value if isinstance(value, str) else value["kind"])
def test_the_gradient_agrees_with_finite_differences(head: str, term: dict[str, Any], mask: str) -> None:
    """The gradient is the slope of what training minimises, for each term, head and mask."""
    generator = np.random.default_rng(1)
    loss = tf.function(one_term(head, **term))  # as training traces it
    logits = generator.normal(size=(1, 3, 3, 2 + (head == "softmax"))).astype(np.float32)
    truth = np.array(MASKS[mask], np.uint8).reshape(1, 3, 3)
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = loss(variable, truth)
    gradient = tape.gradient(value, variable).numpy()
    step = np.zeros_like(logits)
    for place in ((0, 0, 0, 0), (0, 2, 1, 1), (0, 1, 2, 0)):
        step[:] = 0
        step[place] = 2e-3
        slope = (float(loss(logits + step, truth)) - float(loss(logits - step, truth))) / 4e-3
        assert gradient[place] == pytest.approx(slope, abs=5e-4)


def test_terms_are_added_up_by_their_weights() -> None:
    """0.5 cross-entropy + 2 Dice is just that."""
    model = ModelSettings(head="softmax")
    terms = [{"kind": "cross_entropy", "weight": 0.5}, {"kind": "dice", "weight": 2.0}]
    both = make_loss(LossSettings.model_validate({"terms": terms}), model, NAMES)
    logits, truth = np.random.default_rng(2).normal(size=(1, 3, 3, 3)), np.array([[[0, 1, 2]] * 3])
    parts = [float(one_term("softmax", kind=kind)(logits, truth)) for kind in ("cross_entropy", "dice")]
    assert float(both(logits, truth)) == pytest.approx(0.5 * parts[0] + 2 * parts[1], rel=1e-5)


def test_the_default_is_cross_entropy_and_dice() -> None:
    """A recipe without a loss, and one with both weights at 1, follow the same sum."""
    kinds = [(term.kind, term.weight) for term in LossSettings().sum_of(NAMES)]
    assert kinds == [("cross_entropy", 1.0), ("dice", 1.0)]
    assert LossSettings().sum_of(NAMES) == LossSettings(cross_entropy=1.0, dice=1.0).sum_of(NAMES)
    assert [term.kind for term in LossSettings(cross_entropy=0, dice=2.0).sum_of(NAMES)] == ["dice"]


def test_the_preset_of_binary_cross_entropy_and_dice() -> None:
    """0.7 BCE - Dice, plus 1 so that nothing left to learn is 0 of the second part."""
    loss = make_loss(LossSettings(preset="bce-dice"), ModelSettings(head="sigmoid"), ["a"])
    bce = (-np.log(0.75) - np.log(1 - 0.2)) / 2
    dice = (2 * 0.75 + 1) / (0.75 + 0.2 + 1 + 1)
    assert float(loss(logits_of([[0.75], [0.2]]), truth_of(1, 0))) == pytest.approx(0.7 * bce + 1 - dice, rel=1e-5)


def test_the_preset_of_categorical_cross_entropy_and_weighted_dice() -> None:
    """It is 0.7 CCE - 0.25 (2 D1 + 2.5 D2 + 1 D3 + 2 D4), plus 7.5 / 4. Four classes count, absent ones too."""
    loss = make_loss(LossSettings(preset="cce-dice"), ModelSettings(head="softmax"), ["1", "2", "3", "4"])
    p = np.array([[0.4, 0.3, 0.1, 0.1, 0.1], [0.1, 0.1, 0.6, 0.1, 0.1]])
    cce = (-np.log(0.3) - np.log(0.6)) / 2
    shown = [(2 * 0.3 + 1) / (0.3 + 0.1 + 1 + 1), (2 * 0.6 + 1) / (0.1 + 0.6 + 1 + 1)]
    absent = [1 / (0.1 + 0.1 + 1)] * 2
    weighted = sum(w * d for w, d in zip((2, 2.5, 1, 2), shown + absent, strict=True))
    expected = 0.7 * cce - 0.25 * weighted + 0.25 * 7.5
    assert float(loss(softmax_logits(p), truth_of(1, 2))) == pytest.approx(expected, rel=1e-5)


def test_a_preset_for_other_classes_asks_for_weights() -> None:
    """The preset's weights are for four classes; with others they are given, or refused."""
    with pytest.raises(SettingsError, match="weights for 4 classes, and the data set has 2"):
        LossSettings(preset="cce-dice").sum_of(NAMES)
    terms = LossSettings(preset="cce-dice", class_weights={"stain": 3.0}).sum_of(NAMES)
    assert terms[1].class_weights == {"stain": 3.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("loss: {preset: bce-dice}", "expected model.head sigmoid for loss.preset bce-dice, received softmax"),
        ("loss: {preset: cce-dice, dice: 1.0}", "expected one of: terms, preset, or the weights"),
        ("loss: {cross_entropy: 0, dice: 0}", "received 0 for both"),
        ("loss: {terms: [{kind: dise}]}", r"key loss.terms.0: expected kind as one of: cross_entropy, focal, dice"),
        ("loss: {terms: [{kind: dice, smoth: 1}]}", r"key loss.terms.0.dice.smoth: no such key"),
        ("loss: {terms: [{kind: lovasz, errors: hinge}]}", "expected model.head sigmoid for a lovasz term"),
        ("loss: {terms: [{kind: focal, gamma: true}]}", "expected a number"),
        ("loss: {class_weights: {a: 2}}", "expected class_weights beside preset"),
    ],
)
def test_a_wrong_loss_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    """A loss that cannot be is refused where the recipe is read."""
    path = tmp_path / "recipe.yaml"
    path.write_text(f"name: x\n{text}\n")
    with pytest.raises(SettingsError, match=says):
        load_yaml(path, TrainSettings)
