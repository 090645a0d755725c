"""docs/recording.md: its commands run as they stand, on the shipped settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "recording.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    """Return the commands of the page, in order."""
    lines = [
        line for block in re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.split("\n")
    ]
    return [shlex.split(line.replace("\\\n", ""))[1:] for line in lines if line.startswith("linewatch ")]


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded for two frames in place of a minute, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").symlink_to(ROOT / "config")
    (tmp_path / "edge").symlink_to(ROOT / "edge")
    assert [words[0] for words in commands()] == ["record", "replay", "replay"]
    for words in commands():
        given = " ".join(words).replace("--seconds 60", "--frames 2").split()
        done = CliRunner().invoke(app, given, standalone_mode=False)
        assert done.exception is None, (given, done.exception, done.output)
        assert not done.return_value
    assert len((tmp_path / "out" / "events.jsonl").read_text().splitlines()) == 2


def test_each_option_of_the_page_is_one() -> None:
    """The table names options that the commands know."""
    helps = "".join(
        CliRunner().invoke(app, [verb, "--help"], terminal_width=200).output for verb in ("record", "replay")
    )
    named = set(re.findall(r"`(--[a-z-]+)", PAGE))
    assert len(named) > 6
    assert {option for option in named if option not in helps} == set()
