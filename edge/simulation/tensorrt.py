"""The TensorRT half of the simulated device: builds plans that are ONNX graphs, and runs them by ONNX Runtime.

It cannot show a chip's behaviour: the chosen tactics, the rounding of FP16, any time. An engine in FP16 answers here as
its graph does on a CPU.
"""

from __future__ import annotations

import json
import struct
from enum import IntEnum
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.engines.device import parse_version
from edge.engines.onnx_outline import OnnxNode, OnnxOutline, read_outline
from edge.errors import LinewatchError
from edge.simulation.cuda import Misuse

if TYPE_CHECKING:
    from edge.simulation.device import SimulatedDevice

_MAGIC = 0x74727466
_HEADER = struct.Struct("<II16s4B")
_LENGTH = struct.Struct("<I")
_TYPES = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT"}
_BYTES = {"UINT8": 1, "FLOAT": 4}
_CACHE_MARK = b"simulated timings of "


class _Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class _Logger:
    Severity = _Severity

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError  # as with the vendor's ILogger, whoever listens writes this


class _ProgressMonitor:
    pass


class Dims(tuple[int, ...]):
    """Stands in for tensorrt.Dims."""

    __slots__ = ()


def plain_values() -> Any:
    """Return the enumerations and interfaces that the engine and the build use; a flag counts by its name."""
    return SimpleNamespace(
        ILogger=_Logger,
        IProgressMonitor=_ProgressMonitor,
        Dims=Dims,
        BuilderFlag=IntEnum("BuilderFlag", {"FP16": 0, "INT8": 1, "TF32": 7, "OBEY_PRECISION_CONSTRAINTS": 11}),
        NetworkDefinitionCreationFlag=IntEnum(
            "NetworkDefinitionCreationFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}
        ),
        MemoryPoolType=IntEnum("MemoryPoolType", {"WORKSPACE": 0}),
        TensorIOMode=IntEnum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2}),
        DataType=IntEnum("DataType", {"FLOAT": 0, "HALF": 1, "INT8": 2, "INT32": 3, "BOOL": 4, "UINT8": 5}),
        ProfilingVerbosity=IntEnum("ProfilingVerbosity", {"LAYER_NAMES_ONLY": 0, "NONE": 1, "DETAILED": 2}),
        LayerInformationFormat=IntEnum("LayerInformationFormat", {"ONELINE": 0, "JSON": 1}),
    )


class SimulatedTensorRT:
    """Stands in for the module `tensorrt` of one version.

    `values`: the enumerations, `Dims`, `ILogger` and `IProgressMonitor` to use, the real binding's for instance.
    """

    def __init__(self, device: SimulatedDevice, version: str, values: Any = None) -> None:
        self.device = device
        self.__version__ = version
        self.plugins = False
        self.values = values or plain_values()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "values":
            raise AttributeError(name)
        return getattr(self.values, name)

    def Builder(self, logger: Any) -> _Builder:  # noqa: N802 - the vendor's name
        """Begin a build."""
        self.device.require_context("Builder")
        return _Builder(self, logger)

    def OnnxParser(self, network: _Network, logger: Any) -> _Parser:  # noqa: N802 - the vendor's name
        """Begin to read a graph."""
        return _Parser(network, logger)

    def Runtime(self, logger: Any) -> _Runtime:  # noqa: N802 - the vendor's name
        """Begin to load engines."""
        self.device.require_context("Runtime")
        return _Runtime(self, logger)

    def init_libnvinfer_plugins(self, logger: Any, namespace: str) -> bool:  # noqa: ARG002 - the vendor's signature
        """Register the plugins; a plan is not read before."""
        self.plugins = True
        return True

    def error(self, logger: Any, message: str) -> None:
        """Say what is wrong the way TensorRT does, to the logger."""
        logger.log(self.values.ILogger.Severity.ERROR, message)


class _HostMemory(bytes):
    """Stands in for IHostMemory."""

    @property
    def nbytes(self) -> int:
        return len(self)


class _Tensor:
    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype


