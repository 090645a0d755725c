"""Files that are whole or absent, and what takes no file's place."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from edge.errors import StoreError
from edge.files import check_place, replacing, write_bytes, write_text


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    """A write that fails midway leaves the old content, and nothing beside it."""
    path = tmp_path / "a" / "told.json"
    write_text(path, "old")
    with suppress(ZeroDivisionError), replacing(path) as unfinished:
        unfinished.write_text("half of")
        raise ZeroDivisionError
    assert [(each.name, each.read_text()) for each in path.parent.iterdir()] == [("told.json", "old")]
    write_bytes(path, b"n", b"ew")
    assert path.read_text() == "new"


def test_a_place_is_looked_at_before_the_work(tmp_path: Path) -> None:
    """A folder in the way, or a device, is told at the beginning. Nothing is made, and no file is changed."""
    (tmp_path / "told.json").write_text("old")
    for good in ("told.json", "new.json", "a/b/new.json"):
        check_place(tmp_path / good)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("told.json", "old")]
    for bad, why in ((tmp_path, "Is a directory"), (tmp_path / "told.json" / "x", "Not a directory")):
        with pytest.raises(StoreError, match=rf"cannot be written: {why}\. Nothing was begun"):
            check_place(bad)
    with pytest.raises(StoreError, match="a device, a pipe or a socket"):
        check_place(Path("/dev/full"))


def _listening_at(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    return listening


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        lambda path: _listening_at(path).close(),
        lambda path: path.symlink_to("/dev/null"),
        lambda path: path.symlink_to("/proc/self/fd/0"),
    ],
    ids=["a pipe", "a socket", "a device", "a terminal or pipe by /proc"],
)
def test_no_file_takes_the_place_of_a_device(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """`--json /dev/stdout`, given by root, would leave a file there for all programs to come: it is refused."""
    path = tmp_path / "odd"
    make(path)
    before = path.lstat()
    with pytest.raises(StoreError, match="cannot be written: it is a device, a pipe or a socket"):
        write_bytes(path, b"x")
    assert (path.lstat().st_ino, stat.S_IFMT(path.lstat().st_mode)) == (before.st_ino, stat.S_IFMT(before.st_mode))
    assert [each.name for each in tmp_path.iterdir()] == ["odd"]


@pytest.mark.parametrize("place", ["/dev/linewatch-test", "/etc/../dev/linewatch-test"])
def test_nothing_is_made_among_devices(place: str) -> None:
    """Not even under a name that is free; /dev/shm is memory, and no device."""
    with pytest.raises(StoreError, match="it is a device, a pipe or a socket"):
        write_bytes(Path(place), b"x")
    assert not Path(place).exists()
    path = Path(f"/dev/shm/linewatch-test-{os.getpid()}")  # noqa: S108 - the place that is meant
    write_bytes(path, b"x")
    path.unlink()


@pytest.mark.parametrize("place", ["", ".", "/", "a/.."])
def test_a_folder_is_no_file(tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is refused, whatever it is called, also where a shell's variable was empty."""
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match="cannot be written: Is a directory"):
        write_bytes(Path(place), b"x")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
