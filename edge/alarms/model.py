"""(rule, state, what happens, now) → (state, events): one alarm. Pure; time and what names things are arguments.

The table in `states.py` orders the states. Here is what goes with a transition: the occurrence, who acknowledged, the
shelf's end, and the time of the next alarm.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edge.alarms.delays import Delays, delay
from edge.alarms.rules import AlarmRule
from edge.alarms.states import Condition, Service, Shelving, Stimulus, Suppression, next_state, traits_of
from edge.records import AlarmEvent, AlarmOutcome, AlarmTransition

_ACTIVE = frozenset({Condition.ACTIVE, Condition.ACKNOWLEDGED})
_UNACKNOWLEDGED = frozenset({Condition.ACTIVE, Condition.RETURNED, Condition.LATCHED})


@dataclass(frozen=True)
class By:
    """The giver of a command, their comment, and the time on the line's clock."""

    user: str
    comment: str
    at_ns: int


@dataclass(frozen=True)
class Shelf:
    """A shelf: the person who put an alarm aside, and from when until when on the line's clock."""

    since_ns: int
    until_ns: int
    user: str
    comment: str


@dataclass(frozen=True)
class AlarmState:
    """One alarm's memory: its state in each region of the table, and what goes with it.

    `occurrence_id`: the activation that stands, or the last one. `since_ns`: when the condition came to be.
    `value`, `limit`: what raised it, and at what. `user`, `comment`: who acknowledged the occurrence, None while nobody
    has. `active_ns`: when it was last raised or alarmed again.
    """

    condition: Condition = Condition.NORMAL
    shelving: Shelving = Shelving.UNSHELVED
    suppression: Suppression = Suppression.UNSUPPRESSED
    service: Service = Service.IN_SERVICE
    delays: Delays = field(default_factory=Delays)
    occurrence_id: str | None = None
    since_ns: int = 0
    active_ns: int = 0
    value: float | None = None
    limit: float | None = None
    user: str | None = None
    comment: str | None = None
    shelf: Shelf | None = None
    suppressed_by: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        """True while its cause stands."""
        return self.condition in _ACTIVE

    @property
    def unacknowledged(self) -> bool:
        """True while the occurrence waits for somebody to acknowledge it."""
        return self.condition in _UNACKNOWLEDGED

    @property
    def aside(self) -> bool:
        """True while it is kept from the operator: shelved, suppressed or out of service. It goes on working."""
        return (
            self.shelving is not Shelving.UNSHELVED
            or self.suppression is Suppression.SUPPRESSED
            or self.service is Service.OUT_OF_SERVICE
        )


Stepped = tuple[AlarmState, tuple[AlarmEvent, ...]]
Obeyed = tuple[AlarmState, AlarmOutcome, str, tuple[AlarmEvent, ...]]


def step(
    rule: AlarmRule, state: AlarmState, value: float | None, now_ns: int, new_occurrence: Callable[[], str]
) -> Stepped:
    """Move one alarm by one value (None: unknown) at `now_ns` of the line's clock, which never goes back.

    `new_occurrence` gives what shall name an activation, and no other for ever.
    """
    delays, stimulus = delay(rule, state.delays, value, now_ns)
    state = replace(state, delays=delays)
    if stimulus is Stimulus.RAISE:
        return _raise(rule, state, value, now_ns, new_occurrence())
    if stimulus is Stimulus.RETURN:
        return _return(rule, state, value, now_ns)
    return state, ()


def _raise(rule: AlarmRule, state: AlarmState, value: float | None, now_ns: int, occurrence_id: str) -> Stepped:
    suppressed = state.suppression is Suppression.SUPPRESSED
    # nobody need see an alarm that another one suppresses
    traits = traits_of(latch=rule.latch, needs_ack=False) if suppressed else rule.traits
    to = next_state(state.condition, Stimulus.RAISE, traits)
    assert isinstance(to, Condition)  # noqa: S101 - delays raise only what is not active
    raised = replace(
        state,
        condition=to,
        occurrence_id=occurrence_id,
        since_ns=now_ns,
        active_ns=now_ns,
        value=value,
        limit=rule.raise_limit,
        user=None,
        comment=None,
    )
    return raised, (_event(rule, raised, "raised", now_ns, value=value, limit=rule.raise_limit),)


