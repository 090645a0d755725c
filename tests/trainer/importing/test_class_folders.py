from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.errors import DatasetError
from tests.trainer.importing.pictures import imported, save, surface, truths
from trainer.datasets.dataset import read_manifest
from trainer.importing.class_folders import read_class_folders


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write 5 pictures of two defects and 3 good ones."""
    for seed, (name, count) in enumerate({"dent": 5, "pit": 5, "Good": 3}.items()):
        for number in range(count):
            save(tmp_path / "in" / name / f"{number}.jpg", surface(100 * seed + number, (16, 16)))
    return tmp_path / "in"


def test_folders_become_labels_without_masks(folder: Path, tmp_path: Path) -> None:
    """Each folder is a class, good ones are clean, the mask column is empty and every pixel has the class."""
    written = imported(read_class_folders(folder, at_most=None, seed=0), tmp_path / "out")
    assert (written.by_class, written.clean) == ({"dent": 5, "pit": 5}, 3)
    assert all(not entry.masks for entry in read_manifest(tmp_path / "out", need_masks=False))
    found = truths(tmp_path / "out")
    assert found["pit/0.jpg"][0] == ("pit",)
    assert (found["pit/0.jpg"][1] == 2).all()
    assert not found["Good/0.jpg"][1].any()
    # stems repeat, so that groups are told apart by their folders
    assert written.groups == 13
    again = imported(read_class_folders(tmp_path / "out" / "images", at_most=None, seed=0), tmp_path / "again")
    assert again == written
    assert (tmp_path / "again" / "manifest.csv").read_text() == (tmp_path / "out" / "manifest.csv").read_text()


def test_a_cap_chooses_by_seed(folder: Path, tmp_path: Path) -> None:
    """At most so many of each class: the same ones for a seed, others for another."""
    chosen = []
    for place, seed in enumerate((1, 1, 2, 3)):
        written = imported(read_class_folders(folder, at_most=3, seed=seed), tmp_path / f"out{place}")
        assert (written.by_class, written.clean) == ({"dent": 3, "pit": 3}, 3)
        chosen.append(tuple(truths(tmp_path / f"out{place}")))
    assert chosen[0] == chosen[1]
    assert len(set(chosen)) >= 2


def test_what_cannot_be_learned_is_refused(folder: Path, tmp_path: Path) -> None:
    """A class without pictures, a stray or unreadable picture, and one picture in two classes are named."""
    (folder / "scratch").mkdir()
    with pytest.raises(DatasetError, match="scratch holds no file"):
        read_class_folders(folder, at_most=None, seed=0)
    (folder / "scratch" / "1.jpg").write_bytes(b"none")
    with pytest.raises(DatasetError, match=r"scratch/1\.jpg is no picture"):
        imported(read_class_folders(folder, at_most=None, seed=0), tmp_path / "out")
    shutil.copyfile(folder / "dent" / "0.jpg", folder / "scratch" / "1.jpg")
    with pytest.raises(DatasetError, match=r"scratch/1\.jpg is the same picture as .*dent/0\.jpg"):
        imported(read_class_folders(folder, at_most=None, seed=0), tmp_path / "out")
    save(folder / "stray.jpg", surface(1, (16, 16)))
    with pytest.raises(DatasetError, match=r"stray\.jpg is in no class's folder"):
        read_class_folders(folder, at_most=None, seed=0)
    with pytest.raises(DatasetError, match="expected a folder of pictures for each class"):
        read_class_folders(folder / "pit", at_most=None, seed=0)
    with pytest.raises(DatasetError, match="No folder at"):
        read_class_folders(folder / "none", at_most=None, seed=0)


@pytest.mark.real_data
def test_real_steel_classes_are_capped(real_data: Path, tmp_path: Path) -> None:
    """Of 6 classes of 100 pictures of steel, 20 each are taken."""
    source = read_class_folders(real_data / "neu_cls" / "images", at_most=20, seed=0)
    written = imported(source, tmp_path / "out")
    assert list(written.by_class.values()) == [20] * 6
    assert "rolled-in_scale" in written.by_class
