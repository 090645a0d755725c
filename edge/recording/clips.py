"""One clip: pictures without loss (FFV1 in Matroska), and a row of JSON for each, which a kill leaves readable.

Each picture stands for itself and is a cluster of its own. So a file without an end is read up to its last picture. A
row has what the picture itself cannot carry: its time in ns, its name and the CRC-32 of its pixels.
"""

from __future__ import annotations

import errno
import os
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, BinaryIO, Literal, cast

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from typing_extensions import Self

from edge.cameras.decoding import load_av
from edge.errors import SourceError
from edge.printable import as_json

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
_Whole = Annotated[int, Field(ge=0, lt=2**63)]
PICTURES, ROWS = ".mkv", ".jsonl"
# By the pixels' dtype and whether they have colours: how PyAV names them, and how FFV1 keeps them.
_FORMATS = {("uint8", False): ("gray", "gray"), ("uint16", False): ("gray16le", "gray16le")}
_FORMATS["uint8", True] = ("bgr24", "bgr0")
_OF_FFV1 = {format_: name for name, format_ in _FORMATS.values()}
# version 3 has checksums of slices; without a context each picture stands for itself; Golomb-Rice codes are the faster
_FFV1 = {"level": "3", "slicecrc": "1", "slices": "4", "coder": "0", "context": "0", "g": "1"}
# a cluster for each picture, handed to the file at once
_MATROSKA = {"cluster_size_limit": "1", "flush_packets": "1"}
_MS = Fraction(1, 1000)
_SYNC_EVERY_S = 5.0
_ROW_BYTES = 65_536
_ALONE = {"protocol_whitelist": "none"}

OpenFile = Callable[[Path], BinaryIO]


@dataclass(frozen=True)
class Row:
    """The facts of one picture beside its pixels.

    `pts`: its place in the clip, ms, None of one that could not be read. `captured_ns`: the clock of its camera, as the
    station has it. `captured_at`: the same moment as UTC. `dropped`: how many frames were lost before it, in all.
    `crc32`: of its pixels. `trouble`: why it could not be read. `row_crc32`: of all the others, as they are written.
    """

    kind: Literal["frame", "unreadable"]
    index: _Whole
    captured_ns: _Whole
    captured_at: AwareDatetime
    name: str = ""
    dropped: _Whole = 0
    pts: _Whole | None = None
    crc32: _Whole | None = None
    trouble: str = ""
    row_crc32: _Whole | None = None


_ROW = TypeAdapter(Row)


def shape_of(pixels: Pixels) -> tuple[Any, ...]:
    """Return what is alike in all pictures of one clip. Raises SourceError for pixels that no clip can keep."""
    colours = pixels.ndim == 3 and pixels.shape[2] == 3
    if not colours and pixels.ndim == 3 and pixels.shape[2] == 1:
        return shape_of(pixels[:, :, 0])
    if (pixels.ndim != 2 and not colours) or (str(pixels.dtype), colours) not in _FORMATS:
        raise SourceError(
            f"pixels of {pixels.dtype} {list(pixels.shape)} cannot be recorded: expected uint8 [H, W] or [H, W, 3], or "
            "uint16 [H, W]"
        )
    return pixels.shape, str(pixels.dtype), _FORMATS[str(pixels.dtype), colours]


def open_to_write(path: Path) -> BinaryIO:
    """Open a file that is not there yet, without a buffer: what is written has left this process.

    Its name is synced to the disk, so that a power cut leaves the file.
    """
    file = path.open("xb", buffering=0)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return file


