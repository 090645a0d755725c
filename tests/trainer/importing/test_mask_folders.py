from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.records import UInt8
from tests.trainer.importing.pictures import imported, rectangle, save, surface, truths
from trainer.datasets.dataset import read_manifest
from trainer.importing.indexed_png import read_indexed
from trainer.importing.mask_folders import read_masks, read_masks_by_class

SIZE = (20, 30)


def palette_png(ids: UInt8, bits: int, *, grey: bool = False) -> bytes:
    """Write a PNG by the specification: `bits` per pixel, with a palette of random colours or grey; no filter."""
    height, width = ids.shape
    per_byte = 8 // bits
    padded = np.zeros((height, -(-width // per_byte) * per_byte), np.uint8)
    padded[:, :width] = ids
    packed = np.zeros((height, padded.shape[1] // per_byte), np.uint8)
    for place in range(per_byte):
        packed |= padded[:, place::per_byte] << np.uint8(8 - bits * (place + 1))
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    colours = np.random.default_rng(0).integers(0, 256, (2**bits, 3)).astype(np.uint8).tobytes()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0 if grey else 3, 0, 0, 0))
    palette = b"" if grey else chunk(b"PLTE", colours) + chunk(b"tRNS", bytes(2**bits))
    return b"\x89PNG\r\n\x1a\n" + header + palette + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@given(st.sampled_from([1, 2, 4, 8]), st.booleans(), st.integers(1, 9), st.integers(1, 19), st.integers(0, 99))
def test_class_ids_come_out_of_any_png(
    tmp_path_factory: pytest.TempPathFactory, bits: int, grey: bool, height: int, width: int, seed: int
) -> None:
    """With a palette or grey, of 1 to 8 bits per pixel: the values are the ids, not colours or spread greys."""
    ids = np.random.default_rng(seed).integers(0, 2**bits, (height, width)).astype(np.uint8)
    path = tmp_path_factory.mktemp("png") / "mask.png"
    path.write_bytes(palette_png(ids, bits, grey=grey))
    np.testing.assert_array_equal(read_indexed(path), ids)


def test_what_holds_no_class_ids_is_refused(tmp_path: Path) -> None:
    """Colours, ids beyond 255, a cut-off PNG and no picture are errors that name the file. Grey in colours is none."""
    ids = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.testing.assert_array_equal(read_indexed(save(tmp_path / "bgr.png", np.dstack([ids] * 3))), ids)
    with pytest.raises(DatasetError, match=r"colour\.png: expected one value of 8 bits"):
        read_indexed(save(tmp_path / "colour.png", np.dstack([ids, ids, 2 * ids])))
    assert cv2.imwrite(str(tmp_path / "deep.png"), ids.astype(np.uint16) * 300)
    with pytest.raises(
        DatasetError, match=r"deep\.png: expected the ids of classes, from 0 to 255, received up to 3300"
    ):
        read_indexed(tmp_path / "deep.png")
    whole = palette_png(ids, 8)
    for name, content in (
        ("cut.png", whole[:-30]),
        ("none.png", b"nothing"),
        ("empty.png", b""),
        ("head.png", whole[:20]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DatasetError, match=name):
            read_indexed(tmp_path / name)
    with pytest.raises(DatasetError, match=r"absent\.png: there is no such file"):
        read_indexed(tmp_path / "absent.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write three pictures, one in a subfolder."""
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        save(tmp_path / "pictures" / name, surface(1, SIZE))
    return tmp_path


def test_a_folder_of_masks_per_class(folder: Path) -> None:
    """Each folder's masks are of its class; masks may repeat the pictures' folders or not; `ok` is clean."""
    save(folder / "masks" / "scratch" / "a.png", rectangle(SIZE, 1, 2, 3, 4))
    save(folder / "masks" / "scratch" / "c.png", rectangle(SIZE, 0, 0, 2, 2))
    save(folder / "masks" / "stain" / "sub" / "c.png", rectangle(SIZE, 10, 10, 5, 5))
    save(folder / "masks" / "ok" / "b.png", rectangle(SIZE, 0, 0, 0, 0))
    written = imported(read_masks_by_class(folder / "pictures", folder / "masks", ""), folder / "out", empty_share=0)
    assert (written.pictures, written.by_class, written.clean) == (3, {"scratch": 2, "stain": 1}, 1)
    found = truths(folder / "out")
    np.testing.assert_array_equal(found["a.jpg"][1], rectangle(SIZE, 1, 2, 3, 4) // 255)
    np.testing.assert_array_equal(
        found["sub/c.jpg"][1], rectangle(SIZE, 0, 0, 2, 2) // 255 + rectangle(SIZE, 10, 10, 5, 5) // 255 * 2
    )
    assert found["b.jpg"][0] == ()


def test_one_mask_per_picture_of_one_class(folder: Path) -> None:
    """Black and white masks with a suffix, of 0 and 255 or of 0 and 1. A missing one is an error or clean."""
    save(folder / "masks" / "a_mask.png", rectangle(SIZE, 1, 2, 3, 4))
    save(folder / "masks" / "b_mask.png", rectangle(SIZE, 5, 5, 2, 2) // 255)
    save(folder / "masks" / "notes.png", rectangle(SIZE, 5, 5, 2, 2))
    with pytest.raises(DatasetError, match=r"1 picture has no mask in .*sub/c\.jpg"):
        read_masks(folder / "pictures", folder / "masks", "_mask", class_name="dent", missing_is_clean=False)
    source = read_masks(folder / "pictures", folder / "masks", "_mask", class_name="dent", missing_is_clean=True)
    assert imported(source, folder / "out").by_class == {"dent": 2}
    found = truths(folder / "out")
    np.testing.assert_array_equal(found["a.jpg"][1], rectangle(SIZE, 1, 2, 3, 4) // 255)
    np.testing.assert_array_equal(found["b.jpg"][1], rectangle(SIZE, 5, 5, 2, 2) // 255)
    assert found["sub/c.jpg"][0] == ()


def test_one_mask_per_picture_of_class_ids(folder: Path) -> None:
    """Values are classes by --names, a palette's too; one named ok says nothing; one without a name is an error."""
    ids = np.zeros(SIZE, np.uint8)
    ids[2:4], ids[10:12], ids[15] = 1, 7, 255
    save(folder / "masks" / "a.png", ids)
    (folder / "masks" / "b.png").write_bytes(palette_png(ids, 8))
    save(folder / "masks" / "c.png", np.zeros(SIZE, np.uint8))
    names = {1: "scratch", 7: "stain", 255: "ok"}
    source = read_masks(folder / "pictures", folder / "masks", "", ids=names, missing_is_clean=False)
    assert imported(source, folder / "out").by_class == {"scratch": 2, "stain": 2}
    found = truths(folder / "out")
    for name in ("a.jpg", "b.jpg"):
        np.testing.assert_array_equal(found[name][1], np.where(ids == 7, 2, ids == 1))
    del names[7]
    source = read_masks(folder / "pictures", folder / "masks", "", ids=names, missing_is_clean=False)
    with pytest.raises(DatasetError, match=r"a\.png: expected the values 0 and 1, 255, received 7 on 60 px"):
        imported(source, folder / "again")


def test_masks_may_lie_among_the_pictures(folder: Path) -> None:
    """In the same folder a suffix tells them apart. A folder of masks below the pictures is no folder of pictures."""
    for name in ("a", "b", "sub/c"):
        save(folder / "pictures" / f"{name}_m.png", rectangle(SIZE, 1, 2, 3, 4))
    where = folder / "pictures"
    source = read_masks(where, where, "_m", class_name="dent", missing_is_clean=False)
    assert imported(source, folder / "out").pictures == 3
    with pytest.raises(DatasetError, match="expected --suffix"):
        read_masks(where, where, "", class_name="dent", missing_is_clean=False)
    save(folder / "nested" / "1.jpg", surface(1, SIZE))
    save(folder / "nested" / "masks" / "dent" / "1.png", rectangle(SIZE, 1, 2, 3, 4))
    source = read_masks_by_class(folder / "nested", folder / "nested" / "masks", "")
    assert imported(source, folder / "out2").pictures == 1


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.zeros((10, 30), np.uint8), r"masks/a\.png: expected 30 x 20 px as in .*a\.jpg, received 30 x 10"),
        (np.full(SIZE, 3, np.uint8), r"masks/a\.png: expected a mask of 0 and 255, received levels up to 3"),
        (b"none", r"masks/a\.png is no picture that can be read"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(folder: Path, mask: UInt8 | bytes, says: str) -> None:
    """Another size, class ids in place of black and white, an unreadable file."""
    (folder / "masks").mkdir()
    if isinstance(mask, bytes):
        (folder / "masks" / "a.png").write_bytes(mask)
    else:
        save(folder / "masks" / "a.png", mask)
    with pytest.raises(DatasetError, match=says):
        imported(
            read_masks(folder / "pictures", folder / "masks", "", class_name="dent", missing_is_clean=True),
            folder / "out",
        )
    assert not (folder / "out").exists()


def test_masks_and_pictures_must_belong_together(folder: Path) -> None:
    """A mask without a picture, two masks of one, no folders of classes, and no pictures are errors."""
    save(folder / "masks" / "dent" / "x.png", rectangle(SIZE, 1, 2, 3, 4))
    with pytest.raises(DatasetError, match=r"x\.png: expected a picture of the name x for this mask"):
        read_masks_by_class(folder / "pictures", folder / "masks", "")
    with pytest.raises(DatasetError, match="expected a folder of masks for each class"):
        read_masks_by_class(folder / "pictures", folder / "masks" / "dent", "")
    for name in ("a.png", "a.bmp"):
        save(folder / "flat" / name, rectangle(SIZE, 1, 2, 3, 4))
    with pytest.raises(DatasetError, match=r"a\.jpg: expected one mask, received .*a\.bmp and .*a\.png"):
        read_masks(folder / "pictures", folder / "flat", "", class_name="dent", missing_is_clean=True)
    with pytest.raises(DatasetError, match="No folder at"):
        read_masks(folder / "nowhere", folder / "flat", "", class_name="dent", missing_is_clean=True)


@pytest.mark.real_data
def test_real_magnetic_tiles_are_read_from_their_folders(real_data: Path, tmp_path: Path) -> None:
    """Folders of masks by class come to what the set's own manifest says; empty Uneven masks become clean."""
    data = real_data / "magnetic_tile"
    written = imported(read_masks_by_class(data / "images", data / "masks", ""), tmp_path / "out")
    told = [entry for entry in read_manifest(data) if entry.masks]
    empty = [
        entry.image.removeprefix("images/")
        for entry in told
        if np.asarray(cv2.imread(str(entry.masks[0][1]), cv2.IMREAD_GRAYSCALE)).max() <= 127
    ]
    assert empty
    assert all(name.startswith("Uneven/") for name in empty)
    assert sorted(written.empty_kept) == sorted(empty)
    assert sum(written.by_class.values()) == len(told) - len(empty)
    assert written.clean == 260 + len(empty)
