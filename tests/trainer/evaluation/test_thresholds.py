from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.opencv import cv2
from edge.records import UInt8
from trainer.evaluation.thresholds import (
    SORTING_THRESHOLD,
    FittedClass,
    count_sorted,
    fit_class,
    own_probability,
    presume_class,
)
from trainer.recipe.settings import ThresholdSettings


def picture(*blobs: tuple[int, int, int]) -> UInt8:
    """Draw squares (place, side, probability x 255) in a row."""
    pixels = np.zeros((40, 200), np.uint8)
    for place, side, value in blobs:
        pixels[5 : 5 + side, place : place + side] = value
    return pixels


def test_the_threshold_parts_defects_from_what_only_looks_like_them() -> None:
    """True defects at 0.8 and false ones at 0.5 of the same size: the threshold lies between, with no error left."""
    truth, clean = picture((20, 10, 1)) > 0, picture() > 0
    fitted = fit_class([picture((20, 10, 204), (90, 10, 128)), picture((60, 10, 128))], [truth, clean])
    assert 0.5 < fitted.threshold <= 0.8
    assert (fitted.missed, fitted.false, fitted.shown) == (0, 0, 1)


def test_the_smallest_area_parts_defects_from_specks() -> None:
    """Specks of 9 px as probable as a true defect of 400 px: the area lies between them, away from both."""
    truth, clean = picture((20, 20, 1)) > 0, picture() > 0
    fitted = fit_class([picture((20, 20, 230), (90, 3, 230)), picture((60, 3, 230))], [truth, clean])
    assert 9 < fitted.min_area_px < 400
    assert 16 < fitted.min_area_px < 256
    assert (fitted.missed, fitted.false) == (0, 0)


def test_the_smallest_area_is_above_a_speck_that_only_one_clean_picture_shows() -> None:
    """One clean picture has a blob of 625 px, like defects of 400, another a speck of 100.

    Chance may make two false alarms of one, and still the area lies above the speck.
    """
    truth, clean = picture((20, 20, 1)) > 0, picture() > 0
    answers = [picture((20, 20, 230))] * 6 + [picture((60, 25, 230)), picture((60, 10, 230))] + [picture()] * 4
    fitted = fit_class(answers, [truth] * 6 + [clean] * 6)
    assert 100 < fitted.min_area_px < 400
    assert (fitted.missed, fitted.false) == (0, 1)


def test_a_class_that_is_never_right_says_so() -> None:
    """The pictures that remain missed are told where no threshold helps."""
    truth = picture((20, 10, 1)) > 0
    fitted = fit_class([picture((90, 10, 230))], [truth])
    assert (fitted.missed, fitted.shown) == (1, 1)


def test_only_the_leading_class_of_a_pixel_counts() -> None:
    """A class that is not the most probable at a pixel has no say there."""
    probabilities = np.array([[[0.6, 0.3], [0.2, 0.4]]], np.float32)
    assert own_probability(probabilities).tolist() == [[[153, 0], [0, 102]]]


def fitted_at(miss_cost: float, false_cost: float) -> FittedClass:
    """Fit nine defects of 0.4 for a stated cost.

    Nine clean pictures have a spot of 0.5 and the same size.
    """
    truth, clean = picture((20, 10, 1)) > 0, picture() > 0
    probabilities = [picture((20, 10, 102))] * 9 + [picture((90, 10, 128))] * 9
    costs = ThresholdSettings(miss_cost=miss_cost, false_cost=false_cost)
    return fit_class(probabilities, [truth] * 9 + [clean] * 9, costs)


def test_the_stated_cost_decides_between_misses_and_false_alarms() -> None:
    """The dearer error is avoided where one can only be had for the other."""
    careful, lenient = fitted_at(20, 1), fitted_at(1, 20)
    assert (careful.missed, careful.false) == (0, 9)
    assert careful.threshold <= 0.4
    assert (lenient.missed, lenient.false) == (9, 0)
    assert lenient.threshold > 0.4


