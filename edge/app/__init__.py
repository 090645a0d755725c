"""Settings → parts → a station that runs: the room that names concrete classes."""

from edge.app.cameras import Sources, make_camera, make_recording
from edge.app.engines import make_engine, make_limited_engine, proven_engine
from edge.app.station import (
    OpenStation,
    RunResult,
    StandIns,
    Watchers,
    identity_of,
    make_outbox,
    open_station,
    run_line,
    run_station,
    turns_of,
)

__all__ = [
    "OpenStation",
    "RunResult",
    "Sources",
    "StandIns",
    "Watchers",
    "identity_of",
    "make_camera",
    "make_engine",
    "make_limited_engine",
    "make_outbox",
    "make_recording",
    "open_station",
    "proven_engine",
    "run_line",
    "run_station",
    "turns_of",
]
