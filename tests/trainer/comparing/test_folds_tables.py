"""The tables of a comparison by folds."""

from __future__ import annotations

from typing import Any

import pytest

from trainer.comparing.folds import Folds
from trainer.comparing.folds_tables import columns, in_words, recipe_rows

SPREAD = {"pooled": 0.5, "mean": 0.5, "deviation": 0.1, "worst": 0.4, "worst_run": "a-fold1"}


@pytest.mark.parametrize(("held_out", "count"), [({"miou": SPREAD}, 7), ({}, 5), ({"miou": {"mean": None}}, 5)])
def test_what_all_folds_hold_out_has_columns_only_where_there_is_any(held_out: dict[str, Any], count: int) -> None:
    """Good parts alone hold nothing out of all folds: fourteen rows of dashes would tell nothing."""
    own = {"folds": {"miou": SPREAD}, "held_out": held_out, "between_folds": {}, "between_seeds": {}}
    summary = {("a",): own}
    ((labels, cells),) = recipe_rows(summary)
    assert labels == ("miou", "a")
    assert len(cells) == len(columns(summary)) == count


def test_figures_that_no_recipe_has_are_left_out() -> None:
    """Labels alone say nothing of areas: their IoU would be rows of dashes. One figure keeps its row."""
    none = {"pooled": None, "mean": None, "deviation": None, "worst": None, "worst_run": None}
    rest = {"held_out": {}, "between_folds": {}, "between_seeds": {}}
    one = {"folds": {"miou": none, "found": SPREAD, "iou stain": none}, **rest}
    other = {"folds": {"miou": none, "found": none, "iou stain": SPREAD}, **rest}
    rows = recipe_rows({("a",): one, ("b",): other})
    assert [labels for labels, _ in rows] == [("found", "a"), ("found", "b"), ("iou stain", "a"), ("iou stain", "b")]


def test_it_is_said_how_many_pictures_all_folds_hold_out() -> None:
    """None, one, or several."""
    told = [
        in_words(Folds(2, 0, {str(place): None if place < held_out else place % 2 for place in range(8)}))
        for held_out in (0, 1, 3)
    ]
    assert "none is held out of all folds" in told[0]
    assert "1 picture is held out of all folds, and nothing is chosen by it" in told[1]
    assert "3 pictures are held out of all folds, and nothing is chosen by them" in told[2]
