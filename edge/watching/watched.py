"""A station as its messages tell of it: what came, in which order, and what of it may still be believed.

Pure but for its own memory: times are arguments. The wire is never trusted: a value of another kind than expected
counts as absent. A message that is none is counted.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from edge.records import Received
from edge.strict_json import parse_json
from edge.watching.event_numbers import EventNumbers

VERDICTS = ("OK", "NG", "NO_READ")
MINUTE_S = 60
GAP_AFTER_NS = 10_000_000_000
_PRIORITIES = {"high": 0, "medium": 1, "low": 2}
_ALARMS_AT_MOST = 500
_TOPICS_AT_MOST = 50
_TEXT_AT_MOST = 500
_COUNTERS_AT_MOST = 100
_CAMERAS_AT_MOST = 32
_SENTENCES_AT_MOST = 16  # of one view, on how small a defect is found


@dataclass(frozen=True)
class _Heard:
    """A message. `at_ns`: our clock. `wall`, `mono_ns`: the device's clocks, None where it does not say."""

    body: Mapping[str, Any]
    at_ns: int
    live: bool
    wall: datetime | None
    mono_ns: int | None
    device: str
    number: int | None


class Watched:
    """All that is known of the station whose topics begin with `root`.

    `broker`: its address, for people. `stale_ns`: silence after which nothing is believed. `hears_events`: whether
    results are listened to.
    """

    def __init__(self, root: str, broker: str, stale_ns: int, *, hears_events: bool = True) -> None:
        self._root, self._broker, self._stale_ns = root, broker, stale_ns
        self._hears_events = hears_events
        self._connected_ns: int | None = None
        self._trouble: str | None = "not connected yet"
        self._told: dict[str, _Heard] = {}
        self._alarms: dict[str, _Heard] = {}
        self._last: _Heard | None = None
        self._newest: _Heard | None = None
        self._newest_at: datetime | None = None
        self._came = False
        self._live_ns: int | None = None
        self._results: deque[tuple[int, Counter[str]]] = deque()
        self.numbers = EventNumbers()
        self._skipped: Counter[str] = Counter()
        self._unheard: dict[str, str] = {}

    def connected(self, now_ns: int) -> None:
        """Note that the broker is there. All retained values are told anew, and news of meanwhile are not known."""
        self._connected_ns, self._trouble, self._live_ns = now_ns, None, None
        self._told.clear()
        self._alarms.clear()
        self._unheard.clear()
        self.numbers.forget()

    def lost(self, reason: str) -> None:
        """Note that the broker is not there."""
        self._connected_ns, self._trouble = None, reason

    def crowded(self, count: int) -> None:
        """Note that so many messages were thrown away unseen."""
        self._skipped["too many at once"] += count
        self.numbers.forget()

    def unheard(self, topic: str, reason: str) -> None:
        """Note that the broker does not let us hear a topic."""
        self._unheard[topic] = reason

    def take(self, received: Received, now_ns: int) -> None:
        """Take a message. One that is none of a station's is counted, and changes nothing."""
        self.hear(received, envelope_of(received.payload), now_ns)

    def hear(self, received: Received, envelope: Mapping[str, Any] | None, now_ns: int) -> None:
        """Take a message that was read already; None is one that cannot be read, or an empty one."""
        topic = received.topic.removeprefix(f"{self._root}/")
        alarm = topic.removeprefix("alarm/") if topic.startswith("alarm/") else None
        if not received.payload:
            if alarm is not None:
                self._alarms.pop(alarm, None)
            else:
                self._told.pop(topic, None)
            self._moved(received, now_ns)
            return
        if envelope is None:
            self._skipped["not understood"] += 1
            return
        body = envelope["body"]
        heard = _heard(envelope, body, received, now_ns)
        self._moved(received, now_ns)
        if heard.wall is not None and (self._newest_at is None or heard.wall >= self._newest_at):
            self._newest, self._newest_at = heard, heard.wall
        if alarm is not None:
            self._alarm(alarm, heard)
        elif topic == "seq":
            committed = _whole(body.get("committed"))
            if committed is not None and heard.live and self._hears_events:
                self.numbers.committed(_text(envelope.get("epoch")), committed, now_ns)
        elif topic.startswith("event/"):
            self._event(topic, _text(envelope.get("epoch")), heard, resent=received.resent)
        elif topic in self._told or len(self._told) < _TOPICS_AT_MOST:
            self._told[topic] = heard
        else:
            self._skipped["too many topics"] += 1

    def _moved(self, received: Received, now_ns: int) -> None:
        if not received.retained:
            self._live_ns = now_ns

    def _alarm(self, alarm: str, heard: _Heard) -> None:
        if alarm in self._alarms or len(self._alarms) < _ALARMS_AT_MOST:
            self._alarms[alarm] = heard
        else:
            self._skipped["too many alarms"] += 1

    def _event(self, topic: str, epoch: str, heard: _Heard, *, resent: bool) -> None:
        before, self._came = self.numbers.epoch, True
        new = heard.number is None or self.numbers.take(epoch, heard.number, heard.at_ns, resent=resent)
        verdict = heard.body.get("verdict")
        if topic != "event/result" or not new:
            return
        if verdict not in VERDICTS:
            self._skipped["not understood"] += 1
            return
        overtaken = before == epoch and self._last is not None and (heard.number or 0) < (self._last.number or 0)
        self._last = self._last if overtaken else heard
        second = heard.at_ns // 1_000_000_000
        if not self._results or self._results[-1][0] != second:
            self._results.append((second, Counter()))
        self._results[-1][1][verdict] += 1
        while self._results[0][0] <= second - MINUTE_S:
            self._results.popleft()

    def told(self, topic: str) -> Mapping[str, Any]:
        """Return the body that is retained at a topic below the root; an empty one where none is known."""
        heard = self._told.get(topic)
        return {} if heard is None else heard.body

    def told_s_ago(self, topic: str, now_ns: int) -> float | None:
        """Return the age of a topic's last live word, s; None without any since the broker is there."""
        heard = self._told.get(topic)
        return _seconds(now_ns - heard.at_ns) if heard is not None and heard.live else None

    @property
    def is_live(self) -> bool:
        """True once anything was said since the broker is there."""
        return self._live_ns is not None

    def has_status(self) -> bool:
        """Tell whether the station's status is known."""
        return "status" in self._told

    def picture(self, now_ns: int, wall: datetime) -> dict[str, Any]:
        """Return how the station stands, in values that JSON holds. `wall`: now, UTC. Ages in s, None = not known."""
        state, why = self.state(now_ns)
        status, recipe, last = self._told.get("status"), self._told.get("state/recipe"), self._last
        silent_ns = None if self._live_ns is None else now_ns - self._live_ns
        return {
            "root": self._root,
            "state": state,
            "why": why,
            "believable": state == "online",
            "status": None
            if status is None
            else {
                "status": _text(status.body.get("status")),
                "reason": _text(status.body.get("reason")),
                "age_s": self._age_of_status(status, now_ns, wall),
                "device": status.device,
            },
            "last_sign_s_ago": self._last_sign(now_ns, wall),
            "silent_s": _seconds(silent_ns),
            "recipe": _text(recipe.body.get("name")) if recipe else None,
            "models": _models(recipe.body) if recipe else [],
            "finds": _finds(recipe.body) if recipe else [],
            **self._health(now_ns),
            **self._counts(now_ns),
            "last": None if last is None else _result(last, now_ns),
            "alarms": self._standing(now_ns, wall),
            "broker": {
                "address": self._broker,
                "connected": self._connected_ns is not None,
                "trouble": self._trouble,
                "not_heard": dict(self._unheard),
            },
            "events": self._events(now_ns),
            "skipped": dict(self._skipped),
        }

    def standing(self, now_ns: int, wall: datetime) -> dict[str, Any]:
        """Return what `picture` tells of the state and the alarms, for a fraction of its cost."""
        state, why = self.state(now_ns)
        return {"state": state, "why": why, "believable": state == "online", "alarms": self._standing(now_ns, wall)}

    def state(self, now_ns: int) -> tuple[str, str]:
        """Say how the station stands, and why: only `online` may be believed."""
        if self._connected_ns is None:
            return "no_broker", self._trouble or "not connected"
        status = self._told.get("status")
        if status is None:
            return "unknown", f"nothing is retained at {self._root}/status: nobody spoke there, or none may hear it"
        said, reason = _text(status.body.get("status")), _text(status.body.get("reason"))
        if said == "offline":
            return said, reason
        if said not in {"online", "starting"}:
            return "unknown", f"expected the status online, starting or offline, received {said!r}"
        silent_ns = now_ns - (self._connected_ns if self._live_ns is None else self._live_ns)
        if silent_ns >= self._stale_ns:
            said, reason = "stale", f"no message for {silent_ns / 1e9:.0f} s, though its last word was {said}: {reason}"
        elif self._live_ns is None:
            said, reason = "waiting", f"its last word was {said}: {reason}; nothing was said since"
        return said, reason

    def _age_of_status(self, status: _Heard, now_ns: int, wall: datetime) -> float | None:
        """Return how old a status is. A Will was written at the connection; the last sign tells when the line went."""
        offline = status.body.get("status") == "offline" and not status.live
        return _age_s(self._newest if offline and self._newest is not None else status, now_ns, wall)

    def _last_sign(self, now_ns: int, wall: datetime) -> float | None:
        """Return how long ago the station last said anything: by our clock, else by the device's."""
        if self._live_ns is not None:
            return _seconds(now_ns - self._live_ns)
        return None if self._newest is None else _age_s(self._newest, now_ns, wall)

    def _health(self, now_ns: int) -> dict[str, Any]:
        heard = self._told.get("state/health")
        body = heard.body if heard else {}
        broker, outbox = _mapping(body.get("broker")), _mapping(body.get("outbox"))
        return {
            "cameras": _cameras(body),
            "health_s_ago": _seconds(now_ns - heard.at_ns) if heard and heard.live else None,
            "station_broker": {"connected": broker.get("connected") is True, "trouble": _text(broker.get("trouble"))},
            "outbox": {
                "pending": _whole(outbox.get("pending")),
                "dead_letters": _whole(outbox.get("dead_letters")),
                "trouble": _text(outbox.get("trouble")),
            },
        }

    def _counts(self, now_ns: int) -> dict[str, Any]:
        counters = self._told.get("state/counters")
        body = counters.body if counters else {}
        seen_ns = now_ns - (self._connected_ns if self._connected_ns is not None else now_ns)
        since = now_ns // 1_000_000_000 - MINUTE_S
        minute = sum((counts for second, counts in self._results if second > since), Counter[str]())
        of_part = self._last is not None and self._last.body.get("part_id") is not None
        return {
            "counted": "parts" if of_part or _whole(body.get("parts")) else "frames",
            "since_start": {name: _whole(body.get(name.lower())) for name in VERDICTS} if counters else None,
            "last_minute": {name: minute[name] for name in VERDICTS} if self._hears_events else None,
            "last_minute_s": round(min(MINUTE_S, seen_ns / 1e9), 1),
            "counters": {
                _text(name): value
                for name, value in list(body.items())[:_COUNTERS_AT_MOST]
                if _number(value) is not None
            },
        }

    def _standing(self, now_ns: int, wall: datetime) -> list[dict[str, Any]]:
        """Return the alarms: those that are to be seen first, the most urgent and oldest of them foremost."""
        rows = [
            {
                "alarm": _text(alarm),
                "state": _text(heard.body.get("state")),
                "priority": _text(heard.body.get("priority")),
                "age_s": self._age_of_alarm(heard, now_ns, wall),
                "text": _text(heard.body.get("text")),
                "user": _text(heard.body.get("user")) or None,
                "shown": heard.body.get("shown") is not False and heard.body.get("state") != "normal",
                "value": _number(heard.body.get("value")),
                "limit": _number(heard.body.get("limit")),
                "occurrence_id": _text(heard.body.get("occurrence_id")) or None,
                "comment": _text(heard.body.get("comment")) or None,
                "shelf": _shelf(heard.body, wall),
                "suppressed_by": _texts(heard.body.get("suppressed_by")),
                "out_of_service": heard.body.get("out_of_service") is True,
                "chattering": heard.body.get("chattering") is True,
                "members": _whole(heard.body.get("members")),
            }
            for alarm, heard in self._alarms.items()
        ]
        return sorted(rows, key=_urgency)

    def _age_of_alarm(self, heard: _Heard, now_ns: int, wall: datetime) -> float | None:
        """Return for how long an alarm is as it is, in s: by the device's own steady clock wherever that is known."""
        at_ns = _whole(heard.body.get("at_ns"))
        published_s = _age_s(heard, now_ns, wall)
        if at_ns is None or heard.mono_ns is None or published_s is None:
            return published_s
        return round(max(0.0, (heard.mono_ns - at_ns) / 1e9) + published_s, 1)

    def _events(self, now_ns: int) -> dict[str, Any]:
        missing = self.numbers.missing(now_ns, GAP_AFTER_NS)
        return {
            "epoch": self.numbers.epoch,
            "last": self.numbers.last,
            "came": self._came,
            "missing": sum(last - first + 1 for first, last in missing) + self.numbers.forgotten,
            "gaps": [list(gap) for gap in missing[:20]],
            "new_stores": self.numbers.epochs,
        }


