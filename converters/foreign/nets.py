"""A net as it was given, an .onnx or a .keras file: run by its own runtime, unchanged, and translated to plain ONNX.

The converted graph is compared with the framework that runs it here, so nothing of the translation is used.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from converters.foreign.external_data import external_tensors, read_model
from converters.foreign.functions import without_functions
from converters.foreign.lowering import free_batch, lowered, only_output, widened, words_of
from converters.graph.contract import EDGES, graphs_within, names_within
from converters.graph.float_graph import require_onnx
from converters.graph.onnx_from_keras import layers_within, load_tools, translate
from edge.engines.onnx_scan import scan_onnx
from edge.errors import BundleError, ContractError, DependencyError, EngineError
from edge.installing import how_to_install
from edge.records import Float32
from edge.wording import command, counted
from trainer.evaluation.keras_engine import load_model

Dims = tuple[int | None, ...]
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_BYTES = {"tensor(uint8)": np.uint8}


class Net(Protocol):
    """A net of one input. `dims`: of that input, None where any size goes; `path`: the file, for messages."""

    path: Path
    runtime: str

    @property
    def dims(self) -> Dims:
        """The sizes of the input, batch included."""
        ...

    def run(self, pixels: Float32) -> Float32:
        """Answer float32 pixels as the file's own runtime does, any number of tiles. Raises EngineError."""
        ...

    def plain(self, sizes: tuple[int, ...]) -> Any:
        """Return an onnx.ModelProto, opset 17, FP32, for any number of tiles of `sizes` (without the batch)."""
        ...


def open_net(path: Path, output: str | None) -> Net:
    """Open a .keras or .onnx file. Raises BundleError, ContractError."""
    return KerasNet(path, output) if path.suffix.lower() == ".keras" else OnnxNet(path, output)


def _one_of(path: Path, names: list[str], output: str | None) -> int:
    """Return the place of the answer that is meant. Raises ContractError where that is not clear."""
    if output is None:
        if len(names) == 1:
            return 0
        raise ContractError(
            f"{path} has {len(names)} outputs, {', '.join(names)}: expected the name of the one that is meant. Give "
            "it as --output NAME"
        )
    if output not in names:
        raise ContractError(f"{path} has no output {output!r}: there are {', '.join(names)}. Give --output one of them")
    return names.index(output)


