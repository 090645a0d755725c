from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import BaseModel
from rich.console import Console

from edge.bundle import Bundle, load_bundle, sha256_of
from edge.errors import DatasetError, LinewatchError, SettingsError, StoreError
from edge.opencv import cv2
from edge.preparing import Grey
from edge.yaml_settings import load_yaml
from tests.conftest import ROOT
from tests.trainer.interrupting import fit_interrupted
from tests.trainer.painted import RECIPE, quiet, recipe, write_painted
from trainer.auditing.audit import audit
from trainer.datasets.dataset import class_names, read_manifest
from trainer.datasets.split_manifest import read_split
from trainer.datasets.splitting import split_dataset
from trainer.evaluation.evaluating import evaluate, learned_from
from trainer.evaluation.holding_out import copy_held_out
from trainer.evaluation.keras_engine import load_model
from trainer.fitting import fit
from trainer.importing.manifest_csv import read_manifests
from trainer.importing.writing import WritingSettings, write_dataset
from trainer.recipe.good_parts_settings import learns_from_good_parts
from trainer.recipe.loss_settings import LossSettings
from trainer.recipe.optimizer_settings import OptimizerSettings
from trainer.recipe.settings import CellSettings, LogSettings, SequenceSettings, TrainSettings

WHOLE = RECIPE.replace("family: slim-unet, ", "")  # the family that is the default


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 48 small pictures."""
    return write_painted(tmp_path_factory.mktemp("data") / "painted", 48)


@pytest.fixture(scope="module")
def bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Train on it, for real."""
    folder = tmp_path_factory.mktemp("fit")
    return fit(recipe(folder, WHOLE), data, folder / "bundle", quiet())


def test_a_small_fit_learns_and_writes_a_bundle(bundle: Bundle, data: Path) -> None:
    """After 120 steps bright lines and grey discs are found on pictures never seen, and the bundle verifies."""
    loaded = load_bundle(bundle.path, need_onnx=False)
    assert [entry.name for entry in loaded.classes] == ["scratch", "stain"]
    evaluation = evaluate(bundle.path, data, quiet())
    report = evaluation.report
    assert report["pictures"] + report["excluded_pictures"] == 48
    assert report["iou"]["scratch"] > 0.4
    assert report["missed_pictures"]["all"] <= 0.25
    assert report["empty_baseline"]["iou"]["scratch"] == 0
    assert report["empty_baseline"]["missed_pictures"]["all"] == 1


