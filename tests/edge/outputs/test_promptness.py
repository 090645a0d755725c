"""A verdict comes soon: it is told before it is recorded, and threads do not wait long for their turn."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

from edge.alarms.manager import AlarmManager
from edge.alarms.rules import alarm_rules
from edge.app.promptness import Promptness
from edge.messages.writer import MessageWriter
from edge.outbox import Outbox
from edge.records.parts import PartResult
from edge.station.alarm_service import AlarmService
from edge.station.recorder import Recorder
from tests.edge.messages.test_messages import IDENTITY
from tests.edge.station.shift_store import part


def test_the_machine_hears_of_a_part_before_it_is_recorded(tmp_path: Path) -> None:
    """The part's message has no number yet when the machine is told."""
    with Outbox(tmp_path / "o.db") as outbox:
        messages = MessageWriter(IDENTITY)
        recorder = Recorder(messages, outbox, AlarmService(AlarmManager(alarm_rules(())), messages, outbox), live=True)
        told: list[tuple[object, int]] = []
        recorder.first = lambda one: told.append((one, outbox.reserve()))
        before, (judged, *_) = outbox.reserve(), recorder.part(part(1), 0)
    assert isinstance(judged, PartResult)
    assert told == [(judged, before + 1)]


def test_threads_take_turns_sooner_while_there_is_a_machine() -> None:
    """Threads switch over ten times as often, and living objects are frozen; afterwards all is as it was before."""
    before_s, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    with Promptness() as prompt:
        assert sys.getswitchinterval() < before_s / 10
        prompt.settle()
        assert gc.get_freeze_count() > frozen + 10_000
    assert (sys.getswitchinterval(), gc.get_freeze_count()) == (before_s, 0)
