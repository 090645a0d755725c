"""A store loses no more than it must, whatever is done to its file meanwhile, and tells all of it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.cli.commands import app as linewatch
from edge.errors import StoreError
from edge.messages.writer import Identity, MessageWriter, ModelIdentity
from edge.outbox import Outbox, OutboxReader
from edge.outbox.records import Job, Put
from edge.outbox.store import Store
from edge.records import AlarmRecord, JournalEntry, Message, Verdict
from tests.brokers import wait_for
from tests.edge.messages.test_messages import inspection

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def entry(**how: Any) -> JournalEntry:
    """Return an entry of the journal."""
    plain: dict[str, Any] = {"at": NOW, "boot_id": "b", "monotonic_ns": 1, "kind": "raised", "alarm": "a"}
    plain |= {"occurrence_id": None, "user": "", "comment": "", "detail": ""}
    return JournalEntry(**plain | how)


def message(number: int, **how: Any) -> Message:
    """Return an event."""
    return Message(**{"id": f"m{number}", "kind": "result", "topic": "line/event", "payload": b"{}"} | how)


# Values that SQLite's module does not take, each in its own way: UnicodeEncodeError, OverflowError, ProgrammingError, …
UNWRITABLE: dict[str, dict[str, Any]] = {
    "a topic with half a pair": {"messages": [message(-1, topic="line/\udcff")]},
    "an id with half a pair": {"messages": [message(-1, id="\ud800")]},
    "an expiry without end": {"messages": [message(-1, expiry_s=2**70)]},
    "a payload that is none": {"messages": [message(-1, payload=object())]},
    "a null where there is none": {"messages": [message(-1, kind=None)]},
    "a comment with half a pair": {"journal": [entry(comment="\udc80")]},
    "a user who is none": {"journal": [entry(user=None)]},
    "a time beyond 64 bits": {"journal": [entry(monotonic_ns=2**80)]},
    "an alarm with half a pair": {"alarms": [AlarmRecord("a\udcff", "{}")]},
    "an urgent message": {"messages": [message(-1, urgent=True, retain=True, topic="\udfff")]},
}


@pytest.mark.parametrize("how", UNWRITABLE.values(), ids=UNWRITABLE)
def test_one_bad_job_is_set_aside_and_no_other_is_lost(tmp_path: Path, how: dict[str, Any]) -> None:
    """Of a batch with one bad job the others are written, in order. The bad one is counted, told and kept."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        with outbox.together():  # one batch
            for number in range(50):
                if number == 25:
                    outbox.put(
                        outbox.reserve(),
                        *how.get("messages", ()),
                        alarms=how.get("alarms", ()),
                        journal=how.get("journal", ()),
                    )
                outbox.put(outbox.reserve(), message(number), journal=[entry(detail=str(number))])
        assert outbox.flush(120)
        assert [row.message.id for row in outbox.pending(0, 99)] == [f"m{number}" for number in range(50)]
        counts = outbox.counts()
        assert (counts.pending, counts.waiting, counts.unwritable, counts.lost) == (50, 0, 1, 0)
        assert "set aside" in str(outbox.unwritable)
        assert outbox.trouble is None
        outbox.put(outbox.reserve(), message(50))
        assert outbox.flush(120)
    assert outbox.counts().lost == 0
    with OutboxReader(path) as reader:
        assert [row.entry.detail for row in reader.journal_rows(99)] == [str(number) for number in range(50)]
        assert reader.verify_journal()[1] == []
    with closing(sqlite3.connect(path)) as db:
        ((content,),) = db.execute("SELECT content FROM unwritable").fetchall()
        assert content.startswith("Put(")
        assert content.isascii()


class SlowStore(Store):
    """A store that fails as no disk does, a few times, and then works: nobody's job is to blame."""

    odd = 0

    def commit(self, jobs: Sequence[Job]) -> None:
        """Fail, or commit."""
        if SlowStore.odd:
            SlowStore.odd -= 1
            raise RuntimeError("a passing fault")
        super().commit(jobs)


