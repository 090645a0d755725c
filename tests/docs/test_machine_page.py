"""docs/machine.md: its settings are settings, its examples run, and its tables name all that there is."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from benchmarks.wiring import WIRING
from edge.alarms.rules import OUTPUT_ALARMS
from edge.app.station import OpenStation
from edge.outputs.input_settings import InputKind
from edge.outputs.settings import OutputKind
from edge.records import Verdict
from edge.settings import SHIPPED_BUNDLE, Settings
from tests.brokers import HOST, wait_for
from tests.conftest import ROOT
from tests.edge.outputs.machine_line import MAX_AGE_MS, SIMULATED, running
from tests.edge.outputs.plc import Plc

PAGE = (ROOT / "docs" / "machine.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [text for name, text in found if name == language]


def settings_of(text: str, port: int, **more: Any) -> Settings:
    """Read an example as part of a simulated station whose PLC is on loopback."""
    # so large that each defect is above the smallest area of the bundle
    simulated = {**SIMULATED, "width": 320, "height": 240, "defective_share": 1.0}
    given = {
        "camera": {"source": "simulated", "simulated": simulated, "max_age_ms": MAX_AGE_MS},
        "bundle": str(SHIPPED_BUNDLE),
        "engine": {"backend": "simulated"},
        **yaml.safe_load(text),
        **more,
    }
    if given["machine"]["link"] == "modbus":
        given["machine"]["modbus"] |= {"host": HOST, "port": port, "timeout_ms": 10_000}
        given["machine"]["tolerance_ms"] = 1000
        given.setdefault("parts", {})["wait_ms"] = 60_000
    return Settings.model_validate_json(json.dumps(given))


@contextmanager
def beside_a_plc(number: int, folder: Path) -> Iterator[tuple[Plc, list[Verdict], OpenStation]]:
    """Run the example of this number beside a PLC, and wait until it is reached; every part is bad."""
    text = blocks("yaml")[-3:][number]
    with Plc() as plc:
        settings = settings_of(text, plc.port, store={"path": str(folder / "a.db")})
        with running(settings, folder / "a.db") as (opened, verdicts):
            wait_for(lambda: plc.register(0) + plc.register(1) >= 2)
            yield plc, verdicts, opened


def let_one_pass(opened: OpenStation, barrier: Callable[[bool], None]) -> None:
    """Break a light barrier until the station has opened the part and seen it."""
    assert opened.decider.parts is not None
    barrier(True)
    wait_for(lambda: opened.decider.parts.open_to_frames)  # type: ignore[union-attr] # the test knows which of the union
    seen = opened.decider.cameras[0].frames
    wait_for(lambda: opened.decider.cameras[0].frames >= seen + 8)
    barrier(False)


def test_the_gate_throws_out_what_the_barrier_saw(tmp_path: Path) -> None:
    """Example 1: the pulse comes when the belt has gone 2,000 counts since the barrier, and not before."""
    with beside_a_plc(0, tmp_path) as (plc, verdicts, opened):
        let_one_pass(opened, lambda up: plc.set_discrete(0, up))
        wait_for(lambda: verdicts == [Verdict.NG])
        plc.set_input(0, 1900)
        time.sleep(0.3)  # a pulse that came too soon would come now
        assert not any(value for _, value in plc.history(1, 0))
        plc.set_input(0, 2000)
        wait_for(lambda: [value for _, value in plc.history(1, 0)][-2:] == [1, 0])


def test_the_handshake_goes_through(tmp_path: Path) -> None:
    """Example 2: two parts, each with its verdict, its count and its coverage at done."""
    with beside_a_plc(1, tmp_path) as (plc, verdicts, _):
        for number in (1, 2):
            wait_for(lambda: plc.coil(0) and not plc.coil(2))
            plc.set_register(22, number)
            plc.set_register(21, 700 + number)
            plc.set_coil(20, True)
            wait_for(lambda: plc.coil(1))
            wait_for(lambda: plc.coil(2) and len(verdicts) == number)  # noqa: B023 - called within its turn of the loop
            bits = {Verdict.OK: plc.coil(3), Verdict.NG: plc.coil(4), Verdict.NO_READ: plc.coil(5)}
            assert [verdict for verdict, up in bits.items() if up] == [verdicts[-1]]
            assert plc.register(0) == number
            assert (plc.register(2) > 0) == (verdicts[-1] is Verdict.NG)
            plc.set_coil(20, False)
            wait_for(lambda: not plc.coil(2))
        assert len(verdicts) == 2


def test_three_bad_parts_stop_the_line(tmp_path: Path) -> None:
    """Example 3: two do not, the third does; and the stop is up again when the station has ended."""
    with beside_a_plc(2, tmp_path) as (plc, verdicts, opened):
        wait_for(lambda: not plc.coil(0))
        for number in (1, 2, 3):
            assert not plc.coil(0)
            let_one_pass(opened, lambda up: plc.set_coil(20, up))
            wait_for(lambda: len(verdicts) == number)  # noqa: B023 - called within its turn of the loop
        wait_for(lambda: plc.coil(0))
        assert verdicts == [Verdict.NG] * 3


@pytest.mark.parametrize("text", blocks("yaml"))
def test_its_settings_are_settings(text: str) -> None:
    """Each example is accepted as part of a station with one camera."""
    settings_of(text, 502)


def test_its_commands_are_commands(tmp_path: Path) -> None:
    """Typed for a station with the page's first settings: without a station nothing is shown, and all is switched."""
    config = tmp_path / "line.yaml"
    config.write_text(f"bundle: {SHIPPED_BUNDLE}\nstore: {{path: a.db}}\n{blocks('yaml')[0]}")
    (typed,) = [text for text in blocks("") if text.startswith("linewatch")]
    codes = []
    for line in typed.splitlines():
        words = [str(config) if word.endswith(".yaml") else word for word in shlex.split(line, comments=True)][1:]
        more = ["--yes", "--seconds", "0.1"] if words[0] == "outputs" else []
        done = subprocess.run([sys.executable, "-m", "edge", *words, *more], cwd=ROOT, check=False, timeout=120)
        codes.append((words[0], done.returncode))
    assert codes == [("signals", 13), ("outputs", 0)]


def test_each_rule_and_each_alarm_has_its_row() -> None:
    """None is left out, and none is told of that is not there."""
    rows = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([\w-]+)`", row)}
    assert {*get_args(OutputKind), *get_args(InputKind), *(rule.id for rule in OUTPUT_ALARMS)} <= told


def test_its_wiring_pictures_are_those_that_are_drawn() -> None:
    """Each example has its picture, as `make picture` draws it, with the places that its settings name."""
    for (name, drawing), text in zip(WIRING.items(), blocks("yaml")[-3:], strict=True):
        assert f"](pictures/{name})" in PAGE
        assert (ROOT / "docs" / "pictures" / name).read_text(encoding="utf-8") == drawing()
        words = " ".join(re.findall(r">([^<]+)</text>", drawing()))
        for signal in re.findall(r"at: ([a-z]+) 0[,}]", text):
            assert f"{signal} 0" in words or f"{signal}s 0" in words


def test_it_says_that_it_is_no_safety_function() -> None:
    """In its first lines, where nobody overlooks it."""
    assert "**This is not a safety function.**" in PAGE[:500]
