"""`python -m benchmarks.archives`: what Ray costs and brings when an archive is judged again; tables, and JSON.

Each figure is a ratio of starts in one run, in turn, by their medians. So it says the same on another machine. Rates
count from the end of the first shard to the end of the last, with all engines open: what a cluster takes to start is
told by itself (`start_s`). Exit code 1 where a bound does not hold; `broken` says which.
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.proof.setting import BUNDLE, ROOT
from edge.bundle import load_bundle
from edge.clusters import LOCAL
from edge.opencv import cv2
from edge.reinspecting.on_ray import Pool, RayRoad
from edge.reinspecting.reinspection import Asked, Each, OneEngine, Road, reinspect, station_of
from edge.reinspecting.shards import rows_in
from edge.reinspecting.working import ShardDone, Task
from edge.settings import EngineSettings, Settings
from edge.simulation.rendering import RenderedLine, SimulatedLineSettings

# The bound of a figure, least (True) or most, and its value.
BOUNDS = {
    "ray_by_plain": (True, 0.9),
    "two_nodes_by_one": (True, 1.6),
    "memory_plain_100k_by_10k": (False, 1.1),
    "memory_ray_100k_by_10k": (False, 1.1),
    "kills_survived": (True, 20),
}
_NODE = {"object_store_memory": 100 * 2**20}
_DIFFERENT = 8  # pictures; the others are hard links to them
_TRY_S = 3600.0
_OPEN_S = 600.0
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

    def figures(self, began_s: float) -> dict[str, float]:
        """Tell pictures/s from the end of the first shard on, and the time before it, s.

        0 = there was only one.
        """
        if not self.done:
            return {"pictures_per_s": 0.0, "start_s": 0.0}
        judged, took_s = sum(count for _, count in self.done[1:]), self.done[-1][0] - self.done[0][0]
        return {"pictures_per_s": judged / took_s if judged else 0.0, "start_s": self.done[0][0] - began_s}


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
        if ray:
            _open_all_first()
        reinspect(asked, timed, threading.Event(), print, lambda _: contextlib.nullcontext(lambda: None))
    return {
        **timed.figures(began_s),
        "seconds": time.perf_counter() - began_s,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _open_all_first() -> None:
    """Have Ray Data begin once all engines are open, so that a rate is one of all of them."""
    import ray.data

    ray.data.DataContext.get_current().wait_for_min_actors_s = _OPEN_S


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
    # by default Ray's workers give way to all that a machine does; here, as with `--ray local`, they do not
    os.environ.setdefault("RAY_worker_niceness", "0")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 1, "include_dashboard": False, **_NODE}
    running = _started(lambda: Cluster(initialize_head=True, head_node_args=head))
    try:
        for _ in range(nodes - 1):
            _added(running)
        yield running
    finally:
        running.shutdown()


def _added(running: Any) -> Any:
    """Return a node that was added."""
    return _started(lambda: running.add_node(num_cpus=1, **_NODE))


def _started(start: Callable[[], Any]) -> Any:
    """Return what was started. Ray gives each node 30 s, which a busy machine may take, so it is started again."""
    for _ in range(_STARTS):
        with contextlib.suppress(Exception):
            return start()
    return start()


def ray_by_plain(place: Path, pictures: int, rounds: int) -> dict[str, Any]:
    """Return pictures/s of 1080p with `--ray local` on one engine and without Ray, in turn, and their ratio."""
    archive = write_archive(place / "1080p", pictures, (1080, 1920))
    plain, ray = [], []
    for number in range(rounds):
        plain.append(driven(archive, place / f"plain-{number}"))
        ray.append(driven(archive, place / f"ray-{number}", "--ray", LOCAL))
    plain.append(driven(archive, place / "plain-last"))
    return _compared("plain", plain, "ray", ray) | {"pictures": pictures}


def two_nodes_by_one(place: Path, pictures: int, tiles_per_s: float, rounds: int) -> dict[str, Any]:
    """Return pictures/s of a simulated engine on one node and on two, in turn, and their ratio."""
    archive = write_archive(place / "small", pictures, (256, 256))
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for number in range(rounds):
        for nodes, own in runs.items():
            with cluster(nodes) as running:
                more = ("--ray", running.address, "--engines", nodes, "--tiles-per-s", tiles_per_s)
                own.append(driven(archive, place / f"nodes-{nodes}-{number}", *more))
    return _compared("one_node", runs[1], "two_nodes", runs[2])


def _compared(former: str, runs: list[dict[str, float]], new: str, others: list[dict[str, float]]) -> dict[str, Any]:
    """Return each run's pictures/s, the medians, and the ratio: of the work, and with the start."""
    told: dict[str, Any] = {}
    for name, own in ((former, runs), (new, others)):
        told[name] = [round(run["pictures_per_s"], 2) for run in own]
        told[f"{name}_start_s"] = median(run["start_s"] for run in own)
        told[f"{name}_seconds"] = median(run["seconds"] for run in own)
    told[f"{new}_by_{'one' if former == 'one_node' else former}"] = median(told[new]) / median(told[former])
    return told


