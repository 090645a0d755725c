"""The pages as a browser without JavaScript gets them: what they say of a station, and what they never say."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from edge.dashboard.guard import POLICY
from edge.dashboard.screens import NAV
from edge.dashboard.texts import LANGUAGES
from edge.records import Received, SessionLost
from tests.edge.dashboard.stations import PLACE, ROOT, alarm, bench, message, part


def test_the_first_page_shows_the_last_part_with_its_reason(tmp_path: Path) -> None:
    """Verdict, reason, counts, completeness and the alarm stand in the page that the server made."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(
            message("event/result", part(1), 1),
            message("event/result", part(2, "NG", 0.002), 2),
            message("alarm/scratches", alarm(), 3),
        )
        page = site.browser.get("/").text
    assert "phone-000002" in page
    assert "top: scratch: 1 defect, at most 0 allowed" in page
    assert "2 of 2 events are here." in page
    assert "Check the belt for grit" in page
    assert 'class="verdict verdict-NG"' in page


def test_an_old_ok_is_not_shown_as_ok(tmp_path: Path) -> None:
    """The verdict reads UNKNOWN with a silent station or without a broker; OK is only told as the last one."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("event/result", part(1), 1))
        assert 'class="verdict verdict-OK"' in site.browser.get("/").text
        site.clock.move(60)
        stale = site.browser.get("/").text
        site.site.take(SessionLost("the broker is gone"))
        gone = site.browser.get("/").text
    for page, word in ((stale, "STALE"), (gone, "NO BROKER")):
        assert 'class="verdict verdict-OK"' not in page
        assert "UNKNOWN" in page
        assert word in page


def test_text_of_the_wire_is_escaped(tmp_path: Path) -> None:
    """Markup and an override of direction in a part's name or reason are text."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("event/result", part(1, "NG", part_id="<script>alert(1)</script>", reason="a\u202eb"), 1))
        page = site.browser.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\u202e" not in page
    assert "a\\u202eb" in page


def test_the_station_says_how_small_a_defect_its_model_finds(tmp_path: Path) -> None:
    """The measured sizes stand beside the model in force; nothing stands there where nothing was measured."""
    models = {"top": {"name": "glass", "version": "1.0.0", "sha256": None}}
    body = {"schema": "linewatch/recipe/3", "name": "phone", "models": models, "finds": {}}
    sentence = "scratch of ≥ 30 px is found <b>"
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("state/recipe", body, retained=True))
        assert "Finds" not in site.browser.get("/").text
        site.hear(message("state/recipe", body | {"finds": {"top": [sentence]}}, retained=True))
        page = site.browser.get("/").text
    assert "<dt>Finds</dt><dd>scratch of ≥ 30 px is found &lt;b&gt;</dd>" in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_page_answers_in_every_language(tmp_path: Path, language: str) -> None:
    """Each screen's page is made with the words of each language, with the strict policy on it."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("event/result", part(1, "NG"), 1), message("alarm/scratches", alarm(), 2))
        for entry in NAV:
            answer = site.browser.get(entry.path, headers={"Accept-Language": language})
            assert answer.status_code == 200, entry
            assert f'<html lang="{language}"' in answer.text
            assert answer.headers["content-security-policy"] == POLICY
            assert "style=" not in answer.text
            assert "onclick=" not in answer.text


def test_the_pictures_of_what_is_not_ok_are_shown_for_each_view(tmp_path: Path) -> None:
    """A kept NG part shows the picture of each view and leads to its own page. An OK part does not."""
    with bench(tmp_path, evidence={PLACE: str(tmp_path)}) as site:
        site.online()
        site.hear(message("event/result", part(1, "NG", evidence_id="20260131-120000-abcdef"), 1))
        page = site.browser.get("/").text
        assert '<img src="/rejects/1/top/small"' in page
        assert 'href="/rejects/1"' in page
        site.hear(message("event/result", part(2, evidence_id="20260131-120001-abcdef"), 2))
        assert "<img" not in site.browser.get("/").text


def test_coverage_is_drawn_against_the_limits_of_its_alarms(tmp_path: Path) -> None:
    """The series has a hole where nothing was measured, and the limits that the station told of; nonsense is none."""
    rules = [
        {"id": "scratches", "measure": "coverage", "raise_at": 0.001},
        {"id": "many", "measure": "count", "raise_at": 3},
        {"id": "mad", "measure": "coverage", "raise_at": "high"},
        3,
    ]
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("birth", {"alarms": rules}, retained=True), message("event/result", part(1, "NG", 0.002), 1))
        told = site.browser.get(f"/coverage/{PLACE}").json()
    assert told["limits"] == [{"alarm": "scratches", "limit": 0.001}]
    assert [value for value in told["coverage"] if value is not None] == [0.002]
    assert len(told["t"]) == len(told["coverage"]) == 180


def test_what_is_malformed_is_counted_and_shown(tmp_path: Path) -> None:
    """Nonsense, a verdict that is none, an event without number and too large a message leave no result behind."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(
            Received(f"{ROOT}/event/result", b"\xff\x00"),
            message("event/result", part(1, "FINE"), 1),
            message("event/result", part(2), None),
            Received(f"{ROOT}/event/result", b"{" + b" " * 70_000 + b"}"),
            message("event/result", part(3), 3, retained=True),
            Received("no/station/of/ours", b"{}"),
        )
        told = site.site.picture_of(PLACE)
        assert told["ignored"] == {"not understood": 4, "too large": 1}
        assert site.site.skipped["no station's topic"] == 1
        assert site.history.value("SELECT count(*) FROM result") == 0
        assert "Messages that were not believed: 5" in site.browser.get("/").text


def test_a_failure_of_ours_is_told_and_not_shown(tmp_path: Path) -> None:
    """A history whose tables are gone: 500 in words, without a traceback, with the strict policy."""
    with bench(tmp_path) as site:
        site.online()
        site.history.write("DROP TABLE finding").result(120)
        site.history.write("DROP TABLE result").result(120)
        browser = TestClient(site.browser.app, "http://localhost", raise_server_exceptions=False)
        answer = browser.get("/")
    assert answer.status_code == 500
    assert "Something failed in the dashboard" in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["content-security-policy"] == POLICY


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/station/../../../etc/passwd",
        f"/station/{PLACE}/more",
        "/picture/no/such/station/at/all",
        "/coverage/%00",
        "/live/station/%ff",
        "/enter",
        "/alarms/act?act=ack&place=../..&alarm=x",
        "/nothing",
    ],
)
def test_a_path_that_is_a_trick_leads_nowhere(tmp_path: Path, path: str) -> None:
    """Outside our files, and for stations that nobody heard of: 404 in words, with the strict policy."""
    with bench(tmp_path) as site:
        site.online()
        answer = site.browser.get(path)
        assert answer.status_code == 404
        assert "def make_app" not in answer.text
        assert "root:" not in answer.text
        assert answer.headers["content-security-policy"] == POLICY
