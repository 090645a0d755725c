"""Pictures for a report, gathered while they are judged: examples, and the worst misses and false alarms.

Only small copies of the few shown ones are kept. So a dataset of any size fits in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from edge.inspection.overlaying import as_bgr, overlay
from edge.opencv import cv2
from edge.records import UInt8
from trainer.datasets.contact_sheets import SheetCell, contact_sheet
from trainer.datasets.masks import IGNORED
from trainer.evaluation.evaluating import Judged
from trainer.evaluation.metrics import CLEAN

Colour = tuple[int, int, int]

EXAMPLES, WORST = 12, 8
_CELL_PX = 360
_COLUMNS = 4
# A wrong region is shown with at least so much around it, so that one sees where it lies.
_LEAST_CROP_PX = 160
_MARGIN = 0.5


@dataclass(frozen=True)
class Exhibit:
    """One picture of a gallery: `rank` (the greater, the worse), and for people its name, class and what is wrong.

    `wrong_px` of `of_px`: pixels missed of the true ones, or answered wrongly of those answered; None without masks.
    `true_name`, `answered_name`: the one class that the picture counts as, and is answered as.
    """

    rank: tuple[int, int]
    image: str
    class_name: str
    wrong_px: int | None
    of_px: int | None
    whole_picture: bool
    cell: SheetCell
    true_name: str
    answered_name: str


@dataclass
class Gallery:
    """Shown each judged picture (`watch`); then holds `examples`, and `misses` and `false_alarms`, the worst first."""

    names: Sequence[str]
    colours: Mapping[int, Colour]
    misses: list[Exhibit] = field(default_factory=list)
    false_alarms: list[Exhibit] = field(default_factory=list)
    _examples: dict[tuple[str, ...], list[SheetCell]] = field(default_factory=dict)

    def watch(self, judged: Judged) -> None:
        """Keep what is worth showing of one picture."""
        kinds = judged.picture.entry.classes
        kept = self._examples.setdefault(kinds, [])
        if len(kept) < EXAMPLES:
            kept.append(SheetCell(self._side_by_side(judged), self._caption(judged)))
        self._keep(self.misses, judged, self._worst_miss(judged))
        self._keep(self.false_alarms, judged, self._worst_false(judged))

    @property
    def examples(self) -> list[SheetCell]:
        """Up to a dozen pictures, by turns of each combination of classes."""
        turns = max((len(cells) for cells in self._examples.values()), default=0)
        groups = [cells for _, cells in sorted(self._examples.items())]
        return [cells[k] for k in range(turns) for cells in groups if k < len(cells)][:EXAMPLES]

    def _keep(self, kept: list[Exhibit], judged: Judged, found: _Wrong | None) -> None:
        if found is None or (len(kept) == WORST and found.rank <= kept[-1].rank):
            return
        image = judged.picture.entry.image
        names = [CLEAN, *self.names]
        name = names[found.class_id]
        words = self._caption(judged) if judged.labels_only else f"{name}: {PurePath(image).name}"
        kept.append(
            Exhibit(
                rank=found.rank,
                image=image,
                class_name=name,
                wrong_px=None if judged.labels_only else found.wrong_px,
                of_px=None if judged.labels_only else found.of_px,
                whole_picture=found.whole_picture,
                cell=SheetCell(self._close_up(judged, found), words),
                true_name=names[judged.score.true_id],
                answered_name=names[judged.score.answered_id],
            )
        )
        kept.sort(key=lambda exhibit: exhibit.rank, reverse=True)
        del kept[WORST:]

    def _worst_miss(self, judged: Judged) -> _Wrong | None:
        """Find the class whose true pixels are missed most; one that is missed in the whole picture comes first."""
        score = judged.score
        if judged.labels_only:
            wrong = score.true_id != score.answered_id and score.true_id > 0
            return self._by_turns(self.misses, score.true_id) if wrong else None
        found = []
        for k in np.flatnonzero(score.shown):
            class_id = int(k) + 1
            true, hit = int(score.confusion[class_id].sum()), int(score.confusion[class_id, class_id])
            whole = not score.met[k]
            found.append((int(whole), true - hit, class_id, true))
        if not found or max(found)[1] == 0:
            return None
        at_all, missed, class_id, true = max(found)
        region = (judged.picture.truth == class_id) & (judged.answer != class_id)
        return _Wrong(class_id, (at_all, missed), missed, true, region, whole_picture=bool(at_all))

    def _worst_false(self, judged: Judged) -> _Wrong | None:
        """Find the class that is answered most where it is not; one that the picture does not show comes first."""
        score = judged.score
        if judged.labels_only:
            wrong = score.true_id != score.answered_id and score.answered_id > 0
            return self._by_turns(self.false_alarms, score.answered_id) if wrong else None
        found = []
        for k in np.flatnonzero(score.answered):
            class_id = int(k) + 1
            answered, hit = int(score.confusion[:, class_id].sum()), int(score.confusion[class_id, class_id])
            found.append((int(not score.shown[k]), answered - hit, class_id, answered))
        if not found or max(found)[1] == 0:
            return None
        at_all, wrong_px, class_id, answered = max(found)
        elsewhere = (judged.picture.truth != class_id) & (judged.picture.truth != IGNORED)
        region = (judged.answer == class_id) & elsewhere
        return _Wrong(class_id, (at_all, wrong_px), wrong_px, answered, region, whole_picture=bool(at_all))

    def _by_turns(self, kept: Sequence[Exhibit], class_id: int) -> _Wrong:
        """Rank a picture that has a label alone: there is no worse and better, so classes come by turns."""
        before = sum(exhibit.class_name == self.names[class_id - 1] for exhibit in kept)
        return _Wrong(class_id, (1, -before), 0, 0, None, whole_picture=True)

    def _side_by_side(self, judged: Judged) -> UInt8:
        """Put the truth and the answer beside each other, or below where the picture is wide."""
        pixels = judged.picture.pixels
        if judged.labels_only:
            return small(pixels, _CELL_PX)
        height, width = pixels.shape[:2]
        below = width > height
        # so small that both fit a cell as they are: shrunk once more, outlines would fade
        longer = max(width, 2 * height) if below else max(2 * width, height)
        side = _CELL_PX * max(height, width) // longer - 1
        true = tinted(pixels, judged.picture.truth, self.colours, side)
        answered = tinted(pixels, judged.answer, self.colours, side)
        return _joined([true, answered], below=below)

    def _caption(self, judged: Judged) -> str:
        name = PurePath(judged.picture.entry.image).name
        if not judged.labels_only:
            return name
        words = [CLEAN, *self.names]  # last, since a long caption loses its beginning
        return f"{name}: {words[judged.score.true_id]} as {words[judged.score.answered_id]}"

    def _close_up(self, judged: Judged, wrong: _Wrong) -> UInt8:
        """Show the wrong region four times: where it lies in the picture, bare, with the truth, with the answer."""
        pixels = judged.picture.pixels
        if wrong.region is None:
            return small(pixels, _CELL_PX)
        y0, y1, x0, x1 = _around(wrong.region)
        side = _CELL_PX // 2
        whole = as_bgr(pixels)
        thick = max(1, max(whole.shape[:2]) // 200)
        cv2.rectangle(whole, (x0, y0), (x1 - 1, y1 - 1), (255, 255, 255), thick)
        part = pixels[y0:y1, x0:x1]
        panels = [
            small(whole, side),
            small(part, side),
            tinted(part, judged.picture.truth[y0:y1, x0:x1], self.colours, side),
            tinted(part, judged.answer[y0:y1, x0:x1], self.colours, side),
        ]
        rows = [_joined([_centred(panel, side) for panel in pair], below=False) for pair in (panels[:2], panels[2:])]
        return _joined(rows, below=True)


@dataclass(frozen=True)
class _Wrong:
    """The errors of one picture: the class, how bad, and where, bool [H, W] (None where only labels are known)."""

    class_id: int
    rank: tuple[int, int]
    wrong_px: int
    of_px: int
    region: npt.NDArray[np.bool_] | None
    whole_picture: bool


def sheet_of(cells: Sequence[SheetCell]) -> UInt8:
    """Lay cells out on one sheet, BGR uint8."""
    return contact_sheet(cells, columns=max(1, min(_COLUMNS, len(cells))), cell_px=_CELL_PX)


def small(pixels: UInt8, side_px: int) -> UInt8:
    """Shrink or enlarge a picture to `side_px` on its longer side; BGR uint8."""
    size = _size(pixels.shape, side_px)
    how = cv2.INTER_AREA if size[0] < pixels.shape[1] else cv2.INTER_NEAREST
    return as_bgr(cv2.resize(pixels, size, interpolation=how))


def tinted(pixels: UInt8, classes: UInt8, colours: Mapping[int, Colour], side_px: int) -> UInt8:
    """Shrink or enlarge a picture and its class map, uint8 [H, W], and lay the map over; hairlines survive that."""
    size = _size(pixels.shape, side_px)
    reduced: UInt8 = np.zeros((size[1], size[0]), np.uint8)
    for class_id in colours:
        mask = (classes == class_id).astype(np.float32)
        reduced[cv2.resize(mask, size, interpolation=cv2.INTER_AREA) > 0] = class_id
    return overlay(small(pixels, side_px), reduced, colours, opacity=0.35)


def _size(shape: tuple[int, ...], side_px: int) -> tuple[int, int]:
    scale = side_px / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _around(region: npt.NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the rows and columns y0, y1, x0, x1 of a square around the largest part of a region, bool [H, W]."""
    height, width = region.shape
    _, _, stats, _ = cv2.connectedComponentsWithStats(region.view(np.uint8), connectivity=8)
    x, y, w, h = (int(v) for v in stats[1:][stats[1:, cv2.CC_STAT_AREA].argmax()][:4])
    side = int(max(max(w, h) * (1 + _MARGIN), _LEAST_CROP_PX))
    spans = []
    for first, length, limit in ((y, h, height), (x, w, width)):
        start = min(max(first + length // 2 - side // 2, 0), max(limit - side, 0))
        spans += [start, min(start + side, limit)]
    return spans[0], spans[1], spans[2], spans[3]


def _centred(pixels: UInt8, side_px: int) -> UInt8:
    ground: UInt8 = np.full((side_px, side_px, 3), 32, np.uint8)
    height, width = pixels.shape[:2]
    y, x = (side_px - height) // 2, (side_px - width) // 2
    ground[y : y + height, x : x + width] = pixels
    return ground


def _joined(pictures: Sequence[UInt8], *, below: bool) -> UInt8:
    """Join pictures of the same size, a dark line between them."""
    height, width = pictures[0].shape[:2]
    line: UInt8 = np.full((2, width, 3) if below else (height, 2, 3), 32, np.uint8)
    parts = [part for picture in pictures for part in (picture, line)][:-1]
    return np.vstack(parts) if below else np.hstack(parts)
