"""The road over Ray: a pool of actors on one machine or several, each with engines of its own, fed by Ray Data.

Ray's scheduling, retries and restarts are its own; finished shards tell the progress.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.clusters import cluster, nodes_with, require_alike, room_of, said_last
from edge.errors import EngineError, LinewatchError, SettingsError
from edge.reinspecting.folder import StopOfTurn
from edge.reinspecting.judging import Station
from edge.reinspecting.nodes import differing, looked_at, require_reachable
from edge.reinspecting.reinspection import Each
from edge.reinspecting.storage import load_arrow
from edge.reinspecting.working import ShardDone, Task, Worker
from edge.stopping import end_if_asked
from edge.wording import counted

_OBJECT_STORE_BYTES = 100 * 1024 * 1024  # numbers of shards, and counts: no picture passes through it
_STOP_LOOKED_S = 0.2
_STOPPED_WITHIN_S = 15.0  # workers look twice a second, and end with their picture
# A picture that kills its judge is not tried for ever. Kills from outside are far fewer for one shard.
_TRIES_AT_MOST = 6


@dataclass(frozen=True)
class Pool:
    """The pool that is asked for. `engines` None: as many as the cluster has room for."""

    engines: int | None = None
    cpus_each: float = 1.0
    gpus_each: float = 0.0


class ShardWorker:
    """An actor of the pool: it has the engines of a task, and judges one shard after the other.

    An error of ours is told as an answer: on Ray's own way it would lose its kind.
    """

    def __init__(self, task: Task, engines: int) -> None:
        self._task = task
        self._worker = Worker(task)
        self._stop = StopOfTurn(task.turn)
        self._error: LinewatchError | None = None
        try:
            if task.turn.begun("opening") > _TRIES_AT_MOST * engines:
                raise EngineError(
                    "Whoever opens the engine dies, again and again: by a signal of the system, or for want of memory. "
                    "Ask for fewer --engines, or look with the same command without --ray"
                )
            self._worker.__enter__()  # its process ends with it
        except LinewatchError as error:
            self._error = error
        task.turn.ended("opening")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Judge the shards of a batch, and tell how many pictures have their rows."""
        answers = [self._answer(int(number)) for number in batch["shard"]]
        return {key: [answer[key] for answer in answers] for key in ("pictures", "failed", "error")}

    def _answer(self, number: int) -> dict[str, Any]:
        done = ShardDone(0, 0)
        if self._error is None and not self._stop.is_set():
            try:
                done = self._worked(number)
            except LinewatchError as error:
                self._error = error
        told = b"" if self._error is None else pickle.dumps(self._error)
        return {"pictures": done.pictures, "failed": done.failed, "error": told}

    def _worked(self, number: int) -> ShardDone:
        turn, what = self._task.turn, f"shard-{number:06d}"
        if turn.begun(what) > _TRIES_AT_MOST:
            pictures = self._task.todo.shard(number)
            raise EngineError(
                f"Whoever judges the {counted(len(pictures), 'picture')} from {pictures[0].picture} to "
                f"{pictures[-1].picture} dies: it was tried {_TRIES_AT_MOST} times. Look at them with the same "
                "command without --ray, and take out the one that does it"
            )
        done = self._worker.work(number, self._stop)
        turn.ended(what)
        return done


