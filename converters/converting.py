"""A bundle from the trainer → one that runs on a line. Either all of it is replaced, or nothing.

model.keras → ONNX graph → contract checked → compared with Keras on real pictures → written into the bundle
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import reduce
from pathlib import Path
from typing import Any

from converters.comparison.comparing import Comparison, compare_picture
from converters.comparison.real_tiles import MAP_SUFFIX, golden_pictures, pictures_of, prepare_picture, real_tiles
from converters.graph.contract import check_graph
from converters.graph.float_graph import FloatGraph
from converters.graph.onnx_from_keras import IR_VERSION, OPSET, convert, tool_versions, with_head
from converters.precision.plan import GRAPHS, PLANS
from converters.precision.tensor_ranges import full_ranges
from converters.staging import Staging
from edge.bundle import GOLDEN, KERAS_MODEL, ONNX_MODEL, Bundle, GoldenEntry, load_bundle, sha256_of, write_manifest
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import BundleError, ConversionError
from edge.inspection.inference import Inference
from edge.opencv import cv2
from edge.protocols import Engine
from trainer.evaluation.keras_engine import KerasEngine

_BATCH = 4  # tiles at once: few, so that two engines with large tiles fit into memory
_STEP = "onnx"
_LOOKED_AT = 8  # tiles whose every tensor is looked at

Progress = Callable[[list[Path]], Iterable[Path]]


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: the bundle as it now is, and how its two models compare."""

    bundle: Bundle
    comparison: Comparison

    def report(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        manifest = self.bundle.manifest
        return {
            "bundle": f"{manifest.name}-{manifest.version}",
            "onnx_sha256": self.bundle.model_sha256,
            "onnx_bytes": self.bundle.onnx_path.stat().st_size,
            "opset": OPSET,
            "golden": len(manifest.golden),
            "comparison": self.comparison.as_dict(),
        }


def convert_bundle(path: Path, data: Path | None, max_changed_share: float, progress: Progress) -> Conversion:
    """Write `model.onnx`, golden maps, hashes and provenance into the bundle at `path`.

    Compared on the golden pictures and on the pictures of `data`; `progress` wraps their list. Raises ConversionError,
    and leaves the bundle as it was, where more than `max_changed_share` (0-1) of the pixels get another class or any
    defect is lost or gained.
    """
    bundle = load_bundle(path, need_onnx=False)
    if KERAS_MODEL not in bundle.manifest.files:
        raise BundleError(
            f"{path} holds no {KERAS_MODEL}, which a shipped bundle leaves out. "
            "Convert the bundle that `linewatch-train fit` wrote"
        )
    further = pictures_of(data) if data else []
    if not further and not golden_pictures(bundle):
        raise BundleError(
            f"{path} has no pictures in {GOLDEN}/ to compare the converted model on. "
            f"Name a folder of real pictures with --data, or train again: the trainer leaves some in {GOLDEN}/"
        )
    return install(bundle, convert(bundle.keras_path, bundle.contract(_BATCH)), further, max_changed_share, progress)


def install(
    bundle: Bundle, graph: bytes, further: list[Path], max_changed_share: float, progress: Progress
) -> Conversion:
    """Put a serialised ONNX graph into a bundle, if it keeps the contract and finds what model.keras finds.

    Compared on the golden pictures and on `further` ones. Raises ContractError, ConversionError, StoreError.
    """
    contract = bundle.contract(_BATCH)
    check_graph(graph, contract)
    check_finite(graph, bundle, [*golden_pictures(bundle), *further])
    with Staging(bundle.path) as staging:
        candidate = staging.write(ONNX_MODEL, graph)
        with KerasEngine(bundle.keras_path, contract) as keras, OnnxRuntimeEngine(candidate, contract) as onnx:
            comparison, entries = _compare(bundle, (keras, onnx), further, staging, progress)
        if failures := comparison.failures(max_changed_share):
            raise ConversionError(
                f"The converted model differs from {bundle.keras_path} on {comparison.pictures} pictures: "
                f"{'; '.join(failures)}. The bundle was left as it was. Train the model again; where the pictures show "
                "that such pixels do not matter, raise --max-changed-pixels"
            )
        outdated = {_STEP, *_leave_outdated(bundle, graph, staging)}
        earlier = (entry for entry in bundle.manifest.provenance if entry.get("step") not in outdated)
        provenance = (*earlier, _provenance(bundle, graph, comparison))
        manifest = bundle.manifest.model_copy(update={"golden": entries, "provenance": provenance})
        return Conversion(staging.commit(lambda: write_manifest(bundle.path, manifest)), comparison)


def install_bare(bundle: Bundle, source: Path, pictures: Sequence[Path]) -> Bundle:
    """Make the bare model.onnx of a bundle one that a line can run: with a head, checked, with golden maps.

    A graph from float pixels to probabilities is given the contract's head. There is no original to compare it with;
    that it answers finite numbers is looked at on `pictures`. `source` is the file that was given, for messages.
    Raises ContractError, ConversionError, StoreError.
    """
    contract = bundle.contract(_BATCH)
    graph = with_head(bundle.onnx_path.read_bytes(), source, contract)
    check_graph(graph, contract)
    check_finite(graph, bundle, pictures)
    with Staging(bundle.path) as staging:
        candidate = staging.write(ONNX_MODEL, graph)
        with OnnxRuntimeEngine(candidate, contract) as engine:
            _, entries = _compare(bundle, (engine, engine), [], staging, list)
        step = {"step": _STEP, "at": datetime.now(timezone.utc).isoformat(timespec="seconds"), "opset": OPSET}
        provenance = (*bundle.manifest.provenance, {**step, "onnx_sha256": hashlib.sha256(graph).hexdigest()})
        manifest = bundle.manifest.model_copy(update={"golden": entries, "provenance": provenance})
        return staging.commit(lambda: write_manifest(bundle.path, manifest))


def check_finite(graph: bytes, bundle: Bundle, pictures: Sequence[Path]) -> None:
    """Look at every tensor on a few real tiles. Raises ConversionError where a number is not finite.

    The outputs would not show it: they are bytes.
    """
    tiles = real_tiles(bundle, pictures, _LOOKED_AT)
    full_ranges(FloatGraph(graph), tiles, [entry.threshold for entry in bundle.classes], lambda items, _: items)


def _leave_outdated(bundle: Bundle, graph: bytes, staging: Staging) -> set[str]:
    """Let other precisions go that were made of another model.onnx, or are damaged; return their steps."""
    gone: set[str] = set()
    changed = bundle.model_sha256 != hashlib.sha256(graph).hexdigest()
    for precision, plan in PLANS.items():
        files = (GRAPHS[precision], plan)
        stated = [bundle.manifest.files.get(name) for name in files]
        found = [sha256_of(bundle.path / name) if (bundle.path / name).is_file() else None for name in files]
        if changed or stated != found:
            gone.add(precision)
            for name in files:
                staging.remove(name)
    return gone


def _compare(
    bundle: Bundle,
    engines: tuple[Engine, Engine],
    further: list[Path],
    staging: Staging,
    progress: Progress,
) -> tuple[Comparison, tuple[GoldenEntry, ...]]:
    """Compare (original, converted) on the golden pictures, whose maps it stages, and on `further` ones."""
    golden = golden_pictures(bundle)
    thresholds = [entry.threshold for entry in bundle.classes]
    original, converted = (Inference(engine, thresholds, bundle.manifest.tile.overlap_px) for engine in engines)
    comparisons = []
    entries = []
    for place, picture in enumerate(progress(golden + further)):
        prepared = prepare_picture(picture, bundle)
        found, kept = compare_picture(prepared, original, converted, bundle.classes)
        comparisons.append(found)
        if place < len(golden):
            name = f"{GOLDEN}/{picture.stem}{MAP_SUFFIX}"
            staging.write(name, cv2.imencode(".png", kept)[1].tobytes())
            digest = hashlib.sha256(prepared.pixels.tobytes()).hexdigest()
            entries.append(GoldenEntry(image=f"{GOLDEN}/{picture.name}", prepared_sha256=digest, expected_map=name))
    return reduce(Comparison.plus, comparisons), tuple(entries)


def _provenance(bundle: Bundle, graph: bytes, comparison: Comparison) -> dict[str, Any]:
    return {
        "step": _STEP,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tools": tool_versions(),
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "keras_sha256": bundle.manifest.files[KERAS_MODEL],
        "onnx_sha256": hashlib.sha256(graph).hexdigest(),
        "comparison": comparison.as_dict(),
    }
