"""The tools of `make model-glass`, which teach a shipped bundle in a second part."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.carried_thresholds import carry
from benchmarks.weights_of_graph import WEIGHTS, read_back
from edge.bundle import load_bundle
from edge.simulation.dataset import write_dataset
from tests.conftest import ROOT
from trainer.training.starting import find_start

SHIPPED = ROOT / "edge" / "bundles" / "simulated-glass"
OTHER = ROOT / "edge" / "bundles" / "simulated-station"


def test_weights_of_a_shipped_graph_answer_as_it_does(tmp_path: Path) -> None:
    """Logits of the weights that are read back differ by at most 0.001. They know their pictures."""
    write_dataset(tmp_path / "drawn", 3, 1, (240, 320), products=("glass",))
    assert read_back(load_bundle(SHIPPED), tmp_path / "drawn", tmp_path / "begun") <= 1e-3
    start = find_start(tmp_path / "begun" / WEIGHTS)
    assert start.learned


def test_thresholds_are_carried_over_but_for_a_stated_area(tmp_path: Path) -> None:
    """A bundle gets the other's thresholds and areas, and the one area that is named, and calls them presumed."""
    target = Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))
    carry(OTHER, target, {"scratch": 41.0})
    given = {entry.name: (entry.threshold, entry.min_area_px) for entry in load_bundle(OTHER).classes}
    taken = load_bundle(target, need_onnx=False)
    assert {entry.name: (entry.threshold, entry.min_area_px) for entry in taken.classes} == {
        **given,
        "scratch": (given["scratch"][0], 41.0),
    }
    assert all(fitted["presumed"] for fitted in taken.manifest.validation.values())


def test_an_area_of_an_unknown_class_is_refused(tmp_path: Path) -> None:
    """An area of a class that the bundle has not is an error, and the target stays as it was."""
    target = Path(shutil.copytree(SHIPPED, tmp_path / "bundle"))
    before = (target / "manifest.json").read_bytes()
    with pytest.raises(ValueError, match="dent"):
        carry(OTHER, target, {"dent": 41.0})
    assert (target / "manifest.json").read_bytes() == before
