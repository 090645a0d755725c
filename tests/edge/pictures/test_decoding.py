"""Every picture's bytes → pixels: beside Pillow, with damage told, and with nothing guessed."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edge.errors import SourceError
from edge.opencv import cv2
from edge.pictures import NotReadableError, as_frame, decode, read_header, read_picture
from edge.pictures.decoding import BYTES_AT_MOST
from edge.records import UInt8


def surface(height: int = 96, width: int = 130, seed: int = 0) -> UInt8:
    """Paint a rough surface, uint8 BGR."""
    noise = np.random.default_rng(seed).normal(128, 60, (height, width, 3))
    return np.asarray(np.clip(cv2.GaussianBlur(noise, (0, 0), 1.5), 0, 255).astype(np.uint8))


def encoded(suffix: str, pixels: np.ndarray) -> bytes:
    """Encode by OpenCV."""
    ok, data = cv2.imencode(suffix, pixels)
    assert ok
    return bytes(data.tobytes())


def by_pillow(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    """Encode RGB or grey by Pillow."""
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind, **options)
    return target.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jp2", ".ppm", ".jpg"])
@pytest.mark.parametrize("grey", [False, True])
def test_ordinary_pictures_are_as_opencv_reads_them(suffix: str, grey: bool) -> None:
    """Of 8 bits, colour or grey, each kind has the very pixels that it always had."""
    pixels = surface()[:, :, 0] if grey else surface()
    data = encoded(".pgm" if grey and suffix == ".ppm" else suffix, pixels)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(as_frame(decode(data)), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_as_viewers_turn_them(kind: str, orientation: int) -> None:
    """Each of the eight orientations looks as Pillow shows it, and the header tells that it is turned."""
    exif = Image.Exif()
    exif[274] = orientation
    options = {"tiffinfo": {274: orientation}} if kind == "TIFF" else {"exif": exif}
    options |= {"lossless": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    data = by_pillow(surface(24, 40)[:, :, ::-1], kind, **options)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))[:, :, ::-1]
    ours = as_frame(decode(data))
    assert ours.shape == shown.shape
    assert np.abs(ours.astype(int) - shown).max() <= (3 if kind == "JPEG" else 0)
    assert read_header(data).turned is (orientation != 1)


def without_colours() -> bytes:
    """Return a JPEG of three channels, each with a scan of its own, that ends behind the first."""
    grey = encoded(".jpg", surface()[:, :, 0])
    at = grey.index(b"\xff\xc0")
    frame = struct.pack(">HHBHHB", 0xFFC0, 17, 8, 96, 130, 3) + b"".join(bytes((n, 0x11, 0)) for n in (1, 2, 3))
    return grey[:at] + frame + grey[at + 13 :]


def damaged_jpegs() -> list[tuple[str, bytes]]:
    """Return JPEGs with their end present and something amiss before it."""
    whole = encoded(".jpg", surface(400, 600))
    middle = len(whole) // 2
    entropy_ends = whole[:middle] + b"\xff\xd9"
    progressive = by_pillow(surface(400, 600), "JPEG", progressive=True)
    scans = [at for at in range(len(progressive)) if progressive[at : at + 2] == b"\xff\xda"]
    return [
        ("cut in the middle, end glued on", entropy_ends),
        ("no end", whole[:-2]),
        ("4 KB of zeros", whole[:middle] + bytes(4096) + whole[middle + 4096 :]),
        ("4 KB gone", whole[:middle] + whole[middle + 4096 :]),
        ("a marker in its midst", whole[:middle] + b"\xff\xd9" + whole[middle + 2 :]),
        ("progressive, its scans cut off", progressive[: scans[3] + 100] + b"\xff\xd9"),
        ("progressive, its first scan alone", progressive[: scans[1]] + b"\xff\xd9"),
        ("progressive, without its last scan", progressive[: scans[-1]] + b"\xff\xd9"),
        ("colours promised, and only the light's scan there", without_colours()),
        ("no scan at all", whole[: whole.index(b"\xff\xda")] + b"\xff\xd9"),
    ]


@pytest.mark.parametrize("data", [data for _, data in damaged_jpegs()], ids=[what for what, _ in damaged_jpegs()])
def test_a_damaged_jpeg_is_told(data: bytes) -> None:
    """A JPEG that lacks something is no picture, though its end is there and OpenCV reads it as grey."""
    with pytest.raises(NotReadableError):
        decode(data)


@pytest.mark.parametrize("subsampling", [0, 1, 2, -1])
@pytest.mark.parametrize("quality", [20, 95])
def test_a_whole_progressive_jpeg_is_read(subsampling: int, quality: int) -> None:
    """Scans that are all there are no damage, whatever they are divided by; -1: grey."""
    pixels = surface()[:, :, 0] if subsampling < 0 else surface()
    data = by_pillow(pixels, "JPEG", progressive=True, quality=quality, subsampling=max(subsampling, 0))
    assert np.array_equal(as_frame(decode(data)), cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".jp2", ".ppm"])
def test_other_files_that_are_cut_off_are_told(suffix: str) -> None:
    """Half of a file, or all but its last bytes, is no picture."""
    data = encoded(suffix, surface())
    for end in (20, len(data) // 2, len(data) - 9):
        with pytest.raises(NotReadableError):
            decode(data[:end])


def test_several_pages_and_animations_are_refused() -> None:
    """Nothing says which page is meant; a thumbnail beside the picture is none."""
    pages = [Image.fromarray(surface(20, 30, seed)) for seed in range(3)]
    for kind in ("TIFF", "WEBP", "PNG"):
        target = io.BytesIO()
        pages[0].save(target, kind, save_all=True, append_images=pages[1:])
        with pytest.raises(NotReadableError, match="pictures; expected one"):
            decode(target.getvalue())
    target = io.BytesIO()
    small = pages[1].resize((15, 10))
    small.encoderinfo = {"tiffinfo": {254: 1}}  # NewSubfileType: reduced
    pages[0].save(target, "TIFF", save_all=True, append_images=[small])
    assert decode(target.getvalue()).shape_px == (20, 30)


def test_transparent_pictures_are_refused_and_opaque_ones_read() -> None:
    """The colour behind a transparent pixel is unknown; an alpha channel that hides nothing is dropped."""
    opaque = np.dstack([surface(20, 30), np.full((20, 30), 255, np.uint8)])
    assert np.array_equal(as_frame(decode(encoded(".png", opaque))), opaque[:, :, :3])
    opaque[3, 4, 3] = 0
    with pytest.raises(NotReadableError, match="transparent"):
        as_frame(decode(encoded(".png", opaque)))


def test_the_first_exif_counts() -> None:
    """As viewers have it, a second block of Exif turns nothing, nor takes back what the first has turned."""
    exif = Image.Exif()
    exif[274] = 6
    target = io.BytesIO()
    Image.fromarray(surface(20, 30)).save(target, "JPEG", exif=exif)
    exif[274] = 1
    second = exif.tobytes()
    block = b"\xff\xe1" + (len(second) + 2).to_bytes(2, "big") + second
    data = target.getvalue().replace(b"\xff\xdb", block + b"\xff\xdb", 1)
    assert decode(data).header.orientation == 6


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b"no picture", "no picture"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "HEIC"),
        (b"GIF89a\x01\x00\x01\x00", "GIF"),
        (by_pillow(np.zeros((8, 8, 4), np.uint8), "TIFF")[:0] + b"8BPS", "Photoshop"),
        (by_pillow(np.zeros((8, 8), np.float32), "TIFF"), "floating-point"),
        (b"P5\n4 2\n100\n" + bytes(8), "greatest level is 100"),
        (b"P5\n4 2\n255\n" + bytes(7), "cut off"),
    ],
)
def test_what_is_not_read_is_named(data: bytes, why: str) -> None:
    """Kinds that are not read are told from damage, with what to do."""
    with pytest.raises(NotReadableError, match=why):
        decode(data)


def test_cmyk_jpegs_are_refused() -> None:
    """A JPEG for print has four inks, not three colours."""
    target = io.BytesIO()
    Image.new("CMYK", (16, 16), (10, 20, 30, 40)).save(target, "JPEG")
    with pytest.raises(NotReadableError, match="CMYK"):
        decode(target.getvalue())


def huge_png(width: int, height: int) -> bytes:
    """Return a PNG whose header promises what no memory holds."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\x00\x00\x00\x00IEND\xaeB`\x82"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


