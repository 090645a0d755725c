"""docs/monitoring.md: its commands do what it says, and its settings are settings."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from edge.monitoring.settings import PORT, MonitoringSettings
from tests.brokers import free_port, wait_for
from tests.conftest import ROOT
from tests.edge.station.test_monitoring import asked
from tests.edge.station.test_run import ALARM, running, write_line

PAGE = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def test_its_settings_are_the_defaults() -> None:
    """The example is accepted, its table names every key, and both tell the defaults."""
    (text,) = blocks("yaml")
    assert MonitoringSettings.model_validate(yaml.safe_load(text)["monitoring"]) == MonitoringSettings()
    rows = {
        row.split("|")[1].strip(" `"): row.split("|")[2].strip(" `") for row in PAGE.splitlines() if row.count("|") == 4
    }
    for key, value in MonitoringSettings().model_dump().items():
        assert rows[key] == f"{value:g}" if isinstance(value, float) else str(value)


@pytest.mark.parametrize("command", [line for text in blocks("sh") for line in text.splitlines() if "promtool" in line])
def test_its_rules_are_accepted(command: str) -> None:
    """Promtool accepts the rules, and they do what they must."""
    done = subprocess.run(shlex.split(command), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_rule_would_be_noticed(tmp_path: Path) -> None:
    """A rule that waits ten times as long fails the test of rules, so that the test above can fail."""
    rules = (ROOT / "config" / "alerts.yaml").read_text()
    assert "for: 30s" in rules
    (tmp_path / "alerts.yaml").write_text(rules.replace("for: 30s", "for: 300s"))
    (tmp_path / "alerts.test.yaml").write_text((ROOT / "config" / "alerts.test.yaml").read_text())
    command = ["promtool", "test", "rules", str(tmp_path / "alerts.test.yaml")]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_the_dashboard_for_grafana_asks_what_prometheus_understands(tmp_path: Path) -> None:
    """Each query of a panel, with the panel's variable filled in, is one that promtool parses; no panel is empty."""
    board = json.loads((ROOT / "config" / "grafana.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(queries) >= len(board["panels"]) > 10
    assert {variable["name"] for variable in board["templating"]["list"]} == {"datasource", "instance"}
    rules = [
        {"record": f"panel:query{number}:now", "expr": query.replace("$instance", ".*")}
        for number, query in enumerate(queries)
    ]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(queries)} rules found" in done.stdout


def test_its_questions_are_answered(tmp_path: Path) -> None:
    """Each curl command of the page, typed as it stands but for the port, is answered by a running station."""
    port = free_port()
    commands = [line for text in blocks("sh") for line in text.splitlines() if line.startswith("curl")]
    assert len(commands) == 3
    with running(write_line(tmp_path, free_port(), f"{ALARM}monitoring: {{port: {port}}}\n")):
        wait_for(lambda: asked(port, "/healthz")[0] == 200)
        for command in commands:
            typed = shlex.split(command.replace(str(PORT), str(port)))
            done = subprocess.run(typed, capture_output=True, text=True, check=False)
            assert (done.returncode, bool(done.stdout)) == (0, True), done.stderr
