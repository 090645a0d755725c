"""Cut a frame into tiles of one fixed shape, and put the answers together: every pixel counts exactly once.

Tiles overlap. Along each axis the border between two neighbours lies in the middle of their overlap. So a pixel is
answered by the tile that sees most around it. Two tiles have the same margin except at the frame's edges.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.records import Cell, DefectMap, UInt8
from edge.wording import counted


@dataclass(frozen=True)
class TilePlan:
    """The cut of frames of one size: `cells` in row order; pad sizes in pixels, added at the bottom and the right."""

    height: int
    width: int
    tile_height: int
    tile_width: int
    stride: int
    pad_bottom: int
    pad_right: int
    cells: tuple[Cell, ...]

    @property
    def map_shape(self) -> tuple[int, int]:
        """Height and width of the stitched map, in cells of `stride` pixels."""
        return -(-self.height // self.stride), -(-self.width // self.stride)


def _positions(length: int, tile: int, overlap: int, stride: int) -> list[int]:
    """Tile starts along one axis: multiples of `stride`, first 0, last flush with the end, as few as will do."""
    if length <= tile:
        return [0]
    last = length - tile
    steps = -(-last // (tile - overlap))  # ceiling
    return [stride * round(last * i / steps / stride) for i in range(steps)] + [last]


def _seams(starts: list[int], tile: int, length: int, stride: int) -> list[int]:
    """Borders between kept parts along one axis, one more than tiles: the middle of each overlap, on the stride."""
    middles = [stride * ((a + tile + b) // (2 * stride)) for a, b in itertools.pairwise(starts)]
    return [0, *middles, length]


def plan(height: int, width: int, tile: tuple[int, int], overlap_px: int, stride: int = 1) -> TilePlan:
    """Plan the tiles of a `height` x `width` frame. `tile` is (height, width); sizes in pixels.

    The frame is padded by reflection where it is smaller than a tile. For cell-resolution models it is also padded
    where it is no multiple of `stride`. Raises ValueError on sizes that cannot work.
    """
    tile_height, tile_width = tile
    if height < 1 or width < 1:
        raise ValueError(f"a frame of {height} x {counted(width, 'pixel')} cannot be tiled; expected at least 1 x 1")
    if stride < 1 or tile_height % stride or tile_width % stride:
        raise ValueError(f"tiles of {tile_height} x {tile_width} px are no multiple of the stride of {stride} px")
    overlap_px = stride * (overlap_px // stride)
    if not 0 <= overlap_px < min(tile):
        raise ValueError(f"expected an overlap of 0 to {min(tile) - 1} px, received {overlap_px}")
    padded_height = max(tile_height, stride * -(-height // stride))
    padded_width = max(tile_width, stride * -(-width // stride))
    ys = _positions(padded_height, tile_height, overlap_px, stride)
    xs = _positions(padded_width, tile_width, overlap_px, stride)
    # kept parts end with the frame, not with its padding, rounded up to whole cells of `stride`
    y_seams = _seams(ys, tile_height, stride * -(-height // stride), stride)
    x_seams = _seams(xs, tile_width, stride * -(-width // stride), stride)
    cells = tuple(
        Cell(r * len(xs) + c, y, x, y_seams[r], y_seams[r + 1], x_seams[c], x_seams[c + 1])
        for r, y in enumerate(ys)
        for c, x in enumerate(xs)
    )
    return TilePlan(height, width, tile_height, tile_width, stride, padded_height - height, padded_width - width, cells)


def pad(pixels: UInt8, tiles: TilePlan) -> UInt8:
    """Reflect the frame's edge (without repeating it) into what a tile needs beyond it; [H, W, C] → [H', W', C]."""
    if not tiles.pad_bottom and not tiles.pad_right:
        return pixels
    return np.pad(pixels, ((0, tiles.pad_bottom), (0, tiles.pad_right), (0, 0)), mode="reflect")


def cut(padded: UInt8, tiles: TilePlan, cell: Cell, into: UInt8) -> None:
    """Copy one cell's tile from a padded frame [H', W', C] into an engine's buffer [tile_height, tile_width, C]."""
    np.copyto(into, padded[cell.y : cell.y + tiles.tile_height, cell.x : cell.x + tiles.tile_width], casting="no")


def cut_sequence(padded: Sequence[UInt8], tiles: TilePlan, cell: Cell, into: UInt8) -> None:
    """Copy one cell's tile of T padded frames, oldest first, into [T, tile_height, tile_width, C]; no T if it is 1."""
    for pixels, place in zip(padded, into if len(padded) > 1 else [into], strict=True):
        cut(pixels, tiles, cell, place)


def canvas(tiles: TilePlan) -> DefectMap:
    """Return an unwritten map of the frame's size: every cell of it is written by exactly one tile."""
    shape = tiles.map_shape
    size_px = (tiles.height, tiles.width)
    return DefectMap(np.empty(shape, np.uint8), np.empty(shape, np.uint8), tiles.stride, size_px)


def stitch(classes: UInt8, scores: UInt8, tiles: TilePlan, cell: Cell, into: DefectMap) -> None:
    """Write the kept part of one tile's answer, uint8 [h, w] each, into the frame's map."""
    s = tiles.stride
    y0, y1, x0, x1 = cell.keep_y0 // s, cell.keep_y1 // s, cell.keep_x0 // s, cell.keep_x1 // s
    v, u = cell.y // s, cell.x // s
    into.classes[y0:y1, x0:x1] = classes[y0 - v : y1 - v, x0 - u : x1 - u]
    into.scores[y0:y1, x0:x1] = scores[y0 - v : y1 - v, x0 - u : x1 - u]
