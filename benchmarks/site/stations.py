"""Stations without cameras, many in one process: their parts are made up, all behind a verdict is the product's own.

Each has its outbox on disk, its sender, its two connections of MQTT 5, its alarms and its counters. `linewatch run` has
them so. `python -m benchmarks.site.stations PORT FOLDER FIRST COUNT …` is started by `benchmarks.site`. It says on
stdout, a JSON object a line, how they stand. It obeys `go`, `mark`, `fast`, `stop` and `end` on stdin.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from edge.alarms import AlarmManager
from edge.commands.requests import Inbox
from edge.messages.writer import Counters, Identity, InForce, MessageWriter
from edge.outbox import AckPolicy, Outbox, Sender
from edge.publishers.client_id import default_client_id
from edge.publishers.mqtt import MqttPublisher
from edge.records import (
    AlarmEvent,
    ClassMeasure,
    Defect,
    FrameResult,
    Judgement,
    Measurement,
    Verdict,
)
from edge.records.models import ModelIdentity
from edge.records.parts import Closing, PartResult, ViewResult
from edge.settings import Settings
from edge.station.alarm_service import AlarmService
from edge.station.announcements import Announcements
from edge.station.command_desk import CommandDesk
from edge.station.recorder import Recorder
from edge.station.resend import EventResender
from edge.station.shift_book import ShiftBook
from edge.station.status import Reporter
from edge.station.view import ViewNow

ALARM = "rejects"
STANDS_MS = 5_000  # an alarm ends so long after its NG part, where no other follows
KEPT_S = 1_200.0  # of what the broker took; longer than a station sends again by itself
_TURN_S = 0.5  # the pause of a station without a part between looks at its alarms, commands and reports
_TOLD_EVERY_S = 1.0
_BEHIND = 20  # events that wait for the broker: a station that has more makes no further part in the fast phase
_MODEL = ModelIdentity("glass", "1.2.0", "ab" * 32)
_CLASSES = ("scratch", "stain")
_MAX_AGE_MS = 1_000


@dataclass(frozen=True)
class Pace:
    """Settings of each station. `ng`: share of NG parts. `picture`: a JPEG that it shows each second, or nothing.

    `fast_parts_per_s`: at most so many once `fast` was wished; a station that has not delivered makes none meanwhile.
    """

    parts_per_s: float
    ng: float
    picture: bytes
    fast_parts_per_s: float = 1.0


@dataclass(frozen=True)
class Home:
    """The place of stations: the broker's port, and the folder of their outboxes."""

    port: int
    folder: Path


def place_of(number: int) -> str:
    """Return the five levels of a station's topics."""
    return f"bench/site/area/line-{number // 10:02d}/cell-{number:03d}"


def settings_of(place: str, port: int) -> Settings:
    """Return the settings of a station: one camera, parts by a light barrier, an alarm for each NG part."""
    enterprise, site, area, line, cell = place.split("/")
    line_of = {"enterprise": enterprise, "site": site, "area": area, "line": line, "cell": cell, "device": cell}
    rejects = {"id": ALARM, "measure": "ng", "off_delay_ms": STANDS_MS, "priority": "high", "needs_ack": False}
    # 12 NG parts in ten minutes are no flood here: each of their alarms is to be seen by itself
    flood = {"id": "alarm-flood", "measure": "raises", "within_s": 600, "raise_at": 1_000, "needs_ack": False}
    return Settings.model_validate(
        {
            "line": {**line_of, "recipe": "phone"},
            "bundle": "simulated-glass",
            "camera": {"name": "top", "source": "simulated"},
            "parts": {"trigger": "software"},
            "broker": {"port": port},
            "alarms": [{**rejects, "text": "Look at the part"}, {**flood, "text": "Look for the common cause"}],
        }
    )


