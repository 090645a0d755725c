"""Draws training batches: which picture, where in it, how strongly disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge.errors import DatasetError
from edge.records import Float32, UInt8
from trainer.augmenting.balancing import BalancedPlaces
from trainer.augmenting.geometry import crop_transform, pushed_inside, resized, warp
from trainer.augmenting.light import apply_light, draw_light
from trainer.augmenting.pasting import Paster
from trainer.datasets.dataset import Picture, class_names
from trainer.recipe.settings import AugmentationSettings, SamplingSettings


@dataclass(frozen=True)
class CropBatch:
    """A batch: `pixels` float32 [B, S, S, C] (0-255), `truth` uint8 [B, S, S], where each crop is from, what it shows.

    `images`: the manifest's name of each crop's picture. `labels` bool [B, K]: the classes in the crop's truth, or for
    pictures without masks those of the manifest.
    """

    pixels: Float32
    truth: UInt8
    images: tuple[str, ...]
    labels: NDArray[np.bool_]


@dataclass(frozen=True)
class Preview:
    """A crop beside what it was made from: `window` uint8 [S, S, C] and its truth; `pixels` float32 [S, S, C]."""

    window: UInt8
    window_truth: UInt8
    pixels: Float32
    truth: UInt8
    image: str


@dataclass(frozen=True)
class _Crop:
    pixels: Float32
    truth: UInt8
    picture: Picture


class CropSampler:
    """Draws training batches that balance classes and keep most crops from being empty.

    A share of the crops is centred near a defect pixel. Its class is drawn by weight, its picture evenly among those
    that show the class. The others lie anywhere in any picture. With `sampling.crop: whole` each crop is a whole
    picture, drawn in the same way. A class may then be shown without a mask.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        class_weights: Sequence[float],
        sampling: SamplingSettings,
        augmentation: AugmentationSettings,
        names: Sequence[str] | None = None,
    ) -> None:
        """Index where each class is; `class_weights` and `names` in id order, 1…K.

        `names` are those of the pictures' entries if left out. Raises DatasetError where the settings name a class
        that there is not.
        """
        whole = sampling.crop == "whole"
        self._pictures = [resized(picture, sampling.crop_px) for picture in pictures] if whole else list(pictures)
        self._sampling, self._augmentation = sampling, augmentation
        self._names = tuple(names) if names is not None else class_names(picture.entry for picture in pictures)
        self._strengths = _Strengths(augmentation, self._names)
        truths = [picture.truth for picture in self._pictures]
        self._places = BalancedPlaces(truths, class_weights, sampling.defect_share, self._places_of)
        self._paster = None
        if augmentation.paste_share:
            wanted = augmentation.paste_classes or self._names
            self._paster = Paster(self._pictures, [self._names.index(name) + 1 for name in wanted])

    def _places_of(self, index: int, class_id: int) -> NDArray[np.intp]:
        picture = self._pictures[index]
        places = np.flatnonzero(picture.truth == class_id)
        by_label = self._sampling.crop == "whole" and not picture.entry.masks and class_id <= len(self._names)
        if by_label and self._names[class_id - 1] in picture.entry.classes:
            return np.zeros(1, np.intp)  # somewhere in the picture
        return places

    def batch(self, generator: np.random.Generator) -> tuple[Float32, UInt8]:
        """Return pixels float32 [B, S, S, C] (0-255) and truth uint8 [B, S, S]."""
        crops = [self._crop(generator) for _ in range(self._sampling.batch)]
        return np.stack([crop.pixels for crop in crops]), np.stack([crop.truth for crop in crops])

    def batch_with_names(self, generator: np.random.Generator) -> CropBatch:
        """Return the batch that `batch` would, with the names of its pictures and the classes that it shows."""
        crops = [self._crop(generator) for _ in range(self._sampling.batch)]
        return CropBatch(
            np.stack([crop.pixels for crop in crops]),
            np.stack([crop.truth for crop in crops]),
            tuple(crop.picture.entry.image for crop in crops),
            np.stack([self._labels(crop) for crop in crops]),
        )

    def _labels(self, crop: _Crop) -> NDArray[np.bool_]:
        shown = np.bincount(crop.truth.ravel(), minlength=len(self._names) + 1)[1 : len(self._names) + 1] > 0
        if not crop.picture.entry.masks:
            shown |= np.array([name in crop.picture.entry.classes for name in self._names], bool)
        return shown

    def _draw(self, generator: np.random.Generator) -> tuple[Picture, tuple[int, int]]:
        """Draw a picture and the centre (x, y) of a crop in it."""
        index, centre = self._places.draw(generator)
        if self._sampling.crop == "whole":
            centre = (self._sampling.crop_px // 2, self._sampling.crop_px // 2)
        return self._pictures[index], centre

    def previews(self, generator: np.random.Generator, count: int) -> list[Preview]:
        """Draw crops as a batch would, each with the window that it was made from."""
        size, found = self._sampling.crop_px, []
        for _ in range(count):
            picture, centre = self._draw(generator)
            window = warp(picture, crop_transform(centre, size, at_strength(self._augmentation, 0), generator), size)
            crop = self._augmented(picture, centre, generator)
            found.append(Preview(*window, crop.pixels, crop.truth, picture.entry.image))
        return found

    def _crop(self, generator: np.random.Generator) -> _Crop:
        return self._augmented(*self._draw(generator), generator)

    def _augmented(self, picture: Picture, centre: tuple[int, int], generator: np.random.Generator) -> _Crop:
        size = self._sampling.crop_px
        settings = self._strengths.at(picture, centre, size)
        transform = crop_transform(centre, size, settings, generator)
        if self._sampling.inside:
            transform = pushed_inside(transform, size, picture.truth.shape)
        pixels, truth = warp(picture, transform, size)
        if self._paster is not None and generator.random() < self._augmentation.paste_share:
            pixels, truth = self._paster.paste(pixels, truth, self._augmentation, generator)
        disturbed = apply_light(pixels, draw_light(settings, generator), generator)
        if settings.cut_outs:
            disturbed, truth = cut_out(disturbed, truth, settings, generator)
        return _Crop(disturbed, truth, picture)


def cut_out(
    pixels: Float32, truth: UInt8, settings: AugmentationSettings, generator: np.random.Generator
) -> tuple[Float32, UInt8]:
    """Blot out up to `cut_outs` rectangles with the crop's mean, clean in the truth (DeVries and Taylor, 2017)."""
    side = len(truth)
    pixels, truth = pixels.copy(), truth.copy()
    mean = pixels.mean(axis=(0, 1))
    for _ in range(int(generator.integers(settings.cut_outs + 1))):
        height, width = (1 + int(generator.uniform(0, settings.cut_out_share) * side) for _ in range(2))
        y, x = int(generator.integers(side - height + 1)), int(generator.integers(side - width + 1))
        pixels[y : y + height, x : x + width] = mean
        truth[y : y + height, x : x + width] = 0
    return pixels, truth


class _Strengths:
    """The settings for a crop by the classes that its window shows, where the recipe tells classes apart."""

    def __init__(self, settings: AugmentationSettings, names: Sequence[str]) -> None:
        named = {*settings.only_classes, *settings.class_strength, *settings.paste_classes}
        if unknown := sorted(named - set(names)):
            raise DatasetError(
                f"The recipe's augmentation names {', '.join(unknown)}, which the dataset has not; it has "
                f"{', '.join(names)}"
            )
        self._settings = settings
        self._ids = {name: class_id for class_id, name in enumerate(names, start=1)}
        self._alike = not settings.only_classes and not settings.class_strength
        self._known: dict[float, AugmentationSettings] = {}

    def at(self, picture: Picture, centre: tuple[int, int], crop_px: int) -> AugmentationSettings:
        """Return the settings for the crop around `centre` (x, y), as it would be cut without augmentation."""
        if self._alike:
            return self._settings
        left, top = (max(0, c - crop_px // 2) for c in centre)
        shown = set(np.flatnonzero(np.bincount(picture.truth[top : top + crop_px, left : left + crop_px].ravel())))
        names = [name for name, class_id in self._ids.items() if class_id in shown]
        if not picture.entry.masks:
            names = [name for name in picture.entry.classes if name in self._ids]
        only = self._settings.only_classes
        if only and not set(only) & set(names):
            return self._scaled(0.0)
        return self._scaled(max((self._settings.class_strength.get(name, 1.0) for name in names), default=1.0))

    def _scaled(self, strength: float) -> AugmentationSettings:
        if strength not in self._known:
            self._known[strength] = at_strength(self._settings, strength)
        return self._known[strength]


def at_strength(settings: AugmentationSettings, strength: float) -> AugmentationSettings:
    """Scale every range by `strength`, 0-1, factors in their logarithm; at 0 a crop is left as it is."""
    if strength == 1:
        return settings
    linear = ("rotation_degrees", "shift_share", "shear", "brightness", "noise", "light_gradient", "defocus_px")
    factors = ("zoom", "contrast", "gamma")
    update: dict[str, object] = {key: getattr(settings, key) * strength for key in (*linear, "motion_px")}
    update |= {key: getattr(settings, key) ** strength for key in factors}
    if not strength:
        update |= {"flips": False, "quarter_turns": False, "cut_outs": 0, "invert_share": 0.0}
    return settings.model_copy(update=update)
