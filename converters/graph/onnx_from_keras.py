"""A Keras segmenter → an ONNX graph that keeps the graph contract.

TensorFlow and tf2onnx translate the trained net alone. The head turns probabilities into class ids and scores. It is
added here in plain ONNX nodes. So it is the same for every model and every exporter. Every backend (ONNX Runtime,
OpenVINO, TensorRT 8.6 and later) computes it alike. With p the probabilities and t the thresholds:

    best    = argmax over k of p[k] / t[k]            (ties: the lowest class)
    classes = best + 1 where p[best] / t[best] >= 1, else 0
    scores  = round(255 * p[best]) there (halves to even), else 0

For float32 p / t >= 1 holds exactly where p >= t. The quotient of the nearest smaller p is below 1 - 2^-24, which is a
float32. So it cannot be rounded up to 1.
"""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph.layout import channels_first
from edge.errors import ContractError, ConversionError, DependencyError
from edge.installing import how_to_install
from edge.records import GraphContract
from trainer.evaluation.keras_engine import load_model
from trainer.training.quiet_imports import import_quietly

OPSET = 17  # the newest that TensorRT 8.6 reads in full
IR_VERSION = 8  # opset 17 came with it; ONNX Runtime 1.18 reads up to 10
TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxslim", "numpy")


def convert(model: Path, contract: GraphContract) -> bytes:
    """Translate the net in `model` (model.keras) and give it the contract's head; return the serialised ONNX graph.

    The net takes float32 [N, (T,) H, W, C] prepared pixel values (0-255) and answers float32 [N, h, w, K] probabilities
    of the defect classes. The same file gives the same bytes. Raises BundleError where Keras cannot read the file, and
    ContractError where the net is of another shape. Raises ConversionError where it cannot be translated.
    """
    load_tools()
    graph = add_head(_translate(_load(model, contract), contract), contract)
    return bytes(graph.SerializeToString(deterministic=True))


