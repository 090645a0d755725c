"""Lines, brokers and networks are killed at random; then it is counted who got what."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from .consumer import Consumer, retained_alarms
from .line import CARELESS
from .proxy import FAULTS, FaultProxy
from .setting import ROOT, TOPICS, Broker, Line, ProofError, Row, ended, wait_for

_ENDS_WITHIN_S = 240.0
_NOTHING_MORE_S = 15.0


@dataclass(frozen=True)
class Faults:
    """Kills of each kind, over so many events. `away`: the consumer is elsewhere after each broker's death."""

    lines: int
    brokers: int
    network: int
    events: int
    away: bool = False

    def shuffled(self, chance: random.Random) -> list[str]:
        """Return each fault as a word, in a random order; a broker's death comes last."""
        words = ["line"] * self.lines + ["broker"] * (self.brokers - 1)
        words += [FAULTS[index % len(FAULTS)] for index in range(self.network)]
        chance.shuffle(words)
        return [*words, *["broker"] * min(1, self.brokers)]

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.lines} kill -9 of the line, {self.brokers} of the broker, {self.network} faults of the network"


@dataclass(frozen=True)
class Count:
    """The events by what became of them. All of these but `events` and `alarms` are to be 0.

    `lost`: committed, and never came. `uncommitted`: came, and is not in the database. `doubled`: handed on twice, by
    two ids with one number. `disordered`: not handed on in the order of the database. `state_differs`: alarms whose
    retained state is not the database's.
    """

    events: int
    alarms: int
    lost: int
    uncommitted: int
    doubled: int
    disordered: int
    state_differs: int
    intact: bool

    @property
    def good(self) -> bool:
        """Tell whether nothing went wrong."""
        wrong = self.lost, self.uncommitted, self.doubled, self.disordered, self.state_differs
        return self.intact and not any(wrong)

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.events:,} events ({self.alarms:,} of alarms): {self.lost:,} lost, "
            f"{self.uncommitted:,} uncommitted, {self.doubled:,} doubled, {self.disordered:,} out of order, "
            f"{self.state_differs} alarm states differ" + ("" if self.intact else ", the database is damaged")
        )


def survive(
    folder: Path, faults: Faults, seed: int, *, asks: bool, broken: str = "", say: Callable[[str], None]
) -> tuple[Count, str]:
    """Play one scene of kills; return what was counted, and what happened, in words.

    With `asks` the consumer asks for what it misses. A second one only looks, which makes the broker believe that
    somebody is there. Without, the consumer is alone and never asks.
    """
    chance = random.Random(seed)
    with ExitStack() as scene:
        broker = scene.enter_context(Broker())
        proxy = scene.enter_context(FaultProxy(broker.port))
        consumer = scene.enter_context(Consumer(broker.port, asks=asks))
        if asks:
            scene.enter_context(Consumer(broker.port, keeps_session=False))
        line = scene.enter_context(ended(Line(folder, proxy.port, broken=broken)))
        line.start()
        words = faults.shuffled(chance)
        for number, word in enumerate(words, start=1):
            _go_on(line, round(faults.events * number / len(words)), chance)
            if number % 10 == 0:
                say(f"  {number} of {len(words)} faults, {line.committed():,} events committed")
            if word == "line":
                line.kill()
                line.start()
            elif word == "broker":
                broker.kill()
                if faults.away:
                    consumer.leave()
                time.sleep(chance.uniform(0.0, 0.5))
                broker.start()
                if faults.away:
                    time.sleep(chance.uniform(2.5, 4.0))
                    consumer.come()
            else:
                proxy.fail(word, chance.uniform(0.5, 3.0))
        line.stop()
        line.fps = 1.0
        _drain(line, consumer)
        count = _count(line, consumer, broker.port)
        told = (
            f"{line.lives} lives of the line; {consumer.repeats:,} repeats dropped by their id; "
            f"{consumer.asked} gaps asked for"
        )
        return count, told


def _go_on(line: Line, events: int, chance: random.Random) -> None:
    """Wait until so many events are committed, and a little longer, so that the blow falls anywhere."""
    try:
        wait_for(lambda: line.committed() >= events or not line.runs, f"{events} events in the database", 120)
    except ProofError as error:
        raise ProofError(f"{error}; see {line.folder}/line.log") from error
    if not line.runs:
        raise ProofError(f"the line ended by itself; see {line.folder}/line.log")
    time.sleep(chance.uniform(0.0, 0.7))


def _events(line: Line) -> list[tuple[int, str]]:
    """Return number and id of each committed event, in order. A retained message is no event."""
    rows = line.query("SELECT seq, id FROM message WHERE NOT retain ORDER BY seq")
    return [(int(str(seq)), str(identifier)) for seq, identifier in rows]


