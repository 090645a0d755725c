from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edge.errors import DatasetError
from edge.opencv import cv2
from tests.trainer.importing.pictures import imported, rectangle, save, surface, truths
from tests.trainer.painted import write_painted
from trainer.auditing.audit import audit
from trainer.importing.manifest_csv import read_manifests

HEADER = "image,mask,class,group\n"
SIZE = (20, 30)


def test_a_dataset_becomes_itself(tmp_path: Path) -> None:
    """Pictures byte for byte, class maps to the pixel, groups and rows: nothing is lost, once or twice."""
    data = write_painted(tmp_path / "data", pictures=9)
    written = imported(read_manifests([data]), tmp_path / "one")
    again = imported(read_manifests([tmp_path / "one"]), tmp_path / "two")
    assert written == again
    assert written.by_class == {"scratch": 3, "stain": 3}
    assert (tmp_path / "one" / "manifest.csv").read_bytes() == (tmp_path / "two" / "manifest.csv").read_bytes()
    before = truths(data)
    for folder in ("one", "two"):
        after = truths(tmp_path / folder)
        assert before.keys() == after.keys()
        for name, (classes, truth) in before.items():
            assert after[name][0] == classes
            np.testing.assert_array_equal(after[name][1], truth)
            assert (tmp_path / folder / "images" / name).read_bytes() == (data / "images" / name).read_bytes()
    groups = {line.split(",")[3] for line in (data / "manifest.csv").read_text().splitlines()[1:]}
    assert groups == {line.split(",")[3] for line in (tmp_path / "one" / "manifest.csv").read_text().splitlines()[1:]}


def test_masks_and_places_are_made_uniform(tmp_path: Path) -> None:
    """Masks of 0 and 1 become 0 and 255, pictures come below images/ wherever they were, several rows stay."""
    data = tmp_path / "data"
    save(data / "a.jpg", surface(1, SIZE))
    save(data / "labels" / "one.png", rectangle(SIZE, 0, 0, 4, 4) // 255)
    save(data / "labels" / "two.png", rectangle(SIZE, 9, 9, 4, 4))
    rows = "a.jpg,labels/one.png,scratch,p\na.jpg,labels/two.png,stain,p\n"
    (data / "manifest.csv").write_text(HEADER + rows)
    imported(read_manifests([data]), tmp_path / "out")
    assert (tmp_path / "out" / "manifest.csv").read_text() == (
        HEADER + "images/a.jpg,masks/scratch/a.png,scratch,p\nimages/a.jpg,masks/stain/a.png,stain,p\n"
    )
    expected = rectangle(SIZE, 0, 0, 4, 4) // 255 + rectangle(SIZE, 9, 9, 4, 4) // 255 * 2
    np.testing.assert_array_equal(truths(tmp_path / "out")["a.jpg"][1], expected)


def test_datasets_of_the_same_pictures_are_joined(tmp_path: Path) -> None:
    """One set marks scratches and another stains: joined, each picture has both; pictures of one set only stay."""
    for kind, top, extra in (("scratch", 0, "b"), ("stain", 9, "c")):
        save(tmp_path / kind / "images" / "a.jpg", surface(1, SIZE))
        save(tmp_path / kind / "images" / f"{extra}.jpg", surface(2, SIZE))
        save(tmp_path / kind / "masks" / "a.png", rectangle(SIZE, top, 0, 3, 30))
        rows = f"images/a.jpg,masks/a.png,{kind},a\nimages/{extra}.jpg,,ok,{extra}\n"
        (tmp_path / kind / "manifest.csv").write_text(HEADER + rows)
    written = imported(read_manifests([tmp_path / "scratch", tmp_path / "stain"]), tmp_path / "out")
    assert (written.pictures, written.by_class, written.clean) == (3, {"scratch": 1, "stain": 1}, 2)
    expected = rectangle(SIZE, 0, 0, 3, 30) // 255 + rectangle(SIZE, 9, 0, 3, 30) // 255 * 2
    np.testing.assert_array_equal(truths(tmp_path / "out")["a.jpg"][1], expected)
    save(tmp_path / "stain" / "images" / "a.jpg", surface(3, SIZE))
    with pytest.raises(DatasetError, match=r"stain/manifest\.csv, row 2: expected the picture and the group that"):
        imported(read_manifests([tmp_path / "scratch", tmp_path / "stain"]), tmp_path / "out2")


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((9, 9), np.uint8), r"manifest\.csv, row 3: .*m\.png: expected 30 x 20 px as in .*b\.jpg"),
        (np.full(SIZE, 5, np.uint8), r"manifest\.csv, row 3: .*m\.png: expected a mask of 0 and 255"),
    ],
)
def test_a_wrong_mask_is_named_with_its_row(tmp_path: Path, mask: np.ndarray, says: str) -> None:
    """The row of the picture is told, and the mask's file."""
    for name in ("a", "b"):
        save(tmp_path / "data" / f"{name}.jpg", surface(1, SIZE))
    save(tmp_path / "data" / "m.png", mask)
    (tmp_path / "data" / "manifest.csv").write_text(HEADER + "a.jpg,,ok,a\nb.jpg,m.png,dent,b\n")
    with pytest.raises(DatasetError, match=says):
        imported(read_manifests([tmp_path / "data"]), tmp_path / "out")


def test_nothing_is_written_outside_the_dataset(tmp_path: Path) -> None:
    """A manifest that names pictures above its folder is refused, whatever lies there."""
    data = tmp_path / "deep" / "data"
    save(tmp_path / "deep" / "a.jpg", surface(1, SIZE))
    data.mkdir()
    (data / "manifest.csv").write_text(HEADER + "../a.jpg,,ok,a\n")
    with pytest.raises(DatasetError, match=r"row 2: .* leads out of"):
        read_manifests([data])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]


def test_annotators_stay_and_are_compared(tmp_path: Path) -> None:
    """Two annotators' datasets, joined, keep who drew what, and the audit names both where their lines differ."""
    for who, width in (("ann", 3), ("bob", 11)):
        folder = tmp_path / who
        rows = []
        for number in range(8):
            mask = np.zeros((60, 80), np.uint8)
            cv2.line(mask, (10, 10 + 4 * number), (70, 20 + 4 * number), 255, width)
            save(folder / f"{who}{number}.png", surface(number + 100 * width))
            save(folder / f"m{number}.png", mask)
            rows.append(f"{who}{number}.png,m{number}.png,scratch,{who}{number},{who}\n")
        (folder / "manifest.csv").write_text("image,mask,class,group,annotator\n" + "".join(rows))
    imported(read_manifests([tmp_path / "ann", tmp_path / "bob"]), tmp_path / "both")
    found = audit(tmp_path / "both", Console(quiet=True))
    assert found.by == "annotator"
    thick = {style.annotator: style for style in found.styles if style.measure == "thickness_px" and style.differs}
    assert thick.keys() == {"ann", "bob"}
    assert thick["bob"].own - thick["ann"].own == pytest.approx(8, abs=1)
