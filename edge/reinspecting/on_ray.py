"""The road over Ray: a pool of actors on one machine or several, each with engines of its own, fed by Ray Data.

Ray is named here alone. Its scheduling, retries and restarts are its own; what is done is told by finished shards.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.errors import DependencyError, EngineError, LinewatchError, SettingsError
from edge.installing import how_to_install
from edge.reinspecting.folder import StopOfTurn
from edge.reinspecting.judging import Station
from edge.reinspecting.nodes import differing, looked_at
from edge.reinspecting.reinspection import Each
from edge.reinspecting.storage import load_arrow
from edge.reinspecting.working import ShardDone, Task, Worker

LOCAL = "local"
_OBJECT_STORE_BYTES = 100 * 1024 * 1024  # numbers of shards, and counts: no picture passes through it
_CONNECT_S, _ANSWER_S, _NODE_S, _STOP_LOOKED_S = 10.0, 120.0, 600.0, 0.2


@dataclass(frozen=True)
class Pool:
    """What is asked for. `engines` None: as many as the cluster has room for."""

    engines: int | None = None
    cpus_each: float = 1.0
    gpus_each: float = 0.0


def load_ray() -> Any:
    """Return Ray, whose usage statistics are off. Raises DependencyError with what to do."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import; `edge` has set it already
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise DependencyError(
            f"--ray needs Ray Data, which cannot be imported: {error}. {how_to_install('ray[data]', extra='ray')}"
        ) from error
    return ray


class ShardWorker:
    """An actor of the pool: it has the engines of a task, and judges one shard after the other.

    What goes wrong by an error of ours is told as an answer: on Ray's own way it would lose its kind.
    """

    def __init__(self, task: Task) -> None:
        self._worker = Worker(task)
        self._stop = StopOfTurn(task.turn)
        self._error: LinewatchError | None = None
        try:
            self._worker.__enter__()  # its process ends with it
        except LinewatchError as error:
            self._error = error

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Judge the shards of a batch, and tell how many pictures have their rows."""
        answers = [self._answer(int(number)) for number in batch["shard"]]
        return {key: [answer[key] for answer in answers] for key in ("pictures", "failed", "error")}

    def _answer(self, number: int) -> dict[str, Any]:
        done = ShardDone(0, 0)
        if self._error is None and not self._stop.is_set():
            try:
                done = self._worker.work(number, self._stop)
            except LinewatchError as error:
                self._error = error
        told = b"" if self._error is None else pickle.dumps(self._error)
        return {"pictures": done.pictures, "failed": done.failed, "error": told}


class RayRoad:
    """Works on a Ray cluster. `address`: HOST:PORT of its head, or `local` for one that lives as long as the command.

    Raises DependencyError without Ray and for nodes that would judge otherwise, SettingsError where no cluster of this
    version answers, or it has no room.
    """

    def __init__(self, address: str, pool: Pool) -> None:
        self._address = address
        self._pool = pool
        self._ray: Any = None
        self.engines = 1

    def __enter__(self) -> Self:
        self._ray = load_ray()
        cpus = len(os.sched_getaffinity(0))
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address == LOCAL:
            wanted = self._pool.cpus_each * (self._pool.engines or 1)
            started = {
                "address": LOCAL,
                "num_cpus": max(cpus, round(wanted + 0.5)),
                "object_store_memory": _OBJECT_STORE_BYTES,
                "include_dashboard": False,
            }
        else:
            _require_listener(self._address)
            started = {"address": self._address}
        with self._vendor():
            self._ray.init(**started, **quiet)
        # what it says of its own work goes to its log files alone
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        try:
            self.engines = self._room()
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(Exception):
            self._ray.shutdown()

    def check(self, task: Task) -> dict[str, Any]:
        """Look at each node that may judge. Raises DependencyError naming one that would judge otherwise."""
        first = task.todo.shard(0)[0] if task.todo.shards else None
        own = looked_at(task, first)
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
        look = self._ray.remote(num_cpus=0, max_retries=0)(looked_at)
        answers = [
            (_named(node), look.options(scheduling_strategy=strategy(node["NodeID"], soft=False)).remote(task, first))
            for node in self._nodes()
        ]
        told = []
        for name, answer in answers:
            try:
                problem = differing(own, self._ray.get(answer, timeout=_NODE_S))
            except Exception as error:  # noqa: BLE001 - whatever it is, this node cannot judge
                problem = f"Linewatch cannot be run there: {_last_line(error)}"
            told += [f"the node {name}: {problem}"] if problem else []
        if told:
            raise DependencyError(
                f"{'. '.join(told)}. Expected the same on each node: rows may not depend on where they are made. "
                "Install and copy what differs"
            )
        return {"nodes": sorted(name for name, _ in answers), "ray": self._ray.__version__}

    def work(self, task: Task, stop: threading.Event, each: Each) -> Iterator[ShardDone]:
        """Yield each shard when it is done, in any order; once `stop` is set workers end with their picture."""
        if not task.todo.shards:
            return
        arrow, data = load_arrow(), self._ray.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        numbers = [arrow.table({"shard": [number]}) for number in range(task.todo.shards)]
        pool = self._pool
        rows = data.from_arrow(numbers).map_batches(
            ShardWorker,
            batch_size=1,
            fn_constructor_args=(_with_threads(task, pool.cpus_each),),
            compute=data.ActorPoolStrategy(size=min(self.engines, task.todo.shards)),
            num_cpus=pool.cpus_each,
            num_gpus=pool.gpus_each or None,
        )
        trouble: LinewatchError | None = None
        with _handed_on(stop, task), self._vendor():
            for row in rows.iter_rows():
                for _ in range(int(row["pictures"])):
                    each()
                yield ShardDone(int(row["pictures"]), int(row["failed"]))
                if row["error"] and trouble is None:
                    trouble = pickle.loads(row["error"])  # noqa: S301 - of our own worker
                    task.turn.stop()
        if trouble is not None:
            raise trouble

    def _nodes(self) -> list[dict[str, Any]]:
        """Return the nodes that are alive and have room for an engine."""
        return [node for node in self._ray.nodes() if node["Alive"] and self._fits(node)]

    def _fits(self, node: dict[str, Any]) -> int:
        own = node["Resources"]
        rooms = [
            int(own.get(name, 0.0) / each + 1e-9)
            for name, each in (("CPU", self._pool.cpus_each), ("GPU", self._pool.gpus_each))
            if each
        ]
        return min(rooms, default=1)

    def _room(self) -> int:
        room = sum(self._fits(node) for node in self._nodes())
        wanted = self._pool.engines or room
        if not 0 < wanted <= room:
            raise SettingsError(
                f"--engines: the cluster has room for {room} with {self._pool.cpus_each:g} CPUs and "
                f"{self._pool.gpus_each:g} GPUs each; received {self._pool.engines or 'none'}. Ask for fewer"
            )
        return wanted

    @contextmanager
    def _vendor(self) -> Iterator[None]:
        """Turn Ray's errors into ours."""
        try:
            yield
        except (LinewatchError, KeyboardInterrupt):
            raise
        except Exception as error:  # Ray raises exceptions of many kinds; each becomes one of ours
            said = _last_line(error)
            if "Version mismatch" in str(error) or "version mismatch" in str(error):
                raise SettingsError(
                    f"--ray {self._address}: the cluster runs another version of Ray or of Python than this command: "
                    f"{' '.join(str(error).split())[:400]}. Install the same on each machine"
                ) from error
            if not self._ray.is_initialized():
                raise SettingsError(
                    f"--ray {self._address}: no Ray cluster answers there: {said}. Start one with: ray start --head"
                ) from error
            raise EngineError(f"Ray could not do it: {said}. Rows that are written stay; start again") from error


