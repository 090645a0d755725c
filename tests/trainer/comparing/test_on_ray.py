"""Runs as tasks of Ray: the same table, a second try for what dies, and the weakest stopped early."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from edge.errors import SettingsError
from tests.brokers import wait_for
from tests.conftest import ROOT
from tests.trainer.painted import RECIPE, write_painted
from trainer.__main__ import app
from trainer.comparing.carrying_out import FAILURE, STOPPED
from trainer.comparing.cluster import facts
from trainer.comparing.grid import GridSettings, runs_of
from trainer.comparing.halving import validated
from trainer.comparing.on_ray import RayWish, carry_out_on_ray
from trainer.comparing.one_run import FIGURES

TINY = yaml.safe_load(RECIPE) | {"epochs": 1}
TINY["sampling"] = TINY["sampling"] | {"steps_per_epoch": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw a dataset of 48 small pictures."""
    return write_painted(tmp_path_factory.mktemp("ray") / "painted", 48)


def grid(**vary: Any) -> GridSettings:
    """Return a grid of tiny trainings."""
    return GridSettings.model_validate({"name": "tiny", "recipe": TINY, "vary": vary})


def quiet() -> Console:
    """Print to nobody."""
    return Console(file=io.StringIO())


def test_nobody_at_the_address_is_told_at_once(tmp_path: Path) -> None:
    """An address without a listener, and a wrong one, end with advice and no folder of a run."""
    runs = runs_of(grid(loss={"dice": {}}))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    for address, told in (
        (f"127.0.0.1:{closed}", "no Ray cluster answers there.*ray start --head"),
        ("ray://somewhere:1", "expected local, or HOST:PORT"),
    ):
        with pytest.raises(SettingsError, match=f"--ray.*{told}"):
            carry_out_on_ray(runs, tmp_path, tmp_path, RayWish(address), quiet())
    assert list(tmp_path.iterdir()) == []


def test_what_belongs_to_ray_needs_it(tmp_path: Path) -> None:
    """`--halving` and what a run is given are refused without --ray; good parts have no epochs to halve."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    words = ["compare", str(path), "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    for more in (["--halving"], ["--cpus-per-run", "1"], ["--gpus-per-run", "0"]):
        assert CliRunner().invoke(app, [*words, *more]).exit_code == 2
    recipe = {"learn": "good-parts", "name": "good"}
    settings = GridSettings.model_validate({"name": "good", "recipe": recipe, "vary": {"recipe": {"good": {}}}})
    with pytest.raises(SettingsError, match="in one pass"):
        carry_out_on_ray(runs_of(settings), tmp_path, tmp_path, RayWish("local", halving=True), quiet())


def test_a_line_of_a_log_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    """Each whole line tells an epoch and its Dice, 0 where nobody could measure it; half a line tells nothing."""
    log = tmp_path / "log.csv"
    assert validated(log) == []
    log.write_text("epoch,steps,dice\r\n1,2,0.25\r\n2,4,\r\n3,6,0.")
    assert validated(log) == [(1, 0.25), (2, 0.0)]
    log.write_text("")
    assert validated(log) == []


def test_a_node_tells_what_must_be_alike(tmp_path: Path) -> None:
    """Versions, and whether it sees the dataset and the folder."""
    path = tmp_path / "manifest.csv"
    told = facts([path])
    assert told["Python"] == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert told[str(path)] == "not readable (No such file or directory)"
    path.write_text("a")
    assert facts([path])[str(path)] == hashlib.sha256(b"a").hexdigest()[:12]


def command(config: Path, data: Path, out: Path, *more: str) -> list[str]:
    """Return the command line of a comparison."""
    words = [sys.executable, "-m", "trainer", "compare", str(config), "--data", str(data), "--out", str(out)]
    return [*words, "--folds", "2", *more]


@pytest.mark.soak
def test_what_dies_is_tried_once_more(data: Path, tmp_path: Path) -> None:
    """The process of the first fold's run is killed outright; both folds are in the table all the same."""
    config, out = tmp_path / "recipe.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(TINY))
    words, pipe = command(config, data, out, "--ray", "local"), subprocess.PIPE
    with subprocess.Popen(words, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        first = out / "painted-fold0"
        wait_for(lambda: process_of(first) or process.poll() is not None, 240)
        os.kill(process_of(first)[0], signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=600)
    assert process.returncode == 0, stdout + stderr
    assert "each run is given" in stdout
    rows = json.loads((out / "table.json").read_text())
    assert [(row["fold"], row["miou"] is not None, row["failure"]) for row in rows] == [
        (0, True, None),
        (1, True, None),
    ]


def process_of(folder: Path) -> list[int]:
    """Return the processes that carry out the run in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:  # it has ended
            continue
        if b"trainer.comparing.one_run" in words and str(folder).encode() in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.soak
def test_what_fails_twice_is_told_and_the_weakest_are_stopped(data: Path, tmp_path: Path) -> None:
    """By halving: of four rates the useless ones end early, the best is judged, and a recipe that cannot be is told."""
    rates = {f"rate-{k}": {"optimizer": {"learning_rate": rate}} for k, rate in enumerate((0.02, 1e-6, 2e-6))}
    bad = {"bad": {"classes": {"dent": {}}}}
    config = grid(rate=rates | bad).model_dump(mode="json")
    config["recipe"] |= {
        "epochs": 6,
        "early_stopping_epochs": 6,
        "sampling": {**TINY["sampling"], "steps_per_epoch": 10},
    }
    settings, out = GridSettings.model_validate(config), tmp_path / "out"
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(config))
    words = ["compare", str(tmp_path / "grid.yaml"), "--data", str(data), "--out", str(out)]
    more = ["--ray", "local", "--halving", "--cpus-per-run", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "trainer", *words, *more], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 of 4 runs failed (bad: " in " ".join(done.stderr.split())
    assert "exit code 10" in (out / "bad" / FAILURE).read_text()
    judged = [run.name for run in runs_of(settings) if (out / run.name / FIGURES).is_file()]
    stopped = [run.name for run in runs_of(settings) if (out / run.name / STOPPED).is_file()]
    assert sorted([*judged, *stopped, "bad"]) == sorted(run.name for run in runs_of(settings))
    assert judged
