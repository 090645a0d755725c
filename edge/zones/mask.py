"""The ignore mask: a picture of two levels; a bright place is not judged, nor counted in the area."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PrivateAttr, model_validator

from edge.errors import SettingsError, SourceError
from edge.pictures import read_picture
from edge.records import UInt8
from edge.yaml_settings import StrictModel

_PIXELS_AT_MOST = 100_000_000


class IgnoreMask(StrictModel):
    """A picture of two levels: black is inspected, the other level is ignored.

    `on`: `frame`, in its pixels, so that it must have its size; `part`, stretched over the part's box. `sha256`: of its
    pixels; filled in when it is read; a mask must have a given one.
    """

    mask: Path
    on: Literal["frame", "part"] = "frame"
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    _bits: bytes = PrivateAttr(b"")
    _shape: tuple[int, int] = PrivateAttr((0, 0))

    @model_validator(mode="before")
    @classmethod
    def _a_file_alone(cls, given: object) -> object:
        return {"mask": given} if isinstance(given, str | Path) else given

    def read(self, home: Path) -> IgnoreMask:
        """Return the same with its pixels, its path counted from `home`. Raises SettingsError."""
        path = home / self.mask
        ignored = _read(path)
        bits = np.packbits(ignored).tobytes()
        height, width = ignored.shape
        told = hashlib.sha256(f"{width}x{height}:".encode() + bits).hexdigest()
        if self.sha256 not in {None, told}:
            raise SettingsError(f"{path}: expected the mask with sha256 {self.sha256}, received one with {told}")
        whole = self.model_copy(update={"mask": path, "sha256": told})
        whole._bits, whole._shape = bits, (height, width)  # noqa: SLF001 - of its own class
        return whole

    @property
    def pixels(self) -> UInt8:
        """Tell where it ignores: uint8 [H, W], 255 = ignored. Nothing before it was read."""
        height, width = self._shape
        flat = np.unpackbits(np.frombuffer(self._bits, np.uint8), count=height * width)
        return (flat * 255).astype(np.uint8).reshape(height, width)


def _read(path: Path) -> UInt8:
    """Return where a mask ignores, uint8 [H, W] 0/1. Raises SettingsError."""
    try:
        pixels = read_picture(path)
    except SourceError as error:
        raise SettingsError(f"The ignore mask cannot be read: {error}") from error
    if pixels.dtype.name != "uint8" or pixels.size > _PIXELS_AT_MOST:
        raise SettingsError(f"{path}: expected an ignore mask of 8 bits and at most {_PIXELS_AT_MOST:,} values")
    plane = pixels if pixels.ndim == 2 else pixels.max(axis=2)
    levels = np.flatnonzero(np.bincount(plane.ravel(), minlength=256))
    if len(levels) != 2 or levels[0] != 0:
        shown = ", ".join(str(level) for level in levels[:5]) + (", …" if len(levels) > 5 else "")
        raise SettingsError(
            f"{path}: expected an ignore mask of two levels, black where it is inspected and another where it is not; "
            f"received {len(levels)}: {shown}"
        )
    return (plane > 0).astype(np.uint8)
