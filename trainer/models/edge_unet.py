"""The edge U-Net: ours, and the default. Few operations, and only such as every backend is quick at.

- A stem of stride 2: everything inside is at half resolution or less, where a processor's memory is not what limits it.
- One block per level and side of the U, two where the picture is finest, which hairlines need. A block learns as a 3 x
  3 convolution beside a 1 x 1 and an identity, each with batch normalisation. It is deployed as one 3 x 3 convolution
  of the summed kernels (RepVGG, Ding et al. 2021, arXiv 2101.03697). A sum of linear maps is a linear map. Plain
  convolutions with few channels are what TensorRT and ONNX Runtime compute at their best. Depthwise ones have fewer
  operations but wait for memory.
- Skips are added, not concatenated: half the arithmetic of the block after them.
- Context at the deepest level comes by strips (Hou et al. 2020, arXiv 2003.13328). These are means over whole rows and
  columns of the tile. So a long scratch is seen as one, for next to nothing.
- Bilinear upsampling, and one more from the stem's resolution to full. With `detail`, eight channels at full resolution
  see the pixels themselves and what is known so far. The latter comes by a transposed convolution whose windows do not
  overlap. A head of their own adds to the answer.

docs/models.md holds what was measured on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import layers, ops

from edge.records import Float32
from trainer.models.heads import Features
from trainer.models.normalising import EPSILON, convolve, normalise
from trainer.recipe.model_settings import EdgeUnetSettings

_DETAIL_WIDTH = 8
_FINE_LEVELS = 2
_SCALE = 1 / 127.5  # without an offset, which padding with zeros would not share; normalisation finds its own
_ON_PIXELS = ("stem", "fine")
Block = Callable[[Any, int, str, int], Any]


def features(settings: EdgeUnetSettings, pixels: Any) -> Features:
    """Compute features of float32 [N, H, W, C] (0-255), H and W multiples of `settings.multiple_px`, to learn from."""
    return _features(settings, scaled(pixels), LEARNING[settings.block])


def deployed_features(settings: EdgeUnetSettings, pixels: Any) -> Features:
    """Compute the same from the weights that `deploy` makes, the scale of the pixels being in the first kernels."""
    return _features(settings, pixels, DEPLOYED[settings.block])


def scaled(pixels: Any) -> Any:
    """Bring pixels of 0 to 255 to what the layers on them learn from."""
    return layers.Rescaling(_SCALE)(pixels)


def _features(settings: EdgeUnetSettings, pixels: Any, block: Block) -> Features:
    first, *widths = settings.widths
    x = _plain(pixels, first, "stem", min(settings.stem_stride, 2))
    if settings.stem_stride == 4:
        x = _plain(x, first, "stem_quarter", 2)
    for place in range(settings.fine_blocks):
        x = block(x, first, f"down0_{place}", 1)
    skips = [x]
    for level, width in enumerate(widths, start=1):
        x = block(x, width, f"shrink{level}", 2)
        x = block(x, width, f"down{level}", 1)
        skips.append(x)
    if settings.context == "strips":
        x = strips(x)
    deep = layers.Dropout(settings.dropout)(x)
    x = rise(deep, skips[:-1], settings.widths, settings.fine_blocks, block)
    stride = settings.stem_stride
    return Features(x, deep, grow=stride, fine=detail(x, pixels, stride) if settings.detail and stride > 1 else None)


def rise(x: Any, skips: Sequence[Any], widths: Sequence[int], fine_blocks: int, block: Block) -> Any:
    """Grow from the deepest features to the first skip's size; `skips[k]` [N, h, w, F] has `widths[k]` channels."""
    for level in reversed(range(len(skips))):
        width = widths[level]
        x = layers.Conv2D(width, 1, name=f"narrow{level}")(x)  # before it grows: a quarter of the arithmetic
        x = layers.UpSampling2D(2, interpolation="bilinear")(x)
        x = layers.Add()([x, skips[level]])
        for place in range(fine_blocks if level < _FINE_LEVELS else 1):
            x = block(x, width, f"up{level}_{place}", 1)
    return x


