"""The ledger of shifts in the store: each result is counted once, whatever happens to the process or the file."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import StoreError
from edge.outbox import Outbox, OutboxReader, Store
from edge.outbox.ledger import COUNTERS_AT_MOST, DAYS_KEPT, NOT_COUNTED
from edge.outbox.records import Job
from edge.records import JournalEntry, Message, Verdict
from edge.records.ledger import WORST_KEPT, CountDelta, WorstPart
from tests.brokers import wait_for

SHIFT = "2026-11-30T06:00+01:00"


def one(name: str = "parts", by: float = 1, shift: str = SHIFT, recipe: str = "phone") -> CountDelta:
    """Return one more of a counter."""
    return CountDelta(shift, recipe, name, by)


def part(number: int, coverage: float, verdict: Verdict = Verdict.NG, recipe: str = "phone") -> WorstPart:
    """Return a part that may be among the worst."""
    at = datetime(2026, 11, 30, 6, 0, number % 60, tzinfo=timezone.utc)
    return WorstPart(SHIFT, recipe, f"P-{number}", number, at, verdict, "scratch", coverage, "scratch", 1.5, 6.0, "B")


def message(number: int) -> Message:
    """Return a result."""
    return Message(f"r{number}", "result", "line/event/result", str(number).encode())


def counted(path: Path, shift: str = SHIFT) -> dict[tuple[str, str], float]:
    """Return what the file says of a shift."""
    with OutboxReader(path) as reader:
        return {(count.recipe, count.name): count.by for count in reader.counts(shift)}


deltas = st.builds(
    CountDelta,
    st.sampled_from([SHIFT, "2026-11-30T14:00+01:00"]),
    st.sampled_from(["", "phone", "glas ü"]),
    st.sampled_from(["parts", "ok", "value", "class:scratch"]),
    st.integers(0, 10**9),
)


@settings(max_examples=15)
@given(st.lists(st.lists(st.lists(deltas, max_size=4), max_size=8), min_size=1, max_size=3))
def test_counters_are_the_sum_of_what_was_put(runs: list[list[list[CountDelta]]]) -> None:
    """Over restarts, and from one shift to another and back, each counter is the sum of its deltas."""
    expected: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        for puts in runs:
            with Outbox(path) as outbox:
                for counts in puts:
                    outbox.put(None, counts=counts)
                    for delta in counts:
                        expected[delta.shift, delta.recipe, delta.name] += int(delta.by)
        with OutboxReader(path) as reader:
            found = {(c.shift, c.recipe, c.name): c.by for shift in reader.shifts() for c in reader.counts(shift)}
    assert found == dict(expected)


_KILLED = """
import sys
from pathlib import Path
from edge.outbox import Outbox
from tests.edge.outbox.test_ledger import SHIFT, message, one, part
with Outbox(Path(sys.argv[1])) as outbox:
    while True:
        number = outbox.reserve()
        with outbox.together():
            outbox.put(number, message(number), counts=[one(), one("ok")], worst=[part(number, number / 1e6)])
        if number % 50 == 0:
            assert outbox.flush(120)
            print(number, flush=True)
