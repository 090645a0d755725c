"""What a running line answers to who asks it on its device: how it stands, its alarms and its journal.

It answers from the thread of the socket, so also while the loop is stuck or the disk is full.
"""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import edge
from edge.alarms import AlarmRule
from edge.errors import StoreError
from edge.messages.writer import Identity
from edge.outbox import JournalRow, Outbox, OutboxReader, Sender
from edge.records import CameraState, JournalEntry
from edge.records.decided import Decided, DecidedPart

_WITHIN_S = 60
_ROWS_AT_MOST = 500  # of the journal in one answer


@dataclass(frozen=True)
class _Seen:
    """The last frame of one verdict. `at_ns`: when it was decided, on the monotonic clock."""

    at_ns: int
    captured_ns: int
    age_ms: float | None
    frame: int | None
    name: str
    verdict: str
    reason: str | None
    coverage: float | None
    counts: dict[str, int]


class LiveStatus:
    """Watches a line, and tells how it stands.

    `said`: the status and reason that the line announces. `camera_state`: why no frame comes, None while frames come,
    once the line is there.
    """

    def __init__(
        self,
        identity: Identity,
        rules: Sequence[AlarmRule],
        outbox: Outbox,
        sender: Sender,
        *,
        said: Callable[[], tuple[str, str]],
        camera: str,
        max_age_ms: int,
        broker: str,
    ) -> None:
        self._identity = identity
        self._rules = rules
        self._outbox = outbox
        self._sender = sender
        self._said = said
        self._camera = camera
        self._max_age_ms = max_age_ms
        self._broker = broker
        self._started_at = datetime.now(timezone.utc)
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._last: _Seen | None = None
        self._frames: deque[tuple[int, Counter[str]]] = deque()
        self._totals: Counter[str] = Counter()
        self.camera_state: Callable[[], CameraState | None] = lambda: None

    def __call__(self, decided: Decided | DecidedPart) -> None:
        """Note a decided frame; in an observer's thread. A part is not noted."""
        if isinstance(decided, DecidedPart):
            return
        inspection, now_ns = decided.inspection, time.monotonic_ns()
        measurement, verdict = inspection.measurement, inspection.judgement.verdict.value
        counts = {name: seen.count for name, seen in measurement.classes.items() if seen.count} if measurement else {}
        seen = _Seen(
            at_ns=now_ns,
            captured_ns=inspection.captured_ns,
            age_ms=inspection.age_ms,
            frame=inspection.frame,
            name=inspection.name,
            verdict=verdict,
            reason=inspection.judgement.reason,
            coverage=measurement.coverage if measurement else None,
            counts=counts,
        )
        second = now_ns // 1_000_000_000
        with self._lock:
            self._seen[verdict] = self._last = seen
            if not self._frames or self._frames[-1][0] != second:
                self._frames.append((second, Counter()))
            self._frames[-1][1][verdict] += 1
            self._totals[verdict] += 1
            while self._frames[0][0] <= second - _WITHIN_S:
                self._frames.popleft()

    def questions(self) -> Mapping[str, Callable[[dict[str, Any]], Any]]:
        """Return what answers each question, by its name."""
        return {"status": self.status, "alarms": self.alarms, "journal": self.journal}

    def status(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """Tell how the line stands, in values that JSON holds. Ages in ms or s, as their names say."""
        status, reason = self._said()
        identity = self._identity
        return {
            "running": True,
            "root": identity.root,
            "device": identity.device,
            "recipe": identity.recipe,
            "model": asdict(identity.model),
            "software": edge.__version__,
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "status": status,
            "reason": reason,
            **self._picture(),
            "broker": self._delivery(),
            "waiting": self._waiting(),
        }

    def _picture(self) -> dict[str, Any]:
        now_ns = time.monotonic_ns()
        with self._lock:
            seen, last, totals = dict(self._seen), self._last, dict(self._totals)
            since = now_ns // 1_000_000_000 - _WITHIN_S
            minute = sum((counts for second, counts in self._frames if second > since), Counter[str]())
        state = self.camera_state()
        return {
            "verdict": None if last is None else last.verdict,
            "verdict_reason": None if last is None else last.reason,
            "last": {verdict: _told(one, now_ns) for verdict, one in seen.items()},
            "picture_age_ms": None if last is None or last.age_ms is None else _ms(now_ns - last.captured_ns),
            "max_age_ms": self._max_age_ms,
            "last_minute": dict(minute),
            "since_start": totals,
            "camera": {
                "name": self._camera,
                "condition": "running" if state is None else state.condition.value,
                "detail": "" if state is None else state.detail,
            },
        }

    def _delivery(self) -> dict[str, Any]:
        sender, now_s = self._sender, time.monotonic()
        return {
            "address": self._broker,
            "connected": sender.connected,
            "trouble": sender.trouble,
            "no_consumer": sender.delivery.no_consumer,
            "topics": {
                topic: {"somebody_listens": heard, "told_s_ago": round(now_s - at_s, 1)}
                for topic, (heard, at_s) in sorted(sender.listeners().items())
            },
        }

    def _waiting(self) -> dict[str, Any]:
        counts, delivery = self._outbox.counts(), self._sender.delivery
        return {
            "oldest_s": round(delivery.oldest_s, 1),
            "in_memory": counts.waiting,
            **{name: value for name, value in asdict(counts).items() if name not in {"waiting", "lost"}},
            "disk": delivery.disk,
            "replaced": delivery.set_aside,
            "could_not_be_written": delivery.unwritable,
        }

    def alarms(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """Tell what is remembered of each alarm, also while the disk takes nothing, and the rules that it has."""
        return {
            "rules": [{"id": rule.id, "priority": rule.priority, "text": rule.text} for rule in self._rules],
            "records": {record.alarm: record.body for record in self._outbox.alarm_records()},
            "disk": self._outbox.trouble,
        }

    def journal(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Tell the last rows of the journal on disk, and those entries that are not there yet; see `journal_page`."""
        alarm, part, before = asked.get("alarm"), asked.get("part"), asked.get("before")
        unwritten = [] if before is not None else self._outbox.unwritten_journal()
        told: dict[str, Any] = {
            "unwritten": [
                entry_as_json(entry)
                for entry in unwritten
                if alarm in {None, entry.alarm} and part in {None, entry.part}
            ],
            "disk": self._outbox.trouble,
        }
        try:
            rows = journal_page(self._outbox.path, int(asked["limit"]), alarm, part, before)
        except StoreError as error:
            return told | {"rows": [], "problem": str(error)}
        return told | {"rows": rows, "problem": None}


def journal_page(
    store: Path, limit: int, alarm: str | None, part: str | None, before: int | None
) -> list[dict[str, Any]]:
    """Return at most `limit` rows before a place, and at most 500, oldest first. Raises StoreError."""
    with OutboxReader(store) as reader:
        return [row_as_json(row) for row in reader.journal_rows(min(limit, _ROWS_AT_MOST), alarm, part, before)]


def row_as_json(row: JournalRow) -> dict[str, Any]:
    """Return a row of the journal in values that JSON holds."""
    return entry_as_json(row.entry) | {"place": row.place, "number": row.number, "hash": row.hash}


def entry_as_json(entry: JournalEntry) -> dict[str, Any]:
    """Return an entry of the journal; one that is not on disk has no place, number or hash."""
    at = entry.at.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return {"place": None, "number": None, "part": entry.part, **asdict(entry), "at": at, "hash": None}


def _told(seen: _Seen, now_ns: int) -> dict[str, Any]:
    return {
        "s_ago": round((now_ns - seen.at_ns) / 1e9, 1),
        "frame": seen.frame,
        "name": seen.name or None,
        "reason": seen.reason,
        "coverage": None if seen.coverage is None else round(seen.coverage, 8),
        "defects": seen.counts,
        "age_ms": None if seen.age_ms is None else round(seen.age_ms, 1),
    }


def _ms(duration_ns: int) -> float:
    return round(duration_ns / 1e6, 1)
