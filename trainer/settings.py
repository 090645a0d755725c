"""A training recipe: YAML → frozen typed settings. config/train.phone.yaml comments every key, with its unit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.bundle import Name, TileEntry
from edge.preparing import PreparingStep
from edge.yaml_settings import StrictModel
from trainer.model_settings import AnyModelSettings, EdgeUnetSettings
from trainer.model_settings import ModelSettings as ModelSettings  # noqa: PLC0414 - mypy's way to hand a name on

_Share = Annotated[float, Field(ge=0, le=1)]


class ClassSettings(StrictModel):
    """How one class is shown and rated; its name is the key."""

    severity: Literal["minor", "major", "critical"] = "major"
    colour: tuple[int, int, int] | None = None


class SplitSettings(StrictModel):
    """Shares of the groups of each class that are held out; what remains is learned from."""

    test: Annotated[float, Field(ge=0, lt=1)] = 0.3
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15


class SamplingSettings(StrictModel):
    """How crops are drawn. `defect_share` of them are centred near a defect, classes by `class_weights` (default even).

    The others lie anywhere. `crop_px`: side of a square crop. `batch`: crops per step.
    """

    crop_px: Annotated[int, Field(ge=32, le=2048)] = 256
    batch: Annotated[int, Field(ge=1, le=256)] = 16
    steps_per_epoch: Annotated[int, Field(ge=1)] = 60
    defect_share: _Share = 0.7
    class_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)


class AugmentationSettings(StrictModel):
    """What is done to a crop at random; every range is symmetric."""

    flips: bool = True
    quarter_turns: bool = True
    rotation_degrees: Annotated[float, Field(ge=0, le=45)] = 15.0
    shift_share: Annotated[float, Field(ge=0, le=0.5)] = 0.35
    zoom: Annotated[float, Field(ge=1, le=4)] = 1.3
    shear: Annotated[float, Field(ge=0, le=1)] = 0.1
    contrast: Annotated[float, Field(ge=1, le=4)] = 1.5
    brightness: Annotated[float, Field(ge=0, le=128)] = 15.0
    noise: Annotated[float, Field(ge=0, le=64)] = 5.0


class LossSettings(StrictModel):
    """`cross_entropy` (categorical, or binary with a sigmoid head) times its weight plus soft Dice times its own."""

    cross_entropy: Annotated[float, Field(ge=0)] = 1.0
    dice: Annotated[float, Field(ge=0)] = 1.0


class OptimizerSettings(StrictModel):
    """AdamW with a warm-up and a cosine decay to a hundredth. `average_decay`: of the moving average of weights."""

    learning_rate: Annotated[float, Field(gt=0, le=1)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warm_up_steps: Annotated[int, Field(ge=0)] = 50
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    average_decay: Annotated[float, Field(ge=0, lt=1)] = 0.99


class TrainSettings(StrictModel):
    """One recipe."""

    name: Name
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    classes: dict[Name, ClassSettings] = Field(default_factory=dict)
    channels: Literal[1, 3] = 1
    preparing: tuple[PreparingStep, ...] = ()
    tile: TileEntry = TileEntry(height=256, width=256, overlap_px=32)
    model: AnyModelSettings = EdgeUnetSettings()
    split: SplitSettings = SplitSettings()
    sampling: SamplingSettings = SamplingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    epochs: Annotated[int, Field(ge=1)] = 30
    early_stopping_epochs: Annotated[int, Field(ge=1)] = 12
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _sizes_fit_the_network(self) -> TrainSettings:
        multiple = self.model.multiple_px
        for key, side in (
            ("tile.height", self.tile.height),
            ("tile.width", self.tile.width),
            ("sampling.crop_px", self.sampling.crop_px),
        ):
            if side % multiple:
                raise ValueError(f"expected {key} as a multiple of {multiple} px for this model, received {side}")
        if not self.loss.cross_entropy and not self.loss.dice:
            raise ValueError("expected a weight above 0 for loss.cross_entropy or loss.dice, received 0 for both")
        return self

    @model_validator(mode="after")
    def _tiles_suit_the_network(self) -> TrainSettings:
        tile = self.tile
        self.model.check_tiles(tile.height, tile.width, overlap_px=tile.overlap_px, crop_px=self.sampling.crop_px)
        return self
