"""A picture's quality in numbers; of a frame at 1080p a sixth of the pixels is looked at. Pure.

Edges are measured in bands of full rows, at their own resolution, since a smaller picture hides a small blur. All else
is measured in every fourth pixel of every fourth row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge.opencv import cv2
from edge.records import Float32, Float64, UInt8

SATURATED, BLACK = 250, 5  # grey levels from which, and up to which, a pixel tells nothing
_EVERY_PX = 4
_BAND_ROWS = 16
_BAND_PIXELS = 200_000
_STEEP = 5.0  # grey levels a pixel from which on a place is an edge
_OVER_MEAN = 1.5  # and so many times as steep as the picture is on average
_EDGE_PIXELS_AT_LEAST = 100
_BLOB_SAMPLES = 12  # of so many samples a saturated blob is glare, and no spark
_SMALL_LONG_SIDE = 320
# Pictures are shown larger or smaller where that takes away this share of what is unlike.
_CLEARLY = 0.9

# Derivatives along the four directions of a square grid, and the distance between two of its points along each.
_DIRECTIONS: tuple[tuple[tuple[int, int], float], ...] = (
    ((0, 1), 1.0),
    ((1, 0), 1.0),
    ((1, 1), 2**0.5),
    ((1, -1), 2**0.5),
)


@dataclass(frozen=True)
class Edges:
    """The sharpness of a picture's edges.

    `share`: of the pixels that lie on edges. `blur_px`: for each direction with enough edges, the standard deviation of
    the Gaussian that would blur a step as much, px.
    """

    share: float
    blur_px: tuple[float | None, ...]

    @property
    def blur(self) -> float | None:
        """The blur of the sharpest direction, px: what is blurred along one only is motion. None without edges."""
        return min((blur for blur in self.blur_px if blur is not None), default=None)

    @property
    def streak(self) -> float:
        """Tell how many times more the most blurred direction is than the least; 1 where that cannot be told."""
        known = [blur for blur in self.blur_px if blur is not None]
        return max(known) / min(known) if len(known) > 1 else 1.0


@dataclass(frozen=True)
class Exposure:
    """The light of a picture: the median grey level, and the shares of black and of clipped pixels, 0-1.

    `glare`: the share of pixels in saturated blobs; `clipped` has the saturated pixels outside them.
    """

    median: float
    black: float
    clipped: float
    glare: float


def sample(pixels: UInt8) -> UInt8:
    """Return every fourth pixel of every fourth row of uint8 [H, W] or [H, W, 3], unmixed."""
    height, width = pixels.shape[:2]
    size = (-(-width // _EVERY_PX), -(-height // _EVERY_PX))
    sampled: UInt8 = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST)
    return sampled


def saturated(sampled: UInt8) -> UInt8:
    """Return where a sample is saturated in any channel: uint8 [h, w] 0/255."""
    brightest = sampled
    if sampled.ndim == 3 and sampled.shape[2] == 3:
        blue, green, red = cv2.split(sampled)
        brightest = cv2.max(cv2.max(blue, green), red)
    where: UInt8 = cv2.inRange(brightest.reshape(sampled.shape[:2]), SATURATED, 255)
    return where


def exposure(sampled: UInt8, looked_at: UInt8) -> Exposure:
    """Measure the light of a sample, uint8 [h, w] or [h, w, 3].

    It counts where `looked_at`, uint8 [h, w], is not 0.
    """
    level = luminance_of(sampled)
    counts = cv2.calcHist([level], [0], looked_at, [256], [0, 256]).ravel()
    total = float(counts.sum()) or 1.0
    median = float(np.searchsorted(np.cumsum(counts), total / 2))
    bright = cv2.bitwise_and(saturated(sampled), looked_at)
    all_of_it, blobs = int(cv2.countNonZero(bright)), 0
    if all_of_it >= _BLOB_SAMPLES:
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
        sizes = stats[1:, cv2.CC_STAT_AREA]
        blobs = int(sizes[sizes >= _BLOB_SAMPLES].sum())
    black = float(counts[: BLACK + 1].sum())
    return Exposure(median, black / total, (all_of_it - blobs) / total, blobs / total)


def luminance_of(sampled: UInt8) -> UInt8:
    """Return the green channel of uint8 [h, w, 3], which is most of the luminance; [h, w] as it is."""
    if sampled.ndim == 2:
        return sampled
    plane: UInt8 = cv2.extractChannel(sampled, min(1, sampled.shape[2] - 1))
    return plane


def edges(pixels: UInt8) -> Edges:
    """Measure the edges of uint8 [H, W] or [H, W, 3] in bands of 16 rows, at most 200,000 pixels.

    A step that a Gaussian of s px blurs has the derivatives G and G' with ΣG² / ΣG'² = 2 s². The sums run over places
    that are steep along the direction, so that noise adds little. A smoothing of 3 x 3 before it is part of s.
    """
    bands = _bands(pixels)
    count, rows, width = bands.shape
    flat = cv2.GaussianBlur(bands.reshape(count * rows, width), (3, 3), 0, borderType=cv2.BORDER_REPLICATE)
    blurs: list[float | None] = []
    steep_pixels = 0
    for (down, right), step in _DIRECTIONS:
        slope, bend = _derivatives(flat, down, right)
        steep = max(_STEEP * step * 2, _OVER_MEAN * float(cv2.mean(np.abs(slope[::4]))[0]))
        on_edge = _inner(cv2.bitwise_not(cv2.inRange(slope, -steep, steep)), count)
        pixels_on = int(cv2.countNonZero(on_edge))
        steep_pixels = max(steep_pixels, pixels_on)
        if pixels_on < _EDGE_PIXELS_AT_LEAST:
            blurs.append(None)
            continue
        slopes = cv2.norm(_inner(slope, count), cv2.NORM_L2SQR, on_edge) / 4  # of the distance of two steps
        bends = cv2.norm(_inner(bend, count), cv2.NORM_L2SQR, on_edge)
        blurs.append(step * float(slopes / max(2 * bends, 1e-9)) ** 0.5)
    return Edges(steep_pixels / max(1, count * (rows - 4) * width), tuple(blurs))


def _bands(pixels: UInt8) -> UInt8:
    """Return bands of rows of a picture's luminance, uint8 [B, 16, W], spread evenly; all of a small picture."""
    height, width = pixels.shape[:2]
    rows = min(_BAND_ROWS, height)
    count = max(1, min(height // rows, _BAND_PIXELS // (rows * width) or 1))
    starts = np.linspace(0, height - rows, count).astype(np.int64) if count > 1 else np.array([(height - rows) // 2])
    stacked = pixels[(starts[:, None] + np.arange(rows)).ravel()]
    return np.ascontiguousarray(luminance_of(stacked)).reshape(count, rows, width)


def _derivatives(flat: UInt8, down: int, right: int) -> tuple[UInt8, UInt8]:
    """Return f(+1) - f(-1) and f(+1) - 2 f(0) + f(-1) along a direction, int16."""
    slope, bend = np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)
    for sign in (-1, 1):
        slope[1 + sign * down, 1 + sign * right] = sign
        bend[1 + sign * down, 1 + sign * right] = 1
    bend[1, 1] = -2
    first: UInt8 = cv2.filter2D(flat, cv2.CV_16S, slope, borderType=cv2.BORDER_REPLICATE)
    second: UInt8 = cv2.filter2D(flat, cv2.CV_16S, bend, borderType=cv2.BORDER_REPLICATE)
    return first, second


def _inner(flat: UInt8, bands: int) -> UInt8:
    """Leave out the rows of each band whose neighbours are another band's, and as many columns."""
    height, width = flat.shape
    rows = height // bands
    inner = flat.reshape(bands, rows, width)[:, 2:-2, 2:-2]
    return np.ascontiguousarray(inner).reshape(-1, inner.shape[2])


def small_size(size_px: tuple[int, int]) -> tuple[int, int]:
    """Return the size (width, height) of the small picture in which a camera that was moved is told."""
    scale = min(1.0, _SMALL_LONG_SIDE / max(size_px))
    return max(8, round(size_px[0] * scale)), max(8, round(size_px[1] * scale))


def small(sampled: UInt8, size: tuple[int, int]) -> Float32:
    """Return a sample as a small picture without its light, float32 [h, w]: details in grey levels."""
    level = cv2.resize(luminance_of(sampled), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    details: Float32 = level - cv2.blur(level, (17, 17), borderType=cv2.BORDER_REPLICATE)
    return details


def likeness(one: Float32, other: Float32, where: UInt8) -> float:
    """Return how alike two small pictures are where `where`, uint8 [h, w], is not 0: their correlation, -1 to 1."""
    a, b = one[where > 0], other[where > 0]
    if len(a) < 16:
        return 1.0
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return float(np.dot(a, b)) / size if size > 1e-6 else 1.0


@dataclass(frozen=True)
class Shift:
    """The shift of what stands still, in px of the small picture and degrees, and the likeness at that shift.

    `larger`: how many times as large it is shown.
    """

    x: float
    y: float
    degrees: float
    alike: float
    larger: float = 1.0


def shift_of(reference: Float32, now: Float32, where: UInt8) -> Shift | None:
    """Find what leads from `reference` to `now`, both float32 [h, w]: shift, turn and size; None where it is not found.

    Phase correlation finds it coarsely, the enhanced correlation coefficient (Evangelidis and Psarakis, 2008) finely.
    """
    window = cv2.createHanningWindow((reference.shape[1], reference.shape[0]), cv2.CV_32F)
    masked = np.where(where > 0, 1, 0).astype(np.float32)
    (x, y), _ = cv2.phaseCorrelate(reference * masked, now * masked, window)
    starts = [np.array([[1, 0, start[0]], [0, 1, start[1]]], np.float32) for start in ((0.0, 0.0), (x, y))]
    found = [laid for start in starts if (laid := _laid(reference, now, where, start, cv2.MOTION_EUCLIDEAN))]
    if not found:
        return None
    alike, warp = max(found, key=lambda laid: laid[0])
    # a camera that came nearer shows all larger
    free = _laid(reference, now, where, warp, cv2.MOTION_AFFINE)
    if free is not None and 1 - free[0] < _CLEARLY * (1 - alike):
        alike, warp = free
    middle = np.array([reference.shape[1] / 2, reference.shape[0] / 2, 1.0])
    moved = warp @ middle - middle[:2]
    degrees = float(np.degrees(np.arctan2(warp[1, 0] - warp[0, 1], warp[0, 0] + warp[1, 1])))
    larger = float(np.sqrt(abs(np.linalg.det(warp[:, :2]))))
    return Shift(float(moved[0]), float(moved[1]), degrees, alike, larger)


def _laid(
    reference: Float32, now: Float32, where: UInt8, start: Float32 | Float64, motion: int
) -> tuple[float, Float64] | None:
    """Lay `now` upon `reference`; return how alike they are then, and the warp [2, 3]; None where that fails."""
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-4)
    try:
        alike, warp = cv2.findTransformECC(reference, now, start.astype(np.float32), motion, criteria, where, 5)
    except cv2.error:  # it does not converge
        return None
    return float(alike), warp.astype(np.float64)
