"""Aravis's fake GigE Vision camera with levels of 12 bits and a gain in dB, run by Debian's Python. Not a test.

`arv-fake-gv-camera-0.8` has neither. Its registers and its protocol are the same here, but the description of its
features names more of them. Its pictures are a ramp, in the format that is set: level (x + 16 y) mod 4096 at each
pixel. After each fourth picture it skips seven numbers, as if seven had never come. Arguments: serial number, file for
the description. Prints a line once it listens, and ends at its standard input's end.
"""

import ctypes
import itertools
import sys

import gi
import numpy as np

gi.require_version("Aravis", "0.8")
from gi.repository import Aravis  # noqa: E402 - the version comes first

MONO_12, MONO_12_PACKED, MONO_12_P = 0x01100005, 0x010C0006, 0x010C0047
ENTRY = '<EnumEntry Name="{}" NameSpace="Standard"><Value>{}</Value></EnumEntry>'
GAIN = (
    '<Float Name="Gain" NameSpace="Standard"><pValue>GainRawRegister</pValue><Min>0</Min><Max>10</Max>'
    "<Unit>dB</Unit></Float>"
)
library = ctypes.CDLL("libaravis-0.8.so.0")
library.arv_buffer_get_data.restype = ctypes.c_void_p
library.arv_buffer_get_data.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
for ask in (library.arv_buffer_get_image_width, library.arv_buffer_get_image_height):
    ask.argtypes = (ctypes.c_void_p,)
library.arv_buffer_set_frame_id.argtypes = (ctypes.c_void_p, ctypes.c_uint64)
numbers = (11 * (made // 4) + made % 4 + 1 for made in itertools.count())
library.arv_fake_camera_set_fill_pattern.argtypes = (ctypes.c_void_p,) * 3


def packed(levels: np.ndarray, pixel_format: int) -> bytes:
    """Lay levels out as the format wants them, pixel by pixel."""
    if pixel_format == MONO_12:
        return levels.astype("<u2").tobytes()
    out = bytearray()
    for first, second in levels.reshape(-1, 2).tolist():
        if pixel_format == MONO_12_PACKED:
            out += bytes((first >> 4, first % 16 + (second % 16 << 4), second >> 4))
        else:
            out += (first + (second << 12)).to_bytes(3, "little")
    return bytes(out)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32)
def fill(buffer: int, _data: object, _exposure_us: int, _gain: int, pixel_format: int) -> None:
    """Draw a picture into a buffer of Aravis."""
    width = library.arv_buffer_get_image_width(buffer)
    height = library.arv_buffer_get_image_height(buffer)
    y, x = np.mgrid[:height, :width]
    data = packed((x + 16 * y) % 4096, pixel_format)
    library.arv_buffer_set_frame_id(buffer, next(numbers))
    # the size that it tells is 0 until it is full; it was made for a picture of this format
    ctypes.memmove(library.arv_buffer_get_data(buffer, None), data, len(data))


xml = Aravis.FakeCamera.new("any").get_genicam_xml()[0]
formats = {"Mono12": MONO_12, "Mono12Packed": MONO_12_PACKED, "Mono12p": MONO_12_P}
entries = "".join(ENTRY.format(name, code) for name, code in formats.items())
begins = '<Enumeration Name="PixelFormat" NameSpace="Standard">'
xml = xml.replace(begins, begins + entries).replace('<Integer Name="GainRaw"', GAIN + '<Integer Name="GainRaw"')
with open(sys.argv[2], "w", encoding="utf-8") as file:  # noqa: PTH123 - what Debian's Python runs is plain
    file.write(xml)
camera = Aravis.GvFakeCamera.new_full("127.0.0.1", sys.argv[1], sys.argv[2])
library.arv_fake_camera_set_fill_pattern(hash(camera.get_fake_camera()), fill, None)
print("listens" if camera.is_running() else "taken", flush=True)  # noqa: T201 - it is awaited
sys.stdin.read()
