"""Crops, resampled pictures, and class maps taken from the frame to prepared pixels and back.

A transform maps corners of pixels. So pixel (row, column) of a picture has its centre at (column + 0.5, row + 0.5).
OpenCV counts from centres; `warped` is where the two meet.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge.opencv import cv2
from edge.records import Float64, Transform, UInt8

# The loss of a transform's arithmetic; a point this close below a pixel's border lies on it.
_ROUNDING = 1e-9


def cropped(pixels: UInt8, corner: tuple[int, int], size: tuple[int, int], fill: int) -> UInt8:
    """Return `size` (width, height) px of [H, W, C] from `corner` (x, y) on; a view where it lies within the picture.

    Pixels beyond the picture are `fill`.
    """
    (x, y), (width, height) = corner, size
    inside = pixels[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
    if inside.shape[:2] == (height, width):
        return inside
    padded: UInt8 = np.full((height, width, pixels.shape[2]), fill, np.uint8)
    top, left = max(0, -y), max(0, -x)
    padded[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    return padded


def warped(pixels: UInt8, to_source: Transform, size: tuple[int, int], fill: int) -> UInt8:
    """Resample [H, W, C] bilinearly into `size` (width, height); `to_source` leads from the result to `pixels`.

    Pixels beyond the picture are `fill`.
    """
    linear = to_source.matrix[:, :2]
    centres = np.column_stack([linear, to_source.matrix[:, 2] + linear @ [0.5, 0.5] - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    border = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": (fill,) * 4}
    result: UInt8 = cv2.warpAffine(pixels, centres, size, flags=flags, **border)
    return result.reshape(size[1], size[0], -1)


def resampled_nearest(classes: UInt8, to_source: Transform, shape: tuple[int, int], fill: int = 0) -> UInt8:
    """Resample uint8 [H, W] into `shape` (height, width): each pixel takes the source pixel in which its centre lies.

    Beyond the source: `fill`. In numpy, since the rounding of `cv2.warpAffine` differs from version to version.
    """
    (a, b, c), (d, e, f) = to_source.matrix
    columns, rows = np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5
    result: UInt8 = np.full(shape, fill, np.uint8)
    if b == 0 and d == 0:
        xs, ys = _floor(a * columns + c), _floor(e * rows + f)
        x_in, y_in = _within(xs, classes.shape[1]), _within(ys, classes.shape[0])
        result[np.ix_(y_in, x_in)] = classes[np.ix_(ys[y_in], xs[x_in])]
        return result
    for place, row in enumerate(rows):
        xs, ys = _floor(a * columns + (b * row + c)), _floor(d * columns + (e * row + f))
        inside = _within(xs, classes.shape[1]) & _within(ys, classes.shape[0])
        result[place, inside] = classes[ys[inside], xs[inside]]
    return result


def _floor(values: Float64) -> npt.NDArray[np.int64]:
    return np.floor(values + _ROUNDING).astype(np.int64)


def _within(places: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.bool_]:
    return (places >= 0) & (places < length)


def prepare_map(classes: UInt8, to_frame: Transform, shape: tuple[int, int]) -> UInt8:
    """Take a frame's class map, uint8 [H, W], where `prepare` took its pixels: `shape` (height, width), `to_frame`.

    Nearest neighbour; 0 beyond the frame. The argument itself where no pixel moved.
    """
    if classes.shape == shape and to_frame.is_identity:
        return classes
    return resampled_nearest(classes, to_frame, shape)


def map_to_frame(classes: UInt8, to_frame: Transform, shape: tuple[int, int], stride: int = 1) -> UInt8:
    """Take a prepared frame's map, uint8 [h, w] with cells of `stride` px, back to its frame of `shape`; inverse of it.

    Nearest neighbour; 0 where the frame was not looked at. The argument itself where no pixel moved.
    """
    cell_to_frame = to_frame.from_cells(stride)
    if classes.shape == shape and cell_to_frame.is_identity:
        return classes
    return resampled_nearest(classes, cell_to_frame.inverse(), shape)
