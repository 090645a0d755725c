"""Labels of other tools: each is read to the pixel, in spite of its traps, and refused where it says too little."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edge.errors import LinewatchError
from edge.opencv import cv2
from edge.records import UInt8
from tests.trainer.importing.exports_of_tools import (
    CLEAN,
    DEFECTIVE,
    SCRATCH,
    SCRATCH_CORNERS,
    SIZE,
    STAIN,
    STAIN_CORNERS,
    WRITERS,
    coco,
    flat,
    labelme,
    labelme_shape,
    write_coco,
    write_kolektor,
    write_labelme,
    write_mvtec,
    write_pictures,
    write_side_by_side,
    write_yolo,
)
from tests.trainer.importing.pictures import intersection_over_union, save, surface, truths
from trainer.__main__ import app
from trainer.datasets.dataset import read_manifest
from trainer.datasets.masks import IGNORED

BOTH = np.where(SCRATCH > 0, 1, 0) + np.where(STAIN > 0, 2, 0)
Annotation = dict[str, Any]


def run(*arguments: object) -> tuple[int, str]:
    """Run `linewatch-train import`; return the exit code and all that was said, without line breaks."""
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    if isinstance(result.exception, LinewatchError):
        return result.exception.exit_code, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, re.sub(r"[\s│]+", " ", result.output)


def taken(*arguments: object, out: Path) -> dict[str, tuple[tuple[str, ...], UInt8]]:
    """Import, and read the dataset as the trainer does."""
    code, said = run(*arguments, "--out", out)
    assert code == 0, said
    return truths(out)


def annotation(**changes: Any) -> Annotation:
    """Return a scratch in COCO's JSON."""
    return {"id": 1, "image_id": 7, "category_id": 0, "segmentation": [flat(SCRATCH_CORNERS)], **changes}


@pytest.mark.parametrize("verb", ["coco", "yolo", "labelme"])
@pytest.mark.parametrize("by_itself", [True, False], ids=["by name", "by auto"])
def test_a_tool_s_export_is_read_to_the_pixel(verb: str, by_itself: bool, tmp_path: Path) -> None:
    """Both defects on one picture and none on the other, whether the format is named or recognised."""
    source = WRITERS[verb](tmp_path / "export")
    given = (verb, source) if by_itself else ("auto", tmp_path / "export")
    found = {Path(name).name: of for name, of in taken(*given, out=tmp_path / "out").items()}
    assert {name: kinds for name, (kinds, _) in found.items()} == {DEFECTIVE: ("scratch", "stain"), CLEAN: ()}
    np.testing.assert_array_equal(found[DEFECTIVE][1], BOTH)


COCO_READ: dict[str, tuple[list[Annotation], UInt8]] = {
    "runs as numbers": (
        [annotation(segmentation={"size": list(SIZE), "counts": [730, *([20, 40] * 29), 20, 2310]})],
        SCRATCH,
    ),
    "a box alone": ([annotation(segmentation=[], bbox=[12, 10, 30, 20])], SCRATCH),
    "parts": ([annotation(segmentation=[flat(SCRATCH_CORNERS), flat(STAIN_CORNERS)])], SCRATCH | STAIN),
    "a hole, by the area": (
        [annotation(segmentation=[flat(SCRATCH_CORNERS), [20, 15, 30, 15, 30, 25, 20, 25]], area=500)],
        SCRATCH - cv2.rectangle(np.zeros(SIZE, np.uint8), (20, 15), (29, 24), 255, -1),
    ),
    "no hole, by the area": (
        [annotation(segmentation=[flat(SCRATCH_CORNERS), [20, 15, 30, 15, 30, 25, 20, 25]], area=600)],
        SCRATCH,
    ),
    "a line of two points beside": ([annotation(), annotation(segmentation=[[50, 5, 70, 5]])], SCRATCH),
    "narrower than a pixel": (
        [annotation(segmentation=[[12, 10.1, 20, 10.1, 20, 10.3, 12, 10.3]])],
        cv2.line(np.zeros(SIZE, np.uint8), (12, 10), (19, 10), 255),
    ),
}