class _Layer:
    """One layer per node; of an integer operator it answers INT32, else FLOAT."""

    def __init__(self, node: OnnxNode, values: Any) -> None:
        self.name = node.name
        self.metadata = f"[ONNX Layer: {node.name}]"
        self.num_outputs = len(node.outputs)
        self.precision: Any = None
        self.output_types: dict[int, Any] = {}
        integer = node.op_type in {"ArgMax", "Shape", "TopK"}
        self._outputs = [_Tensor(values.DataType.INT32 if integer else values.DataType.FLOAT)] * self.num_outputs

    def get_output(self, index: int) -> _Tensor:
        return self._outputs[index]

    def set_output_type(self, index: int, dtype: Any) -> None:
        self.output_types[index] = dtype

    @property
    def pinned(self) -> bool:
        """Tell whether it was told to compute and to answer in FP32."""
        return self.precision is not None and len(self.output_types) == self.num_outputs


class _Network:
    def __init__(self, tensorrt: SimulatedTensorRT, flags: int) -> None:
        self.tensorrt = tensorrt
        self.flags = flags
        self.model = b""
        self.outline = OnnxOutline((), half_weights=False)
        self.layers: list[_Layer] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> _Layer:
        return self.layers[index]


class _ParserError:
    def __init__(self, description: str) -> None:
        self._description = description

    def desc(self) -> str:
        return self._description

    def node(self) -> int:
        return 0


