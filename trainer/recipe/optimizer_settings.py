"""A recipe's settings of the optimizer and of its learning rate over time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from edge.yaml_settings import StrictModel
from trainer.recipe.kinds import by_kind

_Rate = Annotated[float, Field(gt=0, le=1)]
_Decay = Annotated[float, Field(ge=0, lt=1)]
_Floor = Annotated[float, Field(ge=0, lt=1)]
_Factor = Annotated[float, Field(gt=0, lt=1)]
_Moment = Annotated[float, Field(gt=0, lt=1)]


class ConstantSchedule(StrictModel):
    """The same rate throughout."""

    kind: Literal["constant"]


class CosineSchedule(StrictModel):
    """Half a cosine from 1 down to `floor`, both shares of the learning rate."""

    kind: Literal["cosine"]
    floor: _Floor = 0.01


class ExponentialSchedule(StrictModel):
    """The same factor in each equal piece of time, from 1 down to `floor`."""

    kind: Literal["exponential"]
    floor: Annotated[float, Field(gt=0, lt=1)] = 0.01


class StepSchedule(StrictModel):
    """Times `factor` at each of the shares `at` of the whole schedule, 0-1."""

    kind: Literal["step"]
    at: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(min_length=1)] = (0.5, 0.75)
    factor: _Factor = 0.1


class PlateauSchedule(StrictModel):
    """Times `factor` when validation has not got better in `patience_epochs`, and no lower than `floor`."""

    kind: Literal["plateau"]
    patience_epochs: Annotated[int, Field(ge=1)] = 5
    factor: _Factor = 0.5
    floor: _Floor = 0.01


Schedule = Annotated[
    Annotated[ConstantSchedule, Tag("constant")]
    | Annotated[CosineSchedule, Tag("cosine")]
    | Annotated[ExponentialSchedule, Tag("exponential")]
    | Annotated[StepSchedule, Tag("step")]
    | Annotated[PlateauSchedule, Tag("plateau")],
    by_kind("constant", "cosine", "exponential", "step", "plateau"),
]


class OptimizerSettings(StrictModel):
    """Settings of the optimizer. `average_decay`: of the moving average of weights that is validated and kept.

    `weight_decay`: decoupled, times the learning rate; adamw 1e-4, others 0 unless given. `momentum`: of `momentum` 0.9
    and of `rmsprop` 0 unless given. `accumulate`: batches whose gradients are averaged for one step. `full_batch`: each
    step follows the gradient over the whole training set, in crops side by side and undisturbed.
    """

    kind: Literal["sgd", "momentum", "rmsprop", "adam", "adamw"] = "adamw"
    learning_rate: _Rate = 2e-3
    schedule: Schedule = CosineSchedule(kind="cosine")
    warm_up_steps: Annotated[int, Field(ge=0)] = 50
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    nesterov: bool = False
    rho: _Moment = 0.9
    beta_1: _Decay = 0.9
    beta_2: _Moment = 0.999
    clip_norm: Annotated[float, Field(gt=0)] = 5.0
    average_decay: _Decay = 0.99
    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    full_batch: bool = False

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> OptimizerSettings:
        if self.kind == "adam" and self.weight_decay:
            raise ValueError("expected kind: adamw beside a weight_decay (adam with a decoupled decay is adamw)")
        if self.momentum is not None and self.kind not in {"momentum", "rmsprop"}:
            raise ValueError(f"expected kind: momentum or rmsprop beside momentum, received {self.kind}")
        if self.nesterov and self.kind != "momentum":
            raise ValueError(f"expected kind: momentum beside nesterov, received {self.kind}")
        if self.full_batch and self.accumulate > 1:
            raise ValueError("expected full_batch or accumulate, received both; full_batch takes all batches there are")
        return self

    @property
    def decay(self) -> float:
        """The weight decay that applies."""
        return self.weight_decay if self.weight_decay is not None else 1e-4 if self.kind == "adamw" else 0.0
