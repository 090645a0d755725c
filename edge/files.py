"""Files that are whole or absent: written beside their place, synced to the disk, and renamed at last."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from edge.errors import StoreError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` to write to. It takes the place of `path` after the block, but for an error.

    The content is synced to the disk before the rename, and the folder after it. So a power cut leaves the old file or
    the new one. An error leaves the old file, and nothing beside it. Raises what the block or the disk raises. Raises
    OSError before the block begins where `path` is a device, pipe or socket: it would be gone.
    """
    _require_replaceable(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        yield unfinished
        _sync(unfinished)
        unfinished.replace(path)
        _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _require_replaceable(path: Path) -> None:
    if not path.name or path.is_dir():  # no name: of "." and "/"
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    place = Path(os.path.realpath(path.parent)) / path.name
    device = place.is_relative_to("/dev") and not place.is_relative_to("/dev/shm")  # noqa: S108 - not written to
    if device or (path.exists() and not path.is_file()):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, and no file", str(path))


def check_place(path: Path) -> None:
    """Write and remove a file where `path` will be, or where its folder will be. Raises StoreError.

    For what takes minutes and is written at the end. The folder is not made yet, and a file that is there stays.
    """
    folder = path.parent
    try:
        _require_replaceable(path)
        while not folder.exists():
            folder = folder.parent
        probe = folder / f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp"
        try:
            probe.write_bytes(bytes(4096))
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be written: {error.strerror or error}. Nothing was begun; choose another place"
        ) from error


def write_bytes(path: Path, *parts: bytes | memoryview, make_folder: bool = False) -> None:
    """Write a file, one part after the other. Raises StoreError, and then leaves the old file."""
    try:
        if make_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            for part in parts:
                file.write(part)
    except OSError as error:
        raise _unwritable(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, making its folder. Raises StoreError, and then leaves the old file."""
    write_bytes(path, text.encode(), make_folder=True)


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be written: {error.strerror or error}. What was written before it is whole; "
        "free some space or choose another place"
    )


def read_text(path: Path, at_most: int) -> str:
    """Return up to `at_most` + 1 characters of UTF-8 text; a pipe to which nobody writes is not waited for.

    Raises OSError and, for a name with a zero byte or what is no UTF-8, ValueError.
    """
    with open(path, encoding="utf-8", opener=_open_at_once) as file:
        return file.read(at_most + 1)


def _open_at_once(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(descriptor, True)
    return descriptor


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Yield an empty folder that is gone afterwards. Raises StoreError where none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    except OSError as error:
        raise StoreError(
            f"No temporary folder can be made: {error.strerror or error}. Name a place that can be written in TMPDIR"
        ) from error
    with folder as name:
        yield Path(name)


def cache_home() -> Path | None:
    """Return where this account keeps what can be made anew: $XDG_CACHE_HOME, else ~/.cache; None without either.

    The XDG base directory specification has a relative path in the variable ignored.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if named.is_absolute():
        return named
    try:
        return Path.home() / ".cache"
    except (RuntimeError, KeyError):  # neither HOME nor an account, as in a container or a hardened unit
        return None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it becomes `path`, which is not there yet, when the block ends well.

    Each file in it is synced to the disk before the rename, and the folder above it after it. An error leaves nothing.
    The yielded folder's name begins with a dot: what a kill leaves can be told apart. Raises what the block or the disk
    raises.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        yield unfinished
        for file in unfinished.iterdir():
            _sync(file)
        _sync(unfinished)
        unfinished.rename(path)
        _sync(path.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def hold(path: Path, what: str, other: str, key: str) -> int:
    """Take a file of this process alone, for as long as the returned descriptor of its lock is open.

    `what`: the file, for people; `other`: who may have it; `key`: of the settings that names it. Raises StoreError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise StoreError(
            f"The {what} {path} cannot be made: {error.strerror}. Expected a folder that this user may write; name "
            f"another with the key {key}"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StoreError(
            f"The {what} {path} is in use by {other}. Stop that one, or name another file with the key {key}"
        ) from error
    return descriptor
