"""Each change of a line's state as one line of the log, with its reason: camera, frames, delivery."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from edge.records import DeliveryState, FrameResult, JournalEntry, NotFound, Verdict
from edge.records.alarms import STATION_KINDS
from edge.records.decided import Decided, DecidedPart
from edge.repeats import likeness

_log = logging.getLogger("edge.line")

# The parts of the outbox tell these themselves at the beginning, but not at the end.
_ENDS = {"disk": "The disk takes messages again", "refused": "No message is a dead letter any more"}
_BEGINS = {"no_consumer": ("Nobody listens", "Somebody takes the events again")}


# The journal's notes of the station itself. Its starts and ends are told by who starts it.
_NOTED = (STATION_KINDS | {"trigger"}) - {"started", "ended", "settings", "bundle"}


def log_entry(entry: JournalEntry) -> None:
    """Write the station's own entries of the journal as lines of the log.

    Alarms and commands stand in the journal only.
    """
    if entry.kind in _NOTED:
        by = f", by {entry.user}" if entry.user else ""
        why = "; ".join(text for text in (entry.comment, entry.detail) if text)
        warns = entry.kind in {"bypass_begin", "trigger"}
        _log.log(logging.WARNING if warns else logging.INFO, "%s%s: %s", entry.kind.replace("_", " "), by, why)


@dataclass(frozen=True)
class _Trouble:
    """A trouble that keeps a camera's frames from being read, since when on the line's clock, for how many results."""

    what: str
    why: str
    since_ns: int
    results: int

    def same_as(self, other: _Trouble) -> bool:
        return self.what == other.what and likeness(self.why) == likeness(other.why)


class ChangeLog:
    """Writes a line when a camera is lost or comes back, and when frames cannot be read or can again.

    Each line says why. Reasons that differ in numbers only are the same. It is called in the loop's thread, and never
    raises.
    """

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble | None] = {}
        self._delivery = DeliveryState()

    def decided(self, decided: Decided | DecidedPart) -> None:
        """Look at one more result of a frame."""
        if isinstance(decided, DecidedPart):
            return
        result = decided.inspection
        if decided.body is None and isinstance(result.judgement, NotFound):
            return  # no part was in the picture
        known = result.camera in self._troubles
        before, now = self._troubles.get(result.camera), _trouble_of(result)
        if now is None:
            if before is not None:
                lasted_s = (result.captured_ns - before.since_ns) / 1e9
                _log.info(
                    "Camera %s: frames are read again, after %.1f s and %d NO_READ (%s)",
                    result.camera,
                    lasted_s,
                    before.results,
                    before.what,
                )
            elif not known:
                _log.info("Camera %s: frames are read", result.camera)
        elif before is None or not before.same_as(now):
            _log.warning("Camera %s: %s: %s", result.camera, now.what, now.why)
        if now is not None and before is not None:
            now = _Trouble(now.what, now.why, before.since_ns, before.results + 1)
        self._troubles[result.camera] = now

    def delivery(self, state: DeliveryState) -> None:
        """Look at how it stands with what waits; of the broker itself the sender tells."""
        before, self._delivery = self._delivery, state
        for name, over in _ENDS.items():
            if getattr(before, name) and not getattr(state, name):
                _log.info("%s", over)
        for name, (begun, over) in _BEGINS.items():
            was, is_now = getattr(before, name), getattr(state, name)
            if is_now and not was:
                _log.warning("%s: %s", begun, is_now)
            elif was and not is_now:
                _log.info("%s", over)


def _trouble_of(result: FrameResult) -> _Trouble | None:
    if result.judgement.verdict is not Verdict.NO_READ:
        return None
    what = result.camera_fault.value if result.camera_fault else "frames cannot be read"
    return _Trouble(what, result.judgement.reason or "", result.captured_ns, 1)
