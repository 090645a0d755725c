from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.preparing import Grey
from trainer.augmenting import crop_transform, warp
from trainer.datasets.dataset import (
    Entry,
    Picture,
    check_classes,
    class_names,
    content_sha256,
    dataset_sha256,
    load_picture,
    read_manifest,
)
from trainer.datasets.splitting import split
from trainer.recipe.settings import AugmentationSettings

HEADER = "image,mask,class,group\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two pictures, two masks and a mask of another size."""
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((20, 30, 3), 50, np.uint8))
    for name, row in (("scratch", 2), ("stain", 9)):
        mask = np.zeros((20, 30), np.uint8)
        mask[row] = 255
        cv2.imwrite(str(tmp_path / f"{name}-mask.png"), mask)
    cv2.imwrite(str(tmp_path / "small-mask.png"), np.zeros((10, 30), np.uint8))
    (tmp_path / "none.png").write_bytes(b"no picture")
    return tmp_path


def test_several_rows_of_one_picture_make_one_truth(folder: Path) -> None:
    """Each row's mask gets its class; clean rows, in any case, add none and need no mask."""
    rows = "a.png,stain-mask.png,stain,p1\na.png,scratch-mask.png,scratch,p1\nb.png,,OK,p2\n"
    (folder / "manifest.csv").write_text(HEADER + rows)
    first, second = read_manifest(folder)
    assert class_names([first, second]) == ("scratch", "stain")
    picture = load_picture(first, ("scratch", "stain"), (Grey(),), 1)
    assert picture.pixels.shape == (20, 30, 1)
    assert {row: set(picture.truth[row].tolist()) for row in (0, 2, 9)} == {0: {0}, 2: {1}, 9: {2}}
    assert second.classes == ()


def test_a_picture_may_have_a_class_without_a_mask_where_no_mask_is_needed(folder: Path) -> None:
    """For classification every row's class is a label, several rows add up, and a mask is not asked for."""
    (folder / "manifest.csv").write_text(HEADER + "a.png,,scratch,p\na.png,,stain,p\nb.png,,ok,q\n")
    first, second = read_manifest(folder, need_masks=False)
    assert (first.classes, first.masks, second.classes) == (("scratch", "stain"), (), ())


def test_a_picture_with_one_label_and_no_mask_is_of_that_class_everywhere(folder: Path) -> None:
    """The class map is filled with the label's id; a clean picture's is 0."""
    (folder / "manifest.csv").write_text(HEADER + "a.png,,stain,p\nb.png,,ok,q\n")
    first, second = read_manifest(folder, need_masks=False)
    picture = load_picture(first, ("scratch", "stain"), (Grey(),), 1)
    assert picture.truth.dtype == np.uint8
    np.testing.assert_array_equal(picture.truth, np.full((20, 30), 2))
    assert not load_picture(second, ("scratch", "stain"), (), 3).truth.any()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (
            "a.png,,scratch,p\na.png,,stain,p\n",
            r"a\.png is labelled scratch, stain, and scratch, stain without a mask: .* can have one class only",
        ),
        (
            "a.png,scratch-mask.png,scratch,p\na.png,,stain,p\n",
            r"a\.png is labelled scratch, stain, and stain without a mask",
        ),
        ("a.png,,dent,p\n", r"a\.png: expected one of the classes scratch, stain, received dent"),
    ],
)
def test_labels_that_make_no_class_map_are_refused(folder: Path, rows: str, says: str) -> None:
    """Several classes without masks, or some with and some without, do not say which pixel is what."""
    (folder / "manifest.csv").write_text(HEADER + rows)
    (first,) = read_manifest(folder, need_masks=False)
    with pytest.raises(DatasetError, match=says):
        load_picture(first, ("scratch", "stain"), (), 1)


def painted(image: str, label: str, *ids: int) -> Picture:
    """Make a picture in memory whose class map has these ids."""
    truth = np.zeros((4, 4), np.uint8)
    truth[0, : len(ids)] = ids
    masks = ((label, Path("m")),) if label else ()
    return Picture(Entry(image, Path("i"), masks, "g", frozenset({label} - {""})), np.zeros((4, 4, 1), np.uint8), truth)