@pytest.mark.parametrize(
    "data", [huge_png(100_000, 100_000), b"P5\n99999 99999\n255\n", encoded(".jpg", surface())[:2] + b"\xff\xc0"]
)
def test_sizes_are_refused_before_anything_is_decoded(data: bytes) -> None:
    """A header that promises 10 gigapixels asks for no memory, and a frame's end is no traceback."""
    with pytest.raises(NotReadableError):
        decode(data)


def test_a_file_of_3_gb_is_refused_unread(tmp_path: Path) -> None:
    """A sparse file of 3 GB with a picture's name is told by its size."""
    path = tmp_path / "big.jpg"
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(SourceError, match=r"3\.0 GB"):
        read_picture(path)
    assert BYTES_AT_MOST < 3_000_000_000


def test_names_that_are_not_utf_8_are_read(tmp_path: Path) -> None:
    """OpenCV crashes on such a name; here its picture is read, and an error about it can be printed."""
    path = Path(str(tmp_path)) / b"r\xf6t.png".decode("utf-8", "surrogateescape")
    path.write_bytes(encoded(".png", surface()))
    assert read_picture(path).shape == (96, 130, 3)
    path.write_bytes(b"broken")
    with pytest.raises(SourceError) as refused:
        read_picture(path)
    assert str(refused.value).encode().isascii()


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_no_bytes_end_in_anything_but_a_reason(data: bytes) -> None:
    """Any bytes behind a picture's first ones are pixels or a NotReadableError."""
    for magic in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", b"II*\0\x08\0\0\0", b"BM", b"P5 2 2 255 ",
                  b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0", b"\xff\x4f\xff\x51"):  # fmt: skip
        try:
            header = read_header(magic + data)
        except NotReadableError:
            continue
        assert header.width > 0
        assert header.height > 0
        assert 1 <= header.orientation <= 8


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_changed_bytes_of_a_jpeg_never_raise_anything_else(data: st.DataObject) -> None:
    """Bytes that changed in a JPEG are told or not seen, and never a traceback."""
    whole = bytearray(encoded(".jpg", surface(32, 40)))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(2, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(NotReadableError):
        assert as_frame(decode(bytes(whole))).dtype == np.uint8
