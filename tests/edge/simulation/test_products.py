from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from edge.opencv import cv2
from edge.simulation.defects import CHIP, CLASS_NAMES, SCRATCH, STAIN, Stroke, a_straight_stroke, scratch
from edge.simulation.edges import EdgeMark
from edge.simulation.products import PRODUCT_NAMES, PartPlan, ProductName, draw_side, draw_top
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings
from edge.simulation.scenes import SimulatedPart

ALL = {SCRATCH: 1, STAIN: 1, CHIP: 1}
MARKS = (EdgeMark(CHIP, 0.3, 5), EdgeMark(SCRATCH, 0.6, 6), EdgeMark(STAIN, 0.8, 7))


def top(product: ProductName, plan: PartPlan | None = None, seed: int = 1) -> SimulatedPart:
    """Draw one part from above in a frame of 480 px height."""
    plan = plan or PartPlan(product, {})
    return draw_top(plan, 480, np.random.default_rng(seed), far_chips=True)


@pytest.mark.parametrize("product", PRODUCT_NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_a_product_shows_all_three_classes_and_a_clean_one_none(product: ProductName, seed: int) -> None:
    """From above and from the side. The truth of each class is where the pixels differ from those of a clean part."""
    clean, bad = top(product, seed=seed), top(product, PartPlan(product, ALL), seed=seed)
    assert not clean.truth.any()
    assert set(np.unique(bad.truth)) == {0, SCRATCH, STAIN, CHIP}
    assert (np.abs(bad.pixels - clean.pixels)[bad.truth > 0] > 3).mean() > 0.97
    plain, marked = (draw_side(PartPlan(product, {}, marks), 480, np.random.default_rng(seed)) for marks in ((), MARKS))
    assert not plain.truth.any()
    assert set(np.unique(marked.truth)) == {0, SCRATCH, STAIN, CHIP}
    near = cv2.dilate((marked.truth > 0).astype(np.uint8), np.ones((13, 13), np.uint8)) > 0
    changed = np.abs(marked.pixels - plain.pixels) > 12
    assert changed.any()
    assert not (changed & ~near).any()


def test_the_products_differ_in_size_outline_and_tone() -> None:
    """A dark oblong of 456 x 240 px, a mid-grey circle of 240 px, a pale near-square of 355 x 316 px."""
    parts = {name: top(name) for name in PRODUCT_NAMES}
    assert [parts[name].truth.shape for name in PRODUCT_NAMES] == [(240, 456), (240, 240), (316, 355)]
    tone = {name: float(np.median(part.pixels[part.glass > 0.9])) for name, part in parts.items()}
    assert tone["glass"] < 60 < tone["disc"] < 140 < tone["tile"]
    filled = {name: float((part.glass > 0.5).mean()) for name, part in parts.items()}
    assert filled["disc"] == pytest.approx(np.pi / 4, abs=0.02)  # a circle in its square
    assert filled["glass"] > filled["tile"] > 0.9


@pytest.mark.parametrize("product", PRODUCT_NAMES)
def test_a_chip_of_the_near_edge_is_seen_at_one_place_by_both_views(product: ProductName) -> None:
    """Its middle lies at the same share of the part's length, within 4 %; from above at the lower edge."""
    plan = PartPlan(product, {}, (EdgeMark(CHIP, 0.35, 11),))
    above, beside = top(product, plan), draw_side(plan, 480, np.random.default_rng(2))
    for part in (above, beside):
        _, xs = np.nonzero(part.truth == CHIP)
        assert xs.mean() / part.truth.shape[1] == pytest.approx(0.35, abs=0.04)
    ys, _ = np.nonzero(above.truth == CHIP)
    assert ys.mean() > 0.8 * above.truth.shape[0]


def test_a_scratch_of_the_near_edge_is_seen_from_the_side_alone() -> None:
    """So is a stain of it: from above there is nothing."""
    plan = PartPlan("tile", {}, (EdgeMark(SCRATCH, 0.4, 3), EdgeMark(STAIN, 0.7, 4)))
    assert not top("tile", plan).truth.any()
    assert set(np.unique(draw_side(plan, 480, np.random.default_rng(2)).truth)) == {0, SCRATCH, STAIN}


def shares(**keys: object) -> tuple[float, float, float]:
    """Of 120 parts: the shares that are flawed in the view from above, from the side, and in either."""
    settings = {"width": 128, "height": 96, "defective_share": 1.0, "seed": 5, "products": PRODUCT_NAMES, **keys}
    above, side = (
        RenderedLine(SimulatedLineSettings.model_validate({**settings, "view": view})) for view in ("top", "side")
    )
    seen = np.array([(bool(above.shown(number)), bool(side.shown(number))) for number in range(120)])
    return float(seen[:, 0].mean()), float(seen[:, 1].mean()), float(seen.any(axis=1).mean())


def test_some_parts_are_flawed_for_one_view_alone() -> None:
    """Half of the defective parts have a flawed edge, half of these a sound surface; each shows a flaw somewhere."""
    above, side, either = shares(edge_share=0.5)
    assert side == pytest.approx(0.5, abs=0.12)
    assert 0.75 < above < 1
    assert either == 1
    assert shares(edge_share=0.5, defective_share=0.0) == (0, 0, 0)


def test_a_side_view_without_flawed_edges_is_refused() -> None:
    """It would only ever see clean parts; a line of clean parts alone may have one."""
    with pytest.raises(ValidationError, match="edge_share: expected above 0 where view is side"):
        SimulatedLineSettings(view="side")
    SimulatedLineSettings(view="side", defective_share=0)


@pytest.mark.parametrize("degrees", [0, 3, 45, 90, 177])
def test_a_straight_scratch_is_drawn_at_its_angle(degrees: int) -> None:
    """The long axis of its truth, by its pixels' moments, is 200 px long, at the angle within 1.5°."""
    pixels, truth = np.full((300, 300), 30, np.float32), np.zeros((300, 300), np.uint8)
    stroke = Stroke(150, 150, 200, np.deg2rad(degrees), 0.0, 60.0)
    scratch(pixels, truth, np.ones((300, 300), np.uint8), 1.0, np.random.default_rng(1), stroke=stroke)
    ys, xs = np.nonzero(truth == CLASS_NAMES.index("scratch") + 1)
    values, vectors = np.linalg.eigh(np.cov(np.stack([xs, ys])))
    angle = np.rad2deg(np.arctan2(vectors[1, 1], vectors[0, 1]))
    assert abs((angle - degrees + 90) % 180 - 90) < 1.5
    assert np.sqrt(12 * values[1]) == pytest.approx(200, rel=0.1)  # the variance of a line of length L is L²/12


def test_straight_scratches_come_at_every_angle_short_and_across_faint_and_strong() -> None:
    """Of 400: a third exactly along an axis, a third from edge to edge, half faint; all 15° sectors have some."""
    g = np.random.default_rng(3)
    strokes = [a_straight_stroke(np.ones((240, 456), np.uint8), 1.0, g) for _ in range(400)]
    turned = np.array([stroke.angle for stroke in strokes]) % np.pi
    axis = np.isclose(turned % (np.pi / 2), 0) | np.isclose(turned % (np.pi / 2), np.pi / 2)
    assert axis.mean() == pytest.approx(0.35, abs=0.08)
    assert np.mean([stroke.length > 456 for stroke in strokes]) == pytest.approx(1 / 3, abs=0.08)
    assert np.mean([(stroke.strength or 0) < 70 for stroke in strokes]) == pytest.approx(0.54, abs=0.1)
    assert (np.histogram(turned, 12, (0, np.pi))[0] > 0).all()