"""


def test_a_kill_counts_no_part_twice_and_none_not_at_all(tmp_path: Path) -> None:
    """After each kill -9 the counted parts are the results on disk, and a restart goes on from there."""
    path = tmp_path / "outbox.db"
    before = 0.0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", _KILLED, str(path)], stdout=subprocess.PIPE) as line:
            assert line.stdout is not None
            line.stdout.readline()
            os.kill(line.pid, signal.SIGKILL)
        with closing(sqlite3.connect(path)) as db:
            ((results, last),) = db.execute("SELECT count(*), max(seq) FROM message").fetchall()
        with Outbox(path) as outbox:
            assert outbox.shift_counts(SHIFT) == {("phone", "parts"): results, ("phone", "ok"): results}
        with OutboxReader(path) as reader:
            assert reader.worst(SHIFT)[0].number == last == results
        assert results > before
        before = results


def test_the_worst_parts_of_a_shift_are_kept_and_the_least_bad_leave(tmp_path: Path) -> None:
    """Of each recipe there are 50: NG before OK, then by coverage, whatever order they came in."""
    path = tmp_path / "outbox.db"
    ng = [part(number, (number * 37 % 97) / 100) for number in range(60)]
    ok = [part(100 + number, 0.99, Verdict.OK) for number in range(3)]
    with Outbox(path) as outbox:
        for each in (*ok, *ng, part(500, 0.001, recipe="other")):
            outbox.put(None, worst=[each])
    expected = sorted(ng, key=lambda each: (-each.coverage, each.number))[:WORST_KEPT]
    with OutboxReader(path) as reader:
        assert [each for each in reader.worst(SHIFT) if each.recipe == "phone"] == expected
        assert [each.number for each in reader.worst(SHIFT) if each.recipe == "other"] == [500]


def test_parts_that_are_ok_fill_up_what_ng_parts_leave(tmp_path: Path) -> None:
    """An OK part with much to see comes after every NG part.

    Every field of it comes back as it was.
    """
    path = tmp_path / "outbox.db"
    fine = replace(part(1, 0.5, Verdict.OK), length_mm=None, reason="", grade="")
    with Outbox(path) as outbox:
        outbox.put(None, worst=[fine, part(2, 0.1)])
    with OutboxReader(path) as reader:
        assert reader.worst(SHIFT) == [part(2, 0.1), fine]


def test_shifts_of_the_last_400_days_are_kept(tmp_path: Path) -> None:
    """The days go that were first, also where a clock was ahead once; present counts never go."""
    path = tmp_path / "outbox.db"
    days = [date(2025, 1, 1) + timedelta(days=number) for number in range(DAYS_KEPT + 5)]
    shifts = [f"{day.isoformat()}T{hour:02}:00+00:00" for day in days for hour in (6, 18)]
    with Outbox(path) as outbox:
        outbox.put(None, counts=[one(shift="2099-01-01T06:00+00:00")])
        for shift in shifts:
            outbox.put(None, counts=[one(shift=shift)], worst=[replace(part(1, 0.1), shift=shift)])
        outbox.put(None, counts=[one(shift="1970-01-01T06:00+00:00")])
    with OutboxReader(path) as reader:
        kept = reader.shifts()
        assert [bool(reader.worst(shift)) for shift in (shifts[0], shifts[-1])] == [False, True]
    assert kept == ["1970-01-01T06:00+00:00", *shifts[-2 * (DAYS_KEPT - 2) :], "2099-01-01T06:00+00:00"]
    assert len({shift[:10] for shift in kept}) == DAYS_KEPT
    assert kept[1] == "2025-01-08T06:00+00:00"  # days 1 to 7 of January went: 405 + 2 days, less 400


def test_shifts_are_in_the_order_of_time_not_of_the_clock_on_the_wall(tmp_path: Path) -> None:
    """In the night of the change 02:00 at +02:00 is before 01:30 at -01:00, which is 02:30 in UTC."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(None, counts=[one(shift="2026-10-25T01:30-01:00"), one(shift="2026-10-25T02:00+02:00")])
    with OutboxReader(path) as reader:
        assert reader.shifts() == ["2026-10-25T02:00+02:00", "2026-10-25T01:30-01:00"]


class FailingStore(Store):
    """A store whose commits come to nothing at the very end while `fails` is above 0.

    A disk that fills up does so.
    """

    fails = 0

    def commit(self, jobs: Sequence[Job]) -> None:
        """Do all, and undo it again; or commit."""
        if jobs and FailingStore.fails:
            FailingStore.fails -= 1
            self._writing.execute(
                "CREATE TEMP TRIGGER full BEFORE UPDATE ON meta BEGIN SELECT RAISE(FAIL, 'full'); END"
            )
            try:
                super().commit(jobs)
            except sqlite3.IntegrityError as error:
                raise sqlite3.OperationalError("database or disk is full") from error
            finally:
                self._writing.execute("DROP TRIGGER full")
        super().commit(jobs)


def test_what_is_undone_is_counted_once_when_it_is_tried_again(tmp_path: Path) -> None:
    """A commit that fails after its counting leaves no count; the same jobs count once when the disk has room."""
    path = tmp_path / "outbox.db"
    with Outbox(path, kind=FailingStore) as outbox:
        FailingStore.fails = 2
        for number in range(10):
            outbox.put(outbox.reserve(), message(number), counts=[one()])
        wait_for(lambda: outbox.trouble is not None)
        assert counted(path) == {}
        wait_for(lambda: outbox.flush(1))
        assert counted(path) == {("phone", "parts"): 10}
        assert outbox._store.running_counts() == (one(by=10),)


