"""The step `depth`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from edge.preparing.step import Step
from edge.records import Transform, UInt8


class Depth(Step):
    """Say how many bits of a camera's 16 count, for pictures and frames whose levels have more than 8.

    They are brought to 8 as they are read, for the line and for training alike: level >> (bits - 8). So this step
    itself changes nothing. Pictures of 8 bits stay as they are.
    """

    step: Literal["depth"] = "depth"
    bits: Annotated[int, Field(ge=8, le=16)]

    def apply(self, pixels: UInt8, transform: Transform) -> tuple[UInt8, Transform]:
        """[H, W, C] → the same; moves no pixel."""
        return pixels, transform


def depth_bits(steps: Iterable[object]) -> int | None:
    """Return the depth that the steps state, in bits; None where they state none."""
    return next((step.bits for step in steps if isinstance(step, Depth)), None)
