"""CUDA graphs by the driver's own C functions: pycuda has no call for them."""

from __future__ import annotations

import ctypes
from typing import Any

from edge.errors import EngineError

# Only what this thread enqueues may be recorded, and nothing that could wait for the device.
_CAPTURE_MODE_THREAD_LOCAL = 1


class DriverGraphs:
    """Records and replays inferences by `libcuda`, which is loaded on first use."""

    def __init__(self) -> None:
        self._library: Any = None

    def begin(self, stream: int) -> None:
        """Record what is enqueued on the stream from now on."""
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_CAPTURE_MODE_THREAD_LOCAL))

    def end(self, stream: int) -> int:
        """Stop recording and return an executable graph's handle; the recording itself is freed."""
        recorded, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(recorded))
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), recorded, ctypes.c_ulonglong(0))
        finally:
            self._call("cuGraphDestroy", recorded)
        return int(executable.value or 0)

    def launch(self, graph: int, stream: int) -> None:
        """Enqueue a recorded graph on a stream."""
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def destroy(self, graph: int) -> None:
        """Free an executable graph."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def _call(self, name: str, *arguments: Any) -> None:
        if self._library is None:
            try:
                self._library = ctypes.CDLL("libcuda.so.1")
            except OSError as error:
                raise EngineError(f"CUDA graphs need libcuda.so.1: {error}. Set engine.cuda_graphs: false") from error
        result = int(getattr(self._library, name)(*arguments))
        if result:
            raise EngineError(f"CUDA graphs: {name} failed with CUDA error {result}. Set engine.cuda_graphs: false")
