"""The networks, one family per file, and what every family has in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.models import slim_unet
from trainer.settings import ModelSettings


@dataclass(frozen=True)
class Stage:
    """From `share` of the schedule on, 0-1, what `trainable(model)` makes trainable is trained."""

    share: float
    trainable: Callable[[Any], None]


def stages(settings: ModelSettings) -> Sequence[Stage]:
    """Return the stages of training in order; none where everything is trained throughout."""
    return {"slim-unet": ()}[settings.family]


def build_for_training(settings: ModelSettings, channels: int, class_count: int, crop_px: int) -> Any:
    """Return a keras.Model: float32 [N, S, S, C] (0-255) → logits [N, h, w, K'], h = S / stride.

    S is `crop_px`; a family that is not of a fixed size takes crops of any size.
    """
    if settings.fixed_size:
        return slim_unet.build(settings, (crop_px, crop_px, channels), class_count)
    return slim_unet.build(settings, (None, None, channels), class_count)


def for_inference(trained: Any, settings: ModelSettings, tile: tuple[int, int, int], class_count: int) -> Any:
    """Return a keras.Model with `trained`'s weights for tiles of one size, as a bundle keeps it.

    float32 [N, H, W, C] (0-255) → float32 [N, H, W, K] probabilities of the defect classes; a softmax's background
    is left out by plain slicing, so that the file loads in Keras's safe mode.
    """
    import keras

    net = slim_unet.build(settings, tile, class_count)
    net.set_weights(trained.get_weights())
    if settings.has_background:
        probabilities = keras.layers.Softmax(name="probabilities")(net.output)[..., 1:]
    else:
        probabilities = keras.layers.Activation("sigmoid", name="probabilities")(net.output)
    return keras.Model(net.input, probabilities, name=net.name)
