"""The stages of `convert BUNDLE --to …`; each leaves a bundle that is whole.

model.keras → model.onnx → (fp16, int8) the graph of that precision and its plan → (openvino) compared on OpenVINO
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from converters.comparison.comparing import Comparison
from converters.comparison.real_tiles import calibration_pictures, pictures_of
from converters.converting import Conversion, Limits, convert_bundle, install_original
from converters.foreign.expectations import ModelFlags
from converters.foreign.other_files import refuse_other_files
from converters.precision.half_precision import Half, to_half
from converters.precision.int8_precision import Quantised, to_int8
from converters.precision.judging import Judge
from converters.precision.plan import GRAPHS, PLANS, Precision, read_plan, variant_of
from converters.precision.tensor_ranges import NodeDone
from converters.sources import bare_model, chosen_as_golden, is_bare, original_of, working_folder
from converters.staging import Staging
from edge.bundle import INT8_OPENVINO_MODEL, KERAS_MODEL, ONNX_MODEL, Bundle, load_bundle, sha256_of, write_manifest
from edge.engines.autotune import cpu_has_bf16
from edge.engines.cascade import openvino_bf16
from edge.engines.openvino import OpenVinoEngine
from edge.errors import BundleError, ConversionError

_OPENVINO_BATCH = 4


@dataclass(frozen=True)
class Order:
    """One order to convert. `max_changed_share`: of the pixels, 0-1, that may get another class, at each stage.

    `flags`: what is said of a bare model. `reference`: an .npz of the original's own answers. `sheet`: where the
    overlay sheet goes; beside the bundle if None. `confirm`: is asked where the model can hardly be right.
    """

    to: str
    precision: Precision = "fp32"
    data: Path | None = None
    calibration: Path | None = None
    out: Path | None = None
    max_changed_share: float = 0.0005
    flags: ModelFlags = field(default_factory=ModelFlags)
    reference: Path | None = None
    sheet: Path | None = None
    confirm: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True)
class Outcome:
    """The outcome: the bundle where it now lies, and the figures of every stage that ran.

    `conversion`: how model.onnx was made, None where it was there already. `told`: how a bare model was understood.
    """

    bundle: Bundle
    conversion: Conversion | None
    precision: Half | Quantised | None
    openvino: dict[str, Comparison]
    report: dict[str, Any]
    told: tuple[str, ...] = ()


def run(source: Path, order: Order, progress: NodeDone[Any]) -> Outcome:
    """Convert a bundle or a bare model. Raises every LinewatchError of the stages; then nothing has changed."""
    folders = (order.calibration, order.data)
    refuse_other_files(source)
    bare = bare_model(source, order.flags) if is_bare(source) else None
    if bare is None and order.flags.said:
        raise BundleError(
            f"{', '.join(order.flags.said)}: of a bare model only, and {source} is a bundle, whose manifest says it. "
            "Leave them out, or convert the model's own file again"
        )
    with working_folder(source, order.out, bare, folders) as (folder, target):
        report: dict[str, Any] = {"to": order.to, "max_changed_share": order.max_changed_share}
        conversion = _model_onnx(source if bare else None, (folder, target), order, progress)
        if conversion is not None:
            report |= conversion.report()
        if bare is not None:
            report["understood"] = list(bare.told)
        bundle = load_bundle(folder)
        made: Half | Quantised | None = None
        # on a device only what is missing is made before the engine is built
        variant = variant_of(order.precision, order.to)
        if order.precision != "fp32" and not (order.to == "tensorrt" and has_precision(bundle, variant)):
            made = make_precision(bundle, order, progress)
            bundle = install_precision(bundle, made)
            report[order.precision] = made.report()
        openvino: dict[str, Comparison] = {}
        if order.to == "openvino":
            openvino = compare_on_openvino(bundle, order, progress)
            report["openvino"] = {name: found.as_dict() for name, found in openvino.items()}
    return Outcome(Bundle(target, bundle.manifest), conversion, made, openvino, report, bare.told if bare else ())


def _model_onnx(
    source: Path | None, folders: tuple[Path, Path], order: Order, progress: NodeDone[Any]
) -> Conversion | None:
    """Make model.onnx where it is asked for or missing, of model.keras or of the original. `source`: a bare model."""
    folder, target = folders
    if not _makes_onnx(folder, order):
        if order.reference is not None:
            raise BundleError("--reference: nothing is converted that it could be compared with. Use --to onnxruntime")
        return None

    def each(items: list[Path]) -> Iterable[Path]:
        return progress(items, "Comparing")

    bundle = load_bundle(folder, need_onnx=False)
    original = original_of(bundle)
    sheet = order.sheet
    if sheet is None and (order.data is not None or original is not None):
        sheet = target.with_name(f"{target.name}.sheet.jpg")
    named = tuple(pictures_of(order.data)) if order.reference and order.data else ()
    limits = Limits(order.max_changed_share, order.reference, named, sheet, order.confirm)
    if original is None:
        if order.reference is not None:
            raise BundleError(
                "--reference: of a bare model only; a bundle of the trainer is compared with its model.keras"
            )
        return convert_bundle(folder, order.data, limits, each)
    calibration_pictures(bundle, order.calibration, order.data)  # which says so where there are none
    further = pictures_of(order.data) if order.data else []
    if source is not None:  # the golden pictures are copies of some of these
        copied = set(chosen_as_golden([order.calibration, order.data]))
        further = [picture for picture in further if picture not in copied]
    return install_original(bundle, source or original, further, limits, each)


def _makes_onnx(folder: Path, order: Order) -> bool:
    """Tell whether model.onnx is made (again): it is what was asked for, there is none, or it is of another original.

    A shipped bundle has no model.keras, and its model.onnx serves for everything but that.
    """
    bundle = load_bundle(folder, need_onnx=False)
    if order.to == "onnxruntime" and order.precision == "fp32":
        return True
    original = original_of(bundle)
    name = original.name if original else KERAS_MODEL
    if name not in bundle.manifest.files:
        return False
    if order.precision == "fp32" and order.to != "tensorrt":
        return True
    steps = [step for step in bundle.manifest.provenance if step.get("step") == "onnx"]
    known = steps[-1].get("original_sha256" if original else "keras_sha256") if steps else None
    whole = bundle.onnx_path.is_file() and sha256_of(bundle.onnx_path) == bundle.model_sha256
    return known != bundle.manifest.files[name] or not whole


def make_precision(bundle: Bundle, order: Order, progress: NodeDone[Any]) -> Half | Quantised:
    """Decide FP16 or INT8 for a bundle that has its model.onnx."""
    shown = calibration_pictures(bundle, order.calibration or order.data)
    judged = list(dict.fromkeys([*shown, *(pictures_of(order.data) if order.data else [])]))
    if order.precision == "fp16":
        return to_half(bundle, (shown, judged), order.max_changed_share, progress)
    backend: Literal["onnxruntime", "openvino"] = "openvino" if order.to == "openvino" else "onnxruntime"
    return to_int8(bundle, (shown, judged), order.max_changed_share, progress, backend)


def has_precision(bundle: Bundle, variant: str) -> bool:
    """Tell whether the bundle already holds this precision (a key of GRAPHS) of its present model.onnx."""
    if variant == "fp32":
        return ONNX_MODEL in bundle.manifest.files
    if not {GRAPHS[variant], PLANS[variant]} <= set(bundle.manifest.files):
        return False
    return read_plan(bundle.path / PLANS[variant]).onnx_sha256 == bundle.model_sha256


def install_precision(bundle: Bundle, made: Half | Quantised) -> Bundle:
    """Put a graph and its plan into the bundle, both or neither. Raises StoreError."""
    graph, plan = made.files
    step = {
        "step": made.variant,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "onnx_sha256": made.plan.onnx_sha256,
        "sha256": hashlib.sha256(made.graph).hexdigest(),
        "pinned": len(made.plan.pinned),
        "comparison": made.comparison.as_dict(),
    }
    earlier = (entry for entry in bundle.manifest.provenance if entry.get("step") != made.variant)
    manifest = bundle.manifest.model_copy(update={"provenance": (*earlier, step)})
    with Staging(bundle.path) as staging:
        staging.write(graph, made.graph)
        staging.write(plan, made.plan.serialised())
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
        model = bundle.path / INT8_OPENVINO_MODEL if name == "int8" else bundle.onnx_path
        bf16 = name == "bf16"
        with openvino_bf16(model, contract, bundle.classes) if bf16 else OpenVinoEngine(model, contract) as engine:
            found[name] = judge.compare(engine, f"Comparing on OpenVINO, {name}")
    if failures := found[wanted].failures(order.max_changed_share):
        raise ConversionError(
            f"On OpenVINO ({wanted}) the model differs from ONNX Runtime: {'; '.join(failures)}. Run this bundle with "
            "engine: {backend: onnxruntime}"
        )
    return found
