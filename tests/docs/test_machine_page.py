"""docs/machine.md: its settings are settings, and its tables name all that there is."""

from __future__ import annotations

import json
import re
from typing import get_args

import pytest
import yaml

from edge.alarms.rules import OUTPUT_ALARMS
from edge.outputs.settings import OutputKind
from edge.settings import Settings
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "machine.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


@pytest.mark.parametrize("text", blocks("yaml"))
def test_its_settings_are_settings(text: str) -> None:
    """Each example is accepted as part of a station with one camera."""
    given = {"camera": {"source": "simulated"}, "bundle": "b", **yaml.safe_load(text)}
    Settings.model_validate_json(json.dumps(given))


def test_each_rule_and_each_alarm_has_its_row() -> None:
    """None is left out, and none is told of that is not there."""
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert {*get_args(OutputKind), *(rule.id for rule in OUTPUT_ALARMS)} <= told


def test_it_says_that_it_is_no_safety_function() -> None:
    """In its first lines, where nobody overlooks it."""
    assert "**This is not a safety function.**" in PAGE[:500]
