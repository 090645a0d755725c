"""Measures a bundle on simulated lines that it did not learn from, for each product and view.

    python -m benchmarks.simulated --bundle edge/bundles/simulated-glass --json out/simulated.json

The second table is of straight scratches, one on each clean glass, by angle.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edge.app import make_engine
from edge.bundle import Bundle, load_bundle
from edge.inspection.inference import Inference
from edge.inspection.inspector import Inspector
from edge.inspection.settings import InspectSettings
from edge.opencv import cv2
from edge.preparing.geometry import map_to_frame
from edge.records import Frame, Judgement, UInt8
from edge.settings import EngineSettings
from edge.simulation.belt import belt_part
from edge.simulation.defects import CLASS_NAMES, SCRATCH, Stroke, a_place, scratch
from edge.simulation.glass import make_part
from edge.simulation.products import PRODUCT_NAMES, ProductName
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings
from edge.simulation.scenes import USUAL, compose, inset, make_scene

SHIPPED = Path(__file__).resolve().parent.parent / "edge" / "bundles" / "simulated-glass"
SEED = 2_000  # of the first line, each has its own; lines to learn from have seeds from 10⁹ on
FRAMES_OF_A_PART = 3
SEEN_PX = 30  # of the truth, so that a defect counts as shown in a frame of 640 x 480 px
ANGLES = (0, 3, 20, 45, 70, 87, 90, 135)
Answer = Callable[[UInt8], UInt8]


@dataclass
class Tally:
    """Counts of frames and of parts."""

    defective: int = 0
    found: int = 0
    passed: int = 0
    clean: int = 0
    flagged: int = 0
    bad_parts: int = 0
    bad_parts_found: int = 0
    good_parts: int = 0
    good_parts_flagged: int = 0
    shown: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    missed: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, truth: UInt8, answer: UInt8, least_px: float) -> tuple[bool, bool]:
        """Count a frame; return whether it shows a defect and whether the answer is right."""
        classes = [c for c in range(1, len(CLASS_NAMES) + 1) if np.count_nonzero(truth == c) >= least_px]
        hit = {c: bool((answer[truth == c] == c).any()) for c in classes}
        for class_id, found in hit.items():
            self.shown[CLASS_NAMES[class_id - 1]] += 1
            self.missed[CLASS_NAMES[class_id - 1]] += not found
        if classes:
            self.defective += 1
            self.found += any(hit.values())
            self.passed += not answer.any()
        elif not truth.any():
            self.clean += 1
            self.flagged += bool(answer.any())
        return bool(classes), any(hit.values()) if classes else bool(answer.any())


def answers(bundle: Bundle, inference: Inference) -> Answer:
    """Return what tells the class map, uint8 [H, W] of the simulation's ids, that the bundle answers to a frame."""
    inspector = Inspector(inference, bundle, InspectSettings())
    ids: UInt8 = np.zeros(256, np.uint8)
    for entry in bundle.classes:
        ids[entry.id] = CLASS_NAMES.index(entry.name) + 1

    def answer(pixels: UInt8) -> UInt8:
        job = inspector.begin(Frame("simulated", 0, pixels, 0, datetime.now(timezone.utc)))
        if isinstance(job, Judgement):
            raise SystemExit(f"A simulated frame was not judged: {job.reason}")
        kept = inspector.finish(job).kept
        if kept is None:
            raise SystemExit("A simulated frame was not judged")
        shape = (pixels.shape[0], pixels.shape[1])
        return ids[map_to_frame(kept.classes, job.prepared.to_frame, shape, kept.stride)]

    return answer


def of_line(
    answer: Answer, product: ProductName, view: Literal["top", "side"], size: tuple[int, int], parts: int
) -> Tally:
    """Judge the parts of a line of one product, three frames of each while the light barrier is broken."""
    settings = SimulatedLineSettings(
        width=size[0],
        height=size[1],
        seed=SEED + PRODUCT_NAMES.index(product) + 10 * (view == "side"),
        products=(product,),
        view=view,
        edge_share=0.5 if view == "top" else 1.0,
    )
    line, tally, least_px = RenderedLine(settings), Tally(), SEEN_PX * (size[1] / 480) ** 2
    for number in range(parts):
        part = belt_part(settings, number)
        first, last = ceil(part.opened), int(part.closed)
        seen = [
            tally.add(truth, answer(pixels), least_px)
            for pixels, truth in (line.frame(int(k)) for k in np.linspace(first, last, FRAMES_OF_A_PART + 2)[1:-1])
        ]
        if any(bad for bad, _ in seen):
            tally.bad_parts += 1
            tally.bad_parts_found += any(bad and right for bad, right in seen)
        elif not line.shown(number):
            tally.good_parts += 1
            tally.good_parts_flagged += any(flagged for _, flagged in seen)
    return tally


