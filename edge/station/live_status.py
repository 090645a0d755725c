"""The answers of a running line to questions on its device: its state, its alarms and its journal.

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
from edge.errors import CommandError, StoreError
from edge.messages.writer import MessageWriter
from edge.outbox import JournalRow, Outbox, OutboxReader, Sender
from edge.records import FrameResult, JournalEntry
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartResult
from edge.station.view import ViewNow

_WITHIN_S = 60
_ROWS_AT_MOST = 500  # of the journal in one answer


@dataclass(frozen=True)
class _Seen:
    """The last frame of one verdict. `at_ns`: when it was decided, on the monotonic clock."""

    at_ns: int
    captured_ns: int
    age_ms: float | None
    frame: int | None
    part_id: str | None
    name: str
    verdict: str
    reason: str | None
    coverage: float | None
    counts: dict[str, int]


class LiveStatus:
    """Watches a line, and tells how it stands.

    `said`: the status and reason that the line announces. `cameras`, `recipes`, `reload`: how each view stands, each
    recipe, and a change of models, once the station is open.
    `parts`: whether the station tells parts apart.
    """

    def __init__(
        self,
        messages: MessageWriter,
        rules: Sequence[AlarmRule],
        outbox: Outbox,
        sender: Sender,
        *,
        said: Callable[[], tuple[str, str]],
        max_age_ms: Mapping[str, int],
        broker: str,
        parts: bool,
    ) -> None:
        self._rules = rules
        self._outbox = outbox
        self._sender = sender
        self._said = said
        self._max_age_ms = max_age_ms
        self._messages = messages
        self._parts = parts
        self._broker = broker
        self._started_at = datetime.now(timezone.utc)
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._last: _Seen | None = None
        self._frames: deque[tuple[int, Counter[str]]] = deque()
        self._totals: Counter[str] = Counter()
        self._captured_ns: dict[str, int | None] = {}
        self.cameras: Callable[[], Sequence[ViewNow]] = tuple
        self.recipes: Callable[[dict[str, Any]], dict[str, Any]] = self._still_starting
        self.reload: Callable[[dict[str, Any]], dict[str, Any]] = self._still_starting
        self.signals: Callable[[dict[str, Any]], dict[str, Any]] = self._still_starting

    def __call__(self, decided: Decided | DecidedPart) -> None:
        """Note what was decided, in an observer's thread: parts where the station tells them apart, else frames."""
        if isinstance(decided, DecidedPart):
            self._note(_of_part(decided.part))
            return
        seen = _of_frame(decided.inspection)
        with self._lock:
            self._captured_ns[decided.inspection.view] = None if seen.age_ms is None else seen.captured_ns
        if decided.body is not None:
            self._note(seen)

    def _note(self, seen: _Seen) -> None:
        second = seen.at_ns // 1_000_000_000
        with self._lock:
            self._seen[seen.verdict] = self._last = seen
            if not self._frames or self._frames[-1][0] != second:
                self._frames.append((second, Counter()))
            self._frames[-1][1][seen.verdict] += 1
            self._totals[seen.verdict] += 1
            while self._frames[0][0] <= second - _WITHIN_S:
                self._frames.popleft()

    def questions(self) -> Mapping[str, Callable[[dict[str, Any]], Any]]:
        """Return what answers each question, by its name."""
        return {
            "status": self.status,
            "alarms": self.alarms,
            "journal": self.journal,
            "recipes": self._recipes,
            "reloading": self._reload,
            "signals": self._signals,
        }

    def _recipes(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.recipes(asked)

    def _signals(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.signals(asked)

    def _reload(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.reload(asked)

    def _still_starting(self, _asked: dict[str, Any]) -> dict[str, Any]:
        raise CommandError("the station is still starting, and takes no other recipe or model")

    def status(self, _asked: dict[str, Any]) -> dict[str, Any]:
        """Tell how the line stands, in values that JSON holds. Ages in ms or s, as their names say."""
        status, reason = self._said()
        identity, in_force = self._messages.identity, self._messages.in_force
        return {
            "running": True,
            "root": identity.root,
            "device": identity.device,
            "recipe": in_force.recipe,
            "models": {name: asdict(model) for name, model in in_force.models.items()},
            "counts": "parts" if self._parts else "frames",
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
        with self._lock:
            captured = dict(self._captured_ns)
        return {
            "verdict": None if last is None else last.verdict,
            "verdict_reason": None if last is None else last.reason,
            "last": {verdict: _told(one, now_ns) for verdict, one in seen.items()},
            "last_minute": dict(minute),
            "since_start": totals,
            "cameras": {view.name: self._of_camera(view, captured.get(view.name), now_ns) for view in self.cameras()},
        }

    def _of_camera(self, view: ViewNow, captured_ns: int | None, now_ns: int) -> dict[str, Any]:
        return {
            "condition": "running" if view.state is None else view.state.condition.value,
            "detail": "" if view.state is None else view.state.detail,
            "picture_age_ms": None if captured_ns is None else _ms(now_ns - captured_ns),
            "max_age_ms": self._max_age_ms[view.name],
            "frames": view.frames,
            "dropped": view.dropped,
            "missed": view.facts.missed,
            "unreadable": view.facts.unreadable,
            "differences": list(view.facts.differences),
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


def _of_frame(result: FrameResult) -> _Seen:
    return _Seen(
        at_ns=time.monotonic_ns(),
        captured_ns=result.captured_ns,
        age_ms=result.age_ms,
        frame=result.frame,
        part_id=None,
        name=result.name,
        verdict=result.judgement.verdict.value,
        reason=result.judgement.reason,
        coverage=result.measurement.coverage if result.measurement else None,
        counts=_counts([result]),
    )


def _of_part(part: PartResult) -> _Seen:
    worst = [seen.worst for seen in part.views.values() if seen.worst is not None]
    coverages = [frame.measurement.coverage for frame in worst if frame.measurement is not None]
    return _Seen(
        at_ns=time.monotonic_ns(),
        captured_ns=part.opened_ns,
        age_ms=None,
        frame=None,
        part_id=part.part_id,
        name="",
        verdict=part.judgement.verdict.value,
        reason=part.judgement.reason,
        coverage=max(coverages, default=None),
        counts=_counts(worst),
    )


def _counts(results: Sequence[FrameResult]) -> dict[str, int]:
    """Count the defects of each class that the results show."""
    counts: Counter[str] = Counter()
    for result in results:
        if result.measurement is not None:
            counts.update({name: seen.count for name, seen in result.measurement.classes.items() if seen.count})
    return dict(counts)


def _told(seen: _Seen, now_ns: int) -> dict[str, Any]:
    return {
        "s_ago": round((now_ns - seen.at_ns) / 1e9, 1),
        "frame": seen.frame,
        "part_id": seen.part_id,
        "name": seen.name or None,
        "reason": seen.reason,
        "coverage": None if seen.coverage is None else round(seen.coverage, 8),
        "defects": seen.counts,
        "age_ms": None if seen.age_ms is None else round(seen.age_ms, 1),
    }


def _ms(duration_ns: int) -> float:
    return round(duration_ns / 1e6, 1)