@pytest.mark.parametrize("scale", [0.001, 1, 1000])
def test_only_the_ratio_of_the_costs_counts(scale: float) -> None:
    """Euros or cents, the thresholds are the same."""
    assert fitted_at(20 * scale, scale) == fitted_at(20, 1)
    assert fitted_at(scale, scale) == fitted_at(1, 1)


def counted(probability: UInt8, truth: UInt8, threshold: float, min_area_px: float) -> tuple[int, int]:
    """Count answered and right pixels at one threshold and smallest area, one defect at a time."""
    answer = (probability >= threshold * 255).astype(np.uint8)
    count, labels = cv2.connectedComponents(answer, connectivity=8)
    defects = [labels == label for label in range(1, count)]
    kept = [defect for defect in defects if defect.sum() >= min_area_px]
    return sum(int(d.sum()) for d in kept), sum(int((d & (truth > 0)).sum()) for d in kept)


spots = st.lists(st.tuples(st.integers(0, 26), st.integers(2, 9), st.integers(0, 255), st.booleans()), max_size=4)


@settings(deadline=None, max_examples=40)
@given(st.lists(spots, min_size=1, max_size=4), st.sampled_from([(1, 1), (10, 1), (1, 3.7)]))
def test_what_is_fitted_is_what_counting_finds(
    pictures: list[list[tuple[int, int, int, bool]]], costs: tuple[float, float]
) -> None:
    """Misses, false alarms and IoU are those counted one by one, and no cell costs clearly less."""
    probabilities, truths = [], []
    for blobs in pictures:
        probability, truth = np.zeros((12, 40), np.uint8), np.zeros((12, 40), np.uint8)
        for place, side, value, is_true in blobs:
            probability[1 : 1 + side, place : place + side] = value
            truth[1 : 1 + side, place : place + side] |= np.uint8(is_true)
        probabilities.append(probability)
        truths.append(truth)
    stated = ThresholdSettings(miss_cost=costs[0], false_cost=costs[1])
    fitted = fit_class(probabilities, [truth > 0 for truth in truths], stated)

    def errors(threshold: float, min_area_px: float) -> tuple[int, int, int, int]:
        missed = false = overlap = union = 0
        for probability, truth in zip(probabilities, truths, strict=True):
            answered, hit = counted(probability, truth, threshold, min_area_px)
            missed += bool(truth.any() and not hit)
            false += bool(not truth.any() and answered)
            overlap, union = overlap + hit, union + int(truth.sum()) + answered - hit
        return missed, false, overlap, union

    missed, false, overlap, union = errors(fitted.threshold, fitted.min_area_px)
    assert (fitted.missed, fitted.false, fitted.shown) == (missed, false, sum(bool(t.any()) for t in truths))
    assert fitted.iou == (overlap / union if union else None)
    cost = costs[0] * missed + costs[1] * false
    for threshold in (0.2, 0.5, 0.9):
        for area in (2, 38, 1478):
            other_missed, other_false, _, _ = errors(threshold, area)
            other = costs[0] * other_missed + costs[1] * other_false
            by_chance = (costs[0] ** 2 * other_missed + costs[1] ** 2 * other_false) ** 0.5
            assert cost <= other + by_chance + 1e-6


@pytest.mark.parametrize(("value", "threshold"), [(51, 0.20), (63, 0.20)])
def test_a_score_below_a_threshold_is_not_answered_by_it(value: int, threshold: float) -> None:
    """Scores of 51 and 63 are 0.2 and 0.247: only the lowest threshold, 0.20, finds them, not 0.25."""
    truth = picture((20, 10, 1)) > 0
    fitted = fit_class([picture((20, 10, value))] * 2, [truth] * 2)
    assert (fitted.threshold, fitted.missed) == (threshold, 0)


