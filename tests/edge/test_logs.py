"""The log says each thing once and counts it then. Lines of C libraries to descriptor 2 are caught on their way."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.logs import CountingHandler, JsonFormatter
from edge.repeats import Repeats, likeness
from tests.brokers import free_port
from tests.conftest import ROOT
from tests.edge.station.test_run import write_line


class Clock:
    """A clock that stands until it is set."""

    now_s = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return a clock at 0 s."""
    return Clock()


@pytest.fixture
def log(clock: Clock) -> logging.Logger:
    """Return a logger of its own that counts by the clock."""
    logger = logging.Logger("outbox")  # noqa: LOG001 - one that no other test knows
    handler = CountingHandler(clock)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    return logger


def tell_counts(log: logging.Logger) -> None:
    """Do what the log's thread does each second."""
    (handler,) = log.handlers
    assert isinstance(handler, CountingHandler)
    handler.tell_counts()


def test_a_flood_of_refused_events_is_two_lines_a_minute(
    log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """2.2 million a day, 25 a second, are the first one and one count a minute.

    The count says how many, and the last.
    """
    for number in range(25 * 120):
        clock.now_s = number / 25
        log.error("the broker refused %s: quota (0x97)", f"event/{number}")
        if number % 25 == 24:
            clock.now_s = (number + 1) / 25
            tell_counts(log)
    # 3,000 in two minutes: the first, then 1,499 to the end of the first minute, then 1,500
    assert capsys.readouterr().err.splitlines() == [
        "ERROR the broker refused event/0: quota (0x97)",
        "ERROR 1499 more in 60 s, the last: the broker refused event/1499: quota (0x97)",
        "ERROR 1500 more in 60 s, the last: the broker refused event/2999: quota (0x97)",
    ]


def test_the_log_as_json_is_a_line_for_each_record(
    log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line is JSON with time, level, logger and message; line breaks, escapes and tracebacks stay within one."""
    log.handlers[0].setFormatter(JsonFormatter())
    log.warning("camera \x1b[2J said\nOK \u202e%s", "\udcff")
    try:
        int("a\nb")
    except ValueError:
        log.exception("it failed")
    for number in range(25):
        log.error("frame %d is late", number)
    clock.now_s = 60.0
    tell_counts(log)
    text = capsys.readouterr().err
    assert text.isprintable() or set(text) - set(filter(str.isprintable, text)) == {"\n"}
    lines = [json.loads(line) for line in text.splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("WARNING", "camera \x1b[2J said\nOK \u202e\\udcff"),
        ("ERROR", "it failed"),
        ("ERROR", "frame 0 is late"),
        ("ERROR", "24 more in 60 s, the last: frame 24 is late"),
    ]
    assert lines[1]["exception"][0] == "Traceback (most recent call last):"
    assert lines[1]["exception"][-1] == "ValueError: invalid literal for int() with base 10: 'a\\nb'"
    assert (lines[3]["repeated"], lines[3]["within_s"]) == (24, 60.0)
    assert {line["logger"] for line in lines} == {"outbox"}
    assert all(datetime.fromisoformat(line["ts"]).tzinfo is not None for line in lines)


def test_a_command_writes_its_log_as_it_is_told(tmp_path: Path) -> None:
    """`--log-format json`, the variable, or `logs: json` of the settings: each line of the log of a run is JSON."""
    config = write_line(tmp_path, free_port(), "alarms: []\n")
    base = [sys.executable, "-m", "edge"]
    plain = config.read_text()
    for words, variables, key in (
        (["--log-format", "json", "run"], {}, ""),
        (["run"], {"LINEWATCH_LOG_FORMAT": "json"}, ""),
        (["run"], {}, "logs: json\n"),
    ):
        config.write_text(plain + key)
        with subprocess.Popen(
            [*base, *words, str(config)], stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | variables
        ) as line:
            assert line.stderr is not None
            first = line.stderr.readline()
            assert json.loads(first)["logger"].startswith("edge."), first
            line.terminate()
            line.communicate(timeout=120)
    done = subprocess.run([*base, "--log-format", "xml", "version"], capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 2


def test_another_reason_is_told_at_once(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """Words that differ are another thing, though they come from one place in the code; numbers that differ are not."""
    for reason in ("refused after 1 s", "refused after 2 s", "not authorised", "refused after 3 s"):
        log.warning("No broker: %s", reason)
    assert capsys.readouterr().err.splitlines() == [
        "WARNING No broker: refused after 1 s",
        "WARNING No broker: not authorised",
    ]


def test_the_last_count_tells_how_things_stand(
    log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """A camera that comes and goes is told by counts whose last line is what happened last."""
    for _ in range(5):
        log.warning("camera lost")
        log.info("camera back")
    clock.now_s = 61
    tell_counts(log)
    told = capsys.readouterr().err.splitlines()
    assert told[:2] == ["WARNING camera lost", "INFO camera back"]
    assert told[2:] == ["WARNING 4 more in 61 s, the last: camera lost", "INFO 4 more in 61 s, the last: camera back"]


def test_what_is_silent_for_a_minute_is_new_again(
    log: logging.Logger, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody waits for a minute's end to learn that yesterday's trouble is back."""
    log.error("disk full")
    clock.now_s = 61
    tell_counts(log)
    log.error("disk full")
    assert capsys.readouterr().err.splitlines() == ["ERROR disk full", "ERROR disk full"]


def test_endless_variety_is_counted_too(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines of ever new words, which somebody outside may choose, are told a hundred times a minute at most."""
    for number in range(5_000):
        log.warning("unknown command %s", "".join(chr(97 + int(digit)) for digit in str(number)))
    assert len(capsys.readouterr().err.splitlines()) == 100


def test_tracebacks_of_one_kind_are_told_once_whole(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception's traceback stands in the log; the next thousand of its kind do not."""
    for _ in range(1_000):
        try:
            raise KeyError("boom")  # noqa: TRY301 - what is caught is what is tested
        except KeyError:  # noqa: PERF203 - each has a traceback of its own
            log.exception("It failed")
    told = capsys.readouterr().err
    assert told.count("Traceback") == 1
    assert "KeyError: 'boom'" in told


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=60))
def test_nothing_is_lost_in_counting(said: list[tuple[str, float]]) -> None:
    """Lines told at once and counted ones add up to what was said, kind by kind, whatever is said when."""
    repeats: Repeats[str] = Repeats(every_s=60, kinds_at_most=10)
    now_s, told = 0.0, dict.fromkeys("abc", 0)
    for what, later_s in said:
        now_s += later_s
        told[what] += repeats.told(what, what, now_s)
        for count, last, _ in repeats.due(now_s):
            told[last] += count
    for count, last, _ in repeats.due(now_s, all_of_it=True):
        told[last] += count
    assert told == {what: sum(each == what for each, _ in said) for what in "abc"}


def test_numbers_addresses_and_ids_make_no_difference() -> None:
    """FFmpeg's contexts and our occurrence ids are not what a line says."""
    same = "occurrence 0f1e2d3c-0000-4000-8000-00000000000{0} of [h264 @ 0x55d{0}], frame {0}"
    assert likeness(same.format(1)) == likeness(same.format(2))
    assert likeness("camera a") != likeness("camera b")


CAUGHT = """
import ctypes, os, sys, logging
from edge.cli.commands import app
from edge.logs import log_on_stderr, native_lines_caught
keeps_python_from_running = ctypes.PyDLL(None)
def library(text):
    keeps_python_from_running.write(2, text, len(text))
with log_on_stderr(), native_lines_caught():
    for number in range(1000):
        library(b"[h264 @ 0x55d%d] error while decoding MB %d\\n" % (number, number))
    library(b"[rtsp] rtsp://eye:hunter2@camera/1 failed\\n")
    library(b"a \\x1b[31mred\\x1b[0m line \\xff\\n")
    library(b"no end of line")
    os.write(sys.stderr.fileno(), b"ours\\n")  # in one piece: others write meanwhile
    WHAT
library(b"after\\n")
"""


def run(what: str) -> subprocess.CompletedProcess[str]:
    """Run a library that writes to descriptor 2, and then something else."""
    code = CAUGHT.replace("WHAT", what)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=240, cwd=ROOT
    )