def load_tools() -> None:
    """Import TensorFlow, tf2onnx and onnx, which takes seconds. Raises DependencyError naming what is missing."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        import_quietly(("tensorflow", "keras", "tf2onnx", "onnx", "onnxslim"))
    except ImportError as error:
        raise DependencyError(
            f"`convert` needs TensorFlow, tf2onnx and onnx, and an import failed: {error}. "
            f"{how_to_install('tensorflow', 'tf2onnx', 'onnx', extra='convert')}"
        ) from error


def tool_versions() -> dict[str, str]:
    """Name the versions of what takes part in a conversion."""
    return {"python": ".".join(map(str, sys.version_info[:3])), **{tool: version(tool) for tool in TOOLS}}


def _load(path: Path, contract: GraphContract) -> Any:
    """Open the keras.Model and compare its shapes with the contract."""
    model = load_model(path)
    expected = [(None, *_tile_shape(contract)), (None, *_map_shape(contract), len(contract.classes))]
    found = [getattr(model, name, None) for name in ("input_shape", "output_shape")]
    if found != expected:
        raise ContractError(
            f"{path} does not fit its manifest: expected {expected[0]} → {expected[1]} (N, height, width, channels → "
            f"N, height, width, classes), received {found[0]} → {found[1]}. Train it again with `linewatch-train fit`"
        )
    return model


def _tile_shape(contract: GraphContract) -> tuple[int, ...]:
    frames = (contract.frames,) if contract.frames > 1 else ()
    return (*frames, contract.tile_height, contract.tile_width, contract.channels)


def _map_shape(contract: GraphContract) -> tuple[int, int]:
    return contract.tile_height // contract.stride, contract.tile_width // contract.stride


def _translate(model: Any, contract: GraphContract) -> Any:
    """Return the onnx.GraphProto of the net alone, with one input and one output."""
    translated = translate(lambda pixels: model(pixels, training=False), model, _tile_shape(contract))
    return channels_first(simplified(translated).graph, OPSET)


def translate(answer: Callable[[Any], Any], model: Any, sizes: tuple[int, ...]) -> Any:
    """Return the onnx.ModelProto of `answer`, a function of float32 [N, *sizes] that calls the keras.Model `model`.

    Raises ConversionError where tf2onnx cannot.
    """
    import tensorflow as tf
    import tf2onnx

    _learn_operators()
    signature = [tf.TensorSpec((None, *sizes), tf.float32, name="pixels")]
    try:
        with _plain_layers(model):
            net = tf.function(answer, input_signature=signature)
            translated, _ = tf2onnx.convert.from_function(net, signature, opset=OPSET)
    except Exception as error:  # tf2onnx raises exceptions of many kinds
        raise ConversionError(
            f"tf2onnx cannot translate the net to ONNX opset {OPSET}: {_words_of(error)}. Replace the layer that it "
            "names, or use a model family of the trainer"
        ) from error
    if len(translated.graph.input) != 1:
        names = [value.name for value in translated.graph.input[1:]]
        raise ConversionError(
            f"tf2onnx would make inputs of what the layers {names[:3]} hold: expected one input, the pixels. Replace "
            "these layers, or use a model family of the trainer"
        )
    return translated


def _words_of(error: Exception) -> str:
    """Return what a library says; of operators that it does not know tf2onnx quotes bytes that are no text."""
    try:
        return " ".join(str(error).split())[:600]
    except (UnicodeError, ValueError):
        return f"an operator that it does not know ({type(error).__name__})"


@cache
def _learn_operators() -> None:
    """Teach tf2onnx what it lacks: erfc(x) = 1 - erf(x), which Keras computes GELU with."""
    from tf2onnx.handler import tf_op

    @tf_op("Erfc")
    class _Erfc:
        @classmethod
        def version_9(cls, ctx: Any, node: Any, **_: Any) -> None:
            source, outputs = node.input[0], list(node.output)
            shapes, dtypes = [ctx.get_shape(outputs[0])], [ctx.get_dtype(outputs[0])]
            ctx.remove_node(node.name)
            erf = ctx.make_node("Erf", [source], shapes=shapes, dtypes=dtypes)
            one = ctx.make_const(f"{node.name}/one", np.array(1, np.float32))
            ctx.make_node(
                "Sub", [one.output[0], erf.output[0]], name=node.name, outputs=outputs, shapes=shapes, dtypes=dtypes
            )


@contextmanager
def _plain_layers(model: Any) -> Iterator[None]:
    """Have layers trace what tf2onnx can translate; afterwards they are as they were.

    Convolutions in groups are compiled by XLA, which no translation enters: TensorFlow has them too. The trace would
    take a Normalization's learnt tensors for further inputs: numbers it takes for constants.
    """
    import keras

    changed: list[tuple[Any, str, Any]] = []
    for layer in layers_within(model):
        if isinstance(layer, keras.layers.Conv2D) and layer.groups > 1 and layer.data_format == "channels_last":
            changed.append((layer, "convolution_op", _grouped_convolution(layer)))
        elif isinstance(layer, keras.layers.Normalization) and getattr(layer, "mean", None) is not None:
            changed += [(layer, name, np.asarray(getattr(layer, name))) for name in ("mean", "variance")]
    before = [(layer, name, layer.__dict__.get(name)) for layer, name, _ in changed]
    for layer, name, value in changed:
        object.__setattr__(layer, name, value)
    try:
        yield
    finally:
        for layer, name, value in before:
            if value is None:
                object.__delattr__(layer, name)
            else:
                object.__setattr__(layer, name, value)


def layers_within(model: Any) -> list[Any]:
    """List the layers of a keras.Model, those within layers too."""
    return list(model._flatten_layers())  # noqa: SLF001 - Keras tells them nowhere else


def _grouped_convolution(layer: Any) -> Callable[[Any, Any], Any]:
    import tensorflow as tf

    def convolve(inputs: Any, kernel: Any) -> Any:
        strides, spread = (1, *layer.strides, 1), (1, *layer.dilation_rate, 1)
        return tf.nn.conv2d(inputs, kernel, strides, layer.padding.upper(), dilations=spread)

    return convolve


def simplified(model: Any) -> Any:
    """Fold what is constant and join what normalisation follows; onnxslim keeps names and answers."""
    import onnxslim

    return onnxslim.slim(model)


def add_head(net: Any, contract: GraphContract) -> Any:
    """Wrap an onnx.GraphProto from pixels to probabilities into an onnx.ModelProto from tiles to classes and scores.

    `net` takes float32 [N, (T,) H, W, C] and answers float32 [N, h, w, K]. Everything in it is renamed by its place. So
    names do not depend on what else the process has traced.
    """
    from onnx import TensorProto, helper

    nodes, probabilities = _class_planes(net, helper, one_cell=_map_shape(contract) == (1, 1))
    kept = {name for node in nodes for name in node.input}
    constants = [
        *(weights for weights in net.initializer if weights.name in kept),
        helper.make_tensor("head/planes", TensorProto.INT64, [4], [-1, len(contract.classes), 1, 1]),
        helper.make_tensor("head/axis", TensorProto.INT64, [1], [1]),
        *(helper.make_tensor(f"head/{value}", TensorProto.FLOAT, [], [value]) for value in (0, 1, 255)),
    ]
    first = helper.make_node("Cast", ["tiles"], [net.input[0].name], to=TensorProto.FLOAT)
    body = _stable_names([first, *nodes], constants, probabilities)
    head = [
        helper.make_node("Reshape", ["thresholds", "head/planes"], ["head/thresholds"]),
        helper.make_node("Div", ["probabilities", "head/thresholds"], ["head/ratios"]),
        # the lowest index wins a tie
        helper.make_node("ArgMax", ["head/ratios"], ["head/best"], axis=1, keepdims=1),
        helper.make_node("ReduceMax", ["head/ratios"], ["head/best_ratio"], axes=[1], keepdims=1),
        # "not below 1" rather than "at least 1": a net that answers NaN must never read as clean
        helper.make_node("Less", ["head/best_ratio", "head/1"], ["head/clean"]),
        helper.make_node("Not", ["head/clean"], ["head/defective"]),
        # TensorRT converts to uint8 from float only
        helper.make_node("Cast", ["head/best"], ["head/best_float"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["head/best_float", "head/1"], ["head/id"]),
        helper.make_node("GatherElements", ["probabilities", "head/best"], ["head/probability"], axis=1),
        helper.make_node("Mul", ["head/probability", "head/255"], ["head/score"]),
        helper.make_node("Round", ["head/score"], ["head/score_rounded"]),
    ]
    for output, value in (("classes", "head/id"), ("scores", "head/score_rounded")):
        head += [
            helper.make_node("Where", ["head/defective", value, "head/0"], [f"head/{output}_plane"]),
            helper.make_node("Squeeze", [f"head/{output}_plane", "head/axis"], [f"head/{output}"]),
            helper.make_node("Cast", [f"head/{output}"], [output], to=TensorProto.UINT8),
        ]
    for node in head:
        node.name = node.output[0]
    cells = ["N", *_map_shape(contract)]
    graph = helper.make_graph(
        [*body, *head],
        "linewatch",
        [
            helper.make_tensor_value_info("tiles", TensorProto.UINT8, ["N", *_tile_shape(contract)]),
            helper.make_tensor_value_info("thresholds", TensorProto.FLOAT, [len(contract.classes)]),
        ],
        [helper.make_tensor_value_info(output, TensorProto.UINT8, cells) for output in ("classes", "scores")],
        constants,
    )
    return helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="linewatch"
    )


def _class_planes(net: Any, helper: Any, *, one_cell: bool) -> tuple[list[Any], str]:
    """Return the net's nodes and the name of its probabilities as [N, K, h, w].

    Exporters end with a transposition to [N, h, w, K]. It is left out, or undone where there is none. A head over the
    last axis would be eight times slower in ONNX Runtime. That is 3.5 against 0.4 ms for a 256 x 256 tile of three
    classes.
    """
    nodes, answer = list(net.node), net.output[0].name
    while len(nodes) > 1 and nodes[-1].op_type == "Identity" and nodes[-1].output[0] == answer:
        answer = nodes.pop().input[0]
    last = nodes[-1]
    to_channels_last = [0, 2, 3, 1]
    if last.op_type == "Transpose" and last.output[0] == answer and list(last.attribute[0].ints) == to_channels_last:
        return nodes[:-1], last.input[0]
    if one_cell:  # [N, 1, 1, K] and [N, K, 1, 1] lie alike in memory
        return [*nodes, helper.make_node("Reshape", [answer, "head/planes"], ["planes"])], "planes"
    return [*nodes, helper.make_node("Transpose", [answer], ["planes"], perm=[0, 3, 1, 2])], "planes"


def _stable_names(nodes: list[Any], constants: list[Any], probabilities: str) -> list[Any]:
    """Rename nodes, tensors and weights by their place, the constants of the head excepted; sort weights by use."""
    names = {"tiles": "tiles", "": "", probabilities: "probabilities"}
    weights = {constant.name for constant in constants}
    names |= {name: name for name in weights if name.startswith("head/")}
    numbers = itertools.count()
    for place, node in enumerate(nodes):
        node.name = f"net/{place}/{node.op_type}"
        for name in node.input:
            if name in weights and name not in names:
                names[name] = f"net/weights/{next(numbers)}"
        for number, name in enumerate(node.output):
            names.setdefault(name, f"{node.name}/{number}")
        node.input[:] = [names[name] for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.doc_string = ""
    for constant in constants:
        constant.name = names.get(constant.name, constant.name)
    # "net/weights/10" stands after "net/weights/9"
    constants.sort(key=lambda constant: (len(constant.name), constant.name))
    return nodes
