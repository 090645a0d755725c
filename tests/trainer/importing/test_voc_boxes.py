from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import DatasetError
from edge.opencv import cv2
from tests.trainer.importing.pictures import imported, rectangle, save, surface, truths
from trainer.importing.voc_boxes import read_voc

SIZE = (20, 30)


def box(name: str, left: float, top: float, right: float, bottom: float) -> str:
    """Write one object; corners as they stand in the file."""
    return (
        f"<object><name>{escape(name)}</name><difficult>0</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
    )


def annotation(*objects: str, size: tuple[int, int] = SIZE, filename: str = "x.jpg") -> str:
    """Write a file as LabelImg does."""
    return (
        f"<annotation><folder>f</folder><filename>{filename}</filename><size><width>{size[1]}</width>"
        f"<height>{size[0]}</height><depth>3</depth></size>{''.join(objects)}</annotation>"
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two pictures and an empty folder of annotations."""
    for name in ("a", "b"):
        save(tmp_path / "pictures" / f"{name}.jpg", surface(1, SIZE))
    (tmp_path / "xml").mkdir()
    return tmp_path


def read(folder: Path, out: str = "out", first_pixel: int = 1, **settings: object) -> dict[str, object]:
    """Import and return class maps."""
    source = read_voc(folder / "pictures", folder / "xml", first_pixel=first_pixel, missing_is_clean=True)
    imported(source, folder / out, **settings)
    return dict(truths(folder / out))


def test_boxes_become_filled_rectangles(folder: Path) -> None:
    """VOC counts from 1 and both corners belong to the box: 3,2 to 6,4 is 4 x 3 px from column 2, row 1 on."""
    (folder / "xml" / "a.xml").write_text(annotation(box("scratch", 3, 2, 6, 4), box("stain", 10, 10, 30, 20)))
    (folder / "xml" / "b.xml").write_text(annotation())
    found = truths_of(folder)
    expected = rectangle(SIZE, 1, 2, 3, 4) // 255 + rectangle(SIZE, 9, 9, 11, 21) // 255 * 2
    np.testing.assert_array_equal(found["a.jpg"][1], expected)
    assert found["b.jpg"][0] == ()


def truths_of(folder: Path, first_pixel: int = 1) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Import and read again."""
    source = read_voc(folder / "pictures", folder / "xml", first_pixel=first_pixel, missing_is_clean=False)
    imported(source, folder / "out")
    return truths(folder / "out")


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(*[st.integers(0, side - 1) for side in (30, 20, 30, 20)]), min_size=1, max_size=4),
    st.sampled_from([0, 1]),
)
def test_the_corners_of_boxes_come_back(
    tmp_path_factory: pytest.TempPathFactory, corners: list[tuple[int, int, int, int]], first_pixel: int
) -> None:
    """Each box alone: the bounding rectangle of its mask has the corners that the file has, in either counting."""
    folder = tmp_path_factory.mktemp("voc")
    save(folder / "pictures" / "a.jpg", surface(1, SIZE))
    (folder / "xml").mkdir()
    drawn = []
    for one, two, three, four in corners:
        left, right, top, bottom = min(one, three), max(one, three), min(two, four), max(two, four)
        drawn.append((left + first_pixel, top + first_pixel, right + first_pixel, bottom + first_pixel))
    (folder / "xml" / "a.xml").write_text(annotation(*(box(f"kind{k}", *c) for k, c in enumerate(drawn))))
    source = read_voc(folder / "pictures", folder / "xml", first_pixel=first_pixel, missing_is_clean=False)
    imported(source, folder / "out", preview=0)
    for place, told in enumerate(drawn):
        mask = cv2.imread(str(folder / "out" / "masks" / f"kind{place}" / "a.png"), cv2.IMREAD_GRAYSCALE)
        x, y, width, height = cv2.boundingRect(mask)
        assert (mask > 0).sum() == width * height
        assert (x, y, x + width - 1, y + height - 1) == tuple(corner - first_pixel for corner in told)


