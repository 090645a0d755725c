"""The INT8 graph: explicit Q/DQ pairs around the nodes that compute with weights, from ranges on real tiles.

One graph serves ONNX Runtime, OpenVINO and TensorRT, so it is written for the strictest of them. Scales are FP32 (FP16
scales need opset 19, TensorRT 8.6 reads 17). Every zero point is 0. Weights are quantised per channel by a Q/DQ pair of
their own, and biases stay FP32. A convolution's input is quantised, its output is not. So its activation can be joined
with it before the next one rounds. That changed a third fewer pixels, and OpenVINO is faster with it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from converters.graph.float_graph import FloatGraph
from converters.precision.tensor_ranges import TensorRange
from edge.errors import ConversionError, DependencyError
from edge.installing import how_to_install

# The operators that a chip computes in INT8. The others work between them on what they are given.
QUANTISED = ("Conv", "ConvTranspose", "MatMul", "Gemm")


def quantisable(graph: FloatGraph) -> list[str]:
    """Return the names of the nodes that can be quantised, in order of execution: those with weights."""
    return [
        node.name
        for node in graph.nodes
        if node.op_type in QUANTISED and len(node.input) > 1 and node.input[1] in graph.weights
    ]


def int8_graph(graph: FloatGraph, ranges: Mapping[str, TensorRange], excepted: AbstractSet[str]) -> bytes:
    """Return the serialised Q/DQ graph. `excepted`: names of the nodes that stay in FP32.

    Raises ConversionError where ONNX Runtime's quantizer gives up or writes what it should not.
    """
    import onnx

    try:
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    except ImportError as error:
        raise DependencyError(
            f"INT8 is prepared with ONNX Runtime's quantizer, and an import failed: {error}. "
            f"{how_to_install('onnxruntime', 'onnx', extra='convert')}"
        ) from error
    chosen = [name for name in quantisable(graph) if name not in excepted]
    if not chosen:
        raise ConversionError("No node is left to quantise: every convolution is excepted. Use --precision fp32")
    limits = {name: (np.float32(found.smallest), np.float32(found.largest)) for name, found in ranges.items()}
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            quantizer = QDQQuantizer(
                model,
                per_channel=True,
                reduce_range=False,
                weight_qType=QuantType.QInt8,
                activation_qType=QuantType.QInt8,
                tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
                nodes_to_quantize=chosen,
                nodes_to_exclude=[],
                op_types_to_quantize=list(QUANTISED),
                extra_options={
                    "ActivationSymmetric": True,
                    "WeightSymmetric": True,
                    "AddQDQPairToWeight": True,
                    "QuantizeBias": False,
                    "OpTypesToExcludeOutputQuantization": list(QUANTISED),
                },
            )
            quantizer.quantize_model()
            quantizer.model.topological_sort()
            quantised = quantizer.model.model
    except Exception as error:  # the quantizer raises exceptions of many kinds
        raise ConversionError(
            f"ONNX Runtime's quantizer failed: {error}. The bundle was left as it was; use --precision fp16 or fp32"
        ) from error
    del quantised.graph.value_info[:]
    kept = [entry for entry in quantised.opset_import if entry.domain in {"", "ai.onnx"}]
    del quantised.opset_import[:]
    quantised.opset_import.extend(kept)
    quantised.producer_name = graph.model.producer_name
    quantised.producer_version = ""
    _check_zero_points(quantised)
    return bytes(quantised.SerializeToString(deterministic=True))


def _check_zero_points(model: Any) -> None:
    """Refuse a zero point other than 0 and a scale other than FP32, which TensorRT 8.6 does not read."""
    from onnx import TensorProto, numpy_helper

    constants = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
            continue
        scale, zero = constants[node.input[1]], constants[node.input[2]]
        if scale.data_type != TensorProto.FLOAT or numpy_helper.to_array(zero).any():
            raise ConversionError(
                f"{node.op_type} {node.name!r}: expected an FP32 scale and zero points of 0, as TensorRT reads them; "
                "received others. Use --precision fp16 or fp32"
            )
