"""A fast engine that rounds, and an exact one that is asked again wherever the rounding could decide.

Half precision loses what stands at the edge of a threshold or of a smallest area. A scratch of 86 px where 86 are asked
for has 85 when a probability is rounded. So the fast engine answers at lowered thresholds. Its scores tell how far each
pixel is from the true one. The exact engine answers a tile again in which a defect is neither surely kept nor surely
wiped. A clean tile and one whose defects are plain cost nothing more.

Three things are not asked about:

- a faint piece that only a fainter bridge ties to a plain defect;
- a defect that the fast engine does not see even at the lowered threshold;
- the rest of a defect that a region without inspection leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from edge.bundle import HashedFile
from edge.engines.openvino import OpenVinoEngine
from edge.opencv import cv2
from edge.protocols import Engine
from edge.records import Batch, DefectClass, Float32, GraphContract, Maps, Ticket, UInt8

# A probability within this share of its threshold could be on the other side of it: bf16 keeps eight bits, and a
# network adds up many roundings. Half of it sufficed on every clip that was compared (docs/converting.md).
THRESHOLD_MARGIN = 0.1
# So could an area within this share of the smallest one: it is counted at the threshold, along a defect's edge.
AREA_MARGIN = 0.15


def openvino_bf16(
    model: Path | HashedFile, contract: GraphContract, classes: Sequence[DefectClass], threads: int = 0
) -> CascadeEngine:
    """Return OpenVINO in bf16, not yet opened, with OpenVINO in FP32 for the tiles that bf16 leaves in doubt."""
    fast = OpenVinoEngine(model, contract, threads, "bf16")
    exact = OpenVinoEngine(model, contract, threads, "fp32")
    return CascadeEngine(fast, exact, [each.min_area_px for each in classes])


def lowered(thresholds: Float32) -> Float32:
    """Return the thresholds at which the fast engine answers, float32 [K]: its leading class stays the same.

    >>> lowered(np.array([0.5, 0.2], np.float32)).astype(float).round(3).tolist()
    [0.45, 0.18]
    """
    return np.asarray(thresholds * np.float32(1 - THRESHOLD_MARGIN), np.float32)


@dataclass(frozen=True)
class ScoreLevels:
    """Scores, 0-255, of one class: none answered lies below `lowest`; its threshold; and from where on it is sure."""

    lowest: int
    threshold: int
    sure: int


def levels_at(thresholds: Sequence[float]) -> list[ScoreLevels]:
    """Return each class's levels at its threshold, a probability.

    A pixel is sure above the threshold by the margin, where no other class can have it. At p of its own all others that
    share its probability have 1 - p at most. A score of 255 stands for 254.5 and more, and so on.

    >>> levels_at([0.5])
    [ScoreLevels(lowest=114, threshold=128, sure=141)]
    >>> levels_at([0.2, 0.5])
    [ScoreLevels(lowest=45, threshold=51, sure=79), ScoreLevels(lowest=114, threshold=128, sure=188)]
    """
    found = []
    for own, threshold in enumerate(thresholds):
        margin = 1 + THRESHOLD_MARGIN
        sure = min(threshold * margin, (1 + threshold) / 2)
        others = [each for other, each in enumerate(thresholds) if other != own]
        if others:  # p / threshold is the margin above (1 - p) / the lowest threshold of the others
            sure = max(sure, threshold * margin / (threshold * margin + min(others)))
        lowest = int(threshold * (1 - THRESHOLD_MARGIN) * 255)
        found.append(ScoreLevels(lowest, int(np.ceil(threshold * 255)), int(sure * 255 + 0.5) + 1))
    return found


def settle(classes: UInt8, scores: UInt8, levels: Sequence[ScoreLevels], smallest_cells: Sequence[float]) -> bool:
    """Return whether one tile's maps, uint8 [h, w], are in doubt; cut sure ones in place to the thresholds.

    `smallest_cells`: per class, in id order, the smallest area that counts. A tile is in doubt with a defect that could
    be kept and could be wiped. Its probabilities or its size decide that. So is a tile whose defect goes on beyond it
    and is not surely kept by what is within. So is one with an answer that is no probability (NaN). A defect that is
    surely kept clears what is tied to it at the lowered threshold.
    """
    x, y, width, height = cv2.boundingRect(classes)
    if not width:
        return False
    tile_height, tile_width = classes.shape
    box = np.s_[y : y + height, x : x + width]
    # beyond which sides of the box there is nothing more of the tile
    ends = (y == 0, y + height == tile_height, x == 0, x + width == tile_width)
    own_classes, own_scores = classes[box], scores[box]
    for class_id, (level, smallest) in enumerate(zip(levels, smallest_cells, strict=True), start=1):
        low = own_classes == class_id
        if not low.any():
            continue
        kept = low & (own_scores >= level.threshold)
        if (own_scores[low] < level.lowest).any():
            return True
        if _in_doubt(low, kept, low & (own_scores >= level.sure), smallest, ends):
            return True
        wiped = low & ~kept
        own_classes[wiped] = 0
        own_scores[wiped] = 0
    return False


_Mask = npt.NDArray[np.bool_]


def _in_doubt(low: _Mask, kept: _Mask, sure: _Mask, smallest: float, ends: tuple[bool, bool, bool, bool]) -> bool:
    """Tell whether rounding could decide about a defect of one class, by where it is answered at three thresholds.

    A defect at the low threshold is surely kept where its sure part alone is large enough. A piece at the true
    threshold, perhaps apart, is to be clearly smaller or larger than the smallest area.
    """
    enough = max(np.ceil(smallest), np.floor(smallest * (1 + AREA_MARGIN)))
    too_few = smallest / (1 + AREA_MARGIN)
    count, labels, areas, goes_on = _components(low, ends)
    _, sure_labels, sure_areas, _ = _components(sure, ends)
    surely_kept = np.zeros(count, bool)
    surely_kept[labels[(sure_areas >= enough)[sure_labels] & sure]] = True
    possible = (areas >= too_few) | goes_on
    possible[0] = False  # pixels that are not answered
    if (possible & ~surely_kept).any():
        return True
    _, _, areas, goes_on = _components(kept, ends)
    return bool((((areas >= too_few) | goes_on) & (areas < enough))[1:].any())


def _components(
    mask: _Mask, ends: tuple[bool, bool, bool, bool]
) -> tuple[int, npt.NDArray[np.int32], npt.NDArray[np.int64], _Mask]:
    """Return count, labels [h, w], areas, and which 8-connected parts touch an end of the tile; part 0 is no part."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    height, width = mask.shape
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right, bottom = left + stats[:, cv2.CC_STAT_WIDTH], top + stats[:, cv2.CC_STAT_HEIGHT]
    above, below, before, after = ends
    goes_on = (above & (top == 0)) | (below & (bottom == height)) | (before & (left == 0)) | (after & (right == width))
    return count, labels, stats[:, cv2.CC_STAT_AREA].astype(np.int64), np.asarray(goes_on)