def detail(x: Any, pixels: Any, stride: int) -> Any:
    """Put features at the stem's resolution and the pixels themselves together at full size, [N, H, W, 8]."""
    fine = _plain(pixels, _DETAIL_WIDTH, "fine", 1)
    grown = layers.Conv2DTranspose(_DETAIL_WIDTH, stride, strides=stride, use_bias=False, name="grow")(x)
    x = layers.ReLU()(layers.Add()([normalise(grown, "grow_norm"), fine]))
    return _plain(x, _DETAIL_WIDTH, "detail", 1)


def strips(x: Any) -> Any:
    """Add to [N, h, w, F] what its row and its column show in the mean, and let both be weighed against it."""
    width = x.shape[-1]
    rows = layers.Conv2D(width, (3, 1), padding="same", name="context_rows")(ops.mean(x, axis=2, keepdims=True))
    columns = layers.Conv2D(width, (1, 3), padding="same", name="context_columns")(ops.mean(x, axis=1, keepdims=True))
    weighed = layers.Conv2D(width, 1, name="context")(layers.ReLU()(layers.Add()([rows, columns])))
    return layers.Multiply()([x, layers.Activation("sigmoid")(weighed)])


def _plain(x: Any, width: int, name: str, stride: int) -> Any:
    return layers.ReLU()(convolve(x, width, 3, stride, name))


def _separable(x: Any, width: int, name: str, stride: int) -> Any:
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.ReLU()(normalise(x, f"{name}_depthwise_norm"))
    return layers.ReLU()(convolve(x, width, 1, 1, name))


def _rep(x: Any, width: int, name: str, stride: int) -> Any:
    # every second pixel by pooling, because training with a 1 x 1 convolution of stride 2 ends in a crash. The slope of
    # one over less than 16 channels writes where it must not in TensorFlow 2.21 on processors (oneDNN).
    seen = x if stride == 1 else layers.MaxPooling2D(1, strides=stride)(x)
    branches = [convolve(x, width, 3, stride, f"{name}_3x3"), convolve(seen, width, 1, 1, f"{name}_1x1")]
    if stride == 1 and x.shape[-1] == width:
        branches.append(normalise(x, f"{name}_identity_norm"))
    return layers.ReLU()(layers.Add()(branches))


def _fused(x: Any, width: int, name: str, stride: int) -> Any:
    return layers.Conv2D(width, 3, strides=stride, padding="same", activation="relu", name=f"{name}_fused")(x)


LEARNING: dict[str, Block] = {"rep": _rep, "plain": _plain, "separable": _separable}
DEPLOYED: dict[str, Block] = {"rep": _fused, "plain": _plain, "separable": _separable}


def deploy(trained: Any, deployed: Any) -> None:
    """Give the keras.Model `deployed` the weights of `trained`, its blocks' branches summed into one kernel each."""
    weighted = {layer.name: layer for layer in trained.layers}
    for layer in deployed.layers:
        if not layer.weights:
            continue
        if layer.name.endswith("_fused"):
            layer.set_weights(_sum_of_branches(weighted, layer.name.removesuffix("_fused"), layer.strides[0]))
        else:
            layer.set_weights(weighted[layer.name].get_weights())
    for layer in deployed.layers:
        if layer.name in _ON_PIXELS:
            layer.set_weights([layer.get_weights()[0] * np.float32(_SCALE)])


def _sum_of_branches(weighted: dict[str, Any], name: str, stride: int) -> list[Float32]:
    """Return the kernel [3, 3, in, out] and the bias [out] that do what a block's branches do together."""
    kernel, bias = _folded(weighted[f"{name}_3x3"].get_weights()[0], weighted[f"{name}_3x3_norm"])
    # a 1 x 1 convolution's pixel under a 3 x 3: padding "same" begins a stride of 2 at the first pixel
    place = 1 if stride == 1 else 0
    own, shift = _folded(weighted[f"{name}_1x1"].get_weights()[0], weighted[f"{name}_1x1_norm"])
    kernel[place, place] += own[0, 0]
    bias += shift
    if f"{name}_identity_norm" in weighted:
        own, shift = _folded(np.eye(len(bias), dtype=np.float32)[None, None], weighted[f"{name}_identity_norm"])
        kernel[1, 1] += own[0, 0]
        bias += shift
    return [kernel, bias]


def _folded(kernel: Float32, norm: Any) -> tuple[Float32, Float32]:
    """Fold a batch normalisation into the kernel before it: y = gamma (k x - mean) / sqrt(variance + eps) + beta."""
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + EPSILON)
    return kernel * scale, beta - mean * scale
