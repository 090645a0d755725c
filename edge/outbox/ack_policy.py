"""The rule that says whether a message that the broker acknowledged is done with or is kept."""

from __future__ import annotations

from collections.abc import Collection

from edge.records import Message

NO_MATCHING_SUBSCRIBERS = 0x10


class AckPolicy:
    """Lets a message go when the broker took it, but keeps an event that nobody there was to get.

    `expect_consumer`: the classes of events, `alarms` and `results`, that somebody is to get. The broker keeps what is
    retained for those who come later, so that may always go.
    """

    def __init__(self, expect_consumer: Collection[str] = ("alarms", "results")) -> None:
        self._expect_consumer = frozenset(expect_consumer)

    def done(self, message: Message, reason_code: int) -> bool:
        """Tell whether an acknowledgement with `reason_code` (< 0x80, MQTT 5) ends the outbox's duty."""
        if reason_code != NO_MATCHING_SUBSCRIBERS or message.retain:
            return True
        return ("alarms" if message.urgent else "results") not in self._expect_consumer
