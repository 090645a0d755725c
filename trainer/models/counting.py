"""The arithmetic of a network for one tile: multiplications and additions of its products, two per pair.

They are counted in the graph that TensorFlow traces. So nested networks, unrolled loops and frames folded into the
batch count as often as they are computed. Additions of biases, activations, normalisation (which conversion folds into
the convolutions) and resampling are left out: of these networks' time they are the smaller part, and not of their
products.
"""

from __future__ import annotations

from math import prod
from typing import Any

_WITH_KERNEL = ("Conv2D", "DepthwiseConv2dNative", "Conv2DBackpropInput")


def flop_per_tile(model: Any) -> int:
    """Count the floating-point operations of a keras.Model of fixed input size for one input."""
    import tensorflow as tf

    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    traced = tf.function(lambda tiles: model(tiles, training=False)).get_concrete_function(signature)
    return sum(2 * _products(operation) for operation in traced.graph.get_operations())


def _products(operation: Any) -> int:
    """Count the multiplications of one TensorFlow operation that has weights; 0 for the others."""
    kernel = [int(side) for side in operation.inputs[1].shape] if operation.type in _WITH_KERNEL else []
    match operation.type:
        case "Conv2D":  # each output from kh x kw x channels in
            return _size(operation.outputs[0]) * prod(kernel[:3])
        case "DepthwiseConv2dNative":
            return _size(operation.outputs[0]) * prod(kernel[:2])
        case "Conv2DBackpropInput":  # a transposed convolution: each input to kh x kw x channels out
            return _size(operation.inputs[2]) * prod(kernel[:3])
        case "MatMul":
            inner = operation.inputs[0].shape[0 if operation.get_attr("transpose_a") else 1]
            return _size(operation.outputs[0]) * int(inner)
        case "BatchMatMulV2":
            inner = operation.inputs[0].shape[-2 if operation.get_attr("adj_x") else -1]
            return _size(operation.outputs[0]) * int(inner)
        case _:
            return 0


def _size(tensor: Any) -> int:
    return prod(int(side) for side in tensor.shape)
