"""Backups: taken while a line runs, restored whole on another device or not at all, and never with numbers twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edge.backup.archive import MANIFEST
from edge.backup.parts import HISTORY, JUDGEMENTS, STORE, USERS
from edge.backup.restoring import restore
from edge.backup.taking import take
from edge.dashboard.history import History
from edge.dashboard.records import JournalRow
from edge.errors import LinewatchError, StoreError
from edge.outbox import Outbox, OutboxReader
from edge.records import JournalEntry, Message
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.conftest import ROOT
from tests.edge.messages.test_messages import NOON
from tests.edge.station.test_run import ROOT_TOPIC, running, write_line

OLD_STORE = ROOT / "tests" / "edge" / "outbox" / "version_3.db"
SETTINGS = "bundle: nothing\nstore: {path: outbox.db}\nevidence: {folder: kept}\n"


def linewatch(*words: str | Path, code: int = 0) -> str:
    """Run a command as in a shell, and return all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "edge", *map(str, words)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stdout + done.stderr
    return done.stdout + done.stderr


def message(number: int) -> Message:
    """Return a result's message."""
    return Message(f"id-{number}", "result", "a/event/result", json.dumps({"n": number}).encode())


@pytest.fixture
def station(tmp_path: Path) -> Path:
    """Write what a station and its dashboard leave on a disk; return the settings."""
    home = tmp_path / "old"
    home.mkdir()
    (home / "line.yaml").write_text(SETTINGS)
    with Outbox(home / "outbox.db") as outbox:
        for number in range(1, 6):
            outbox.put(outbox.reserve(), message(number))
        outbox.put(None, journal=[JournalEntry(NOON, "boot", 1, "started", "", None, "", "", "")])
        assert outbox.flush(120)
        for row in outbox.pending(0, 3):
            outbox.acknowledge(row)
        assert outbox.flush(120)
    with History(home / "dashboard.db", 90, 100) as history:
        history.put(JournalRow("a/b/c/d/e", round(time.time() * 1000), "login", "anna"))
        history.flush()
    (home / "dashboard-users.json").write_text('{"users": []}\n')
    (home / "kept").mkdir()
    (home / "kept" / "judgements.jsonl").write_text('{"whole": 1}\n{"torn')
    return home / "line.yaml"


def everything(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder but those that only say who runs."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_what_was_backed_up_is_there_on_another_device(station: Path, tmp_path: Path) -> None:
    """Store, journal, history, users, judgements and settings come back; missing ones are told, and no more."""
    taken = take(station, tmp_path / "b.zip")
    assert stat.S_IMODE((tmp_path / "b.zip").stat().st_mode) == 0o600
    assert set(taken.manifest.absent) == {"evidence/index.db"}
    assert any(each.startswith("bundle ") for each in taken.manifest.not_carried)
    before = station.parent.joinpath("outbox.db")
    new = tmp_path / "new" / "etc" / "line.yaml"
    done = restore(tmp_path / "b.zip", new, sha256=taken.sha256, user="anna")
    assert new.read_text() == SETTINGS
    assert set(done.places) == {"settings.yaml", "store.db", "dashboard.db", "dashboard-users.json", JUDGEMENTS.name}
    assert (new.parent / "kept" / "judgements.jsonl").read_text() == '{"whole": 1}\n'  # not the line that was torn
    with History(new.parent / "dashboard.db", 90, 100) as history:
        assert history.value("SELECT user FROM journal") == "anna"
    with OutboxReader(before) as old, OutboxReader(new.parent / "outbox.db") as store:
        assert store.committed == old.committed == 5
        assert store.epoch == done.epoch != old.epoch
        assert store.verify_journal()[1] == []
        rows = store.journal_rows(10)
        assert [row.entry.kind for row in rows] == ["started", "restored"]
        assert rows[1].entry.user == "anna"
        assert old.epoch in rows[1].entry.detail
        assert store.waiting()[0] == 2
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in done.places.values())


