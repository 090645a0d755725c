"""Crops, drawn at random and disturbed: one affine transform for geometry, so that pixels are resampled only once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8
from trainer.datasets import Picture
from trainer.settings import AugmentationSettings, SamplingSettings


def crop_transform(
    centre: tuple[float, float], crop_px: int, settings: AugmentationSettings, generator: np.random.Generator
) -> Float64:
    """Draw the affine transform, float64 [2, 3], from a crop's pixels (x, y) to the picture's.

    Composed of shear, zoom, rotation by a small angle and quarter turns, flip, and a shift that keeps `centre` in the
    crop unless the shift is large.
    """
    turns = generator.integers(4) if settings.quarter_turns else 0
    angle = np.deg2rad(90 * turns + generator.uniform(-1, 1) * settings.rotation_degrees)
    zoom = np.exp(generator.uniform(-1, 1) * np.log(settings.zoom))
    flip = -1.0 if settings.flips and generator.random() < 0.5 else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, generator.uniform(-1, 1) * settings.shear], [0.0, 1.0]])
    linear = rotation @ shear @ np.diag([flip, 1.0]) / zoom
    shift = generator.uniform(-1, 1, 2) * settings.shift_share * crop_px
    middle = np.array([crop_px / 2, crop_px / 2]) + shift
    return np.column_stack([linear, np.array(centre) - linear @ middle])


def warp(picture: Picture, transform: Float64, crop_px: int) -> tuple[UInt8, UInt8]:
    """Cut a crop: pixels uint8 [S, S, C] (bilinear) and truth uint8 [S, S] (nearest); beyond the edge it reflects."""
    size = (crop_px, crop_px)
    border = {"borderMode": cv2.BORDER_REFLECT_101}
    pixels = cv2.warpAffine(picture.pixels, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, **border)
    truth = cv2.warpAffine(picture.truth, transform, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP, **border)
    return pixels.reshape(crop_px, crop_px, -1), truth


def disturb(pixels: UInt8, settings: AugmentationSettings, generator: np.random.Generator) -> Float32:
    """Vary contrast (about black), brightness and noise of uint8 [S, S, C]; return float32 within 0-255."""
    contrast = np.exp(generator.uniform(-1, 1) * np.log(settings.contrast))
    brightness = generator.uniform(-1, 1) * settings.brightness
    disturbed = pixels.astype(np.float32) * np.float32(contrast) + np.float32(brightness)
    if settings.noise:
        sigma = np.float32(generator.uniform(0, settings.noise))
        disturbed += sigma * generator.standard_normal(pixels.shape, dtype=np.float32)
    return np.clip(disturbed, 0, 255, out=disturbed)


class CropSampler:
    """Draws training batches that balance classes and keep most crops from being empty.

    A share of the crops is centred near a defect pixel, its class drawn by weight, its picture evenly among those that
    show the class; the others lie anywhere in any picture.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        class_weights: Sequence[float],
        sampling: SamplingSettings,
        augmentation: AugmentationSettings,
    ) -> None:
        self._pictures = pictures
        self._sampling = sampling
        self._augmentation = augmentation
        self._places: list[list[tuple[Picture, UInt8 | np.ndarray]]] = []
        for class_id in range(1, len(class_weights) + 1):
            own = [(picture, np.flatnonzero(picture.truth == class_id)) for picture in pictures]
            self._places.append([(picture, places) for picture, places in own if len(places)])
        weights = np.array([weight if own else 0.0 for weight, own in zip(class_weights, self._places, strict=True)])
        self._weights = weights / weights.sum() if weights.sum() else None

    def batch(self, generator: np.random.Generator) -> tuple[Float32, UInt8]:
        """Return pixels float32 [B, S, S, C] (0-255) and truth uint8 [B, S, S]."""
        crops = [self._crop(generator) for _ in range(self._sampling.batch)]
        return np.stack([pixels for pixels, _ in crops]), np.stack([truth for _, truth in crops])

    def _crop(self, generator: np.random.Generator) -> tuple[Float32, UInt8]:
        if self._weights is not None and generator.random() < self._sampling.defect_share:
            own = self._places[generator.choice(len(self._weights), p=self._weights)]
            picture, places = own[generator.integers(len(own))]
            y, x = divmod(int(places[generator.integers(len(places))]), picture.truth.shape[1])
        else:
            picture = self._pictures[int(generator.integers(len(self._pictures)))]
            y, x = (int(generator.integers(side)) for side in picture.truth.shape)
        size = self._sampling.crop_px
        pixels, truth = warp(picture, crop_transform((x, y), size, self._augmentation, generator), size)
        return disturb(pixels, self._augmentation, generator), truth