def test_a_bad_job_beside_others_counts_nothing_twice(tmp_path: Path) -> None:
    """A batch that is taken apart for one bad job's sake counts each of the others once."""
    path = tmp_path / "outbox.db"
    bad = JournalEntry(datetime.now(timezone.utc), "b", 1, "raised", "a", None, "", "\udc80", "")
    with Outbox(path) as outbox:
        with outbox.together():
            for number in range(20):
                outbox.put(outbox.reserve(), message(number), counts=[one()], journal=[bad] if number == 7 else [])
        assert outbox.flush(120)
        assert outbox.counts().unwritable == 1
    assert counted(path) == {("phone", "parts"): 19}


def test_a_result_that_is_put_twice_is_counted_once(tmp_path: Path) -> None:
    """The id of its message tells that it was there before."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        for _ in range(2):
            outbox.put(1, message(1), counts=[one()])
            assert outbox.flush(120)
    assert counted(path) == {("phone", "parts"): 1}


def test_results_that_memory_has_no_room_for_are_counted_all_the_same(tmp_path: Path) -> None:
    """The oldest messages go while the disk takes nothing. The parts that they told of are in the counters."""
    path = tmp_path / "outbox.db"
    with Outbox(path, max_waiting=5, kind=FailingStore) as outbox:
        FailingStore.fails = 2
        for number in range(40):
            outbox.put(outbox.reserve(), message(number), counts=[one(), one("ok", shift=SHIFT if number % 2 else "")])
            if number == 3:
                wait_for(lambda: outbox.trouble is not None)
        wait_for(lambda: outbox.flush(1))
        assert outbox.counts().dropped > 20
        assert counted(path) == {("phone", "parts"): 40, ("phone", "ok"): 20}


def test_counters_of_the_running_shift_outlive_a_file_that_goes_bad(tmp_path: Path) -> None:
    """A file that is damaged while it is open is begun anew with the counters of the shift that runs."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(outbox.reserve(), message(1), counts=[one(by=7)])
    with Outbox(path) as outbox:
        with path.open("r+b") as file:
            file.truncate(4096)
        wait_for(lambda: outbox.set_aside is not None)
        outbox.put(outbox.reserve(), message(2), counts=[one()])
        wait_for(lambda: outbox.flush(1))
    assert counted(path) == {("phone", "parts"): 8}


def test_counters_of_a_shift_have_a_bound(tmp_path: Path) -> None:
    """Counters under more names than there is room for are told under one."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(None, counts=[one(f"class:{number}") for number in range(COUNTERS_AT_MOST + 25)])
        outbox.put(None, counts=[one("class:3")])
    found = counted(path)
    assert len(found) == COUNTERS_AT_MOST + 1
    assert found["", NOT_COUNTED] == 25
    assert found["phone", "class:3"] == 2


def test_a_counter_that_no_line_writes_is_an_error(tmp_path: Path) -> None:
    """Somebody wrote into the file: the reader says so, and invents no number."""
    path = tmp_path / "outbox.db"
    with Outbox(path) as outbox:
        outbox.put(None, counts=[one()], worst=[part(1, 0.1)])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE shift_count SET value = 'many'")
        db.execute("UPDATE shift_worst SET verdict = 'FINE'")
    with OutboxReader(path) as reader:
        with pytest.raises(StoreError, match=r"was altered: a counter of a shift .*'many'"):
            reader.counts(SHIFT)
        with pytest.raises(StoreError, match="was altered: a part of a shift"):
            reader.worst(SHIFT)


def test_the_journal_of_a_stretch_of_time(tmp_path: Path) -> None:
    """Entries from the beginning on and before the end, and of what came before the last of each alarm."""
    begins = datetime(2026, 11, 30, 5, tzinfo=timezone.utc)

    def entry(minute: int, kind: str, alarm: str) -> JournalEntry:
        return JournalEntry(begins + timedelta(minutes=minute), "b", 1, kind, alarm, "o", "", "", "")

    entries = [
        entry(-9, "raised", "a"), entry(-8, "cleared", "a"), entry(-7, "raised", "b"), entry(-6, "bypass_begin", ""),
        entry(-5, "reason", "b"), entry(0, "raised", "a"), entry(60, "cleared", "a"),
    ]  # fmt: skip
    with Outbox(tmp_path / "outbox.db") as outbox:
        outbox.put(None, journal=entries)
    with OutboxReader(tmp_path / "outbox.db") as reader:
        assert reader.journal_between(begins, begins + timedelta(minutes=60)) == entries[5:6]
        before = reader.last_before(begins, ["raised", "cleared", "bypass_begin"])
        assert before == [entries[1], entries[2], entries[3]]
