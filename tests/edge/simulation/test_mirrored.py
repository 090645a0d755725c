"""Lights, mirrored lines and lint of real phones that nobody rejects, as they are drawn to learn from."""

from __future__ import annotations

import numpy as np
import pytest

from edge.opencv import cv2
from edge.simulation.defects import SCRATCH, STAIN
from edge.simulation.glass import make_part, shine
from edge.simulation.mirrored import draw_mirrored, with_shadow
from edge.simulation.rendering import straight_picture
from edge.simulation.scenes import USUAL, inset


@pytest.mark.parametrize("seed", range(12))
def test_no_mirrored_line_is_a_scratch(seed: int) -> None:
    """Further than 9 px inside the edge nothing lighter by 46 grey levels or more is 12 px long."""
    part = make_part(480, USUAL, {}, np.random.default_rng(seed))
    lit = part.pixels.copy()
    draw_mirrored(lit, part.glass, 1.0, np.random.default_rng([seed, 1]))
    strong = ((lit - part.pixels >= 46) & (inset(part.glass, 9) > 0)).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(strong)
    # clustered fibres that touch are told from a line by how much of their box they fill
    lines = [b for b in boxes[1:].tolist() if max(b[2:4]) >= 12 and b[4] <= 3 * max(b[2:4])]
    assert not lines
    assert (lit != part.pixels).any()


@pytest.mark.parametrize("seed", range(12))
def test_far_lights_of_the_edge_lie_within_twelve_pixels_of_it(seed: int) -> None:
    """Further than 12 px inside the edge nothing lighter by 46 grey levels or more is 12 px long."""
    part = make_part(480, USUAL, {}, np.random.default_rng(seed))
    lit = part.pixels.copy()
    draw_mirrored(lit, part.glass, 1.0, np.random.default_rng([seed, 1]), far_lights=1.0)
    strong = ((lit - part.pixels >= 46) & (inset(part.glass, 12) > 0)).astype(np.uint8)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(strong)
    assert not [b for b in boxes[1:].tolist() if max(b[2:4]) >= 12 and b[4] <= 3 * max(b[2:4])]


def test_the_edge_of_a_phone_shines_in_broken_lines() -> None:
    """Most of 12 parts have lights of 60 grey levels or more at the edge.

    So they are learned as no scratch.
    """
    shining = 0
    for seed in range(12):
        part = make_part(480, USUAL, {}, np.random.default_rng(seed))
        lit = part.pixels.copy()
        draw_mirrored(lit, part.glass, 1.0, np.random.default_rng([seed, 1]))
        rim = (part.glass > 0.5) & (inset(part.glass, 6) == 0)
        shining += bool((lit - part.pixels)[rim].max() >= 60)
    assert shining >= 7


@pytest.mark.parametrize("seed", range(6))
def test_a_rim_that_shines_is_lighter_at_its_very_edge_alone(seed: int) -> None:
    """It is lighter by 10 grey levels or more within 2 px of the edge, and unchanged beyond 6 px."""
    part = make_part(480, USUAL, {}, np.random.default_rng(seed))
    lit = part.pixels.copy()
    shine(lit, part.glass, 1.0, np.random.default_rng([seed, 2]))
    added = lit - part.pixels
    assert added[(part.glass > 0.5) & (inset(part.glass, 2) == 0)].max() >= 10
    assert np.abs(added[inset(part.glass, 6) > 0]).max() < 0.5


def test_a_shadow_lies_beside_a_part_and_not_on_it() -> None:
    """Pixels that the part covers wholly stay as they are; some belt around it is darkened."""
    part = make_part(480, USUAL, {SCRATCH: 1}, np.random.default_rng(3))
    shaded = with_shadow(part, 1.0, np.random.default_rng(4))
    pad = (shaded.glass.shape[0] - part.glass.shape[0]) // 2
    own = np.s_[pad : pad + part.glass.shape[0], pad : pad + part.glass.shape[1]]
    whole = part.glass == 1
    np.testing.assert_allclose(shaded.pixels[own][whole], part.pixels[whole], rtol=1e-4)
    np.testing.assert_array_equal(shaded.truth[own], part.truth)
    beside = (shaded.glass > 0.05) & (np.pad(part.glass, pad) == 0)
    assert beside.any()
    assert shaded.pixels[beside].max() <= 21


def test_pictures_with_straight_scratches_show_phones_too() -> None:
    """Of 40 pictures 10 to 26 show drops, which phones alone have here. 20 to 34 show scratches."""
    truths = [straight_picture(240, 320, np.random.default_rng([8, seed]))[1] for seed in range(40)]
    stained = sum(bool((truth == STAIN).any()) for truth in truths)
    scratched = sum(bool((truth == SCRATCH).any()) for truth in truths)
    assert 10 <= stained <= 26
    assert 20 <= scratched <= 34
