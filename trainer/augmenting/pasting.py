"""A defect of a rare class, cut out and laid onto a clean place of another crop, edges blended.

The blending, a blurred mask, is that of Ghiasi et al. (2021). The defect's surroundings are brought to the level of
those it is laid on. Source: "Simple copy-paste is a strong data augmentation method for instance segmentation".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8
from trainer.augmenting.geometry import crop_transform
from trainer.datasets.dataset import Picture
from trainer.recipe.settings import AugmentationSettings

_MARGIN_PX = 24
_LEAST_AREA_PX = 6
_SKIRT_PX = 3
_RING_PX = 8
_SOFT_PX = 1.5
_TRIES = 4
_FULLY = 250 / 255


@dataclass(frozen=True)
class _Cutting:
    """A defect with its surroundings: `pixels` uint8 [h, w, C]; `marks` uint8 [h, w]: 255 itself, 128 other defects."""

    class_id: int
    pixels: UInt8
    marks: UInt8


class Paster:
    """Knows every defect of the pictures, by class; pastes one where a crop is clean."""

    def __init__(self, pictures: Sequence[Picture], class_ids: Sequence[int]) -> None:
        """Cut out the 8-connected defects of `class_ids`; specks below 6 px are left out."""
        self._of_picture = {
            class_id: [found for picture in pictures if (found := _cuttings(picture, class_id))]
            for class_id in class_ids
        }
        self._ids = [class_id for class_id, found in self._of_picture.items() if found]
        # the rarer the oftener: by the inverse of the number of pictures that show the class
        weights = np.array([1 / len(self._of_picture[class_id]) for class_id in self._ids])
        self._weights: Float64 = weights / weights.sum() if len(weights) else weights

    def paste(
        self, pixels: UInt8, truth: UInt8, settings: AugmentationSettings, generator: np.random.Generator
    ) -> tuple[UInt8, UInt8]:
        """Return uint8 [S, S, C] and [S, S] with one more defect; the same arrays where no clean place was met."""
        if not self._ids:
            return pixels, truth
        for _ in range(_TRIES):
            of_picture = self._of_picture[int(generator.choice(self._ids, p=self._weights))]
            own = of_picture[int(generator.integers(len(of_picture)))]
            laid = _lay(own[int(generator.integers(len(own)))], pixels, truth, settings, generator)
            if laid is not None:
                return laid
        return pixels, truth


def _cuttings(picture: Picture, class_id: int) -> list[_Cutting]:
    mask = (picture.truth == class_id).view(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for label in range(1, count):
        x, y, width, height, area = (int(value) for value in stats[label])
        if area >= _LEAST_AREA_PX:
            window = (
                slice(max(0, y - _MARGIN_PX), y + height + _MARGIN_PX),
                slice(max(0, x - _MARGIN_PX), x + width + _MARGIN_PX),
            )
            marks = np.where(picture.truth[window] > 0, 128, 0).astype(np.uint8)
            marks[labels[window] == label] = 255
            found.append(_Cutting(class_id, picture.pixels[window], marks))
    return found


def _lay(
    cutting: _Cutting, pixels: UInt8, truth: UInt8, settings: AugmentationSettings, generator: np.random.Generator
) -> tuple[UInt8, UInt8] | None:
    """Turn, zoom and shift a cutting, and blend it in.

    None where it would touch a defect or its own edge.
    """
    side = len(truth)
    height, width = cutting.marks.shape
    transform = crop_transform((width / 2, height / 2), side, settings, generator)
    source = _warped(cutting.pixels, transform, side, cv2.INTER_LINEAR).reshape(pixels.shape)
    marks = _warped(cutting.marks, transform, side, cv2.INTER_NEAREST)
    known = _warped(np.full((height, width), 255, np.uint8), transform, side, cv2.INTER_NEAREST) > 0
    mask = (marks == 255).astype(np.uint8)
    skirt = cv2.dilate(mask, _disc(_SKIRT_PX))
    alpha = cv2.GaussianBlur(skirt.astype(np.float32), (0, 0), _SOFT_PX)
    touched = alpha > 1 / 255
    ring = (cv2.dilate(mask, _disc(_RING_PX)) > 0) & (skirt == 0) & known & (truth == 0) & (marks == 0)
    clean = not truth[touched].any() and not (marks[touched] == 128).any() and bool(known[touched].all())
    if not mask.any() or not clean or not ring.any():
        return None
    blended = _blended(pixels, source, np.where(alpha >= _FULLY, np.float32(1), alpha), ring)
    return blended, np.where(mask > 0, np.uint8(cutting.class_id), truth)


def _blended(pixels: UInt8, source: UInt8, alpha: Float32, ring: NDArray[np.bool_]) -> UInt8:
    """Lay `source` on `pixels` by `alpha`, after bringing it to their mean level around the defect."""
    offset = pixels[ring].mean(axis=0, dtype=np.float64) - source[ring].mean(axis=0, dtype=np.float64)
    levelled = source.astype(np.float32) + offset.astype(np.float32)
    mixed = pixels + (levelled - pixels) * alpha[:, :, None]
    blended: UInt8 = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return blended


def _warped(pixels: UInt8, transform: Float64, side: int, how: int) -> UInt8:
    warped: UInt8 = cv2.warpAffine(
        pixels, transform, (side, side), flags=how | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT
    )
    return warped


def _disc(radius_px: int) -> UInt8:
    disc: UInt8 = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1, 2 * radius_px + 1))
    return disc
