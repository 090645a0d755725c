"""The check of an engine's answers before anybody believes them: count, shape, dtype, classes and scores.

A class that the bundle lacks would be wiped as a speck. A map of one cell would be spread over a tile, and NaN would be
no defect. Each would read as OK. An answer that breaks the graph contract is an error instead, so the frame is NO_READ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge.errors import WrongAnswerError
from edge.opencv import cv2
from edge.records import Float32, GraphContract, Maps

# A score is round(probability x 255), and half precision rounds the probability: so far below its threshold may it be.
_SCORE_MARGIN = 2


@dataclass(frozen=True)
class _Checked(Maps):
    """Maps that keep a contract at thresholds, float32 [K] or None: who asks the same again is not kept waiting."""

    contract: GraphContract
    thresholds: Float32 | None


def joined(shares: Sequence[Maps]) -> Maps:
    """Return the maps of several shares of one batch in their order, not yet checked. Raises WrongAnswerError."""
    if len(shares) == 1:
        return shares[0]
    try:
        classes = np.concatenate([share.classes for share in shares])
        return Maps(classes, np.concatenate([share.scores for share in shares]))
    except ValueError as error:
        raise _wrong("its shares", "maps of one shape", str(error)) from error


def checked(maps: Any, count: int, contract: GraphContract, thresholds: Float32 | None = None) -> Maps:
    """Return the maps of `count` tiles if they keep the contract. Raises WrongAnswerError, with what was received.

    `thresholds`, float32 [K]: those that the tiles were answered at; a class below its own has no probability (NaN).
    """
    if isinstance(maps, _Checked) and _same(maps, count, contract, thresholds):
        return maps
    classes, scores = getattr(maps, "classes", None), getattr(maps, "scores", None)
    shape = (count, contract.tile_height // contract.stride, contract.tile_width // contract.stride)
    for name, array in (("classes", classes), ("scores", scores)):
        if not isinstance(array, np.ndarray):
            raise _wrong(name, f"an array of {_words(shape)}", f"{type(array).__name__}")
        if array.dtype != np.uint8:
            raise _wrong(name, "whole numbers of 0 to 255 (uint8)", _kind_of(array))
        if array.shape != shape:
            raise _wrong(name, f"{_words(shape)} (tiles, rows, columns)", _words(array.shape))
    assert isinstance(classes, np.ndarray)  # noqa: S101 - the loop saw to it
    assert isinstance(scores, np.ndarray)  # noqa: S101 - the loop saw to it
    if not classes.size:
        return Maps(classes, scores)
    highest, known = int(classes.max()), len(contract.classes)
    if highest > known:
        raise _wrong("classes", f"0 to {known}, the bundle's classes", str(highest))
    if thresholds is not None and highest:
        _check_scores(Maps(classes, scores), thresholds)
    return _Checked(classes, scores, contract, thresholds)


def _same(maps: _Checked, count: int, contract: GraphContract, thresholds: Float32 | None) -> bool:
    asked = thresholds is None or (maps.thresholds is not None and np.array_equal(maps.thresholds, thresholds))
    return asked and len(maps.classes) == count and maps.contract is contract


def _check_scores(maps: Maps, thresholds: Float32) -> None:
    """Refuse a class whose score lies below its threshold: the model answered something that is no probability."""
    lowest = np.zeros(256, np.uint8)
    lowest[1 : len(thresholds) + 1] = np.clip(np.floor(thresholds * 255) - _SCORE_MARGIN, 0, 255).astype(np.uint8)
    for classes, scores in zip(maps.classes, maps.scores, strict=True):
        x, y, width, height = cv2.boundingRect(np.ascontiguousarray(classes))
        if not width:
            continue
        box = np.s_[y : y + height, x : x + width]
        short = cv2.subtract(cv2.LUT(classes[box], lowest), scores[box])
        if cv2.countNonZero(short):
            row, column = (int(place) for place in np.argwhere(short)[0])
            class_id, score = int(classes[box][row, column]), int(scores[box][row, column])
            raise _wrong(
                "scores",
                f"at least {lowest[class_id]} where class {class_id} is answered, whose threshold it reached",
                f"{score}, as of a model that answers NaN",
            )


def _wrong(name: str, expected: str, received: str) -> WrongAnswerError:
    return WrongAnswerError(
        f"the model's answer breaks the graph contract: expected {name} to be {expected}, received {received}. "
        "Convert the bundle again; if that does not help, run another engine.backend"
    )


def _kind_of(array: Any) -> str:
    finite = array.dtype.kind != "f" or bool(np.isfinite(array).all())
    return f"{array.dtype}{'' if finite else ' with numbers that are not finite (NaN)'}"


def _words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
