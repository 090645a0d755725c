"""Pixels and what is made of them: frames, tiles, batches, maps. Shapes, dtypes and units are stated here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """One picture as the camera gave it.

    `pixels`: uint8 [H, W, 3] in BGR order, or [H, W] grey. `captured_ns`: the line's clock when the pixels left the
    camera (monotonic when live; the recording's own time in a replay). `captured_at`: the same moment as UTC wall time.
    `name`: what the source calls the frame (a file name); empty for a live camera.
    """

    camera: str
    index: int
    pixels: UInt8
    captured_ns: int
    captured_at: datetime
    name: str = ""


@dataclass(frozen=True)
class Transform:
    """The way from one picture's pixels to another's: from map cells or prepared pixels to the camera's frame.

    `matrix`: float64 [2, 3], affine: frame (x, y) = matrix @ (prepared x, prepared y, 1), in pixels. It maps
    corners, so pixel (row, column) has its centre at (column + 0.5, row + 0.5).
    """

    matrix: Float64

    @staticmethod
    def identity() -> Transform:
        """Return the transform of steps that move no pixel."""
        return Transform(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))

    @property
    def area_scale(self) -> float:
        """Frame pixels per prepared pixel, by area: the determinant of the linear part."""
        (a, b, _), (c, d, _) = self.matrix
        return float(abs(a * d - b * c))

    @staticmethod
    def shift(x: float, y: float) -> Transform:
        """Return the transform of a crop whose corner is at (x, y) of the picture that was cropped, px."""
        return Transform(np.array([[1.0, 0.0, x], [0.0, 1.0, y]]))

    @property
    def is_identity(self) -> bool:
        """True if no pixel is moved, to the bit."""
        return bool((self.matrix == Transform.identity().matrix).all())

    @property
    def upright(self) -> bool:
        """True if boxes stay boxes: nothing is turned or sheared."""
        return bool(self.matrix[0, 1] == 0 and self.matrix[1, 0] == 0)

    def apply(self, points: Float64) -> Float64:
        """Map float64 [N, 2] prepared points to float64 [N, 2] frame points."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]

    def then(self, following: Transform) -> Transform:
        """Return the transform that leads through this one and then through `following`."""
        linear = following.matrix[:, :2]
        moved = linear @ self.matrix[:, 2] + following.matrix[:, 2]
        return Transform(np.column_stack([linear @ self.matrix[:, :2], moved]))

    def inverse(self) -> Transform:
        """Return the way back: from the frame to prepared pixels. Raises numpy.linalg.LinAlgError if there is none."""
        return Transform(np.linalg.inv(np.vstack([self.matrix, [0.0, 0.0, 1.0]]))[:2])

    def from_cells(self, stride: int) -> Transform:
        """Return the transform that leads from the cells of a map, of `stride` prepared pixels each, to the frame."""
        return Transform(self.matrix * np.array([[stride, stride, 1.0]]))


@dataclass(frozen=True)
class PartBox:
    """The place of the part in a camera's frame.

    `to_frame`: leads from shares of the part's box, 0-1 from its top left corner, to pixels of the frame. It turns as
    the part does. `outline`: the part's own area as corners in pixels of the frame, float64 [N, 2].
    """

    to_frame: Transform
    outline: Float64

    @property
    def size_px(self) -> tuple[float, float]:
        """The box's width and height, in pixels of the frame."""
        width, height = np.hypot(*self.to_frame.matrix[:, :2])
        return float(width), float(height)


@dataclass(frozen=True)
class PreparedFrame:
    """Pixels ready to be cut into tiles: `pixels` uint8 [H, W, C]; `to_frame` leads back to the camera's frame.

    `earlier`: the prepared pixels of the frames before it, oldest first, for models of several frames. It is empty for
    a picture that stands alone. `part`: where the part lies; None where it is not looked for.
    """

    frame: Frame
    pixels: UInt8
    to_frame: Transform
    earlier: tuple[UInt8, ...] = ()
    part: PartBox | None = None


@dataclass(frozen=True)
class Cell:
    """The place of one tile, and which of its pixels are kept.

    `y`, `x`: the tile's top-left corner in the padded prepared frame. `keep_*`: the half-open rectangle, in prepared
    pixels, for which this tile, and no other, answers.
    """

    index: int
    y: int
    x: int
    keep_y0: int
    keep_y1: int
    keep_x0: int
    keep_x1: int


@dataclass(frozen=True)
class TileRef:
    """The tile, frame and camera that stand at one place of a batch."""

    camera: str
    frame: int
    cell: Cell


@dataclass(frozen=True)
class DefectClass:
    """One kind of defect.

    `id`: its value in a defect map, 1…K. `threshold`: a probability. `min_area_px`: in prepared
    pixels, in which it was fitted.
    `colour`: (red, green, blue), 0-255.
    """

    id: int
    name: str
    severity: str
    colour: tuple[int, int, int]
    threshold: float
    min_area_px: float


@dataclass(frozen=True)
class GraphContract:
    """The promise of every engine: sizes in pixels, `stride` in pixels per answered cell, `classes` in id order 1…K.

    In: uint8 tiles [N, (frames,) tile_height, tile_width, channels] and float32 thresholds [K].
    Out: uint8 classes and uint8 scores, each [N, tile_height / stride, tile_width / stride].
    """

    tile_height: int
    tile_width: int
    channels: int
    frames: int
    stride: int
    classes: tuple[str, ...]
    max_batch: int


@dataclass
class Batch:
    """A buffer owned by an engine, into which tiles are cut; not frozen because it is memory, not a fact.

    `tiles`: uint8 [B, (T,) H, W, C]. `refs`: one per filled tile, in order.
    """

    tiles: UInt8
    refs: list[TileRef] = field(default_factory=list)


@dataclass(frozen=True)
class Ticket:
    """A promise of an engine to answer a batch: `serial` in order of submission, `count` filled tiles."""

    serial: int
    count: int
    token: Any = None


@dataclass(frozen=True)
class Maps:
    """An engine's answer: `classes`, `scores` uint8 [count, h, w]; valid until the ticket's buffer is reused."""

    classes: UInt8
    scores: UInt8


@dataclass(frozen=True)
class DefectMap:
    """The stitched answer for one prepared frame.

    `classes`: uint8 [h, w], 0 = clean, else the class id 1…K. `scores`: uint8 [h, w], that class's probability x 255, 0
    where clean. `stride`: prepared pixels per map cell (1 for segmenters). `size_px`: (height, width) of the prepared
    frame, beyond which the last cells of a coarser map may reach. None = they do not.
    """

    classes: UInt8
    scores: UInt8
    stride: int = 1
    size_px: tuple[int, int] | None = None

    def classes_per_pixel(self) -> UInt8:
        """Return the classes at the prepared frame's size, uint8 [H, W]: each cell as large as what it answers for."""
        height, width = self.size_px or (side * self.stride for side in self.classes.shape)
        return over_pixels(self.classes, self.stride, (height, width))


def over_pixels(cells: UInt8, stride: int, size_px: tuple[int, ...]) -> UInt8:
    """Repeat each cell of uint8 [h, w] or [h, w, K] over its `stride` x `stride` pixels.

    The result is cut to `size_px` [H, W]. The argument itself where a cell is a pixel.
    """
    if stride == 1 and cells.shape[:2] == size_px[:2]:
        return cells
    return cells.repeat(stride, axis=0).repeat(stride, axis=1)[: size_px[0], : size_px[1]]
