"""Labels as people have them: masks of every make, names, tables and drawings, and what becomes of each."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.errors import DatasetError
from edge.opencv import cv2
from edge.records import UInt8
from tests.trainer.importing.pictures import imported, rectangle, save, surface, truths
from trainer.datasets.class_naming import questions, sounds_good
from trainer.importing.class_folders import read_class_folders
from trainer.importing.manifest_csv import read_manifests
from trainer.importing.mask_folders import read_masks, read_masks_by_class
from trainer.importing.mask_sets import MaskChoices
from trainer.importing.red_marker import RedMarkerSettings, read_red_marker
from trainer.importing.red_paint import Paint
from trainer.importing.rle_csv import read_rle
from trainer.importing.voc_boxes import read_voc

SIZE = (60, 80)
WANTED = rectangle(SIZE, 10, 12, 20, 30)
RED, GREEN = (0, 0, 255), (0, 255, 0)


def objects(dtype: type, first: int = 1) -> np.ndarray:
    """Return a mask that numbers 150 objects of 4 x 4 px."""
    mask = np.zeros((120, 160), dtype)
    for number in range(150):
        y, x = divmod(number, 15)
        mask[y * 12 + 1 : y * 12 + 5, x * 10 + 1 : x * 10 + 5] = first + number
    return mask


def coloured(*parts: tuple[tuple[int, int, int], UInt8]) -> UInt8:
    """Paint masks in colours (BGR) on black."""
    mask = np.zeros((*SIZE, 3), np.uint8)
    for colour, part in parts:
        mask[part > 0] = colour
    return mask


def png(pixels: np.ndarray) -> bytes:
    """Encode as PNG."""
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def alpha(colours: UInt8, opacity: UInt8) -> bytes:
    """Encode colours with an opacity."""
    return png(np.dstack([colours, opacity]))


def by_pillow(pixels: np.ndarray, kind: str, mode: str = "", **options: object) -> bytes:
    """Encode by Pillow."""
    target = io.BytesIO()
    image = Image.fromarray(pixels if pixels.ndim == 2 else pixels[:, :, ::-1])
    (image.convert(mode) if mode else image).save(target, kind, **options)
    return target.getvalue()


def few_bits(levels: UInt8, bits: int) -> bytes:
    """Encode as a grey PNG of 2 or 4 bits, by hand: no library at hand writes one."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    apart = levels.reshape(levels.shape[0], -1, 8 // bits)
    shifts = np.arange(8 - bits, -1, -bits)
    rows = (apart << shifts).sum(axis=2).astype(np.uint8)
    body = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def deep_colours(*parts: tuple[tuple[int, int, int], UInt8]) -> np.ndarray:
    """Paint as `coloured` does, in 16 bits."""
    return coloured(*parts).astype(np.uint16) * 257


FLAT = np.full((*SIZE, 3), 200, np.uint8)
OTHER = rectangle(SIZE, 40, 50, 8, 9)