@pytest.mark.parametrize("odd", range(1, 9))
def test_a_passing_fault_blames_no_job(tmp_path: Path, odd: int) -> None:
    """Everything is written once and nothing is set aside, however often commits fail for no job's sake."""
    with Outbox(tmp_path / "outbox.db", kind=SlowStore) as outbox:
        SlowStore.odd = odd
        with outbox.together():
            for number in range(3):
                outbox.put(outbox.reserve(), message(number))
        wait_for(lambda: outbox.flush(1))
        assert [row.message.id for row in outbox.pending(0, 99)] == ["m0", "m1", "m2"]
        assert outbox.counts().unwritable == 0


def test_names_with_half_a_pair_reach_the_disk_as_escapes(tmp_path: Path) -> None:
    """A picture's name, a user and a comment that UTF-8 cannot hold come through as text that anybody can read."""
    model = ModelIdentity("m", "1", None)
    identity = Identity("e", "s", "a", "l", "c", "d", "r", model, epoch="e")
    writer = MessageWriter(identity)
    with Outbox(tmp_path / "outbox.db") as outbox:
        seq = outbox.reserve()
        told, body = writer.result(replace(inspection(None, Verdict.NO_READ, "dark"), name="bad\udcff.png"), seq)
        said = writer.journal_entry("command", user="\udc80anna", comment="\x1b[2J\ud83d")
        outbox.put(seq, told, journal=[said])
        assert outbox.flush(120)
        assert outbox.counts().unwritable == 0
        assert outbox.journal(9) == [said]
    assert b'"name":"bad\\\\udcff.png"' in told.payload
    assert (said.user, said.comment) == (r"\udc80anna", "\x1b[2J" + r"\ud83d")
    assert body["name"] == "bad\udcff.png"


def removed(path: Path) -> None:
    """Remove the file alone."""
    path.unlink()


def removed_with_all(path: Path) -> None:
    """Remove all that lies beside it too, the lock among it."""
    for each in path.parent.glob(f"{path.name}*"):
        each.unlink()


def folder_removed(path: Path) -> None:
    """Remove the folder."""
    shutil.rmtree(path.parent)


def log_removed(path: Path) -> None:
    """Remove the write-ahead log, which holds what the file does not have yet."""
    path.with_name(f"{path.name}-wal").unlink()


def moved(path: Path) -> None:
    """Move it away."""
    path.rename(path.with_name("elsewhere.db"))


def replaced_by_a_store(path: Path) -> None:
    """Put another store in its place, as one who restores a backup does."""
    with Outbox(path.with_name("other.db")) as other:
        other.put(1, message(999))
    os.replace(path.with_name("other.db"), path)  # noqa: PTH105 - as mv does


def replaced_by_text(path: Path) -> None:
    """Put something else in its place."""
    path.with_name("text").write_text("no store")
    os.replace(path.with_name("text"), path)  # noqa: PTH105 - as mv does


def replaced_by_nothing(path: Path) -> None:
    """Remove it and make an empty file."""
    path.unlink()
    path.touch()


DONE_TO_IT: list[Callable[[Path], None]] = [
    removed, removed_with_all, folder_removed, log_removed, moved, replaced_by_a_store, replaced_by_text,
    replaced_by_nothing,
]  # fmt: skip


