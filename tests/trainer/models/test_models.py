from __future__ import annotations

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from edge.errors import DependencyError, SettingsError
from edge.records import Float32
from edge.yaml_settings import load_yaml
from tests.trainer.tiny_models import CLASSES, TILE, TINY, as_floats, learn, shown, taught, tiny
from trainer.__main__ import app
from trainer.evaluation.keras_engine import load_model
from trainer.models import FAMILIES, build_for_training, describe, for_inference, stages
from trainer.models.counting import flop_per_tile
from trainer.models.pretrained import preprocessing_of
from trainer.recipe.model_settings import FAMILY_SETTINGS, EdgeUnetSettings, TransferSettings
from trainer.recipe.settings import TrainSettings
from trainer.training.hardware import import_keras

COUNT = len(CLASSES)


@pytest.mark.parametrize("name", TINY)
def test_every_family_learns(name: str) -> None:
    """Logits have the promised shape, every variable gets a finite gradient, and steps on one batch lower the loss."""
    net, settings = taught(name).net, tiny(name)
    logits = net(as_floats(shown(settings, 2)[0]))
    cells = TILE // settings.stride_px(TILE)
    assert logits.shape == (2, cells, cells, COUNT + settings.has_background)
    assert logits.dtype == tf.float32
    gradients = taught(name).gradients
    assert list(gradients) == [variable.path for variable in net.trainable_variables]
    for path, gradient in gradients.items():
        assert gradient is not None, path
        assert np.isfinite(gradient).all(), path
    losses = taught(name).losses
    assert min(losses[1:]) < losses[0], losses


@pytest.mark.parametrize("name", TINY)
def test_the_inference_model_answers_as_the_trained_one(name: str, tmp_path: Path) -> None:
    """Its probabilities are the softmax or sigmoid of the logits, without the background, also once saved in safe mode.

    With several views they are NumPy's mean over mirror images. Blocks that were summed, and the gate that became a
    product, change nothing but the last digits.
    """
    net, settings = taught(name).net, tiny(name)
    for_inference(net, settings, (TILE, TILE, 1), COUNT).save(tmp_path / "model.keras")
    kept = load_model(tmp_path / "model.keras")
    frames = (settings.frames,) if settings.frames > 1 else ()
    assert kept.input_shape == (None, *frames, TILE, TILE, 1)
    pixels, _ = shown(settings, 3, seed=5)

    def probabilities(tiles: Float32) -> Any:
        logits = net(tiles, training=False)
        return tf.nn.softmax(logits)[..., 1:] if settings.has_background else tf.nn.sigmoid(logits)

    expected = mean_of_mirror_images(probabilities, as_floats(pixels), settings.views)
    assert np.std(expected) > 1e-6
    np.testing.assert_allclose(kept(as_floats(pixels)), expected, atol=2e-5)


def test_a_segmenter_takes_crops_of_other_sizes() -> None:
    """A model that answers every pixel learns on crops that are not of the tile's size."""
    settings = tiny("edge-unet")
    net = build_for_training(settings, 1, COUNT, TILE)
    assert net(np.zeros((1, 96, 32, 1), np.float32)).shape == (1, 96, 32, 3)


_MIXED = ("edge-unet gated", "instance-resunet")


@pytest.mark.parametrize("views", [2, 4])
def test_views_cost_as_many_times_as_much(views: int) -> None:
    """Their mean is another answer than that of one, and its price is told."""
    settings = tiny("edge-unet of four views").model_copy(update={"views": views})
    alone = settings.model_copy(update={"views": 1})
    assert describe(settings, 1, 2, 64).gflop_per_tile == views * describe(alone, 1, 2, 64).gflop_per_tile
    net = build_for_training(settings, 1, COUNT, TILE)
    mean, one = (for_inference(net, each, (TILE, TILE, 1), COUNT) for each in (settings, alone))
    tiles = np.random.default_rng(5).uniform(0, 255, (2, TILE, TILE, 1)).astype(np.float32)
    np.testing.assert_allclose(mean(tiles), mean_of_mirror_images(one, tiles, views), atol=1e-6)
    assert np.abs(mean(tiles) - one(tiles)).max() > 1e-3


