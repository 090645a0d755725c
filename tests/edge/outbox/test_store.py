"""The outbox's file: alarm records, journal and messages together, older files taken over, and read from beside."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from edge.errors import StoreError
from edge.outbox import Outbox, OutboxReader
from edge.records import AlarmRecord, JournalEntry, Message
from edge.records.ledger import CountDelta
from tests.brokers import wait_for

BOOT = "0d3c2a54-6f0e-4f7a-9a39-0d6a4f3d8b11"
# Written by version 1 of the store, whose process was ended by hand. It has events 1 to 7, of which the broker took 1
# and refused 2. The seventh is an alarm with its retained state.
VERSION_1 = Path(__file__).parent / "version_1.db"
# Written by version 2. It has results 1 to 4, of which the broker took 1 and refused 3. Event 5 is an alarm with its
# state. Of seven entries of the journal 3 and 6 are commands.
VERSION_2 = Path(__file__).parent / "version_2.db"
# Written by version 3. It has results 1 to 3, of which the broker took 1 and refused 3. Event 4 is an alarm with its
# state. There is an entry of each part of the journal.
VERSION_3 = Path(__file__).parent / "version_3.db"


def entry(number: int, alarm: str = "scratched", occurrence_id: str | None = None) -> JournalEntry:
    """Return a journal entry of its own."""
    at = datetime(2026, 1, 31, 12, 0, 0, number, tzinfo=timezone.utc)
    return JournalEntry(at, BOOT, 123 + number, "raised", alarm, occurrence_id, "anna", "ö", str(number))


def message(text: str, **how: object) -> Message:
    """Return a message whose payload and id are `text`."""
    return Message(text, "alarm", "line/event/alarm", text.encode(), **how)  # type: ignore[arg-type] # per test


def test_alarm_records_and_journal_come_back_as_they_were(tmp_path: Path) -> None:
    """The last record of each alarm and every journal entry survive a restart, every field of them."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        assert outbox.alarm_records() == []
        outbox.put(None, alarms=[AlarmRecord("b", "{}"), AlarmRecord("a", "1")], journal=[entry(1)])
        outbox.put(None, alarms=[AlarmRecord("a", '"ü"')], journal=[entry(2, "a", "77"), entry(3)])
        expected = [AlarmRecord("a", '"ü"'), AlarmRecord("b", "{}")]
        assert outbox.alarm_records() == expected  # also what is not on disk yet
        assert outbox.flush(120)
        assert outbox.alarm_records() == expected
    with Outbox(path) as outbox:
        assert outbox.alarm_records() == expected
        assert outbox.journal(10) == [entry(1), entry(2, "a", "77"), entry(3)]
        assert outbox.journal(2) == [entry(2, "a", "77"), entry(3)]
        assert outbox.journal(9, "a") == [entry(2, "a", "77")]


def test_what_is_about_an_alarm_does_not_wait_for_a_group(tmp_path: Path) -> None:
    """A put with an alarm record or a journal entry is committed at once, with all that waits before."""
    with Outbox(tmp_path / "outbox.db") as outbox:
        outbox.put(1, message("result"))
        outbox.put(None, journal=[entry(1)])
        wait_for(lambda: outbox.journal(9))
        assert [row.message.id for row in outbox.pending(0, 9)] == ["result"]


_KILLED = """
import sys
from pathlib import Path
from edge.outbox import Outbox
from edge.records import AlarmRecord, Message
from tests.edge.outbox.test_store import entry
with Outbox(Path(sys.argv[1])) as outbox:
    while True:
        number = outbox.reserve()
        both = [Message(f"{number}-{way}", "alarm", way, str(number).encode(), urgent=True) for way in "ab"]
        outbox.put(number, *both, alarms=[AlarmRecord("a", str(number))], journal=[entry(number)])
        if number % 50 == 0:
            assert outbox.flush(120)
            print(number, flush=True)
"""


def test_a_kill_never_separates_what_was_put_together(tmp_path: Path) -> None:
    """After kill -9 an event's messages, alarm record and journal entry are all there, or none of them is."""
    path = tmp_path / "outbox.db"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE) as line:
            assert line.stdout is not None
            line.stdout.readline()
            os.kill(line.pid, signal.SIGKILL)
        with closing(sqlite3.connect(path)) as db:
            rows = db.execute("SELECT seq, count(*) FROM message GROUP BY seq").fetchall()
            numbers = [int(detail) for (detail,) in db.execute("SELECT detail FROM journal ORDER BY entry")]
            records = [int(body) for (body,) in db.execute("SELECT body FROM alarm")]
        assert rows == [(seq, 2) for seq in range(1, len(rows) + 1)]
        assert numbers == [seq for seq, _ in rows]
        assert records == numbers[-1:]