@pytest.mark.parametrize("do", DONE_TO_IT, ids=lambda do: do.__name__)
def test_a_store_whose_file_is_taken_away_is_written_again(tmp_path: Path, do: Callable[[Path], None]) -> None:
    """Within moments the file is there again with all that it held, and is told of.

    Later rows go on in it.
    """
    path = tmp_path / "store" / "outbox.db"
    with Outbox(path) as outbox:
        for number in range(20):
            outbox.put(
                outbox.reserve(),
                message(number),
                alarms=[AlarmRecord("a", str(number))],
                journal=[entry(detail=str(number))],
            )
        assert outbox.flush(120)
        outbox.acknowledge(outbox.pending(0, 1)[0])
        assert outbox.flush(120)
        do(path)
        wait_for(lambda: outbox.replaced)
        assert "was written again with all that it held" in str(outbox.replaced)
        outbox.put(outbox.reserve(), message(20))
        assert outbox.flush(120)
        assert [row.message.id for row in outbox.pending(0, 99)] == [f"m{number}" for number in range(1, 21)]
        epoch = outbox.epoch
        with pytest.raises(StoreError, match="in use by another"):
            Outbox(path).__enter__()
    with OutboxReader(path) as reader:
        assert (reader.epoch, reader.committed) == (epoch, 21)
        assert [row.entry.detail for row in reader.journal_rows(99)] == [str(number) for number in range(20)]
        assert reader.verify_journal()[1] == []
    with Outbox(path) as outbox:
        assert outbox.replaced is None
        assert outbox.alarm_records() == [AlarmRecord("a", "19")]
        assert [row.message.id for row in outbox.pending(0, 99)] == [f"m{number}" for number in range(1, 21)]
    kept = [each for each in path.parent.glob("*.replaced-*") if not each.name.endswith(("-wal", "-shm"))]
    assert len(kept) == (do in {replaced_by_a_store, replaced_by_text, replaced_by_nothing, log_removed})


def test_what_is_taken_away_just_before_the_end_is_written_again(tmp_path: Path) -> None:
    """A file that goes in the last moment of a line is there after it."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(1, message(1))
        assert outbox.flush(120)
        path.unlink()
    with OutboxReader(path) as reader:
        assert reader.committed == 1


def test_a_store_that_is_cut_short_is_begun_anew(tmp_path: Path) -> None:
    """An emptied file is told of within moments. Numbers, alarms, what waits in its log and what comes later go on."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(outbox.reserve(), message(1), alarms=[AlarmRecord("a", "1")])
        assert outbox.flush(120)
        os.truncate(path, 0)
        wait_for(lambda: outbox.replaced)
        assert "set aside" in str(outbox.replaced)
        outbox.put(outbox.reserve(), message(2))
        assert outbox.flush(120)
        # the log beside it still had the first
        assert [(row.seq, row.message.id) for row in outbox.pending(0, 99)] == [(1, "m1"), (2, "m2")]
    with Outbox(path) as outbox:
        assert outbox.alarm_records() == [AlarmRecord("a", "1")]


_KILLED = """
import os, sys
from pathlib import Path
from edge.outbox import Outbox
from edge.outbox.store import Store
from edge.records import Message
path = Path(sys.argv[1])
step = sys.argv[2]

class Killed(Store):
    def copy_to(self, to):
        if step == "before":
            os.kill(os.getpid(), 9)
        super().copy_to(to)
        if step == "between":
            os.kill(os.getpid(), 9)
    def close(self):
        super().close()
        os.kill(os.getpid(), 9)

with Outbox(path, kind=Killed) as outbox:
    outbox.put(1, Message("m1", "result", "t", b"{}"))
    assert outbox.flush(120)
    path.rename(path.with_name("elsewhere.db"))
    outbox.flush(120)
    while True:
        pass
"""


@pytest.mark.parametrize(("step", "there"), [("before", 0), ("between", 1), ("behind", 1)])
def test_a_kill_while_a_store_is_written_again(tmp_path: Path, step: str, there: int) -> None:
    """A copy that was whole gets its place at the next start. One that was not is not taken for one."""
    path = tmp_path / "outbox.db"
    done = subprocess.run([sys.executable, "-c", _KILLED, str(path), step], check=False, timeout=240)
    assert done.returncode == -9
    with Outbox(path) as outbox:
        assert outbox.committed == there


class FullStore(Store):
    """A store on a full disk."""

    full = False

    def commit(self, jobs: Sequence[Job]) -> None:
        """Fail, or commit."""
        if FullStore.full and jobs:
            raise sqlite3.OperationalError("database or disk is full")
        super().commit(jobs)


