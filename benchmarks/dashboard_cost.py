"""`python -m benchmarks.dashboard_cost`: what open pages cost a station, side by side in one run; JSON.

Two stations alike run on one broker. A dashboard hears the first, and three of its pages are open. Another consumer
takes what either says. Given are the processor's seconds of each station for one frame, over the same time.
The two change places halfway, so that what is unlike about them cancels out.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
from typing_extensions import Self

from edge.dashboard.serving import dashboard
from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings
from edge.publishers.broker_settings import BrokerSettings
from edge.publishers.embedded_broker import EmbeddedBroker
from edge.publishers.subscriber import Subscriber
from edge.records import Received
from edge.watching.watched import envelope_of

CELLS = ("c1", "c2")
PAGES = ("/live/wall", "/live/station/{place}", "/live/alarms")
TOPICS = ("state/+", "event/+", "alarm/+", "image/last")
_SETTLES_S = 8.0


def place(cell: str) -> str:
    """Return the five levels of a station."""
    return f"enterprise/site/area/line/{cell}"


@contextlib.contextmanager
def stations(folder: Path, port: int, fps: float) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run the two stations, with the simulated camera and engine."""
    found = []
    for cell in CELLS:
        settings = folder / f"{cell}.yaml"
        settings.write_text(
            f"line: {{cell: {cell}, device: {cell}}}\nbroker: {{port: {port}}}\nstore: {{path: {cell}.db}}\n"
            f"camera: {{source: simulated, simulated: {{fps: {fps}}}}}\nengine: {{backend: simulated, threads: 1}}\n"
            "report: {health_every_s: 0.5}\n"
        )
        command = [sys.executable, "-m", "edge", "run", str(settings), "--bundle", "demo"]
        found.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
    try:
        yield found
    finally:
        for station in found:
            station.terminate()
        for station in found:
            station.wait(60)


class Frames:
    """Counts the frames of both stations, by what they say of themselves."""

    def __init__(self, broker: BrokerSettings) -> None:
        # results and pictures too: both stations have somebody who takes what they say
        topics = [f"{place(cell)}/inspect/v1/{topic}" for cell in CELLS for topic in TOPICS]
        self._heard = Subscriber(broker, topics)
        self._of = dict.fromkeys(CELLS, 0)

    def __enter__(self) -> Self:
        self._heard.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._heard.__exit__(None, None, None)

    def now(self) -> dict[str, int]:
        """Return how many frames each has inspected."""
        for event in self._heard.events():
            envelope = envelope_of(event.payload) if isinstance(event, Received) else None
            if isinstance(event, Received) and envelope is not None and event.topic.endswith("/counters"):
                self._of[event.topic.split("/")[4]] = int(envelope["body"]["frames"])
        return dict(self._of)


@contextlib.contextmanager
def watched(folder: Path, port: int, cell: str) -> Iterator[None]:
    """Have a dashboard hear one station, with three of its pages open."""
    settings = DashboardSettings(
        broker=BrokerSettings(port=port),
        sites=(place(cell),),
        listen=ListenSettings(port=0),
        users=folder / "users.json",
        history=HistorySettings(path=folder / f"history-{cell}.db"),
    )
    stop = threading.Event()

    def read(url: str) -> None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=30) as stream:  # noqa: S310 - our own
            while not stop.is_set():
                stream.readline()

    with dashboard(settings) as served:
        urls = [served.url.removesuffix("/") + path.format(place=place(cell)) for path in PAGES]
        threads = [threading.Thread(target=read, args=(url,), daemon=True) for url in urls]
        for thread in threads:
            thread.start()
        time.sleep(_SETTLES_S)
        yield
        stop.set()


def costs(found: Sequence[subprocess.Popen[bytes]], frames: Frames, seconds: float) -> dict[str, tuple[float, int]]:
    """Return for each station the processor's seconds and the frames of a time."""

    def spent() -> list[float]:
        return [sum(psutil.Process(station.pid).cpu_times()[:2]) for station in found]

    before_s, before = spent(), frames.now()
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        time.sleep(0.2)
        frames.now()
    after_s, after = spent(), frames.now()
    return {cell: (after_s[number] - before_s[number], after[cell] - before[cell]) for number, cell in enumerate(CELLS)}


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each half is measured")
    parser.add_argument("--fps", type=float, default=10.0, help="frames of each camera in a second")
    options = parser.parse_args()
    spent_s, frames_of = {"watched": 0.0, "alone": 0.0}, {"watched": 0, "alone": 0}
    with tempfile.TemporaryDirectory(prefix="cost-") as name, EmbeddedBroker() as broker:
        folder, port = Path(name), broker.port
        with stations(folder, port, options.fps) as found, Frames(BrokerSettings(port=port)) as frames:
            while min(frames.now().values()) < 1:
                time.sleep(0.2)
            for cell in CELLS:
                with watched(folder, port, cell):
                    for other, (cpu_s, count) in costs(found, frames, options.seconds).items():
                        which = "watched" if other == cell else "alone"
                        spent_s[which] += cpu_s
                        frames_of[which] += count
    each_ms = {which: 1000 * spent_s[which] / max(1, frames_of[which]) for which in spent_s}
    told = {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "pages": len(PAGES),
        "frames": frames_of,
        "cpu_ms_a_frame": {which: round(ms, 3) for which, ms in each_ms.items()},
        "more_percent": round(100 * (each_ms["watched"] / each_ms["alone"] - 1), 2),
    }
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
