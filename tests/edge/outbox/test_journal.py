"""The journal in the store: three parts that keep their own length, and a chain that shows what was done to it."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge.outbox import Outbox, OutboxReader
from edge.outbox.records import Job, Put
from edge.outbox.store import Caps, Store
from edge.records import JournalEntry


def entry(number: int, kind: str = "raised", detail: str = "") -> JournalEntry:
    """Return an entry of its own."""
    at = datetime(2026, 1, 31, 12, 0, number % 60, tzinfo=timezone.utc)
    return JournalEntry(at, "boot", number, kind, "a", None, "anna", "ö", detail or str(number), account="line (uid 7)")


class ShortStore(Store):
    """A store whose journal keeps five entries of each part."""

    def __init__(self, path: Path, caps: Caps, *, epoch: str | None = None, committed: int = 0) -> None:
        five = Caps(caps.results, caps.alarms, journal=5, journal_commands=5, journal_station=5)
        super().__init__(path, five, epoch=epoch, committed=committed)


def write(path: Path, kind: type[Store] = Store, *, count: int = 12) -> None:
    """Write entries of all parts by turns, over two runs of a line."""
    kinds = ("raised", "command", "started")
    for run in range(2):
        with Outbox(path, kind=kind) as outbox:
            for number in range(count // 2 * run, count // 2 * (run + 1)):
                outbox.put(None, journal=[entry(number, kinds[number % 3])])


def findings(path: Path) -> list[str]:
    """Return what is wrong with a journal."""
    with OutboxReader(path) as reader:
        return reader.verify_journal()[1]


def test_a_flood_of_commands_pushes_no_alarm_out(tmp_path: Path) -> None:
    """Each part keeps its last five; a thousand commands leave every alarm and start; the chains still hold."""
    path = tmp_path / "outbox.db"
    with Outbox(path, kind=ShortStore) as outbox:
        outbox.put(None, journal=[entry(1), entry(2, "started"), entry(3, "cleared")])
        for number in range(1000):
            outbox.put(None, journal=[entry(number, "command")])
    with OutboxReader(path) as reader:
        kept = reader.journal_rows(99)
        assert [(row.part, row.number, row.entry.detail) for row in kept] == [
            ("alarms", 1, "1"),
            ("station", 1, "2"),
            ("alarms", 2, "3"),
            *(("commands", 996 + number, str(995 + number)) for number in range(5)),
        ]
        assert [row.entry for row in reader.journal_rows(2, part="alarms")] == [entry(1), entry(3, "cleared")]
        assert [row.number for row in reader.journal_rows(2, part="commands", before=kept[-1].place)] == [998, 999]
    assert findings(path) == []


def test_the_chain_is_what_the_documentation_says(tmp_path: Path) -> None:
    """SHA-256 of the hash before, a line break, and the row as JSON, computed here by hand."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(None, journal=[entry(1), entry(2)])
    with OutboxReader(path) as reader:
        first, second = reader.journal_rows(9)
        links, _ = reader.verify_journal()
    before = "0" * 64
    for row, second_of in ((first, 1), (second, 2)):
        told = [row.place, "alarms", row.number, f"2026-01-31T12:00:0{second_of}.000000+00:00", "boot", second_of]
        told += ["raised", "a", None, "anna", "ö", str(second_of), "line (uid 7)"]
        before = hashlib.sha256(f"{before}\n{json.dumps(told)}".encode()).hexdigest()
        assert row.hash == before
    assert links["alarms"].hash == before


