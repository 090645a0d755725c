"""Alarm performance: the figures on the page are those of the events, with their targets."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from edge.records import Received
from tests.edge.dashboard.stations import NOW, PLACE, alarm, bench, message


def event(seq: int, minutes_ago: float, transition: str = "raised", **more: Any) -> Received:
    """Return a transition so long ago."""
    body = {
        "schema": "linewatch/alarm/1", "alarm": "rejects", "transition": transition, "state": "active",
        "occurrence_id": f"57093987-2e9c-5b16-8841-{seq:012d}", "priority": "low", "at_ns": seq, "value": 1.0,
        "limit": 1.0, "text": "take it out", "shown": True, "user": None, "comment": None, "detail": "", **more,
    }  # fmt: skip
    return message("event/alarm", body, seq, at=NOW - timedelta(minutes=minutes_ago))


def rows(page: str) -> dict[str, list[str]]:
    """Return the cells of each row of the page's tables, by the row's head, without their markup."""
    found = {}
    for head, cells in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page, re.DOTALL):
        texts = re.findall(r"<td[^>]*>(.*?)</td>", cells, re.DOTALL)
        found[head] = [" ".join(re.sub(r"<[^>]+>", " ", text).split()) for text in texts]
    return found


def test_a_flood_is_told_with_its_targets(tmp_path: Path) -> None:
    """Twelve alarms in four minutes, in a day of 24 hours: each figure by hand."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(*(event(n + 1, 120 - n / 3, alarm="rejects" if n < 9 else "scratched") for n in range(12)))
        page = site.browser.get("/alarm-performance").text
    told = rows(page)
    assert told["alarms in 10 minutes, on average"] == ["0.08", "≤ 1", "within"]
    assert told["alarms in a day, at this pace"] == ["12", "≤ 150", "within"]
    assert told["most alarms in 10 minutes"] == ["12", "≤ 10", "too much"]
    assert told["share of the ten loudest alarms"] == ["100.0 %", "≤ 5 %", "too much"]
    assert told["chattering alarms: 3 or more in a minute"] == ["2", "≤ 0", "too much"]
    assert told["rejects"][:2] == ["9", "75.0 %"]
    assert told["LOW"] == ["12", "100 %", "80 %"]
    assert "alarms: 12" in page


@pytest.mark.parametrize(("period", "count"), [("8h", 1), ("24h", 2), ("7d", 3), ("30d", 3), ("1y", 2)])
def test_the_time_is_chosen_by_the_address(tmp_path: Path, period: str, count: int) -> None:
    """A period that there is none of is a day; how far back the history goes is told."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(event(1, 3 * 1440), event(2, 1000), event(3, 10))
        page = site.browser.get("/alarm-performance", params={"period": period}).text
    assert f"Shown to the operator: {count}." in page
    assert ("The history begins at" in page) == (period in {"7d", "30d"})


def test_who_acknowledged_and_what_is_shelved_is_told(tmp_path: Path) -> None:
    """With the end of the shelf, which the broker says; a comment from outside is text."""
    shelf = {"kind": "timed", "until": "2026-01-31T13:30:00.000Z", "user": "anna", "comment": "<b>later</b>"}
    ack = {"state": "acknowledged", "user": "anna", "occurrence_id": "57093987-2e9c-5b16-8841-000000000001"}
    with bench(tmp_path) as site:
        site.online()
        site.hear(
            event(1, 30),
            event(2, 28, "acknowledged", **ack),
            event(3, 20, "shelved", user="anna", comment="<b>later</b>"),
            message("alarm/rejects", alarm("acknowledged", alarm="rejects", shelf=shelf, shown=False), 3),
        )
        page = site.browser.get(f"/alarm-performance/{PLACE}").text
    assert "0:02:00" in page
    assert "until 01-31 13:30" in page
    assert "<b>later" not in page
    assert "&lt;b&gt;later" in page


def test_events_of_another_clock_or_none_break_nothing(tmp_path: Path) -> None:
    """A page of a station without any alarm says so."""
    with bench(tmp_path) as site:
        assert "no station" in site.browser.get("/alarm-performance").text.lower()
        site.online()
        assert "No alarm was shown in this time." in site.browser.get("/alarm-performance").text
        assert site.browser.get("/alarm-performance/no/such/station/at/all").status_code == 404