def _named(node: dict[str, Any]) -> str:
    """Name a node by its host, its address, and the first digits of its own id."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _require_listener(address: str) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or "/" in address:
        raise SettingsError(f"--ray: expected {LOCAL}, or HOST:PORT of a cluster's head; received {address!r}")
    try:
        socket.create_connection((host, int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise SettingsError(
            f"--ray {address}: no Ray cluster answers there: {error}. Start one with: ray start --head"
        ) from error
    # Ray itself waits without end for a listener that is no cluster; what else is wrong it says when it connects
    asked = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        done = subprocess.run(asked, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=_ANSWER_S)  # noqa: S603 - no shell
        silent = b"Timed out while waiting for GCS" in done.stdout + done.stderr
    except subprocess.TimeoutExpired:
        silent = True
    if silent:
        raise SettingsError(
            f"--ray {address}: what listens there does not answer as a Ray cluster. Name the head's address; `ray "
            "status` says whether it is one"
        )


def _with_threads(task: Task, cpus: float) -> Task:
    """Return a task whose engines take as many threads as they have CPUs, unless the settings say how many."""

    def own(station: Station) -> Station:
        settings = station.settings
        threads = settings.engine.threads or max(1, int(cpus))
        engine = settings.engine.model_copy(update={"threads": threads})
        return replace(station, settings=settings.model_copy(update={"engine": engine}))

    return replace(task, station=own(task.station), against=None if task.against is None else own(task.against))


@contextmanager
def _handed_on(stop: threading.Event, task: Task) -> Iterator[None]:
    """Tell the workers, through the folder, when this process is asked to stop."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_STOP_LOOKED_S):
            if stop.is_set():
                task.turn.stop()
                return

    watcher = threading.Thread(target=watch, name="stop")
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return (named or lines or [type(error).__name__])[-1][:300]
