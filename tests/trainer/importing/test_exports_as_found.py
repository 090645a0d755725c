"""Exports as tools leave them on a disk: subsets, other files beside them, names that systems have altered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trainer.importing.exports_of_tools import (
    CVAT,
    SCRATCH,
    SCRATCH_CORNERS,
    SIZE,
    STAIN,
    coco,
    cvat_image,
    cvat_points,
    datumaro,
    flat,
    labelme,
    labelme_shape,
    lookout_line,
    percent,
    studio_result,
    studio_task,
    write_coco,
    write_cvat,
    write_cvat_masks,
    write_labelme,
    write_lookout,
    write_pictures,
    write_yolo,
)
from tests.trainer.importing.pictures import save, surface, truths
from tests.trainer.importing.test_tool_formats import annotation, run, taken

Found = dict[str, tuple[tuple[str, ...], Any]]
IMAGE = {"width": SIZE[1], "height": SIZE[0]}
POLYGON = {"type": "polygon", "label_id": 1, "points": flat(SCRATCH_CORNERS)}


def classes(found: Found) -> dict[str, tuple[str, ...]]:
    """Return what each picture shows."""
    return {name: kinds for name, (kinds, _) in found.items()}


def write_subsets(folder: Path) -> None:
    """Write COCO as Datumaro does: a JSON for each subset and task, pictures of one name in each subset's folder."""
    (folder / "annotations").mkdir(parents=True)
    for seed, subset in enumerate(("train", "val")):
        write = {"info": [], "stuff": [], "instances": [annotation(category_id=90 * seed)]}
        save(folder / "images" / subset / "a.png", surface(seed, SIZE))
        image = {"id": 7, "file_name": "a.png", **IMAGE}
        for task, own in write.items():
            text = json.dumps(coco(images=[image], annotations=own))
            (folder / "annotations" / f"{task}_{subset}.json").write_text(text)
    segments = [{"image_id": 7, "file_name": "a.png", "segments_info": []}]
    (folder / "annotations" / "panoptic_val.json").write_text(json.dumps(coco(annotations=segments)))


def test_subsets_of_coco_are_told_apart_by_the_names_of_their_files(tmp_path: Path) -> None:
    """Pictures lie in images/SUBSET; JSON without annotations takes no labels away; the panoptic form is told of."""
    write_subsets(tmp_path / "in")
    assert classes(taken("auto", tmp_path / "in", out=tmp_path / "out")) == {
        "images/train/a.png": ("scratch",),
        "images/val/a.png": ("stain",),
    }
    only = tmp_path / "in" / "annotations" / "panoptic_val.json"
    code, said = run("coco", only, "--images", tmp_path / "in" / "images", "--out", tmp_path / "x")
    assert (code, "received its panoptic form" in said) == (10, True)


def test_ids_of_coco_may_be_texts(tmp_path: Path) -> None:
    """As hosted tools give them; and true is 1."""
    found = taken(
        "coco",
        write_coco(
            tmp_path / "in",
            images=[{"id": "x-1", "file_name": "a.png", **IMAGE}],
            categories=[{"id": "k", "name": "scratch"}],
            annotations=[annotation(image_id="x-1", category_id="k", iscrowd=True)],
        ),
        out=tmp_path / "out",
    )
    assert classes(found) == {"images/a.png": ("scratch",)}


def test_a_number_that_is_none_is_named_with_its_place(tmp_path: Path) -> None:
    """Python writes NaN, which JSON has not."""
    source = write_coco(tmp_path / "in", annotations=[annotation(segmentation=[[1.0, 2.0, float("nan")]])])
    source.write_text(source.read_text().replace('"annotations"', '\n"annotations"'))
    code, said = run("coco", source, "--out", tmp_path / "out")
    assert (code, "NaN is no number, in line 2, column" in said, "[[1.0, 2.0, NaN" in said) == (10, True, True), said


@pytest.mark.parametrize(
    ("written", "lies"),
    [("Teil 1 (neu).PNG", "teil 1 (neu).png"), ("b/Teil_1.jpg", "B/Teil 1.JPG")],
)
def test_names_that_a_system_has_altered_are_found(written: str, lies: str, tmp_path: Path) -> None:
    """In capitals, blanks and signs, where no name is the very same and one is left; and told."""
    save(tmp_path / "in" / lies, surface(0, SIZE))
    images = [{"id": 7, "file_name": written, **IMAGE}]
    (tmp_path / "in" / "x.json").write_text(json.dumps(coco(images=images, annotations=[annotation()])))
    code, said = run("coco", tmp_path / "in" / "x.json", "--out", tmp_path / "out")
    assert (code, "1 picture has its label's name but for capitals, blanks or signs" in said) == (0, True), said
    save(tmp_path / "in" / lies.upper().replace("PNG", "png"), surface(1, SIZE))
    code, said = run("coco", tmp_path / "in" / "x.json", "--out", tmp_path / "other")
    assert (code, "expected one picture of the name" in said) == (10, True), said


