"""The source of a crop's pixels: flips, turns, rotation, shear, zoom and shift as one affine transform."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.opencv import cv2
from edge.records import Float64, UInt8
from trainer.datasets.dataset import Picture
from trainer.recipe.settings import AugmentationSettings

# cos and sin of 0, 90, 180 and 270 degrees, without the rounding that would blur a merely turned crop
_QUARTERS = ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))


def crop_transform(
    centre: tuple[float, float], crop_px: int, settings: AugmentationSettings, generator: np.random.Generator
) -> Float64:
    """Draw the affine transform, float64 [2, 3], from a crop's pixels (x, y) to the picture's.

    It is composed of shear, zoom, rotation by a small angle and quarter turns, flip, and a shift. The shift keeps
    `centre` in the crop unless it is large. With flips and turns alone the crop is one of the eight of the window
    `centre - crop_px // 2`, to the pixel.
    """
    turns = int(generator.integers(4)) if settings.quarter_turns else 0
    angle = np.deg2rad(generator.uniform(-1, 1) * settings.rotation_degrees)
    zoom = np.exp(generator.uniform(-1, 1) * np.log(settings.zoom))
    flip = -1.0 if settings.flips and generator.random() < 0.5 else 1.0
    rotation = _rotation(*_QUARTERS[turns]) @ _rotation(np.cos(angle), np.sin(angle))
    shear = np.array([[1.0, generator.uniform(-1, 1) * settings.shear], [0.0, 1.0]])
    linear = rotation @ shear @ np.diag([flip, 1.0]) / zoom
    shift = generator.uniform(-1, 1, 2) * settings.shift_share * crop_px
    # the middle of a square of S pixels is pixel (S - 1) / 2
    own_middle = (crop_px - 1) / 2
    middle = np.array(centre) - crop_px // 2 + own_middle
    return np.column_stack([linear, middle - linear @ (own_middle + shift)])


def pushed_inside(transform: Float64, crop_px: int, shape: tuple[int, int]) -> Float64:
    """Return the transform with its crop pushed into a picture of `shape` (height, width), along each axis by itself.

    A crop's box larger than the picture is put over the picture's middle.
    """
    last = crop_px - 1
    corners = transform[:, :2] @ np.array([[0, last, 0, last], [0, 0, last, last]], np.float64) + transform[:, 2:]
    low, high = corners.min(axis=1), corners.max(axis=1)
    end = np.array([shape[1] - 1, shape[0] - 1], np.float64)
    push = np.where(high - low > end, (end - low - high) / 2, np.maximum(0, -low) - np.maximum(0, high - end))
    return np.column_stack([transform[:, :2], transform[:, 2] + push])


def _rotation(cosine: float, sine: float) -> Float64:
    return np.array([[cosine, -sine], [sine, cosine]])


def warp(picture: Picture, transform: Float64, crop_px: int) -> tuple[UInt8, UInt8]:
    """Cut a crop: pixels uint8 [S, S, C] (bilinear) and truth uint8 [S, S] (nearest); beyond the edge it reflects."""
    size = (crop_px, crop_px)
    border = {"borderMode": cv2.BORDER_REFLECT_101}
    pixels = cv2.warpAffine(picture.pixels, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, **border)
    truth = cv2.warpAffine(picture.truth, transform, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, **border)
    return pixels.reshape(crop_px, crop_px, -1), truth


def resized(picture: Picture, side_px: int) -> Picture:
    """Return a whole picture as a square of `side_px`: pixels averaged over areas, truth by the nearest pixel."""
    height, width = picture.truth.shape
    if (height, width) == (side_px, side_px):
        return picture
    how = cv2.INTER_AREA if max(height, width) > side_px else cv2.INTER_LINEAR
    pixels = cv2.resize(picture.pixels, (side_px, side_px), interpolation=how).reshape(side_px, side_px, -1)
    truth = cv2.resize(picture.truth, (side_px, side_px), interpolation=cv2.INTER_NEAREST)
    return replace(picture, pixels=pixels, truth=truth)
