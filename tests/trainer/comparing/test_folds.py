"""Cross-validation: the same folds for all runs, written down; mean, spread and worst run of each recipe."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from edge.bundle import ClassEntry, Manifest, sha256_of, write_manifest
from edge.errors import BundleError, SettingsError, StoreError
from tests.trainer.painted import RECIPE, quiet, write_painted
from trainer.__main__ import app
from trainer.comparing.comparing import begin, compare
from trainer.comparing.folds import FOLDS, read_folds
from trainer.comparing.folds_summary import summarised
from trainer.comparing.grid import GridSettings, Run, in_folds, read_grid, runs_of
from trainer.comparing.one_run import RECIPE as BEGUN
from trainer.comparing.over_folds import thresholds_over_folds
from trainer.comparing.rows import RunFigures
from trainer.datasets.dataset import read_manifest
from trainer.evaluation.evaluating import learned_from
from trainer.recipe.settings import TrainSettings

TINY = yaml.safe_load(RECIPE) | {"epochs": 1}
TINY["sampling"] = TINY["sampling"] | {"steps_per_epoch": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 48 small pictures."""
    return write_painted(tmp_path_factory.mktemp("folds") / "painted", 48)


def grid(**vary: Any) -> GridSettings:
    """Return a grid of tiny trainings."""
    return GridSettings.model_validate({"name": "tiny", "recipe": TINY, "vary": vary})


def test_each_recipe_seed_and_fold_is_a_run_on_the_same_split() -> None:
    """Two seeds in three folds are six runs. Their recipes differ in seed and fold, and are split by one seed."""
    runs = in_folds(runs_of(grid(seed={"4": {"seed": 4}, "5": {"seed": 5}})), 3, 4)
    assert [run.name for run in runs] == [f"{seed}-fold{fold}" for seed in (4, 5) for fold in range(3)]
    assert [run.recipe["seed"] for run in runs] == [4] * 3 + [5] * 3
    splits = [run.recipe["split"] for run in runs]
    assert [own.pop("fold") for own in splits] == [0, 1, 2] * 2
    assert splits == [{"test": 0.25, "validation": 0.25, "folds": 3, "folds_of": "rest", "seed": 4}] * 6


def test_folds_are_by_group_and_class_and_written_down(data: Path, tmp_path: Path) -> None:
    """Each picture is held out by all or in one fold; groups are whole; each fold shows each class. A file says so."""
    begun = begin(grid(loss={"dice": {}}), data, tmp_path / "out", 2)
    with (tmp_path / "out" / FOLDS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["image"] for row in rows} == {entry.image for entry in read_manifest(data)}
    parts, kinds = defaultdict(set), defaultdict(set)
    for row in rows:
        parts[row["group"]].add(row["part"])
        kinds[row["part"]].add(row["class"])
    assert all(len(own) == 1 for own in parts.values())
    assert kinds == {part: {"clean", "scratch", "stain"} for part in ("fold-0", "fold-1", "held-out")}
    assert begun.folds is not None
    assert read_folds(tmp_path / "out" / FOLDS, begun.folds.seed) == begun.folds


def test_a_comparison_goes_on_in_its_own_folds_only(tmp_path: Path) -> None:
    """Another number of folds, or a dataset with other groups, is refused before anything is trained."""
    data, out, own = write_painted(tmp_path / "painted", 48), tmp_path / "out", grid(loss={"dice": {}})
    begun = begin(own, data, out, 2)
    assert begin(own, data, out, 2) == begun
    (out / "one-fold0").mkdir()
    (out / "one-fold0" / BEGUN).write_text("")  # a run has begun
    with pytest.raises(StoreError, match="in other folds"):
        begin(own, data, out, 3)
    with pytest.raises(StoreError, match="in other folds"):
        begin(own, data, out, None)
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("piece0-0", "piece1-0"))
    with pytest.raises(StoreError, match="has other folds than this dataset gives now"):
        begin(own, data, out, 2)


