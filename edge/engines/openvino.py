"""`model.onnx` on the CPU, by OpenVINO: on CPUs with units for bf16 (AMX) faster than in FP32.

Every buffer has an inference request of its own: the next tiles are cut while the last are answered. Neither tiles nor
maps are copied. With bf16 the first two fifths of the convolutions stay in FP32, with all that comes before: what is
rounded there is rounded for all that follow. From there the network computes in bf16 up to its last convolution and
what enlarges that one's answer. OpenVINO keeps the rest, softmax and head with its thresholds, in FP32. A line does not
run bf16 alone, but in a cascade (`edge.engines.cascade`).
"""

from __future__ import annotations

import itertools
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from typing_extensions import Self

from edge.bundle import HashedFile
from edge.engines.answers import checked
from edge.engines.onnx_scan import read_onnx
from edge.engines.openvino_graph import first_line, flatten_head, with_precise_beginning
from edge.errors import ContractError, DependencyError, EngineError, StoreError
from edge.installing import how_to_install
from edge.records import Batch, Float32, GraphContract, Maps, Ticket, UInt8
from edge.wording import counted

OpenVinoPrecision = Literal["fp32", "bf16"]
_AGAIN = "Convert the bundle again: convert BUNDLE --to openvino"
_AT_ONCE = 2
_HINTS = {"fp32": "f32", "bf16": "bf16"}


@cache
def _core(openvino: Any) -> Any:
    """Return the one core of this process, which is never given back.

    OpenVINO's plugin for CPUs gives the thread that makes it a stack for signals. The thread that lets go of it last
    unmaps that stack (SigAltStackSetup of its intel_cpu plugin; seen with 2026.4). The first thread's next signal, a
    SIGTERM say, would end the process as a segmentation fault. A plugin that stays keeps its stack.
    """
    return openvino.Core()


class OpenVinoEngine:
    """Answers tiles with an ONNX graph that keeps the graph contract.

    An INT8 graph is run as its Q/DQ pairs say. `threads` 0 lets OpenVINO use every core. Raises ContractError if the
    graph is another one, and StoreError where bf16 finds no room for its temporary files.
    """

    at_once = _AT_ONCE

    def __init__(
        self, model: Path | HashedFile, contract: GraphContract, threads: int = 0, precision: OpenVinoPrecision = "fp32"
    ) -> None:
        self.contract = contract
        self._file = model
        self._model = model.path if isinstance(model, HashedFile) else model
        self._threads = threads
        self._precision = precision
        self._serial = itertools.count()
        self._requests: list[Any] = []
        self._turn = itertools.cycle(range(_AT_ONCE + 1))
        frames = [contract.frames] if contract.frames > 1 else []
        shape = (contract.max_batch, *frames, contract.tile_height, contract.tile_width, contract.channels)
        self._buffers: list[UInt8] = [np.zeros(shape, np.uint8) for _ in range(_AT_ONCE + 1)]

    def __enter__(self) -> Self:
        try:
            import openvino
        except ImportError as error:
            raise DependencyError(
                f"This line runs on OpenVINO, and `import openvino` failed: {error}. "
                f"{how_to_install('openvino', extra='openvino')}"
            ) from error
        core = _core(openvino)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": _HINTS[self._precision], "NUM_STREAMS": 1}
        if self._threads:
            settings["INFERENCE_NUM_THREADS"] = self._threads
        # Bytes do not keep a graph from naming other files, which OpenVINO looks for in the working directory: the scan
        # does, of the very bytes that are given to it.
        content = read_onnx(self._file, "OpenVINO cannot load")
        try:
            graph = core.read_model(content)
            self._check(graph)
            flatten_head(graph)
            if self._precision == "bf16":
                graph = with_precise_beginning(openvino, core, graph)
            compiled = core.compile_model(graph, "CPU", settings)
            self._requests = [compiled.create_infer_request() for _ in range(_AT_ONCE + 1)]
        except (ContractError, StoreError):
            raise
        except Exception as error:  # OpenVINO raises bare exceptions of many kinds
            raise ContractError(f"OpenVINO cannot load {self._model}: {first_line(error)}. {_AGAIN}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for request in self._requests:
            request.wait()
        self._requests = []

    def _check(self, graph: Any) -> None:
        c = self.contract
        frames = [c.frames] if c.frames > 1 else []
        cells: list[int | None] = [c.tile_height // c.stride, c.tile_width // c.stride]
        expected: dict[str, tuple[str, list[int | None]]] = {
            "tiles": ("u8", [None, *frames, c.tile_height, c.tile_width, c.channels]),
            "thresholds": ("f32", [len(c.classes)]),
            "classes": ("u8", [None, *cells]),
            "scores": ("u8", [None, *cells]),
        }
        ports = [*graph.inputs, *graph.outputs]
        found = {
            port.get_any_name(): (
                port.get_element_type().get_type_name(),
                [None if size.is_dynamic else size.get_length() for size in port.get_partial_shape()],
            )
            for port in ports
        }
        if found != expected or len(ports) != len(expected):
            raise ContractError(
                f"{self._model} does not keep the graph contract: expected {expected}, received {found}. {_AGAIN}"
            )

    def buffer(self) -> Batch:
        """Return the next of three buffers, uint8 [B, (T,) H, W, C]."""
        return Batch(self._buffers[next(self._turn)])

    def submit(self, batch: Batch, count: int, thresholds: Float32) -> Ticket:
        """Start the buffer's own request on the first `count` tiles; nothing is copied."""
        if not self._requests:
            raise EngineError("The OpenVINO engine is closed; open it with `with` before submitting tiles")
        from openvino import Tensor

        places = [place for place, tiles in enumerate(self._buffers) if tiles is batch.tiles]
        if not places:
            raise EngineError("This batch is not the OpenVINO engine's; cut tiles into what its `buffer` returns")
        request = self._requests[places[0]]
        asked = np.ascontiguousarray(thresholds, np.float32)
        try:
            request.set_tensor("tiles", Tensor(batch.tiles[:count], shared_memory=True))
            request.set_tensor("thresholds", Tensor(asked, shared_memory=True))
            request.start_async()
        except Exception as error:  # OpenVINO raises bare exceptions of many kinds
            raise _failed(count, error) from error
        # the request reads `asked` until it has finished
        return Ticket(next(self._serial), count, (request, asked))

    def collect(self, ticket: Ticket) -> Maps:
        """Wait for a ticket's maps, uint8 [count, h, w] each, in OpenVINO's own memory."""
        request, thresholds = ticket.token
        try:
            request.wait()
            maps = Maps(request.get_tensor("classes").data, request.get_tensor("scores").data)
        except Exception as error:  # OpenVINO raises bare exceptions of many kinds
            raise _failed(ticket.count, error) from error
        # an answer of bf16 without a probability is asked again of FP32 (edge.engines.cascade), and told there
        return checked(maps, ticket.count, self.contract, thresholds if self._precision == "fp32" else None)


def _failed(count: int, error: Exception) -> EngineError:
    return EngineError(f"OpenVINO failed on a batch of {counted(count, 'tile')}: {first_line(error)}")
