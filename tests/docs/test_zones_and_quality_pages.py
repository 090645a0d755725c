"""docs/zones.md and docs/image-quality.md: their commands do what they say, and their settings are settings."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.opencv import cv2
from edge.settings import load_settings
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT
from tests.edge.inspection.test_zoning import shown
from tests.edge.quality.scenes import scene

ZONES, QUALITY = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("zones.md", "image-quality.md"))


def blocks(page: str, language: str) -> list[str]:
    """Return a page's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("text", [*blocks(ZONES, "yaml"), *blocks(QUALITY, "yaml")])
def test_each_example_is_settings(text: str, tmp_path: Path) -> None:
    """With the files that it names beside it."""
    mask = np.zeros((20, 40), np.uint8)
    mask[5:, 5:] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    (tmp_path / "zones.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 50"><rect id="grip" width="9" height="9"/>'
        '<rect id="logo" x="20" width="9" height="9"/></svg>'
    )
    (tmp_path / "line.yaml").write_text(text)
    assert load_settings(tmp_path / "line.yaml")


def commands() -> list[str]:
    """Return each command of both pages that ends by itself."""
    lines = [line for page in (ZONES, QUALITY) for text in blocks(page, "") for line in text.splitlines()]
    return [line for line in lines if line.startswith("linewatch") and "--edit" not in line]


def test_there_are_commands_to_run() -> None:
    """Two of each page, and the one that waits for an engineer is in tests/browser."""
    assert len(commands()) == 4
    assert "linewatch zones config/line.yaml camera --out zones.yaml --edit" in ZONES


@pytest.mark.parametrize("command", commands())
def test_each_command_writes_what_it_says(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside settings with a camera called camera, whose pictures show a part."""
    monkeypatch.chdir(tmp_path)
    write_bright_bundle(tmp_path / "bundle")
    for folder in ("config", "good-pictures"):
        (tmp_path / folder).mkdir()
    for seed in range(6):
        cv2.imwrite(str(tmp_path / "good-pictures" / f"{seed}.png"), scene(seed))
    cv2.imwrite("frame.png", shown())
    zones = "zones: {grip: {on: part, rectangle: [0, 0.8, 1, 0.2]}}"
    source = "../frame.png" if "zones" in command else "../good-pictures"
    Path("config/line.yaml").write_text(
        f"bundle: ../bundle\ncamera: {{source: {source}}}\ninspect: {{part: {{find: rectangle}}, {zones}}}\n"
    )
    words = shlex.split(command)[1:]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    made = words[words.index("--draw" if "--draw" in words else "--out") + 1]
    assert Path(made).stat().st_size > 50
