"""(the decision, the station's state, now) → levels of signals. Pure; time is an argument.

A part's verdict is three bits. They and the part's values are set before `result_counter` rises, and held until the
next part. So two NG parts in a row are two, for a machine that waits for the counter.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from edge.outputs.by_hand import HandTest
from edge.outputs.settings import TEXTS, UNKNOWN_VALUE, VALUES, VERDICTS, OutputRule
from edge.records.outputs import Level, PartSignal, StationSignal

# The time after its loop's last mark at which a station is taken for dead. Its heartbeat stops then.
STALL_NS = 2_000_000_000
COUNTS_TO = 65_535  # a register's; 0 means that there was no part yet
TEXT_AT_MOST = 100
_OF_PART = frozenset({"part_id", "recipe"})
Changes = tuple[tuple[str, Level], ...]


@dataclass(frozen=True)
class Signals:
    """The levels of all signals. `safe`: why they are the safe ones; empty while the station's own are.

    `parts`: what `result_counter` says. `triggered`: a handshake waits for its part. `beats`, `beat_ns`: what the
    heartbeat says, and since when.
    """

    levels: Mapping[str, Level] = field(default_factory=dict)
    safe: str = "it starts"
    parts: int = 0
    triggered: bool = False
    beats: int = 0
    beat_ns: int | None = None


def begin(rules: Mapping[str, OutputRule]) -> tuple[Signals, Changes]:
    """Return the safe levels of all signals."""
    levels = {name: _safe_level(rule) for name, rule in rules.items()}
    return Signals(levels), _ordered(rules, levels)


def part(rules: Mapping[str, OutputRule], signals: Signals, decided: PartSignal) -> tuple[Signals, Changes]:
    """Show a part. It is only counted while the levels are the safe ones."""
    signals = replace(signals, parts=signals.parts % COUNTS_TO + 1)
    if signals.safe:
        return signals, ()
    wanted: dict[str, Level] = {}
    for name, rule in rules.items():
        if rule.rule in VERDICTS:
            wanted[name] = rule.rule == decided.verdict.value.lower()
        elif rule.rule in VALUES:
            wanted[name] = _value(rule, decided)
        elif rule.rule == "result_counter":
            wanted[name] = signals.parts
        elif rule.rule in _OF_PART:
            wanted[name] = str(getattr(decided, rule.rule))[:TEXT_AT_MOST]
        elif rule.rule == "done":
            wanted[name] = signals.triggered
        elif rule.rule == "busy" and signals.triggered:
            wanted[name] = False
    signals = replace(signals, triggered=False)
    return _to(rules, signals, wanted)


def station(rules: Mapping[str, OutputRule], signals: Signals, now: StationSignal) -> tuple[Signals, Changes]:
    """Show how the station stands, unless the levels are the safe ones."""
    if signals.safe:
        return signals, ()
    wanted: dict[str, Level] = {}
    for name, rule in rules.items():
        if rule.rule == "ready":
            wanted[name] = now.ready
        elif rule.rule == "busy":
            wanted[name] = now.busy or signals.triggered
        elif rule.rule == "state":
            busy = now.busy or signals.triggered
            wanted[name] = "SingleExecution" if busy else "Ready" if now.ready else "Halted"
        elif rule.rule == "alarm":
            wanted[name] = any(alarm in rule.alarms or priority in rule.priorities for alarm, priority in now.alarms)
    return _to(rules, signals, wanted)


def recipe_changed(rules: Mapping[str, OutputRule], signals: Signals) -> tuple[Signals, Changes]:
    """Take back what was said of a part of another recipe, and be not ready until the station says so."""
    told = {*VERDICTS, *VALUES, "ready", *_OF_PART}
    return _to(rules, signals, {name: _safe_level(rule) for name, rule in rules.items() if rule.rule in told})


def triggered(rules: Mapping[str, OutputRule], signals: Signals) -> tuple[Signals, Changes]:
    """Be busy at once: the machine waits for that before it goes on."""
    signals = replace(signals, triggered=True)
    return _to(rules, signals, {name: True for name, rule in rules.items() if rule.rule == "busy" and not signals.safe})


def released(rules: Mapping[str, OutputRule], signals: Signals) -> tuple[Signals, Changes]:
    """Take back that the part is done: the machine has seen it."""
    return _to(rules, signals, {name: _safe_level(rule) for name, rule in rules.items() if rule.rule == "done"})


def make_safe(
    rules: Mapping[str, OutputRule], signals: Signals, why: str, pulsing: Collection[str] = ()
) -> tuple[Signals, Changes]:
    """Set the safe levels. Counter and heartbeat stay where they are, and so do the `pulsing` signals."""
    held = {"result_counter", "heartbeat"}
    wanted = {name: _safe_level(rule) for name, rule in rules.items() if rule.rule not in held and name not in pulsing}
    return _to(rules, replace(signals, safe=why), wanted)


def by_hand(
    rules: Mapping[str, OutputRule], signals: Signals, test: HandTest, pulsing: Collection[str] = ()
) -> tuple[Signals, Changes]:
    """Set one signal by hand, and all others to their safe levels; see `make_safe` for the `pulsing` ones."""
    signals, changes = make_safe(rules, signals, f"{test.signal} is switched by hand, by {test.user}", pulsing)
    signals, more = _to(rules, signals, {test.signal: test.level})
    return signals, (*changes, *more)


def wake(
    rules: Mapping[str, OutputRule], signals: Signals, now: StationSignal, pulsing: Collection[str] = ()
) -> tuple[Signals, Changes]:
    """Leave the safe levels. A verdict is shown from the next part on; the counter says how many there were.

    Signals that are `pulsing` go on.
    """
    signals, changes = station(rules, replace(signals, safe=""), now)
    told = {*VERDICTS, "pulse"}
    wanted: dict[str, Level] = {
        name: False for name, rule in rules.items() if rule.rule in told and name not in pulsing
    }
    wanted |= {name: _safe_level(rule) for name, rule in rules.items() if rule.rule in {*VALUES, "done", *_OF_PART}}
    wanted |= {name: signals.parts for name, rule in rules.items() if rule.rule == "result_counter"}
    signals, more = _to(rules, signals, wanted)
    return signals, (*changes, *more)


def pulse(rules: Mapping[str, OutputRule], signals: Signals, name: str, *, up: bool) -> tuple[Signals, Changes]:
    """Begin or end a pulse; it ends on the safe level while the levels are the safe ones."""
    down = bool(signals.safe) and rules[name].safe
    return _to(rules, signals, {name: up or down})


def beat(
    rules: Mapping[str, OutputRule], signals: Signals, now_ns: int, loop_ns: int | None
) -> tuple[Signals, Changes]:
    """Let the heart beat, if it is time to and the loop marked its progress within STALL_NS. `loop_ns`: when it did."""
    hearts = {name: rule for name, rule in rules.items() if rule.rule == "heartbeat"}
    if not hearts or stalled(now_ns, loop_ns):
        return signals, ()
    every_ns = min(rule.every_ms for rule in hearts.values()) * 1_000_000
    if signals.beat_ns is not None and now_ns - signals.beat_ns < every_ns:
        return signals, ()
    # no beat is made up for; a little lateness does not add up
    on_time = signals.beat_ns is not None and now_ns - signals.beat_ns < 2 * every_ns
    at_ns = signals.beat_ns + every_ns if on_time and signals.beat_ns is not None else now_ns
    beats = (signals.beats + 1) % (COUNTS_TO + 1)
    return _to(rules, replace(signals, beats=beats, beat_ns=at_ns), dict.fromkeys(hearts, beats))


def stalled(now_ns: int, loop_ns: int | None) -> bool:
    """Tell whether the loop is to be taken for dead."""
    return loop_ns is None or now_ns - loop_ns > STALL_NS


def _to(rules: Mapping[str, OutputRule], signals: Signals, wanted: Mapping[str, Level]) -> tuple[Signals, Changes]:
    changed = {name: level for name, level in wanted.items() if signals.levels[name] != level}
    return replace(signals, levels={**signals.levels, **changed}), _ordered(rules, changed)


def _ordered(rules: Mapping[str, OutputRule], levels: Mapping[str, Level]) -> Changes:
    """Return changes in the order in which a machine may see them: the counter after what it counts, and then done."""
    last = {"result_counter": 1, "busy": 2, "done": 3}
    return tuple(sorted(levels.items(), key=lambda one: last.get(rules[one[0]].rule, 0)))


def _safe_level(rule: OutputRule) -> Level:
    if rule.rule in {"coverage", "length_mm"}:
        return UNKNOWN_VALUE
    if rule.rule in {"grade", "result_counter", "heartbeat"}:
        return 0
    if rule.rule in TEXTS:
        return "Preoperational" if rule.rule == "state" else ""
    return rule.safe


def _value(rule: OutputRule, decided: PartSignal) -> Level:
    value = getattr(decided, rule.rule)
    return UNKNOWN_VALUE if value is None else min(round(value * rule.scaled_by), UNKNOWN_VALUE - 1)
