"""Looks at a running station now and then, for who watches it, for the log and for the counters."""

from __future__ import annotations

import time
from collections.abc import Callable

from edge.commands.requests import Inbox
from edge.messages.writer import Counters
from edge.outbox import Outbox, Sender
from edge.records import CameraCondition
from edge.records.decided import Decided, DecidedPart
from edge.station.change_log import ChangeLog
from edge.station.decider import Decider
from edge.station.glance import Glance
from edge.station.view import ViewNow

_EVERY_NS = 500_000_000


class Looks:
    """Looks twice a second. `glances` is told how the station stands; a `live` one's changes are logged."""

    def __init__(self, glances: Callable[[Glance], None] | None, *, live: bool) -> None:
        self._glances = glances
        self._changes = ChangeLog() if live else None
        self._next_ns = 0

    def changes(self, decided: Decided | DecidedPart) -> None:
        """Log what changed with a frame."""
        if self._changes is not None:
            self._changes.decided(decided)

    def if_due(self, decider: Decider, outbox: Outbox, sender: Sender) -> None:
        """Look, if it is time to."""
        now_ns = time.monotonic_ns()
        if now_ns < self._next_ns or (self._glances is None and self._changes is None):
            return
        self._next_ns = now_ns + _EVERY_NS
        if self._changes is not None:
            self._changes.delivery(sender.delivery)
        if self._glances is not None:
            self._glances(glance(now_ns, decider, outbox, sender))


def glance(now_ns: int, decider: Decider, outbox: Outbox, sender: Sender) -> Glance:
    """Return how a station stands at a moment of the monotonic clock."""
    counts, stored, cameras = decider.counts, outbox.counts(), decider.cameras
    manager = decider.recorder.alarms.manager
    shown = set(manager.shown_alarms)
    return Glance(
        at_ns=now_ns,
        frames=counts.frames,
        parts=counts.parts if decider.parts is not None else None,
        ok=counts.ok,
        ng=counts.ng,
        no_read=counts.no_read,
        dropped=sum(view.dropped for view in cameras),
        age_ms=max((view.age_ms for view in cameras if view.age_ms is not None), default=None),
        camera="; ".join(filter(None, (_trouble(view, several=len(cameras) > 1) for view in cameras))),
        connected=sender.connected,
        broker=sender.trouble or "",
        waiting=stored.pending + stored.waiting,
        alarms=tuple((rule.id, rule.text) for rule in manager.rules if rule.id in shown),
        recipe=decider.recorder.recipe,
        recipe_changes=counts.recipe_changes,
        sent=sender.published,
        taken=stored.acknowledged,
    )


def _trouble(view: ViewNow, *, several: bool) -> str:
    """Say why a camera gives no frames, or nothing where it does, or waits for the next."""
    state = view.state
    if state is None or (view.ready and state.condition is CameraCondition.NO_FRAME_YET):
        return ""
    return f"{view.name}: " * several + f"{state.condition.value} {state.detail}".strip()


def counters(decider: Decider, outbox: Outbox, sender: Sender, inbox: Inbox) -> Counters:
    """Return what was counted since the process started."""
    counts, stored = decider.counts, outbox.counts()
    return Counters(
        frames=counts.frames,
        parts=counts.parts,
        ok=counts.ok,
        ng=counts.ng,
        no_read=counts.no_read,
        frames_dropped=sum(view.dropped for view in decider.cameras),
        alarms_raised=counts.alarms_raised,
        alarms_cleared=counts.alarms_cleared,
        acknowledged=stored.acknowledged,
        dead_letters=stored.dead_letters,
        results_dropped=stored.dropped,
        alarms_chattering=decider.recorder.alarms.manager.chattered,
        commands_refused=inbox.dropped,
        answers_withheld=inbox.unanswered,
        **vars(sender.counts),
        grades=dict(counts.grades.counts),
        value_factor_mean=counts.grades.value_factor_mean,
        frames_without_part=counts.stray_frames,
        ng_without_part=counts.stray_ng,
        trigger_faults=counts.trigger_faults,
        challenged=counts.challenged,
        recipe_changes=counts.recipe_changes,
    )
