"""A picture file's header, read from its bytes before anything is decoded. Pure; bounded in time and memory.

Formats are told by their first bytes, never by a file's name. The header gives sizes, so that no decoder is asked for
more memory than there is. It gives bits per level, of which a camera may use fewer than the file has. It gives
channels, orientation, and the number of pages. Sources: ITU-T T.81 (JPEG) and Exif 2.32 4.6; PNG specification 3rd
edition; TIFF 6.0 and BigTIFF. RIFF container of WebP; BMP's BITMAPINFOHEADER; Netpbm's pgm(5); ISO 15444-1 A.5.1 (SIZ).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from edge.pictures.exif import TiffTags, orientation_of, read_directories
from edge.pictures.not_readable import NotReadableError
from edge.pictures.tiff import refuse_unread

# More pages or chunks than any picture has; a file that goes on so long goes in circles.
_STEPS_AT_MOST = 100_000
_PNG = b"\x89PNG\r\n\x1a\n"
_JP2 = b"\x00\x00\x00\x0cjP  "
_CODESTREAM = b"\xff\x4f\xff\x51"
# Pictures that people have and that are not read here: by their first bytes.
_UNREAD: tuple[tuple[bytes, int, str], ...] = (
    (b"ftyp", 4, "a HEIC or AVIF picture"),
    (b"GIF8", 0, "a GIF"),
    (b"8BPS", 0, "a Photoshop file"),
    (b"%PDF", 0, "a PDF"),
    (b"<svg", 0, "an SVG drawing"),
    (b"\xff\x0a", 0, "a JPEG XL picture"),
    (b"\x00\x00\x00\x0cJXL ", 0, "a JPEG XL picture"),
    (b"v/1\x01", 0, "an OpenEXR picture"),
    (b"#?RADIANCE", 0, "a Radiance picture"),
)


@dataclass(frozen=True)
class Header:
    """The promises of a file. `kind`: jpeg, png, tiff, webp, bmp, pnm or jp2.

    `width`, `height`: px as stored. `bits`: per level in the file; `declared_bits`: how many of them count, where the
    file says so. `orientation`: Exif's, 1-8, 1 = as stored. `pages`: pictures in the file, thumbnails not counted.
    `begins`: where a PGM, PPM or PBM has its pixels, in bytes, and `most` its greatest level. `clear_level`: the level
    of a grey PNG that is transparent.
    """

    kind: str
    width: int
    height: int
    bits: int = 8
    declared_bits: int | None = None
    orientation: int = 1
    pages: int = 1
    begins: int = 0
    most: int = 255
    clear_level: int | None = None

    @property
    def turned(self) -> bool:
        """Tell whether a viewer shows it otherwise than it is stored."""
        return self.orientation != 1


def read_header(encoded: bytes) -> Header:
    """Read what the file says. Raises NotReadableError for what is no picture, cut off, or of a kind not read."""
    if not encoded:
        raise NotReadableError("it is empty")
    for kind, reader in _READERS:
        if kind.match(encoded):
            try:
                header = reader(encoded)
            except (struct.error, IndexError) as error:
                raise NotReadableError("it is cut off within its header") from error
            if header.width < 1 or header.height < 1:
                raise NotReadableError(f"it says that it has {header.width} x {header.height} px")
            return header
    for magic, at, what in _UNREAD:
        if encoded[at : at + len(magic)] == magic:
            raise NotReadableError(f"it is {what}, which is not read here; save it as PNG or JPEG")
    raise NotReadableError("its content is no picture of a kind that is read")


def sniff(first_bytes: bytes) -> str:
    """Tell what the first 16 bytes of a file are: the kind of a picture that is read, `unread`, or nothing."""
    if any(kind.match(first_bytes) for kind, _ in _READERS):
        return "picture"
    return "unread" if any(first_bytes[at : at + len(magic)] == magic for magic, at, _ in _UNREAD) else ""


def _jpeg(encoded: bytes) -> Header:
    found: Header | None = None
    orientation: int | None = None
    for marker, body in _segments(encoded):
        if marker == 0xE1 and body.startswith(b"Exif\x00\x00") and orientation is None:  # viewers heed the first
            orientation = orientation_of(body[6:])
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:
            bits, height, width, channels = struct.unpack_from(">BHHB", body)
            if channels == 4:
                raise NotReadableError("it is a JPEG in CMYK, as for print; save it as RGB or grey")
            found = found or Header("jpeg", width, height, bits)
    if found is None:
        raise NotReadableError("it is a JPEG without a frame: damaged")
    return replace(found, orientation=orientation or 1)


def _segments(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of what precedes the first scan."""
    at = 2
    for _ in range(_STEPS_AT_MOST):
        while encoded[at] == 0xFF and encoded[at + 1] == 0xFF:
            at += 1
        if encoded[at] != 0xFF:
            raise NotReadableError("it is a damaged JPEG: between its segments there is something else")
        marker = encoded[at + 1]
        if marker in {0xDA, 0xD9}:
            return
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", encoded, at + 2)
        yield marker, encoded[at + 4 : at + 2 + length]
        at += 2 + length