def test_what_a_c_library_writes_is_told_once_and_hides_secrets() -> None:
    """1,000 lines of one kind are one line and one count; passwords, escapes and odd bytes are not shown."""
    done = run("pass")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "WARNING edge.native: [h264 @ 0x55d0] error while decoding MB 0" in lines
    assert len([line for line in lines if "decoding MB" in line]) == 2
    assert any("999 more in" in line and "decoding MB 999" in line for line in lines)
    assert "hunter2" not in done.stderr
    assert "\x1b" not in done.stderr
    assert any(line.endswith("no end of line") for line in lines)
    assert "ours" in lines
    assert lines[-1] == "after"


def test_our_own_traceback_passes_whole() -> None:
    """An exception of ours reaches stderr as Python writes it, not as a library's lines."""
    done = run("raise ValueError('ours alone')")
    assert done.returncode == 1
    assert "Traceback (most recent call last):\n  File" in done.stderr
    assert done.stderr.rstrip().endswith("ValueError: ours alone")


def test_a_crash_leaves_where_it_was() -> None:
    """A process that a library aborts tells each thread's place past the pipe."""
    done = run("os.abort()")
    assert done.returncode < 0
    assert "Fatal Python error: Aborted" in done.stderr
    assert "<string>" in done.stderr


def test_a_library_that_fills_the_pipe_while_python_cannot_run_waits_for_nobody() -> None:
    """20 MB written without letting Python run: lines are lost, and the process goes on."""
    done = run("library(b'x' * 20_000_000); library(b'y' * 5_000_000)")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.splitlines()[-1] == "after"


def test_without_a_stderr_nothing_is_caught() -> None:
    """Started with closed descriptors a command still does its work."""
    command = f"exec {sys.executable} -m edge version >&- 2>&- <&-"
    assert subprocess.run(["bash", "-c", command], check=False, cwd=ROOT, env=os.environ).returncode == 0
