"""Durations and coverage of frames, as Prometheus reads them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from edge.messages.writer import CameraHealth, Health
from edge.observers.metrics import Reading, StationMetrics
from edge.records import FrameResult, Judgement, Measurement, Verdict
from edge.records.decided import Decided
from edge.records.health import ModelDriftNow

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)
SEEN = FrameResult("top", 1, "", NOW, 0, 20.0, Judgement(Verdict.OK, None), Measurement(0.01, None, 9.0, {}, ()))
NAME = "linewatch_inspection_duration_seconds"


class Clock:
    """A clock that is set."""

    now_s = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


def metrics(clock: Clock) -> StationMetrics:
    """Return the metrics of a station of two cameras that says nothing else."""
    return StationMetrics(lambda: Reading(ready=True), {"top": 3.0, "side": 3.0}, clock)


def samples(of: StationMetrics) -> dict[tuple[str, str, str], float]:
    """Return the samples that have a camera, by name, camera and bucket."""
    families = text_string_to_metric_families(of.text().decode())
    return {
        (one.name, one.labels["camera"], one.labels.get("le", "")): one.value
        for family in families
        for one in family.samples
        if "camera" in one.labels
    }


def decided(result: FrameResult) -> Decided:
    """Return a frame as observers are told of it."""
    return Decided(result, {}, None, None, ())


@given(st.lists(st.floats(0.0, 20_000.0), max_size=50))
def test_a_bucket_counts_what_took_no_longer(ages_ms: list[float]) -> None:
    """Each bucket has as many as took at most so long, the last one all of them. The sum is their sum."""
    of = metrics(Clock())
    for age_ms in ages_ms:
        of.offer(decided(replace(SEEN, age_ms=age_ms)))
    found = samples(of)
    buckets = {le: value for (name, camera, le), value in found.items() if le and camera == "top"}
    assert len(buckets) == 16
    for limit, count in buckets.items():
        assert count == sum(age_ms / 1000 <= float(limit) for age_ms in ages_ms), limit
    assert found[f"{NAME}_count", "top", ""] == len(ages_ms)
    assert found[f"{NAME}_sum", "top", ""] == pytest.approx(sum(ages_ms) / 1000)
    assert found[f"{NAME}_count", "side", ""] == 0


def test_coverage_stands_only_while_it_is_seen() -> None:
    """The last frame's coverage is told for as long as it may stand, and never beside NO_READ."""
    clock = Clock()
    of = metrics(clock)
    key = ("linewatch_coverage_ratio", "top", "")
    assert key not in samples(of)
    of.offer(decided(SEEN))
    clock.now_s += 3.0
    assert samples(of)[key] == 0.01
    clock.now_s += 0.1
    assert key not in samples(of)
    of.offer(decided(SEEN))
    of.offer(decided(replace(SEEN, measurement=None, age_ms=None, judgement=Judgement(Verdict.NO_READ, "lost"))))
    assert key not in samples(of)
    of.offer(decided(replace(SEEN, camera="nobody")))
    assert {camera for _, camera, _ in samples(of)} == {"top", "side"}


def test_the_score_of_passed_parts_stands_where_a_model_of_good_parts_judges() -> None:
    """Of a camera whose parts have no score yet, or that another model judges, there is none."""
    drift = {
        "top": ModelDriftNow(0.61, 0.5, 0.7, 100, drifted=False),
        "side": ModelDriftNow(None, 0.5, 0.7, 0, drifted=False),
    }
    cameras = {
        name: CameraHealth("running", "", 10.0, 1.0, 0, model_drift=drift.get(name)) for name in ("top", "side", "back")
    }
    health = Health(cameras, True, 0, 0, None, None)
    of = StationMetrics(lambda: Reading(ready=True, health=health), dict.fromkeys(cameras, 3.0), Clock())
    name = "linewatch_passed_score_median"
    assert {key: value for key, value in samples(of).items() if key[0] == name} == {(name, "top", ""): 0.61}
