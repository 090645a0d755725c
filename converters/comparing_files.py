"""`convert compare A B`: two models, or one on two engines, on the same pictures, as the line would judge them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from converters.comparison.comparing import Comparison, FoundDefects, compare_maps, without_specks
from converters.comparison.real_tiles import pictures_of, prepare_picture
from converters.precision.plan import GRAPHS, Precision, variant_of
from converters.precision.tensor_ranges import NodeDone
from edge.bundle import KERAS_MODEL, MANIFEST, Bundle, load_bundle
from edge.cameras.recordings import recorded_camera
from edge.engines.cascade import openvino_bf16
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import BundleError, SourceError
from edge.inspection.inference import Inference
from edge.pictures import SUFFIXES
from edge.preparing import depth_bits, prepare
from edge.protocols import Engine
from edge.records import CameraCondition, CameraState, Frame, PreparedFrame
from edge.wording import command

_BATCH = 4
# The precisions of each engine; the first is meant where none is named.
ENGINES = {
    "onnxruntime": ("fp32", "fp16", "int8"),
    "openvino": ("fp32", "bf16", "fp16", "int8"),
    "tensorrt": ("fp16", "fp32", "int8"),
    "keras": ("fp32",),
}


class Operand(NamedTuple):
    """One side of a comparison: a bundle or a model file, and what runs it. `precision` "" = the file's own."""

    path: Path
    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.path}@{self.engine}" + (f":{self.precision}" if self.precision else "")


def operand(text: str) -> Operand:
    """Read PATH, PATH@ENGINE or PATH@ENGINE:PRECISION. Raises BundleError for an engine without that precision."""
    path, at, rest = text.rpartition("@")
    engine, colon, precision = rest.partition(":")
    if not at or engine not in ENGINES:
        return Operand(Path(text), "keras" if text.endswith(".keras") else "onnxruntime", "")
    if colon and precision not in ENGINES[engine]:
        raise BundleError(f"{text}: expected {engine} with {', '.join(ENGINES[engine])}, received {precision!r}")
    return Operand(Path(path), engine, precision)


@dataclass(frozen=True)
class FrameDifference:
    """One picture: what differs, and the share of it, 0-1, that is defective according to each side."""

    name: str
    comparison: Comparison
    coverage: tuple[float, float]

    @property
    def coverage_difference(self) -> float:
        """Return the distance between the coverages, 0-1."""
        return abs(self.coverage[0] - self.coverage[1])


@dataclass(frozen=True)
class Difference:
    """Two models on the same pictures."""

    sides: tuple[str, str]
    frames: tuple[FrameDifference, ...]

    @property
    def total(self) -> Comparison:
        """Return the differences over all pictures."""
        return reduce(Comparison.plus, (frame.comparison for frame in self.frames))

    @property
    def mean_coverage_difference(self) -> float:
        """The mean over all pictures, 0-1."""
        return float(np.mean([frame.coverage_difference for frame in self.frames]))

    @property
    def worst(self) -> FrameDifference:
        """The picture whose coverages are farthest apart."""
        return max(self.frames, key=lambda frame: frame.coverage_difference)

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "a": self.sides[0],
            "b": self.sides[1],
            "comparison": self.total.as_dict(),
            "coverage_difference": {
                "mean": self.mean_coverage_difference,
                "worst": self.worst.coverage_difference,
                "worst_frame": self.worst.name,
            },
            "frames": [
                {"name": frame.name, "coverage": frame.coverage, **asdict(frame.comparison)} for frame in self.frames
            ],
        }


