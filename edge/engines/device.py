"""The NVIDIA device beneath the TensorRT engine: the vendor's modules, and the facts that an engine is tied to."""

from __future__ import annotations

import importlib
import logging
import re
import shutil
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from edge.errors import DependencyError, EngineError
from edge.installing import how_to_install

_LOG = logging.getLogger(__name__)
_TEGRA_RELEASE = Path("/etc/nv_tegra_release")
_MEMINFO = Path("/proc/meminfo")
_NVPMODEL_TIMEOUT_S = 5.0
_REMEMBERED_MESSAGES = 20


class Graphs(Protocol):
    """CUDA graphs, which pycuda does not know: a recorded inference that the driver replays in one call."""

    def begin(self, stream: int) -> None:
        """Record what is enqueued on the stream (its handle) from now on, in place of running it."""
        ...

    def end(self, stream: int) -> int:
        """Stop recording; return the handle of what can be launched."""
        ...

    def launch(self, graph: int, stream: int) -> None:
        """Enqueue a recorded graph on a stream."""
        ...

    def destroy(self, graph: int) -> None:
        """Free a recorded graph."""
        ...


@dataclass(frozen=True)
class Vendor:
    """All that NVIDIA brings: the modules `tensorrt` and `pycuda.driver`, graphs, and what the system says of itself.

    `l4t`: the release of Jetson's Linux, such as 36.4.3; None elsewhere. `power_mode`: as `nvpmodel` names it.
    `convert`: the command that builds engines for it. `available_bytes`: what Linux could give away now, on a Jetson.
    """

    tensorrt: Any
    cuda: Any
    graphs: Graphs | None = None
    l4t: str | None = None
    power_mode: str | None = None
    convert: tuple[str, ...] = (sys.executable, "-m", "converters")
    available_bytes: Callable[[], int | None] = lambda: None


@dataclass(frozen=True)
class Machine:
    """The machine of an engine. A plan serves only where all but `cuda`, `sm_count` and `power_mode` are the same.

    The power mode switches multiprocessors off, so their count tells the mode and not the device.

    `tensorrt`, `cuda` (the driver's), `l4t`: versions. `compute_capability`: such as 8.7. `sm_count`: multiprocessors.
    """

    tensorrt: str
    cuda: str
    gpu: str
    compute_capability: str
    sm_count: int
    l4t: str | None
    power_mode: str | None

    def as_dict(self) -> dict[str, Any]:
        """Return the facts by their names."""
        return asdict(self)


def parse_version(text: str) -> tuple[int, ...]:
    """Turn `10.13.3.9.post1` into (10, 13, 3, 9): as text, 10 would stand before 8. Raises EngineError."""
    found = re.match(r"\d+(?:\.\d+)+", text)
    if found is None:
        raise EngineError(f"TensorRT says that it is version {text!r}; expected numbers such as 10.3.0")
    return tuple(int(part) for part in found.group().split("."))


def load_vendor() -> Vendor:
    """Import NVIDIA's modules. Raises DependencyError naming what is missing and how to get it."""
    tensorrt = _imported("tensorrt", "It comes with JetPack: sudo apt-get install python3-libnvinfer")
    cuda = _imported("pycuda.driver", how_to_install("pycuda", extra="jetson"))
    from edge.engines.cuda_graphs import DriverGraphs

    l4t = l4t_release()
    available = tegra_available_bytes if l4t else lambda: None
    return Vendor(tensorrt, cuda, DriverGraphs(), l4t, power_mode(), available_bytes=available)


