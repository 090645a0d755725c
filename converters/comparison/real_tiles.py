"""The real pictures that a conversion is judged on: a bundle's golden ones and those of a folder, never random ones."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from edge.bundle import GOLDEN, Bundle
from edge.errors import CalibrationError, ProductNotFoundError, SourceError
from edge.inspection.tiling import cut_sequence, pad, plan
from edge.pictures import list_pictures, read_picture
from edge.preparing import depth_bits, prepare
from edge.records import Frame, PreparedFrame, UInt8
from trainer.datasets.dataset import read_manifest

_log = logging.getLogger(__name__)
MAP_SUFFIX = ".map.png"
Pictures = tuple[Sequence[Path], Sequence[Path]]  # whose tiles are looked at; that defects are counted on


def golden_pictures(bundle: Bundle) -> list[Path]:
    """List the raw golden pictures; a bundle converted before also holds their expected maps."""
    pictures = (bundle.path / GOLDEN).glob("*.png")
    return sorted(picture for picture in pictures if not picture.name.endswith(MAP_SUFFIX))


def pictures_of(data: Path) -> list[Path]:
    """List the pictures of a dataset (those that its manifest.csv names, not their masks) or of any folder."""
    if not data.is_dir():
        raise SourceError(f"No folder at {data}: expected a folder of pictures")
    if (data / "manifest.csv").is_file():
        return [entry.path for entry in read_manifest(data)]
    listing = list_pictures(data)
    for told in listing.told():
        _log.warning("%s", told)
    return [picture for picture in listing.files if not picture.name.endswith(MAP_SUFFIX)]


def calibration_pictures(bundle: Bundle, *folders: Path | None) -> list[Path]:
    """List the golden pictures and those of the folders. Raises CalibrationError where there is not one."""
    found = golden_pictures(bundle)
    for folder in folders:
        if folder is not None:
            found += pictures_of(folder)
    if not found:
        raise CalibrationError(
            f"{bundle.path} has no real pictures to choose a precision on: none in {GOLDEN}/, and no folder with "
            "pictures given. Random numbers would say nothing of the line. Name a folder with --calibration"
        )
    return found


def prepare_picture(picture: Path, bundle: Bundle) -> PreparedFrame:
    """Read a picture and prepare it as the line does. Raises SourceError, ProductNotFoundError."""
    raw = read_picture(picture, depth_bits(bundle.manifest.preparing))
    try:
        pixels, to_frame = prepare(raw, bundle.manifest.preparing, bundle.manifest.channels)
    except ProductNotFoundError as error:
        raise ProductNotFoundError(f"{picture}: the product was not found: {error}") from error
    frame = Frame("convert", 0, raw, 0, datetime.fromtimestamp(0, timezone.utc), picture.name)
    return PreparedFrame(frame, pixels, to_frame)


def real_tiles(bundle: Bundle, pictures: Sequence[Path], at_most: int) -> UInt8:
    """Cut at most so many tiles, uint8 [n, (T,) H, W, C], spread evenly over the pictures, as the line cuts them.

    A model of several frames is shown the same picture that often. The line does so with a picture that stands alone.
    """
    share = -(-at_most // len(pictures))
    chosen = [pictures[int(place)] for place in np.linspace(0, len(pictures) - 1, min(at_most, len(pictures)))]
    tiles = [tile for picture in chosen for tile in _spread(list(_tiles_of(bundle, picture)), share)]
    return np.stack(_spread(tiles, at_most))


def _spread(tiles: list[UInt8], at_most: int) -> list[UInt8]:
    if len(tiles) <= at_most:
        return tiles
    return [tiles[int(place)] for place in np.linspace(0, len(tiles) - 1, at_most)]


def _tiles_of(bundle: Bundle, picture: Path) -> Iterator[UInt8]:
    contract = bundle.contract(1)
    tile = (contract.tile_height, contract.tile_width)
    pixels = prepare_picture(picture, bundle).pixels
    cells = plan(pixels.shape[0], pixels.shape[1], tile, bundle.manifest.tile.overlap_px, contract.stride)
    padded = [pad(pixels, cells)] * contract.frames
    frames = (contract.frames,) if contract.frames > 1 else ()
    for cell in cells.cells:
        into: UInt8 = np.empty((*frames, *tile, contract.channels), np.uint8)
        cut_sequence(padded, cells, cell, into)
        yield into