def test_a_file_of_version_1_is_taken_over(tmp_path: Path) -> None:
    """Events, numbers and epoch go on; refused events are tried again; alarms and journal begin empty."""
    path = tmp_path / "outbox.db"
    shutil.copy(VERSION_1, path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        ((epoch,),) = db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchall()
    with pytest.raises(StoreError, match="expected schema 4, received 1"), OutboxReader(path):
        pass
    with Outbox(path) as outbox:
        assert (outbox.epoch, outbox.committed, outbox.set_aside) == (epoch, 7, None)
        rows = outbox.pending(0, 99)
        assert [(row.row, row.seq, row.message.id) for row in rows] == [
            *[(number, number, f"r{number}") for number in range(2, 7)],
            (7, 7, "a7"),
            (8, 7, "s7"),
        ]
        assert rows[-1].message == Message("s7", "alarm-state", "line/alarm/x", b"state 7", retain=True, urgent=True)
        assert (outbox.alarm_records(), outbox.journal(9)) == ([], [])
        outbox.acknowledge(rows[-1])
        assert outbox.flush(120)
        assert [kept.payload for kept in outbox.retained()] == [b"state 7"]
        assert outbox.reserve() == 8
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_of_version_2_is_taken_over(tmp_path: Path) -> None:
    """Events, alarm records and every entry of the journal go on, in parts and with chains that hold."""
    path = tmp_path / "outbox.db"
    shutil.copy(VERSION_2, path)
    with Outbox(path) as outbox:
        assert (outbox.committed, outbox.set_aside, outbox.replaced) == (5, None, None)
        assert [row.message.id for row in outbox.pending(0, 99)] == ["r2", "r3", "r4", "a5", "s5"]
        assert outbox.alarm_records() == [AlarmRecord("scratched", '{"version":1}')]
        outbox.put(None, journal=[entry(8)])
        assert outbox.flush(120)
    with OutboxReader(path) as reader:
        kinds = ["raised", "acknowledged", "command", "acknowledged", "acknowledged", "command", "acknowledged"]
        rows = reader.journal_rows(99)
        assert [row.entry for row in rows] == [
            *(
                replace(entry(number, "scratched", "77" if number % 2 else None), kind=kind)
                for number, kind in enumerate(kinds, 1)
            ),
            entry(8),
        ]
        assert [row.part for row in rows].count("commands") == 2
        assert reader.verify_journal()[1] == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_of_version_3_is_taken_over(tmp_path: Path) -> None:
    """Events, alarm records and the journal go on, and the ledger begins empty."""
    path = tmp_path / "outbox.db"
    shutil.copy(VERSION_3, path)
    with Outbox(path) as outbox:
        assert (outbox.committed, outbox.set_aside, outbox.replaced) == (4, None, None)
        assert [row.message.id for row in outbox.pending(0, 99)] == ["r2", "r3", "a4", "s4"]
        assert outbox.alarm_records() == [AlarmRecord("scratched", '{"version":1}')]
        outbox.put(None, journal=[entry(4)], counts=[CountDelta("2026-11-30T06:00+01:00", "r", "parts", 1)])
        assert outbox.flush(120)
    with OutboxReader(path) as reader:
        assert [row.part for row in reader.journal_rows(99)] == ["alarms", "commands", "station", "alarms"]
        assert reader.verify_journal()[1] == []
        assert reader.shifts() == ["2026-11-30T06:00+01:00"]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (4,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_kill_while_a_file_is_taken_over_leaves_the_old_one(tmp_path: Path) -> None:
    """The change of version is one transaction: killed within it, the file is still of version 2, and whole."""
    path = tmp_path / "outbox.db"
    shutil.copy(VERSION_2, path)
    killed = (
        "import os, sys; from pathlib import Path; import edge.outbox.store as store; from edge.outbox import Outbox\n"
        "store.take_over_version_2 = lambda *_: os.kill(os.getpid(), 9)\n"
        "Outbox(Path(sys.argv[1])).__enter__()"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(path)], check=False).returncode == -signal.SIGKILL
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT count(*) FROM journal").fetchone() == (7,)
    with Outbox(path) as outbox:
        assert len(outbox.journal(99)) == 7


def test_a_file_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    """Neither a line nor a reader touches what it does not understand."""
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 5")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="expected schema 4, received 5"):
        Outbox(path).__enter__()
    with pytest.raises(StoreError, match="expected schema 4, received 5"):
        OutboxReader(path).__enter__()
    assert path.read_bytes() == before


def test_a_reader_sees_what_a_running_line_commits_and_holds_nobody_up(tmp_path: Path) -> None:
    """Open beside a running outbox, a reader sees each commit, and the line goes on to commit."""
    path = tmp_path / "outbox.db"
    with pytest.raises(StoreError, match="No outbox at"):
        OutboxReader(path).__enter__()
    with Outbox(path) as outbox, OutboxReader(path) as reader:
        for number in range(1, 4):
            outbox.put(outbox.reserve(), message(str(number)), alarms=[AlarmRecord("a", str(number))])
            assert outbox.flush(120)
            assert (reader.committed, reader.epoch) == (number, outbox.epoch)
            assert reader.alarm_records() == [AlarmRecord("a", str(number))]
    with OutboxReader(path) as reader:
        assert reader.committed == 3


def test_a_reader_that_may_not_write_reads_a_closed_outbox(tmp_path: Path) -> None:
    """The store is read all the same if SQLite can make no file beside it, since nobody may write there."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with Outbox(folder / "outbox.db") as outbox:
        outbox.put(None, alarms=[AlarmRecord("a", "1")], journal=[entry(1)])
    before = sorted(file.name for file in folder.iterdir())
    # root may write anywhere: ask as nobody
    program = (
        "import os, sys; from pathlib import Path; from edge.outbox import OutboxReader; path = Path(sys.argv[1])\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "with OutboxReader(path) as reader: print(reader.alarm_records())"
    )
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):  # noqa: S108 - others' rights stay
            parent.chmod(0o555)
        if parent.name.startswith("pytest-of-"):
            break
    (folder / "outbox.db").chmod(0o444)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder / "outbox.db")], capture_output=True, text=True, check=False
        )
    finally:
        for parent in (folder, *folder.parents):
            if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):  # noqa: S108 - others' rights stay
                parent.chmod(0o755)
            if parent.name.startswith("pytest-of-"):
                break
    assert done.stdout.strip() == "[AlarmRecord(alarm='a', body='1')]", done.stderr
    assert sorted(file.name for file in folder.iterdir()) == before
