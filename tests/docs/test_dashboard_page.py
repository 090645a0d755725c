"""docs/dashboard.md: its commands do what it says, its screens are there, and its settings are settings."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

from edge.dashboard.screens import NAV
from edge.dashboard.settings import DashboardSettings, load_dashboard_settings
from edge.dashboard.users import ROLES
from tests.brokers import free_port, wait_for
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
COMMANDS = [
    line for block in re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]


def answers(url: str) -> bool:
    """Tell whether a page answers."""
    try:
        return urllib.request.urlopen(url, timeout=120).status == 200  # noqa: S310 - our own
    except OSError:
        return False


def test_its_commands_do_what_it_says(tmp_path: Path) -> None:
    """The dashboard serves every screen of the page; users come, are listed, and go. Only the port is another."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    line = tmp_path / "config" / "line.yaml"
    line.write_text(re.sub(r"path: /var/lib/linewatch/outbox.db", f"path: {tmp_path}/outbox.db", line.read_text()))
    serve, *users = (shlex.split(command) for command in COMMANDS)
    assert serve[:2] == ["linewatch", "dashboard"]
    port = free_port()
    assert serve[-2:] == ["--port", "8080"]
    edge = [sys.executable, "-m", "edge"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [*edge, *serve[1:-1], str(port)]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: process.poll() is not None or answers(f"http://127.0.0.1:{port}/"))
            for entry in NAV:
                assert f"`{entry.path}`" in PAGE, entry
                assert answers(f"http://127.0.0.1:{port}{entry.path}"), entry
        finally:
            process.kill()
    said = []
    for words in users:
        asked = ["--password-file", "-"] if "add" in words else []
        done = subprocess.run(
            [*edge, *words[1:], *asked],
            cwd=tmp_path,
            env=environment,
            input="a long enough one\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.strip())
    assert said[0].endswith("anna: operator") or said[0].endswith("anna operator")
    assert said[1] == "anna operator"
    assert said[2].endswith("anna removed")


def test_its_example_has_every_setting() -> None:
    """config/dashboard.yaml is accepted, and names each key of the settings, if only in a comment."""
    load_dashboard_settings(ROOT / "config" / "dashboard.yaml")
    text = (ROOT / "config" / "dashboard.yaml").read_text()
    for key in DashboardSettings.model_fields:
        assert re.search(rf"^(# )?{key}:", text, re.MULTILINE), key


def test_its_roles_are_the_roles() -> None:
    """The table has each role, from the least on."""
    assert re.findall(r"^\| (viewer|operator|engineer|admin) \|", PAGE, re.MULTILINE) == list(ROLES)
