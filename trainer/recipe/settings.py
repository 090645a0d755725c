"""A training recipe: YAML → frozen typed settings. config/train.phone.yaml comments every key, with its unit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from edge.bundle import Name, TileEntry
from edge.preparing import PreparingSteps
from edge.yaml_settings import StrictModel, without_earlier_names
from trainer.recipe.loss_settings import LossSettings
from trainer.recipe.model_settings import AnyModelSettings, EdgeUnetSettings
from trainer.recipe.optimizer_settings import OptimizerSettings

_Share = Annotated[float, Field(ge=0, le=1)]


class ClassSettings(StrictModel):
    """Settings of one class, how it is shown and rated; its name is the key."""

    severity: Literal["minor", "major", "critical"] = "major"
    colour: tuple[int, int, int] | None = None


class SplitSettings(StrictModel):
    """Shares of the groups of each class that are held out; the rest is learned from.

    `validation` is a share of what the test part leaves. With `folds` fold number `fold`, from 0, is held out: of all
    pictures, and `test` is not used; or (`folds_of: rest`) of those that `test` leaves, and both are held out.
    `near_duplicates`: pictures of different groups that show nearly the same are held together, parted with a warning,
    or not looked for. `seed`: of the split alone; the recipe's, if left out.
    """

    test: Annotated[float, Field(ge=0, lt=1)] = 0.3
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    folds: Annotated[int, Field(ge=2, le=20)] | None = None
    fold: Annotated[int, Field(ge=0)] = 0
    folds_of: Literal["all", "rest"] = "all"
    near_duplicates: Literal["together", "warn", "ignore"] = "together"
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None

    @model_validator(mode="after")
    def _fold_is_one_of_them(self) -> SplitSettings:
        if self.folds is None and self.fold:
            raise ValueError(f"expected split.folds beside split.fold, received fold {self.fold} alone")
        if self.folds is None and self.folds_of == "rest":
            raise ValueError("expected split.folds beside split.folds_of, received folds_of: rest alone")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"expected split.fold from 0 to {self.folds - 1}, received {self.fold}")
        return self


class SamplingSettings(StrictModel):
    """Settings of crops. `defect_share` of them are centred near a defect, classes by `class_weights` (default even).

    The others lie anywhere. `crop_px`: side of a square crop. `batch`: crops per step. `crop`: `square` cuts squares of
    that side at the picture's own scale, `whole` resizes whole pictures to it, as for classification. `inside`: a crop
    that would reach beyond its picture is pushed back. So it shows as little of a reflection as can be.
    """

    crop: Literal["square", "whole"] = "square"
    crop_px: Annotated[int, Field(ge=32, le=2048)] = 256
    batch: Annotated[int, Field(ge=1, le=256)] = 16
    steps_per_epoch: Annotated[int, Field(ge=1)] = 60
    defect_share: _Share = 0.7
    class_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    inside: bool = False


class AugmentationSettings(StrictModel):
    """Random changes to a crop; every range is symmetric, or from nothing up to the value.

    Factors: `zoom`, `contrast` and `gamma`, 1 = none. Grey levels: `brightness`, `light_gradient` (at the crop's ends),
    `noise` (standard deviation). `defocus_px`: largest standard deviation of a Gaussian blur. `motion_px`: largest
    length of a motion blur. `invert_share` of the crops are negatives, dark for light. `cut_outs`: at most so many
    rectangles get the crop's mean and are clean in the truth. Their sides are up to `cut_out_share` of the crop's.
    `paste_share` of the crops get a defect of `paste_classes` (default: all, the rarer the oftener) from another
    picture, where they are clean. `only_classes`: crops that show none of these are left as they are, but may be pasted
    on. `class_strength`: a factor on all ranges for crops that show the class, 1 for others; the largest counts.
    """

    flips: bool = True
    quarter_turns: bool = True
    rotation_degrees: Annotated[float, Field(ge=0, le=45)] = 15.0
    shift_share: Annotated[float, Field(ge=0, le=0.5)] = 0.35
    zoom: Annotated[float, Field(ge=1, le=4)] = 1.3
    shear: Annotated[float, Field(ge=0, le=1)] = 0.1
    contrast: Annotated[float, Field(ge=1, le=4)] = 1.5
    brightness: Annotated[float, Field(ge=0, le=128)] = 15.0
    noise: Annotated[float, Field(ge=0, le=64)] = 5.0
    gamma: Annotated[float, Field(ge=1, le=4)] = 1.0
    light_gradient: Annotated[float, Field(ge=0, le=128)] = 0.0
    defocus_px: Annotated[float, Field(ge=0, le=16)] = 0.0
    motion_px: Annotated[float, Field(ge=0, le=64)] = 0.0
    invert_share: _Share = 0.0
    cut_outs: Annotated[int, Field(ge=0, le=16)] = 0
    cut_out_share: Annotated[float, Field(gt=0, le=0.5)] = 0.15
    paste_share: _Share = 0.0
    paste_classes: tuple[Name, ...] = ()
    only_classes: tuple[Name, ...] = ()
    class_strength: dict[Name, _Share] = Field(default_factory=dict)


class CellSettings(StrictModel):
    """The rule for a defective cell of a strided model: filled by `min_share` of its area, or by `min_px` pixels."""

    min_share: _Share = 0.05
    min_px: Annotated[int, Field(ge=1)] = 50


class SequenceSettings(StrictModel):
    """Sequences for a model of several frames. In a `recording` a group's pictures follow each other in their order.

    Else frames are cut from one picture that moves as on a belt, `shift_px` (least, most) per frame.
    `direction_degrees` is the way (0 = right, 90 = down; without it, anywhere).
    """

    recording: bool = False
    shift_px: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0, le=512)]] = (1.0, 8.0)
    direction_degrees: Annotated[float, Field(ge=0, lt=360)] | None = None

    @model_validator(mode="after")
    def _in_order(self) -> SequenceSettings:
        if self.shift_px[0] > self.shift_px[1]:
            raise ValueError(f"expected shift_px as [at least, at most], received {list(self.shift_px)}")
        return self


class LabelSettings(StrictModel):
    """Changes to labels before they are learned. `shrink`: `edge` takes off what a pen painted too much.

    Those of pictures that choose are shrunk too. Pictures that are held out are judged by their labels as they are.
    """

    shrink: Literal["none", "edge"] = "none"


class LogSettings(StrictModel):
    """Settings of the files beside training/log.csv. `tensorboard`: event files in training/tensorboard."""

    tensorboard: bool = False


class ThresholdSettings(StrictModel):
    """Costs of a missed picture and of a falsely flagged one, in any unit: thresholds are fitted to them.

    `max_missed_region`: the largest share of a class's true pixels that may go unanswered on the validation pictures.
    """

    miss_cost: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    false_cost: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    max_missed_region: Annotated[float, Field(gt=0, le=1)] = 1.0


class FinalTrainingSettings(StrictModel):
    """The last part of a training, which learns from the validation pictures too.

    `share` of `epochs` and of `max_minutes`. `learning_rate`: at its beginning; half of the optimizer's if left out.
    `thresholds`: `fitted` on validation pictures with the weights before this part, or `presumed` for every class
    (`evaluation.thresholds.presume_class`). The latter is for so few choosing pictures that a fit does not suit other
    weights.
    """

    share: Annotated[float, Field(gt=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    thresholds: Literal["fitted", "presumed"] = "fitted"


class GuardSettings(StrictModel):
    """Settings of the collapse guard: when a class is told of, and whether training then goes on (`warn`) or ends."""

    collapse_epochs: Annotated[int, Field(ge=1)] = 4
    action: Literal["warn", "stop"] = "warn"


_EARLIER = {"finish": "final_training"}  # keys by their earlier names


def stored_recipe(recipe: Any) -> Any:
    """Return the recipe that a bundle or a run keeps, with each key by its name of now."""
    return {_EARLIER.get(key, key): value for key, value in recipe.items()} if isinstance(recipe, dict) else recipe


class TrainSettings(StrictModel):
    """One recipe."""

    name: Name
    version: Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")] = "1.0.0"
    classes: dict[Name, ClassSettings] = Field(default_factory=dict)
    channels: Literal[1, 3] = 1
    preparing: PreparingSteps = ()
    tile: TileEntry = TileEntry(height=256, width=256, overlap_px=32)
    model: AnyModelSettings = EdgeUnetSettings()
    split: SplitSettings = SplitSettings()
    sampling: SamplingSettings = SamplingSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    loss: LossSettings = LossSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    thresholds: ThresholdSettings = ThresholdSettings()
    guard: GuardSettings = GuardSettings()
    cells: CellSettings = CellSettings()
    labels: LabelSettings = LabelSettings()
    sequence: SequenceSettings = SequenceSettings()
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    xla: bool = False
    deterministic: bool = True
    devices: Literal["one", "all"] | tuple[Annotated[str, Field(pattern=r"^(CPU|GPU):\d+$")], ...] = "one"
    logs: LogSettings = LogSettings()
    epochs: Annotated[int, Field(ge=1)] = 30
    early_stopping_epochs: Annotated[int, Field(ge=1)] = 12
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    final_training: FinalTrainingSettings | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0  # the range of NumPy and TensorFlow

    @model_validator(mode="before")
    @classmethod
    def _no_earlier_names(cls, given: Any) -> Any:
        return without_earlier_names(given, _EARLIER)

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
        return self

    @model_validator(mode="after")
    def _parts_fit_each_other(self) -> TrainSettings:
        if problem := self.loss.problem_with(self.model.head):
            raise ValueError(problem)
        if self.model.frames > 1 and (unused := self._unused_in_sequences()):
            raise ValueError(f"expected no {', '.join(unused)} for a model of several frames, which are not cut so")
        if isinstance(self.devices, tuple) and len(set(self.devices)) != len(self.devices):
            raise ValueError(f"expected each of devices once, received {list(self.devices)}")
        if self.devices == ():
            raise ValueError("expected devices as one, all, or a list such as [GPU:0, GPU:1]; received an empty list")
        several = isinstance(self.devices, tuple) and len(self.devices) > 1
        if several and (self.xla or self.optimizer.full_batch):
            raise ValueError("expected devices: one beside xla or optimizer.full_batch, which work on one device")
        return self

    def _unused_in_sequences(self) -> list[str]:
        own = self.augmentation
        wanted = {
            "sampling.inside": self.sampling.inside,
            "augmentation.cut_outs": own.cut_outs,
            "augmentation.paste_share": own.paste_share,
            "augmentation.only_classes": own.only_classes,
            "augmentation.class_strength": own.class_strength,
        }
        return [key for key, value in wanted.items() if value]

    @model_validator(mode="after")
    def _tiles_suit_the_network(self) -> TrainSettings:
        tile = self.tile
        self.model.check_tiles(tile.height, tile.width, overlap_px=tile.overlap_px, crop_px=self.sampling.crop_px)
        return self
