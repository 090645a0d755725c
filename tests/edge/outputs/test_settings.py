"""Signals that cannot be are refused, by the key and with what was expected."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from edge.settings import Settings


def settings_of(**outputs: dict[str, Any]) -> Settings:
    """Read settings with these outputs."""
    given = {"machine": {"link": "simulated"}, "outputs": outputs}
    return Settings.model_validate_json(json.dumps(given))


PULSE = {"rule": "pulse", "at": "gate", "verdicts": ["ng"], "after_ms": 300, "width_ms": 40}


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({"a": {"rule": "ok", "at": "x"}, "b": {"rule": "ng", "at": "x"}}, "outputs.a"),
        ({"a": {"rule": "verdict", "at": "x"}}, "rule"),
        ({"a": {"rule": "ok", "at": "x", "after_ms": 3}}, "expected no after_ms for the rule ok"),
        ({"a": PULSE | {"after_ms": -1}}, "after_ms"),
        ({"a": PULSE | {"after_ms": 3_600_000}}, "after_ms"),
        ({"a": PULSE | {"after_ms": float("nan")}}, "after_ms"),
        ({"a": PULSE | {"after_counts": 5}}, "received both"),
        ({"a": {key: value for key, value in PULSE.items() if key != "after_ms"}}, "received neither"),
        ({"a": PULSE | {"width_ms": 0}}, "width_ms"),
        ({"a": PULSE | {"verdicts": []}}, "verdicts"),
        ({"a": PULSE | {"verdicts": ["bad"]}}, "verdicts"),
        ({"a": {"rule": "alarm", "at": "x"}}, "received neither"),
        ({"a": {"rule": "alarm", "at": "x", "alarms": ["no-such"]}}, "no-such"),
        ({"a": {"rule": "heartbeat", "at": "x", "safe": True}}, "safe"),
        ({"a": PULSE | {"after_counts": 5, "after_ms": None}}, "after_counts"),
    ],
)
def test_a_signal_that_cannot_be_is_refused(outputs: dict[str, Any], told: str) -> None:
    """The message names the key."""
    with pytest.raises(ValidationError, match=told):
        settings_of(**outputs)


def test_signals_need_a_link() -> None:
    """Outputs without a machine would switch nothing."""
    with pytest.raises(ValidationError, match="key machine: expected a link"):
        Settings.model_validate_json(json.dumps({"outputs": {"a": {"rule": "ok", "at": "x"}}}))


def test_the_alarms_about_signals_exist_where_signals_do() -> None:
    """A station without a machine has no alarms about it, and a signal may name one."""
    ids = {rule.id for rule in settings_of(a={"rule": "alarm", "at": "x", "alarms": ["output-lost"]}).alarm_rules}
    assert {"output-lost", "output-late"} <= ids
    assert not {"output-lost", "output-late"} & {rule.id for rule in Settings().alarm_rules}
