"""The history: one process, one writer, versions, what it keeps and for how long, and what a full disk does."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from edge.dashboard.counting import counts, coverage_series, last_results
from edge.dashboard.history import History
from edge.dashboard.reading import result_row
from edge.dashboard.records import JournalRow, ResultRow
from edge.dashboard.schema import SCHEMA_VERSION, STEPS, migrate
from edge.errors import StoreError
from edge.strict_json import parse_json
from tests.edge.dashboard.stations import EPOCH, NOW, PLACE, bench, envelope, message, part


def row(number: int, verdict: str = "OK", seconds: float = 0.0, coverage: float = 0.0004) -> ResultRow:
    """Return a row as a message of that moment gives it."""
    at = NOW + timedelta(seconds=seconds)
    found = result_row(PLACE, parse_json(envelope(part(number, verdict, coverage, at=at), number, at)), at)
    assert found is not None
    return found


def test_a_second_dashboard_on_one_history_is_refused(tmp_path: Path) -> None:
    """Another process gets a clear error, and the first one goes on."""
    path = tmp_path / "history.db"
    program = (
        "from edge.dashboard.history import History; from pathlib import Path; "
        f"History(Path({str(path)!r}), 1, 10).__enter__()"
    )
    with History(path, 1, 10) as history:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
        assert "is in use by another dashboard. Stop that one" in done.stderr
        history.put(JournalRow(None, 2**45, "note"))
        history.flush()
        assert history.value("SELECT count(*) FROM journal") == 1


def test_a_newer_file_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    """A version that is not known yet is named, and nothing is written to it."""
    path = tmp_path / "history.db"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is of version 99; this Linewatch reads up to"):
        History(path, 1, 10).__enter__()
    assert path.read_bytes() == before


def test_an_older_file_is_brought_up_whole_or_not_at_all(tmp_path: Path) -> None:
    """Rows of a file of this version stay through a next step. A step that fails leaves file and version alone."""
    path = tmp_path / "history.db"
    with History(path, 1, 10) as history:
        history.put(JournalRow(None, 2**45, "note", "anna"))
        history.flush()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        (begun,) = db.execute("PRAGMA user_version").fetchone()
        assert begun == SCHEMA_VERSION == len(STEPS)
        broken = [*STEPS, ("ALTER TABLE journal ADD COLUMN shift TEXT", "CREATE TABLE journal (id INTEGER)")]
        with pytest.raises(sqlite3.Error):
            migrate(db, begun, broken)
        assert db.execute("PRAGMA user_version").fetchone() == (begun,)
        assert "shift" not in [row[1] for row in db.execute("PRAGMA table_info(journal)")]
        migrate(db, begun, [*STEPS, ("ALTER TABLE journal ADD COLUMN shift TEXT",)])
        assert db.execute("PRAGMA user_version").fetchone() == (begun + 1,)
        assert db.execute("SELECT user, shift FROM journal").fetchall() == [("anna", None)]
    with pytest.raises(StoreError, match=f"is of version {begun + 1}"):
        History(path, 1, 10).__enter__()


def test_a_file_that_never_got_its_tables_gets_them_at_the_start(tmp_path: Path) -> None:
    """An empty database, of version 0, is brought to this one."""
    path = tmp_path / "history.db"
    sqlite3.connect(path).close()
    path.touch()
    with History(path, 1, 10) as history:
        assert history.value("SELECT count(*) FROM result") == 0


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file of something else ends in words."""
    path = tmp_path / "history.db"
    path.write_bytes(b"no database at all, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match="cannot be opened"):
        History(path, 1, 10).__enter__()


def test_an_event_that_comes_twice_is_one_row(tmp_path: Path) -> None:
    """Twice over the wire, and again after the dashboard was started anew."""
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("event/result", part(1), 1), message("event/result", part(1), 1))
    with bench(tmp_path) as site:
        site.online()
        site.hear(message("event/result", part(1), 1), message("event/result", part(2), 2))
        assert site.history.value("SELECT count(*) FROM result") == 2
        told = site.site.picture_of(PLACE)
        assert (told["complete"].came, told["complete"].expected) == (2, 2)
        assert told["ignored"] == {"came before": 1}


