"""Facts of a file, told without loading it as a model: a bundle, an ONNX graph, a Keras file, a TensorRT plan."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from converters.graph.float_graph import require_onnx
from converters.precision.plan import PLANS, read_plan
from edge.bundle import Bundle, load_bundle, sha256_of
from edge.engines.engine_files import read_header, read_sidecar
from edge.engines.onnx_scan import read_onnx
from edge.errors import BundleError, DependencyError, EngineError, LinewatchError
from edge.strict_json import BYTES_AT_MOST, parse_json

_PLAN_MAGIC = b"ftrt"  # 0x74727466, little-endian
# Models within models: Keras nests some eight levels for each.
_KERAS_DEPTH = 400
# Errors of JSON, or of an archive, that is not what Keras writes.
_OF_ODD_JSON = (KeyError, ValueError, AttributeError, TypeError, RuntimeError, NotImplementedError)


def facts(path: Path) -> dict[str, Any]:
    """Return what is known of a file or a bundle, by name. Raises BundleError for what is none of these."""
    if path.is_dir():
        return _of_bundle(path)
    if not path.is_file():
        raise BundleError(f"Nothing at {path}: expected a bundle, or an .onnx, .keras or .plan file")
    with path.open("rb") as file:
        begins = file.read(4)
    common = {"file": str(path), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    if begins == _PLAN_MAGIC or path.suffix == ".plan":
        return {"kind": "TensorRT plan", **common, **_of_plan(path)}
    if begins.startswith(b"PK") and path.suffix == ".keras":
        return {"kind": "Keras model", **common, **_of_keras(path)}
    return {"kind": "ONNX graph", **common, **_of_onnx(path)}


def _of_bundle(path: Path) -> dict[str, Any]:
    bundle = load_bundle(path, need_onnx=False)
    manifest = bundle.manifest
    graphs = [name for name in sorted(manifest.files) if name.endswith((".onnx", ".keras"))]
    return {
        "kind": "bundle",
        "file": str(path),
        "name": f"{manifest.name} {manifest.version}",
        "classes": {entry.name: entry.threshold for entry in manifest.classes},
        "tile": f"{manifest.tile.width} x {manifest.tile.height} px, overlap {manifest.tile.overlap_px} px",
        "stride, channels, frames": f"{manifest.stride}, {manifest.channels}, {manifest.frames}",
        "preparing": [step.step for step in manifest.preparing],
        "golden frames": len(manifest.golden),
        "steps": [str(step.get("step")) for step in manifest.provenance],
        "models": {name: _of_model(path / name) for name in graphs if (path / name).is_file()},
        "precision": {name: _of_precision(bundle, name) for name in PLANS.values() if name in manifest.files},
        "engines": {plan.name: facts(plan) for plan in sorted((path / "engines").glob("*.plan"))},
    }


def _of_model(path: Path) -> dict[str, Any]:
    """Return a model's facts; on a device, which has no package onnx, its hash alone."""
    try:
        return facts(path)
    except DependencyError as error:
        return {"kind": "model", "file": str(path), "sha256": sha256_of(path), "not read": str(error)}


def _of_precision(bundle: Bundle, name: str) -> dict[str, Any]:
    plan = read_plan(bundle.path / name)
    fits = plan.onnx_sha256 == bundle.model_sha256
    return {"precision": plan.precision, "of this model.onnx": fits, "nodes in FP32": len(plan.pinned)}


def _of_plan(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        begins = file.read(64)
    try:
        header = ".".join(map(str, read_header(begins).tensorrt))
    except EngineError as error:
        raise BundleError(
            f"{path} is no TensorRT plan: {error}. Build it again: convert BUNDLE --to tensorrt"
        ) from error
    found: dict[str, Any] = {"written by TensorRT": header}
    try:
        sidecar = read_sidecar(path)
    except LinewatchError as error:
        return {**found, "sidecar": f"none that can be read: {error}"}
    whole = sha256_of(path) == sidecar.plan_sha256
    return {**found, **sidecar.model_dump(mode="json", by_alias=True), "as it was built": whole}


def _of_keras(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            metadata, config = (_json_of(archive, name) for name in ("metadata.json", "config.json"))
        layers = config.get("config", {}).get("layers", [])
        return {"keras": metadata.get("keras_version"), "saved": metadata.get("date_saved"), "layers": len(layers)}
    except (OSError, zipfile.BadZipFile, *_OF_ODD_JSON) as error:
        raise BundleError(f"{path} is no Keras model: {error}. Copy it again") from error


def _json_of(archive: zipfile.ZipFile, name: str) -> Any:
    """Read a JSON file of an archive. Raises ValueError where it is absurd, KeyError where there is none."""
    with archive.open(name) as file:  # an archive may claim any size; so much is unpacked and no more
        return parse_json(file.read(BYTES_AT_MOST + 1), depth_at_most=_KERAS_DEPTH)


def _of_onnx(path: Path) -> dict[str, Any]:
    content = read_onnx(path)
    onnx = require_onnx()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf raises exceptions of many kinds
        raise BundleError(f"{path} is neither a bundle, a TensorRT plan, a Keras model nor ONNX: {error}") from error
    if not model.graph.node:
        raise BundleError(f"{path} is neither a bundle, a TensorRT plan, a Keras model nor an ONNX graph with nodes")
    operators = Counter(f"{node.domain}::{node.op_type}" if node.domain else node.op_type for node in model.graph.node)
    types = Counter(onnx.TensorProto.DataType.Name(each.data_type) for each in model.graph.initializer)
    precision = "int8" if "QuantizeLinear" in operators else "fp16" if "FLOAT16" in types else "fp32"
    return {
        "opset": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "IR version": model.ir_version,
        "written by": f"{model.producer_name} {model.producer_version}".strip(),
        "precision": precision,
        "inputs": {value.name: _shape(onnx, value) for value in model.graph.input},
        "outputs": {value.name: _shape(onnx, value) for value in model.graph.output},
        "nodes": len(model.graph.node),
        "operators": dict(operators.most_common()),
        "weights": dict(types),
    }


def _shape(onnx: Any, value: Any) -> str:
    tensor = value.type.tensor_type
    sizes = [dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim]
    return f"{onnx.TensorProto.DataType.Name(tensor.elem_type)} [{', '.join(sizes)}]"
