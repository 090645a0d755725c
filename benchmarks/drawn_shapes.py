"""Shapes of known size, drawn without any of the product's measuring: each pixel is the mean of many points of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.inspection.measuring import Sight, measure, region
from edge.inspection.scale import UniformScale
from edge.opencv import cv2
from edge.records import Defect, DefectClass, DefectMap, Float32, Float64, Transform, UInt8

# Points along a pixel's side.
FINE = 8
GROUND, INK = 60.0, 190.0

SCRATCH = (DefectClass(1, "scratch", "major", (255, 0, 0), 0.5, 0),)
_HERE = Transform.identity()

Points = Float64
Inside = Callable[[Points, Points], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Shape:
    """One shape: `inside` tells which points (x, y), px from its middle, are of it; sizes in px, `extent` around it."""

    name: str
    inside: Inside
    length_px: float
    width_px: float
    area_px: float
    extent: float


def bar(length: float, width: float, degrees: float) -> Shape:
    """Return a straight line with square ends."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))

    def inside(x: Points, y: Points) -> npt.NDArray[np.bool_]:
        within: npt.NDArray[np.bool_] = (abs(x * c + y * s) <= length / 2) & (abs(y * c - x * s) <= width / 2)
        return within

    return Shape("bar", inside, length, width, length * width, length / 2)


def arc(radius: float, width: float, degrees: float, turned: float = 0.0) -> Shape:
    """Return a part of a ring, `degrees` of it; 360 is all of it."""

    def inside(x: Points, y: Points) -> npt.NDArray[np.bool_]:
        angle = np.degrees(np.arctan2(y, x)) - turned
        within: npt.NDArray[np.bool_] = (abs(np.hypot(x, y) - radius) <= width / 2) & (angle % 360 <= degrees)
        return within

    length = np.radians(degrees) * radius
    return Shape("ring" if degrees >= 360 else "arc", inside, length, width, length * width, radius + width)


def cross(length: float, width: float, degrees: float, between: float) -> Shape:
    """Return two bars that cross, `between` degrees apart."""
    one, other = bar(length, width, degrees), bar(length, width, degrees + between)

    def inside(x: Points, y: Points) -> npt.NDArray[np.bool_]:
        return one.inside(x, y) | other.inside(x, y)

    shared = width**2 / np.sin(np.radians(between))
    return Shape("cross", inside, 2 * length, width, 2 * length * width - shared, length / 2)


def disc(diameter: float) -> Shape:
    """Return a disc; its mean width is its area by its length."""

    def inside(x: Points, y: Points) -> npt.NDArray[np.bool_]:
        within: npt.NDArray[np.bool_] = np.hypot(x, y) <= diameter / 2
        return within

    return Shape("disc", inside, diameter, np.pi / 4 * diameter, np.pi / 4 * diameter**2, diameter / 2)


def square(side: float, degrees: float) -> Shape:
    """Return a square."""
    return Shape("square", bar(side, side, degrees).inside, side, side, side**2, side)


@dataclass(frozen=True)
class Drawing:
    """A drawing of a shape: its middle `at` (x, y) px beside a pixel's corner, blurred and noisy as by a camera.

    `blur`: a Gaussian's standard deviation, px. `noise`: standard deviation, grey levels. `ink`: its grey level.
    """

    at: tuple[float, float] = (0.0, 0.0)
    blur: float = 0.0
    noise: float = 0.0
    ink: float = INK
    seed: int = 0


def share(shape: Shape, at: tuple[float, float] = (0.0, 0.0), margin: int = 14) -> Float32:
    """Return which share of each pixel is of a shape, float32 [N, N], 0 to 1, with the shape in the middle."""
    side = 2 * (int(shape.extent) + margin)
    axis = (np.arange(side * FINE) + 0.5) / FINE - side / 2
    x, y = np.meshgrid(axis - at[0], axis - at[1])
    shares: Float32 = shape.inside(x, y).reshape(side, FINE, side, FINE).mean(axis=(1, 3)).astype(np.float32)
    return shares


def drawn(shape: Shape, how: Drawing) -> UInt8:
    """Draw a shape into a picture of its own, uint8 [N, N]."""
    grey = GROUND + (how.ink - GROUND) * share(shape, how.at)
    if how.blur:
        grey = cv2.GaussianBlur(grey, (0, 0), how.blur)
    noisy = grey + np.random.default_rng(how.seed).normal(0, how.noise, grey.shape)
    picture: UInt8 = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    return picture


def beside(shapes: Sequence[Shape], how: Drawing) -> tuple[UInt8, list[float]]:
    """Draw shapes into one picture, uint8 [H, W], beside each other; return it and each one's middle column, px."""
    shares = [share(shape, how.at) for shape in shapes]
    grey = np.full((max(each.shape[0] for each in shares), sum(each.shape[1] for each in shares)), GROUND, np.float32)
    columns, left = [], 0
    for each in shares:
        grey[: each.shape[0], left : left + each.shape[1]] += (how.ink - GROUND) * each
        columns.append(left + each.shape[1] / 2)
        left += each.shape[1]
    if how.blur:
        grey = cv2.GaussianBlur(grey, (0, 0), how.blur)
    noisy = grey + np.random.default_rng(how.seed).normal(0, how.noise, grey.shape)
    picture: UInt8 = np.clip(np.round(noisy), 0, 255).astype(np.uint8)
    return picture, columns


def marked(picture: UInt8, dilated: int = 0) -> UInt8:
    """Return a model's map of a picture, uint8 [N, N] 0/1: what is at least half ink, made wider by `dilated` px."""
    smooth = cv2.GaussianBlur(picture, (0, 0), 0.8).astype(np.int32)
    away = abs(smooth - int(GROUND))
    found: UInt8 = (away >= np.percentile(away, 99.5) / 2).astype(np.uint8)
    if dilated:
        found = cv2.dilate(found, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * dilated + 1,) * 2))
    return found


def measured(picture: UInt8, classes: UInt8, mm_per_px: float = 1.0) -> tuple[Defect, ...]:
    """Measure what a map, uint8 [N, N], marks in a picture."""
    inspected = region((classes.shape[0], classes.shape[1]), None, _HERE)
    found, scale = DefectMap(classes, classes * np.uint8(200)), UniformScale(mm_per_px)
    return measure(found, SCRATCH, inspected, _HERE, scale, sight=Sight(picture))[0].defects
