"""The proof that a bundle sees on this machine what it saw when it was converted: its golden frames replayed."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TypeVar

import numpy as np

from edge.bundle import Bundle
from edge.errors import BundleError, ProductNotFoundError
from edge.inspection.inference import Inference
from edge.inspection.measuring import region, wiped
from edge.inspection.tiling import cut_sequence, pad, plan
from edge.opencv import cv2
from edge.pictures import NotReadableError, as_frame, decode
from edge.pictures.header import read_header
from edge.preparing import prepare
from edge.protocols import Engine
from edge.records import Frame, PreparedFrame, Transform, UInt8
from edge.wording import command, counted

# Other CPUs round a few probabilities to the other side of a threshold.
CHANGED_PIXELS_AT_MOST = 0.001
# Of all golden frames together: more than four of the largest pictures that are read.
_PIXELS_AT_MOST = 1 << 29
_TILES_AT_MOST = 1 << 18  # in one golden frame
_TILE_BYTES_AT_MOST = 1 << 28  # of all that `golden_tiles` returns
_T = TypeVar("_T")


@dataclass(frozen=True)
class GoldenResult:
    """One golden frame replayed. `prepared_same`: bit for bit; `changed_pixels`: share of the map; defects by count."""

    image: str
    prepared_same: bool
    changed_pixels: float
    defects_lost: int
    defects_gained: int

    @property
    def passed(self) -> bool:
        """True where no defect came or went and the map is the same but for rounding."""
        return not self.defects_lost and not self.defects_gained and self.changed_pixels <= CHANGED_PIXELS_AT_MOST


def check_golden(bundle: Bundle, engine: Engine) -> list[GoldenResult]:
    """Replay the bundle's golden frames at its own thresholds through an open engine.

    Raises BundleError for a golden frame or map that cannot be read, is altered, or is out of all bounds. Raises
    EngineError.
    """
    manifest = bundle.manifest
    inference = Inference(engine, [entry.threshold for entry in bundle.classes], manifest.tile.overlap_px)
    _refuse_too_much(bundle)
    results = []
    for index, golden in enumerate(manifest.golden):
        pixels = _frame(bundle, golden.image)
        prepared, to_frame = _prepared(bundle, golden.image, pixels)
        tiles = inference.plan_for(*_few_tiles(bundle, golden.image, prepared).shape[:2])
        expected = _expected(bundle, golden.expected_map, tiles.map_shape)  # before the engine is asked for so much
        frame = Frame("golden", index, pixels, 0, datetime.now(timezone.utc), golden.image)
        (job,) = inference.begin([PreparedFrame(frame, prepared, to_frame)])
        found = inference.finish(job)
        whole = region((found.classes.shape[0], found.classes.shape[1]), None, to_frame)
        kept = wiped(found, bundle.classes, whole)
        results.append(
            GoldenResult(
                image=golden.image,
                prepared_same=hashlib.sha256(prepared.tobytes()).hexdigest() == golden.prepared_sha256,
                changed_pixels=float(np.mean(expected != kept.classes)),
                defects_lost=unmatched_defects(expected, kept.classes),
                defects_gained=unmatched_defects(kept.classes, expected),
            )
        )
    return results


def _expected(bundle: Bundle, name: str, shape: tuple[int, int]) -> UInt8:
    """Return the map, uint8 [h, w], that a golden frame must come to. Raises BundleError for one of another shape."""
    expected = _readable(bundle, name, decode).pixels
    if expected.shape != shape or expected.dtype != np.uint8:
        raise BundleError(
            f"{bundle.path / name}: expected a defect map of {shape} cells, received {expected.dtype} "
            f"{expected.shape}. Convert the bundle again"
        )
    return expected


def _refuse_too_much(bundle: Bundle) -> None:
    """Refuse golden frames that say of themselves that together they are more than a start has time for."""
    seen_px = 0
    for golden in bundle.manifest.golden:
        header = _readable(bundle, golden.image, read_header)
        seen_px += header.width * header.height
    if seen_px > _PIXELS_AT_MOST:
        raise BundleError(
            f"{bundle.path}: its golden frames have {seen_px:,} px; expected a few frames of a camera, of at most "
            f"{_PIXELS_AT_MOST:,} px in all. Convert the bundle again with fewer or smaller pictures"
        )


def _few_tiles(bundle: Bundle, name: str, prepared: UInt8) -> UInt8:
    """Return the prepared pixels, [H, W, C], if they are not cut into absurdly many tiles. Raises BundleError."""
    tile = bundle.manifest.tile
    down, across = (
        math.ceil(length / (size - tile.overlap_px))
        for length, size in zip(prepared.shape[:2], (tile.height, tile.width), strict=True)
    )
    if down * across > _TILES_AT_MOST:
        raise BundleError(
            f"{bundle.path / name} would be cut into {down * across:,} tiles; expected at most {_TILES_AT_MOST:,}. "
            "Train again with larger tiles"
        )
    return prepared


def require_passed(bundle: Bundle, results: Sequence[GoldenResult], engine: str = "") -> None:
    """Raise BundleError where a golden frame was seen otherwise than at conversion.

    `engine`: names what saw them, where that is not the reference; another one may see them alike.
    """
    failed = [result for result in results if not result.passed]
    if not failed:
        return
    lost, gained = sum(each.defects_lost for each in failed), sum(each.defects_gained for each in failed)
    found = (
        f"{counted(lost, 'defect')} lost, {gained} gained, {max(each.changed_pixels for each in failed):.2%} changed"
    )
    mend = f"Convert it again: convert {bundle.path} --to onnxruntime"
    if engine:
        mend = "Take another: engine: {backend: onnxruntime, precision: fp32} is the one it was judged on"
    raise BundleError(
        f"{bundle.path} does not see here what it saw when it was converted, on "
        f"{', '.join(each.image for each in failed)}{f', with {engine}' if engine else ''}: expected no defect lost or "
        f"gained and at most {CHANGED_PIXELS_AT_MOST:.2%} of pixels changed, received {found}. {mend}"
    )


def require_golden(bundle: Bundle, engine: str) -> None:
    """Raise BundleError where a bundle has no golden frames, by which alone `engine` could be proven."""
    if not bundle.manifest.golden:
        again = command("convert", bundle.path, "--to", "onnxruntime", "--data", "PICTURES")
        raise BundleError(
            f"{bundle.path} has no golden frames, so nothing can show that {engine} sees what the model sees. Convert "
            f"it again with real pictures: {again}; or run it on its reference: "
            "engine: {backend: onnxruntime, precision: fp32}"
        )


def _readable(bundle: Bundle, name: str, read: Callable[[bytes], _T]) -> _T:
    """Read a golden picture's very bytes, whose hash the manifest states. Raises BundleError."""
    try:
        return read(bundle.file(name).read())
    except NotReadableError as error:
        raise BundleError(
            f"{bundle.path / name} is no picture that can be read: {error}. Convert the bundle again"
        ) from error