def memory_by_pictures(place: Path, few: int) -> dict[str, float]:
    """Return the driver's peak memory at few pictures and at ten times as many, with Ray and without."""
    told: dict[str, float] = {"memory_pictures": few}
    for count in (few, 10 * few):
        archive = write_archive(place / f"links-{count}", count, (64, 64))
        for name, more in (("plain", ()), ("ray", ("--ray", LOCAL))):
            run = driven(archive, place / f"out-{name}-{count}", "--tiles-per-s", 0, *more)
            told[f"memory_{name}_{'few' if count == few else 'ten_times'}_mb"] = run["peak_mb"]
            told[f"small_{name}_per_s"] = run["pictures_per_s"]
        shutil.rmtree(archive)
    for name in ("plain", "ray"):
        told[f"memory_{name}_100k_by_10k"] = told[f"memory_{name}_ten_times_mb"] / told[f"memory_{name}_few_mb"]
    return told


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
            more = ("--ray", self._running.address, "--engines", 2, "--tiles-per-s", 80)
            command = driving(self._archive, self._out, *more)
            self._driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        return self._driver

    def kill(self) -> bool:
        """Kill one of the three, at a time when rows come; return whether there still were rows to come."""
        before, began_s = self.shards, time.monotonic()
        while self.shards == before and time.monotonic() - began_s < _TRY_S and self.left:
            self.start()
            time.sleep(self._random.random())  # a kill comes at any moment
        left, what = self.left, self._random.choice(list(self.killed))
        acts: dict[str, Callable[[], None]] = {
            "worker": self._kill_worker,
            "node": self._kill_node,
            "driver": self._kill_driver,
        }
        acts[what]()
        self.killed[what] += 1
        return left

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
        for worker in _descendants(os.getpid(), b"ray::MapWorker"):
            with contextlib.suppress(OSError):
                os.kill(worker, signal.SIGKILL)
                return

    def _kill_node(self) -> None:
        self._running.remove_node(self._added.pop(), allow_graceful=False)
        self._added.append(_added(self._running))

    def _kill_driver(self) -> None:
        if self._driver is not None:
            self._driver.kill()
            self._driver.wait()


def _descendants(root: int, called: bytes) -> list[int]:
    """Return the processes below `root` whose command line holds `called`."""
    parents, named = {}, []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            process = int(entry.name)
            parents[process] = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
            if called in (entry / "cmdline").read_bytes():
                named.append(process)
    found = []
    for process in named:
        above = process
        while above in parents and above != root:
            above = parents[above]
        found += [process] if above == root else []
    return found


def kills_survived(place: Path, kills: int, pictures: int) -> dict[str, Any]:
    """Kill at random, and return after how many kills no picture had two rows; at the end each has one."""
    archive, survived = write_archive(place / "killed", pictures, (256, 256)), 0
    with cluster(1) as running:
        killer = Killer(archive, place / "killed-out", running, seed=26)
        for _ in range(kills):
            meant = killer.kill()
            survived += meant and killer.once_each()
        killer.end()
        rows = sum(1 for _ in rows_in(place / "killed-out" / "results", ["picture"]))
        whole = killer.once_each() and rows == pictures
    return {**killer.killed, "pictures": pictures, "rows": rows, "kills_survived": survived if whole else 0}


def main() -> None:
    """Print the figures, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--only", default="ray,nodes,memory,kills", help="some of ray,nodes,memory,kills")
    parser.add_argument("--pictures", type=int, default=480, help="of 1080p, for the first figure")
    parser.add_argument("--few", type=int, default=10_000, help="pictures of the smaller archive, for memory")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each side of a ratio")
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
    figures = _figures(asked)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    sys.exit(bool(figures["broken"]))


def _figures(asked: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {"load": os.getloadavg()[0]}
    only = asked.only.split(",")
    with tempfile.TemporaryDirectory(prefix="linewatch-archives-") as folder:
        place = Path(folder)
        if "ray" in only:
            figures |= ray_by_plain(place, asked.pictures, asked.rounds)
        if "nodes" in only:
            figures |= two_nodes_by_one(place, 640, 20.0, asked.rounds)
        if "memory" in only:
            figures |= memory_by_pictures(place, asked.few)
        if "kills" in only:
            figures |= kills_survived(place, asked.kills, 200 * max(1, asked.kills))
    return figures | {"load_after": os.getloadavg()[0], "broken": _broken(figures, asked.kills)}


def _broken(figures: Mapping[str, Any], kills: int) -> list[str]:
    told = []
    for name, (at_least, bound) in BOUNDS.items():
        wanted = min(kills, bound) if name == "kills_survived" else bound
        if name in figures and (figures[name] < wanted if at_least else figures[name] > wanted):
            told.append(f"{name}: expected {'at least' if at_least else 'at most'} {wanted}, received {figures[name]}")
    return told


if __name__ == "__main__":
    main()
