"""Tables as people have them: Excel's in all its dialects, and names that lead nowhere else."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import SourceError
from edge.pictures.tables import inside, read_table

COLUMNS = ("image", "mask", "class", "group")
ROWS = [("a.png", "", "ok", "p 1"), ("b.png", "m/b.png", "scratch", "p;2")]


def written(delimiter: str, end: str = "\n") -> str:
    """Write the table with a delimiter; a value that holds it is quoted."""
    quoted = [[f'"{value}"' if delimiter in value else value for value in row] for row in (COLUMNS, *ROWS)]
    return end.join(delimiter.join(row) for row in quoted) + end


@pytest.mark.parametrize(
    "content",
    [
        written(",").encode(),
        written(";").encode(),
        written("\t", "\r\n").encode("utf-16"),
        written("\t", "\r").encode(),
        b"\xef\xbb\xbf" + written(";", "\r\n").encode(),
        b"sep=;\r\n" + written(";", "\r\n").encode(),
        b'"sep=|"\n' + written("|").encode(),
        b"\n ;;; \n" + written(";").replace("\na.png", "\n;;;\na.png").encode(),
        written(",").replace("image,mask,class,group", " Image ,MASK,Class, Group").encode(),
        written(";").replace("image;", "nr;image;").replace("\na", "\n1;a").replace("\nb", "\n2;b").encode(),
    ],
)
def test_every_dialect_of_excel_is_the_same_table(tmp_path: Path, content: bytes) -> None:
    """Semicolons, tabs, bars, UTF-16, `sep=`, capitals, blanks, empty rows and other columns change nothing."""
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    table = read_table(path, COLUMNS)
    assert [tuple(row.values[column] for column in COLUMNS) for row in table.rows] == ROWS


def test_rows_have_the_lines_that_an_editor_shows(tmp_path: Path) -> None:
    """`sep=`, empty rows and values of two lines count."""
    path = tmp_path / "t.csv"
    path.write_text('sep=;\n\nimage;mask;class;group\na;;ok;"one\ntwo"\n;;;\nb;;ok;g\n')
    assert [(row.number, row.values["image"]) for row in read_table(path, COLUMNS).rows] == [(4, "a"), (7, "b")]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "received none"),
        (b"picture,label\na,b\n", "received picture, label"),
        (b"image,Image,mask,class,group\n", "received twice: image"),
        ("image,mask,class,group\ngr\u00f6\u00dfe.png,,ok,1\n".encode("cp1252"), "line 2 has the byte 0xf6"),
    ],
)
def test_what_is_no_such_table_is_said(tmp_path: Path, content: bytes, why: str) -> None:
    """The error says what was expected and what came."""
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=why):
        read_table(path, COLUMNS)


def test_names_are_found_as_they_were_meant(tmp_path: Path) -> None:
    """Backslashes are folders, and accents count however they are composed."""
    (tmp_path / "images").mkdir()
    composed = unicodedata.normalize("NFC", "gr\u00f6\u00dfe.png")
    (tmp_path / "images" / unicodedata.normalize("NFD", composed)).write_bytes(b"")
    assert inside(tmp_path, f"images\\{composed}").is_file()
    assert inside(tmp_path, f"./images/{composed}").is_file()


@pytest.mark.parametrize("name", ["../x.png", "images/../../x.png", "/etc/passwd", "C:\\x.png", "..\\x.png", "a\0b"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    """A table names nothing outside its folder."""
    with pytest.raises(SourceError, match="leads out"):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "\u00e4" * 200 + ".png", "d/" * 3000, "x" * 1_000_000])
def test_what_no_file_can_be_called_is_refused(tmp_path: Path, name: str) -> None:
    """A value that ran into the column of names is told in few words, before any file system is asked."""
    with pytest.raises(SourceError, match="expected the name of a file") as refused:
        inside(tmp_path, name)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("image,class\na.png,dent\n".encode("utf-16-le"), "zero bytes"),
        ("image,class\na.png,dent\n".encode("utf-32"), "zero bytes"),
        (b"PK\x03\x04" + bytes(40), "is a workbook"),
    ],
)
def test_what_excel_writes_beside_csv_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    """Workbooks and encodings that nothing states are told by what they are, and by what to do."""
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"{why}.*Save it as `CSV UTF-8`"):
        read_table(path, ("image", "class"))


def test_columns_without_a_name_and_others_that_repeat_do_no_harm(tmp_path: Path) -> None:
    """Excel leaves empty columns behind, and a note may be there twice."""
    path = tmp_path / "t.csv"
    path.write_text("image,note,class,note,,\na.png,x,dent,y,,\n")
    (row,) = read_table(path, ("image", "class")).rows
    assert (row.values["image"], row.values["class"], row.more) == ("a.png", "dent", False)


def test_accents_may_be_taken_apart_in_one_folder_and_not_in_the_next(tmp_path: Path) -> None:
    """Each part of a path is found in either form."""
    path = tmp_path / "a\u0308" / "\u00f6.png"
    path.parent.mkdir()
    path.write_bytes(b"")
    assert inside(tmp_path, "\u00e4/\u00f6.png") == path


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_no_table(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A pipe to which nobody writes is not waited for, and a device is not read without end."""
    make(tmp_path / "manifest.csv")
    with pytest.raises(SourceError, match="is no file: expected a table"):
        read_table(tmp_path / "manifest.csv", ("image",))