@pytest.mark.parametrize("name", COCO_READ)
def test_what_coco_s_annotations_say(name: str, tmp_path: Path) -> None:
    """Runs, boxes, parts, holes and slips of the mouse come to the pixels that they mean."""
    annotations, mask = COCO_READ[name]
    source = write_coco(tmp_path, annotations=annotations, categories=[{"id": 0, "name": "scratch"}])
    (_, truth) = taken("coco", source, out=tmp_path / "out")[f"images/{DEFECTIVE}"]
    known = truth != IGNORED
    if name != "narrower than a pixel":
        np.testing.assert_array_equal(truth[known], (mask[known] > 0).astype(np.uint8))
    else:
        assert intersection_over_union(truth, mask) > 0.7
    assert known.all() == (name != "a line of two points beside")
    if not known.all():
        assert not known[2:8, 47:73].any()


def test_a_crowd_is_of_its_class_or_is_ignored(tmp_path: Path) -> None:
    """As is said: `--crowd ignore` leaves its pixels out."""
    source = write_coco(
        tmp_path / "in", annotations=[annotation(), annotation(segmentation=[flat(STAIN_CORNERS)], iscrowd=1)]
    )
    (_, truth) = taken("coco", source, out=tmp_path / "one")[f"images/{DEFECTIVE}"]
    assert set(truth[STAIN > 0]) == {1}
    (_, truth) = taken("coco", source, "--crowd", "ignore", out=tmp_path / "other")[f"images/{DEFECTIVE}"]
    assert set(truth[STAIN > 0]) == {IGNORED}


def test_a_picture_without_a_shape_that_goes_round_anything_is_left_out(tmp_path: Path) -> None:
    """It is neither clean nor defective, and is told of."""
    source = write_coco(tmp_path, annotations=[annotation(segmentation=[[5, 5, 9, 9]])])
    code, said = run("coco", source, "--out", tmp_path / "out")
    assert code == 0
    assert "left out: 1 picture of which no shape goes round anything" in said
    assert [Path(entry.image).name for entry in read_manifest(tmp_path / "out", need_masks=False)] == [CLEAN]


COCO_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "shares": (
        {"annotations": [annotation(segmentation=[[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]])]},
        "They look like shares of the picture's size",
    ),
    "another picture's": ({"annotations": [annotation(segmentation=[[200, 5, 300, 5, 300, 9]])]}, "beside the picture"),
    "no such category": ({"annotations": [annotation(category_id=1)]}, "expected the id of a category"),
    "no such image": ({"annotations": [annotation(image_id=1)]}, "expected the id of an image, received 1"),
    "an odd number": ({"annotations": [annotation(segmentation=[[1, 2, 3]])]}, "odd number of values, 3"),
    "nothing": ({"annotations": [annotation(segmentation=None)]}, "received neither"),
    "text": ({"annotations": [annotation(segmentation=["x"])]}, "annotations 1, segmentation 1: expected a list"),
    "runs of another size": (
        {"annotations": [annotation(segmentation={"size": [80, 60], "counts": [4800]})]},
        "expected runs of 80 x 60 px",
    ),
    "a hole or not": (
        {"annotations": [annotation(segmentation=[flat(SCRATCH_CORNERS), [20, 15, 30, 15, 30, 25]])]},
        "Give --inner hole or --inner filled",
    ),
    "an id twice": ({"categories": [{"id": 0, "name": "a"}, {"id": 0, "name": "b"}]}, "the id 0 is given twice"),
    "another size": (
        {"images": [{"id": 7, "file_name": DEFECTIVE, "width": 90, "height": 60}], "annotations": []},
        "expected 80 x 60 px",
    ),
    "no picture": (
        {"images": [{"id": 7, "file_name": "gone/away.png"}], "annotations": []},
        "expected the picture gone/away.png",
    ),
    "a name that leads out": ({"categories": [{"id": 0, "name": "../x"}]}, "--rename '../x="),
}