def _png(encoded: bytes) -> Header:
    width, height, bits = struct.unpack_from(">IIB", encoded, 16)
    header = Header("png", width, height, bits)
    grey = encoded[25] == 0
    animated = hidden = at_data = False
    at = 8
    for _ in range(_STEPS_AT_MOST):
        if at + 8 > len(encoded):
            raise NotReadableError("it is a PNG that is cut off")
        (length,) = struct.unpack_from(">I", encoded, at)
        kind, body = encoded[at + 4 : at + 8], encoded[at + 8 : at + 8 + min(length, 1 << 16)]
        if kind == b"IEND":
            break
        if kind == b"sBIT" and body and bits == 16:
            header = replace(header, declared_bits=_declared(max(body[:3])))
        elif kind == b"eXIf":
            header = replace(header, orientation=orientation_of(body))
        elif kind == b"acTL":
            animated, hidden = True, True  # until a frame's control precedes the picture's data
            header = replace(header, pages=max(1, int(struct.unpack_from(">I", body)[0])))
        elif kind == b"fcTL" and not at_data:
            hidden = False
        elif kind == b"tRNS" and grey:
            header = replace(header, clear_level=int(struct.unpack_from(">H", body)[0]))
        at_data = at_data or kind == b"IDAT"
        at += 12 + length
    return replace(header, pages=header.pages + 1) if animated and hidden else header


def _declared(bits: int) -> int | None:
    """Return the depth that a file states; 16 says only how wide its levels are, as every program writes it."""
    return bits if 8 <= bits < 16 else None


def _tiff(encoded: bytes) -> Header:
    found = list(read_directories(encoded))
    if not found:
        raise NotReadableError("it is a TIFF that is cut off or damaged: it has no directory")
    pages = sum(not _is_smaller_copy(tags) for tags in found)
    first = found[0]
    if pages and _is_smaller_copy(first):
        raise NotReadableError("its first page is a smaller copy of another one; save that one by itself")
    refuse_unread(first)
    bits = first.number(258, 1)
    most = first.number(281)
    declared = most.bit_length() if bits == 16 and 255 <= most < 65535 and most & (most + 1) == 0 else None
    return Header("tiff", first.number(256), first.number(257), bits, declared, first.orientation, max(1, pages))


def _is_smaller_copy(tags: TiffTags) -> bool:
    return bool(tags.number(254) & 1)  # NewSubfileType