def test_a_clone_neither_repeats_numbers_nor_sends_what_was_taken(station: Path, tmp_path: Path) -> None:
    """New events count on under the new epoch; rows of the copy have no number there; the acknowledged stay so."""
    take(station, tmp_path / "b.zip")
    new = tmp_path / "new" / "line.yaml"
    restore(tmp_path / "b.zip", new)
    with Outbox(new.parent / "outbox.db") as outbox:
        assert outbox.reserve() == 6
        waiting = outbox.pending(0, 100)
        assert [row.message.id for row in waiting] == ["id-4", "id-5"]
        assert all(row.message.resent and row.seq is None for row in waiting)
        outbox.resend_since(3600)  # as for a broker that forgot
        answers: list[Any] = []
        outbox.resend(1, 5, answers.append)
        wait_for(lambda: answers)
        assert [row.message.id for row in outbox.pending(0, 100)] == ["id-4", "id-5"]
        assert (answers[0].resent, answers[0].missing) == (0, 5)


def test_a_line_that_runs_is_backed_up_and_goes_on_elsewhere(tmp_path: Path) -> None:
    """Taken under a running line by the command; the restored line sends nothing that the broker had taken."""
    home = tmp_path / "old"
    home.mkdir()
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port, f"{ROOT_TOPIC}/event/#") as subscriber:
        config = write_line(home, broker.port)
        with running(config) as line:
            wait_for(lambda: len(subscriber.messages) >= 5)
            said = linewatch("backup", config, tmp_path / "b.zip")
            assert "store.db: " in said
            assert "dashboard.db is not in it: no file" in said
            line.send_signal(signal.SIGTERM)
            line.communicate(timeout=120)
        old = [json.loads(payload) for payload in subscriber.payloads()]
        new = tmp_path / "new"
        new.mkdir()
        for name in ("bundle", "parts"):
            shutil.copytree(home / name, new / name)
        said = linewatch("restore", tmp_path / "b.zip", new / "line.yaml", "--user", "anna")
        assert "a backup does not carry: bundle" in said
        before = len(subscriber.messages)
        with running(new / "line.yaml"):
            epochs = {told["epoch"] for told in old}
            wait_for(lambda: json.loads(subscriber.payloads()[before:][-1])["epoch"] not in epochs)
        fresh = [json.loads(payload) for payload in subscriber.payloads()[before:]]
    again = [told for told in fresh if told["epoch"] in epochs]
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extract("store.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        waited = {identifier for (identifier,) in db.execute("SELECT id FROM message WHERE state = 0")}
        (committed,) = db.execute("SELECT value FROM meta WHERE key = 'committed'").fetchone()
    assert {told["id"] for told in again} <= waited
    numbers = [told["seq"] for told in fresh if told["epoch"] not in epochs]
    assert numbers
    assert min(numbers) > committed
    with OutboxReader(new / "outbox.db") as store:
        assert "restored" in [row.entry.kind for row in store.journal_rows(100, part="station")]
        assert store.verify_journal()[1] == []


def _rewritten(change: Callable[[dict[str, bytes]], None]) -> Callable[[Path], None]:
    """Return what writes an archive anew with some of its entries changed."""

    def rewrite(path: Path) -> None:
        with zipfile.ZipFile(path) as archive:
            entries = {name: archive.read(name) for name in archive.namelist()}
        change(entries)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, content)

    return rewrite


def _manifest(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def rewrite(entries: dict[str, bytes]) -> None:
        told = json.loads(entries[MANIFEST])
        change(told)
        entries[MANIFEST] = json.dumps(told).encode()

    return _rewritten(rewrite)


def _cut(share: float) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * share))


