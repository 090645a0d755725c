"""`python -m benchmarks.archives`: what Ray costs and brings when an archive is judged again; tables, and JSON.

Each figure is a ratio of two starts in one run, so that it says the same on another machine. Rates count from the end
of the first shard to the end of the last: what a cluster takes to start is told by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.proof.setting import BUNDLE, ROOT
from edge.bundle import load_bundle
from edge.opencv import cv2
from edge.reinspecting.on_ray import LOCAL, Pool, RayRoad
from edge.reinspecting.reinspection import Asked, Each, OneEngine, Road, reinspect, station_of
from edge.reinspecting.shards import rows_in
from edge.reinspecting.working import ShardDone, Task
from edge.settings import EngineSettings, Settings
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings

LIMITS = {"ray_by_plain": 0.9, "two_nodes_by_one": 1.6, "memory_100k_by_10k": 1.1, "kills_survived": 20}
_NODE = {"object_store_memory": 100 * 2**20}
_DIFFERENT = 8  # pictures; the others are hard links to them
_TRY_S = 3600.0
_STARTS = 9


class Timed:
    """A road that notes when each shard was done."""

    def __init__(self, road: Road) -> None:
        self._road = road
        self.engines = road.engines
        self.done: list[tuple[float, int]] = []

    def check(self, task: Task) -> dict[str, Any]:
        """Check as the road does."""
        return self._road.check(task)

    def work(self, task: Task, stop: threading.Event, each: Each) -> Iterator[ShardDone]:
        """Work as the road does."""
        for shard in self._road.work(task, stop, each):
            self.done.append((time.perf_counter(), shard.pictures))
            yield shard

    @property
    def pictures_per_s(self) -> float:
        """Tell how many pictures a second were judged from the end of the first shard on; 0 = there was only one."""
        if len(self.done) < 2:
            return 0.0
        return sum(count for _, count in self.done[1:]) / (self.done[-1][0] - self.done[0][0])


def drive(source: Path, out: Path, ray: str | None, engines: int, tiles_per_s: float | None) -> dict[str, float]:
    """Judge an archive in this process; `tiles_per_s`: of a simulated engine, None = the shipped model's own."""
    path = BUNDLE.resolve()
    settings = Settings().with_bundle(path)
    station = station_of(settings, {path: load_bundle(path)})
    engine = EngineSettings(threads=1)
    if tiles_per_s is not None:
        engine = EngineSettings(backend="simulated", simulated_tiles_per_s=tiles_per_s, threads=1)
    station = replace(station, settings=settings.model_copy(update={"engine": engine}))
    asked, began_s = Asked(str(source), out, station), time.perf_counter()
    with RayRoad(ray, Pool(engines)) if ray else contextlib.nullcontext(OneEngine()) as road:
        timed = Timed(road)
        reinspect(asked, timed, threading.Event(), print, lambda _: contextlib.nullcontext(lambda: None))
    return {
        "pictures_per_s": timed.pictures_per_s,
        "seconds": time.perf_counter() - began_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def driving(source: Path, out: Path, *more: object) -> list[str]:
    """Return the command that drives in a process of its own."""
    return [sys.executable, "-m", "benchmarks.archives", "--drive", str(source), str(out), *map(str, more)]


def driven(source: Path, out: Path, *more: object) -> dict[str, float]:
    """Drive in a process of its own; return its figures."""
    done = subprocess.run(driving(source, out, *more), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def write_archive(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Write an archive of `size` (height, width) px: a few pictures of simulated parts, and hard links to them."""
    height, width = size
    folder.mkdir(parents=True)
    line = RenderedLine(SimulatedLineSettings(width=width, height=height, seed=1))
    for number in range(min(count, _DIFFERENT)):
        cv2.imwrite(str(folder / f"{number:07d}.jpg"), np.ascontiguousarray(line.frame(number * 7)[0]))
    for number in range(_DIFFERENT, count):
        os.link(folder / f"{number % _DIFFERENT:07d}.jpg", folder / f"{number:07d}.jpg")
    return folder


@contextlib.contextmanager
def cluster(nodes: int) -> Iterator[Any]:
    """Run a Ray cluster on this machine, with nodes of one CPU each; yield it."""
    from ray.cluster_utils import Cluster

    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **_NODE})
    try:
        for _ in range(nodes - 1):
            _added(running)
        yield running
    finally:
        running.shutdown()


def _added(running: Any) -> Any:
    """Return a node that was added; Ray gives it 30 s to start, which a busy machine may take."""
    for _ in range(_STARTS):
        with contextlib.suppress(Exception):
            return running.add_node(num_cpus=1, **_NODE)
    return running.add_node(num_cpus=1, **_NODE)


def ray_by_plain(place: Path, pictures: int) -> dict[str, float]:
    """Return pictures/s of 1080p with `--ray local` on one engine and without Ray, in turn, and their ratio."""
    archive = write_archive(place / "1080p", pictures, (1080, 1920))
    plain = driven(archive, place / "plain")["pictures_per_s"]
    ray = driven(archive, place / "ray", "--ray", LOCAL)["pictures_per_s"]
    again = driven(archive, place / "again")["pictures_per_s"]
    return {"plain": plain, "ray": ray, "plain_again": again, "ray_by_plain": ray / ((plain + again) / 2)}


def two_nodes_by_one(place: Path, pictures: int, tiles_per_s: float) -> dict[str, float]:
    """Return pictures/s of a simulated engine on one node and on two, and their ratio."""
    archive, rates = write_archive(place / "small", pictures, (256, 256)), []
    for nodes in (1, 2):
        with cluster(nodes) as running:
            more = ("--ray", running.address, "--engines", nodes, "--tiles-per-s", tiles_per_s)
            rates.append(driven(archive, place / f"nodes-{nodes}", *more)["pictures_per_s"])
    return {"one_node": rates[0], "two_nodes": rates[1], "two_nodes_by_one": rates[1] / rates[0]}


def memory_by_pictures(place: Path, few: int, *, ray: bool) -> dict[str, float]:
    """Return the driver's peak memory at few pictures and at ten times as many, and their ratio."""
    peaks = []
    for count in (few, 10 * few):
        archive = write_archive(place / f"links-{count}", count, (64, 64))
        more = ("--ray", LOCAL) if ray else ()
        peaks.append(driven(archive, place / f"out-{count}", "--tiles-per-s", 0, *more)["peak_mb"])
        shutil.rmtree(archive)
    return {"pictures": few, "few_mb": peaks[0], "ten_times_mb": peaks[1], "memory_100k_by_10k": peaks[1] / peaks[0]}


class Killer:
    """Drives an archive on a cluster, and kills a worker, a node or the driver again and again."""

    def __init__(self, archive: Path, out: Path, running: Any, seed: int) -> None:
        self._archive, self._out, self._running = archive, out, running
        self._random = random.Random(seed)
        self._added: list[Any] = [_added(running)]
        self._driver: subprocess.Popen[bytes] | None = None
        self.killed: dict[str, int] = {"worker": 0, "node": 0, "driver": 0}

    def start(self) -> subprocess.Popen[bytes]:
        """Return the command, which is started again if it does not run."""
        if self._driver is None or self._driver.poll() is not None:
            more = ("--ray", self._running.address, "--engines", 2, "--tiles-per-s", 20)
            command = driving(self._archive, self._out, *more)
            self._driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        return self._driver

    def kill(self) -> None:
        """Kill one of the three, at a time when rows come."""
        before, began_s = self.shards, time.monotonic()
        while self.shards == before and time.monotonic() - began_s < _TRY_S and self.left:
            self.start()
            time.sleep(self._random.random())  # a kill comes at any moment
        what = self._random.choice(list(self.killed))
        acts: dict[str, Callable[[], None]] = {
            "worker": self._kill_worker,
            "node": self._kill_node,
            "driver": self._kill_driver,
        }
        acts[what]()
        self.killed[what] += 1

    def end(self) -> None:
        """Let the command come to its end."""
        while self.left:
            self.start().wait()

    @property
    def shards(self) -> int:
        """Tell how many shards are finished."""
        return sum(1 for _ in (self._out / "results").glob("*.parquet"))

    @property
    def left(self) -> bool:
        """Tell whether the command has not come to its end."""
        try:
            return not json.loads((self._out / "run.json").read_text(encoding="utf-8"))["complete"]
        except OSError:
            return True

    def once_each(self) -> bool:
        """Tell whether no picture has two rows."""
        pictures = [row["picture"] for row in rows_in(self._out / "results", ["picture"])]
        return len(pictures) == len(set(pictures))

    def _kill_worker(self) -> None:
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdecimal() and b"ray::MapWorker" in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
                    return

    def _kill_node(self) -> None:
        self._running.remove_node(self._added.pop(), allow_graceful=False)
        self._added.append(_added(self._running))

    def _kill_driver(self) -> None:
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()


def kills_survived(place: Path, kills: int, pictures: int) -> dict[str, Any]:
    """Kill at random, and return after how many kills no picture had two rows; at the end each has one."""
    archive, survived = write_archive(place / "killed", pictures, (256, 256)), 0
    with cluster(1) as running:
        killer = Killer(archive, place / "killed-out", running, seed=26)
        for _ in range(kills):
            killer.kill()
            survived += killer.once_each()
        killer.end()
        rows = sum(1 for _ in rows_in(place / "killed-out" / "results", ["picture"]))
        whole = killer.once_each() and rows == pictures
    return {**killer.killed, "pictures": pictures, "rows": rows, "kills_survived": survived if whole else 0}


def main() -> None:
    """Print the figures, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", default="ray,nodes,memory,kills", help="some of ray,nodes,memory,kills")
    parser.add_argument("--pictures", type=int, default=240, help="of 1080p, for the first figure")
    parser.add_argument("--few", type=int, default=10_000, help="pictures of the smaller archive, for memory")
    parser.add_argument("--memory-on-ray", action="store_true", help="the driver's with --ray local")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--drive", nargs=2, type=Path, metavar=("SOURCE", "OUT"), help=argparse.SUPPRESS)
    parser.add_argument("--ray", help=argparse.SUPPRESS)
    parser.add_argument("--engines", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--tiles-per-s", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drive:
        source, out = asked.drive
        print(json.dumps(drive(source, out, asked.ray, asked.engines, asked.tiles_per_s)))
        return
    figures: dict[str, Any] = {"load": os.getloadavg()[0], "limits": LIMITS}
    only = asked.only.split(",")
    with tempfile.TemporaryDirectory(prefix="linewatch-archives-") as folder:
        place = Path(folder)
        if "ray" in only:
            figures |= ray_by_plain(place, asked.pictures)
        if "nodes" in only:
            figures |= two_nodes_by_one(place, 640, 20.0)
        if "memory" in only:
            figures |= memory_by_pictures(place, asked.few, ray=asked.memory_on_ray)
        if "kills" in only:
            figures |= kills_survived(place, asked.kills, 200 * max(1, asked.kills))
    for name, value in figures.items():
        print(f"{name}: {value}")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
