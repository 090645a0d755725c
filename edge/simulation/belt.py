"""The belt beneath the simulated cameras: which part is where, its light barrier, and what each part truly shows.

Positions are counted in frames: the belt moves by one step from frame to frame. A light barrier stands where a part is
alone in every view while it passes. It opens a part with the front edge and closes it with the rear one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from edge.errors import SettingsError
from edge.records.parts import PartClosed, PartOpened, TriggerEvent
from edge.simulation.products import PRODUCTS, ProductName
from edge.simulation.rendering import CLASS_NAMES, SimulatedLineSettings
from edge.simulation.scenes import USUAL

# Cameras of one station have these in common: they say which parts come, and when.
BELT_KEYS = (
    "seed",
    "fps",
    "defective_share",
    "frames_per_part",
    "products",
    "parts_per_product",
    "edge_share",
)


def check_one_belt(cameras: Mapping[str, SimulatedLineSettings]) -> None:
    """Refuse cameras that would show different parts. Raises SettingsError with the key and both values."""
    names = list(cameras)
    for name in names[1:]:
        for key in BELT_KEYS:
            first, other = getattr(cameras[names[0]], key), getattr(cameras[name], key)
            if first != other:
                raise SettingsError(
                    f"key cameras.{name}.simulated.{key}: expected {first!r} as of camera {names[0]}, received "
                    f"{other!r}. Simulated cameras of one station look at one belt"
                )


@dataclass(frozen=True)
class BeltPart:
    """One part on the belt. `opened`, `closed`: positions in frames, from the first frame on."""

    number: int
    part_id: str
    product: ProductName
    opened: Fraction
    closed: Fraction

    def opened_ns(self, fps: float) -> int:
        """Tell when the barrier opens it, in ns after the first frame."""
        return round(self.opened * 1_000_000_000 / Fraction(fps))

    def closed_ns(self, fps: float) -> int:
        """Tell when the barrier closes it, in ns after the first frame."""
        return round(self.closed * 1_000_000_000 / Fraction(fps))


def belt_part(settings: SimulatedLineSettings, number: int) -> BeltPart:
    """Tell which part `number` (from 0) is, and when it passes the light barrier of a camera with these `settings`."""
    s = settings
    product = s.products[number // s.parts_per_product % len(s.products)]
    longest_px = int(USUAL.part_length * s.height)
    step_px = max(1, round((longest_px + 0.6 * s.width) / s.frames_per_part))
    # the longest part leaves the barrier just when the next one comes into sight
    barrier_px = max(1, s.frames_per_part * step_px - longest_px)
    opened = number * s.frames_per_part + s.offset_frames + Fraction(barrier_px, step_px)
    length_px = int(PRODUCTS[product].length * s.height)
    return BeltPart(number, f"{product}-{number + 1:06d}", product, opened, opened + Fraction(length_px, step_px))


@dataclass(frozen=True)
class PartTruth:
    """The truth of a part: `shown` has its classes for each camera. Times in ns after the first frame."""

    part_id: str
    product: str
    opened_ns: int
    closed_ns: int
    shown: Mapping[str, tuple[str, ...]]

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes that any camera is shown, in the order of their ids."""
        return tuple(name for name in CLASS_NAMES if any(name in classes for classes in self.shown.values()))

    @property
    def defective(self) -> bool:
        """Tell whether any camera is shown a defect."""
        return bool(self.classes)


