"""Tells Home Assistant of the station, and takes it out again when the settings no longer say so."""

from __future__ import annotations

import json
import logging

from edge.messages.home_assistant import discovery, gone, topic_of
from edge.messages.writer import Identity
from edge.outbox import Outbox
from edge.records import AlarmRecord
from edge.settings import Settings

_log = logging.getLogger(__name__)
RECORD = "station/home_assistant"


def tell_home_assistant(settings: Settings, identity: Identity, outbox: Outbox) -> None:
    """Put retained values at the discovery topic, and empty the one of an earlier start that is gone.

    The store remembers where the station was announced, in one commit with the message.
    """
    wanted = settings.home_assistant
    before = _announced(outbox)
    now = None if wanted is None else topic_of(identity, wanted)
    messages = [gone(before)] if before is not None and before != now else []
    if wanted is not None:
        messages.append(
            discovery(
                identity,
                wanted,
                cameras=list(settings.station_cameras),
                rules=settings.alarm_rules,
                health_every_s=settings.report.health_every_s,
            )
        )
    if messages:
        outbox.put(None, *messages, alarms=[AlarmRecord(RECORD, json.dumps({"topic": now}))])


def _announced(outbox: Outbox) -> str | None:
    """Return the topic at which an earlier start announced the station; None for none."""
    body = next((record.body for record in outbox.alarm_records() if record.alarm == RECORD), None)
    try:
        topic = None if body is None else json.loads(body)["topic"]
    except (ValueError, KeyError, TypeError):
        _log.warning("Where the station was announced to Home Assistant is not known: %r", body)
        return None
    return topic if isinstance(topic, str) and topic.endswith("/config") else None
