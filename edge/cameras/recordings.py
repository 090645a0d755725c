"""A video file as a source of pictures, each with the recording's own time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from edge.cameras.capture import CapturedCamera, CaptureLimits, Shot
from edge.cameras.decoding import Decoder, Picture, load_av
from edge.errors import SourceError
from edge.printable import printable

# A recording names no other file and no address: what looks like a list of such is no video.
_ALONE = {"protocol_whitelist": "none"}
_FPS_UNTOLD = 25


class Recording:
    """A video at `path`. It is read through the opened file, so that its name may be of any bytes."""

    differences: tuple[str, ...] = ()

    def __init__(self, path: Path, depth_bits: int | None = None) -> None:
        self._depth_bits = depth_bits
        self.shown = printable(path)
        self.total = 0
        self._path = path
        self._file: BinaryIO | None = None
        self._container: Any = None
        self._packets: Any = None
        self._decoder: Decoder | None = None
        self._left: list[Picture] | None = None
        self._time_base = Fraction(1, 1_000_000)
        self._start = 0
        self._fps = Fraction(_FPS_UNTOLD)
        self._taken = 0

    def open(self) -> None:
        """Open the file and look what is in it. Raises SourceError, DependencyError."""
        av = load_av()
        try:
            if not self._path.is_file():
                raise SourceError(f"No recording at {self.shown}: expected a video file")
            self._file = self._path.open("rb")
        except (OSError, ValueError) as error:
            told = getattr(error, "strerror", None) or error
            raise SourceError(f"{self.shown} cannot be read: {told}. Look at its rights") from error
        try:
            self._container = av.open(self._file, options=_ALONE)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            self.close()
            raise SourceError(
                f"{self.shown} is no video that can be read, or was cut off ({type(error).__name__}). Record or copy "
                "it again"
            ) from error
        stream = picture_stream(self._container)
        if stream is None:
            self.close()
            raise SourceError(f"{self.shown} holds no video: expected a file with moving pictures")
        self._fps = Fraction(stream.average_rate or _FPS_UNTOLD)
        self._time_base = stream.time_base or self._time_base
        self._start = stream.start_time or 0
        length_s = (
            stream.duration * self._time_base if stream.duration else Fraction(self._container.duration or 0, 10**6)
        )
        self.total = stream.frames or round(length_s * self._fps)
        self._decoder = Decoder(stream, threads="AUTO", depth_bits=self._depth_bits)
        self._packets = self._container.demux(stream)

    def take(self) -> Sequence[Shot] | None:
        """Return what the next packet holds; None at the end."""
        if self._left is not None or self._decoder is None:
            return None
        packet = self._next_packet()
        if packet is None:
            self._left = self._decoder.decode(None, None)
            return [self._shot(picture) for picture in self._left]
        return [self._shot(picture) for picture in self._decoder.decode(packet, packet.pts)]

    def close(self) -> None:
        """Close the file."""
        self._packets = self._decoder = None
        if self._container is not None:
            with suppress(OSError, ValueError):
                self._container.close()
        if self._file is not None:
            self._file.close()
        self._container = self._file = None

    def _next_packet(self) -> Any:
        """Return the next packet with something in it; None at the end, which a damaged container may reach early."""
        av = load_av()
        try:
            return next((packet for packet in self._packets if packet.size), None)
        except (av.error.FFmpegError, OSError, ValueError):
            return None

    def _shot(self, picture: Picture) -> Shot:
        number, self._taken = self._taken, self._taken + 1
        pts = picture.frame.pts if picture.frame is not None else picture.tag
        # some containers have no times, and then the frame rate tells
        time_s = Fraction(number) / self._fps if pts is None else (pts - self._start) * self._time_base
        captured_ns = round(time_s * 1_000_000_000)
        if picture.trouble or self._decoder is None:
            return Shot(None, captured_ns, picture.trouble)
        try:
            return Shot(self._decoder.pixels(picture), captured_ns)
        except SourceError as error:
            return Shot(None, captured_ns, str(error))


def recorded_camera(
    name: str,
    path: Path,
    *,
    size_px: tuple[int, int] | None = None,
    started_at: datetime | None = None,
    depth_bits: int | None = None,
) -> CapturedCamera:
    """Return the camera that plays the video at `path`, not yet opened; see CapturedCamera and Decoder."""
    limits = CaptureLimits(size_px=size_px)
    return CapturedCamera(name, lambda: Recording(path, depth_bits), live=False, limits=limits, started_at=started_at)


def picture_stream(container: Any) -> Any:
    """Return the stream of moving pictures; a cover, which is a picture beside sound, is none."""
    cover = load_av().stream.Disposition.attached_pic
    streams = [each for each in container.streams.video if not each.disposition & cover]
    best = container.streams.best("video")
    return best if best in streams else next(iter(streams), None)
