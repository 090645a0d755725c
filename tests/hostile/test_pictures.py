"""Pictures as people have them, and as they are damaged: one table of files and of what `inspect` says to each.

All of them lie in one folder and are inspected in one run, so that none ends the others. `replay` then plays it.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.opencv import cv2
from edge.records import UInt8
from tests.bright_bundle import part, write_bright_bundle
from tests.verbs import linewatch

SCRATCHED = part(96, 128, (20, 30, 40, 8))


def by_opencv(suffix: str, pixels: np.ndarray) -> bytes:
    """Encode a picture."""
    return bytes(cv2.imencode(suffix, pixels)[1].tobytes())


def by_pillow(pixels: UInt8, kind: str, **options: object) -> bytes:
    """Encode a picture by Pillow."""
    target = io.BytesIO()
    Image.fromarray(pixels[:, :, ::-1]).save(target, kind, **options)
    return target.getvalue()


def grainy(pixels: UInt8) -> UInt8:
    """Add a little noise, so that a JPEG of it has something in every block."""
    noise = np.random.default_rng(0).integers(0, 12, pixels.shape, np.uint8)
    return np.asarray(cv2.add(pixels, noise))


def deep(bits: int) -> np.ndarray:
    """Return the scratched part as a camera of so many bits stores it, in 16."""
    return SCRATCHED[:, :, 0].astype(np.uint16) << (bits - 8)


def half_a_jpeg() -> bytes:
    """Return a JPEG whose lower half is gone, its end glued on: OpenCV shows it grey, and clean."""
    whole = by_opencv(".jpg", grainy(part(400, 600, (100, 350, 300, 20))))
    return whole[: len(whole) // 2] + b"\xff\xd9"


def tiff(body: bytes, height: int, width: int, **tags: int) -> bytes:
    """Return a TIFF of one strip. `tags`: `t259=5` sets tag 259; grey of 8 bits but for them."""
    numbers = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: len(body)}
    numbers |= {int(name[1:]): value for name, value in tags.items()}
    numbers[273] = 8 + 2 + 12 * len(numbers) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(numbers.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(numbers)) + entries + bytes(4) + body


def lossy_tiff(kind: str, begins: float) -> bytes:
    """Return a TIFF whose strips are packed, with a twelfth of the file overwritten by zeros."""
    whole = bytearray(by_pillow(grainy(SCRATCHED), "TIFF", compression=kind))
    at = int(len(whole) * begins)
    whole[at : at + len(whole) // 12] = bytes(len(whole) // 12)
    return bytes(whole)


def grey_png(extra: bytes, kind: bytes) -> bytes:
    """Return a grey PNG of two levels, 40 and 250, with one more chunk before its data."""
    plain = by_opencv(".png", np.where(SCRATCHED[:, :, 0] > 128, 250, 40).astype(np.uint8))
    chunk = kind + extra
    return plain[:33] + struct.pack(">I", len(extra)) + chunk + struct.pack(">I", zlib.crc32(chunk)) + plain[33:]


def plain_pgm(most: int, shift: int) -> bytes:
    """Return a PGM whose levels are written in digits."""
    levels = (SCRATCHED[:, :, 0].astype(int) << shift).reshape(-1)
    return f"P2\n# by hand\n128 96\n{most}\n".encode() + "\n".join(map(str, levels)).encode()


def thumbnail_first() -> bytes:
    """Return a TIFF whose first page is a small copy of its second."""
    whole, small = Image.fromarray(SCRATCHED), Image.fromarray(part(24, 32))
    whole.encoderinfo = {"tiffinfo": {254: 0}}
    target = io.BytesIO()
    small.save(target, "TIFF", save_all=True, append_images=[whole], tiffinfo={254: 1})
    return target.getvalue()


def run_length_bmp(rows: int) -> bytes:
    """Return the scratched part as a BMP of runs, of which only the lower rows are there, and the end."""
    runs = b"".join(b"".join(bytes((1, int(level))) for level in row) + b"\0\0" for row in SCRATCHED[::-1, :, 0][:rows])
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256))
    begins, body = 14 + 40 + len(palette), runs + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, 128, 96, 1, 8, 1, len(body), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", begins + len(body), 0, 0, begins) + head + palette + body


GREY = SCRATCHED[:, :, 0]
EXIF = Image.Exif()
EXIF[274] = 6

# name → bytes, verdict, what the reason says
TABLE: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "good.png": (lambda: by_opencv(".png", part()), "OK", ""),
    "scratched.png": (lambda: by_opencv(".png", SCRATCHED), "NG", "scratch"),
    "scratched.jfif": (lambda: by_opencv(".jpg", SCRATCHED), "NG", "scratch"),
    "scratched.pgm": (lambda: by_opencv(".pgm", SCRATCHED[:, :, 0]), "NG", "scratch"),
    "scratched.jp2": (lambda: by_opencv(".jp2", SCRATCHED), "NG", "scratch"),
    "scratched16.png": (lambda: by_opencv(".png", deep(16)), "NG", "scratch"),
    "scratched12.pgm": (
        lambda: b"P5\n128 96\n4095\n" + deep(12).astype(">u2").tobytes(), "NG", "scratch",
    ),
    "scratched10.png": (lambda: by_opencv(".png", deep(10)), "NO_READ", "depth, bits: 10"),
    "scratched12.png": (lambda: by_opencv(".png", deep(12)), "NO_READ", "depth, bits: 12"),
    "scratched14.tif": (lambda: by_opencv(".tif", deep(14)), "NO_READ", "depth, bits: 14"),
    "turned.jpg": (lambda: by_pillow(SCRATCHED, "JPEG", exif=EXIF), "NG", "scratch"),
    "half.jpg": (half_a_jpeg, "NO_READ", "damaged JPEG"),
    "no-end.jpg": (lambda: by_opencv(".jpg", SCRATCHED)[:-2], "NO_READ", "damaged JPEG"),
    "cut.png": (lambda: by_opencv(".png", SCRATCHED)[:-40], "NO_READ", "no picture"),
    "cut.bmp": (lambda: by_opencv(".bmp", SCRATCHED)[:-40], "NO_READ", "cut off"),
    "empty.png": (lambda: b"", "NO_READ", "empty"),
    "text.png": (lambda: b"hello", "NO_READ", "no picture"),
    "one-pixel.png": (lambda: by_opencv(".png", np.full((1, 1, 3), 90, np.uint8)), "NO_READ", "blind"),
    "line.png": (lambda: by_opencv(".png", part(1, 3000)), "OK", ""),
    "black.png": (lambda: by_opencv(".png", np.zeros((64, 64, 3), np.uint8)), "NO_READ", "dark"),
    "white.png": (lambda: by_opencv(".png", np.full((64, 64, 3), 255, np.uint8)), "NO_READ", "saturated"),
    "flat.png": (lambda: by_opencv(".png", np.full((64, 64, 3), 120, np.uint8)), "NO_READ", "contrast"),
    "huge.pgm": (lambda: b"P5\n99999 99999\n255\n", "NO_READ", "at most 134,217,728 px"),
    "pages.tif": (
        lambda: by_pillow(part(), "TIFF", save_all=True, append_images=[Image.new("RGB", (150, 100))]),
        "NO_READ", "2 pictures; expected one",
    ),
    "see-through.png": (
        lambda: by_opencv(".png", np.dstack([part(), np.arange(15000, dtype=np.uint32).reshape(100, 150) % 256])),
        "NO_READ", "transparent",
    ),
    "cmyk.jpg": (
        lambda: by_pillow(np.zeros((16, 16, 3), np.uint8), "PNG")[:0] + _cmyk(), "NO_READ", "CMYK",
    ),
    "float.tif": (lambda: by_opencv(".tif", np.ones((16, 16), np.float32)), "NO_READ", "floating-point"),
    "white-is-0.tif": (lambda: tiff((255 - GREY).tobytes(), 96, 128, t262=0), "NG", "scratch"),
    "white-is-0-deep.tif": (
        lambda: tiff((65535 - GREY.astype("<u2") * 257).tobytes(), 96, 128, t258=16, t262=0), "NO_READ", "0 is white",
    ),
    "planes-deep.tif": (
        lambda: tiff(bytes(96 * 128 * 6), 96, 128, t258=16, t262=2, t277=3, t284=2), "NO_READ", "each colour by itself",
    ),
    "jpeg2000.tif": (lambda: tiff(bytes(99), 96, 128, t259=34712), "NO_READ", "compressed by JPEG 2000"),
    "zstandard.tif": (lambda: tiff(bytes(99), 96, 128, t259=50000), "NO_READ", "compressed by Zstandard"),
    "cmyk.tif": (lambda: tiff(bytes(96 * 128 * 4), 96, 128, t262=5, t277=4), "NO_READ", "CMYK"),
    "lab.tif": (lambda: tiff(bytes(96 * 128 * 3), 96, 128, t262=8, t277=3), "NO_READ", "CIELab"),
    "thumbnail-first.tif": (thumbnail_first, "NO_READ", "smaller copy"),
    "short-strip.tif": (lambda: tiff(GREY.tobytes()[:-1], 96, 128), "NO_READ", "strip or tile 1 has 12287 bytes"),
    "lzw.tif": (lambda: by_pillow(SCRATCHED, "TIFF", compression="tiff_lzw"), "NG", "scratch"),
    "lzw-damaged.tif": (lambda: lossy_tiff("tiff_lzw", 0.5), "NO_READ", "damaged TIFF"),
    "deflate.tif": (lambda: by_pillow(SCRATCHED, "TIFF", compression="tiff_adobe_deflate"), "NG", "scratch"),
    "deflate-damaged.tif": (lambda: lossy_tiff("tiff_adobe_deflate", 0.5), "NO_READ", "damaged TIFF"),
    "packbits.tif": (lambda: by_pillow(SCRATCHED, "TIFF", compression="packbits"), "NG", "scratch"),
    "jpeg.tif": (lambda: by_pillow(SCRATCHED, "TIFF", compression="jpeg", quality=95), "NG", "scratch"),
    "jpeg-damaged.tif": (lambda: lossy_tiff("jpeg", 0.5), "NO_READ", "damaged TIFF"),
    "clear-level.png": (lambda: grey_png(b"\x00\xfa", b"tRNS"), "NO_READ", "transparent"),
    "clear-level-unused.png": (lambda: grey_png(b"\x00\x07", b"tRNS"), "NG", "scratch"),
    "animation-behind.png": (lambda: grey_png(struct.pack(">II", 1, 0), b"acTL"), "NO_READ", "2 pictures"),
    "runs.bmp": (lambda: run_length_bmp(96), "NG", "scratch"),
    "runs-missing.bmp": (lambda: run_length_bmp(40), "NO_READ", "leave out pixels"),
    "plain.pgm": (lambda: plain_pgm(255, 0), "NG", "scratch"),
    "plain12.pgm": (lambda: plain_pgm(4095, 4), "NG", "scratch"),
    "plain-cut.pgm": (lambda: plain_pgm(255, 0)[:-40], "NO_READ", "expected 12288 levels"),
    "plain-beyond.pgm": (lambda: plain_pgm(255, 4), "NO_READ", "levels beyond 255"),
    "two.pgm": (lambda: by_opencv(".pgm", GREY) * 2, "NO_READ", "several pictures"),
    "r\udcf6t.png": (lambda: by_opencv(".png", SCRATCHED), "NG", "scratch"),
}  # fmt: skip
LEFT_OUT = ("._x.jpg", "__MACOSX/good.png", ".ipynb_checkpoints/good.png", "phone.heic", "no-suffix")


def _cmyk() -> bytes:
    target = io.BytesIO()
    Image.new("CMYK", (16, 16), (10, 20, 30, 40)).save(target, "JPEG")
    return target.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all of the table, what is left out, and a picture in a linked folder."""
    here = tmp_path_factory.mktemp("hostile")
    pictures = here / "pictures"
    for name, (make, _, _) in TABLE.items():
        pictures.mkdir(exist_ok=True)
        (pictures / name).write_bytes(make())
    for name in LEFT_OUT:
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / name).write_bytes(by_opencv(".png", part()))
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / "linked.png").write_bytes(by_opencv(".png", SCRATCHED))
    (pictures / "other").symlink_to(here / "elsewhere")
    write_bright_bundle(here / "bundle")
    (here / "line.yaml").write_text("line: {line: hostile}\n")
    return here


