from __future__ import annotations

import json

from edge.outbox import OwnTopics
from edge.records import Message, Received

STATUS = "line/inspect/v1/status"


def own_message(number: str, topic: str = STATUS) -> Message:
    """Return a retained message of the device."""
    payload = json.dumps({"device": "eye", "number": number}).encode()
    return Message(number, "status", topic, payload, retain=True)


def come_back(message: Message, **also: object) -> Received:
    """Return a message as the broker gives it."""
    return Received(message.topic, message.payload, retained=True, id=message.id, **also)  # type: ignore[arg-type] # per test


def test_a_lines_own_will_is_never_foreign() -> None:
    """A link that breaks often has the broker publish it after dozens of other words. It is stale at worst."""
    own, will = OwnTopics("line/inspect/v1", "eye"), own_message("will")
    own.leaves(will)
    for number in range(50):
        own.connected(float(number))
        own.sent(own_message(str(number)))
        assert own.judge(come_back(will), float(number)) == "stale"
        assert own.judge(come_back(will), number + 60.0) == "stale"
    elsewhere = own_message("will", "line/inspect/v1/state/recipe")
    own.sent(own_message("50", elsewhere.topic))
    assert own.judge(come_back(elsewhere), 200.0) == "foreign"
    forged = Received(STATUS, b'{"device": "other"}', retained=True, id="will")
    assert own.judge(forged, 200.0) == "foreign"
