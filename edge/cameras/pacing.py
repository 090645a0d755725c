"""A recording played at its own speed, and as a camera would give it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import TracebackType

from typing_extensions import Self

from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame


class PacedCamera:
    """Gives another camera's frames no sooner than their `captured_ns`, counted from the first one, allows.

    With `as_live` a live line may take the recording for a camera: each frame is stamped as captured when its time had
    come. Of several whose time has come only the newest is given; the others are counted as dropped. Without `drops`
    each is given, as of a camera that is triggered. A recording that decodes more slowly than it plays is played more
    slowly.
    """

    def __init__(
        self,
        inner: Camera,
        *,
        as_live: bool = False,
        drops: bool = True,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._as_live = as_live
        self._drops = drops
        self._monotonic_ns = monotonic_ns
        self._sleep_s = sleep_s
        self._ahead_ns: int | None = None
        self._held: Frame | CameraState | None = None
        self._passed_over = 0

    @property
    def dropped(self) -> int:
        """The number of frames that were passed over, here or by the paced camera."""
        return self._inner.dropped + self._passed_over

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame if its time comes within `timeout_s`, else NO_FRAME_YET."""
        item = self._inner.read(timeout_s) if self._held is None else self._held
        self._held = None
        if self._as_live and self._drops and isinstance(item, Frame):
            item = self._newest(item, timeout_s)
        captured_ns = item.captured_ns
        if captured_ns is None:
            return item
        early_s = (self._due_ns(captured_ns) - self._monotonic_ns()) / 1e9
        if early_s > timeout_s:
            self._held = item
            self._sleep_s(timeout_s)
            return CameraState(self.name, CameraCondition.NO_FRAME_YET)
        if early_s > 0:
            self._sleep_s(early_s)
        return self._stamped(item, captured_ns) if self._as_live else item

    def _due_ns(self, captured_ns: int) -> int:
        """Return when the time of any picture, even a missing one, comes on our clock; the first one's is now."""
        if self._ahead_ns is None:
            self._ahead_ns = self._monotonic_ns() - captured_ns
        return captured_ns + self._ahead_ns

    def _newest(self, item: Frame, timeout_s: float) -> Frame:
        """Pass over frames while the next one's time has come too; give up after `timeout_s`."""
        ends_ns = self._monotonic_ns() + round(timeout_s * 1e9)
        while self._due_ns(item.captured_ns) < (now_ns := self._monotonic_ns()):
            following = self._inner.read(max(0.0, (ends_ns - now_ns) / 1e9))
            if not isinstance(following, Frame):
                waits = following.condition is CameraCondition.NO_FRAME_YET
                self._held = None if waits else following
                break
            if self._due_ns(following.captured_ns) > self._monotonic_ns():
                self._held = following
                break
            item = following
            self._passed_over += 1
            if self._monotonic_ns() >= ends_ns:
                # the disk or the decoder is slower than the recording: let it play later, or every frame would be old
                self._ahead_ns = self._monotonic_ns() - item.captured_ns
                break
        return item

    def _stamped(self, item: Frame | CameraState, captured_ns: int) -> Frame | CameraState:
        """Return a frame, or a picture that is none, as captured when its time had come."""
        now_ns = self._monotonic_ns()
        late_ns = max(0, now_ns - self._due_ns(captured_ns))
        captured_at = datetime.now(timezone.utc) - timedelta(microseconds=late_ns / 1000)
        return replace(item, captured_ns=now_ns - late_ns, captured_at=captured_at)
