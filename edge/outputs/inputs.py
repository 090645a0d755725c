"""(state, reading, how the station stands) → parts opened and closed, wishes, faults of the trigger. Pure.

The first reading after a start or a loss is where everything begins: a signal that is up by then opens no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edge.outputs.input_settings import BITS, InputRule
from edge.records.outputs import Reading
from edge.records.parts import PartClosed, PartOpened, TriggerFault, TriggerTrouble
from edge.wording import counted

_MS = 1_000_000
# A fault that comes again within this time is counted, and told with the next one.
_TOLD_EVERY_NS = 1_000_000_000


@dataclass(frozen=True)
class Wish:
    """The machine wishes for something: `acknowledge`, `reset_counters`, or `recipe` by its name."""

    what: str
    recipe: str = ""


@dataclass(frozen=True)
class Triggered:
    """A handshake began: the station is busy until the part is decided."""


@dataclass(frozen=True)
class Released:
    """A handshake is over: the machine saw that the part is done."""


InputEvent = PartOpened | PartClosed | TriggerTrouble | Wish | Triggered | Released


@dataclass(frozen=True)
class StationNow:
    """The station's state: whether it is ready, and how many parts it has decided."""

    ready: bool = False
    decided: int = 0


@dataclass(frozen=True)
class Bit:
    """One bit: as it counts, and as it was read last and since when."""

    level: bool
    read: bool
    since_ns: int


@dataclass(frozen=True)
class Inputs:
    """All that is remembered between two readings.

    `begun`: whether there was a reading. `open_ns`: when the open part was opened, None = none is. `last_ns`: when the
    last one was. `awaits`: of a handshake the number of decided parts at which it is done, None = none goes on.
    `done_ns`: since when the machine is expected to take its trigger back. `numbers`: last values. `quiet`: per fault
    when it was told, and how many came since.
    """

    begun: bool = False
    bits: Mapping[str, Bit] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)
    open_ns: int | None = None
    last_ns: int | None = None
    awaits: int | None = None
    done_ns: int | None = None
    running_ns: int | None = None
    quiet: Mapping[TriggerFault, tuple[int, int]] = field(default_factory=dict)


@dataclass
class _Step:
    """One step under way."""

    rules: Mapping[str, InputRule]
    state: Inputs
    reading: Reading
    station: StationNow
    told: list[InputEvent]

    def fault(self, fault: TriggerFault, detail: str) -> None:
        """Tell a fault, or count it where the same was told just now."""
        at_ns = self.reading.at_ns
        told_ns, more = self.state.quiet.get(fault, (at_ns - _TOLD_EVERY_NS, 0))
        if at_ns - told_ns < _TOLD_EVERY_NS:
            self.state = replace(self.state, quiet={**self.state.quiet, fault: (told_ns, more + 1)})
            return
        self.state = replace(self.state, quiet={**self.state.quiet, fault: (at_ns, 0)})
        self.told.append(
            TriggerTrouble(fault, at_ns, f"{detail}; {more} more since the last was told" if more else detail)
        )

    def number(self, kind: str) -> int | None:
        """Return what the input of a rule says; None without one."""
        return next((self.reading.values[name] for name, rule in self.rules.items() if rule.rule == kind), None)

    def name(self, kind: str, number: int) -> str:
        """Return what a number stands for; of one that stands for nothing a name that no recipe has."""
        names = next(rule.names for rule in self.rules.values() if rule.rule == kind)
        return names[number - 1] if number <= len(names) else f"number {number}"


def step(
    rules: Mapping[str, InputRule], state: Inputs, reading: Reading, station: StationNow
) -> tuple[Inputs, tuple[InputEvent, ...]]:
    """Take a reading, and return what begins, ends and is wished for, in order."""
    if not state.begun:
        return _begin(rules, state, reading), ()
    now = _Step(rules, state, reading, station, [])
    for name, rule in rules.items():
        if rule.rule in BITS:
            _bit(now, name, rule)
    for name, rule in rules.items():
        if rule.rule == "recipe":
            _recipe(now, name)
    _time(now)
    return now.state, tuple(now.told)


def lost(state: Inputs) -> Inputs:
    """Forget how the signals stood: nobody knows what they did meanwhile. An open part ends by its time limit."""
    return Inputs(last_ns=state.last_ns, quiet=state.quiet)


def _begin(rules: Mapping[str, InputRule], state: Inputs, reading: Reading) -> Inputs:
    bits, running_ns = {}, None
    for name, rule in rules.items():
        if rule.rule in BITS:
            up = bool(reading.values[name]) != rule.inverted
            bits[name] = Bit(up, up, reading.at_ns)
            if rule.rule == "running" and up:
                running_ns = reading.at_ns
    numbers = {name: value for name, value in reading.values.items() if name not in bits}
    return replace(state, begun=True, bits=bits, numbers=numbers, running_ns=running_ns)


