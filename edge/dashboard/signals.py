"""The signals between a station and its machine, as `state/signals` tells them. Pure.

A malformed value counts as not told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FRESH_S = 5.0  # a station tells once a second
COUNTS = ("parts", "pulses", "late", "crowded_out", "unheard", "losses", "trigger_faults")
REFUSED = frozenset({"line_runs", "machine_lost", "safe_levels"})
BARRED = frozenset({"says_ok", "beats_itself"})
_SIGNALS_AT_MOST = 100
_TEXT_AT_MOST = 200

Level = bool | float | str | None


@dataclass(frozen=True)
class Signal:
    """One signal. `level`: None where it is not known just now. `since_s`: for how long it has been so, until now.

    `barred`: why it is never switched by hand, of BARRED; None where it may be.
    """

    name: str
    rule: str
    at: str
    level: Level
    since_s: float | None
    barred: str | None = None

    @property
    def kind(self) -> str:
        """Tell how its level is shown: up, down, value or unknown."""
        if self.level is None:
            return "unknown"
        return "value" if not isinstance(self.level, bool) else "up" if self.level else "down"

    @property
    def shown(self) -> str:
        """Its level where it is no bit."""
        return f"{self.level:.10g}" if isinstance(self.level, float) else str(self.level)


@dataclass(frozen=True)
class Signals:
    """The state of all signals of a station. `age_s`: of what was told; `fresh`: whether it is of now.

    `refused`: why nothing can be switched by hand, of REFUSED; None where it can. `hand`: what is switched by hand,
    by whom, and for how many seconds yet.
    """

    age_s: float
    fresh: bool
    link: str
    lost: str
    safe: str
    late: str
    read_s: float | None
    counts: Mapping[str, int | None]
    refused: str | None
    hand: tuple[str, str, float] | None
    outputs: Sequence[Signal]
    inputs: Sequence[Signal]
    omitted: int

    def output(self, name: str) -> Signal | None:
        """Return an output by its name; None where the station told of none."""
        return next((each for each in self.outputs if each.name == name), None)


def signals_of(body: Mapping[str, Any], age_s: float | None, *, believable: bool) -> Signals | None:
    """Return how the signals stand; None where the station told nothing. A level that is not of now is not known."""
    if not body or age_s is None:
        return None
    fresh = believable and age_s <= FRESH_S
    hand_test = _mapping(body.get("hand_test"))
    refused = hand_test.get("refused")
    signal, user, left_s = (hand_test.get(key) for key in ("signal", "user", "left_s"))
    on = isinstance(signal, str) and bool(signal) and fresh
    read_s, omitted = _number(body.get("read_s_ago")), _number(body.get("omitted"))
    counts = _mapping(body.get("counts"))
    return Signals(
        age_s=age_s,
        fresh=fresh,
        link=_text(body.get("link")),
        lost=_text(body.get("lost")),
        safe=_text(body.get("safe")),
        late=_text(body.get("late")),
        read_s=None if read_s is None else read_s + age_s,
        counts={name: _whole(counts.get(name)) for name in COUNTS},
        refused=None if refused is None else refused if refused in REFUSED else "line_runs",
        hand=(_text(signal), _text(user), max(0.0, (_number(left_s) or 0.0) - age_s)) if on else None,
        outputs=_signals(body.get("outputs"), age_s, fresh=fresh),
        inputs=_signals(body.get("inputs"), age_s, fresh=fresh),
        omitted=int(omitted or 0),
    )


def _signals(told: object, age_s: float, *, fresh: bool) -> list[Signal]:
    rows = told[:_SIGNALS_AT_MOST] if isinstance(told, list) else []
    return [_signal(row, age_s, fresh=fresh) for row in rows if isinstance(row, dict) and _text(row.get("signal"))]


def _signal(row: Mapping[str, Any], age_s: float, *, fresh: bool) -> Signal:
    level, since_s, barred = row.get("level"), _number(row.get("since_s")), row.get("barred")
    return Signal(
        _text(row.get("signal")),
        _text(row.get("rule")),
        _text(row.get("at")),
        _level(level) if fresh else None,
        None if since_s is None or not fresh else since_s + age_s,
        None if barred is None else barred if barred in BARRED else "says_ok",
    )


def _level(value: object) -> Level:
    if isinstance(value, bool):
        return value
    return _text(value) if isinstance(value, str) else _number(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value[:_TEXT_AT_MOST] if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    sound = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
    return float(value) if sound and isinstance(value, int | float) else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None or number < 0 else int(number)
