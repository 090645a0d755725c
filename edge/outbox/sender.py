"""The one way out: committed rows to the publisher, and what the publisher says back to the outbox."""

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
from edge.outbox.blame import Blame, Flight
from edge.outbox.holds import Hold, Holds
from edge.outbox.offers import ANSWER, Offers
from edge.outbox.others import Others
from edge.outbox.outbox import RETRY_S, Outbox
from edge.outbox.own_topics import OwnTopics
from edge.outbox.records import Row
from edge.outbox.reminders import Reminders
from edge.outbox.shunned import Shunned
from edge.outbox.size_limits import SizeLimits
from edge.outbox.tally import SenderCounts, Tally
from edge.protocols import Publisher
from edge.rates import Rate, TurnRate
from edge.records import (
    Acknowledged,
    Connected,
    Crowded,
    DeliveryState,
    Displaced,
    Message,
    PublisherEvent,
    Received,
    Refused,
    SessionLost,
    Unheard,
)
from edge.wording import counted

_log = logging.getLogger(__name__)

WINDOW = 16  # below the 20 unacknowledged messages that mosquitto allows
RESEND_S = 600.0  # as long as a broker keeps our session; others have had time to fetch what it took before that
DOUBTED_S = 10.0  # before a connection broke: a broker that was killed may remember us, and not these
NO_CONSUMER_S = 10.0  # a consumer that reconnects is no reason to call anybody
RETRY_DEAD_LETTERS_S = 3600.0
ANSWERS_PER_S = 100
RESENT_PER_S = 1_000
# Rows that waited come no faster than consumers take them: by default mosquitto drops what it cannot hold for one, and
# it holds 1,000 messages.
ROWS_PER_S, ROWS_AT_ONCE = 1_000, 200
BROKEN_RETRIED = 20  # rows over which the connection broke, of those that are tried again together
_LOOKED_AT_S = 5.0  # rows are looked for again after so long, though nothing new was told
_IN_FLIGHT_S, _IDLE_S = 0.02, 0.5  # between two turns where nobody wakes the sender
_SPARE = 2  # places of the window that results leave to what comes behind them
_OLDEST_EVERY_S = 1.0
_QUOTA_S = 10.0
_REFUSED_S = 60.0
_PICTURE_AGAIN_S = 5.0
_NOT_AUTHORISED, _TAKEN_OVER, _TOO_LARGE = 0x87, 0x8E, 0x95
# MQTT 5: busy, number in use, rate too high, quota exceeded: another time the same message may be taken
_ANOTHER_TIME = frozenset({0x89, 0x91, 0x96, 0x97})


@dataclass(frozen=True)
class Patience:
    """After how many seconds something is told or tried again.

    `no_consumer_s`: a topic without a consumer is told; `retry_dead_letters_s`: dead letters are tried again.
    """

    no_consumer_s: float = NO_CONSUMER_S
    retry_dead_letters_s: float = RETRY_DEAD_LETTERS_S


