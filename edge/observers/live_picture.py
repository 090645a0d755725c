"""Live pictures of each camera, from one encoder that works only while somebody watches.

All who watch a camera share its JPEGs. A slow viewer misses some. A camera that gives no frames leaves no picture
standing: a card that says so takes its place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType

import numpy as np
from typing_extensions import Self

from edge.inspection.overlaying import write_on
from edge.monitoring.server import NoStreamError
from edge.observers.preview import draw
from edge.opencv import cv2
from edge.printable import printable
from edge.records import DefectClass, UInt8
from edge.records.decided import Decided, DecidedPart

_log = logging.getLogger(__name__)

CARD_EVERY_S = 1.0  # so often a card is shown again, so that its time goes on
_LARGEST_BYTES = 400_000
_LINE_CHARACTERS, _LINES = 68, 4
_GREY, _YELLOW = 48, (59, 235, 255)


@dataclass
class _Feed:
    """The pictures for those who watch one camera. `number`: grows with each picture; 0 before the first."""

    watchers: int = 0
    newest: Decided | None = None
    came_s: float | None = None
    said: str = ""
    jpeg: bytes = b""
    number: int = 0
    drawn_s: float = 0.0


class LivePictures:
    """Watches a station for those who watch its cameras.

    `stale_s`: of each camera, how long its last picture may stand; `classes`: of each view's bundle. `most`: watchers
    at a time. An exception in the encoder is logged, and it goes on.
    """

    def __init__(
        self,
        stale_s: Mapping[str, float],
        classes: Mapping[str, Sequence[DefectClass]],
        *,
        pictures_per_s: float,
        most: int,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stale_s = stale_s
        self._classes = classes
        self._every_s = 1 / pictures_per_s
        self._most = most
        self._monotonic_s = monotonic_s
        self._feeds = {name: _Feed() for name in stale_s}
        self._changed = threading.Condition()
        self._watched: frozenset[str] = frozenset()
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="observer-live", daemon=True)
        self.encoded = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._stop = True
            self._changed.notify_all()
        self._thread.join(2.0)

    @property
    def watchers(self) -> int:
        """Return the number of watchers, of all cameras together."""
        return sum(feed.watchers for feed in self._feeds.values())

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Take note of a frame while somebody watches its camera; else do nothing at all."""
        if not self._watched or isinstance(decided, DecidedPart) or decided.inspection.view not in self._watched:
            return
        with self._changed:
            feed = self._feeds[decided.inspection.view]
            if decided.frame is not None:
                feed.newest, feed.came_s = decided, self._monotonic_s()
            else:
                feed.said = decided.inspection.judgement.reason or ""

    @contextmanager
    def watch(self, camera: str) -> Iterator[Iterator[bytes]]:
        """Yield the JPEGs of a camera as they come, until the station ends.

        Raises NoStreamError for a camera that the station lacks, and where too many watch already.
        """
        feed = self._feeds.get(camera)
        if feed is None:
            raise NoStreamError(404, f"no such camera; expected one of {', '.join(self._feeds)}")
        with self._changed:
            if self.watchers >= self._most:
                raise NoStreamError(503, f"{self._most} watch already; monitoring.viewers says how many may")
            feed.watchers += 1
            self._look()
        try:
            yield self._pictures(feed)
        finally:
            with self._changed:
                feed.watchers -= 1
                self._look()

    def _look(self) -> None:
        """Note which cameras are watched; an unwatched one is forgotten. The lock is held."""
        self._watched = frozenset(name for name, feed in self._feeds.items() if feed.watchers)
        for name, feed in self._feeds.items():
            if name not in self._watched:
                feed.newest, feed.came_s, feed.said, feed.jpeg, feed.number, feed.drawn_s = None, None, "", b"", 0, 0.0
        self._changed.notify_all()

    def _pictures(self, feed: _Feed) -> Iterator[bytes]:
        shown = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda shown=shown: self._stop or feed.number > shown)  # type: ignore[misc] # mypy#15459
                if self._stop:
                    return
                shown, jpeg = feed.number, feed.jpeg
            yield jpeg

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stop or bool(self._watched))
                if self._stop:
                    return
                self._changed.wait_for(lambda: self._stop, self._every_s)
                watched = [] if self._stop else [(name, self._feeds[name]) for name in sorted(self._watched)]
            for name, feed in watched:
                self._draw(name, feed)

    def _draw(self, name: str, feed: _Feed) -> None:
        try:
            self._turn(name, feed)
        except Exception:  # noqa: BLE001 - one frame that cannot be drawn ends no live picture
            _log.exception("A live picture of %s cannot be drawn", name)

    def _turn(self, name: str, feed: _Feed) -> None:
        """Draw what is due for one camera: its newest frame, or a card where none came for too long."""
        now_s = self._monotonic_s()
        with self._changed:
            newest, came_s, said = feed.newest, feed.came_s, feed.said
            feed.newest = None
        if newest is not None and newest.frame is not None:
            jpeg = draw(newest.frame.pixels, newest.inspection, self._classes.get(name, ()), _LARGEST_BYTES)
        elif (came_s is None or now_s - came_s > self._stale_s[name]) and now_s - feed.drawn_s >= CARD_EVERY_S:
            jpeg = card(name, None if came_s is None else now_s - came_s, said)
        else:
            return
        with self._changed:
            self.encoded += 1
            if feed.watchers:
                feed.jpeg, feed.number, feed.drawn_s = jpeg, feed.number + 1, now_s
                self._changed.notify_all()


def card(camera: str, seconds: float | None, said: str) -> bytes:
    """Return a JPEG that says that a camera gives no picture: since how many `seconds`, and what is `said` of it."""
    canvas: UInt8 = np.full((240, 640, 3), _GREY, np.uint8)
    told = "no picture yet" if seconds is None else f"no picture for {seconds:.0f} s"
    words = printable(said)
    lines = [
        words[at : at + _LINE_CHARACTERS] for at in range(0, min(len(words), 4 * _LINE_CHARACTERS), _LINE_CHARACTERS)
    ]
    moment = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    for number, line in enumerate([f"NO PICTURE  {printable(camera)}: {told}", *lines, moment]):
        write_on(canvas, line, (16, 60 + 26 * number), _YELLOW)
    _, encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return bytes(encoded)