def mean_of_mirror_images(answer: Callable[[Float32], Any], tiles: Float32, views: int) -> Float32:
    """Mean the answers to [N, H, W, C] as it is, left to right, upside down, and both: the first `views` of them."""
    axes: list[tuple[int, ...]] = [(), (2,), (1,), (1, 2)]
    return np.mean([np.flip(answer(np.flip(tiles, axis)), axis) for axis in axes[:views]], axis=0)


def test_mixed_precision_still_answers_float32() -> None:
    """Trained in bfloat16, the logits are float32, and so is the whole of what a bundle keeps."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        nets = {name: build_for_training(tiny(name), 1, COUNT, TILE) for name in _MIXED}
    finally:
        keras.config.set_dtype_policy("float32")
    for name, net in nets.items():
        assert net(np.zeros((1, TILE, TILE, 1), np.float32)).dtype == tf.float32
        losses, _ = learn(net, tiny(name), 2)
        assert np.isfinite(losses).all()
        kept = for_inference(net, tiny(name), (TILE, TILE, 1), COUNT)
        assert {layer.compute_dtype for layer in kept.layers} == {"float32"}


def test_summed_branches_are_one_convolution() -> None:
    """A block of three branches with hand-made weights is 2 x (3 x 3 of ones) + 5 x identity.

    Its shifts are 1 and -3. In the middle of a picture of ones its 3 x 3 sees 9: 2 * 9 + 5 * 1 + 1 - 3 = 21. At a
    corner it is 2 * 4 + 5 - 2 = 11.
    """
    from trainer.models.edge_unet import _folded

    class Norm:
        def __init__(self, scale: float, shift: float) -> None:
            self._weights = [scale * np.sqrt(1 + 1e-3), shift, 0.0, 1.0]

        def get_weights(self) -> list[Float32]:
            return [np.array([value], np.float32) for value in self._weights]

    wide, shift = _folded(np.ones((3, 3, 1, 1), np.float32), Norm(2, 1))
    own, lowered = _folded(np.ones((1, 1, 1, 1), np.float32), Norm(5, -3))
    wide[1, 1] += own[0, 0]
    answer = tf.nn.conv2d(np.ones((1, 5, 5, 1), np.float32), wide, 1, "SAME") + shift + lowered
    assert float(answer[0, 2, 2, 0]) == pytest.approx(21, rel=1e-5)
    assert float(answer[0, 0, 0, 0]) == pytest.approx(11, rel=1e-5)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("u", [-30.0, -1.0, 2.0, 30.0])
def test_a_gate_multiplies_probabilities(head: str, u: float) -> None:
    """The probability is softmax(z)_k sigmoid(u), the background taking the rest; or sigmoid(z) sigmoid(u)."""
    from trainer.models.heads import _gated_sigmoid, _gated_softmax

    generator = np.random.default_rng(0)
    z = generator.normal(size=(2, 3, 4, 3)).astype(np.float32) * 8
    gate = 1 / (1 + np.exp(-np.float64(u)))
    if head == "softmax":
        powers = np.exp(z.astype(np.float64))
        expected = powers / powers.sum(axis=-1, keepdims=True) * gate
        expected[..., 0] = 1 - expected[..., 1:].sum(axis=-1)
        found = tf.nn.softmax(_gated_softmax(z, np.full((2, 1, 1, 2), u, np.float32))).numpy()
    else:
        expected = gate / (1 + np.exp(-z.astype(np.float64)))
        found = tf.nn.sigmoid(_gated_sigmoid(z, np.full((2, 1, 1, 3), u, np.float32))).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_unpooling_puts_values_where_the_maxima_were() -> None:
    """The mask marks the largest of each 2 x 2 window, and both where two are equal."""
    from trainer.models.instance_resunet import _maxima

    x = np.array([[1, 5, 2, 2], [0, 3, 1, 2], [9, 0, 0, 0], [0, 0, 0, 7]], np.float32)[None, :, :, None]
    mask = np.asarray(_maxima(tf.constant(x), keras.layers.MaxPooling2D(2)(x)))[0, :, :, 0]
    np.testing.assert_array_equal(mask, [[0, 1, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 1]])


def test_instance_normalisation_is_keras_s() -> None:
    """Written out it is GroupNormalization with a group per channel."""
    from trainer.models.instance_resunet import _normalise

    pixels = keras.Input((8, 6, 5))
    own = keras.Model(pixels, _normalise(pixels))
    theirs = keras.layers.GroupNormalization(groups=-1, epsilon=1e-5)
    x = np.random.default_rng(0).normal(3, 2, (2, 8, 6, 5)).astype(np.float32)
    np.testing.assert_allclose(own(x), theirs(x), atol=1e-5)


def test_noise_is_for_training_only() -> None:
    """The residual U-Net answers one tile always alike, and in training never."""
    net = taught("resunet").net
    tiles = as_floats(shown(tiny("resunet"), 1)[0])
    np.testing.assert_array_equal(net(tiles, training=False), net(tiles, training=False))
    noise = net.get_layer(next(layer.name for layer in net.layers if "noise" in layer.name))
    noisy = np.asarray(noise(np.zeros((1, 64, 64, 1), np.float32), training=True)) * 127.5
    assert np.std(noisy) == pytest.approx(3.0, rel=0.1)


def test_l2_is_in_the_losses() -> None:
    """The classic U-Net's kernels cost l2 times the sum of their squares."""
    settings = FAMILY_SETTINGS["classic-unet"].model_validate({"widths": (2, 3), "l2": 0.01})
    net = build_for_training(settings, 1, COUNT, TILE)
    kernels = [w.numpy() for w in net.trainable_weights if w.path.endswith("/kernel") and not w.path.startswith("head")]
    assert float(sum(net.losses)) == pytest.approx(0.01 * sum((kernel**2).sum() for kernel in kernels), rel=1e-5)


