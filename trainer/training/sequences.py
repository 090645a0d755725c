"""Sequences for a model of several frames: from one picture that moves, or from a recording's pictures.

The truth is that of the last frame. A belt moves evenly, so one velocity is drawn per sequence. Light changes slowly,
so contrast and brightness are drawn once too. Noise is drawn for each frame.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8
from trainer.augmenting import crop_transform, disturb, warp
from trainer.augmenting.balancing import BalancedPlaces
from trainer.datasets.dataset import Picture
from trainer.recipe.settings import AugmentationSettings, SamplingSettings, SequenceSettings


def recorded_sequences(pictures: Sequence[Picture], frames: int) -> list[tuple[Picture, ...]]:
    """Return each `frames` successive pictures of a group, oldest first, in the pictures' order.

    A group's first pictures end no sequence: what came before them is not known. Raises DatasetError if no group is
    long enough, or if the pictures of a sequence differ in size.
    """
    groups: dict[str, list[Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.entry.group].append(picture)
    found = []
    for group, own in groups.items():
        for end in range(frames, len(own) + 1):
            sequence = tuple(own[end - frames : end])
            if len({picture.pixels.shape for picture in sequence}) > 1:
                raise DatasetError(
                    f"The pictures of group {group!r} differ in size, up to {sequence[-1].entry.image}; expected a "
                    "recording of one camera. Give sequence.recording: false, or other groups"
                )
            found.append(sequence)
    if not found:
        raise DatasetError(
            f"No group has {frames} successive pictures, which the model is fed at once; expected recordings, each a "
            "group in manifest.csv. Give sequence.recording: false to let single pictures move"
        )
    return found


def belt_transforms(transform: Float64, frames: int, velocity_px: Float64) -> list[Float64]:
    """Return each frame's transform from a crop's pixels to the picture's, float64 [2, 3], oldest first.

    A point at p in the last frame, `transform`'s, was at p - k v in the frame k before it. The crop stays, and shows
    there the picture's content k v further on. `velocity_px`: float64 [2], v = (x, y) per frame, in picture pixels.
    """
    shifts = [np.column_stack([np.zeros((2, 2)), k * velocity_px]) for k in range(frames - 1, -1, -1)]
    return [transform + shift for shift in shifts]


def draw_velocity(settings: SequenceSettings, generator: np.random.Generator) -> Float64:
    """Draw how far a belt moves between two frames, float64 [2]: (x, y) in pixels of the picture."""
    degrees = settings.direction_degrees
    angle = np.deg2rad(degrees) if degrees is not None else generator.uniform(0, 2 * np.pi)
    return generator.uniform(*settings.shift_px) * np.array([np.cos(angle), np.sin(angle)])


def usual_velocity(settings: SequenceSettings) -> Float64:
    """Return the middle of the shifts, in the belt's direction or to the right: for pictures that only judge."""
    angle = np.deg2rad(settings.direction_degrees or 0.0)
    return float(np.mean(settings.shift_px)) * np.array([np.cos(angle), np.sin(angle)])


def cut_sequence(
    sequence: Sequence[Picture], transform: Float64, velocity_px: Float64, crop_px: int
) -> tuple[UInt8, UInt8]:
    """Cut a crop of each frame: pixels uint8 [T, S, S, C] and the last frame's truth uint8 [S, S].

    A recording moves by itself: where the pictures of `sequence` differ, the crop stays and `velocity_px` is not used.
    """
    still = all(picture is sequence[-1] for picture in sequence)
    velocity = velocity_px if still else np.zeros(2)
    transforms = belt_transforms(transform, len(sequence), velocity)
    cut = [warp(picture, own, crop_px) for picture, own in zip(sequence, transforms, strict=True)]
    return np.stack([pixels for pixels, _ in cut]), cut[-1][1]


@dataclass(frozen=True)
class SequenceBatch:
    """Pixels float32 [B, T, S, S, C] (0-255), the last frames' truth uint8 [B, S, S], and their pictures' names."""

    pixels: Float32
    truth: UInt8
    images: tuple[str, ...]


class SequenceSampler:
    """Draws training batches of sequences, balanced as `CropSampler` balances crops."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        class_weights: Sequence[float],
        sampling: SamplingSettings,
        augmentation: AugmentationSettings,
        *,
        sequence: SequenceSettings,
        frames: int,
    ) -> None:
        self._sampling, self._augmentation, self._sequence = sampling, augmentation, sequence
        self._sequences = sequences_of(pictures, sequence, frames)
        truths = [drawn[-1].truth for drawn in self._sequences]
        self._places = BalancedPlaces(truths, class_weights, sampling.defect_share)

    def batch(self, generator: np.random.Generator) -> tuple[Float32, UInt8]:
        """Return pixels float32 [B, T, S, S, C] (0-255) and the last frames' truth uint8 [B, S, S]."""
        drawn = self.batch_with_names(generator)
        return drawn.pixels, drawn.truth

    def batch_with_names(self, generator: np.random.Generator) -> SequenceBatch:
        """Return the batch that `batch` would, with the names of its sequences' last pictures."""
        drawn = [self._draw(generator) for _ in range(self._sampling.batch)]
        return SequenceBatch(
            np.stack([pixels for pixels, _, _ in drawn]),
            np.stack([truth for _, truth, _ in drawn]),
            tuple(image for _, _, image in drawn),
        )

    def _draw(self, generator: np.random.Generator) -> tuple[Float32, UInt8, str]:
        index, centre = self._places.draw(generator)
        sequence, size = self._sequences[index], self._sampling.crop_px
        transform = crop_transform(centre, size, self._augmentation, generator)
        pixels, truth = cut_sequence(sequence, transform, draw_velocity(self._sequence, generator), size)
        light = int(generator.integers(2**63))
        return self._disturb(pixels, light, generator), truth, sequence[-1].entry.image

    def _disturb(self, pixels: UInt8, light: int, generator: np.random.Generator) -> Float32:
        """Vary light alike in all frames, and add noise to each of its own."""
        quiet = self._augmentation.model_copy(update={"noise": 0.0})
        lit = np.stack([disturb(frame, quiet, np.random.default_rng(light)) for frame in pixels])
        if self._augmentation.noise:
            sigma = np.float32(generator.uniform(0, self._augmentation.noise))
            lit += sigma * generator.standard_normal(lit.shape, dtype=np.float32)
        return np.clip(lit, 0, 255, out=lit)


def sequences_of(pictures: Sequence[Picture], settings: SequenceSettings, frames: int) -> list[tuple[Picture, ...]]:
    """Return what may be drawn: a recording's successive pictures, or each picture standing for all its frames."""
    if frames > 1 and settings.recording:
        return recorded_sequences(pictures, frames)
    return [(picture,) * frames for picture in pictures]


def whole_frames(sequence: Sequence[Picture], settings: SequenceSettings) -> UInt8:
    """Return the whole frames of a sequence, uint8 [T, H, W, C]; a still picture moves by the usual shift."""
    last = sequence[-1]
    if len(sequence) == 1 or any(picture is not last for picture in sequence):
        return np.stack([picture.pixels for picture in sequence])
    height, width = last.truth.shape
    frames = []
    identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    for transform in belt_transforms(identity, len(sequence), usual_velocity(settings)):
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(last.pixels, transform, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        frames.append(moved.reshape(last.pixels.shape))
    return np.stack(frames)
