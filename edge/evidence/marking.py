"""A kept picture with what was found in it: the classes of its map in their colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge.errors import SourceError
from edge.inspection.overlaying import as_bgr, overlay
from edge.opencv import cv2
from edge.pictures.decoding import decode
from edge.pictures.not_readable import NotReadableError
from edge.records import UInt8

_RED = (255, 0, 0)
_JPEG_QUALITY = 90


def decoded(content: bytes) -> UInt8:
    """Return the pixels of a kept file, uint8 [H, W] or BGR [H, W, 3]. Raises SourceError for what is no picture."""
    try:
        pixels = decode(content).pixels
    except NotReadableError as error:
        raise SourceError(str(error)) from error
    if pixels.dtype != np.uint8 or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise SourceError("it has other levels or channels than were kept")
    return np.asarray(pixels, np.uint8)


def marked(pixels: UInt8, found: UInt8 | None, classes: Sequence[Any]) -> UInt8:
    """Return the picture, BGR, with each class tinted and outlined.

    It is as it was where no map fits it.
    """
    if found is None or found.shape != pixels.shape[:2]:
        return as_bgr(pixels)
    colours = dict.fromkeys((int(number) for number in np.unique(found) if number), _RED)
    for entry in classes:
        if isinstance(entry, dict) and entry.get("id") in colours:
            colour = entry.get("colour")
            if isinstance(colour, list) and len(colour) == 3 and all(isinstance(c, int) for c in colour):
                red, green, blue = (min(255, max(0, each)) for each in colour)
                colours[entry["id"]] = (red, green, blue)
    return overlay(pixels, found, colours)


def as_jpeg(pixels: UInt8, long_side_px: int | None = None) -> bytes:
    """Return a JPEG, its longer side at most so many pixels."""
    longest = max(pixels.shape[:2])
    if long_side_px is not None and longest > long_side_px:
        scale = long_side_px / longest
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])
