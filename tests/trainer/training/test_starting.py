"""`fit --from`: what the weights are, what they may be used for, and that what they learned from judges nobody."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from edge.errors import DatasetError, LinewatchError, SettingsError, StoreError
from tests.trainer.painted import RECIPE, quiet, recipe, write_painted
from trainer.__main__ import app
from trainer.evaluation.evaluating import learned_from
from trainer.fitting import fit
from trainer.training.checkpointing import LAST_GOOD, read_best
from trainer.training.starting import BEFORE, find_start

SHORT = RECIPE.replace("epochs: 8", "epochs: 1").replace("steps_per_epoch: 15", "steps_per_epoch: 2")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 24 small pictures."""
    return write_painted(tmp_path_factory.mktemp("data") / "painted")


@pytest.fixture(scope="module")
def first(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a little."""
    folder = tmp_path_factory.mktemp("first")
    return fit(recipe(folder, SHORT), data, folder / "bundle", quiet()).path


def hashes(bundle: Path, part: str) -> set[str]:
    """Return the sha256 of a part's pictures."""
    with (bundle / "split.csv").open(newline="") as file:
        return {row["sha256"] for row in csv.DictReader(file) if row["split"] == part}


def test_a_run_begins_with_the_best_weights_of_another(first: Path, data: Path, tmp_path: Path) -> None:
    """After one step at a rate of next to nothing the kernels are still those. The bundle says what it began with.

    Pictures that they learned from are left out when the bundle is judged on another split of its own.
    """
    text = SHORT.replace("learning_rate: 0.02", "learning_rate: 1.0e-9")
    heard = io.StringIO()
    bundle = fit(recipe(tmp_path, text), data, tmp_path / "b", Console(file=heard, width=300), start=first)
    assert f"begins with the weights in {first}" in heard.getvalue()
    before, after = (read_best(path / "training" / "checkpoint.npz") for path in (first, bundle.path))
    kernels = [(a, b) for a, b in zip(before, after, strict=True) if a.ndim == 4]
    assert len(kernels) > 4
    for a, b in kernels:
        np.testing.assert_allclose(a, b, atol=1e-6)
    start = find_start(first)
    assert bundle.manifest.training["began_with"] == {"file": "checkpoint.npz", "sha256": start.sha256}
    with (bundle.path / BEFORE).open(newline="") as file:
        noted = {row["sha256"] for row in csv.DictReader(file)}
    assert noted == hashes(first, "train") | hashes(first, "validation")
    # of another split of its own, what the first weights know is still known
    lines = (bundle.path / "split.csv").read_text().splitlines()
    (bundle.path / "split.csv").write_text(lines[0] + "\n")
    assert learned_from(bundle.path) == noted


def test_the_weights_kept_at_a_loss_that_is_no_number_begin_the_next_run(data: Path, tmp_path: Path) -> None:
    """The command that the error names works as it stands there, with recipe, data and folder filled in."""
    settings = recipe(tmp_path, SHORT)
    broken = settings.model_copy(update={"loss": settings.loss.model_copy(update={"cross_entropy": float("inf")})})
    with pytest.raises(DatasetError, match=r"at step 1 .*--from \S+") as caught:
        fit(broken, data, tmp_path / "b", quiet())
    (named,) = re.findall(r"linewatch-train (fit .*)$", str(caught.value))
    assert named.endswith(str(tmp_path / "b" / "training" / LAST_GOOD))
    places = {"RECIPE": tmp_path / "recipe.yaml", "DATA": data, "NEW": tmp_path / "again"}
    command = [str(places.get(word, word)) for word in named.split()]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    training = json.loads((tmp_path / "again" / "manifest.json").read_text())["training"]
    assert training["began_with"]["file"] == LAST_GOOD


def test_what_the_weights_learned_from_is_not_held_out(first: Path, data: Path, tmp_path: Path) -> None:
    """Another seed splits anew: the pictures that would judge their own pupil are named."""
    with pytest.raises(DatasetError, match=r"would judge them now: images/\d+\.png.* Give the split and the seed"):
        fit(recipe(tmp_path, SHORT.replace("seed: 4", "seed: 5")), data, tmp_path / "b", quiet(), start=first)
    assert not (tmp_path / "b").exists()


def test_weights_that_do_not_fit_are_refused(first: Path, data: Path, tmp_path: Path) -> None:
    """Of another network, of other classes, of a file that is none: named before anything is trained."""
    wide = recipe(tmp_path, SHORT.replace("widths: [8, 16]", "widths: [8, 24]"))
    with pytest.raises(SettingsError, match=r"does not hold the weights of this recipe's slim-unet: .*keys of `model`"):
        fit(wide, data, tmp_path / "b", quiet(), start=first)
    other = write_painted(tmp_path / "other")
    text = (other / "manifest.csv").read_text()
    (other / "manifest.csv").write_text(text.replace(",stain,", ",spot,"))
    with pytest.raises(SettingsError, match="trained on the classes scratch, stain; this dataset has scratch, spot"):
        fit(recipe(tmp_path, SHORT), other, tmp_path / "c", quiet(), start=first)
    for wrong in (tmp_path, tmp_path / "recipe.yaml", tmp_path / "absent"):
        with pytest.raises(StoreError, match=r"No weights to begin with at .*expected a folder that fit wrote"):
            fit(recipe(tmp_path, SHORT), data, tmp_path / "d", quiet(), start=wrong)
    (tmp_path / "cut.npz").write_bytes(b"PK cut short")
    with pytest.raises(StoreError, match=r"cut\.npz cannot be read"):
        fit(recipe(tmp_path, SHORT), data, tmp_path / "e", quiet(), start=tmp_path / "cut.npz")


def test_unknown_origins_are_told(first: Path, data: Path, tmp_path: Path) -> None:
    """Weights that were copied away from their run could have learned from what is held out, and that is said."""
    (tmp_path / "alone.npz").write_bytes((first / "training" / "checkpoint.npz").read_bytes())
    assert find_start(tmp_path / "alone.npz").learned is None
    heard = io.StringIO()
    wide = recipe(tmp_path, SHORT.replace("widths: [8, 16]", "widths: [8, 24]"))
    with pytest.raises(LinewatchError):
        fit(wide, data, tmp_path / "b", Console(file=heard, width=300), start=tmp_path / "alone.npz")
    assert "nothing beside them tells which pictures they learned from" in heard.getvalue()


def test_going_on_and_beginning_are_two_things(first: Path, data: Path, tmp_path: Path) -> None:
    """--resume has weights of its own."""
    recipe(tmp_path, SHORT)
    command = ["fit", str(tmp_path / "recipe.yaml"), "--data", str(data), "--out", str(first)]
    result = CliRunner().invoke(app, [*command, "--resume", "--from", str(first)])
    assert result.exit_code == 2
    assert "expected --resume or --from" in re.sub(r"[\s│]+", " ", result.output)
