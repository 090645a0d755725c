"""A station with several recipes that runs in a thread, and is given its parts one by one."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml
from typing_extensions import Self

from edge.app.station import OpenStation, StandIns, Watchers, open_station
from edge.bundle import Bundle
from edge.cli.console import load_station
from edge.commands.socket import ask, tell
from edge.observers.direct import DirectObserver
from edge.outbox.reader import OutboxReader
from edge.parts.triggers import ToldTrigger
from edge.protocols import Output
from edge.publishers.memory import MemoryPublisher
from edge.records import CameraCondition, CameraState, Frame, JournalEntry, UInt8
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartClosed, PartOpened
from tests.bright_bundle import part, write_bright_bundle

NAMES = ("a", "b", "c")
# A scratch of brightness 135 is one for `a` alone: half of 255 is 127.5, half of 280 is 140, half of 300 is 150.
WHITE = {"a": 255.0, "b": 280.0, "c": 300.0}
SCRATCH = (10, 10, 20, 4)
WAIT_S = 240.0


def grey_scratch(brightness: int = 135) -> UInt8:
    """Draw a part with one scratch."""
    pixels = part()
    x, y, w, h = SCRATCH
    pixels[y : y + h, x : x + w] = brightness
    return pixels


def write_bundles(folder: Path) -> dict[str, Bundle]:
    """Write one bundle for each recipe, each with a model of its own."""
    return {name: write_bright_bundle(folder / name, white=white) for name, white in WHITE.items()}


def recipes(folder: Path, names: Sequence[str] = NAMES, cameras: Sequence[str] = ("top",)) -> dict[str, Any]:
    """Return the settings of recipes: each judges every camera by its own bundle."""
    return {
        name: {
            "views": {camera: {"bundle": str(folder / name)} for camera in cameras},
            "part_id_prefixes": [f"{name.upper()}-"],
        }
        for name in names
    }


class FedCamera:
    """Gives the frames that it is fed, captured at that moment, in their order."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dropped = 0
        self.total = None
        self._fed: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._index = 0
        self.hangs = threading.Event()
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()

    def feed(self, pixels: UInt8, at_ns: int | None = None) -> None:
        """Capture a frame now, or let one come that was captured at a moment."""
        captured_ns = time.monotonic_ns() if at_ns is None else at_ns
        self._fed.put(Frame(self.name, self._index, pixels, captured_ns, datetime.now(timezone.utc)))
        self._index += 1

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame; it does not return while it hangs, until it is closed."""
        while self.hangs.is_set() and not self._closed.is_set():
            time.sleep(0.01)
        try:
            frame = self._fed.get(timeout=timeout_s) if timeout_s else self._fed.get_nowait()
        except queue.Empty:
            frame = None
        return frame or CameraState(self.name, CameraCondition.NO_FRAME_YET)


class RecipeLine:
    """The station that runs: what it is given, and what it told."""

    opened: OpenStation

    def __init__(self, cameras: dict[str, FedCamera]) -> None:
        self.cameras = cameras
        self.trigger = ToldTrigger()
        self.publisher = MemoryPublisher(keep=1_000_000)
        self.parts: list[DecidedPart] = []
        self.frames: list[Decided] = []
        self.ended: BaseException | None = None

    def watch(self, decided: Decided | DecidedPart) -> None:
        """Keep what was decided."""
        if isinstance(decided, DecidedPart):
            self.parts.append(decided)
        else:
            self.frames.append(decided)

    def show(self, part_id: str | None, pixels: UInt8 | None = None, *, recipe: str | None = None) -> None:
        """Let one part pass: it is opened, seen once by each camera, and closed; then the belt is empty."""
        self.trigger.tell(PartOpened(time.monotonic_ns(), part_id, recipe))
        for camera in self.cameras.values():
            camera.feed(grey_scratch() if pixels is None else pixels)
        self.trigger.tell(PartClosed(time.monotonic_ns(), part_id))
        for camera in self.cameras.values():
            camera.feed(part())

    def verdict(self, part_id: str, pixels: UInt8 | None = None, *, recipe: str | None = None) -> str:
        """Let one part pass, wait until it is decided, and return its verdict."""
        self.show(part_id, pixels, recipe=recipe)
        self.wait(lambda: any(one.part.part_id == part_id for one in self.parts))
        return self.of(part_id)["verdict"]  # type: ignore[no-any-return]

    def of(self, part_id: str) -> dict[str, Any]:
        """Return the body that was told of a part."""
        return next(one.body for one in self.parts if one.part.part_id == part_id)

    def wait(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        until_s = time.monotonic() + WAIT_S
        while not true():
            assert self.ended is None, self.ended
            assert time.monotonic() < until_s, "it did not come to it"
            time.sleep(0.005)

    def wish(self, recipe: str, user: str = "anna") -> tuple[str, str]:
        """Give `cmd/recipe` by the shell's road, and return what is answered at once."""
        body = {"schema": "linewatch/command-recipe/1", "recipe": recipe, "user": user, "comment": "lot 7"}
        return tell(self.opened.outbox.path, "recipe", body)

    def ask(self) -> dict[str, Any]:
        """Ask how it stands with the recipes."""
        told: dict[str, Any] = ask(self.opened.outbox.path, "recipes")
        return told

    def change(self, recipe: str) -> dict[str, Any]:
        """Wish for a recipe, and wait for what becomes of it."""
        before = len(self.ask()["answers"])
        assert self.wish(recipe)[0] in {"accepted", "ok"}
        self.wait(lambda: len(self.ask()["answers"]) > before)
        answer: dict[str, Any] = self.ask()["answers"][-1]
        return answer

    def reload(self, **body: Any) -> tuple[str, str]:
        """Give `cmd/reload` by the shell's road, and return what is answered at once."""
        asked = {"schema": "linewatch/command-reload/1", "action": "begin", "shadow_parts": None, "comment": "May"}
        return tell(self.opened.outbox.path, "reload", asked | {"user": "anna"} | body)

    def reloading(self) -> dict[str, Any]:
        """Ask how it stands with a reload."""
        told: dict[str, Any] = ask(self.opened.outbox.path, "reloading")
        return told

    def journal(self, kind: str) -> list[JournalEntry]:
        """Return what the journal has of one kind."""
        self.opened.outbox.flush(120)
        with OutboxReader(self.opened.outbox.path) as reader:
            return [row.entry for row in reader.journal_rows(5000) if row.entry.kind == kind]

    def told(self) -> list[dict[str, Any]]:
        """Return every envelope that was published."""
        return [
            json.loads(message.payload)
            for message in tuple(self.publisher.messages)
            if message.payload and message.kind != "picture"
        ]


