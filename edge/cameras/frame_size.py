"""The watch over the size of pictures: calibration, region and zones were made for one size. Pure."""

from __future__ import annotations

from edge.records import UInt8


class FrameSize:
    """Holds a camera to one size: `size_px` (width, height), or else that of the first picture that was looked at."""

    def __init__(self, size_px: tuple[int, int] | None = None) -> None:
        self._size_px = size_px
        self._by = "camera.size_px asks for" if size_px else "it gave at first"

    def look(self, pixels: UInt8) -> str:
        """Return why a picture is not of the right size, or nothing."""
        size_px = (pixels.shape[1], pixels.shape[0])
        if self._size_px is None:
            self._size_px = size_px
        if size_px == self._size_px:
            return ""
        width, height = self._size_px
        return (
            f"the camera gives {size_px[0]} x {size_px[1]} px, expected the {width} x {height} px that {self._by}: "
            "mm_per_px, region and zones do not hold for it. Set the camera back; or set camera.size_px and mm_per_px "
            "anew and restart the line"
        )
