"""Long outages, disks that are full, and lines that die or hang: one scene each."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from .consumer import Consumer
from .machine import small_disk
from .setting import Broker, Line, ProofError, Row, ended, wait_for

_GROWTH_MB = 50.0
_PER_S = 500.0
_BYTES_PER_WRITE = 65_536


def outage(folder: Path, say: Callable[[str], None], events: int) -> Row:
    """No broker while so many events are decided; then one comes."""
    began_s = time.monotonic()
    with ExitStack() as scene:
        broker = Broker()
        line = scene.enter_context(ended(Line(folder, broker.port, fps=0.0)))
        line.start()
        wait_for(lambda: line.committed() >= min(2_000, events // 5), "the first events")
        first_mb = line.resident_mb()
        told = 0
        most_mb = first_mb
        while (committed := line.committed()) < events:
            if not line.runs:
                raise ProofError(f"the line ended by itself; see {folder}/line.log")
            most_mb = max(most_mb, line.resident_mb())
            if committed - told >= events // 10:
                told = committed
                say(f"  {committed:,} events without a broker; {line.resident_mb() - first_mb:+.1f} MB")
            time.sleep(0.2)
        line.stop()
        alarms = {str(i) for (i,) in line.query("SELECT id FROM message WHERE kind = 'alarm' AND state = 0")}
        results = {str(i) for (i,) in line.query("SELECT id FROM message WHERE kind = 'result' AND state = 0")}
        scene.enter_context(broker)
        consumer = scene.enter_context(Consumer(broker.port))
        line.fps = 1.0
        line.start()
        wait_for(consumer.events, "the first event after the outage")
        calm_mb = line.resident_mb()
        drained_mb = calm_mb
        waiting = alarms | results
        while waiting - consumer.ids():
            drained_mb = max(drained_mb, line.resident_mb())
            if time.monotonic() - began_s > 1500:
                raise ProofError(f"{len(waiting - consumer.ids()):,} events did not come after the outage")
            time.sleep(0.1)
        came = [event for event in consumer.events() if event.id in waiting]
    took_s = came[-1].at_s - came[0].at_s
    per_s = len(came) / took_s
    last_alarm = max((place for place, event in enumerate(came) if event.id in alarms), default=-1)
    overtaken = sum(event.id in results for event in came[: last_alarm + 1])
    growth_mb = max(most_mb - first_mb, drained_mb - calm_mb)
    return Row(
        f"an outage of {events:,} events",
        f"memory grows < {_GROWTH_MB:g} MB; drains ≥ {_PER_S:g} messages/s, alarms first; 0 lost",
        f"{growth_mb:.1f} MB; {per_s:,.0f} events/s; {overtaken} results came before the last of {len(alarms):,} "
        "alarms; 0 lost",
        growth_mb < _GROWTH_MB and per_s >= _PER_S and overtaken <= 16,
        time.monotonic() - began_s,
    )


def disk_full(folder: Path, say: Callable[[str], None], rounds: int) -> Row:
    """Fill the disk of the store, again and again."""
    began_s = time.monotonic()
    fewest, sound, told = 10**9, 0, 0
    with ExitStack() as scene:
        small = scene.enter_context(small_disk(folder, 12))
        broker = scene.enter_context(Broker())
        consumer = scene.enter_context(Consumer(broker.port))
        line = scene.enter_context(ended(Line(folder, broker.port, store=small / "outbox.db", kept_h=0.0005)))
        line.start()
        wait_for(lambda: consumer.said("state/counters")[1] and line.committed() > 50, "the line")

        def trouble() -> bool:
            return bool(consumer.said("state/health")[1].get("outbox", {}).get("trouble"))

        def journalled(kind: str) -> int:
            found = line.query(f"SELECT count(*) FROM journal WHERE alarm = 'outbox-disk' AND kind = '{kind}'")  # noqa: S608 - ours
            return int(str(found[0][0])) if found else 0

        for number in range(1, rounds + 1):
            before = journalled("raised")
            _fill(small / "filler")
            wait_for(trouble, "the line to notice that its disk is full")
            frames = int(consumer.said("state/counters")[1]["frames"])
            time.sleep(1.0)
            frames = int(consumer.said("state/counters")[1]["frames"]) - frames
            fewest = min(fewest, frames)
            (small / "filler").unlink()
            wait_for(lambda: not trouble(), "the line to write again")
            # cleared too, else the next round would find it standing
            wait_for(lambda before=before: _came_and_went(journalled, before), "the alarm in the journal")  # type: ignore[misc] # mypy#15459
            told += 1
            with closing(sqlite3.connect(f"{line.database.as_uri()}?mode=ro", uri=True, timeout=5)) as db:
                sound += db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            if number % 10 == 0:
                say(f"  {number} of {rounds} rounds")
        line.stop()
        time.sleep(1.0)
        with closing(sqlite3.connect(line.database)) as db:
            intact = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        dropped = int(consumer.said("state/counters")[1]["results_dropped"])
    return Row(
        f"the disk full, {rounds} rounds on a tmpfs of 12 MB",
        "inference goes on, database intact, alarm raised",
        f"at least {fewest} frames inspected in each second without room; integrity_check ok {sound} of {rounds} "
        f"times; alarm outbox-disk raised in {told} of them; {dropped} results dropped",
        fewest > 0 and sound == rounds and told == rounds and intact,
        time.monotonic() - began_s,
    )


def _came_and_went(journalled: Callable[[str], int], before: int) -> bool:
    raised = journalled("raised")
    return raised > before and journalled("cleared") == raised


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(os.urandom(_BYTES_PER_WRITE))
        except OSError:
            return


def will(folder: Path, say: Callable[[str], None], rounds: int) -> Row:
    """Kill the line, and hang it, and see when the broker calls it offline."""
    began_s = time.monotonic()
    keepalive_s = 10  # as the settings have it by themselves
    killed_s: list[float] = []
    hung_s: list[float] = []
    with ExitStack() as scene:
        broker = scene.enter_context(Broker())
        consumer = scene.enter_context(Consumer(broker.port))
        line = scene.enter_context(ended(Line(folder, broker.port, keepalive_s=keepalive_s, fps=10)))

        def status() -> str:
            return str(consumer.said("status")[1].get("status", ""))

        for number in range(rounds):
            for hangs, times in ((False, killed_s), (True, hung_s)):
                line.start()
                wait_for(lambda: status() == "online", "the line to be online")
                time.sleep(0.5 + 0.3 * number)
                at_s = time.monotonic()
                if hangs:
                    line.signal(signal.SIGSTOP)
                else:
                    line.kill()
                wait_for(lambda: status() == "offline", "the Will")
                times.append(consumer.said("status")[0] - at_s)
                line.kill()
            say(f"  {number + 1} of {rounds} rounds")
    most = 2.2 * keepalive_s
    return Row(
        f"the Will, {rounds} rounds, keepalive {keepalive_s} s",
        f"≤ 1 s after kill -9; ≤ 2.2 x keepalive = {most:g} s after a hang",
        f"at most {max(killed_s):.2f} s; at most {max(hung_s):.1f} s = {max(hung_s) / keepalive_s:.2f} x keepalive",
        max(killed_s) <= 1.0 and max(hung_s) <= most,
        time.monotonic() - began_s,
    )
