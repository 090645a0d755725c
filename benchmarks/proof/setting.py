"""The common ground of the proof's scenes: a broker as it comes, a line as it runs, and a row of the table."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "edge" / "bundles" / "simulated-glass"
TOPICS = "proof/site/area/line/cell/inspect/v1"


@dataclass(frozen=True)
class Row:
    """One row of the table: what was done, what it must come to, and what it came to; `played`: when, by which seed."""

    what: str
    must: str
    was: str
    passed: bool
    seconds: float = 0.0
    notes: Sequence[str] = field(default=())
    played: str = ""


class ProofError(Exception):
    """The scene could not be played: something that it needs is not there, or never came about."""


def free_port() -> int:
    """Return a port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> float:
    """Wait until `condition` holds and return how long it took, s. Raises ProofError if it does not come to hold."""
    began_s = time.monotonic()
    while not condition():
        if time.monotonic() - began_s > timeout_s:
            raise ProofError(f"waited {timeout_s:g} s in vain: {what}")
        time.sleep(0.01)
    return time.monotonic() - began_s


class Broker:
    """mosquitto without any configuration file: as it comes, it keeps nothing on disk."""

    def __init__(self) -> None:
        program = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
        if program is None:
            raise ProofError("mosquitto is not installed. Run: sudo apt-get install mosquitto")
        self._program = program
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, also again on the same port, and wait until it answers."""
        self._process = subprocess.Popen(
            [self._program, "-p", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._answers, "mosquitto to answer")

    def _answers(self) -> bool:
        try:
            socket.create_connection((HOST, self.port), 0.2).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Have it hang (SIGSTOP), or go on (SIGCONT)."""
        if self._process is not None:
            self._process.send_signal(number)


@dataclass
class Line:
    """`linewatch run` on the simulated line with the simulated engine, in a process of its own.

    `broken`: which rule of the outbox is broken on purpose; then the line is run by `line.py` beside this file.
    `fps` 0: as fast as it can. `timed`: a file for the time that publishing took from each frame. `no_broker`: what is
    published goes to memory.
    """

    folder: Path
    port: int
    fps: float = 130.0
    frames: int = 0
    keepalive_s: int = 2
    store: Path | None = None
    kept_h: float = 24.0
    broken: str = ""
    timed: Path | None = None
    no_broker: bool = False
    lives: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def database(self) -> Path:
        """The outbox's file: what is in it was committed."""
        return self.store or self.folder / "outbox.db"

    def start(self) -> None:
        """Start, or start again; each life sees other parts pass."""
        self.lives += 1
        config = self.folder / "line.yaml"
        config.write_text(self._settings(), encoding="utf-8")
        command = [sys.executable, "-m", "edge", "run", str(config)]
        if self.broken or self.timed:
            how = ["--break", self.broken] if self.broken else []
            how += ["--timed", str(self.timed)] if self.timed else []
            how += ["--no-broker"] if self.no_broker else []
            command = [sys.executable, "-m", "benchmarks.proof.line", str(config), *how]
        with (self.folder / "line.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    def _settings(self) -> str:
        simulated = (
            f"width: 64, height: 64, fps: {self.fps:g}, frames: {self.frames}, seed: {self.lives}, "
            "frames_per_part: 4, defective_share: 0.6"
        )
        return (
            f"bundle: {BUNDLE}\nline: {{enterprise: proof, device: proof}}\n"
            f"camera: {{name: cam, source: simulated, max_age_ms: 60000, simulated: {{{simulated}}}}}\n"
            "engine: {backend: simulated}\n"
            f"broker: {{port: {self.port}, keepalive_s: {self.keepalive_s}}}\n"
            f"store: {{path: {self.database}, kept_h: {self.kept_h}}}\n"
            "report: {health_every_s: 0.25, sequence_every_s: 0.5, picture_every_s: 0}\n"
            "alarms:\n"
            "  - {id: found, measure: count, raise_at: 1, needs_ack: false, priority: low, text: look}\n"
            "  - {id: rejects, measure: ng, needs_ack: false, priority: low, text: look}\n"
        )

    @property
    def runs(self) -> bool:
        """Tell whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """End it at once, as kill -9 does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired as error:
                self.kill()
                raise ProofError("the line did not stop within 30 s of SIGTERM") from error
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        """Have it hang (SIGSTOP)."""
        if self.process is not None:
            self.process.send_signal(number)

    def resident_mb(self) -> float:
        """Return the memory that the process has now, MB."""
        if self.process is None:
            return 0.0
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Ask the database, beside the line; nothing as long as there is none."""
        if not self.database.exists():
            return []
        try:
            with closing(sqlite3.connect(f"{self.database.as_uri()}?mode=ro", uri=True, timeout=5)) as db:
                return db.execute(statement).fetchall()
        except sqlite3.OperationalError:
            return []

    def committed(self) -> int:
        """Return the highest event number on disk."""
        rows = self.query("SELECT value FROM meta WHERE key = 'committed'")
        return int(str(rows[0][0])) if rows else 0

    def pending(self) -> int:
        """Return how many messages the broker has not acknowledged."""
        rows = self.query("SELECT count(*) FROM message WHERE state = 0")
        return int(str(rows[0][0])) if rows else 0


@contextmanager
def ended(line: Line) -> Iterator[Line]:
    """Make sure that the line's process is gone afterwards."""
    try:
        yield line
    finally:
        line.kill()