class RayRoad:
    """Works on a Ray cluster. `address`: HOST:PORT of its head, or `local` for one that lives as long as the command.

    Raises DependencyError without Ray and for nodes that would judge otherwise. Raises SettingsError where no cluster
    of this version answers, or it has no room.
    """

    def __init__(self, address: str, pool: Pool) -> None:
        self._address = address
        self._pool = pool
        self._scope = ExitStack()
        self._ray: Any = None
        self.engines = 1

    def __enter__(self) -> Self:
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
        wanted = self._pool.cpus_each * (self._pool.engines or 1)
        here = {
            "num_cpus": max(len(os.sched_getaffinity(0)), round(wanted + 0.5)),
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
        with ExitStack() as opening:
            self._ray = opening.enter_context(cluster(self._address, here, ["ray.data"]))
            end_if_asked()
            # its words about its own work go to its log files alone
            logging.getLogger("ray.data").setLevel(logging.CRITICAL)
            self.engines = self._room()
            self._scope = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scope.close()

    def check(self, task: Task) -> dict[str, Any]:
        """Look at each node that may judge. Raises DependencyError naming one that would judge otherwise.

        Raises UnreachableError where this machine cannot reach the pictures either.
        """
        first = task.todo.shard(0)[0] if task.todo.shards else None
        require_reachable(task.source, first)
        own = looked_at(task, first)
        pool = self._pool
        nodes = nodes_with(self._ray, pool.cpus_each, pool.gpus_each)
        names = require_alike(self._ray, nodes, (looked_at, task, first), lambda other: differing(own, other))
        return {"nodes": names, "ray": self._ray.__version__}

    def work(self, task: Task, stop: threading.Event, each: Each) -> Iterator[ShardDone]:
        """Yield each shard when it is done, in any order; once `stop` is set workers end with their picture."""
        if not task.todo.shards or stop.is_set():
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
            fn_constructor_args=(_with_threads(task, pool.cpus_each), self.engines),
            compute=data.ActorPoolStrategy(size=min(self.engines, task.todo.shards)),
            num_cpus=pool.cpus_each,
            num_gpus=pool.gpus_each or None,
        )
        trouble: LinewatchError | None = None
        with _handed_on(stop, task) as stopping_s, _vendor():
            for row in rows.iter_rows():
                for _ in range(int(row["pictures"])):
                    each()
                yield ShardDone(int(row["pictures"]), int(row["failed"]))
                if row["error"] and trouble is None:
                    trouble = pickle.loads(row["error"])  # noqa: S301 - of our own worker
                    task.turn.stop()
                    stopping_s.append(time.monotonic())
                # thousands of shards that nobody works at any more need not be answered one by one
                if stopping_s and time.monotonic() - stopping_s[0] > _STOPPED_WITHIN_S:
                    break
        if trouble is not None:
            raise trouble

    def _room(self) -> int:
        pool = self._pool
        nodes = nodes_with(self._ray, pool.cpus_each, pool.gpus_each)
        room = sum(room_of(node, pool.cpus_each, pool.gpus_each) for node in nodes)
        wanted = self._pool.engines or room
        if not 0 < wanted <= room:
            raise SettingsError(
                f"--engines: the cluster has room for {room} with {self._pool.cpus_each:g} CPUs and "
                f"{self._pool.gpus_each:g} GPUs each; received {self._pool.engines or 'none'}. Ask for fewer"
            )
        return wanted


@contextmanager
def _vendor() -> Iterator[None]:
    """Turn Ray's errors into ours."""
    try:
        yield
    except (LinewatchError, KeyboardInterrupt):
        raise
    except Exception as error:  # Ray raises exceptions of many kinds; each becomes one of ours
        raise EngineError(
            f"Ray could not do it: {said_last(error)}. Rows that are written stay; start again"
        ) from error


def _with_threads(task: Task, cpus: float) -> Task:
    """Return a task whose engines take as many threads as they have CPUs, unless the settings say how many."""

    def own(station: Station) -> Station:
        settings = station.settings
        threads = settings.engine.threads or max(1, int(cpus))
        engine = settings.engine.model_copy(update={"threads": threads})
        return replace(station, settings=settings.model_copy(update={"engine": engine}))

    return replace(task, station=own(task.station), against=None if task.against is None else own(task.against))


@contextmanager
def _handed_on(stop: threading.Event, task: Task) -> Iterator[list[float]]:
    """Tell the workers, through the folder, when this process is asked to stop; yield when that was, once it was."""
    over = threading.Event()
    stopping_s: list[float] = []

    def watch() -> None:
        while not over.wait(_STOP_LOOKED_S):
            if stop.is_set():
                stopping_s.append(time.monotonic())
                task.turn.stop()
                return

    watcher = threading.Thread(target=watch, name="stop")
    watcher.start()
    try:
        yield stopping_s
    finally:
        over.set()
        watcher.join()
