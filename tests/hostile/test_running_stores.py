"""Disks, clocks and second lines attack the store of a line that runs, by `linewatch` itself."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from edge.cli.demo import BUNDLE
from edge.outbox import OutboxReader
from tests.brokers import Mosquitto, Subscriber, free_port, wait_for
from tests.conftest import ROOT
from tests.edge.station.test_run import ROOT_TOPIC, bodies, status
from tests.read_only_disk import ReadOnlyDisk
from tests.stepped_clock import SteppedClock

SIMULATED = "{source: simulated, max_age_ms: 120000, simulated: {width: 64, height: 64, fps: 20, frames_per_part: 10}}"
RULES = "[{id: found, measure: count, raise_at: 1, on_delay_ms: 200, off_delay_ms: 200, needs_ack: false, text: look}]"


def write_line(folder: Path, store: Path, port: int, *, also: str = "", rules: str = RULES) -> Path:
    """Write the settings of a simulated line with a store of its own choice."""
    config = folder / "line.yaml"
    config.write_text(
        f"bundle: {BUNDLE}\ncamera: {SIMULATED}\nengine: {{backend: simulated}}\n"
        f"broker: {{port: {port}, keepalive_s: 120}}\n"
        f"store: {{path: {store}}}\nreport: {{health_every_s: 0.5}}\nalarms: {rules}\n{also}"
    )
    return config


@contextmanager
def line(config: Path, *before: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `linewatch run`; its words are in `log` beside its settings. `before`: a command that runs it."""
    with (config.parent / "log").open("ab") as log:
        command = [*before, sys.executable, "-m", "edge", "run", str(config)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait(120)


def linewatch(*arguments: str | Path, before: tuple[str, ...] = (), **environment: str) -> tuple[int, str]:
    """Run a verb; return its exit code and all that it said, in one line."""
    done = subprocess.run(
        [*before, sys.executable, "-m", "edge", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=180, env=os.environ | environment,
    )  # fmt: skip
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def committed(store: Path) -> int:
    """Return the highest event number on disk; 0 as long as there is no store."""
    try:
        with OutboxReader(store) as reader:
            return reader.committed
    except Exception:  # noqa: BLE001 - it is being made
        return 0


def stopped(process: subprocess.Popen[bytes]) -> int:
    """Stop a line as systemd does and return its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait(120)


# As root is without its right to write everywhere; any other user lacks it anyway.
BY_MODE = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


@pytest.mark.parametrize("there", [False, True], ids=["no store yet", "a store"])
def test_a_folder_that_this_user_may_not_write_is_refused(tmp_path: Path, there: bool) -> None:
    """A line that could keep nothing does not start: 8, in words, and the store is left as it was."""
    folder = tmp_path / "store"
    folder.mkdir()
    config = write_line(tmp_path, folder / "outbox.db", free_port())
    if there:
        with line(config) as process:
            wait_for(lambda: committed(folder / "outbox.db") > 5)
            assert stopped(process) == 0
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    folder.chmod(0o555)
    code, told = linewatch("run", config, before=BY_MODE)
    folder.chmod(0o755)
    assert (code, "Traceback" in told) == (8, False), told
    assert "that this user may write" in told
    assert "store.path" in told
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_file_system_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    """A store on a file system that is mounted read-only: 8 for `run`, in words; `journal` still reads it."""
    folder = tmp_path / "store"
    folder.mkdir()
    config = write_line(tmp_path, folder / "outbox.db", free_port())
    with line(config) as process:
        wait_for(lambda: committed(folder / "outbox.db") > 5)
        assert stopped(process) == 0
    read_only = f'mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && exec "$@"'
    mapped = () if os.geteuid() == 0 else ("--map-root-user",)
    before = ("unshare", *mapped, "--mount", "sh", "-c", read_only, "sh")
    for verb in ("run", "check"):
        code, told = linewatch(verb, config, before=before)
        assert (code, "Traceback" in told) == (8, False), told
        assert "Read-only file system" in told
    code, told = linewatch("journal", config, before=before)
    assert (code, "Traceback" in told) == (0, False), told
    assert "started" in told


def test_a_second_line_on_a_store_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    """It ends with 8 and says who has the store. The first goes on, without a gap, and loses no connection."""
    store = tmp_path / "outbox.db"
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, store, broker.port)
        with line(config) as first:
            wait_for(lambda: "online" in status(desk))
            code, told = linewatch("run", config)
            assert (code, "Traceback" in told) == (8, False), told
            assert "in use by another Linewatch process" in told
            before = committed(store)
            wait_for(lambda: committed(store) > before + 20)
            assert stopped(first) == 0
        assert "offline" not in status(desk)[:-1]
        events = [*bodies(desk, "event/result")]
        assert len(events) > 20
        counters = bodies(desk, "state/counters")[-1]
        assert (counters["connections_lost"], counters["dead_letters"]) == (0, 0)
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        seqs = [seq for (seq,) in db.execute("SELECT seq FROM message WHERE seq IS NOT NULL GROUP BY seq ORDER BY seq")]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("first_ahead_s", [0, 10 * 365 * 86_400], ids=["right at first", "ten years ahead at first"])
def test_a_clock_that_is_set_under_a_running_line(tmp_path: Path, first_ahead_s: int) -> None:
    """Under a clock set by days alarms keep their own delays, no frame is stale, nothing is forgotten."""
    store, clock = tmp_path / "outbox.db", SteppedClock(tmp_path)
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        config = write_line(tmp_path, store, broker.port)
        clock.set(first_ahead_s)
        with line(config, **clock.environment()) as process:
            for ahead_s in (0, -3 * 86_400, 0, 30 * 86_400):
                wait_for(lambda: "online" in status(desk))
                _alarms_come_and_go(desk)
                clock.set(ahead_s)
            _alarms_come_and_go(desk)
            assert stopped(process) == 0
        results = bodies(desk, "event/result")
        assert {each["verdict"] for each in results} == {"OK", "NG"}, results[-1]
        told = {name for body in bodies(desk, "event/alarm") for name in [body["alarm"]]}
        assert told == {"found"}
        kept, ahead = _kept(store)
        assert kept >= len(results)
        # back at the right time the store holds nothing of the future for longer than kept_h
        clock.set(0)
        seen = len(results)
        with line(config, **clock.environment()) as process:
            wait_for(lambda: len(bodies(desk, "event/result")) > seen + 5)
            assert stopped(process) == 0
        assert _kept(store)[1] == 0, ahead
    assert linewatch("journal", config, "--verify")[0] == 0


@pytest.mark.soak
def test_a_disk_that_becomes_read_only_under_a_running_line(tmp_path: Path) -> None:
    """It is told, an alarm stands, and parts are inspected; nothing accepted is lost once it takes again."""
    store = tmp_path / "outbox.db"
    disk = ReadOnlyDisk(tmp_path, store)
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{ROOT_TOPIC}/#") as desk:
        config = write_line(tmp_path, store, broker.port)
        with line(config, **disk.environment()) as process:
            wait_for(lambda: len(bodies(desk, "event/result")) > 10)
            disk.set(read_only=True)
            wait_for(lambda: bodies(desk, "state/health")[-1]["outbox"]["trouble"])
            written = committed(store)
            frames = bodies(desk, "state/counters")[-1]["frames"]
            wait_for(lambda: bodies(desk, "state/counters")[-1]["frames"] > frames + 40)
            assert committed(store) == written
            code, told = linewatch("alarms", config, "--json")
            assert code == 0, told
            alarms = json.loads(told[told.index("[") : told.rindex("]") + 1])
            assert "outbox-disk" in {alarm["alarm"] for alarm in alarms if alarm["state"] == "active"}
            disk.set(read_only=False)
            wait_for(lambda: not bodies(desk, "state/health")[-1]["outbox"]["trouble"])
            wait_for(lambda: committed(store) > written + 60)
            wait_for(lambda: {"raised", "cleared"} <= set(_of_the_disk(desk)))
            assert stopped(process) == 0
        wait_for(lambda: "offline" in status(desk))
        counters = bodies(desk, "state/counters")[-1]
        assert counters["results_dropped"] == 0
        seqs = {
            json.loads(payload)["seq"]
            for topic in ("event/result", "event/alarm")
            for payload in desk.payloads(f"{ROOT_TOPIC}/{topic}")
        }
    assert seqs == set(range(1, committed(store) + 1))
    assert linewatch("journal", config, "--verify")[0] == 0


def _of_the_disk(desk: Subscriber) -> list[str]:
    return [body["transition"] for body in bodies(desk, "event/alarm") if body["alarm"] == "outbox-disk"]


def _alarms_come_and_go(desk: Subscriber) -> None:
    before = len(bodies(desk, "event/alarm"))

    def transitions() -> list[str]:
        return [body["transition"] for body in bodies(desk, "event/alarm")[before:]]

    wait_for(lambda: {"raised", "cleared"} <= set(transitions()))


def _kept(store: Path) -> tuple[int, int]:
    """Return how many acknowledged results are kept, and how many rows bear a time more than a minute from now."""
    soon_s = time.time() + 60
    with closing(sqlite3.connect(store)) as db:
        (kept,) = db.execute("SELECT count(*) FROM message WHERE kind = 'result' AND state = 2").fetchone()
        (ahead,) = db.execute(
            "SELECT count(*) FROM message WHERE created_s > ? OR settled_s > ?", (soon_s, soon_s)
        ).fetchone()
    return int(kept), int(ahead)


def of_process(pid: int) -> Mapping[str, float]:
    """Return what a process holds: resident memory, MB, and its numbers of threads and descriptors."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return {
        "memory": pages * os.sysconf("SC_PAGESIZE") / 1e6,
        "threads": sum(1 for _ in Path(f"/proc/{pid}/task").iterdir()),
        "descriptors": sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()),
    }


