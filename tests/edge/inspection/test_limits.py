from __future__ import annotations

from dataclasses import replace

import pytest

from edge.inspection.limits import Limit, judge, no_read
from edge.records import ClassMeasure, Defect, Measurement, Verdict


def seen(count: int = 0, coverage: float = 0.0, length_mm: float = 4.0, area_mm2: float = 2.0) -> Measurement:
    """Measure `count` like scratches and no stain."""
    defect = Defect(1, "scratch", 0.9, 100, (0, 0, 10, 10), 20, 5, area_mm2, length_mm, 1.0)
    classes = {"scratch": ClassMeasure(coverage, count), "stain": ClassMeasure(0.0, 0)}
    return Measurement(coverage, None, 1000, classes, (defect,) * count)


@pytest.mark.parametrize(
    ("measurement", "limit", "verdict"),
    [
        # a limit is what is still good: reaching it is OK, exceeding it is not
        (seen(count=2), Limit(max_count=2), Verdict.OK),
        (seen(count=3), Limit(max_count=2), Verdict.NG),
        (seen(count=1, coverage=0.01), Limit(max_coverage=0.01), Verdict.OK),
        (seen(count=1, coverage=0.0101), Limit(max_coverage=0.01), Verdict.NG),
        (seen(count=1, length_mm=5.0), Limit(max_length_mm=5), Verdict.OK),
        (seen(count=1, length_mm=5.1), Limit(max_length_mm=5), Verdict.NG),
        (seen(count=1, area_mm2=3.1), Limit(max_area_mm2=3), Verdict.NG),
        # a limit without keys tolerates everything of its class
        (seen(count=9, coverage=0.5), Limit(), Verdict.OK),
    ],
)
def test_a_frame_is_ng_when_a_limit_is_exceeded(measurement: Measurement, limit: Limit, verdict: Verdict) -> None:
    """Each kind of limit alone decides, at its edge as stated."""
    judgement = judge(measurement, {"scratch": limit})
    assert judgement.verdict is verdict
    assert (judgement.reason is None) == (verdict is Verdict.OK)


def test_a_class_without_a_limit_tolerates_no_defect() -> None:
    """A class that nobody thought of is not good."""
    assert judge(seen(count=1), {}).verdict is Verdict.NG
    assert judge(seen(count=0), {}).verdict is Verdict.OK


def test_every_exceeded_limit_is_a_reason() -> None:
    """The reason names the class, what was measured and what was allowed, for each limit."""
    judgement = judge(seen(count=2, coverage=0.5), {"scratch": Limit(max_count=1, max_coverage=0.1)})
    assert judgement.reason == ("scratch: 2 defects, at most 1 allowed; scratch: coverage 0.50000, at most 0.1 allowed")


def test_no_read_is_never_ok() -> None:
    """A frame that was not seen has a verdict of its own, with its reason."""
    assert no_read("stale").verdict is Verdict.NO_READ


@pytest.mark.parametrize(("guard", "verdict"), [(False, Verdict.OK), (True, Verdict.NG)])
def test_a_guarded_limit_judges_the_value_with_its_uncertainty(*, guard: bool, verdict: Verdict) -> None:
    """4.9 ± 0.2 mm keep a limit of 5 mm, and may be more: guarded they are NG, and the reason says so."""
    made = seen(count=1, length_mm=4.9, area_mm2=1.0)
    uncertain = replace(made, defects=(replace(made.defects[0], u_mm=0.2, u_area_mm2=0.5),))
    judged = judge(uncertain, {"scratch": Limit(max_length_mm=5, guard=guard), "stain": Limit()})
    assert judged.verdict is verdict
    assert judged.reason == ("scratch: 4.90 ± 0.20 mm long, at most 5 allowed" if guard else None)
    assert judge(uncertain, {"scratch": Limit(max_area_mm2=1.4, guard=guard)}).verdict is verdict


def test_a_guard_without_a_size_is_refused() -> None:
    """A guard is about lengths and areas; beside a count alone it would do nothing, and somebody meant it to."""
    with pytest.raises(ValueError, match="expected max_length_mm or max_area_mm2 beside guard: true"):
        Limit(max_count=1, guard=True)
