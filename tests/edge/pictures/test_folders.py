"""One list of a folder's pictures, and what was left out and why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import SourceError
from edge.pictures import SUFFIXES, list_pictures, natural_order

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"


def put(path: Path, content: bytes = PNG) -> Path:
    """Write a file, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def left_out(folder: Path) -> dict[str, str]:
    """Return why each thing was left out, by its path below the folder."""
    return {os.path.relpath(item.path, folder): item.reason for item in list_pictures(folder).left_out}


def test_every_known_suffix_is_listed_in_any_capitals(tmp_path: Path) -> None:
    """`.jfif`, `.pgm` and `.jp2` are pictures like `.JPG`."""
    for suffix in SUFFIXES:
        put(tmp_path / f"a{suffix}")
        put(tmp_path / f"B{suffix.upper()}")
    assert len(list_pictures(tmp_path).files) == 2 * len(SUFFIXES)
    assert {".jfif", ".pgm", ".jp2", ".jpe"} <= set(SUFFIXES)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("._x.jpg", "left by a Mac beside the file itself"),
        (".hidden.png", "a hidden file"),
        ("photo.HEIC", ".heic is not read; save it as PNG or JPEG"),
        ("raw.dng", ".dng is not read; save it as PNG or JPEG"),
        ("IMG_0001", "a picture without a picture's suffix; rename it"),
        ("picture.png.bak", "a picture without a picture's suffix; rename it"),
    ],
)
def test_files_that_are_left_out_have_a_reason(tmp_path: Path, path: str, reason: str) -> None:
    """Each is told of by its name, and the picture beside it is listed."""
    put(tmp_path / "a.png")
    put(tmp_path / path)
    assert left_out(tmp_path) == {path: reason}
    assert [file.name for file in list_pictures(tmp_path).files] == ["a.png"]


@pytest.mark.parametrize("folder", ["__MACOSX", ".ipynb_checkpoints", ".git", "@eaDir", "$Recycle.Bin", "#recycle"])
def test_folders_of_programs_are_left_out(tmp_path: Path, folder: str) -> None:
    """Leavings of a Mac's archive, of Jupyter or of a Synology are no part."""
    put(tmp_path / "a.png")
    put(tmp_path / folder / "b.png")
    assert list(left_out(tmp_path)) == [folder]
    assert "left out of" in list_pictures(tmp_path).told()[0]


def test_notes_and_tables_are_no_news(tmp_path: Path) -> None:
    """A manifest, a text and an empty file are neither pictures nor worth a word."""
    for name, content in (
        ("manifest.csv", b"image,mask"),
        ("notes.txt", b"hello"),
        ("empty", b""),
        (".gitignore", b""),
    ):
        put(tmp_path / name, content)
    assert left_out(tmp_path) == {}


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    """A link to another disk's pictures is a folder; a link back is told of, and ends."""
    put(tmp_path / "elsewhere" / "b.png")
    here = tmp_path / "here"
    put(here / "a.png")
    (here / "linked").symlink_to(tmp_path / "elsewhere")
    (here / "again").symlink_to(here)
    (here / "nothing.png").symlink_to(tmp_path / "gone.png")
    listing = list_pictures(here)
    assert [file.relative_to(here).as_posix() for file in listing.files] == ["a.png", "linked/b.png"]
    assert left_out(here) == {"again": f"the same folder as {here}", "nothing.png": "a link to nothing"}


def test_a_folder_called_like_a_picture_is_a_folder(tmp_path: Path) -> None:
    """`x.jpg/` is not a picture; the files in it are. A pipe of that name is none."""
    put(tmp_path / "x.jpg" / "inside.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert [file.name for file in list_pictures(tmp_path).files] == ["inside.png"]
    assert left_out(tmp_path) == {"pipe.png": "no file"}


def test_frames_are_sorted_as_people_count(tmp_path: Path) -> None:
    """1, 2, 10, 11, in every folder; leading zeros do no harm."""
    for name in ("p10", "p2"):
        for frame in (1, 10, 11, 2):
            put(tmp_path / name / f"frame{frame}.png")
    put(tmp_path / "frame007.png")
    names = [file.relative_to(tmp_path).as_posix() for file in list_pictures(tmp_path).files]
    in_each = ["frame1", "frame2", "frame10", "frame11"]
    assert names == ["frame007.png", *(f"{p}/{frame}.png" for p in ("p2", "p10") for frame in in_each)]


@given(st.lists(st.text(st.characters(blacklist_characters="/\0"), min_size=1, max_size=8), max_size=20))
def test_any_names_can_be_sorted_and_the_order_is_one(names: list[str]) -> None:
    """Words and numbers are never compared with each other, and the order does not depend on where it began."""
    backwards = names[::-1]
    assert sorted(names, key=natural_order) == sorted(backwards, key=natural_order)


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    """It is a SourceError that names it."""
    with pytest.raises(SourceError, match="gone"):
        list_pictures(tmp_path / "gone")
