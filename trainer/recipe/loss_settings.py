"""A recipe's settings of the loss: weighted terms, or a preset of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from edge.errors import SettingsError
from edge.wording import counted
from edge.yaml_settings import StrictModel
from trainer.recipe.kinds import by_kind

BACKGROUND = "background"
# 0.7 CCE - 0.25 (weighted Dice) is for a public steel data set's four classes, in the order of ids.
CCE_DICE_WEIGHTS = (2.0, 2.5, 1.0, 2.0)

_Weight = Annotated[float, Field(gt=0)]
ClassWeights = dict[str, Annotated[float, Field(ge=0)]]


class _Term(StrictModel):
    """The base of every term. `weight`: its factor in the sum. `class_weights`: a factor per class name, default 1."""

    weight: _Weight = 1.0
    class_weights: ClassWeights = Field(default_factory=dict)


class _OverlapTerm(_Term):
    """A term that compares regions, class by class.

    `absent`: a class that the batch's truth does not show is skipped, or counts (then answers of it cost).
    `background`: whether the clean region is one of the classes. `smooth`: pixels added to numerator and denominator.
    """

    absent: Literal["skip", "count"] = "skip"
    background: bool = False
    smooth: Annotated[float, Field(gt=0)] = 1.0


class CrossEntropyTerm(_Term):
    """Categorical cross-entropy with a softmax head, binary with a sigmoid; the mean over pixels.

    `label_smoothing`: the share of certainty that is taken from the truth and spread over all classes. `balance`: a
    pixel weighs its class's share of the batch's pixels to the power of -balance. The mean weight is 1. At 0 all pixels
    weigh alike, at 1 all classes do.
    """

    kind: Literal["cross_entropy"]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    balance: Annotated[float, Field(ge=0, le=1)] = 0.0


class FocalTerm(_Term):
    """Cross-entropy times (1 - p)^gamma, after Lin et al. 2017 (arXiv 1708.02002).

    `alpha`: the weight of defects, 1 - alpha that of what is clean; without it both weigh 1.
    """

    kind: Literal["focal"]
    gamma: Annotated[float, Field(ge=0, le=10)] = 2.0
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DiceTerm(_OverlapTerm):
    """1 - soft Dice per class, pooled over the batch."""

    kind: Literal["dice"]


class TverskyTerm(_OverlapTerm):
    """1 - Tversky index: `alpha` weighs false pixels, `beta` missed ones (beta > alpha asks for recall).

    `power`: exponent of the loss of a class; 0.75 is the focal Tversky loss of Abraham and Khan 2018.
    """

    kind: Literal["tversky"]
    alpha: Annotated[float, Field(ge=0, le=10)] = 0.3
    beta: Annotated[float, Field(ge=0, le=10)] = 0.7
    power: Annotated[float, Field(ge=0.5, le=4)] = 1.0


class RegionAccuracyTerm(_Term):
    """1 - the share of the target's probability inside its true region, per class that is shown: linear in it.

    Without the `background` nothing speaks against answering defects everywhere.
    """

    kind: Literal["region_accuracy"]
    background: bool = True


class LovaszTerm(_Term):
    """The Lovász extension of 1 - IoU, after Berman et al. 2018 (arXiv 1705.08790).

    `errors`: of probabilities (Lovász-softmax; per class with a sigmoid head) or the `hinge` of logits (sigmoid only).
    `per_picture`: sorts each crop's pixels by themselves rather than the batch's.
    """

    kind: Literal["lovasz"]
    errors: Literal["probability", "hinge"] = "probability"
    per_picture: bool = False
    absent: Literal["skip", "count"] = "skip"
    background: bool = False


LossTerm = Annotated[
    Annotated[CrossEntropyTerm, Tag("cross_entropy")]
    | Annotated[FocalTerm, Tag("focal")]
    | Annotated[DiceTerm, Tag("dice")]
    | Annotated[TverskyTerm, Tag("tversky")]
    | Annotated[RegionAccuracyTerm, Tag("region_accuracy")]
    | Annotated[LovaszTerm, Tag("lovasz")],
    by_kind("cross_entropy", "focal", "dice", "tversky", "region_accuracy", "lovasz"),
]


class LossSettings(StrictModel):
    """A weighted sum: `terms`, or a `preset` of them, or the weights of `cross_entropy` and `dice` (1 and 1).

    `bce-dice` is 0.7 BCE - Dice, for a sigmoid head. `cce-dice` is 0.7 CCE - (weighted Dice) / K, for a softmax head;
    its `class_weights` are 2, 2.5, 1, 2 unless given. Dice of a class that is not shown counts in both.
    """

    cross_entropy: Annotated[float, Field(ge=0)] | None = None
    dice: Annotated[float, Field(ge=0)] | None = None
    terms: tuple[LossTerm, ...] = ()
    preset: Literal["bce-dice", "cce-dice"] | None = None
    class_weights: ClassWeights = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_of_saying_it(self) -> LossSettings:
        plain = self.cross_entropy is not None or self.dice is not None
        if plain + bool(self.terms) + (self.preset is not None) > 1:
            raise ValueError("expected one of: terms, preset, or the weights cross_entropy and dice; received several")
        if self.cross_entropy == 0 and self.dice == 0:
            raise ValueError("expected a weight above 0 for loss.cross_entropy or loss.dice, received 0 for both")
        if self.class_weights and self.preset != "cce-dice":
            raise ValueError("expected class_weights beside preset: cce-dice only; each of the terms has its own")
        return self

    def sum_of(self, names: Sequence[str]) -> tuple[LossTerm, ...]:
        """Return the terms for a data set's classes, `names` in id order.

        Raises SettingsError where a preset does not know the weights of so many classes.
        """
        if self.terms:
            return self.terms
        if self.preset == "bce-dice":
            return CrossEntropyTerm(kind="cross_entropy", weight=0.7), DiceTerm(kind="dice", absent="count")
        if self.preset == "cce-dice":
            weights = self.class_weights or dict(zip(names, CCE_DICE_WEIGHTS, strict=False))
            if not self.class_weights and len(names) != len(CCE_DICE_WEIGHTS):
                raise SettingsError(
                    f"loss.preset cce-dice has weights for "
                    f"{counted(len(CCE_DICE_WEIGHTS), 'class', 'classes')}, and the data set has "
                    f"{len(names)}: {', '.join(names)}. Give loss.class_weights, or write loss.terms out"
                )
            return (
                CrossEntropyTerm(kind="cross_entropy", weight=0.7),
                DiceTerm(kind="dice", class_weights=weights, absent="count"),
            )
        entropy = 1.0 if self.cross_entropy is None else self.cross_entropy
        dice = 1.0 if self.dice is None else self.dice
        plain: list[LossTerm] = []
        if entropy:
            plain.append(CrossEntropyTerm.model_construct(kind="cross_entropy", weight=entropy))
        if dice:
            plain.append(DiceTerm(kind="dice", weight=dice))
        return tuple(plain)

    def problem_with(self, head: str) -> str | None:
        """Say what does not fit a head, `softmax` or `sigmoid`; None if all does."""
        wanted = {"bce-dice": "sigmoid", "cce-dice": "softmax"}.get(self.preset or "")
        if wanted and wanted != head:
            return f"expected model.head {wanted} for loss.preset {self.preset}, received {head}"
        if head != "sigmoid" and any(isinstance(term, LovaszTerm) and term.errors == "hinge" for term in self.terms):
            return f"expected model.head sigmoid for a lovasz term with errors: hinge, received {head}"
        return None