class SimulatedBelt:
    """One belt beneath several simulated cameras: all see it at the same position at the same moment.

    It moves by a frame when that is due and every camera has taken the frame before: a slow reader slows the belt, for
    all. So a frame's moment of capture tells exactly which part it shows. `fps` 0 moves it as fast as frames are taken.
    Cameras may read from threads of their own.
    """

    def __init__(
        self, fps: float, cameras: Sequence[str], *, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._period_ns = round(1e9 / fps) if fps else 0
        self._monotonic_ns = monotonic_ns
        self._changed = threading.Condition()
        self._last_taken: dict[str, int] = dict.fromkeys(cameras, -1)
        self._index = -1
        self._at_ns = 0
        self._listeners: list[Callable[[int, int, int], None]] = []

    def listen(self, moved: Callable[[int, int, int], None]) -> None:
        """Call `moved(index, before_ns, now_ns)` at each move, before anybody can take the new frame."""
        with self._changed:
            self._listeners.append(moved)

    def join(self, camera: str) -> None:
        """Let a camera see the belt, from the next move on if it moves already."""
        with self._changed:
            self._last_taken.setdefault(camera, self._index)

    def leave(self, camera: str) -> None:
        """Wait for a camera no longer."""
        with self._changed:
            self._last_taken.pop(camera, None)
            self._changed.notify_all()

    def take(self, camera: str, timeout_s: float) -> tuple[int, int] | None:
        """Return the frame's index and its moment in ns, once for each camera; None if neither comes in time."""
        ends_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        with self._changed:
            while True:
                if self._last_taken.setdefault(camera, self._index) < self._index:
                    self._last_taken[camera] = self._index
                    self._changed.notify_all()
                    return self._index, self._at_ns
                wait_ns = self._move()
                if wait_ns == 0:
                    continue
                left_ns = ends_ns - time.monotonic_ns()
                if left_ns <= 0:
                    return None
                self._changed.wait(min(left_ns, left_ns if wait_ns is None else wait_ns) / 1e9)

    def _move(self) -> int | None:
        """Move on if that is due. Return 0 if it moved, else for how many ns to wait; None: for another camera."""
        if any(taken < self._index for taken in self._last_taken.values()):
            return None
        now_ns = self._monotonic_ns()
        due_ns = self._at_ns + max(1, self._period_ns) if self._index >= 0 else now_ns
        if now_ns < due_ns:
            return due_ns - now_ns
        before_ns, self._at_ns = self._at_ns, now_ns if now_ns - due_ns > self._period_ns else due_ns
        self._index += 1
        for moved in self._listeners:
            moved(self._index, before_ns, self._at_ns)
        self._changed.notify_all()
        return 0


class SimulatedTrigger:
    """The light barrier of a belt as a trigger: what it saw of parts since it was last asked.

    A part is told before a frame of it can be read. `ids`: with part ids; else the station numbers its parts.
    `recipes`: with the product's name as recipe.
    """

    def __init__(
        self, belt: SimulatedBelt, settings: SimulatedLineSettings, *, ids: bool = True, recipes: bool = False
    ) -> None:
        self._settings = settings
        self._ids = ids
        self._recipes = recipes
        self._number = 0
        self._is_open = False
        self._seen: deque[TriggerEvent] = deque()
        belt.listen(self._moved)

    def events(self, now_ns: int | None = None) -> tuple[TriggerEvent, ...]:
        """Return what happened since the last call, in order; at most up to `now_ns`."""
        told = []
        while self._seen and (now_ns is None or self._seen[0].at_ns <= now_ns):
            told.append(self._seen.popleft())
        return tuple(told)

    def frame(self, frame: object) -> tuple[TriggerEvent, ...]:
        """Return nothing: frames open no part."""
        del frame
        return ()

    def settled_ns(self) -> None:
        """Return None: a part is told before a frame of it can be read."""

    def _moved(self, index: int, before_ns: int, now_ns: int) -> None:
        while True:
            part = belt_part(self._settings, self._number)
            position = part.closed if self._is_open else part.opened
            if position > index:
                return
            at_ns = now_ns - round((index - position) * (now_ns - before_ns))
            part_id = part.part_id if self._ids else None
            if self._is_open:
                self._seen.append(PartClosed(at_ns, part_id))
                self._number += 1
            else:
                self._seen.append(PartOpened(at_ns, part_id, part.product if self._recipes else None))
            self._is_open = not self._is_open
