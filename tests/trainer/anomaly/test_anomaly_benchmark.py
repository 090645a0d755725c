"""The benchmark of learning from good parts: what is held out from what, and figures that are known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.anomaly.beside import renamed
from benchmarks.anomaly.figures import Judged, counted, figures_of, found_within
from benchmarks.anomaly.protocols import PROTOCOLS, by_piece, by_time
from trainer.datasets.dataset import Entry


def entry(image: str, group: str, *, bad: bool = False) -> Entry:
    """Return a picture of a piece, good or defective."""
    return Entry(image, Path(image), (), group, frozenset({"defect"} if bad else ()))


def test_a_piece_that_is_judged_was_never_learned_from() -> None:
    """Over all turns each picture is judged once, by good pictures of other pieces alone."""
    entries = [entry(f"{k}.png", f"g{k // 3}", bad=k % 3 == 2) for k in range(60)]
    group_of = {one.image: one.group for one in entries}
    turns = by_piece(entries)
    assert sorted(name for turn in turns for name in turn.judged) == sorted(group_of)
    for turn in turns:
        assert {group_of[name] for name in turn.learned}.isdisjoint(group_of[name] for name in turn.judged)
        assert not any(one.classes for one in entries if one.image in turn.learned)


def test_a_position_is_taught_by_the_first_third_of_its_time() -> None:
    """Later pictures judge; a position that was pitted from the start is left out."""
    good = [entry(f"01_{k:02d}_a_crop.jpg", "x", bad=k > 6) for k in range(9)]
    pitted = [entry(f"01_{k:02d}_b_crop.jpg", "y", bad=True) for k in range(9)]
    (turn,) = by_time([*reversed(good), *pitted])
    assert turn.learned == {one.image for one in good[:3]}
    assert turn.judged == {one.image for one in good[3:]}


def test_a_defect_is_found_above_all_but_the_allowed_good_pictures() -> None:
    """One of twenty good ones may lie above: the threshold is the next one."""
    good = np.arange(20.0)
    assert found_within(good, np.array([17.5, 18.0, 18.5, 30.0]), 0.05) == 0.5
    assert found_within(good, np.array([18.5, 19.0, 19.5, 30.0]), 0.0) == 0.5
    assert found_within(good, np.array([]), 0.05) is None


def drawn(number: int, *, bad: bool, hit: bool = True) -> Judged:
    """Return a picture of two marked squares that a map finds exactly, or of which it finds nothing."""
    pixels, mask = np.full((40, 40), 10, np.uint8), np.zeros((40, 40), bool)
    if bad:
        mask[4:10, 4:10] = mask[30:34, 30:34] = True
        pixels[mask] = 200 if hit else 0
    return counted(f"{number}", f"g{number}", float(pixels.max()), pixels, mask, defective=bad)


@pytest.mark.parametrize(("hit", "expected"), [(True, 1.0), (False, 0.0)])
def test_a_map_that_is_right_everywhere_has_every_figure_at_1(hit: bool, expected: float) -> None:
    """Of a map that is right AUROC, precision and overlap are 1; of one that is wrong everywhere nearly 0."""
    judged = [drawn(k, bad=k < 6, hit=hit) for k in range(12)]
    found = figures_of(judged, 0.05, draws=200)
    assert (found["good"], found["defective"], found["pieces"]) == (6, 6, 12)
    for key in ("pixel_ap", "aupro"):
        assert found[key][0] == pytest.approx(expected, abs=0.06)
    if hit:
        assert found["auroc"][0] == found["found"][0] == 1.0
        assert found["auroc"][1][0] < 0.9  # twelve pieces prove little
        assert found["found"][1] == [pytest.approx(1 - 0.459, abs=0.01), 1.0]


def test_an_interval_is_of_whole_pieces() -> None:
    """The same pictures as copies of few pieces have a wider interval than as pieces of their own."""
    rng = np.random.default_rng(0)
    tops = [*rng.normal(0, 1, 8).tolist(), *rng.normal(1, 1, 8).tolist()]

    def width(*, copies: bool) -> float:
        judged = [
            Judged(f"{k}-{c}", f"g{k}" if copies else f"g{k}-{c}", k >= 8, top)
            for k, top in enumerate(tops)
            for c in range(8)
        ]
        low, high = figures_of(judged, 0.05, draws=200)["auroc"][1]
        return float(high - low)

    assert width(copies=True) > 2 * width(copies=False)


def test_weights_get_the_names_that_timm_gives_them() -> None:
    """The first block has no growing layer; stages count their blocks from 0."""
    names = ["_conv_stem.weight", "_bn0.bias", "_blocks.0._depthwise_conv.weight", "_blocks.0._project_conv.weight"]
    names += ["_blocks.1._expand_conv.weight", "_blocks.10._bn2.running_mean", "_fc.weight"]
    assert list(renamed(dict.fromkeys(names))) == [
        "conv_stem.weight",
        "bn1.bias",
        "blocks.0.0.conv_dw.weight",
        "blocks.0.0.conv_pw.weight",
        "blocks.1.0.conv_pw.weight",
        "blocks.4.2.bn3.running_mean",
    ]


def test_every_set_has_a_recipe_that_can_be() -> None:
    """The shipped recipe takes each set's changes."""
    from benchmarks.anomaly.__main__ import recipe_of

    assert {recipe_of(one).learn for one in PROTOCOLS} == {"good-parts"}
