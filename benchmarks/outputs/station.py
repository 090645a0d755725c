"""`python -m benchmarks.outputs.station CONFIG PARTS`: a station that notes when the verdict of each part stood.

It tells each hundredth part as it is decided. At the end it writes down all of them, in ns of one clock.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge.app import Watchers
from edge.app.station import open_station
from edge.observers.direct import DirectObserver
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartResult
from edge.settings import load_bundles, load_settings

TOLD_EVERY = 10
_LAST_PULSES_S = 3.0


def moments(part: PartResult) -> dict[str, Any]:
    """Return when a part was triggered, seen, and decided; `seen_ns`: the capture of its last frame."""
    captured = [at_ns for view in part.views.values() for at_ns in view.judged_ns]
    return {
        "opened_ns": part.opened_ns,
        "closed_ns": part.closed_ns,
        "seen_ns": max(captured, default=None),
        "decided_ns": part.decided_ns,
        "verdict": part.judgement.verdict.value,
    }


def run(config: Path, parts: int) -> dict[str, Any]:
    """Run a station for so many parts, and until the last pulse is over."""
    settings = load_settings(config)
    decided: list[dict[str, Any]] = []
    enough, stop = threading.Event(), threading.Event()

    def note(one: Decided | DecidedPart) -> None:
        if not isinstance(one, DecidedPart) or len(decided) >= parts:
            return
        decided.append(moments(one.part))
        if len(decided) % TOLD_EVERY == 0:
            print(len(decided), flush=True)
        if len(decided) >= parts:
            enough.set()

    watchers = Watchers([DirectObserver(note)])
    with open_station(
        settings, load_bundles(settings), store=settings.store.path, live=True, watchers=watchers
    ) as opened:
        thread = threading.Thread(target=opened.decider.run, args=(stop,), daemon=True)
        thread.start()
        enough.wait(parts)
        time.sleep(_LAST_PULSES_S)
        told = opened.machine.told()
        stop.set()
        thread.join(60)
    return {"parts": decided, "signals": told["counts"], "lost": told["lost"]}


def main(words: Sequence[str]) -> None:
    """Run the station of these settings."""
    print(json.dumps(run(Path(words[0]), int(words[1]))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