def test_a_stop_that_loses_messages_counts_them(tmp_path: Path) -> None:
    """Closed on a full disk, an outbox, and only then, says how many messages and journal entries were lost."""
    with Outbox(tmp_path / "outbox.db", kind=FullStore) as outbox:
        outbox.put(1, message(0))
        assert outbox.flush(120)
        FullStore.full = True
        for number in range(1, 10):
            outbox.put(None, message(number))
        outbox.put(None, journal=[entry()])
    FullStore.full = False
    assert outbox.counts().lost == 10
    with Outbox(tmp_path / "outbox.db") as outbox:
        assert outbox.counts().pending == 1
    assert outbox.counts().lost == 0


def test_a_disk_that_is_free_again_while_the_outbox_closes_loses_nothing(tmp_path: Path) -> None:
    """For some seconds a closing outbox goes on trying."""
    with Outbox(tmp_path / "outbox.db", kind=FullStore) as outbox, suppress(StoreError):
        FullStore.full = True
        outbox.put(1, message(0))
        wait_for(lambda: outbox.trouble)
        started_s = time.monotonic()
        threading.Timer(1.5, lambda: setattr(FullStore, "full", False)).start()
    assert outbox.counts().lost == 0
    assert time.monotonic() - started_s > 0.5


def test_a_flood_of_records_displaces_no_alarm_and_no_result(tmp_path: Path) -> None:
    """Records of commands wait in a room of their own while the disk takes nothing; the oldest go, counted."""
    with Outbox(tmp_path / "outbox.db", kind=FullStore, max_waiting=100, max_alarms=100) as outbox:
        FullStore.full = True
        outbox.put(outbox.reserve(), message(1))
        outbox.put(outbox.reserve(), message(2, urgent=True), journal=[entry()])
        for number in range(1000):
            outbox.put(None, journal=[entry(kind="command", detail=str(number))])
        FullStore.full = False
        wait_for(lambda: outbox.flush(1))
        assert [row.message.id for row in outbox.pending(0, 9)] == ["m1", "m2"]
        details = [told.detail for told in outbox.journal(2000) if told.kind == "command"]
        counts = outbox.counts()
        assert len(details) + counts.records_dropped == 1000
        assert details[-100:] == [str(number) for number in range(900, 1000)]
        assert (counts.dropped, counts.alarms_dropped) == (0, 0)