class _Parser:
    def __init__(self, network: _Network, logger: Any) -> None:
        self._network = network
        self._logger = logger
        self._errors: list[_ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> _ParserError:
        return self._errors[index]

    def parse(self, model: bytes, path: str | None = None) -> bool:  # noqa: ARG002 - the vendor's signature
        network = self._network
        try:
            network.model = bytes(model)
            network.outline = read_outline(network.model)
        except LinewatchError as error:
            self._errors.append(_ParserError(str(error)))
            return False
        network.layers = [_Layer(node, network.tensorrt.values) for node in network.outline.nodes]
        return True


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> _HostMemory:
        return _HostMemory(self.content)


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - the vendor's names
        self.shapes[input] = (tuple(min), tuple(opt), tuple(max))


class _Config:
    def __init__(self, tensorrt: SimulatedTensorRT) -> None:
        self._tensorrt = tensorrt
        self.flags: set[str] = {"TF32"}
        self.pools: dict[str, int] = {}
        self.builder_optimization_level = 3
        self.profiling_verbosity: Any = None
        self.progress_monitor: Any = None
        self.cache: _TimingCache | None = None
        self.profile: _Profile | None = None

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.pools[pool.name] = pool_size

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def clear_flag(self, flag: Any) -> None:
        self.flags.discard(flag.name)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
        return _TimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        known = cache.content
        if known and known != self._mark() and not ignore_mismatch:
            return False
        cache.content = self._mark()
        self.cache = cache
        return True

    def get_timing_cache(self) -> _TimingCache | None:
        return self.cache

    def _mark(self) -> bytes:
        return _CACHE_MARK + self._tensorrt.__version__.encode()

    def add_optimization_profile(self, profile: _Profile) -> int:
        fewest, usual, most = profile.shapes["tiles"]
        if not all(1 <= a <= b <= c for a, b, c in zip(fewest, usual, most, strict=True)):
            return -1
        self.profile = profile
        return 0


class _Builder:
    def __init__(self, tensorrt: SimulatedTensorRT, logger: Any) -> None:
        self._tensorrt = tensorrt
        self._logger = logger
        tensorrt.device.objects.add(self)  # which must be freed while the context is there

    def create_network(self, flags: int = 0) -> _Network:
        return _Network(self._tensorrt, flags)

    def create_builder_config(self) -> _Config:
        return _Config(self._tensorrt)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> _HostMemory | None:
        self._tensorrt.device.require_context("build_serialized_network")
        faults = self._tensorrt.device.faults
        if not self._tell(config.progress_monitor, network):
            return None
        if config.profile is None or config.cache is None:
            self._tensorrt.error(self._logger, "Network has dynamic inputs, but no optimization profile was defined")
            return None
        if faults.raises is not None:
            raise faults.raises
        if faults.build is not None:
            self._tensorrt.error(self._logger, faults.build)
            faults.build = None
            return None
        fewest, usual, most = (shape[0] for shape in config.profile.shapes["tiles"])
        version = (*parse_version(self._tensorrt.__version__), 0, 0)[:4]
        description = json.dumps(
            {
                "batch": [fewest, usual, most],
                "layers": [[layer.name, self._answers(layer, network, config)] for layer in network.layers],
            }
        ).encode()
        header = _HEADER.pack(_MAGIC, 0, b"", *version)
        return _HostMemory(header + _LENGTH.pack(len(description)) + description + network.model)

    def _tell(self, monitor: Any, network: _Network) -> bool:
        """Go through the layers as a build does; False where the monitor said to stop."""
        if monitor is None:
            return True
        monitor.phase_start("Building engine", None, len(network.layers))
        goes_on = all(monitor.step_complete("Building engine", number) for number in range(len(network.layers)))
        monitor.phase_finish("Building engine")
        return goes_on

    def _answers(self, layer: _Layer, network: _Network, config: _Config) -> str:
        """Name the type of a layer's answers: by the graph's own weights, or by the flags and pins."""
        if layer.get_output(0).dtype.name == "INT32":
            return "Int32"
        if layer.pinned and not self._tensorrt.device.faults.disobeys:
            return "FP32"
        if any(node.op_type == "QuantizeLinear" for node in network.outline.nodes):
            return "Int8"
        return "FP16" if network.outline.half_weights or "FP16" in config.flags else "FP32"


class _Runtime:
    def __init__(self, tensorrt: SimulatedTensorRT, logger: Any) -> None:
        self._tensorrt = tensorrt
        self._logger = logger
        tensorrt.device.objects.add(self)

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> _Engine | None:
        self._tensorrt.device.require_context("deserialize_cuda_engine")
        faults = self._tensorrt.device.faults
        if not self._tensorrt.plugins:
            raise Misuse("A plan was read before the plugins were registered: one that holds any could not be")
        if faults.load is not None:
            self._tensorrt.error(self._logger, faults.load)
            return None
        try:
            return _Engine(self._tensorrt, self._logger, bytes(serialized_engine))
        except (ValueError, struct.error) as error:
            self._tensorrt.error(self._logger, f"Serialization assertion failed: {error}")
            return None


class _Engine:
    """A loaded plan. ONNX Runtime opens its graph when somebody asks for more than its layers."""

    def __init__(self, tensorrt: SimulatedTensorRT, logger: Any, plan: bytes) -> None:
        self.tensorrt = tensorrt
        self.logger = logger
        header = _HEADER.unpack_from(plan)
        version = (*parse_version(tensorrt.__version__), 0, 0)[:4]
        if header[0] != _MAGIC or header[3:6] != version[:3]:
            raise ValueError("stdVersionRead == kSERIALIZATION_VERSION")
        (size,) = _LENGTH.unpack_from(plan, _HEADER.size)
        begins = _HEADER.size + _LENGTH.size
        self.described = json.loads(plan[begins : begins + size])
        self._model = plan[begins + size :]
        self._session: Any = None
        tensorrt.device.objects.add(self)

    @property
    def session(self) -> Any:
        """The graph as ONNX Runtime runs it."""
        if self._session is None:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(self._model, options, providers=["CPUExecutionProvider"])
        return self._session

    @property
    def _tensors(self) -> list[tuple[Any, str]]:
        edges = [(node, "INPUT") for node in self.session.get_inputs()]
        return edges + [(node, "OUTPUT") for node in self.session.get_outputs()]

    def _tensor(self, name: str) -> tuple[Any, str]:
        return next(found for found in self._tensors if found[0].name == name)

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return str(self._tensors[index][0].name)

    def get_tensor_mode(self, name: str) -> Any:
        return self.tensorrt.values.TensorIOMode.__members__[self._tensor(name)[1]]

    def get_tensor_dtype(self, name: str) -> Any:
        return self.tensorrt.values.DataType.__members__[_TYPES[self._tensor(name)[0].type]]

    def get_tensor_shape(self, name: str) -> Any:
        shape = self._tensor(name)[0].shape
        return self.tensorrt.values.Dims([size if isinstance(size, int) else -1 for size in shape])

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Any]:
        if profile_index != 0:
            raise ValueError("an engine has one profile")
        return [
            self.tensorrt.values.Dims([count, *tuple(self.get_tensor_shape(name))[1:]])
            for count in self.described["batch"]
        ]

    def create_execution_context(self) -> _ExecutionContext:
        self.tensorrt.device.require_context("create_execution_context")
        return _ExecutionContext(self)

    def create_engine_inspector(self) -> _Inspector:
        return _Inspector(self)


