"""The empty belt is learned from a few empty frames; a frame that differs from it shows a part.

A frame is made small and grey: of each cell at most 16 pixels are looked at, which costs 1-2 ms at 1080p. Its
brightness is brought to that of the belt, so that a lamp that ages is no part. A cell differs where it is farther from
the learned mean than `spread` standard deviations and `least_levels`.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import SettingsError
from edge.files import write_bytes
from edge.opencv import cv2
from edge.pictures.common_size import common_size
from edge.records import Float32, UInt8

SCHEMA = "linewatch/belt/1"
FRAMES_AT_LEAST = 5
# NumPy's errors for a file that is cut off, empty, or another one.
_NO_BELT = (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
_LONG_SIDE = 96  # cells; a part of a hundredth of the picture still covers tens of them
_SAMPLES = 4  # pixels of a cell that are looked at, along each side
_GAIN = (0.75, 1.33)  # the factor of light that is still the same belt
_GAIN_STEP = 1.15  # from one empty frame to the next: light changes slowly, and a part comes at once
_STEADY_LEVELS = 48.0  # a cell of which a part must differ by more than this is no belt that stands still


@dataclass(frozen=True)
class Belt:
    """The empty belt in one camera.

    `mean`, `deviation`: float32 [h, w], grey levels. `size_px`: (width, height) of the frames. `region`: x, y, width,
    height in px of the frame, the part of it that is looked at. `share`: of its cells, from which on a part is there.
    """

    mean: Float32
    deviation: Float32
    size_px: tuple[int, int]
    region: tuple[int, int, int, int]
    share: float = 0.02
    spread: float = 6.0
    least_levels: float = 12.0

    @property
    def levels(self) -> Float32:
        """By how many grey levels each cell must differ, float32 [h, w]."""
        levels: Float32 = np.maximum(self.spread * self.deviation, np.float32(self.least_levels))
        return levels

    def fits(self, pixels: UInt8) -> bool:
        """Tell whether a frame has the size in which the belt was learned."""
        return (pixels.shape[1], pixels.shape[0]) == self.size_px

    def look(self, pixels: UInt8, usual_gain: float | None = None) -> BeltLook:
        """Compare a frame of the belt's size, uint8 [H, W] or BGR [H, W, 3], with the empty belt.

        `usual_gain`: how much more light than when it was learned the last empty frame had.
        """
        cells = _cells(pixels, self.region, self.mean.shape)
        # the median of the quotient is the light's change where less than half of the cells show a part
        gain = float(np.median(cells / np.maximum(self.mean, 1.0)))
        if usual_gain is None:
            gain = gain if _GAIN[0] <= gain <= _GAIN[1] else 1.0
        elif not 1 / _GAIN_STEP <= gain / usual_gain <= _GAIN_STEP:
            gain = usual_gain
        far = np.abs(cells / np.float32(gain) - self.mean) > self.levels
        share = float(far.mean())
        return BeltLook(share >= self.share, share, gain)


@dataclass(frozen=True)
class BeltLook:
    """One frame's look: whether a part, the share of cells that do not look like the belt, 0-1, and the gain."""

    present: bool
    share: float
    gain: float


class BeltWatch:
    """Looks at one camera's frames, in order, and follows the light as it changes slowly.

    The light is that of the last frame without a part: a part that fills the whole region cannot pass for a lamp.
    """

    def __init__(self, belt: Belt) -> None:
        self._belt = belt
        self._gain: float | None = None

    def misfit(self, pixels: UInt8) -> str:
        """Say why a frame cannot be compared with the belt; or nothing."""
        if self._belt.fits(pixels):
            return ""
        (width, height), (w, h) = self._belt.size_px, (pixels.shape[1], pixels.shape[0])
        return (
            f"the frame has {w} x {h} px, and the empty belt was learned in {width} x {height}: whether a part is "
            "there cannot be known. Learn it again with linewatch learn-belt"
        )

    def shows_part(self, pixels: UInt8) -> bool:
        """Tell whether a frame shows more than the belt. A frame that does not fit shows something that is no belt."""
        if not self._belt.fits(pixels):
            return True
        look = self._belt.look(pixels, self._gain)
        if not look.present and _GAIN[0] <= look.gain <= _GAIN[1]:
            self._gain = look.gain
        return look.present


