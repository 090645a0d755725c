from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from converters.staging import Staging
from edge.errors import StoreError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one file."""
    (tmp_path / "a").write_text("old a")
    return tmp_path


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let the system refuse to write beyond 1,000 bytes of a file, as it does on a full disk.

    For as short as can be: pytest itself may be writing into a longer file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_everything_is_replaced_at_once(folder: Path) -> None:
    """The old files stand until the commit; the new ones after it, and nothing else is left."""
    with Staging(folder) as staging:
        assert staging.write("a", b"new a").read_text() == "new a"
        staging.write("b", b"new b")
        assert (folder / "a").read_text() == "old a"
        assert staging.commit(lambda: "done") == "done"
    assert _content(folder) == {"a": "new a", "b": "new b"}


def test_without_a_commit_nothing_changes(folder: Path) -> None:
    """Leaving before the commit leaves the folder as it was."""
    with Staging(folder) as staging:
        staging.write("a", b"new a")
    assert _content(folder) == {"a": "old a"}


@pytest.mark.parametrize("trouble", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_finish_puts_the_old_files_back(folder: Path, trouble: BaseException) -> None:
    """Old files return and new ones vanish, whatever stops the last step. A full disk reads as a StoreError."""

    def finish() -> None:
        assert _content(folder)["a"] == "new a"
        raise trouble

    with Staging(folder) as staging:
        staging.write("a", b"new a")
        staging.write("b", b"new b")
        with pytest.raises(StoreError if isinstance(trouble, OSError) else KeyboardInterrupt):
            staging.commit(finish)
    assert _content(folder) == {"a": "old a"}


def test_a_full_disk_leaves_nothing_half_written(folder: Path) -> None:
    """A file that does not fit is a StoreError that names it, and no part of it stays."""
    with Staging(folder) as staging:
        staging.write("a", b"new a")
        with full_disk(), pytest.raises(StoreError, match="b cannot be written"):
            staging.write("b", bytes(2000))
    assert _content(folder) == {"a": "old a"}


def test_a_folder_that_is_gone_is_a_store_error(folder: Path) -> None:
    """A place that cannot be written to is a StoreError, not a traceback."""
    with pytest.raises(StoreError, match="cannot be written"), Staging(folder / "gone") as staging:
        staging.write("a", b"new a")


@pytest.mark.parametrize("fails", [False, True])
def test_a_removed_file_is_gone_at_the_commit_or_stays(folder: Path, fails: bool) -> None:
    """A removal goes with the additions, and is undone where the last step fails; no other file is touched."""

    def finish() -> None:
        assert _content(folder).keys() == {"a.old.tmp", "b"}
        if fails:
            raise OSError(28, "No space left on device")

    with Staging(folder) as staging:
        staging.remove("a")
        staging.remove("never there")
        staging.write("b", b"new b")
        if fails:
            with pytest.raises(StoreError):
                staging.commit(finish)
        else:
            staging.commit(finish)
    assert _content(folder) == ({"a": "old a"} if fails else {"b": "new b"})
