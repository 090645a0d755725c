"""Announcements that the broker does not take: they are not said for a while."""

from __future__ import annotations

import time


class Shunned:
    """The topics of announcements that are not said now, until when, and why. Changed by the sender's thread."""

    def __init__(self) -> None:
        self._topics: dict[str, tuple[float, str]] = {}

    def add(self, topic: str, why: str, for_s: float) -> None:
        """Say nothing at a topic for so long."""
        self._topics[topic] = (time.monotonic() + for_s, why)

    def holds(self, topic: str) -> bool:
        """Tell whether nothing is said at a topic now; one whose time is over is forgotten."""
        until_s, _ = self._topics.get(topic, (0.0, ""))
        if time.monotonic() < until_s:
            return True
        self._topics.pop(topic, None)
        return False

    def __contains__(self, topic: str) -> bool:
        """Tell whether a topic was shunned, and nobody has asked for it since its time was over."""
        return topic in self._topics

    def why(self, now_s: float) -> str | None:
        """Say why something is not said now. Of any thread."""
        return next((why for until_s, why in list(self._topics.values()) if now_s < until_s), None)
