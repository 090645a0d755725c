"""A live line on the camera of `clock_server.py`: a line of JSON per decided frame. Not a test.

The time that a judged picture shows is read here, by its blocks, and compared with the wall clock.
"""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from edge.app import run_line
from edge.bundle import load_bundle
from edge.publishers.memory import MemoryPublisher
from edge.settings import Settings

url, folder, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
stop = threading.Event()
threading.Timer(seconds, stop.set).start()


def keep(decided: Any) -> None:
    """Write what was decided, and how old the picture is by the clock that it shows."""
    age_s = None
    if decided.frame is not None:
        row = decided.frame.pixels[10, 10::20].mean(axis=1)
        shown = sum(1 << bit for bit in range(16) if row[bit] > 128)
        age_s = ((int(time.time() * 100) - shown + 32768) % 65536 - 32768) / 100
    body = decided.body
    told = {"verdict": body["verdict"], "reason": body["reason"], "told_ms": body["age_ms"], "shown_s": age_s}
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


settings = Settings.model_validate(
    {"camera": {"source": url, "max_age_ms": 1000, "watch": "off"}, "inspect": {"limits": {"scratch": {}}}}
)
run_line(
    settings,
    load_bundle(folder / "bundle"),
    stop,
    store=folder / "outbox.db",
    live=True,
    publisher=MemoryPublisher(),
    watchers=[keep],
)
