"""The topics on which a line alone says how it is, and the detection of others who write there."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass
from typing import Literal

from edge.records import Message, Received

_SHOWN_WITHIN_S = 5.0  # after connecting, the broker shows what it has retained
_KNOWN_IDS = 8  # of each topic; a broker may echo what was just sent
_TOPICS_AT_MOST = 1_000

Judgement = Literal["ours", "stale", "foreign"]


@dataclass(frozen=True)
class _Sent:
    last: Message
    ids: deque[str]


class OwnTopics:
    """The last messages of a line on its retained topics below `root`; `device` is the name in its messages.

    A line's own messages do not come back to it, so a message that comes is foreign. There are two exceptions. One
    bears an id that the line gave. The other names the line's device and was retained by the broker when the line
    connected. It is out of date at worst.
    """

    def __init__(self, root: str, device: str) -> None:
        self._root = root
        self._device = device
        self._sent: dict[str, _Sent] = {}
        self._wills: set[tuple[str, str | None]] = set()
        self._shown: set[str] = set()
        self._shown_until_s = 0.0

    @property
    def filters(self) -> list[str]:
        """The topic filters to listen on."""
        return [f"{self._root}/{level}" for level in ("status", "birth", "seq", "state/+", "alarm/+")]

    def concerns(self, topic: str) -> bool:
        """Tell whether a topic is one of the line's own, and not a command's."""
        return topic.startswith(f"{self._root}/") and not topic.startswith(f"{self._root}/cmd/")

    def leaves(self, will: Message) -> None:
        """Note what the broker says for the line, whenever its connection breaks: after however many others."""
        self._wills.add((will.topic, will.id))
        self.sent(will)

    def sent(self, message: Message) -> None:
        """Note what the line says."""
        if not message.retain or not self.concerns(message.topic):
            return
        before = self._sent.pop(message.topic, None)
        ids = deque([message.id], _KNOWN_IDS) if before is None else before.ids
        if ids[-1] != message.id:
            ids.append(message.id)
        self._sent[message.topic] = _Sent(message, ids)
        while len(self._sent) > _TOPICS_AT_MOST:
            del self._sent[next(iter(self._sent))]

    def connected(self, now_s: float) -> None:
        """Note that the broker will now show what it has retained."""
        self._shown.clear()
        self._shown_until_s = now_s + _SHOWN_WITHIN_S

    def last(self, topic: str) -> Message | None:
        """Return what the line said last on a topic, as far as it is known here."""
        sent = self._sent.get(topic)
        return None if sent is None else sent.last

    def judge(self, received: Received, now_s: float) -> Judgement:
        """Tell whose a message is; a `stale` or `foreign` one is to be corrected."""
        sent = self._sent.get(received.topic)
        if sent is not None and received.id == sent.last.id and received.payload == sent.last.payload:
            return "ours"
        known = sent is not None and (received.id in sent.ids or (received.topic, received.id) in self._wills)
        if known and self._is_ours(received.payload):
            return "stale"
        first = received.retained and received.topic not in self._shown and now_s < self._shown_until_s
        if len(self._shown) < _TOPICS_AT_MOST:
            self._shown.add(received.topic)
        return "stale" if first and self._is_ours(received.payload) else "foreign"

    def _is_ours(self, payload: bytes) -> bool:
        if not payload:  # an alarm's state that was removed
            return True
        try:
            envelope = json.loads(payload)
        except (ValueError, RecursionError):
            return False
        return isinstance(envelope, dict) and envelope.get("device") == self._device
