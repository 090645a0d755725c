"""Measure the measuring: its errors on shapes of known size, and its time for a frame of 1080p with 20 defects.

`python -m benchmarks.measuring` prints both tables; `--json FILE` writes them too; `--page FILE` writes the table of
accuracy between the marks of docs/measuring.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.drawn_shapes import (
    GROUND,
    INK,
    SCRATCH,
    Drawing,
    Shape,
    arc,
    bar,
    beside,
    cross,
    disc,
    drawn,
    marked,
    measured,
    share,
    square,
)
from edge.allocating import keep_freed_memory
from edge.inspection.measuring import Sight, measure, region
from edge.inspection.scale import UniformScale
from edge.opencv import cv2
from edge.records import Defect, DefectMap, Transform, UInt8

BLURS = (0.0, 1.0, 2.0)
NOISE = 2.0
Errors = tuple[float, float, float, bool, bool]
BEGIN, END = "<!-- accuracy -->", "<!-- /accuracy -->"


def shapes(rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], Shape], int]]:
    """Yield kinds of shapes: a name, what draws one of any direction, and by how many px its mask is too wide."""

    def turned() -> float:
        return float(rng.uniform(0, 180))

    def straight(length: float, width: float) -> Callable[[], Shape]:
        return lambda: bar(length, width, turned())

    for length, width in ((60, 3), (80, 5), (100, 8), (150, 12)):
        yield f"bar {length} x {width}", straight(length, width), 0
    yield "bar 80 x 5, mask 5 times as wide", lambda: bar(80, 5, turned()), 10
    yield "half a ring, radius 40, 5 wide", lambda: arc(40, 5, 180, turned()), 0
    yield "ring, radius 20, 5 wide", lambda: arc(20, 5, 360), 0
    yield "ring, radius 20, 5 wide, mask 3 times as wide", lambda: arc(20, 5, 360), 5
    yield "cross, 2 x 100 x 5", lambda: cross(100, 5, turned(), float(rng.uniform(50, 90))), 0
    yield "square 24 x 24", lambda: square(24, turned()), 0
    yield "disc, diameter 24", lambda: disc(24), 0
    yield "disc, diameter 24, mask twice as wide", lambda: disc(24), 12


def accuracy(each: int) -> list[dict[str, Any]]:
    """Measure `each` drawings of every kind and blur; return the worst errors and how often the truth was covered."""
    rng = np.random.default_rng(25)
    rows = []
    for name, make, dilated in shapes(rng):
        for blur in BLURS:
            errors = []
            for number in range(each):
                shape = make()
                picture = drawn(shape, _placed(rng, blur, number))
                defect = max(measured(picture, marked(picture, dilated)), key=lambda found: found.area_px)
                errors.append(_errors(defect, shape))
            rows.append(_row(name, blur, errors))
    return rows + [_row(name, blur, _in_company(company, blur, each, rng)) for name, company, blur in COMPANY]


# The neighbours of a line of 80 x 5 px in one picture, and the blur.
COMPANY = tuple(
    (f"bar 80 x 5, beside {name}", sizes, blur)
    for blur in (2.0, 2.5)
    for name, sizes in (("a bar 150 x 12", [(150, 12)]), ("a bar 100 x 8", [(100, 8)]), ("three alike", [(80, 5)] * 3))
)


def _in_company(company: list[tuple[int, int]], blur: float, each: int, rng: np.random.Generator) -> list[Errors]:
    """Measure a bar of 80 x 5 px beside others, each turned by chance."""
    errors = []
    for number in range(each):
        bars = [bar(length, width, float(rng.uniform(0, 180))) for length, width in [(80, 5), *company]]
        picture, columns = beside(bars, _placed(rng, blur, number))
        defects = measured(picture, marked(picture))
        own = min(defects, key=lambda found: abs(found.bbox[0] + found.bbox[2] / 2 - columns[0]))
        errors.append(_errors(own, bars[0]))
    return errors


def _placed(rng: np.random.Generator, blur: float, seed: int) -> Drawing:
    return Drawing((float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.5))), blur, NOISE, seed=seed)


def _errors(defect: Defect, shape: Shape) -> Errors:
    """Return the errors of length (a share), width (px) and area (a share), and whether u covers length and area."""
    length, area = defect.length_px - shape.length_px, defect.area_px - shape.area_px
    return (
        abs(length) / shape.length_px,
        abs(defect.width_px - shape.width_px),
        abs(area) / shape.area_px,
        abs(length) <= (defect.u_mm or 0.0),
        abs(area) <= (defect.u_area_mm2 or 0.0),
    )


def _row(name: str, blur: float, errors: list[Errors]) -> dict[str, Any]:
    seen = np.array(errors, np.float64)
    return {
        "shape": name,
        "blur_px": blur,
        "drawn": len(errors),
        "length_error": float(seen[:, 0].max()),
        "width_error_px": float(seen[:, 1].max()),
        "area_error": float(seen[:, 2].max()),
        "area_spread": float(np.sqrt((seen[:, 2] ** 2).mean())),
        "length_covered": float(seen[:, 3].mean()),
        "area_covered": float(seen[:, 4].mean()),
    }


def frame_of(count: int, seed: int = 1) -> tuple[UInt8, UInt8]:
    """Draw a 1080p frame with `count` defects: straight and curved scratches, and every fourth a stain; and its map."""
    rng = np.random.default_rng(seed)
    grey = np.full((1080, 1920), GROUND, np.float32)
    columns = -(-count // 4)
    for number in range(count):
        kind = number % 4
        size = float(rng.uniform(60, 220))
        shape = (
            disc(float(rng.uniform(10, 40)))
            if kind == 3
            else arc(size / 3, float(rng.uniform(3, 6)), 150, float(rng.uniform(0, 360)))
            if kind == 2
            else bar(size, float(rng.uniform(3, 7)), float(rng.uniform(0, 180)))
        )
        part = share(shape)
        x, y = 10 + (number // 4) * (1900 // columns), 5 + kind * 268
        h, w = min(part.shape[0], 262), min(part.shape[1], 1900 // columns - 4)
        grey[y : y + h, x : x + w] += (INK - GROUND) * part[:h, :w]
    grey = cv2.GaussianBlur(grey, (0, 0), 0.8) + rng.normal(0, 2, grey.shape)
    picture: UInt8 = np.clip(np.round(grey), 0, 255).astype(np.uint8)
    classes = (cv2.GaussianBlur(picture, (0, 0), 1.0) >= (GROUND + INK) / 2).astype(np.uint8)
    return np.ascontiguousarray(cv2.merge([picture] * 3)), classes


def speed(rounds: int) -> dict[str, float]:
    """Return the median and quickest time of measuring such a frame, ms, of `rounds`, and of its map alone."""
    frame, classes = frame_of(20)
    here = Transform.identity()
    inspected = region((1080, 1920), None, here)
    found = DefectMap(classes, classes * np.uint8(200))
    took: dict[str, list[float]] = {"frame": [], "map": []}
    count = 0
    for _ in range(rounds):
        for name, sight in (("frame", Sight(frame)), ("map", Sight())):
            begun = time.perf_counter()
            seen, _ = measure(found, SCRATCH, inspected, here, UniformScale(0.05), sight=sight)
            took[name].append((time.perf_counter() - begun) * 1e3)
            count = len(seen.defects)
    return {
        "defects": count,
        "median_ms": round(statistics.median(took["frame"]), 2),
        "best_ms": round(min(took["frame"]), 2),
        "map_alone_median_ms": round(statistics.median(took["map"]), 2),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows of accuracy as a table of a page."""
    lines = [
        "| shape, px | blur, px | length | width, px | area | area, root mean square | length, area within ± u |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['shape']} | {row['blur_px']:g} | {row['length_error']:.1%} | {row['width_error_px']:.2f} "
        f"| {row['area_error']:.1%} | {row['area_spread']:.1%} "
        f"| {row['length_covered']:.0%}, {row['area_covered']:.0%} |"
        for row in rows
    ]
    length, area = (sum(row[name] for row in rows) / max(1, len(rows)) for name in ("length_covered", "area_covered"))
    told = f"The true length lies within the measured one ± u in {length:.1%} of all drawings, the area in {area:.1%}."
    return "\n".join([*lines, "", told])


def main() -> None:
    """Measure, print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=24, help="drawings of each shape and blur")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    keep_freed_memory()  # as `linewatch` does
    fast = speed(options.rounds)
    told = f"{fast['median_ms']} ms (median of {options.rounds}), best {fast['best_ms']} ms"
    print(f"{fast['defects']} defects at 1080p: {told}")
    rows = accuracy(options.each)
    text = table(rows)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"speed": fast, "accuracy": rows}, indent=1) + "\n")
    if options.page:
        page = options.page.read_text()
        before, rest = page.split(BEGIN)
        options.page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
