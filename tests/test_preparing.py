from __future__ import annotations

import numpy as np
import pytest

from edge.preparing import Grey, LevelLight, prepare


def test_grey_is_bt601_luminance() -> None:
    """Y = 0.114 B + 0.587 G + 0.299 R: pure blue, green and red of 200 become 23, 117 and 60."""
    pixels = np.diag([200, 200, 200]).astype(np.uint8)[None]  # one row of three pixels: blue, green, red
    grey, _ = prepare(pixels, (Grey(),), 1)
    assert grey.shape == (1, 3, 1)
    expected = [0.114 * 200, 0.587 * 200, 0.299 * 200]
    np.testing.assert_allclose(grey[0, :, 0], expected, atol=1)


def test_levelled_light_no_longer_shows_the_lamp() -> None:
    """A plain surface under light that falls off by half becomes even; a scratch on it keeps its relative contrast."""
    surface = np.tile(np.linspace(160, 80, 640), (480, 1))
    surface[200:203, 100:500] *= 1.4
    level, to_frame = prepare(np.round(surface).astype(np.uint8), (Grey(), LevelLight(target=100)), 1)
    plain = np.delete(level[:, :, 0].astype(float), np.s_[190:213], axis=0)
    assert np.ptp(surface[0]) > 75
    assert np.ptp(plain) < 0.12 * plain.mean()  # from 2 : 1 before
    scratch = level[201, 110:490, 0].astype(float)
    assert scratch.mean() / plain.mean() == pytest.approx(1.4, abs=0.08)
    np.testing.assert_array_equal(to_frame.matrix, [[1, 0, 0], [0, 1, 0]])


def test_darkness_is_not_amplified_into_noise() -> None:
    """Below the floor the gain stops growing: 4 becomes 4 * 96 / 24 = 16, not 96."""
    level, _ = prepare(np.full((64, 64), 4, np.uint8), (LevelLight(target=96, floor=24),), 1)
    assert set(level.ravel().tolist()) == {16}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("colours", [1, 3])
def test_any_camera_serves_any_model(channels: int, colours: int) -> None:
    """Grey and colour cameras both give what a one- or three-channel model expects."""
    pixels = np.full((8, 9, 3) if colours == 3 else (8, 9), 7, np.uint8)
    prepared, _ = prepare(pixels, (), channels)  # type: ignore[arg-type]
    assert prepared.shape == (8, 9, channels)
    assert (prepared == 7).all()


def test_a_picture_smaller_than_a_levelling_cell_is_levelled_too() -> None:
    """Any frame size works, also one pixel."""
    level, _ = prepare(np.full((1, 1), 50, np.uint8), (LevelLight(),), 1)
    assert level.shape == (1, 1, 1)
