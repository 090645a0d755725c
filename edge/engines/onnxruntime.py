"""`model.onnx` on the CPU, by ONNX Runtime. Worker threads run the session while the caller cuts the next tiles.

Each worker answers a share of a batch on a core of its own. Threads that share one tile wait for each other at every
node: whatever else a core has to do then stops them all.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge.bundle import HashedFile
from edge.engines.answers import checked, joined
from edge.engines.onnx_scan import read_onnx
from edge.errors import ContractError, DependencyError, EngineError
from edge.installing import how_to_install
from edge.records import Batch, Float32, GraphContract, Maps, Ticket, UInt8
from edge.wording import counted

_AGAIN = "Convert the bundle again: convert BUNDLE --to onnxruntime"
_AT_ONCE = 3  # a worker that is done finds its share of the next batch, however long the batcher waits for its turn


class OnnxRuntimeEngine:
    """Answers tiles with an ONNX graph that keeps the graph contract.

    `threads` 0 uses every core. A batch of fewer tiles than threads has several threads for each tile. Raises
    ContractError if the graph is another one.
    """

    at_once = _AT_ONCE

    def __init__(self, model: Path | HashedFile, contract: GraphContract, threads: int = 0) -> None:
        self.contract = contract
        self._file = model
        self._model = model.path if isinstance(model, HashedFile) else model
        threads = threads or len(os.sched_getaffinity(0))
        self._workers = min(threads, contract.max_batch)
        self._threads_each = threads // self._workers
        self._session: Any = None
        self._worker: ThreadPoolExecutor | None = None
        self._serial = itertools.count()
        frames = [contract.frames] if contract.frames > 1 else []
        shape = (contract.max_batch, *frames, contract.tile_height, contract.tile_width, contract.channels)
        self._buffers = itertools.cycle([np.zeros(shape, np.uint8) for _ in range(_AT_ONCE + 1)])

    def __enter__(self) -> Self:
        try:
            import onnxruntime
        except ImportError as error:
            raise DependencyError(
                f"This bundle runs on ONNX Runtime, and `import onnxruntime` failed: {error}. "
                f"{how_to_install('onnxruntime', extra='desktop')}"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads_each
        options.log_severity_level = 4  # a failure is raised; its own lines would show a model's names as they are
        # A graph in bytes may still name other files, which ONNX Runtime looks for in the working directory. The scan
        # prevents that, on the very bytes that are given to it.
        content = read_onnx(self._file, "ONNX Runtime cannot load")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises bare exceptions of many kinds
            raise ContractError(f"ONNX Runtime cannot load {self._model}: {error}. {_AGAIN}") from error
        self._check()
        self._worker = ThreadPoolExecutor(self._workers, thread_name_prefix="onnxruntime")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)
        self._worker = None
        self._session = None

    def _check(self) -> None:
        c = self.contract
        frames = [c.frames] if c.frames > 1 else []
        cells: list[int | None] = [c.tile_height // c.stride, c.tile_width // c.stride]
        expected: dict[str, tuple[str, list[int | None]]] = {
            "tiles": ("tensor(uint8)", [None, *frames, c.tile_height, c.tile_width, c.channels]),
            "thresholds": ("tensor(float)", [len(c.classes)]),
            "classes": ("tensor(uint8)", [None, *cells]),
            "scores": ("tensor(uint8)", [None, *cells]),
        }
        ports = [*self._session.get_inputs(), *self._session.get_outputs()]
        found = {
            node.name: (node.type, [size if isinstance(size, int) else None for size in node.shape]) for node in ports
        }
        for name, want in expected.items():
            if found.get(name) != want:
                raise ContractError(
                    f"{self._model} does not keep the graph contract: expected {name} as {_words(want)}, "
                    f"received {_words(found.get(name))}. {_AGAIN}"
                )
        names = [node.name for node in ports]
        if extra := sorted({*(set(found) - set(expected)), *(name for name in names if names.count(name) > 1)}):
            raise ContractError(
                f"{self._model} does not keep the graph contract: it has the unexpected inputs or outputs {extra}. "
                f"{_AGAIN}"
            )

    def buffer(self) -> Batch:
        """Return the next of four buffers, uint8 [B, (T,) H, W, C]."""
        return Batch(next(self._buffers))

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Hand the first `count` tiles to the workers, a share to each; nothing is copied."""
        if self._worker is None:
            raise EngineError("The ONNX Runtime engine is closed; open it with `with` before submitting tiles")
        shares = min(self._workers, count)
        ends = [count * share // shares for share in range(shares + 1)]
        answers = [
            self._worker.submit(self._run, batch.tiles[first:end], thresholds)
            for first, end in itertools.pairwise(ends)
        ]
        return Ticket(next(self._serial), count, (answers, thresholds))

    def _run(self, tiles: UInt8, thresholds: Float32) -> Maps:
        return Maps(*self._session.run(["classes", "scores"], {"tiles": tiles, "thresholds": thresholds}))

    def collect(self, ticket: Ticket) -> Maps:
        """Wait for a ticket's maps, uint8 [count, h, w] each."""
        shares: list[Future[Maps]]
        shares, thresholds = ticket.token
        wait(shares)  # all of them: the buffer is used again
        try:
            answers = [share.result() for share in shares]
        except Exception as error:  # ONNX Runtime raises bare exceptions of many kinds
            raise EngineError(f"ONNX Runtime failed on a batch of {counted(ticket.count, 'tile')}: {error}") from error
        return checked(joined(answers), ticket.count, self.contract, thresholds)


def _words(node: tuple[str, list[int | None]] | None) -> str:
    if node is None:
        return "nothing of that name"
    kind, shape = node
    return f"{kind} [{', '.join('N' if size is None else str(size) for size in shape)}]"
