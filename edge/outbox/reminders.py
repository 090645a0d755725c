"""The durable retained messages, such as standing alarms, that a broker which forgot the line is told again."""

from __future__ import annotations

from dataclasses import replace

from edge.outbox.offers import Offers
from edge.outbox.outbox import Outbox


class Reminders:
    """Offers each durable retained message once for each time that a broker forgot. Called by the sender's thread.

    They are offered at once, and once more when all that was acknowledged is noted on disk (`due`).
    """

    def __init__(self, outbox: Outbox, offers: Offers) -> None:
        self._outbox = outbox
        self._offers = offers
        self._reminded: set[str] = set()
        self.due = False

    def begin(self) -> None:
        """Offer all of them, for a broker that forgot."""
        self._reminded.clear()
        self.offer()
        self.due = True

    def offer(self) -> None:
        """Offer each of which no newer one waits, and which was not offered before."""
        for message in self._outbox.retained():
            if message.id not in self._reminded:
                self._reminded.add(message.id)
                self._offers.put(replace(message, resent=True))

    def taken_back(self, identifier: str) -> None:
        """Offer one again that was on its way when the connection broke."""
        self._reminded.discard(identifier)
        self.due = True
