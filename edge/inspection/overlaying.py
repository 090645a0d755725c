"""A class map laid over the picture that it was answered for, and words written on it. Pure pixels."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import numpy as np

from edge.opencv import cv2
from edge.records import UInt8


def as_bgr(pixels: UInt8) -> UInt8:
    """Return uint8 BGR [H, W, 3] of grey [H, W] or [H, W, 1] or BGR pixels; a copy, free to be drawn on."""
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    copy: UInt8 = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR) if grey else pixels.copy()
    return copy


def overlay(
    pixels: UInt8, classes: UInt8, colours: Mapping[int, tuple[int, int, int]], *, opacity: float = 0.45
) -> UInt8:
    """Tint each class's pixels in its colour and outline them; return BGR uint8 [H, W, 3].

    `pixels`: grey or BGR, uint8 of H x W. `classes`: uint8 [H, W] of ids, 0 = clean; ids without a colour stay bare.
    `colours`: (red, green, blue) by id. `opacity`: of the tint, 0-1; the outline is opaque, so that hairlines show.
    """
    canvas = as_bgr(pixels)
    for class_id, (red, green, blue) in colours.items():
        mask = (classes == class_id).view(np.uint8)
        if not mask.any():
            continue
        colour = np.array([blue, green, red], np.float64)
        inside = mask.view(np.bool_)
        canvas[inside] = np.round(canvas[inside] * (1 - opacity) + colour * opacity).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, (blue, green, red), 1)
    return canvas


def write_on(canvas: UInt8, text: str, at: tuple[int, int], colour: tuple[int, ...] = (255, 255, 255)) -> None:
    """Write at (x, y), the text's lower left, in `colour` (blue, green, red) on a dark bar.

    OpenCV's letters are ASCII: mm² is written as mm2, ä as a.
    """
    apart = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in apart if not unicodedata.combining(c)).encode("ascii", "replace").decode()
    # a bar, not an outline of thicker letters: from OpenCV 5 on thicker letters are wider too
    (width, height), below = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    x, y = at
    cv2.rectangle(canvas, (x - 2, y - height - 2), (x + width + 2, y + below), (0, 0, 0), cv2.FILLED)
    cv2.putText(canvas, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
