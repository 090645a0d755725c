"""The screen Signals, for engineers: what is of now, what is not known, and what a hand test needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edge.dashboard.texts import LANGUAGES
from edge.dashboard.users import Role
from edge.records import SessionLost
from tests.edge.dashboard.stations import PLACE, Bench, bench, message
from tests.edge.dashboard.test_access import log_in, with_users
from tests.edge.messages.test_messages import SIGNALS

EVIL = "<script>alert(1)</script>"
OUTPUTS = [
    {"signal": "good", "rule": "ok", "at": "coil 3", "level": True, "since_s": 12.0, "barred": "says_ok"},
    {"signal": "gate", "rule": "pulse", "at": "coil 0", "level": False, "since_s": 3.0, "barred": None},
    {"signal": "count", "rule": "result_counter", "at": "register 0", "level": 812, "since_s": 3.0, "barred": None},
]
INPUTS = [{"signal": "barrier", "rule": "part", "at": "coil 20", "level": True, "since_s": 0.5}]


def signals(refused: str | None = None, **more: Any) -> dict[str, Any]:
    """Return the body of `state/signals`."""
    hand_test = {"refused": refused, "signal": None, "user": None, "left_s": None}
    body = {"schema": "linewatch/signals/1", **SIGNALS, "outputs": OUTPUTS, "inputs": INPUTS, "read_s_ago": 0.0}
    return {**body, "hand_test": hand_test, **more}


def rows(page: str) -> dict[str, str]:
    """Return the level of each signal of a page."""
    found = re.findall(r'<th scope="row">(\w+)</th>\s*<td class="level">.*?<b>([^<]*)</b>', page, re.DOTALL)
    return dict(found)


def as_role(site: Bench, role: Role, *, tells: bool = True) -> None:
    """Log in as somebody of a role, beside a station that tells of signals, or of none."""
    with_users(site, erik=role)
    log_in(site, "erik")
    site.online()
    if tells:
        site.hear(message("state/signals", signals()))


def csrf_of(site: Bench) -> str:
    """Return the token of the form that switches the gate."""
    page = site.browser.get(f"/signals/hand-test?place={PLACE}&signal=gate").text
    return page.partition('name="csrf" value="')[2].partition('"')[0]


def test_each_signal_has_level_moment_age_and_rule(tmp_path: Path) -> None:
    """Bits read up or down, numbers as they are; each with its time by the site's clock, and its age."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("state/signals", signals()))
        page = site.browser.get("/signals").text
    assert rows(page) == {"good": "up", "gate": "down", "count": "812", "barrier": "up"}
    assert "11:59:48" in page  # 12 s before noon
    assert "12 s ago" in page
    for told in ("pulse", "coil 0", "reached", "simulated", "never: it would say OK"):
        assert told in page


@pytest.mark.parametrize("silence", ["old", "no broker", "never told"])
def test_a_level_that_is_not_of_now_is_unknown(tmp_path: Path, silence: str) -> None:
    """No bit is up or down of a station that is silent; and nothing can be switched."""
    with bench(tmp_path) as site:
        as_role(site, "engineer", tells=silence != "never told")
        if silence == "old":
            site.clock.move(6)
        elif silence == "no broker":
            site.site.take(SessionLost("gone"))
        page = site.browser.get("/signals").text
    assert set(rows(page).values()) <= {"unknown"}
    assert "/signals/hand-test" not in page
    assert ("Nothing was told of signals" in page) == (silence == "never told")


def test_forged_signals_are_text_and_nonsense_is_not_known(tmp_path: Path) -> None:
    """Names of the wire are escaped; a body of nonsense leaves a page that says unknown."""
    evil = [{"signal": EVIL, "rule": EVIL, "at": EVIL, "level": EVIL, "since_s": EVIL, "barred": EVIL}, EVIL, 7]
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("state/signals", signals(outputs=evil, link=EVIL, lost=EVIL, counts={"late": EVIL})))
        page = site.browser.get("/signals")
        site.hear(message("state/signals", {"outputs": {"a": 1}, "inputs": 7, "counts": [], "hand_test": EVIL}))
        nonsense = site.browser.get("/signals")
    assert (page.status_code, nonsense.status_code) == (200, 200)
    assert EVIL not in page.text


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_it_is_for_engineers(tmp_path: Path, role: Role) -> None:
    """A lesser role finds it in no list, and page, stream, form and command are refused."""
    with bench(tmp_path) as site:
        as_role(site, role)
        assert 'href="/signals"' not in site.browser.get("/alarms").text
        for path in ("/signals", f"/signals/{PLACE}", f"/live/signals/{PLACE}", "/signals/hand-test?signal=gate"):
            assert site.browser.get(path).status_code == 403
        assert site.browser.post("/signals/hand-test", data={"signal": "gate"}).status_code == 403


def test_nothing_is_switched_without_the_word_that_nobody_is_there(tmp_path: Path) -> None:
    """The form warns; sent without its tick, or with anything forged in it, it gives no command."""
    with bench(tmp_path) as site:
        as_role(site, "engineer")
        form = {"csrf": csrf_of(site), "place": PLACE, "signal": "gate", "seconds": "2", "comment": "new valve"}
        assert "Nobody may be at it" in site.browser.get("/signals/hand-test?signal=gate").text
        refused = site.browser.post("/signals/hand-test", data=form)
        assert refused.status_code == 400
        assert "Nothing was switched" in refused.text
        confirmed = {**form, "nobody_is_there": "yes"}
        for wrong in ({"seconds": "600"}, {"seconds": "2e9"}, {"place": "nowhere"}, {"signal": ""}):
            assert site.browser.post("/signals/hand-test", data={**confirmed, **wrong}).status_code == 404
        assert site.browser.post("/signals/hand-test", data={**confirmed, "csrf": "guessed"}).status_code == 403
        site.history.flush()
        assert site.history.rows("SELECT * FROM journal WHERE kind LIKE 'command%'") == []


def test_what_may_not_be_switched_has_no_link(tmp_path: Path) -> None:
    """No output has a link while the line runs; else all have one but those that are barred."""
    with bench(tmp_path) as site:
        as_role(site, "engineer")
        assert re.findall(r"signal=(\w+)\"", site.browser.get("/signals").text) == ["gate", "count"]
        site.hear(message("state/signals", signals("line_runs")))
        page = site.browser.get("/signals").text
        assert "/signals/hand-test?" not in page
        assert "Only while the line stands" in page
        barred = site.browser.get("/signals/hand-test?signal=good").text
        assert "<form class" not in barred
        assert site.browser.get("/signals/hand-test?signal=nobody").status_code == 404


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_switched_by_hand_is_said_in_each_language(tmp_path: Path, language: str) -> None:
    """Signal, user and the rest of its time stand above the table, and its row is marked."""
    hand_test = {"refused": None, "signal": "gate", "user": "erik", "left_s": 3.0}
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("state/signals", signals(safe="gate is switched by hand", hand_test=hand_test)))
        page = site.browser.get("/signals", headers={"accept-language": language}).text
    banner = page.partition('<div class="banner medium"')[2].partition("</div>")[0]
    assert all(word in banner for word in ("gate", "erik", "3"))
    assert page.count('class="by-hand"') == 1