# ------------------------------------------------------------------------------------------- the cost of a network


def test_operations_are_counted_as_by_hand() -> None:
    """Each product of the smallest residual-free net, written out: 2 x outputs x kernel x channels in."""
    pixels = keras.Input((8, 8, 1))
    layers = keras.layers
    x = layers.Conv2D(4, 3, strides=2, padding="same")(pixels)  # 4 x 4 x 4 outputs of 3 x 3 x 1
    x = layers.DepthwiseConv2D(3, padding="same")(x)  # 4 x 4 x 4 outputs of 3 x 3
    x = layers.Conv2DTranspose(2, 2, strides=2)(x)  # 4 x 4 x 4 inputs, each to 2 x 2 x 2
    x = layers.Dense(5)(layers.Flatten()(x))  # 8 x 8 x 2 to 5
    by_hand = 2 * (64 * 9 * 1 + 64 * 9 + 64 * 8 + 128 * 5)
    assert flop_per_tile(keras.Model(pixels, x)) == by_hand == 4608


def test_slim_unet_is_counted_as_by_hand() -> None:
    """Two levels of 4 and 8 channels on 64 x 64 px at full resolution, three outputs."""
    settings = FAMILY_SETTINGS["slim-unet"].model_validate({"widths": (4, 8)})
    full, half = 64 * 64, 32 * 32
    per_position = [
        (full, 9 * 1 * 4),
        (full, 9 * 4 * 4),
        (half, 9 * 4 * 8),
        (half, 9 * 8 * 8),
        (half, 1 * 8 * 4),  # narrowed before it grows
        (full, 9 * 8 * 4),  # beside the skip
        (full, 9 * 4 * 4),
        (full, 1 * 4 * 3),
    ]
    facts = describe(settings, 1, 2, 64)
    assert facts.gflop_per_tile == pytest.approx(2 * sum(n * products for n, products in per_position) / 1e9)
    assert (facts.family, facts.stride_px, facts.frames) == ("slim-unet", 1, 1)


