"""The commands of docs/good-parts.md, as a reader types them, on drawn parts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.test_readme import run
from tests.trainer.anomaly.test_good_parts import dataset, marked


@pytest.mark.soak
def test_the_commands_of_the_page_work(tmp_path: Path) -> None:
    """A bundle is fitted by the recipe as it is shipped, judged on later parts, taught, and converted again."""
    (tmp_path / "config").symlink_to(ROOT / "config")
    dataset(tmp_path / "parts", range(12), range(100, 103))
    dataset(tmp_path / "later-parts", range(200, 206), range(300, 304))
    dataset(tmp_path / "falsely-flagged", range(400, 404), range(0))
    page = (ROOT / "docs" / "good-parts.md").read_text(encoding="utf-8")
    commands = [
        line
        for block in re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
    ]
    marked(tmp_path / "parts-with-marks", range(500, 512), range(600, 607), spot=30)
    assert len(commands) == 7
    for command in commands:
        run(command, tmp_path)
    told = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert told["picture_auroc"] == 1.0
    assert (tmp_path / "good-parts" / "model.onnx").is_file()
