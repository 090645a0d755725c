"""A photo and the same photo with red paint on it → where the paint is. Pure pixels; red_marker.py reads the files.

Hue alone does not tell paint from a red part of the product. Neither does it find the soft edges of a brush or what
JPEG makes of them. So the drawing is seen as a mixture: drawing = (1 - a) * photo + a * paint. The paint's colour is
read off pixels that are red and were not. The share `a` of every pixel near them follows by projection. That is the
compositing equation of Porter & Duff, "Compositing digital images", 1984. Paint is where `a` is above one half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge.opencv import cv2
from edge.records import Float32, UInt8

Outlines = Literal["fill", "keep"]
# A painted pixel is redder than the photo's by so many levels; JPEG at quality 50 moves colours by less.
_CHANGE = 40.0
# Colours of what lies beside a pixel reach it through JPEG over so many pixels.
BLEEDING_PX = 4
# Fewer pixels than these are no stroke.
_SMALLEST_STROKE_PX = 6
# Paint that differs from the photo by less (luma and chroma together) cannot be told from it.
_FAINTEST = 40.0
# JPEG keeps brightness sharp and blurs colour over its neighbours, so brightness counts for more.
_LUMA_WEIGHT = 8.0
# JPEG halves the colours' resolution, so that a thin line is a pale one: its edge is where half of its own peak is.
_WINDOW_PX = 5
_PALEST_PEAK = 0.3


@dataclass(frozen=True)
class Paint:
    """The colours that count as paint. `hue_degrees`: 0 = red, 120 = green; `tolerance_degrees` to either side of it.

    `min_saturation`: 0 grey to 1 pure. `outlines`: `fill` what a closed stroke encloses, or `keep` strokes as drawn.
    `gap_px`: the ends of an outline may be so far apart and it still counts as closed.
    """

    hue_degrees: float = 0.0
    tolerance_degrees: float = 20.0
    min_saturation: float = 0.5
    outlines: Outlines = "fill"
    gap_px: int = 4


def painted_seeds(photo: UInt8, drawing: UInt8, paint: Paint) -> NDArray[np.bool_]:
    """Return bool [H, W]: pixels that have the paint's hue and saturation, and changed towards it.

    `photo`, `drawing`: uint8 BGR [H, W, 3] of one size.
    """
    hsv = cv2.cvtColor(drawing.astype(np.float32) / 255, cv2.COLOR_BGR2HSV)  # hue 0-360, saturation and value 0-1
    off = np.abs((hsv[:, :, 0] - paint.hue_degrees + 180) % 360 - 180)
    coloured = (off <= paint.tolerance_degrees) & (hsv[:, :, 1] >= paint.min_saturation) & (hsv[:, :, 2] >= 0.2)
    # redder than anything near it on the photo: JPEG lets the product's own red bleed into what lies beside it
    near = np.ones((2 * BLEEDING_PX + 1, 2 * BLEEDING_PX + 1), np.uint8)
    before = cv2.dilate(_chroma_towards(photo, paint.hue_degrees), near)
    seeds: NDArray[np.bool_] = coloured & (_chroma_towards(drawing, paint.hue_degrees) - before >= _CHANGE)
    return seeds


def _chroma_towards(pixels: UInt8, hue_degrees: float) -> Float32:
    """Return each pixel's part of a hue, in levels: the colour's part along that hue's direction in the hue plane."""
    blue, green, red = (pixels[:, :, channel].astype(np.float32) for channel in range(3))
    along_red, along_green = red - (green + blue) / 2, (green - blue) * np.float32(np.sqrt(3) / 2)
    angle = np.deg2rad(hue_degrees)
    return np.asarray(along_red * np.cos(angle) + along_green * np.sin(angle), np.float32)


def paint_share(photo: UInt8, drawing: UInt8, seeds: NDArray[np.bool_]) -> Float32:
    """Return float32 [H, W]: the share of paint in each pixel, about 0-1; 0 where paint and photo look the same."""
    before = cv2.cvtColor(photo, cv2.COLOR_BGR2YCrCb).astype(np.float32)
    after = cv2.cvtColor(drawing, cv2.COLOR_BGR2YCrCb).astype(np.float32)
    core = cv2.erode(seeds.view(np.uint8), np.ones((3, 3), np.uint8)).view(np.bool_)
    colour = np.median(after[core if core.sum() >= _SMALLEST_STROKE_PX else seeds], axis=0)
    towards_paint = colour.astype(np.float32) - before
    weighted = towards_paint * np.array([_LUMA_WEIGHT, 1, 1], np.float32)
    share = ((after - before) * weighted).sum(axis=2) / np.maximum((towards_paint * weighted).sum(axis=2), 1)
    share[(towards_paint**2).sum(axis=2) < _FAINTEST**2] = 0
    return np.asarray(share, np.float32)


def painted_mask(photo: UInt8, drawing: UInt8, seeds: NDArray[np.bool_], paint: Paint) -> UInt8 | None:
    """Return uint8 [H, W], 255 where paint is; None where nothing is painted.

    `photo`, `drawing`: uint8 BGR [H, W, 3] of one size. `seeds`: of `painted_seeds`.
    """
    if seeds.sum() < _SMALLEST_STROKE_PX:
        return None
    share = paint_share(photo, drawing, seeds)
    peak = cv2.dilate(share, np.ones((_WINDOW_PX, _WINDOW_PX), np.uint8))
    mask = ((share > 0.5 * np.minimum(peak, 1)) & (peak > _PALEST_PEAK)).astype(np.uint8)
    mask = _touching(mask, seeds)
    if paint.outlines == "fill":
        mask = fill_outlines(mask, paint.gap_px)
    # none, where only the edges of another paint have this one's hue
    return mask * np.uint8(255) if mask.any() else None


def _touching(mask: UInt8, seeds: NDArray[np.bool_]) -> UInt8:
    """Keep the components of a 0/1 mask that hold a seed."""
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    kept = np.zeros(count, np.uint8)
    kept[np.unique(labels[seeds])] = 1
    kept[0] = 0
    return np.asarray(kept[labels])


def fill_outlines(mask: UInt8, gap_px: int) -> UInt8:
    """Add what closed strokes enclose to a 0/1 mask [H, W], where ends up to `gap_px` apart count as joined.

    The picture's edge closes nothing.
    """
    filled = mask | _enclosed(mask)
    reach = -(-gap_px // 2)
    if reach:
        square = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
        inside = _enclosed(cv2.dilate(cv2.copyMakeBorder(mask, *[reach] * 4, cv2.BORDER_CONSTANT, value=0), square))
        inside = np.ascontiguousarray(inside[reach:-reach, reach:-reach])
        for _ in range(reach):  # back to the stroke, from which joining its ends kept it away
            inside = cv2.dilate(inside, np.ones((3, 3), np.uint8)) & (mask ^ 1)
        filled |= inside
    return filled


def _enclosed(mask: UInt8) -> UInt8:
    """Return 1 where a 0/1 mask is 0 and no way leads to the picture's edge."""
    ground: UInt8 = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cv2.floodFill(ground, None, (0, 0), 2)
    return np.ascontiguousarray(ground[1:-1, 1:-1] == 0).view(np.uint8)
