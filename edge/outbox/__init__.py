"""The durable queue between deciding and the broker.

A message that was committed here leaves only when the broker took it. `Outbox` is a SQLite file that one writer thread
owns. A bounded queue lies before it, so the loop that decides never waits for the disk. `Sender` is one thread that
carries committed rows, in order, to a publisher. `OutboxReader` reads the file beside a running line.

A message may arrive twice; its `id` tells. None is lost to a restart, a killed process, or a broker that is absent or
forgets.
"""

from edge.outbox.ack_policy import AckPolicy
from edge.outbox.journal import JournalRow
from edge.outbox.outbox import Outbox, OutboxCounts
from edge.outbox.own_topics import OwnTopics
from edge.outbox.reader import OutboxReader
from edge.outbox.records import Resent, Row
from edge.outbox.sender import Sender
from edge.outbox.store import Store

__all__ = [
    "AckPolicy",
    "JournalRow",
    "Outbox",
    "OutboxCounts",
    "OutboxReader",
    "OwnTopics",
    "Resent",
    "Row",
    "Sender",
    "Store",
]