def _webp(encoded: bytes) -> Header:
    (length,) = struct.unpack_from("<I", encoded, 4)
    if length + 8 > len(encoded):
        raise NotReadableError("it is a WebP that is cut off")
    header: Header | None = None
    at = 12
    for _ in range(_STEPS_AT_MOST):
        if at + 8 > min(len(encoded), length + 8):
            break
        kind, (size,) = encoded[at : at + 4], struct.unpack_from("<I", encoded, at + 4)
        body = encoded[at + 8 : at + 8 + min(size, 1 << 16)]
        if kind == b"VP8X":
            width = int.from_bytes(body[4:7], "little") + 1
            header = Header("webp", width, int.from_bytes(body[7:10], "little") + 1, pages=2 if body[0] & 2 else 1)
        elif kind == b"VP8 " and header is None:
            width, height = struct.unpack_from("<HH", body, 6)
            header = Header("webp", width & 0x3FFF, height & 0x3FFF)
        elif kind == b"VP8L" and header is None:
            (packed,) = struct.unpack_from("<I", body, 1)
            header = Header("webp", (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
        elif kind == b"EXIF" and header is not None:
            header = replace(header, orientation=orientation_of(body.removeprefix(b"Exif\x00\x00")))
        at += 8 + size + (size & 1)
    if header is None:
        raise NotReadableError("it is a WebP without a picture in it: damaged")
    return header


def _bmp(encoded: bytes) -> Header:
    begins, size = struct.unpack_from("<II", encoded, 10)
    if size < 40:
        raise NotReadableError("it is a BMP as OS/2 wrote it; save it again")
    width, height, _, bits, packing = struct.unpack_from("<iiHHI", encoded, 18)
    row = (abs(width) * bits + 31) // 32 * 4
    if packing in {0, 3} and begins + row * abs(height) > len(encoded):
        raise NotReadableError("it is a BMP that is cut off")
    if packing in {1, 2} and not _runs_fill(encoded[begins:], abs(width), abs(height), bits):
        raise NotReadableError("it is a BMP whose runs leave out pixels: damaged, or cut off")
    return Header("bmp", abs(width), abs(height))


def _runs_fill(data: bytes, width: int, height: int, bits: int) -> bool:
    """Tell whether the runs of a BMP (RLE8, RLE4) come to all of its pixels."""
    at = across = rows = 0
    while at + 1 < len(data) and rows < height:
        count, what = data[at], data[at + 1]
        at += 2
        if count:
            across += count
        elif what in {0, 1}:  # the end of a row, or of all
            rows += across >= width
            if across < width or what == 1:
                break
            across = 0
        elif what == 2:  # a jump
            break
        else:
            across += what
            at += -(-what * bits // 16) * 2
    return rows >= height


_PNM_FIELD = re.compile(rb"(?:\s|#[^\n\r]*[\n\r])+([0-9]{1,9})")


def _pnm(encoded: bytes) -> Header:
    bitmap = encoded[1:2] in b"14"
    at, fields = 2, []
    for _ in range(2 if bitmap else 3):
        match = _PNM_FIELD.match(encoded, at, at + 4096)
        if match is None:
            raise NotReadableError("it is a PGM, PPM or PBM with a damaged header")
        fields.append(int(match.group(1)))
        at = match.end()
    width, height = fields[0], fields[1]
    most = 1 if bitmap else fields[2]
    if bitmap:
        return Header("pnm", width, height, 1, begins=at + 1, most=1)
    if not (1 <= most <= 65535) or most & (most + 1):
        raise NotReadableError(f"its greatest level is {most}; expected 255, or 1023, 4095, 16383 or 65535")
    if most < 255:
        raise NotReadableError(f"its greatest level is {most}: too few levels to see a surface by; save it with 255")
    bits, declared = (8, None) if most == 255 else (16, _declared(most.bit_length()))
    return Header("pnm", width, height, bits, declared, begins=at + 1, most=most)


def _jp2(encoded: bytes) -> Header:
    at = encoded.find(_CODESTREAM, 0, 1 << 16)
    if at < 0:
        raise NotReadableError("it is a JPEG 2000 picture without a codestream: damaged")
    right, down, left, top = struct.unpack_from(">4I", encoded, at + 8)
    (components,) = struct.unpack_from(">H", encoded, at + 40)
    bits = max((encoded[at + 42 + 3 * number] & 0x7F) + 1 for number in range(max(1, min(components, 4))))
    if bits > 16:
        raise NotReadableError(f"it is a JPEG 2000 picture of {bits} bits; save it with 8 or 16")
    return Header("jp2", right - left, down - top, 8 if bits <= 8 else 16, None if bits <= 8 else _declared(bits))


_READERS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Header]], ...] = (
    (re.compile(rb"\xff\xd8\xff"), _jpeg),
    (re.compile(re.escape(_PNG)), _png),
    (re.compile(rb"(?:II|MM)(?:\x2a\x00|\x00\x2a|\x2b\x00|\x00\x2b)", re.DOTALL), _tiff),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), _webp),
    (re.compile(rb"BM"), _bmp),
    (re.compile(rb"P[1-6][\s#]"), _pnm),
    (re.compile(re.escape(_JP2) + rb"|" + re.escape(_CODESTREAM)), _jp2),
)
