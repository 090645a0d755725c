"""The commands of docs/comparing.md, as a reader types them, on drawn pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.test_readme import run
from tests.trainer.painted import RECIPE, write_painted


@pytest.mark.soak
def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    """The first compares by folds, the second does so with Ray: both tell the same, but for the time that it took."""
    write_painted(tmp_path / "screens", 48)
    short = RECIPE.replace("epochs: 8", "epochs: 1").replace("steps_per_epoch: 15", "steps_per_epoch: 2")
    (tmp_path / "recipe.yaml").write_text(short)
    page = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    assert len(commands) == 4
    for command in commands:
        run(command, tmp_path)
    folds, by_ray = (json.loads((tmp_path / out / "table.json").read_text()) for out in ("folds", "folds-by-ray"))
    assert [row | {"minutes": 0} for row in folds] == [row | {"minutes": 0} for row in by_ray]
    assert [row["miou"] is not None for row in folds] == [True, True]