def reached(store: Path, seq: int) -> None:
    """Wait for an event's number, and ask seldom: whoever asks takes time from the line."""
    while committed(store) < seq:
        time.sleep(1.0)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_an_engine_that_fails_20_000_times_costs_nothing(tmp_path: Path) -> None:
    """Every frame is NO_READ and told; memory, threads and descriptors stay as they were after the first thousands."""
    store = tmp_path / "outbox.db"
    config = write_line(tmp_path, store, free_port(), rules="[]")
    config.write_text(
        config.read_text()
        .replace("fps: 20", "fps: 0")
        .replace("{backend: simulated}", "{backend: simulated, simulated_fault: {kind: fails}}")
    )
    with line(config) as process:
        reached(store, 4_000)
        first = of_process(process.pid)
        reached(store, 20_000)
        last = of_process(process.pid)
        assert stopped(process) == 0
    assert (last["threads"], last["descriptors"]) == (first["threads"], first["descriptors"])
    # an arena of the allocator more is no leak. One record kept for each frame, of 5 kB, would be 80 MB
    assert last["memory"] < first["memory"] + 32
    with closing(sqlite3.connect(store)) as db:
        payloads = db.execute("SELECT payload FROM message WHERE kind = 'result'").fetchall()
        raised = db.execute("SELECT count(*) FROM journal WHERE kind = 'raised' AND alarm = 'engine-fails'").fetchone()
    verdicts = [json.loads(payload)["body"]["verdict"] for (payload,) in payloads]
    assert len(verdicts) >= 20_000
    assert set(verdicts) == {"NO_READ"}
    assert raised == (1,)
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert len(log.splitlines()) < 100
