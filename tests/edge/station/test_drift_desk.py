"""Scores and verdicts of several recipes, in any order, and what begins their windows anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge.inspection.model_drift import ModelDriftSettings
from edge.inspection.settings import InspectSettings
from edge.parts.rules import PartRules
from edge.recipes.loaded import LoadedRecipe, LoadedView
from edge.station.drift_desk import DriftDesk
from edge.station.score_sampling import SampledScore
from tests.edge.station.test_model_drift import WINDOW, learned

SECOND = 1_000_000_000
INSPECT = InspectSettings(model_drift=ModelDriftSettings(every_s=0, window=WINDOW))
NOBODY: Any = None  # no frame is answered here


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Write a bundle for each of two recipes."""
    folder: Path = tmp_path_factory.mktemp("desk")
    return {name: learned(folder / name) for name in ("a", "b")}


def recipe(bundles: dict[str, Any], name: str, edition: int = 0) -> LoadedRecipe:
    """Return a recipe of one view."""
    view = LoadedView(name, bundles[name], INSPECT, NOBODY, edition)
    return LoadedRecipe(name, {"top": view}, PartRules({}, SECOND, SECOND))


def show(desk: DriftDesk, name: str, begin: int, score: float, *, count: int = WINDOW, edition: int = 0) -> None:
    """Let so many frames pass, one a second; of each second one the score is known after the verdict."""
    for number in range(begin, begin + count):
        told = SampledScore("top", name, edition, number * SECOND, number * SECOND, score)
        if number % 2:
            desk.sampled(told)
        desk.frame("top", number * SECOND)
        if not number % 2:
            desk.sampled(told)


def test_scores_count_whichever_is_known_first(bundles: dict[str, Any]) -> None:
    """And none without a verdict, nor twice."""
    desk = DriftDesk()
    desk.use(recipe(bundles, "a"))
    show(desk, "a", 0, 0.7, count=WINDOW - 1)
    assert desk.now["top"].scores == WINDOW - 1
    desk.sampled(SampledScore("top", "a", 0, 999 * SECOND, 999 * SECOND, 0.7))  # of a part that never passes
    assert desk.told(999 * SECOND) is None
    show(desk, "a", WINDOW - 1, 0.7, count=1)
    assert str(desk.told(999 * SECOND)).startswith("top: passed parts are farther")


def test_recipes_that_take_turns_have_windows_of_their_own(bundles: dict[str, Any]) -> None:
    """A line of mixed products changes with every part, and its windows fill."""
    desk = DriftDesk()
    for number in range(WINDOW):
        desk.use(recipe(bundles, "a"))
        show(desk, "a", 2 * number, 0.7, count=1)
        desk.use(recipe(bundles, "b"))
        show(desk, "b", 2 * number + 1, 0.5, count=1)
    told = desk.told(2 * WINDOW * SECOND)
    assert str(told).startswith("a, top: ")
    assert "b" not in str(told).split(":", maxsplit=1)[0]
    assert not desk.now["top"].drifted


def test_another_edition_begins_anew_and_takes_no_older_score(bundles: dict[str, Any]) -> None:
    """A model that was taught again is not blamed for what its former one saw."""
    desk = DriftDesk()
    desk.use(recipe(bundles, "a"))
    show(desk, "a", 0, 0.7)
    assert desk.told(WINDOW * SECOND) is not None
    desk.use(recipe(bundles, "a", edition=1))
    assert desk.told(WINDOW * SECOND) is None
    show(desk, "a", 100, 0.7)
    assert desk.now["top"].scores == 0
    show(desk, "a", 200, 0.7, edition=1)
    assert desk.told(300 * SECOND) is not None


def test_a_recipe_that_is_not_made_any_more_is_forgotten_after_an_hour(bundles: dict[str, Any]) -> None:
    """That in force is not: a line that stands keeps what it found."""
    desk = DriftDesk()
    desk.use(recipe(bundles, "a"))
    show(desk, "a", 0, 0.7)
    assert desk.told(8 * 3600 * SECOND) is not None
    desk.use(recipe(bundles, "b"))
    assert desk.told((3600 + WINDOW - 1) * SECOND) is not None
    assert desk.told((3600 + WINDOW) * SECOND) is None
