"""Packets of a video stream → pictures that can be believed, by PyAV (FFmpeg's libraries).

A codec repeats and repairs what it cannot read, and shows the result as if nothing had happened. So decoding is strict
(`err_detect explode`). A picture is damaged when its packet or its frame is marked so, or when its packet cannot be
decoded. So is each picture that it may be made from a damaged one: from the damage on up to the next key frame.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from edge.errors import DependencyError, SourceError
from edge.installing import how_to_install
from edge.pictures import NotReadableError, as_frame, decode, to_eight_bits
from edge.records import UInt8

_log = logging.getLogger(__name__)

DAMAGED = "the picture is damaged"
AFTER_DAMAGE = "the picture is made from a damaged one"
# 2^27 pixels, as in edge/opencv.py
_PIXELS_AT_MOST = 2**27
# with the codec's own checksums (HEVC's picture hashes, PNG) and its grammar (WMV): FFmpeg looks at them only if asked
_STRICT = {"err_detect": "crccheck+bitstream+buffer+explode", "max_pixels": str(_PIXELS_AT_MOST)}
# Each picture stands for itself: no damage reaches the next one.
_INTRA = frozenset({"mjpeg", "png", "rawvideo", "ffv1", "huffyuv", "ffvhuff", "prores", "dnxhd", "dvvideo", "jpeg2000"})
# Of all others FFmpeg tells next to nothing, and shows what was damaged as if it were whole: see docs/cameras.md.
_TOLD = frozenset(
    {
        "h264",
        "mpeg4",
        "mpeg1video",
        "mpeg2video",
        "mjpeg",
        "h263",
        "flv",
        "msmpeg4",
        "msmpeg4v2",
        "wmv1",
        "wmv2",
        "prores",
    }
)
_DISPLAY_MATRIX = "DISPLAYMATRIX"
_BEGINS, _ENDS = b"\xff\xd8", b"\xff\xd9"


def load_av() -> ModuleType:
    """Return PyAV. Raises DependencyError where it is missing."""
    try:
        import av
        import av.error
        import av.video.reformatter
    except ImportError as error:
        raise DependencyError(
            f"PyAV is needed for recordings and network cameras, and `import av` failed: {error}. "
            f"{how_to_install('av', extra='desktop')}"
        ) from error
    return av


@dataclass(frozen=True)
class Picture:
    """The result of one packet: a picture, or `trouble`, for which it is not to be believed.

    `tag`: given with the packet. `frame`: PyAV's. `pixels`: uint8 BGR [H, W, 3], where they were decoded already.
    Without trouble one of the two is there.
    """

    tag: Any
    frame: Any = None
    trouble: str = ""
    pixels: UInt8 | None = None


class Decoder:
    """Decodes one stream of an open container, in order. `threads`: PyAV's thread type, AUTO or SLICE.

    `depth_bits`: how many bits of levels of 16 count, where that is known. JPEGs are decoded by libjpeg-turbo, which
    tells of more damage than FFmpeg does.
    """

    def __init__(self, stream: Any, *, threads: str, depth_bits: int | None = None) -> None:
        self._av = load_av()
        self._context = stream.codec_context
        self._context.options = _STRICT
        self._context.copy_opaque = True
        self._jpeg = self._context.name == "mjpeg"
        stream.thread_type = "NONE" if self._jpeg else threads
        self._reformatter = self._av.video.reformatter.VideoReformatter()
        self._order = 0
        self._damaged_at: int | None = None
        self._failed: set[int] = set()
        self._depth_bits = depth_bits
        self._turn: Callable[[UInt8], UInt8] | None = None
        self._turn_known = False
        self._angle: float | None = None
        self._turn_at_angle: Callable[[UInt8], UInt8] | SourceError | None = None
        if self._context.name not in _TOLD:
            _log.warning("damage of %s can hardly be known: let the camera send H.264 instead", self._context.name)
        self.intra_only = self._context.name in _INTRA

    def decode(self, packet: Any, tag: Any) -> list[Picture]:
        """Decode one packet, or with None what is left; `tag` comes back with the picture that the packet holds."""
        if self._jpeg and packet is not None:
            return self._of_jpeg(packet, tag)
        self._order += 1
        order = self._order
        failed = False
        frames: list[Any] = []
        try:
            if packet is not None:
                packet.opaque = (order, tag)
                failed = bool(packet.is_corrupt)
            frames = self._context.decode(packet)
        except self._av.error.EOFError:
            return []
        except (self._av.error.FFmpegError, ValueError):
            failed = True
        corrupt = [bool(frame.is_corrupt) for frame in frames]
        if failed or any(corrupt):
            self._damaged_at = order
        told = [Picture(tag, trouble=DAMAGED)] if failed and packet is not None else []
        if told:
            self._failed.add(order)
        return told + [
            picture for frame, bad in zip(frames, corrupt, strict=True) if (picture := self._seen(frame, bad))
        ]

    def _of_jpeg(self, packet: Any, tag: Any) -> list[Picture]:
        """Decode a packet that is a whole JPEG; of half pictures, of which a packet holds two, FFmpeg makes one."""
        try:
            if packet.is_corrupt:
                return [Picture(tag, trouble=DAMAGED)]
            pixels = as_frame(decode(bytes(packet)))
            self._learn_turn(packet)
        except (NotReadableError, SourceError) as error:
            return [Picture(tag, trouble=f"{DAMAGED}: {error}")]
        if self._context.height and 2 * pixels.shape[0] == self._context.height and _holds_two(bytes(packet)):
            self._jpeg = False
            return self.decode(packet, tag)
        return [Picture(tag, pixels=pixels if self._turn is None else np.ascontiguousarray(self._turn(pixels)))]

    def _learn_turn(self, packet: Any) -> None:
        """Note how a recording of JPEGs is turned: FFmpeg lays it beside the first picture that it decodes."""
        if self._turn_known:
            return
        try:
            frames = self._context.decode(packet)
        except (self._av.error.FFmpegError, ValueError):
            return
        if frames:
            self._turn, self._turn_known = _turning(frames[0]), True

    def _seen(self, frame: Any, corrupt: bool) -> Picture | None:
        order, tag = frame.opaque if isinstance(frame.opaque, tuple) else (self._order, None)
        if order in self._failed:  # told already, when its packet failed
            self._failed.discard(order)
            return None
        whole_again = frame.key_frame and self._damaged_at is not None and order > self._damaged_at
        if (whole_again or self.intra_only) and not corrupt:
            self._damaged_at = None
        if corrupt:
            return Picture(tag, trouble=DAMAGED)
        return Picture(tag, frame, "" if self._damaged_at is None else AFTER_DAMAGE)

    def forget(self) -> None:
        """Begin anew at a key frame: what was not decoded so far is gone."""
        self._context.flush_buffers()
        self._angle = self._damaged_at = None
        self._failed.clear()

    def pixels(self, picture: Picture) -> UInt8:
        """Return a picture as uint8 BGR [H, W, 3], turned as its recording says. Raises SourceError.

        Formats of 9 to 14 bits a channel state their brightest level, and are scaled to 8 bits.
        """
        if picture.pixels is not None:
            return picture.pixels
        frame = picture.frame
        if max(component.bits for component in frame.format.components) <= 14:
            pixels: UInt8 = self._reformatter.reformat(frame, format="bgr24").to_ndarray()
        else:
            pixels = self._from_deep(frame)
        turn = self._turning(frame)
        return pixels if turn is None else np.ascontiguousarray(turn(pixels))

    def _turning(self, frame: Any) -> Callable[[UInt8], UInt8] | None:
        """Return what turns a frame upright. Its matrix is looked at where the angle, which costs nothing, is another.

        PyAV ties what lies beside a frame and the frame together in a circle: looked at in each, hundreds of frames
        would stay in memory until Python's collector comes.
        """
        if frame.rotation != self._angle:
            self._angle = frame.rotation
            try:
                self._turn_at_angle = _turning(frame)
            except SourceError as error:
                self._turn_at_angle = SourceError(str(error))  # without what the other holds
        if isinstance(self._turn_at_angle, SourceError):
            raise SourceError(str(self._turn_at_angle))
        return self._turn_at_angle

    def _from_deep(self, frame: Any) -> UInt8:
        """Return a frame of 16 bits a channel, of which some count. Raises SourceError where it is not known which."""
        if "f" in frame.format.name.removeprefix("bgr").removeprefix("rgb"):
            raise SourceError(f"the pictures have levels with a fraction ({frame.format.name}); record it with 8 bits")
        grey = frame.format.name.startswith("gray")
        levels = self._reformatter.reformat(frame, format="gray16le" if grey else "rgb48le").to_ndarray()
        try:
            eight = to_eight_bits(levels, self._depth_bits)
        except NotReadableError as error:
            raise SourceError(f"the picture cannot be read: {error}") from error
        return np.repeat(eight[:, :, None], 3, axis=2) if grey else np.ascontiguousarray(eight[:, :, ::-1])


def _holds_two(content: bytes) -> bool:
    """Tell whether behind a JPEG another one begins, as of the two fields of an interlaced picture."""
    ends = content.find(_ENDS)
    while ends >= 0:
        if content[ends + 2 :].lstrip(b"\0\xff")[:1] == _BEGINS[1:]:
            return True
        ends = content.find(_ENDS, ends + 2)
    return False


def _turning(frame: Any) -> Callable[[UInt8], UInt8] | None:
    """Return what turns a frame upright, by the matrix that its recording carries; None if it is upright.

    The matrix is nine int32, a b u c d v x y w. It gives (x', y') = (a x + c y, b x + d y). y is down; see FFmpeg's
    libavutil/display.h. y is down; see FFmpeg's libavutil/display.h. Raises SourceError for a matrix that is neither
    quarter turns nor mirroring.
    """
    entry = next((each for each in frame.side_data if getattr(each.type, "name", "") == _DISPLAY_MATRIX), None)
    if entry is None:
        return None
    a, b, _, c, d, _, *_ = np.frombuffer(bytes(entry), "<i4").astype(np.float64) / 65536
    turn = _TURNS.get((round(a), round(b), round(c), round(d)))
    if turn is None or not np.allclose(np.abs([a, b, c, d]).round(), np.abs([a, b, c, d]), atol=1e-3):
        raise SourceError("the recording says that its pictures are turned by a part of a quarter turn; record it anew")
    return None if turn is _same else turn


def _same(pixels: UInt8) -> UInt8:
    return pixels


def _upside_down(pixels: UInt8) -> UInt8:
    return pixels[::-1]


def _mirrored(pixels: UInt8) -> UInt8:
    return pixels[:, ::-1]


def _across(pixels: UInt8) -> UInt8:
    return pixels.transpose(1, 0, 2)


def _across_and_over(pixels: UInt8) -> UInt8:
    return pixels[::-1, ::-1].transpose(1, 0, 2)


_TURNS: dict[tuple[int, int, int, int], Callable[[UInt8], UInt8]] = {
    (1, 0, 0, 1): _same,
    (0, 1, -1, 0): partial(np.rot90, k=-1),  # a quarter turn clockwise
    (-1, 0, 0, -1): partial(np.rot90, k=2),
    (0, -1, 1, 0): partial(np.rot90, k=1),
    (-1, 0, 0, 1): _mirrored,
    (1, 0, 0, -1): _upside_down,
    (0, 1, 1, 0): _across,
    (0, -1, -1, 0): _across_and_over,
}
