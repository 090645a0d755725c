"""The grid: every combination once, checked before anything is trained, resumed after a kill, and told in one table."""

from __future__ import annotations

import fcntl
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from edge.errors import SettingsError, StoreError
from edge.yaml_settings import load_yaml
from tests.brokers import wait_for
from tests.conftest import ROOT
from tests.trainer.painted import RECIPE, write_painted
from trainer.comparing.carrying_out import FAILURE
from trainer.comparing.comparing import LOCK, GridFailedError, after_a_run, begin, compare
from trainer.comparing.grid import GridSettings, Run, merged, runs_of
from trainer.comparing.on_ray import RayWish
from trainer.comparing.one_run import FIGURES
from trainer.comparing.rows import RunFigures
from trainer.comparing.tables import markdown, tables

TINY = yaml.safe_load(RECIPE) | {"epochs": 1}
TINY["sampling"] = TINY["sampling"] | {"steps_per_epoch": 2}
LOSSES = {"both": {}, "dice": {"loss": {"cross_entropy": 0.0}}}


def grid(**vary: Any) -> GridSettings:
    """Return a grid of tiny trainings."""
    return GridSettings.model_validate({"name": "tiny", "recipe": TINY, "vary": vary})


def quiet() -> Console:
    """Print to nobody."""
    return Console(file=io.StringIO())


def test_every_combination_is_one_run() -> None:
    """Two losses and three seeds are six runs, named by their labels, with their labels' changes alone."""
    runs = runs_of(grid(loss=LOSSES, seed={str(k): {"seed": k} for k in range(3)}))
    assert [run.name for run in runs] == ["both-0", "both-1", "both-2", "dice-0", "dice-1", "dice-2"]
    assert [run.recipe["seed"] for run in runs] == [0, 1, 2] * 2
    assert [run.recipe.get("loss") for run in runs] == [None] * 3 + [{"cross_entropy": 0.0}] * 3
    assert all(run.recipe["sampling"] == TINY["sampling"] for run in runs)


def test_a_wrong_recipe_is_named_before_anything_is_trained(tmp_path: Path) -> None:
    """The run and the key are in the error, and no folder was made."""
    with pytest.raises(SettingsError, match=r"The run odd has no valid recipe, key model\.widths"):
        compare(grid(model={"odd": {"model": {"widths": "wide"}}}), tmp_path, tmp_path / "out", quiet())
    assert not (tmp_path / "out").exists()


def test_the_shipped_grid_is_three_models_by_three_losses() -> None:
    """Each of its nine recipes is valid as it stands."""
    runs = runs_of(load_yaml(ROOT / "config" / "grid.steel.yaml", GridSettings))
    assert len({(run.recipe["model"]["family"], run.labels[1][1]) for run in runs}) == len(runs) == 9


