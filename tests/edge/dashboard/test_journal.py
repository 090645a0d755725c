"""The screen Journal: nothing twice, nothing left out, whatever the filter, and no formula in its CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from edge.dashboard.records import JournalRow
from edge.records import Received
from tests.edge.dashboard.stations import NOW, PLACE, ROOT, Bench, bench, message

OTHER = "acme/ulm/glass/l2/c1"


def transition(name: str, transition: str, user: str | None = None, comment: str | None = None) -> dict[str, Any]:
    """Return the body of a transition."""
    return {
        "schema": "linewatch/alarm/1",
        "alarm": name,
        "transition": transition,
        "state": "acknowledged" if transition == "acknowledged" else "active",
        "occurrence_id": "57093987-2e9c-5b16-8841-be8d02c70574",
        "priority": "high",
        "at_ns": 1,
        "value": None,
        "limit": None,
        "text": "look",
        "shown": True,
        "user": user,
        "comment": comment,
        "detail": "",
    }


def fill(site: Bench) -> None:
    """Have three transitions, one number missing, two commands, a log-in and a change of a station."""
    site.online()
    at = [NOW + timedelta(seconds=second) for second in range(10)]
    site.hear(
        message("event/alarm", transition("scratches", "raised"), 1, at=at[1]),
        message("event/alarm", transition("scratches", "acknowledged", "anna", "=1+1"), 2, at=at[2]),
        message("event/alarm", transition("dirt", "raised"), 4, at=at[4]),
    )
    for second, row in (
        (3, JournalRow(PLACE, 0, "command-ack", "anna", "scratches", "ok", "belt wiped")),
        (5, JournalRow(OTHER, 0, "command-shelve", "bert", "dirt", "not_authorised")),
        (6, JournalRow(None, 0, "login", "anna", outcome="ok", detail="127.0.0.1")),
        (7, JournalRow(PLACE, 0, "station", "", "offline", "online", "stopped")),
    ):
        site.history.put(JournalRow(row.place, ms(second), *vars_of(row)))
    site.history.flush()


def ms(second: float) -> int:
    """Return a moment of the test."""
    return round((NOW + timedelta(seconds=second)).timestamp() * 1000)


def vars_of(row: JournalRow) -> tuple[str, str, str, str, str]:
    """Return what a row has beside its station and its time."""
    return row.kind, row.user, row.subject, row.outcome, row.detail


def rows(page: str) -> list[list[str]]:
    """Return the cells of a page's table."""
    body = page.partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)]
        for row in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]


def test_all_of_it_stands_in_one_list_newest_first(tmp_path: Path) -> None:
    """Transitions and what people did are one list by time, with the number of the event and who it was."""
    with bench(tmp_path) as site:
        fill(site)
        found = rows(site.browser.get("/journal").text)
        assert [(row[3], row[4], row[5]) for row in found] == [
            ("station", "online → OFFLINE", ""),
            ("log-in", "", "anna"),
            ("command: shelve", "dirt", "bert"),
            ("raised", "dirt", ""),
            ("command: acknowledge", "scratches", "anna"),
            ("acknowledged", "scratches", "anna"),
            ("raised", "scratches", ""),
        ]
        assert [row[2] for row in found if not row[2].startswith("#")] == ["4", "2", "1"]
        assert found[4][6:] == ["done", "belt wiped"]
        assert found[2][6] == "the line does not know this user as an operator"
        german = rows(site.browser.get("/journal", headers={"accept-language": "de"}).text)
        assert (german[0][4], german[2][6]) == (
            "in Betrieb → OFFLINE",
            "die Linie kennt diesen Benutzer nicht als Bediener",
        )


def test_a_filter_is_an_address(tmp_path: Path) -> None:
    """By station, kind, user, subject and time: only what matches, and the form shows what was asked for."""
    with bench(tmp_path) as site:
        fill(site)
        for asked, subjects in (
            (f"place={PLACE}", ["online → OFFLINE", "dirt", "scratches", "scratches", "scratches"]),
            ("what=commands", ["dirt", "scratches"]),
            ("what=logins", [""]),
            ("what=alarms&user=anna", ["scratches"]),
            ("subject=dirt", ["dirt", "dirt"]),
            ("from=2026-01-31T12:00:04&to=2026-01-31T12:00:06", ["dirt", "dirt"]),
            ("user=nobody", []),
            (
                "what=everything&place=no/such/place/at/all",
                ["online → OFFLINE", "", "dirt", "dirt"] + 3 * ["scratches"],
            ),
        ):
            assert [row[4] for row in rows(site.browser.get(f"/journal?{asked}").text)] == subjects, asked
        assert 'value="anna"' in site.browser.get("/journal?user=anna").text
        wrong = site.browser.get("/journal?from=yesterday")
        assert (wrong.status_code, "yesterday" in wrong.text) == (400, True)
        assert site.browser.get("/journal.csv?to=99999999").status_code == 400


