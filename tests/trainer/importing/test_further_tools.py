"""CVAT, Label Studio, Datumaro and Lookout for Vision: what they write is read to the pixel, or refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.opencv import cv2
from edge.records import UInt8
from tests.trainer.importing.exports_of_tools import (
    CLEAN,
    CVAT,
    DEFECTIVE,
    SCRATCH,
    SCRATCH_CORNERS,
    SIZE,
    STAIN,
    WRITERS,
    brush_of,
    cvat_image,
    cvat_points,
    datumaro,
    flat,
    lookout_line,
    percent,
    studio_result,
    studio_task,
    write_cvat,
    write_cvat_masks,
    write_datumaro,
    write_label_studio,
    write_lookout,
)
from tests.trainer.importing.pictures import rectangle, save, surface, truths
from tests.trainer.importing.test_tool_formats import BOTH, run, taken
from trainer.datasets.dataset import read_manifest
from trainer.datasets.masks import IGNORED


def truth_of(found: dict[str, tuple[tuple[str, ...], UInt8]]) -> UInt8:
    """Return what is known of the defective picture."""
    (own,) = (truth for name, (_, truth) in found.items() if name.endswith(DEFECTIVE))
    return own


@pytest.mark.parametrize("verb", ["cvat", "label-studio", "datumaro", "lookout"])
@pytest.mark.parametrize("by_itself", [True, False], ids=["by name", "by auto"])
def test_a_further_tool_s_export_is_read_to_the_pixel(verb: str, by_itself: bool, tmp_path: Path) -> None:
    """Both defects on one picture and none on the other, whether the format is named or recognised."""
    source = WRITERS[verb](tmp_path / "export")
    given = (verb, source) if by_itself else ("auto", tmp_path / "export")
    found = taken(*given, out=tmp_path / "out")
    assert {Path(name).name: kinds for name, (kinds, _) in found.items()} == {
        DEFECTIVE: ("scratch", "stain"),
        CLEAN: (),
    }
    np.testing.assert_array_equal(truth_of(found), BOTH)


def test_cvat_s_masks_in_colours_are_read(tmp_path: Path) -> None:
    """By labelmap.txt; a class that no picture shows is none, VOC's border is ignored, other colours are refused."""
    folder = write_cvat_masks(tmp_path / "in")
    np.testing.assert_array_equal(truth_of(taken("auto", folder, out=tmp_path / "out")), BOTH)
    mask = cv2.imread(str(folder / "SegmentationClass" / "a.png"))
    mask[0] = (192, 224, 224)
    save(folder / "SegmentationClass" / "a.png", mask)
    truth = truth_of(taken("cvat", folder, out=tmp_path / "border"))
    assert (truth[0] == IGNORED).all()
    mask[1] = (1, 2, 3)
    save(folder / "SegmentationClass" / "a.png", mask)
    assert "030201" in run("cvat", folder, "--out", tmp_path / "none")[1]
    (folder / "labelmap.txt").write_text("scratch:red\n")
    assert "line 1: expected label:r,g,b::" in run("cvat", folder, "--out", tmp_path / "none")[1]


CVAT_READ = {
    "a box": '<box label="scratch" xtl="12" ytl="10" xbr="42" ybr="30"/>',
    # turned by a quarter about its middle, (27, 20)
    "a turned box": '<box label="scratch" xtl="17" ytl="5" xbr="37" ybr="35" rotation="90"/>',
    "a mask in a box": '<mask label="scratch" rle="0,600" left="12" top="10" width="30" height="20"/>',
    "a wide line": '<polyline label="scratch" points="12,20;42,20"/>',
    "points out of order of depth": (
        f'<polygon label="scratch" points="{cvat_points(SCRATCH_CORNERS)}" z_order="2"/>'
        f'<polygon label="scratch" points="{cvat_points(SCRATCH_CORNERS)}" z_order="-1"/>'
    ),
}


@pytest.mark.parametrize("name", CVAT_READ)
def test_what_cvat_s_shapes_say(name: str, tmp_path: Path) -> None:
    """All come to the same scratch."""
    source = write_cvat(tmp_path / "in")
    source.write_text(CVAT.format(images=cvat_image(DEFECTIVE, CVAT_READ[name]) + cvat_image(CLEAN)))
    truth = truth_of(taken("cvat", source, "--line-width", 20, out=tmp_path / "out"))
    np.testing.assert_array_equal(truth > 0, SCRATCH > 0)