Trees = st.recursive(
    st.integers() | st.text(max_size=2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
)


@given(st.dictionaries(st.sampled_from("abc"), Trees), st.dictionaries(st.sampled_from("abc"), Trees))
def test_merging_changes_what_is_named_and_nothing_else(base: dict[str, Any], change: dict[str, Any]) -> None:
    """Keys of one side only stay; the change wins; merging it again changes nothing; the base is left alone."""
    before = json.dumps(base, sort_keys=True)
    result = merged(base, change)
    untouched = base.keys() - change.keys()
    assert {key: result[key] for key in untouched} == {key: base[key] for key in untouched}
    for key, value in change.items():
        if not isinstance(value, dict):
            assert result[key] == value
    assert merged(result, change) == result
    assert json.dumps(base, sort_keys=True) == before


def test_another_family_takes_the_place_of_the_former_with_all_its_keys() -> None:
    """The widths of one family are not left to another."""
    base = {"model": {"family": "a", "widths": [1, 2]}, "seed": 1}
    assert merged(base, {"model": {"family": "b"}}) == {"model": {"family": "b"}, "seed": 1}


def outcome(loss: str, seed: str, miou: float | None) -> RunFigures:
    """Return what a run came to."""
    run = Run((("loss", loss), ("seed", seed)), {})
    if miou is None:
        return RunFigures(run, None, None, "exit code 10\nno disk")
    return RunFigures(run, {"miou": miou, "iou": {"scratch": 0.5}}, {"seconds": 90.0}, "")


def test_seeds_are_averaged_and_failures_are_seen() -> None:
    """0.5 and 0.7 are 0.600 ± 0.141 (two deviations of 0.1: sqrt(2 * 0.01 / 1)); a failed seed counts as missing."""
    rows = [outcome("a", "1", 0.5), outcome("a", "2", 0.7), outcome("b", "1", 0.4), outcome("b", "2", None)]
    lines = markdown([*rows, outcome("c", "1", None)]).splitlines()
    assert lines[0].startswith("| loss | miou | missed | false |")
    assert lines[2].startswith("| a | 0.600 ± 0.141 | - |")
    assert lines[3].startswith("| b | 0.400 (1 of 2) |")
    assert lines[4].startswith("| c | failed |")


@given(st.integers(40, 300), st.integers(1, 9))
def test_no_figure_is_cut_on_any_terminal(width: int, classes: int) -> None:
    """Every name and figure of the table stands whole in what is printed, in tables of one line per row."""
    report = {"miou": 0.7, "iou": {f"class-{k}": 0.5 + k / 100 for k in range(classes)}}
    runs = [Run((("model", name), ("loss", "dice")), {}) for name in ("classic-unet", "vgg16-unet")]
    outcomes = [RunFigures(run, report, {"seconds": 60.0}, "") for run in runs]
    console = Console(file=io.StringIO(), width=width)
    for part in tables(outcomes, width):
        console.print(part)
    printed = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO, made some lines above
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= width
    for word in ("classic-unet", "vgg16-unet", "0.700", *(f"iou class-{k}" for k in range(classes)), "minutes", "1.0"):
        assert word in printed
    for k in range(classes):
        assert f"{0.5 + k / 100:.3f}" in printed


def test_what_answering_nothing_scores_stands_below() -> None:
    """The last row of the table is the all-empty baseline; once where all runs were judged on the same pictures."""
    report = {"miou": 0.7, "missed_pictures": {"all": 0.25}, "iou": {"scratch": 0.5}}
    report["empty_baseline"] = {"miou": 0.33, "missed_pictures": {"all": 1.0}, "iou": {"scratch": 0.0}}
    runs = [Run((("model", name), ("loss", "dice"), ("seed", seed)), {}) for name in "ab" for seed in "12"]
    lines = markdown([RunFigures(run, report, {"seconds": 60.0}, "") for run in runs]).splitlines()
    assert lines[-1] == "| (answering nothing) |  | 0.330 | 1.000 | - | 0.000 | - |"
    assert lines[0] == "| model | loss | miou | missed | false | iou scratch | minutes |"
    assert len(lines) == 2 + 2 + 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 48 small pictures."""
    return write_painted(tmp_path_factory.mktemp("grid") / "painted", 48)


@pytest.mark.soak
def test_a_grid_that_was_killed_goes_on_where_it_was(data: Path, tmp_path: Path) -> None:
    """Interrupted in its second run it ends with 130; the same command keeps the first run and makes the table."""
    config, out = tmp_path / "grid.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(grid(loss=LOSSES).model_dump(mode="json")))
    command = [sys.executable, "-m", "trainer", "compare", str(config), "--data", str(data), "--out", str(out)]
    # `kill` in its first one ends the training with it, and work that goes on there is not disturbed
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: (out / "both" / "recipe.yaml").is_file() or process.poll() is not None, 240)
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (second.returncode, "is being worked on" in second.stderr) == (8, True), second.stderr
        process.terminate()
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        begun = out / "dice" / "recipe.yaml"
        wait_for(lambda: begun.is_file() or process.poll() is not None, 240)
        assert process.poll() is None, process.communicate()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "Interrupted in the run dice; 1 of 2 runs done." in " ".join(stderr.split())
    assert re.search(r"\[1/2\] both: \d+\.\d min; 1 run left, about \d+ min", stdout)
    assert (out / "table.md").read_text().startswith("So far: 1 of 2 runs.")
    assert not (out / "table.json").exists()
    first = (out / "both" / FIGURES).stat().st_mtime_ns
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[1/2] both: done before" in done.stdout
    assert (out / "both" / FIGURES).stat().st_mtime_ns == first
    rows = json.loads((out / "table.json").read_text())
    assert [row["loss"] for row in rows] == ["both", "dice"]
    assert all(row["miou"] is not None and row["failure"] is None for row in rows)
    assert len((out / "table.csv").read_text().splitlines()) == 3
    assert (out / "table.md").read_text().count("\n") == 5  # two of head, two runs, and what answering nothing scores


def test_a_run_that_fails_is_told_and_another_grid_keeps_out(data: Path, tmp_path: Path) -> None:
    """A recipe for a class that the data lack fails alone: the error names it, its folder says why, a table stands."""
    out, told = tmp_path / "out", Console(file=io.StringIO(), width=120)
    with pytest.raises(GridFailedError, match=r"1 of 1 run failed \(bad: "):
        compare(grid(classes={"bad": {"classes": {"dent": {}}}}), data, out, told)
    assert "[1/1] bad: failed after 0." in told.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "exit code 10" in (out / "bad" / FAILURE).read_text()
    assert "| bad | failed |" in (out / "table.md").read_text()
    with pytest.raises(StoreError, match="another grid"):
        compare(grid(classes={"ok": {}}), data, out, quiet())


def test_what_is_left_is_told_at_the_pace_of_what_was_done() -> None:
    """Runs of 4 and 8 minutes leave three that take about 18; the last one leaves nothing to tell."""
    assert after_a_run([240, 480], 3) == "8.0 min; 3 runs left, about 18 min at this pace"
    assert after_a_run([240, 6], 1, failed=True).startswith(f"failed after 0.1 min, see {FAILURE} in its folder; 1 run")
    assert after_a_run([240], 0) == "4.0 min"


def test_a_start_that_began_no_run_does_not_claim_the_folder(data: Path, tmp_path: Path) -> None:
    """A mistyped option, such as the cluster's address, may be given anew with other folds; not while another works."""
    out, other = tmp_path / "out", grid(classes={"ok": {}})
    with pytest.raises(SettingsError, match="HOST:PORT"):
        compare(grid(loss={"dice": {}}), data, out, quiet(), folds=2, wish=RayWish("mistyped"))
    with (out / LOCK).open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="is being worked on"):
            begin(other, data, out, 3)
    assert len(begin(other, data, out, 3).runs) == 3
    assert '"count": 3' in (out / "grid.json").read_text()