def frame_result(number: int, now_ns: int, wall: datetime, *, ng: bool, draw: random.Random) -> FrameResult:
    """Return the frame of a part: none or a few defects, with all that a message tells of them."""
    defects = tuple(_scratch(draw) for _ in range(draw.randint(1, 3) if ng else 0))
    area = sum(defect.area_px for defect in defects)
    counts = {"scratch": ClassMeasure(area / 1e6, len(defects)), "stain": ClassMeasure(0.0, 0)}
    judgement = (
        Judgement(Verdict.NG, f"scratch: {len(defects)} defects, at most 0 allowed")
        if ng
        else Judgement(Verdict.OK, None)
    )
    measured = Measurement(area / 1e6, area / 200, 1e6, counts, defects)
    return FrameResult(
        camera="top",
        frame=number,
        name="",
        captured_at=wall,
        captured_ns=now_ns,
        age_ms=38.4,
        judgement=judgement,
        measurement=measured,
        recipe="phone",
        model=_MODEL,
    )


def _scratch(draw: random.Random) -> Defect:
    length = draw.uniform(20, 120)
    return Defect(
        class_id=1,
        class_name="scratch",
        score=draw.uniform(0.6, 1),
        area_px=4 * length,
        bbox=(draw.randrange(1800), draw.randrange(900), round(length), 14),
        length_px=length,
        width_px=4.0,
        area_mm2=length / 50,
        length_mm=length / 14,
        width_mm=0.29,
        width_max_px=5.0,
        width_max_mm=0.36,
        u_mm=0.06,
        u_width_mm=0.03,
        u_area_mm2=0.1,
        contrast=61.5,
        orientation_deg=draw.uniform(0, 179),
        edge_distance_px=44.0,
        edge_distance_mm=3.1,
        by_grey=True,
    )