def test_nothing_learned_from_is_judged_on(bundle: Bundle, data: Path) -> None:
    """Evaluation leaves out training and validation pictures by their content, under whatever name they come."""
    learned = learned_from(bundle.path)
    with (bundle.path / "split.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    groups = {part: {row["group"] for row in rows if row["split"] == part} for part in ("train", "validation", "test")}
    assert not groups["train"] & groups["test"]
    assert not groups["validation"] & groups["test"]
    judged = {row["image"] for row in evaluate(bundle.path, data, quiet()).pictures}
    assert judged
    assert not {sha256_of(data / image) for image in judged} & learned
    everything = evaluate(bundle.path, data, quiet(), include_training=True)
    assert everything.report["pictures"] == 48


def test_a_bundle_records_how_pixels_are_prepared_and_what_it_was_split_by(bundle: Bundle, data: Path) -> None:
    """The manifest has the recipe's steps, and a device takes them from there; split.csv has each file's own hash."""
    assert json.loads((bundle.path / "manifest.json").read_text())["preparing"] == [{"step": "grey"}]
    assert load_bundle(bundle.path, need_onnx=False).manifest.preparing == (Grey(),)
    assert "split.csv" in bundle.manifest.files
    rows = {row.image: row for row in read_split(bundle.path / "split.csv")}
    entries = read_manifest(data)
    assert rows.keys() == {entry.image for entry in entries}
    for entry in entries:
        row = rows[entry.image]
        assert row.sha256 == hashlib.sha256(entry.path.read_bytes()).hexdigest()
        assert row.masks == tuple((name, hashlib.sha256(mask.read_bytes()).hexdigest()) for name, mask in entry.masks)


def test_held_out_pictures_can_be_taken_elsewhere(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """The copied folder is a dataset of its own, with the same figures."""
    count = copy_held_out(bundle.path, data, tmp_path / "held-out")
    before, after = (evaluate(bundle.path, folder, quiet()).report for folder in (data, tmp_path / "held-out"))
    assert count == after["pictures"] == before["pictures"]
    assert after["iou"] == before["iou"]


def test_the_saved_model_answers_probabilities_of_defects_only(bundle: Bundle) -> None:
    """model.keras opens in safe mode: float32 [N, 64, 64, 1] → [N, 64, 64, 2] within 0-1, the background left out."""
    model = load_model(bundle.keras_path)
    assert model.output_shape == (None, 64, 64, 2)
    answer = model(np.zeros((1, 64, 64, 1), np.float32)).numpy()
    assert ((answer >= 0) & (answer.sum(axis=-1, keepdims=True) <= 1.0001)).all()


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(data: Path, tmp_path: Path) -> None:
    """Two epochs and then two more give the weights of four epochs in one go, to the bit."""
    short = RECIPE.replace("epochs: 8", "epochs: 4").replace("steps_per_epoch: 15", "steps_per_epoch: 4")
    whole = fit(recipe(tmp_path, short), data, tmp_path / "whole", quiet())
    out = tmp_path / "parts"
    fit_interrupted(tmp_path / "recipe.yaml", data, out, log=out / "training" / "log.csv", epochs=2)
    parts = fit(recipe(tmp_path, short), data, tmp_path / "parts", quiet(), resume=True)
    for one, other in zip(*(load_model(b.keras_path).get_weights() for b in (whole, parts)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert parts.manifest.classes == whole.manifest.classes


def test_a_resumed_run_with_another_recipe_is_refused(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """The keys that differ are named with both values, however deep.

    So is the way to go on with the weights.
    """
    other = recipe(tmp_path, WHOLE.replace("seed: 4", "seed: 5").replace("epochs: 8", "epochs: 9"))
    deep = recipe(tmp_path, WHOLE.replace("learning_rate: 0.02", "learning_rate: 0.01"))
    with pytest.raises(StoreError, match=r"optimizer\.learning_rate was 0\.02 and is 0\.01\. Give"):
        fit(deep, data, bundle.path, quiet(), resume=True)
    with pytest.raises(StoreError, match=r"another recipe: epochs was 8 and is 9; seed was 4 and is 5. .*--from"):
        fit(other, data, bundle.path, quiet(), resume=True)


def test_a_command_that_is_printed_can_be_pasted(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """In a folder with a blank and a quote the way to go on is one word for the shell."""
    folder = tmp_path / "Anna's run"
    shutil.copytree(bundle.path, folder)
    other = recipe(tmp_path, WHOLE.replace("seed: 4", "seed: 5"))
    with pytest.raises(StoreError) as refused:
        fit(other, data, folder, quiet(), resume=True)
    assert shlex.split(str(refused.value).split("weights: ")[1]) == ["--from", str(folder)]


def test_a_run_of_an_older_version_can_be_resumed(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A key that its recipe had not yet is no difference at the value that changes nothing."""
    older = tmp_path / "older"
    shutil.copytree(bundle.path, older)
    kept = older / "training" / "recipe.json"
    had = json.loads(kept.read_text(encoding="utf-8"))
    del had["sampling"]["inside"]
    kept.write_text(json.dumps(had), encoding="utf-8")
    again = fit(recipe(tmp_path, WHOLE), data, older, quiet(), resume=True)
    assert again.manifest.classes == bundle.manifest.classes
    other = recipe(tmp_path, WHOLE.replace("crop_px: 64", "crop_px: 64, inside: true"))
    with pytest.raises(StoreError, match=r"sampling\.inside was false and is true"):
        fit(other, data, older, quiet(), resume=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RECIPE.replace("crop_px: 64", "crop_px: 66"), "expected sampling.crop_px as a multiple of 4 px"),
        (RECIPE.replace("seed", "sead"), "key sead: no such key"),
        (RECIPE.replace("stem_stride: 2", "stem_stride: 3"), "key model.stem_stride"),
    ],
)
def test_a_wrong_recipe_names_the_key(tmp_path: Path, text: str, says: str) -> None:
    """Recipes are checked like every other settings file."""
    with pytest.raises(SettingsError, match=says):
        recipe(tmp_path, text)


def test_every_key_of_how_to_train_is_in_a_commented_recipe() -> None:
    """Every key of the loss, the optimizer or the run stands in config/train.*.yaml, with an example."""
    text = "".join(path.read_text() for path in (ROOT / "config").glob("train.*.yaml"))
    ours = (LossSettings, OptimizerSettings, CellSettings, SequenceSettings, LogSettings)
    keys = set(TrainSettings.model_fields).union(*(_keys(model) for model in ours))
    assert not {key for key in keys if not re.search(rf"\b{key}\b", text)}


@pytest.mark.parametrize(
    "path",
    sorted(path for path in (ROOT / "config").glob("train.*.yaml") if not learns_from_good_parts(path)),
    ids=lambda path: path.name,
)
def test_every_recipe_holds(path: Path) -> None:
    """Each recipe of config/ is read without a complaint, and has a limit by the clock beside its steps."""
    minutes = load_yaml(path, TrainSettings).max_minutes
    assert minutes is not None
    assert minutes <= 60


def _keys(model: type[BaseModel]) -> set[str]:
    inner = [own for field in model.model_fields.values() for own in _models_in(field.annotation)]
    return set(model.model_fields).union(*(_keys(own) for own in inner))


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def test_a_fit_with_everything_else_chosen(data: Path, tmp_path: Path) -> None:
    """Another loss, optimizer, schedule, precision and log: the kept model is float32, and the run tells of it."""
    other = RECIPE.replace("epochs: 8", "epochs: 1").replace("steps_per_epoch: 15", "steps_per_epoch: 2")
    other = other.replace(
        "optimizer: {learning_rate: 0.02, warm_up_steps: 5}",
        "optimizer: {kind: rmsprop, learning_rate: 0.001, accumulate: 2, schedule: {kind: step, at: [0.5]}}",
    )
    other += (
        "loss: {terms: [{kind: focal}, {kind: tversky, weight: 0.5, class_weights: {scratch: 2.0}}]}\n"
        "precision: mixed_bfloat16\nlogs: {tensorboard: true}\ndevices: all\n"
    )
    words = io.StringIO()
    console = Console(file=words, width=200, soft_wrap=True)
    kept = fit(recipe(tmp_path, other), data, tmp_path / "b", console)
    model = load_model(kept.keras_path)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert list((tmp_path / "b" / "training" / "tensorboard").iterdir())
    said = words.getvalue()
    assert re.search(r"on .+, \d+ cores, mixed_bfloat16\n", said)
    assert re.search(r"2 steps in \d+ s \([\d.]+ steps/s with validation\); the log is .*log\.csv", said)


def test_a_loss_for_other_classes_is_refused(data: Path, tmp_path: Path) -> None:
    """Weights of a class that is not there, and a preset for another number of classes, are told before training."""
    weights = "loss: {terms: [{kind: dice, class_weights: {dent: 2, background: 1}}]}\n"
    with pytest.raises(DatasetError, match=r"key loss.terms.0.class_weights.dent of the recipe"):
        fit(recipe(tmp_path, RECIPE + weights), data, tmp_path / "b", quiet())
    with pytest.raises(SettingsError, match="weights for 4 classes, and the data set has 2"):
        fit(recipe(tmp_path, RECIPE + "loss: {preset: cce-dice}\n"), data, tmp_path / "b", quiet())


def test_a_recipe_for_other_classes_is_refused(data: Path, tmp_path: Path) -> None:
    """A class that the recipe names and the dataset lacks is a mistake in one of them."""
    with pytest.raises(
        DatasetError,
        match=r"key classes.dent of the recipe: expected a class that .* shows \(scratch, stain\), received dent",
    ):
        fit(recipe(tmp_path, RECIPE + "classes: {dent: {}}\n"), data, tmp_path / "b", quiet())


def test_a_loss_that_is_no_number_stops_the_run(data: Path, tmp_path: Path) -> None:
    """Training that diverges says at which step, and what to do."""
    wild = RECIPE.replace("learning_rate: 0.02", "learning_rate: 1.0").replace("epochs: 8", "epochs: 1")
    settings = recipe(tmp_path, wild)
    broken = settings.model_copy(update={"loss": settings.loss.model_copy(update={"cross_entropy": float("inf")})})
    says = r"The loss is (nan|inf) at step 1 \(epoch 1\), in a batch with images/\d+\.png, .*learning_rate"
    with pytest.raises(LinewatchError, match=says):
        fit(broken, data, tmp_path / "b", quiet())


def test_a_folder_in_use_is_not_overwritten(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """A bundle that is there stays as it is."""
    with pytest.raises(StoreError, match="is not empty"):
        fit(recipe(tmp_path), data, bundle.path, quiet())
    with pytest.raises(StoreError, match="Nothing to resume"):
        fit(recipe(tmp_path), data, tmp_path / "new", quiet(), resume=True)


def test_the_command_evaluates_and_writes_json(bundle: Bundle, data: Path, tmp_path: Path) -> None:
    """`linewatch-train evaluate` prints a table and writes every figure beside what an empty mask would score."""
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "trainer", "evaluate", str(bundle.path), str(data), "--json", str(figures)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert "left out: learned from" in result.stdout
    report = json.loads(figures.read_text())
    keys = {
        "iou",
        "miou",
        "dice_all",
        "dice_nonempty",
        "missed_pictures",
        "false_pictures",
        "pixel_accuracy",
        "accuracy",
    }
    assert keys <= set(report)
    assert keys <= set(report["empty_baseline"])


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["fit", "absent.yaml", "--data", ".", "--out", "o"], 3, "No settings at absent.yaml"),
        (["evaluate", "absent", ".", "--json", "f"], 4, "No bundle at absent"),
        (["held-out", "absent", "--data", ".", "--out", "o"], 4, "No bundle at absent"),
    ],
)
def test_the_command_ends_bad_input_with_its_exit_code(arguments: list[str], code: int, says: str) -> None:
    """No mistake on the command line ends in a traceback."""
    command = [sys.executable, "-m", "trainer", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr
    assert says in result.stderr


def test_help_needs_no_tensorflow() -> None:
    """The commands answer at once: TensorFlow is loaded only by what trains."""
    code = (
        "import sys, trainer.__main__, converters.__main__\n"
        "print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("which", ["picture", "mask"])
def test_a_broken_file_ends_a_fit_before_it_trains(which: str, part: str, tmp_path: Path) -> None:
    """Also one that is held out, which nothing reads before it is judged on. The file is named, and no epoch begun."""
    data = write_painted(tmp_path / "data")
    settings, entries = recipe(tmp_path), read_manifest(data)
    parts = split_dataset(entries, settings.split, settings.seed)
    broken = next(entry for entry in entries if entry.masks and parts[entry.image] == part)
    path = broken.path if which == "picture" else broken.masks[0][1]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DatasetError, match=re.escape(str(path))):
        fit(settings, data, tmp_path / "out", quiet())
    assert not list((tmp_path / "out").rglob("*checkpoint*"))


@pytest.mark.parametrize("name", ["all", "Background", "clean"])
def test_a_class_called_like_a_figure_is_refused(name: str, tmp_path: Path) -> None:
    """It would take the place of all classes' figures, the background's, or clean pictures'; the audit says so too."""
    data = write_painted(tmp_path / "data")
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",stain,", f",{name},"))
    with pytest.raises(DatasetError, match=rf"{name} cannot be the name .* --rename {name}=NAME"):
        fit(recipe(tmp_path), data, tmp_path / "out", quiet())
    refused = [finding for finding in audit(data, quiet()).findings if finding.severity == "refused"]
    assert {finding.kind for finding in refused} == {"class-name"}
    settings = WritingSettings(rename={name: "smear"})
    write_dataset(read_manifests([data]), tmp_path / "renamed", settings, quiet())
    assert class_names(read_manifest(tmp_path / "renamed")) == ("scratch", "smear")


def test_a_held_out_picture_without_the_product_ends_a_fit_before_it_trains(tmp_path: Path) -> None:
    """A picture that preparing would not find when the bundle is judged is named while nothing is lost yet."""
    data = write_painted(tmp_path / "data")
    step = "preparing: [{step: crop_rectangle}, {step: grey}]"
    settings, entries = recipe(tmp_path, RECIPE.replace("preparing: [{step: grey}]", step)), read_manifest(data)
    parts = split_dataset(entries, settings.split, settings.seed)
    for entry in entries:
        pixels = cv2.imread(str(entry.path), 0)
        framed = np.full_like(pixels, 5)
        framed[8:-8, 8:-8] = np.maximum(pixels, 100)[8:-8, 8:-8]
        cv2.imwrite(str(entry.path), framed)
    gone = next(entry for entry in entries if parts[entry.image] == "test")
    cv2.imwrite(str(gone.path), np.zeros_like(pixels))
    with pytest.raises(DatasetError, match=re.escape(f"{gone.path}: the product was not found")):
        fit(settings, data, tmp_path / "out", quiet())
    assert not list((tmp_path / "out").rglob("*checkpoint*"))


def test_labels_and_masks_are_not_mixed(tmp_path: Path) -> None:
    """One answer per tile is learned from labels or from masks; a mixture, which nothing could judge, names the row."""
    data = write_painted(tmp_path / "data")
    lines = (data / "manifest.csv").read_text().splitlines()
    lines[1] = lines[1].replace("masks/0.png", "")
    (data / "manifest.csv").write_text("\n".join(lines) + "\n")
    text = RECIPE.replace("overlap_px: 16", "overlap_px: 0")
    text = text.replace(
        "model: {family: slim-unet, widths: [8, 16], stem_stride: 2, dropout: 0.0}", "model: {family: cnn6}"
    )
    with pytest.raises(DatasetError, match="row 2: the class scratch is a defect and has no mask"):
        fit(recipe(tmp_path, text), data, tmp_path / "out", quiet())


def test_a_mistyped_dataset_leaves_nothing_behind(data: Path, tmp_path: Path) -> None:
    """After an error before the first epoch the corrected command works as it is."""
    short = RECIPE.replace("epochs: 8", "epochs: 1").replace("steps_per_epoch: 15", "steps_per_epoch: 2")
    with pytest.raises(DatasetError, match="No dataset at"):
        fit(recipe(tmp_path, short), tmp_path / "typo", tmp_path / "b", quiet())
    fit(recipe(tmp_path, short), data, tmp_path / "b", quiet())
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is a file"):
        fit(recipe(tmp_path, short), data, tmp_path / "file", quiet())


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path) -> None:
    """Pictures that were learned from could be held out by a new split, so the data must be the same."""
    short = RECIPE.replace("epochs: 8", "epochs: 1").replace("steps_per_epoch: 15", "steps_per_epoch: 2")
    own = write_painted(tmp_path / "own", 24)
    fit(recipe(tmp_path, short), own, tmp_path / "b", quiet())
    lines = (own / "manifest.csv").read_text().splitlines()
    (own / "manifest.csv").write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(DatasetError, match=r"not the one that .* was begun with"):
        fit(recipe(tmp_path, short), own, tmp_path / "b", quiet(), resume=True)
