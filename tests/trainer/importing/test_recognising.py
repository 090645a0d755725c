"""`import auto` says what it understood of any folder, or refuses it and says what to type instead."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge.records import UInt8
from tests.trainer.importing.exports_of_tools import (
    SCRATCH,
    SIZE,
    STAIN,
    WRITERS,
    coco,
    write_cvat,
    write_cvat_masks,
    write_kolektor,
    write_labelme,
    write_mvtec,
    write_side_by_side,
    write_yolo,
)
from tests.trainer.importing.pictures import save, surface
from tests.trainer.importing.test_tool_formats import run, taken
from trainer.datasets.dataset import read_manifest

EMPTY = 0 * SCRATCH
Write = Callable[[Path], object]


def write(folder: Path, pictures: str, **masks: UInt8) -> None:
    """Write pictures, names with blanks between them, and masks by their names, in which `__` is `/` and `0` begins."""
    for seed, name in enumerate(pictures.split()):
        save(folder / name, surface(seed, SIZE))
    for name, mask in masks.items():
        save(folder / f"{name.replace('__', '/')}.png", mask)


def btad(folder: Path) -> None:
    """Write BTAD's folders: good parts are ok, masks have their pictures' names."""
    write(folder, "train/ok/0.bmp test/ok/0.bmp test/ko/0.bmp", ground_truth__ko__0=SCRATCH)


def mvtec_ad_2(folder: Path) -> None:
    """Write MVTec AD 2's folders: the truth lies in the public test, private ones say nothing."""
    good = "train/good/0_regular.png validation/good/0_regular.png test_public/good/0_regular.png"
    private = "test_private/0_regular.png test_private_mixed/0_mixed.png test_private_mixed/1_mixed.png"
    truth = {"test_public__ground_truth__bad__0_regular_mask": SCRATCH}
    write(folder, f"{good} test_public/bad/0_regular.png {private}", **truth)


def mvtec_loco(folder: Path) -> None:
    """Write MVTec LOCO's folders: a folder of masks for each picture, whose levels are kinds."""
    good = "train/good/0.png validation/good/0.png test/good/0.png"
    truth = {
        "ground_truth__logical__0__0": np.where(SCRATCH > 0, np.uint8(254), np.uint8(0)),
        "ground_truth__logical__0__1": np.where(STAIN > 0, np.uint8(200), np.uint8(0)),
        "ground_truth__structural__0__0": np.where(STAIN > 0, np.uint8(120), np.uint8(0)),
    }
    write(folder, f"{good} test/logical/0.png test/structural/0.png", **truth)
    (folder / "defects_config.json").write_text(json.dumps([{"defect_name": "x", "pixel_value": 254}]))


def visa(folder: Path) -> None:
    """Write VisA's folders: capitals, masks of 0 and 1, and a table of another form."""
    inside = folder / "candle" / "Data"
    write(inside, "Images/Normal/0.JPG Images/Anomaly/1.JPG", Masks__Anomaly__1=np.where(SCRATCH > 0, 1, EMPTY))
    (folder / "candle" / "image_anno.csv").write_text("image,label,mask\nx,normal,\n")


def kolektor_2(folder: Path) -> None:
    """Write KolektorSDD2's folders: parts of the set, masks named _GT."""
    write(folder, "train/1.png test/2.png", train__1_GT=SCRATCH, test__2_GT=EMPTY)


def dagm(folder: Path) -> None:
    """Write DAGM's folders: masks of defective pictures alone, in a folder beside them."""
    write(folder / "Class1", "Train/0575.PNG Train/0576.PNG Test/0001.PNG")
    save(folder / "Class1" / "Train" / "Label" / "0576_label.PNG", SCRATCH)
    (folder / "Class1" / "Train" / "Label" / "Labels.txt").write_text("1\n575\t0\t0575.PNG\t0\t0\n")


def split_masks(folder: Path) -> None:
    """Write pictures and masks in folders of the same parts."""
    write(folder, "images/train/0.png images/val/1.png", masks__train__0=SCRATCH, masks__val__1=STAIN)


