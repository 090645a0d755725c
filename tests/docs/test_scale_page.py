"""docs/scale.md and its benchmark: figures that are measured, bounds that can fail, and a site that loses nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.site.figures import Outage, Sample, beside, broken_bounds, lags, share, since, slowest, used
from tests.conftest import ROOT

SECOND = 1_000_000_000
LAGS = re.compile(r"lag p99 .*|memory of .*|\d+ alarms were never shown.*")


def site(folder: Path, *how: object) -> dict[str, Any]:
    """Run the benchmark; return its figures. A bound on time may fail on a machine that is busy, and nothing else."""
    told = folder / "site.json"
    command = [sys.executable, "-m", "benchmarks.site", *map(str, how), "--json", str(told), "--folder", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in {0, 1}, done.stderr
    figures: dict[str, Any] = json.loads(told.read_text())
    assert json.loads(done.stdout) == figures
    assert done.returncode == bool(figures["broken"])
    assert [broken for broken in figures["broken"] if not LAGS.fullmatch(broken)] == []
    return figures


def test_a_small_site_brings_every_event_to_the_dashboard(tmp_path: Path) -> None:
    """Three stations: each part and each alarm is in the history, and the alarms were on the page."""
    how = ("--minutes", 0.1, "--ng", 0.5, "--kills", 0, "--processes", 1, "--messages", 300, "--fast-parts-per-s", 20)
    told = site(tmp_path, "--stations", 3, *how)
    assert told["lost"] == told["dropped"] == 0
    assert told["events"] > told["parts"] > 0
    assert told["messages"] >= max(300, told["events"])
    assert told["fast"]["lasted_s"] > 0
    assert told["lag_p99_s"] is not None


@pytest.mark.soak
def test_a_broker_that_is_killed_costs_no_event(tmp_path: Path) -> None:
    """Ten stations and a broker that is killed twice: what was meanwhile comes, from every station."""
    told = site(tmp_path, "--stations", 10, "--minutes", 0.5, "--kills", 2, "--away-s", 3, "--processes", 2)
    assert told["lost"] == told["dropped"] == 0
    assert [outage["catch_up_s"] is not None for outage in told["outages"]] == [True, True]
    assert told["resent"] > 0


@pytest.mark.parametrize("how", [["--stations", "0"], ["--stations", "201"], ["--minutes", "nan"], ["--ng", "2"]])
def test_a_wrong_option_is_refused_in_words(how: list[str]) -> None:
    """A wrong option is told with what is expected and what was received; exit code 2, no traceback."""
    command = [sys.executable, "-m", "benchmarks.site", *how]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected a" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_lag_is_of_the_site_or_of_an_outage() -> None:
    """An alarm that met no broker is told apart. One that met a broker and was on no page counts as never shown."""
    raised = {"usual": 1 * SECOND, "cut": 10 * SECOND, "late": 12 * SECOND, "over": 13 * SECOND, "unseen": 40 * SECOND}
    shown = {"usual": 1 * SECOND + SECOND // 2, "cut": 20 * SECOND, "late": 20 * SECOND}
    usual, late, never = lags(raised, shown, [Outage(10 * SECOND, 15 * SECOND, 30 * SECOND)])
    assert (usual, late, never) == ([0.5], [10.0, 8.0], 1)
    assert slowest(raised, shown, SECOND)[0] == {"lag_s": 10.0, "at_s": 9.0}
    assert beside(raised, shown, [Outage(10 * SECOND, 15 * SECOND, 30 * SECOND)]).keys() == {"usual", "unseen"}
    assert since(raised, 10 * SECOND, 13 * SECOND).keys() == {"cut", "late"}
    assert since(raised, 13 * SECOND).keys() == {"over", "unseen"}
    assert share([], 0.99) is None
    assert (share([1.0, 2.0], 0.5), share([float(lag) for lag in range(200)], 0.99)) == (2.0, 198.0)


def test_memory_and_processor_are_those_of_the_run() -> None:
    """Cores are CPU seconds per second; growth compares the last quarter with the second, not with the start."""
    samples = [Sample(at * SECOND, 0.25 * at, 50.0 if at < 4 else 100.0 + at) for at in range(16)]
    told = used(samples)
    assert (told["cores"], told["peak_mb"]) == (0.25, 115.0)
    assert told["growth"] == round(113.5 / 105.5, 3)
    assert used(samples, since_ns=8 * SECOND)["growth"] == round(114.5 / 110.5, 3)
    assert used(samples[:1])["growth"] is None


def test_each_bound_can_fail() -> None:
    """Loss, lag, an alarm on no page, a site that does not catch up, and growing memory are each told."""
    good = {
        "lost": 0,
        "lag_p99_s": 0.9,
        "never_shown": 0,
        "outages": [{"catch_up_s": 3.0}],
        "messages": 720_000,
        **{name: {"growth": 1.1} for name in ("broker", "dashboard", "stations_used")},
    }
    assert broken_bounds(good) == []
    bad: list[dict[str, Any]] = [
        {"lost": 1},
        {"lag_p99_s": 1.01},
        {"lag_p99_s": None},
        {"never_shown": 1},
        {"outages": [{"catch_up_s": None}]},
        {"dashboard": {"growth": 1.2}},
    ]
    for wrong in bad:
        assert len(broken_bounds({**good, **wrong})) == 1, wrong
    assert broken_bounds({**good, "messages": 1_000, "dashboard": {"growth": 1.2}}) == []
