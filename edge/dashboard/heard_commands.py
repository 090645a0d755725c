"""Commands of others, heard at the broker on their way to a station: rows of the journal. Nothing of them is obeyed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from edge.dashboard.records import JournalRow
from edge.records import Received

BYTES_AT_MOST = 16_384
# A trigger's openings and closings of parts come by the hundred in a second. They leave no row at the station either.
_NOT_NOTED = frozenset({"part"})
_NAME = re.compile(r"[a-z][a-z-]{0,31}")
_SUBJECTS = ("alarm", "recipe", "occurrence_id", "part_id", "signal", "action")


def command_row(place: str, name: str, received: Received, at_ms: int, asker: str) -> JournalRow | None:
    """Return the row of a command that somebody else gave.

    None for our own, for parts, and for what is none. `asker`: who asks for missing events in our own name.
    """
    if received.retained or name in _NOT_NOTED or _NAME.fullmatch(name) is None:
        return None
    body = _body(received.payload)
    if body is None:
        return JournalRow(place, at_ms, f"command-{name}", outcome="heard", detail="not understood")
    user = _text(body.get("user"))
    if name == "resend" and user == asker:
        return None
    subject = next((text for key in _SUBJECTS if (text := _text(body.get(key)))), "")
    remark = _text(body.get("comment")) or _text(body.get("reason"))
    return JournalRow(place, at_ms, f"command-{name}", user, subject, "heard", remark)


def _body(payload: bytes) -> Mapping[str, Any] | None:
    if len(payload) > BYTES_AT_MOST:
        return None
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _text(value: object) -> str:
    return value[:200] if isinstance(value, str) else ""