@pytest.mark.parametrize(
    ("inside", "says"),
    [
        ('<polygon label="a" points="1,2;3"/>', "expected points as x,y;x,y"),
        ('<polygon label="a" points="1,2;x,4"/>', "expected points as x,y;x,y"),
        ('<polygon points="1,2;3,4;5,6"/>', "expected a label, received none"),
        ('<box label="a" xtl="1"/>', "expected a number of px as ytl"),
        ('<mask label="a" rle="1,x" left="0" top="0" width="2" height="2"/>', "expected whole numbers with commas"),
        ('<mask label="a" rle="1,1" left="0" top="0" width="2" height="2"/>', "expected runs of 4 px in all"),
        ('<mask label="a" rle="0,4" left="79" top="0" width="2" height="2"/>', "expected a mask within the picture"),
        ('<polyline label="a" points="1,2;3,4"/>', "Give --line-width"),
        ('<cuboid label="a"/>', "received cuboid"),
    ],
)
def test_what_cvat_does_not_write_is_refused(inside: str, says: str, tmp_path: Path) -> None:
    """With the picture and the shape."""
    source = write_cvat(tmp_path / "in")
    source.write_text(CVAT.format(images=cvat_image(DEFECTIVE, inside)))
    code, said = run("cvat", source, "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said
    assert not (tmp_path / "out").exists()


def test_tracks_and_what_is_no_xml_are_refused(tmp_path: Path) -> None:
    """Of a video, of another tool, cut off, or with entities."""
    source = write_cvat(tmp_path / "in")
    for text, says in (
        (CVAT.format(images="<track id='0'/>"), "tracks of a video"),
        ("<annotation/>", "expected <annotations> as CVAT has it"),
        ("<annotations>", "is no XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "defines entities"),
    ):
        source.write_text(text)
        code, said = run("cvat", source, "--out", tmp_path / "out")
        assert (code, says in said) == (10, True), said


PNG = base64.b64encode(cv2.imencode(".png", SCRATCH)[1].tobytes()).decode()
STUDIO_READ: dict[str, list[dict[str, Any]]] = {
    "a rectangle": [
        studio_result("rectanglelabels", "scratch", {"x": 15, "y": 100 / 6, "width": 37.5, "height": 100 / 3})
    ],
    # turned by a quarter about its upper left corner, which then is the upper right one
    "a turned rectangle": [
        studio_result(
            "rectanglelabels",
            "scratch",
            {"x": 52.5, "y": 100 / 6, "width": 25, "height": 50, "rotation": 90},
        )
    ],
    "a bit mask": [studio_result("bitmasklabels", "scratch", {"imageDataURL": f"data:image/png;base64,{PNG}"})],
    "a label apart from its shape": [
        {**studio_result("polygon", "scratch", {"points": percent(SCRATCH_CORNERS)}), "id": "q"},
        {**studio_result("labels", "scratch", {"points": percent(SCRATCH_CORNERS)}), "id": "q"},
    ],
}


@pytest.mark.parametrize("name", STUDIO_READ)
def test_what_label_studio_s_regions_say(name: str, tmp_path: Path) -> None:
    """All come to the same scratch."""
    source = write_label_studio(tmp_path / "in")
    source.write_text(json.dumps([studio_task(STUDIO_READ[name], DEFECTIVE)]))
    truth = truth_of(taken("label-studio", source, out=tmp_path / "out"))
    np.testing.assert_array_equal(truth > 0, SCRATCH > 0)


POLYGON = studio_result("polygonlabels", "scratch", {"points": percent(SCRATCH_CORNERS)})
STUDIO_REFUSED: dict[str, tuple[Any, str]] = {
    "turned in the tool": ([studio_task([POLYGON | {"image_rotation": 90}], DEFECTIVE)], "Turn it back"),
    "without a label": ([studio_task([studio_result("polygon", "", {"points": []})], DEFECTIVE)], "expected a label"),
    "a brush of another size": (
        [studio_task([studio_result("brushlabels", "a", {"format": "rle", "rle": brush_of(STAIN[:9])})], DEFECTIVE)],
        "expected a brush of four channels of 80 x 60 px",
    ),
    "two sizes": ([studio_task([POLYGON, POLYGON | {"original_width": 8}], DEFECTIVE)], "expected one size"),
    "two pictures": (
        [{"data": {"left": "a.png", "right": "b.png"}, "annotations": [{"result": []}]}],
        "expected the path of one picture, received 2 paths",
    ),
    "two annotations": (
        [studio_task([POLYGON], DEFECTIVE, annotations=[{"result": [POLYGON]}, {"result": []}])],
        "--annotation first, last or all",
    ),
    "JSON-MIN": ([{"image": "a.png", "label": []}], "not JSON-MIN"),
    "nothing": ([], "not JSON-MIN"),
}


@pytest.mark.parametrize("name", STUDIO_REFUSED)
def test_what_label_studio_leaves_open_is_asked(name: str, tmp_path: Path) -> None:
    """With the task."""
    tasks, says = STUDIO_REFUSED[name]
    source = write_label_studio(tmp_path / "in")
    source.write_text(json.dumps(tasks))
    code, said = run("label-studio", source, "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said
    assert not (tmp_path / "out").exists()


def test_what_nobody_annotated_is_left_out(tmp_path: Path) -> None:
    """And told; of several annotations the one that is the ground truth counts, or the one that is asked for."""
    source = write_label_studio(tmp_path / "in")
    empty, drawn = {"result": []}, {"result": [POLYGON]}
    undone = studio_task([], CLEAN, annotations=[{"result": [POLYGON], "was_cancelled": True}])
    for given, shown in (
        ([empty, drawn | {"ground_truth": True}], True),
        ([empty | {"ground_truth": True}, drawn], False),
    ):
        source.write_text(json.dumps([studio_task([], DEFECTIVE, annotations=given), undone]))
        out = tmp_path / f"out-{shown}"
        code, said = run("label-studio", source, "--out", out)
        assert (code, "left out: 1 task that nobody annotated" in said) == (0, True), said
        assert f"scratch {1}" in said or not shown
    source.write_text(json.dumps([studio_task([], DEFECTIVE, annotations=[empty, drawn])]))
    found = taken("label-studio", source, "--annotation", "last", out=tmp_path / "last")
    assert [kinds for kinds, _ in found.values()] == [("scratch",)]


DATUMARO_READ: dict[str, dict[str, Any]] = {
    "a box": {"type": "bbox", "label_id": 1, "bbox": [12, 10, 30, 20]},
    "a polygon": {"type": "polygon", "label_id": 1, "points": flat(SCRATCH_CORNERS)},
}
DATUMARO_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no label": ({"type": "bbox", "label_id": None, "bbox": [1, 1, 5, 5]}, "expected a label from 0 to 2, received -1"),
    "an odd number": ({"type": "polygon", "label_id": 1, "points": [1, 2, 3]}, "expected x and y by turns"),
    "a box of three": ({"type": "bbox", "label_id": 1, "bbox": [1, 2, 3]}, "expected x, y, width and height"),
    "half an ellipse": ({"type": "ellipse", "label_id": 1, "points": [1, 2]}, "the corners of an ellipse's box"),
    "a cuboid": ({"type": "cuboid_3d", "label_id": 1}, "received cuboid_3d"),
}


@pytest.mark.parametrize("name", DATUMARO_READ)
def test_what_datumaro_s_annotations_say(name: str, tmp_path: Path) -> None:
    """Both come to the same scratch."""
    folder = write_datumaro(tmp_path / "in")
    (folder / "annotations" / "default.json").write_text(json.dumps(datumaro([DATUMARO_READ[name]])))
    truth = truth_of(taken("datumaro", folder, out=tmp_path / "out"))
    np.testing.assert_array_equal(truth > 0, SCRATCH > 0)


@pytest.mark.parametrize("name", DATUMARO_REFUSED)
def test_what_datumaro_does_not_write_is_refused(name: str, tmp_path: Path) -> None:
    """With the item and the annotation."""
    annotation, says = DATUMARO_REFUSED[name]
    folder = write_datumaro(tmp_path / "in")
    (folder / "annotations" / "default.json").write_text(json.dumps(datumaro([annotation])))
    code, said = run("datumaro", folder, "--out", tmp_path / "out")
    assert (code, says in said, "items 1, annotations 1" in said) == (10, True, True), said


LOOKOUT_REFUSED: dict[str, tuple[str, str]] = {
    "a colour that is not named": (
        json.dumps(lookout_line(DEFECTIVE, "anomaly", "a.png", scratch="#2ca02c")),
        "expected the colours 2CA02C, FFFFFF, received FF7F0E",
    ),
    "no mask": (json.dumps(lookout_line(DEFECTIVE, "anomaly", "gone.png", scratch="#2ca02c")), "expected the mask"),
    "no colour": (json.dumps(lookout_line(DEFECTIVE, "anomaly", "a.png", scratch="red")), "a colour such as"),
    "no label": (json.dumps({"source-ref": f"s3://b/{DEFECTIVE}"}), "expected one label with a class-name"),
    "no line": ("", "expected a line of JSON"),
    "no JSON": ("{", "line 1 is no JSON"),
    "a list": ("[]", "line 1: expected an object"),
}


@pytest.mark.parametrize("name", LOOKOUT_REFUSED)
def test_what_a_manifest_leaves_open_is_refused(name: str, tmp_path: Path) -> None:
    """With the line."""
    text, says = LOOKOUT_REFUSED[name]
    source = write_lookout(tmp_path / "in")
    source.write_text(text)
    code, said = run("lookout", source, "--out", tmp_path / "out")
    assert (code, says in said) == (10, True), said


def test_a_label_without_a_mask_stays_a_label(tmp_path: Path) -> None:
    """An anomaly of Lookout's that nobody painted has its class alone."""
    source = write_lookout(tmp_path / "in")
    source.write_text(json.dumps(lookout_line(DEFECTIVE, "anomaly")) + "\n" + json.dumps(lookout_line(CLEAN, "normal")))
    found = taken("lookout", source, out=tmp_path / "out")
    assert {Path(name).name: kinds for name, (kinds, _) in found.items()} == {DEFECTIVE: ("anomaly",), CLEAN: ()}


@pytest.mark.parametrize("kind", ["coco", "coco --polygons", "yolo", "masks"])
def test_an_export_comes_back_as_it_was(kind: str, tmp_path: Path) -> None:
    """Masks with holes, pixels that touch by a corner, overlapping classes, a clean picture; and their groups."""
    from typer.testing import CliRunner

    from trainer.__main__ import app

    data = tmp_path / "data"
    rough = np.where(np.random.default_rng(3).random(SIZE) < 0.3, np.uint8(255), np.uint8(0))
    masks = {"scratch": rough & rectangle(SIZE, 3, 3, 20, 20), "stain": rectangle(SIZE, 30, 30, 20, 20) & ~rough}
    rows = ["image,mask,class,group,ignore_mask"]
    save(data / "images" / "day1" / "a.png", surface(0, SIZE))
    save(data / "images" / "b.png", surface(1, SIZE))
    ignored = rectangle(SIZE, 0, 60, 10, 20)
    save(data / "ignored.png", ignored)
    for name, mask in masks.items():
        save(data / f"{name}.png", mask)
        rows.append(f"images/day1/a.png,{name}.png,{name},piece,ignored.png")
    (data / "manifest.csv").write_text("\n".join([*rows, "images/b.png,,ok,piece,"]) + "\n")
    verb, *flags = kind.split()
    target = tmp_path / ("out.json" if verb == "coco" else "out")
    result = CliRunner().invoke(app, ["export", verb, str(data), str(target), *flags])
    assert result.exit_code == 0, result.output
    again = {
        "coco": ("coco", target, "--images", data / "images"),
        "yolo": ("yolo", target),
        "masks": ("masks", data / "images", target, "--names", "1=scratch,2=stain", "--ignore", "255"),
    }[verb]
    found = taken(*again, out=tmp_path / "again")
    truth = next(truth for name, (kinds, truth) in found.items() if name.endswith("day1/a.png") and kinds)
    expected = np.where(masks["scratch"] > 0, 1, np.where(masks["stain"] > 0, 2, 0))
    np.testing.assert_array_equal(truth, np.where(ignored > 0, 0 if verb == "yolo" else IGNORED, expected))
    assert [kinds for name, (kinds, _) in found.items() if name.endswith("b.png")] == [()]
    assert {entry.group for entry in read_manifest(tmp_path / "again", need_masks=False)} == {"piece"}
    before = target.read_bytes() if target.is_file() else None
    result = CliRunner().invoke(app, ["export", verb, str(data), str(target)])
    assert getattr(result.exception, "exit_code", None) == 8  # nothing is overwritten
    assert before is None or target.read_bytes() == before


def test_what_is_ignored_comes_back_where_no_class_is(tmp_path: Path) -> None:
    """COCO's annotation of it needs a category, and is no crowd."""
    from typer.testing import CliRunner

    from trainer.__main__ import app

    save(tmp_path / "data" / "images" / "a.png", surface(0, SIZE))
    save(tmp_path / "data" / "ignored.png", SCRATCH)
    (tmp_path / "data" / "manifest.csv").write_text(
        "image,mask,class,group,ignore_mask\nimages/a.png,,ok,a,ignored.png\n"
    )
    target = tmp_path / "out.json"
    assert CliRunner().invoke(app, ["export", "coco", str(tmp_path / "data"), str(target)]).exit_code == 0
    code, said = run("coco", target, "--images", tmp_path / "data" / "images", "--out", tmp_path / "again")
    assert (code, "crowds" in said) == (0, False), said
    np.testing.assert_array_equal(truths(tmp_path / "again")["a.png"][1] == IGNORED, SCRATCH > 0)