TAMPERING: dict[str, tuple[str, str]] = {
    "a word altered": (
        "UPDATE journal SET comment = 'no' WHERE number = 2 AND part = 'alarms'",
        "row 2 .* altered",
    ),
    "who it was": ("UPDATE journal SET account = '' WHERE number = 3 AND part = 'commands'", "row 3 .* altered"),
    "its time": ("UPDATE journal SET at = '2020' || substr(at, 5) WHERE number = 1 AND part = 'alarms'", "row 1 "),
    "a hash altered": ("UPDATE journal SET hash = 'f' WHERE number = 2 AND part = 'station'", "station: row [23] "),
    "one removed": ("DELETE FROM journal WHERE number = 2 AND part = 'alarms'", "rows 2 to 2 are missing"),
    "the last removed": ("DELETE FROM journal WHERE number = 4 AND part = 'alarms'", "rows 4 to 4 are missing"),
    "the first removed": ("DELETE FROM journal WHERE number = 1 AND part = 'alarms'", "rows 1 to 1 are missing"),
    "all of a part removed": ("DELETE FROM journal WHERE part = 'commands'", "commands: rows 1 to 4 are missing"),
    "one put in behind": (
        (
            "INSERT INTO journal SELECT 99, part, 5, at, boot_id, 9, kind, alarm, occurrence_id, user, comment, detail,"
            " account, hash FROM journal WHERE number = 4 AND part = 'alarms'"
        ),
        "row 5 .* was put in behind the end",
    ),
    "one put in as another part": (
        (
            "INSERT INTO journal SELECT 99, 'other', 1, at, boot_id, 9, kind, alarm, occurrence_id, user, comment,"
            " detail, account, hash FROM journal WHERE number = 1 AND part = 'alarms'"
        ),
        "other: row 1 .* was put in behind the end",
    ),
    "two exchanged": (
        (
            "UPDATE journal SET number = 99 WHERE part = 'alarms' AND number = 2;"
            "UPDATE journal SET number = 2 WHERE part = 'alarms' AND number = 3;"
            "UPDATE journal SET number = 3 WHERE part = 'alarms' AND number = 99"
        ),
        "row 2 .* altered",
    ),
    "moved to the end": (
        "UPDATE journal SET entry = 100 + entry WHERE part = 'alarms' AND number = 2",
        "row 2 .* altered|row 3 .* moved",
    ),
    "one part's end forgotten": ("DELETE FROM chain WHERE part = 'alarms'", "row 1 .* was put in behind the end"),
    "the end forged": ("UPDATE chain SET hash = 'e' WHERE part = 'alarms'", "row 4 is not the one that the chain ends"),
    "the index dropped and one doubled": (
        (
            "DROP INDEX journal_by_part; INSERT INTO journal SELECT 99, part, number, at, boot_id, 9, kind, alarm,"
            " occurrence_id, user, comment, detail, account, hash FROM journal WHERE number = 2 AND part = 'alarms'"
        ),
        "row 2 .* was put in",
    ),
}


@pytest.mark.parametrize(("what", "found"), TAMPERING.values(), ids=TAMPERING)
def test_what_was_done_to_the_journal_is_found(tmp_path: Path, what: str, found: str) -> None:
    """An altered, removed or inserted row is named, also where its own hash was put right."""
    path = tmp_path / "outbox.db"
    write(path)
    assert findings(path) == []
    with closing(sqlite3.connect(path)) as db:
        db.executescript(what)
    wrong = findings(path)
    assert wrong
    assert any(re.search(found, finding) for finding in wrong), wrong


def test_one_whose_hash_was_put_right_breaks_the_next(tmp_path: Path) -> None:
    """A forger who alters a row and computes its hash anew has to write all rows behind it anew too."""
    path = tmp_path / "outbox.db"
    write(path)
    with OutboxReader(path) as reader:
        first, second, *_ = reader.journal_rows(99, part="alarms")
    e = second.entry
    told = [second.place, "alarms", 2, e.at.isoformat(timespec="microseconds"), "boot", e.monotonic_ns]
    told += ["raised", "a", None, "anna", "forged", e.detail, e.account]
    forged = hashlib.sha256(f"{first.hash}\n{json.dumps(told)}".encode()).hexdigest()
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE journal SET comment = 'forged', hash = ? WHERE entry = ?", (forged, second.place))
        db.commit()
    (wrong,) = findings(path)
    assert wrong.startswith("alarms: row 3 ")


def test_a_line_that_goes_on_after_its_journal_was_altered_hides_nothing(tmp_path: Path) -> None:
    """Later rows, and the removals that make room for them, leave the break where it is."""
    path = tmp_path / "outbox.db"
    write(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM journal WHERE number = 3 AND part = 'alarms'")
        db.commit()
    with Outbox(path) as outbox:
        outbox.put(None, journal=[entry(number) for number in range(5)])
    assert findings(path) == ["alarms: rows 3 to 3 are missing"]


def test_the_chain_goes_on_over_what_went_for_room(tmp_path: Path) -> None:
    """Kept five each over two runs, the chains begin at what went and hold."""
    path = tmp_path / "outbox.db"
    write(path, ShortStore, count=60)
    with OutboxReader(path) as reader:
        links, wrong = reader.verify_journal()
        rows = reader.journal_rows(99, part="alarms")
    assert wrong == []
    assert (links["alarms"].first, links["alarms"].last) == (16, 20)
    assert [row.number for row in rows] == [16, 17, 18, 19, 20]


def test_what_is_undone_leaves_no_gap(tmp_path: Path) -> None:
    """A commit that fails takes its entries out of the chain again."""
    path = tmp_path / "outbox.db"
    store = Store(path, Caps())
    store.commit([Put(None, (), journal=[entry(1)])])
    too_large = entry(2**70)
    jobs: list[Job] = [Put(None, (), journal=[entry(2)]), Put(None, (), journal=[too_large])]
    with pytest.raises(OverflowError):
        store.commit(jobs)
    store.commit([Put(None, (), journal=[entry(3)])])
    store.close()
    with OutboxReader(path) as reader:
        assert [(row.number, row.entry.detail) for row in reader.journal_rows(9)] == [(1, "1"), (2, "3")]
    assert findings(path) == []
