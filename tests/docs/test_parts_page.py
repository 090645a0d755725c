"""docs/parts.md: its commands do what it says, and its settings are settings."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from edge.parts.belt import read_belt
from edge.parts.settings import TriggerKind
from edge.pictures import read_picture
from edge.records.parts import TriggerFault
from edge.settings import Settings
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings
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
    settings_of(text)


def settings_of(text: str) -> Settings:
    """Read an example as part of a station with one camera, called top."""
    given = {"cameras": {"top": {"source": "simulated"}}, "bundle": "b", **yaml.safe_load(text)}
    return Settings.model_validate_json(json.dumps(given))


def test_each_kind_of_trigger_has_an_example() -> None:
    """None is left out, and presence has one by a learned belt and one by a product that is located."""
    parts = [settings_of(text).parts for text in blocks("yaml")]
    assert {each.trigger for each in parts} == set(get_args(TriggerKind))
    assert {each.presence.belt is not None for each in parts if each.trigger == "presence"} == {True, False}


def test_each_fault_of_a_trigger_is_told() -> None:
    """The table has a row for each fault that the journal may name, and no other."""
    told = re.findall(r"^\| `(\w+)` \| (?:[^|]+\|){3}$", PAGE, re.MULTILINE)
    assert len(told) == len(set(told))
    assert set(told) == {fault.value for fault in TriggerFault}


def typed(commands: str, folder: Path) -> None:
    """Type the lines of a block as they stand, in a folder where the settings and the shipped model are."""
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "edge").symlink_to(ROOT / "edge")
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    for line in commands.splitlines():
        done = subprocess.run(
            shlex.split(line), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr


def test_the_belt_is_learned_as_it_says(tmp_path: Path) -> None:
    """The printed line, typed as it stands, learns a belt that no part of the simulated camera passes for."""
    learning, _ = blocks("")
    typed(learning, tmp_path)
    belt = read_belt(tmp_path / "config" / "belt-top.npz")
    assert belt.region == (256, 0, 128, 480)
    assert read_picture(tmp_path / "belt-top.png").shape == (480, 640, 3)
    line = RenderedLine(SimulatedLineSettings(edge_share=0.5))
    looks = [belt.look(line.frame(index)[0]).present for index in range(60)]
    assert not any(looks[:10])
    assert any(looks[10:])


def test_its_commands_give_one_result_for_each_part(tmp_path: Path) -> None:
    """The printed lines, typed as they stand, make a station's recordings and replay them: a line for each part."""
    _, replaying = blocks("")
    typed(replaying, tmp_path)
    parts = (tmp_path / "out" / "station" / "parts.csv").read_text().splitlines()[1:]
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert [body["part_id"] for body in events] == [row.split(",")[0] for row in parts]
    assert {tuple(body["views"]) for body in events} == {("top", "side")}