def _return(rule: AlarmRule, state: AlarmState, value: float | None, now_ns: int) -> Stepped:
    to = next_state(state.condition, Stimulus.RETURN, rule.traits)
    assert isinstance(to, Condition)  # noqa: S101 - delays return only what is active
    cleared = replace(state, condition=to, since_ns=now_ns)
    events = [_event(rule, cleared, "cleared", now_ns, value=value, limit=rule.clear_limit)]
    shelving = next_state(state.shelving, Stimulus.RETURN, rule.traits)
    if isinstance(shelving, Shelving):
        cleared = replace(cleared, shelving=shelving, shelf=None)
        events.append(_event(rule, cleared, "unshelved", now_ns, detail="it returned to normal"))
    return cleared, tuple(events)


def end(rule: AlarmRule, state: AlarmState, now_ns: int) -> Stepped:
    """Let an alarm return at once, and begin its delays anew: what it watched is inspected no longer."""
    state = replace(state, delays=Delays())
    return _return(rule, state, None, now_ns) if state.active else (state, ())


def pass_time(rule: AlarmRule, state: AlarmState, now_ns: int) -> Stepped:
    """End a shelf whose time is over, and alarm again what has stood for too long."""
    events: list[AlarmEvent] = []
    if state.shelf is not None and now_ns >= state.shelf.until_ns:
        shelving = next_state(state.shelving, Stimulus.SHELF_ENDS, rule.traits)
        assert isinstance(shelving, Shelving)  # noqa: S101 - only what is shelved has a shelf
        state = replace(state, shelving=shelving, shelf=None)
        events.append(_event(rule, state, "unshelved", now_ns, detail="its time is over"))
    if rule.re_alarm_ms is not None and state.active and now_ns - state.active_ns >= rule.re_alarm_ms * 1_000_000:
        state, again = _alarm_again(rule, state, now_ns, "")
        events.extend(again)
    return state, tuple(events)


def _alarm_again(rule: AlarmRule, state: AlarmState, now_ns: int, why: str) -> Stepped:
    to = next_state(state.condition, Stimulus.RE_ALARM, rule.traits)
    assert isinstance(to, Condition)  # noqa: S101 - whatever is active may alarm again
    state = replace(state, condition=to, since_ns=now_ns, active_ns=now_ns)
    if state.unacknowledged:
        state = replace(state, user=None, comment=None)
    return state, (_event(rule, state, "re_alarmed", now_ns, value=state.value, limit=state.limit, detail=why),)


def acknowledge(rule: AlarmRule, state: AlarmState, occurrence_id: str, by: By) -> Obeyed:
    """Note that somebody has seen this occurrence. Said again it does nothing, nor of another occurrence."""
    if occurrence_id != state.occurrence_id:
        return state, "unknown_occurrence", "another occurrence of the alarm stands, or none", ()
    to = next_state(state.condition, Stimulus.ACKNOWLEDGE, rule.traits)
    if not isinstance(to, Condition):
        return state, "already_acked", "", ()
    seen = replace(state, condition=to, since_ns=by.at_ns, user=by.user, comment=by.comment)
    return seen, "ok", "", (_said(rule, seen, "acknowledged", by, value=state.value, limit=state.limit),)


def reset(rule: AlarmRule, state: AlarmState, occurrence_id: str, by: By) -> Obeyed:
    """Let a latched alarm go whose cause is gone; one that is still active is not reset."""
    if occurrence_id != state.occurrence_id:
        return state, "unknown_occurrence", "another occurrence of the alarm stands, or none", ()
    to = next_state(state.condition, Stimulus.RESET, rule.traits)
    if not isinstance(to, Condition):
        why = "its cause stands" if state.active else "it is not latched"
        return state, "not_latched", f"{rule.id} cannot be reset: {why}", ()
    gone = replace(state, condition=to, since_ns=by.at_ns)
    return gone, "ok", "", (_said(rule, gone, "reset", by, value=state.value, limit=state.limit),)


