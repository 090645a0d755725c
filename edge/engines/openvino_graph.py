"""The changes of a graph before OpenVINO compiles it; the answers stay the same, but for what bf16 rounds."""

from __future__ import annotations

import html
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edge.errors import StoreError

_CONVOLUTIONS = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData")
_LAYER = re.compile(r'<layer [^>]*\bname="([^"]*)".*?</layer>', re.DOTALL)
# OpenVINO's mark of a layer whose precision is not to be lowered
_PRECISE = '<rt_info><attribute name="precise" version="0"/></rt_info>'


def flatten_head(graph: Any) -> None:
    """Let the head, and a softmax before it, run over [N, K, h·w] instead of [N, K, h, w].

    OpenVINO leaves the answer of FP32 convolutions with its few classes innermost. Softmax and head then run at half
    the speed. A flattened tensor has each class's plane in one piece, and keeps it so.
    """
    from openvino import opset1

    named = {each.get_friendly_name(): each for each in graph.get_ordered_ops()}
    ratios = named.get("head/ratios")
    if ratios is None:
        return  # a head that another program wrote: it is right, and perhaps slower
    probabilities = ratios.input_value(0)
    _, classes, height, width = (size.get_max_length() for size in probabilities.get_partial_shape())
    readers = probabilities.get_target_inputs()
    flat = _flat_softmax(probabilities.get_node(), height * width)
    if flat is None:
        flat = opset1.reshape(probabilities, np.array([0, classes, height * width]), special_zero=True)
    for each in readers:
        each.replace_source_output(flat.output(0))
    thresholds = named["head/thresholds"].input_value(0)
    planes = opset1.reshape(thresholds, np.array([1, classes, 1]), special_zero=False)
    ratios.input(1).replace_source_output(planes.output(0))
    for result in graph.get_results():
        answer = result.input_value(0)
        names = answer.get_names()
        whole = opset1.reshape(answer, np.array([0, height, width]), special_zero=True)
        answer.set_names(set())
        whole.output(0).set_names(names)
        result.input(0).replace_source_output(whole.output(0))
    graph.validate_nodes_and_infer_types()


def _flat_softmax(divide: Any, cells: int) -> Any | None:
    """Return the softmax, as `convert` writes it, over [N, K + 1, cells], its background left out; None if it is none.

    It is exp(x - max) of the classes over the sum of all, in single operations along axis 1. A graph that only looks
    alike, an exponential of something else over something else, is none.
    """
    from openvino import opset1, opset8

    path = [divide]
    for kind in ("Divide", "Slice", "Exp", "Subtract"):
        if path[-1].get_type_name() != kind:
            return None
        path.append(path[-1].input_value(0).get_node())
    _, classes, exp, subtract, logits = path
    of_classes = classes.get_input_size() == 5 and _is_axis_1(classes.input_value(4).get_node())
    if not (of_classes and _reduces(subtract, "ReduceMax", logits) and _reduces(divide, "ReduceSum", exp)):
        return None
    channels = subtract.input_value(0).get_partial_shape()[1].get_length()
    flat = opset1.reshape(subtract.input_value(0), np.array([0, channels, cells]), special_zero=True)
    raised = opset1.exp(opset1.subtract(flat, opset1.reduce_max(flat, np.array([1]), keep_dims=True)))
    kept = opset8.slice(raised, *(classes.input_value(place) for place in range(1, 5)))
    return opset1.divide(kept, opset1.reduce_sum(raised, np.array([1]), keep_dims=True))


def _reduces(operation: Any, kind: str, source: Any) -> bool:
    """Tell whether the second input is `source` reduced along axis 1 by `kind`, that axis kept or put back."""
    reduced = operation.input_value(1).get_node()
    if reduced.get_type_name() == "Reshape":
        reduced = reduced.input_value(0).get_node()
    return bool(
        reduced.get_type_name() == kind
        and reduced.input_value(0).get_node().get_friendly_name() == source.get_friendly_name()
        and _is_axis_1(reduced.input_value(1).get_node())
    )


