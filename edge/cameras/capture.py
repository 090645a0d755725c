"""A camera with a thread of its own: it opens a source, takes pictures, and opens it again when it fails.

A recording never drops a picture: the thread waits while two are unread. A live source keeps only the newest, or as
many as its limits say. An unread one is replaced and counted. One whose pictures wait elsewhere may wait too, like a
recording. A live source that fails, even at the start, is opened again for ever. The pauses are 0.5 to 10 s. A picture
that cannot be believed (damaged, too old, of another size) is given as UNREADABLE with the reason.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from types import TracebackType
from typing import Protocol

from typing_extensions import Self

from edge.cameras.frame_size import FrameSize
from edge.errors import LinewatchError, SourceError
from edge.printable import printable
from edge.records import CameraCondition, CameraFacts, CameraState, Frame, UInt8
from edge.stopping import leave_behind
from edge.wording import counted

_log = logging.getLogger(__name__)

_READ_AHEAD = 2
_PAUSE_FIRST_S = 0.5
_PAUSE_LONGEST_S = 10.0
_JOIN_S = 2.0
_STEP_S = 0.1
# No second opening is begun while so many have not come back: each holds a thread.
_HUNG_AT_MOST = 3


@dataclass(frozen=True)
class Shot:
    """One picture of a source, or `trouble`: the reason for which there is none that can be believed.

    `pixels`: uint8 BGR or grey. `captured_ns`: the time on our clock at which the picture was there. A source that can
    tell gives the time at which it would have been there without waiting. A recording gives its own time. `lost`: the
    number of others that were thrown away with it. `missed`: how many right before it never came, where the source
    numbers or times its pictures. `name`: of the file that it is.
    """

    pixels: UInt8 | None
    captured_ns: int
    trouble: str = ""
    lost: int = 0
    missed: int = 0
    name: str = ""


class PictureSource(Protocol):
    """Something that pictures are taken from. `shown`: its name for people, without secrets.

    `differences`: what it did not take of its settings when it was opened, each a sentence.

    `close` is called in the thread that takes. `open` may be called in another one, and need not come back.
    """

    shown: str
    total: int
    differences: tuple[str, ...]

    def open(self) -> None:
        """Open it. Raises SourceError with a sentence."""
        ...

    def take(self) -> Sequence[Shot] | None:
        """Wait for what comes next; None at the end. Raises SourceError where nothing more will come."""
        ...

    def close(self) -> None:
        """Let go of it; whatever had been opened."""
        ...


@dataclass(frozen=True)
class CaptureLimits:
    """`max_age_ms`: an older live picture is not given, 0 = any age. `size_px`: width, height, None = the first one's.

    `open_s`: how long opening, and then the first picture, may take. `keeps`: how many live pictures may wait to be
    read. `waits`: beyond them nothing is taken from the source, whose pictures wait where they are. `triggered`: an
    opened source that gives nothing is none that failed.
    """

    max_age_ms: int = 0
    size_px: tuple[int, int] | None = None
    open_s: float = 20.0
    keeps: int = 1
    waits: bool = False
    triggered: bool = False


@dataclass
class _Opening:
    """One try to open a source, in a thread that may never come back."""

    source: PictureSource
    done: threading.Event = field(default_factory=threading.Event)
    given_up: bool = False
    trouble: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        try:
            self.source.open()
        except LinewatchError as error:
            self.trouble = str(error)
        except Exception as error:  # noqa: BLE001 - a vendor's own; whoever waits must hear of it
            self.trouble = f"{type(error).__name__} while it was opened"
        with self.lock:
            self.done.set()
            if self.given_up:
                self.source.close()

    def give_up(self) -> bool:
        """Leave it to itself; False if it came back at the last moment."""
        with self.lock:
            self.given_up = not self.done.is_set()
            return self.given_up


class CapturedCamera:
    """One source. `make` returns it anew for each try to open it; `live` as above; `alive` is called while it moves.

    `monotonic_ns` is the live clock; a recording's frames carry its own time, counted from `started_at`.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], PictureSource],
        *,
        live: bool,
        limits: CaptureLimits | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        started_at: datetime | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.dropped = 0
        self._make = make
        self._live = live
        self._limits = limits or CaptureLimits()
        self._monotonic_ns = monotonic_ns
        self._started_at = started_at or datetime.now(timezone.utc)
        self._alive = alive
        self._size = FrameSize(self._limits.size_px)
        self._source = make()
        self._items: deque[Frame | CameraState] = deque()
        self._changed = threading.Condition()
        self._state = CameraState(name, CameraCondition.STARTING, f"opening {self._source.shown}")
        self._stop = threading.Event()
        self._index = 0
        self._facts = CameraFacts()
        self._latest_ns = 0
        self._hung: list[_Opening] = []
        self._began_ns = monotonic_ns()
        self._thread = threading.Thread(target=self._run, name=f"camera {name}", daemon=True)

    @property
    def total(self) -> int:
        """The number of frames that a recording says it has; 0 if unknown or live."""
        return 0 if self._live else self._source.total

    @property
    def facts(self) -> CameraFacts:
        """Tell what the source told of itself so far; from any thread."""
        return self._facts

    def __enter__(self) -> Self:
        if not self._live:
            self._source.open()
        self._began_ns = self._monotonic_ns()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        # A driver may hang in its read. The thread is a daemon, so that such a one cannot hold the process.
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            leave_behind(self._thread)

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next (recording) or newest (live) frame, or the state after `timeout_s` without one."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._ended(), timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            waited_s = (self._monotonic_ns() - self._began_ns) / 1e9
            if self._state.condition is CameraCondition.STARTING and waited_s > 2 * self._limits.open_s:
                detail = f"{self._source.shown}: it was opened and gave no picture for {waited_s:.0f} s"
                return CameraState(self.name, CameraCondition.LOST, detail)
            return self._state

    def _ended(self) -> bool:
        return self._state.condition is CameraCondition.END_OF_STREAM

    def _run(self) -> None:
        try:
            if self._live:
                self._watch()
            else:
                self._play()
        except Exception as error:  # noqa: BLE001 - a thread that ended unseen would leave the reader waiting for ever
            _log.debug("camera %s", self.name, exc_info=True)
            detail = f"{self._source.shown} failed: {type(error).__name__}"
            self._set_state(CameraCondition.END_OF_STREAM, f"{detail}: {error}" if not self._live else detail)
        finally:
            self._source.close()

    def _play(self) -> None:
        trouble = ""
        try:
            self._take_all()
        except SourceError as error:
            trouble = str(error)
        # Frame counts are estimates in some containers, so a small shortfall is none.
        missing = self._source.total - self._index
        if missing > max(2, self._source.total // 50):
            shown = f"{self._source.shown} ended after {self._index} of {counted(self._source.total, 'frame')}"
            trouble = trouble or f"{shown}: it is cut off or damaged"
        self._set_state(CameraCondition.END_OF_STREAM, "" if self._stop.is_set() else trouble)

    def _watch(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while not self._stop.is_set():
            trouble = self._open()
            if not trouble:
                self._tell_differences()
                before = self._index
                trouble = self._take_until_trouble()
                if self._index > before:
                    pause_s = _PAUSE_FIRST_S
            self._source.close()
            if self._stop.is_set():
                return
            self._lose(trouble, pause_s)
            self._wait(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_LONGEST_S)
            self._source = self._make()

    def _open(self) -> str:
        """Open the source in a thread of its own; return why it could not be opened, or nothing."""
        self._hung = [each for each in self._hung if not each.done.is_set()]
        if len(self._hung) >= _HUNG_AT_MOST:
            return f"opening it did not come back, {len(self._hung)} times; restart the line to try again"
        opening = _Opening(self._source)
        thread = threading.Thread(target=opening.run, name=f"camera {self.name} opens", daemon=True)
        thread.start()
        until_s = time.monotonic() + self._limits.open_s
        while not opening.done.wait(_STEP_S):
            self._alive()
            if (time.monotonic() > until_s or self._stop.is_set()) and opening.give_up():
                leave_behind(thread)
                self._hung.append(opening)
                self._source = self._make()
                return f"opening it did not come back within {self._limits.open_s:g} s"
        return opening.trouble

    def _tell_differences(self) -> None:
        """Note what the source did not take of its settings, and log it where it is news; it is opened."""
        for difference in self._source.differences:
            if difference not in self._facts.differences:
                _log.warning("%s: %s", self._source.shown, difference)
        self._facts = replace(self._facts, differences=tuple(self._source.differences))
        if self._limits.triggered:
            self._set_state(CameraCondition.NO_FRAME_YET, "")

    def _take_until_trouble(self) -> str:
        before = self._index
        try:
            self._take_all()
        except SourceError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a driver's or codec's own error ends this try, not the camera
            return f"it failed: {type(error).__name__}"
        return "it stopped giving frames" if self._index > before else "it gave no frame"

    def _take_all(self) -> None:
        """Take what the source gives, until it ends or the camera is left. Raises what the source raises."""
        while not self._stop.is_set():
            self._alive()
            shots = self._source.take()
            if shots is None:
                return
            for shot in shots:
                self._put(shot)

    def _put(self, shot: Shot) -> None:
        trouble = printable(shot.trouble) or (self._size.look(shot.pixels) if shot.pixels is not None else "no picture")
        age_ms = (self._monotonic_ns() - shot.captured_ns) / 1e6 if self._live else 0.0
        if not trouble and self._limits.max_age_ms and age_ms > self._limits.max_age_ms:
            trouble = f"the picture is {age_ms:.0f} ms old, at most {self._limits.max_age_ms} ms allowed"
        captured_at = self._started_at + timedelta(microseconds=shot.captured_ns / 1000)
        if self._live:
            captured_at = datetime.now(timezone.utc) - timedelta(milliseconds=age_ms)
        # alarms step with these times, so they never go back
        self._latest_ns = captured_ns = max(self._latest_ns, shot.captured_ns)
        unreadable = bool(trouble) or shot.pixels is None
        facts = self._facts
        self._facts = replace(facts, missed=facts.missed + shot.missed, unreadable=facts.unreadable + unreadable)
        item: Frame | CameraState
        if trouble or shot.pixels is None:
            unread = CameraCondition.UNREADABLE
            item = CameraState(self.name, unread, trouble, self._index, shot.name, captured_ns, captured_at)
        else:
            item = Frame(self.name, self._index, shot.pixels, captured_ns, captured_at, shot.name)
        self._hand_over(item, shot.lost)

    def _hand_over(self, item: Frame | CameraState, lost: int) -> None:
        with self._changed:
            if self._live:
                self.dropped += lost
                if self._limits.waits:
                    self._wait_for_room()
                while len(self._items) >= self._limits.keeps:
                    self._items.popleft()
                    self.dropped += 1
                self._state = CameraState(self.name, CameraCondition.NO_FRAME_YET)
            else:
                self._changed.wait_for(lambda: len(self._items) < _READ_AHEAD or self._stop.is_set())
            self._items.append(item)
            self._index += 1
            self._changed.notify_all()

    def _wait_for_room(self) -> None:
        """Wait until another picture may wait to be read, or the camera is left; the lock is held."""
        while len(self._items) >= self._limits.keeps and not self._stop.is_set():
            self._changed.wait(_STEP_S)
            self._alive()

    def _lose(self, trouble: str, pause_s: float) -> None:
        detail = f"{self._source.shown}: {printable(trouble)}"
        self._set_state(CameraCondition.LOST, f"{detail}; trying again in {pause_s:g} s")

    def _wait(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while not self._stop.wait(min(_STEP_S, max(0.0, until_s - time.monotonic()))) and time.monotonic() < until_s:
            self._alive()

    def _set_state(self, condition: CameraCondition, detail: str) -> None:
        with self._changed:
            self._state = CameraState(self.name, condition, detail)
            self._changed.notify_all()