def roboflow(folder: Path) -> None:
    """Write Roboflow's masks of class ids, which a table names; one class is on no picture."""
    write(folder, "train/a.jpg valid/b.jpg", train__a_mask=np.where(STAIN > 0, 2, EMPTY), valid__b_mask=EMPTY)
    for part in ("train", "valid"):
        (folder / part / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, dent\n2, stain\n")


def kaggle(folder: Path) -> None:
    """Write folders of classes in those of the parts of a set."""
    write(folder, "train/fray/0.png train/dent/1.png test/fray/2.png test/dent/3.png")


FRAYS = (("train", "fray/0"), ("train", "dent/1"), ("test", "fray/2"), ("test", "dent/3"))
GOOD = {"train/good/0.png": (), "validation/good/0.png": (), "test/good/0.png": ()}
PUBLISHED: dict[str, tuple[Write, dict[str, tuple[str, ...]], str]] = {
    "BTAD": (btad, {"train/ok/0.bmp": (), "test/ok/0.bmp": (), "test/ko/0.bmp": ("ko",)}, "MVTec's folders"),
    "MVTec AD 2": (
        mvtec_ad_2,
        {
            "train/good/0_regular.png": (),
            "validation/good/0_regular.png": (),
            "test_public/good/0_regular.png": (),
            "test_public/bad/0_regular.png": ("bad",),
        },
        "2 pictures in test_private_mixed were left out, for nothing says whether they are good",
    ),
    "MVTec LOCO": (
        mvtec_loco,
        {**GOOD, "test/logical/0.png": ("logical",), "test/structural/0.png": ("structural",)},
        "logical: 2 masks number objects",
    ),
    "VisA": (visa, {"Normal/0.JPG": (), "Anomaly/1.JPG": ("Anomaly",)}, "not known: image_anno.csv"),
    "KolektorSDD2": (kolektor_2, {"train/1.png": ("defect",), "test/2.png": ()}, "named …_GT"),
    "parts": (split_masks, {"train/0.png": ("defect",), "val/1.png": ("defect",)}, "all of one class"),
    "Roboflow's masks": (roboflow, {"train/a.jpg": ("stain",), "valid/b.jpg": ()}, "1=dent,2=stain by _classes.csv"),
    "classes in parts": (
        kaggle,
        {f"{part}/{name}.png": (name[:-2],) for part, name in FRAYS},
        "folders of classes without masks: dent, fray, in the folders test, train",
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_sets_are_read_as_they_were_published(name: str, tmp_path: Path) -> None:
    """And each in a folder of its own within the one that is given, as archives unpack."""
    write_set, shows, says = PUBLISHED[name]
    for place in (tmp_path / "in", tmp_path / "outer" / "Größe 1 (neu)"):
        write_set(place)
        given = tmp_path / place.relative_to(tmp_path).parts[0]
        code, said = run("auto", given, "--out", tmp_path / f"out-{given.name}")
        assert (code, says in said) == (0, True), said
        entries = read_manifest(tmp_path / f"out-{given.name}", need_masks=False)
        assert {entry.image.removeprefix("images/"): entry.classes for entry in entries} == shows


def test_the_masks_of_a_picture_are_one(tmp_path: Path) -> None:
    """Of MVTec LOCO's: each has its object."""
    mvtec_loco(tmp_path / "in")
    found = taken("mvtec", tmp_path / "in", out=tmp_path / "out")
    np.testing.assert_array_equal(found["test/logical/0.png"][1] > 0, (SCRATCH > 0) | (STAIN > 0))


def test_pictures_without_a_mask_are_clean_only_if_that_is_said(tmp_path: Path) -> None:
    """As DAGM's, whose masks lie in a folder beside the pictures."""
    dagm(tmp_path / "in")
    code, said = run("auto", tmp_path / "in", "--out", tmp_path / "x")
    assert (code, "2 pictures have no mask" in said, "give --missing-is-clean" in said) == (10, True, True), said
    found = taken("auto", tmp_path / "in", "--missing-is-clean", out=tmp_path / "out")
    assert {name: kinds for name, (kinds, _) in found.items()} == {
        "Train/0575.PNG": (),
        "Train/0576.PNG": ("defect",),
        "Test/0001.PNG": (),
    }


@pytest.mark.parametrize(
    "name", ["coco", "yolo", "labelme", "cvat", "cvat masks", "label-studio", "datumaro", "lookout", "mvtec", "tiles"]
)
@pytest.mark.parametrize("zipped", [False, True], ids=["in a folder", "in a zip"])
def test_an_export_may_lie_a_folder_deeper_or_in_a_zip(name: str, zipped: bool, tmp_path: Path) -> None:
    """As tools hand it out: with other files beside it, which say nothing."""
    more: dict[str, Write] = {"cvat masks": write_cvat_masks, "tiles": write_side_by_side}
    inner = tmp_path / "in" / "my export.v1 (2)"
    {**WRITERS, **more}[name](inner)
    (tmp_path / "in" / "README.dataset.txt").write_text("hello")
    given = tmp_path / "in"
    if zipped:
        given = Path(shutil.make_archive(str(tmp_path / "Export ö"), "zip", tmp_path / "in"))
        shutil.rmtree(tmp_path / "in")
    rename = ("--rename", "MT_Free=ok") if name == "tiles" else ()
    code, said = run("auto", given, *rename, "--out", tmp_path / "out")
    assert (code, f"{given / inner.name}: " in said) == (0, True), said
    assert "linewatch-import-" not in said
    assert {name for entry in read_manifest(tmp_path / "out") for name in entry.classes} >= (
        {"MT_Scratch"} if name == "tiles" else {"scratch", "stain"}
    )


def supervisely(folder: Path) -> None:
    """Write a tool's labels that are not read."""
    write(folder, "ds0/img/a.png ds0/img/b.png ds1/img/c.png")
    (folder / "ds0" / "ann").mkdir()
    (folder / "ds0" / "ann" / "a.png.json").write_text('{"objects": []}')
    (folder / "meta.json").write_text('{"classes": []}')


def pascal_voc(folder: Path) -> None:
    """Write boxes, and masks of class ids."""
    write(folder, "JPEGImages/a.jpg", SegmentationClass__a=np.where(SCRATCH > 0, 1, EMPTY))
    (folder / "Annotations").mkdir()
    (folder / "Annotations" / "a.xml").write_text("<annotation><filename>a.jpg</filename></annotation>")


def cityscapes(folder: Path) -> None:
    """Write pictures and masks of class ids whose names have no common suffix."""
    write(folder, "leftImg8bit/train/x/x_leftImg8bit.png", gtFine__train__x__x_gtFine_labelIds=SCRATCH)


def class_ids(folder: Path) -> None:
    """Write masks of class ids, and 255 for what is to be ignored."""
    mask = np.where(SCRATCH > 0, 1, np.where(STAIN > 0, 255, 0)).astype(np.uint8)
    write(folder, "images/a.png", masks__a=mask)


def two_of_cvat(folder: Path) -> None:
    """Write both of CVAT's forms."""
    write_cvat(folder)
    write_cvat_masks(folder)


def no_names(folder: Path) -> None:
    """Write YOLO's labels, whose classes nothing names."""
    write_yolo(folder)
    (folder / "data.yaml").unlink()


def json_min(folder: Path) -> None:
    """Write Label Studio's short form."""
    write(folder, "a.png")
    (folder / "min.json").write_text(json.dumps([{"image": "a.png", "annotation_id": 1, "label": []}]))


def two_bottles(folder: Path) -> None:
    """Write two of MVTec's sets."""
    write_mvtec(folder / "bottle")
    write_mvtec(folder / "cable")


def unknown_table(folder: Path) -> None:
    """Write folders with a table that may be labels."""
    write(folder, "front/a.png back/b.png")
    (folder / "labels.csv").write_text("file,label\na.png,3\n")


REFUSED: dict[str, tuple[Write, list[str]]] = {
    "Supervisely": (supervisely, ["labels in a form that is not known: ds0/ann/a.png.json, meta.json"]),
    "one folder": (lambda folder: write(folder, "shots/a.png shots/b.png"), ["nothing says whether they are good"]),
    "only pictures": (lambda folder: write(folder, "a.png b.png"), ["received 2 .png", "import --help"]),
    "parts": (lambda folder: write(folder, "train/a.png val/b.png"), ["look like parts of a set"]),
    "a table": (unknown_table, ["not known: labels.csv", "are classes: linewatch-train import class-folders"]),
    "two levels": (lambda folder: write(folder, "D/CD/a.png P/UP/b.png"), ["give --class-folder last if they are"]),
    "Cityscapes": (cityscapes, ["1 file among them looks like a mask"]),
    "two sets": (two_bottles, ["MVTec's folders in bottle, cable. Import one by one: linewatch-train import auto"]),
    "Pascal VOC": (
        pascal_voc,
        [
            "Type the one that is meant",
            "import voc {0}/JPEGImages {0}/Annotations",
            "import masks {0}/JPEGImages {0}/Seg",
        ],
    ),
    "two of one tool": (two_of_cvat, ["import cvat {0}/annotations.xml", "import cvat {0}/labelmap.txt"]),
    "class ids": (
        class_ids,
        ["--names", "--ignore 255", "Type linewatch-train import masks {0}/images {0}/masks with it"],
    ),
    "no names": (no_names, ["without names of classes", "Give --names 0=NAME", "linewatch-train import yolo {0}"]),
    "JSON-MIN": (json_min, ["Label Studio's JSON-MIN"]),
    "a file": (lambda folder: save(folder, surface(0, SIZE)), []),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_may_be_otherwise_is_never_guessed(name: str, tmp_path: Path) -> None:
    """It says what to type instead, and writes nothing."""
    write_it, says = REFUSED[name]
    given = tmp_path / ("a.png" if name == "a file" else "in")
    write_it(given)
    code, said = run("auto", given, "--out", tmp_path / "out")
    missing = [words.format(given) for words in says if words.format(given) not in said]
    if name == "no names":  # said before it is read
        missing.remove("without names of classes")
    assert (code, missing) == (10, []), said
    assert not list(tmp_path.glob("*out*"))


def test_folders_of_days_that_say_good_are_no_classes(tmp_path: Path) -> None:
    """One day alone neither: classes are the folders in it."""
    write(tmp_path / "in", "monday/good/a.png monday/dent/b.png tuesday/good/c.png")
    found = taken("auto", tmp_path / "in", out=tmp_path / "out")
    assert {name: kinds for name, (kinds, _) in found.items()} == {
        "monday/good/a.png": (),
        "monday/dent/b.png": ("dent",),
        "tuesday/good/c.png": (),
    }


def test_a_piece_s_folder_is_no_class(tmp_path: Path) -> None:
    """KolektorSDD with one piece, or with several."""
    write_kolektor(tmp_path / "in")
    shutil.rmtree(tmp_path / "in" / "kos02")
    code, said = run("auto", tmp_path / "in", "--out", tmp_path / "out")
    assert (code, "which may be classes" in said) == (10, True), said


def test_a_file_s_own_import_is_named(tmp_path: Path) -> None:
    """A file of labels was given in place of its folder."""
    file = WRITERS["coco"](tmp_path / "in")
    code, said = run("auto", file, "--out", tmp_path / "out")
    assert (code, f"linewatch-train import coco {file}" in said) == (10, True), said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda archive, _: archive.writestr("../../evil.txt", "x"), "which leads out of it"),
        (lambda archive, _: archive.writestr("C:\\evil.txt", "x"), "which leads out of it"),
        (lambda archive, _: archive.writestr(".", "x"), "a name for each file"),
        (lambda _, path: path.write_bytes(b"PK\3\4 and no more"), "expected a whole zip"),
    ],
)
def test_a_zip_that_is_none_is_refused(
    change: Callable[[zipfile.ZipFile, Path], object], says: str, tmp_path: Path
) -> None:
    """Or that would write beside its folder."""
    path = tmp_path / "in.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.json", json.dumps(coco()))
        change(archive, path)
    if says.startswith("expected"):
        path.write_bytes(b"PK\3\4 and no more")
    code, said = run("auto", path, "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said
    assert not list(tmp_path.glob("*out*"))


def test_other_imports_say_that_a_zip_is_one(tmp_path: Path) -> None:
    """And that auto reads it."""
    write_labelme(tmp_path / "in")
    path = shutil.make_archive(str(tmp_path / "in"), "zip", tmp_path / "in")
    for verb in ("coco", "yolo", "labelme", "cvat", "mvtec"):
        code, said = run(verb, path, "--out", tmp_path / "out")
        assert (code, "is a zip; expected what is in it. Unpack it, or give it to import auto" in said) == (10, True), (
            said
        )
