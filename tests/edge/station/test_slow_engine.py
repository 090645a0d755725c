from __future__ import annotations

import threading
from pathlib import Path

from edge.app import run_line
from edge.bundle import load_bundle
from edge.cli.demo import BUNDLE
from edge.publishers.memory import MemoryPublisher
from edge.records.decided import Decided
from edge.settings import Settings

LINE = (
    '{"camera": {"source": "simulated", "max_age_ms": 300, "watch": "off", '
    '"simulated": {"fps": 0, "width": 256, "height": 256}},'
    '"engine": {"backend": "simulated", "simulated_tiles_per_s": 2}}'
)


def test_a_model_that_is_too_slow_is_not_blamed_on_the_camera(tmp_path: Path) -> None:
    """Frames that grow too old in the engine are NO_READ and the alarm `engine-slow`, whose text names the model."""
    stop, decided = threading.Event(), []

    def watch(one: Decided) -> None:
        decided.append(one)
        if len(decided) >= 2:
            stop.set()

    settings = Settings.model_validate_json(LINE)
    store = tmp_path / "o.db"
    run_line(settings, load_bundle(BUNDLE), stop, store=store, live=True, publisher=MemoryPublisher(), watchers=[watch])
    assert {one.body["verdict"] for one in decided} == {"NO_READ"}
    assert "ms of that is the inspection, which is too slow here" in decided[0].body["reason"]
    raised = [event for event in decided[0].alarms if event.transition == "raised"]
    shown = [event for event in raised if event.shown]
    assert [event.alarm for event in shown] == ["engine-slow"]
    assert "The model is too slow for this device" in shown[0].text
    assert not [event for event in raised if "camera" in event.text or "cable" in event.text]
