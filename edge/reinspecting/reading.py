"""From a listed picture to its pixels, wherever it lies, and the hash of what was read."""

from __future__ import annotations

import errno
import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from edge.errors import SourceError
from edge.inspection.inspector import FileReading, understood
from edge.pictures import as_text
from edge.pictures.decoding import BYTES_AT_MOST, decoded_of, read_bytes
from edge.printable import printable
from edge.records import UInt8
from edge.reinspecting.frames import Frames
from edge.reinspecting.listed import Listed
from edge.reinspecting.storage import Storage, UnreachableError, open_storage

# A system's errors for a disk behind a network that does not answer any more.
_AWAY = frozenset(
    (errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT)
)


class Reader:
    """Reads listed pictures and notes the SHA-256 of each: of the file, or of a recorded frame's pixels.

    `source`: what was listed; pictures without an address of their own lie below it. Called by one thread at a time.
    `trouble`: a storage or a disk could not be reached, so that what was read since tells nothing of its pictures.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._storages: dict[str, Storage] = {}
        self._archives: dict[bytes, zipfile.ZipFile] = {}
        self._frames = Frames()
        self._kept: dict[str, bytes | UInt8] | None = None
        self.trouble: UnreachableError | None = None

    def keep(self, *, pictures: bool) -> None:
        """Keep what is read from now on, or let go of it: two stations then read a picture once."""
        self._kept = {} if pictures else None

    def pixels(self, listed: Listed, reading: FileReading, hashes: dict[str, str]) -> tuple[UInt8, tuple[str, ...]]:
        """Return a picture's pixels and what is to be told of them.

        Its hash is put into `hashes` by its name. Raises SourceError, which calls the picture by its name.
        """
        name = Path(listed.picture)
        if listed.kind in {"frame", "video"}:
            frame = cast("UInt8", self._once(listed, lambda: self.frame(listed, reading.depth_bits)))
            hashes[listed.picture] = hashlib.sha256(frame.tobytes()).hexdigest()
            return frame, ()
        content = cast("bytes", self._once(listed, lambda: self.content(listed)))
        hashes[listed.picture] = hashlib.sha256(content).hexdigest()
        return understood(name, decoded_of(name, content), reading)

    def frame(self, listed: Listed, depth_bits: int | None = None) -> UInt8:
        """Return the pixels of a recorded frame. Raises SourceError."""
        return self._frames.read(listed, depth_bits)

    def _once(self, listed: Listed, read: Callable[[], bytes | UInt8]) -> bytes | UInt8:
        if self._kept is None:
            return read()
        if listed.picture not in self._kept:
            self._kept[listed.picture] = read()
        return self._kept[listed.picture]

    def content(self, listed: Listed) -> bytes:
        """Return the bytes of a picture that is a file. Raises SourceError."""
        if listed.kind == "file":
            path = Path(os.fsdecode(listed.where))
            try:
                return read_bytes(path)
            except SourceError as error:
                if _is_away(self._source, error):
                    self.trouble = UnreachableError(
                        f"{as_text(self._source)} is away: {listed.picture} was there when pictures were listed, and "
                        f"cannot be read: {error}. Look at the network disk"
                    )
                    raise self.trouble from error
                raise SourceError(str(error).replace(printable(path), listed.picture)) from error
        if listed.kind == "zip":
            return self._of_zip(listed)
        address = listed.where.decode() or self._source
        try:
            if address not in self._storages:
                self._storages[address] = open_storage(address)
            storage = self._storages[address]
            return storage.read(listed.within or storage.place)
        except UnreachableError as error:
            self.trouble = error
            raise

    def _of_zip(self, listed: Listed) -> bytes:
        try:
            if listed.where not in self._archives:
                self._archives[listed.where] = zipfile.ZipFile(os.fsdecode(listed.where))
            with self._archives[listed.where].open(listed.within) as file:
                content = file.read(BYTES_AT_MOST + 1)
        # zipfile raises NotImplementedError for a compression that it lacks, RuntimeError for a password
        except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise SourceError(f"{listed.picture} cannot be read from its zip: {error}") from error
        if len(content) > BYTES_AT_MOST:
            raise SourceError(f"{listed.picture} is too large for a picture")
        return content


def _is_away(source: str, error: SourceError) -> bool:
    """Tell whether a file cannot be read since its disk is away, rather than for a fault of the file."""
    cause = error.__cause__
    if isinstance(cause, FileNotFoundError):
        try:
            place = Path(source)
            return not place.exists() or (place.is_dir() and not any(place.iterdir()))
        except OSError:
            return True
    return isinstance(cause, OSError) and cause.errno in _AWAY