def test_a_class_without_pixels_is_found_before_training() -> None:
    """A class that no picture shows is an error; pictures that lack theirs are told of; all else is quiet."""
    shown = [painted("a", "scratch", 1, 1), painted("b", "stain", 2), painted("c", "")]
    assert check_classes(shown, ("scratch", "stain")) == ()
    (warning,) = check_classes([*shown, painted("d", "stain")], ("scratch", "stain"))
    assert warning == "1 of 2 pictures of stain have no pixel of it in their masks: d"
    with pytest.raises(
        DatasetError, match=r"The class stain cannot be learned: .* 5 whose masks .*: 0, 1, 2 and 2 more"
    ):
        check_classes([shown[0], *(painted(str(n), "stain") for n in range(5))], ("scratch", "stain"))
    with pytest.raises(DatasetError, match=r"The class dent cannot be learned: .* received none"):
        check_classes(shown, ("scratch", "stain", "dent"))


def test_the_empty_masks_of_magnetic_tiles_are_told_of(real_data: Path) -> None:
    """Of the real set's Uneven tiles some masks are empty: a warning, not an error."""
    entries = [entry for entry in read_manifest(real_data / "magnetic_tile") if "Uneven" in entry.classes]
    pictures = [load_picture(entry, ("Uneven",), (), 1) for entry in entries]
    (warning,) = check_classes(pictures, ("Uneven",))
    assert "of 70 pictures of Uneven have no pixel of it" in warning
    empty = [picture for picture in pictures if not picture.truth.any()]
    with pytest.raises(DatasetError, match="The class Uneven cannot be learned"):
        check_classes(empty, ("Uneven",))


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("x.png,scratch-mask.png,scratch,p\n", r"row 2: the picture .*x\.png is missing"),
        ("a.png,x.png,scratch,p\n", r"row 2: the mask .*x\.png is missing"),
        (
            "a.png,scratch-mask.png,scratch,p\nb.png,,scratch,p\n",
            "row 3: the class scratch is a defect and has no mask",
        ),
        ("a.png,scratch-mask.png,,p\n", "row 2: expected image, class and group"),
        ("a.png,scratch-mask.png,scr/atch,p\n", "row 2: expected a class of letters"),
        (
            "a.png,scratch-mask.png,scratch,p\na.png,stain-mask.png,stain,q\n",
            "row 3: a.png is in group 'q', and in 'p'",
        ),
        ("", "names no picture"),
    ],
)
def test_a_wrong_manifest_names_file_and_row(folder: Path, rows: str, says: str) -> None:
    """Mistakes are found before hours are spent, and where they are."""
    (folder / "manifest.csv").write_text(HEADER + rows)
    with pytest.raises(DatasetError, match=says):
        read_manifest(folder)


def test_a_manifest_without_its_columns_is_refused(folder: Path) -> None:
    """An absent or foreign table says what was expected."""
    with pytest.raises(DatasetError, match=r"expected manifest\.csv with the columns image, mask, class, group"):
        read_manifest(folder)
    (folder / "manifest.csv").write_text("file,label\na.png,scratch\n")
    with pytest.raises(DatasetError, match="missing class, group, image, mask"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("image", "mask", "says"),
    [
        ("a.png", "small-mask.png", r"small-mask\.png: expected 30 x 20 px as in .*a\.png, received 30 x 10"),
        ("a.png", "none.png", r"none\.png is no picture that can be read"),
        ("none.png", "scratch-mask.png", r"none\.png is no picture"),
    ],
)
def test_pictures_and_masks_that_do_not_fit_are_named(folder: Path, image: str, mask: str, says: str) -> None:
    """A mask of another size or an unreadable file is an error that names it."""
    entry = Entry(image, folder / image, (("scratch", folder / mask),), "p")
    with pytest.raises(DatasetError, match=says):
        load_picture(entry, ("scratch",), (), 1)


def test_the_hash_of_a_dataset_sees_every_change(folder: Path) -> None:
    """A changed pixel of a mask makes another dataset."""
    (folder / "manifest.csv").write_text(HEADER + "a.png,scratch-mask.png,scratch,p1\n")
    before = dataset_sha256(read_manifest(folder))
    assert dataset_sha256(read_manifest(folder)) == before
    cv2.imwrite(str(folder / "scratch-mask.png"), np.zeros((20, 30), np.uint8))
    assert dataset_sha256(read_manifest(folder)) != before


def test_the_hash_of_a_dataset_sees_labels_without_masks(folder: Path) -> None:
    """The same picture with another label, or clean, is another dataset."""
    hashes = set()
    for label in ("scratch", "stain", "ok"):
        (folder / "manifest.csv").write_text(HEADER + f"a.png,,{label},p\n")
        hashes.add(dataset_sha256(read_manifest(folder, need_masks=False)))
    assert len(hashes) == 3