def golden_frame(bundle: Bundle) -> Frame | None:
    """Return the bundle's first golden frame as a camera would give it now, or None. Raises BundleError."""
    for golden in bundle.manifest.golden:
        pixels = _frame(bundle, golden.image)
        return Frame("golden", 0, pixels, time.monotonic_ns(), datetime.now(timezone.utc), golden.image)
    return None


def _frame(bundle: Bundle, name: str) -> UInt8:
    return _readable(bundle, name, lambda encoded: as_frame(decode(encoded)))


def _prepared(bundle: Bundle, image: str, pixels: UInt8) -> tuple[UInt8, Transform]:
    try:
        return prepare(pixels, bundle.manifest.preparing, bundle.manifest.channels)
    except ProductNotFoundError as error:
        raise BundleError(f"{bundle.path / image}: this OpenCV finds no product in it: {error}") from error
    except (cv2.error, ValueError) as error:
        raise BundleError(f"{bundle.path / image} cannot be prepared: {error}. Convert the bundle again") from error


def golden_tiles(bundle: Bundle) -> UInt8:
    """Return the tiles of the golden frames as an engine gets them, uint8 [N, (T,) H, W, C]; N is 0 without any.

    A model of several frames gets the same one T times. Of very large frames only the first tiles, 256 MB of them.
    Raises as `check_golden`.
    """
    manifest, contract = bundle.manifest, bundle.contract(1)
    frames = [contract.frames] if contract.frames > 1 else []
    shape = (*frames, contract.tile_height, contract.tile_width, contract.channels)
    _refuse_too_much(bundle)
    found: list[UInt8] = []
    for golden in manifest.golden:
        prepared, _ = _prepared(bundle, golden.image, _frame(bundle, golden.image))
        _few_tiles(bundle, golden.image, prepared)
        height, width = prepared.shape[:2]
        tile = (contract.tile_height, contract.tile_width)
        tiles = plan(height, width, tile, manifest.tile.overlap_px, contract.stride)
        padded = [pad(prepared, tiles)] * contract.frames
        for cell in tiles.cells:
            found.append(np.empty(shape, np.uint8))
            cut_sequence(padded, tiles, cell, found[-1])
            if found[-1].nbytes * (len(found) + 1) > _TILE_BYTES_AT_MOST:
                return np.stack(found)
    return np.stack(found) if found else np.empty((0, *shape), np.uint8)


def unmatched_defects(of: UInt8, within: UInt8) -> int:
    """Count the defects of one map, uint8 [h, w], that no pixel of their class in the other map touches."""
    unmatched = 0
    for class_id in np.unique(of[of > 0]):
        count, labels = cv2.connectedComponents((of == class_id).view(np.uint8), connectivity=8)
        met = np.unique(labels[within == class_id])
        unmatched += count - 1 - int(np.count_nonzero(met))
    return unmatched
