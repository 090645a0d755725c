"""Draw what could be a defect into a good part: spots, cracks, patches of other surface, seams, uneven light.

No defective part is copied. The looks are drawn at chance from wide ranges, as CutPaste (2021), DRAEM (2021) and NSA
(2022) do. They are to teach what breaks a surface off, not how a certain defect looks. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, UInt8

_SEEN = 0.15  # of the spread: what changes less is drawn in vain, and is not marked
_LOCAL_PX = 6.0  # the surface without its texture is a Gaussian mean of this sigma
_LOW, _HIGH = 2.0, 99.0  # percentiles: as dark, and as bright, as the part itself becomes


@dataclass(frozen=True)
class _Canvas:
    """A tile that is drawn on, float32 [H, W, C], another part's, the surface without texture, and the spread."""

    pixels: Float32
    other: Float32
    surface: Float32
    spread: float

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]


@dataclass(frozen=True)
class _Drawn:
    """A tile after a stroke, float32 [H, W, C], and where that lies, float32 [H, W], 0 or 1."""

    pixels: Any
    where: Float32


def draw_defects(tile: UInt8, other: UInt8, rng: np.random.Generator) -> tuple[UInt8, UInt8]:
    """Draw one to three defects into a tile, uint8 [H, W, C]; return it and where, uint8 [H, W], 0 or 1.

    `other`: a tile of the same size, of another good part or the same one, from which patches are taken.
    """
    pixels = tile.astype(np.float32)
    marked = np.zeros(tile.shape[:2], np.uint8)
    for _ in range(int(rng.choice((1, 1, 2, 3)))):
        surface: Float32 = _blurred(pixels, _LOCAL_PX)
        spread = max(6.0, 2 * float(np.abs(pixels - surface).std()), 0.6 * float(pixels.std()))
        stroke = _STROKES[int(rng.integers(len(_STROKES)))]
        drawn = stroke(_Canvas(pixels, other.astype(np.float32), surface, spread), rng)
        after = np.clip(drawn.pixels, 0, 255).astype(np.float32)
        changed = np.abs(after - pixels).max(axis=2) > _SEEN * spread
        if stroke is _seam:  # its line is the defect, also where both sides are alike by chance
            changed[:] = True
        marked |= ((drawn.where > 0) & changed).astype(np.uint8)
        pixels = after
    return pixels.astype(np.uint8), marked


def move(tile: UInt8, rng: np.random.Generator) -> UInt8:
    """Return a tile in another light, a little turned, scaled and shifted, half of the time mirrored: still good."""
    height, width = tile.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.normal(0, 2)), float(np.exp(rng.normal(0, 0.05))))
    turn[:, 2] += rng.normal(0, 0.02, 2) * (width, height)
    mirrored = tile[:, ::-1] if rng.random() < 0.5 else tile
    moved = cv2.warpAffine(
        np.ascontiguousarray(mirrored), turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    ).reshape(tile.shape)
    light = 255 * (moved.astype(np.float32) / 255) ** float(np.exp(rng.uniform(-0.25, 0.25)))
    mean = light.mean()
    light = (light - mean) * float(np.exp(rng.uniform(-0.2, 0.2))) + mean + float(rng.uniform(-15, 15))
    down, across = rng.normal(0, 0.06, 2)
    slope = 1 + down * np.linspace(-1, 1, height)[:, None] + across * np.linspace(-1, 1, width)[None]
    moved_light: UInt8 = np.clip(light * slope[..., None], 0, 255).astype(np.uint8)
    return moved_light


def _blurred(pixels: Float32, sigma: float) -> Any:
    return cv2.GaussianBlur(pixels, (0, 0), sigma).reshape(pixels.shape)


def _soft(where: Float32, sigma: float) -> Any:
    """Return a mask, float32 [H, W], with a soft border, [H, W, 1]."""
    return cv2.GaussianBlur(where, (0, 0), sigma)[..., None]


