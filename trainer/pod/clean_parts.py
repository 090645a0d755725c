"""Clean parts for known defects: those of the simulated line, or a dataset's clean pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edge.preparing import PreparingStep
from edge.records import UInt8
from edge.simulation.belt import belt_part
from edge.simulation.products import PRODUCT_NAMES, ProductName
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings
from trainer.datasets.dataset import Entry, load_unprepared
from trainer.datasets.masks import IGNORED

# Lines of the tests and the demo have small seeds, those to learn from begin at 10⁹.
LINE_SEED = 5_000_000
MARGIN_SHARE = 6 / 480  # of the frame's height: so near the rim nothing is drawn, which shines there


@dataclass(frozen=True)
class CleanPart:
    """One clean picture: `pixels` uint8 [H, W, 3]; `within` uint8 [H, W], where the part may have a defect.

    `within` is None where only the model's preparing says which pixels it looks at. `ignored`: uint8 [H, W], what is
    not judged, by an ignore mask of the dataset; None = nothing.
    """

    name: str
    pixels: UInt8
    within: UInt8 | None
    ignored: UInt8 | None = None


def simulated_parts(product: ProductName, count: int, seed: int, height: int = 480) -> Iterator[CleanPart]:
    """Draw clean parts of one simulated line from above, each where it lies wholly in the frame (4:3)."""
    settings = SimulatedLineSettings(
        width=height * 4 // 3,
        height=height,
        seed=LINE_SEED + 100 * seed + PRODUCT_NAMES.index(product),
        defective_share=0.0,
        products=(product,),
    )
    line, margin_px = RenderedLine(settings), max(1, round(MARGIN_SHARE * height))
    for number in range(count):
        part = belt_part(settings, number)
        first, last = int(part.opened) + 1, int(part.closed)
        # the frame that shows most of it; the middle one while the barrier is broken
        index = (first + last) // 2
        outline = line.outline(index, number, margin_px)
        pixels, _ = line.frame(index)
        yield CleanPart(f"{part.part_id}, frame {index}", pixels, outline)


def clean_pictures(entries: Sequence[Entry], count: int, steps: tuple[PreparingStep, ...]) -> Iterator[CleanPart]:
    """Read at most `count` of the entries that show no defect, spread over all. Raises DatasetError."""
    clean = [entry for entry in entries if not entry.classes]
    if not clean:
        return
    chosen = sorted(set(np.linspace(0, len(clean) - 1, min(count, len(clean))).round().astype(int).tolist()))
    for place in chosen:
        pixels, truth = load_unprepared(clean[place], (), steps)
        ignored: UInt8 | None = (truth == IGNORED).astype(np.uint8) if clean[place].ignored else None
        yield CleanPart(clean[place].image, pixels, None if ignored is None else 1 - ignored, ignored)
