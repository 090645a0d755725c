"""The evidence folder: whole or absent, within its budget, repaired after a kill, and never without its reasons."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edge.errors import JournalError, StoreError
from edge.evidence.choosing import Kind, evidence_id
from edge.evidence.folder import SCHEMA, EvidenceFolder, Repaired
from edge.evidence.index import EvidenceIndex, Sought
from edge.evidence.judging import FILE, Judgement, Judgements
from edge.evidence.settings import AgeSettings, EvidenceSettings
from tests.conftest import ROOT

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SETTINGS = EvidenceSettings(min_free_gb=0)
KB = 1_000
ALL = Sought()


class Clock:
    """A wall clock that tests move; a jump is of the wall alone."""

    def __init__(self) -> None:
        self.now = NOON
        self._jumped = timedelta(0)

    def __call__(self) -> datetime:
        """Return its time."""
        return self.now

    def jump(self, by: timedelta) -> None:
        """Set the wall clock to another time."""
        self.now += by
        self._jumped += by

    def monotonic_s(self) -> float:
        """Return the steady time."""
        return (self.now - self._jumped - NOON).total_seconds()


def told(number: int, kind: Kind = Kind.NG, at: datetime = NOON) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return row and record of result `number`."""
    name = evidence_id(None, number, f"p{number}")
    row = {
        "name": name,
        "kind": kind.value,
        "verdict": "OK" if kind in {Kind.OK, Kind.NEAR} else kind.value.upper(),
        "part_id": f"p{number}",
        "recipe": "phone",
        "reason": None,
        "why": kind.value,
    }
    record = {"schema": SCHEMA, "id": name, "kept_at": at.isoformat(), **{k: v for k, v in row.items() if k != "name"}}
    return row, record


def keep(folder: EvidenceFolder, number: int, kind: Kind = Kind.NG, size: int = 10 * KB) -> str:
    """Keep result `number` with a file of so many bytes, and return its name."""
    row, record = told(number, kind)
    folder.keep(row, record, {"top.jpg": random.Random(number).randbytes(size)})
    return str(row["name"])


def names(path: Path, sought: Sought = ALL) -> list[str]:
    """Return what the index finds, the newest first."""
    with EvidenceIndex(path, writes=False) as index:
        return [row["name"] for row in index.find(sought, 10_000)]


def taken(path: Path) -> int:
    """Return what the folders take on the disk, by the system's own count."""
    return sum(
        file.stat().st_blocks * 512
        for day in path.iterdir()
        if day.is_dir()
        for file in day.rglob("*")
        if file.is_file()
    )


def test_what_was_kept_is_there_and_found(tmp_path: Path) -> None:
    """A kept result has its folder by day and name, is found by each filter, and its neighbours are known."""
    clock = Clock()
    with EvidenceFolder(tmp_path, SETTINGS, now=clock) as folder:
        kept = []
        for number, kind in enumerate((Kind.NG, Kind.OK, Kind.NO_READ)):
            kept.append(keep(folder, number, kind))
            clock.now += timedelta(hours=1)
    assert (tmp_path / "2026-01-31" / kept[0] / "top.jpg").stat().st_size == 10 * KB
    assert names(tmp_path) == kept[::-1]
    assert names(tmp_path, Sought(verdicts=("NG", "NO_READ"))) == [kept[2], kept[0]]
    assert names(tmp_path, Sought(since=NOON + timedelta(minutes=30), until=NOON + timedelta(hours=2))) == [kept[1]]
    assert names(tmp_path, Sought(part_id="p1", recipe="phone", judged=False)) == [kept[1]]
    with EvidenceIndex(tmp_path, writes=False) as index:
        assert index.beside(Sought(), kept[1]) == (kept[2], kept[0])
        assert index.beside(Sought(verdicts=("NG",)), kept[1]) == (None, kept[0])
        assert index.count(Sought()) == 3


def test_the_budget_holds_and_what_is_wanted_most_stays(tmp_path: Path) -> None:
    """Three times as much as there is room for: never more on the disk than the budget, and every NG is still there."""
    settings = EvidenceSettings(budget_gb=0.0005, min_free_gb=0)  # 500 kB
    clock = Clock()
    with EvidenceFolder(tmp_path, settings, now=clock, monotonic_s=clock.monotonic_s) as folder:
        ng = []
        for number in range(100):
            clock.now += timedelta(seconds=1)
            kind = Kind.NG if number % 10 == 0 else Kind.OK
            name = keep(folder, number, kind)
            ng += [name] if kind is Kind.NG else []
            assert folder.total_bytes <= 500 * KB
        assert taken(tmp_path) <= 500 * KB
    assert set(ng) <= set(names(tmp_path))
    newest_ok = names(tmp_path, Sought(kinds=("ok",)))
    assert newest_ok == sorted(newest_ok, reverse=True)  # the oldest went


