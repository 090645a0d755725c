"""`python -m benchmarks.site`: many stations on one broker and one dashboard, for docs/scale.md."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.proof.setting import ProofError
from benchmarks.site.running import Asked, Run

_ABOUT = """Many stations on one mosquitto and one `linewatch dashboard`.

Each station has its own outbox on disk, its sender and its connections of MQTT 5, as `linewatch run` has them; only
cameras and models are left out. An operator's browser follows the page of alarms: the lag of an alarm is the time from
its verdict until that page has it. The broker is killed and started; then every event must come to the dashboard.
"""
_EXAMPLES = """examples:
  python -m benchmarks.site --stations 50 --minutes 2 --json out/bench/site.json
  python -m benchmarks.site --stations 200 --minutes 2 --messages 720000     the whole of it
  python -m benchmarks.site --stations 200 --kills 3 --away-s 60 three long outages

exit code: 0 all bounds hold, 1 one does not (which, is on stderr and under `broken`), 2 a wrong option,
8 the site does not come about, for instance without mosquitto
"""


_TOLD_EVERY_S = 15.0  # without a terminal for a bar


class Spoken:
    """Says now and then on stderr how far it is, unless a bar shows it."""

    def __init__(self, *, quiet: bool) -> None:
        self._due_s = math.inf if quiet else 0.0

    def __call__(self, done: float, what: str) -> None:
        """Tell it, if it was not told just before."""
        if time.monotonic() >= self._due_s:
            self._due_s = time.monotonic() + _TOLD_EVERY_S
            print(f"{done:4.0%} {what}", file=sys.stderr, flush=True)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Measure, print JSON, and say which bound does not hold."""
    signal.signal(signal.SIGTERM, _stop)  # else broker and dashboard would stay
    asked, json_file, folder = _asked()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    try:
        with (
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar,
            tempfile.TemporaryDirectory(prefix="linewatch-site-", dir=folder) as home,
        ):
            task = bar.add_task("opening", total=1.0)
            spoken = Spoken(quiet=console.is_terminal)

            def progress(done: float, what: str) -> None:
                bar.update(task, completed=done, description=what)
                spoken(done, what)

            told = Run(asked, Path(home), progress).measure()
    except (ProofError, OSError, RuntimeError) as error:
        print(f"The site did not come about: {error}", file=sys.stderr)
        sys.exit(8)
    except KeyboardInterrupt:
        print("stopped; nothing is written", file=sys.stderr)
        sys.exit(130)
    text = json.dumps(told, indent=2)
    print(text)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(text + "\n", encoding="utf-8")
    for broken in told["broken"]:
        print(broken, file=sys.stderr)
    sys.exit(1 if told["broken"] else 0)


def _asked() -> tuple[Asked, Path | None, Path | None]:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.site",
        description=_ABOUT,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stations", type=_whole(1, 200), default=200, help="how many; 200")
    parser.add_argument("--minutes", type=_number(0.05, 1440), default=10.0, help="how long parts pass; 10")
    parser.add_argument("--parts-per-s", type=_number(0.01, 100), default=1.0, help="of each station; 1")
    parser.add_argument("--ng", type=_number(0, 1), default=0.02, help="share of NG parts, each with an alarm; 0.02")
    parser.add_argument("--kills", type=_whole(0, 100), default=1, help="how often the broker is killed; 1")
    parser.add_argument("--away-s", type=_number(0, 3600), default=10.0, help="for how long it is away; 10")
    parser.add_argument("--picture-kb", type=_number(0, 200), default=30.0, help="shown each second; 30, 0 = none")
    parser.add_argument("--processes", type=_whole(1, 64), default=4, help="that hold the stations; 4")
    parser.add_argument(
        "--messages", type=_whole(0, 10**9), default=0, help="go on, faster, until the broker delivered so many; 0"
    )
    parser.add_argument("--fast-parts-per-s", type=_number(0.01, 100), default=5.0, help="then at most; 5")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--folder", type=Path, help="where outboxes and history lie meanwhile; the system's own")
    options = vars(parser.parse_args())
    return Asked(**{name: options.pop(name) for name in Asked.__dataclass_fields__}), options["json"], options["folder"]


def _whole(least: int, most: int) -> Callable[[str], Any]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, received {text!r:.40}")
        return int(text)

    return read


def _number(least: float, most: float) -> Callable[[str], Any]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a number from {least:g} to {most:g}, received {text!r:.40}")
        return value

    return read


if __name__ == "__main__":
    main()
