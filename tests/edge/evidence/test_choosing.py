"""Evidence is kept, and goes, by verdict, limit, kind and age alone, and always alike."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.evidence.choosing import (
    GOES_FIRST,
    Kept,
    Kind,
    choose,
    evidence_id,
    is_evidence_id,
    nearness,
    to_make_room,
    too_old,
)
from edge.evidence.settings import AgeSettings, EvidenceSettings
from edge.inspection.limits import Limit, judge
from edge.records import ClassMeasure, Defect, Measurement, Verdict

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
EPOCH = "4dbf8f4e-9d35-4a6e-8f3b-6f9c2a1f0e55"
kept_things = st.lists(
    st.builds(
        Kept,
        st.uuids().map(str),
        st.sampled_from(Kind),
        st.floats(0, 200).map(lambda days: NOW - timedelta(days=days)),
        st.integers(1, 10_000),
        st.booleans(),
    ),
    max_size=40,
    unique_by=lambda one: one.name,
)


@given(st.sampled_from([Verdict.NG, Verdict.NO_READ]), st.floats(0, 2), st.integers(0, 10), st.text(max_size=30))
def test_every_reject_is_kept(verdict: Verdict, near: float, good: int, part: str) -> None:
    """Each NG and NO_READ is kept, whatever the rules for OK parts are."""
    settings = EvidenceSettings(near_margin=0.0, every_nth=0, random_share=0.0)
    chosen = choose(settings, verdict, near, good, evidence_id(EPOCH, 7, part))
    assert chosen is not None
    assert chosen.kind.value == verdict.value.lower()


@given(st.integers(1, 20), st.integers(1, 400))
def test_every_nth_good_part_is_kept(every: int, parts: int) -> None:
    """Of so many OK parts far from any limit, every Nth is kept and no other."""
    settings = EvidenceSettings(every_nth=every)
    chosen = [good for good in range(1, parts + 1) if choose(settings, Verdict.OK, 0.0, good, f"n{good}")]
    assert chosen == list(range(every, parts + 1, every))


def test_the_random_share_is_honest_and_repeatable() -> None:
    """Of 20,000 OK parts 5 % are kept, give or take, the same ones each time. A larger share keeps more."""
    names = [evidence_id(EPOCH, seq, f"p{seq}") for seq in range(20_000)]

    def kept(share: float) -> set[str]:
        settings = EvidenceSettings(random_share=share)
        return {name for name in names if choose(settings, Verdict.OK, 0.0, 1, name)}

    assert kept(0.05) == kept(0.05) < kept(0.1)
    assert len(kept(0.05)) == pytest.approx(1000, abs=5 * (20_000 * 0.05 * 0.95) ** 0.5)
    assert (len(kept(0.0)), len(kept(1.0))) == (0, 20_000)


@given(
    st.integers(0, 6),
    st.floats(0, 1, width=32),
    st.floats(0, 9),
    st.floats(0, 9),
    st.integers(1, 4),
    st.floats(0.01, 1),
)
def test_nearness_and_the_verdict_agree(
    count: int, coverage: float, area: float, length: float, most: int, cover: float
) -> None:
    """A frame is NG exactly where it is beyond a limit by 1. An OK one is at most at its limit."""
    limit = Limit(max_count=most, max_coverage=cover, max_area_mm2=3.0, max_length_mm=4.0)
    defects = tuple(Defect(1, "scratch", 0.9, 1, (0, 0, 1, 1), 1, 1, area, length, 1.0) for _ in range(count))
    seen = Measurement(coverage, None, 100.0, {"scratch": ClassMeasure(coverage, count)}, defects)
    near = nearness(seen, {"scratch": limit})
    assert (judge(seen, {"scratch": limit}).verdict is Verdict.NG) == (near > 1)


def test_what_is_near_a_limit_is_kept() -> None:
    """With a margin of 10 %, an OK part is kept at 90 % of a limit, not at 89 %. A limit of nothing is never near."""
    settings = EvidenceSettings(near_margin=0.1)
    assert choose(settings, Verdict.OK, 0.9, 1, "n") is not None
    assert choose(settings, Verdict.OK, 0.89, 1, "n") is None
    assert choose(EvidenceSettings(near_margin=0), Verdict.OK, 1.0, 1, "n") is None
    clean = Measurement(0.0, None, 9.0, {"scratch": ClassMeasure(0.0, 0)}, ())
    assert nearness(clean, {"scratch": Limit(max_count=0, max_coverage=0.0)}) == 0
    assert nearness(None, {"scratch": Limit(max_count=1)}) == 0


@given(kept_things, st.integers(-10, 100_000))
def test_room_is_made_from_the_least_wanted_on(kept: list[Kept], over: int) -> None:
    """The removals free enough, or are all that may go; one less would not; nothing bound or wanted more goes."""
    going = to_make_room(kept, over)
    free = [one for one in kept if not one.bound]
    assert not any(one.bound for one in going)
    assert sum(one.bytes for one in going) >= min(over, sum(one.bytes for one in free))
    assert sum(one.bytes for one in going[:-1]) < max(over, 1)
    staying = [one for one in free if one not in going]
    for gone in going:
        for stays in staying:
            assert (GOES_FIRST.index(gone.kind), gone.at) <= (GOES_FIRST.index(stays.kind), stays.at)


def test_ok_goes_first_and_ng_last() -> None:
    """The order of kinds is OK, near a limit, clip, NO_READ, NG."""
    assert [kind.value for kind in GOES_FIRST] == ["ok", "near", "clip", "no_read", "ng"]
    kept = [Kept(kind.value, kind, NOW, 10) for kind in reversed(GOES_FIRST)]
    assert [one.name for one in to_make_room(kept, 25)] == ["ok", "near", "clip"]


@given(kept_things, st.integers(0, 100))
def test_only_what_is_too_old_goes_with_age(kept: list[Kept], days: int) -> None:
    """Age removes exactly what is older than its kind may become, and judged evidence only once exported."""
    settings = EvidenceSettings(ages_d=AgeSettings(ng=60, no_read=30, clip=20, near=10, ok=1))
    limits = {"ng": 60, "no_read": 30, "clip": 20, "near": 10, "ok": 1}
    now = NOW + timedelta(days=days)
    going = too_old(settings, kept, now)
    wanted = [one for one in kept if not one.bound and (now - one.at).total_seconds() > 86_400 * limits[one.kind.value]]
    assert going == wanted


@given(st.integers(0, 10**12), st.text(max_size=40), st.integers(0, 10**12), st.text(max_size=40))
def test_names_are_names_and_tell_results_apart(seq: int, part: str, other: int, other_part: str) -> None:
    """A name is safe in a path, the same for the same result, and another for another event number."""
    name = evidence_id(EPOCH, seq, part)
    assert is_evidence_id(name)
    assert name == evidence_id(EPOCH, seq, part)
    assert name.startswith("4dbf8f4e-")
    if seq != other:
        assert name != evidence_id(EPOCH, other, other_part)
    assert evidence_id(None, seq, part).startswith("00000000-")
    assert is_evidence_id(evidence_id("../../etc", seq, part))


@pytest.mark.parametrize(
    "text",
    ["", "..", "../4dbf8f4e-00000001-00000000", "4dbf8f4e-00000001-0000000/", "4DBF8F4E-00000001-00000000", "a\0"],
)
def test_nothing_else_is_a_name(text: str) -> None:
    """Paths, other cases and other lengths are no names."""
    assert not is_evidence_id(text)
