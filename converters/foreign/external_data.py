"""Weights in a file beside an ONNX graph, as PyTorch writes them: merged into one file, by a command of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.graph.contract import graphs_within
from converters.graph.float_graph import require_onnx
from edge.engines.onnx_scan import BYTES_AT_MOST
from edge.errors import BundleError, ContractError
from edge.files import write_bytes
from edge.wording import counted

_BYTES_AT_MOST = 2_000_000_000  # protobuf ends at 2 GiB


def read_model(path: Path) -> bytes:
    """Read an .onnx file. Raises ContractError for one that is larger than a line takes, before it is read."""
    size = path.stat().st_size
    if size > BYTES_AT_MOST:
        raise ContractError(
            f"{path} has {size / 1e9:.1f} GB: expected a model of at most {BYTES_AT_MOST / 1e9:.1f} GB, as a line "
            "takes. Export the net alone, without what only training needs"
        )
    return path.read_bytes()


def external_tensors(proto: Any) -> list[Any]:
    """List the weights that lie in other files, those of nested graphs included."""
    from onnx import TensorProto

    return [
        tensor
        for graph in graphs_within(proto.graph)
        for tensor in (
            *graph.initializer,
            *(a.t for node in graph.node for a in node.attribute if a.HasField("t")),
            *(part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices)),
        )
        if tensor.data_location == TensorProto.EXTERNAL
    ]


def merge_data(model: Path, out: Path | None = None) -> Path:
    """Write one ONNX file of a graph and the weights beside it; return it: `out`, else NAME.merged.onnx.

    Only files in the model's own folder are read, and of each no more than it holds. Raises BundleError where there is
    nothing to merge, ContractError where the weights lie elsewhere, are cut off or too large. Raises StoreError.
    """
    onnx = require_onnx()
    if not model.is_file():
        raise BundleError(f"No model at {model}: expected an .onnx file with weights in a file beside it")
    try:
        proto = onnx.load_model_from_string(read_model(model))
    except ContractError:
        raise
    except Exception as error:  # protobuf raises exceptions of many kinds
        raise ContractError(f"{model} cannot be read as ONNX: {error}. Export it again") from error
    tensors = external_tensors(proto)
    if not tensors:
        raise BundleError(f"{model} holds all its weights: there is nothing to merge. Convert it as it is")
    total = 0
    for tensor in tensors:
        content = _content(model, tensor)
        total += len(content)
        if total > _BYTES_AT_MOST:
            raise ContractError(f"{model} has weights of more than {_BYTES_AT_MOST} bytes, which no ONNX file can hold")
        tensor.ClearField("external_data")
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.raw_data = content
    target = out or model.with_name(f"{model.stem}.merged.onnx")
    write_bytes(target, proto.SerializeToString())
    return target


def _content(model: Path, tensor: Any) -> bytes:
    import onnx
    from onnx import helper

    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    folder = model.parent.resolve()
    file = (folder / location).resolve()
    if not location or file.parent != folder or not file.is_file():
        where = "a file that is not there" if file.parent == folder else "a file outside the model's folder"
        raise ContractError(
            f"{model}: the weights {tensor.name!r} lie in {location!r}, {where}: expected one beside {model.name}. "
            "Copy both files into one folder"
        )
    offset, size = int(said.get("offset") or 0), file.stat().st_size
    item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    count = 1
    for dim in tensor.dims:
        count *= dim
    bits = {onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4}.get(tensor.data_type, 8 * item)
    expected = (count * bits + 7) // 8
    length = int(said.get("length") or expected)
    if length != expected or offset < 0 or offset + length > size:
        raise ContractError(
            f"{file} is cut off or of another model: the weights {tensor.name!r} are "
            f"{counted(expected, 'byte')} from byte "
            f"{offset} on, and the file has {size}. Copy both files again"
        )
    with file.open("rb") as opened:
        opened.seek(offset)
        content: bytes = opened.read(length)
    return content
