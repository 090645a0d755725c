"""Pixels that a dataset's `ignore_mask` leaves out: neither a loss, nor a figure, nor a threshold may see them."""

from __future__ import annotations

import csv
import io
import json
from datetime import datetime, timezone
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from edge.errors import DatasetError
from edge.records import UInt8
from tests.trainer.importing.pictures import imported, save
from tests.trainer.levels_bundle import TILE, write_levels_bundle
from tests.trainer.painted import RECIPE, quiet, recipe
from trainer.anomaly.gathering import known_cells, some_cells
from trainer.auditing.audit import audit
from trainer.bundling.bundle import Trained, fit_thresholds
from trainer.datasets.cells import cells_of
from trainer.datasets.cutting import cut_dataset
from trainer.datasets.dataset import dataset_sha256, load_picture, read_manifest
from trainer.datasets.masks import IGNORED
from trainer.evaluation.evaluating import Wanted, evaluate
from trainer.evaluation.holding_out import copy_held_out
from trainer.evaluation.keras_engine import load_model
from trainer.evaluation.metrics import Scores, score_picture
from trainer.evaluation.ranking import Ranking
from trainer.importing.manifest_csv import read_manifests
from trainer.losses import make_loss
from trainer.recipe.loss_settings import LossSettings
from trainer.recipe.model_settings import ModelSettings
from trainer.training.validating import constant_dice

NAMES = ["scratch", "stain"]
TERMS: list[dict[str, Any]] = [
    {"kind": "cross_entropy"},
    {"kind": "cross_entropy", "balance": 0.5, "label_smoothing": 0.1},
    {"kind": "focal", "alpha": 0.7},
    {"kind": "dice", "absent": "count"},
    {"kind": "tversky", "alpha": 0.3, "beta": 0.7, "power": 0.75},
    {"kind": "region_accuracy"},
    {"kind": "lovasz", "absent": "count"},
]


def write_data(folder: Path, ignored: UInt8 | None, *, clean: bool = False) -> Path:
    """Write a dataset of one picture that shows a scratch (220) over its left half, or is called clean."""
    pixels = np.full((TILE, 2 * TILE), 40, np.uint8)
    pixels[:, :TILE] = 220
    save(folder / "a.png", pixels)
    save(folder / "m.png", np.where(pixels > 100, np.uint8(255), np.uint8(0)))
    row = ["a.png", "" if clean else "m.png", "ok" if clean else "scratch", "a"]
    columns = ["image", "mask", "class", "group"]
    if ignored is not None:
        save(folder / "i.png", ignored)
        row, columns = [*row, "i.png"], [*columns, "ignore_mask"]
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, row])
    return folder


def refused(data: Path) -> set[str]:
    """Return the kinds of what an audit finds that training would refuse."""
    found = audit(data, Console(file=io.StringIO()))
    return {finding.kind for finding in found.findings if finding.severity == "refused"}


def half(side: str) -> UInt8:
    """Ignore the left or the right half of the picture."""
    mask = np.zeros((TILE, 2 * TILE), np.uint8)
    mask[:, slice(0, TILE) if side == "left" else slice(TILE, None)] = 255
    return mask


@pytest.mark.parametrize(
    ("term", "head"),
    [*product(TERMS, ("softmax", "sigmoid")), ({"kind": "lovasz", "errors": "hinge"}, "sigmoid")],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_no_loss_sees_what_is_ignored(term: dict[str, Any], head: str) -> None:
    """Every loss is that of the known pixels alone, whatever was answered elsewhere, and its slope is 0 there."""
    import tensorflow as tf

    loss = make_loss(
        LossSettings.model_validate({"terms": [term]}), ModelSettings.model_validate({"head": head}), NAMES
    )
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (2, 4, 6, 3 if head == "softmax" else 2)).astype(np.float32)
    truth = rng.integers(0, 3, (2, 4, 6)).astype(np.uint8)
    alone = float(loss(logits[:, :, :4], truth[:, :, :4]))
    truth[:, :, 4:] = IGNORED
    with tf.GradientTape() as tape:
        whole = tf.Variable(logits)
        value = loss(whole, truth)
    assert float(value) == pytest.approx(alone, rel=1e-5)
    slope = tape.gradient(value, whole).numpy()
    assert not slope[:, :, 4:].any()
    assert slope[:, :, :4].any()
    assert float(loss(logits, np.full_like(truth, IGNORED))) == pytest.approx(0, abs=1e-6) or term["kind"] in {
        "dice",
        "lovasz",
    }  # these count classes that are absent