@pytest.fixture(scope="module")
def inspected(folder: Path) -> tuple[dict[str, dict[str, object]], str]:
    """Inspect the folder once: rows by name, and what was told."""
    outputs = ("--report", folder / "r.html", "--json", folder / "r.json", "--csv", folder / "r.csv")
    result = linewatch("inspect", folder / "pictures", "--bundle", folder / "bundle", *outputs)
    assert result.returncode == 5, result.stderr
    rows = json.loads((folder / "r.json").read_text())["pictures"]
    return {Path(row["picture"]).name: row for row in rows}, result.stderr


@pytest.mark.parametrize("name", TABLE)
def test_each_file_gets_its_verdict_and_none_ends_the_others(
    name: str, inspected: tuple[dict[str, dict[str, object]], str]
) -> None:
    """A damaged, deep, blind or ambiguous file is NO_READ with the reason; a readable one is judged."""
    rows, _ = inspected
    row = rows[name.encode("utf-8", "backslashreplace").decode()]
    _, verdict, reason = TABLE[name]
    assert (row["verdict"], reason in str(row["reason"] or "")) == (verdict, True), row["reason"]


def test_what_was_left_out_is_told_and_linked_folders_are_read(
    inspected: tuple[dict[str, dict[str, object]], str],
) -> None:
    """Each thing that is not inspected is named; a picture in a linked folder is."""
    rows, told = inspected
    assert len(rows) == len(TABLE) + 1
    assert rows["linked.png"]["verdict"] == "NG"
    for name in LEFT_OUT:
        assert name.split("/")[0] in told
    assert "turned.jpg the first: turned as its orientation says" in told
    assert "12 bits for each level are brought to 8: 16 neighbouring levels become one" in told