def compare(a: Operand, b: Operand, data: Path, progress: NodeDone[Any], every: int = 1) -> Difference:
    """Answer every picture of `data` (a folder, a dataset or a video) with both sides, and say what differs.

    `every`: only each so many-th of them. Each side is run as a line would run it, with the thresholds and smallest
    areas of its own bundle.

    Raises BundleError where neither side brings a manifest or the two differ in classes or tiles. Raises SourceError
    without pictures, and what the engines raise.
    """
    bundles = [_bundle_of(side) for side in (a, b)]
    bundle = bundles[0] or bundles[1]
    if bundle is None:
        raise BundleError(
            f"Neither {a.path} nor {b.path} is a bundle or lies in one, so classes and tile size are not known. "
            "Name a bundle, or wrap the model first: convert MODEL.onnx --to onnxruntime --tile … --classes …"
        )
    for other in bundles:
        if other is not None and _kind(other) != _kind(bundle):
            raise BundleError(
                f"The two sides are models of different kinds: {_kind(bundle)} and {_kind(other)}. Expected the same "
                "classes, tile, stride, channels, frames and preparing steps"
            )
    pictures = _pictures(data, bundle, every)
    with _engine(a, bundles[0] or bundle) as first, _engine(b, bundles[1] or bundle) as second:
        answer = [_answerer(first, bundles[0] or bundle), _answerer(second, bundles[1] or bundle)]
        found = []
        for picture in progress(pictures, "Comparing"):
            prepared = prepare_picture(picture, bundle) if isinstance(picture, Path) else picture
            before, after = (each(prepared) for each in answer)
            comparison = compare_maps(before, after, bundle.classes, tiles=0)
            coverage = (float(np.mean(before.kept > 0)), float(np.mean(after.kept > 0)))
            found.append(FrameDifference(prepared.frame.name or str(prepared.frame.index), comparison, coverage))
    return Difference((str(a), str(b)), tuple(found))


def _kind(bundle: Bundle) -> tuple[Any, ...]:
    return bundle.contract(1), bundle.manifest.preparing


def _bundle_of(side: Operand) -> Bundle | None:
    """Open the bundle that a side is or lies in."""
    if side.path.is_dir():
        return load_bundle(side.path, need_onnx=side.engine != "keras")
    if not side.path.is_file():
        raise BundleError(f"Nothing at {side.path}: expected a bundle, a .onnx or a .keras file")
    if (side.path.parent / MANIFEST).is_file():
        return load_bundle(side.path.parent, need_onnx=False)
    return None


def _engine(side: Operand, bundle: Bundle) -> Engine:
    precision = side.precision or ENGINES[side.engine][0]
    contract = bundle.contract(_BATCH)
    graph: Precision = "fp16" if precision == "fp16" else "int8" if precision == "int8" else "fp32"
    inside = KERAS_MODEL if side.engine == "keras" else GRAPHS[variant_of(graph, side.engine)]
    model = side.path / inside if side.path.is_dir() else side.path
    if side.engine != "tensorrt" and not model.is_file():
        made_by = command("convert", side.path, "--to", "onnxruntime")
        raise BundleError(f"{side.path} holds no {inside}. Make it: {made_by}")
    if side.engine == "keras":
        from trainer.evaluation.keras_engine import KerasEngine

        return KerasEngine(model, contract)
    if side.engine == "tensorrt":
        from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions

        return TensorRtEngine(bundle, contract, TensorRtOptions(graph))
    if side.engine == "openvino":
        bf16 = precision == "bf16"
        return openvino_bf16(model, contract, bundle.classes) if bf16 else OpenVinoEngine(model, contract)
    return OnnxRuntimeEngine(model, contract)


def _answerer(engine: Engine, bundle: Bundle) -> Callable[[PreparedFrame], FoundDefects]:
    thresholds = [entry.threshold for entry in bundle.classes]
    inference = Inference(engine, thresholds, bundle.manifest.tile.overlap_px)

    def answer(prepared: PreparedFrame) -> FoundDefects:
        found = inference.finish(inference.begin([prepared])[0])
        return FoundDefects(found, without_specks(found, prepared, bundle.classes))

    return answer


def _pictures(data: Path, bundle: Bundle, every: int) -> Iterable[Path | PreparedFrame]:
    """List the pictures of a folder, or play the frames of a video."""
    if data.is_file() and data.suffix.lower() not in SUFFIXES:
        return _of_video(data, bundle, every)
    pictures = [data] if data.is_file() else pictures_of(data)
    if not pictures:
        raise SourceError(f"{data} holds no pictures to compare on")
    return pictures[::every]


def _of_video(video: Path, bundle: Bundle, every: int) -> Iterator[PreparedFrame]:
    with recorded_camera("compare", video, depth_bits=depth_bits(bundle.manifest.preparing)) as camera:
        while not isinstance(frame := camera.read(10.0), CameraState) or frame.condition is CameraCondition.UNREADABLE:
            if isinstance(frame, CameraState):
                raise SourceError(f"{video}, frame {frame.index}: {frame.detail}; compare on a recording that is whole")
            if frame.index % every:
                continue
            pixels, to_frame = prepare(frame.pixels, bundle.manifest.preparing, bundle.manifest.channels)
            small = Frame("compare", frame.index, pixels, 0, datetime.fromtimestamp(0, timezone.utc), str(frame.index))
            yield PreparedFrame(small, pixels, to_frame)
