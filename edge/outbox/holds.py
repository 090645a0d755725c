"""Topics that the broker does not take just now. One message of each is tried now and then; the others wait."""

from __future__ import annotations

from dataclasses import dataclass

NO_CONSUMER_WAIT_S = (1.0, 8.0)  # the first and the last pause before a topic without a consumer is tried again
QUOTA_WAIT_S = (2.0, 60.0)  # likewise one that the broker has no room for


@dataclass
class Hold:
    """One row of a topic is tried at `retry_at_s`. `refusal`: why the broker does not take it, None for no consumer."""

    since_s: float
    wait_s: float
    retry_at_s: float
    refusal: str | None
    probing: bool = False


class Holds:
    """The topics that are held. Rows are read `without` them."""

    def __init__(self) -> None:
        self._holds: dict[str, Hold] = {}

    def hold(self, topic: str, now_s: float, refusal: str | None = None) -> None:
        """Keep a topic back, and try it again later, less and less often."""
        first_s, longest_s = NO_CONSUMER_WAIT_S if refusal is None else QUOTA_WAIT_S
        hold = self._holds.get(topic)
        if hold is None:
            self._holds[topic] = Hold(now_s, first_s, now_s + first_s, refusal)
        elif hold.probing:
            hold.wait_s = min(2 * hold.wait_s, longest_s)
            hold.retry_at_s, hold.probing, hold.refusal = now_s + hold.wait_s, False, refusal

    def due(self, now_s: float) -> list[tuple[str, Hold]]:
        """Return the topics of which a row is to be tried."""
        return [(topic, hold) for topic, hold in self._holds.items() if not hold.probing and now_s >= hold.retry_at_s]

    def release(self, topic: str) -> bool:
        """Hold a topic no longer; whether it was."""
        return self._holds.pop(topic, None) is not None

    def broke(self, now_s: float) -> None:
        """Note that what was tried is not on its way any more."""
        for hold in self._holds.values():
            if hold.probing:
                hold.probing, hold.retry_at_s = False, now_s

    def clear(self) -> None:
        """Hold nothing."""
        self._holds.clear()

    def topics(self) -> list[str]:
        """Return the topics that are held."""
        return list(self._holds)

    def unheard(self, now_s: float, after_s: float) -> list[str]:
        """Return the topics that have had no consumer for so long. Of any thread."""
        holds = list(self._holds.items())
        return sorted(topic for topic, hold in holds if hold.refusal is None and now_s - hold.since_s >= after_s)

    @property
    def refusal(self) -> str | None:
        """The broker's reason for not taking some topic now. Of any thread."""
        return next((hold.refusal for hold in list(self._holds.values()) if hold.refusal is not None), None)
