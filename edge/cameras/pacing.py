"""A recording played at its own speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from types import TracebackType

from typing_extensions import Self

from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame


class PacedCamera:
    """Gives another camera's frames no sooner than their `captured_ns`, counted from the first one, allows.

    With `as_live` each frame is stamped as captured when its time has come, so that a live line takes the recording for
    a camera.
    """

    def __init__(
        self,
        inner: Camera,
        *,
        as_live: bool = False,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        sleep_s: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = inner.name
        self._inner = inner
        self._as_live = as_live
        self._monotonic_ns = monotonic_ns
        self._sleep_s = sleep_s
        self._ahead_ns: int | None = None
        self._held: Frame | None = None

    @property
    def dropped(self) -> int:
        """How many frames the paced camera dropped."""
        return self._inner.dropped

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
        if not isinstance(item, Frame):
            return item
        if self._ahead_ns is None:
            self._ahead_ns = self._monotonic_ns() - item.captured_ns
        early_s = (item.captured_ns + self._ahead_ns - self._monotonic_ns()) / 1e9
        if early_s > timeout_s:
            self._held = item
            self._sleep_s(timeout_s)
            return CameraState(self.name, CameraCondition.NO_FRAME_YET)
        if early_s > 0:
            self._sleep_s(early_s)
        if self._as_live:
            return replace(item, captured_ns=self._monotonic_ns(), captured_at=datetime.now(timezone.utc))
        return item
