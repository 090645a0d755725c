"""The base of all kinds of steps."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Step(BaseModel):
    """A step with its parameters, as a recipe and a bundle's manifest state it: no unknown keys, a number is a number.

    Each kind has `step`, its name, and `apply(pixels, transform)`. That takes uint8 [H, W, C] and the way from there to
    the frame. It gives uint8 [H', W', C'] and the way from those. The argument is never written on; the result may be a
    view of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def refuse_foreign(step: Step, takes: set[str], of: tuple[str, ...]) -> None:
    """Raise ValueError for parameters, among `of`, that are given and that the step's kind does not take."""
    if foreign := [name for name in of if getattr(step, name) is not None and name not in takes]:
        raise ValueError(
            f"expected only {' and '.join(sorted(takes))} with this kind, received also {', '.join(foreign)}"
        )
