"""The reference of a camera: learned from a few good frames, kept in a file, and read again."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import SettingsError
from edge.files import write_bytes
from edge.opencv import cv2
from edge.pictures.common_size import common_size
from edge.quality.gate import Limits, Looked, QualityGate, Reference
from edge.quality.measures import sample, saturated, small, small_size
from edge.quality.settings import QualitySettings
from edge.records import Float32, UInt8

SCHEMA = "linewatch/quality/1"
FRAMES_AT_LEAST = 5
_BYTES_AT_MOST = 20_000_000
# A place stands still where its details differ by no more between good frames, in grey levels.
_STILL_LEVELS = 4.0
# A frame without edges is not out of focus where good frames have fewer than this, as plain surfaces.
_EDGES_AT_LEAST, _EDGES_KEPT = 0.003, 0.4
# So many good frames are shown elsewhere, by so many times what is told along x and y: each of them must be told.
_TRIED, _MOVES = 4, ((3.0, -1.5), (-4.0, 7.0))
_MOVED_SHARE, _TURNED_DEG = 0.004, 0.5  # of the frame's width; at least 4 px


def learn_quality(frames: Sequence[UInt8], region: tuple[int, int, int, int] | None = None) -> Reference:
    """Learn from good frames, uint8 [H, W] or BGR [H, W, 3], all of one size.

    Parts and empty belt come as they are. The limits are the worst of the good frames and some room. Raises
    SettingsError for too few frames, for sizes that differ, and for a region outside them.
    """
    width, height = common_size(frames, FRAMES_AT_LEAST, "learning the quality", "good")
    x, y, w, h = region or (0, 0, width, height)
    if not (0 <= x < x + w <= width and 0 <= y < y + h <= height and min(w, h) >= 32):
        raise SettingsError(
            f"learning the quality: the region {[x, y, w, h]} does not lie in {width} x {height} px, or is below 32 px"
        )
    samples = [sample(pixels[y : y + h, x : x + w]) for pixels in frames]
    pictures = np.stack([small(sampled, small_size((w, h))) for sampled in samples])
    picture: Float32 = np.median(pictures, axis=0).astype(np.float32)
    still: UInt8 = ((np.abs(pictures - picture).max(axis=0) <= _STILL_LEVELS) * 255).astype(np.uint8)
    still = cv2.erode(still, np.ones((3, 3), np.uint8))
    often = np.mean([saturated(sampled) > 0 for sampled in samples], axis=0) >= 0.5  # a lamp, and no reflection
    bright: UInt8 = (often * 255).astype(np.uint8)
    bright = cv2.dilate(bright, np.ones((5, 5), np.uint8))
    usual = Reference((width, height), (x, y, w, h), _all_good(width), picture, still, bright)
    gate = QualityGate(usual)
    learned = replace(usual, limits=_limits([gate.measure(pixels) for pixels in frames], width))
    if learned.tells_moves and not _tells_own_moves(frames, learned):
        return replace(learned, still=np.zeros_like(still))
    return learned


def _tells_own_moves(frames: Sequence[UInt8], learned: Reference) -> bool:
    """Tell whether good frames that are shown elsewhere are refused: else what stands still does so by chance alone."""
    gate = QualityGate(learned, ("camera_moved",))
    for number, pixels in enumerate(frames[:: max(1, len(frames) // _TRIED)]):
        x, y = (times * learned.limits.moved_px for times in _MOVES[number % len(_MOVES)])
        matrix = np.array([[1, 0, x], [0, 1, y]])
        size = (pixels.shape[1], pixels.shape[0])
        elsewhere: UInt8 = cv2.warpAffine(pixels, matrix, size, borderMode=cv2.BORDER_REFLECT)
        if gate.look(elsewhere) is None:
            return False
    return True


def _all_good(width: int) -> Limits:
    return Limits(0, 255, 1, 1, 1, 1e9, 0, 1e9, -1, max(4.0, _MOVED_SHARE * width), _TURNED_DEG)


def _limits(seen: Sequence[Looked], width: int) -> Limits:
    """Return the limits that frames of these measures keep, with room for frames that were not seen."""
    medians = [one.exposure.median for one in seen]
    room = max(10.0, 0.5 * (max(medians) - min(medians)))
    fewest = min(one.edges.share for one in seen)
    blurs = [one.edges.blur for one in seen if one.edges.blur is not None]
    return replace(
        _all_good(width),
        median_from=min(medians) - room,
        median_to=max(medians) + room,
        black=_more([one.exposure.black for one in seen], 0.02),
        clipped=_more([one.exposure.clipped for one in seen], 0.01),
        glare=_more([one.exposure.glare for one in seen], 0.005),
        blur_px=1.25 * max(blurs) if blurs else 1e9,
        edges=_EDGES_KEPT * fewest if fewest >= _EDGES_AT_LEAST else 0.0,
        streak=1.25 * max(one.edges.streak for one in seen),
        alike=1 - 1.5 * (1 - min(one.alike for one in seen)) - 0.01,
    )


def _more(shares: Sequence[float], least: float) -> float:
    """Return a limit above these shares: half as much again, and `least`."""
    return min(1.0, 1.5 * max(shares) + least)


def write_quality(path: Path, reference: Reference) -> None:
    """Write what was learned to a file. Raises StoreError."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        schema=np.array(SCHEMA),
        size_px=np.array(reference.size_px),
        region=np.array(reference.region),
        limits=np.array(astuple(reference.limits), np.float64),
        picture=reference.picture,
        still=reference.still,
        bright=reference.bright,
    )
    write_bytes(path, content.getvalue())