def test_masks_beside_the_pictures_are_never_clean_pictures(tmp_path: Path) -> None:
    """The labels do not list them, and `--missing-is-clean` takes none of them."""
    write_labelme(tmp_path / "in" / "images")
    save(tmp_path / "in" / "masks" / "a.png", SCRATCH)
    for more in ((), ("--missing-is-clean",)):
        out = tmp_path / f"out{len(more)}"
        code, said = run("auto", tmp_path / "in", *more, "--out", out)
        assert (code, "left out: 1 file in folders of masks: masks/a.png" in said) == (0, True), said
        assert len(list((out / "images").rglob("*.png"))) == 2


def test_masks_are_no_clean_pictures_of_boxes_or_runs(tmp_path: Path) -> None:
    """Of both a picture that nothing labels may be clean."""
    save(tmp_path / "in" / "images" / "a.png", surface(0, SIZE))
    save(tmp_path / "in" / "masks" / "b.png", SCRATCH)
    (tmp_path / "in" / "train.csv").write_text("ImageId,ClassId,EncodedPixels\na.png,1,1 9\n")
    assert classes(taken("auto", tmp_path / "in", out=tmp_path / "runs")) == {"images/a.png": ("class-1",)}
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    xml = f"<annotation><filename>a.png</filename><object><name>dent</name>{box}</object></annotation>"
    (tmp_path / "in" / "xml").mkdir()
    (tmp_path / "in" / "xml" / "a.xml").write_text(xml)
    found = taken("voc", tmp_path / "in", tmp_path / "in" / "xml", "--missing-is-clean", out=tmp_path / "boxes")
    assert classes(found) == {"images/a.png": ("dent",)}


@pytest.mark.parametrize("verb", ["yolo", "masks"])
def test_an_earlier_import_in_the_folder_is_no_picture_of_it(verb: str, tmp_path: Path) -> None:
    """Its pictures would be clean ones that have defects."""
    if verb == "yolo":
        given: tuple[object, ...] = ("yolo", write_yolo(tmp_path / "in"))
    else:
        for name, mask in {"a": SCRATCH, "b": 0 * SCRATCH}.items():
            save(tmp_path / "in" / f"{name}.png", surface(len(name), SIZE))
            save(tmp_path / "in" / f"{name}_mask.png", mask)
        given = ("auto", tmp_path / "in")
    first = taken(*given, out=tmp_path / "in" / "parts")
    code, said = run(*given, "--missing-is-clean", "--out", tmp_path / "out")
    assert (code, "in datasets, which have manifest.csv: parts/images/" in said) == (0, True), said
    assert classes(truths(tmp_path / "out")) == classes(first)


def test_flags_of_labelme_are_what_a_picture_shows(tmp_path: Path) -> None:
    """Nothing is drawn on it. Flags beside shapes are told of."""
    write_labelme(tmp_path / "in")
    (tmp_path / "in" / "b.json").write_text(labelme([], "b.png", flags={"ok": False, "dull": True}, imagePath=None))
    assert classes(taken("labelme", tmp_path / "in", out=tmp_path / "out"))["b.png"] == ("dull",)
    shapes = [labelme_shape("scratch", SCRATCH_CORNERS)]
    (tmp_path / "in" / "b.json").write_text(labelme(shapes, "b.png", flags={"dull": True}))
    code, said = run("labelme", tmp_path / "in", "--out", tmp_path / "other")
    assert (code, "left out: the flags of 1 picture with shapes as well" in said) == (0, True), said


def studio(folder: Path, *results: dict[str, Any], picture: str = "a.png", **task: Any) -> Path:
    """Write Label Studio's JSON of one picture."""
    folder.mkdir(exist_ok=True)
    (folder / "export.json").write_text(json.dumps([studio_task(list(results), picture, **task)]))
    return folder