# masks → what is read (a mask of 0 and 255), or what the refusal says
READ: dict[str, tuple[Callable[[], bytes], np.ndarray | str]] = {
    "black and white": (lambda: png(WANTED), WANTED),
    "0 and 1": (lambda: png(WANTED // 255), WANTED),
    "16 bits, 0 and 65535": (lambda: png(WANTED.astype(np.uint16) * 257), WANTED),
    "16 bits, 0 and 255": (lambda: png(WANTED.astype(np.uint16)), WANTED),
    "one colour": (lambda: png(coloured((RED, WANTED))), WANTED),
    "two colours": (lambda: png(coloured((RED, WANTED), (GREEN, OTHER))), "--colours, such as FF0000=NAME,00FF00=NAME"),
    "4 bits, 0 and 1": (lambda: few_bits(WANTED // 255, 4), WANTED),
    "2 bits, 0 and 3": (lambda: few_bits(WANTED // 255 * 3, 2), WANTED),
    "4 bits, one class id": (lambda: few_bits(WANTED // 255 * 3, 4), "--names 3=NAME"),
    "4 bits, class ids": (lambda: few_bits(WANTED // 255 + OTHER // 255 * 2, 4), "--names 1=NAME,2=NAME"),
    "one colour of 16 bits": (lambda: png(deep_colours((RED, WANTED))), WANTED),
    "two colours of 16 bits": (
        lambda: png(deep_colours((RED, WANTED), (GREEN, OTHER))),
        "--colours, such as FF0000=NAME,00FF00=NAME",
    ),
    "two colours of 12 bits": (
        lambda: png(deep_colours((RED, WANTED), (GREEN, OTHER)) // 16),
        "Save it with 8 bits for each colour",
    ),
    "in the opacity": (lambda: alpha(FLAT, WANTED), WANTED),
    "white on transparent black": (lambda: alpha(np.dstack([WANTED] * 3), WANTED), WANTED),
    "opaque": (lambda: alpha(np.dstack([WANTED] * 3), np.full(SIZE, 255, np.uint8)), WANTED),
    "colours and opacity vary": (lambda: alpha(surface(3), WANTED), "transparency both vary"),
    "soft edges": (lambda: png(cv2.GaussianBlur(WANTED, (0, 0), 0.8)), WANTED),
    "JPEG": (lambda: bytes(cv2.imencode(".jpg", WANTED)[1].tobytes()), WANTED),
    "class ids": (lambda: png(WANTED // 255 + OTHER // 255 * 2), "--names 1=NAME,2=NAME"),
    "one class id": (lambda: png(WANTED // 255 * 3), "--names 3=NAME"),
    "a feather of 20 px": (lambda: png(cv2.GaussianBlur(WANTED, (0, 0), 9)), "levels above 0"),
    "inverted": (lambda: png(255 - WANTED), "--defect-is black"),
    "a class and 255 to ignore": (
        lambda: png(np.where(OTHER > 0, 255, WANTED // 255).astype(np.uint8)),
        "levels above 0",
    ),
    "16 bits, objects 41 and 60000": (
        lambda: png(WANTED.astype(np.uint16) // 255 * 60000 + OTHER.astype(np.uint16) // 255 * 41),
        "levels above 0",
    ),
    "a colour that JPEG blurred": (lambda: by_pillow(coloured((RED, WANTED)), "JPEG"), "that JPEG has blurred"),
    "painted on a photo": (
        lambda: png(np.where(WANTED[:, :, None] > 0, RED, surface(1)).astype(np.uint8)),
        "as a photo",
    ),
    "transparent, of many colours": (lambda: alpha(surface(3), np.zeros(SIZE, np.uint8)), "transparent everywhere"),
    "0 is white, 1 bit": (lambda: by_pillow(255 - WANTED, "TIFF", mode="1", tiffinfo={262: 0}), "--defect-is black"),
    "all white": (lambda: png(np.full(SIZE, 255, np.uint8)), "--defect-is"),
}


def _pages() -> bytes:
    target = io.BytesIO()
    Image.fromarray(WANTED).save(target, "TIFF", save_all=True, append_images=[Image.fromarray(WANTED)])
    return target.getvalue()


READ["several pages"] = (_pages, "2 pictures; expected one")


@pytest.mark.parametrize("name", READ)
def test_each_kind_of_mask_is_understood_or_refused(tmp_path: Path, name: str) -> None:
    """A mask's meaning is determined, or refused with the flag that answers; never cut at 127."""
    make, expected = READ[name]
    save(tmp_path / "p" / "a.png", surface(1, SIZE))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.png").write_bytes(make())

    def taken() -> UInt8:
        source = read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=False)
        imported(source, tmp_path / "out")
        return truths(tmp_path / "out")["a.png"][1] * np.uint8(255)

    if isinstance(expected, str):
        with pytest.raises(DatasetError, match=expected):
            taken()
        assert not (tmp_path / "out").exists()
    else:
        found = taken()
        edge = cv2.morphologyEx(expected, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        wrong = found != expected
        assert not wrong.any() if name not in {"soft edges", "JPEG"} else not (wrong & ~edge).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_that_number_objects_keep_every_object(tmp_path: Path, dtype: type) -> None:
    """150 cells, numbered in 8 or 16 bits, are 150 cells, and it is said. A mask of one belongs to the set."""
    for name, mask in {"a": objects(dtype), "b": (objects(dtype) == 7).astype(dtype) * 7}.items():
        save(tmp_path / "p" / f"{name}.png", surface(1, (120, 160)))
        save(tmp_path / "m" / f"{name}.png", mask)
    source = read_masks(tmp_path / "p", tmp_path / "m", "", class_name="cell", missing_is_clean=False)
    assert "every level above 0 is the defect" in " ".join(source.told)
    imported(source, tmp_path / "out")
    found = {name: cv2.connectedComponents(truth)[0] - 1 for name, (_, truth) in truths(tmp_path / "out").items()}
    assert found == {"a.png": 150, "b.png": 1}


def test_answers_to_ambiguous_masks_are_taken(tmp_path: Path) -> None:
    """--colours, --defect-is and --objects read what was refused without them."""
    save(tmp_path / "p" / "a.png", surface(1, SIZE))
    masks = {
        "colour": (coloured((RED, WANTED), (GREEN, OTHER)), {"colours": {(255, 0, 0): "scratch", (0, 255, 0): "dent"}}),
        "deep": (deep_colours((RED, WANTED), (GREEN, OTHER)), {"colours": {(255, 0, 0): "a", (0, 255, 0): "b"}}),
        "black": (255 - WANTED, {"class_name": "dent", "choices": MaskChoices(defect_is="black")}),
        "objects": (WANTED // 255 + OTHER // 255 * 2, {"class_name": "dent", "choices": MaskChoices(objects=True)}),
    }
    expected = {
        "colour": {"scratch": WANTED, "dent": OTHER},
        "deep": {"a": WANTED, "b": OTHER},
        "black": {"dent": WANTED},
        "objects": {"dent": WANTED | OTHER},
    }
    for name, (mask, options) in masks.items():
        save(tmp_path / name / "a.png", mask)
        source = read_masks(tmp_path / "p", tmp_path / name, "", missing_is_clean=False, **options)
        imported(source, tmp_path / f"out-{name}")
        for class_name, wanted in expected[name].items():
            read = cv2.imread(str(tmp_path / f"out-{name}" / "masks" / class_name / "a.png"), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(read, wanted), (name, class_name)


def test_one_colour_per_mask_and_two_in_the_set_is_asked_about(tmp_path: Path) -> None:
    """Red scratches in one file and green dents in another are not one class."""
    for name, colour in {"a": RED, "b": GREEN}.items():
        save(tmp_path / "p" / f"{name}.png", surface(1, SIZE))
        save(tmp_path / "m" / f"{name}.png", coloured((colour, WANTED)))
    with pytest.raises(DatasetError, match=r"several colours.*--colours"):
        read_masks(tmp_path / "p", tmp_path / "m", "", class_name="scratch", missing_is_clean=False)


def of_set(tmp_path: Path, **masks: np.ndarray) -> dict[str, int]:
    """Import masks of one class, and return how many pixels of each picture are defective."""
    for name, mask in masks.items():
        save(tmp_path / "p" / f"{name}.png", surface(len(name), SIZE))
        save(tmp_path / "m" / f"{name}.png", mask)
    imported(
        read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=False), tmp_path / "out"
    )
    return {name: int(truth.sum()) for name, (_, truth) in truths(tmp_path / "out").items()}


def test_a_layer_on_which_nothing_is_drawn_is_an_empty_mask(tmp_path: Path) -> None:
    """White, but nowhere opaque: nothing is defective, rather than everything."""
    white = np.full((*SIZE, 3), 255, np.uint8)
    nothing, drawn = np.dstack([white, np.zeros(SIZE, np.uint8)]), np.dstack([white, WANTED])
    assert of_set(tmp_path, a=nothing, b=drawn) == {"a.png": 0, "b.png": 600}


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (255 - WANTED, r"1 of 4 masks call most.*if only these are inverted mend them"),
        (255 - rectangle(SIZE, 0, 0, 24, 80), r"1 of 4 masks call most"),
        (coloured((RED, WANTED)), r"coloured and black and white.*--colours FF0000=NAME,FFFFFF=NAME"),
    ],
)
def test_one_mask_of_a_set_that_is_otherwise_is_asked_about(tmp_path: Path, odd: np.ndarray, says: str) -> None:
    """One inverted mask, or a red one, among white ones is not taken as they are."""
    with pytest.raises(DatasetError, match=says):
        of_set(tmp_path, a=odd, b=WANTED, c=OTHER, d=WANTED)


def test_ids_of_classes_in_files_of_16_bits_are_read(tmp_path: Path) -> None:
    """3 of 65535 is class 3; ids beyond 255 are numbers of objects."""
    save(tmp_path / "p" / "a.png", surface(1, SIZE))
    save(tmp_path / "m" / "a.png", WANTED.astype(np.uint16) // 255 * 3)
    save(tmp_path / "n" / "a.png", WANTED.astype(np.uint16) // 255 * 300)
    ids = {"ids": {3: "dent"}, "missing_is_clean": False}
    imported(read_masks(tmp_path / "p", tmp_path / "m", "", **ids), tmp_path / "out")
    assert truths(tmp_path / "out")["a.png"][1].sum() == 600
    with pytest.raises(DatasetError, match=r"received up to 300.*--objects"):
        imported(read_masks(tmp_path / "p", tmp_path / "n", "", **ids), tmp_path / "none")


def test_masks_beside_the_classes_folders_are_not_lost(tmp_path: Path) -> None:
    """A mask in no class's folder is an error: its picture would become clean."""
    for name in ("1", "2"):
        save(tmp_path / "p" / f"{name}.png", surface(1, SIZE))
    save(tmp_path / "m" / "dent" / "1.png", WANTED)
    save(tmp_path / "m" / "2.png", OTHER)
    with pytest.raises(DatasetError, match=r"1 mask lies in no class's folder: .*2\.png"):
        read_masks_by_class(tmp_path / "p", tmp_path / "m", "")


@pytest.mark.parametrize("folder", ["good", "OK", "i.O.", "Gut", "normal", "fehlerfrei", "ok_front", "No Defect"])
def test_a_defect_on_a_picture_in_a_folder_of_good_ones_is_refused(tmp_path: Path, folder: str) -> None:
    """With one class for all masks the picture's folder counts, too; an empty mask contradicts nothing."""
    for name, mask in {f"{folder}/1": OTHER * 0, "bad/2": WANTED}.items():
        save(tmp_path / "p" / f"{name}.png", surface(1, SIZE))
        save(tmp_path / "m" / f"{name}.png", mask)
    how = {"class_name": "dent", "missing_is_clean": False}
    written = imported(read_masks(tmp_path / "p", tmp_path / "m", "", **how), tmp_path / "out")
    assert written.by_class == {"dent": 1}
    save(tmp_path / "m" / folder / "1.png", OTHER)
    with pytest.raises(DatasetError, match=r"it has a defect, and its picture .* lies in the folder"):
        imported(read_masks(tmp_path / "p", tmp_path / "m", "", **how), tmp_path / "none")
    save(tmp_path / "by-class" / "dent" / "1.png", WANTED)
    with pytest.raises(DatasetError, match="has its name, and lies in the folder"):
        read_masks_by_class(tmp_path / "p", tmp_path / "by-class", "")


@pytest.mark.parametrize(
    ("picture", "mask", "says"),
    [
        ("img_1", "img_1_mask", "Give --suffix _mask"),
        ("img_1", "mask_img_1", "take mask_ off"),
        ("IMG_1", "img_1", "differs from it in capitals"),
        ("train/images/1", "train/masks/1", "in another folder"),
    ],
)
def test_a_mask_that_does_not_pair_is_told_why(tmp_path: Path, picture: str, mask: str, says: str) -> None:
    """The error names the flag, or what to rename."""
    save(tmp_path / "p" / f"{picture}.png", surface(1, SIZE))
    save(tmp_path / "m" / f"{mask}.png", WANTED)
    with pytest.raises(DatasetError, match=says):
        read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=True)


def test_masks_without_the_suffix_are_told(tmp_path: Path) -> None:
    """A file among masks without their suffix is left out, and named; accents may be taken apart."""
    for name in ("1", "2"):
        save(tmp_path / "p" / f"{name}.png", surface(1, SIZE))
    save(tmp_path / "m" / "1_ma\u0308.png", WANTED)  # as a Mac writes it
    save(tmp_path / "m" / "2.png", OTHER)
    how = {"class_name": "dent", "missing_is_clean": True}
    source = read_masks(tmp_path / "p", tmp_path / "m", "_m\u00e4", **how)
    assert any("2.png" in line and "do not end in" in line for line in source.told)
    assert imported(source, tmp_path / "out").by_class == {"dent": 1}


def test_folders_count_where_names_repeat(tmp_path: Path) -> None:
    """A mask of line B is not laid on line A's picture of the same number. All that does not pair is listed."""
    for name in ("lineA/000", "lineA/001", "lineB/002"):
        save(tmp_path / "p" / f"{name}.png", surface(1, SIZE))
    for name in ("lineB/000", "lineB/001"):
        save(tmp_path / "m" / f"{name}.png", WANTED)
    with pytest.raises(DatasetError, match=r"2 masks do not pair:(.|\n)*lineB/000(.|\n)*lineB/001"):
        read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=True)


def test_masks_are_not_laid_on_pictures_of_another_class_or_good_ones(tmp_path: Path) -> None:
    """As MVTec has them: ground_truth/dent/000_mask.png is for dent/000.png, not for good/000.png."""
    save(tmp_path / "p" / "good" / "000.png", surface(1, SIZE))
    save(tmp_path / "p" / "good" / "001.png", surface(1, SIZE))
    save(tmp_path / "p" / "dent" / "001.png", surface(2, SIZE))
    save(tmp_path / "m" / "dent" / "001_mask.png", WANTED)
    source = read_masks_by_class(tmp_path / "p", tmp_path / "m", "_mask")
    assert imported(source, tmp_path / "out").by_class == {"dent": 1}
    save(tmp_path / "m" / "dent" / "000_mask.png", WANTED)
    with pytest.raises(DatasetError, match=r"000_mask\.png: good/000\.png has its name, and lies in the folder good"):
        read_masks_by_class(tmp_path / "p", tmp_path / "m", "_mask")


def turned_jpeg(path: Path, orientation: int, size: tuple[int, int] = SIZE) -> None:
    """Write a JPEG that viewers turn."""
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(surface(1, size)[:, :, ::-1]).save(path, "JPEG", exif=exif)


def test_a_turned_picture_takes_masks_as_shown_and_as_stored(tmp_path: Path) -> None:
    """By a quarter the size tells which; the mask that was drawn on the stored pixels is turned with them."""
    shown = np.rot90(WANTED, -1)  # orientation 6: clockwise
    for name in ("a", "b"):
        turned_jpeg(tmp_path / "p" / f"{name}.jpg", 6)
    save(tmp_path / "m" / "a.png", WANTED)
    save(tmp_path / "m" / "b.png", shown)
    source = read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=False)
    written = imported(source, tmp_path / "out")
    found = truths(tmp_path / "out")
    assert np.array_equal(found["a.jpg"][1] * 255, shown)
    assert np.array_equal(found["b.jpg"][1] * 255, shown)
    assert "1 picture is turned by the orientation in the file; labels were turned too" in written.notes


def test_what_may_lie_both_ways_is_asked_about(tmp_path: Path) -> None:
    """Upside down the mask fits both ways: refused without --labels-lie, and right with either answer; so are runs."""
    turned_jpeg(tmp_path / "p" / "a.jpg", 3)
    save(tmp_path / "m" / "a.png", WANTED)
    (tmp_path / "t.csv").write_text("ImageId,ClassId,EncodedPixels\na.jpg,1,1 60\n")

    def masks(lie: str) -> UInt8:
        source = read_masks(
            tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=False, labels_lie=lie
        )
        imported(source, tmp_path / f"out{lie}")
        return truths(tmp_path / f"out{lie}")["a.jpg"][1] * np.uint8(255)

    with pytest.raises(DatasetError, match="--labels-lie shown"):
        masks("")
    assert np.array_equal(masks("shown"), WANTED)
    assert np.array_equal(masks("stored"), WANTED[::-1, ::-1])
    with pytest.raises(DatasetError, match="--labels-lie shown"):
        imported(read_rle(tmp_path / "t.csv", tmp_path / "p", {}), tmp_path / "rle")
    imported(read_rle(tmp_path / "t.csv", tmp_path / "p", {}, "stored"), tmp_path / "rle")
    assert truths(tmp_path / "rle")["a.jpg"][1][:, -1].all()  # the first column, turned


def test_every_broken_file_is_listed_at_once(tmp_path: Path) -> None:
    """Three broken pictures of five are all named, and nothing is written."""
    for number in range(5):
        save(tmp_path / "p" / f"{number}.png", surface(number, SIZE))
        save(tmp_path / "m" / f"{number}.png", WANTED)
    for number in (1, 3, 4):
        (tmp_path / "p" / f"{number}.png").write_bytes(b"broken")
    source = read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=False)
    with pytest.raises(DatasetError, match=r"3 pictures cannot be used:(.|\n)*1\.png(.|\n)*3\.png(.|\n)*4\.png"):
        imported(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    [
        "normal",
        "Normal",
        "ok_front",
        "OK-2",
        "No Defect",
        "no_defects",
        "NoDefect",
        "defect-free",
        "good part",
        "passed",
        "i.O.",
        "in Ordnung",
        "GUTTEILE",
        "fehlerfrei",
        "keine Fehler",
        "ohne_Befund",
        "sin defecto",
        "conforme",
        "GO",
        "none",
        "正常",
        "良品",
        "negative",
        "golden_sample",
        "reference",
        "no_scratch",
        "ohne Kratzer",
        "without dents",
        "undefective",
        "geen defect",
        "sem defeito",
        "utan fel",
        "bonnes",
        "neg",
    ],
)
def test_names_that_mean_good_are_asked_about(name: str) -> None:
    """They are no defects until somebody says so."""
    assert sounds_good(name)


@pytest.mark.parametrize(
    "name",
    [
        "not_ok",
        "NotGood",
        "nok",
        "abnormal",
        "scratch",
        "broken",
        "ng",
        "defect",
        "crack",
        "book",
        "unfinished",
        "n.i.O.",
        "niO",
        "nicht in Ordnung",
        "nicht_gut",
        "non-conforme",
        "NOGO",
        "不良品",
        "Ausschuss",
        "no_good",
        "No 3",
        "Nonne",
        "nodule",
    ],
)
def test_names_of_defects_are_taken(name: str) -> None:
    """A name that denies the good, or only holds its letters, is a defect's."""
    assert not sounds_good(name)


@pytest.mark.parametrize(
    ("folders", "says", "rename"),
    [
        (("Scratch", "scratch"), "differ in capitals", {"scratch": "Scratch"}),
        (("deep-scratch", "deep_scratch"), "differ in capitals or separators", {"deep_scratch": "deep-scratch"}),
        (("train", "dent"), "a folder of a split", {"train": "train"}),
        (("test1", "dent"), "a folder of a split", {"test1": "test1"}),
        (("fold_2", "dent"), "a folder of a split", {"fold_2": "stain"}),
        (("valid", "dent"), "a folder of a split", {"valid": "stain"}),
        (("trainval", "dent"), "a folder of a split", {"trainval": "stain"}),
        (("x_train", "dent"), "a folder of a split", {"x_train": "stain"}),
        (("valid_parts", "dent"), "a folder of a split", {"valid_parts": "ok"}),
        (("0", "1"), "the number that clean pictures often have", {"0": "ok"}),
        (("class_0", "class_1"), "the number that clean pictures often have", {"class_0": "class_0"}),
        (("normal", "dent"), "--rename 'normal=ok'", {"normal": "ok"}),
        (("No Defect", "dent"), "--rename 'No Defect=ok'", {"No Defect": "ok"}),
        (("ok_front", "dent"), "--rename 'ok_front=ok'", {"ok_front": "ok_front"}),
    ],
)
def test_class_names_that_may_be_none_are_asked_about(
    tmp_path: Path, folders: tuple[str, ...], says: str, rename: dict[str, str]
) -> None:
    """Without an answer nothing is written; with it the classes are as it says."""
    for number, name in enumerate(folders):
        save(tmp_path / "in" / name / f"{number}.png", surface(number, SIZE))
    with pytest.raises(DatasetError, match=says):
        imported(read_class_folders(tmp_path / "in", at_most=None, seed=0), tmp_path / "out")
    written = imported(read_class_folders(tmp_path / "in", at_most=None, seed=0), tmp_path / "out", rename=rename)
    expected = {rename.get(name, name) for name in folders} - {"ok"}
    assert set(written.by_class) == expected
    assert questions(expected, rename) == []


def test_a_renaming_of_nothing_is_told(tmp_path: Path) -> None:
    """--rename Scratchs=… names no class: a misspelt one would leave the real one as it was."""
    save(tmp_path / "in" / "scratch" / "0.png", surface(0, SIZE))
    source = read_class_folders(tmp_path / "in", at_most=None, seed=0)
    with pytest.raises(DatasetError, match="--rename scratchs=dent: expected one of the classes scratch"):
        imported(source, tmp_path / "out", rename={"scratchs": "dent"})


def test_a_manifest_as_excel_writes_it_is_read_and_its_classes_renamed(tmp_path: Path) -> None:
    """Semicolons, capitals, backslashes and empty rows; a class of two words becomes one of one."""
    data = tmp_path / "data"
    save(data / "images" / "a.png", surface(1, SIZE))
    save(data / "masks" / "a.png", WANTED)
    rows = "sep=;\r\nImage;Mask;Class;Group\r\nimages\\a.png;masks\\a.png;Deep Scratch;1\r\n;;;\r\n"
    (data / "manifest.csv").write_text("\ufeff" + rows)
    imported(read_manifests([data]), tmp_path / "out", rename={"Deep Scratch": "scratch"})
    classes, truth = truths(tmp_path / "out")["a.png"]
    assert classes == ("scratch",)
    assert np.array_equal(truth * 255, WANTED)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("images/a.png,masks/a.png,dent, deep,1\n", "row 2: it has more values than there are columns"),
        ("images/a.png,masks/a.png,dent,1\nimages/a.png,,ok,1\n", "row 3: .* is clean in one row and shows dent"),
        ("images/a.png,,ok,1\n./images/a.png,masks/a.png,dent,1\n", "row 3: .* is clean in one row and shows dent"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(tmp_path: Path, rows: str, says: str) -> None:
    """A comma that nobody quoted moves no value into another column, and no picture is clean and defective."""
    save(tmp_path / "images" / "a.png", surface(1, SIZE))
    save(tmp_path / "masks" / "a.png", WANTED)
    (tmp_path / "manifest.csv").write_text(f"image,mask,class,group\n{rows}")
    with pytest.raises(DatasetError, match=says):
        read_manifests([tmp_path])


def test_a_clean_picture_with_a_mask_that_has_pixels_is_refused(tmp_path: Path) -> None:
    """A row of the class ok may name a mask; where that shows something one of both is wrong."""
    save(tmp_path / "d" / "images" / "a.png", surface(1, SIZE))
    save(tmp_path / "d" / "masks" / "a.png", WANTED * 0)
    (tmp_path / "d" / "manifest.csv").write_text("image,mask,class,group\nimages/a.png,masks/a.png,ok,1\n")
    assert imported(read_manifests([tmp_path / "d"]), tmp_path / "out").by_class == {}
    save(tmp_path / "d" / "masks" / "a.png", WANTED)
    with pytest.raises(DatasetError, match=r"row 2: images/a\.png is ok, and its mask has 600 px"):
        imported(read_manifests([tmp_path / "d"]), tmp_path / "none")


def test_folders_that_are_left_out_of_the_classes_are_told(tmp_path: Path) -> None:
    """`__ignore__` is no class; its pictures are named."""
    for name in ("__ignore__", "dent"):
        save(tmp_path / "in" / name / "0.png", surface(len(name), SIZE))
    source = read_class_folders(tmp_path / "in", at_most=None, seed=0)
    assert any("__ignore__/0.png" in line for line in source.told)
    assert imported(source, tmp_path / "out").by_class == {"dent": 1}


@pytest.mark.parametrize("folder", ["@eaDir", "$RECYCLE.BIN", "System Volume Information"])
def test_folders_that_programs_leave_are_no_classes(tmp_path: Path, folder: str) -> None:
    """A folder that a network disk or Windows leaves beside the classes is told, and ends neither import."""
    save(tmp_path / "p" / "dent" / "0.png", surface(0, SIZE))
    save(tmp_path / "m" / "dent" / "0.png", WANTED)
    for place in ("p", "m"):
        save(tmp_path / place / folder / "0.png", surface(1, SIZE))
    source = read_class_folders(tmp_path / "p", at_most=None, seed=0)
    assert any(folder in line for line in source.told)
    assert imported(source, tmp_path / "classes").by_class == {"dent": 1}
    source = read_masks_by_class(tmp_path / "p", tmp_path / "m", "")
    assert imported(source, tmp_path / "masks").by_class == {"dent": 1}


def test_one_folder_under_two_names_is_told_as_such(tmp_path: Path) -> None:
    """A link to another class's folder is no empty class: the error says which folder it is."""
    save(tmp_path / "dent" / "0.png", surface(0, SIZE))
    (tmp_path / "scratch").symlink_to(tmp_path / "dent")
    with pytest.raises(DatasetError, match=r"the same folder as .*dent: scratch"):
        read_class_folders(tmp_path, at_most=None, seed=0)


def test_names_that_no_table_can_hold_are_all_listed(tmp_path: Path) -> None:
    """Names that are no UTF-8 end no process: each is told as escapes, and nothing is written."""
    save(tmp_path / "in" / "ok" / "0.png", surface(0, SIZE))
    for name in ("dent/r\udcf6t.png", "d\udcfcll/1.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(surface(1, SIZE)))
    with pytest.raises(DatasetError, match=r"in UTF-8.*dent/r\\udcf6t\.png.*") as refused:
        read_class_folders(tmp_path / "in", at_most=None, seed=0)
    assert r"d\udcfcll/1.png" in str(refused.value)


@pytest.mark.parametrize("orientation", [2, 6])
def test_a_mask_that_is_turned_by_itself_is_refused(tmp_path: Path, orientation: int) -> None:
    """Its program showed it turned and drew it unturned, or the reverse: nothing says which."""
    exif = Image.Exif()
    exif[274] = orientation
    save(tmp_path / "p" / "a.png", surface(1, (60, 60)))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "a.png").write_bytes(by_pillow(WANTED[:, :60], "PNG", exif=exif))
    source = read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=False)
    with pytest.raises(DatasetError, match=r"of its own.*Save it without Exif"):
        imported(source, tmp_path / "out")


def test_voc_files_with_1000_classes_are_bounded(tmp_path: Path) -> None:
    """Each class of a picture has a mask of its size: too many are an error, not gigabytes."""
    save(tmp_path / "p" / "a.png", surface(0, (1000, 1400)))
    boxes = "".join(
        f"<object><name>c{number}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
        for number in range(1000)
    )
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.xml").write_text(f"<annotation>{boxes}</annotation>")
    with pytest.raises(DatasetError, match="expected at most 191 classes on a picture of 1400 x 1000 px"):
        imported(read_voc(tmp_path / "p", tmp_path / "x", first_pixel=1, missing_is_clean=False), tmp_path / "out")


def test_pictures_of_12_bits_are_imported_and_the_depth_is_told(tmp_path: Path) -> None:
    """The labels do not need the levels; the recipe's needs are said."""
    deep = surface(1, SIZE)[:, :, 0].astype(np.uint16) << 4
    save(tmp_path / "p" / "a.png", deep)
    save(tmp_path / "m" / "a.png", WANTED)
    source = read_masks(tmp_path / "p", tmp_path / "m", "", class_name="dent", missing_is_clean=False)
    written = imported(source, tmp_path / "out")
    assert any("preparing: [{step: depth, bits: 12}]" in note for note in written.notes)
    preview = cv2.imread(str(tmp_path / "out" / "preview.png"))
    assert preview.mean() > 30  # not black


def drawn_on(photo: UInt8) -> UInt8:
    """Paint a red bar on a photo."""
    drawing = photo.copy()
    drawing[20:40, 30:90] = RED
    return drawing


PHOTO = surface(5, (120, 160))
BAR = rectangle((120, 160), 20, 30, 20, 60)


def _layer(paper: UInt8 | None) -> np.ndarray:
    if paper is None:
        layer = np.zeros((120, 160, 4), np.uint8)
        layer[20:40, 30:90] = (0, 0, 255, 255)
        return layer
    return drawn_on(paper)


@pytest.mark.parametrize(
    ("name", "drawing"),
    [
        ("IMG_2000.png", drawn_on(PHOTO)),
        ("IMG_E2000.png", drawn_on(PHOTO)),
        ("IMG_2000 (1).png", drawn_on(PHOTO)),
        ("IMG_2000-edited.png", drawn_on(PHOTO)),
        ("IMG_2000 copy 2.png", drawn_on(PHOTO)),
        ("Kopie von IMG_2000.png", drawn_on(PHOTO)),
        ("IMG_2000.jpg.png", drawn_on(PHOTO)),
        ("IMG_2000~2.png", drawn_on(PHOTO)),
        ("IMG_2000.png", cv2.resize(drawn_on(PHOTO), (80, 60), interpolation=cv2.INTER_AREA)),
        ("IMG_2000.png", cv2.resize(drawn_on(PHOTO), (320, 240), interpolation=cv2.INTER_CUBIC)),
        ("IMG_2000.png", _layer(None)),
        ("IMG_2000.png", _layer(np.full((120, 160, 3), 255, np.uint8))),
        ("IMG_2000.png", _layer(np.zeros((120, 160, 3), np.uint8))),
    ],
)
def test_drawings_as_phones_hand_them_over_find_their_photos(tmp_path: Path, name: str, drawing: np.ndarray) -> None:
    """Renamed, resized, or the paint alone on a layer: the bar is found, within a pixel of its edge."""
    save(tmp_path / "p" / "IMG_2000.jpg", PHOTO, 95)
    save(tmp_path / "d" / name, drawing)
    mismatches: list[object] = []
    source = read_red_marker(tmp_path / "p", tmp_path / "d", RedMarkerSettings("scratch", Paint()), mismatches)
    imported(source, tmp_path / "out")
    found = truths(tmp_path / "out")["IMG_2000.jpg"][1] * np.uint8(255)
    edge = cv2.morphologyEx(BAR, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) > 0
    assert not ((found != BAR) & ~edge).any()
    assert mismatches == []


def test_a_second_drawing_and_a_stranger_are_listed(tmp_path: Path) -> None:
    """`… (1).png` beside the drawing itself, and a drawing without a photo, are in the report with their reasons."""
    save(tmp_path / "p" / "IMG_2000.png", PHOTO)
    for name in ("IMG_2000.png", "IMG_2000 (1).png", "IMG_9999.png"):
        save(tmp_path / "d" / name, drawn_on(PHOTO))
    mismatches: list[object] = []
    source = read_red_marker(tmp_path / "p", tmp_path / "d", RedMarkerSettings("scratch", Paint()), mismatches)
    imported(source, tmp_path / "out")
    assert {(each.drawing, each.reason) for each in mismatches} == {
        ("IMG_2000 (1).png", "second drawing"),
        ("IMG_9999.png", "no photo"),
    }


def test_nearly_red_paint_and_open_outlines_are_told(tmp_path: Path) -> None:
    """Orange beside red, and a ring with a gap of 20 px, are partly taken, and listed."""
    orange, ring = drawn_on(PHOTO), PHOTO.copy()
    orange[70:90, 30:90] = (0, 128, 255)  # 30 degrees
    cv2.ellipse(ring, (80, 60), (40, 40), 0, 20, 340, RED, 4)
    for name, drawing in {"a": orange, "b": ring}.items():
        save(tmp_path / "p" / f"{name}.png", PHOTO)
        save(tmp_path / "d" / f"{name}.png", drawing)
    mismatches: list[object] = []
    source = read_red_marker(tmp_path / "p", tmp_path / "d", RedMarkerSettings("scratch", Paint()), mismatches)
    assert imported(source, tmp_path / "out").by_class == {"scratch": 2}
    assert {(each.photo, each.reason) for each in mismatches} == {
        ("a.png", "nearly the colour"),
        ("b.png", "open outline"),
    }
