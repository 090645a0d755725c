from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inspection.tiling import TilePlan, canvas, cut, pad, plan, stitch


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    """Draw a plan for any frame, tile, overlap and stride."""
    stride = draw(st.sampled_from([1, 1, 2, 8]))
    tile = (stride * draw(st.integers(1, 24)), stride * draw(st.integers(1, 24)))
    overlap = draw(st.integers(0, min(tile) - 1))
    return plan(draw(st.integers(1, 150)), draw(st.integers(1, 150)), tile, overlap, stride)


@given(plans())
def test_every_pixel_of_the_frame_is_kept_from_exactly_one_tile(tiles: TilePlan) -> None:
    """No pixel counts twice and none is left out, whatever the sizes of frame and tile."""
    rows, columns = tiles.map_shape
    kept = np.zeros((rows * tiles.stride, columns * tiles.stride), int)
    for cell in tiles.cells:
        kept[cell.keep_y0 : cell.keep_y1, cell.keep_x0 : cell.keep_x1] += 1
    assert (kept == 1).all()


@given(plans())
def test_what_a_tile_keeps_lies_within_it(tiles: TilePlan) -> None:
    """A tile never answers for pixels that it has not seen, and lies within the padded frame."""
    for cell in tiles.cells:
        assert cell.y <= cell.keep_y0 <= cell.keep_y1 <= cell.y + tiles.tile_height
        assert cell.x <= cell.keep_x0 <= cell.keep_x1 <= cell.x + tiles.tile_width
        assert cell.y + tiles.tile_height <= tiles.height + tiles.pad_bottom
        assert cell.x + tiles.tile_width <= tiles.width + tiles.pad_right
        assert cell.y % tiles.stride == cell.x % tiles.stride == 0


@given(plans(), st.integers(0, 2**32 - 1))
def test_stitching_the_cut_tiles_returns_the_frame(tiles: TilePlan, seed: int) -> None:
    """Cutting and stitching are each other's inverse (seen here at the resolution of the map's cells)."""
    frame = np.random.default_rng(seed).integers(0, 256, (tiles.height, tiles.width, 1), np.uint8)
    padded = pad(frame, tiles)
    stitched = canvas(tiles)
    tile = np.empty((tiles.tile_height, tiles.tile_width, 1), np.uint8)
    for cell in tiles.cells:
        cut(padded, tiles, cell, tile)
        answer = tile[:: tiles.stride, :: tiles.stride, 0]
        stitch(answer, 255 - answer, tiles, cell, stitched)
    expected = padded[:: tiles.stride, :: tiles.stride, 0][: tiles.map_shape[0], : tiles.map_shape[1]]
    np.testing.assert_array_equal(stitched.classes, expected)
    np.testing.assert_array_equal(stitched.scores, 255 - expected)


def test_seams_lie_in_the_middle_of_the_overlap() -> None:
    """1080p in tiles of 256 with 32 px of overlap: 5 x 9 tiles, as few as will do, with margins alike on both sides."""
    tiles = plan(1080, 1920, (256, 256), 32)
    assert len(tiles.cells) == 45  # ceil((1080-256)/224) + 1 = 5, ceil((1920-256)/224) + 1 = 9
    first, second = tiles.cells[:2]
    assert first.keep_x1 == second.keep_x0
    assert abs((first.x + 256 - first.keep_x1) - (second.keep_x0 - second.x)) <= 1
    last = tiles.cells[-1]
    assert (last.keep_y1, last.keep_x1) == (1080, 1920)


def test_a_small_frame_is_reflected_into_one_tile() -> None:
    """A frame smaller than a tile is padded by reflection without repeating its edge: 1 2 3 → 1 2 3 2 1 2."""
    tiles = plan(1, 3, (1, 6), 0)
    padded = pad(np.array([[[1], [2], [3]]], np.uint8), tiles)
    assert padded[0, :, 0].tolist() == [1, 2, 3, 2, 1, 2]


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "stride", "says"),
    [
        ((0, 5), (8, 8), 0, 1, "a frame of 0 x 5"),
        ((9, 9), (8, 8), 8, 1, "overlap of 0 to 7 px, received 8"),
        ((9, 9), (8, 8), 0, 3, "no multiple of the stride of 3 px"),
    ],
)
def test_sizes_that_cannot_work_are_refused(
    size: tuple[int, int], tile: tuple[int, int], overlap: int, stride: int, says: str
) -> None:
    """An impossible tiling says what was expected and what was received."""
    with pytest.raises(ValueError, match=says):
        plan(*size, tile, overlap, stride)
