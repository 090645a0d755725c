"""One alarm's state ↔ what of it survives a restart, as JSON in the outbox.

Condition, occurrence, acknowledgement, latch, shelf and service survive. Delays, and counts of chattering and floods,
begin anew. Within one boot the monotonic clock says how long a shelf still lasts, whatever the wall clock does. Across
boots only the wall clock can. A shelf that contradicts itself ends: the alarm is seen.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from edge.alarms.delays import AlarmPhase, Band, Delays
from edge.alarms.model import AlarmState, Shelf
from edge.alarms.rules import AlarmRule
from edge.alarms.states import Condition, Service, Shelving, Suppression

_VERSION = 1


@dataclass(frozen=True)
class Moment:
    """One moment on both clocks: the line's, in ns, which belongs to a boot of the device, and UTC wall time."""

    now_ns: int
    wall: datetime
    boot_id: str

    def at_wall(self, at_ns: int) -> datetime:
        """Return the wall time of a moment of the line's clock, as the wall clock now is."""
        try:
            return self.wall + timedelta(microseconds=(at_ns - self.now_ns) / 1000)
        except OverflowError:  # a clock that is centuries off
            return self.wall


def remember(state: AlarmState, moment: Moment, *, in_flood: bool = False) -> str:
    """Return what of an alarm must survive, as JSON."""
    shelf = state.shelf
    return json.dumps(
        {
            "version": _VERSION,
            "boot_id": moment.boot_id,
            "condition": state.condition.value,
            "shelving": state.shelving.value,
            "suppressed_by": state.suppressed_by,
            "out_of_service": state.service is Service.OUT_OF_SERVICE,
            "in_flood": in_flood,
            "occurrence_id": state.occurrence_id,
            "since": moment.at_wall(state.since_ns).isoformat(),
            "since_ns": state.since_ns,
            "active_ns": state.active_ns,
            "value": state.value,
            "limit": state.limit,
            "user": state.user,
            "comment": state.comment,
            "shelf": None
            if shelf is None
            else {
                "since": moment.at_wall(shelf.since_ns).isoformat(),
                "until": moment.at_wall(shelf.until_ns).isoformat(),
                "since_ns": shelf.since_ns,
                "until_ns": shelf.until_ns,
                "user": shelf.user,
                "comment": shelf.comment,
            },
        },
        separators=(",", ":"),
    )


def recall(rule: AlarmRule, body: str, moment: Moment) -> tuple[AlarmState, bool] | None:
    """Return an alarm as it was left, on the clock of now, and whether a flood hid it.

    None for an empty record. A shelf never lasts longer than it was granted nor than the rule now allows. Raises
    ValueError for a record that is none of this version.
    """
    try:
        kept = json.loads(body)
        return _recall(rule, kept, moment) if kept else None
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"expected an alarm's state of version {_VERSION}, received {body[:200]!r}: {error}"
        ) from error


def _recall(rule: AlarmRule, kept: dict[str, Any], moment: Moment) -> tuple[AlarmState, bool]:
    if kept["version"] != _VERSION:
        raise ValueError(f"version {kept['version']}")
    same_boot = kept["boot_id"] == moment.boot_id
    condition = Condition(kept["condition"])
    active = condition in {Condition.ACTIVE, Condition.ACKNOWLEDGED}
    shelf = _recall_shelf(rule, kept["shelf"], moment, same_boot=same_boot) if kept["shelf"] else None
    since_ns = int(kept["since_ns"]) if same_boot else _on_this_clock(kept["since"], moment)
    state = AlarmState(
        condition=condition,
        # a shelf of no length is ended, and told of, at the first look
        shelving=Shelving(kept["shelving"]) if shelf is not None else Shelving.UNSHELVED,
        suppression=Suppression.SUPPRESSED if kept["suppressed_by"] else Suppression.UNSUPPRESSED,
        service=Service.OUT_OF_SERVICE if kept["out_of_service"] else Service.IN_SERVICE,
        delays=_begun_anew(rule, active=active),
        occurrence_id=kept["occurrence_id"],
        since_ns=since_ns,
        active_ns=int(kept["active_ns"]) if same_boot else moment.now_ns,
        value=kept["value"],
        limit=kept["limit"],
        user=kept["user"],
        comment=kept["comment"],
        shelf=shelf,
        suppressed_by=tuple(kept["suppressed_by"]),
    )
    return state, bool(kept["in_flood"])


def _begun_anew(rule: AlarmRule, *, active: bool) -> Delays:
    """Return what is known of the values after a restart: of an alarm whose cause stood, that it did."""
    if not active:
        return Delays(AlarmPhase.NORMAL)
    # else one value would be fewer than N of M, and the alarm would return with its cause still there
    return Delays(AlarmPhase.ACTIVE, recent=(Band.HIGH,) * rule.frames.of)


def _on_this_clock(wall: str, moment: Moment) -> int:
    """Place a wall time of another boot on the clock of this one; a future time is now."""
    ago = moment.wall - datetime.fromisoformat(wall)
    return moment.now_ns - max(0, ago // timedelta(microseconds=1)) * 1000


def _recall_shelf(rule: AlarmRule, kept: dict[str, Any], moment: Moment, *, same_boot: bool) -> Shelf:
    now_ns = moment.now_ns
    if same_boot:
        since_ns, until_ns = int(kept["since_ns"]), int(kept["until_ns"])
    else:
        since, until = (datetime.fromisoformat(kept[key]) for key in ("since", "until"))
        if not since <= moment.wall.astimezone(timezone.utc) <= until:
            until = moment.wall  # over, or the clock went back to before it began: nobody knows how long it has lasted
        since_ns = _on_this_clock(kept["since"], moment)
        until_ns = now_ns + max(0, (until - moment.wall) // timedelta(microseconds=1)) * 1000
    return Shelf(
        since_ns, min(until_ns, since_ns + rule.max_shelve_s * 1_000_000_000), str(kept["user"]), str(kept["comment"])
    )
