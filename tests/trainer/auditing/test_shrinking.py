"""Masks painted with a pen are shrunk to the picture's edge; exact ones, and those without an edge, stay."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from edge.opencv import cv2
from tests.trainer.painted import RECIPE, recipe, write_painted
from trainer.auditing.shrinking import shrunk_to_edge
from trainer.datasets.dataset import Entry, Picture
from trainer.datasets.masks import IGNORED
from trainer.fitting import fit


def picture(outside: int, contrast: int = 120) -> Picture:
    """Draw a bar of 12 x 60 px, and a mask that is wider by `outside` px on each side. A corner is ignored."""
    pixels = np.random.default_rng(0).integers(50, 60, (90, 120, 1)).astype(np.uint8)
    pixels[40:52, 30:90] += np.uint8(contrast)
    truth = np.zeros((90, 120), np.uint8)
    truth[40 - outside : 52 + outside, 30 - outside : 90 + outside] = 2
    truth[:5, :5] = IGNORED
    return Picture(Entry("a.png", Path("a.png"), (), "g"), pixels, truth)


@pytest.mark.parametrize("outside", [3, 5, 8])
def test_a_painted_mask_becomes_as_large_as_what_is_there(outside: int) -> None:
    """At most one px of a rim of 3 to 8 px is left, and one of the bar lost. Ignored pixels stay."""
    painted = picture(outside)
    shrunk, by_px = shrunk_to_edge(painted)
    (lower,), bar = by_px, picture(0).truth == 2
    assert lower == pytest.approx(outside, abs=1)
    own = (shrunk.truth == 2).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    assert not (own & ~cv2.dilate(bar.astype(np.uint8), kernel)).any()
    assert (own >= cv2.erode(bar.astype(np.uint8), kernel)).all()
    assert (shrunk.truth[:5, :5] == IGNORED).all()


@pytest.mark.parametrize(("outside", "contrast"), [(0, 120), (5, 0)])
def test_what_is_exact_or_has_no_edge_stays(outside: int, contrast: int) -> None:
    """Nothing is taken from an exact mask, and none where the picture shows no edge to judge by."""
    given = picture(outside, contrast)
    shrunk, by_px = shrunk_to_edge(given)
    np.testing.assert_array_equal(shrunk.truth, given.truth)
    assert by_px == []


def test_a_thin_line_does_not_vanish() -> None:
    """A line of a pixel, painted 3 px wider and seen in noise, keeps something of its mask."""
    given = picture(0)
    given.truth[given.truth == 2] = 0
    given.pixels[20, 20:100] = 200
    cv2.line(given.truth, (20, 20), (99, 20), 1, 7)
    shrunk, _ = shrunk_to_edge(given)
    assert 0 < (shrunk.truth == 1).sum() <= (given.truth == 1).sum()


def test_a_recipe_asks_for_it(tmp_path: Path) -> None:
    """With `labels: {shrink: edge}` a fit says how many defects were painted too wide; masks on the disk stay."""
    data = write_painted(tmp_path / "painted")
    for path in (data / "masks").iterdir():
        cv2.imwrite(str(path), cv2.dilate(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), np.ones((9, 9), np.uint8)))
    before = {path: path.read_bytes() for path in (data / "masks").iterdir()}
    short = RECIPE.replace("epochs: 8", "epochs: 1").replace("steps_per_epoch: 15", "steps_per_epoch: 1")
    told = Console(file=io.StringIO(), width=200)
    fit(recipe(tmp_path, short + "labels: {shrink: edge}\n"), data, tmp_path / "bundle", told)
    printed = told.file.getvalue()  # type: ignore[attr-defined]  # a StringIO, made above
    # a square pen of 9 px lies 4 px outside of what is straight, and more at corners and slants
    assert re.search(r"labels: \d+ defects drawn wider than the picture's edge shrunk, by [45] px", printed), printed
    assert {path: path.read_bytes() for path in before} == before
