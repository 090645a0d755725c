"""Judges another graph for the same bundle against model.onnx by the defects that it loses or gains on pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from converters.comparison.comparing import Comparison, FoundDefects, compare_maps, without_specks
from converters.comparison.real_tiles import prepare_picture
from converters.precision.plan import GRAPHS, PLANS, PrecisionPlan
from converters.precision.tensor_ranges import NodeDone
from edge.bundle import Bundle
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.files import scratch_folder
from edge.inspection.inference import Inference
from edge.protocols import Engine
from edge.records import GraphContract, PreparedFrame

_BATCH = 2  # tiles at once: few, since an emulated graph holds every tensor several times
# A search asks the same pictures again and again: so many of them, spread over all.
_SEARCHED_AT_MOST = 24


@dataclass(frozen=True)
class DecidedPrecision:
    """A model in a lower precision, as it was decided: its plan, its serialised ONNX graph, and how it compares.

    `measured`: how often the search judged, of which `reused` had been judged before an interruption. `variant`: its
    key in GRAPHS and PLANS.
    """

    plan: PrecisionPlan
    graph: bytes
    comparison: Comparison
    measured: int
    reused: int
    variant: str

    @property
    def files(self) -> tuple[str, str]:
        """The names of graph and plan within the bundle."""
        return GRAPHS[self.variant], PLANS[self.variant]

    def report(self) -> dict[str, Any]:
        """Return what `--json` writes."""
        return {
            "precision": self.plan.precision,
            "onnx_sha256": self.plan.onnx_sha256,
            "sha256": hashlib.sha256(self.graph).hexdigest(),
            "pinned": [{"node": pin.node, "reason": pin.reason} for pin in self.plan.pinned],
            "comparison": self.comparison.as_dict(),
            "measured": self.measured,
            "reused": self.reused,
        }


class Judge:
    """Compares graphs with a bundle's model.onnx on the same pictures; model.onnx's answers are computed once.

    `opener`: of the engine that the graphs are judged on; model.onnx is always answered by ONNX Runtime.
    """

    def __init__(
        self,
        bundle: Bundle,
        pictures: Sequence[Path],
        max_changed_share: float,
        progress: NodeDone[Any],
        opener: Callable[[Path, GraphContract], Engine] = OnnxRuntimeEngine,
    ) -> None:
        self.bundle = bundle
        self._opener = opener
        self.max_changed_share = max_changed_share
        self._pictures = list(pictures)
        self._progress = progress
        self._contract = bundle.contract(_BATCH)
        self._known: dict[Path, tuple[PreparedFrame, FoundDefects]] = {}
        self._judged = 0

    @property
    def searched(self) -> list[Path]:
        """The pictures that a search asks."""
        if len(self._pictures) <= _SEARCHED_AT_MOST:
            return self._pictures
        return [self._pictures[int(i)] for i in np.linspace(0, len(self._pictures) - 1, _SEARCHED_AT_MOST)]

    @property
    def defects(self) -> int:
        """Return the number of defects that model.onnx finds on the searched pictures."""
        self._answer_searched()
        return sum(
            compare_maps(answer, answer, self.bundle.classes, tiles=0).defects for _, answer in self._known.values()
        )

    def searched_failures(self, graph: bytes) -> list[str]:
        """Say what is wrong with a graph on the searched pictures; nothing where all is well."""
        self._answer_searched()
        self._judged += 1
        words = f"Searching, choice {self._judged}"
        with scratch_folder("linewatch-") as folder:
            model = folder / "model.onnx"
            model.write_bytes(graph)
            with self._opener(model, self._contract) as engine:
                inference = self._inference(engine)
                found = [
                    self._compare(inference, prepared, answer)
                    for prepared, answer in self._progress(list(self._known.values()), words)
                ]
        return reduce(Comparison.plus, found).failures(self.max_changed_share)

    def compare(self, other: Engine, words: str) -> Comparison:
        """Compare an open engine with model.onnx on all pictures; `words` say what is done. Raises EngineError."""
        contract = self.bundle.contract(other.contract.max_batch)
        with OnnxRuntimeEngine(self.bundle.onnx_path, contract) as original:
            inferences = self._inference(original), self._inference(other)
            found = []
            for picture in self._progress(self._pictures, words):
                prepared = prepare_picture(picture, self.bundle)
                answer = self._answer(inferences[0], prepared)
                found.append(self._compare(inferences[1], prepared, answer))
        return reduce(Comparison.plus, found)

    def compare_graph(self, graph: bytes, words: str) -> Comparison:
        """Compare a graph, run by the judge's engine, with model.onnx on all pictures."""
        with scratch_folder("linewatch-") as folder:
            model = folder / "model.onnx"
            model.write_bytes(graph)
            with self._opener(model, self._contract) as engine:
                return self.compare(engine, words)

    def _inference(self, engine: Engine) -> Inference:
        thresholds = [entry.threshold for entry in self.bundle.classes]
        return Inference(engine, thresholds, self.bundle.manifest.tile.overlap_px)

    def _answer(self, inference: Inference, prepared: PreparedFrame) -> FoundDefects:
        found = inference.finish(inference.begin([prepared])[0])
        return FoundDefects(found, without_specks(found, prepared, self.bundle.classes))

    def _compare(self, inference: Inference, prepared: PreparedFrame, before: FoundDefects) -> Comparison:
        after = self._answer(inference, prepared)
        tiles = len(inference.plan_for(*prepared.pixels.shape[:2]).cells)
        return compare_maps(before, after, self.bundle.classes, tiles)

    def _answer_searched(self) -> None:
        if self._known:
            return
        with OnnxRuntimeEngine(self.bundle.onnx_path, self._contract) as engine:
            inference = self._inference(engine)
            for picture in self._progress(self.searched, "Answering in FP32"):
                prepared = prepare_picture(picture, self.bundle)
                self._known[picture] = prepared, self._answer(inference, prepared)
