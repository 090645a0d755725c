"""The head: what marked cells teach, how much it may say, and which cells of a picture are which."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from trainer.anomaly.head import Head, learn_head, split_cells


def test_weights_are_those_of_another_implementation() -> None:
    """Scikit-learn, at the same ridge, with cells of both kinds weighing alike, finds the same."""
    rng = np.random.default_rng(0)
    good = rng.normal(0, 1, (300, 5)).astype(np.float32)
    bad = rng.normal((1.5, 0, 0, -1, 0), 1, (40, 5)).astype(np.float32)
    head = learn_head(good, bad)
    cells, truth = np.concatenate([good, bad]), np.repeat([0, 1], [300, 40])
    weights = np.repeat([0.5 / 300, 0.5 / 40], [300, 40])
    # theirs: C sum(weight x loss) + |w|^2 / 2; ours: sum(weight x loss) + 0.01 |w|^2 / 2
    theirs = LogisticRegression(C=100, tol=1e-10, max_iter=10_000).fit(cells, truth, sample_weight=weights)
    assert head.weights == pytest.approx(theirs.coef_[0], abs=1e-3)
    assert head.bias == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_cells_that_are_far_apart_have_a_finite_head() -> None:
    """Kinds that a plane parts drive an unheld logistic regression to infinity."""
    head = learn_head(np.full((50, 3), -4, np.float32), np.full((1, 3), 4, np.float32))
    assert np.isfinite(head.weights).all()
    assert head.weights.sum() > 0


def test_without_cells_of_both_kinds_nothing_is_said() -> None:
    """As it is with a mask that no cell is covered by."""
    none = np.zeros((0, 4), np.float32)
    for head in (learn_head(np.ones((9, 4), np.float32), none), learn_head(none, np.ones((9, 4), np.float32))):
        assert not head.says_something
        assert head.weights.shape == (4,)
    assert Head(np.zeros(4, np.float32), 0.1).says_something


def test_a_cell_is_marked_good_or_neither() -> None:
    """Marked from 5 % on; good where it sees no marked pixel among its neighbours, none to be ignored, no border."""
    cells = np.arange(6 * 8, dtype=np.float32).reshape(6, 8, 1)
    truth = np.zeros((90, 128), np.uint8)  # the last row of cells lies beyond the picture by 6 px
    truth[16:32, 16:17] = 1  # 1 of 16 px wide: 0.06 of cell (1, 1)
    truth[20, 100] = 1  # one pixel of cell (1, 6): too little
    truth[60, 70] = 255  # cell (3, 4)
    split = split_cells(cells, truth, 16)
    assert split.defective.ravel().tolist() == [9.0]
    near = {(y, x) for cy, cx in ((1, 1), (1, 6), (3, 4)) for y in range(cy - 1, cy + 2) for x in range(cx - 1, cx + 2)}
    near |= {(y, x) for y in (4, 5) for x in range(8)}
    expected = [float(y * 8 + x) for y in range(6) for x in range(8) if (y, x) not in near]
    assert split.good.ravel().tolist() == expected


@pytest.mark.parametrize("cell_px", [8, 16, 32])
def test_a_line_of_1_px_across_a_cell_marks_it(cell_px: int) -> None:
    """A crack counts however wide the cells are; one pixel of a cell of 16 or 32 px does not."""
    truth = np.zeros((5 * cell_px, 5 * cell_px), np.uint8)
    truth[2 * cell_px : 3 * cell_px, 2 * cell_px] = 1
    truth[0, 4 * cell_px] = cell_px > 8
    cells = np.arange(25, dtype=np.float32).reshape(5, 5, 1)
    assert split_cells(cells, truth, cell_px).defective.ravel().tolist() == [12.0]
