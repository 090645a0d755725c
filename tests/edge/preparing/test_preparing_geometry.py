"""Steps that move pixels: the way back is exact, and a truth goes where its pixels went."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inspection.tiling import plan
from edge.opencv import cv2
from edge.preparing import Grey, Resize, map_to_frame, prepare, prepare_map
from edge.preparing.geometry import cropped, resampled_nearest, warped
from edge.records import Transform, UInt8, over_pixels

SIDE = st.integers(1, 60)


def turned(degrees: float, x: float, y: float) -> Transform:
    """Turn by an angle, then shift."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return Transform(np.array([[cos, -sin, x], [sin, cos, y]]))


def test_a_letterbox_keeps_the_aspect() -> None:
    """1920 x 1080 in 640 x 640: a third of it, 640 x 360, from row (640 - 360) / 2 = 140 on; above it the fill."""
    pixels = np.full((1080, 1920), 200, np.uint8)
    box, to_frame = prepare(pixels, (Resize(width=640, height=640, fill=9),), 1)
    assert box.shape == (640, 640, 1)
    assert (box[140:500] == 200).all()
    assert (box[:140] == 9).all()
    assert (box[500:] == 9).all()
    np.testing.assert_allclose(to_frame.matrix, [[3, 0, 0], [0, 3, -140 * 3]])


def test_stretching_fills_the_whole() -> None:
    """1920 x 1080 stretched to 640 x 640: 3 px wide and 1.6875 px high is what one of its pixels was."""
    stretched, to_frame = prepare(
        np.full((1080, 1920), 200, np.uint8), (Resize(width=640, height=640, fit="stretch"),), 1
    )
    assert (stretched == 200).all()
    np.testing.assert_allclose(to_frame.matrix, [[3, 0, 0], [0, 1.6875, 0]])


def test_inside_has_nothing_beside_it() -> None:
    """1920 x 1080 inside 640 x 480 is 640 x 360, a third, and 640 x 480 stays what it was, pixel by pixel."""
    step = Resize(width=640, height=480, fit="inside", fill=9)
    made, to_frame = prepare(np.full((1080, 1920), 200, np.uint8), (step,), 1)
    assert made.shape == (360, 640, 1)
    assert (made == 200).all()
    np.testing.assert_allclose(to_frame.matrix, [[3, 0, 0], [0, 3, 0]])
    own = np.random.default_rng(0).integers(0, 256, (480, 640)).astype(np.uint8)
    np.testing.assert_array_equal(prepare(own, (step,), 1)[0][:, :, 0], own)


