"""Does the converted model find what the original finds? Judged on defects, as the line will see them.

Both engines answer the same prepared pictures through the line's own tiling, thresholds and measuring. Equal
probabilities are no aim in themselves: what counts is the pixel whose class changed and the defect that came or went.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from edge.inspection.inference import Inference
from edge.inspection.measuring import region, wiped
from edge.opencv import cv2
from edge.records import DefectClass, DefectMap, PreparedFrame, UInt8
from edge.wording import counted


@dataclass(frozen=True)
class Comparison:
    """The differences of two engines on the same pictures.

    `changed_pixels` of `pixels` have another class, before specks are wiped. `lost`, `gained`: defects per class name,
    after it. A defect is lost if no defect of its class in the converted map overlaps it. It is gained the other way
    round. `largest_score_difference`: of the probability (0-1) where the class is the same, in steps of 1/255.
    """

    pictures: int
    tiles: int
    pixels: int
    changed_pixels: int
    defects: int
    lost: dict[str, int]
    gained: dict[str, int]
    largest_score_difference: float

    @property
    def changed_share(self) -> float:
        """Fraction of pixels whose class differs, 0-1."""
        return self.changed_pixels / self.pixels

    @property
    def total_lost(self) -> int:
        """Defects of any class that the converted model does not find."""
        return sum(self.lost.values())

    @property
    def total_gained(self) -> int:
        """Defects of any class that only the converted model finds."""
        return sum(self.gained.values())

    def plus(self, other: Comparison) -> Comparison:
        """Return both comparisons as one."""
        return Comparison(
            self.pictures + other.pictures,
            self.tiles + other.tiles,
            self.pixels + other.pixels,
            self.changed_pixels + other.changed_pixels,
            self.defects + other.defects,
            {name: count + other.lost[name] for name, count in self.lost.items()},
            {name: count + other.gained[name] for name, count in self.gained.items()},
            max(self.largest_score_difference, other.largest_score_difference),
        )

    def failures(self, max_changed_share: float) -> list[str]:
        """Say, one sentence part each, what must not be: changed pixels above the limit, any defect lost or gained."""
        found = []
        if self.changed_share > max_changed_share:
            found.append(
                f"{self.changed_pixels} of {counted(self.pixels, 'pixel')} ({self.changed_share:.4%}) have "
                f"another class, "
                f"at most {max_changed_share:.4%} allowed"
            )
        for word, counts in (("lost", self.lost), ("gained", self.gained)):
            found += [
                f"{counted(count, f'{name} defect')} {word}, none allowed" for name, count in counts.items() if count
            ]
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for a report."""
        return {**asdict(self), "changed_share": self.changed_share}


class FoundDefects(NamedTuple):
    """One engine's answer to one picture: the stitched map, and its classes without specks, uint8 [h, w]."""

    found: DefectMap
    kept: UInt8


def compare_picture(
    prepared: PreparedFrame, original: Inference, converted: Inference, classes: tuple[DefectClass, ...]
) -> tuple[Comparison, UInt8]:
    """Answer one picture with both engines; return what differs and the converted one's map without specks.

    The map is uint8 [h, w] of class ids. Raises EngineError.
    """
    jobs = [inference.begin([prepared])[0] for inference in (original, converted)]
    maps = [original.finish(jobs[0]), converted.finish(jobs[1])]
    before, after = (FoundDefects(found, without_specks(found, prepared, classes)) for found in maps)
    return compare_maps(before, after, classes, tiles=len(jobs[0].tiles.cells)), after.kept


def without_specks(found: DefectMap, prepared: PreparedFrame, classes: tuple[DefectClass, ...]) -> UInt8:
    """Return the classes of a map, uint8 [h, w], without defects smaller than their class's smallest."""
    shape = (found.classes.shape[0], found.classes.shape[1])
    kept = wiped(found, classes, region(shape, None, prepared.to_frame))
    return kept.classes


def compare_maps(before: FoundDefects, after: FoundDefects, classes: tuple[DefectClass, ...], tiles: int) -> Comparison:
    """Compare two answers to one picture of `tiles` tiles. Pure."""
    changed = before.found.classes != after.found.classes
    difference = np.abs(before.found.scores.astype(np.int16) - after.found.scores)[~changed]
    pairs = {entry.name: (before.kept == entry.id, after.kept == entry.id) for entry in classes}
    lost = {name: _unmatched(own, other) for name, (own, other) in pairs.items()}
    gained = {name: _unmatched(other, own) for name, (own, other) in pairs.items()}
    return Comparison(
        pictures=1,
        tiles=tiles,
        pixels=changed.size,
        changed_pixels=int(np.count_nonzero(changed)),
        defects=sum(_label(own)[0] for own, _ in pairs.values()),
        lost=lost,
        gained=gained,
        largest_score_difference=float(difference.max(initial=0)) / 255,
    )


def _label(mask: Any) -> tuple[int, Any]:
    """Count the 8-connected components of bool [h, w] and number their pixels from 1, int32 [h, w]."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    return count - 1, labels


def _unmatched(mask: Any, other: Any) -> int:
    """Count the components of `mask`, bool [h, w], that no true pixel of `other` overlaps."""
    count, labels = _label(mask)
    return count - np.unique(labels[mask & other]).size