def test_what_was_judged_stays_until_it_is_exported(tmp_path: Path) -> None:
    """A budget full of judged evidence takes no more and says why; an export frees it."""
    settings = EvidenceSettings(budget_gb=0.00006, min_free_gb=0, ages_d=AgeSettings(ng=1))
    clock = Clock()
    with EvidenceFolder(tmp_path, settings, now=clock, monotonic_s=clock.monotonic_s) as folder:
        kept = [keep(folder, number) for number in range(2)]
        with EvidenceIndex(tmp_path, writes=True) as index:
            for name in kept:
                index.judge(Judgement(name, "false_reject", NOON, "ann"))
        clock.now += timedelta(days=100)
        with pytest.raises(StoreError, match="was judged and not exported"):
            keep(folder, 3)
        assert set(names(tmp_path)) == set(kept)
        with EvidenceIndex(tmp_path, writes=True) as index:
            index.exported(kept[:1], NOON)
        clock.now += timedelta(minutes=2)
        newest = keep(folder, 4)
        assert set(names(tmp_path)) == {kept[1], newest}


def test_age_by_kind(tmp_path: Path) -> None:
    """After ten days the OK part is gone and the reject is there; after a hundred so is the reject."""
    clock = Clock()
    with EvidenceFolder(tmp_path, SETTINGS, now=clock, monotonic_s=clock.monotonic_s) as folder:
        ng, ok = keep(folder, 1, Kind.NG), keep(folder, 2, Kind.OK)
        clock.now += timedelta(days=10)
        assert folder.forget_old() == 1
        assert (names(tmp_path), ok in names(tmp_path)) == ([ng], False)
        clock.now += timedelta(days=90)
        assert folder.forget_old() == 1
    assert not any(place.name.startswith(".") or place.is_file() for place in tmp_path.glob("*/*"))


@pytest.mark.parametrize("days", [-400, 400, 30_000])
def test_a_clock_that_jumps_removes_nothing_for_a_day(days: int, tmp_path: Path) -> None:
    """A clock set by a year or a lifetime, either way, ages nothing until a day has passed."""
    clock = Clock()
    with EvidenceFolder(tmp_path, SETTINGS, now=clock, monotonic_s=clock.monotonic_s) as folder:
        keep(folder, 1)
        clock.now += timedelta(minutes=2)
        assert folder.forget_old() == 0
        clock.jump(timedelta(days=days))
        for _ in range(23):
            clock.now += timedelta(hours=1)
            assert folder.forget_old() == 0
        clock.now += timedelta(hours=3)
        assert folder.forget_old() == (1 if days > 90 else 0)