class _Inspector:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine

    def get_engine_information(self, format: Any) -> str:  # noqa: A002 - the vendor's name
        if format.name != "JSON":
            raise ValueError("only JSON is simulated")
        layers = [
            {"Name": name, "Outputs": [{"Name": name, "Format/Datatype": f"Row major linear {kind} format"}]}
            for name, kind in self._engine.described["layers"]
        ]
        edges = "I/O Tensors" if parse_version(self._engine.tensorrt.__version__) >= (11,) else "Bindings"
        return json.dumps({"Layers": layers, edges: ["tiles", "thresholds", "classes", "scores"]})


class _ExecutionContext:
    """Runs its engine on the addresses that it was told, when its stream comes to it."""

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine
        self._device = engine.tensorrt.device
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._device.objects.add(self)

    def set_input_shape(self, name: str, shape: Any) -> bool:
        self._device.require_context("set_input_shape")
        shape = tuple(shape)
        fewest, _, most = self.engine.described["batch"]
        declared = tuple(self.engine.get_tensor_shape(name))
        if name == "tiles" and not (fewest <= shape[0] <= most and shape[1:] == declared[1:]):
            self.engine.tensorrt.error(self.engine.logger, f"Runtime dimension does not satisfy profile 0: {shape}")
            return False
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._device.require_context("set_tensor_address")
        self._addresses[name] = int(memory)
        return True

    def infer_shapes(self) -> list[str]:
        return [] if "tiles" in self._shapes else ["tiles"]

    def execute_async_v3(self, stream_handle: int) -> bool:
        device, engine = self._device, self.engine
        device.require_context("execute_async_v3")
        if device.faults.run is not None:
            engine.tensorrt.error(engine.logger, device.faults.run)
            device.faults.run = None
            return False
        if self.infer_shapes():
            engine.tensorrt.error(engine.logger, "The shape of tiles was not set")
            return False
        count = self._shapes["tiles"][0]
        spans: dict[str, tuple[int, tuple[int, ...], str]] = {}
        for node, _ in engine._tensors:  # noqa: SLF001 - two halves of one simulation
            if node.name not in self._addresses:
                engine.tensorrt.error(engine.logger, f"The address of {node.name} was not set")
                return False
            shape = tuple(count if not isinstance(size, int) else size for size in node.shape)
            spans[node.name] = (self._addresses[node.name], shape, _TYPES[node.type])
        inputs = [node.name for node in engine.session.get_inputs()]
        outputs = [node.name for node in engine.session.get_outputs()]
        for name, place in spans.items():
            self._memory(place, name)
        device.enqueue(
            device.stream_of(stream_handle),
            "engine",
            lambda: self._run(spans, inputs, outputs),
            reads=[_span(spans[name]) for name in inputs],
            writes=[_span(spans[name]) for name in outputs],
        )
        return True

    def _memory(self, place: tuple[int, tuple[int, ...], str], name: str) -> tuple[Any, Any]:
        first, beyond = _span(place)
        return self._device.at(first, beyond - first, f"The engine's {name}")

    def _run(self, spans: dict[str, Any], inputs: list[str], outputs: list[str]) -> None:
        from edge.simulation.cuda import Misuse

        given = {}
        for name in inputs:
            values, written = self._memory(spans[name], name)
            if not written.all():
                raise Misuse(f"The engine reads {name} where nothing was written")
            _, shape, kind = spans[name]
            dtype = np.uint8 if kind == "UINT8" else np.float32
            given[name] = np.frombuffer(values.tobytes(), dtype).reshape(shape)
        for name, answer in zip(outputs, self.engine.session.run(outputs, given), strict=True):
            place, there = self._memory(spans[name], name)
            place[:] = np.ascontiguousarray(answer).view(np.uint8).reshape(-1)
            there[:] = 1


def _span(place: tuple[int, tuple[int, ...], str]) -> tuple[int, int]:
    first, shape, kind = place
    size = _BYTES[kind]
    for side in shape:
        size *= side
    return first, first + size