def _drain(line: Line, consumer: Consumer) -> None:
    """Let a slow line hand over what is left, until the consumer has everything or nothing more comes."""
    line.start()
    began_s = moved_s = time.monotonic()
    least = None
    while time.monotonic() - moved_s < _NOTHING_MORE_S and time.monotonic() - began_s < _ENDS_WITHIN_S:
        missing = len({identifier for _, identifier in _events(line)} - consumer.ids())
        if least is None or missing < least:
            moved_s, least = time.monotonic(), missing
        if not line.pending() and missing <= 2:
            break
        time.sleep(0.5)
    time.sleep(2.5)
    line.stop()
    time.sleep(1.0)


def _count(line: Line, consumer: Consumer, port: int) -> Count:
    events = _events(line)
    kinds = line.query("SELECT count(*) FROM message WHERE kind = 'alarm'")
    committed = {identifier for _, identifier in events}
    came = consumer.ids()
    numbers = [(event.epoch, event.seq) for event in consumer.events()]
    handed_on = [event.id for event in consumer.handed_on]
    wanted = [identifier for _, identifier in events]
    states = {
        str(topic): str(identifier)
        for topic, identifier in line.query("SELECT topic, id FROM retained WHERE length(payload)")
        if str(topic).startswith(f"{TOPICS}/alarm/")
    }
    found = retained_alarms(port)
    with closing(sqlite3.connect(line.database)) as db:
        intact = db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return Count(
        events=len(events),
        alarms=int(str(kinds[0][0])),
        lost=len(committed - came),
        uncommitted=len(came - committed),
        doubled=len(numbers) - len(set(numbers)),
        disordered=sum(a != b for a, b in zip(handed_on, wanted, strict=False)),
        state_differs=len(set(states.items()) ^ set(found.items())),
        intact=intact,
    )


def kills(folder: Path, seed: int, say: Callable[[str], None], faults: Faults) -> Row:
    """Prove it for a consumer that asks, beside one that only looks."""
    began_s = time.monotonic()
    count, told = survive(folder, faults, seed, asks=True, say=say)
    return Row(
        f"{faults}; two consumers, one of which asks",
        f"≥ {faults.events:,} events; 0 lost, 0 uncommitted, 0 doubled, order kept, retained states = database",
        f"{count}",
        count.good and count.events >= faults.events,
        time.monotonic() - began_s,
        [told],
    )


def alone(folder: Path, seed: int, say: Callable[[str], None], faults: Faults) -> Row:
    """Prove it for a lone consumer that never asks, and is away whenever the broker dies."""
    began_s = time.monotonic()
    count, told = survive(folder, faults, seed, asks=False, say=say)
    return Row(
        f"{faults}; a lone consumer that never asks and is elsewhere after each death of the broker",
        "0 lost, 0 uncommitted, 0 doubled, order kept, retained states = database",
        f"{count}",
        count.good,
        time.monotonic() - began_s,
        [told],
    )


def broken(folder: Path, seed: int, say: Callable[[str], None], faults: Faults, how: str) -> Row:
    """Break one rule of the outbox: the same scene must find it."""
    began_s = time.monotonic()
    count, told = survive(folder, faults, seed, asks=how != CARELESS, broken=how, say=say)
    return Row(
        f"the outbox broken on purpose, {how}; {faults}",
        "0 lost, 0 uncommitted, 0 doubled, order kept, retained states = database",
        f"{count}",
        count.good,
        time.monotonic() - began_s,
        [told],
    )


def naive(folder: Path, seed: int, say: Callable[[str], None], faults: Faults) -> Row:
    """Have paho alone in the same scene: it must lose something, or the harness is blind."""
    began_s, chance, noted = time.monotonic(), random.Random(seed), folder / "noted.txt"
    with ExitStack() as scene:
        broker = scene.enter_context(Broker())
        proxy = scene.enter_context(FaultProxy(broker.port))
        consumer = scene.enter_context(Consumer(broker.port))
        process = _naive(proxy.port, noted)
        scene.callback(lambda: process.kill())  # noqa: PLW0108 - the one of then
        for number, word in enumerate(faults.shuffled(chance), start=1):
            time.sleep(chance.uniform(0.5, 2.0))
            if number % 10 == 0:
                say(f"  {number} faults")
            if word == "line":
                process.kill()
                process.wait(10)
                process = _naive(proxy.port, noted)
            elif word == "broker":
                broker.kill()
                time.sleep(chance.uniform(0.0, 0.5))
                broker.start()
            else:
                proxy.fail(word, chance.uniform(0.5, 3.0))
        process.kill()
        process.wait(10)
        time.sleep(3.0)
        sent = set(noted.read_text(encoding="ascii").split())
        lost = len(sent - consumer.ids())
    return Row(
        f"a naive paho publisher in the same harness; {faults}",
        "loses messages (else the harness is blind)",
        f"{len(sent):,} published, {lost:,} lost",
        lost > 0,
        time.monotonic() - began_s,
    )


def _naive(port: int, noted: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "benchmarks.proof.naive", str(port), str(noted)], cwd=ROOT)
