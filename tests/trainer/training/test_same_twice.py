"""Steps decide: one seed on one machine gives the same bundle twice, and the clock is a limit that is told."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console

from edge.bundle import Bundle
from edge.errors import StoreError
from tests.conftest import ROOT
from tests.trainer.painted import RECIPE, quiet, recipe, write_painted
from trainer.evaluation.evaluating import Wanted
from trainer.evaluation.keras_engine import load_model
from trainer.fitting import fit
from trainer.reports.reporting import report

SHORT = RECIPE.replace("epochs: 8", "epochs: 2").replace("steps_per_epoch: 15", "steps_per_epoch: 3")
DROPS = SHORT.replace("dropout: 0.0", "dropout: 0.2")  # drawings while learning are alike


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 24 small pictures."""
    return write_painted(tmp_path_factory.mktemp("data") / "painted", 24)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Train two epochs of three steps."""
    folder = tmp_path_factory.mktemp("whole")
    keras.utils.clear_session()  # so that layers are named as in a process of their own
    return fit(recipe(folder, DROPS), data, folder / "bundle", quiet())


def test_one_seed_gives_the_same_bundle_twice(whole: Bundle, data: Path, tmp_path: Path) -> None:
    """Another process, which orders its sets otherwise, writes the same model.keras to the byte, and the same manifest.

    But for the times of both, and what took how long.
    """
    (tmp_path / "recipe.yaml").write_text(DROPS)
    words = ["fit", "recipe.yaml", "--data", str(data), "--out", "again", "--no-cache"]
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    again = tmp_path / "again"
    assert (again / "model.keras").read_bytes() == (whole.path / "model.keras").read_bytes()
    had, has = (json.loads((folder / "manifest.json").read_text()) for folder in (whole.path, again))
    for told in (had, has):
        told["training"].pop("seconds")
        told["provenance"][0].pop("at")
        told["files"] = {name: value for name, value in told["files"].items() if not name.startswith("training")}
    assert has == had


def test_the_clock_is_a_limit_that_is_told_and_changes_no_step(whole: Bundle, data: Path, tmp_path: Path) -> None:
    """A run whose time is over after its first epoch says so everywhere. With more time it becomes the uncut one."""
    told = Console(file=io.StringIO(), width=400)
    out = tmp_path / "cut"
    cut = fit(recipe(tmp_path, f"{DROPS}max_minutes: 0.00001\n"), data, out, told)
    assert cut.manifest.training["cut_by_clock"] == {"max_minutes": 0.00001, "steps": 3, "of_steps": 6}
    assert "cut the training after 3 of 6 steps" in told.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    report(out, None, tmp_path / "report.html", quiet(), Wanted())
    assert "The clock cut the training" in (tmp_path / "report.html").read_text()
    with pytest.raises(StoreError, match="epochs was 2 and is 3"):
        fit(recipe(tmp_path, DROPS.replace("epochs: 2", "epochs: 3")), data, out, quiet(), resume=True)
    on = fit(recipe(tmp_path, f"{DROPS}max_minutes: 600\n"), data, out, quiet(), resume=True)
    assert on.manifest.training["cut_by_clock"] is None
    assert whole.manifest.training["cut_by_clock"] is None
    for one, other in zip(*(load_model(bundle.keras_path).get_weights() for bundle in (whole, on)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert on.manifest.classes == whole.manifest.classes
