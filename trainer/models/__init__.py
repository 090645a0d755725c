"""The networks, one family per file, and what every family has in common.

A family computes features; `heads` turns them into logits to learn from and probabilities to answer with. Every family
exports under the graph contract: plain operations, fixed tile size, any number of tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge.errors import SettingsError
from trainer.models import (
    classic_unet,
    cnn6,
    cnn_lstm,
    edge_unet,
    heads,
    instance_resunet,
    lite_unet,
    resnet50_decoder,
    resunet,
    slim_unet,
    transfer,
    vgg16_unet,
)
from trainer.models.counting import flop_per_tile
from trainer.models.heads import Features
from trainer.models.normalising import for_learning
from trainer.recipe.model_settings import ModelSettings, TransferSettings


def _same_weights(trained: Any, deployed: Any) -> None:
    deployed.set_weights(trained.get_weights())


@dataclass(frozen=True)
class Family:
    """One kind of network. `summary`: for people, a line.

    `features`: (settings, pixels) → Features, while training. `deployed_features` and `deploy` (trained, deployed) are
    of families that are run in another form than they are trained in.
    """

    summary: str
    features: Callable[[Any, Any], Features]
    deployed_features: Callable[[Any, Any], Features] | None = None
    deploy: Callable[[Any, Any], None] = _same_weights


FAMILIES: dict[str, Family] = {
    "edge-unet": Family(
        "ours, the default: re-parameterised U-Net at half resolution",
        edge_unet.features,
        edge_unet.deployed_features,
        edge_unet.deploy,
    ),
    "slim-unet": Family("U-Net of 16 to 128 channels, bilinear", slim_unet.features),
    "classic-unet": Family("U-Net of 32 to 512 channels, transposed convolutions, L2", classic_unet.features),
    "vgg16-unet": Family("U-Net on VGG16", vgg16_unet.features),
    "lite-unet": Family(
        "U-Net on EfficientNet-Lite0, which may begin with ImageNet's weights: for few pictures",
        lite_unet.features,
        lite_unet.deployed_features,
        edge_unet.deploy,
    ),
    "instance-resunet": Family("residual U-Net, instance normalisation", instance_resunet.features),
    "resunet": Family("residual U-Net, pre-activation, noise at the input", resunet.features),
    "resnet50-decoder": Family("ResNet50 with a residual decoder", resnet50_decoder.features),
    "cnn6": Family("six convolutions: one answer per tile", cnn6.features),
    "transfer": Family("a network of keras.applications: one answer per tile", transfer.features),
    "cnn-lstm": Family("convolutions and an LSTM over frames: one answer per tile", cnn_lstm.features),
}


@dataclass(frozen=True)
class ModelFacts:
    """The costs of a network. `parameters`: of the deployed form; `gflop_per_tile`: 2 x multiplications, in 1e9.

    `stride_px`: pixels per answered cell. `frames`: how many one answer is given for.
    """

    family: str
    parameters: int
    gflop_per_tile: float
    stride_px: int
    frames: int


@dataclass(frozen=True)
class Stage:
    """From `share` of the schedule on (0-1), and until the next stage's, these layers learn.

    `trainable` sets `layer.trainable` throughout a model of `build_for_training`.
    """

    share: float
    trainable: Callable[[Any], None]


def build_for_training(settings: ModelSettings, channels: int, class_count: int, crop_px: int) -> Any:
    """Return a keras.Model: float32 [N, (T,) S, S, C] (0-255) → float32 logits [N, h, w, K'].

    Here h = w = S / stride. S is `crop_px` where `settings.fixed_size`, else any multiple of `settings.multiple_px`.
    K' is `class_count`, plus one for the background (channel 0) where `settings.has_background`. Regularisation, where
    a family has any, is in the model's `losses`. Raises SettingsError for sizes, a backbone or weights that cannot be
    used, DependencyError for weights that cannot be had.
    """
    side = crop_px if settings.fixed_size else None
    _check_side(settings, crop_px)
    family = FAMILIES[_name(settings)]
    with for_learning():
        core = _core(settings, family.features, (side, side, channels), class_count)
    return heads.with_logits(core, settings)


def for_inference(trained: Any, settings: ModelSettings, tile: tuple[int, int, int], class_count: int) -> Any:
    """Return a keras.Model with `trained`'s weights for tiles of one size (H, W, C), as a bundle keeps it.

    float32 [N, (T,) H, W, C] (0-255) → float32 [N, h, w, K] probabilities of the defect classes; loads in safe mode.
    """
    family = FAMILIES[_name(settings)]
    blank = _without_weights(settings)
    deployed = _core(blank, family.deployed_features or family.features, tile, class_count)
    family.deploy(heads.core_of(trained, deployed), deployed)
    return heads.mean_over_views(heads.with_probabilities(deployed, settings), settings.views)


def describe(settings: ModelSettings, channels: int, class_count: int, tile_px: int) -> ModelFacts:
    """Say what a network costs for tiles of `tile_px` x `tile_px`. Raises SettingsError for sizes that cannot be."""
    _check_side(settings, tile_px)
    name = _name(settings)
    family = FAMILIES[name]
    shape = (tile_px, tile_px, channels)
    core = _core(_without_weights(settings), family.deployed_features or family.features, shape, class_count)
    return ModelFacts(
        family=name,
        parameters=core.count_params(),
        gflop_per_tile=settings.views * flop_per_tile(core) / 1e9,
        stride_px=settings.stride_px(tile_px),
        frames=settings.frames,
    )


def stages(settings: ModelSettings) -> Sequence[Stage]:
    """Return which layers learn when: one stage with all of them, but for `transfer` on pretrained weights."""
    if isinstance(settings, TransferSettings):
        return [Stage(share, setter) for share, setter in transfer.unfreezing(settings)]
    return [Stage(0.0, _all_learn)]


def _all_learn(model: Any) -> None:
    model.trainable = True


def _name(settings: ModelSettings) -> str:
    name: str = type(settings).model_fields["family"].default
    return name


def _without_weights(settings: ModelSettings) -> ModelSettings:
    """Return settings whose backbone begins at random: other weights are set, or only counted."""
    return settings.model_copy(update={"weights": "random"}) if hasattr(settings, "weights") else settings


def _check_side(settings: ModelSettings, side_px: int) -> None:
    if side_px % settings.multiple_px:
        raise SettingsError(
            f"The family {_name(settings)} needs sides that are a multiple of {settings.multiple_px} px, received "
            f"{side_px}"
        )


def _core(
    settings: ModelSettings,
    features: Callable[[Any, Any], Features],
    shape: tuple[int | None, int | None, int],
    class_count: int,
) -> Any:
    import keras

    frames = (settings.frames,) if settings.frames > 1 else ()
    pixels = keras.Input((*frames, *shape), name="tiles", dtype="float32")
    name = _name(settings).replace("-", "_")
    return heads.core(pixels, features(settings, pixels), settings, class_count, name)