def test_counts_and_series_are_those_of_plain_arithmetic(tmp_path: Path) -> None:
    """Counts leave out challenges; a bucket has the largest coverage, and a time without results has none."""
    begin_ms = round(NOW.timestamp() * 1000)
    with History(tmp_path / "history.db", 90, 100, NOW.timestamp) as history:
        for number in range(1, 101):
            verdict = "NG" if number % 10 == 0 else "NO_READ" if number % 25 == 1 else "OK"
            history.put(row(number, verdict, number, number / 1000))
        history.flush()
        told = counts(history, PLACE, begin_ms, begin_ms + 3_600_000)
        assert (told.ok, told.ng, told.no_read) == (86, 10, 4)
        assert told.share_ok == 86 / 96
        newest = last_results(history, PLACE, "NG", 3)
        assert [each["seq"] for each in newest] == [100, 90, 80]
        series = coverage_series(history, PLACE, begin_ms, begin_ms + 200_000, 20)
        assert series["coverage"][0] == 0.009
        assert series["coverage"][9] == 0.099
        assert series["coverage"][11:] == [None] * 9
        assert counts(history, "another/place/that/is/none", 0, 2**50).all == 0


def test_old_rows_leave_and_their_numbers_stay_known(tmp_path: Path) -> None:
    """A row older than the settings say is deleted, with its findings; it is not asked for again."""
    path = tmp_path / "history.db"
    with History(path, 90, 100, NOW.timestamp) as history:
        for number in range(1, 4):
            history.put(row(number, "NG"))  # of a day in the past
        history.flush()
        assert history.value("SELECT count(*) FROM finding") == 3
    with History(path, 1, 100, (NOW + timedelta(days=2)).timestamp) as history:
        history.flush()
        for _ in range(200):
            history.flush()
            if history.value("SELECT count(*) FROM result") == 0:
                break
        assert history.value("SELECT count(*) FROM finding") == 0
        assert list(history.completeness()[PLACE, EPOCH].came) == [(1, 3)]


def test_what_is_too_much_leaves_the_oldest_first_and_keeps_the_journal(tmp_path: Path) -> None:
    """Results beyond the size go, the newest stay, the journal stays whole, and the file shrinks."""
    path = tmp_path / "history.db"
    with History(path, 90, 10_000, NOW.timestamp) as history:
        for number in range(1, 12_001):
            history.put(replace(row(1, seconds=number), seq=number, body="x" * 2_000))
        history.put(JournalRow(PLACE, round(NOW.timestamp() * 1000), "login"))
        history.flush(120)
        assert history.value("SELECT count(*) FROM result") == 12_000
    before = path.stat().st_size
    with History(path, 90, 10, (NOW + timedelta(days=1)).timestamp) as history:
        for _ in range(500):
            history.flush()
            if history.value("SELECT count(*) FROM result") < 12_000:
                break
        history.flush()
        numbers = [each["seq"] for each in history.rows("SELECT seq FROM result ORDER BY seq")]
        assert 0 < len(numbers) < 8_000
        assert numbers == list(range(12_001 - len(numbers), 12_001))
        assert history.value("SELECT count(*) FROM journal") == 1
        assert history.completeness()[PLACE, EPOCH].told().holes == 0
    assert path.stat().st_size < before / 2


def test_what_the_disk_does_not_take_is_told_and_written_later(tmp_path: Path) -> None:
    """Nothing is lost while another program holds the file. The page says so, and all is there afterwards."""
    with bench(tmp_path) as site:
        site.online()
        history = site.history
        history.flush()
        history._writer._db.execute("PRAGMA busy_timeout = 50")  # type: ignore[union-attr] # the test knows which of the union
        blocker = sqlite3.connect(history.path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        history.put(row(1))
        while history.trouble is None:
            pass
        assert "is not written: database is locked" in site.browser.get("/").text
        blocker.execute("ROLLBACK")
        blocker.close()
        history.flush()
        assert history.trouble is None
        assert history.value("SELECT count(*) FROM result") == 1


def test_a_device_whose_clock_jumps_stands_where_it_was_heard(tmp_path: Path) -> None:
    """A result of the year 2090, or of 1970, is counted in the shift in which it came, and marked."""
    with bench(tmp_path) as site:
        site.online()
        for number, days in ((1, 23_000), (2, -20_000), (3, 0)):
            at = NOW + timedelta(days=days)
            site.hear(message("event/result", part(number, at=at), number, at=at))
        rows = site.history.rows("SELECT seq, at_ms, clock_odd FROM result ORDER BY seq")
        now_ms = round(NOW.timestamp() * 1000)
        assert [tuple(each) for each in rows] == [(1, now_ms, 1), (2, now_ms, 1), (3, now_ms, 0)]
