"""The collapse guard: made histories of each kind, and what must hold of any."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.recipe.settings import GuardSettings
from trainer.training.collapse_guard import ClassFigures, EpochFigures, look

FOUR = GuardSettings()
TRUE = 0.02


def history(**answered: list[float]) -> list[EpochFigures]:
    """Make epochs from the answered share of each class over time; Dice follows as if all answered were right."""
    epochs = []
    for place, shares in enumerate(zip(*answered.values(), strict=True)):
        classes = {
            name: ClassFigures(2 * min(share, TRUE) / (share + TRUE), share, TRUE)
            for name, share in zip(answered, shares, strict=True)
        }
        dice = [figures.dice or 0.0 for figures in classes.values()]
        epochs.append(EpochFigures(place + 1, 1.0, sum(dice) / len(dice), classes))
    return epochs


def test_a_class_that_goes_to_nothing_is_named_with_its_first_epoch() -> None:
    """Scratch is lost from epoch 4 on, while the mean stays at a half: found after four such epochs, not before."""
    scratch, stain = [0.01, 0.02, 0.02, 0.0, 0.0, 0.0, 0.0], [0.02] * 7
    whole = history(scratch=scratch, stain=stain)
    assert look(whole[:6], FOUR) == []
    (finding,) = look(whole, FOUR)
    assert (finding.kind, finding.class_name, finding.since_epoch, finding.epochs) == ("class_lost", "scratch", 4, 4)
    assert finding.is_new
    assert "scratch is lost since epoch 4" in finding.words
    assert "after a Dice of 1.000" in finding.words
    assert "learning_rate" in finding.remedy
    assert "sampling.class_weights.scratch" in finding.remedy


def test_two_lost_classes_are_two_findings() -> None:
    """A good third class hides neither."""
    lost = [0.0] * 5
    findings = look(history(chip=lost, scratch=[0.02] * 5, stain=lost), FOUR)
    assert [(f.kind, f.class_name, f.since_epoch) for f in findings] == [
        ("class_lost", "chip", 1),
        ("class_lost", "stain", 1),
    ]
    assert "has not been answered in 5 epochs" in findings[0].evidence
    assert "sampling.defect_share" in findings[0].remedy
    assert not findings[0].is_new  # it was told of an epoch ago


def test_a_class_that_comes_back_is_forgiven() -> None:
    """Three epochs of nothing and one of something begin the count anew."""
    assert look(history(scratch=[0.02, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0]), FOUR) == []


def test_area_in_the_wrong_place_is_lost_as_well() -> None:
    """A class that is answered as much as there is, and never where it is, has a Dice of nothing."""
    wrong = {"oil": ClassFigures(0.001, TRUE, TRUE)}
    (finding,) = look([EpochFigures(e, 1.0, 0.0, wrong) for e in range(1, 5)], FOUR)
    assert (finding.kind, finding.class_name) == ("class_lost", "oil")


def test_a_hundredth_of_the_area_is_as_good_as_nothing() -> None:
    """0.9 % of the true area, all of it right, has a Dice of 0.018. The area tells that it is lost, 1.1 % not yet."""
    assert [f.kind for f in look(history(oil=[0.009 * TRUE] * 4), FOUR)] == ["class_lost"]
    assert look(history(oil=[0.011 * TRUE] * 4), FOUR) == []


def test_a_class_forgotten_is_lost_before_the_last_pixel_goes() -> None:
    """From a Dice of 0.6 to 0.05 is lost, though 0.05 is more than nothing."""
    dice = [0.6, 0.05, 0.05, 0.05, 0.05]
    (finding,) = look([EpochFigures(e + 1, 1.0, d, {"oil": ClassFigures(d)}) for e, d in enumerate(dice)], FOUR)
    assert (finding.class_name, finding.since_epoch) == ("oil", 2)


def test_a_class_that_validation_does_not_show_is_not_judged() -> None:
    """Nothing was there to be answered."""
    absent = {"oil": ClassFigures(None, 0.0, 0.0), "stain": ClassFigures(0.0, 0.0, 0.0)}
    assert look([EpochFigures(e, 1.0, 0.5, absent) for e in range(1, 9)], FOUR) == []


@pytest.mark.parametrize(
    ("answered", "true", "found"),
    [
        (1.0, 0.02, True),
        (0.6, 0.02, True),  # thirty times too much, and more than half of all
        (0.4, 0.02, False),
        (0.8, 0.78, False),  # a tissue that fills most of the picture
        (0.999, 0.78, True),  # its background is gone: 0.001 of 0.22 is left
        (1.0, 1.0, False),  # there is nothing else
    ],
)
def test_a_class_answered_everywhere_is_named(answered: float, true: float, found: bool) -> None:
    """Everything predicted is a collapse too, whatever the class's true share."""
    figures = {"cell": ClassFigures(2 * true / (answered + true), answered, true)}
    findings = look([EpochFigures(e, 1.0, 0.1, figures) for e in range(3, 8)], FOUR)
    assert [(f.kind, f.class_name, f.since_epoch) for f in findings] == (
        [("everything_predicted", "cell", 3)] if found else []
    )


def test_what_is_no_number_is_told_at_once() -> None:
    """NaN is not waited for, and is never taken for a lost class."""
    good = history(scratch=[0.02, 0.02])
    bad = EpochFigures(3, math.nan, math.nan, {"scratch": ClassFigures(math.nan, 0.0, TRUE)})
    findings = look([*good, bad], GuardSettings(action="stop"))
    assert {(f.kind, f.class_name) for f in findings} == {("not_a_number", None), ("not_a_number", "scratch")}
    assert all((f.since_epoch, f.action, f.is_new) == (3, "stop", True) for f in findings)


def test_the_settings_say_how_long_and_what_then() -> None:
    """One epoch is enough where the recipe says so, and the finding carries what it asks for."""
    (finding,) = look(history(scratch=[0.0]), GuardSettings(collapse_epochs=1, action="stop"))
    assert (finding.action, finding.epochs) == ("stop", 1)
    assert look([], FOUR) == []


numbers = st.floats(allow_nan=True, allow_infinity=True)
figures = st.builds(ClassFigures, st.none() | numbers, st.none() | numbers, st.none() | numbers)
epochs = st.builds(
    EpochFigures, st.integers(1, 99), numbers, numbers, st.dictionaries(st.sampled_from("abc"), figures), numbers
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(epochs, max_size=12), st.integers(1, 5))
def test_no_history_breaks_the_guard(made: list[EpochFigures], collapse_epochs: int) -> None:
    """Findings name a class of the last epoch or the whole, and a streak that is there, whatever the figures."""
    for finding in look(made, GuardSettings(collapse_epochs=collapse_epochs)):
        assert finding.class_name is None or finding.class_name in made[-1].classes
        assert 1 <= finding.epochs <= len(made)
        assert finding.since_epoch == made[-finding.epochs].epoch
        assert finding.kind == "not_a_number" or finding.epochs >= collapse_epochs
