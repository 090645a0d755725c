"""The command of docs/probability-of-detection.md, as a reader types it, with fewer marks."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.test_readme import run


@pytest.mark.soak
def test_the_command_of_the_page_works(tmp_path: Path) -> None:
    """It measures the shipped model, whose manifest stays as it is, and writes figures and plot."""
    (tmp_path / "edge").symlink_to(ROOT / "edge")
    page = (ROOT / "docs" / "probability-of-detection.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (command,) = block.splitlines()
    run(f"{command} --each 1 --parts 3", tmp_path)
    told = json.loads((tmp_path / "pod.json").read_text(encoding="utf-8"))
    assert told["bundle"] == "simulated-glass"
    assert told["classes"]["stain"]["judged"] > 0
    assert (tmp_path / "pod.png").is_file()
