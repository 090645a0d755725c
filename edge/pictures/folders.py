"""The one way to list the pictures of a folder: what was found, and what was left out and why."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge.errors import SourceError
from edge.pictures.header import sniff
from edge.pictures.names import as_text, natural_order
from edge.stopping import end_if_asked

SUFFIXES = (
    ".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
JPEG = (".jfif", ".jpe", ".jpeg", ".jpg")
# Pictures that people have and that nothing here decodes.
UNREAD = (
    ".3fr", ".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".eps", ".erf", ".exr", ".fit", ".fits", ".gif", ".hdr",
    ".heic", ".heif", ".ico", ".j2c", ".j2k", ".jpf", ".jpx", ".jxl", ".jxr", ".nef", ".orf", ".pam", ".pcx", ".pef",
    ".pfm", ".psb", ".psd", ".raf", ".raw", ".rw2", ".sgi", ".srw", ".svg", ".tga", ".wdp", ".x3f", ".xcf",
)  # fmt: skip
# Folders that programs leave beside pictures.
_LEFT_BY_PROGRAMS = {
    "__macosx": "left by a Mac's archive",
    ".ipynb_checkpoints": "left by Jupyter",
    "@eadir": "left by a Synology",
    "@tmp": "left by a Synology",
    "#recycle": "a recycle bin",
    "#snapshot": "left by a Synology",
    "@recycle": "a recycle bin",
    "@recently-snapshot": "left by a QNAP",
    "$recycle.bin": "a recycle bin",
    "system volume information": "left by Windows",
    "lost+found": "left by the disk",
}
# The kernel only makes these up: some never end, or wait for ever.
_NO_DISKS = (
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "sysfs", "tracefs",
)  # fmt: skip
_DEEPEST = 64
_ENTRIES_AT_MOST = 1_000_000
_UNSORTED_AT_MOST = 1_000_000_000
_LOOKED_EVERY = 1000  # entries
_SHOWN = 3


@dataclass(frozen=True)
class LeftOut:
    """Something that lies in a folder and is not among its pictures, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Listing:
    """The pictures (or other files that were asked for) of a folder in natural order, and what was left out."""

    folder: Path
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...] = ()

    def told(self) -> list[str]:
        """Say in a line for each reason what was left out, naming the first few."""
        by_reason: dict[str, list[str]] = defaultdict(list)
        for item in self.left_out:
            by_reason[item.reason].append(as_text(os.path.relpath(item.path, self.folder)))
        return [
            f"left out of {as_text(str(self.folder))}, {reason}: {', '.join(names[:_SHOWN])}"
            + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
            for reason, names in by_reason.items()
        ]


def list_pictures(folder: Path) -> Listing:
    """List the pictures in a folder and its subfolders, linked ones too.

    Raises SourceError if it is unreadable or holds more than a million entries. Raises KeyboardInterrupt where a signal
    asks the command to stop meanwhile.
    """
    return list_files(folder, SUFFIXES)


def list_files(folder: Path, suffixes: Sequence[str], *, entries_at_most: int = _ENTRIES_AT_MOST) -> Listing:
    """List the files with these suffixes (in lower case; a file's may be in any) as `list_pictures` does."""
    walk = _Walk(folder, tuple(suffixes), entries_at_most)
    try:
        entries = walk.entries(folder)
    except OSError as error:
        raise SourceError(f"{as_text(str(folder))} cannot be read: {error.strerror}. Look at its rights") from error
    walk.enter(folder)
    files = tuple(sorted(walk.visit(entries, 0), key=natural_order))
    return Listing(folder, files, tuple(sorted(walk.left_out, key=lambda item: natural_order(item.path))))


def why_left_out(folder_name: str) -> str:
    """Say why a folder of this name is left out, hidden or made by a program; nothing for any other."""
    return _LEFT_BY_PROGRAMS.get(folder_name.lower(), "a hidden folder" if folder_name.startswith(".") else "")


def pictures_below(folder: Path, left_out: list[LeftOut]) -> Iterator[Path]:
    """Yield the pictures of `list_pictures` one by one, however many: in the disk's order, not sorted.

    Linked folders come last, by their names. So a picture is called the same each time, whatever the disk's order.
    Left-out names are appended to `left_out`. Raises as `list_pictures`.
    """
    walk = _Walk(folder, SUFFIXES, _UNSORTED_AT_MOST, in_order=False)
    walk.left_out = left_out
    try:
        walk.enter(folder)
        yield from walk.visit(walk.entries(folder), 0)
        yield from walk.linked()
    except OSError as error:
        raise SourceError(f"{as_text(str(folder))} cannot be read: {error.strerror}. Look at its rights") from error