def test_missing_numbers_are_named(tmp_path: Path) -> None:
    """The page says that a station's event 3 has not come, and later that none is missing."""
    with bench(tmp_path) as site:
        fill(site)
        assert "These numbers of events have not come: 3" in site.browser.get(f"/journal?place={PLACE}").text
        site.hear(message("event/alarm", transition("dirt", "cleared"), 3))
        assert "No number is missing." in site.browser.get(f"/journal?place={PLACE}").text


def test_pages_follow_each_other_without_hole_or_repetition(tmp_path: Path) -> None:
    """Of 1,234 rows, many at one moment, page after page has each once; so has the CSV."""
    with bench(tmp_path) as site:
        site.online()
        for number in range(617):
            site.history.put(JournalRow(PLACE, ms(number // 50), "command-ack", "anna", f"c{number}", "ok"))
            site.site.take(message("event/alarm", transition(f"a{number}", "raised"), number + 1, at=NOW))
        site.history.flush()
        seen: list[str] = []
        link = "/journal"
        while link:
            page = site.browser.get(link).text
            seen += [row[4] for row in rows(page)]
            found = re.findall(r'href="(/journal\?[^"]*before=[^"]*)"', page)
            link = found[-1].replace("&amp;", "&") if found else ""
        assert sorted(seen) == sorted([f"c{number}" for number in range(617)] + [f"a{number}" for number in range(617)])
        exported = list(csv.DictReader(io.StringIO(site.browser.get("/journal.csv").text)))
        assert [row["subject"] for row in exported] == seen


def test_the_csv_holds_no_formula(tmp_path: Path) -> None:
    """A comment that a spreadsheet would run begins with an apostrophe; numbers, epochs and users are there."""
    with bench(tmp_path) as site:
        fill(site)
        answer = site.browser.get("/journal.csv?what=alarms")
    assert answer.headers["content-disposition"] == 'attachment; filename="journal.csv"'
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["number"], row["event"], row["user"], row["remark"]) for row in found] == [
        ("4", "raised", "", ""),
        ("2", "acknowledged", "anna", "'=1+1"),
        ("1", "raised", "", ""),
    ]
    assert {row["at"] for row in found} == {f"2026-01-31T12:00:0{second}.000+00:00" for second in (1, 2, 4)}


def command(name: str, body: Any, **how: Any) -> Received:
    """Return a command of somebody else's on its way to the station."""
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Received(f"{ROOT}/cmd/{name}", payload, **how)


def test_commands_of_others_are_noted(tmp_path: Path) -> None:
    """A user who acknowledged from another desk is in the journal. Parts, retained ones and our own wishes are not."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(
            command("ack", {"occurrence_id": "57093987", "user": "carl\u202e", "comment": "seen <b>"}),
            command("part", {"action": "open", "part_id": "7"}),
            command("recipe", {"recipe": "b", "user": "mes"}, retained=True),
            command("resend", {"from_seq": 1, "to_seq": 2, "user": "dashboard"}),
            command("bypass", b"\xff nonsense"),
            command("Not A Name", {}),
            Received("no/such/station/at/all/inspect/v1/cmd/ack", b"{}"),
        )
        page = site.browser.get("/journal?what=commands").text
        found = rows(page)
    assert [(row[3], row[5], row[6]) for row in found] == [
        ("command-bypass" if "command-bypass" in page else "command: bypass", "", "heard at the broker"),
        ("command: acknowledge", "carl\\u202e", "heard at the broker"),
    ]
    assert "seen &lt;b&gt;" in page


def test_a_flood_of_commands_does_not_fill_it(tmp_path: Path) -> None:
    """Of a thousand commands at once a hundred are noted, and the others are counted."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(*(command("ack", {"occurrence_id": str(number)}) for number in range(1000)))
        noted = site.history.value("SELECT count(*) FROM journal WHERE kind = 'command-ack'")
        assert 100 <= noted < 200
        assert noted + site.site.skipped["too many commands"] == 1000
