"""Every command of the README runs here, in a copy of the checkout, as it stands but for named changes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks import pictures
from tests.conftest import ROOT

BIN = Path(sys.executable).parent


def readme_commands() -> list[str]:
    """Return each line of each code block of the README that is a command, without its comment.

    Those for a device are not among them: test_readme_on_a_device.py types them in a Debian of its own.
    """
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, after = text.split("## Deploy on a Jetson\n")
    text = before + after[after.index("\n## ") :]
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the checkout, with a recipe that trains for seconds in place of minutes."""
    folder = tmp_path_factory.mktemp("readme") / "linewatch"
    ignored = shutil.ignore_patterns(".venv*", ".git", "out", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info")
    shutil.copytree(ROOT, folder, ignore=ignored)
    recipe = folder / "config" / "train.start.yaml"
    text = re.sub(r"steps_per_epoch: \d+", "steps_per_epoch: 2", recipe.read_text())
    recipe.write_text(re.sub(r"(?m)^epochs: \d+", "epochs: 1", text))
    return folder


def run(command: str, checkout: Path, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    """Run a command as a user types it, with the project's programs on the path."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
    assert "Traceback" not in result.stderr
    return result


def smaller(command: str, checkout: Path) -> None:
    """Run with fewer pictures."""
    run(command.replace("--frames 200", "--frames 32"), checkout)


def has_results(store: Path) -> bool:
    """Tell whether a line has inspected anything yet."""
    if not store.exists():
        return False
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
        try:
            return bool(
                database.execute("SELECT count(*) FROM message WHERE topic LIKE '%/event/result'").fetchone()[0]
            )
        except sqlite3.OperationalError:  # not written yet
            return False


def interrupted(command: str, checkout: Path) -> None:
    """Run what only ends when it is told to, and tell it with Ctrl-C once it works."""
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    with subprocess.Popen(
        shlex.split(command), cwd=checkout, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline_s = time.monotonic() + 120
        while not has_results(checkout / "out" / "outbox.db"):
            assert process.poll() is None
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert re.search(r"stopped after [1-9]\d* frames?:", stderr), stderr


def demo(command: str, checkout: Path) -> None:
    """Run the demo for a few frames."""
    run(f'{command} ARGS="--frames 20"', checkout)


def headless_demo(command: str, checkout: Path) -> None:
    """Run the demo to its end in an environment of its own, made from nothing, and read its summary."""
    run(command, checkout)
    summary = json.loads((checkout / "out" / "summary.json").read_text())
    assert summary["frames"] == 240
    assert summary["parts"] >= 7


def resolved(command: str, checkout: Path) -> None:
    """Let pip work the installation out without doing it."""
    run(command.replace("pip install", "pip install --dry-run -q"), checkout)


def cloned(command: str, checkout: Path) -> None:
    """Clone this checkout where the README names an address."""
    address = "<address of this repository>"
    assert address in command
    folder = checkout.parent / "clone"
    folder.mkdir()
    run(command.replace(address, shlex.quote(str(ROOT))), folder)
    assert (folder / "linewatch" / "Makefile").is_file()


def confirmed(command: str, checkout: Path) -> None:
    """Say yes: what has trained for two steps finds nothing or everything, which `convert` has confirmed."""
    run(f"{command} --yes", checkout)


def inspected(command: str, checkout: Path) -> None:
    """12 is the exit code where a picture is NG, and some are."""
    run(f"{command}; [ $? = 12 ] || [ $? = 0 ]", checkout)
    assert (checkout / shlex.split(command)[-1]).is_file()


HOW: dict[str, Callable[[str, Path], object]] = {
    "git clone": cloned,
    "make demo": demo,
    "make demo ARGS=": headless_demo,
    "python3 -m venv .venv && . .venv/bin/activate": run,
    "pip install -c requirements.lock": resolved,
    "linewatch simulate --dataset": smaller,
    "linewatch inspect": inspected,
    "linewatch-train audit": run,
    "linewatch-train split": run,
    "linewatch-train fit": run,
    "linewatch-train evaluate": run,
    "convert": confirmed,
    "linewatch check": run,
    "linewatch simulate --video": run,
    "linewatch replay": run,
    "linewatch run": interrupted,
}


def how(command: str) -> Callable[[str, Path], object]:
    """Find how a command is run: by the longest beginning that fits."""
    fitting = [beginning for beginning in HOW if command.startswith(beginning)]
    assert fitting, f"the README has a command that no test runs: {command}"
    return HOW[max(fitting, key=len)]


@pytest.mark.soak
@pytest.mark.parametrize("command", readme_commands())
def test_every_command_of_the_readme_works(command: str, checkout: Path) -> None:
    """In the order of the README, each command does what it says and ends with 0."""
    how(command)(command, checkout)


def test_the_readme_shows_commands() -> None:
    """The test above has something to run, and knows how to run each."""
    assert len([how(command) for command in readme_commands()]) >= 15


def section(heading: str) -> str:
    """Return what stands below a heading of the README, to the next one."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.MULTILINE)
    assert match, heading
    return match[1]


def test_a_newcomer_is_told_what_it_takes_before_anything_is_typed() -> None:
    """The address, programs, disk and minutes stand before the first section; running comes before training."""
    assert "git clone <address of this repository>" in section("Two commands")
    needed = dict(re.findall(r"^\| (\w+) \| (.+) \|$", section("What must be there"), re.MULTILINE))
    assert {"system", "programs", "network", "disk", "minutes"} <= set(needed)
    assert len(re.findall(r"\d+(?:\.\d+)? GB", needed["disk"])) >= 2
    assert len(re.findall(r"\b\d+\b", needed["minutes"])) >= 3
    headings = re.findall(r"^## (.+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    order = ["Two commands", "Run it on pictures", "Train it on your parts", "Convert it", "Deploy on a Jetson"]
    assert [each for each in headings if each in order] == order


def test_contributors_are_told_to_write_plain_english() -> None:
    """The rule is one that can be kept: how long a sentence is, and what it is made of."""
    rule = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for words in ("Write plain English", "Subject, verb, object", "at most 20 words per sentence"):
        assert words in rule


@pytest.mark.parametrize("page", ["labels", "figures", "preparing", "alarms"])
def test_the_pages_of_the_first_steps_show_a_picture_that_a_command_draws(page: str) -> None:
    """Each shows one, and `make picture` has a function that draws it."""
    shown = re.findall(r"!\[[^\]]+\]\((pictures/[^)]+)\)", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert shown
    for name in shown:
        assert (ROOT / "docs" / name).is_file()
        assert hasattr(pictures, f"draw_{Path(name).stem}")
    assert "benchmarks.pictures" in (ROOT / "Makefile").read_text(encoding="utf-8")
