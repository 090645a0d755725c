"""The proof, scene by scene, and the table that docs/proof.md holds.

Run: make proof. Parts of it: make proof ARGS="--only outage", make proof ARGS="--quick". To see it fail:
make proof ARGS="--break acknowledge-before-commit".
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

import paho.mqtt

from .frame_loop import frame_loop
from .kills import Faults, alone, broken, kills, naive
from .line import BREAKS, CARELESS, HASTY, WAITING
from .setting import ROOT, ProofError, Row
from .troubles import disk_full, outage, will

PAGE = ROOT / "docs" / "proof.md"
KEPT = ROOT / "out" / "proof.json"
ALARM_EXAMPLES = 2_000

Say = Callable[[str], None]
Scene = Callable[[Path, int, Say], Row]


def scenes(*, quick: bool) -> dict[str, Scene]:
    """Return each scene by its name, in the order of the table; `quick`, as far as half a minute allows."""
    many = Faults(3, 1, 2, 400) if quick else Faults(100, 20, 20, 10_000)
    some = Faults(1, 1, 1, 150, away=True) if quick else Faults(20, 6, 6, 2_000, away=True)
    few = Faults(4, 1, 1, 300, away=True) if quick else Faults(10, 3, 3, 1_000, away=True)
    poor = Faults(3, 1, 1, 200) if quick else Faults(20, 6, 6, 2_000)
    return {
        "kills": lambda folder, seed, say: kills(folder, seed, say, many),
        "alone": lambda folder, seed, say: alone(folder, seed, say, some),
        "naive": lambda folder, seed, say: naive(folder, seed, say, poor),
        "outage": lambda folder, _, say: outage(folder, say, 5_000 if quick else 100_000),
        "frame-loop": lambda folder, _, say: frame_loop(folder, say, 3.0 if quick else 12.0),
        "disk-full": lambda folder, _, say: disk_full(folder, say, 3 if quick else 50),
        "alarm-model": _alarm_model,
        "chatter": lambda *_: _pytest(
            "alarms that chatter: 10 Hz noise around the limit for 10 minutes of simulated time",
            "≤ 1 alarm",
            "tests/edge/alarms/test_manager.py::test_noise_around_the_limit_is_one_alarm_at_most",
        ),
        "flood": lambda *_: _pytest(
            "a flood of alarms: 1,000 raises in 60 s",
            "≤ 10 shown, all 1,000 journalled",
            "tests/edge/alarms/test_manager.py::test_a_flood_is_shown_as_one",
        ),
        "will": lambda folder, _, say: will(folder, say, 1 if quick else 5),
        HASTY: lambda folder, seed, say: broken(folder, seed, say, few, HASTY),
        CARELESS: lambda folder, seed, say: broken(folder, seed, say, few, CARELESS),
        WAITING: lambda folder, _, say: frame_loop(folder, say, 3.0 if quick else 6.0, WAITING),
    }


def _alarm_model(_folder: Path, _seed: int, _say: Say) -> Row:
    return _pytest(
        f"the alarm model, stateful hypothesis with restarts and clock jumps, {ALARM_EXAMPLES:,} runs of 50 steps",
        "invariants hold",
        "tests/edge/alarms/test_machine.py",
        LINEWATCH_ALARM_EXAMPLES=str(ALARM_EXAMPLES),
    )


def _pytest(what: str, must: str, node: str, **environment: str) -> Row:
    """Run a test of the suite as a row."""
    began_s = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "1800", node]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or ["pytest said nothing"]
    was = lines[-1].strip("= ") + f" ({node})"
    return Row(what, must, was, done.returncode == 0, time.monotonic() - began_s)


def play(name: str, scene: Scene, seed: int) -> Row:
    """Play one scene in a folder of its own; one that cannot be played has failed."""
    print(f"{name} …", flush=True)
    began_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix=f"linewatch-proof-{name}-"))
    folder.chmod(0o755)
    try:
        row = scene(folder, seed, lambda text: print(text, flush=True))
    except ProofError as error:
        row = Row(name, "can be played", str(error), passed=False)
    played = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC, {seed}"
    row = replace(row, seconds=row.seconds or time.monotonic() - began_s, played=played)
    print(f"  {'passed' if row.passed else 'FAILED'} in {row.seconds:.0f} s: {row.was}", *row.notes, sep="\n  ")
    if row.passed or name in BREAKS:
        shutil.rmtree(folder, ignore_errors=True)
    return row


_PAGE = """# The proof

