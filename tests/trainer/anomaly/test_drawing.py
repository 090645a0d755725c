"""Defects that are drawn into good parts: what is marked, what stays, and that a seed draws the same again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.anomaly.drawing import draw_defects, move


def surface(seed: int, height: int, width: int, channels: int) -> np.ndarray:
    """Give a tile of stripes and noise, uint8 [H, W, C]."""
    rng = np.random.default_rng(seed)
    tile = 120 + 30 * np.sin(np.arange(width) / 4)[None, :, None] + rng.normal(0, 4, (height, width, channels))
    return np.clip(tile, 0, 255).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    height=st.sampled_from((64, 96, 160)),
    width=st.sampled_from((64, 128)),
    channels=st.sampled_from((1, 3)),
    flat=st.booleans(),
)
def test_whatever_is_drawn_is_a_tile_with_marks_of_0_and_1(
    *, seed: int, height: int, width: int, channels: int, flat: bool
) -> None:
    """Flat tiles may be drawn into as well. The tiles that were given stay, and a seed draws the same again."""
    tile = np.full((height, width, channels), 90, np.uint8) if flat else surface(seed, height, width, channels)
    other = surface(seed + 1, height, width, channels)
    before = tile.copy(), other.copy()
    drawn, marked = draw_defects(tile, other, np.random.default_rng(seed))
    assert (drawn.shape, drawn.dtype) == (tile.shape, np.uint8)
    assert (marked.shape, marked.dtype) == ((height, width), np.uint8)
    assert set(np.unique(marked)) <= {0, 1}
    assert np.array_equal(tile, before[0])
    assert np.array_equal(other, before[1])
    again = draw_defects(tile, other, np.random.default_rng(seed))
    assert np.array_equal(drawn, again[0])
    assert np.array_equal(marked, again[1])
    moved = move(tile, np.random.default_rng(seed))
    assert (moved.shape, moved.dtype) == (tile.shape, np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_nearly_every_draw_leaves_a_mark_and_the_most_of_a_tile(channels: int) -> None:
    """In 200 draws at least 170 mark something, and marks cover less than half of the pixels in all."""
    rng = np.random.default_rng(0)
    shares = [
        draw_defects(surface(n, 128, 128, channels), surface(n + 1, 128, 128, channels), rng)[1].mean()
        for n in range(200)
    ]
    assert sum(share > 0 for share in shares) >= 170
    assert float(np.mean(shares)) < 0.5