def test_no_figure_sees_what_is_ignored() -> None:
    """Confusion, defects, tolerant counts and rankings are those of the known pixels alone."""
    rng = np.random.default_rng(1)
    truth, answer = (rng.integers(0, 3, (8, 12)).astype(np.uint8) for _ in range(2))
    answer[:, 7] = truth[:, 7] = 0  # so that no defect reaches across the border
    whole = truth.copy()
    whole[:, 8:] = IGNORED
    answer[0, 8:] = 1
    for tolerance in (None, 2.0):
        own = score_picture(whole, answer, 2, tolerance_px=tolerance)
        alone = score_picture(truth[:, :8], answer[:, :8], 2, tolerance_px=tolerance)
        for name in ("confusion", "shown", "answered", "met"):
            np.testing.assert_array_equal(getattr(own, name), getattr(alone, name))
        assert str(own.defects) == str(alone.defects)
        assert str(own.tolerant) == str(alone.tolerant)
    scores = rng.integers(0, 256, (8, 12, 2)).astype(np.uint8)
    one, other = Ranking(NAMES), Ranking(NAMES)
    one.add(scores, whole, np.array([True, False]))
    other.add(scores[:, :8], truth[:, :8], np.array([True, False]))
    assert one.report("x") == other.report("x")
    assert constant_dice(np.stack([whole]), 2) == constant_dice(np.stack([truth[:, :8]]), 2)


def test_evaluate_leaves_out_what_is_ignored(tmp_path: Path) -> None:
    """A false alarm in an ignored half is none, and neither flags the picture nor ranks it. A known one does both."""
    bundle = write_levels_bundle(tmp_path / "bundle").path

    def report(side: str) -> dict[str, Any]:
        data = write_data(tmp_path / side, half(side), clean=True)
        return evaluate(bundle, data, Console(file=io.StringIO()), wanted=Wanted(tolerance_px=2)).report

    left_out, judged = report("left"), report("right")
    assert left_out["false_pictures"]["all"] == 0
    assert sum(map(sum, left_out["confusion"]["pixels"])) == TILE * TILE
    assert judged["false_pictures"]["all"] == 1
    highest = [one["ranking"]["by_picture"]["scratch"]["best_f1_threshold"] for one in (left_out, judged)]
    assert highest == [None, None]  # nothing is positive
    points = [one["ranking"]["by_pixel"]["scratch"]["negatives"] for one in (left_out, judged)]
    assert points == [TILE * TILE, TILE * TILE]


def test_a_dataset_carries_its_ignore_masks_everywhere(tmp_path: Path) -> None:
    """Truth, hash, `import manifest`, `tiles`, `held-out` and `audit` keep them; another mask is another dataset."""
    data = write_data(tmp_path / "data", half("right"))
    (entry,) = read_manifest(data)
    truth = load_picture(entry, ("scratch",), (), 1).truth
    assert set(np.unique(truth[:, :TILE])) == {1}
    assert set(np.unique(truth[:, TILE:])) == {IGNORED}
    other = write_data(tmp_path / "other", half("left"))
    assert dataset_sha256(read_manifest(data)) != dataset_sha256(read_manifest(other))
    written = imported(read_manifests([data]), tmp_path / "again")
    assert written.ignored == 1
    (again,) = read_manifest(tmp_path / "again")
    np.testing.assert_array_equal(load_picture(again, ("scratch",), (), 1).truth, truth)
    counts = cut_dataset(read_manifest(data), tmp_path / "tiles", tile_px=TILE)
    assert (counts.tiles, counts.defective) == (2, 1)
    tiles = [load_picture(one, ("scratch",), (), 1).truth for one in read_manifest(tmp_path / "tiles")]
    assert [set(np.unique(tile)) for tile in tiles] == [{1}, {IGNORED}]
    bundle = write_levels_bundle(tmp_path / "bundle").path
    copy_held_out(bundle, data, tmp_path / "held-out")
    assert read_manifest(tmp_path / "held-out")[0].ignored[0].is_file()
    assert refused(data) == {"no-split"}


