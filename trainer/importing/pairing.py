"""Pictures in folders, and which mask, drawing or annotation belongs to which of them: by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from edge.errors import DatasetError, SourceError
from edge.pictures import SUFFIXES, read_picture
from edge.records import UInt8


def files_below(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Return the files of a folder and its subfolders by their path below it (`/` between), sorted.

    Hidden ones are left out. `suffixes` are in lower case; a file's may be in any. Raises DatasetError where the
    folder is none or holds none.
    """
    if not folder.is_dir():
        raise DatasetError(f"No folder at {folder}; expected one with files {', '.join(suffixes)} in it")
    found = {}
    for path in sorted(folder.rglob("*")):
        below = path.relative_to(folder)
        # a Mac leaves ._picture.jpg beside picture.jpg
        if path.suffix.lower() in suffixes and not any(part.startswith(".") for part in below.parts) and path.is_file():
            found[below.as_posix()] = path
    if not found:
        raise DatasetError(f"{folder} holds no file with one of the suffixes {', '.join(suffixes)}")
    return found


def pictures_below(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder and its subfolders, as `files_below` does."""
    return files_below(folder, SUFFIXES)


def read_whole(path: Path) -> UInt8:
    """Read a picture as uint8 BGR [H, W, 3]. Raises DatasetError naming the file."""
    try:
        return read_picture(path)
    except SourceError as error:
        raise DatasetError(str(error)) from error


def some(names: Sequence[str]) -> str:
    """Name the first three of many, and say how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def without_suffix(name: str) -> str:
    """`a/b.jpg` → `a/b`."""
    return PurePosixPath(name).with_suffix("").as_posix()


class NameIndex:
    """Finds a file by what another program calls it: with folders or without, with its suffix or without."""

    def __init__(self, names: Sequence[str], kind: str) -> None:
        self._kind = kind
        self._by_name: dict[str, set[str]] = defaultdict(set)
        for name in names:
            for called in (name, without_suffix(name)):
                self._by_name[called].add(name)
        self._by_last: dict[str, set[str]] = defaultdict(set)
        for name in names:
            last = PurePosixPath(name).name
            for called in (last, without_suffix(last)):
                self._by_last[called].add(name)

    def find(self, *called: str, where: str) -> str | None:
        """Return the one file of the first name that fits: the whole path first, then the last part of it.

        None where no file has one of these names. Raises DatasetError where several have, naming them.
        """
        for known, wanted in (
            *((self._by_name, name) for name in called),
            *((self._by_last, PurePosixPath(name).name) for name in called),
        ):
            found = sorted(known.get(wanted, ()))
            if len(found) > 1:
                raise DatasetError(
                    f"{where}: expected one {self._kind} of the name {wanted}, received {', '.join(found)}. "
                    "Keep one of them, or let both folders have the same subfolders"
                )
            if found:
                return found[0]
        return None
