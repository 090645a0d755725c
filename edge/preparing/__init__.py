"""The steps that pixels take before tiling, the same on the line and in training; each keeps its way back.

One kind of step per file. A bundle's manifest records the steps with their parameters, so that a model never meets
pixels prepared another way. docs/preparing.md shows them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from edge.opencv import cv2
from edge.preparing.crop_circle import CropCircle
from edge.preparing.crop_rectangle import CropRectangle
from edge.preparing.depth import Depth, depth_bits
from edge.preparing.edges import Edges
from edge.preparing.flat_field import FlatField
from edge.preparing.geometry import map_to_frame, prepare_map
from edge.preparing.grey import Grey
from edge.preparing.level_light import LevelLight
from edge.preparing.levels import Levels
from edge.preparing.resize import Resize
from edge.preparing.smooth import Smooth
from edge.records import PartBox, Transform, UInt8

__all__ = [
    "CropCircle",
    "CropRectangle",
    "Depth",
    "Edges",
    "FlatField",
    "Grey",
    "LevelLight",
    "Levels",
    "PreparingStep",
    "PreparingSteps",
    "Resize",
    "Smooth",
    "depth_bits",
    "locates",
    "map_to_frame",
    "prepare",
    "prepare_and_locate",
    "prepare_map",
    "stages",
]

PreparingStep = Annotated[
    Depth | Grey | LevelLight | Levels | FlatField | Resize | CropCircle | CropRectangle | Smooth | Edges,
    Field(discriminator="step"),
]
PreparingSteps = Annotated[tuple[PreparingStep, ...], Field(max_length=64)]


def locates(steps: tuple[PreparingStep, ...]) -> bool:
    """Tell whether one of the steps finds the product."""
    return any(isinstance(step, CropRectangle | CropCircle) for step in steps)


def stages(pixels: UInt8, steps: tuple[PreparingStep, ...]) -> Iterator[tuple[UInt8, Transform]]:
    """Yield uint8 [H', W', C] and its way back to the frame after each step.

    The frame is uint8 [H, W] or [H, W, 3] (BGR). Raises ProductNotFoundError where a step is to find the product and it
    is not there.
    """
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    transform = Transform.identity()
    for step in steps:
        pixels, transform = step.apply(pixels, transform)
        yield pixels, transform


def prepare(pixels: UInt8, steps: tuple[PreparingStep, ...], channels: int) -> tuple[UInt8, Transform]:
    """Take uint8 [H, W] or [H, W, 3] (BGR) through the steps; return uint8 [H', W', channels] and the way back.

    A grey picture is repeated for a three-channel model. A colour one without a grey step is reduced for a one-channel
    model. So any camera serves any model. The result may be a view of the argument. Raises ProductNotFoundError where a
    step is to find the product and it is not there. `prepare_map` takes a truth the same way.
    """
    prepared, transform, _ = prepare_and_locate(pixels, steps, channels)
    return prepared, transform


def prepare_and_locate(
    pixels: UInt8, steps: tuple[PreparingStep, ...], channels: int
) -> tuple[UInt8, Transform, PartBox | None]:
    """Prepare as `prepare` does, and tell where the last step that finds the product found it; None without one."""
    prepared = pixels[:, :, None] if pixels.ndim == 2 else pixels
    transform, part = Transform.identity(), None
    for step, stage in zip(steps, stages(prepared, steps), strict=True):
        prepared, transform = stage
        if isinstance(step, CropRectangle | CropCircle):
            part = step.part((prepared.shape[1], prepared.shape[0]), transform)
    if prepared.shape[2] == channels:
        return prepared, transform, part
    if channels == 1:
        return *Grey().apply(prepared, transform), part
    coloured: UInt8 = cv2.cvtColor(prepared, cv2.COLOR_GRAY2BGR)
    return coloured, transform, part