class SimulatedStation:
    """One station, open. `raised`: told of each alarm of an NG part: its occurrence and when it was raised, ns."""

    def __init__(
        self, scope: ExitStack, place: str, home: Home, pace: Pace, raised: Callable[[str, int], None]
    ) -> None:
        settings = settings_of(place, home.port)
        self.place = place
        self.outbox = scope.enter_context(Outbox(home.folder / f"{settings.line.cell}.db", kept_s=KEPT_S))
        self._messages = _writer(settings, self.outbox.epoch)
        announcements = Announcements(self._messages, settings)
        announcements.ready()
        root, will = settings.line.root, self._messages.will()
        announcements.own.sent(will)
        publisher = MqttPublisher(
            settings.broker,
            default_client_id(root, settings.line.device),
            will,
            [f"{root}/cmd/+"],
            watches=announcements.own.filters,
        )
        scope.enter_context(publisher)
        self._inbox = Inbox(root, answer_prefix=settings.commands.prefix(root))
        self.sender = scope.enter_context(
            Sender(
                self.outbox,
                publisher,
                announcements,
                self._inbox.put,
                ack_policy=AckPolicy(settings.store.expect_consumer),
                own=announcements.own,
            )
        )
        alarms = AlarmService(AlarmManager(announcements.rules), self._messages, self.outbox)
        alarms.begin(time.monotonic_ns())
        book = ShiftBook(settings.shift_plan)
        book.recipe = "phone"
        self._recorder = Recorder(self._messages, self.outbox, alarms, live=True, book=book)
        self._desk = CommandDesk(self._inbox.take, self.sender.offer, alarms, self._messages, self.outbox)
        self._desk.add({"resend": EventResender(self.outbox, self._desk.answer_later)})
        self._reporter = Reporter(settings.report, messages=self._messages, outbox=self.outbox, sender=self.sender)
        self.pace, self._raised = pace, raised
        self._draw = random.Random(place)
        self._counted = dict.fromkeys(Verdict, 0)
        self._alarmed = {"raised": 0, "cleared": 0}
        self._picture_ns = 0

    @property
    def parts(self) -> int:
        """Return the number of parts that it made."""
        return sum(self._counted.values())

    @property
    def behind(self) -> bool:
        """Tell whether more of its events wait than a station has on their way."""
        stored = self.outbox.counts()
        return stored.waiting + stored.pending > _BEHIND

    def part(self) -> None:
        """Have a part pass, and record its verdict."""
        now_ns, ng = time.monotonic_ns(), self._draw.random() < self.pace.ng
        number = self.parts + 1
        frame = frame_result(number, now_ns, datetime.now(timezone.utc), ng=ng, draw=self._draw)
        part = PartResult(
            number=number,
            part_id=f"{self.place.rpartition('/')[2]}-{number}",
            repeated=False,
            recipe="phone",
            opened_ns=now_ns,
            closed_ns=now_ns,
            closing=Closing.TRIGGER,
            judgement=frame.judgement,
            views={"top": ViewResult(1, 1, int(ng), worst=frame, judged_ns=(now_ns,))},
            models={"top": _MODEL},
            decided_ns=now_ns,
        )
        self._counted[part.judgement.verdict] += 1
        self._note(self._recorder.part(part, now_ns)[3])

    def turn(self) -> None:
        """Let time pass: alarms, commands, and what it says of itself."""
        now_ns = time.monotonic_ns()
        self._desk.turn(now_ns)
        self._note(self._recorder.tick(self.sender.delivery, now_ns))
        frames = self.parts
        view = ViewNow("top", None, True, frames, 0, 38.4, _MAX_AGE_MS, seen_ns=now_ns if frames else None)
        self._reporter.report_if_due(self._counters, [view])
        if self.pace.picture and now_ns - self._picture_ns >= 1e9 and self.sender.connected:
            self._picture_ns = now_ns
            self.sender.offer(self._messages.picture(self.pace.picture))

    def _note(self, events: Sequence[AlarmEvent]) -> None:
        for event in events:
            if event.transition in self._alarmed:
                self._alarmed[event.transition] += 1
            if event.alarm == ALARM and event.transition == "raised" and event.occurrence_id is not None:
                self._raised(event.occurrence_id, event.at_ns)

    def _counters(self) -> Counters:
        stored = self.outbox.counts()
        return Counters(
            frames=self.parts,
            parts=self.parts,
            ok=self._counted[Verdict.OK],
            ng=self._counted[Verdict.NG],
            no_read=0,
            frames_dropped=0,
            alarms_raised=self._alarmed["raised"],
            alarms_cleared=self._alarmed["cleared"],
            acknowledged=stored.acknowledged,
            dead_letters=stored.dead_letters,
            results_dropped=stored.dropped,
            commands_refused=self._inbox.dropped,
            answers_withheld=self._inbox.unanswered,
            **vars(self.sender.counts),
        )

    def told(self) -> dict[str, Any]:
        """Return what it committed, and what became of it."""
        stored = self.outbox.counts()
        return {
            "place": self.place,
            "epoch": self.outbox.epoch,
            "committed": self.outbox.committed,
            "parts": self.parts,
            "waiting": stored.waiting + stored.pending,
            "dropped": stored.dropped + stored.alarms_dropped + stored.unwritable + stored.dead_letters,
            "resent": self.sender.counts.resent,
            "connected": self.sender.connected,
        }


def _writer(settings: Settings, epoch: str) -> MessageWriter:
    line = settings.line
    messages = MessageWriter(
        Identity(line.enterprise, line.site, line.area, line.line, line.cell, line.device, "phone", _MODEL, epoch)
    )
    messages.in_force = InForce("phone", {"top": _MODEL})
    return messages


