"""False rejects and escapes: the arithmetic, and what is in neither."""

from __future__ import annotations

import pytest

from edge.figures.false_rejects import opinions
from edge.records import Verdict

OK, NG, NO_READ = Verdict.OK, Verdict.NG, Verdict.NO_READ


def test_the_rate_is_that_of_the_judged_parts() -> None:
    """Of 40 NG parts that were judged 10 were good; of 100 OK parts one was bad."""
    said = [(NG, "right")] * 30 + [(NG, "false_reject")] * 10 + [(OK, "right")] * 99 + [(OK, "missed")]
    told = opinions(said, ng_parts=55)  # type: ignore[arg-type]
    assert (told.false_rejects.share, told.escapes.share) == (0.25, 0.01)
    # Wilson, by hand: (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), n = 40, p = 0.25
    assert told.false_rejects.interval == pytest.approx((0.1419, 0.4019), abs=1e-4)
    assert told.unjudged_ng == 15


def test_who_is_unsure_counts_in_no_rate() -> None:
    """Nor does a judgement that does not fit the verdict."""
    told = opinions([(NG, "unsure"), (OK, "false_reject"), (NG, "missed"), (NO_READ, "right")], ng_parts=2)
    assert (told.unsure, told.odd, told.unjudged_ng) == (1, 3, 2)
    assert (told.false_rejects.share, told.false_rejects.interval, told.escapes.share) == (None, None, None)
