"""A Keras segmenter → an ONNX graph that keeps the graph contract.

TensorFlow and tf2onnx translate the trained net alone. The head, which turns probabilities into class ids and scores,
is added here in plain ONNX nodes, so that it is the same for every model and every exporter, and every backend (ONNX
Runtime, OpenVINO, TensorRT 8.6 and later) computes it alike. With p the probabilities and t the thresholds:

    best    = argmax over k of p[k] / t[k]            (ties: the lowest class)
    classes = best + 1 where p[best] / t[best] >= 1, else 0
    scores  = round(255 * p[best]) there (halves to even), else 0

For float32 p / t >= 1 holds exactly where p >= t: the quotient of the nearest smaller p is below 1 - 2^-24, which is a
float32, so it cannot be rounded up to 1.
"""

from __future__ import annotations

import itertools
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from converters.graph.layout import channels_first
from edge.engines.onnx_scan import scan_onnx
from edge.errors import ContractError, ConversionError, DependencyError
from edge.installing import how_to_install
from edge.records import GraphContract
from trainer.evaluation.keras_engine import load_model
from trainer.training.quiet_imports import import_quietly

OPSET = 17  # the newest that TensorRT 8.6 reads in full
IR_VERSION = 8  # what opset 17 came with; ONNX Runtime 1.18 reads up to 10
TOOLS = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxslim", "numpy")


def convert(model: Path, contract: GraphContract) -> bytes:
    """Translate the net in `model` (model.keras) and give it the contract's head; return the serialised ONNX graph.

    The net takes float32 [N, (T,) H, W, C] prepared pixel values (0-255) and answers float32 [N, h, w, K] probabilities
    of the defect classes. The same file gives the same bytes. Raises BundleError where Keras cannot read the file,
    ContractError where the net is of another shape, ConversionError where it cannot be translated.
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
    import tensorflow as tf
    import tf2onnx

    signature = [tf.TensorSpec((None, *_tile_shape(contract)), tf.float32, name="pixels")]
    net = tf.function(lambda pixels: model(pixels, training=False), input_signature=signature)
    try:
        translated, _ = tf2onnx.convert.from_function(net, signature, opset=OPSET)
    except Exception as error:  # tf2onnx raises exceptions of many kinds
        raise ConversionError(
            f"tf2onnx cannot translate the net to ONNX opset {OPSET}: {error}. Use a model family of the trainer"
        ) from error
    return channels_first(_simplified(translated).graph, OPSET)


def _simplified(model: Any) -> Any:
    """Fold what is constant and join what normalisation follows; onnxslim keeps names and answers."""
    import onnxslim

    return onnxslim.slim(model)


def add_head(net: Any, contract: GraphContract) -> Any:
    """Wrap an onnx.GraphProto from pixels to probabilities into an onnx.ModelProto from tiles to classes and scores.

    `net` takes float32 [N, (T,) H, W, C] and answers float32 [N, h, w, K]. Everything in it is renamed by its place, so
    that names do not depend on what else the process has traced.
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


def with_head(raw: bytes, model: Path, contract: GraphContract) -> bytes:
    """Return a graph of the contract from the content of an ONNX file: one already, or a net to probabilities.

    Such a net takes float32 [N, (T,) H, W, C] pixel values (0-255) and answers float32 [N, h, w, K] of the defect
    classes. `model` is the file for messages. Raises ContractError for one that is no ONNX or keeps weights elsewhere.
    """
    import onnx

    try:
        proto = onnx.load_model_from_string(raw)
    except Exception as error:  # protobuf raises exceptions of many kinds
        raise ContractError(f"{model} cannot be read as ONNX: {error}. Export it again") from error
    _check_weights(proto, model)
    scan_onnx(raw, model)  # before ONNX's own tools look for anything
    weights = {each.name for each in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    is_net = len(inputs) == len(proto.graph.output) == 1
    if not is_net or "tiles" in {value.name for value in inputs}:
        return raw
    _check_sizes(proto.graph, inputs[0], model, contract)
    opset = max((entry.version for entry in proto.opset_import if entry.domain in {"", "ai.onnx"}), default=0)
    if opset != OPSET:
        try:
            proto = onnx.version_converter.convert_version(proto, OPSET)
        except Exception as error:  # the version converter raises exceptions of many kinds
            raise ContractError(f"{model} is of opset {opset}: expected {OPSET}. Export it again: {error}") from error
    try:
        net = channels_first(_simplified(proto).graph, OPSET)
    except Exception as error:  # onnxslim and shape inference raise exceptions of many kinds
        raise ContractError(
            f"{model} cannot be understood: {error}. Export it again with plain ONNX operators"
        ) from error
    return bytes(add_head(net, contract).SerializeToString(deterministic=True))


def _check_weights(proto: Any, model: Path) -> None:
    """Name the weights that lie in other files; large nets are exported so unless the exporter is told otherwise."""
    from onnx import TensorProto

    if outside := [each.name for each in proto.graph.initializer if each.data_location == TensorProto.EXTERNAL]:
        raise ContractError(
            f"{model} keeps the weights {outside[:3]} in other files: expected all inside. Export it without external "
            "data"
        )


def _check_sizes(graph: Any, pixels: Any, model: Path, contract: GraphContract) -> None:
    """Raise ContractError where a net states other sizes than the contract; one that states none fits any."""
    expected = {"input": [None, *_tile_shape(contract)], "output": [None, *_map_shape(contract), len(contract.classes)]}
    for side, value in (("input", pixels), ("output", graph.output[0])):
        found = [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]
        wanted = expected[side]
        other = [a for a, b in zip(found, wanted, strict=False) if a is not None and b is not None and a != b]
        if len(found) != len(wanted) or other:
            raise ContractError(
                f"{model} does not keep the graph contract: expected the {side} {wanted} (N, height, width and "
                f"channels or classes), received {found}. Give its own --tile, --classes, --channels and --stride"
            )


def _class_planes(net: Any, helper: Any, *, one_cell: bool) -> tuple[list[Any], str]:
    """Return the net's nodes and the name of its probabilities as [N, K, h, w].

    Exporters end with a transposition to [N, h, w, K]. It is left out, or undone where there is none: a head over the
    last axis would be eight times slower in ONNX Runtime (3.5 against 0.4 ms for a 256 x 256 tile of three classes).
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