Written by `make proof`; do not edit. A committed alarm or result reaches its consumer, and the frame loop does not notice
what that costs. The broker is mosquitto without any configuration file, so it keeps nothing on disk. The line is
`linewatch run` on the simulated camera with the simulated engine, at about 130 frames/s. The content of its database is
committed. The faults are random, but for the seed.

{verdict}: {versions}.

| what was done | must be | was | holds | s | when, by which seed |
|---|---|---|---|---|---|
{table}

{notes}

## The same, with the outbox broken on purpose

A proof that cannot fail proves nothing. `acknowledge-before-commit` tells line and broker of events that come to the disk
only up to half a second later. `drop-no-consumer-rule` takes the broker's acknowledgement for delivery, though it says
that nobody was there (reason 0x10). `wait-for-the-disk` has the frame loop wait until each frame's events are on the
disk.

| | what it comes to | the proof | when, by which seed |
|---|---|---|---|
{broken}

One row alone: `make proof ARGS="--only outage"`. So broken: `make proof ARGS="--break acknowledge-before-commit"`. The
rows on full disks and on disks that stall need root, and loop devices.
"""  # noqa: E501 - a page's text, with its tables


def page(rows: dict[str, Row]) -> str:
    """Write the page: the table, then what happens where the outbox is broken on purpose."""
    version = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True, check=False).stdout.splitlines()[0]
    kept = {name: row for name, row in rows.items() if name not in BREAKS}
    lost = {name: row for name, row in rows.items() if name in BREAKS}
    passed = all(row.passed for row in kept.values()) and not any(row.passed for row in lost.values())
    machine = f"Python {platform.python_version()}, {platform.machine()} with {os.cpu_count()} cores"
    return _PAGE.format(
        verdict="All of it holds" if passed else "**Some of it does not hold**",
        versions=f"{version}, paho-mqtt {paho.mqtt.__version__}, {machine}",
        table="\n".join(
            f"| {row.what} | {row.must} | {row.was} | {'yes' if row.passed else '**no**'} | {row.seconds:.0f} | "
            f"{row.played} |"
            for row in kept.values()
        ),
        notes="\n".join(f"- `{name}`: {note}." for name, row in rows.items() for note in row.notes),
        broken="\n".join(
            f"| `--break {name}` | {row.was} | {'**passes, and must not**' if row.passed else 'fails, as it must'} | "
            f"{row.played} |"
            for name, row in lost.items()
        ),
    )


def _write_page(path: Path, rows: dict[str, Row], names: list[str]) -> None:
    """Write the page of these rows, and of those of earlier runs that are not among them."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    kept |= {name: asdict(row) for name, row in rows.items()}
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False), encoding="utf-8")
    if missing := [name for name in names if name not in kept]:
        print(f"{path} is written once these were played too: {', '.join(missing)}")
        return
    path.write_text(page({name: Row(**kept[name]) for name in names}), encoding="utf-8")
    print(f"written: {path}")


def main() -> int:
    """Play what is asked for; 0 if all of it holds."""
    parser = argparse.ArgumentParser(
        prog="make proof", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(scenes(quick=False))
    parser.add_argument("--only", action="append", choices=names, help="this scene alone; may be given several times")
    parser.add_argument("--break", dest="broken", choices=BREAKS, help="break the outbox: the proof must fail")
    parser.add_argument("--seed", type=int, help="the same faults again")
    parser.add_argument("--quick", action="store_true", help="few faults, few events; writes no page")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table is written")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    chosen = [given.broken] if given.broken else given.only or names
    every = scenes(quick=given.quick)
    rows: dict[str, Row] = {}
    for name in chosen:
        rows[name] = play(name, every[name], seed)
        if not given.quick and not given.broken:
            _write_page(given.page, rows, names)  # after each, so that an interrupted run can go on with --only
    if given.broken:
        return 0 if rows[given.broken].passed else 1
    wrong = [name for name, row in rows.items() if row.passed == (name in BREAKS)]
    print(f"{len(rows) - len(wrong)} of {len(rows)} rows hold" + (f"; not: {', '.join(wrong)}" if wrong else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
