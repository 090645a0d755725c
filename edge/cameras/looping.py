"""A recording that begins anew when it is over, as a camera goes on for ever."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import TracebackType

from typing_extensions import Self

from edge.errors import SourceError
from edge.protocols import Camera
from edge.records import CameraCondition, CameraState, Frame

_log = logging.getLogger(__name__)
_SECOND_NS = 1_000_000_000


class LoopingCamera:
    """Opens a recording, by `make`, again and again. Indices and times go on from one pass to the next.

    It ends where a pass gives no frame at all or the recording cannot be opened again, and says why.
    """

    def __init__(self, name: str, make: Callable[[], Camera]) -> None:
        self.name = name
        self._make = make
        self._inner = make()
        self._dropped = 0
        self._before = 0  # indices of the passes before
        self._offset_ns = 0
        self._in_pass = 0
        self._latest: tuple[int, int] | None = None  # times of the last two frames of this pass
        self._ended: CameraState | None = None

    @property
    def dropped(self) -> int:
        """The number of frames that were dropped, in all passes."""
        return self._dropped + self._inner.dropped

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inner.__exit__(kind, error, trace)

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame; after the last one the first again."""
        if self._ended is not None:
            return self._ended
        item = self._inner.read(timeout_s)
        if isinstance(item, Frame):
            return self._counted_on(item)
        if item.condition is not CameraCondition.END_OF_STREAM:
            return self._told_on(item)
        if item.detail or self._latest is None:
            self._ended = item
            return item
        return self._again()

    def _counted_on(self, frame: Frame) -> Frame:
        self._in_pass = frame.index + 1
        self._latest = (self._latest[1] if self._latest else frame.captured_ns, frame.captured_ns)
        return replace(
            frame,
            index=frame.index + self._before,
            captured_ns=frame.captured_ns + self._offset_ns,
            captured_at=frame.captured_at + timedelta(microseconds=self._offset_ns / 1000),
        )

    def _told_on(self, state: CameraState) -> CameraState:
        """Let what is said of one picture count on as frames do."""
        if state.index is None or state.captured_ns is None or state.captured_at is None:
            return state
        self._in_pass = state.index + 1
        return replace(
            state,
            index=state.index + self._before,
            captured_ns=state.captured_ns + self._offset_ns,
            captured_at=state.captured_at + timedelta(microseconds=self._offset_ns / 1000),
        )

    def _again(self) -> CameraState:
        """Open the recording once more; its first frame comes after the last as that one came after the one before."""
        earlier_ns, last_ns = self._latest or (0, 0)
        self._offset_ns += last_ns + (last_ns - earlier_ns or _SECOND_NS)
        self._before += self._in_pass
        self._dropped += self._inner.dropped
        self._in_pass, self._latest = 0, None
        self._inner.__exit__(None, None, None)
        try:
            self._inner = self._make()
            self._inner.__enter__()
        except SourceError as error:
            _log.warning("%s: it cannot be played again: %s", self.name, error)
            self._ended = CameraState(self.name, CameraCondition.END_OF_STREAM, str(error))
            return self._ended
        return CameraState(self.name, CameraCondition.NO_FRAME_YET)