def test_recipes_that_are_split_otherwise_have_no_folds_in_common(data: Path, tmp_path: Path) -> None:
    """The key is named; nothing is written."""
    vary = {"share": {"fifth": {"split": {"test": 0.2}}, "third": {"split": {"test": 0.33}}}}
    settings = GridSettings.model_validate({"name": "tiny", "recipe": TINY, "vary": vary})
    with pytest.raises(SettingsError, match=r"differ in split\.test"):
        begin(settings, data, tmp_path / "out", 2)
    assert not (tmp_path / "out").exists()


def report(miou: float, passed: float) -> dict[str, Any]:
    """Return what `evaluate` tells of 10 defective and 10 clean pictures of one class."""
    right, wrong = round(1000 * miou), 1000 - round(1000 * miou)
    return {
        "miou": miou,
        "iou": {"background": miou, "dent": miou},
        "missed_pictures": {"all": passed},
        "passed_pictures": {"all": passed},
        "false_pictures": {"all": 0.1},
        "found_at_false_alarms": {"0.05": 1 - passed},
        "counts": {"defective": 10, "clean": 10},
        "confusion": {
            "pixel_classes": ["background", "dent"],
            "pixels": [[right, wrong], [wrong, right]],
        },
    }


def outcome(seed: str, fold: int, miou: float, passed: float) -> RunFigures:
    """Return what a run came to."""
    run = Run((("recipe", "plain"), ("seed", seed)), TINY, fold)
    return RunFigures(run, report(miou, passed) | {"held_out": report(0.8, passed / 2)}, {"seconds": 60.0}, "")


def test_mean_spread_and_worst_run_of_a_recipe(tmp_path: Path) -> None:
    """Of 0.6, 0.8 and 0.7, 0.9: mean 0.75; seeds differ by sd 0.0707 in each fold, folds by 0.1414; worst is 0.6."""
    runs = [outcome("1", 0, 0.6, 0.4), outcome("1", 1, 0.8, 0.0), outcome("2", 0, 0.7, 0.2), outcome("2", 1, 0.9, 0.2)]
    told = summarised(runs, tmp_path)
    miou, passed = told["folds"]["miou"], told["folds"]["passed"]
    assert miou["mean"] == pytest.approx(0.75)
    assert (miou["worst"], miou["worst_run"]) == (0.6, "plain-1-fold0")
    assert (passed["worst"], passed["worst_run"]) == (0.4, "plain-1-fold0")
    assert passed["pooled"] == pytest.approx(0.2)
    assert miou["pooled"] == pytest.approx(3000 / 5000)  # of 4,000 px of each kind 3,000 are right, 1,000 are not
    assert told["between_seeds"]["miou"] == pytest.approx(0.070711, abs=1e-6)
    assert told["between_folds"]["miou"] == pytest.approx(0.141421, abs=1e-6)
    assert told["held_out"]["miou"]["mean"] == pytest.approx(0.8)
    assert told["held_out"]["passed"]["worst"] == 0.2


