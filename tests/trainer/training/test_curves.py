"""The curve reader on made curves of each kind, on noise, and on what a log may hold."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import StoreError
from edge.wording import counted
from trainer.training.collapse_guard import ClassFigures, EpochFigures
from trainer.training.curves import epochs_of, read_curves, read_log

EPOCHS = np.arange(1, 31)
FALLING = 0.2 + 1.5 * np.exp(-EPOCHS / 5)
SETTLING = 0.9 * (1 - np.exp(-EPOCHS / 4))


def rows(loss: object, dice: object, validation_loss: object = None, seed: int | None = None) -> list[EpochFigures]:
    """Make epochs of curves, with a jitter of 0.01 where a seed is given."""
    generator = np.random.default_rng(seed)
    jitter = generator.normal(0, 0.01, (3, 999)) if seed is not None else np.zeros((3, 999))
    made = []
    for place, (one, other) in enumerate(zip(np.atleast_1d(loss), np.atleast_1d(dice), strict=True)):
        validation = (
            None if validation_loss is None else float(np.atleast_1d(validation_loss)[place] + jitter[2, place])
        )
        figures = EpochFigures(
            place + 1, float(one + jitter[0, place]), float(other + jitter[1, place]), {}, validation
        )
        made.append(figures)
    return made


RISING_AGAIN = np.where(EPOCHS < 12, 1.5 * np.exp(-EPOCHS / 5) + 0.4, 0.55 + 0.03 * (EPOCHS - 12))
MADE = {
    "healthy": (FALLING, SETTLING, FALLING + 0.05),
    "healthy without a validation loss": (FALLING, SETTLING, None),
    "still_learning": (2 - 0.04 * EPOCHS, 0.02 * EPOCHS, 2.1 - 0.04 * EPOCHS),
    "still_learning early in a long schedule": (FALLING[:8], 0.06 * EPOCHS[:8], None),
    "overfitting by the validation loss": (FALLING, SETTLING * 0.9, RISING_AGAIN),
    "overfitting by the Dice": (FALLING, np.where(EPOCHS < 10, 0.07 * EPOCHS, 0.7 - 0.012 * (EPOCHS - 10)), None),
    "data_wrong": (FALLING, 0.01 * np.ones(30), 1.7 + 0.02 * EPOCHS),
    "data_wrong without a validation loss": (FALLING, 0.03 * np.ones(30), None),
    "plateau": (0.6 + np.exp(-EPOCHS / 2), 0.45 * (1 - np.exp(-EPOCHS / 2)), 0.7 + np.exp(-EPOCHS / 2)),
    "plateau from the start on": (1.7 * np.ones(30), 0.01 * np.ones(30), None),
    "plateau at next to nothing": (1.7 * np.ones(30), np.where(EPOCHS > 20, 0.045, 0.0), None),
    "diverging": (np.where(EPOCHS < 10, 1.5 - 0.08 * EPOCHS, 0.8 + 0.2 * (EPOCHS - 10)), 0.01 * EPOCHS, None),
    "diverging from the start on": (1 + 0.3 * EPOCHS, 0.0 * EPOCHS, None),
}


@pytest.mark.parametrize("seed", [None, 1, 2, 3])
@pytest.mark.parametrize("case", MADE)
def test_each_kind_of_curve_is_recognised(case: str, seed: int | None) -> None:
    """Made curves get their intended verdict, with and without noise, with numbers and a remedy."""
    verdict, *others = read_curves(rows(*MADE[case], seed=seed))
    assert verdict.kind == case.partition(" ")[0]
    assert verdict.leading
    assert not any(other.leading for other in others)
    assert verdict.evidence
    assert verdict.remedy
    assert verdict.numbers


def test_the_evidence_is_what_was_measured() -> None:
    """The lowest validation loss is 0.55 at epoch 12; the last five epochs' median is 0.55 + 0.03 * 16 = 1.03."""
    verdict = read_curves(rows(*MADE["overfitting by the validation loss"]))[0]
    assert verdict.numbers["validation_loss_end"] == pytest.approx(1.03)
    assert 11 <= verdict.numbers["best_epoch"] <= 14
    assert "1.030" in verdict.evidence


