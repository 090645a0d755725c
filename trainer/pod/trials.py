"""Defects that were judged one by one: drawn onto clean parts, or real ones of held-out pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from edge.opencv import cv2
from edge.records import UInt8
from edge.simulation.known_marks import MarkShape, add_mark
from trainer.datasets.dataset import Entry
from trainer.datasets.masks import IGNORED
from trainer.pod.clean_parts import CleanPart
from trainer.pod.looking import Looker, NotSeen, Seen
from trainer.pod.plan import Asked, Draw, ninth_of, orientation_of, placed, plan_draws

SIZES_PREPARED_PX = (6.0, 128.0)  # drawn sizes by default, in prepared pixels
WIDTH_PREPARED_PX = 2.0
_LONG = 2.0  # length over width from which a real defect has an orientation


@dataclass(frozen=True)
class Trial:
    """One defect. `contrast`: grey levels; None for a real one. `orientation`: degrees, one of twelve; None = none.

    `found`: an answer of its own class lies on it, which the clean picture had not. `otherwise`: of another class.
    """

    class_name: str
    size_px: float
    contrast: float | None
    orientation: int | None
    ninth: int
    found: bool
    otherwise: bool = False


@dataclass
class Drawn:
    """The defects drawn and judged. `unread`: clean parts without a verdict; `no_room`: defects that had no place."""

    trials: list[Trial] = field(default_factory=list)
    parts: int = 0
    flagged: int = 0
    unread: int = 0
    no_room: int = 0
    width_px: float | None = None
    sizes_px: tuple[float, float] | None = None


class Drawing:
    """Draws defects of each class of `shapes`, one at a time, onto clean parts, and has them judged.

    `ids`: of the bundle's classes.
    """

    def __init__(self, looker: Looker, shapes: Mapping[str, MarkShape], ids: Mapping[str, int], asked: Asked) -> None:
        self._looker = looker
        self._shapes = shapes
        self._ids = ids
        self._asked = asked

    def onto(self, parts: Iterable[CleanPart], each: Callable[[], object] = lambda: None) -> Drawn:
        """Draw and judge; `each` is called after each part. Raises EngineError, DatasetError."""
        done, plans = Drawn(), list[Draw]()
        for place, part in enumerate(parts):
            clean = self._looker.look(part.pixels)
            if isinstance(clean, NotSeen):
                done.unread += 1
                each()
                continue
            if done.sizes_px is None:
                plans = self._plan(done, clean.px_per_prepared)
            done.parts += 1
            done.flagged += bool((clean.classes if part.ignored is None else clean.classes * (1 - part.ignored)).any())
            g = np.random.default_rng([self._asked.seed, 1, place])
            for draw in plans[place :: self._asked.parts]:
                self._draw(part, clean, draw, done, g)
            each()
        return done

    def _plan(self, done: Drawn, px_per_prepared: float) -> list[Draw]:
        asked = self._asked
        least, most = (size * px_per_prepared for size in SIZES_PREPARED_PX)
        done.sizes_px = asked.sizes_px or (least, most)
        done.width_px = asked.width_px or WIDTH_PREPARED_PX * px_per_prepared
        return [d for name, shape in self._shapes.items() for d in plan_draws(name, shape, asked, done.sizes_px)]

    def _draw(self, part: CleanPart, clean: Seen, draw: Draw, done: Drawn, g: np.random.Generator) -> None:
        within = clean.looked_at if part.within is None else clean.looked_at & part.within
        mark = placed(draw, within, done.width_px or WIDTH_PREPARED_PX, g)
        if mark is None:
            done.no_room += 1
            return
        pixels, truth = add_mark(part.pixels, mark, within)
        seen = self._looker.look(pixels)
        answer = np.zeros_like(truth) if isinstance(seen, NotSeen) else seen.classes
        new = (truth > 0) & (answer != clean.classes)
        found = bool((answer[new] == self._ids[draw.class_name]).any())
        otherwise = bool(answer[new].any()) and not found
        own = (draw.class_name, draw.size_px, abs(draw.contrast), draw.orientation, draw.ninth)
        done.trials.append(Trial(*own, found=found, otherwise=otherwise))


def real_trials(
    looker: Looker, pictures: Iterable[tuple[Entry, UInt8, UInt8]], ids: Mapping[str, int]
) -> Iterator[Trial]:
    """Judge each defect, one connected set of pixels of one class, of real pictures that the bundle does not know.

    Each comes with its pixels, uint8 [H, W, 3], and its truth, uint8 [H, W] of class ids. Raises EngineError.
    """
    for _, pixels, truth in pictures:
        seen = looker.look(pixels)
        answer = np.zeros_like(truth) if isinstance(seen, NotSeen) else seen.classes
        for name, class_id in ids.items():
            yield from _of_class(name, class_id, truth, answer)


def _of_class(name: str, class_id: int, truth: UInt8, answer: UInt8) -> Iterator[Trial]:
    outlines, _ = cv2.findContours((truth == class_id).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        mask = np.zeros_like(truth)
        cv2.drawContours(mask, [outline], -1, 1, -1)
        own = (mask > 0) & (truth == class_id)
        if (cv2.dilate(mask, np.ones((3, 3), np.uint8)) & (truth == IGNORED)).any():
            continue  # how far it goes on there nobody said
        (x, y), (w, h), angle = cv2.minAreaRect(outline)
        long, short = max(w, h) + 1, min(w, h) + 1  # corners are pixels' middles
        answered = answer[own]
        found = bool((answered == class_id).any())
        yield Trial(
            name,
            float(long),
            None,
            orientation_of(angle if w >= h else angle + 90) if long >= _LONG * short else None,
            ninth_of(x, y, (truth.shape[0], truth.shape[1])),
            found,
            bool(answered.any()) and not found,
        )
