"""The meaning of a mask's pixels: determined and said, or refused as ambiguous; never cut at a level.

A mask has one plane of levels: grey, the one colour that it has beside black, or its opacity where only that says
something. The levels tell the kind. None above 0 is an empty mask. One level above 0 is the defect, if it is 1 or
bright. Levels near black and near white, with others only between them, are soft edges of drawing programs and JPEG.
The middle divides them. All else (class ids, numbered objects, blurs) says too little by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge.errors import DatasetError, SourceError
from edge.opencv import cv2
from edge.pictures import Decoded, as_text, read_decoded
from edge.records import UInt8
from edge.wording import counted

Kind = Literal["empty", "one level", "soft", "many"]
Levels = NDArray[Any]
# Levels within a quarter of black or white belong to them. Levels between must touch both within so many pixels.
_QUARTER, _EDGE_PX = 0.25, 3
_STRAY = 0.02
# JPEG gives grey pixels a tint.
_GREY_WITHIN = 12
_LEVELS_LOOKED_AT = 40
_FEW_LEVELS = 12
# More colours than anybody has classes.
_COLOURS_AT_MOST = 64
# So many different levels, each one connected object, are no classes: they number objects.
OBJECTS_FROM = 8
# Full scale of 1, 8 and 16 bits: different ways to write the same white. A low level may be a class's number.
WHITES = frozenset({1, 255, 65535})
_ID_AT_MOST = 127
# In a map of class ids: a pixel that is neither learned from nor judged.
IGNORED = 255


@dataclass(frozen=True)
class Plane:
    """A mask's levels, uint8 or uint16 [H, W]. `colour`: the one beside black, as (red, green, blue); else None.

    `from_alpha`: the levels are its opacity, and its colours say nothing.
    """

    levels: Levels
    colour: tuple[int, int, int] | None = None
    from_alpha: bool = False


@dataclass(frozen=True)
class Meaning:
    """The meaning of one plane's levels. `above`: the different levels above 0, sorted, the first 64.

    `count`: how many there are. `objects`: there are many, each one connected set of pixels.
    """

    kind: Kind
    above: tuple[int, ...]
    count: int
    objects: bool = False


def plane_of(decoded: Decoded) -> Plane:
    """Find the plane that says something. Raises ValueError, with the reason, where several do."""
    pixels = _as_numbered(decoded)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        opacity = np.ascontiguousarray(pixels[:, :, 3])
        if not opacity.any():
            return _of_nothing(pixels)
        if int(opacity.min()) == int(opacity.max()):
            pixels = np.ascontiguousarray(pixels[:, :, :3])
        else:
            return _of_alpha(pixels, opacity)
    if pixels.ndim == 2:
        return Plane(pixels)
    if int((pixels.max(axis=2) - pixels.min(axis=2)).max()) <= _GREY_WITHIN:
        return Plane(np.ascontiguousarray(pixels[:, :, 1]))
    return _of_colour(of_eight_bits(pixels))


def _as_numbered(decoded: Decoded) -> Levels:
    """Return a grey PNG of 2 or 4 bits with its levels' own numbers.

    Decoding spreads them over 0 to 255. Black and white stay black and white.
    """
    pixels, bits = decoded.pixels, decoded.header.bits
    if decoded.header.kind != "png" or bits not in {2, 4} or pixels.ndim != 2:
        return pixels
    if bool(((pixels == 0) | (pixels == 255)).all()):
        return pixels
    return pixels // np.uint8(255 // ((1 << bits) - 1))


def of_eight_bits(pixels: Levels) -> Levels:
    """Return colours of 16 bits as those of 8 that they are; anything else as it is.

    Raises ValueError for colours that 8 bits do not have.
    """
    if pixels.ndim != 3 or pixels.dtype != np.uint16:
        return pixels
    if (pixels % 257).any():
        raise ValueError("it has colours of 16 bits that 8 bits do not have. Save it with 8 bits for each colour")
    eight: UInt8 = (pixels // 257).astype(np.uint8)
    return eight


def _of_nothing(pixels: Levels) -> Plane:
    """Read a mask that is transparent everywhere: nothing is drawn, unless its colours say otherwise."""
    if bool((pixels[:, :, :3] == pixels[:1, :1, :3]).all()):
        return Plane(np.zeros(pixels.shape[:2], np.uint8), from_alpha=True)
    raise ValueError("it is transparent everywhere, and its colours vary. Save it without transparency")


def _of_alpha(pixels: Levels, opacity: Levels) -> Plane:
    colours = pixels[:, :, :3]
    seen = colours[opacity > 0]
    if bool((seen == seen[:1]).all()):  # one colour where anything is: the opacity is the mask
        return Plane(opacity, from_alpha=True)
    flat = colours.copy()
    flat[opacity == 0] = 0
    raise ValueError(
        f"its colours and its transparency both vary "
        f"({counted(len(np.unique(flat.reshape(-1, 3), axis=0)), 'colour')}). "
        "Save it without transparency, or with the defects alone opaque"
    )


def _of_colour(pixels: Levels) -> Plane:
    colours = colours_of(pixels)
    if len(colours) == 1:
        return Plane((pixels.max(axis=2) > 0).astype(np.uint8) * np.uint8(255), colours[0])
    if len(colours) > _COLOURS_AT_MOST:
        raise ValueError(
            f"it has {counted(len(colours), 'colour')} beside black, as a photo has, or a mask that JPEG has "
            f"blurred. Save it as "
            "PNG with a colour for each class, without soft edges"
        )
    named = ", ".join(f"{red:02X}{green:02X}{blue:02X}" for red, green, blue in colours[:4])
    raise ValueError(
        f"it has {counted(len(colours), 'colour')} beside black "
        f"({named}{' and more' if len(colours) > 4 else ''}), and one class "
        "has one. If each is a class give --colours, such as "
        + ",".join(f"{red:02X}{green:02X}{blue:02X}=NAME" for red, green, blue in colours[:2])
    )


def colours_of(pixels: Levels) -> list[tuple[int, int, int]]:
    """Return the colours of uint8 BGR [H, W, 3] beside black, as (red, green, blue), the most frequent first."""
    blue, green, red = (pixels[:, :, channel].astype(np.uint64) for channel in range(3))
    packed = blue | green << np.uint64(16) | red << np.uint64(32)
    values, counts = np.unique(packed, return_counts=True)
    order = [int(values[place]) for place in np.argsort(-counts, kind="stable") if values[place]]
    return [(value >> 32, value >> 16 & 0xFFFF, value & 0xFFFF) for value in order]


def meaning_of(levels: Levels) -> Meaning:
    """Tell what uint8 or uint16 [H, W] levels are."""
    values = np.unique(levels)
    above = values[values > 0]
    told = tuple(int(value) for value in above[:64])
    if not above.size:
        return Meaning("empty", (), 0)
    if above.size == 1:
        return Meaning("one level", told, 1)
    if _soft(levels, int(above[-1])):
        return Meaning("soft", told, int(above.size))
    return Meaning("many", told, int(above.size), _are_objects(levels, above))


def _soft(levels: Levels, greatest: int) -> bool:
    """Tell whether there is black and white, and all else lies at the border between them."""
    most = np.iinfo(levels.dtype).max
    if greatest < (1 - _QUARTER) * most:
        return False
    white = levels >= (1 - _QUARTER) * most
    black = levels <= _QUARTER * most
    between = ~(white | black)
    if _plateaus(levels, most):
        return False
    if not between.any():
        return True
    square = np.ones((2 * _EDGE_PX + 1, 2 * _EDGE_PX + 1), np.uint8)
    near_white = cv2.dilate(white.view(np.uint8), square).view(bool)
    near_black = cv2.dilate(black.view(np.uint8), square).view(bool)
    stray = between & ~(near_white & near_black)
    # numbered objects of 1 to 255 have levels in between that fill whole objects
    return int(stray.sum()) <= _STRAY * int(between.sum()) and int(between.sum()) <= int(white.sum()) + 64


def _plateaus(levels: Levels, most: int) -> bool:
    """Tell whether levels beside black and one white fill whole areas, as numbers do and soft edges do not.

    A drawing has few levels; JPEG gives many, and may move black and white by a few.
    """
    square = np.ones((3, 3), np.uint8)
    whole = cv2.erode(levels, square) == cv2.dilate(levels, square)
    flat = [int(level) for level in np.unique(levels[whole])]
    few = np.unique(levels).size <= _FEW_LEVELS
    strays = 0 if few else most // 64
    areas = [level for level in flat if level > strays]
    return bool(areas) and (areas[0] <= _QUARTER * most or areas[-1] - areas[0] > strays)


def _are_objects(levels: Levels, above: Levels) -> bool:
    if above.size < OBJECTS_FROM:
        return False
    chosen = above[np.linspace(0, above.size - 1, min(_LEVELS_LOOKED_AT, above.size)).astype(int)]
    whole = sum(cv2.connectedComponents((levels == value).view(np.uint8), connectivity=8)[0] == 2 for value in chosen)
    return bool(whole >= 0.9 * len(chosen))


def defective(levels: Levels, meaning: Meaning) -> UInt8:
    """Return uint8 [H, W] of 0 and 255 for a meaning that is known. Raises ValueError for too little."""
    if meaning.kind == "many":
        raise ValueError(
            f"it has {counted(meaning.count, 'level')} above 0 ({', '.join(map(str, meaning.above[:4]))}"
            f"{' …' if meaning.count > 4 else ''}), which may be classes, numbered objects or shades. If they are "
            "classes give --names 1=NAME,2=NAME; if each is an object of one class give --objects; if they are shades "
            "save it black and white"
            + ("; if 255 is no class but what is to be ignored give --ignore 255 too" if 255 in meaning.above else "")
        )
    if meaning.kind == "one level" and meaning.above[0] not in WHITES and meaning.above[0] <= _ID_AT_MOST:
        level = meaning.above[0]
        raise ValueError(
            f"expected a mask of 0 and 255, received levels up to {level}, which may be a class's number. If it is "
            f"give --names {level}=NAME; if it numbers objects of one class give --objects"
        )
    divide = np.iinfo(levels.dtype).max / 2 if meaning.kind == "soft" else 0
    return np.where(levels > divide, np.uint8(255), np.uint8(0))


def read_mask(path: Path, picture: Path, shape_px: tuple[int, int]) -> UInt8:
    """Read a dataset's mask as uint8 [H, W] of 0 and 255; `shape_px`: (height, width) of its picture.

    Raises DatasetError naming the file.
    """
    try:
        decoded = read_decoded(path)
        levels = plane_of(decoded).levels
        check_size(path, decoded, picture, shape_px)
        return defective(levels, meaning_of(levels))
    except SourceError as error:
        raise DatasetError(f"{error}; expected the mask of {as_text(str(picture))}") from error
    except ValueError as error:
        raise DatasetError(
            f"{as_text(str(path))}: {error}. `linewatch-train import masks` makes a dataset of such masks"
        ) from error


def check_size(path: Path, decoded: Decoded, picture: Path, shape_px: tuple[int, int]) -> None:
    """Raise DatasetError where a mask has not its picture's size."""
    if decoded.shape_px != shape_px:
        turned = decoded.shape_px == shape_px[::-1]
        raise DatasetError(
            f"{as_text(str(path))}: expected {shape_px[1]} x {shape_px[0]} px as in {as_text(str(picture))}, "
            f"received {decoded.shape_px[1]} x {decoded.shape_px[0]}"
            + (". Is one of them turned by its orientation, and the other not?" if turned else "")
        )
