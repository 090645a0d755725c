"""`linewatch watch` beside a real broker and a real line: what it shows, its exit code, and that it says nothing."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.cli.watch_view import line
from edge.watching.watched import Watched
from tests.brokers import Mosquitto, Subscriber, free_port, wait_for
from tests.certificates import make_authority, make_certificate
from tests.conftest import ROOT
from tests.edge.station.test_run import ROOT_TOPIC, running, write_line


def command(config: Path, *words: str) -> list[str]:
    """Return the command line."""
    return [sys.executable, "-m", "edge", "watch", str(config), *words]


def once(config: Path, *words: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Run `watch --once --json`; return what it printed, and its stderr."""
    done = subprocess.run(
        command(config, "--once", "--json", *words), capture_output=True, text=True, timeout=240, check=False, cwd=ROOT
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else {}, done.stderr


@contextmanager
def following(config: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], list[dict[str, Any]]]]:
    """Run `watch --json` into a pipe, and give what it printed so far; make sure that it is gone afterwards."""
    told: list[dict[str, Any]] = []
    out = config.parent / "watched.jsonl"
    with (
        out.open("w") as file,
        subprocess.Popen(
            command(config, "--json", *words), stdout=file, stderr=subprocess.PIPE, text=True, cwd=ROOT
        ) as process,
    ):
        try:
            yield process, told
        finally:
            process.kill()
    told += [json.loads(row) for row in out.read_text().splitlines()]


def test_a_running_line_is_shown_and_its_end_is_told(tmp_path: Path) -> None:
    """Online with verdicts, last result and alarm: exit code 0. Killed: offline by its Will, exit code 13."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as consumer:
        config = write_line(tmp_path, broker.port)
        unknown, stderr = once(config, code=13)
        assert (unknown["state"], unknown["since_start"]) == ("unknown", None)
        assert "is not online" in stderr
        with running(config) as process:
            wait_for(lambda: len(consumer.payloads(f"{ROOT_TOPIC}/event/result")) >= 3)
            told, _ = once(config)
            process.kill()
        assert (told["state"], told["believable"], told["recipe"]) == ("online", True, "default")
        assert told["since_start"]["OK"] >= 1
        assert told["since_start"]["NG"] >= 1
        assert [row["alarm"] for row in told["alarms"]] == ["scratched"]
        assert told["alarms"][0]["text"] == "look"
        assert told["station_broker"]["connected"] is True
        wait_for(lambda: b"offline" in consumer.payloads(f"{ROOT_TOPIC}/status")[-1])
        gone, _ = once(config, code=13)
        assert (gone["state"], gone["why"]) == ("offline", "the connection was lost")
        assert 0 <= gone["status"]["age_s"] < 60


def test_it_says_nothing_and_takes_no_ones_place(tmp_path: Path) -> None:
    """A broker whose access list lets the watcher write nothing sees no refusal: it publishes nothing, has no Will."""
    log = tmp_path / "broker.log"
    config = f"log_dest file {log}\nlog_type all\n"
    with Mosquitto(tmp_path, config=config) as broker:
        line = write_line(tmp_path, broker.port)
        with following(line) as (process, _):
            wait_for(lambda: log.exists() and "linewatch-watch-" in log.read_text())
            wait_for(lambda: "Sending SUBACK to linewatch-watch-" in log.read_text())
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=120)
            assert process.returncode == 0, stderr
        wait_for(lambda: "Received DISCONNECT from linewatch-watch-" in log.read_text())
    rows = [row for row in log.read_text().splitlines() if "linewatch-watch-" in row]
    assert not [row for row in rows if "PUBLISH from" in row or "Will" in row], rows


def test_a_broker_that_is_not_there_ends_it_unless_it_is_waited_for(tmp_path: Path) -> None:
    """Exit code 9 at once; with --wait it goes on until the broker comes, and shows the line then."""
    port = free_port()
    config = write_line(tmp_path, port)
    _, stderr = once(config, code=9)
    assert "cannot be reached" in stderr
    assert "--wait" in stderr
    waiting = subprocess.Popen(
        command(config, "--once", "--wait", "--json"), stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        with Mosquitto(tmp_path, port=port):
            out, _ = waiting.communicate(timeout=120)
    finally:
        waiting.kill()
    assert (json.loads(out)["state"], waiting.returncode) == ("unknown", 13)


def test_the_page_s_commands_are_taken(tmp_path: Path) -> None:
    """Each command of docs/watch.md, and each option of its table, is one that `watch` takes."""
    page = (ROOT / "docs/watch.md").read_text()
    config = write_line(tmp_path, free_port())
    shown = [row.split()[2:] for row in page.splitlines() if row.startswith("linewatch watch ")]
    assert len(shown) == 2
    for words in shown:
        assert words[0] == "config/line.yaml"
        done = subprocess.run(command(config, *words[1:]), capture_output=True, text=True, check=False, cwd=ROOT)
        assert (done.returncode, "cannot be reached" in done.stderr) == (9, True), done.stderr
    listed = set(re.findall(r"--[a-z][a-z-]+", page))
    wide = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    words = command(config, "--help")
    helped = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT, env=wide).stdout
    assert listed <= set(re.findall(r"--[a-z][a-z-]+", helped)), helped


def test_a_wrong_password_is_told(tmp_path: Path) -> None:
    """A broker that refuses the account ends it with exit code 9 and the broker's own word."""
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "desk", "right"], check=True, capture_output=True)
    for word in ("right", "wrong"):
        (tmp_path / word).write_text(word)
        (tmp_path / word).chmod(0o600)
    port = free_port()
    whole = f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n"
    with Mosquitto(tmp_path, whole_config=whole, port=port):
        config = write_line(tmp_path, port)
        _, stderr = once(config, "--username", "desk", "--password-file", str(tmp_path / "wrong"), code=9)
        assert "Not authorized" in stderr or "Bad user name or password" in stderr
        told, _ = once(config, "--username", "desk", "--password-file", str(tmp_path / "right"), code=13)
        assert told["broker"]["connected"] is True