def test_a_disk_with_too_little_room_is_left_alone(tmp_path: Path) -> None:
    """Nothing is written or removed while the disk has less free than is to stay free. Then it goes on."""
    free = [5_000_000_000]
    settings = EvidenceSettings(min_free_gb=1)
    with EvidenceFolder(tmp_path, settings, free_bytes=lambda _: free[0]) as folder:
        first = keep(folder, 1)
        free[0] = 1_000_000_000
        with pytest.raises(StoreError, match=r"1\.0 GB free"):
            keep(folder, 2)
        assert names(tmp_path) == [first]
        free[0] = 5_000_000_000
        assert keep(folder, 3) in names(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_full_in_the_middle_of_a_picture(tmp_path: Path) -> None:
    """On a real disk of 256 kB no trace of a 300 kB picture is kept. A small one still fits."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        with EvidenceFolder(disk, SETTINGS, free_bytes=lambda _: 10**12) as folder:
            with pytest.raises(StoreError, match=r"No space left on device\. Free some space"):
                keep(folder, 1, size=300 * KB)
            assert not list(disk.glob("*/*"))
            kept = keep(folder, 2, size=20 * KB)
            assert names(disk) == [kept]
    finally:
        subprocess.run(["umount", disk], check=True)


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.edge.evidence.test_folder import SETTINGS, keep
from edge.evidence.folder import EvidenceFolder
with EvidenceFolder(Path(sys.argv[1]), SETTINGS) as folder:
    number = folder.repaired.added + int(sys.argv[2])
    while True:
        number += 1
        print(keep(folder, number), flush=True)
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_kill_leaves_whole_evidence_or_none(seed: int, tmp_path: Path) -> None:
    """Killed at any moment: all that was told as kept is there, whole and found, and nothing half written is left."""
    dice = random.Random(seed)
    said: set[str] = set()
    for turn in range(3):
        command = [sys.executable, "-c", KILLED.format(root=str(ROOT)), str(tmp_path), str(100_000 * turn)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            said |= {writer.stdout.readline().strip() for _ in range(3)}
            time.sleep(dice.random() * 0.05)
            writer.send_signal(signal.SIGKILL)
            said |= {line.strip() for line in writer.stdout if line.endswith("\n")}
    with EvidenceFolder(tmp_path, SETTINGS) as folder:
        assert folder.repaired.torn == 0
    assert said <= set(names(tmp_path))
    for place in tmp_path.glob("2*/*"):
        assert not place.name.startswith(".")
        assert json.loads((place / "record.json").read_text())["id"] == place.name
        assert (place / "top.jpg").stat().st_size == 10 * KB


def test_torn_and_unfinished_folders_are_put_right(tmp_path: Path) -> None:
    """An unfinished folder goes, one without a readable record is set aside, one that was deleted is forgotten."""
    with EvidenceFolder(tmp_path, SETTINGS, now=Clock()) as folder:
        kept = [keep(folder, number) for number in range(4)]
    day = tmp_path / "2026-01-31"
    (day / f".{kept[0]}.1-1.tmp").mkdir()
    (day / kept[1] / "record.json").unlink()
    (day / kept[2] / "top.jpg").unlink()
    (day / kept[2] / "record.json").unlink()
    (day / kept[2]).rmdir()
    stray = day / evidence_id(None, 9, "p9")
    stray.mkdir()
    (stray / "record.json").write_text('{"schema": 1, "schema": 2}')
    with EvidenceFolder(tmp_path, SETTINGS, now=Clock()) as folder:
        assert folder.repaired == Repaired(unfinished=1, torn=2, added=0, gone=2)
    assert sorted(names(tmp_path)) == sorted([kept[0], kept[3]])
    assert {path.name.partition("-")[2] for path in (tmp_path / "torn").iterdir()} == {kept[1], stray.name}


@pytest.mark.parametrize("harm", ["gone", "garbage"])
def test_the_index_is_made_anew_with_its_judgements(harm: str, tmp_path: Path) -> None:
    """Without an index, or with a broken one, all evidence is found again, with what people said of it."""
    judgements = Judgements(tmp_path)
    with EvidenceFolder(tmp_path, SETTINGS, now=Clock()) as folder:
        kept = [keep(folder, number) for number in range(3)]
    judgements.judge(Judgement(kept[0], "missed", NOON, "ann", "scratch", "left edge"))
    judgements.judge(Judgement(kept[1], "right", NOON, "ann"))
    judgements.exported([kept[1]], NOON, "ann")
    for path in tmp_path.glob("index.db*"):
        path.unlink()
    if harm == "garbage":
        (tmp_path / "index.db").write_bytes(b"no database at all" * 1000)
    with EvidenceFolder(tmp_path, SETTINGS, now=Clock()) as folder:
        assert folder.repaired.added == 3
    with EvidenceIndex(tmp_path, writes=False) as index:
        row = index.one(kept[0])
        assert row is not None
        assert (row["judgement"], row["class"], row["comment"], row["user"]) == (
            "missed",
            "scratch",
            "left edge",
            "ann",
        )
        assert {one.name for one in index.kept() if one.bound} == {kept[0]}


def test_an_index_of_another_version_is_refused(tmp_path: Path) -> None:
    """A reader says which version it expects, and that there is none where nothing was kept."""
    with pytest.raises(StoreError, match="No evidence in"), EvidenceIndex(tmp_path, writes=False):
        pass
    with EvidenceIndex(tmp_path, writes=True) as index:
        index._db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="expected 1, received 99"), EvidenceIndex(tmp_path, writes=False):
        pass


def test_judgements_are_a_chain(tmp_path: Path) -> None:
    """Each judgement is a line; the last half of a killed writer's is cut off; an altered line is told."""
    judgements = Judgements(tmp_path)
    for number in range(3):
        judgements.judge(Judgement(f"e{number}", "right", NOON, "ann", None, "same\nline \u2028 \ud800 = 1"))
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"n": 4, "kind": "jud')
    assert [line["n"] for line in judgements.lines()] == [1, 2, 3]
    judgements.judge(Judgement("e3", "unsure", NOON, "bob"))
    assert [line["id"] for line in judgements.lines()] == ["e0", "e1", "e2", "e3"]
    raw = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(raw.replace(b'"e1"', b'"e9"'))
    with pytest.raises(JournalError, match="line 3"):
        list(judgements.lines())


@pytest.mark.parametrize(
    "wrong",
    [
        Judgement("e", "wrong", NOON, "ann"),  # type: ignore[arg-type]
        Judgement("e", "right", NOON, ""),
        Judgement("e", "right", NOON, "ann", "c" * 101),
        Judgement("e", "right", NOON, "ann", None, "x" * 501),
    ],
)
def test_judgements_that_are_none(wrong: Judgement, tmp_path: Path) -> None:
    """An unknown word, nobody's name, and texts without end are refused, and nothing is written."""
    with pytest.raises(ValueError, match="expected"):
        Judgements(tmp_path).judge(wrong)
    assert not (tmp_path / FILE).exists()