def _imported(name: str, how: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(f"This engine runs on TensorRT, and `import {name}` failed: {error}. {how}") from error


def l4t_release(path: Path = _TEGRA_RELEASE) -> str | None:
    """Read which release of Jetson's Linux this is (36.4.3); None on any other machine."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else None


def tegra_available_bytes(path: Path = _MEMINFO) -> int | None:
    """Return what Linux could give away now, in bytes; None where it does not say.

    A Jetson's GPU shares the memory of the CPU. CUDA counts as taken what the page cache would give back at once. So
    MemAvailable is what can be allocated there (NVIDIA, CUDA for Tegra, "Estimating total allocatable memory").
    """
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", path.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def free_memory(vendor: Vendor) -> tuple[int, int]:
    """Return (free, total) bytes of the device's memory; on a Jetson free is what Linux could give away."""
    free, total = (int(each) for each in vendor.cuda.mem_get_info())
    available = vendor.available_bytes()
    return (free if available is None else min(total, max(free, available))), total


def initialise_plugins(tensorrt: Any, log: VendorLog) -> None:
    """Register TensorRT's own plugins, without which a plan that holds one cannot be read, nor a graph built."""
    if not tensorrt.init_libnvinfer_plugins(log.listener, ""):
        raise EngineError(
            f"TensorRT {tensorrt.__version__} cannot register its plugins: {log.words()}. Install libnvinfer-plugin of "
            "the same version"
        )


def power_mode() -> str | None:
    """Ask `nvpmodel` how much power the device may draw; None where there is none to ask."""
    program = shutil.which("nvpmodel")
    if program is None:
        return None
    try:
        asked = subprocess.run(  # noqa: S603 - NVIDIA's own program, without input of ours
            [program, "-q"], capture_output=True, text=True, timeout=_NVPMODEL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        _LOG.warning("nvpmodel does not answer: %s", error)
        return None
    found = re.search(r"Power Mode:\s*(\S+)", asked.stdout)
    return found[1] if found else None


def machine_of(vendor: Vendor) -> Machine:
    """Ask the driver what this is. Makes no context and takes no memory. Raises EngineError without a GPU."""
    cuda = vendor.cuda
    try:
        cuda.init()
        device = cuda.Device(0)
        major, minor = device.compute_capability()
        driver = int(cuda.get_driver_version())
        return Machine(
            tensorrt=vendor.tensorrt.__version__,
            cuda=f"{driver // 1000}.{driver % 1000 // 10}",
            gpu=device.name(),
            compute_capability=f"{major}.{minor}",
            sm_count=int(device.get_attribute(cuda.device_attribute.MULTIPROCESSOR_COUNT)),
            l4t=vendor.l4t,
            power_mode=vendor.power_mode,
        )
    except cuda.Error as error:
        raise EngineError(
            f"CUDA finds no usable GPU: {error}. Expected an NVIDIA device whose driver runs: see `nvidia-smi`, or "
            "`tegrastats` on a Jetson"
        ) from error


@contextmanager
def current_context(vendor: Vendor) -> Iterator[None]:
    """Make the device's primary context current in this thread, and give it back on every path."""
    context = vendor.cuda.Device(0).retain_primary_context()
    try:
        context.push()
        try:
            yield
        finally:
            context.pop()
    finally:
        context.detach()


def let_go(error: BaseException) -> None:
    """Clear what an error's frames hold: who keeps it must not keep the device's objects alive beyond their context."""
    link: BaseException | None = error
    while link is not None:
        traceback.clear_frames(link.__traceback__)
        link = link.__cause__ or link.__context__


class VendorLog:
    """The log of TensorRT: errors and warnings go to the log, and the last of them are kept for the error message."""

    def __init__(self, tensorrt: Any) -> None:
        self.said: deque[str] = deque(maxlen=_REMEMBERED_MESSAGES)
        said, severity = self.said, tensorrt.ILogger.Severity
        errors = {severity.INTERNAL_ERROR, severity.ERROR}

        class Listener(tensorrt.ILogger):  # type: ignore[misc]  # the vendor's class is known when it is imported
            def __init__(self) -> None:
                tensorrt.ILogger.__init__(self)  # pybind demands this very call

            def log(self, level: Any, message: str) -> None:
                if level in errors:
                    said.append(message.strip())
                    _LOG.error("TensorRT: %s", message.strip())
                elif level == severity.WARNING:
                    _LOG.warning("TensorRT: %s", message.strip())

        self.listener: Any = Listener()

    def words(self) -> str:
        """Return the errors that TensorRT told, or that it told none."""
        return "; ".join(self.said) or "TensorRT told no reason"
