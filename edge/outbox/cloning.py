"""A store on another device: copied while a line runs on it, and made a store of its own before another line does.

A clone may not go on with the epoch of the original. That one may have given the same numbers to other events since. So
its epoch is new; its numbers go on from where the original's were. An acknowledged message is not sent again by itself.
A waiting one is: with its id, its old number and epoch, and as sent before, since the original may have sent it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path

from edge.errors import StoreError
from edge.outbox.journal import JournalTables
from edge.outbox.store import (
    ACKNOWLEDGED,
    BUSY_S,
    RESENT_AT_MOST,
    SCHEMA_VERSION,
    Caps,
    Store,
    is_corrupt,
)
from edge.records import JournalEntry


def copied(path: Path, to: Path) -> int:
    """Copy a SQLite file as of one moment, also while others write to it; return its `user_version`.

    Raises StoreError where there is none that can be read.
    """
    # a file that nobody has open has no log, and none can be made where we may not write
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=BUSY_S)) as db,
            contextlib.closing(sqlite3.connect(to)) as copy,
        ):
            db.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # all of it is in the one file
            problems = [text for (text,) in copy.execute("PRAGMA quick_check(1)") if text != "ok"]
            if problems:
                raise StoreError(f"{path} is damaged: {problems[0]}. Restore an older backup, or move the file away")
            (version,) = copy.execute("PRAGMA user_version").fetchone()
            return int(version)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(
            f"{path} cannot be copied: {error}. Run this as the user that writes it, on a disk with room"
        ) from error


def become_another(path: Path, note: Callable[[str], JournalEntry]) -> str:
    """Make a copied store one of its own, of this version, and return its epoch.

    `note`: gives the entry of the journal that says so, for the epoch that it was. Raises StoreError for what is no
    store, or one of a later version.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"The store of the backup has schema {version}; this version of Linewatch knows up to "
                f"{SCHEMA_VERSION}. Install the version that wrote the backup, or a later one"
            )
        store = Store(path, Caps())  # looks through it, and brings an earlier version to this one
        before = store.epoch
        store.close()
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            return _renamed(db, note(before))
    except sqlite3.Error as error:
        told = "is damaged" if is_corrupt(error) else "cannot be used"
        raise StoreError(f"The store of the backup {told}: {error}. Take another backup") from error


def _renamed(db: sqlite3.Connection, entry: JournalEntry) -> str:
    epoch = str(uuid.uuid4())
    journal = JournalTables(Caps().of_journal)
    journal.load(db)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,))
    # numbers that a consumer asks for are of the new epoch; no row that came with the copy is
    db.execute("UPDATE message SET seq = NULL, resent = max(1, resent)")
    db.execute("UPDATE message SET resent = max(?, resent) WHERE state = ?", (RESENT_AT_MOST, ACKNOWLEDGED))
    journal.add(db, [entry])
    db.execute("COMMIT")
    db.execute("PRAGMA journal_mode=DELETE")
    return epoch
