from __future__ import annotations

import threading
from pathlib import Path

from edge.outbox import Outbox, Sender
from edge.publishers.memory import MemoryPublisher
from edge.records import Message


def status(text: str) -> Message:
    """Make a retained status."""
    return Message(text, "status", "line/status", text.encode(), retain=True)


def test_what_is_offered_while_connecting_is_newer_than_the_announcement(tmp_path: Path) -> None:
    """A line that becomes ready while the sender asks what to announce is announced as ready, not as starting."""
    publisher = MemoryPublisher()
    others: list[threading.Thread] = []
    asked = threading.Event()

    def announce() -> list[Message]:
        said = [status("starting")]
        others.append(threading.Thread(target=lambda: sender.offer(status("online"))))
        others[-1].start()
        asked.set()
        others[-1].join(0.3)  # the other thread has every chance to be first
        return said

    with Outbox(tmp_path / "o.db") as outbox, publisher:
        sender = Sender(outbox, publisher, announce)
        with sender:
            assert asked.wait(120)
            others[0].join()
            sender.stop(3.0)
    assert publisher.retained["line/status"].payload == b"online"
