"""The README's section for a device, line by line as it stands, in a Debian of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.debian_root import DebianRoot

# No systemd runs in a chroot: what `enable --now` would start is started by these before it is asked for.
_BROKER = "mosquitto -d"
_LINE = (
    "(cd / && exec sudo -u linewatch /opt/linewatch/bin/linewatch run /etc/linewatch/line.yaml) 2>/root/log & "
    "for i in $(seq 120); do [ -S /var/lib/linewatch/outbox.db.sock ] && break; sleep 0.5; done"
)
_STARTED_BEFORE = {
    "linewatch check ": _BROKER,
    "linewatch status ": f"{_BROKER}; {_LINE}",
    "mosquitto_sub ": f"{_BROKER}; {_LINE}",
}


def device_commands() -> list[str]:
    """Return each command of the section, in order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Deploy on a Jetson\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    assert section
    blocks = re.findall(r"^```\n(.*?)^```", section[1], re.DOTALL | re.MULTILINE)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_the_section_for_a_device_works_as_pasted(tmp_path: Path) -> None:
    """Each line ends with 0; the line then stands, as its own user, and says so."""
    root = DebianRoot(tmp_path / "root", ROOT)
    assert root.type("apt-get update -qq").returncode == 0
    for line in device_commands():
        before = next((start for part, start in _STARTED_BEFORE.items() if part in line), "")
        # a watcher of messages goes on until Ctrl-C; one will do
        typed = f"{line} -C 1" if line.startswith("mosquitto_sub") else line.replace("enable --now", "enable")
        done = root.type(f"{before}; {typed}" if before else typed, alone=bool(before))
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    unit = root.path / "etc/systemd/system/multi-user.target.wants/linewatch.service"
    assert unit.is_symlink()


def test_the_section_has_what_it_takes() -> None:
    """Packages, environment, user, bundle, settings and broker come before the service is enabled."""
    commands = device_commands()
    order = ["apt-get install", "-m venv", "pip install", "useradd", "/bundle", "line.yaml", "mosquitto", "check"]
    order.append("enable --now linewatch")
    places = [next(place for place, line in enumerate(commands) if one in line) for one in order if one != "mosquitto"]
    assert places == sorted(places)