def test_without_pictures_a_threshold_is_still_chosen() -> None:
    """No picture, no error: the middle of the table, and no figure."""
    fitted = fit_class([], [])
    assert (fitted.missed, fitted.false, fitted.shown, fitted.iou) == (0, 0, 0, None)
    assert 0.2 <= fitted.threshold <= 0.9


def test_a_model_that_only_sorts_answers_its_leading_class() -> None:
    """Of three pictures of the class one is led by another. A picture of another class is taken for it once.

    Weak as 5 of 255 is, it is answered: nothing that was learned from was clean.
    """
    whole, nothing = np.ones((8, 8), bool), np.zeros((8, 8), bool)
    leading = [np.full((8, 8), value, np.uint8) for value in (200, 5, 0, 60)]
    counted = count_sorted(leading, [whole, whole, whole, nothing])
    assert (counted.missed, counted.false, counted.shown) == (1, 1, 3)
    assert counted.iou == pytest.approx(2 / 4)
    assert counted.threshold == SORTING_THRESHOLD
    assert counted.min_area_px <= 2


def test_a_limit_to_the_area_missed_lowers_the_threshold() -> None:
    """A defect of 100 px at 0.8 has a rim of 69 px at 0.3.

    225 sound px elsewhere are at 0.3 too. IoU alone takes the threshold above the rim: 100 of 169 right, 0.59, instead
    of 169 of 394, 0.43. 69 of 169 are then missed, 41 %. A recipe that allows 40 % has the rim answered; one that
    allows 41 % does not.
    """
    answer, truth = picture((17, 13, 77), (20, 10, 204), (90, 15, 77)), picture((17, 13, 1)) > 0

    def fitted(share: float) -> FittedClass:
        return fit_class([answer], [truth], ThresholdSettings(max_missed_region=share))

    for free in (fitted(1.0), fitted(0.41)):
        assert free.threshold > 0.3
        assert free.missed_region == pytest.approx(69 / 169)
    assert fitted(0.40).threshold <= 0.3
    assert fitted(0.40).missed_region == 0


def test_a_limit_that_cannot_be_kept_is_come_near_to() -> None:
    """Half of a defect is answered nowhere: of all thresholds, one that answers the other half is taken."""
    truth = picture((20, 20, 1)) > 0
    answer = np.where(np.arange(200) < 30, picture((20, 20, 230)), 0).astype(np.uint8)
    fitted = fit_class([answer], [truth], ThresholdSettings(max_missed_region=0.01))
    assert fitted.missed_region == pytest.approx(0.5)


def test_a_class_that_was_not_found_before_it_is_learned_is_given_an_even_chance() -> None:
    """Fitted to silence; presumed instead: 0.5 and half of 25 px, which is what ten of eleven pictures show at least.

    The eleventh mask is all but empty: of their largest defects in order, 1, 25, 64, 64, ..., the place a tenth of the
    way is the second. Answered at 0.6 on 12 px of a clean picture it is still a speck. On 13 px a false alarm.
    """
    large, small, clean, slip = (np.zeros((40, 40), bool) for _ in range(4))
    slip[0, 0] = True
    known = [slip, *[large] * 9, small]
    large[2:10, 2:10] = small[20:25, 20:25] = True
    small[30, 30] = True  # a stray pixel of the same picture
    unseen, speck = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    speck[30:33, 30:34] = 153
    presumed = presume_class([unseen, speck], [large, clean], [*known, clean])
    assert (presumed.threshold, presumed.min_area_px, presumed.presumed) == (0.5, 13, True)
    assert (presumed.missed, presumed.shown, presumed.false) == (1, 1, 0)
    speck[33, 30] = 153
    assert presume_class([unseen, speck], [large, clean], known).false == 1
    assert fit_class([unseen, speck], [large, clean]).min_area_px > 13
    with pytest.raises(ValueError, match="nothing to presume"):
        presume_class([speck], [clean], [clean])