@pytest.mark.parametrize("name", COCO_REFUSED)
def test_coco_s_json_that_says_too_little_is_refused(name: str, tmp_path: Path) -> None:
    """With the place and what to do; and nothing is written."""
    changes, says = COCO_REFUSED[name]
    changes = {"annotations": [annotation()], **changes}
    code, said = run("coco", write_coco(tmp_path, **changes), "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "is no JSON"),
        (b'{"images": NaN}', "NaN is no number"),
        (b'{"a": 1, "a": 2}', "the key 'a' is given twice"),
        (b"\xff\xfe{}", "expected JSON in UTF-8"),
        (b"[" * 100_000, "too deep"),
        (b"[]", "as COCO has it"),
        (b'{"images": [], "annotations": [], "categories": [], "images2": "\\ud800"}', ""),
    ],
)
def test_what_is_no_json_of_labels_is_refused(text: bytes, says: str, tmp_path: Path) -> None:
    """Never a traceback."""
    source = write_coco(tmp_path)
    source.write_bytes(text)
    code, said = run("coco", source, "--out", tmp_path / "out")
    assert code == 10
    assert says in said


def test_labels_on_a_turned_picture_lie_as_their_size_says(tmp_path: Path) -> None:
    """Exif turns a picture: labels of the stored size turn with it, of the shown size they stay; else it is asked."""
    stored = surface(0, SIZE)
    exif = Image.Exif()
    exif[274] = 6  # to be turned by a quarter, clockwise
    (tmp_path / "in").mkdir()
    Image.fromarray(stored[:, :, ::-1]).save(tmp_path / "in" / "a.jpg", exif=exif, quality=95)
    shown = np.rot90(SCRATCH, -1)
    sizes = {"stored": SIZE, "shown": SIZE[::-1]}
    for lie, (height, width) in sizes.items():
        image = {"id": 7, "file_name": "a.jpg", "height": height, "width": width}
        content = coco(images=[image], annotations=[annotation()], categories=[{"id": 0, "name": "scratch"}])
        (tmp_path / "in" / "a.json").write_text(json.dumps(content))
        (_, truth) = taken("coco", tmp_path / "in", out=tmp_path / lie)["a.jpg"]
        expected = (
            shown if lie == "stored" else cv2.rectangle(np.zeros(SIZE[::-1], np.uint8), (12, 10), (41, 29), 1, -1)
        )
        np.testing.assert_array_equal(truth > 0, expected > 0)
    content["images"] = [{"id": 7, "file_name": "a.jpg"}]
    (tmp_path / "in" / "a.json").write_text(json.dumps(content))
    assert "Give --labels-lie shown" in run("coco", tmp_path / "in", "--out", tmp_path / "none")[1]
    (_, truth) = taken("coco", tmp_path / "in", "--labels-lie", "stored", out=tmp_path / "asked")["a.jpg"]
    np.testing.assert_array_equal(truth > 0, shown > 0)


def test_pictures_that_a_list_does_not_name_are_left_out(tmp_path: Path) -> None:
    """And told; `--missing-is-clean` takes them as clean."""
    images = coco()["images"][:1]
    source = write_coco(tmp_path / "in", images=images)
    code, said = run("coco", source, "--out", tmp_path / "out")
    assert (code, "left out: 1 picture that the labels do not list" in said) == (0, True), said
    assert list(truths(tmp_path / "out")) == [f"images/{DEFECTIVE}"]
    found = taken("coco", source, "--missing-is-clean", out=tmp_path / "clean")
    assert found[f"images/{CLEAN}"][0] == ()


