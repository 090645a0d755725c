from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rich.console import Console

from edge.errors import DatasetError, StoreError
from edge.records import UInt8
from tests.trainer.importing.pictures import imported, rectangle, save, surface, truths
from trainer.datasets.dataset import class_names, load_picture, read_manifest
from trainer.importing.rle_csv import Form, decode_rle, encode_rle, read_rle, write_rle

SIZE = (6, 9)
QUIET = Console(quiet=True)
masks = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 255]))


def decoded_by_hand(text: str, height: int, width: int) -> UInt8:
    """Decode by the format's description, pixel by pixel: pixel n is in column (n-1) // height, row (n-1) % height."""
    mask = np.zeros((height, width), np.uint8)
    words = [int(word) for word in text.split()]
    for start, length in zip(words[::2], words[1::2], strict=True):
        for pixel in range(start, start + length):
            mask[(pixel - 1) % height, (pixel - 1) // height] = 255
    return mask


@given(masks)
def test_runs_and_masks_are_each_others_inverse(mask: UInt8) -> None:
    """An encoded mask decodes to itself, here and by the format's description; and encodes to the same text."""
    text = encode_rle(mask)
    np.testing.assert_array_equal(decode_rle(text, (mask.shape[0], mask.shape[1]), "row"), mask)
    np.testing.assert_array_equal(decoded_by_hand(text, *mask.shape), mask)
    assert encode_rle(decode_rle(text, (mask.shape[0], mask.shape[1]), "row")) == text


def test_runs_go_down_the_columns_from_one() -> None:
    """In 3 rows x 2 columns `2 3` is the lower two pixels of one column and the next one's first."""
    mask = np.array([[0, 255], [255, 0], [255, 0]], np.uint8)
    assert encode_rle(mask) == "2 3"
    np.testing.assert_array_equal(decode_rle("4 1 2 2", (3, 2), "row"), mask)  # in any order
    assert encode_rle(np.zeros((3, 2), np.uint8)) == ""
    assert not decode_rle("", (3, 2), "row").any()


@pytest.mark.parametrize(
    ("runs", "says"),
    [
        ("5 3", "ends at pixel 7, past the last one of 2 x 3 px, which is 6"),
        ("1 2 3", "odd number of values, 3"),
        ("1 3 3 1", "the run 3 1 overlaps the one before it, which ends at pixel 3"),
        ("0 2", "expected runs of start and length from 1 on, received 0 2"),
        ("2 0", "received 2 0"),
        ("-1 2", "received -1 2"),
        ("1 two", "expected whole numbers, received 'two'"),
        ("1 2.0", "expected whole numbers"),
        ("1 ²", "expected whole numbers"),
        ("1 " + "9" * 5000, "expected pixels of a picture"),
    ],
)
def test_runs_that_no_picture_has_are_refused(runs: str, says: str) -> None:
    """Each mistake is said with the numbers that it consists of."""
    with pytest.raises(DatasetError, match=f"row 7.*{says}"):
        decode_rle(runs, (3, 2), "row 7")


def write_table(path: Path, rows: str, form: Form = "separate") -> Path:
    """Write a CSV."""
    header = "ImageId,ClassId,EncodedPixels\n" if form == "separate" else "ImageId_ClassId,EncodedPixels\n"
    path.write_text(header + rows)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Write three pictures."""
    for name in ("a.jpg", "b_1.jpg", "c.jpg"):
        save(tmp_path / "pictures" / name, surface(1, SIZE))
    return tmp_path / "pictures"


@pytest.mark.parametrize(
    ("form", "rows"),
    [
        ("separate", "a.jpg,3,1 6\na.jpg,1,9 2\nb_1.jpg,3,54 1\n"),
        ("joined", "a.jpg_1,9 2\na.jpg_3,1 6\nb_1.jpg_1,\nb_1.jpg_3,54 1\nc.jpg_1,\nc.jpg_3,\n"),
    ],
)
def test_both_forms_are_read(tmp_path: Path, pictures: Path, form: Form, rows: str) -> None:
    """ClassId may be a column of its own or be joined; a picture without runs is clean."""
    source = read_rle(write_table(tmp_path / "t.csv", rows, form), pictures, {1: "pit", 3: "scratch"})
    written = imported(source, tmp_path / "out")
    assert (written.by_class, written.clean, written.empty_kept) == ({"pit": 1, "scratch": 2}, 1, ("c.jpg",))
    found = truths(tmp_path / "out")
    assert found["a.jpg"][1][:, 0].tolist() == [2] * 6  # class 3, scratch, is the second; the first 6 px are column 0
    assert found["a.jpg"][1][:, 1].tolist() == [0, 0, 1, 1, 0, 0]
    assert np.argwhere(found["b_1.jpg"][1]).tolist() == [[5, 8]]
    assert found["c.jpg"][0] == ()


def test_classes_without_names_are_called_by_their_numbers(tmp_path: Path, pictures: Path) -> None:
    """ClassId 4 becomes class-4, and is 4 again when it is written."""
    imported(read_rle(write_table(tmp_path / "t.csv", "a.jpg,4,1 6\n"), pictures, {}), tmp_path / "out")
    exported = write_rle(tmp_path / "out", tmp_path / "again.csv", {}, "separate", QUIET)
    assert exported.ids == {4: "class-4"}
    assert (tmp_path / "again.csv").read_text() == "ImageId,ClassId,EncodedPixels\na.jpg,4,1 6\n"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("a.jpg,1,1 2\na.jpg,2,54 2\n", r"t\.csv, row 3: the run 54 2 ends at pixel 55, past the last .* which is 54"),
        ("a.jpg,1,1 2 3\n", r"t\.csv, row 2: .*odd number"),
        ("a.jpg,1,1 2 2 2\n", r"t\.csv, row 2: .*overlaps"),
        ("x.jpg,1,1 2\n", r"t\.csv, row 2: no picture x\.jpg in"),
        ("a.jpg,1,1 2\nb_1.jpg,1,\na.jpg,1,9 1\n", r"t\.csv, row 4: a\.jpg has class 1 in row 2 already"),
        ("a.jpg,one,1 2\n", r"t\.csv, row 2: expected a picture and a class from 1 to 255"),
        ("a.jpg,0,1 2\n", r"t\.csv, row 2: expected a picture and a class"),
        ("a.jpg,1,1 2\na.jpg,2\n", r"t\.csv, row 3: expected a value for each of the columns .*, received fewer"),
        ("a.jpg,1,1 2,9 3\n", r"t\.csv, row 2: expected a value for each of the columns .*, received more"),
        ("a.jpg,1,1 2\na.jpg,2,\n", r"The class b is empty: .* 1 mask without a pixel: .*t\.csv, row 3"),
        ("a.jpg,1,1 2\n", "The class b is empty: expected a picture that shows it, received no mask of it"),
        ("a.jpg,9,1 2\n", r"t\.csv, row 2: expected one of the classes 1, 2 that --names has, received 9"),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, pictures: Path, rows: str, says: str) -> None:
    """File and row are named, and no dataset is begun."""
    with pytest.raises(DatasetError, match=says):
        imported(read_rle(write_table(tmp_path / "t.csv", rows), pictures, {1: "a", 2: "b"}), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures", "t.csv"]


def test_a_table_that_is_none_is_refused(tmp_path: Path, pictures: Path) -> None:
    """Foreign columns, no CSV and no file are told with what was expected."""
    (tmp_path / "t.csv").write_text("file,rle\n")
    with pytest.raises(DatasetError, match="expected the columns ImageId, ClassId, EncodedPixels or ImageId_ClassId"):
        read_rle(tmp_path / "t.csv", pictures, {})
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read as CSV in UTF-8"):
        read_rle(tmp_path / "t.csv", pictures, {})
    with pytest.raises(DatasetError, match=r"none\.csv cannot be read: No such file"):
        read_rle(tmp_path / "none.csv", pictures, {})


@settings(max_examples=25, deadline=None)
@given(st.lists(st.fixed_dictionaries({1: st.booleans(), 2: st.booleans()}), min_size=1, max_size=3), st.data())
def test_a_dataset_comes_back_from_its_table(
    tmp_path_factory: pytest.TempPathFactory, shown: list[Mapping[int, bool]], data: Any
) -> None:
    """Dataset → CSV → dataset → CSV: class maps and text are the same, in both forms."""
    folder = tmp_path_factory.mktemp("rle")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    drawn = arrays.arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1]))
    for number, classes in enumerate(shown):
        save(folder / "in" / f"{number}.png", surface(number, SIZE))
        for class_id, is_shown in classes.items():
            if is_shown and (runs := encode_rle(data.draw(drawn))):
                writer.writerow((f"{number}.png", class_id, runs))
    save(folder / "in" / "both.png", surface(99, SIZE))  # a class that is on no picture is an error
    writer.writerows([("both.png", 1, "1 2"), ("both.png", 2, "7 1")])
    table = write_table(folder / "t.csv", text.getvalue())
    names = {1: "pit", 2: "scratch"}
    imported(read_rle(table, folder / "in", names), folder / "one", preview=0)
    write_rle(folder / "one", folder / "one.csv", names, "separate", QUIET)
    assert sorted((folder / "one.csv").read_text().splitlines()) == sorted(table.read_text().splitlines())
    write_rle(folder / "one", folder / "joined.csv", names, "joined", QUIET)
    assert len((folder / "joined.csv").read_text().splitlines()) == 1 + 2 * (len(shown) + 1)
    imported(read_rle(folder / "joined.csv", folder / "in", names), folder / "two", preview=0)
    first, second = truths(folder / "one"), truths(folder / "two")
    assert first.keys() == second.keys()
    for name, (classes_shown, truth) in first.items():
        assert second[name][0] == classes_shown
        np.testing.assert_array_equal(second[name][1], truth)


def test_pictures_of_one_name_in_two_folders_are_called_by_their_paths(tmp_path: Path) -> None:
    """x/1.png and y/1.png would be one row; their folders tell them apart, out and in."""
    for folder, column in (("x", 0), ("y", 4)):
        save(tmp_path / "in" / folder / "1.png", surface(1, SIZE))
        save(tmp_path / "masks" / "pit" / folder / "1.png", rectangle(SIZE, 0, column, 6, 1))
    (tmp_path / "d" / "images").mkdir(parents=True)
    rows = "x/1.png,1,1 6\ny/1.png,1,25 6\n"
    source = read_rle(write_table(tmp_path / "t.csv", rows), tmp_path / "in", {})
    imported(source, tmp_path / "out")
    write_rle(tmp_path / "out", tmp_path / "again.csv", {}, "separate", QUIET)
    assert (tmp_path / "again.csv").read_text() == "ImageId,ClassId,EncodedPixels\n" + rows
    with pytest.raises(DatasetError, match=r"expected one picture of the name 1\.png, received x/1\.png, y/1\.png"):
        read_rle(write_table(tmp_path / "t.csv", "1.png,1,1 6\n"), tmp_path / "in", {})


def test_an_export_overwrites_nothing_and_needs_all_names(tmp_path: Path, pictures: Path) -> None:
    """A file that exists, a class without a number and a number twice are errors; nothing is left behind."""
    imported(read_rle(write_table(tmp_path / "t.csv", "a.jpg,1,1 6\n"), pictures, {1: "pit"}), tmp_path / "out")
    with pytest.raises(StoreError, match="exists, and exports do not overwrite"):
        write_rle(tmp_path / "out", tmp_path / "t.csv", {}, "separate", QUIET)
    with pytest.raises(DatasetError, match="has the classes pit too"):
        write_rle(tmp_path / "out", tmp_path / "x.csv", {1: "dent"}, "separate", QUIET)
    with pytest.raises(DatasetError, match="each class once"):
        write_rle(tmp_path / "out", tmp_path / "x.csv", {1: "pit", 2: "pit"}, "separate", QUIET)
    with pytest.raises(StoreError, match="cannot be written"):
        write_rle(tmp_path / "out", tmp_path / "t.csv" / "x.csv", {}, "separate", QUIET)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "pictures", "t.csv"]


@pytest.mark.real_data
def test_real_steel_goes_out_as_severstal_and_comes_back(real_data: Path, tmp_path: Path) -> None:
    """Masks of 600 real steel pictures, written as the Severstal table and read again, are the same to the pixel."""
    data = real_data / "steel_sd900"
    exported = write_rle(data, tmp_path / "steel.csv", {}, "separate", QUIET)
    assert (exported.pictures, exported.rows) == (600, 600)
    imported(read_rle(tmp_path / "steel.csv", data / "images", exported.ids), tmp_path / "out")
    entries = read_manifest(data)
    names = class_names(entries)
    again = truths(tmp_path / "out")
    assert len(again) == 600
    for entry in entries:
        truth = load_picture(entry, names, (), 1).truth
        np.testing.assert_array_equal(again[entry.image.removeprefix("images/")][1], truth)
    write_rle(tmp_path / "out", tmp_path / "again.csv", {}, "separate", QUIET)
    tables = [(tmp_path / name).read_text().splitlines() for name in ("again.csv", "steel.csv")]
    assert sorted(tables[0]) == sorted(tables[1])