def test_corners_may_pass_the_edge_by_rounding(folder: Path) -> None:
    """Tools that count from 0, or write the pixel after the last, pass the edge by one; fractions are rounded."""
    (folder / "xml" / "a.xml").write_text(annotation(box("dent", 0, 0.4, 31, 20.6)))
    (folder / "xml" / "b.xml").write_text(annotation(size=(0, 0)))
    assert truths_of(folder)["a.jpg"][1].all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (annotation(box("dent", 3, 2, 33, 4)), r"a\.xml, object 1: the box .* ends past the picture's 30 x 20 px"),
        (annotation(box("dent", 1, 1, 2, 2), box("dent", -3, 2, 5, 4)), r"a\.xml, object 2: the box .* ends past"),
        (annotation(box("dent", 9, 2, 3, 4)), r"a\.xml, object 1: expected xmax and ymax from xmin and ymin on"),
        (annotation(box("dent", 9, 2, "x", 4)), r"a\.xml, object 1: expected a number, received 'x'"),
        (annotation(box("dent", 9, 2, float("inf"), 4)), r"a\.xml, object 1: expected a number, received 'inf'"),
        (annotation(box("", 1, 1, 2, 2)), r"a\.xml, object 1: expected <name>"),
        (annotation(box("a dent", 1, 1, 2, 2)), r"a\.xml: expected a class of letters.*--rename 'a dent=a-dent'"),
        (annotation("<object><name>dent</name></object>"), r"a\.xml, object 1: expected <bndbox>"),
        (annotation(size=(21, 30)), r"a\.xml: expected 30 x 20 px as in .*a\.jpg, received 30 x 21"),
        ("<annotation>", r"a\.xml is no XML"),
        ("", r"a\.xml is no XML"),
        ("<html></html>", r"a\.xml: expected <annotation> as Pascal VOC has it, received <html>"),
        ("<?xml version='1.0' encoding='nonsense'?><annotation/>", r"a\.xml (is no XML|cannot be read as XML)"),
    ],
)
def test_a_wrong_annotation_is_named(folder: Path, text: str, says: str) -> None:
    """File, object and numbers are named."""
    (folder / "xml" / "a.xml").write_text(text)
    with pytest.raises(DatasetError, match=says):
        read(folder)


def test_an_annotation_cannot_harm(folder: Path) -> None:
    """Entities that grow without end or read other files are refused before they are looked at."""
    bomb = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 10))
    for text in (
        f'<!DOCTYPE a [<!ENTITY l0 "lol">{bomb}]><annotation>&l9;</annotation>',
        '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]><annotation><filename>&f;</filename></annotation>',
    ):
        (folder / "xml" / "a.xml").write_text(text)
        with pytest.raises(DatasetError, match="defines entities"):
            read(folder)


def test_a_file_name_inside_that_names_another_picture_is_refused(folder: Path) -> None:
    """a.xml that says b.jpg may be of either; one that says what is not there was renamed with its picture."""
    for name, written in (("a", "b.jpg"), ("b", "b.jpg")):
        (folder / "xml" / f"{name}.xml").write_text(annotation(box("dent", 1, 1, 2, 2), filename=written))
    with pytest.raises(DatasetError, match=r"a\.xml has the name of a\.jpg, and its <filename> is that of b\.jpg"):
        read(folder)
    (folder / "xml" / "a.xml").write_text(annotation(box("dent", 1, 1, 2, 2), filename="before.jpg"))
    assert read(folder)["a.jpg"][0] == ("dent",)


def test_annotations_and_pictures_must_belong_together(folder: Path) -> None:
    """By the file's name or by <filename>; a picture without an XML is an error unless it is declared clean."""
    (folder / "xml" / "one.xml").write_text(annotation(box("dent", 1, 1, 2, 2), filename="a.jpg"))
    with pytest.raises(DatasetError, match=r"1 picture has no XML .*b\.jpg"):
        truths_of(folder)
    assert read(folder)["b.jpg"][0] == ()
    (folder / "xml" / "a.xml").write_text(annotation())
    with pytest.raises(DatasetError, match=r"a\.jpg: expected one annotation, received .*a\.xml and .*one\.xml"):
        read(folder, "out2")
    (folder / "xml" / "one.xml").write_text(annotation(filename="../../z.jpg"))
    with pytest.raises(DatasetError, match=r"one\.xml: expected a picture of the name one in"):
        read(folder, "out2")


def test_classes_are_renamed_and_joined(folder: Path) -> None:
    """Two names may become one class, and one may be declared clean."""
    objects = (box("a dent", 1, 1, 2, 2), box("Dent", 5, 5, 6, 6), box("dust", 9, 9, 9, 9))
    (folder / "xml" / "a.xml").write_text(annotation(*objects))
    found = read(folder, rename={"a dent": "dent", "Dent": "dent", "dust": "ok"})
    expected = rectangle(SIZE, 0, 0, 2, 2) // 255 + rectangle(SIZE, 4, 4, 2, 2) // 255
    np.testing.assert_array_equal(found["a.jpg"][1], expected)
    assert found["a.jpg"][0] == ("dent",)
