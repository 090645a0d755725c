"""A model as it was trained → a bundle that runs on a line. Either all of it is replaced, or nothing.

model.keras or the original → ONNX graph → contract checked → compared with that model on real pictures → written into
the bundle. That model runs in its own runtime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from converters.comparison.comparing import Comparison, compare_picture
from converters.comparison.real_tiles import MAP_SUFFIX, golden_pictures, pictures_of, prepare_picture, real_tiles
from converters.comparison.sight import Looking, Sight
from converters.foreign.nets import open_net
from converters.foreign.originals import (
    OriginalEngine,
    Seen,
    WatchedKerasEngine,
    check_probabilities,
    check_reference,
    check_steady,
)
from converters.foreign.understanding import Asked, Reading, understand
from converters.foreign.wrapping import graph_of
from converters.graph.contract import check_graph
from converters.graph.float_graph import FloatGraph
from converters.graph.onnx_from_keras import IR_VERSION, OPSET, convert, tool_versions
from converters.precision.plan import GRAPHS, PLANS
from converters.precision.tensor_ranges import full_ranges
from converters.sources import expectations_in, original_of, spread_over
from converters.staging import Staging
from edge.bundle import (
    GOLDEN,
    KERAS_MODEL,
    ONNX_MODEL,
    Bundle,
    GoldenEntry,
    load_bundle,
    safe_name,
    sha256_of,
    write_manifest,
)
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import BundleError, ConversionError, EngineError
from edge.inspection.inference import Inference
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.protocols import Engine
from edge.records import Float32, UInt8
from edge.wording import counted
from trainer.recipe.good_parts_settings import learned_from_good_parts

_BATCH = 4  # tiles at once: few, so that two engines with large tiles fit into memory
_STEP = "onnx"
_LOOKED_AT = 8  # tiles whose every tensor is looked at
PROBABILITIES = "probabilities"  # as the head names them, [N, K, h, w]

Progress = Callable[[list[Path]], Iterable[Path]]


@dataclass(frozen=True)
class Limits:
    """The conditions that a conversion must keep, and who is asked about what it cannot know.

    `max_changed_share`: of the pixels, 0-1, that may get another class. `reference`: an .npz of the original's own
    answers, which may name the pictures `named`. `sheet`: where the overlay sheet goes, None for none. `confirm`: is
    told why a model can hardly be right; True goes on all the same.
    """

    max_changed_share: float = 0.0005
    reference: Path | None = None
    named: tuple[Path, ...] = ()
    sheet: Path | None = None
    confirm: Callable[[str], bool] = lambda _: False


@dataclass(frozen=True)
class Conversion:
    """A finished conversion: the bundle as it now is, how its two models compare, and what the net sees.

    `comparison` is None where nothing was translated, so that there is nothing to compare. `seen`: least and greatest
    probability by class name, of those that were answered. `original`: what was compared with, for people.
    """

    bundle: Bundle
    comparison: Comparison | None
    sight: Sight
    seen: dict[str, tuple[float, float]]
    original: str
    sheet: Path | None = None
    reference: dict[str, Any] | None = None

    def report(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        manifest = self.bundle.manifest
        sight = {
            **self.sight.as_dict(),
            "probabilities": {name: {"least": low, "greatest": high} for name, (low, high) in self.seen.items()},
            "sheet": str(self.sheet) if self.sheet else None,
        }
        return {
            "bundle": f"{manifest.name}-{manifest.version}",
            "onnx_sha256": self.bundle.model_sha256,
            "onnx_bytes": self.bundle.onnx_path.stat().st_size,
            "opset": OPSET,
            "golden": len(manifest.golden),
            "original": self.original,
            "comparison": self.comparison.as_dict() if self.comparison else None,
            "sight": sight,
            **({"reference": self.reference} if self.reference else {}),
        }


def convert_bundle(path: Path, data: Path | None, limits: Limits, progress: Progress) -> Conversion:
    """Write `model.onnx`, golden maps, hashes and provenance into the bundle of the trainer at `path`.

    Compared on the golden pictures and on the pictures of `data`; `progress` wraps their list. Raises ConversionError,
    and leaves the bundle as it was, where more pixels than allowed get another class. It does so, too, where any defect
    is lost or gained.
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
    return install(bundle, convert(bundle.keras_path, bundle.contract(_BATCH)), further, limits, progress)


def install(bundle: Bundle, graph: bytes, further: list[Path], limits: Limits, progress: Progress) -> Conversion:
    """Put a serialised ONNX graph into a bundle, if it keeps the contract and finds what model.keras finds.

    Compared on the golden pictures and on `further` ones. Raises ContractError, ConversionError, StoreError.
    """
    contract = bundle.contract(_BATCH)
    original = WatchedKerasEngine(bundle.keras_path, contract)
    job = _Job(bundle, graph, str(bundle.keras_path), further=further, limits=limits, progress=progress)
    return job.run(original, original.seen, {"keras_sha256": bundle.manifest.files[KERAS_MODEL]})


