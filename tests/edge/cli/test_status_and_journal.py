"""`linewatch status` and `journal`: asked of the line that runs, else of its file, and shown so that nothing harms."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.commands.socket import ask, socket_path, tell
from edge.errors import CommandError
from tests.brokers import free_port, wait_for
from tests.conftest import ROOT
from tests.edge.station.test_run import MAX_AGE_MS, running, write_line

EVIL = "\x1b[2Jwiped\nraised \u202edab"
SHOWN = r"\x1b[2Jwiped\nraised \u202edab"


def shell(*words: str | Path, code: int = 0) -> tuple[str, str]:
    """Run a command as in a shell, and return what it printed to stdout and stderr."""
    command = [sys.executable, "-m", "edge", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    for said in (done.stdout, done.stderr):
        assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs"} for c in said.replace("\n", "")), repr(said)
    return done.stdout, done.stderr


def status(config: Path) -> dict[str, Any]:
    """Return what the line says of itself."""
    told: dict[str, Any] = json.loads(shell("status", config, "--json")[0])
    return told


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a line without a broker: a part per second, good and scratched by turns; it is NG at once."""
    return write_line(tmp_path, free_port())


def _life(config: Path) -> None:
    """Look at a line that runs, do harm to it, and stop it."""
    store = config.parent / "outbox.db"
    with running(config) as line:
        wait_for(lambda: "NG" in status(config)["last"])
        told = status(config)
        assert (told["running"], told["status"], told["reason"]) == (True, "online", "inspecting")
        ng = told["last"]["NG"]
        assert (ng["reason"], ng["defects"]) == ("scratch: 1 defect, at most 0 allowed", {"scratch": 1})
        assert 0 <= told["cameras"]["camera"]["picture_age_ms"] < 60_000
        assert told["cameras"]["camera"]["max_age_ms"] == MAX_AGE_MS
        assert sum(told["last_minute"].values()) >= 2
        assert told["broker"]["connected"] is False
        assert "no broker" in told["broker"]["trouble"]
        assert told["waiting"]["pending"] >= 2
        assert [row["alarm"] for row in told["alarms"]] == ["scratched"]
        words, _ = shell("status", config)
        assert "NG: scratch: 1 defect, at most 0 allowed (frame" in words
        assert "not connected: no broker" in words
        assert f"ms old; NO_READ from {MAX_AGE_MS} ms on" in words
        assert tell(store, "shelve", _shelving(EVIL))[0] == "ok"
        assert tell(store, "shelve", _shelving("half\ud83d"))[0] == "invalid"
        written, _ = shell("journal", config, "--part", "commands")
        assert SHOWN in written
        assert f"(uid {os.getuid()}, pid {os.getpid()})" in written
        for each in config.parent.glob("outbox.db*"):
            each.unlink()
        wait_for(lambda: _stands(store, "outbox-replaced"))
        wait_for(socket_path(store).exists)
        assert "outbox-replaced" in shell("alarms", config)[0]
        line.send_signal(signal.SIGTERM)
        _, stderr = line.communicate(timeout=120)
        assert line.returncode == 0, stderr
        assert "was removed while the line ran" in stderr


def _shelving(comment: str) -> dict[str, Any]:
    """Return the body of a command to shelve."""
    how = {"alarm": "no-read", "kind": "timed", "duration_s": 600, "user": "anna", "comment": comment}
    return {"schema": "linewatch/command-shelve/1", **how}


def _stands(store: Path, alarm: str) -> bool:
    try:
        body = ask(store, "alarms")["records"].get(alarm)
    except CommandError:  # the socket is made again just now
        return False
    return body is not None and json.loads(body)["condition"] != "normal"


def test_the_line_is_asked_and_then_its_file(config: Path) -> None:
    """Status, alarms and journal are the running line's; without it the file's, which is said; nothing steers."""
    _life(config)
    words, said = shell("status", config, code=13)
    assert "this is what the file" in said
    assert "ended" in words
    assert "outbox-replaced" in words
    told = json.loads(shell("status", config, "--json", code=13)[0])
    assert (told["running"], told["last"]["kind"], told["last"]["detail"]) == (False, "ended", "stopped")
    alarms, said = shell("alarms", config)
    assert "outbox-replaced" in alarms
    assert "this is what the file" in said
    _look_at_the_journal(config)