class ClipWriter:
    """Writes pictures of one size and kind to `path`.mkv, and their rows to `path`.jsonl. Raises OSError.

    `shape`: of the pictures, by `shape_of`. `bytes_written`: to both files.
    """

    def __init__(self, path: Path, shape: tuple[Any, ...], open_file: OpenFile = open_to_write) -> None:
        self._av = load_av()
        self.bytes_written = 0
        self.pictures = 0
        self._last_pts = -1
        self._first_ns: int | None = None
        self._waiting: list[bytes] = []  # rows of the last picture, which leaves the process with the next one
        self._synced_s = time.monotonic()
        (height, width, *_), _, (self._given, self._kept) = shape
        self._pictures_file = open_file(path.with_name(path.name + PICTURES))
        self._rows_file = open_file(path.with_name(path.name + ROWS))
        self._container = self._av.open(
            _Counting(self._pictures_file, self._count), "w", format="matroska", options=_MATROSKA
        )
        self._stream = self._container.add_stream("ffv1", rate=1000)
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, self._kept
        self._stream.time_base = self._stream.codec_context.time_base = _MS
        self._stream.codec_context.options = _FFV1
        self._stream.codec_context.thread_type = "SLICE"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        except OSError:
            if error is None:
                raise

    def write(self, row: Row, pixels: Pixels) -> None:
        """Keep one picture; with the next one it has left the process, whatever becomes of that."""
        flat = pixels.reshape(pixels.shape[:2]) if pixels.shape[2:] == (1,) else pixels
        pixels = cast("Pixels", np.ascontiguousarray(flat))
        if self._first_ns is None:
            self._first_ns = row.captured_ns
        # two pictures within a millisecond follow each other
        pts = max(self._last_pts + 1, (row.captured_ns - self._first_ns) // 1_000_000)
        frame = self._av.VideoFrame.from_ndarray(pixels, format=self._given)
        if self._kept != self._given:
            frame = frame.reformat(format=self._kept)
        frame.pts, frame.time_base, self._last_pts = pts, _MS, pts
        self._mux(self._stream.encode(frame))
        self._write_rows()
        self.pictures += 1
        self.note(replace(row, pts=pts, crc32=_crc32(pixels)))
        if time.monotonic() - self._synced_s > _SYNC_EVERY_S:
            self._sync()

    def note(self, row: Row) -> None:
        """Keep a row alone: of a picture that could not be read."""
        told = asdict(row) | {"captured_at": row.captured_at.isoformat(), "row_crc32": _row_crc32(row)}
        self._waiting.append(as_json(told).encode() + b"\n")

    def _write_rows(self) -> None:
        rows, self._waiting = b"".join(self._waiting), []
        _Counting(self._rows_file, self._count).write(rows)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            self._container.mux(packet)

    def _count(self, written: int) -> None:
        self.bytes_written += written

    def _sync(self) -> None:
        for file in (self._pictures_file, self._rows_file):
            os.fsync(file.fileno())
        self._synced_s = time.monotonic()

    def _close(self) -> None:
        try:
            if self.pictures:
                self._mux(self._stream.encode(None))
            self._container.close()
            self._write_rows()
            self._sync()
        except self._av.error.FFmpegError as error:  # of a file that took no more before
            raise OSError(errno.EIO, os.strerror(errno.EIO), self._pictures_file.name) from error
        finally:
            self._pictures_file.close()
            self._rows_file.close()


class _Counting:
    """A file as PyAV writes to it: forwards only, so that what is written stays as it is."""

    def __init__(self, file: BinaryIO, count: Callable[[int], None]) -> None:
        self._file, self._count = file, count
        self.name = "clip"

    def write(self, data: bytes) -> int:
        whole = memoryview(data)
        while whole:
            written = self._file.write(whole)
            self._count(written)
            whole = whole[written:]
        return len(data)


def rows_of(path: Path) -> list[Row]:
    """Read the rows of a clip, `path` without its suffix. A last line without an end is left out: it was cut off.

    Raises SourceError with the line that is not understood.
    """
    file = path.with_name(path.name + ROWS)
    rows: list[Row] = []
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(_ROW_BYTES), b""), start=1):
                if not line.endswith(b"\n") and len(line) < _ROW_BYTES:
                    break
                rows.append(_row(line, f"{file}, line {number}"))
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror or error}. The recording is not whole") from error
    return rows


def _row(line: bytes, where: str) -> Row:
    try:
        row = _ROW.validate_json(line, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SourceError(
            f"{where}: expected what `linewatch record` writes of a frame; {key}: {first['msg']}. The recording was "
            "altered or is damaged"
        ) from error
    if row.row_crc32 != _row_crc32(row):
        raise SourceError(f"{where}: the row was altered or is damaged: its checksum is another one. Copy it again")
    return row


def _row_crc32(row: Row) -> int:
    told = asdict(replace(row, row_crc32=None)) | {"captured_at": row.captured_at.isoformat()}
    return zlib.crc32(as_json(told).encode())


def pictures_of(path: Path, rows: list[Row]) -> Iterator[tuple[Row, Pixels | None, str]]:
    """Yield each row of a clip, `path` without its suffix, with its pixels; or None and why there are none.

    Pixels whose checksum is another one are none. Raises SourceError where there is no clip at all.
    """
    waiting = _decoded(path.with_name(path.name + PICTURES)) if any(row.kind == "frame" for row in rows) else iter(())
    ahead = next(waiting, None)
    for row in rows:
        if row.kind == "unreadable":
            yield row, None, row.trouble or "the picture could not be read when it was recorded"
            continue
        while ahead is not None and row.pts is not None and ahead[0] < row.pts:
            ahead = next(waiting, None)
        if ahead is None or ahead[0] != row.pts:
            yield row, None, "the recording is damaged: the picture is missing in its clip"
            continue
        pixels = ahead[1]
        if pixels is None or _crc32(pixels) != row.crc32:
            yield row, None, "the recording is damaged: these are not the pixels that were recorded"
        else:
            yield row, pixels, ""
        ahead = next(waiting, None)


def _crc32(pixels: Pixels) -> int:
    return zlib.crc32(pixels.data)


def _decoded(path: Path) -> Iterator[tuple[int, Pixels | None]]:
    """Yield the place in the clip and the pixels of each picture.

    The last one is at the file's end, or where it was cut off.
    """
    av = load_av()
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}. The recording is not whole") from error
    with file:
        try:
            container = av.open(file, options=_ALONE)
            stream = container.streams.video[0]
        except (av.error.FFmpegError, OSError, ValueError, IndexError):
            return  # nothing was written before it was cut off; its rows are told as missing
        with container:
            stream.thread_type = "SLICE"
            packets = container.demux(stream)
            while True:
                try:
                    packet = next((one for one in packets if one.size and one.pts is not None), None)
                except (av.error.FFmpegError, OSError, ValueError):
                    return
                if packet is None:
                    return
                yield packet.pts, _pixels(av, stream, packet)


def _pixels(av: Any, stream: Any, packet: Any) -> Pixels | None:
    try:
        (frame,) = stream.codec_context.decode(packet)
        given = _OF_FFV1[frame.format.name]
        pixels: Pixels = np.ascontiguousarray(frame.to_ndarray(format=given))
    except (av.error.FFmpegError, ValueError, KeyError):
        return None
    return pixels