def _urgency(row: Mapping[str, Any]) -> tuple[bool, int, float, str]:
    """Order alarms; one of a priority that is not known is as urgent as can be."""
    return not row["shown"], _PRIORITIES.get(row["priority"], 0), -(row["age_s"] or 0.0), row["alarm"]


def envelope_of(payload: bytes) -> dict[str, Any] | None:
    """Return the envelope of a message, whose `body` is a mapping; None for what is none, and for no payload."""
    try:
        envelope = parse_json(payload)
    except (ValueError, RecursionError):
        return None
    return envelope if isinstance(envelope, dict) and isinstance(envelope.get("body"), dict) else None


def _shelf(body: Mapping[str, Any], wall: datetime) -> dict[str, Any] | None:
    """Return the shelf that an alarm lies on: of which kind, by whom, and for how many seconds yet, None = unknown."""
    shelf = _mapping(body.get("shelf"))
    if not shelf:
        return None
    until = _moment(shelf.get("until"))
    left_s = None if until is None else round(max(0.0, (until - wall) / timedelta(seconds=1)), 1)
    return {
        "kind": _text(shelf.get("kind")),
        "user": _text(shelf.get("user")) or None,
        "comment": _text(shelf.get("comment")) or None,
        "left_s": left_s,
    }


def _texts(value: object) -> list[str]:
    return [_text(each) for each in value[:_CAMERAS_AT_MOST]] if isinstance(value, list) else []