def _bit(now: _Step, name: str, rule: InputRule) -> None:
    bit, at_ns = now.state.bits[name], now.reading.at_ns
    up = bool(now.reading.values[name]) != rule.inverted
    if up != bit.read:
        bit = Bit(bit.level, up, at_ns)
    changed = bit.read != bit.level and at_ns - bit.since_ns >= rule.debounce_ms * _MS
    if changed:
        bit = replace(bit, level=bit.read)
    now.state = replace(now.state, bits={**now.state.bits, name: bit})
    if not changed:
        return
    if rule.rule == "part":
        _rises(now, rule, bit.since_ns) if bit.level else _falls(now, rule, bit.since_ns)
    elif rule.rule == "running":
        now.state = replace(now.state, running_ns=at_ns if bit.level else None)
    elif bit.level:
        now.told.append(Wish(rule.rule))


def _rises(now: _Step, rule: InputRule, at_ns: int) -> None:
    last_ns = now.state.last_ns
    if last_ns is not None and at_ns - last_ns < rule.min_gap_ms * _MS:
        near = (at_ns - last_ns) / _MS
        now.fault(
            TriggerFault.TOO_FAST, f"a part {near:.0f} ms after the one before; expected {rule.min_gap_ms} at least"
        )
        return
    if rule.mode == "handshake" and not _may_begin(now):
        return
    _count_parts(now)
    part_id, product = now.number("part_id"), now.number("product")
    recipe = now.name("product", product) if product else None
    # of a level the part before has fallen, if unseen: the link was away
    alone = rule.mode == "level"
    now.told.append(PartOpened(at_ns, str(part_id) if part_id else None, recipe, alone=alone))
    now.state = replace(now.state, last_ns=at_ns, open_ns=at_ns)
    if rule.part_ms is not None:
        now.told.append(PartClosed(at_ns + rule.part_ms * _MS))
        now.state = replace(now.state, open_ns=None)


def _may_begin(now: _Step) -> bool:
    """Begin a handshake, or say why not."""
    if now.state.awaits is not None:
        now.fault(TriggerFault.NOT_READY, "the machine triggers again, and the part before is not done")
        return False
    if not now.station.ready:
        now.fault(TriggerFault.NOT_READY, "the machine triggers, and the station is not ready")
        return False
    now.state = replace(now.state, awaits=now.station.decided + 1, done_ns=None)
    now.told.append(Triggered())
    return True


def _falls(now: _Step, rule: InputRule, at_ns: int) -> None:
    if now.state.open_ns is not None:
        now.told.append(PartClosed(at_ns))
        now.state = replace(now.state, open_ns=None)
    if rule.mode == "handshake" and now.state.done_ns is not None:
        now.told.append(Released())
        now.state = replace(now.state, awaits=None, done_ns=None)


def _count_parts(now: _Step) -> None:
    """Compare with the machine's own count: what it triggered and nobody saw, and what it triggered once."""
    name = next((name for name, rule in now.rules.items() if rule.rule == "part_count"), None)
    if name is None:
        return
    before, count = now.state.numbers[name], now.reading.values[name]
    missed = (count - before) % 65_536 - 1
    now.state = replace(now.state, numbers={**now.state.numbers, name: count})
    if missed < 0:
        now.fault(TriggerFault.DOUBLED, f"the trigger came again, and the count of the machine is still {count}")
    elif missed:
        now.fault(
            TriggerFault.LOST,
            f"the count of the machine went from {before} to {count}: {counted(missed, 'part')} not seen",
        )


def _recipe(now: _Step, name: str) -> None:
    number, before = now.reading.values[name], now.state.numbers[name]
    if number != before:
        now.state = replace(now.state, numbers={**now.state.numbers, name: number})
        if number:
            now.told.append(Wish("recipe", now.name("recipe", number)))


def _time(now: _Step) -> None:
    """Let time pass: a handshake is done, is released too late, or no part comes while the line runs."""
    at_ns, state = now.reading.at_ns, now.state
    rule = next((rule for rule in now.rules.values() if rule.rule == "part"), None)
    if rule is not None and state.awaits is not None:
        if state.done_ns is None and now.station.decided >= state.awaits:
            state = now.state = replace(state, done_ns=at_ns)
            if not any(bit.level for name, bit in state.bits.items() if now.rules[name].rule == "part"):
                now.told.append(Released())  # the machine had taken its trigger back before
                state = now.state = replace(state, awaits=None, done_ns=None)
        if state.done_ns is not None and at_ns - state.done_ns > rule.release_ms * _MS:
            now.state = replace(state, done_ns=at_ns)
            now.fault(TriggerFault.NOT_RELEASED, f"the part is done, and the trigger stays up for {rule.release_ms} ms")
    within = next((one.parts_within_ms for one in now.rules.values() if one.rule == "running"), None)
    if within is not None and now.state.running_ns is not None:
        since_ns = max(now.state.running_ns, now.state.last_ns or 0)
        if at_ns - since_ns > within * _MS:
            now.state = replace(now.state, running_ns=at_ns)
            now.fault(TriggerFault.LOST, f"the line runs, and no part came for {within} ms")