def vector(**more: Any) -> dict[str, Any]:
    """Return a path of Label Studio's."""
    vertices = [{"id": str(n), "x": x, "y": y} for n, (x, y) in enumerate(percent(SCRATCH_CORNERS))]
    return studio_result("vectorlabels", "scratch", {"vertices": vertices, "closed": True, **more}, id=5)


def test_no_shape_of_label_studio_is_passed_over(tmp_path: Path) -> None:
    """A closed path is an outline, an open one a line; a shape that is not read ends the import."""
    save(tmp_path / "in" / "a.png", surface(0, SIZE))
    found = taken("label-studio", studio(tmp_path / "in", vector()), out=tmp_path / "out")
    np.testing.assert_array_equal(found["a.png"][1], SCRATCH > 0)
    code, said = run("label-studio", studio(tmp_path / "in", vector(closed=False)), "--out", tmp_path / "x")
    assert (code, "Give --line-width" in said) == (10, True), said
    code, said = run(
        "label-studio",
        studio(tmp_path / "in", studio_result("videorectangle", "scratch", {"sequence": []})),
        "--out",
        tmp_path / "x",
    )
    assert (code, "received videorectangle. Take it out" in said) == (10, True), said
    curve = vector(vertices=[{"x": 1, "y": 1, "isBezier": True}])
    code, said = run("label-studio", studio(tmp_path / "in", curve), "--out", tmp_path / "x")
    assert (code, "received a curve" in said) == (10, True), said


def test_uploads_have_other_signs_for_blanks(tmp_path: Path) -> None:
    """Label Studio's server writes `my_photo_1.png` for `my photo (1).png`."""
    save(tmp_path / "in" / "my photo (1).png", surface(0, SIZE))
    found = taken("label-studio", studio(tmp_path / "in", vector(), picture="my_photo_1.png"), out=tmp_path / "out")
    assert classes(found) == {"my photo (1).png": ("scratch",)}


def test_a_project_of_cvat_has_a_folder_for_each_subset(tmp_path: Path) -> None:
    """Whose pictures may have one name."""
    for seed, subset in enumerate(("train", "val")):
        save(tmp_path / "in" / "images" / subset / "a.png", surface(seed, SIZE))
    polygon = f'<polygon label="scratch" points="{cvat_points(SCRATCH_CORNERS)}"/>'
    images = [
        cvat_image("a.png", inside).replace("<image", f'<image subset="{subset}"')
        for subset, inside in (("train", polygon), ("val", ""))
    ]
    (tmp_path / "in" / "annotations.xml").write_text(CVAT.format(images="".join(images)))
    assert classes(taken("cvat", tmp_path / "in", out=tmp_path / "out")) == {
        "images/train/a.png": ("scratch",),
        "images/val/a.png": (),
    }


def test_two_exports_of_cvat_in_one_folder_are_refused(tmp_path: Path) -> None:
    """One of both would be passed over."""
    write_cvat_masks(tmp_path / "in")
    write_cvat(tmp_path / "in")
    code, said = run("cvat", tmp_path / "in", "--out", tmp_path / "out")
    assert (code, "expected labelmap.txt or XML, received both" in said) == (10, True), said


def test_the_folders_of_cvat_s_masks_may_be_called_otherwise(tmp_path: Path) -> None:
    """As where they were copied to; one folder of pictures and one of masks are to be there."""
    write_cvat_masks(tmp_path / "in")
    (tmp_path / "in" / "JPEGImages").rename(tmp_path / "in" / "img")
    (tmp_path / "in" / "SegmentationClass").rename(tmp_path / "in" / "Masks")
    assert classes(taken("auto", tmp_path / "in", out=tmp_path / "out"))["a.png"] == ("scratch", "stain")


def test_captions_of_datumaro_say_nothing_of_defects(tmp_path: Path) -> None:
    """Nor do hashes of pictures."""
    write_pictures(tmp_path / "in" / "images" / "default")
    (tmp_path / "in" / "annotations").mkdir()
    remarks: list[dict[str, Any]] = [
        {"type": "caption", "caption": "x"},
        {"type": "hash_key", "hash_key": [1]},
        POLYGON,
    ]
    (tmp_path / "in" / "annotations" / "default.json").write_text(json.dumps(datumaro(remarks)))
    found = taken("datumaro", tmp_path / "in", out=tmp_path / "out")
    assert classes(found) == {"images/default/a.png": ("scratch",), "images/default/b.png": ()}


