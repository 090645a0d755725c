"""Measure the image quality gate: its time per 1080p frame, and how many good pictures of real sets it refuses.

python -m benchmarks.quality --data ../shared/data            # prints a table; --json FILE writes it
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.opencv import cv2
from edge.pictures import read_picture
from edge.quality.gate import QualityGate
from edge.quality.learning import learn_quality
from edge.quality.measures import edges, exposure, likeness, sample, small, small_size
from edge.records import UInt8

REPEATS = 50
SETS = ("phone_msd", "ballscrew", "castings", "cookies", "bottle", "neu_cls")
PICTURES = 60  # of each set; half of them teach


def frame(seed: int) -> UInt8:
    """Draw a machine with a part, uint8 [1080, 1920, 3], with noise."""
    still, chance = np.random.default_rng(1), np.random.default_rng(seed)
    pixels = np.full((1080, 1920, 3), (90, 95, 100), np.uint8)
    for _ in range(300):
        middle = (int(still.integers(0, 500)), int(still.integers(0, 1080)))
        cv2.circle(pixels, middle, int(still.integers(4, 30)), (int(still.integers(30, 220)),) * 3, -1, cv2.LINE_AA)
    left, top = int(chance.integers(700, 800)), int(chance.integers(100, 200))
    cv2.rectangle(pixels, (left, top), (left + 900, top + 700), (150, 150, 150), -1)
    return np.clip(pixels + chance.normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)


def cost() -> dict[str, float]:
    """Return the medians of each piece and of all of it, ms of processor time on one core."""
    cv2.setNumThreads(1)
    good = [frame(seed) for seed in range(6)]
    gate = QualityGate(learn_quality(good))
    pixels = frame(99)
    if gate.look(pixels) is not None:
        raise SystemExit("the benchmark's own frame is refused")
    sampled, all_of_it = sample(pixels), np.full((270, 480), 255, np.uint8)
    size = small_size((1920, 1080))
    picture = small(sampled, size)
    pieces = {
        "edges: focus and motion blur": lambda: edges(pixels),
        "sample": lambda: sample(pixels),
        "exposure and glare": lambda: exposure(sampled, all_of_it),
        "camera moved": lambda: likeness(small(sampled, size), picture, np.full(picture.shape, 255, np.uint8)),
        "all": lambda: gate.look(pixels),
    }
    return {name: _median_ms(piece) for name, piece in pieces.items()}


def _median_ms(piece: Any) -> float:
    times = []
    for run in range(REPEATS + 3):
        began_s = time.process_time()
        piece()
        if run >= 3:
            times.append(1000 * (time.process_time() - began_s))
    return statistics.median(times)


def refused(data: Path) -> dict[str, dict[str, Any]]:
    """Return for each set how many good pictures that taught nothing are refused, and why."""
    told = {}
    for name in SETS:
        files = sorted(path for path in (data / name / "images").rglob("*") if path.is_file())
        found = [read_picture(path) for path in files[:: max(1, len(files) // PICTURES)]]
        found = [pixels for pixels in found if pixels.shape == found[0].shape]
        gate = QualityGate(learn_quality(found[::2]))
        flaws = [gate.look(pixels) for pixels in found[1::2]]
        why = [flaw.fault.value for flaw in flaws if flaw is not None]
        told[name] = {"taught": len(found[::2]), "looked_at": len(flaws), "refused": len(why), "why": sorted(set(why))}
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    result: dict[str, Any] = {"ms": cost()}
    for name, milliseconds in result["ms"].items():
        print(f"{name:32} {milliseconds:6.2f} ms")
    if asked.data is not None:
        result["sets"] = refused(asked.data)
        for name, row in result["sets"].items():
            print(f"{name:16} {row['refused']:3} of {row['looked_at']:3} refused {', '.join(row['why'])}")
    if asked.json is not None:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