@pytest.mark.parametrize("name", ["edge-unet separable, a quarter", "classic-unet", "cnn-lstm"])
def test_operations_are_counted_as_by_tensorflow_s_profiler(name: str) -> None:
    """The profiler's own count of the products in the frozen graph is ours."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = for_inference(taught(name).net, tiny(name), (TILE, TILE, 1), COUNT)
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    traced = tf.function(lambda tiles: model(tiles, training=False)).get_concrete_function(signature)
    frozen = convert_variables_to_constants_v2(traced)
    products = ["Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "MatMul"]
    options = tf.compat.v1.profiler.ProfileOptionBuilder(tf.compat.v1.profiler.ProfileOptionBuilder.float_operation())
    counted = tf.compat.v1.profiler.profile(
        frozen.graph, options=options.with_empty_output().with_accounted_types(products).build(), cmd="op"
    )
    # "total" is of an operation and of those below it
    own = {each.name: each.total_float_ops - sum(c.total_float_ops for c in each.children) for each in _all(counted)}
    assert flop_per_tile(model) == sum(own.get(kind, 0) for kind in products)


def _all(node: Any) -> list[Any]:
    return [node, *(each for child in node.children for each in _all(child))]


def test_the_paper_s_widths_are_a_setting_of_the_classic_unet() -> None:
    """64 to 1024 channels are counted by hand.

    There are two 3 x 3 per level down, a 2 x 2 transposed and two 3 x 3 per level up.
    """
    widths = (64, 128, 256, 512, 1024)
    down = [(9 * i + 1) * o + (9 * o + 1) * o for i, o in zip((1, *widths), widths, strict=False)]
    up = [(4 * 2 * w + 1) * w + (9 * 2 * w + 1) * w + (9 * w + 1) * w for w in widths[:-1]]
    settings = FAMILY_SETTINGS["classic-unet"].model_validate({"widths": widths})
    expected = sum(down) + sum(up) + (64 + 1) * (COUNT + 1)
    assert describe(settings, 1, COUNT, TILE).parameters == expected
    assert 31e6 < expected < 31.1e6  # the 31 million that are told of it


def test_four_classes_and_a_background_are_a_softmax_of_five() -> None:
    """As the sources' residual encoder and decoder answers: five channels, of which the first is clean."""
    settings = FAMILY_SETTINGS["resnet50-decoder"].model_validate(TINY["resnet50-decoder"])
    net = build_for_training(settings, 1, 4, TILE)
    assert net(np.zeros((1, TILE, TILE, 1), np.float32)).shape == (1, TILE, TILE, 5)


def test_the_default_family_is_the_cheapest_segmenter() -> None:
    """At its defaults edge-unet stays below 0.6 GFLOP for a tile of 128 px."""
    facts = describe(EdgeUnetSettings(), 1, 3, 128)
    assert facts.gflop_per_tile <= 0.6
    assert TrainSettings(name="x").model == EdgeUnetSettings()


def test_the_command_lists_every_family() -> None:
    """`models --json` gives each family's facts; one that cannot take such tiles says why."""
    result = CliRunner().invoke(app, ["models", "--json", "--tile", "40", "--channels", "3", "--classes", "5"])
    assert result.exit_code == 0, result.output
    found = {about["family"]: about for about in json.loads(result.stdout)}
    assert list(found) == list(FAMILIES) == list(FAMILY_SETTINGS)
    expected = asdict(describe(FAMILY_SETTINGS["cnn6"](), 3, 5, 40))
    assert {key: found["cnn6"][key] for key in expected} == expected
    assert "a multiple of 32 px, received 40" in found["resnet50-decoder"]["unsuited"]


# ------------------------------------------------------------------------------------------ backbones and stages


@pytest.mark.parametrize("name", ["VGG16", "ResNet50V2", "DenseNet121", "MobileNetV3Small"])
def test_preprocessing_is_the_backbone_s_own(name: str) -> None:
    """The factors read off four pixels do to any BGR pixel what Keras's `preprocess_input` does to the RGB one."""
    import importlib

    make = getattr(keras.applications, name)
    order, scale, offset = preprocessing_of(make)
    bgr = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.float32)
    theirs = importlib.import_module(make.__module__).preprocess_input(bgr[..., ::-1].copy())
    np.testing.assert_allclose(bgr[..., order] * scale + offset, theirs, atol=1e-3)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_backbone_begins_with_the_weights_of_a_file(tmp_path: Path, suffix: str) -> None:
    """Weights saved from keras.applications are those of the built network's backbone, and stay so in the bundle."""
    keras.utils.set_random_seed(3)
    theirs = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(None, None, 3))
    path = tmp_path / f"mobile{suffix}"
    theirs.save(path) if suffix == ".keras" else theirs.save_weights(path)
    settings = TransferSettings(backbone="MobileNetV3Small", weights=path)
    net = build_for_training(settings, 1, COUNT, TILE)
    for found, expected in zip(net.get_layer("backbone").get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)
    path.unlink()
    kept = for_inference(net, settings, (TILE, TILE, 1), COUNT)
    np.testing.assert_array_equal(kept.get_layer("backbone").get_weights()[0], theirs.get_weights()[0])


