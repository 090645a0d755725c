"""The one way from a file's bytes to pixels, for every picture and mask of every command.

OpenCV decodes all but JPEG and raw PGM, PPM and PBM. It fills what is missing of a JPEG with grey and says nothing, so
libjpeg-turbo (the package simplejpeg) decodes those: its warnings are errors here. Both give the same pixels.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from edge.errors import SourceError
from edge.opencv import cv2
from edge.pictures.depth import bits_seen, to_eight_bits
from edge.pictures.header import Header, read_header
from edge.pictures.jpeg import lacks_scans
from edge.pictures.names import as_text
from edge.pictures.not_readable import NotReadableError
from edge.pictures.tiff import check_tiff
from edge.records import UInt8
from edge.wording import counted

BYTES_AT_MOST = 1 << 29
_SAVED_ANEW = "Replace or remove it"


@dataclass(frozen=True)
class Decoded:
    """A file's pixels as stored but for their orientation: what a viewer shows.

    `pixels`: uint8 or uint16, [H, W] grey, [H, W, 3] BGR, or [H, W, 4] BGR and opacity.
    """

    pixels: NDArray[Any]
    header: Header

    @property
    def shape_px(self) -> tuple[int, int]:
        """(height, width), px, as shown."""
        return int(self.pixels.shape[0]), int(self.pixels.shape[1])


def pixels_at_most() -> int:
    """Return the most pixels that a picture may have: OpenCV's own limit, which edge/opencv.py sets."""
    try:
        return int(os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"])
    except (KeyError, ValueError):
        return 1 << 27


def read_bytes(path: Path) -> bytes:
    """Read a file that may be a picture. Raises SourceError for what is none, or too large for one."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"No picture at {as_text(str(path))}: expected a file, received something else")
        if status.st_size > BYTES_AT_MOST:
            raise SourceError(
                f"{as_text(str(path))} has {status.st_size / 1e9:.1f} GB; expected a picture of at most "
                f"{BYTES_AT_MOST / 1e9:.1f} GB. {_SAVED_ANEW}"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise SourceError(f"No picture at {as_text(str(path))}: there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in a name
        said = getattr(error, "strerror", None) or error
        raise SourceError(f"{as_text(str(path))} cannot be read: {said}. {_SAVED_ANEW}") from error


def decode(encoded: bytes) -> Decoded:
    """Decode a picture's bytes, turned as its orientation says. Raises NotReadableError with the reason."""
    header = read_header(encoded)
    if header.width * header.height > pixels_at_most():
        raise NotReadableError(
            f"it has {header.width} x {header.height} px; expected at most {pixels_at_most():,} px in all"
        )
    if header.pages > 1:
        raise NotReadableError(
            f"it holds {counted(header.pages, 'picture')}; expected one. Save the one that is meant by itself"
        )
    if header.kind == "jpeg":
        pixels = _jpeg(encoded, header)
    elif header.kind == "pnm":
        pixels = _raw_pnm(encoded, header) if encoded[1:2] in b"456" else _plain_pnm(encoded, header)
    else:
        if header.kind == "tiff":
            check_tiff(encoded)
        pixels = _by_opencv(encoded, header)
    if pixels.dtype not in {np.dtype(np.uint8), np.dtype(np.uint16)}:
        raise NotReadableError(f"its levels are {pixels.dtype.name}; expected whole numbers of 8 or 16 bits")
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if header.clear_level is not None:
        pixels = _with_clear_level(pixels, header)
    header = _scaled(pixels, header)
    # OpenCV turns a TIFF itself, whatever it is asked for
    return Decoded(pixels if header.kind == "tiff" else turned(pixels, header.orientation), header)


def _jpeg(encoded: bytes, header: Header) -> UInt8:
    if header.bits != 8:
        raise NotReadableError(f"it is a JPEG of {header.bits} bits, which is not read here; save it as PNG or TIFF")
    try:
        grey = simplejpeg.decode_jpeg_header(encoded)[2] == "Gray"
        pixels: UInt8 = simplejpeg.decode_jpeg(encoded, colorspace="GRAY" if grey else "BGR", strict=True)
    except ValueError as error:
        raise NotReadableError(f"it is a damaged JPEG: {error}") from error
    if lacks_scans(encoded):
        raise NotReadableError("it is a damaged JPEG: it ends before the scans that hold its details or its colours")
    return pixels


def _with_clear_level(pixels: NDArray[Any], header: Header) -> NDArray[Any]:
    """Give a grey PNG the opacity that OpenCV drops where one of its levels is transparent."""
    # 1, 2 and 4 bits are spread over 8 when they are read
    level = (header.clear_level or 0) * (1 if header.bits >= 8 else 255 // ((1 << header.bits) - 1))
    clear = pixels == level
    if pixels.ndim != 2 or not clear.any():
        return pixels
    opacity = np.where(clear, 0, np.iinfo(pixels.dtype).max).astype(pixels.dtype)
    return np.dstack([pixels, pixels, pixels, opacity])


def _scaled(pixels: NDArray[Any], header: Header) -> Header:
    """Return a PNG's header with what its sBIT comes to: by the specification its levels are scaled to 16 bits.

    Cameras' programs write them unscaled. Levels that may be either, for they are low and end in zeros, say nothing.
    """
    bits = header.declared_bits
    if header.kind != "png" or bits is None or bits == 16:
        return header
    if int(pixels.max(initial=0)) >= 1 << bits:
        return replace(header, declared_bits=16)
    said = bool((pixels & ((1 << (16 - bits)) - 1)).any())
    return header if said else replace(header, declared_bits=None)


def _plain_pnm(encoded: bytes, header: Header) -> NDArray[Any]:
    channels = 3 if encoded[1:2] == b"3" else 1
    count = header.width * header.height * channels
    text = encoded[header.begins - 1 :]
    words = re.findall(rb"[01]", text) if encoded[1:2] == b"1" else text.split()
    try:
        levels = np.array([int(word) for word in words[:count]], np.int64)
    except ValueError as error:
        raise NotReadableError("it is a PGM, PPM or PBM whose levels are no numbers: damaged") from error
    if len(words) != count:
        raise NotReadableError(
            f"it is a damaged PGM, PPM or PBM: expected {counted(count, 'level')}, received {len(words)}"
        )
    if count and (levels.min() < 0 or levels.max() > header.most):
        raise NotReadableError(f"it is a damaged PGM or PPM: it has levels beyond {header.most}")
    if header.bits == 1:
        levels = (1 - levels) * 255
    shaped = levels.reshape(header.height, header.width, channels).astype(np.uint8 if header.bits <= 8 else np.uint16)
    return shaped[:, :, 0] if channels == 1 else np.ascontiguousarray(shaped[:, :, ::-1])


def _raw_pnm(encoded: bytes, header: Header) -> NDArray[Any]:
    channels = 3 if encoded[1:2] == b"6" else 1
    row = (header.width + 7) // 8 if header.bits == 1 else header.width * channels * (header.bits // 8)
    body = encoded[header.begins : header.begins + row * header.height]
    if len(body) < row * header.height:
        raise NotReadableError("it is a PGM, PPM or PBM that is cut off")
    if encoded[header.begins + len(body) :].lstrip()[:1] == b"P":
        raise NotReadableError("it is a PGM, PPM or PBM that holds several pictures; expected one")
    if header.bits == 1:
        ones = np.unpackbits(np.frombuffer(body, np.uint8).reshape(header.height, row), axis=1)[:, : header.width]
        return np.asarray((1 - ones) * 255, np.uint8)  # 1 is black
    read = np.frombuffer(body, np.uint8 if header.bits == 8 else ">u2").reshape(header.height, header.width, channels)
    native = read.astype(np.uint8 if header.bits == 8 else np.uint16)
    return native[:, :, 0] if channels == 1 else np.ascontiguousarray(native[:, :, ::-1])


def _by_opencv(encoded: bytes, header: Header) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise NotReadableError(f"OpenCV cannot decode it: {' '.join(str(error).split())[:200]}") from error
    if pixels is None:
        raise NotReadableError(f"it is a {header.kind.upper()} that is damaged, cut off or of an unusual kind")
    if sorted(pixels.shape[:2]) != sorted((header.height, header.width)):
        came = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise NotReadableError(f"it is damaged: expected {header.width} x {header.height} px, received {came}")
    return pixels


def turned(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn [H, W, ...] from how it is stored to how it is shown; `orientation` 1-8 as in Exif 2.32, 4.6.4 A."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels) if orientation != 1 else pixels


def as_frame(decoded: Decoded, depth_bits: int | None = None) -> UInt8:
    """Return uint8 BGR [H, W, 3] as a line inspects it. Raises NotReadableError for what would have to be guessed."""
    pixels = decoded.pixels
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        opacity = pixels[:, :, 3]
        if int(opacity.min()) != np.iinfo(opacity.dtype).max:
            raise NotReadableError("parts of it are transparent, and nothing says what is behind them; save it without")
        pixels = np.ascontiguousarray(pixels[:, :, :3])
    eight = to_eight_bits(pixels, depth_bits, decoded.header.declared_bits)
    if eight.ndim == 2:
        coloured: UInt8 = cv2.cvtColor(eight, cv2.COLOR_GRAY2BGR)
        return coloured
    return eight


def read_decoded(path: Path) -> Decoded:
    """Read and decode a file. Raises SourceError naming it."""
    return decoded_of(path, read_bytes(path))


def decoded_of(path: Path, encoded: bytes) -> Decoded:
    """Decode the bytes of a file that is called `path`. Raises SourceError naming it."""
    try:
        return decode(encoded)
    except NotReadableError as error:
        shown = as_text(str(path))
        raise SourceError(f"{shown} is no picture that can be read: {error}. {_SAVED_ANEW}") from error


def read_picture(path: Path, depth_bits: int | None = None) -> UInt8:
    """Read a picture as uint8 [H, W, 3] in BGR order, as a viewer shows it. Raises SourceError naming the file.

    `depth_bits`: how many bits of a file of 16 count, where that is known.
    """
    return as_frame_of(path, read_decoded(path), depth_bits)


def read_to_look_at(path: Path) -> UInt8:
    """Read a picture for eyes rather than a model: a depth that nothing says is that of its own levels.

    Raises SourceError naming the file.
    """
    return to_look_at(path, read_decoded(path))


def to_look_at(path: Path, decoded: Decoded) -> UInt8:
    """Return what `read_to_look_at` does of the file at `path`, which is decoded already."""
    declared = decoded.header.declared_bits
    return as_frame_of(path, decoded, declared or bits_seen(int(decoded.pixels.max(initial=0))))


def as_frame_of(path: Path, decoded: Decoded, depth_bits: int | None = None) -> UInt8:
    """Return what `as_frame` does of the file at `path`. Raises SourceError naming it."""
    try:
        return as_frame(decoded, depth_bits)
    except NotReadableError as error:
        raise SourceError(f"{as_text(str(path))} cannot be used: {error}") from error
