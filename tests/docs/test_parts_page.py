"""docs/parts.md: its commands do what it says, and its settings are settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from edge.settings import Settings
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "parts.md").read_text(encoding="utf-8")
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_its_settings_are_settings(text: str) -> None:
    """Each example is accepted as part of a station with one camera, called top."""
    given = {"cameras": {"top": {"source": "simulated"}}, "bundle": "b", **yaml.safe_load(text)}
    Settings.model_validate_json(json.dumps(given))


def test_its_commands_give_one_result_for_each_part(tmp_path: Path) -> None:
    """The printed lines, typed as they stand, make a station's recordings and replay them: a line for each part."""
    for folder in ("config", "edge"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (commands,) = blocks("")
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    for line in commands.splitlines():
        done = subprocess.run(
            shlex.split(line), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr
    parts = (tmp_path / "out" / "station" / "parts.csv").read_text().splitlines()[1:]
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert [body["part_id"] for body in events] == [row.split(",")[0] for row in parts]
    assert {tuple(body["views"]) for body in events} == {("top", "side")}
