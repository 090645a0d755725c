"""Each change of a line's state is one line of the log, with its reason. The state in between is silent."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from edge.messages.writer import MessageWriter
from edge.outbox import Outbox
from edge.records import CameraFault, DeliveryState, FrameResult, Judgement, Verdict
from edge.records.alarms import STATION_KINDS
from edge.records.decided import Decided
from edge.station.change_log import ChangeLog, log_entry
from tests.brokers import Mosquitto
from tests.edge.alarms.making import S, seen
from tests.edge.cli.test_status_and_journal import shell
from tests.edge.messages.test_messages import IDENTITY
from tests.edge.station.test_run import running, write_line


def decided(result: FrameResult) -> Decided:
    """Return a decided frame of nothing but a result."""
    return Decided(result, {}, None, None, ())


def unread(reason: str, at_s: float, fault: CameraFault | None = None) -> Decided:
    """Return a result that says why nothing was read."""
    judgement = Judgement(Verdict.NO_READ, reason)
    return decided(replace(seen(None, fault), judgement=judgement, captured_ns=round(at_s * S)))


def read(at_s: float) -> Decided:
    """Return a result that is OK."""
    return decided(replace(seen(0.0), captured_ns=round(at_s * S)))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log says."""
    return [f"{record.levelname} {record.getMessage()}" for record in caplog.records]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> ChangeLog:
    """Return a log of changes whose lines are caught."""
    caplog.set_level(logging.INFO)
    return ChangeLog()


def test_a_camera_that_is_lost_and_comes_back_is_two_lines(log: ChangeLog, caplog: pytest.LogCaptureFixture) -> None:
    """A result each second for 40 s says it once, with the reason. Its end is told, and how long it was."""
    log.decided(read(0))
    for second in range(1, 41):
        log.decided(unread(f"no frame for {second}000 ms (lost): refused", second, CameraFault.LOST))
    log.decided(read(41))
    log.decided(read(42))
    assert told(caplog) == [
        "INFO Camera top: frames are read",
        "WARNING Camera top: lost: no frame for 1000 ms (lost): refused",
        "INFO Camera top: frames are read again, after 40.0 s and 40 NO_READ (lost)",
    ]


def test_another_reason_is_another_line(log: ChangeLog, caplog: pytest.LogCaptureFixture) -> None:
    """A camera that is silent first, then refuses us, then is frozen, says each; an engine that fails likewise."""
    log.decided(unread("no frame for 1000 ms (no_frame_yet)", 1, CameraFault.LOST))
    log.decided(unread("no frame for 2000 ms (lost): 401 Unauthorized", 2, CameraFault.LOST))
    log.decided(unread("the same picture for 3 s", 3, CameraFault.FROZEN))
    log.decided(unread("inference failed: out of memory", 4))
    log.decided(unread("inference failed: out of memory", 5))
    log.decided(read(6))
    assert told(caplog) == [
        "WARNING Camera top: lost: no frame for 1000 ms (no_frame_yet)",
        "WARNING Camera top: lost: no frame for 2000 ms (lost): 401 Unauthorized",
        "WARNING Camera top: frozen: the same picture for 3 s",
        "WARNING Camera top: frames cannot be read: inference failed: out of memory",
        "INFO Camera top: frames are read again, after 5.0 s and 5 NO_READ (frames cannot be read)",
    ]


def test_two_cameras_are_told_apart(log: ChangeLog, caplog: pytest.LogCaptureFixture) -> None:
    """One that works says nothing of one that does not."""
    side = replace(seen(0.0), camera="side")
    for second in range(3):
        log.decided(unread("refused", second, CameraFault.LOST))
        log.decided(decided(side))
    assert told(caplog) == ["WARNING Camera top: lost: refused", "INFO Camera side: frames are read"]


def test_delivery_tells_begin_and_end(log: ChangeLog, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody who listens, a full disk and dead letters end in a line of their own; standing, they are silent."""
    for state in (
        DeliveryState(),
        DeliveryState(no_consumer="nobody at the broker takes a/b"),
        DeliveryState(no_consumer="nobody at the broker takes a/b", disk="full"),
        DeliveryState(no_consumer="nobody at the broker takes a/b", disk="full"),
        DeliveryState(disk="full"),
        DeliveryState(),
    ):
        log.delivery(state)
    assert told(caplog) == [
        "WARNING Nobody listens: nobody at the broker takes a/b",
        "INFO Somebody takes the events again",
        "INFO The disk takes messages again",
    ]


@pytest.mark.parametrize("kind", sorted(STATION_KINDS))
def test_what_the_station_does_itself_is_a_line_with_who_and_why(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Recipes, bypass, challenges and reloads are in the log as in the journal; starts are told by who starts it."""
    caplog.set_level(logging.INFO)
    with Outbox(tmp_path / "outbox.db") as outbox:
        outbox.on_entry = log_entry
        writer = MessageWriter(IDENTITY)
        outbox.put(None, journal=[writer.journal_entry(kind, user="anna", comment="lens", detail="for 10 min")])
        outbox.put(None, journal=[writer.journal_entry("raised", alarm="scratched", detail="0.5 against 0.4")])
    lines = [line.split(" ", 1)[1] for line in told(caplog) if "anna" in line or "scratched" in line]
    silent = kind in {"started", "ended", "settings", "bundle"}
    assert lines == ([] if silent else [f"{kind.replace('_', ' ')}, by anna: lens; for 10 min"])


def test_a_running_station_tells_of_a_bypass(tmp_path: Path) -> None:
    """Begun and ended from the shell, each is one line of the log of `linewatch run`, by whom and why."""
    with Mosquitto(tmp_path) as broker:
        config = write_line(tmp_path, broker.port)
        with running(config) as line:
            shell("bypass", config, "--on", "--minutes", "10", "--reason", "lens", "--user", "anna")
            shell("bypass", config, "--off", "--user", "bert")
            line.terminate()
            _, said = line.communicate(timeout=120)
    assert "WARNING edge.line: bypass begin, by anna: lens" in said
    assert "INFO edge.line: bypass end, by bert: " in said