@given(SIDE, SIDE, SIDE, SIDE)
def test_inside_is_a_letterbox_without_its_fill(h: int, w: int, height: int, width: int) -> None:
    """The pixels are the letterbox's that are not fill, at any sizes, and lead back to the whole frame."""
    pixels = np.random.default_rng(1).integers(1, 256, (h, w)).astype(np.uint8)
    box, _ = prepare(pixels, (Resize(width=width, height=height),), 1)
    made, to_frame = prepare(pixels, (Resize(width=width, height=height, fit="inside"),), 1)
    rows, columns = np.flatnonzero(box.any(axis=(1, 2))), np.flatnonzero(box.any(axis=(0, 2)))
    np.testing.assert_array_equal(made, box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    corners = np.array([[0, 0], [made.shape[1], made.shape[0]]], np.float64)
    np.testing.assert_allclose(to_frame.apply(corners), [[0, 0], [w, h]], atol=1e-9)


@given(SIDE, SIDE, SIDE, SIDE)
def test_the_corners_of_a_letterbox_are_the_corners_of_the_frame(h: int, w: int, height: int, width: int) -> None:
    """Pixels that are not fill lead back to exactly the frame, and touch two opposite sides, whatever the sizes."""
    pixels = np.full((h, w), 255, np.uint8)
    box, to_frame = prepare(pixels, (Resize(width=width, height=height),), 1)
    rows, columns = np.flatnonzero(box.any(axis=(1, 2))), np.flatnonzero(box.any(axis=(0, 2)))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
    np.testing.assert_allclose(to_frame.apply(corners), [[0, 0], [w, h]], atol=1e-9)
    assert len(rows) == height or len(columns) == width
    # the aspect is kept as well as whole pixels can
    scale = min(width / w, height / h)
    assert abs(len(columns) - w * scale) <= max(0.5, 1 - w * scale)
    assert abs(len(rows) - h * scale) <= max(0.5, 1 - h * scale)


@given(SIDE, SIDE, SIDE, SIDE, st.sampled_from(["letterbox", "stretch"]), st.integers(0, 2**31))
def test_a_truth_goes_where_opencv_takes_the_nearest_pixels(
    h: int, w: int, height: int, width: int, fit: str, seed: int
) -> None:
    """Resampled by our own arithmetic, a picture is the one that OpenCV's exact nearest neighbour makes."""
    pixels = np.random.default_rng(seed).integers(1, 256, (h, w)).astype(np.uint8)
    step = Resize(width=width, height=height, fit=fit, interpolation="nearest")
    made, to_frame = prepare(pixels, (step,), 1)
    ours = prepare_map(pixels, to_frame, (height, width))
    # OpenCV's fixed point may take the other pixel for a centre exactly between two
    scale = to_frame.matrix.diagonal()
    ys, xs = np.mgrid[0:height, 0:width] + 0.5
    x, y = (scale[0] * xs + to_frame.matrix[0, 2]), (scale[1] * ys + to_frame.matrix[1, 2])
    between = (np.abs(x - np.round(x)) < 1e-3) | (np.abs(y - np.round(y)) < 1e-3)
    assert (ours == made[:, :, 0])[~between].all()


@given(st.integers(-30, 60), st.integers(-30, 60), SIDE, SIDE)
def test_a_crop_has_what_lies_there_and_fill_beyond(x: int, y: int, width: int, height: int) -> None:
    """Any window on a 40 x 50 picture, inside it, across its border or beside it, equals that of a padded one."""
    pixels = np.random.default_rng(0).integers(0, 200, (40, 50, 1)).astype(np.uint8)
    padded = np.pad(pixels, ((130, 130), (130, 130), (0, 0)), constant_values=222)
    crop = cropped(pixels, (x, y), (width, height), 222)
    np.testing.assert_array_equal(crop, padded[130 + y : 130 + y + height, 130 + x : 130 + x + width])
    mapped = resampled_nearest(pixels[:, :, 0], Transform.shift(x, y), (height, width), fill=222)
    np.testing.assert_array_equal(mapped, crop[:, :, 0])


@pytest.mark.parametrize("degrees", [-30.0, 0.0, 3.5, 90.0])
def test_a_warp_and_its_truth_agree(degrees: float) -> None:
    """A disc warped as pixels and as a map covers the same pixels, but for its border's rounding."""
    disc: UInt8 = np.zeros((200, 260), np.uint8)
    cv2.circle(disc, (140, 90), 50, 255, -1)
    around = turned(degrees, 0, 0)
    shift = np.array([140, 90]) - around.apply(np.array([[110.0, 95.0]]))[0]  # the disc is near the middle
    to_source = around.then(Transform.shift(*shift))
    as_pixels = warped(disc[:, :, None], to_source, (220, 180), 0)[:, :, 0] > 127
    as_map = resampled_nearest(disc, to_source, (180, 220)) > 0
    assert as_map.sum() > 3000
    assert (as_pixels != as_map).sum() < 0.02 * as_map.sum()


@given(st.floats(-180, 180), st.floats(-50, 50), st.floats(-50, 50))
def test_transforms_chain_and_turn_back(degrees: float, x: float, y: float) -> None:
    """Through one and then the other is as through both; there and back is where one was."""
    points = np.array([[0.0, 0.0], [7.0, 3.0], [-2.0, 11.0]])
    first, then = turned(degrees, x, y), Transform(np.array([[2.0, 0.3, 4.0], [0.0, 0.5, -3.0]]))
    both = first.then(then)
    np.testing.assert_allclose(both.apply(points), then.apply(first.apply(points)), atol=1e-9)
    np.testing.assert_allclose(both.inverse().apply(both.apply(points)), points, atol=1e-9)
    # the middle of a cell of 4 px is 2 px into it
    np.testing.assert_allclose(both.from_cells(4).apply(points + 0.5), both.apply(4 * points + 2), atol=1e-9)


def test_what_moves_no_pixel_and_what_turns_no_box() -> None:
    """Identity is so to the bit, and through cells of one pixel. A shift and a scale keep boxes, a turn does not."""
    here = Transform.identity()
    assert here.is_identity
    assert here.from_cells(1).is_identity
    assert not here.from_cells(2).is_identity
    assert not Transform.shift(1e-12, 0).is_identity
    assert Transform.shift(3, 4).from_cells(8).upright
    assert not turned(3.0, 0, 0).upright


@pytest.mark.parametrize("last", [(), (3,)], ids=["a map", "three of them"])
def test_cells_are_spread_over_their_pixels(last: tuple[int, ...]) -> None:
    """Pixel (y, x) has what cell (y // stride, x // stride) has, up to the picture's end. One per pixel is itself."""
    cells = np.random.default_rng(0).integers(0, 9, (3, 4, *last)).astype(np.uint8)
    whole = over_pixels(cells, 5, (13, 18))
    assert whole.shape == (13, 18, *last)
    for y, x in ((0, 0), (4, 4), (5, 4), (12, 17)):
        np.testing.assert_array_equal(whole[y, x], cells[y // 5, x // 5])
    assert over_pixels(cells, 1, (3, 4)) is cells


@given(SIDE, SIDE, st.integers(1, 4), st.integers(0, 2**31))
def test_a_map_that_grew_comes_back_as_it_was(h: int, w: int, factor: int, seed: int) -> None:
    """A frame that was enlarged and stood in a letterbox: its map, taken there and back, is the same."""
    classes = np.random.default_rng(seed).integers(0, 4, (h, w)).astype(np.uint8)
    size = factor * max(h, w) + 3
    made, to_frame = prepare(classes, (Grey(), Resize(width=size, height=size)), 1)
    there = prepare_map(classes, to_frame, (made.shape[0], made.shape[1]))
    np.testing.assert_array_equal(map_to_frame(there, to_frame, (h, w)), classes)


def test_a_map_of_cells_comes_back_as_blocks() -> None:
    """With a stride of 4 a cell of a map stands for 4 x 4 px of the frame.

    It does so, too, where the frame's end cuts it.
    """
    cells = np.array([[1, 0, 2]], np.uint8)
    frame = map_to_frame(cells, Transform.identity(), (4, 10), stride=4)
    np.testing.assert_array_equal(frame, np.repeat([[1] * 4 + [0] * 4 + [2] * 2], 4, axis=0))


def test_the_grid_of_3520_x_3200_is_110_tiles_of_320() -> None:
    """Without overlap: 11 x 10 tiles, side by side, every pixel in exactly one of them and nothing padded."""
    tiles = plan(3200, 3520, (320, 320), 0)
    assert len(tiles.cells) == 110
    assert (tiles.pad_bottom, tiles.pad_right) == (0, 0)
    assert [(cell.y, cell.x) for cell in tiles.cells] == [(320 * r, 320 * c) for r in range(10) for c in range(11)]
    seen = np.zeros((3200, 3520), np.uint8)
    for cell in tiles.cells:
        assert (cell.keep_y0, cell.keep_y1, cell.keep_x0, cell.keep_x1) == (cell.y, cell.y + 320, cell.x, cell.x + 320)
        seen[cell.y : cell.y + 320, cell.x : cell.x + 320] += 1
    assert (seen == 1).all()
