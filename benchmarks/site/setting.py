"""The processes of a site: a mosquitto, a dashboard, and those that hold the stations."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from typing_extensions import Self

from benchmarks.proof.setting import ROOT, Broker, free_port, wait_for
from benchmarks.site.figures import Sample
from edge.dashboard.users import UserFile, hashed

USER, PASSWORD = "bench", "a password of the benchmark"
_HOST = "127.0.0.1"
_COUNTS = "$SYS/broker/publish/messages"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_BROKER = (
    "sys_interval 1\nmax_queued_messages 100000\nmax_inflight_messages 20\nmax_packet_size 1048576\npersistence false\n"
)


class SiteBroker(Broker):
    """mosquitto with the queue of `systemd/mosquitto/linewatch.conf`, and nothing on disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n{_BROKER}")

    def start(self) -> None:
        """Start, also again on the same port, and wait until it answers."""
        self._process = subprocess.Popen(
            [self._program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._answers, "mosquitto to answer")

    @property
    def pid(self) -> int | None:
        """Its process; None while there is none."""
        return None if self._process is None else self._process.pid


class BrokerCount:
    """Counts what a broker received and what it delivered, by its own words, also when it was killed meanwhile.

    Its numbers come each second. Of what a killed broker did after its last word nothing is counted.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._before: dict[str, int] = {}
        self._last: dict[str, int] = {}

    def __enter__(self) -> Self:
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_connect = self._connected
        client.on_message = self._told
        client.reconnect_delay_set(1, 1)
        client.connect_async(_HOST, self._port)
        client.loop_start()
        self._client = client
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Client, *_: Any) -> None:
        client.subscribe([(f"{_COUNTS}/{name}", 0) for name in ("received", "sent")])

    def _told(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        name, count = message.topic.rpartition("/")[2], int(message.payload)
        if count < (before := self._last.get(name, 0)):  # another broker, which counts from the beginning
            self._before[name] = self._before.get(name, 0) + before
        self._last[name] = count

    @property
    def received(self) -> int:
        """The messages that clients published."""
        return self._of("received")

    @property
    def delivered(self) -> int:
        """The messages that it gave to clients."""
        return self._of("sent")

    def _of(self, name: str) -> int:
        return self._before.get(name, 0) + self._last.get(name, 0)


class SiteDashboard:
    """`linewatch dashboard` in a process of its own, with one operator."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        self.port, self._folder = free_port(), folder
        self.history = folder / "dashboard.db"
        self._config = folder / "dashboard.yaml"
        self._config.write_text(
            f"broker: {{port: {broker_port}}}\nsites: [bench/site]\nlisten: {{port: {self.port}}}\n"
            "users: users.json\nhistory: {path: dashboard.db, megabytes: 100000}\n"
        )
        UserFile(folder / "users.json").save({USER: hashed(USER, "operator", PASSWORD)})

    def __enter__(self) -> Self:
        with (self._folder / "dashboard.log").open("wb") as log:
            command = [sys.executable, "-m", "edge", "dashboard", str(self._config)]
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        wait_for(self._answers, "the dashboard to answer", 120)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(60)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the dashboard ended: {(self._folder / 'dashboard.log').read_text()}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def came(self) -> dict[str, list[tuple[int, int]]]:
        """Return which events are in its history, as stretches of numbers, by epoch."""
        found: dict[str, list[tuple[int, int]]] = {}
        for epoch, first, last in self._asked(
            "SELECT name, came.first, last FROM came JOIN epoch ON epoch.id = came.epoch ORDER BY came.first"
        ):
            found.setdefault(epoch, []).append((first, last))
        return found

    def rows(self) -> dict[str, int]:
        """Return how many events are in its history, by epoch."""
        return dict(
            self._asked(
                "SELECT name, (SELECT count(*) FROM result WHERE result.epoch = epoch.id) "
                "+ (SELECT count(*) FROM alarm_event WHERE alarm_event.epoch = epoch.id) FROM epoch"
            )
        )

    def history_bytes(self) -> int:
        """Return how large the history is on disk."""
        return sum(file.stat().st_size for file in self._folder.glob("dashboard.db*"))

    def _asked(self, statement: str) -> list[Any]:
        if not self.history.exists():
            return []
        with closing(sqlite3.connect(f"{self.history.as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            return db.execute(statement).fetchall()


class StationHost:
    """A process with some of the stations. Its output is put into `heard`, with its number."""

    def __init__(
        self, number: int, arguments: Sequence[object], heard: queue.SimpleQueue[tuple[int, dict[str, Any]]]
    ) -> None:
        self.number, self._heard = number, heard
        self._arguments = [str(argument) for argument in arguments]

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "benchmarks.site.stations", *self._arguments]
        self._log = Path(self._arguments[1]) / f"stations-{self.number}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self._listener = threading.Thread(target=self._listen, args=[self._process.stdout], daemon=True)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(60)
        self._listener.join(60)

    def _listen(self, stdout: TextIO) -> None:
        for line in stdout:
            self._heard.put((self.number, json.loads(line)))
        self._heard.put((self.number, {"gone": True}))

    def wish(self, word: str) -> None:
        """Tell it something."""
        if self._process.stdin is not None:
            self._process.stdin.write(word + "\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def last_words(self) -> str:
        """Return the end of its log."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-2_000:]


def sample(pid: int, at_ns: int) -> Sample | None:
    """Return what a process has used by now; None where it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return None
    cpu_s = (int(fields[11]) + int(fields[12])) * _TICK_S
    return Sample(at_ns, cpu_s, pages * os.sysconf("SC_PAGESIZE") / 1e6)