def test_an_ignore_mask_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """A missing one, and one of another size, end training and are found by the audit."""
    data = write_data(tmp_path / "data", half("right"))
    save(data / "i.png", np.full((3, 3), 255, np.uint8))
    with pytest.raises(DatasetError, match=r"i\.png: expected"):
        load_picture(read_manifest(data)[0], ("scratch",), (), 1)
    assert refused(data) == {"no-split", "mask-size"}
    (data / "i.png").unlink()
    with pytest.raises(DatasetError, match=r"ignore_mask .*i\.png is missing"):
        read_manifest(data)
    assert refused(data) == {"no-split", "missing-mask"}


def test_a_cell_that_is_mostly_ignored_is_ignored() -> None:
    """Half of a cell without a defect leaves it out; a defect beside what is ignored is one."""
    truth = np.zeros((1, 4, 8), np.uint8)
    truth[0, :, 2:4] = IGNORED
    truth[0, :, 4:7] = IGNORED
    truth[0, :, 7] = 2
    assert cells_of(truth, 4, 0.2).tolist() == [[[IGNORED, 2]]]
    truth[0, :, 2] = 0
    assert cells_of(truth, 4, 0.2).tolist() == [[[0, 2]]]


def test_scores_of_a_wholly_ignored_picture_are_of_nothing() -> None:
    """It counts as a clean picture without a pixel."""
    scores = Scores(NAMES)
    scores.add(np.full((2, 2), IGNORED, np.uint8), np.ones((2, 2), np.uint8))
    report = scores.report()
    assert report["confusion"]["pixels"] == [[0] * 3] * 3
    assert json.dumps(report)


@pytest.mark.parametrize("side", ["left", "right"])
def test_thresholds_are_fitted_without_what_is_ignored(side: str, tmp_path: Path) -> None:
    """Beside a scratched picture a clean one of the same look is falsely flagged, unless its bright half is ignored."""
    bundle = write_levels_bundle(tmp_path / "bundle")
    names = tuple(entry.name for entry in bundle.classes)
    folders = [
        write_data(tmp_path / "scratched", None),
        write_data(tmp_path / "clean", half(side), clean=True),
    ]
    pictures = [load_picture(entry, names, (), 1) for folder in folders for entry in read_manifest(folder)]
    text = RECIPE.replace("stem_stride: 2", "stem_stride: 1").replace("[{step: grey}]", "[]")
    trained = Trained(load_model(bundle.keras_path), names, pictures, datetime.now(timezone.utc), {})
    fitted = fit_thresholds(trained, recipe(tmp_path, text), quiet())["scratch"]
    assert fitted.shown == 1
    assert fitted.missed + fitted.false == (side == "right")


def test_cells_of_good_parts_that_show_what_is_ignored_are_not_learned() -> None:
    """A cell of which a pixel is ignored teaches nothing, and has no score; all others do as before."""
    truth = np.zeros((32, 50), np.uint8)
    truth[3, 17] = truth[31, 49] = IGNORED
    known = known_cells(truth, (2, 4, 7))
    assert np.argwhere(~known).tolist() == [[0, 1], [1, 3]]
    cells = np.arange(2 * 4 * 7, dtype=np.float32).reshape(2, 4, 7)
    drawn = some_cells(cells, 100, np.random.default_rng(0), known)
    np.testing.assert_array_equal(drawn, cells[known])
    assert known_cells(np.zeros_like(truth), (2, 4)).all()