def test_labels_of_several_folders_pair_with_the_pictures_beside_them(tmp_path: Path) -> None:
    """As Roboflow exports: train and valid have pictures of one name, and a JSON each."""
    for part in ("train", "valid"):
        write_pictures(tmp_path / "in" / part)
        own = [annotation()] if part == "train" else []
        (tmp_path / "in" / part / "_annotations.coco.json").write_text(json.dumps(coco(annotations=own)))
    found = taken("auto", tmp_path / "in", out=tmp_path / "out")
    assert {name: kinds for name, (kinds, _) in found.items() if kinds} == {f"train/{DEFECTIVE}": ("scratch",)}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 0.1 0.1 0.5 0.1 0.5", "expected x and y by turns behind the class, or a box's four values; received 5"),
        ("0 10 10 50 10 50 50", "expected shares of the picture's size, 0 to 1, received 10. Are these pixels?"),
        ("2 0.1 0.1 0.5 0.1 0.5 0.5", "expected a class of 0, 1, received '2'"),
        ("scratch 0.1 0.1 0.5 0.1", "expected a class of 0, 1, received 'scratch'"),
        ("0 a b c d", "line 1: expected numbers behind the class"),
        ("0 nan nan nan nan", "line 1: expected shares"),
    ],
)
def test_lines_that_yolo_does_not_write_are_refused(text: str, says: str, tmp_path: Path) -> None:
    """With file and line."""
    write_yolo(tmp_path / "in")
    (tmp_path / "in" / "labels" / "train" / "a.txt").write_text(text)
    code, said = run("yolo", tmp_path / "in", "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said
    assert not (tmp_path / "out").exists()


def test_what_yolo_leaves_open_is_asked(tmp_path: Path) -> None:
    """A picture without a text file, key points, classes without names; a box is filled; names may be given."""
    folder = write_yolo(tmp_path / "in")
    labels = folder / "labels" / "train"
    (labels / "a.txt").write_text("0 0.3375 0.333333 0.375 0.333333\n")
    (_, truth) = taken("yolo", folder, out=tmp_path / "box")[f"images/train/{DEFECTIVE}"]
    np.testing.assert_array_equal(truth, SCRATCH // 255)
    (labels / "b.txt").unlink()
    assert "1 picture has no labels" in run("yolo", folder, "--out", tmp_path / "out")[1]
    found = taken("yolo", folder, "--missing-is-clean", out=tmp_path / "missing")
    assert found[f"images/train/{CLEAN}"][0] == ()
    (folder / "data.yaml").unlink()
    assert "Give --names 0=NAME" in run("yolo", folder, "--out", tmp_path / "out")[1]
    found = taken("yolo", folder, "--names", "0=dent", "--missing-is-clean", out=tmp_path / "named")
    assert found[f"images/train/{DEFECTIVE}"][0] == ("dent",)
    (folder / "data.yaml").write_text("kpt_shape: [17, 3]\nnames: [a]\n")
    assert "key points" in run("yolo", folder, "--out", tmp_path / "out")[1]


def test_every_shape_of_labelme_s_is_drawn(tmp_path: Path) -> None:
    """Rectangles and circles by their points; lines and points only once their width is said."""
    folder = tmp_path / "in"
    write_pictures(folder)
    shapes = [
        labelme_shape("scratch", [[42, 30], [12, 10]], "rectangle"),
        labelme_shape("hole", [[60, 20], [60, 28]], "circle"),
        labelme_shape("__ignore__", STAIN_CORNERS),
    ]
    (folder / "a.json").write_text(labelme(shapes, "a.png"))
    (folder / "b.json").write_text(labelme([], "b.png"))
    (kinds, truth) = taken("labelme", folder, out=tmp_path / "out")[DEFECTIVE]
    assert kinds == ("hole", "scratch")
    np.testing.assert_array_equal(truth == 2, SCRATCH > 0)
    assert int((truth == 1).sum()) == pytest.approx(np.pi * 64, rel=0.04)
    np.testing.assert_array_equal(truth == IGNORED, STAIN > 0)
    lines = [labelme_shape("scratch", [[10, 10.5], [40, 10.5]], "line"), labelme_shape("dot", [[60.5, 50.5]], "point")]
    (folder / "a.json").write_text(labelme(lines, "a.png"))
    assert "Give --line-width" in run("labelme", folder, "--out", tmp_path / "none")[1]
    (kinds, truth) = taken("labelme", folder, "--line-width", 3, out=tmp_path / "lines")[DEFECTIVE]
    assert kinds == ("dot", "scratch")
    assert int((truth == 2).sum()) == 90
    assert int((truth == 1).sum()) == pytest.approx(np.pi * 1.5**2, abs=2)


def test_a_picture_that_labelme_embeds_is_taken_out(tmp_path: Path) -> None:
    """It is taken out where no picture lies beside the labels or above; else one is named as missing."""
    folder = tmp_path / "deep" / "labels"
    folder.mkdir(parents=True)
    encoded = cv2.imencode(".png", surface(0, SIZE))[1].tobytes()
    shapes = [labelme_shape("scratch", SCRATCH_CORNERS)]
    (folder / "a.json").write_text(labelme(shapes, "x/a.png", imageData=base64.b64encode(encoded).decode()))
    found = taken("labelme", folder, out=tmp_path / "out")
    np.testing.assert_array_equal(found["a.png"][1], SCRATCH // 255)
    (folder / "a.json").write_text(labelme(shapes, "x/a.png"))
    code, said = run("labelme", folder, "--out", tmp_path / "none")
    assert code == 10
    assert "expected its picture x/a.png beside it, or embedded" in said


def test_a_labelme_file_that_has_another_picture_s_name_is_refused(tmp_path: Path) -> None:
    """As where files were copied and renamed: a.json beside a.png says that it is of b.png."""
    write_labelme(tmp_path / "in")
    (tmp_path / "in" / "a.json").write_text(labelme([], "b.png"))
    code, said = run("labelme", tmp_path / "in", "--out", tmp_path / "out")
    assert (code, "has the name of a.png, and names b.png as its picture" in said) == (10, True), said


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (labelme_shape("a", [[1, 1], [2]]), "points 2: expected x and y, received 1 numbers"),
        (labelme_shape("a", [], "polygon"), "expected points, received none"),
        (labelme_shape("a", [[1, 1], [2, 2]], "cube"), "received cube of 2 points"),
        (labelme_shape("a", [[1, 1], [9, 9]], "mask", mask="!!"), "expected base64"),
        (labelme_shape("a", [[1, 1], [9, 9]], "mask", mask="AAAA"), "expected a picture of a mask"),
        (labelme_shape("a", [[70, 50], [90, 70]], "mask", mask="@"), "expected base64"),
        (labelme_shape(3, SCRATCH_CORNERS), "label: expected a text, received 3"),  # type: ignore[arg-type]  # wrong
    ],
)
def test_shapes_that_labelme_does_not_write_are_refused(shape: Annotation, says: str, tmp_path: Path) -> None:
    """With the shape's number."""
    write_labelme(tmp_path / "in")
    (tmp_path / "in" / "a.json").write_text(labelme([shape], "a.png"))
    code, said = run("labelme", tmp_path / "in", "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said
    assert "a.json, shapes 1" in said


def test_real_labelme_files_are_read(real_data: Path, tmp_path: Path) -> None:
    """BSData's ball screws: the 37 pitted pictures of another folder, as the masks that were made of these files."""
    found = taken("auto", real_data / "ballscrew" / "labelme", out=tmp_path / "out")
    assert len(found) == 37
    alike = []
    for name, (kinds, truth) in found.items():
        assert kinds == ("Pitting",)
        mask = cv2.imread(str(real_data / "ballscrew" / "masks" / "pitting" / f"{Path(name).stem}.png"), 0)
        # drawn there with the edge's pixels, so that outlines differ by a pixel
        assert not (truth > 0)[cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0].any()
        alike.append(intersection_over_union(truth, mask))
    assert np.mean(alike) > 0.85


def test_mvtec_s_folders_are_read(tmp_path: Path) -> None:
    """Good pictures are clean, masks pair by their folder and name; a missing one, or one too many, is named."""
    folder = write_mvtec(tmp_path / "bottle")
    found = taken("auto", folder, out=tmp_path / "out")
    assert {name: kinds for name, (kinds, _) in found.items()} == {
        "train/good/000.png": (),
        "test/good/000.png": (),
        "test/scratch/000.png": ("scratch",),
        "test/stain/000.png": ("stain",),
    }
    np.testing.assert_array_equal(found["test/stain/000.png"][1] > 0, STAIN > 0)
    (folder / "ground_truth" / "stain" / "000_mask.png").rename(folder / "ground_truth" / "stain" / "001_mask.png")
    code, said = run("mvtec", folder, "--out", tmp_path / "none")
    assert code == 10
    assert "2 files do not pair" in said


def test_masks_beside_their_pictures_are_read(tmp_path: Path) -> None:
    """Magnetic tiles in one command. A picture that lacks its mask, and one whose twin is a JPEG too, are named."""
    folder = write_side_by_side(tmp_path / "tiles")
    code, said = run("auto", folder, "--out", tmp_path / "none")
    assert (code, "--rename 'MT_Free=ok'" in said) == (10, True), said
    found = taken("auto", folder, "--rename", "MT_Free=ok", out=tmp_path / "out")
    assert {name: kinds for name, (kinds, _) in found.items()} == {
        "MT_Scratch/Imgs/exp1_num_5.jpg": ("MT_Scratch",),
        "MT_Free/Imgs/exp1_num_5.jpg": (),
    }
    np.testing.assert_array_equal(found["MT_Scratch/Imgs/exp1_num_5.jpg"][1] > 0, SCRATCH > 0)
    save(folder / "MT_Scratch" / "Imgs" / "lone.jpg", surface(7, SIZE))
    assert "1 picture has no mask of the name beside it" in run("auto", folder, "--out", tmp_path / "none")[1]
    save(folder / "MT_Scratch" / "Imgs" / "lone.jpeg", surface(8, SIZE))
    assert "nothing says which" in run("side-by-side", folder, "--out", tmp_path / "none")[1]


def test_pieces_as_folders_are_groups(tmp_path: Path) -> None:
    """KolektorSDD in one command, its folders as groups by `--group-from-path`; several groups are joined."""
    folder = write_kolektor(tmp_path / "kos")
    pattern = ("--group-from-path", "^([^/]+)/")
    found = taken("auto", folder, *pattern, out=tmp_path / "out")
    assert {kinds for kinds, _ in found.values()} == {("defect",), ()}
    assert {entry.group for entry in read_manifest(tmp_path / "out")} == {"kos01", "kos02"}
    named = ("masks", folder, folder, "--suffix", "_label", "--class", "defect")
    joined = ("--group-from-path", r"^(kos\d+)/(Part\d)")
    taken(*named, *joined, out=tmp_path / "joined")
    assert {entry.group for entry in read_manifest(tmp_path / "joined")} == {
        *("kos01-Part0", "kos01-Part1", "kos02-Part0", "kos02-Part1")
    }
    assert run(*named, *joined, "--group-from", "x", "--out", tmp_path / "x")[0] == 2
    assert run(*named, "--group-from-path", "(", "--out", tmp_path / "x")[0] == 2
    code, said = run(*named, "--group-from-path", "^day", "--out", tmp_path / "x")
    assert (code, "kos01/Part0.jpg: expected a group by --group-from-path '^day'" in said) == (10, True)


def test_two_days_of_the_same_file_names_stay_apart(tmp_path: Path) -> None:
    """Folders of days with folders of classes in them: the class is the last one, and each picture its own piece."""
    for seed, day in enumerate(("day1", "day2")):
        for kind in ("good", "scratch"):
            save(tmp_path / "in" / day / kind / "001.png", surface(10 * seed + len(kind), SIZE))
    found = taken("auto", tmp_path / "in", out=tmp_path / "out")
    assert {name: kinds for name, (kinds, _) in found.items()} == {
        "day1/good/001.png": (),
        "day2/good/001.png": (),
        "day1/scratch/001.png": ("scratch",),
        "day2/scratch/001.png": ("scratch",),
    }
    assert len({entry.group for entry in read_manifest(tmp_path / "out", need_masks=False)}) == 4
    again = ("class-folders", tmp_path / "in", "--class-folder", "last", "--group-from-path", r"(day\d).*/(\d+)")
    taken(*again, out=tmp_path / "again")
    assert {e.group for e in read_manifest(tmp_path / "again", need_masks=False)} == {"day1-001", "day2-001"}


def write_nothing(folder: Path) -> None:
    """Make a folder with a text in it."""
    folder.mkdir()
    (folder / "notes.txt").write_text("hello")


def write_two(folder: Path) -> None:
    """Write labels of two tools for the same pictures."""
    write_labelme(folder)
    (folder / "coco.json").write_text(json.dumps(coco()))


def write_numbered(folder: Path) -> None:
    """Write folders that may be pieces or classes."""
    for piece in ("1", "2"):
        save(folder / piece / "a.png", surface(int(piece), SIZE))


def write_suffixed(folder: Path) -> None:
    """Write pictures and masks of several classes beside one another."""
    for kind in ("dent", "scratch"):
        save(folder / kind / "a.png", surface(len(kind), SIZE))
        save(folder / kind / "a_mask.png", SCRATCH)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (write_nothing, "expected pictures with labels in a form that is known, received 1 .txt"),
        (write_two, "could be several things: COCO's JSON: coco.json (import coco); labelme's JSON"),
        (write_numbered, "which differ by a number only"),
        (write_suffixed, "which may be classes"),
        (lambda _: None, "No folder at"),
    ],
)
def test_what_could_be_several_things_is_refused(write: Callable[[Path], None], says: str, tmp_path: Path) -> None:
    """Or is nothing that is known: with what there is, and what to do."""
    write(tmp_path / "in")
    code, said = run("auto", tmp_path / "in", "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said
    assert not (tmp_path / "out").exists()


def test_auto_names_the_command_that_has_the_option(tmp_path: Path) -> None:
    """An error that asks for what auto cannot be given names the command that has the option."""
    save(tmp_path / "in" / "images" / "a.png", surface(0, SIZE))
    save(tmp_path / "in" / "masks" / "a.png", 255 - SCRATCH)
    code, said = run("auto", tmp_path / "in", "--out", tmp_path / "out")
    assert code == 10
    assert "--defect-is: an option of linewatch-train import masks, not of auto" in said


def test_auto_says_what_it_understood(tmp_path: Path) -> None:
    """A dataset's manifest comes first, and what lies beside it is named; pictures and masks in folders are classes."""
    save(tmp_path / "in" / "images" / "scratch" / "a.png", surface(0, SIZE))
    save(tmp_path / "in" / "masks" / "scratch" / "a.png", SCRATCH)
    code, said = run("auto", tmp_path / "in", "--out", tmp_path / "one")
    assert code == 0
    assert "pictures in images, masks in masks, whose folders are classes: scratch" in said
    (tmp_path / "in" / "manifest.csv").write_text(
        "image,mask,class,group\nimages/scratch/a.png,masks/scratch/a.png,dent,a\n"
    )
    (tmp_path / "in" / "a.json").write_text(labelme([], "a.png"))
    code, said = run("auto", tmp_path / "in", "--out", tmp_path / "other")
    assert code == 0
    assert "a dataset with manifest.csv, 1 row not read, since manifest.csv says all: labelme's JSON: a.json" in said
    assert truths(tmp_path / "other")["scratch/a.png"][0] == ("dent",)