def learn_belt(frames: Sequence[UInt8], region: tuple[int, int, int, int] | None = None, share: float = 0.02) -> Belt:
    """Learn the empty belt from frames of it, uint8 [H, W] or BGR [H, W, 3], all of one size.

    Raises SettingsError for too few frames, for sizes that differ, and for a region outside them. It does so too where
    one frame shows a part by the others' looks, and where the belt moves.
    """
    width, height = common_size(frames, FRAMES_AT_LEAST, "learning the belt", "empty")
    x, y, w, h = region or (0, 0, width, height)
    if not (0 <= x < x + w <= width and 0 <= y < y + h <= height):
        raise SettingsError(f"learning the belt: the region {[x, y, w, h]} does not lie in {width} x {height} px")
    scale = min(1.0, _LONG_SIDE / max(w, h))
    shape = (max(1, round(h * scale)), max(1, round(w * scale)))
    cells = np.stack([_cells(pixels, (x, y, w, h), shape) for pixels in frames])
    belt = Belt(cells.mean(axis=0), cells.std(axis=0), (width, height), (x, y, w, h), share)
    _check_empty(cells, frames, belt)
    _check_still(belt)
    return belt


def _check_empty(cells: Float32, frames: Sequence[UInt8], belt: Belt) -> None:
    """Look at each frame by what all the others look like: one with a part on it would teach that parts are belt."""
    for place, pixels in enumerate(frames):
        others = np.delete(cells, place, axis=0)
        without = Belt(np.median(others, axis=0), others.std(axis=0), belt.size_px, belt.region, belt.share)
        if without.look(pixels).present:
            raise SettingsError(
                f"learning the belt: frame {place + 1} of {len(frames)} does not look like the others. "
                "Clear the belt and learn again"
            )


def _check_still(belt: Belt) -> None:
    """Refuse a belt that looks another way in each frame: any part would pass for it."""
    share = float((belt.levels > _STEADY_LEVELS).mean())
    if share >= belt.share:
        raise SettingsError(
            f"learning the belt: {share:.0%} of the region look another way in each frame, so no part could be told "
            f"from them; expected less than {belt.share:.0%}. Clear the belt, keep shadows and lamps still, or look "
            "at another --region"
        )


def _cells(pixels: UInt8, region: tuple[int, int, int, int], shape: tuple[int, ...]) -> Float32:
    x, y, w, h = region
    part = pixels[y : y + h, x : x + w]
    rows, columns = shape
    if h >= 2 * _SAMPLES * rows and w >= 2 * _SAMPLES * columns:
        part = cv2.resize(part, (_SAMPLES * columns, _SAMPLES * rows), interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)
    return np.asarray(grey, np.float32)


def write_belt(path: Path, belt: Belt) -> None:
    """Write a belt to a file. Raises StoreError."""
    content = io.BytesIO()
    np.savez(
        content,
        schema=np.array(SCHEMA),
        mean=belt.mean,
        deviation=belt.deviation,
        size_px=np.array(belt.size_px),
        region=np.array(belt.region),
        rules=np.array([belt.share, belt.spread, belt.least_levels]),
    )
    write_bytes(path, content.getvalue())


def read_belt(path: Path) -> Belt:
    """Read a belt. Raises SettingsError for a file that is none, or is missing."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            belt = _belt_of(kept)
    except OSError as error:
        raise _no_belt(path, error.strerror or str(error)) from error
    except _NO_BELT as error:
        raise _no_belt(path, "it is no archive of NumPy with the tables of a belt") from error
    if belt is None:
        raise _no_belt(path, f"its schema is another than {SCHEMA}, or its tables do not fit together")
    return belt


def _belt_of(kept: Mapping[str, Any]) -> Belt | None:
    if str(kept["schema"]) != SCHEMA:
        return None
    mean, deviation = (np.asarray(kept[name], np.float32) for name in ("mean", "deviation"))
    size, region = (tuple(int(side) for side in kept[name]) for name in ("size_px", "region"))
    share, spread, least = (float(number) for number in kept["rules"])
    whole = mean.ndim == 2 and mean.shape == deviation.shape and len(size) == 2 and len(region) == 4
    if not whole or not np.isfinite([mean.sum(), deviation.sum(), share, spread, least]).all():
        return None
    x, y, w, h = region
    return Belt(mean, deviation, (size[0], size[1]), (x, y, w, h), share, spread, least)


def _no_belt(path: Path, why: str) -> SettingsError:
    return SettingsError(f"{path} is no learned belt: {why}. Make it with: linewatch learn-belt CONFIG CAMERA")