def _is_axis_1(axes: Any) -> bool:
    return bool(axes.get_type_name() == "Constant" and np.atleast_1d(axes.get_data()).tolist() == [1])


def with_precise_beginning(openvino: Any, core: Any, graph: Any) -> Any:
    """Return the graph with its first two fifths of convolutions, and all before, marked to stay in FP32.

    Python cannot set that mark on a node; OpenVINO's own format can carry it, and is written to files only. Raises
    StoreError where there is no room for them.
    """
    _pool_simply(graph)
    _reshape_tiles_first(graph)
    operations = graph.get_ordered_ops()
    places = [place for place, operation in enumerate(operations) if operation.get_type_name() in _CONVOLUTIONS]
    beginning = operations[: places[max(2 * len(places) // 5, 1) - 1] + 1] if places else []
    names = {each.get_friendly_name() for each in beginning if each.get_type_name() not in ("Constant", "Parameter")}
    try:
        with tempfile.TemporaryDirectory(prefix="linewatch-") as folder:
            layers, weights = Path(folder, "graph.xml"), Path(folder, "graph.bin")
            openvino.serialize(graph, layers, weights)
            text, constants = layers.read_text(encoding="utf-8"), np.fromfile(weights, np.uint8)
    except (OSError, RuntimeError) as error:  # the latter is OpenVINO's
        raise StoreError(
            f"For bf16 the graph is written once into a temporary folder, and that failed: {first_line(error)}. Free "
            "some space there, name another folder in TMPDIR, or give engine.precision: fp32"
        ) from error

    def marked(layer: re.Match[str]) -> str:
        precise = html.unescape(layer.group(1)) in names
        return layer.group(0).replace("<input>", f"{_PRECISE}<input>", 1) if precise else layer.group(0)

    return core.read_model(_LAYER.sub(marked, text).encode(), openvino.Tensor(constants))


def _reshape_tiles_first(graph: Any) -> None:
    """Reshape the tiles while they are uint8, where the graph does so first of all with their float values.

    The plugin would scale them before it reshapes them, by operations of its own that do not carry the mark.
    """
    from openvino import opset1

    for tiles in graph.inputs:
        for reader in tiles.get_target_inputs():
            cast = reader.get_node()
            after = [each.get_node() for each in cast.output(0).get_target_inputs()]
            if cast.get_type_name() != "Convert" or [each.get_type_name() for each in after] != ["Reshape"]:
                continue
            (reshape,) = after
            how = reshape.get_attributes()
            shaped = opset1.reshape(tiles, reshape.input_value(1), special_zero=how["special_zero"])
            floats = opset1.convert(shaped, cast.get_attributes()["destination_type"])
            shaped.set_friendly_name(reshape.get_friendly_name())
            floats.set_friendly_name(cast.get_friendly_name())
            reshape.output(0).replace(floats.output(0))


def _pool_simply(graph: Any) -> None:
    """Put the first kind of MaxPool in the place of later ones: the plugin would do so itself, and lose their marks."""
    from openvino import opset1

    for pool in graph.get_ordered_ops():
        if pool.get_type_name() == "MaxPool" and pool.get_output_size() == 2 and not pool.output(1).get_target_inputs():
            how = pool.get_attributes()
            if set(how["dilations"]) == {1}:
                simple = opset1.max_pool(
                    pool.input_value(0),
                    how["strides"],
                    how["pads_begin"],
                    how["pads_end"],
                    how["kernel"],
                    how["rounding_type"],
                    how["auto_pad"],
                )
                simple.set_friendly_name(pool.get_friendly_name())
                pool.output(0).replace(simple.output(0))


def first_line(error: Exception) -> str:
    """Return what OpenVINO says, without the places in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Exception from")]
    return " ".join(lines)[:300] or repr(error)
