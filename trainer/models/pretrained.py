"""Networks of keras.applications as encoders: their weights, and their own preprocessing inside the graph.

Our pixels are grey or BGR. A backbone's own `preprocess_input` tells its training's order of colours, mean and scale.
It is affine per channel for every network of keras.applications.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from edge.errors import DependencyError, SettingsError
from edge.records import Float32
from trainer.models.efficientnet_lite import EfficientNetLite0
from trainer.models.keras_file import refuse_bombs
from trainer.models.normalising import MOMENTUM
from trainer.recipe.model_settings import LiteUnetSettings, Resnet50DecoderSettings, TransferSettings, Vgg16UnetSettings

BACKBONE = "backbone"
PretrainedSettings = Vgg16UnetSettings | LiteUnetSettings | Resnet50DecoderSettings | TransferSettings


def encode(pixels: Any, name: str, settings: PretrainedSettings, levels: Sequence[str] = ()) -> list[Any]:
    """Take float32 [N, H, W, C] (0-255, grey or BGR) through the backbone `name` of keras.applications.

    Return the outputs of the layers `levels`, or the last one's. Raises SettingsError for a backbone or weights that
    cannot be used. Raises DependencyError where weights cannot be had and the settings ask to fail then.
    """
    make = _maker(name)
    try:
        whole = _load(make, name, settings)
        outputs = [whole.get_layer(level).output for level in levels] or whole.outputs
        backbone = keras.Model(whole.input, outputs, name=BACKBONE)
        answers = backbone(_preprocess(pixels, make))
    except ValueError as error:  # Keras's word for shapes that a backbone cannot take
        raise SettingsError(
            f"key model: the backbone {name} cannot be used on tiles of {_sides(pixels)}: {in_plain_words(error)}. "
            "Name another backbone, or use larger tiles"
        ) from error
    return list(answers) if isinstance(answers, list | tuple) else [answers]


def in_plain_words(error: Exception) -> str:
    """Return what Keras says without its colours, line breaks, and the arguments that it goes on with."""
    words = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split())
    return words.split(" Arguments received by")[0].rstrip(".")


def _sides(pixels: Any) -> str:
    height, width = pixels.shape[-3:-1]
    return "any size" if height is None else f"{height} x {width} px"


def _maker(name: str) -> Any:
    if name == EfficientNetLite0.__name__:
        return EfficientNetLite0
    make = getattr(keras.applications, name, None)
    if not name[:1].isupper() or make is None:
        known = sorted([EfficientNetLite0.__name__, *(n for n in dir(keras.applications) if n[:1].isupper())])
        raise SettingsError(
            f"key model.backbone: expected a network of keras.applications, received {name!r}; there are "
            f"{', '.join(known)}"
        )
    return make


def _load(make: Any, name: str, settings: PretrainedSettings) -> Any:
    if settings.weights == "imagenet":
        try:
            return make(include_top=False, weights="imagenet", input_shape=(None, None, 3))
        except Exception as error:  # urllib's, the disk's and Keras's own kinds
            if settings.without_weights == "fail":
                raise DependencyError(
                    f"The ImageNet weights of {name} cannot be had: {error}. Connect this machine once, name a file of "
                    "them in model.weights, or go on without by model.without_weights: random"
                ) from error
            warnings.warn(
                f"the ImageNet weights of {name} cannot be had ({error}); going on with random ones, as "
                "model.without_weights allows",
                stacklevel=2,
            )
    whole = make(include_top=False, weights=None, input_shape=(None, None, 3))
    if settings.width_share < 1:
        try:
            whole = keras.models.clone_model(whole, clone_function=partial(_narrowed, share=settings.width_share))
        except (TypeError, ValueError) as error:  # convolutions in groups, and layers that know their width
            raise SettingsError(
                f"key model.width_share: the layers of {name} depend on its width, so it cannot be made narrower: "
                f"{in_plain_words(error)[:200]}. Use width_share 1, or another backbone"
            ) from error
    if isinstance(settings.weights, Path):
        _read_weights(whole, name, settings.weights)
    else:
        for layer in whole.layers:
            if isinstance(layer, layers.BatchNormalization):
                # some networks remember 1,000 steps of statistics: a short training from nothing would end before
                layer.momentum = min(layer.momentum, MOMENTUM)
    return whole


def _narrowed(layer: Any, share: float) -> Any:
    """Make a layer of its kind with a share of its channels."""
    config = layer.get_config()
    if isinstance(layer, layers.Conv2D):
        config["filters"] = max(1, round(share * config["filters"]))
    return type(layer).from_config(config)


def _read_weights(whole: Any, name: str, path: Path) -> None:
    if not path.is_file():
        raise SettingsError(f"key model.weights: no file at {path}; expected weights of {name}, .h5 or .keras")
    try:
        refuse_bombs(path)
        if path.suffix == ".keras":
            whole.set_weights(keras.saving.load_model(path, compile=False, safe_mode=True).get_weights())
        else:
            whole.load_weights(path)
    except Exception as error:  # h5py's, zipfile's and Keras's own kinds
        raise SettingsError(
            f"key model.weights: {path} does not hold the weights of {name} without its classifying top: {error}. "
            "Save them from keras.applications with include_top=False"
        ) from error


def _preprocess(pixels: Any, make: Any) -> Any:
    """Return float32 [N, H, W, 3] as the backbone wants it."""
    order, scale, offset = preprocessing_of(make)
    if pixels.shape[-1] == 1:
        x = layers.Concatenate()([pixels] * 3)
    else:
        x = layers.Concatenate()([pixels[..., source : source + 1] for source in order])
    return layers.Rescaling(scale.tolist(), offset=offset.tolist(), name="backbone_preprocessing")(x)


def preprocessing_of(make: Any) -> tuple[list[int], Float32, Float32]:
    """Read a backbone's preprocessing off its `preprocess_input`: answer[k] = scale[k] BGR[order[k]] + offset[k].

    Found by four pixels: black, and each of blue, green and red at 255.
    """
    preprocess = importlib.import_module(make.__module__).preprocess_input
    blue_green_red = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32)
    # Keras's functions are given RGB
    answers = np.asarray(preprocess(blue_green_red[:, ::-1].reshape(4, 1, 1, 3).copy())).reshape(4, 3)
    offset = answers[0]
    slopes = (answers[1:] - offset) / 255  # [of BGR, to]
    order = [int(k) for k in np.abs(slopes).argmax(axis=0)]
    return order, slopes[order, range(3)].astype(np.float32), offset.astype(np.float32)