def _heard(envelope: Mapping[str, Any], body: Mapping[str, Any], received: Received, now_ns: int) -> _Heard:
    return _Heard(
        body,
        now_ns,
        not received.retained,
        _moment(envelope.get("ts")),
        _whole(envelope.get("mono_ns")),
        _text(envelope.get("device")),
        _whole(envelope.get("seq")),
    )


def _cameras(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cameras of a health message: each by its name, or the one of a line that has one."""
    several, one = _mapping(body.get("cameras")), _mapping(body.get("camera"))
    named = list(several.items())[:_CAMERAS_AT_MOST]
    if one and not named:
        named = [(_text(one.get("name")), {**body, **one})]
    return [
        {
            "name": _text(name),
            "condition": _text(_mapping(camera).get("condition")),
            "detail": _text(_mapping(camera).get("detail")),
            "frames_per_s": _number(_mapping(camera).get("frames_per_s")),
            "picture_age_ms": _number(_mapping(camera).get("age_ms")),
        }
        for name, camera in named
    ]


def _models(body: Mapping[str, Any]) -> list[str]:
    """Return the models in force, each once: one for each view, or the one of a line that has one."""
    models = [*list(_mapping(body.get("models")).values())[:_CAMERAS_AT_MOST], body.get("model")]
    told = (f"{_text(model.get('name'))} {_text(model.get('version'))}".strip() for model in map(_mapping, models))
    return list(dict.fromkeys(model for model in told if model))


def _finds(body: Mapping[str, Any]) -> list[str]:
    """Return what is said of how small a defect the models in force find, each sentence once."""
    views = list(_mapping(body.get("finds")).values())[:_CAMERAS_AT_MOST]
    told = (_text(each) for view in views if isinstance(view, list) for each in view[:_SENTENCES_AT_MOST])
    return [each for each in dict.fromkeys(told) if each]


def _result(heard: _Heard, now_ns: int) -> dict[str, Any]:
    body = heard.body
    views = {_text(name): _mapping(view) for name, view in list(_mapping(body.get("views")).items())[:_CAMERAS_AT_MOST]}
    missing = body.get("missing_views")
    return {
        "verdict": body["verdict"],
        "reason": _text(body.get("reason")) or None,
        "part_id": _text(body.get("part_id")) or None,
        "camera": _text(body.get("camera")) or None,
        "frame": _whole(body.get("frame")),
        "recipe": _text(body.get("recipe")) or None,
        "grade": _text(_mapping(body.get("grade")).get("name")) or None,
        "missing_views": [_text(name) for name in missing[:_CAMERAS_AT_MOST]] if isinstance(missing, list) else [],
        "views": {name: _text(view.get("reason")) or None for name, view in views.items()},
        "challenge": body.get("challenge") is True,
        "s_ago": _seconds(now_ns - heard.at_ns),
    }


def _age_s(heard: _Heard, now_ns: int, wall: datetime) -> float | None:
    """Return how old a message is: what was said live by our clock, what was retained by the device's wall clock."""
    if heard.live:
        return _seconds(now_ns - heard.at_ns)
    return None if heard.wall is None else round(max(0.0, (wall - heard.wall) / timedelta(seconds=1)), 1)


def _seconds(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else round(duration_ns / 1e9, 1)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value[:_TEXT_AT_MOST] if isinstance(value, str) else ""


def _number(value: object) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18 else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else None


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
        return moment.astimezone(timezone.utc) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None