def _clouds(size: tuple[int, int], rng: np.random.Generator, finest: int, coarsest: int) -> Any:
    """Return smooth noise about 0, float32 [H, W], in grains of 2^finest to 2^(coarsest - 1) px."""
    height, width = size
    grain = int(2 ** rng.integers(finest, coarsest))
    coarse = rng.normal(size=(max(2, height // grain + 2), max(2, width // grain + 2))).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def _chance(rng: np.random.Generator, share: float) -> bool:
    return bool(rng.random() < share)


def _spot_shape(size: tuple[int, int], rng: np.random.Generator) -> Float32:
    height, width = size
    where = np.zeros(size, np.float32)
    centre = [int(rng.integers(width)), int(rng.integers(height))]
    if _chance(rng, 0.25):  # a chip at a border
        axis = int(rng.integers(2))
        centre[axis] = int(rng.choice((0, (width, height)[axis] - 1)))
    long_px = float(np.exp(rng.uniform(np.log(2.0), np.log(18.0))))
    axes = (max(1, int(long_px)), max(1, int(long_px * rng.uniform(0.3, 1))))
    cv2.ellipse(where, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    if _chance(rng, 0.5):  # frayed
        near = cv2.dilate(where, np.ones((5, 5))) > 0
        cloudy = cv2.GaussianBlur(where, (0, 0), max(0.6, long_px / 6)) + 0.25 * _clouds(size, rng, 1, 3) * near
        where = (cloudy > 0.5).astype(np.float32)
    return where


def _crack_shape(size: tuple[int, int], rng: np.random.Generator) -> Float32:
    height, width = size
    where = np.zeros(size, np.float32)
    point = np.array([rng.uniform(0, width), rng.uniform(0, height)])
    which = rng.random()
    if which < 0.4:
        angle = rng.uniform(0, 2 * np.pi)
    else:
        angle = np.pi / 2 * rng.choice((1, -1)) if which < 0.8 else np.pi * rng.choice((0, 1))
    thick, bends = int(rng.integers(1, 4)), float(rng.choice((0.03, 0.15, 0.35, 0.6)))
    for _ in range(int(rng.integers(2, 14))):
        angle += rng.normal(0, bends)
        after = point + rng.uniform(4, 12) * np.array([np.cos(angle), np.sin(angle)])
        ends = [(int(x), int(y)) for x, y in (point, after)]
        cv2.line(where, ends[0], ends[1], 1, max(1, thick + int(rng.integers(-1, 2))))
        point = after
    return where


def _patch_shape(size: tuple[int, int], rng: np.random.Generator) -> Float32:
    where = np.zeros(size, np.float32)
    high, wide = (float(np.exp(rng.uniform(np.log(14), np.log(min(140, side))))) for side in size)
    x, y = rng.uniform(-wide / 2, size[1] - wide / 2), rng.uniform(-high / 2, size[0] - high / 2)
    if _chance(rng, 0.4):
        centre, axes = (int(x + wide / 2), int(y + high / 2)), (int(wide / 2), int(high / 2))
        cv2.ellipse(where, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
        return where
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 9))))
    far = rng.uniform(0.5, 1, len(angles))
    corners = (x + wide / 2 * (1 + far * np.cos(angles)), y + high / 2 * (1 + far * np.sin(angles)))
    cv2.fillPoly(where, [np.stack(corners, axis=1).astype(np.int32)], 1)
    return where


def _side_shape(size: tuple[int, int], rng: np.random.Generator) -> Float32:
    """Return all that lies on one side of a bent line across the tile, or within a band."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    angle = rng.choice((0, np.pi / 2)) + rng.normal(0, 0.25) if _chance(rng, 0.7) else rng.uniform(0, np.pi)
    away = columns * np.cos(angle) + rows * np.sin(angle)
    low, high = float(away.min()), float(away.max())
    at = rng.uniform(low + 0.15 * (high - low), high - 0.15 * (high - low))
    bent = away + rng.uniform(-12, 12) * np.sin(np.pi * (columns * np.sin(angle) - rows * np.cos(angle)) / max(size))
    beyond = bent > at
    if _chance(rng, 0.4):
        beyond &= bent < at + rng.uniform(15, 80)
    if _chance(rng, 0.5):
        beyond = ~beyond
    return np.asarray(beyond, np.float32)


def _dark_or_bright(on: _Canvas, where: Float32, rng: np.random.Generator) -> _Drawn:
    soft = _soft(where, float(rng.uniform(0.4, 1.1)))
    sign = -1 if _chance(rng, 0.8) else 1
    much = float(np.exp(rng.uniform(np.log(0.6), np.log(3)))) * on.spread
    if _chance(rng, 0.4):
        level = float(np.percentile(on.pixels, _LOW if sign < 0 else _HIGH))
        filled = on.pixels * (1 - soft) + soft * (level + rng.normal(0, 0.15 * on.spread, (*on.size, 1)))
    else:
        filled = on.pixels + soft * sign * much * (1 + 0.3 * _clouds(on.size, rng, 1, 4)[..., None])
    if _chance(rng, 0.2):  # a rim of the other kind
        rim = _soft(cv2.dilate(where, np.ones((3, 3))) - where, 0.6)
        filled = filled - rim * sign * 0.6 * much
    return _Drawn(filled, where)


def _spot(on: _Canvas, rng: np.random.Generator) -> _Drawn:
    return _dark_or_bright(on, _spot_shape(on.size, rng), rng)


def _crack(on: _Canvas, rng: np.random.Generator) -> _Drawn:
    return _dark_or_bright(on, _crack_shape(on.size, rng), rng)


def _pasted(on: _Canvas, rng: np.random.Generator) -> _Drawn:
    """Paste a piece of another place, turned and scaled, half of the time as bright as what it covers."""
    where = _patch_shape(on.size, rng)
    soft, (height, width) = _soft(where, float(rng.uniform(0.4, 2))), on.size
    angle = float(rng.choice((0, 90, 180, rng.uniform(0, 360))))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, float(np.exp(rng.uniform(-0.4, 0.4))))
    turn[:, 2] += rng.uniform(-0.4, 0.4, 2) * (width, height)
    piece = cv2.warpAffine(on.other, turn, (width, height), borderMode=cv2.BORDER_REFLECT).reshape(on.other.shape)
    if _chance(rng, 0.5) and where.any():
        piece = piece - piece[where > 0].mean() + on.pixels[where > 0].mean()
    return _Drawn(on.pixels * (1 - soft) + soft * piece, where)


def _matte(on: _Canvas, rng: np.random.Generator) -> _Drawn:
    where = _patch_shape(on.size, rng)
    soft = _soft(where, float(rng.uniform(0.4, 1.5)))
    dull = _blurred(on.pixels, float(rng.uniform(1.5, 8))) + rng.uniform(-1.5, 0.7) * on.spread
    dull = dull + rng.normal(0, 1, (*on.size, 1)) * rng.uniform(0, 0.3) * on.spread
    return _Drawn(on.pixels * (1 - soft) + soft * dull, where)


def _lit(on: _Canvas, rng: np.random.Generator) -> _Drawn:
    where = _patch_shape(on.size, rng)
    soft = _soft(where, float(np.exp(rng.uniform(-1, 2.5))))
    lit = on.pixels * rng.uniform(0.5, 1.6) + rng.uniform(-0.8, 0.8) * on.spread
    return _Drawn(on.pixels * (1 - soft) + soft * lit, where)


def _seam(on: _Canvas, rng: np.random.Generator) -> _Drawn:
    """Give one side of a line another place of the part, of another part, or another light: the line is the defect."""
    side = _side_shape(on.size, rng)
    soft = _soft(side, float(rng.uniform(0.4, 2)))
    kind = int(rng.integers(3))
    if kind == 2:
        beyond: Any = on.pixels * rng.uniform(0.6, 1.5) + rng.uniform(-0.5, 0.5) * on.spread
    else:
        away = (int(rng.integers(on.size[0])), int(rng.integers(on.size[1])))
        beyond = np.roll((on.pixels, on.other)[kind], away, (0, 1))
    line = np.abs(cv2.GaussianBlur(side, (0, 0), 3) - 0.5) < 0.35
    return _Drawn(on.pixels * (1 - soft) + soft * beyond, line.astype(np.float32))


def _rough(on: _Canvas, rng: np.random.Generator) -> _Drawn:
    where = _patch_shape(on.size, rng)
    soft = _soft(where, float(rng.uniform(0.4, 2)))
    rough = on.surface + _clouds(on.size, rng, 0, 4)[..., None] * rng.uniform(0.5, 2) * on.spread
    return _Drawn(on.pixels * (1 - soft) + soft * (rough + rng.uniform(-1, 0.5) * on.spread), where)


_Stroke = Callable[[_Canvas, np.random.Generator], _Drawn]
_STROKES: tuple[_Stroke, ...] = (_spot, _crack, _pasted, _matte, _lit, _seam, _rough)