def test_a_replay_reads_the_same_files_in_the_same_way(folder: Path) -> None:
    """NO_READ stays NO_READ, but for the camera's watch, which recordings have when they are told to."""
    events = folder / "events.jsonl"
    (folder / "watched.yaml").write_text("camera: {watch: {dark_below: 6}}\n")
    options = ("--bundle", folder / "bundle", "--config", folder / "watched.yaml", "--events", events)
    result = linewatch("replay", folder / "pictures", *options)
    assert result.returncode == 5, result.stderr
    assert "left out of" in result.stderr
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    found = {Path(row["frame_name"] if "frame_name" in row else row["name"]).name: row["verdict"] for row in rows}
    wanted = {name.encode("utf-8", "backslashreplace").decode(): verdict for name, (_, verdict, _) in TABLE.items()}
    assert {name: found[name] for name in wanted} == wanted


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_a_depth_in_the_settings_makes_deep_pictures_readable(folder: Path, tmp_path: Path, bits: int) -> None:
    """With camera.depth_bits the scratch is found, in `inspect` as in `replay`."""
    pictures = tmp_path / "deep"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(by_opencv(".png", deep(bits)))
    config = tmp_path / "line.yaml"
    config.write_text(f"camera: {{depth_bits: {bits}}}\n")
    options = ("--bundle", folder / "bundle", "--config", config)
    result = linewatch("inspect", pictures, *options, "--report", tmp_path / "r.html")
    assert result.returncode == 12, result.stderr
    assert f"{bits} bits for each level are brought to 8" in result.stderr
    result = linewatch("replay", pictures, *options, "--events", tmp_path / "e.jsonl")
    assert json.loads((tmp_path / "e.jsonl").read_text())["verdict"] == "NG"


def test_a_damaged_frame_of_a_motion_jpeg_stream_is_no_read(folder: Path, tmp_path: Path) -> None:
    """One frame of five lost its lower half: it is NO_READ, the others are OK, and none is grey and clean."""
    clip = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 240))
    for index in range(5):
        noise = np.random.default_rng(index).integers(0, 90, (240, 320, 3), np.uint8)
        writer.write(noise)
    writer.release()
    data = bytearray(clip.read_bytes())
    begins = [at for at in range(len(data) - 3) if data[at : at + 3] == b"\xff\xd8\xff"]
    third, fourth = begins[2], begins[3]
    middle = (third + fourth) // 2
    end = data.rindex(b"\xff\xd9", third, fourth)
    data[middle:end] = bytes(end - middle)
    clip.write_bytes(bytes(data))
    events = tmp_path / "e.jsonl"
    options = ("--bundle", folder / "bundle", "--config", folder / "line.yaml", "--events", events)
    result = linewatch("replay", clip, *options)
    rows = [json.loads(line) for line in events.read_text().splitlines()]
    assert [row["verdict"] for row in rows] == ["OK", "OK", "NO_READ", "OK", "OK"], result.stderr
    assert "damaged JPEG" in rows[2]["reason"]
