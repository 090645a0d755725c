"""docs/archives.md: its commands and its questions run as they stand, on an archive of a few pictures."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.reinspecting.shards import rows_in
from tests.conftest import ROOT
from tests.edge.reinspecting.archive import COLUMNS, write_archive, write_bundles

PAGE = (ROOT / "docs" / "archives.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(python)?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and questions in their order, where a picture cannot be read: exit code 5."""
    monkeypatch.chdir(tmp_path)
    write_archive(tmp_path / "archive", 4)
    former, new = write_bundles(tmp_path)
    former.rename("my-bundle")
    new.rename("new-bundle")
    for language, block in BLOCKS:
        if language:
            exec(compile(block, "archives.md", "exec"), {})  # noqa: S102 - our own page
            continue
        for line in filter(None, block.splitlines()):
            words = shlex.split(line)
            assert words[:2] == ["linewatch", "reinspect"]
            if "--ray" in words:
                continue  # tests/edge/reinspecting/test_on_ray.py
            done = CliRunner().invoke(app, words[1:], standalone_mode=False)
            assert done.exception is None, (line, done.exception)
            assert done.return_value == 5, (line, done.output)
    assert {row["verdict"] for row in rows_in(tmp_path / "results-not-ok" / "results")} == {"NG", "NO_READ"}


def test_each_column_and_option_of_the_page_is_one() -> None:
    """The table names the columns in their order; each option is known to the command."""
    table = PAGE.partition("| column | content |")[2].partition("\n\n")[0]
    named = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert named == COLUMNS
    told = CliRunner().invoke(app, ["reinspect", "--help"], terminal_width=200).output
    options = set(re.findall(r"`(--[a-z-]+)", PAGE))
    options |= {word for language, block in BLOCKS if not language for word in block.split() if word.startswith("--")}
    assert {option for option in options if option not in told} == set()
