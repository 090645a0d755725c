from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.records import UInt8
from tests.trainer.importing.pictures import imported, intersection_over_union, save, surface, truths
from trainer.datasets.dataset import read_manifest
from trainer.importing.red_marker import (
    Mismatch,
    RedMarkerSettings,
    judge_drawing,
    read_red_marker,
    write_report,
)
from trainer.importing.red_paint import Paint, fill_outlines

RED = (0, 0, 255)
SIZE = (120, 160)


def as_jpeg(pixels: UInt8, quality: int = 75) -> UInt8:
    """Take pixels through JPEG, colours at half resolution as it has them."""
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


Shape = Literal["stroke", "hairline", "blob", "outline", "dots"]


def draw(photo: UInt8, shape: Shape, colour: tuple[int, int, int] = RED) -> tuple[UInt8, UInt8]:
    """Return a drawing, anti-aliased as OpenCV does it, and the mask that was meant: what it covers by half or more."""
    drawing, covered = photo.copy(), np.zeros(photo.shape[:2], np.uint8)
    height, width = photo.shape[:2]
    for canvas, paint in ((drawing, colour), (covered, 255)):
        middle = (width // 2, height // 2)
        path = np.array(
            [[width // 8, height // 4], [width // 2, height // 3], [width * 7 // 8, height * 3 // 4]], np.int32
        )
        if shape in {"stroke", "hairline"}:
            cv2.polylines(canvas, [path], False, paint, 5 if shape == "stroke" else 2, cv2.LINE_AA)
        elif shape == "blob":
            cv2.ellipse(canvas, middle, (width // 4, height // 6), 20, 0, 360, paint, -1, cv2.LINE_AA)
        elif shape == "outline":
            cv2.ellipse(canvas, middle, (width // 4, height // 6), 20, 0, 360, paint, 3, cv2.LINE_AA)
        else:
            for number in range(5):
                cv2.circle(canvas, (width * (number + 1) // 6, height // 2), 4, paint, -1, cv2.LINE_AA)
    return drawing, np.where(covered > 127, np.uint8(255), np.uint8(0))


# A hairline of 2 px has no pixel that is not an edge: half a pixel more on one side already costs a third.
AT_LEAST: dict[Shape, float] = {"stroke": 0.88, "hairline": 0.6, "blob": 0.97, "outline": 0.97, "dots": 0.85}


@pytest.mark.parametrize("shape", AT_LEAST)
@pytest.mark.parametrize("seed", range(4))
def test_paint_is_found_through_anti_aliasing_and_jpeg(shape: Shape, seed: int) -> None:
    """From a drawing at JPEG quality 75 comes the mask that was drawn. From a PNG nearly every pixel of it."""
    photo = surface(seed, SIZE)
    drawing, meant = draw(photo, shape)
    if shape == "outline":
        meant = fill_outlines(meant // 255, 0) * 255
    for saved, at_least in ((as_jpeg(drawing), AT_LEAST[shape]), (drawing, 0.9)):
        mask, reason, _ = judge_drawing(photo, saved, Paint())
        assert reason == ""
        assert mask is not None
        assert set(np.unique(mask)) == {0, 255}
        assert intersection_over_union(mask, meant) >= at_least


@pytest.mark.parametrize("quality", [30, 50, 90, 100])
def test_paint_is_found_at_any_quality(quality: int) -> None:
    """Blocks and bleeding colours of a poor JPEG neither add specks nor lose the stroke."""
    photo = surface(9, SIZE)
    drawing, meant = draw(photo, "stroke")
    mask, _, _ = judge_drawing(photo, as_jpeg(drawing, quality), Paint())
    assert mask is not None
    assert intersection_over_union(mask, meant) >= 0.8
    count, _ = cv2.connectedComponents(mask)
    assert count == 2  # the ground and one stroke


@pytest.mark.parametrize("part", [RED, (40, 30, 190), (20, 20, 230)])
def test_a_red_part_of_the_product_is_no_drawing(part: tuple[int, int, int]) -> None:
    """Red that is on the photo too is not paint, beside a stroke, without one, or below one."""
    photo = surface(5, SIZE)
    cv2.rectangle(photo, (100, 60), (150, 110), part, -1)
    mask, reason, _ = judge_drawing(photo, as_jpeg(photo), Paint())
    assert reason == "nothing drawn"
    assert mask is not None
    assert not mask.any()
    drawing = photo.copy()
    cv2.line(drawing, (10, 10), (90, 50), RED, 5, cv2.LINE_AA)
    mask, _, _ = judge_drawing(photo, as_jpeg(drawing), Paint())
    assert mask is not None
    assert mask[:55].any()
    assert not mask[62:, 102:].any()


def test_outlines_are_filled_or_kept() -> None:
    """A circle of radius 20 fills to 20^2 pi px, or is kept as a ring of its line's width."""
    photo = surface(1, SIZE)
    drawing = photo.copy()
    cv2.circle(drawing, (80, 60), 20, RED, 3, cv2.LINE_AA)
    filled, _, _ = judge_drawing(photo, drawing, Paint(outlines="fill"))
    kept, _, _ = judge_drawing(photo, drawing, Paint(outlines="keep"))
    assert filled is not None
    assert kept is not None
    # OpenCV's anti-aliased line of 3 px covers 5: from radius 17.5 to 22.5
    assert (filled > 0).sum() == pytest.approx(np.pi * 22.5**2, rel=0.04)
    assert (kept > 0).sum() == pytest.approx(np.pi * (22.5**2 - 17.5**2), rel=0.12)
    assert filled[60, 80] == 255
    assert kept[60, 80] == 0


@pytest.mark.parametrize(("gap_px", "closed"), [(0, False), (3, False), (6, True)])
def test_an_outline_with_a_gap_counts_as_closed_up_to_the_gap(gap_px: int, closed: bool) -> None:
    """Ends that are 5 px apart are joined from a gap of 6 on. Nothing leaks outside and the stroke does not swell."""
    ring = np.zeros((60, 60), np.uint8)
    cv2.rectangle(ring, (10, 10), (49, 49), 1, 2)
    ring[8:13, 28:33] = 0  # a gap of 5 px in the upper side
    filled = fill_outlines(ring, gap_px)
    assert bool(filled[30, 30]) == closed
    assert not filled[:8].any()
    assert filled.sum() - ring.sum() <= (40 * 40 if closed else 0)
    if closed:
        assert filled[12:48, 12:48].all()


def test_a_line_across_the_picture_encloses_nothing() -> None:
    """The picture's edge is no paint: a scratch from edge to edge, or one at a corner, stays a scratch."""
    for ends in (((0, 20), (59, 30)), ((0, 15), (15, 0))):
        line = np.zeros((60, 60), np.uint8)
        cv2.line(line, *ends, 1, 3)
        np.testing.assert_array_equal(fill_outlines(line, 4), line)


def test_paint_of_another_hue_is_found_where_it_is_asked_for() -> None:
    """Green is found with --hue 120, and without it the report says which hue was painted."""
    photo = surface(3, SIZE)
    drawing, meant = draw(photo, "stroke", (0, 255, 0))
    mask, reason, detail = judge_drawing(photo, as_jpeg(drawing), Paint())
    assert mask is None
    assert reason == "other colour"
    assert "hue 1" in detail  # about 120 degrees
    mask, _, _ = judge_drawing(photo, as_jpeg(drawing), Paint(hue_degrees=120))
    assert mask is not None
    assert intersection_over_union(mask, meant) >= 0.85


@pytest.mark.parametrize(("tolerance", "found"), [(5.0, False), (20.0, False), (40.0, True)])
@pytest.mark.parametrize("seed", range(3))
def test_paint_counts_within_the_tolerance_of_its_hue(tolerance: float, found: bool, seed: int) -> None:
    """Orange, 33 degrees off red, is paint from a tolerance of 40 on; below, it is told as another colour."""
    photo = (surface(seed, SIZE) // 6).astype(np.uint8)  # on the dark the edges of orange are red in a JPEG
    drawing, meant = draw(photo, "stroke", (0, 140, 255))
    for seen in (drawing, as_jpeg(drawing), as_jpeg(drawing, 95)):
        mask, reason, detail = judge_drawing(photo, seen, Paint(tolerance_degrees=tolerance))
        if found:
            assert reason == ""
            assert mask is not None
            assert intersection_over_union(mask, meant) >= 0.85
        else:
            assert (mask is None, reason) == (True, "other colour")
            assert "give --hue 3" in detail


@pytest.mark.parametrize(("min_saturation", "found"), [(0.5, False), (0.3, True)])
def test_pale_paint_counts_from_the_saturation_that_is_asked_for(min_saturation: float, found: bool) -> None:
    """Pink of saturation 0.4 is no pure paint, and is where 0.3 is enough."""
    photo = surface(4, SIZE)
    drawing, meant = draw(photo, "stroke", (153, 153, 255))
    mask, reason, detail = judge_drawing(photo, drawing, Paint(min_saturation=min_saturation))
    assert reason == ("" if found else "other colour")
    assert detail.endswith("" if found else "give --hue 0 --min-saturation 0.3")
    assert (mask is not None and intersection_over_union(mask, meant) >= 0.8) == found


def test_another_photo_painted_in_another_colour_is_another_photo() -> None:
    """A blue stroke does not make a foreign photo one's own; on one's own it is told as a colour."""
    photo = surface(5, SIZE)
    blue = (255, 60, 0)
    assert judge_drawing(photo, as_jpeg(draw(photo, "blob", blue)[0]), Paint())[1] == "other colour"
    assert judge_drawing(photo, as_jpeg(draw(surface(6, SIZE), "blob", blue)[0]), Paint())[1] == "another photo"


def shifted(pixels: UInt8, right: int, down: int) -> UInt8:
    """Move a picture, its edge repeated."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    return np.asarray(cv2.warpAffine(pixels, matrix, pixels.shape[1::-1], borderMode=cv2.BORDER_REPLICATE))


@pytest.mark.parametrize("quality", [50, 75])
@pytest.mark.parametrize(
    ("case", "reason", "says"),
    [
        ("smaller", "other size", "expected 160 x 120 px, received 80 x 60"),
        ("turned", "other size", "turned by a quarter"),
        ("shifted", "shifted", "+3.0 px to the right and -2.0 px down"),
        ("shifted far", "shifted", "+17.0 px to the right and +9.0 px down"),
        ("another", "another photo", "brightness differs"),
        ("nothing", "nothing drawn", "the drawing is the photo"),
    ],
)
def test_a_drawing_that_does_not_fit_is_told_of(case: str, reason: str, says: str, quality: int) -> None:
    """Other size, shifted, another photo, nothing drawn: each is told apart, with what is to be known about it."""
    photo = surface(2, SIZE)
    drawing, _ = draw(photo, "stroke")
    drawings = {
        "smaller": cv2.resize(drawing, (80, 60)),
        "turned": np.ascontiguousarray(np.rot90(drawing)),
        "shifted": shifted(drawing, 3, -2),
        "shifted far": shifted(drawing, 17, 9),
        "another": draw(surface(77, SIZE), "stroke")[0],
        "nothing": photo,
    }
    mask, found, detail = judge_drawing(photo, as_jpeg(drawings[case], quality), Paint())
    assert found == reason
    # a shift is measured to a tenth of a pixel
    assert all(part in detail or "px" in says for part in (says,)), detail
    if reason == "shifted":
        told = [float(word) for word in detail.split() if word[0] in "+-"]
        meant = [float(word) for word in says.split() if word[0] in "+-"]
        assert told == pytest.approx(meant, abs=0.3)
    assert (mask is None) == (reason != "nothing drawn")


def test_bare_surfaces_are_told_apart_by_their_light() -> None:
    """Without details to compare, one that is lighter by 12 levels is another photo; by 2 it is not."""
    shade = np.linspace(90, 110, SIZE[1]).astype(np.uint8)
    photo = np.ascontiguousarray(np.broadcast_to(shade[None, :, None], (*SIZE, 3)))
    for levels, reason in ((2, ""), (12, "another photo")):
        drawing, _ = draw(photo + np.uint8(levels), "stroke")
        assert judge_drawing(photo, as_jpeg(drawing), Paint())[1] == reason


def write_folders(folder: Path) -> tuple[Path, Path]:
    """Write photos and drawings: two that fit, one that does not, one without a drawing, one without a photo."""
    photos, drawings = folder / "photos", folder / "drawings"
    for number in range(4):
        save(photos / f"{number}.png", surface(number, SIZE))
    for number, shape in ((0, "stroke"), (1, "blob")):
        save(drawings / f"{number}.jpg", draw(surface(number, SIZE), shape)[0])
    save(drawings / "2.jpg", surface(50, SIZE))
    save(drawings / "9.jpg", surface(9, SIZE))
    return photos, drawings


def test_folders_of_photos_and_drawings_become_a_dataset(tmp_path: Path) -> None:
    """A fitting pair is imported with the class that was said; all else is told of, each with its reason."""
    photos, drawings = write_folders(tmp_path)
    mismatches: list[Mismatch] = []
    source = read_red_marker(photos, drawings, RedMarkerSettings("scratch", Paint()), mismatches)
    written = imported(source, tmp_path / "out")
    assert (written.pictures, written.by_class) == (2, {"scratch": 2})
    assert {(m.photo, m.drawing, m.reason) for m in mismatches} == {
        ("2.png", "2.jpg", "another photo"),
        ("3.png", "", "no drawing"),
        ("", "9.jpg", "no photo"),
    }
    found = truths(tmp_path / "out")
    for number, shape in ((0, "stroke"), (1, "blob")):
        _, meant = draw(surface(number, SIZE), shape)
        assert intersection_over_union(found[f"{number}.png"][1], meant) >= AT_LEAST[shape]
    write_report(tmp_path / "report.csv", mismatches)
    with (tmp_path / "report.csv").open(newline="") as file:
        assert [row["reason"] for row in csv.DictReader(file)] == [m.reason for m in mismatches]
    write_report(tmp_path / "report.json", mismatches)
    assert [row["photo"] for row in json.loads((tmp_path / "report.json").read_text())] == [m.photo for m in mismatches]


def test_photos_without_a_drawing_may_be_declared_clean(tmp_path: Path) -> None:
    """With --missing-is-clean they are clean whatever is done with those on which nothing is drawn."""
    photos, drawings = write_folders(tmp_path)
    mismatches: list[Mismatch] = []
    settings = RedMarkerSettings("scratch", Paint(), missing_is_clean=True)
    written = imported(read_red_marker(photos, drawings, settings, mismatches), tmp_path / "out", empty_share=0.0)
    assert (written.pictures, written.clean) == (3, 1)
    assert "no drawing" not in {m.reason for m in mismatches}


def test_drawings_may_lie_beside_their_photos(tmp_path: Path) -> None:
    """In one folder a suffix tells drawings from photos; without one, that is an error."""
    photo = surface(4, SIZE)
    save(tmp_path / "in" / "a" / "1.png", photo)
    save(tmp_path / "in" / "a" / "1_red.png", draw(photo, "dots")[0])
    source = read_red_marker(tmp_path / "in", tmp_path / "in", RedMarkerSettings("dent", Paint(), "_red"), [])
    assert imported(source, tmp_path / "out").by_class == {"dent": 1}
    assert list(truths(tmp_path / "out")) == ["a/1.png"]
    with pytest.raises(DatasetError, match="expected --suffix"):
        read_red_marker(tmp_path / "in", tmp_path / "in", RedMarkerSettings("dent", Paint()), [])
    save(tmp_path / "in" / "a" / "1_red.jpg", photo)
    with pytest.raises(DatasetError, match=r"expected one drawing, received a/1_red\.jpg and a/1_red\.png"):
        read_red_marker(tmp_path / "in", tmp_path / "in", RedMarkerSettings("dent", Paint(), "_red"), [])


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("dataset", "every", "mean_at_least"), [("steel_sd900", 40, 0.95), ("magnetic_tile", 20, 0.95)]
)
def test_real_masks_come_back_from_red_paint(real_data: Path, dataset: str, every: int, mean_at_least: float) -> None:
    """Real masks painted red on their real pictures, soft-edged and saved as JPEG, come back; and none is refused."""
    folder = real_data / dataset
    shares = []
    for entry in [entry for entry in read_manifest(folder) if entry.masks][::every]:
        photo = np.asarray(cv2.imread(str(entry.path)))
        mask = np.asarray(cv2.imread(str(entry.masks[0][1]), cv2.IMREAD_GRAYSCALE))
        meant = np.where(mask > 127, np.uint8(255), np.uint8(0))
        if not meant.any():
            continue
        soft = cv2.GaussianBlur(meant, (0, 0), 0.6).astype(np.float32)[:, :, None] / 255
        drawing = np.round(photo * (1 - soft) + np.array(RED, np.float32) * soft).astype(np.uint8)
        found, reason, _ = judge_drawing(photo, as_jpeg(drawing), Paint(outlines="keep"))
        assert reason == ""
        assert found is not None
        shares.append(intersection_over_union(found, meant))
    assert len(shares) >= 10
    assert np.mean(shares) >= mean_at_least


@pytest.mark.real_data
def test_real_photos_are_told_from_each_other(real_data: Path) -> None:
    """A drawing on one piece's picture fits none of another piece, though product, camera and light are the same."""
    entries = read_manifest(real_data / "kolektor")[::13]
    photos = [np.asarray(cv2.imread(str(entry.path))) for entry in entries]
    size = (min(photo.shape[0] for photo in photos), min(photo.shape[1] for photo in photos))
    photos = [photo[: min(size[0], 600), : size[1]] for photo in photos]
    pieces = {entry.group for entry in entries}
    assert len(pieces) >= 4
    for place, photo in enumerate(photos):
        drawing = as_jpeg(draw(photo, "stroke")[0])
        for other_place, other in enumerate(photos):
            if entries[place].group == entries[other_place].group and place != other_place:
                continue  # pictures of one piece may be near duplicates
            _, reason, _ = judge_drawing(other, drawing, Paint())
            assert reason == ("" if place == other_place else "another photo")
