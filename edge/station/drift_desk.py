"""The drift of a station's models of good parts: scores and verdicts in, what is other than it was taught out.

A score counts where its part passed, of whichever is known first. Each view has a state of its own under each recipe.
So a line of mixed products is looked at as well. Another edition, or another bundle, begins it anew. Called by the
decider alone, but for `now`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from edge.inspection.model_drift import DriftState, ModelDriftSettings, reference_in, step, told
from edge.recipes.loaded import LoadedRecipe, LoadedView
from edge.records.health import ModelDriftNow
from edge.records.parts import PartResult
from edge.station.score_sampling import SampledScore

# Scores whose part is not decided yet, and passed frames whose score is not there yet.
_SCORES_AT_MOST = 64
_PASSED_AT_MOST = 1024
# A finding of a recipe not in force is forgotten when none of its parts came for so long.
_FORGOTTEN_NS = 3600 * 1_000_000_000
_Key = tuple[str, str]  # recipe and view
_Frame = tuple[str, int]  # view and when it was captured


class DriftDesk:
    """Keeps what is known of the passed parts of each view."""

    def __init__(self) -> None:
        self._loaded: dict[_Key, LoadedView] = {}
        self._states: dict[_Key, DriftState] = {}
        self._scores: OrderedDict[_Frame, SampledScore] = OrderedDict()
        self._passed: OrderedDict[_Frame, None] = OrderedDict()
        self._in_force = ""
        self._now: Mapping[str, ModelDriftNow] = {}

    def use(self, recipe: LoadedRecipe) -> None:
        """Judge by this recipe from now on."""
        self._in_force = recipe.name
        for view, loaded in recipe.views.items():
            key, before = (recipe.name, view), self._loaded.get((recipe.name, view))
            if before is None or (before.edition, before.model) != (loaded.edition, loaded.model):
                self._states.pop(key, None)
            self._loaded[key] = loaded
            if loaded.learned_good_parts and loaded.inspect.model_drift is not None:
                self._states.setdefault(key, _begun(loaded))
        self._tell()

    def sampled(self, score: SampledScore) -> None:
        """Take in the score of a frame."""
        frame = (score.view, score.captured_ns)
        if frame in self._passed:
            self._count(score)
            return
        self._scores[frame] = score
        if len(self._scores) > _SCORES_AT_MOST:
            self._scores.popitem(last=False)

    def part(self, part: PartResult) -> None:
        """Take in that a part passed."""
        for view, seen in part.views.items():
            for captured_ns in seen.judged_ns:
                self.frame(view, captured_ns)

    def frame(self, view: str, captured_ns: int) -> None:
        """Take in that a frame passed which has a verdict of its own."""
        if not self._states:
            return
        score = self._scores.pop((view, captured_ns), None)
        if score is not None:
            self._count(score)
            return
        self._passed[view, captured_ns] = None
        if len(self._passed) > _PASSED_AT_MOST:
            self._passed.popitem(last=False)

    def told(self, now_ns: int) -> str | None:
        """Say which views' parts look other than those that were taught, and how; None where none do."""
        for key, state in list(self._states.items()):
            idle = state.looked_ns is not None and now_ns - state.looked_ns > _FORGOTTEN_NS
            if idle and key[0] != self._in_force:
                self._states[key] = _begun(self._loaded[key])
        names = {key: key[1] if key[0] == self._in_force else f"{key[0]}, {key[1]}" for key in self._states}
        words = [told(names[key], state) for key, state in self._states.items()]
        return "; ".join(one for one in words if one) or None

    @property
    def now(self) -> Mapping[str, ModelDriftNow]:
        """Return the state of each view under the recipe in force, by its name; from any thread."""
        return self._now

    def _count(self, score: SampledScore) -> None:
        key = (score.recipe, score.view)
        state, loaded = self._states.get(key), self._loaded.get(key)
        if state is None or loaded is None or loaded.edition != score.edition:
            return
        settings = loaded.inspect.model_drift or ModelDriftSettings()
        self._states[key] = step(state, score.score, score.captured_ns, settings)
        self._tell()

    def _tell(self) -> None:
        self._now = {view: _now(s) for (recipe, view), s in self._states.items() if recipe == self._in_force}


def _begun(loaded: LoadedView) -> DriftState:
    """Return the state of a view of which nothing was seen.

    A fit's note holds where the whole picture is inspected, as it was there. Else the line's own first parts count.
    """
    inspect = loaded.inspect
    ignores = inspect.ignore is not None or any(zone.ignore for zone in inspect.zones.values())
    if inspect.region is not None or inspect.part is not None or ignores:
        return DriftState()
    return DriftState(reference_in(loaded.bundle.manifest.training))


def _now(state: DriftState) -> ModelDriftNow:
    reference = state.reference
    return ModelDriftNow(
        median=state.now,
        low=None if reference is None else reference.low,
        high=None if reference is None else reference.high,
        scores=len(state.scores),
        drifted=state.drifted,
    )