class Host:
    """Steps its stations, one after the other, on one thread: parts at their times, and turns between them."""

    def __init__(self, stations: Sequence[SimulatedStation], pace: Pace, say: Callable[[dict[str, Any]], None]) -> None:
        self._stations, self._pace, self._say = stations, pace, say
        self._wishes: SimpleQueue[str] = SimpleQueue()
        self._parts: list[tuple[float, int]] = []
        self._every_s, self._fast = 1.0, False
        self.late_s = 0.0

    def hear(self, wish: str) -> None:
        """Take a wish, of any thread.

        `go` begins the parts, `fast` has more of them made, `stop` ends them, `end` ends all. At another word each
        station is told of.
        """
        self._wishes.put(wish)

    def run(self) -> None:
        """Step until the end is wished."""
        now_s = told_s = time.monotonic()
        turns = self._spread(now_s, _TURN_S)
        while (wish := self._wish()) != "end":
            now_s = time.monotonic()
            if wish:
                self._obey(wish, now_s)
            if self._parts and self._parts[0][0] <= now_s:
                self._next_part(now_s)
            if turns[0][0] <= now_s:
                at = turns[0][1]
                heapq.heapreplace(turns, (now_s + _TURN_S, at))
                self._stations[at].turn()
            if now_s - told_s >= _TOLD_EVERY_S:
                told_s = now_s
                self._say({"now": self._now()})
            next_s = min(due_s for due_s, _ in (turns[0], *self._parts[:1]))
            time.sleep(max(0.0, next_s - time.monotonic()))

    def _spread(self, now_s: float, every_s: float) -> list[tuple[float, int]]:
        """Return when each station has its first turn, evenly over the time between two, and which one."""
        return [(now_s + every_s * at / len(self._stations), at) for at in range(len(self._stations))]

    def _obey(self, wish: str, now_s: float) -> None:
        if wish in {"go", "fast"}:
            self._fast = wish == "fast"
            self._every_s = 1 / (self._pace.fast_parts_per_s if self._fast else self._pace.parts_per_s)
            self._parts = self._spread(now_s, self._every_s)
        elif wish == "stop":
            self._parts = []
        else:
            self._say({wish: [station.told() for station in self._stations]})

    def _next_part(self, now_s: float) -> None:
        due_s, at = self._parts[0]
        heapq.heapreplace(self._parts, (max(due_s + self._every_s, now_s - 1), at))
        if self._fast and self._stations[at].behind:
            return
        self.late_s = max(self.late_s, now_s - due_s)
        self._stations[at].part()

    def _wish(self) -> str:
        try:
            return self._wishes.get_nowait()
        except Empty:
            return ""

    def _now(self) -> dict[str, Any]:
        told = [station.told() for station in self._stations]
        late_s, self.late_s = self.late_s, 0.0
        return {
            **{name: sum(each[name] for each in told) for name in ("parts", "committed", "waiting", "connected")},
            **({} if self._fast else {"late_s": round(late_s, 3)}),
        }


@contextmanager
def hosted(home: Home, numbers: range, pace: Pace, say: Callable[[dict[str, Any]], None]) -> Iterator[Host]:
    """Open stations, and return who steps them."""
    with ExitStack() as scope:

        def raised(occurrence: str, at_ns: int) -> None:
            say({"raised": [occurrence, at_ns]})

        stations = [SimulatedStation(scope, place_of(number), home, pace, raised) for number in numbers]
        yield Host(stations, pace, say)


def main(arguments: Sequence[str]) -> None:
    """Run the stations that are asked for; see above."""
    port, folder, first, count, parts_per_s, ng, picture, fast = arguments
    jpeg = b"\xff\xd8\xff" + bytes(max(0, int(picture) - 3)) if int(picture) else b""
    pace = Pace(float(parts_per_s), float(ng), jpeg, float(fast))
    numbers = range(int(first), int(first) + int(count))

    def say(told: dict[str, Any]) -> None:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    with hosted(Home(int(port), Path(folder)), numbers, pace, say) as host:

        def hear() -> None:
            for line in sys.stdin:
                host.hear(line.strip())
            host.hear("end")

        threading.Thread(target=hear, name="wishes", daemon=True).start()
        say({"ready": count})
        host.run()
        os._exit(0)  # all is delivered; to close each station in its turn takes minutes


if __name__ == "__main__":
    main(sys.argv[1:])