class OnnxNet:
    """An ONNX file. It is run by ONNX Runtime with the bytes as they were given."""

    runtime = "ONNX Runtime"

    def __init__(self, path: Path, output: str | None) -> None:
        onnx = require_onnx()
        self.path = path
        self._raw = read_model(path)
        try:
            self.proto = onnx.load_model_from_string(self._raw)
        except Exception as error:  # protobuf raises exceptions of many kinds
            raise ContractError(f"{path} cannot be read as ONNX: {error}. Export it again") from error
        graph = self.proto.graph
        if not graph.node:
            raise ContractError(f"{path} cannot be read as ONNX: it has no nodes. Export it again")
        self._refuse_what_cannot_be()
        if self.proto.functions:
            self.proto = without_functions(self.proto, str(path))
            self._raw = self.proto.SerializeToString()  # the scanned bytes are the ones that run
        scan_onnx(self._raw, path)  # before any runtime looks for anything
        weights = {each.name for each in graph.initializer}
        self._inputs = [value for value in graph.input if value.name not in weights]
        self._outputs = [value.name for value in graph.output]
        self._output = output
        self._session: Any = None

    @property
    def keeps_contract(self) -> bool:
        """Tell whether it is a graph of the contract already, by the names at its edges."""
        return {value.name for value in self._inputs} >= {"tiles", "thresholds"}

    @property
    def dims(self) -> Dims:
        """The sizes of the input, batch included."""
        return tuple(dim.dim_value or None for dim in self._input.type.tensor_type.shape.dim)

    @property
    def _input(self) -> Any:
        if len(self._inputs) != 1:
            names = ", ".join(value.name for value in self._inputs) or "none"
            raise ContractError(
                f"{self.path} has {len(self._inputs)} inputs, {names}: expected one, the pixels. Export it again "
                "with the others as constants"
            )
        return self._inputs[0]

    def _refuse_what_cannot_be(self) -> None:
        from onnx import numpy_helper

        if outside := external_tensors(self.proto):
            raise ContractError(
                f"{self.path} keeps the weights {[each.name for each in outside][:3]} in other files: expected all "
                f"inside. Merge them first: {command('convert', 'merge-data', self.path)}"
            )
        local = {function.domain for function in self.proto.functions}
        foreign = {node.domain for graph in graphs_within(self.proto.graph) for node in graph.node if node.domain} - {
            "ai.onnx",
            *local,
        }
        if foreign:
            raise ContractError(
                f"{self.path} uses operators of {sorted(foreign)}: expected those of ONNX only. Export it again "
                "without the extensions of another runtime"
            )
        constants = {each.name: each for each in self.proto.graph.initializer}
        constants |= {node.output[0]: a.t for node in self.proto.graph.node for a in node.attribute if a.HasField("t")}
        for node in self.proto.graph.node:
            learning = any(a.name == "training_mode" and a.i for a in node.attribute)
            if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2] in constants:
                learning = bool(numpy_helper.to_array(constants[node.input[2]]).any())
            if learning:
                raise ContractError(
                    f"{self.path}: {node.op_type} {node.name!r} is in training mode, so its answers would depend on "
                    "what else is in the batch. Export it for inference: model.eval() before torch.onnx.export, or "
                    "training=False"
                )

    def run(self, pixels: Float32) -> Float32:
        """Answer float32 pixels as ONNX Runtime does, in pieces where the file fixes the batch."""
        session = self._opened()
        known = session.get_inputs()[0]
        name = [each.name for each in session.get_outputs()][self._place]
        kind = {**_FLOATS, **_BYTES}.get(known.type)
        if kind is None:
            raise ContractError(
                f"{self.path} takes {known.type}: expected float pixels (or uint8 ones). Export it with a float input"
            )
        batch = known.shape[0] if known.shape and isinstance(known.shape[0], int) else None
        given = np.rint(pixels).astype(kind) if kind is np.uint8 else pixels.astype(kind)
        answers = []
        for first in range(0, len(given), batch or len(given)):
            part = given[first : first + (batch or len(given))]
            short = (batch or len(part)) - len(part)
            filled = np.concatenate([part, np.repeat(part[-1:], short, axis=0)]) if short else part
            try:
                (found,) = session.run([name], {known.name: filled})
            except Exception as error:  # ONNX Runtime raises bare exceptions of many kinds
                raise EngineError(
                    f"ONNX Runtime cannot run {self.path} on {filled.shape} pixels: {words_of(error)}. Give its own "
                    "--tile, --channels and --layout"
                ) from error
            answers.append(self._checked(found, len(filled))[: len(part)])
        return np.concatenate(answers)

    def _checked(self, found: Any, count: int) -> Float32:
        if not isinstance(found, np.ndarray) or not np.issubdtype(found.dtype, np.floating):
            raise ContractError(
                f"{self.path} answers {getattr(found, 'dtype', type(found).__name__)}: expected probabilities or "
                "logits as floats. Export it without its ArgMax, or name another answer with --output"
            )
        if not found.ndim or found.shape[0] != count:
            raise ContractError(
                f"{self.path} answers {found.shape} to {counted(count, 'tile')}: expected one answer per tile, batch "
                "first. Export it with the batch as its first axis"
            )
        return found.astype(np.float32)

    @property
    def _place(self) -> int:
        return _one_of(self.path, self._outputs, self._output)

    def _opened(self) -> Any:
        if self._session is None:
            try:
                import onnxruntime
            except ImportError as error:
                raise DependencyError(
                    f"ONNX files are run with ONNX Runtime, and `import onnxruntime` failed: {error}. "
                    f"{how_to_install('onnxruntime', extra='convert')}"
                ) from error
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4
            try:
                self._session = onnxruntime.InferenceSession(self._raw, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # ONNX Runtime raises bare exceptions of many kinds
                raise ContractError(
                    f"{self.path} cannot be loaded by ONNX Runtime: {words_of(error)}. Export it again with plain ONNX "
                    "operators"
                ) from error
        return self._session

    def plain(self, sizes: tuple[int, ...]) -> Any:
        """Return the net in opset 17 and FP32, for any number of tiles."""
        batch = self.dims[0]
        model = only_output(lowered(self.proto, str(self.path)), self._outputs[self._place])
        if names_within(model.graph) & EDGES:
            model = require_onnx().compose.add_prefix(model, "own/")
        return free_batch(_float_input(widened(model), self.path), batch, sizes)


def _float_input(model: Any, path: Path) -> Any:
    """Let a net that takes uint8 and casts it itself take floats: the tiles are cast once, by the contract's graph."""
    from onnx import TensorProto

    weights = {each.name for each in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        raise ContractError(f"{path}: its answer does not depend on one input of pixels. Name another with --output")
    kind = inputs[0].type.tensor_type
    if kind.elem_type == TensorProto.FLOAT:
        return model
    for node in model.graph.node:
        if inputs[0].name in node.input and node.op_type != "Cast":
            raise ContractError(
                f"{path} reads uint8 pixels by {node.op_type} {node.name!r}: expected a Cast to float first. Export "
                "it with a float input"
            )
    kind.elem_type = TensorProto.FLOAT
    return model


class KerasNet:
    """A .keras file. It is run by Keras as it was given; one in mixed precision is translated in FP32."""

    runtime = "Keras"

    def __init__(self, path: Path, output: str | None) -> None:
        self.path = path
        self._model = _opened_by_keras(path)
        names = [str(name) for name in getattr(self._model, "output_names", ["answer"])]
        self._place = _one_of(path, names, output)
        self._several = len(names) > 1
        if learning := _called_in_training(self._model):
            raise ContractError(
                f"{path} calls the layers {', '.join(learning[:3])} with training=True, so its answers depend on how "
                "it is called and on what else is in the batch. Build it without training=True, load its weights, "
                "and save that"
            )

    @property
    def dims(self) -> Dims:
        """The sizes of the input, batch included."""
        shape = getattr(self._model, "input_shape", None)
        if not isinstance(shape, (tuple, list)) or any(isinstance(part, (tuple, list, dict)) for part in shape):
            raise ContractError(f"{self.path} has several inputs, {shape}: expected one, the pixels")
        return tuple(shape)

    def run(self, pixels: Float32) -> Float32:
        """Answer float32 pixels as Keras does."""
        try:
            return np.asarray(self._answer(self._model, pixels)).astype(np.float32)
        except Exception as error:  # TensorFlow raises exceptions of many kinds
            raise EngineError(
                f"Keras cannot run {self.path} on {pixels.shape} pixels: {words_of(error)}. Give its own --tile and "
                "--channels"
            ) from error

    def _answer(self, model: Any, pixels: Any) -> Any:
        found = model(pixels, training=False)
        if isinstance(found, dict):
            found = list(found.values())
        return found[self._place] if self._several else found

    @property
    def mixed(self) -> bool:
        """Tell whether layers of it compute in half precision."""
        return any(layer.compute_dtype != "float32" for layer in layers_within(self._model) if layer.weights)

    def plain(self, sizes: tuple[int, ...]) -> Any:
        """Translate the net by tf2onnx, in FP32."""
        load_tools()
        model = _in_float32(self._model) if self.mixed else self._model
        return translate(lambda pixels: self._answer(model, pixels), model, sizes)


def _opened_by_keras(path: Path) -> Any:
    """Open a .keras file of any program. Raises BundleError: layers of somebody's own code are in no file."""
    if not zipfile.is_zipfile(path):
        raise BundleError(
            f"{path} is no .keras file of Keras 3: expected what `model.save('net.keras')` writes, weights alone are "
            "not enough. Save the whole model so"
        )
    try:
        return load_model(path)
    except BundleError as error:
        own = re.search(r"locate (?:class|function) '([^']+)'", str(error))
        if own is None and not re.search(r"`Lambda` layer|deserialized properly", str(error)):
            raise
        named = own[1] if own else ""
        raise BundleError(
            f"{path} needs {f'the code of {named}' if named else 'code of its own'}, which the file does not hold, and "
            "nobody else's code is run here. In the program that trained it write the net as ONNX: "
            "model.export('net.onnx', format='onnx'), and convert that. See docs/other-models.md"
        ) from error


def _called_in_training(model: Any) -> list[str]:
    """Name the layers that a net of layers calls in training mode whatever it is used for."""
    config: Any = getattr(model, "get_config", dict)()
    found = []
    for layer in config.get("layers", []) if isinstance(config, dict) else []:
        nodes = layer.get("inbound_nodes", [])
        if any(isinstance(node, dict) and node.get("kwargs", {}).get("training") is True for node in nodes):
            found.append(str(layer.get("name") or layer.get("config", {}).get("name")))
    return found + [name for inner in getattr(model, "layers", []) for name in _called_in_training(inner)]


def _in_float32(model: Any) -> Any:
    """Return the same net with the same weights, which were FP32 already, computing in FP32."""
    import keras

    def whole(config: Any) -> Any:
        if isinstance(config, list):
            return [whole(each) for each in config]
        if not isinstance(config, dict):
            return config
        if config.get("class_name") == "DTypePolicy":
            return {**config, "config": {"name": "float32"}}
        return {
            key: "float32" if key == "dtype" and isinstance(value, str) else whole(value)
            for key, value in config.items()
        }

    try:
        copy = (
            keras.Model.from_config(whole(model.get_config()))
            if type(model) is keras.Model
            else type(model).from_config(whole(model.get_config()))
        )
        copy.set_weights(model.get_weights())
    except Exception as error:  # Keras raises exceptions of many kinds
        raise BundleError(
            f"The net computes in mixed_float16 and cannot be made one in float32: {words_of(error)}. Build it again "
            "with keras.config.set_dtype_policy('float32'), load its weights, and save that"
        ) from error
    return copy