@dataclass(frozen=True)
class _Asked:
    """A batch under way: the fast engine's ticket, the tiles for the exact engine, and the true thresholds."""

    ticket: Ticket
    tiles: UInt8
    thresholds: Float32


class CascadeEngine:
    """Answers with `fast`, and with `exact` each tile in which the rounding of `fast` could decide about a defect.

    Both keep one contract. `min_areas_px`: per class, in id order, in prepared pixels. `answered` and `asked_again`
    count tiles.
    """

    def __init__(self, fast: Engine, exact: Engine, min_areas_px: Sequence[float]) -> None:
        self._fast = fast
        self._exact = exact
        self._smallest_cells = [area_px / fast.contract.stride**2 for area_px in min_areas_px]
        self.answered = 0
        self.asked_again = 0

    @property
    def contract(self) -> GraphContract:
        """The contract of both engines."""
        return self._fast.contract

    @property
    def at_once(self) -> int:
        """As many batches as the fast engine has under way."""
        return self._fast.at_once

    def __enter__(self) -> Self:
        self._fast.__enter__()
        try:
            self._exact.__enter__()
        except BaseException as error:
            self._fast.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._exact.__exit__(kind, error, trace)
        finally:
            self._fast.__exit__(kind, error, trace)

    def buffer(self) -> Batch:
        """Return the fast engine's next buffer."""
        return self._fast.buffer()

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Start the fast engine on the first `count` tiles; the exact one is asked in `collect`."""
        ticket = self._fast.submit(batch, count, lowered(thresholds))
        return Ticket(ticket.serial, count, _Asked(ticket, batch.tiles[:count], thresholds.copy()))

    def collect(self, ticket: Ticket) -> Maps:
        """Wait for a ticket's maps, uint8 [count, h, w] each; tiles in doubt are answered by the exact engine."""
        asked: _Asked = ticket.token
        maps = self._fast.collect(asked.ticket)
        levels = levels_at(asked.thresholds.tolist())
        doubtful = [
            place
            for place in range(ticket.count)
            if settle(maps.classes[place], maps.scores[place], levels, self._smallest_cells)
        ]
        self.answered += ticket.count
        self.asked_again += len(doubtful)
        if doubtful:
            again = self._exact.buffer()
            again.tiles[: len(doubtful)] = asked.tiles[doubtful]
            exact = self._exact.collect(self._exact.submit(again, len(doubtful), asked.thresholds))
            maps.classes[doubtful] = exact.classes[: len(doubtful)]
            maps.scores[doubtful] = exact.scores[: len(doubtful)]
        return maps