def write_two_manifests(folder: Path) -> None:
    """Write Lookout's manifests of training and of test, one of which has the suffix of JSON."""
    write_lookout(folder / "my set")
    (folder / "my set" / "train.manifest").unlink()
    lines = {
        "train.manifest": lookout_line("a.png", "anomaly", "a.png", scratch="#2ca02c", stain="#ff7f0e"),
        "test.json": lookout_line("b.png", "normal"),
    }
    for name, line in lines.items():
        (folder / name).write_text(json.dumps(line) + "\n")


def test_lookout_s_manifests_of_training_and_test_are_one_set(tmp_path: Path) -> None:
    """Whose pictures and masks of one name are told apart by the ends of their addresses."""
    write_two_manifests(tmp_path / "in")
    found = taken("auto", tmp_path / "in", out=tmp_path / "out")
    assert classes(found) == {"my set/images/a.png": ("scratch", "stain"), "my set/images/b.png": ()}
    np.testing.assert_array_equal(found["my set/images/a.png"][1] == 2, STAIN > 0)


def test_lookout_s_normal_pictures_share_a_mask_that_may_be_gone(tmp_path: Path) -> None:
    """It has its background alone. White is that, named or not; so the service's own examples have it."""
    write_lookout(tmp_path / "in")
    lines = [
        lookout_line("a.png", "anomaly", "a.png", scratch="#2ca02c", stain="#ff7f0e"),
        lookout_line("b.png", "normal", "dummy_anomaly_mask.png"),
    ]
    del lines[0]["anomaly-mask-ref-metadata"]["internal-color-map"]["0"]
    text = "\n".join(map(json.dumps, lines))
    (tmp_path / "in" / "train.manifest").write_text(text)
    (tmp_path / "in" / "masks").rename(tmp_path / "in" / "mask-images")
    save(tmp_path / "in" / "mask-images" / "another.png", STAIN)
    (tmp_path / "in" / "train.manifest").write_text(text.replace("/masks/", "/mask-images/"))
    found = taken("auto", tmp_path / "in", "--missing-is-clean", out=tmp_path / "out")
    assert classes(found) == {"images/a.png": ("scratch", "stain"), "images/b.png": ()}


def test_the_list_of_classes_may_lie_with_the_labels(tmp_path: Path) -> None:
    """As labelImg leaves it; lists that differ are refused."""
    folder = write_yolo(tmp_path / "in")
    (folder / "data.yaml").unlink()
    (folder / "labels" / "train" / "classes.txt").write_bytes(b"scratch\r\nstain\r\n")
    for how in ("yolo", "auto"):
        found = taken(how, folder, out=tmp_path / how)
        assert classes(found) == {"images/train/a.png": ("scratch", "stain"), "images/train/b.png": ()}
    (folder / "labels" / "classes.txt").write_text("stain\nscratch\n")
    code, said = run("yolo", folder, "--out", tmp_path / "x")
    assert (code, "expected one list of classes" in said) == (10, True), said


def test_yes_and_no_are_names_only_in_quotes(tmp_path: Path) -> None:
    """YAML makes truth of them."""
    folder = write_yolo(tmp_path / "in")
    (folder / "data.yaml").write_text("names: [no, 'yes']\n")
    code, said = run("yolo", folder, "--out", tmp_path / "x")
    assert (code, "the name of class 0 is yes, no, on or off" in said) == (10, True), said


def two_names(folder: Path) -> Path:
    """Write classes that none may be called."""
    names = [{"id": 0, "name": "Öl/Fleck"}, {"id": 90, "name": "划痕"}, {"id": 5, "name": "x"}]
    return write_coco(folder, categories=names)


def two_lost(folder: Path) -> Path:
    """Write pictures that are nowhere."""
    return write_coco(folder, images=[{"id": n, "file_name": f"x{n}.png"} for n in (3, 7)])


@pytest.mark.parametrize(
    ("write", "lines"),
    [
        (two_names, ["2 class names cannot be used:", "--rename 'Öl/Fleck=Ol-Fleck'", "--rename '划痕=NAME'"]),
        (two_lost, ["2 labels do not pair. Give the pictures' folder with --images:", "picture x3.png", "x7.png"]),
    ],
)
def test_all_that_is_amiss_is_told_a_line_each(write: Callable[[Path], Path], lines: list[str], tmp_path: Path) -> None:
    """With names to take in place of those that no class may have."""
    code, said = run("coco", write(tmp_path / "in"), "--out", tmp_path / "out")
    told = said.split("\n")
    assert (code, len(told)) == (10, 3), said
    assert all(wanted in line for wanted, line in zip(lines, told, strict=True)), said
