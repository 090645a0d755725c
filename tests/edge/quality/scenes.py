"""A drawn machine with a part in it, as good frames and as bad ones show it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edge.opencv import cv2
from edge.records import UInt8

SIZE = (480, 360)


def scene(seed: int = 0) -> UInt8:
    """Draw one good frame, [360, 480, 3]: a machine that stands still, and a part with a print, elsewhere in each."""
    still, chance = np.random.default_rng(7), np.random.default_rng(100 + seed)
    pixels = np.full((SIZE[1], SIZE[0]), 90, np.uint8)
    for _ in range(60):  # holes and screws of the machine, left and right
        x = int(still.integers(10, 100)) + 360 * int(still.integers(0, 2))
        cv2.circle(
            pixels, (x, int(still.integers(10, 350))), int(still.integers(2, 8)), int(still.integers(40, 200)), -1
        )
    left, top = (int(place) for place in chance.integers((150, 40), (180, 120)))
    cv2.rectangle(pixels, (left, top), (left + 140, top + 180), 150, -1)
    for row in range(8):
        for column in range(6):
            cv2.circle(pixels, (left + 20 + 20 * column, top + 20 + 20 * row), 5, 60, -1)
    soft = cv2.GaussianBlur(pixels, (0, 0), 0.7)
    noisy = np.clip(soft + chance.normal(0, 1.5, soft.shape), 0, 255).astype(np.uint8)
    coloured: UInt8 = cv2.cvtColor(noisy, cv2.COLOR_GRAY2BGR)
    return coloured


def moved(pixels: UInt8, x: float, y: float, degrees: float = 0.0, larger: float = 1.0) -> UInt8:
    """Return what a camera sees that was moved by px, turned, and brought nearer or farther."""
    size = (pixels.shape[1], pixels.shape[0])
    matrix = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), degrees, larger) + np.array([[0, 0, x], [0, 0, y]])
    shown: UInt8 = cv2.warpAffine(pixels, matrix, size, borderMode=cv2.BORDER_REFLECT)
    return shown


def streaked(pixels: UInt8, length: int) -> UInt8:
    """Return what is seen when the belt runs `length` px while the shutter is open."""
    shown: UInt8 = cv2.blur(pixels, (length, 1))
    return shown


def with_glare(pixels: UInt8, x: int, y: int, radius: int = 25) -> UInt8:
    """Return a frame with a lamp's reflection."""
    shown: UInt8 = cv2.circle(pixels.copy(), (x, y), radius, (255, 255, 255), -1)
    return shown


def _lit(pixels: UInt8, gain: float, offset: float = 0.0) -> UInt8:
    return np.clip(pixels.astype(np.float64) * gain + offset, 0, 255).astype(np.uint8)


def _with_sparks(pixels: UInt8) -> UInt8:
    shown = pixels.copy()
    shown[::8, ::8] = 255
    return shown


BAD: dict[str, tuple[str, Callable[[UInt8], UInt8]]] = {
    "blurred": ("out_of_focus", lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 2.5)),
    "very blurred": ("out_of_focus", lambda pixels: cv2.GaussianBlur(pixels, (0, 0), 12)),
    "dark": ("exposure", lambda pixels: _lit(pixels, 0.4)),
    "bright": ("exposure", lambda pixels: _lit(pixels, 1.6, 60)),
    "clipped": ("exposure", _with_sparks),
    "glare": ("glare", lambda pixels: with_glare(pixels, 240, 170)),
    "streaked": ("motion_blur", lambda pixels: streaked(pixels, 15)),
    "streaked upwards": ("motion_blur", lambda pixels: cv2.blur(pixels, (1, 15))),
    "shifted": ("moved", lambda pixels: moved(pixels, 9, -6)),
    "far": ("moved", lambda pixels: moved(pixels, 70, 40)),
    "turned": ("moved", lambda pixels: moved(pixels, 0, 0, 2.0)),
    "nearer": ("moved", lambda pixels: moved(pixels, 0, 0, 0, 1.02)),
    "farther": ("moved", lambda pixels: moved(pixels, 0, 0, 0, 0.98)),
}  # fmt: skip
