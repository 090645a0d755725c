"""Copies of a photo as phones and drawing programs hand them over: renamed, resized, or the paint alone on a layer.

A drawing on a layer (transparent, white or black around the paint) is laid over its photo by its opacity. Paint on
paper is a mixture of both (Porter & Duff, "Compositing digital images", 1984). There a pixel's distance from the paper
decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from edge.opencv import cv2
from edge.pictures import Decoded
from edge.records import Float32, UInt8

# Programs' additions to the name of a copy; a photo's own name is tried first.
_ADDED = re.compile(
    r"(?i)(\s*\(\d+\)|~\d+|[ _-]+(copy|copie|kopie|edit|edited|bearbeitet|annotated|annotation|markup|marked|drawn|"
    r"drawing)( ?\d+)?)$"
)
_BEFORE = re.compile(r"(?i)^(copy of|kopie von|copie de|edited|markup)[ _-]+")
_APPLE_EDITED = re.compile(r"^(IMG_)E(\d+)$")
_SMALLEST_SHARE = 0.2
_PAPER_LEVELS, _MOSTLY = 20, 0.5


def names_of_photo(called: str) -> list[str]:
    """Return what the photo of a copy of this name (without suffix) may be called, the likeliest first."""
    path = PurePosixPath(called)
    last, found = path.name, []
    for _ in range(3):
        shorter = _APPLE_EDITED.sub(r"\1\2", _BEFORE.sub("", _ADDED.sub("", last)))
        if shorter in {last, ""}:
            break
        last = shorter
        found.append(path.with_name(last).as_posix())
    return found


@dataclass(frozen=True)
class Pair:
    """A photo and its drawing, uint8 BGR [H, W, 3] of one size, at which they are compared; how they came to it."""

    photo: UInt8
    drawing: UInt8
    notes: tuple[str, ...] = ()


def as_pair(photo: UInt8, decoded: Decoded, drawing: UInt8 | None) -> Pair | None:
    """Bring a photo and a drawing to one size and ground.

    None where their sizes differ by more than a scale. `drawing`: uint8 BGR, or None where it is transparent in parts
    and its layer is to be laid over the photo.
    """
    layer = _layer(decoded) if drawing is None else drawing
    scaled = _one_size(photo, layer)
    if scaled is None:
        return None
    own, drawn, notes = scaled
    if drawn.shape[2] == 4:
        opacity = drawn[:, :, 3:].astype(np.float32) / 255
        laid = own * (1 - opacity) + drawn[:, :, :3] * opacity
        return Pair(own, np.rint(laid).astype(np.uint8), (*notes, "drawn on a layer, which was laid over the photo"))
    for paper, name in ((255, "white"), (0, "black")):
        if _is_paper(own, drawn, paper):
            return Pair(own, _off_paper(own, drawn, paper), (*notes, f"drawn on {name}, which was laid over the photo"))
    return Pair(own, drawn, notes)


def _layer(decoded: Decoded) -> UInt8:
    pixels = decoded.pixels
    return pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)


def _one_size(photo: UInt8, drawing: UInt8) -> tuple[UInt8, UInt8, tuple[str, ...]] | None:
    (height, width), (drawn_height, drawn_width) = photo.shape[:2], drawing.shape[:2]
    if (height, width) == (drawn_height, drawn_width):
        return photo, drawing, ()
    scale = drawn_width / width
    if abs(drawn_height - height * scale) > 1.5 or not _SMALLEST_SHARE <= scale <= 1 / _SMALLEST_SHARE:
        return None
    notes = ("drawn on a resized copy",)
    if scale < 1:
        return cv2.resize(photo, (drawn_width, drawn_height), interpolation=cv2.INTER_AREA), drawing, notes
    return photo, cv2.resize(drawing, (width, height), interpolation=cv2.INTER_AREA), notes


def _is_paper(photo: UInt8, drawing: UInt8, paper: int) -> bool:
    """Tell whether most of a drawing is paper and the photo is not."""
    ground = np.abs(drawing.astype(np.int16) - paper).max(axis=2) <= _PAPER_LEVELS
    if float(ground.mean()) < _MOSTLY:
        return False
    alike = np.abs(photo.astype(np.int16) - paper).max(axis=2) <= _PAPER_LEVELS
    return float(alike[ground].mean()) < _MOSTLY


def _off_paper(photo: UInt8, drawing: UInt8, paper: int) -> UInt8:
    """Lay paint on paper over a photo: its share is how far its farthest channel is from the paper."""
    drawn: Float32 = drawing.astype(np.float32)
    share = np.abs(drawn - paper).max(axis=2, keepdims=True) / 255
    share[share <= _PAPER_LEVELS / 255] = 0
    laid = photo * (1 - share) + np.where(share > 0, drawn - paper * (1 - share), 0)
    found: UInt8 = np.clip(np.rint(laid), 0, 255).astype(np.uint8)
    return found
