"""Styles of masks are measured on shapes of known size, and compared by a test whose p is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from edge.opencv import cv2
from trainer.auditing.annotator_styles import Style, mann_whitney_p, measure_style, style_differences


@pytest.mark.parametrize("width", [3, 7, 15])
def test_the_thickness_of_a_bar_is_its_width(width: int) -> None:
    """A bar of 3, 7 and 15 px, upright; its area is its sides' product."""
    mask = np.zeros((100, 60), np.uint8)
    mask[10:90, 20 : 20 + width] = 1
    style = measure_style(np.zeros((100, 60), np.uint8), mask)
    assert style is not None
    assert style.thickness_px == pytest.approx(width, abs=0.5)
    assert style.defect_area_px == 80 * width


@pytest.mark.parametrize("outside", [-2, 0, 3, 8])
def test_dilation_is_how_far_the_outline_lies_outside_the_edge(outside: int) -> None:
    """A disc of radius 20 with a mask of radius 20 + d."""
    grey, mask = np.full((120, 120), 60, np.uint8), np.zeros((120, 120), np.uint8)
    cv2.circle(grey, (60, 60), 20, 180, -1)
    cv2.circle(mask, (60, 60), 20 + outside, 1, -1)
    style = measure_style(grey, mask)
    assert style is not None
    assert style.dilation_px == pytest.approx(outside, abs=1)


def test_without_an_edge_there_is_no_dilation() -> None:
    """A mask on a plain surface says nothing of where the edge is. An empty mask has no style at all."""
    grey = np.random.default_rng(0).normal(100, 5, (80, 80)).astype(np.uint8)
    mask = np.zeros((80, 80), np.uint8)
    cv2.circle(mask, (40, 40), 15, 1, -1)
    style = measure_style(grey, mask)
    assert style is not None
    assert style.dilation_px is None
    assert measure_style(grey, np.zeros((80, 80), np.uint8)) is None


def test_p_is_near_the_exact_one_of_all_divisions() -> None:
    """For 6 and 7 values every one of the 1716 divisions is counted; the approximation is within 0.02."""
    generator = np.random.default_rng(1)
    for shift in (0.0, 0.8, 2.0):
        own, others = generator.normal(shift, 1, 6), generator.normal(0, 1, 7)
        ranks = np.concatenate([own, others]).argsort().argsort() + 1
        middle = 6 * 14 / 2
        observed = abs(ranks[:6].sum() - middle)
        every = [abs(sum(of) - middle) >= observed for of in combinations(range(1, 14), 6)]
        assert mann_whitney_p(own, others) == pytest.approx(np.mean(every), abs=0.02)
    assert mann_whitney_p(np.ones(8), np.ones(9)) == 1


def test_comparing_many_who_draw_alike_names_nobody() -> None:
    """Twelve annotators of one hand: 36 comparisons, and none differs; one who draws twice as thick does."""
    generator = np.random.default_rng(0)
    same = [
        (f"a{k}", "scratch", Style(generator.normal(10, 1), generator.normal(500, 50), generator.normal(0, 1)))
        for k in range(12)
        for _ in range(20)
    ]
    assert not any(style.differs for style in style_differences(same))
    thick = [("thick", "scratch", Style(generator.normal(20, 1), generator.normal(500, 50), 0.0)) for _ in range(20)]
    assert {(s.annotator, s.measure) for s in style_differences(same + thick) if s.differs} == {
        ("thick", "thickness_px")
    }


@pytest.mark.parametrize("honest", [1, 2, 5])
def test_who_draws_otherwise_does_not_make_the_rest_look_so(honest: int) -> None:
    """Beside one who draws twice as thick the others, who agree, are not named; of two who disagree both are."""
    generator = np.random.default_rng(1)
    names = [*(f"a{k}" for k in range(honest)), "thick"]
    styles = [
        (name, "scratch", Style(generator.normal(20 if name == "thick" else 10, 1), 500.0, None))
        for name in names
        for _ in range(30)
    ]
    named = {found.annotator for found in style_differences(styles) if found.differs}
    assert named == (set(names) if honest == 1 else {"thick"})


def test_all_who_draw_otherwise_are_named() -> None:
    """Two of six draw thicker, each in his own way: both are named, and nobody else."""
    generator = np.random.default_rng(2)
    means = {"a": 10, "b": 10, "c": 10, "d": 10, "thick": 16, "thickest": 25}
    styles = [
        (name, "scratch", Style(generator.normal(mean, 1), 500.0, None))
        for name, mean in means.items()
        for _ in range(30)
    ]
    found = {f.annotator: f for f in style_differences(styles) if f.measure == "thickness_px"}
    assert {name for name, f in found.items() if f.differs} == {"thick", "thickest"}
    assert found["thick"].others == pytest.approx(10, abs=0.5)