@contextmanager
def running(
    folder: Path, given: dict[str, Any], *, parts: bool = True, output: Output | None = None
) -> Iterator[RecipeLine]:
    """Run a station of fed cameras; the line opens and closes parts where the station tells them apart."""
    text = yaml.safe_dump({"store": {"path": "outbox.db"}, "broker": {"port": 9}, **given})
    (folder / "station.yaml").write_text(text)
    settings, bundles = load_station(folder / "station.yaml", None)
    stop = threading.Event()
    line = RecipeLine({name: FedCamera(name) for name in settings.station_cameras})
    instead = StandIns(dict(line.cameras), line.trigger if parts else None, line.publisher, output=output)
    with open_station(
        settings,
        bundles,
        store=settings.store.path,
        live=True,
        stop=stop,
        read=lambda: load_station(folder / "station.yaml", None),
        instead=instead,
        watchers=Watchers([DirectObserver(line.watch)]),
    ) as opened:
        line.opened = opened
        decides = threading.Thread(target=_decide, args=(line, stop), name="test decider")
        decides.start()
        try:
            yield line
        finally:
            stop.set()
            decides.join(WAIT_S)
            opened.stop()
    if line.ended is not None:
        raise line.ended


def _decide(line: RecipeLine, stop: threading.Event) -> None:
    try:
        line.opened.decider.run(stop)
    except BaseException as error:  # noqa: BLE001 - raised again where the line was begun
        line.ended = error
