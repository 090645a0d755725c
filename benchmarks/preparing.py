"""The cost of each preparing step per 1080p frame on one core, beside the figures of docs/preparing.md.

python benchmarks/preparing.py            # prints a table; --json FILE writes it
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from edge.opencv import cv2
from edge.preparing import (
    CropCircle,
    CropRectangle,
    Edges,
    FlatField,
    Grey,
    LevelLight,
    Levels,
    PreparingStep,
    Resize,
    Smooth,
)
from edge.records import Transform, UInt8

REPEATS = 30


def picture() -> UInt8:
    """Draw a device with a round glass on a bench, uint8 [1080, 1920, 3], with noise."""
    pixels = np.full((1080, 1920, 3), (100, 110, 120), np.uint8)
    corners = cv2.boxPoints(((960.0, 540.0), (1500.0, 800.0), 3.0))
    cv2.fillConvexPoly(pixels, np.round(corners).astype(np.int32), (40, 40, 45))
    cv2.circle(pixels, (960, 540), 330, (170, 175, 180), -1, cv2.LINE_AA)
    noise = np.random.default_rng(0).normal(0, 4, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def cases() -> list[tuple[str, PreparingStep, bool]]:
    """Return each step by its name, and whether it is given the picture in colour."""
    return [
        ("grey, of colour", Grey(), True),
        ("level_light", LevelLight(), False),
        ("levels", Levels(), False),
        ("flat_field", FlatField(), False),
        ("flat_field, colour", FlatField(), True),
        ("resize 1280x1280, letterbox", Resize(width=1280, height=1280), False),
        ("resize 640x640, stretch", Resize(width=640, height=640, fit="stretch"), False),
        ("crop_circle", CropCircle(), False),
        ("crop_circle, colour", CropCircle(), True),
        ("crop_rectangle, turned 3 degrees", CropRectangle(), False),
        ("smooth mean 3", Smooth(kind="mean"), False),
        ("smooth gaussian 1.0", Smooth(kind="gaussian"), False),
        ("smooth median 3", Smooth(kind="median"), False),
        ("smooth median 7", Smooth(kind="median", size_px=7), False),
        ("smooth bilateral 5", Smooth(kind="bilateral", size_px=5), False),
        ("edges sobel", Edges(kind="sobel"), False),
        ("edges laplacian", Edges(kind="laplacian"), False),
        ("edges unsharp", Edges(kind="unsharp"), False),
    ]


def median_ms(step: PreparingStep, pixels: UInt8) -> float:
    """Return the median of 30 runs, ms of processor time, after three to warm up."""
    times = []
    for run in range(REPEATS + 3):
        began_s = time.process_time()
        step.apply(pixels, Transform.identity())
        if run >= 3:
            times.append(1000 * (time.process_time() - began_s))
    return statistics.median(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    colour = picture()
    grey = Grey().apply(colour, Transform.identity())[0]
    figures = {name: round(median_ms(step, colour if own else grey), 2) for name, step, own in cases()}
    for name, milliseconds in figures.items():
        print(f"{name:36s} {milliseconds:7.2f} ms")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps({"opencv": cv2.__version__, "ms": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
