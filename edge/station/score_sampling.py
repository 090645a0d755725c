"""Scores of passed frames against what a model of good parts was taught: the model is asked again, now and then.

A model answers scores only where its threshold is reached, and nothing of a part that passes. So the same tiles are
answered once more, at a threshold that hardly any pixel lies below. The graph and its contract stay as they are. Of a
view at most one frame waits for that. The line's own frames wait for one batch more at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edge.errors import EngineError
from edge.inspection.batcher import Batcher, SharedJob
from edge.inspection.inference import FrameJob
from edge.inspection.inspector import Inspector
from edge.inspection.model_drift import due, score_of
from edge.recipes.loaded import LoadedView
from edge.records import Float32

# A probability below it is a score of 0 anyway: round(255 p).
_NO_THRESHOLD = 1 / 512


@dataclass(frozen=True)
class SampledScore:
    """The score of one frame that passed. `at_ns`: as of `Seen`. `recipe`, `edition`: what judged it."""

    view: str
    recipe: str
    edition: int
    captured_ns: int
    at_ns: int
    score: float


@dataclass(frozen=True)
class _Asked:
    job: SharedJob
    loaded: LoadedView
    inspector: Inspector


class ScoreSampler:
    """Asks for the scores of one view's frames. Called by the view's thread alone.

    `live`: answers are taken when they are there; else each is waited for, so that two replays give the same.
    """

    def __init__(self, view: str, clock_ns: Callable[[], int], *, live: bool) -> None:
        self._view = view
        self._clock_ns = clock_ns
        self._live = live
        self._asked: _Asked | None = None
        self._looked_ns: int | None = None
        self._of: LoadedView | None = None

    def offer(self, passed: FrameJob, loaded: LoadedView, inspector: Inspector) -> None:
        """Ask for the score of a frame that passed, if the last one is long enough ago."""
        settings = loaded.inspect.model_drift
        if settings is None or not loaded.learned_good_parts or self._asked is not None:
            return
        if loaded is not self._of:
            self._of, self._looked_ns = loaded, None
        captured_ns = passed.prepared.frame.captured_ns
        if due(self._looked_ns, captured_ns, settings):
            self._looked_ns = captured_ns
            thresholds: Float32 = np.full(len(loaded.bundle.classes), _NO_THRESHOLD, np.float32)
            self._asked = _Asked(loaded.batcher.infer(passed.prepared, thresholds), loaded, inspector)

    def take(self) -> list[SampledScore]:
        """Return the score that was asked for, if it is there; none where the engine failed, which the line tells."""
        asked = self._asked
        if asked is None or (self._live and not asked.job.answer.done()):
            return []
        self._asked = None
        try:
            level = asked.inspector.highest_level(asked.job, asked.job.answer.result())
        except EngineError:
            return []
        if level is None:
            return []
        captured_ns = asked.job.prepared.frame.captured_ns
        at_ns = self._clock_ns() if self._live else captured_ns
        loaded = asked.loaded
        return [SampledScore(self._view, loaded.recipe, loaded.edition, captured_ns, at_ns, score_of(level))]

    def holds(self, batcher: Batcher) -> bool:
        """Tell whether a frame waits for an answer of a batcher; from any thread."""
        asked = self._asked
        return asked is not None and asked.loaded.batcher is batcher
