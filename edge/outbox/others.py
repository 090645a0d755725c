"""Somebody else at the line's own topics, or with its id: seen, told for a while, and corrected."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from edge.outbox.offers import Offers
from edge.outbox.outbox import Outbox
from edge.outbox.own_topics import OwnTopics
from edge.outbox.tally import Tally
from edge.records import Message, Received
from edge.wording import counted

_log = logging.getLogger(__name__)

_TOLD_FOR_S = 60.0  # so long an alarm about somebody else stands after the last sign of them
_CORRECT_EVERY_S = 10.0  # the same topic: two lines on one root would answer each other for ever
_CORRECTED_AT_MOST = 100


class Others:
    """Corrects what others write on the line's `own` topics, by what `offers` and `outbox` know, and counts it.

    Called by the sender's thread, but for `sign`.
    """

    def __init__(self, own: OwnTopics | None, outbox: Outbox, offers: Offers, tally: Tally) -> None:
        self._own = own
        self._outbox = outbox
        self._offers = offers
        self._tally = tally
        self._seen: dict[str, tuple[float, str]] = {}  # signs of somebody else: when, and what
        self._corrected: dict[str, float] = {}

    def sign(self, of: str, now_s: float) -> str | None:
        """Say what was seen of somebody else (`taken_over`, `foreign`) not long ago. Of any thread."""
        seen_s, what = self._seen.get(of, (0.0, ""))
        return what if what and now_s - seen_s < _TOLD_FOR_S else None

    def took_over(self, why: str) -> None:
        """Note that another client with this line's id took its connection."""
        self._tally.add(taken_over=1)
        self._seen["taken_over"] = (time.monotonic(), why)
        _log.error("This line is thrown out: %s", why)

    def crowded(self, count: int) -> None:
        """Note that others write more at the line's own topics than can be looked at; `count` went unseen."""
        self._tally.add(foreign=count)
        unseen = f"; {counted(count, 'message')} went unseen" if count else ""
        told = f"somebody else floods the line's own topics{unseen}; nothing is corrected there for a while"
        self._seen["foreign"] = (time.monotonic(), told)
        _log.warning("The line's own topics are not its own: %s", told)

    def look_at(self, received: Received) -> bool:
        """Correct what somebody else wrote on the line's own topics; False where a message is on none of them."""
        if self._own is None or not self._own.concerns(received.topic):
            return False
        self._look_at_own(received, self._own)
        return True

    def _look_at_own(self, received: Received, own: OwnTopics) -> None:
        now_s = time.monotonic()
        judgement = own.judge(received, now_s)
        if judgement == "ours":
            return
        if judgement == "foreign":
            self._tally.add(foreign=1)
            told = f"somebody else wrote {counted(len(received.payload), 'byte')} at {received.topic[:200]!a}"
            self._seen["foreign"] = (now_s, told)
            _log.warning("The line's own topics are not its own: %s", told)
        if now_s < self._corrected.get(received.topic, 0.0):
            return
        if len(self._corrected) >= _CORRECTED_AT_MOST:
            self._corrected = {topic: until_s for topic, until_s in self._corrected.items() if now_s < until_s}
            if len(self._corrected) >= _CORRECTED_AT_MOST:
                return
        self._corrected[received.topic] = now_s + _CORRECT_EVERY_S
        self._correct(received, own)

    def _correct(self, received: Received, own: OwnTopics) -> None:
        """Say again what is true at a topic; remove what is retained there where nothing is."""
        topic = received.topic
        if self._offers.said(topic) is not None:
            return  # the truth is on its way
        last = own.last(topic)
        if last is None or last.durable:
            known = next((message for message in self._outbox.retained() if message.topic == topic), None)
            if known is None and any(self._outbox.pending(0, 1, topic=topic)):
                return
            # a word of just now may be neither retained nor pending yet: it is the truth all the same
            last = known or last
        if last is None:
            last = Message(f"removed-{received.id or ''}"[:100], "removed", topic, b"", retain=True, durable=False)
        if last.id != received.id or last.payload != received.payload:
            self._offers.put_back(replace(last, resent=last.durable))
