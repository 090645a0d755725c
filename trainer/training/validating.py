"""The crops that choose the best epoch, and how well they are answered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, UInt8
from trainer.augmenting.geometry import resized
from trainer.datasets.cells import cells_of
from trainer.datasets.dataset import Picture
from trainer.datasets.masks import IGNORED
from trainer.recipe.settings import TrainSettings
from trainer.training.sequences import cut_sequence, sequences_of, usual_velocity

_BATCH = 8
_DEFECTS_PER_CLASS = 3


@dataclass(frozen=True)
class Validated:
    """The validation of weights.

    `loss`: the mean over its batches, without regularisation. Per class: pooled Dice, None where the truth never shows
    it; `answered_share` and `true_share` of all cells. `baseline`: what `score` would be of answering nothing or, of a
    classifier, always the same.
    """

    loss: float
    dice: dict[str, float | None]
    answered_share: dict[str, float]
    true_share: dict[str, float]
    baseline: float = 0.0

    @property
    def score(self) -> float:
        """Mean Dice over the classes that are shown: what chooses the best epoch."""
        known = [value for value in self.dice.values() if value is not None]
        return float(np.mean(known)) if known else 0.0


class Validation:
    """Holds the crops and judges answers on them; always the same ones."""

    def __init__(self, settings: TrainSettings, names: Sequence[str], pictures: Sequence[Picture]) -> None:
        self._settings, self._names = settings, names
        if settings.sampling.crop == "whole":
            pictures = [resized(picture, settings.sampling.crop_px) for picture in pictures]
        self._pixels, truths = validation_crops(pictures, settings, len(names))
        stride, cells = settings.model.stride_px(settings.sampling.crop_px), settings.cells
        self._truths = cells_of(truths, stride, cells.min_share, cells.min_px) if stride > 1 else truths
        classifies = stride == settings.sampling.crop_px
        self._baseline = constant_dice(self._truths, len(names)) if classifies else 0.0

    def judge(self, answer: Callable[[Float32], Any], loss: Callable[[Any, Any], Any]) -> Validated:
        """Judge `answer`, from float32 [N, (T,) S, S, C] to logits [N, h, w, K'], and `loss` of logits and truth."""
        answers, losses = [], []
        for first in range(0, len(self._pixels), _BATCH):
            logits = answer(self._pixels[first : first + _BATCH])
            truth = self._truths[first : first + _BATCH]
            losses.append(float(loss(logits, truth)) * len(truth))
            answers.append(leading(np.asarray(logits), has_background=self._settings.model.has_background))
        known = self._truths != IGNORED
        given, truths = np.concatenate(answers)[known], self._truths[known]
        dice: dict[str, float | None] = {}
        answered_share, true_share = {}, {}
        for class_id, name in enumerate(self._names, start=1):
            own, true = given == class_id, truths == class_id
            dice[name] = float(2 * (own & true).sum() / (own.sum() + true.sum())) if true.any() else None
            answered_share[name], true_share[name] = (float(of.mean()) if of.size else 0.0 for of in (own, true))
        return Validated(sum(losses) / len(self._truths), dice, answered_share, true_share, self._baseline)


def constant_dice(truths: UInt8, class_count: int) -> float:
    """Return the best mean Dice, over the classes shown, of answering one class everywhere; truths uint8 [N, h, w].

    Ignored pixels do not count. A class that fills the share s of all cells has then a Dice of 2 s / (1 + s). The
    others have 0.
    """
    known = truths[truths != IGNORED]
    shares = [float((known == class_id).mean()) if known.size else 0.0 for class_id in range(1, class_count + 1)]
    shown = sum(share > 0 for share in shares)
    return max(2 * share / (1 + share) for share in shares) / shown if shown else 0.0


def leading(logits: Float32, *, has_background: bool) -> UInt8:
    """Return the class id per cell, uint8 [N, h, w], at a threshold of one half (or the leading softmax channel)."""
    best = logits.argmax(axis=-1)
    ids: UInt8 = (best if has_background else np.where(logits.max(axis=-1) > 0, best + 1, 0)).astype(np.uint8)
    return ids


def validation_crops(pictures: Sequence[Picture], settings: TrainSettings, class_count: int) -> tuple[Float32, UInt8]:
    """Cut the crops that choose the best epoch: around up to three defects per class and picture, and one elsewhere.

    float32 [N, (T,) S, S, C] (0-255) and uint8 [N, S, S]; always the same ones.
    """
    generator = np.random.default_rng(0)
    size, frames = settings.sampling.crop_px, settings.model.frames
    velocity = usual_velocity(settings.sequence)
    pixels, truths = [], []
    for sequence in sequences_of(pictures, settings.sequence, frames):
        height, width = sequence[-1].truth.shape
        for x, y in _centres(sequence[-1].truth, class_count, generator):
            # whole crops where the picture is large enough
            middle_x = min(max(x, size // 2), max(width - size // 2, width // 2))
            middle_y = min(max(y, size // 2), max(height - size // 2, height // 2))
            corner = np.array([[1.0, 0.0, middle_x - size / 2], [0.0, 1.0, middle_y - size / 2]])
            crop, truth = cut_sequence(sequence, corner, velocity, size)
            pixels.append(crop if frames > 1 else crop[0])
            truths.append(truth)
    return np.stack(pixels).astype(np.float32), np.stack(truths)


def _centres(truth: UInt8, class_count: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    height, width = truth.shape
    centres = [(int(generator.integers(width)), int(generator.integers(height)))]
    for class_id in range(1, class_count + 1):
        _, _, stats, middles = cv2.connectedComponentsWithStats((truth == class_id).view(np.uint8), connectivity=8)
        largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA])[:_DEFECTS_PER_CLASS] + 1
        centres += [(int(x), int(y)) for x, y in middles[largest]]
    return centres
