"""A folder of pictures, or one picture, as a recording: in the order of names, at a steady pace of its own."""

from __future__ import annotations

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge.errors import SourceError
from edge.pictures import SUFFIXES, as_text, list_pictures, read_picture
from edge.records import CameraCondition, CameraState, Frame, UInt8

_log = logging.getLogger(__name__)


class ImagesCamera:
    """Reads the pictures under a folder, recursively, in the order of their paths; never drops one.

    A thread of its own reads the next picture while the last is inspected. `depth_bits`: how many bits of pictures of
    16 count, where that is known. `fps`: pictures per second of the recording's own time.
    """

    def __init__(
        self,
        name: str,
        source: Path,
        started_at: datetime | None = None,
        depth_bits: int | None = None,
        *,
        fps: float = 1.0,
    ) -> None:
        self.name = name
        self.dropped = 0
        self._source = source
        self._started_at = started_at or datetime.now(timezone.utc)
        self._depth_bits = depth_bits
        self._interval_ns = round(1e9 / fps)
        self._pictures: list[Path] = []
        self._next = 0
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: Future[UInt8] | None = None

    def __enter__(self) -> Self:
        try:
            if self._source.is_file():
                self._pictures = [self._source]
            elif self._source.is_dir():
                listing = list_pictures(self._source)
                self._pictures = list(listing.files)
                for told in listing.told():
                    _log.warning("%s", told)
        except KeyboardInterrupt:  # the line is being stopped: it will see that there is nothing to do
            return self
        except OSError as error:
            raise SourceError(
                f"{as_text(str(self._source))} cannot be read: {error.strerror}. Look at its rights"
            ) from error
        if not self._pictures:
            raise SourceError(
                f"No pictures at {as_text(str(self._source))}: expected a picture, or a folder with "
                f"{', '.join(SUFFIXES)} in it"
            )
        self._reader = ThreadPoolExecutor(1, thread_name_prefix=f"camera {self.name}")
        self._read_ahead()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)

    def _read_ahead(self) -> None:
        if self._reader is not None and self._next < len(self._pictures):
            self._ahead = self._reader.submit(read_picture, self._pictures[self._next], self._depth_bits)

    @property
    def total(self) -> int:
        """The number of pictures."""
        return len(self._pictures)

    def read(self, timeout_s: float) -> Frame | CameraState:  # noqa: ARG002 - a file is there at once
        """Return the next picture, or UNREADABLE for one that is none."""
        if self._ahead is None or self._next >= len(self._pictures):
            return CameraState(self.name, CameraCondition.END_OF_STREAM)
        index, path = self._next, self._pictures[self._next]
        ahead = self._ahead
        self._next += 1
        self._read_ahead()
        name = as_text(str(path.relative_to(self._source)) if path != self._source else path.name)
        captured_ns = index * self._interval_ns
        captured_at = self._started_at + timedelta(microseconds=captured_ns / 1000)
        try:
            pixels = ahead.result()
        except SourceError as error:
            trouble = CameraCondition.UNREADABLE
            return CameraState(self.name, trouble, as_text(str(error)), index, name, captured_ns, captured_at)
        return Frame(self.name, index, pixels, captured_ns, captured_at, name)