# Deeds to a store's tables: a statement, and whether the file can be used on.
TAMPERED: dict[str, tuple[str, bool]] = {
    "no journal": ("DROP TABLE journal", False),
    "no chain": ("DROP TABLE chain", False),
    "no alarms": ("DROP TABLE alarm", False),
    "no messages": ("DROP TABLE message", False),
    "no meta": ("DROP TABLE meta", False),
    "nothing in meta": ("DELETE FROM meta", False),
    "a last number that is none": ("UPDATE meta SET value = 'abc' WHERE key = 'committed'", False),
    "a last number below 0": ("UPDATE meta SET value = -99999999999999 WHERE key = 'committed'", False),
    "a trigger on messages": (
        "CREATE TRIGGER t BEFORE INSERT ON message BEGIN SELECT raise(abort, 'no'); END",
        False,
    ),
    "a trigger on the journal": ("CREATE TRIGGER t AFTER INSERT ON journal BEGIN DELETE FROM journal; END", False),
    "a chain whose end is a word": ("UPDATE chain SET last = 'abc'", False),
    "a chain whose end is no number": ("UPDATE chain SET last = 9223372036854775807", False),
    "a chain whose beginning is none": ("UPDATE chain SET first = -1", False),
    "a chain whose hash is bytes": ("UPDATE chain SET hash = x'00'", False),
    "nothing in the chain": ("DELETE FROM chain", True),
    "a chain that was taken back": ("UPDATE chain SET last = 0, hash = before", True),
    "a count that was taken back": ("DELETE FROM sqlite_sequence; UPDATE journal SET user = 'eve'", True),
    "a count that is a word": ("UPDATE sqlite_sequence SET seq = 'abc'; UPDATE journal SET user = 'eve'", True),
    "a journal without times": ("UPDATE journal SET at = 'yesterday'", True),
    "a journal without clocks": ("UPDATE journal SET monotonic_ns = 'x'", True),
    "a user of bytes": ("UPDATE journal SET user = x'ff00ff'", True),
    "a time of bytes": ("UPDATE journal SET at = x'00'", True),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_store_that_was_tampered_with_holds_up_no_line(tmp_path: Path, name: str) -> None:
    """An unusable store is set aside, and a new one works. Rows of the journal are read on, and are found out."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(outbox.reserve(), message(1), alarms=[AlarmRecord("a", "1")], journal=[entry()])
        assert outbox.flush(120)
    statement, usable = TAMPERED[name]
    with closing(sqlite3.connect(path)) as db:
        db.executescript(statement)
    with Outbox(path) as outbox:
        assert (outbox.set_aside is None) == usable
        outbox.put(outbox.reserve(), message(2), journal=[entry()])
        assert outbox.flush(120)
        assert [row.message.id for row in outbox.pending(0, 9)] == ["m1", "m2"][not usable :]
    assert (outbox.counts().lost, outbox.counts().unwritable) == (0, 0)
    with OutboxReader(path) as reader:
        assert len(reader.journal_rows(9)) == 1 + usable
        assert bool(reader.verify_journal()[1]) == usable


@pytest.mark.parametrize("statement", [told for told, _ in TAMPERED.values() if "TABLE" in told])
def test_a_table_that_is_taken_from_a_running_line(tmp_path: Path, statement: str) -> None:
    """Within moments a new store goes on with numbers and alarms.

    It has what waited, if that is read.
    """
    path = tmp_path / "outbox.db"
    readable = statement != "DROP TABLE message"
    with Outbox(path) as outbox:
        for number in range(3):
            outbox.put(outbox.reserve(), message(number), alarms=[AlarmRecord("a", "1")], journal=[entry()])
        assert outbox.flush(120)
        outbox.acknowledge(outbox.pending(0, 1)[0])
        with closing(sqlite3.connect(path)) as db:
            db.execute(statement)
            db.commit()
        outbox.put(outbox.reserve(), message(3), alarms=[AlarmRecord("a", "2")], journal=[entry()])
        assert outbox.flush(120)
        told = str(outbox.replaced)
        assert "set aside" in told
        assert ("2 messages that waited in it went on" in told) == readable
        assert ("cannot be read: no such table" in told) != readable
        found = [(row.seq, row.message.id) for row in outbox.pending(0, 99)]
        assert found == [(2, "m1"), (3, "m2"), (4, "m3")][0 if readable else 2 :]
    assert outbox.counts().lost == 0
    with Outbox(path) as outbox:
        assert [row.message.id for row in outbox.pending(0, 9)] == ["m1", "m2", "m3"][0 if readable else 2 :]
        assert outbox.alarm_records() == [AlarmRecord("a", "2")]
        assert outbox.reserve() == 5


def test_as_much_goes_on_as_can_be_read(tmp_path: Path) -> None:
    """Of 2,500 messages in a file with a torn page those before it go on, in order, none altered. The rest is told."""
    path = tmp_path / "outbox.db"
    with Outbox(path, max_waiting=9999) as outbox:
        for number in range(2500):
            outbox.put(outbox.reserve(), message(number, payload=b'{"of": "%04d%s"}' % (number, b"x" * 400)))
        assert outbox.flush(120)
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            pages = db.execute("SELECT pageno FROM dbstat WHERE name = 'message' AND pagetype = 'leaf'").fetchall()
            db.execute("DROP TABLE chain")
        # torn as a bad sector tears: a page of the middle holds something else
        with path.open("r+b") as file:
            file.seek(4096 * (pages[len(pages) // 2][0] - 1))
            file.write(b"\xff" * 4096)
        outbox.put(outbox.reserve(), message(2500), journal=[entry()])
        assert outbox.flush(120)
        told = str(outbox.replaced)
        found = [row.message for row in outbox.pending(0, 9999)]
    assert "cannot be read: database disk image is malformed" in told
    *before, last = [each.id for each in found]
    assert before == [f"m{number}" for number in range(len(before))]
    assert 1000 < len(before) < 1500
    assert all(each.payload.startswith(b'{"of": "%04d' % number) for number, each in enumerate(found[:-1]))
    assert last == "m2500"


class FullForOneStore(Store):
    """A store that has no room for one message, a few times."""

    refusals = 0

    def commit(self, jobs: Sequence[Job]) -> None:
        """Fail, or commit."""
        ids = [each.id for job in jobs if isinstance(job, Put) for each in job.messages]
        if FullForOneStore.refusals and "m1" in ids:
            FullForOneStore.refusals -= 1
            raise sqlite3.OperationalError("database or disk is full")
        super().commit(jobs)


def test_a_rescue_that_the_disk_breaks_off_is_done_again(tmp_path: Path) -> None:
    """A disk that is full while a store is begun anew costs nothing: what waited is taken over, once."""
    path = tmp_path / "outbox.db"
    with Outbox(path, kind=FullForOneStore) as outbox:
        for number in range(3):
            outbox.put(outbox.reserve(), message(number))
        assert outbox.flush(120)
        FullForOneStore.refusals = 2
        with closing(sqlite3.connect(path)) as db:
            db.execute("DROP TABLE journal")
            db.commit()
        outbox.put(outbox.reserve(), message(3), journal=[entry()])
        wait_for(lambda: outbox.flush(1))
        assert [row.message.id for row in outbox.pending(0, 99)] == ["m0", "m1", "m2", "m3"]
        assert FullForOneStore.refusals == 0
    assert outbox.counts().lost == 0
    assert len(list(tmp_path.glob("*.corrupt-*"))) == 1


def test_rows_that_no_outbox_writes_do_not_stop_the_others(tmp_path: Path) -> None:
    """Messages that somebody wrote into the file are set aside in it, and all others go on."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        for number in range(6):
            outbox.put(outbox.reserve(), message(number))
        assert outbox.flush(120)
    harms = ("payload = 'text'", "topic = x'ff'", "qos = 'x'", "qos = 7", "created_s = 'abc'")
    with closing(sqlite3.connect(path)) as db:
        for number, harm in enumerate(harms):
            db.execute(f"UPDATE message SET {harm} WHERE id = ?", (f"m{number}",))  # noqa: S608 - the test's own
        db.commit()
    with OutboxReader(path) as reader:
        assert reader.waiting()[:2] == (6, 0)
    with Outbox(path) as outbox:
        assert [row.message.id for row in outbox.pending(0, 9)] == ["m5"]
        assert outbox.set_aside is None
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM unwritable").fetchone() == (5,)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["a folder", "a pipe"])
def test_what_is_no_file_is_no_store(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """It is refused at once and in words, and left as it is."""
    make(tmp_path / "outbox.db")
    with pytest.raises(StoreError, match="is no file"), Outbox(tmp_path / "outbox.db"):
        pass


@pytest.mark.parametrize("body", ["not json", "[]", '{"a": NaN}', "7", '"text"', '{"condition": "odd", "since": ""}'])
def test_an_alarm_whose_record_was_altered_is_not_said_to_be_normal(tmp_path: Path, body: str) -> None:
    """`alarms` and `status` refuse in words, for how it stands is not known; a line begins the alarm anew."""
    store = tmp_path / "outbox.db"
    with Outbox(store) as outbox:
        outbox.put(None, alarms=[AlarmRecord("no-read", body)])
        assert outbox.flush(120)
    (tmp_path / "line.yaml").write_text(f"camera: {{source: simulated}}\nstore: {{path: {store}}}\n")
    for command in ("alarms", "status"):
        told = CliRunner().invoke(linewatch, [command, str(tmp_path / "line.yaml")])
        assert isinstance(told.exception, StoreError), told.output
        assert "The record of the alarm no-read" in str(told.exception)
