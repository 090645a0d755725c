"""The last part of a training, which learns from validation pictures too; on small pictures, for real."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from edge.bundle import Bundle, load_bundle, write_manifest
from edge.errors import DatasetError, SettingsError
from edge.opencv import cv2
from tests.conftest import ROOT
from tests.trainer.interrupting import fit_interrupted
from tests.trainer.painted import RECIPE, quiet, recipe, write_painted
from trainer.__main__ import app
from trainer.datasets.dataset import read_manifest
from trainer.datasets.split_manifest import read_split
from trainer.datasets.splitting import split_dataset
from trainer.evaluation.evaluating import evaluate, learned_from
from trainer.evaluation.keras_engine import load_model
from trainer.fitting import fit
from trainer.recipe.settings import TrainSettings, stored_recipe

SHORT = RECIPE.replace("epochs: 8", "epochs: 6").replace("steps_per_epoch: 15", "steps_per_epoch: 6")
FINISHED = SHORT + "final_training: {share: 0.5}\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 48 small pictures."""
    return write_painted(tmp_path_factory.mktemp("data") / "painted", 48)


@pytest.fixture(scope="module")
def told() -> io.StringIO:
    """Hold what training prints."""
    return io.StringIO()


@pytest.fixture(scope="module")
def finished(data: Path, told: io.StringIO, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Train on it in two parts of three epochs each."""
    folder = tmp_path_factory.mktemp("finished")
    return fit(recipe(folder, FINISHED), data, folder / "bundle", Console(file=told, width=1000))


def test_it_goes_on_with_all_pictures_that_are_not_held_out(finished: Bundle, told: io.StringIO) -> None:
    """As many are learned from as the split has for training and validation, and this is said, also beforehand."""
    counts = finished.manifest.training["pictures"]
    assert counts["validation"] > 0
    said = f"goes on with all {counts['train'] + counts['validation']} pictures that are not held out"
    announced, _, later = told.getvalue().partition(said)
    assert later
    assert "in two parts, of which the last, 50% of it, learns from validation too" in announced


def weights(bundle: Bundle) -> list[np.ndarray]:
    """Return the weights that a bundle answers with."""
    values: list[np.ndarray] = load_model(bundle.keras_path).get_weights()
    return values


def test_thresholds_are_those_of_the_first_part_and_weights_go_on(finished: Bundle, data: Path, tmp_path: Path) -> None:
    """Beside three epochs without a second part: the same thresholds and validation figures, other weights."""
    first = fit(recipe(tmp_path, SHORT.replace("epochs: 6", "epochs: 3")), data, tmp_path / "first", quiet())
    assert finished.manifest.validation == first.manifest.validation
    assert finished.manifest.classes == first.manifest.classes
    assert any((a != b).any() for a, b in zip(weights(finished), weights(first), strict=True))
    training = finished.manifest.training
    assert (training["epochs"], training["steps"], training["finish"]["epochs"]) == (6, 36, 3)
    assert training["best_epoch"] == first.manifest.training["best_epoch"] == 3


def test_a_recipe_can_presume_every_threshold(finished: Bundle, data: Path, tmp_path: Path) -> None:
    """The same weights with an even chance from half of what nine of ten pictures show on. Command and page say so."""
    asked = FINISHED.replace("{share: 0.5}", "{share: 0.5, thresholds: presumed}")
    recipe(tmp_path, asked)
    out = tmp_path / "presumed"
    command = ["fit", str(tmp_path / "recipe.yaml"), "--data", str(data), "--out", str(out)]
    ended = CliRunner().invoke(app, command)
    assert ended.exit_code == 0, ended.output
    presumed = load_bundle(out, need_onnx=False)
    known = {row.image for row in read_split(out / "split.csv") if row.part != "test"}
    for entry in presumed.classes:
        assert presumed.manifest.validation[entry.name]["presumed"]
        shown = [e for e in read_manifest(data) if e.image in known and entry.name in e.classes]
        areas_px = [np.count_nonzero(cv2.imread(str(data / "masks" / Path(e.image).name), 0)) for e in shown]
        assert (entry.threshold, entry.min_area_px) == (0.5, np.ceil(np.percentile(areas_px, 10) / 2))
    for one, other in zip(weights(finished), weights(presumed), strict=True):
        np.testing.assert_array_equal(one, other)
    words = " ".join(ended.output.split())
    assert words.count("presumed, as the recipe asks") == len(presumed.classes)
    assert "was not found on validation pictures before" not in words
    assert "These figures are of the weights before the last part. Judge on" in words
    page = tmp_path / "report.html"
    shown = CliRunner().invoke(app, ["report", str(out), str(data), "--out", str(page)])
    assert shown.exit_code == 0, shown.output
    written = page.read_text(encoding="utf-8")
    assert written.count("The recipe asks for it.") == len(presumed.classes)
    assert "Thresholds are presumed, as the recipe asks" in written
    assert "The curves are of the first part" in written


def test_a_class_that_is_lost_in_the_last_part_is_told_of(finished: Bundle, tmp_path: Path) -> None:
    """The guard speaks of the weights that are kept: what was found in the first part and in the last one no more."""
    bundle = Path(shutil.copytree(finished.path, tmp_path / "bundle"))
    logs = [bundle / "training" / part / "log.csv" for part in ("", "finish")]
    for last_dice, told in ((0.8, False), (0.0, True)):
        for log, dice in zip(logs, (0.8, last_dice), strict=True):
            lines = ["epoch,loss,dice,dice_scratch,answered_scratch,true_scratch"]
            log.write_text("\n".join(lines + [f"{k},0.1,{dice},{dice},{dice / 20},0.04" for k in range(1, 6)]) + "\n")
        write_manifest(bundle, finished.manifest)
        done = CliRunner().invoke(app, ["report", str(bundle), "--out", str(tmp_path / "report.html")])
        assert done.exit_code == 0, done.output
        written = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert ("Collapse guard: scratch" in written) is told
        assert ("The collapse guard has nothing to say" in written) is not told
    assert "scratch is lost since epoch 6" in written  # five epochs were the first part


def test_a_class_that_the_first_part_does_not_find_is_not_silenced(data: Path, tmp_path: Path) -> None:
    """Silence is fitted where one step of 1e-9 finds no scratch. Before a second part, an even chance is presumed.

    Each picture shows one scratch: from half of what nine of ten show on, by the masks that are not held out.
    """
    blind = RECIPE.replace("rate: 0.02", "rate: 1.0e-9").replace("steps_per_epoch: 15", "steps_per_epoch: 1")
    ends = fit(recipe(tmp_path, blind.replace("epochs: 8", "epochs: 1")), data, tmp_path / "ends", quiet())
    goes_on = blind.replace("epochs: 8", "epochs: 2") + "final_training: {share: 0.5}\n"
    more = fit(recipe(tmp_path, goes_on), data, tmp_path / "more", quiet())
    known = {row.image for row in read_split(more.path / "split.csv") if row.part != "test"}
    scratches = [entry for entry in read_manifest(data) if entry.image in known and "scratch" in entry.classes]
    areas_px = [np.count_nonzero(cv2.imread(str(data / "masks" / Path(e.image).name), 0)) for e in scratches]
    silent, presumed = (bundle.manifest.validation["scratch"] for bundle in (ends, more))
    assert (silent["missed"], silent["presumed"]) == (silent["shown"], False)
    assert presumed["presumed"]
    assert (presumed["threshold"], presumed["min_area_px"]) == (0.5, np.ceil(np.percentile(areas_px, 10) / 2))
    assert more.manifest.classes[0].min_area_px == presumed["min_area_px"]


def test_a_class_that_no_validation_picture_shows_is_presumed(data: Path, tmp_path: Path) -> None:
    """An even chance is presumed where all stains that would choose have empty masks: any threshold is as good."""
    folder = tmp_path / "bare"
    shutil.copytree(data, folder)
    settings = recipe(tmp_path, SHORT.replace("epochs: 6", "epochs: 1"))
    parts = split_dataset(read_manifest(folder), settings.split, settings.seed, quiet())
    stains = [entry for entry in read_manifest(folder) if "stain" in entry.classes]
    bare = [entry for entry in stains if parts[entry.image] == "validation"]
    for entry in bare:
        for _, mask in entry.masks:
            cv2.imwrite(str(mask), np.zeros_like(cv2.imread(str(mask), 0)))
    told = CliRunner().invoke(
        app, ["fit", str(tmp_path / "recipe.yaml"), "--data", str(folder), "--out", str(tmp_path / "out")]
    )
    assert told.exit_code == 0, told.output
    assert "no validation picture shows stain" in " ".join(told.output.split())
    bundle = load_bundle(tmp_path / "out", need_onnx=False)
    found = bundle.manifest.validation["stain"]
    areas_px = [np.count_nonzero(cv2.imread(str(e.masks[0][1]), 0)) for e in stains if parts[e.image] == "train"]
    assert len(bare) > 0
    assert (found["shown"], found["presumed"], found["threshold"]) == (0, True, 0.5)
    assert bundle.classes[1].min_area_px == np.ceil(np.percentile(areas_px, 10) / 2)
    assert not bundle.manifest.validation["scratch"]["presumed"]


def test_held_out_pictures_stay_held_out(finished: Bundle, data: Path) -> None:
    """The second part learned from the training and validation pictures, and evaluation leaves these out."""
    bundle, finish = (read_split(finished.path / path) for path in ("split.csv", "training/finish/split.csv"))
    test, learned = ({row.sha256 for row in bundle if (row.part == "test") is held_out} for held_out in (True, False))
    assert test == {row.sha256 for row in finish if row.part == "test"} != set()
    assert {row.part for row in finish} == {"train", "test"}
    assert learned_from(finished.path) == learned
    judged = evaluate(finished.path, data, quiet())
    assert judged.report["pictures"] == len(test)


def test_a_second_part_that_was_stopped_goes_on_as_if_it_had_not_been(
    finished: Bundle, data: Path, tmp_path: Path
) -> None:
    """Stopped after its first checkpoint and resumed, it has the weights of a run in one go, to the bit."""
    recipe(tmp_path, FINISHED)
    out = tmp_path / "parts"
    fit_interrupted(tmp_path / "recipe.yaml", data, out, log=out / "training" / "finish" / "log.csv", epochs=1)
    command = [sys.executable, "-m", "trainer", "fit", str(tmp_path / "recipe.yaml"), "--data", str(data)]
    done = subprocess.run(
        [*command, "--out", str(out), "--resume"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(r"kept epoch \d of 3, then 3 more with the validation pictures", " ".join(done.stdout.split()))
    again = load_bundle(out, need_onnx=False)
    for one, other in zip(weights(finished), weights(again), strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.manifest.classes == finished.manifest.classes


def test_weights_of_the_second_part_know_what_they_learned_from(finished: Bundle, data: Path, tmp_path: Path) -> None:
    """Begun with them, a run with the same split is refused: its validation pictures were learned from."""
    begin = finished.path / "training" / "finish" / "checkpoint.npz"
    with pytest.raises(DatasetError, match=re.escape(str(begin)) + r".*would judge them now"):
        fit(recipe(tmp_path, SHORT), data, tmp_path / "again", quiet(), start=begin)


@pytest.mark.parametrize("share", [0, 1])
def test_each_part_has_a_share(tmp_path: Path, share: float) -> None:
    """Nothing could be chosen, or nothing finished."""
    with pytest.raises(SettingsError, match=r"final_training\.share"):
        recipe(tmp_path, SHORT + f"final_training: {{share: {share}}}\n")


def test_the_earlier_name_of_the_key_is_refused_with_its_new_one(tmp_path: Path) -> None:
    """A recipe with `finish` names `final_training`; an earlier bundle's record is read."""
    with pytest.raises(SettingsError, match="key finish: this key is called final_training now"):
        recipe(tmp_path, SHORT + "finish: {share: 0.5}\n")
    kept = recipe(tmp_path, FINISHED).model_dump(mode="json")
    of_before = {"finish" if key == "final_training" else key: value for key, value in kept.items()}
    assert TrainSettings.model_validate(stored_recipe(of_before)).final_training.share == 0.5
