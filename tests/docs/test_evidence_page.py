"""docs/evidence.md: its settings are settings, its table is the code's, and its commands do what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.dashboard.settings import DashboardSettings
from edge.evidence.choosing import GOES_FIRST
from edge.evidence.folder import EvidenceFolder
from edge.evidence.judging import WORDS
from edge.evidence.settings import AgeSettings, EvidenceSettings
from edge.settings import Settings
from tests.conftest import ROOT
from tests.edge.cli.test_evidence import KINDS, keep

PAGE = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def test_its_settings_are_settings() -> None:
    """The first example is of a station, the second of a dashboard."""
    station, dashboard = map(yaml.safe_load, blocks("yaml"))
    assert Settings.model_validate_json(json.dumps({"bundle": "b", **station})).evidence.every_nth == 1000
    told = DashboardSettings.model_validate_json(json.dumps({"sites": ["acme"], **dashboard}))
    assert len(told.evidence) == 2


def test_its_table_has_each_kind_with_its_age() -> None:
    """Each kind has a row, with the age that it is kept for by default. Each word for a judgement is named."""
    ages = AgeSettings()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (\d+) days \|$", PAGE, re.MULTILINE))
    assert rows == {kind.value: f"{getattr(ages, kind.value):g}" for kind in GOES_FIRST}
    assert all(f"`{word}`" in PAGE for word in WORDS)


def test_its_commands_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The printed lines, with an id in the place of ID, list, judge, export and verify what a station kept."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "line.yaml").write_text((ROOT / "config" / "line.yaml").read_text())
    with EvidenceFolder(tmp_path / "out" / "evidence", EvidenceSettings(min_free_gb=0)) as folder:
        name, *_ = [keep(folder, number, kind) for number, kind in enumerate(KINDS)]
    monkeypatch.chdir(tmp_path)
    (commands,) = blocks("")
    for line in commands.splitlines():
        words = shlex.split(line.replace(" ID ", f" {name} "))
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, (line, done.output, done.exception)
    assert (tmp_path / "evidence.zip").stat().st_size > 1000
