"""Frames of recordings and videos by their place; frames asked for in order are decoded once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

from edge.cameras.decoding import load_av
from edge.cameras.recordings import Recording, picture_stream
from edge.errors import SourceError
from edge.pictures import as_text
from edge.recording.clips import pictures_of, rows_of
from edge.records import UInt8
from edge.reinspecting.listed import Listed

_Frames = Iterator[tuple[UInt8 | None, str]]  # pixels, or why there are none


def frames_of_video(path: Path) -> int:
    """Count the pictures of a video without decoding them. Raises SourceError for what is no video."""
    recording, count = Recording(path), 0
    recording.open()
    recording.close()
    av = load_av()
    try:
        with path.open("rb") as file, av.open(file, options={"protocol_whitelist": "none"}) as container:
            stream = picture_stream(container)
            for packet in container.demux(stream):
                count += bool(packet.size)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if not count:
            raise SourceError(f"{as_text(str(path))} is no video that can be read: {error}") from error
    return count


class Frames:
    """Returns the pixels of frames, and keeps one clip or video open. Called by one thread."""

    def __init__(self) -> None:
        self._open: tuple[str, bytes] | None = None
        self._frames: _Frames = iter(())
        self._next = 0

    def read(self, listed: Listed, depth_bits: int | None) -> UInt8:
        """Return a frame's pixels. Raises SourceError where it cannot be read."""
        if self._open != (listed.kind, listed.where) or listed.index < self._next:
            path = Path(os.fsdecode(listed.where))
            self._frames = _of_clip(path) if listed.kind == "frame" else _of_video(path, depth_bits)
            self._open, self._next = (listed.kind, listed.where), 0
        found: tuple[UInt8 | None, str] | None = None
        while self._next <= listed.index:
            found = next(self._frames, None)
            self._next += 1
        if found is None:
            raise SourceError("the video ends before this frame")
        pixels, trouble = found
        if pixels is None:
            raise SourceError(trouble)
        return pixels


def _of_clip(path: Path) -> _Frames:
    for _, pixels, trouble in pictures_of(path, rows_of(path)):
        yield cast("UInt8 | None", pixels), trouble


def _of_video(path: Path, depth_bits: int | None) -> _Frames:
    recording = Recording(path, depth_bits)
    recording.open()
    with closing(recording):
        while (shots := recording.take()) is not None:
            for shot in shots:
                yield shot.pixels, shot.trouble
