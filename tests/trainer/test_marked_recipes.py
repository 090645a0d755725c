"""Commands that look at a split or at augmentation, given the recipe of good parts."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.errors import SettingsError
from tests.conftest import ROOT
from tests.trainer.painted import write_painted
from trainer.__main__ import app

RECIPE = str(ROOT / "config" / "train.good-parts.yaml")


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["split", "DATA", "--config", RECIPE], "fit says how many"),
        (["audit", "DATA", "--config", RECIPE], "leave --config out"),
        (["augmentations", RECIPE, "--data", "DATA", "--out", "sheet.png"], "`copies` are drawn"),
    ],
)
def test_a_recipe_of_good_parts_is_named_as_one(tmp_path: Path, words: list[str], instead: str) -> None:
    """It has no split, so each of its keys would be called a misspelling."""
    data = write_painted(tmp_path / "data", pictures=6)
    done = CliRunner().invoke(app, [str(data) if word == "DATA" else word for word in words])
    assert isinstance(done.exception, SettingsError)
    assert "learns from good parts" in str(done.exception)
    assert instead in str(done.exception)
    assert "no such key" not in str(done.exception)
