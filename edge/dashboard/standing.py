"""A station's state in one word for the wall. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STREAK = 3  # NG results one after the other
_GONE = frozenset({"offline", "stale", "no_broker"})


def standing(told: Mapping[str, Any], newest: Sequence[str]) -> str:
    """Return `running`, `ng_streak`, `no_read`, `unreachable` or `unknown`. `newest`: verdicts, the newest first.

    Only a station that is online may run. One whose camera gives nothing is `no_read`, whatever it said before.
    """
    if told["state"] in _GONE:
        return "unreachable"
    if not told["believable"] or not newest:
        return "unknown"
    if newest[0] == "NO_READ":
        return "no_read"
    if len(newest) >= STREAK and set(newest[:STREAK]) == {"NG"}:
        return "ng_streak"
    return "running"