def read_quality(path: Path) -> Reference:
    """Read what was learned. Raises SettingsError for a file that is none, or is missing."""
    try:
        with path.open("rb") as file:
            content = io.BytesIO(file.read(_BYTES_AT_MOST))  # a larger file is cut, and damaged
        with np.load(content, allow_pickle=False) as kept:
            reference = _reference_of(kept)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _no_quality(path, str(error)) from error
    except Exception as error:  # zipfile's and zlib's own kinds
        raise _no_quality(path, f"it is damaged ({type(error).__name__})") from error
    if reference is None:
        raise _no_quality(path, f"its schema is another than {SCHEMA}, or its tables do not fit together")
    return reference


def _reference_of(kept: Mapping[str, Any]) -> Reference | None:
    if str(kept["schema"]) != SCHEMA:
        return None
    (width, height), (x, y, w, h) = (tuple(int(side) for side in kept[name]) for name in ("size_px", "region"))
    picture = np.asarray(kept["picture"], np.float32)
    still, bright = (np.asarray(kept[name], np.uint8) for name in ("still", "bright"))
    limits = [float(number) for number in kept["limits"]]
    inside = 0 <= x < x + w <= width <= 65_536 and 0 <= y < y + h <= height <= 65_536
    if not inside or len(limits) != len(Limits.__dataclass_fields__) or not np.isfinite([*limits, picture.sum()]).all():
        return None
    small_px = small_size((w, h))
    sampled = (-(-h // 4), -(-w // 4))
    if picture.shape != small_px[::-1] or still.shape != picture.shape or bright.shape != sampled:
        return None
    return Reference((width, height), (x, y, w, h), Limits(*limits), picture, still, bright)


def _no_quality(path: Path, why: str) -> SettingsError:
    return SettingsError(
        f"{path} holds no learned quality: {why}. Make it with: linewatch learn-quality CONFIG CAMERA --out {path.name}"
    )


def open_gate(settings: QualitySettings | None) -> QualityGate | None:
    """Return the gate of a camera's settings, None where they ask for none. Raises SettingsError."""
    if settings is None:
        return None
    reference = read_quality(settings.learned)
    names = ("blur_px", "streak", "glare", "black", "clipped", "moved_px", "turned_deg")
    own = {name: value for name in names if (value := getattr(settings, name)) is not None}
    if settings.median is not None:
        own |= {"median_from": settings.median[0], "median_to": settings.median[1]}
    return QualityGate(replace(reference, limits=replace(reference.limits, **own)), settings.checks)