def test_batch_statistics_of_a_random_backbone_follow_quickly(tmp_path: Path) -> None:
    """MobileNetV2 remembers 1,000 steps, longer than many trainings are; pretrained statistics keep their pace."""
    theirs = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(None, None, 3))
    theirs.save_weights(tmp_path / "m.weights.h5")
    found = {}
    for weights in ("random", tmp_path / "m.weights.h5"):
        net = build_for_training(TransferSettings(backbone="MobileNetV3Small", weights=weights), 1, COUNT, TILE)
        own = [
            layer for layer in net.get_layer("backbone").layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        found[str(weights)] = {layer.momentum for layer in own}
    assert list(found.values()) == [{0.95}, {0.999}]


def test_stages_unfreeze_the_backbone_from_its_end(tmp_path: Path) -> None:
    """First the head alone learns, then a part of the backbone, then all; frozen layers keep their statistics."""
    theirs = keras.applications.MobileNetV3Small(include_top=False, weights=None, input_shape=(None, None, 3))
    theirs.save_weights(tmp_path / "m.weights.h5")
    settings = TransferSettings(backbone="MobileNetV3Small", weights=tmp_path / "m.weights.h5")
    net = build_for_training(settings, 1, COUNT, TILE)
    first, second, last = stages(settings)
    assert [stage.share for stage in (first, second, last)] == [0.0, 0.3, 0.6]
    first.trainable(net)
    assert {weight.path.split("/")[0] for weight in net.trainable_weights} == {"head"}
    before = [value.copy() for value in net.get_layer("backbone").get_weights()]
    learn(net, settings, 2)
    for was, now in zip(before, net.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)
    second.trainable(net)
    layers = [layer for layer in net.get_layer("backbone").layers if layer.weights]
    learning = [bool(layer.trainable_weights) for layer in layers]
    assert learning == sorted(learning)
    assert sum(learning) == round(0.25 * len(layers))
    last.trainable(net)
    assert all(layer.trainable for layer in layers)


@pytest.mark.parametrize("name", ["transfer", "edge-unet"])
def test_what_is_not_pretrained_learns_throughout(name: str) -> None:
    """Random weights are no features to keep: one stage, everything learns."""
    (only,) = stages(tiny(name))
    net = build_for_training(tiny(name), 1, COUNT, TILE)
    net.trainable = False
    only.trainable(net)
    assert only.share == 0
    assert len(net.trainable_weights) > 5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"backbone": "VGG99"}, "expected a network of keras.applications, received 'VGG99'; there are .*VGG16"),
        ({"backbone": "vgg16"}, "expected a network of keras.applications, received 'vgg16'"),
        ({"weights": Path("absent.h5")}, "no file at absent.h5; expected weights of VGG16"),
        ({"backbone": "InceptionV3"}, "the backbone InceptionV3 cannot be used on tiles of 64 x 64 px: [^\x1b\n]*$"),
    ],
)
def test_a_backbone_that_cannot_be_had_is_named(wrong: dict[str, Any], says: str) -> None:
    """Each is a SettingsError before anything is trained."""
    with pytest.raises(SettingsError, match=says):
        build_for_training(TransferSettings(**wrong), 1, COUNT, TILE)


def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    """Weights of another network are named as such."""
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "junk.keras").write_bytes(b"no weights")
    for name in ("other.weights.h5", "junk.keras"):
        with pytest.raises(SettingsError, match=f"{name} does not hold the weights of VGG16"):
            build_for_training(TransferSettings(weights=tmp_path / name), 1, COUNT, TILE)