def test_tls_is_the_settings_own(tmp_path: Path) -> None:
    """A broker that speaks TLS only is heard with the settings' authority, and not with another one."""
    authority = make_authority(tmp_path)
    pem, key = make_certificate(tmp_path, authority, "server")
    other = make_authority(tmp_path, "other")
    port = free_port()
    whole = f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\ncertfile {pem}\nkeyfile {key}\n"
    with Mosquitto(tmp_path, whole_config=whole, port=port):
        config = write_line(tmp_path, port)
        plain = config.read_text()
        for ca, code in ((authority, 13), (other, 9)):
            config.write_text(plain.replace(f"port: {port}", f"host: localhost, port: {port}, tls: {{ca_file: {ca}}}"))
            _, stderr = once(config, code=code)
        assert "certificate" in stderr.lower()


def test_a_line_of_text_comes_into_a_pipe(tmp_path: Path) -> None:
    """Into a pipe one line of plain text tells how it stands; SIGINT ends it with exit code 0."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        envelope = {"device": "d", "body": {"status": "online", "reason": "inspecting \x1b[2J"}}
        desk.publish(f"{ROOT_TOPIC}/status", json.dumps(envelope).encode(), retain=True)
        config = write_line(tmp_path, broker.port)
        with subprocess.Popen(command(config), stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            row = process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 0
    assert row.startswith(r"WAITING: its last word was online: inspecting \x1b[2J; nothing was said since; 0 OK")


def test_a_station_that_falls_silent_is_stale(tmp_path: Path) -> None:
    """A retained `online` without a living line is stale after --stale-s, and ends --once with exit code 13."""
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        envelope = {"body": {"status": "online", "reason": "inspecting"}}
        desk.publish(f"{ROOT_TOPIC}/status", json.dumps(envelope).encode(), retain=True)
        told, stderr = once(write_line(tmp_path, broker.port), "--stale-s", "1", code=13)
    assert (told["state"], told["believable"]) == ("stale", False)
    assert "STALE: no message for" in stderr


def test_a_terminal_gets_a_panel(tmp_path: Path) -> None:
    """In a terminal of 80 columns the panel stands, and Ctrl-C ends it with exit code 0."""
    with Mosquitto(tmp_path) as broker:
        config = write_line(tmp_path, broker.port)
        main, terminal = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "LINES": "40"}
        with subprocess.Popen(
            command(config), stdin=terminal, stdout=terminal, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment
        ) as process:
            os.close(terminal)
            shown = b""
            while b"It is not OK." not in shown:
                shown += os.read(main, 65_536)
            process.send_signal(signal.SIGINT)
            with suppress(OSError):  # the terminal is gone with the process
                while os.read(main, 65_536):
                    pass
            assert process.wait(120) == 0
        os.close(main)
    assert b"UNKNOWN" in shown


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e400", "86401", "0", "soon"])
def test_seconds_that_are_none_are_a_wrong_command_line(tmp_path: Path, seconds: str) -> None:
    """Silence without end, or of no number, would never be stale: exit code 2, and no traceback."""
    done = CliRunner().invoke(app, ["watch", str(tmp_path / "none.yaml"), "--once", "--stale-s", seconds])
    assert done.exit_code == 2, done.output


def test_alarms_of_a_station_that_nobody_hears_are_not_known() -> None:
    """A line of text never says that no alarm stands where the station's own word is missing."""
    watched = Watched("e/s/a/l/c/inspect/v1", "127.0.0.1:1883", 10**10)
    watched.connected(0)
    told = line(watched.picture(5 * 10**9, datetime.now(timezone.utc)))
    assert told.startswith("UNKNOWN: ")
    assert "alarms: not known" in told
