"""A bundle's answer to one picture, on the road of `linewatch inspect`: prepared, cut, stitched, specks wiped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from edge.app import make_engine
from edge.bundle import Bundle
from edge.inspection.inference import Inference
from edge.inspection.inspector import Inspector
from edge.inspection.settings import InspectSettings
from edge.preparing.geometry import map_to_frame
from edge.records import Frame, Judgement, UInt8
from edge.settings import EngineSettings


@dataclass(frozen=True)
class Seen:
    """One answer: `classes` uint8 [H, W] of ids by pixel of the picture; `looked_at` uint8 [H, W] 0/1.

    `px_per_prepared`: pixels of the picture along one prepared pixel.
    """

    classes: UInt8
    looked_at: UInt8
    px_per_prepared: float


@dataclass(frozen=True)
class NotSeen:
    """No verdict could be given, and why."""

    reason: str


class Looker:
    """Judges pictures one by one with the settings that a line has by default."""

    def __init__(self, inference: Inference, bundle: Bundle) -> None:
        self._inspector = Inspector(inference, bundle, InspectSettings())

    def look(self, pixels: UInt8) -> Seen | NotSeen:
        """Judge one picture, uint8 [H, W, 3]. Raises EngineError."""
        self._inspector.forget()
        job = self._inspector.begin(Frame("pod", 0, pixels, 0, datetime.now(timezone.utc)))
        if isinstance(job, Judgement):
            return NotSeen(job.reason or "no verdict")
        inspected = self._inspector.finish(job)
        if inspected.kept is None:
            return NotSeen(inspected.judgement.reason or "no verdict")
        to_frame, shape = job.prepared.to_frame, (pixels.shape[0], pixels.shape[1])
        everything = np.ones(job.prepared.pixels.shape[:2], np.uint8)
        return Seen(
            map_to_frame(inspected.kept.classes, to_frame, shape, inspected.kept.stride),
            map_to_frame(everything, to_frame, shape),
            float(np.sqrt(to_frame.area_scale)),
        )


@contextmanager
def looking(bundle: Bundle) -> Iterator[Looker]:
    """Open the engine of a converted bundle as `inspect` does. Raises EngineError, DependencyError."""
    with make_engine(EngineSettings(), bundle) as engine:
        thresholds = [entry.threshold for entry in bundle.classes]
        yield Looker(Inference(engine, thresholds, bundle.manifest.tile.overlap_px), bundle)