def install_original(
    bundle: Bundle, shown: Path, data: Sequence[Path], limits: Limits, progress: Progress
) -> Conversion:
    """Make model.onnx of the original in the bundle, a model that somebody else trained, and prove it against that.

    The net's input and output stand in the bundle's provenance. `shown`: the file as the user named it; `data`:
    pictures beside the golden ones. Raises ContractError where its answers are no probabilities or depend on the batch.
    Raises ConversionError where the graph answers otherwise. It does so, too, where nobody confirms that so few or many
    defects are right.
    """
    original = original_of(bundle)
    assert original is not None  # noqa: S101 - the caller looked
    expects = expectations_in(bundle)
    contract = bundle.contract(_BATCH)
    net = open_net(original, expects.output if expects else None)
    net.path = shown
    sha256 = {"original_sha256": bundle.manifest.files[original.name]}
    if expects is None:
        job = _Job(bundle, original.read_bytes(), "", further=list(data), limits=limits, progress=progress)
        return job.run(None, Seen(), sha256)
    manifest = bundle.manifest
    tile = (manifest.tile.height, manifest.tile.width)
    asked = Asked(tile, len(manifest.classes), manifest.frames, None, manifest.stride)
    reading = understand(net, expects, asked)
    engine = OriginalEngine(net, reading, contract)
    tiles = real_tiles(bundle, [*golden_pictures(bundle), *data], _LOOKED_AT)
    engine.probabilities(tiles)
    check_probabilities(shown, engine.seen, reading)
    check_steady(shown, engine.probabilities, tiles)
    job = _Job(
        bundle,
        graph_of(net, reading, contract),
        f"{shown} by {net.runtime}",
        further=list(data),
        limits=limits,
        progress=progress,
    )
    job.reading = reading
    return job.run(engine, engine.seen, sha256)


class _Job:
    """One graph on its way into a bundle."""

    def __init__(
        self, bundle: Bundle, graph: bytes, original: str, *, further: list[Path], limits: Limits, progress: Progress
    ) -> None:
        self.reading: Reading | None = None
        self._bundle = bundle
        self._graph = graph
        self._original = original
        self._further = further
        self._limits = limits
        self._progress = progress

    def run(self, original: Engine | None, seen: Seen, sha256: dict[str, str]) -> Conversion:
        """Check, compare with `original` (None: the graph is the original), and put all of it in, or nothing."""
        bundle, graph, limits = self._bundle, self._graph, self._limits
        pictures = [*golden_pictures(bundle), *self._further]
        check_graph(graph, bundle.contract(_BATCH))
        check_finite(graph, bundle, pictures)
        tiles = real_tiles(bundle, pictures, _LOOKED_AT)
        answer = probabilities_of(graph, [entry.threshold for entry in bundle.classes])
        check_steady(self._original or bundle.path, answer, tiles)
        looking = Looking(bundle.classes, len(pictures))
        with Staging(bundle.path) as staging:
            candidate = staging.write(ONNX_MODEL, graph)
            converted = OnnxRuntimeEngine(candidate, bundle.contract(_BATCH))
            with converted, original if original is not None else nullcontext():
                engines = (original or converted, converted)
                found, entries = _compare(
                    bundle,
                    engines,
                    self._golden_and_further(staging),
                    staging=staging,
                    progress=self._progress,
                    looking=looking,
                )
            comparison = found if original is not None else None
            if comparison and (failures := comparison.failures(limits.max_changed_share)):
                raise ConversionError(
                    f"The converted model differs from {self._original} on {counted(comparison.pictures, 'picture')}: "
                    f"{'; '.join(failures)}. The bundle was left as it was. Train the model again; where the "
                    "pictures show that such pixels do not matter, raise --max-changed-pixels"
                )
            reference = self._compared_with_reference(answer)
            if limits.sheet is not None:
                looking.write(limits.sheet)
            self._confirm(looking.sight)
            outdated = {_STEP, *_leave_outdated(bundle, graph, staging)}
            earlier = (entry for entry in bundle.manifest.provenance if entry.get("step") not in outdated)
            provenance = (*earlier, _provenance(graph, comparison, sha256))
            manifest = bundle.manifest.model_copy(update={"golden": entries, "provenance": provenance})
            written = staging.commit(lambda: write_manifest(bundle.path, manifest))
        ranges = dict(zip((entry.name for entry in bundle.classes), seen.ranges, strict=False))
        return Conversion(written, comparison, looking.sight, ranges, self._original, limits.sheet, reference)

    def _golden_and_further(self, staging: Staging) -> tuple[dict[str, Path], list[Path]]:
        """Return the golden pictures by name, and the others; a bundle without golden ones takes some of the others."""
        if golden := golden_pictures(self._bundle):
            return {picture.name: picture for picture in golden}, self._further
        chosen = spread_over(self._further)
        (self._bundle.path / GOLDEN).mkdir(exist_ok=True)
        taken: dict[str, Path] = {}
        for number, picture in enumerate(chosen):
            name = f"{number}-{safe_name(picture.stem)}.png"
            taken[name] = staging.write(f"{GOLDEN}/{name}", cv2.imencode(".png", read_picture(picture))[1].tobytes())
        return taken, [picture for picture in self._further if picture not in chosen]

    def _confirm(self, sight: Sight) -> None:
        if not sight.doubt or (not sight.total and self._shows_good_parts_alone()):
            return
        sheet = f" Look at {self._limits.sheet}." if self._limits.sheet else ""
        mend = "Train it again with more pictures or for longer, or fit its thresholds"
        if original_of(self._bundle) is not None:
            mend = (
                "Mend what it expects and gives (--input-range, --mean, --std, --colour, --activation, --background, "
                "--thresholds)"
            )
        doubt = (
            f"This model can hardly be right: {sight.doubt}.{sheet} {mend}, or show it pictures with defects by --data"
        )
        if not self._limits.confirm(doubt):
            raise ConversionError(f"{doubt}. Nothing was written. If it is right all the same, confirm it with --yes")

    def _shows_good_parts_alone(self) -> bool:
        """Tell whether no picture has a defect by right: the fit had good parts alone, and no others are given."""
        manifest = self._bundle.manifest
        return learned_from_good_parts(manifest) and not manifest.training.get("defective") and not self._further

    def _compared_with_reference(self, answer: Callable[[UInt8], Float32]) -> dict[str, Any] | None:
        if self._limits.reference is None:
            return None
        if self.reading is None:
            raise BundleError(
                "--reference: expected a bare model with what it expects and gives; this graph is its own original"
            )
        contract = self._bundle.contract(1)
        size = (contract.tile_height, contract.tile_width)
        shown = [(picture.name, prepare_picture(picture, self._bundle).pixels) for picture in self._limits.named]
        tiles = [(name, pixels.reshape(*size, contract.channels)) for name, pixels in shown if pixels.shape[:2] == size]
        if contract.frames > 1:
            tiles = [(name, np.stack([pixels] * contract.frames)) for name, pixels in tiles]
        return check_reference(self._limits.reference, tiles, answer, self.reading)


