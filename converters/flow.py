"""What `convert BUNDLE --to …` does, stage by stage; each stage leaves a bundle that is whole.

model.keras → model.onnx → (fp16, int8) the graph of that precision and its plan → (openvino) compared on OpenVINO
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from converters.comparison.comparing import Comparison
from converters.comparison.real_tiles import calibration_pictures, pictures_of
from converters.converting import convert_bundle, install_bare
from converters.precision.half_precision import Half, to_half
from converters.precision.int8_precision import Quantised, to_int8
from converters.precision.judging import Judge
from converters.precision.plan import GRAPHS, PLANS, Precision, read_plan
from converters.precision.tensor_ranges import NodeDone
from converters.sources import ManifestFlags, is_bare, working_folder
from converters.staging import Staging
from edge.bundle import INT8_MODEL, KERAS_MODEL, ONNX_MODEL, Bundle, load_bundle, sha256_of, write_manifest
from edge.engines.autotune import cpu_has_bf16
from edge.engines.cascade import openvino_bf16
from edge.engines.openvino import OpenVinoEngine
from edge.errors import ConversionError

_OPENVINO_BATCH = 4


@dataclass(frozen=True)
class Order:
    """What was asked for. `max_changed_share`: of the pixels, 0-1, that may get another class, at each stage."""

    to: str
    precision: Precision = "fp32"
    data: Path | None = None
    calibration: Path | None = None
    out: Path | None = None
    max_changed_share: float = 0.0005
    flags: ManifestFlags = field(default_factory=ManifestFlags)


@dataclass(frozen=True)
class Conversion:
    """What came of it: the bundle where it now lies, and the figures of every stage that ran."""

    bundle: Bundle
    comparison: Comparison | None
    precision: Half | Quantised | None
    openvino: dict[str, Comparison]
    report: dict[str, Any]


def run(source: Path, order: Order, progress: NodeDone[Any]) -> Conversion:
    """Convert a bundle or a bare model. Raises every LinewatchError of the stages; then nothing has changed."""
    folders = (order.calibration, order.data)
    with working_folder(source, order.out, order.flags, folders) as (folder, target):
        comparison = None
        report: dict[str, Any] = {"to": order.to, "max_changed_share": order.max_changed_share}
        if is_bare(source) and source.suffix.lower() == ".onnx":
            wrapped = load_bundle(folder)
            install_bare(wrapped, source, calibration_pictures(wrapped, *folders))
        elif _makes_onnx(folder, order):
            conversion = convert_bundle(
                folder, order.data, order.max_changed_share, lambda items: progress(items, "Comparing")
            )
            comparison = conversion.comparison
            report |= conversion.report()
        bundle = load_bundle(folder)
        made: Half | Quantised | None = None
        # on a device only what is missing is made before the engine is built
        if order.precision != "fp32" and not (order.to == "tensorrt" and has_precision(bundle, order.precision)):
            made = make_precision(bundle, order, progress)
            bundle = install_precision(bundle, made)
            report[order.precision] = made.report()
        openvino: dict[str, Comparison] = {}
        if order.to == "openvino":
            openvino = compare_on_openvino(bundle, order, progress)
            report["openvino"] = {name: found.as_dict() for name, found in openvino.items()}
    return Conversion(Bundle(target, bundle.manifest), comparison, made, openvino, report)


def _makes_onnx(folder: Path, order: Order) -> bool:
    """Tell whether model.onnx is made (again): it is what was asked for, there is none, or it is of another original.

    A shipped bundle has no model.keras, and its model.onnx serves for everything but that.
    """
    bundle = load_bundle(folder, need_onnx=False)
    if order.to == "onnxruntime" and order.precision == "fp32":
        return True
    if KERAS_MODEL not in bundle.manifest.files:
        return False
    if order.precision == "fp32" and order.to != "tensorrt":
        return True
    steps = [step for step in bundle.manifest.provenance if step.get("step") == "onnx"]
    known = steps[-1].get("keras_sha256") if steps else None
    whole = bundle.onnx_path.is_file() and sha256_of(bundle.onnx_path) == bundle.model_sha256
    return known != bundle.manifest.files[KERAS_MODEL] or not whole


def make_precision(bundle: Bundle, order: Order, progress: NodeDone[Any]) -> Half | Quantised:
    """Decide FP16 or INT8 for a bundle that has its model.onnx."""
    shown = calibration_pictures(bundle, order.calibration or order.data)
    judged = list(dict.fromkeys([*shown, *(pictures_of(order.data) if order.data else [])]))
    make = to_half if order.precision == "fp16" else to_int8
    return make(bundle, (shown, judged), order.max_changed_share, progress)


def has_precision(bundle: Bundle, precision: Precision) -> bool:
    """Tell whether the bundle already holds this precision of its present model.onnx."""
    if precision == "fp32":
        return ONNX_MODEL in bundle.manifest.files
    if not {GRAPHS[precision], PLANS[precision]} <= set(bundle.manifest.files):
        return False
    return read_plan(bundle.path / PLANS[precision]).onnx_sha256 == bundle.model_sha256


def install_precision(bundle: Bundle, made: Half | Quantised) -> Bundle:
    """Put a graph and its plan into the bundle, both or neither. Raises StoreError."""
    precision = made.plan.precision
    step = {
        "step": precision,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "onnx_sha256": made.plan.onnx_sha256,
        "sha256": hashlib.sha256(made.graph).hexdigest(),
        "pinned": len(made.plan.pinned),
        "comparison": made.comparison.as_dict(),
    }
    earlier = (entry for entry in bundle.manifest.provenance if entry.get("step") != precision)
    manifest = bundle.manifest.model_copy(update={"provenance": (*earlier, step)})
    with Staging(bundle.path) as staging:
        staging.write(GRAPHS[precision], made.graph)
        staging.write(PLANS[precision], made.plan.serialised())
        return staging.commit(lambda: write_manifest(bundle.path, manifest))


def compare_on_openvino(bundle: Bundle, order: Order, progress: NodeDone[Any]) -> dict[str, Comparison]:
    """Compare OpenVINO with model.onnx on ONNX Runtime, in every precision that this machine has for the bundle.

    Raises ConversionError where OpenVINO loses or gains a defect in the precision asked for. bf16 is measured where
    the CPU has it, and only reported: the line takes it only where the golden frames are seen alike.
    """
    pictures = calibration_pictures(bundle, order.calibration, order.data)
    judge = Judge(bundle, list(dict.fromkeys(pictures)), order.max_changed_share, progress)
    contract = bundle.contract(_OPENVINO_BATCH)
    wanted = "int8" if order.precision == "int8" else "fp32"
    found: dict[str, Comparison] = {}
    names: Sequence[str] = (wanted, "bf16") if cpu_has_bf16() and wanted == "fp32" else (wanted,)
    for name in names:
        model = bundle.path / INT8_MODEL if name == "int8" else bundle.onnx_path
        bf16 = name == "bf16"
        with openvino_bf16(model, contract, bundle.classes) if bf16 else OpenVinoEngine(model, contract) as engine:
            found[name] = judge.compare(engine, f"Comparing on OpenVINO, {name}")
    if failures := found[wanted].failures(order.max_changed_share):
        raise ConversionError(
            f"On OpenVINO ({wanted}) the model differs from ONNX Runtime: {'; '.join(failures)}. Run this bundle with "
            "engine: {backend: onnxruntime}"
        )
    return found