def _link(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            entry = zipfile.ZipInfo(name)
            if name == USERS.name:
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
                content = b"/etc/passwd"  # noqa: PLW2901
            archive.writestr(entry, content)


def _twice(path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(STORE.name, b"another")


def _set(part: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(told: dict[str, Any]) -> None:
        next(each for each in told["parts"] if each["name"] == part)[key] = value

    return change


TROUBLES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut at the end": (_cut(0.99), "torn or no backup"),
    "cut in the middle": (_cut(0.5), "torn or no backup"),
    "empty": (_cut(0.0), "torn or no backup"),
    "no zip": (lambda path: path.write_text("hello") and None, "torn or no backup"),
    "a path out of it": (
        _rewritten(lambda entries: entries.update({"../../etc/cron.d/x": b"* * * * * root true"})),
        "which no backup does",
    ),
    "an absolute path": (_rewritten(lambda entries: entries.update({"/etc/passwd": b""})), "which no backup does"),
    "a backslash": (_rewritten(lambda entries: entries.update({"..\\x": b""})), "which no backup does"),
    "a link": (_link, "is a link, a folder or encrypted"),
    "a name twice": (_twice, "one name twice"),
    "no manifest": (_rewritten(lambda entries: entries.pop(MANIFEST) and None), "has no manifest"),
    "a part less": (_rewritten(lambda entries: entries.pop(USERS.name) and None), "tells of other parts"),
    "a part altered": (
        _rewritten(lambda entries: entries.update({USERS.name: entries[USERS.name].replace(b"[]", b"{}")})),
        "is not as it was written",
    ),
    "a part longer": (
        _rewritten(lambda entries: entries.update({HISTORY.name: entries[HISTORY.name] + b"x"})),
        "is not as it was written",
    ),
    "a store that is none": (
        _rewritten(lambda entries: entries.update({STORE.name: b"nothing"})),
        "is not as it was written",
    ),
    "of a later version": (_manifest(lambda told: told.update(schema="linewatch/backup/2")), "install the one"),
    "with a later store": (_manifest(_set(STORE.name, "version", 99)), "that version or a later one"),
    "with a later history": (_manifest(_set(HISTORY.name, "version", 99)), "that version or a later one"),
    "a manifest of nonsense": (_rewritten(lambda entries: entries.update({MANIFEST: b"[[["})), "cannot be read"),
    "a key twice": (_rewritten(lambda entries: entries.update({MANIFEST: b'{"a":1,"a":2}'})), "cannot be read"),
    "sizes of words": (_manifest(_set(STORE.name, "size", "many")), "its manifest is altered"),
    "a foreign manifest": (_rewritten(lambda entries: entries.update({MANIFEST: b"{}"})), "this version reads"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_is_torn_foreign_or_altered_changes_nothing(station: Path, tmp_path: Path, trouble: str) -> None:
    """Each is refused with its reason, and nothing is made or changed anywhere, the half of a part included."""
    harm, why = TROUBLES[trouble]
    take(station, tmp_path / "b.zip")
    harm(tmp_path / "b.zip")
    before = everything(tmp_path)
    with pytest.raises(StoreError, match=why):
        restore(tmp_path / "b.zip", tmp_path / "new" / "line.yaml")
    assert everything(tmp_path) == before


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_no_backup(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """A pipe to which nobody writes is not waited for, and a device is not read without end."""
    make(tmp_path / "b.zip")
    for sha256 in (None, "0" * 64):
        with pytest.raises(StoreError, match="is not restored: it is no file"):
            restore(tmp_path / "b.zip", tmp_path / "new.yaml", sha256=sha256)
    assert not (tmp_path / "new.yaml").exists()


def test_a_damaged_store_within_a_sound_archive_is_refused(station: Path, tmp_path: Path) -> None:
    """The store's own look finds a page that somebody altered together with the manifest."""
    import hashlib

    def harm(entries: dict[str, bytes]) -> None:
        store = bytearray(entries[STORE.name])
        store[4096:8192] = os.urandom(4096)
        entries[STORE.name] = bytes(store)
        told = json.loads(entries[MANIFEST])
        _set(STORE.name, "sha256", hashlib.sha256(store).hexdigest())(told)
        entries[MANIFEST] = json.dumps(told).encode()

    taken = take(station, tmp_path / "b.zip")
    _rewritten(harm)(tmp_path / "b.zip")
    before = everything(tmp_path)
    with pytest.raises(StoreError, match="SHA-256 is"):
        restore(tmp_path / "b.zip", tmp_path / "new" / "line.yaml", sha256=taken.sha256)
    with pytest.raises(StoreError, match=r"damaged|cannot be used"):
        restore(tmp_path / "b.zip", tmp_path / "new" / "line.yaml")
    assert everything(tmp_path) == before


def test_what_is_there_is_kept(station: Path, tmp_path: Path) -> None:
    """A place that is taken is refused; with `replace` what was there is moved aside, every byte of it."""
    take(station, tmp_path / "b.zip")
    before = everything(station.parent)
    with pytest.raises(StoreError, match="is there already"):
        restore(tmp_path / "b.zip", station)
    assert everything(station.parent) == before
    done = restore(tmp_path / "b.zip", station, replace=True)
    assert len(done.aside) == 5
    after = everything(station.parent)
    for name, content in before.items():
        assert content in [each for key, each in after.items() if key.startswith(f"{name}.before-")], name
    (tmp_path / "link.yaml").symlink_to(station)
    with pytest.raises(StoreError, match="link or a folder"):
        restore(tmp_path / "b.zip", tmp_path / "link.yaml", replace=True)


def test_where_one_part_cannot_take_its_place_all_go_back(tmp_path: Path) -> None:
    """A store whose name is too long to be moved aside, met after three other parts were: each is where it was."""
    home, name = tmp_path / "old", "s" * 225  # 33 characters more than the system's 255 when it is moved aside
    home.mkdir()
    (home / "line.yaml").write_text(f"bundle: nothing\nstore: {{path: {name}}}\n")
    with Outbox(home / name):
        pass
    with History(home / "dashboard.db", 90, 100):
        pass
    (home / "dashboard-users.json").write_text('{"users": []}\n')
    take(home / "line.yaml", tmp_path / "b.zip")
    before = everything(tmp_path)
    with pytest.raises(StoreError, match=r"too long. What was there before is there again"):
        restore(tmp_path / "b.zip", home / "line.yaml", replace=True)
    assert everything(tmp_path) == before


def test_an_earlier_store_is_brought_to_this_version(tmp_path: Path) -> None:
    """A backup with a store of version 3 is restored as one of this version, with what it held."""
    home = tmp_path / "old"
    home.mkdir()
    (home / "line.yaml").write_text(SETTINGS)
    shutil.copy(OLD_STORE, home / "outbox.db")
    taken = take(home / "line.yaml", tmp_path / "b.zip")
    assert [part.version for part in taken.manifest.parts if part.name == STORE.name] == [3]
    restore(tmp_path / "b.zip", tmp_path / "new" / "line.yaml")
    with closing(sqlite3.connect(home / "outbox.db")) as db:
        (journal,) = db.execute("SELECT count(*) FROM journal").fetchone()
    with OutboxReader(tmp_path / "new" / "outbox.db") as store:
        assert len(store.journal_rows(1000)) == journal + 1
        assert store.verify_journal()[1] == []


def test_a_line_or_dashboard_that_runs_is_not_restored_over(station: Path, tmp_path: Path) -> None:
    """Nothing is changed while another process has the store or the history open."""
    take(station, tmp_path / "b.zip")
    with Outbox(station.parent / "outbox.db"), pytest.raises(StoreError, match="in use"):
        restore(tmp_path / "b.zip", station, replace=True)
    with History(station.parent / "dashboard.db", 90, 100), pytest.raises(StoreError, match="in use"):
        restore(tmp_path / "b.zip", station, replace=True)
    assert not list(station.parent.glob("*.before-*"))
    assert not list(station.parent.glob(".*restoring*"))


def test_nothing_is_no_backup(tmp_path: Path) -> None:
    """Settings whose station never ran give no file; neither do settings that are none, or a place that is none."""
    (tmp_path / "line.yaml").write_text(SETTINGS)
    for config, to, why in (
        (tmp_path / "line.yaml", tmp_path / "b.zip", "Nothing to back up"),
        (tmp_path / "none.yaml", tmp_path / "b.zip", "No settings at"),
        (tmp_path / "line.yaml", tmp_path / "no" / "b.zip", "cannot be written"),
    ):
        with pytest.raises(LinewatchError, match=why):
            take(config, to)
        assert not to.exists()
    with pytest.raises(StoreError, match="No backup at"):
        restore(tmp_path / "b.zip", tmp_path / "new.yaml")
    assert everything(tmp_path) == {"line.yaml": SETTINGS.encode()}


def test_a_dashboard_of_its_own_is_carried_too(tmp_path: Path) -> None:
    """A file with `sites` has history, users and settings, and no store."""
    home = tmp_path / "old"
    home.mkdir()
    (home / "site.yaml").write_text("sites: [acme/ulm]\nhistory: {path: history.db}\nusers: users.json\n")
    with History(home / "history.db", 90, 100) as history:
        history.put(JournalRow(None, round(time.time() * 1000), "login", "anna"))
        history.flush()
        taken = take(home / "site.yaml", tmp_path / "b.zip")
    assert {part.name for part in taken.manifest.parts} == {"settings.yaml", "dashboard.db"}
    assert set(taken.manifest.absent) == {"dashboard-users.json"}
    done = restore(tmp_path / "b.zip", tmp_path / "new" / "site.yaml")
    assert done.epoch is None
    with History(tmp_path / "new" / "history.db", 90, 100) as history:
        assert history.value("SELECT user FROM journal") == "anna"