def shelve(rule: AlarmRule, state: AlarmState, duration_s: float | None, by: By) -> Obeyed:
    """Put an alarm aside for `duration_s`, or with None until it next returns, at most for the rule's max_shelve_s.

    Shelved again while it is, it gets the new time, but the whole never lasts longer than max_shelve_s.
    """
    since_ns = state.shelf.since_ns if state.shelf is not None else by.at_ns
    latest_ns = since_ns + rule.max_shelve_s * 1_000_000_000
    until_ns = latest_ns if duration_s is None else by.at_ns + round(duration_s * 1e9)
    if until_ns > latest_ns:
        left_s = (latest_ns - by.at_ns) / 1e9
        return state, "out_of_range", f"{rule.id} may be shelved for at most {left_s:.0f} s, not {duration_s:g} s", ()
    to = next_state(state.shelving, Stimulus.SHELVE_ONCE if duration_s is None else Stimulus.SHELVE_FOR, rule.traits)
    assert isinstance(to, Shelving)  # noqa: S101 - whatever the shelf, it may be chosen anew
    shelved = replace(state, shelving=to, shelf=Shelf(since_ns, until_ns, by.user, by.comment))
    lasts = "until it returns, at most " if duration_s is None else "for "
    detail = f"{lasts}{(until_ns - by.at_ns) / 1e9:.0f} s"
    return shelved, "ok", detail, (replace(_said(rule, shelved, "shelved", by), detail=detail),)


def unshelve(rule: AlarmRule, state: AlarmState, by: By) -> Obeyed:
    """Take an alarm back from its shelf."""
    to = next_state(state.shelving, Stimulus.UNSHELVE, rule.traits)
    if not isinstance(to, Shelving):
        return state, "not_shelved", f"{rule.id} is not shelved", ()
    back = replace(state, shelving=to, shelf=None)
    return back, "ok", "", (_said(rule, back, "unshelved", by),)


def suppress(rule: AlarmRule, state: AlarmState, by: tuple[str, ...], now_ns: int) -> Stepped:
    """Suppress an alarm by others, `by` their ids, or end that with none.

    One that was raised while it was suppressed, and is not over, then asks to be seen: it alarms again.
    """
    if by == state.suppressed_by:  # nearly always
        return state, ()
    to = next_state(state.suppression, Stimulus.SUPPRESS if by else Stimulus.UNSUPPRESS, rule.traits)
    if not isinstance(to, Suppression):
        return replace(state, suppressed_by=by), ()
    moved = replace(state, suppression=to, suppressed_by=by)
    transition: AlarmTransition = "suppressed" if by else "unsuppressed"
    told = _event(rule, moved, transition, now_ns, detail=", ".join(by or state.suppressed_by))
    if by or not rule.needs_ack or moved.condition is not Condition.ACKNOWLEDGED or moved.user is not None:
        return moved, (told,)
    again, events = _alarm_again(rule, moved, now_ns, "nothing suppresses it any more")
    return again, (told, *events)


def serve(rule: AlarmRule, state: AlarmState, now_ns: int) -> Stepped:
    """Take an alarm out of service, or back, as its rule says."""
    stimulus = Stimulus.REMOVE if rule.out_of_service else Stimulus.PUT_BACK
    to = next_state(state.service, stimulus, rule.traits)
    if not isinstance(to, Service):
        return state, ()
    moved = replace(state, service=to)
    transition: AlarmTransition = "removed_from_service" if rule.out_of_service else "returned_to_service"
    return moved, (_event(rule, moved, transition, now_ns, detail="by the settings"),)


def _said(
    rule: AlarmRule,
    state: AlarmState,
    transition: AlarmTransition,
    by: By,
    *,
    value: float | None = None,
    limit: float | None = None,
) -> AlarmEvent:
    """Return the event of a command. `value`, `limit`: what had raised the alarm."""
    return replace(
        _event(rule, state, transition, by.at_ns, value=value, limit=limit), user=by.user, comment=by.comment
    )


def _event(
    rule: AlarmRule,
    state: AlarmState,
    transition: AlarmTransition,
    now_ns: int,
    *,
    value: float | None = None,
    limit: float | None = None,
    detail: str = "",
) -> AlarmEvent:
    return AlarmEvent(
        alarm=rule.id,
        transition=transition,
        state=state.condition.value,
        occurrence_id=state.occurrence_id,
        priority=rule.priority,
        at_ns=now_ns,
        value=value,
        limit=limit,
        text=rule.text,
        shown=not state.aside,
        detail=detail,
    )
