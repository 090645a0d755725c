"""The alarms of a station as a person has to see them: what stands, what was put aside, what may be done. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# The commands that each state allows.
_ACKNOWLEDGED_FROM = frozenset({"active", "returned", "latched"})
_RESET_FROM = frozenset({"latched", "latched_acknowledged"})
_ALARMS_AT_MOST = 500
_TEXT_AT_MOST = 500
_SHELVES_S = (600, 1_800, 3_600, 7_200, 14_400, 28_800)


@dataclass(frozen=True)
class AlarmCard:
    """One alarm. `aside`: why it is not to be seen: shelved, suppressed, out_of_service, flood; None = it is.

    `told`: the row as `Watched.picture` gives it. `acts`: the commands that it may be given now, by name.
    """

    place: str
    alarm: str
    priority: str
    aside: str | None
    told: Mapping[str, Any]
    cause: str
    consequence: str
    acts: tuple[str, ...]

    @property
    def unacknowledged(self) -> bool:
        """Tell whether nobody has said yet that they saw it."""
        return self.told["state"] in _ACKNOWLEDGED_FROM


def cards(place: str, told: Mapping[str, Any], birth: Mapping[str, Any]) -> list[AlarmCard]:
    """Return the alarms of a station: the most urgent that are to be seen first, what was put aside last."""
    if not told["alarms"]:
        return []
    rules = rules_of(birth)
    return [_card(place, row, rules.get(row["alarm"], {})) for row in told["alarms"]]


def _card(place: str, row: Mapping[str, Any], rule: Mapping[str, Any]) -> AlarmCard:
    priority = row["priority"] if row["priority"] in {"low", "medium", "high"} else "high"
    return AlarmCard(
        place, row["alarm"], priority, _aside(row), row, _text(rule, "cause"), _text(rule, "consequence"), _acts(row)
    )


def _aside(row: Mapping[str, Any]) -> str | None:
    if row["shown"]:
        return None
    if row["shelf"] is not None:
        return "shelved"
    if row["out_of_service"]:
        return "out_of_service"
    if row["suppressed_by"]:
        return "suppressed"
    return "normal" if row["state"] == "normal" else "flood"


def _acts(row: Mapping[str, Any]) -> tuple[str, ...]:
    named = row["occurrence_id"] is not None
    found = [
        *(["ack"] if named and row["state"] in _ACKNOWLEDGED_FROM else []),
        *(["reset"] if named and row["state"] in _RESET_FROM else []),
        *(["unshelve"] if row["shelf"] is not None else ["shelve"]),
    ]
    return tuple(found)


def rules_of(birth: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the rules that a station told of, by the alarm; any other entry is left out."""
    alarms = birth.get("alarms")
    listed = alarms[:_ALARMS_AT_MOST] if isinstance(alarms, list) else []
    return {rule["id"]: rule for rule in listed if isinstance(rule, dict) and isinstance(rule.get("id"), str)}


def shelf_lengths_s(rule: Mapping[str, Any]) -> list[int]:
    """Return for how long an alarm may be put aside, to choose from, in s."""
    longest = rule.get("max_shelve_s")
    most = longest if isinstance(longest, int) and not isinstance(longest, bool) and longest > 0 else _SHELVES_S[-1]
    return [seconds for seconds in _SHELVES_S if seconds <= most] or [most]


def most_urgent(found: Sequence[AlarmCard]) -> AlarmCard | None:
    """Return the alarm that is to be seen first; None where none is to be seen."""
    return next((card for card in found if card.aside is None), None)


def _text(rule: Mapping[str, Any], name: str) -> str:
    value = rule.get(name)
    return value[:_TEXT_AT_MOST] if isinstance(value, str) else ""