def probabilities_of(graph: bytes, thresholds: Sequence[float]) -> Callable[[UInt8], Float32]:
    """Return what gives a graph's probabilities, float32 [N, h, w, K], for uint8 tiles [N, (T,) H, W, C].

    A graph that was made elsewhere may not tell them: then it is its classes and scores, [N, h, w, 2], 0-1.
    """
    import onnx
    import onnxruntime

    proto = onnx.load_model_from_string(graph)
    known = any(PROBABILITIES in node.output for node in proto.graph.node)
    names = [PROBABILITIES] if known else ["classes", "scores"]
    if known:
        proto.graph.output.append(onnx.ValueInfoProto(name=PROBABILITIES))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = np.array(thresholds, np.float32)

    def answer(tiles: UInt8) -> Float32:
        try:
            found = session.run(names, {"tiles": tiles, "thresholds": asked})
        except Exception as error:  # ONNX Runtime raises bare exceptions of many kinds
            raise EngineError(
                f"ONNX Runtime cannot run the converted graph on {counted(len(tiles), 'tile')}: {error}. Export "
                f"the model again "
                "with a free batch: dynamic_axes={'pixels': {0: 'N'}} in torch.onnx.export"
            ) from error
        if known:
            probabilities: Float32 = np.moveaxis(found[0], 1, -1)
            return probabilities
        classes, scores = found
        return np.stack([classes > 0, scores / np.float32(255)], axis=-1).astype(np.float32)

    return answer


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
    pictures: tuple[dict[str, Path], list[Path]],
    *,
    staging: Staging,
    progress: Progress,
    looking: Looking,
) -> tuple[Comparison, tuple[GoldenEntry, ...]]:
    """Compare (original, converted) on the golden pictures, whose maps it stages, and on further ones.

    `pictures`: golden ones by their names in the bundle, and further ones. The converted one's view is added to
    `looking`.
    """
    golden, further = pictures
    names = list(golden)
    thresholds = [entry.threshold for entry in bundle.classes]
    original, converted = (Inference(engine, thresholds, bundle.manifest.tile.overlap_px) for engine in engines)
    comparisons = []
    entries = []
    for place, picture in enumerate(progress([*golden.values(), *further])):
        prepared = prepare_picture(picture, bundle)
        found, kept = compare_picture(prepared, original, converted, bundle.classes)
        comparisons.append(found)
        looking.add(prepared, kept)
        if place < len(golden):
            name = f"{GOLDEN}/{Path(names[place]).stem}{MAP_SUFFIX}"
            staging.write(name, cv2.imencode(".png", kept)[1].tobytes())
            digest = hashlib.sha256(prepared.pixels.tobytes()).hexdigest()
            entries.append(GoldenEntry(image=f"{GOLDEN}/{names[place]}", prepared_sha256=digest, expected_map=name))
    return reduce(Comparison.plus, comparisons), tuple(entries)


def _provenance(graph: bytes, comparison: Comparison | None, sha256: dict[str, str]) -> dict[str, Any]:
    return {
        "step": _STEP,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "tools": tool_versions(),
        "opset": OPSET,
        "ir_version": IR_VERSION,
        **sha256,
        "onnx_sha256": hashlib.sha256(graph).hexdigest(),
        **({"comparison": comparison.as_dict()} if comparison else {}),
    }
