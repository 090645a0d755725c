"""Signals that cannot be are refused, by the key and with what was expected."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from edge.app.machine import make_output
from edge.errors import DependencyError
from edge.settings import Settings, load_settings


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


@pytest.mark.parametrize(
    ("machine", "outputs", "told"),
    [
        ({"link": "modbus"}, {}, "the key modbus"),
        ({"link": "modbus", "modbus": {}}, {"a": {"rule": "coverage", "at": "coil 1"}}, "a register for a number"),
        (
            {"link": "modbus", "modbus": {}},
            {"a": {"rule": "ok", "at": "coil 7"}, "b": {"rule": "ng", "at": "coil 7"}},
            "key outputs.b.at: expected a place of its own, received 'coil 7', which is that of outputs.a",
        ),
        ({"link": "modbus", "modbus": {}}, {"a": {"rule": "ok", "at": "discrete 1"}}, "a client cannot write"),
        ({"link": "modbus", "modbus": {}}, {"a": {"rule": "ok", "at": "coil 70000"}}, "up to 65535"),
        ({"link": "modbus", "modbus": {}}, {"a": {"rule": "part_id", "at": "register 1"}}, "a bit or a number"),
        ({"link": "gpio"}, {"a": {"rule": "grade", "at": "line 1"}}, "a register for a number"),
        ({"link": "gpio"}, {"a": {"rule": "ok", "at": "coil 1"}}, "such as line 17"),
        ({"link": "simulated", "gpio": {}}, {}, "the key gpio"),
        ({"link": "opcua", "opcua": {"url": "opc.tcp://h:1"}}, {}, "expected certificate"),
        ({"link": "opcua", "opcua": {"url": "http://h:1", "security": "none"}}, {}, "url"),
    ],
)
def test_a_place_that_a_link_has_not_is_refused(machine: dict[str, Any], outputs: dict[str, Any], told: str) -> None:
    """The message says what was expected there."""
    with pytest.raises(ValidationError, match=told):
        Settings.model_validate_json(json.dumps({"machine": machine, "outputs": outputs}))


def test_the_certificates_of_a_machine_are_beside_the_settings(tmp_path: Path) -> None:
    """A relative path counts from the settings file."""
    (tmp_path / "line.yaml").write_text(
        "machine: {link: opcua, opcua: {url: opc.tcp://h:1, certificate: a.pem, private_key: a.key, "
        "peer_certificate: b.pem}}"
    )
    machine = load_settings(tmp_path / "line.yaml").machine
    assert machine is not None
    assert machine.opcua is not None
    assert machine.opcua.peer_certificate == tmp_path / "b.pem"


@pytest.mark.parametrize(
    ("machine", "package"),
    [
        ({"link": "modbus", "modbus": {}}, "pymodbus"),
        ({"link": "modbus", "modbus": {"role": "server"}}, "pymodbus"),
        ({"link": "opcua", "opcua": {"url": "opc.tcp://127.0.0.1:4840", "security": "none"}}, "asyncua"),
        ({"link": "gpio"}, "gpiod"),
    ],
)
def test_a_package_that_is_absent_is_named(
    machine: dict[str, Any], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is what installs it; each link has an extra of its own."""
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, package, None)
    settings = Settings.model_validate_json(json.dumps({"machine": machine}))
    with pytest.raises(DependencyError, match=f"{package}.*install"):
        make_output(settings)