class Sender:
    """One thread that carries committed rows to the publisher.

    At most WINDOW messages are unacknowledged, fewer where the broker says so. Alarms go first, then results, then
    answers. Rows that the broker took before and may have lost go last. Each class keeps its order. All rows together,
    answers, and repeated rows have a bounded rate. An acknowledged row is let go. A refused row is a dead letter and is
    tried again after `patience.retry_dead_letters_s`. It is tried sooner where the broker only has no room just now. A
    row that `ack_policy` keeps, since nobody was there to get it, stays. One row of that topic is then tried now and
    then; all follow, in order, once it is taken.

    The messages on their way are sent again, one by one, after a connection breaks. A message that was alone on its way
    at two breaks becomes a dead letter (see `blame.py`).

    At every connection the sender sends the messages of `announce`, the status first: a Will may have replaced it. A
    broker that forgot the session also gets each durable retained message again, such as standing alarms. It gets the
    events that it acknowledged in the last RESEND_S seconds as well. A broker that remembers the line gets those of the
    last DOUBTED_S seconds before the break.

    `heard` is given the messages that the publisher hears, in the sender's thread. Messages of others on the line's
    `own` topics are corrected. `alive` is called while this thread moves and the outbox's is there.
    """

    def __init__(
        self,
        outbox: Outbox,
        publisher: Publisher,
        announce: Callable[[], Sequence[Message]],
        heard: Callable[[Received | Crowded], None] = lambda _: None,
        *,
        ack_policy: AckPolicy | None = None,
        alive: Callable[[], None] = lambda: None,
        patience: Patience | None = None,
        own: OwnTopics | None = None,
    ) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._announce = announce
        self._heard = heard
        self._ack_policy = ack_policy or AckPolicy()
        self._alive = alive
        self._patience = patience or Patience()
        self._own = own
        self._offers = Offers()
        self._tally = Tally()
        self._others = Others(own, outbox, self._offers, self._tally)
        self._reminders = Reminders(outbox, self._offers)
        self._blame = Blame()
        self._holds = Holds()
        self._limits = SizeLimits()
        self._answers = Rate(ANSWERS_PER_S, ANSWERS_PER_S)
        self._resends = Rate(RESENT_PER_S, WINDOW)
        self._rows = TurnRate(Rate(ROWS_PER_S, ROWS_AT_ONCE))
        self._in_flight: dict[int, Flight] = {}
        self._unproven: dict[int, Flight] = {}  # QoS 0: harmless once something later was acknowledged
        self._shunned = Shunned()
        self._unauthorised: set[str] = set()
        self._cursor: dict[tuple[bool, bool], int] = {}
        self._empty: dict[tuple[bool, bool], tuple[int, tuple[str, ...], float]] = {}  # nothing is there to send
        self._resent_wait, self._resent_found = True, False  # rows that are sent again: there may be some; there were
        self._generation = outbox.generation
        self._forgotten = self._noted = False
        self._status: Message | None = None
        self._lost_at_s: float | None = None
        self._window = WINDOW
        self._connected: bool | None = None  # None: not known yet
        self._hold_until_s = 0.0
        self._retry_at_s = time.monotonic() + self._patience.retry_dead_letters_s
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
        self._publisher.listen(self._wake.set)
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(0.0)

    @property
    def connected(self) -> bool:
        """True while the broker is there."""
        return bool(self._connected)

    @property
    def counts(self) -> SenderCounts:
        """The numbers of messages that were refused, dropped or sent again. Of any thread."""
        counts = self._tally.counts
        return replace(counts, answers_dropped=counts.answers_dropped + self._offers.dropped)

    @property
    def picture_bytes(self) -> int:
        """The largest picture that the broker takes, bytes; 0 = none that is worth sending. Of any thread."""
        return self._limits.picture

    @property
    def delivery(self) -> DeliveryState:
        """The state of delivery between deciding and the broker. Of any thread, without waiting."""
        outbox, counts = self._outbox, self._outbox.counts()
        now_s = time.monotonic()
        unheard = self._holds.unheard(now_s, self._patience.no_consumer_s)
        return DeliveryState(
            oldest_s=self._oldest_s if counts.pending else 0.0,
            disk=outbox.trouble,
            broker=self.trouble if self._connected is False else None,
            refused=self._what_is_refused(counts.dead_letters, now_s),
            no_consumer=f"nobody at the broker takes {', '.join(unheard)}" if unheard else None,
            set_aside=outbox.replaced,
            unwritable=outbox.unwritable,
            overflow=f"{counts.alarms_dropped} alarm messages had no room" if counts.alarms_dropped else None,
            taken_over=self._others.sign("taken_over", now_s),
            foreign=self._others.sign("foreign", now_s),
        )

    def _what_is_refused(self, dead_letters: int, now_s: float) -> str | None:
        if dead_letters:
            held = counted(dead_letters, "message is a dead letter", "messages are dead letters")
            return f"{held}; {self._refused or 'the broker refused them before'}"
        return self._holds.refusal or self._shunned.why(now_s) or self._blame.deferred

    def listeners(self) -> dict[str, tuple[bool, float]]:
        """Tell of each topic of events whether somebody took the last one, and when, on the monotonic clock, s."""
        return dict(self._listeners)

    def offer(self, message: Message) -> None:
        """Accept a message that need not survive: sent while connected, and only the latest of its topic.

        Answers are each sent, as far as there is room.
        """
        self._offers.put(message)
        self._wake.set()

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
        self._publisher.listen(lambda: None)

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
            # Rows have rates, of which nobody tells when there is room.
            soon = self._in_flight or self._resent_found or self._rows.left <= 0
            self._wake.wait(_IN_FLIGHT_S if soon else _IDLE_S)
            self._wake.clear()

    def _turn(self) -> None:
        self._rows.begin()
        self._hear()
        if self._outbox.alive:
            self._alive()
        if self._generation != self._outbox.generation:
            self._generation = self._outbox.generation
            self._from_the_start()
            self._noted = True
        self._note_oldest()
        now_s = time.monotonic()
        if now_s >= self._retry_at_s:
            self._retry_at_s = now_s + self._patience.retry_dead_letters_s
            self._retry_dead_letters()
        if not self._connected or now_s < self._hold_until_s:
            return
        try:
            self._send_what_waits(now_s)
        except (PublishError, StoreError) as error:
            self.trouble = str(error)
            self._hold_until_s = time.monotonic() + RETRY_S
        else:
            if self._hold_until_s:
                self.trouble, self._hold_until_s = None, 0.0
        if self._in_flight:  # a message that needs no answer is known to be sent
            self._hear()

    def _hear(self) -> None:
        for event in self._publisher.events():
            self._handle(event)

    def _send_what_waits(self, now_s: float) -> None:
        if self._forgotten:
            self._remind()
            self._forgotten = self._noted = False
        if self._reminders.due and self._noted:
            self._reminders.offer()
            self._reminders.due = False
        self._blame.look_at(now_s)
        if self._blame.suspects:
            self._send_alone()
            return
        self._send_announcements(only=self._status)
        self._send_rows(urgent=True)
        self._probe(now_s)
        self._send_announcements()
        self._send_rows(urgent=False, leave=_SPARE if self._others_wait() else 0)
        self._send_answers()
        self._send_resent()

    def _others_wait(self) -> bool:
        """Tell whether something waits that goes behind the results."""
        return self._resent_found or self._offers.answer() is not None

    # The publisher's words.

    def _handle(self, event: PublisherEvent) -> None:
        if isinstance(event, Connected):
            self._begin_connection(event)
        elif isinstance(event, SessionLost):
            self._end_connection(event)
        elif isinstance(event, Received):
            if not self._others.look_at(event):
                self._heard(event)
        elif isinstance(event, Crowded):
            if event.own:
                self._others.crowded(event.count)
            else:
                self._heard(event)
        elif isinstance(event, Displaced):
            self._others.took_over(event.reason)
        elif isinstance(event, Unheard):
            if self._own is not None and event.topic in self._own.filters:
                _log.warning("Foreign messages on the line's own topics go unnoticed: %s", event.reason)
                return
            self.trouble = event.reason
            _log.warning("No commands: %s", event.reason)
        else:
            self._settle(event)

    def _begin_connection(self, event: Connected) -> None:
        if self._connected is False:
            _log.info("The broker is there again: %d messages wait", self._outbox.counts().pending)
        self._connected, self.trouble, self._hold_until_s = True, None, 0.0
        self._window = max(1, min(WINDOW, event.window or WINDOW))
        self._limits.announced = event.largest_packet
        announced = self._offers.put_all(self._announce)
        self._status = announced[0] if announced else None
        if self._own is not None:
            self._own.connected(time.monotonic())
        self._forgotten = self._forgotten or not event.session_present
        if event.session_present and self._lost_at_s is not None:
            self._outbox.resend_since(time.monotonic() - self._lost_at_s + DOUBTED_S)
        self._lost_at_s = None

    def _end_connection(self, event: SessionLost) -> None:
        if self._connected:
            self._lost_at_s = time.monotonic()
            self._note_cut(event)
        # the log counts what is said again
        _log.warning("No broker: %s. Messages wait in the outbox", event.reason)
        self._connected, self.trouble = False, f"no broker: {event.reason}"
        if event.reason_code == _TAKEN_OVER:
            self._others.took_over(event.reason)

    def _note_cut(self, event: SessionLost) -> None:
        """Take back what was on its way when a connection ended, and look for whom to blame."""
        flights = [*self._in_flight.values(), *self._unproven.values()]
        self._in_flight.clear()
        self._unproven.clear()
        self._holds.broke(time.monotonic())
        self._from_the_start()
        for flight in reversed(flights):
            if flight.row is None and flight.message.durable:
                self._reminders.taken_back(flight.message.id)  # a forgetful broker was being told what stands
            elif flight.row is None and not flight.fence:
                self._offers.put_back(flight.message)
        self._tally.add(connections_lost=not event.ours)
        if event.ours or self._stop_at_s is not None:
            return
        found = self._blame.broke(flights, event.reason_code, time.monotonic())
        if found is None:
            return
        flight, sentence = found
        if sentence == "condemned":
            self._put_aside(flight, event)
        elif sentence == "deferred":
            told = f"{self._named(flight)} was alone on its way: it is tried again, others go on"
            _log.warning("The connection broke again: %s", told)

    def _put_aside(self, flight: Flight, event: SessionLost) -> None:
        """Send something no more over which connections break, for a while."""
        message = flight.message
        why = f"the connection broke twice while {self._named(flight)} alone was on its way: {event.reason}"
        if event.reason_code == _TOO_LARGE:
            self._limits.refused(message)
        if event.reason_code == _NOT_AUTHORISED:  # some brokers say so by ending the connection
            self._unauthorised.add(message.topic)
        if flight.row is not None:
            self._limits.broke(message)
            self._refuse(flight.row, why, broke=True)
        elif message.kind == ANSWER:
            self._drop_answer(message)
            _log.error("An answer is dropped: %s", why)
        else:
            for_s = self._patience.retry_dead_letters_s
            if message.kind == "picture":
                self._limits.too_large_picture(message)
                for_s = _PICTURE_AGAIN_S
            self._shun(message, why, for_s)

    def _named(self, flight: Flight) -> str:
        return f"a message of {counted(len(flight.message.payload), 'byte')} to {flight.message.topic}"

    def _settle(self, event: Acknowledged | Refused) -> None:
        flight = self._in_flight.pop(event.token.number, None)
        if flight is None:
            return
        if flight.message.qos:
            self._blame.answered()
        if isinstance(event, Refused):
            self._blame.cleared(flight)
            self._unproven.pop(event.token.number, None)
            self._note_refusal(flight, event)
            return
        if flight.message.qos:
            self._note_taken(flight, event.token.number)
        if flight.row is not None:
            if not flight.message.retain:
                heard = event.reason_code != NO_MATCHING_SUBSCRIBERS
                self._listeners[flight.message.topic] = (heard, time.monotonic())
            if self._ack_policy.done(flight.message, event.reason_code):
                self._outbox.acknowledge(flight.row)
                if flight.message.resent:
                    self._tally.add(resent=1)
                self._release(flight.message.topic)
            else:
                self._holds.hold(flight.message.topic, time.monotonic())

    def _note_taken(self, flight: Flight, number: int) -> None:
        """Note what an acknowledgement shows: this message, and what was sent before it, did no harm."""
        self._blame.cleared(flight)
        for earlier in [earlier for earlier in self._unproven if earlier < number]:
            self._blame.cleared(self._unproven.pop(earlier))
        self._limits.taken(flight.message)
        if flight.message.topic in self._unauthorised:
            self._unauthorised.discard(flight.message.topic)
            self._outbox.retry_dead_letters(flight.message.topic)

    def _note_refusal(self, flight: Flight, event: Refused) -> None:
        message = flight.message
        why = f"the broker refused {message.topic}: {event.reason} (0x{event.reason_code:02X})"
        another_time = event.reason_code in _ANOTHER_TIME
        if event.reason_code == _TOO_LARGE:
            self._limits.refused(message)
        if flight.row is not None and another_time:
            self.trouble = why
            self._holds.hold(message.topic, time.monotonic(), why)
            _log.warning("The broker takes something later: %s", why)
        elif flight.row is not None:
            if event.reason_code == _NOT_AUTHORISED:
                self._unauthorised.add(message.topic)
            self._refuse(flight.row, why)
        elif message.kind == ANSWER:
            self._tally.add(answers_dropped=1)
            _log.error("An answer is dropped: %s", why)
        elif not flight.fence:
            for_s = _QUOTA_S if another_time else _REFUSED_S
            if event.reason_code == _TOO_LARGE:
                for_s = _PICTURE_AGAIN_S if message.kind == "picture" else self._patience.retry_dead_letters_s
            self._shun(message, why, for_s)

    def _refuse(self, row: Row, why: str, *, broke: bool = False) -> None:
        self._refused = self.trouble = why
        _log.error("A message is a dead letter: %s", why)
        self._outbox.refuse(row, why, broke=broke)
        self._release(row.message.topic)

    def _shun(self, message: Message, why: str, for_s: float) -> None:
        """Say something no more for a while that the broker does not take."""
        self._refused = self.trouble = why
        self._shunned.add(message.topic, why, for_s)
        self._offers.forget(message.topic, message)
        self._tally.add(announcements_dropped=1)
        _log.error("An announcement is not said for a while: %s", why)

    def _retry_dead_letters(self) -> None:
        self._limits.forget()
        self._outbox.retry_dead_letters(broken=BROKEN_RETRIED)

    # The messages to tell a broker again.

    def _remind(self) -> None:
        """Tell a broker that forgot us what it should still know."""
        self._outbox.resend_since(RESEND_S, forgotten=True)
        self._reminders.begin()
        self._holds.clear()
        self._from_the_start()

    def _from_the_start(self) -> None:
        """Look for rows to send among all that are pending, not only behind those that were sent last."""
        self._cursor.clear()
        self._empty.clear()
        self._resent_wait = True

    def _release(self, topic: str) -> None:
        if self._holds.release(topic):
            self._from_the_start()

    # The kinds of rows that are sent, in order of urgency.

    def _room(self) -> int:
        return self._window - len(self._in_flight)

    def _send_alone(self) -> None:
        """Send one message and wait for what comes of it: the status, a new alarm, or else a suspect."""
        if self._in_flight:
            return
        if self._status is not None and self._send_announcements(only=self._status):
            return
        if self._send_rows(urgent=True, at_most=1):
            return
        suspect = self._blame.next()
        if suspect is None:
            return
        flight = suspect.flight
        if flight.row is not None:
            self._send(flight.message, flight.row)
            return
        if flight.message.kind == ANSWER:
            message = self._offers.answer()
            self._offers.given(flight.message)
        else:
            message = self._offers.said(flight.message.topic)
        if message is None or (message.kind == ANSWER and message is not flight.message) or self._is_shunned(message):
            self._blame.cleared(flight)
            return
        self._offers.forget(message.topic, message)
        if message.qos:
            self._send(message, None)
        elif self._status is None or self._status.topic in self._shunned:
            self._blame.cleared(flight)
        else:  # nothing answers QoS 0, so something behind it must
            self._send(message, None)
            self._send(self._offers.said(self._status.topic) or self._status, None, fence=True)

    def _is_shunned(self, message: Message) -> bool:
        """Tell whether an announcement is not to be said now; then it is dropped, and counted."""
        if not self._shunned.holds(message.topic):
            why = self._limits.too_large(message)
            if why is None or message.durable:
                return False
            if message.kind != "picture":
                self._refused = f"{message.topic} is not said: {why}"
        self._offers.forget(message.topic, message)
        self._tally.add(announcements_dropped=1)
        return True

    def _send_announcements(self, only: Message | None = None) -> bool:
        """Send what the line says of itself, or the status alone; whether anything was sent."""
        topics = self._offers.topics() if only is None else [only.topic]
        some = False
        for topic in topics:
            if self._room() <= 0:
                break
            offered = self._offers.said(topic)
            if offered is None or self._is_shunned(offered):
                continue
            unsure = offered.kind == "picture" and self._limits.picture_unsure
            self._send(replace(offered, qos=1) if unsure else offered, None)
            self._offers.forget(topic, offered)  # the offer of another thread meanwhile is newer, and waits
            some = True
        return some

    def _send_answers(self) -> None:
        while self._room() > 0 and (message := self._offers.answer()) is not None and self._answers.take():
            self._send(message, None)
            self._offers.given(message)

    def _send_resent(self) -> None:
        """Send again what the broker took before, at a bounded rate, and always with room left for the rest."""
        if not self._resent_wait:
            return
        others = sum(flight.row is not None and flight.message.resent for flight in self._in_flight.values())
        live = len(self._in_flight) > others
        share = max(1, self._window // (4 if live else 2))
        room = min(self._room(), share - others, self._resends.left)
        if room <= 0:
            return
        sent = self._send_rows(urgent=True, resent=True, at_most=room)
        sent += self._send_rows(urgent=False, resent=True, at_most=room - sent)
        for _ in range(sent):
            self._resends.take()
        self._resent_wait = self._resent_found = bool(sent or others)

    def _probe(self, now_s: float) -> None:
        """Try the oldest row of each topic that is held and due."""
        for topic, hold in self._holds.due(now_s):
            if self._room() > 0:
                self._try_one(topic, hold)

    def _try_one(self, topic: str, hold: Hold) -> None:
        kept_back = self._rows_kept_back()
        oldest = [row for row in self._outbox.pending(0, 1 + len(kept_back), topic=topic) if row.row not in kept_back]
        if oldest:
            self._send(oldest[0].message, oldest[0])
            hold.probing = True
        elif not any(flight.message.topic == topic for flight in self._in_flight.values()):
            self._release(topic)

    def _send_rows(self, *, urgent: bool, resent: bool = False, at_most: int = WINDOW, leave: int = 0) -> int:
        """Send rows of a class, behind those that were sent last, or refuse what is too large; return how many."""
        room = min(self._room() - leave, at_most, self._rows.left)
        if room <= 0:
            return 0
        which, news = (urgent, resent), self._outbox.news
        without = (*self._holds.topics(), *self._blame.topics)
        if self._is_empty(which, news, without):
            return 0
        kept_back = self._rows_kept_back()
        limit = room + len(kept_back)
        rows = self._outbox.pending(self._cursor.get(which, 0), limit, urgent=urgent, resent=resent, without=without)
        done = 0
        for row in rows:
            if row.row in kept_back:
                continue
            if done == room or self._blame.caught(Flight(row.message, row)):
                break
            self._cursor[which] = row.row
            if (why := self._limits.too_large(row.message)) is not None:
                self._refuse(row, f"{row.message.topic} is not sent: {why}")
            else:
                self._send(row.message, row)
            done += 1
        self._rows.take(done)
        if done == len(rows) < limit:
            self._empty[which] = news, without, time.monotonic()
        return done

    def _is_empty(self, which: tuple[bool, bool], news: int, without: tuple[str, ...]) -> bool:
        """Tell whether rows of a class were looked for in vain, and nothing has changed since: a look costs a query."""
        told, of, looked_s = self._empty.get(which, (-1, (), 0.0))
        return (told, of) == (news, without) and time.monotonic() - looked_s < _LOOKED_AT_S

    def _rows_kept_back(self) -> set[int]:
        on_their_way = {flight.row.row for flight in self._in_flight.values() if flight.row is not None}
        return on_their_way | self._blame.rows

    def _send(self, message: Message, row: Row | None, *, fence: bool = False) -> None:
        token = self._publisher.send(message)
        flight = self._in_flight[token.number] = Flight(message, row, fence)
        if not message.qos:
            self._unproven[token.number] = flight
        if message.retain and row is not None:
            self._offers.forget(message.topic)  # it is older
        if self._own is not None:
            self._own.sent(message)
        self.published += row is not None

    def _drop_answer(self, message: Message) -> None:
        self._offers.given(message)
        self._tally.add(answers_dropped=1)

    def _note_oldest(self) -> None:
        now_s = time.monotonic()
        if now_s - self._oldest_at_s >= _OLDEST_EVERY_S:
            self._oldest_at_s = now_s
            with suppress(StoreError):  # told by those who cannot go on without reading
                self._oldest_s = self._outbox.oldest_s()

    def _finished(self) -> bool:
        """Tell whether to end now; sends the farewell once nothing is left or the time to drain is over."""
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
        """Tell whether there are rows that somebody takes."""
        without, kept_back = self._holds.topics(), self._rows_kept_back()
        rows = self._outbox.pending(0, 1 + len(kept_back), without=without)
        return any(row.row not in kept_back for row in rows)
