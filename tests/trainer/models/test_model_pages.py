"""Every command and every recipe of docs/models.md and docs/figures.md is run or read here, in the pages' order."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.conftest import ROOT
from tests.trainer.painted import RECIPE, write_painted
from trainer.__main__ import app
from trainer.recipe.model_settings import FAMILY_SETTINGS
from trainer.recipe.settings import TrainSettings

PAGES = ("models.md", "figures.md")
WRITES = {"fit": "--out", "evaluate": "--json", "report": "--out", "compare": "--out"}


def page(name: str) -> str:
    """Return a page's text."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def commands(name: str) -> list[str]:
    """Return each line of each code block of a page that is no recipe."""
    blocks = re.findall(r"^```\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what the pages' commands read: a dataset, a recipe and a grid, all as small as can be."""
    folder = tmp_path_factory.mktemp("pages")
    write_painted(folder / "screens")
    recipe = yaml.safe_load(RECIPE) | {"epochs": 1}
    recipe["sampling"]["steps_per_epoch"] = 2
    recipe["model"] = {"family": "slim-unet", "widths": [4, 8], "stem_stride": 2}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    grid = {"name": "grid", "recipe": recipe, "vary": {"loss": {"dice": {"loss": {"cross_entropy": 0.0}}}}}
    (folder / "grid.yaml").write_text(yaml.safe_dump(grid))
    return folder


@pytest.mark.parametrize(
    "command", [each for name in PAGES for each in commands(name) if each.startswith("linewatch-train ")]
)
def test_every_command_of_the_pages_works(command: str, workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each ends with 0 and writes what it names; `models` lists the page's table."""
    monkeypatch.chdir(workshop)
    arguments = shlex.split(command)[1:]
    if arguments[0] == "models" and "--json" not in arguments:
        arguments += ["--tile", "40"]  # most families cannot be built here, and say so at once
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    if arguments[0] in WRITES:
        assert (workshop / arguments[arguments.index(WRITES[arguments[0]]) + 1]).exists()
    if command == "linewatch-train models --json":
        check_table(json.loads(result.output[result.output.index("[") :]))


def check_table(facts: list[dict[str, object]]) -> None:
    """Compare the page's table of costs with the command's, and edge-unet with the other segmenters."""
    shown = {row[0]: row[1:] for row in _rows("| family | parameters |")}
    expected = {
        str(each["family"]): [
            f"{each['parameters']:,}",
            f"{each['gflop_per_tile']:.3f}",
            str(each["stride_px"]),
            str(each["frames"]),
        ]
        for each in facts
    }
    assert {name: [cells[0], cells[1], cells[3], cells[4]] for name, cells in shown.items()} == expected
    segmenters = {name: float(cells[1]) for name, cells in shown.items() if cells[3] == "1"}
    assert min(segmenters, key=lambda name: segmenters[name]) == "edge-unet"


def _rows(head: str) -> list[list[str]]:
    """Return the cells of the table that begins so, without its head."""
    lines = page("models.md").split(head)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]


def test_the_benchmark_of_the_page_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With one family and small tiles it prints a row of the page's table."""
    (command,) = [each for each in commands("models.md") if not each.startswith("linewatch-train ")]
    assert command == "python -m benchmarks.models"
    from benchmarks.models import main

    monkeypatch.setattr("sys.argv", [command, "--tile", "32", "cnn6"])
    main()
    rows = capsys.readouterr().out.splitlines()
    assert rows[0] == "| family | parameters | GFLOP per 32 px tile | ms per tile | stride | frames |"
    assert rows[2].startswith("| `cnn6` | ")


@pytest.mark.parametrize("name", PAGES)
def test_every_recipe_of_the_pages_can_be_read(name: str) -> None:
    """Each is a part of a recipe."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", page(name), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        TrainSettings.model_validate({"name": "x", **yaml.safe_load(block)})


def test_every_family_is_on_the_page() -> None:
    """In the order of the command's list."""
    assert [row[0] for row in _rows("| family | what it is |")] == list(FAMILY_SETTINGS)
