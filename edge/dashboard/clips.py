"""Clips around alarms: which are kept, and the pictures in one. A clip is Motion JPEG in AVI (RIFF)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edge.dashboard.evidence_sources import LocalEvidence, NoEvidenceError

LISTED = 50
_USUAL_S, _SLOWEST_S, _FASTEST_S = 0.2, 2.0, 1 / 60
_LISTS = frozenset({b"RIFF", b"LIST"})
_PICTURES = frozenset({b"00dc", b"00db"})


@dataclass(frozen=True)
class Clip:
    """One clip. `at`: when it was decided, ISO; `views`: those that have a picture of it."""

    name: str
    alarm: str
    at: str
    text: str
    views: tuple[str, ...]


def clips_of(source: LocalEvidence, alarm: str) -> list[Clip]:
    """Return the newest clips, of one alarm or of all. Raises NoEvidenceError."""
    found = []
    for row in source.clips(LISTED):
        try:
            clip = _clip(row, source.record(row["name"]))
        except NoEvidenceError:
            continue  # deleted by hand meanwhile
        if not alarm or clip.alarm == alarm:
            found.append(clip)
    return found


def _clip(row: Mapping[str, Any], record: Mapping[str, Any]) -> Clip:
    body = record.get("body")
    alarm = body.get("alarm") if isinstance(body, dict) else None
    views = [view.get("view") for view in record["views"] if isinstance(view, dict) and view.get("clip")]
    return Clip(
        str(row["name"]),
        str(alarm or "")[:64],
        str(row["at"]),
        str(row["reason"] or "")[:500],
        tuple(str(view)[:64] for view in views if view),
    )


def pictures_of(avi: bytes) -> Iterator[bytes]:
    """Yield the JPEGs of a clip in their order; nothing where it is none."""
    for kind, start, size in _chunks(avi):
        jpeg = avi[start : start + size]
        if kind in _PICTURES and jpeg.startswith(b"\xff\xd8"):
            yield jpeg


def seconds_each(avi: bytes) -> float:
    """Return for how long a picture of a clip is shown, s. The clip's head says it, within what can be watched."""
    for kind, start, size in _chunks(avi):
        if kind == b"avih" and size >= 4 and start + 4 <= len(avi):
            (each_us,) = struct.unpack_from("<I", avi, start)
            return min(_SLOWEST_S, max(_FASTEST_S, each_us / 1e6)) if each_us else _USUAL_S
    return _USUAL_S


def _chunks(avi: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield each chunk's name, begin and size; a list is entered (Microsoft, AVI RIFF File Reference)."""
    place = 0
    while place + 8 <= len(avi):
        kind, size = avi[place : place + 4], struct.unpack_from("<I", avi, place + 4)[0]
        if kind in _LISTS:
            place += 12
            continue
        yield kind, place + 8, size
        place += 8 + size + size % 2