def _look_at_the_journal(config: Path) -> None:
    entries = json.loads(shell("journal", config, "--json", "--limit", "1000")[0])
    station = [entry for entry in entries if entry["part"] == "station"]
    assert [entry["kind"] for entry in station] == ["started", "settings", "bundle", "ended"]
    assert all(f"(uid {os.getuid()}, pid " in entry["account"] for entry in station)
    command = next(entry for entry in entries if entry["part"] == "commands")
    assert command["comment"] == EVIL
    assert command["account"].endswith(f"(uid {os.getuid()}, pid {os.getpid()})")
    out, _ = shell("journal", config, "--verify")
    assert out.strip().endswith("every row is as it was written")
    for suffix in ("csv", "jsonl"):
        path = config.parent / f"journal.{suffix}"
        shell("journal", config, "--export", path)
        text = path.read_text()
        rows = (
            [json.loads(line) for line in text.splitlines()]
            if suffix == "jsonl"
            else list(csv.DictReader(text.splitlines()))
        )
        assert [row["hash"] for row in rows] == [entry["hash"] for entry in entries]
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "expected a file .csv or .jsonl" in shell("journal", config, "--export", "journal.xls", code=2)[1]
    store = config.parent / "outbox.db"
    with closing(sqlite3.connect(store)) as db:
        db.execute("UPDATE journal SET user = 'bert' WHERE part = 'commands'")
        db.commit()
    _, said = shell("journal", config, "--verify", code=14)
    assert "commands: row 1 of " in said
    assert "commands: row 2 of " in said
    assert "was altered" in said


def test_a_disk_that_takes_nothing_hides_no_alarm_and_a_stop_says_what_was_lost(config: Path) -> None:
    """The alarm that the disk does not take is shown by the running line. Its end is exit code 8 and a number."""
    store = config.parent / "outbox.db"
    with running(config) as line, closing(sqlite3.connect(store, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        wait_for(lambda: _stands(store, "outbox-disk"))
        alarms, said = shell("alarms", config)
        assert "outbox-disk" in alarms
        assert "this is what the line has in memory" in said
        assert "the outbox cannot be written" in shell("status", config)[0]
        assert "(not on disk yet)" in shell("journal", config, "--alarm", "outbox-disk")[0]
        shell("journal", config, "--export", config.parent / "all.jsonl")
        exported = [json.loads(row) for row in (config.parent / "all.jsonl").read_text().splitlines()]
        assert [row["hash"] for row in exported if row["alarm"] == "outbox-disk"] == [None]
        line.send_signal(signal.SIGTERM)
        _, said = line.communicate(timeout=120)
        assert line.returncode == 8, said
    assert "Traceback" not in said
    (lost,) = re.findall(r"error: (\d+) messages and entries of the journal are lost", said)
    # a result each second, the alarm with its state and its entry, and the end of the line
    assert int(lost) >= 5


def test_the_next_start_tells_what_changed_and_that_a_run_was_killed(config: Path) -> None:
    """The settings' hash of two starts is compared; a run without an end is told of."""
    with running(config) as line:
        wait_for(lambda: _stands(config.parent / "outbox.db", "scratched"))
        line.kill()
    config.write_text(config.read_text().replace(f"max_age_ms: {MAX_AGE_MS}", "max_age_ms: 60000"))
    with running(config):
        entries = json.loads(shell("journal", config, "--part", "station", "--json")[0])
    first, second = entries[:3], entries[3:6]
    assert [entry["kind"] for entry in second] == ["started", "settings", "bundle"]
    assert "the run before did not come to its end" in second[0]["detail"]
    assert second[1]["detail"].endswith("; other than at the last start")
    assert second[1]["detail"][:71] != first[1]["detail"][:71]
    assert second[2]["detail"] == f"{first[2]['detail']}; as at the last start"
