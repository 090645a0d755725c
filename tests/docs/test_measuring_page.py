"""docs/measuring.md: its command writes the columns that it names, and its settings are settings."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.drawn_shapes import Drawing, bar, drawn
from benchmarks.measuring import BEGIN, BLURS, COMPANY, END, table
from edge.cli.commands import app
from edge.opencv import cv2
from edge.settings import load_settings
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "measuring.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def test_its_command_writes_each_column_that_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawn bar of 80 x 6 px at 0.05 mm has 4 x 0.3 mm and 1.2 mm². All is by the settings of the page."""
    monkeypatch.chdir(tmp_path)
    write_bright_bundle(tmp_path / "bundle")
    (tmp_path / "pictures").mkdir()
    cv2.imwrite("pictures/bar.png", drawn(bar(80, 6, 30), Drawing(blur=0.8, noise=1, ink=230)))
    (settings,) = blocks("yaml")
    (tmp_path / "line.yaml").write_text(f"bundle: bundle\ncamera: {{source: pictures}}\n{settings}")
    assert load_settings(tmp_path / "line.yaml").inspect.limits["scratch"].guard
    (command,) = (line for text in blocks("") for line in text.splitlines() if line.startswith("linewatch"))
    result = CliRunner().invoke(app, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    with Path("defects.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    named = re.findall(r"^\| (`[^|]+) \|", PAGE, re.MULTILINE)
    columns = [name for cell in named for name in re.findall(r"`(\w+)`", cell)]
    assert len(columns) > 10
    assert set(columns) <= set(row)
    sizes = [float(row[name]) for name in ("length_mm", "width_mm", "area_mm2")]
    assert sizes == pytest.approx([4, 0.3, 1.2], rel=0.03)


def test_its_table_has_every_shape_and_blur() -> None:
    """The benchmark's table stands between the marks; the lengths keep within the 2 % that the page promises."""
    written = PAGE.split(BEGIN)[1].split(END)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in written.splitlines() if line.startswith("| ")]
    head, *told = rows
    assert head == [cell.strip() for cell in table([]).splitlines()[0].split("|")[1:-1]]
    assert len(told) == 12 * len(BLURS) + len(COMPANY)
    assert all(float(row[2].rstrip("%")) <= 2 for row in told)
