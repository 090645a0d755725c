"""The one thread that carries committed rows to the broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType

from typing_extensions import Self

from edge.errors import PublishError, StoreError
from edge.outbox.ack_policy import NO_MATCHING_SUBSCRIBERS, AckPolicy
from edge.outbox.outbox import RETRY_S, Outbox
from edge.outbox.records import Row
from edge.protocols import Publisher
from edge.records import (
    Acknowledged,
    Connected,
    DeliveryState,
    Message,
    PublisherEvent,
    Received,
    Refused,
    SessionLost,
    Unheard,
)

_log = logging.getLogger(__name__)

WINDOW = 16  # below the 20 unacknowledged messages that mosquitto allows
RESEND_S = 600.0  # as long as a broker keeps our session; what it took before that, others have had time to fetch
DOUBTED_S = 10.0  # before a connection broke: a broker that was killed may remember us, and not these
PROBE_S = (1.0, 8.0)  # how soon, and in the end how often, a topic without a consumer is tried again
NO_CONSUMER_S = 10.0  # a consumer that reconnects is no reason to call anybody
_OLDEST_EVERY_S = 1.0


@dataclass
class _Hold:
    """A topic that nobody at the broker takes: one row of it is tried at `retry_at_s`, the others wait in the store."""

    since_s: float
    wait_s: float
    retry_at_s: float
    probing: bool = False


class Sender:
    """One thread that carries committed rows to the publisher.

    At most WINDOW messages are unacknowledged, fewer where the broker says so. Alarms go before results, and each class
    goes in order. A row is let go when acknowledged and parked when refused. What `ack_policy` keeps, since nobody was
    there to get it, stays: then one row of that topic is tried now and then, and all follow, in order, once it is
    taken; other topics go on meanwhile. What the publisher has accepted is its to deliver across reconnections, so
    nothing is handed over twice but after a restart. At every connection the sender sends what `announce` returns
    (status, birth, state): a Will may have replaced it. A broker that forgot the session also gets each durable
    retained message again, such as standing alarms, and what it acknowledged in the last RESEND_S seconds; one that
    remembers us gets what it acknowledged in the last DOUBTED_S seconds before the connection broke. What the publisher
    hears is given to `heard`, in the sender's thread. `alive` is called while this thread moves and the outbox's is
    there. A topic is told to have no consumer after `no_consumer_s` seconds.
    """

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        announce: Callable[[], Sequence[Message]],
        heard: Callable[[Received], None] = lambda _: None,
        *,
        ack_policy: AckPolicy | None = None,
        alive: Callable[[], None] = lambda: None,
        no_consumer_s: float = NO_CONSUMER_S,
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._announce = announce
        self._heard = heard
        self._ack_policy = ack_policy or AckPolicy()
        self._alive = alive
        self._no_consumer_s = no_consumer_s
        self._offers: dict[tuple[str, bytes | None], Message] = {}
        self._offers_lock = threading.Lock()
        self._in_flight: dict[int, tuple[Message, Row | None]] = {}
        self._cursor = {True: 0, False: 0}
        self._holds: dict[str, _Hold] = {}
        self._generation = outbox.generation
        self._forgotten = False
        self._lost_at_s: float | None = None
        self._window = WINDOW
        self._connected: bool | None = None  # None: not known yet
        self._hold_until_s = 0.0
        self._wake = threading.Event()
        self._stop_at_s: float | None = None
        self._farewell: Message | None = None
        self._thread: threading.Thread | None = None
        self._refused: str | None = None
        self._listeners: dict[str, tuple[bool, float]] = {}
        self._oldest_s = 0.0
        self._oldest_at_s = 0.0
        self.published = 0
        self.trouble: str | None = None

    def __enter__(self) -> Self:
        self._outbox.listen(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0)

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return bool(self._connected)

    @property
    def delivery(self) -> DeliveryState:
        """How it stands between deciding and the broker; of any thread, without waiting."""
        outbox, counts = self._outbox, self._outbox.counts()
        parked = f"{counts.parked} messages are parked; {self._refused or 'the broker refused them before'}"
        now_s = time.monotonic()
        unheard = sorted(
            topic for topic, hold in list(self._holds.items()) if now_s - hold.since_s >= self._no_consumer_s
        )
        return DeliveryState(
            oldest_s=self._oldest_s if counts.pending else 0.0,
            disk=outbox.trouble,
            broker=self.trouble if self._connected is False else None,
            refused=parked if counts.parked else None,
            no_consumer=f"nobody at the broker takes {', '.join(unheard)}" if unheard else None,
            set_aside=outbox.replaced,
            unwritable=outbox.unwritable,
            overflow=f"{counts.alarms_dropped} alarm messages had no room" if counts.alarms_dropped else None,
        )

    def listeners(self) -> dict[str, tuple[bool, float]]:
        """Tell of each topic of events whether somebody took the last one, and when, on the monotonic clock, s."""
        return dict(self._listeners)

    def offer(self, message: Message) -> None:
        """Accept a message that need not survive: sent while connected, and only the latest of its topic.

        Answers are each sent, though several may go to one topic: they differ in their correlation.
        """
        with self._offers_lock:
            self._put_offer(message)
        self._wake.set()

    def _put_offer(self, message: Message) -> None:
        key = (message.topic, message.correlation)
        self._offers.pop(key, None)
        self._offers[key] = message

    def stop(self, drain_s: float, farewell: Message | None = None) -> None:
        """Send for at most `drain_s` what is left, then `farewell`, and end; rows that remain stay in the outbox."""
        if self._thread is None:
            return
        self._outbox.flush(drain_s)
        self._farewell = farewell
        self._stop_at_s = time.monotonic() + drain_s
        self._wake.set()
        self._thread.join(drain_s + 3 * RETRY_S)
        self._thread = None
        self._outbox.listen(lambda: None)

    def _run(self) -> None:
        while True:
            try:
                self._turn()
                if self._finished():
                    return
            except Exception as error:  # noqa: BLE001 - a sender that died would silence the line unseen
                _log.exception("The sender failed and goes on in %g s", RETRY_S)
                self.trouble = f"the sender failed: {error}"
                time.sleep(RETRY_S)
            # Acknowledgements come without a wake-up: look often while some are awaited.
            self._wake.wait(0.005 if self._in_flight else 0.1)
            self._wake.clear()

    def _turn(self) -> None:
        for event in self._publisher.events():
            self._handle(event)
        if self._outbox.alive:
            self._alive()
        if self._generation != self._outbox.generation:
            self._generation = self._outbox.generation
            self._from_the_start()
        self._note_oldest()
        if not self._connected or time.monotonic() < self._hold_until_s:
            return
        try:
            if self._forgotten:
                self._remind()
                self._forgotten = False
            self._send_offers()
            self._probe()
            for urgent in (True, False):
                self._send_rows(urgent=urgent)
        except (PublishError, StoreError) as error:
            self.trouble = str(error)
            self._hold_until_s = time.monotonic() + RETRY_S
        else:
            if self._hold_until_s:
                self.trouble, self._hold_until_s = None, 0.0

    def _handle(self, event: PublisherEvent) -> None:
        if isinstance(event, Connected):
            if self._connected is False:
                _log.info("The broker is there again: %d messages wait", self._outbox.counts().pending)
            self._connected, self.trouble = True, None
            self._window = min(WINDOW, event.window or WINDOW)
            # at once with asking for it: what is offered meanwhile is newer, and must not be replaced by this
            with self._offers_lock:
                for message in self._announce():
                    self._put_offer(message)
            self._forgotten = self._forgotten or not event.session_present
            if event.session_present and self._lost_at_s is not None:
                self._outbox.repeat_since(time.monotonic() - self._lost_at_s + DOUBTED_S)
            self._lost_at_s = None
        elif isinstance(event, SessionLost):
            if self._connected:
                self._lost_at_s = time.monotonic()
            # the log counts what is said again; another reason is told at once
            _log.warning("No broker: %s. Messages wait in the outbox", event.reason)
            self._connected, self.trouble = False, f"no broker: {event.reason}"
        elif isinstance(event, Received):
            self._heard(event)
        elif isinstance(event, Unheard):
            self.trouble = event.reason
            _log.warning("No commands: %s", event.reason)
        else:
            self._settle(event)

    def _remind(self) -> None:
        """Tell a broker that forgot us what it should still know."""
        handed = {message.topic for message, _ in self._in_flight.values() if message.retain}
        for message in self._outbox.retained():
            # else the publisher may deliver the older one, which it has already, after this
            if message.topic not in handed:
                self.offer(replace(message, resent=True))
        self._outbox.repeat_since(RESEND_S)
        self._holds.clear()
        self._from_the_start()

    def _from_the_start(self) -> None:
        """Look for rows to send among all that are pending, not only behind those that were sent last."""
        self._cursor = {True: 0, False: 0}

    def _settle(self, event: Acknowledged | Refused) -> None:
        message, row = self._in_flight.pop(event.token.number, (None, None))
        if message is None:
            return
        if isinstance(event, Refused):
            self._refused = f"the broker refused {message.topic}: {event.reason} (0x{event.reason_code:02X})"
            self.trouble = self._refused
            _log.error("%s", self.trouble)
            if row is not None:
                self._outbox.park(row, event.reason)
                self._release(message.topic)
        elif row is not None:
            if not message.retain:
                heard = event.reason_code != NO_MATCHING_SUBSCRIBERS
                self._listeners[message.topic] = (heard, time.monotonic())
            if self._ack_policy.done(message, event.reason_code):
                self._outbox.acknowledge(row)
                self._release(message.topic)
            else:
                self._hold(message.topic)

    def _hold(self, topic: str) -> None:
        """Keep a topic back that nobody takes, and try it again later, less and less often."""
        now_s = time.monotonic()
        hold = self._holds.get(topic)
        if hold is None:
            self._holds[topic] = _Hold(now_s, PROBE_S[0], now_s + PROBE_S[0])
        elif hold.probing:
            hold.wait_s = min(2 * hold.wait_s, PROBE_S[1])
            hold.retry_at_s, hold.probing = now_s + hold.wait_s, False

    def _release(self, topic: str) -> None:
        if self._holds.pop(topic, None) is not None:
            self._from_the_start()

    def _probe(self) -> None:
        """Try the oldest row of each topic that is held and due."""
        now_s = time.monotonic()
        for topic, hold in list(self._holds.items()):
            if hold.probing or now_s < hold.retry_at_s or len(self._in_flight) >= self._window:
                continue
            sent = self._rows_in_flight()
            oldest = [row for row in self._outbox.pending(0, 1 + len(sent), topic=topic) if row.row not in sent]
            if not oldest:
                self._release(topic)
                continue
            self._send(oldest[0].message, oldest[0])
            hold.probing = True

    def _send_offers(self) -> None:
        while len(self._in_flight) < self._window:
            with self._offers_lock:
                key, message = next(iter(self._offers.items()), (None, None))
            if key is None or message is None:
                return
            self._send(message, None)
            with self._offers_lock:
                if self._offers.get(key) is message:
                    del self._offers[key]

    def _send_rows(self, *, urgent: bool) -> None:
        room = self._window - len(self._in_flight)
        if room <= 0:
            return
        sent = self._rows_in_flight()
        rows = self._outbox.pending(self._cursor[urgent], room + len(sent), urgent=urgent, without=self._holds)
        for row in rows[: room + len(sent)]:
            if row.row in sent:
                continue
            if not room:
                return
            self._send(row.message, row)
            self._cursor[urgent] = row.row
            room -= 1

    def _rows_in_flight(self) -> set[int]:
        return {row.row for _, row in self._in_flight.values() if row is not None}

    def _send(self, message: Message, row: Row | None) -> None:
        token = self._publisher.send(message)
        self._in_flight[token.number] = (message, row)
        self.published += row is not None

    def _note_oldest(self) -> None:
        now_s = time.monotonic()
        if now_s - self._oldest_at_s >= _OLDEST_EVERY_S:
            self._oldest_at_s = now_s
            with suppress(StoreError):  # told by those who cannot go on without reading
                self._oldest_s = self._outbox.oldest_s()

    def _finished(self) -> bool:
        """Whether to end now; sends the farewell once nothing is left or the time to drain is over."""
        if self._stop_at_s is None:
            return False
        over = time.monotonic() >= self._stop_at_s
        if self._connected is False or (over and not self._connected):
            return True
        # a farewell sent before the connection stands would be overtaken by what is announced at it
        unheard = self._connected is None
        if not over and (unheard or self._in_flight or self._offers or self._rows_left()):
            return False
        if self._farewell is None:
            return True
        farewell, self._farewell = self._farewell, None
        self._send(farewell, None)
        self._stop_at_s = time.monotonic() + RETRY_S
        return False

    def _rows_left(self) -> bool:
        """Whether there are rows that somebody takes."""
        return any(
            self._outbox.pending(self._cursor[urgent], 1, urgent=urgent, without=self._holds)
            for urgent in (True, False)
        )
