"""A station on the simulated line, with signals to a machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge.app.station import OpenStation, StandIns, Watchers, open_station
from edge.observers.direct import DirectObserver
from edge.protocols import Output
from edge.publishers.memory import MemoryPublisher
from edge.records import Verdict
from edge.records.decided import Decided, DecidedPart
from edge.settings import SHIPPED_BUNDLE, Settings, load_bundles

# Of a line that is not there to see its camera or its parts late: a busy machine may let it wait.
MAX_AGE_MS, PARTS = 120_000, {"timeout_ms": 60_000, "wait_ms": 60_000}
SIMULATED = {"fps": 40, "frames_per_part": 8, "width": 160, "height": 120}


def settings_of(store: Path, *, defective: float = 0.1, **more: Any) -> Settings:
    """Return the settings of a station whose light barrier opens five parts in a second."""
    camera = {"source": "simulated", "simulated": {**SIMULATED, "defective_share": defective}, "max_age_ms": MAX_AGE_MS}
    given = {
        "camera": camera,
        "bundle": str(SHIPPED_BUNDLE),
        "engine": {"backend": "simulated"},
        "parts": {"trigger": "software", **PARTS},
        "store": {"path": str(store)},
        **more,
    }
    return Settings.model_validate_json(json.dumps(given))


@contextmanager
def running(
    settings: Settings,
    store: Path,
    output: Output | None = None,
    ids: list[str] | None = None,
    publisher: MemoryPublisher | None = None,
) -> Iterator[tuple[OpenStation, list[Verdict]]]:
    """Run a station in a thread; yield it and the verdicts that it decides; `ids` gets those of the parts."""
    verdicts: list[Verdict] = []

    def note(decided: Decided | DecidedPart) -> None:
        if isinstance(decided, DecidedPart):
            verdicts.append(decided.part.judgement.verdict)
            if ids is not None:
                ids.append(decided.part.part_id)

    stop = threading.Event()
    with open_station(
        settings,
        load_bundles(settings),
        store=store,
        live=True,
        instead=StandIns(publisher=publisher or MemoryPublisher(), output=output),
        watchers=Watchers([DirectObserver(note)]),
    ) as opened:
        thread = threading.Thread(target=opened.decider.run, args=(stop,), daemon=True)
        thread.start()
        try:
            yield opened, verdicts
        finally:
            stop.set()
            thread.join(120)
