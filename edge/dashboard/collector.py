"""The thread between the broker and everything else: it hears stations, commands, and asks for what is missing."""

from __future__ import annotations

import logging
import secrets
import threading
import time
import uuid
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.dashboard.settings import DashboardSettings
from edge.dashboard.site import USER, Site
from edge.errors import PublishError
from edge.printable import as_json
from edge.publishers.client_id import machine_id
from edge.publishers.subscriber import Desk
from edge.records import Acknowledged, Message, Received, Refused, Token
from edge.watching.watched import envelope_of

_log = logging.getLogger(__name__)

TOPICS = ("status", "birth", "seq", "state/+", "alarm/+", "event/alarm", "cmd/+")
MANY = ("event/result",)  # no alarm waits behind them
PICTURE = "image/last"  # of stations that somebody looks at, and of no others
ANSWER_WITHIN_S = 10.0
EXPIRY_S = 30
_TURN_S, _AT_ONCE_S = 0.05, 0.001
_WISH_EVERY_S = 2.0
_NOBODY = 0x10
_DETAIL_AT_MOST = 500


@dataclass(frozen=True)
class Answered:
    """The outcome of a command. `outcome`: the line's own word, or `no_answer`, `no_line`, `no_broker`, `denied`."""

    outcome: str
    detail: str


@dataclass
class _Asked:
    place: str
    command: str
    body: dict[str, Any]
    answer: Future[Answered]
    until_s: float = 0.0
    token: Token | None = None


class Collector:
    """Fills a Site and its History from the broker until left. `tell` gives a command, of any thread."""

    def __init__(self, settings: DashboardSettings, site: Site) -> None:
        self._settings, self._site = settings, site
        own = secrets.token_hex(8)
        self._answers_end = f"dashboard-{own}"
        topics = [f"{root}/{topic}" for root in settings.roots for topic in TOPICS]
        topics += [f"{prefix}{self._answers_end}" for prefix in {settings.answers_at(root) for root in settings.roots}]
        client_id = settings.broker.client_id or f"linewatch-dash-{machine_id()[:4]}{own[:6]}"
        many = [f"{root}/{topic}" for root in settings.roots for topic in MANY]
        self._desk = Desk(settings.broker, topics, client_id, many)
        self._wanted: SimpleQueue[_Asked] = SimpleQueue()
        self._open: dict[bytes, _Asked] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def __enter__(self) -> Self:
        self._desk.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)
        self._desk.__exit__(kind, error, trace)

    @property
    def listening(self) -> bool:
        """Tell whether the broker has confirmed all subscriptions."""
        return self._desk.listening

    @property
    def moves(self) -> bool:
        """Tell whether the thread is there."""
        return self._thread.is_alive()

    def tell(self, place: str, command: str, body: dict[str, Any]) -> Future[Answered]:
        """Give a command to a station; the future has its answer, at the latest after ANSWER_WITHIN_S."""
        answer: Future[Answered] = Future()
        self._wanted.put(_Asked(place, command, {"schema": f"linewatch/command-{command}/1", **body}, answer))
        return answer

    def _run(self) -> None:
        next_s = 0.0
        while not self._stop.is_set():
            try:
                self._turn()
                if time.monotonic() >= next_s:
                    next_s = time.monotonic() + _WISH_EVERY_S
                    self._site.note_changes()
                    self._wish()
            except Exception:  # noqa: BLE001 - it may be anything, and would leave every page standing still, unseen
                _log.exception("The collector failed; it goes on with the next message")
            self._stop.wait(_AT_ONCE_S if self._desk.waits else _TURN_S)

    def _turn(self) -> None:
        for event in self._desk.events():
            if isinstance(event, Received) and event.topic.endswith(f"/{self._answers_end}"):
                self._answered(event)
            elif isinstance(event, Received) and (event.response_topic or "").endswith(self._answers_end):
                continue  # a command of our own, whose answer is written down
            elif isinstance(event, Acknowledged | Refused):
                self._delivered(event)
            else:
                self._site.take(event)
        self._desk.want([f"{place}/inspect/v1/{PICTURE}" for place in self._site.pictures_wanted()])
        for _ in range(self._wanted.qsize()):
            self._send(self._wanted.get())
        now_s = time.monotonic()
        for correlation, asked in [each for each in self._open.items() if now_s > each[1].until_s]:
            self._settle(correlation, asked, "no_answer", "")

    def _send(self, asked: _Asked) -> None:
        root = f"{asked.place}/inspect/v1"
        correlation = secrets.token_bytes(16)
        message = Message(
            str(uuid.uuid4()),
            f"command-{asked.command}",
            f"{root}/cmd/{asked.command}",
            as_json(asked.body).encode(),
            expiry_s=EXPIRY_S,
            durable=False,
            response_topic=f"{self._settings.answers_at(root)}{self._answers_end}",
            correlation=correlation,
        )
        if self._site.state_of(asked.place) == "offline":
            # the broker cannot tell: for it there is a listener, since commands are heard here too
            asked.answer.set_result(Answered("no_line", ""))
            return
        try:
            asked.token = self._desk.send(message)
        except PublishError as error:
            asked.answer.set_result(Answered("no_broker", str(error)))
            return
        asked.until_s = time.monotonic() + ANSWER_WITHIN_S
        self._open[correlation] = asked

    def _answered(self, received: Received) -> None:
        asked = self._open.get(received.correlation or b"")
        envelope = envelope_of(received.payload)
        body = {} if envelope is None else envelope["body"]
        outcome, detail = body.get("outcome"), body.get("detail")
        if asked is None or not isinstance(outcome, str) or body.get("command") != asked.command:
            self._site.skipped["answer to nothing"] += 1
            return
        told = detail[:_DETAIL_AT_MOST] if isinstance(detail, str) else ""
        self._settle(received.correlation or b"", asked, outcome[:64], told)

    def _delivered(self, event: Acknowledged | Refused) -> None:
        for correlation, asked in list(self._open.items()):
            if asked.token != event.token:
                continue
            if isinstance(event, Refused):
                self._settle(correlation, asked, "denied", event.reason)
            elif event.reason_code == _NOBODY:
                self._settle(correlation, asked, "no_line", "")

    def _settle(self, correlation: bytes, asked: _Asked, outcome: str, detail: str) -> None:
        self._open.pop(correlation, None)
        if not asked.answer.done():
            asked.answer.set_result(Answered(outcome, detail))

    def _wish(self) -> None:
        """Ask for events that have not come; events that a station has no more are given up."""
        for place, epoch, first, last in self._site.wishes():
            body = {"epoch": epoch, "from_seq": first, "to_seq": last, "user": USER, "comment": "not heard"}
            answer = self.tell(place, "resend", body)

            def settled(done: Future[Answered], of: tuple[str, str, int, int] = (place, epoch, first, last)) -> None:
                if done.result().outcome == "unknown_epoch":
                    self._site.give_up(*of)

            answer.add_done_callback(settled)