def test_without_a_network_imagenet_fails_or_goes_on_at_random(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reaches nothing is told so, and goes on only where the recipe says so."""
    for proxy in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    name = "VGG16"
    with pytest.raises(DependencyError, match="The ImageNet weights of VGG16 cannot be had"):
        build_for_training(TransferSettings(backbone=name, weights="imagenet"), 1, COUNT, TILE)
    settings = TransferSettings(backbone=name, weights="imagenet", without_weights="random")
    with pytest.warns(UserWarning, match="VGG16 cannot be had .* going on with random ones"):
        net = build_for_training(settings, 1, COUNT, TILE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for_inference(net, settings, (TILE, TILE, 1), COUNT)


# --------------------------------------------------------------------------------------------------- recipes


@pytest.mark.parametrize(
    ("model", "more", "says"),
    [
        ("{family: nope}", "", "key model: expected family as one of edge-unet, .*cnn-lstm, not 'nope'"),
        ("3", "", "key model: expected keys with values; received 3"),
        ("{family: resunet, stem_stride: 2}", "", "key model.stem_stride: no such key"),
        ("{widths: [8, 0]}", "", "key model.widths.1: expected greater than or equal to 1"),
        ("{family: slim-unet, frames: 5}", "", "key model.frames: expected less than or equal to 1"),
        ("{family: cnn-lstm, frames: 1}", "", "key model.frames: expected greater than or equal to 2"),
        (
            "{family: cnn-lstm, frames: 3}",
            "augmentation: {cut_outs: 2, paste_share: 0.1}",
            "expected no augmentation.cut_outs, augmentation.paste_share for a model of several frames",
        ),
        (
            "{family: cnn-lstm, frames: 3}",
            "sampling: {inside: true}",
            "expected no sampling.inside for a",
        ),
        ("{}", "seed: -1", "key seed: expected greater than or equal to 0"),
        ("{}", "seed: 4294967296", "key seed: expected less than 4294967296"),
        ("{family: cnn6, gate: scale}", "", "key model.gate: expected 'none'"),
        ("{family: vgg16-unet, weights: a.txt}", "", "a file that ends in .h5 or .keras, received a.txt"),
        ("{family: transfer, weights: imagenet, width_share: 0.5}", "", "expected width_share 1 with weights imagenet"),
        ("{family: transfer, unfreezing: [{from_share: 0.2, layers_share: 1}]}", "", "to begin at 0 and to grow"),
        ("{family: cnn6}", "", "expected tile.overlap_px 0 for a model that answers one cell per tile, received 32"),
        (
            "{family: cnn6}",
            "tile: {height: 64, width: 128, overlap_px: 0}",
            "expected tile.height and tile.width alike .*received 64 and 128",
        ),
        (
            "{family: cnn6}",
            "tile: {height: 64, width: 64, overlap_px: 0}",
            "expected sampling.crop_px as the tile's side, 64, .*received 256",
        ),
        ("{family: resnet50-decoder}", "sampling: {crop_px: 48}", "sampling.crop_px as a multiple of 32 px"),
    ],
)
def test_a_recipe_that_no_network_can_follow_names_the_key(tmp_path: Path, model: str, more: str, says: str) -> None:
    """Before hours are spent."""
    (tmp_path / "recipe.yaml").write_text(f"name: x\nmodel: {model}\n{more}\n")
    with pytest.raises(SettingsError, match=says):
        load_yaml(tmp_path / "recipe.yaml", TrainSettings)


@pytest.mark.parametrize("name", TINY)
def test_a_recipe_survives_json(name: str) -> None:
    """A manifest keeps the recipe as JSON; read again it is the same model."""
    size = {"tile": {"height": TILE, "width": TILE, "overlap_px": 0}, "sampling": {"crop_px": TILE}}
    settings = TrainSettings.model_validate({"name": "x", "model": tiny(name).model_dump(), **size})
    assert settings.model == tiny(name)
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


def test_loading_tensorflow_says_nothing() -> None:
    """A command that only loads the framework leaves standard error to its own words."""
    done = subprocess.run(
        [sys.executable, "-c", "from trainer.training.hardware import import_keras; import_keras(0)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""


def test_many_networks_in_one_command_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    """TensorFlow warns of a function that is traced often; a teaching traces one per fold. Other warnings come."""
    import_keras(0)
    for number in range(8):
        traced = tf.function(lambda x, number=number: x + number)
        traced(tf.constant(1.0))
        traced(tf.constant([1.0]))
        traced(tf.constant([[1.0]]))
    logging.getLogger("tensorflow").warning("the device is lost")
    assert "retracing" not in caplog.text
    assert "the device is lost" in caplog.text