def straight_pictures(angle: int, draws: int, faint: bool) -> Iterator[tuple[UInt8, UInt8]]:
    """Draw glasses of the usual line, each with one straight scratch at `angle`, in degrees, and nothing else."""
    for draw in range(draws):
        g = np.random.default_rng([SEED, angle, draw])
        scene, part = make_scene(480, 640, USUAL, g), make_part(480, USUAL, {}, g)
        free = inset(part.glass, 22)
        x, y = a_place(free, g)
        length = 600.0 if draw % 3 == 0 else g.uniform(50, 190)
        strength = g.uniform(40, 65) if faint else g.uniform(65, 180)
        scratch(part.pixels, part.truth, free, 1.0, g, stroke=Stroke(x, y, length, np.deg2rad(angle), 0.0, strength))
        at = (int(g.integers(20, 160)), int(g.integers(80, 160)))
        grey, truth = compose(scene, [(part, *at)], int(g.integers(640)), draw)
        yield cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), truth


def table(rows: list[dict[str, Any]]) -> str:
    """Lay out rows as a Markdown table."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(row[name]) for name in names)} |" for row in rows)])


def row_of(product: str, view: str, size: tuple[int, int], tally: Tally) -> dict[str, Any]:
    """Say what a tally comes to."""
    missed = ", ".join(f"{name} {tally.missed[name]}/{tally.shown[name]}" for name in CLASS_NAMES)
    return {
        "product": product,
        "view": view,
        "frame": f"{size[0]} x {size[1]}",
        "bad parts found": f"{tally.bad_parts_found} of {tally.bad_parts}",
        "good parts flagged": f"{tally.good_parts_flagged} of {tally.good_parts}",
        "bad frames found": f"{tally.found} of {tally.defective}",
        "passed as clean": f"{tally.passed} of {tally.defective}",
        "clean frames flagged": f"{tally.flagged} of {tally.clean}",
        "missed by class": missed,
    }


def judge(answer: Answer, parts: int, draws: int) -> dict[str, list[dict[str, Any]]]:
    """Judge every product in every view at two sizes, and straight scratches at each angle."""
    lines = []
    for size, some in (((640, 480), parts), ((1920, 1080), max(2, parts // 2))):
        for view in ("top", "side"):
            for product in PRODUCT_NAMES:
                lines.append(row_of(product, view, size, of_line(answer, product, view, size, some)))
                print(table(lines[-1:]).splitlines()[-1], flush=True)
    straight = []
    for angle in ANGLES:
        found = {}
        for words, faint in (("faint", True), ("strong", False)):
            hits = [
                bool((answer(pixels)[truth == SCRATCH] == SCRATCH).any())
                for pixels, truth in straight_pictures(angle, draws, faint)
            ]
            found[words] = f"{sum(hits)} of {len(hits)}"
        straight.append({"angle": f"{angle}°", **found})
    return {"lines": lines, "straight": straight}


def main() -> None:
    """Judge a bundle and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=SHIPPED)
    parser.add_argument("--parts", type=int, default=40, help="of each line of 640 x 480 px; half as many of 1080p")
    parser.add_argument("--draws", type=int, default=40, help="straight scratches of each angle and strength")
    parser.add_argument("--json", type=Path, help="write the figures here")
    asked = parser.parse_args()
    bundle = load_bundle(asked.bundle)
    with make_engine(EngineSettings(), bundle) as engine:
        inference = Inference(engine, [entry.threshold for entry in bundle.classes], bundle.manifest.tile.overlap_px)
        figures = judge(answers(bundle, inference), asked.parts, asked.draws)
    print(table(figures["lines"]), table(figures["straight"]), sep="\n\n")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