def test_a_recipe_is_a_grid_of_one_and_seeds_are_counted_from_its_own(tmp_path: Path) -> None:
    """`--seeds 3` of a recipe with seed 4 is 4, 5 and 6. A grid that varies the seed itself refuses it."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    assert [run.name for run in runs_of(read_grid(path, 3))] == ["painted-4", "painted-5", "painted-6"]
    assert [run.name for run in runs_of(read_grid(path))] == ["painted"]
    path.write_text(yaml.safe_dump(grid(seed={"1": {"seed": 1}}).model_dump(mode="json")))
    with pytest.raises(SettingsError, match="axis seed of its own"):
        read_grid(path, 3)
    path.write_text(RECIPE.replace("seed: 4", "sead: 4"))
    with pytest.raises(SettingsError, match="key sead"):
        read_grid(path)


def test_good_parts_are_compared_by_folds_too(data: Path, tmp_path: Path) -> None:
    """A recipe that learns from good parts needs no groups of defects to choose by: every picture is in a fold."""
    recipe = {
        "learn": "good-parts",
        "name": "good",
        "channels": 1,
        "tile": {"height": 96, "width": 128, "overlap_px": 0},
    }
    settings = GridSettings.model_validate({"name": "good", "recipe": recipe, "vary": {"recipe": {"good": {}}}})
    begun = begin(settings, data, tmp_path / "out", 3)
    assert begun.folds is not None
    assert begun.folds.held_out == frozenset()
    assert sorted(len(begun.folds.judged(fold)) for fold in range(3)) == pytest.approx([16] * 3, abs=4)


def test_a_comparison_by_folds_judges_each_picture_once(data: Path, tmp_path: Path) -> None:
    """Each run is judged on its fold and on the held-out pictures, and tables and thresholds tell of both."""
    out = tmp_path / "out"
    outcomes = compare(grid(loss={"dice": {}}), data, out, quiet(), folds=2)
    folds = read_folds(out / FOLDS)
    for fold, own in enumerate(outcomes):
        assert own.report is not None
        assert own.held_out is not None
        assert {row["image"] for row in own.report["per_picture"]} == folds.judged(fold)
        assert {row["image"] for row in own.held_out["per_picture"]} == folds.held_out
    (told,) = json.loads((out / "summary.json").read_text())
    thresholds = told["thresholds"]
    assert thresholds["pictures"] == sum(len(folds.judged(fold)) for fold in range(2))
    assert set(thresholds["classes"]) == {"scratch", "stain"}
    assert set(thresholds["folds"]) == set(thresholds["held_out"]) == {"miou", "missed", "passed", "false"}
    bundle = tmp_path / "bundle"
    shutil.copytree(out / "dice-fold0" / "bundle", bundle)
    classes = {entry.name: entry for entry in thresholds_over_folds(bundle, out).classes}
    for name, chosen in thresholds["classes"].items():
        assert (classes[name].threshold, classes[name].min_area_px) == (chosen["threshold"], chosen["min_area_px"])
    chose = learned_from(bundle)  # its own fold chose as well, and judges it no more; the pictures held out by all do
    assert {sha256_of(data / image) for image in folds.judged(0)} <= chose
    assert not {sha256_of(data / image) for image in folds.held_out} & chose
    page = (out / "table.md").read_text()
    assert page.startswith("2 folds of ")
    assert "| miou | dice |" in page
    assert "| miou | (answering nothing) |" in page
    console = Console(file=io.StringIO(), width=100)
    assert compare(grid(loss={"dice": {}}), data, out, console, folds=2) == outcomes
    assert "[2/2] dice-fold1: done before" in console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO


def test_thresholds_come_from_a_comparison_of_the_bundle_s_own_recipe(tmp_path: Path) -> None:
    """A folder without one, an unfinished one, and other recipes are refused, and say what to do."""
    bundle = bundle_of(tmp_path / "bundle", TINY)
    with pytest.raises(StoreError, match="holds no comparison by folds"):
        thresholds_over_folds(bundle, tmp_path)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "recipe.yaml").write_text(yaml.safe_dump(TINY | {"seed": 9, "max_minutes": 5}))
    told = {"recipe": ["a"], "names": ["a"], "failed": ["a-fold1"], "stopped": [], "thresholds": {"classes": {}}}
    (tmp_path / "summary.json").write_text(json.dumps([told]))
    with pytest.raises(StoreError, match="runs are missing: a-fold1"):
        thresholds_over_folds(bundle, tmp_path)
    (tmp_path / "a" / "recipe.yaml").write_text(yaml.safe_dump(TINY | {"epochs": 2}))
    with pytest.raises(BundleError, match=r"none of those compared in .* \(a\)"):
        thresholds_over_folds(bundle, tmp_path)


def bundle_of(folder: Path, recipe: dict[str, Any]) -> Path:
    """Write a bundle that says which recipe it is of; nothing in it answers anything."""
    folder.mkdir()
    (folder / "model.keras").write_bytes(b"no model")
    entry = ClassEntry(id=1, name="scratch", severity="major", colour=(0, 0, 0), threshold=0.5, min_area_px=2.0)
    settings = TrainSettings.model_validate(recipe)
    training = {"recipe": settings.model_dump(mode="json")}
    manifest = Manifest(
        name="tiny", version="1.0.0", classes=(entry,), tile=settings.tile, channels=1, training=training
    )
    write_manifest(folder, manifest)
    return folder


def test_the_command_takes_folds_and_seeds(tmp_path: Path) -> None:
    """One fold is none, and is refused as a wrong command line."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    words = ["compare", str(path), "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--folds"]
    assert CliRunner().invoke(app, [*words, "1"]).exit_code == 2
