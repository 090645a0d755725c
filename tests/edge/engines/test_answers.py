from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edge.engines.answers import checked
from edge.errors import EngineError, WrongAnswerError
from edge.records import GraphContract, Maps

CONTRACT = GraphContract(8, 8, 1, 1, 2, ("scratch", "stain"), 4)  # 4 x 4 cells
THRESHOLDS = np.array([0.5, 0.8], np.float32)


def zeros(*shape: int) -> Any:
    """Make a clean map."""
    return np.zeros(shape or (3, 4, 4), np.uint8)


def filled(value: int) -> Any:
    """Make a map of one value."""
    return np.full((3, 4, 4), value, np.uint8)


WRONG: dict[str, tuple[Any, str]] = {
    "an unknown class": (Maps(filled(3), filled(255)), "classes to be 0 to 2, the bundle's classes, received 3"),
    "one cell of an unknown class": (
        Maps(np.eye(4, dtype=np.uint8)[None].repeat(3, 0) * 255, filled(255)),
        "received 255",
    ),
    "one cell for a tile": (Maps(zeros(3, 1, 1), zeros(3, 1, 1)), "3 x 4 x 4 .* received 3 x 1 x 1"),
    "one cell for all tiles": (Maps(zeros(1, 1, 1), zeros(1, 1, 1)), "received 1 x 1 x 1"),
    "too few tiles": (Maps(zeros(2, 4, 4), zeros(2, 4, 4)), "received 2 x 4 x 4"),
    "too many tiles": (Maps(zeros(4, 4, 4), zeros(4, 4, 4)), "received 4 x 4 x 4"),
    "no tiles": (Maps(zeros(0, 4, 4), zeros(0, 4, 4)), "received 0 x 4 x 4"),
    "another axis": (Maps(zeros(3, 4, 4, 1), zeros()), "received 3 x 4 x 4 x 1"),
    "scores of another shape": (Maps(zeros(), zeros(3, 4, 2)), "scores .* received 3 x 4 x 2"),
    "a number alone": (Maps(np.array(0, np.uint8), zeros()), "received one number"),
    "floats": (Maps(zeros().astype(np.float32), zeros()), "received float32"),
    "NaN": (Maps(zeros(), np.full((3, 4, 4), np.nan)), "float64 with numbers that are not finite"),
    "infinity": (Maps(zeros(), np.full((3, 4, 4), np.inf, np.float32)), "not finite"),
    "signed numbers": (Maps(zeros().astype(np.int64), zeros()), "received int64"),
    "truths": (Maps(zeros().astype(bool), zeros()), "received bool"),
    "objects": (Maps(zeros().astype(object), zeros()), "received object"),
    "a list": (Maps([[0]], zeros()), "received list"),  # type: ignore[arg-type]  # on purpose
    "nothing": (None, "received NoneType"),
    "a class without its probability": (Maps(filled(1), filled(0)), "at least 125 where class 1 is answered"),
    "the second class below its own threshold": (Maps(filled(2), filled(150)), "at least 202 where class 2"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_model_may_answer_is_an_error(name: str) -> None:
    """Count, shape, dtype, classes and scores: each departure is refused with what was expected and received."""
    maps, says = WRONG[name]
    with pytest.raises(WrongAnswerError, match=says):
        checked(maps, 3, CONTRACT, THRESHOLDS)


def test_a_wrong_answer_is_an_engine_error() -> None:
    """A handler of a failed inference handles this one too."""
    assert issubclass(WrongAnswerError, EngineError)
    assert WrongAnswerError.exit_code == EngineError.exit_code


@pytest.mark.parametrize(
    ("classes", "scores"),
    [(0, 0), (1, 128), (1, 127), (1, 126), (1, 255), (2, 204), (2, 255), (0, 255)],
)
def test_what_a_model_may_answer_is_believed(classes: int, scores: int) -> None:
    """A score of round(255 p) at p = threshold is 127 or 128 of 0.5, and 204 of 0.8. Half precision may round it."""
    maps = checked(Maps(filled(classes), filled(scores)), 3, CONTRACT, THRESHOLDS)
    assert maps.classes[0, 0, 0] == classes


def test_without_thresholds_the_scores_are_not_compared() -> None:
    """Only who knows the thresholds can say what a score must be."""
    assert checked(Maps(filled(2), filled(0)), 3, CONTRACT).classes.max() == 2