class _Walk:
    def __init__(self, root: Path, suffixes: tuple[str, ...], entries_at_most: int, *, in_order: bool = True) -> None:
        self._in_order = in_order
        self._entries_at_most = entries_at_most
        self._root = root
        self._suffixes = suffixes
        self._seen = 0
        self._no_disks = _made_up_devices()
        self._pictures = ".png" in suffixes
        self._folders: dict[tuple[int, int], Path] = {}
        self._links: list[tuple[Path, int]] = []
        self.left_out: list[LeftOut] = []

    def enter(self, folder: Path) -> Path | None:
        """Note that a folder is visited; return where it was visited before, by another name."""
        status = folder.stat()
        known = self._folders.setdefault((status.st_dev, status.st_ino), folder)
        return None if known is folder else known

    def entries(self, folder: Path) -> Iterable[os.DirEntry[str]]:
        """Return what lies in a folder, in natural order if asked. Raises OSError, SourceError, KeyboardInterrupt."""
        found = self._scanned(folder)
        return sorted(found, key=lambda entry: natural_order(entry.name)) if self._in_order else found

    def _scanned(self, folder: Path) -> Iterator[os.DirEntry[str]]:
        with os.scandir(folder) as inside:
            for entry in inside:
                self._count()
                yield entry

    def _count(self) -> None:
        self._seen += 1
        if self._seen > self._entries_at_most:
            raise SourceError(
                f"{as_text(str(self._root))} holds more than {self._entries_at_most:,} files and folders; expected a "
                "folder of pictures. Name one below it"
            )
        if self._seen % _LOOKED_EVERY == 0:
            end_if_asked()

    def visit(self, entries: Iterable[os.DirEntry[str]], depth: int) -> Iterator[Path]:
        for number, entry in enumerate(entries):
            if number % _LOOKED_EVERY == 0:
                end_if_asked()
            path = Path(entry.path)
            try:
                if entry.is_dir():
                    if self._in_order or not entry.is_symlink():
                        yield from self._folder(path, depth)
                    else:
                        self._links.append((path, depth))
                elif reason := self._why_not(entry, path):
                    self.left_out.append(LeftOut(path, reason))
                elif path.suffix.lower() in self._suffixes:
                    yield path
            except OSError as error:
                self.left_out.append(LeftOut(path, f"it cannot be read ({error.strerror})"))

    def linked(self) -> Iterator[Path]:
        """Visit the linked folders that were kept for the end, and those below them."""
        while self._links:
            links, self._links = sorted(self._links), []
            for path, depth in links:
                try:
                    yield from self._folder(path, depth)
                except OSError as error:  # noqa: PERF203 - one link that cannot be followed stops no other
                    self.left_out.append(LeftOut(path, f"it cannot be read ({error.strerror})"))

    def _folder(self, path: Path, depth: int) -> Iterator[Path]:
        reason = why_left_out(path.name)
        if not reason and depth >= _DEEPEST:
            reason = "too deep"
        if not reason and path.stat().st_dev in self._no_disks:
            reason = "made up by the kernel"
        if not reason and (before := self.enter(path)) is not None:
            reason = f"the same folder as {as_text(str(before))}"
        if reason:
            self.left_out.append(LeftOut(path, reason))
            return
        yield from self.visit(self.entries(path), depth + 1)

    def _why_not(self, entry: os.DirEntry[str], path: Path) -> str:
        """Say why something that is no folder is left out, if that is worth a word."""
        suffix = path.suffix.lower()
        wanted = suffix in self._suffixes
        if not entry.is_file():
            return ("a link to nothing" if entry.is_symlink() else "no file") if wanted else ""
        if wanted:
            if entry.name.startswith("._"):
                return "left by a Mac beside the file itself"
            return "a hidden file" if entry.name.startswith(".") else ""
        if not self._pictures or entry.name.startswith("."):
            return ""
        if suffix in UNREAD:
            return f"{suffix} is not read; save it as PNG or JPEG"
        return self._unnamed_picture(path)

    @staticmethod
    def _unnamed_picture(path: Path) -> str:
        # a file of a driver may make whoever reads it wait
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            content = sniff(file.read(16) or b"")
        return {
            "picture": "a picture without a picture's suffix; rename it",
            "unread": "a picture that is not read",
        }.get(content, "")


def _made_up_devices() -> frozenset[int]:
    """Return the device numbers of the mounted file systems that are on no disk."""
    found: set[int] = set()
    with suppress(OSError), Path("/proc/self/mounts").open(encoding="utf-8", errors="surrogateescape") as mounts:
        for mount in mounts:
            _, place, kind, *_ = mount.split(" ")
            if kind in _NO_DISKS:
                with suppress(OSError):
                    found.add(Path(place.encode().decode("unicode_escape")).stat().st_dev)
    return frozenset(found)