def entry(number: int, group: int, kind: str) -> Entry:
    """Make an entry that need not exist on disk."""
    masks = ((kind, Path("m")),) if kind != "ok" else ()
    return Entry(f"{number}", Path("i"), masks, f"g{group}")


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["scratch", "stain", "ok"])), min_size=1, max_size=80))
def test_no_split_cuts_through_a_group(pictures: list[tuple[int, str]]) -> None:
    """All pictures of one piece are in one part, whatever the dataset. A split that cannot be made is an error."""
    entries = [entry(number, group, kind) for number, (group, kind) in enumerate(pictures)]
    try:
        parts = split(entries, 0.3, 0.2, seed=1)
    except DatasetError:
        return
    groups: dict[str, set[str]] = {}
    for e in entries:
        groups.setdefault(e.group, set()).add(parts[e.image])
    assert all(len(found) == 1 for found in groups.values())
    for name in {kind for _, kind in pictures} - {"ok"}:
        for part in ("train", "validation"):
            assert any(parts[e.image] == part for e in entries if name in e.classes)


def test_a_third_of_each_class_is_held_out() -> None:
    """Shares hold within each class: of 24 scratches, 24 stains and 22 oils, 8, 8 and 7 at a third."""
    kinds = ["scratch"] * 24 + ["stain"] * 24 + ["oil"] * 22
    entries = [entry(number, number, kind) for number, kind in enumerate(kinds)]
    parts = split(entries, 1 / 3, 0.2, seed=7)
    held_out = [e.classes[0] for e in entries if parts[e.image] == "test"]
    assert {kind: held_out.count(kind) for kind in kinds} == {"scratch": 8, "stain": 8, "oil": 7}
    assert split(entries, 1 / 3, 0.2, seed=7) == parts
    assert split(entries, 1 / 3, 0.2, seed=8) != parts


def test_a_class_with_too_few_groups_cannot_be_split() -> None:
    """One piece cannot be learned from and validated on."""
    with pytest.raises(DatasetError, match="no group of scratch would be left to validation"):
        split([entry(0, 0, "scratch"), entry(1, 0, "scratch")], 0.0, 0.2, seed=0)


def test_crops_keep_picture_and_mask_together() -> None:
    """The mask says scratch where the picture is bright, whatever the turn, zoom, shear, shift and flip."""
    pixels = np.zeros((200, 300, 1), np.uint8)
    cv2.ellipse(pixels, (150, 100), (60, 25), 30, 0, 360, 255, -1)
    picture = Picture(entry(0, 0, "scratch"), pixels, (pixels[:, :, 0] > 0).astype(np.uint8))
    generator = np.random.default_rng(3)
    settings = AugmentationSettings(rotation_degrees=45, zoom=2, shear=0.5, shift_share=0.5)
    areas = []
    for _ in range(60):
        crop, truth = warp(picture, crop_transform((150, 100), 128, settings, generator), 128)
        bright = crop[:, :, 0] > 127
        # they differ at most along the outline, where one is interpolated and the other is not
        differing = cv2.erode((bright != (truth > 0)).astype(np.uint8), np.ones((3, 3), np.uint8))
        assert not differing.any()
        areas.append(int(truth.sum()))
    assert min(areas) < 0.6 * max(areas)  # zoom and shift do something


def test_without_augmentation_a_crop_is_a_crop() -> None:
    """With every range at nothing the crop is the picture itself around its centre."""
    pixels = np.random.default_rng(0).integers(0, 255, (50, 60, 1)).astype(np.uint8)
    picture = Picture(entry(0, 0, "ok"), pixels, np.zeros((50, 60), np.uint8))
    still = AugmentationSettings(flips=False, quarter_turns=False, rotation_degrees=0, shift_share=0, zoom=1, shear=0)
    crop, _ = warp(picture, crop_transform((30, 25), 32, still, np.random.default_rng(0)), 32)
    np.testing.assert_array_equal(crop, pixels[9:41, 14:46])


def test_the_phone_pictures_split_by_group(real_data: Path) -> None:
    """phone_msd reads without a complaint: 70 pictures, 8 + 8 + 7 held out."""
    entries = read_manifest(real_data / "phone_msd")
    parts = split(entries, 0.3333, 0.2, seed=7)
    assert len(entries) == 70
    assert sum(part == "test" for part in parts.values()) == 23


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    """A disk's error, here the kernel's own for memory that nobody mapped, is no traceback and names the file."""
    unreadable = Path("/proc/self/mem")
    with pytest.raises(DatasetError, match=r"/proc/self/mem cannot be read: Input/output error"):
        content_sha256(unreadable)
    (folder / "manifest.csv").unlink(missing_ok=True)
    (folder / "manifest.csv").symlink_to(unreadable)
    with pytest.raises(DatasetError, match=r"manifest\.csv cannot be read"):
        read_manifest(folder)