def test_a_lost_class_is_not_hidden_by_a_good_mean() -> None:
    """Two good classes and one at nothing are no healthy training, though the mean settles at 0.6."""
    made = [
        EpochFigures(
            e,
            float(FALLING[e - 1]),
            float(SETTLING[e - 1]) * 2 / 3,
            {
                "chip": ClassFigures(0.0, 0.0, 0.01),
                "scratch": ClassFigures(float(SETTLING[e - 1])),
                "absent": ClassFigures(0.0, 0.0, 0.0),
            },
        )
        for e in range(1, 31)
    ]
    verdict = read_curves(made)[0]
    assert verdict.kind == "data_wrong"
    assert "chip (0.000)" in verdict.evidence
    assert "absent" not in verdict.evidence


def test_a_loss_that_becomes_no_number_diverges() -> None:
    """NaN at the end is a divergence, not a gap; one in the middle that passes is."""
    made = rows(FALLING, SETTLING)
    broken = [*made, EpochFigures(31, math.nan, math.nan), EpochFigures(32, math.inf, 0.1)]
    assert read_curves(broken)[0].kind == "diverging"
    assert read_curves(broken)[0].numbers["broken_epochs"] == 2
    assert read_curves([*made[:10], EpochFigures(11, math.nan, math.nan), *made[11:]])[0].kind == "healthy"
    assert read_curves([EpochFigures(1, math.nan, math.nan)])[0].kind == "diverging"


def test_few_epochs_show_no_shape() -> None:
    """Without enough epochs the only advice is to go on."""
    for count in (0, 1, 5):
        (only,) = read_curves(rows(FALLING[:count], SETTLING[:count]))
        assert (only.kind, only.leading) == ("still_learning", True)
        assert f"{counted(count, 'epoch is', 'epochs are')} too few" in only.evidence


numbers = st.floats(allow_nan=True, allow_infinity=True)
likely = st.floats(0, 1)
figures = st.builds(ClassFigures, st.none() | numbers, st.none() | numbers, st.none() | numbers)
epochs = st.builds(
    EpochFigures,
    st.integers(),
    numbers | likely,
    numbers | likely,
    st.dictionaries(st.sampled_from("abc"), figures),
    st.none() | numbers,
    st.none() | numbers,
    numbers | likely,
)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(epochs, max_size=40))
def test_no_curve_breaks_the_reader(made: list[EpochFigures]) -> None:
    """There is exactly one verdict, and it comes first, whatever the figures."""
    readings = read_curves(made)
    assert [reading.leading for reading in readings] == [True] + [False] * (len(readings) - 1)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(likely, likely), min_size=6, max_size=40))
def test_nothing_without_skill_is_called_healthy(made: list[tuple[float, float]]) -> None:
    """A healthy verdict needs a Dice above what answering nothing scores, however the curves jump."""
    verdict = read_curves([EpochFigures(e + 1, loss, dice) for e, (loss, dice) in enumerate(made)])[0]
    assert verdict.kind != "healthy" or verdict.numbers["dice_end"] > 0.05


def test_pure_noise_never_rises() -> None:
    """Of 200 flat curves with jitter at most a few are taken for anything but a halt."""
    kinds = [
        read_curves(rows(0.5 * np.ones(30), 0.5 * np.ones(30), 0.6 * np.ones(30), seed=seed))[0].kind
        for seed in range(200)
    ]
    assert kinds.count("plateau") >= 190


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Shares and losses that older logs lack are None; a class's name may hold what the columns' names do."""
    path = tmp_path / "log.csv"
    path.write_text(
        "epoch,steps,loss,dice,dice_dice_x,answered_dice_x,true_dice_x,dice_oil\n1,60,1.5,0.25,0.5,0.01,,\n"
    )
    (row,) = read_log(path)
    assert row == EpochFigures(1, 1.5, 0.25, {"dice_x": ClassFigures(0.5, 0.01, None), "oil": ClassFigures(None)})
    assert epochs_of([{"epoch": 1, "loss": 1.5, "dice": 0.25, "validation_loss": 2}])[0].validation_loss == 2.0
    assert read_log(tmp_path / "absent.csv") == []
    path.write_text("epoch,loss\n1,much\n")
    with pytest.raises(StoreError, match="cannot be read as a training's log"):
        read_log(path)
