"""The common size of frames that something is learned from."""

from __future__ import annotations

from collections.abc import Sequence

from edge.errors import SettingsError
from edge.records import UInt8
from edge.wording import counted


def common_size(frames: Sequence[UInt8], least: int, learning: str, kind: str) -> tuple[int, int]:
    """Return the width and height, px, of frames uint8 [H, W] or BGR [H, W, 3]; `kind` is that of frames, in words.

    Raises SettingsError for fewer than `least` frames, and for sizes that differ.
    """
    if len(frames) < least:
        raise SettingsError(f"{learning}: expected at least {counted(least, kind + ' frame')}, received {len(frames)}")
    sizes = {(pixels.shape[1], pixels.shape[0]) for pixels in frames}
    if len(sizes) > 1:
        raise SettingsError(f"{learning}: expected frames of one size, received {sorted(sizes)}")
    return sizes.pop()
