"""The proof of docs/proof.md, as much of it as half a minute allows; the seed is printed where it fails."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.proof.frame_loop import compare
from benchmarks.proof.kills import Count, Faults, survive
from benchmarks.proof.proxy import FaultProxy
from tests.brokers import wait_for


def test_no_committed_event_is_lost_to_kills_of_line_broker_and_network(tmp_path: Path) -> None:
    """A line killed three times, its broker once, its network twice: what was committed arrives, and nothing else."""
    seed = random.SystemRandom().randrange(10**6)
    told: list[str] = []
    count, summary = survive(
        tmp_path, Faults(lines=3, brokers=1, network=2, events=300), seed, asks=True, say=told.append
    )
    assert count.events >= 300
    assert count.good, f"seed {seed}: {count}; {summary}; {told}"


def test_the_judge_finds_each_kind_of_failure() -> None:
    """One lost, uncommitted, doubled or disordered event, one wrong alarm state, or a damaged file, is a failure."""
    assert Count(9, 1, 0, 0, 0, 0, 0, intact=True).good
    for place in range(5):
        wrong = [int(place == index) for index in range(5)]
        assert not Count(9, 1, *wrong, intact=True).good
    assert not Count(9, 1, 0, 0, 0, 0, 0, intact=False).good


def frames(took_ms: float, *, from_s: float = 0.0, to_s: float = 6.0, per_s: int = 100) -> list[tuple[float, float]]:
    """Return when frames were decided, and how long publishing took from each."""
    return [(number / per_s, took_ms / 1000) for number in range(int(from_s * per_s), int(to_s * per_s))]


def test_a_loop_that_is_as_fast_as_its_twin_holds_on_any_machine() -> None:
    """Both slow alike, or the line slow for a moment: it holds. Three times as slow: it still does."""
    assert compare(frames(40.0), frames(39.0), 0.0, 6.0).holds
    assert compare(frames(9.0, to_s=2.0) + frames(1.0, from_s=2.0), frames(1.0), 0.0, 6.0).holds  # 2 of 6 slices
    compared = compare(frames(3.0), frames(1.0), 0.0, 6.0)
    assert compared.holds
    assert (round(compared.times, 6), compared.frames, compared.twin_frames) == (3.0, 600, 600)


@pytest.mark.parametrize(
    "took",
    [frames(3.1), frames(9.0, to_s=4.0) + frames(1.0, from_s=4.0), frames(1.0, per_s=29), frames(1.0, to_s=1.0), []],
    ids=["slower", "slower for most of the time", "fewer frames", "stalled after a while", "none at all"],
)
def test_a_loop_that_waits_for_the_disk_does_not_hold(took: list[tuple[float, float]]) -> None:
    """A line that is slower than its twin, or that inspects fewer frames, fails; so does a twin that stands."""
    assert not compare(took, frames(1.0), 0.0, 6.0).holds
    assert not compare(frames(1.0), [], 0.0, 6.0).holds


@pytest.fixture
def echo() -> Iterator[int]:
    """Return the port of a server that says again what it hears."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=say_again, args=(connection,), daemon=True).start()

        def say_again(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(100):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def answers(port: int) -> bool:
    """Tell whether a new connection is carried."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.settimeout(120)
        try:
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
        except OSError:
            return False


def has_ended(connection: socket.socket) -> bool:
    """Tell whether the other side is gone, and what was under way with it."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_proxy_fails_as_it_is_told(echo: int) -> None:
    """It carries; a cut ends connections, half-open ones are silent and then end, refused ones end at once."""
    with FaultProxy(echo) as proxy:
        assert answers(proxy.port)
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
            connection.sendall(b"a")
            assert connection.recv(1) == b"a"
            half_open = threading.Thread(target=proxy.fail, args=("half-open", 0.5))
            half_open.start()
            wait_for(lambda: not proxy._flows.is_set())
            connection.sendall(b"b")
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            half_open.join()
            connection.settimeout(120)
            assert has_ended(connection)
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
            connection.sendall(b"a")
            assert connection.recv(1) == b"a"
            proxy.fail("cut", 0.0)
            assert has_ended(connection)
        proxy.refuse(on=True)
        assert not answers(proxy.port)
        proxy.refuse(on=False)
        assert answers(proxy.port)
