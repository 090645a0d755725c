"""The index of an evidence folder: an SQLite file that can always be made anew from the folders and the judgements."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.errors import StoreError
from edge.evidence.choosing import Kept, Kind
from edge.evidence.judging import Judgement

_log = logging.getLogger(__name__)

INDEX = "index.db"
VERSION = 1
_BUSY_S = 5.0
_TABLES = (
    """CREATE TABLE evidence (
      name TEXT PRIMARY KEY, place TEXT NOT NULL, kind TEXT NOT NULL, at TEXT NOT NULL, bytes INTEGER NOT NULL,
      verdict TEXT, part_id TEXT NOT NULL, recipe TEXT NOT NULL, reason TEXT, why TEXT NOT NULL,
      judgement TEXT, judged_at TEXT, user TEXT, class TEXT, comment TEXT, exported_at TEXT
    )""",
    "CREATE INDEX evidence_by_at ON evidence (at, name)",
    "CREATE INDEX evidence_by_kind ON evidence (kind, at)",
)
_FILLED = ("name", "place", "kind", "at", "bytes", "verdict", "part_id", "recipe", "reason", "why")
_ROW = (*_FILLED, "judgement", "judged_at", "user", "class", "comment", "exported_at")


@dataclass(frozen=True)
class Sought:
    """A search; None = all. `judged`: only what has a judgement, or has none; `judgement`: this one.

    `since`, `until`: when it was decided, half-open.
    """

    since: datetime | None = None
    until: datetime | None = None
    verdicts: Sequence[str] = ()
    kinds: Sequence[str] = ()
    recipe: str | None = None
    part_id: str | None = None
    judged: bool | None = None
    judgement: str | None = None


class EvidenceIndex:
    """The rows of what is kept. `writes`: opened by who may change it; else it must be there. Raises StoreError."""

    def __init__(self, folder: Path, *, writes: bool) -> None:
        self.path = folder / INDEX
        self._writes = writes

    def __enter__(self) -> Self:
        try:
            if not self._writes and not self.path.is_file():
                raise StoreError(
                    f"No evidence in {self.path.parent}: expected the folder that a station writes. Start the station "
                    "once, or name its folder with the key evidence.folder"
                )
            self._db = self._opened()
        except (sqlite3.Error, OSError) as error:
            raise self._unreadable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def _opened(self) -> sqlite3.Connection:
        how = "rwc" if self._writes else "rw"  # a reader of a journal in WAL makes its shared memory
        target = f"{self.path.resolve().as_uri()}?mode={how}"
        try:
            db = sqlite3.connect(target, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            (version,) = db.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError:
            if self._writes:
                raise
            target = f"{self.path.resolve().as_uri()}?mode=ro&immutable=1"
            db = sqlite3.connect(target, uri=True, isolation_level=None, check_same_thread=False)
            (version,) = db.execute("PRAGMA user_version").fetchone()
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA cache_size = -256")  # kB: up to SQLite's own 2 MB the memory grows for days
        if version == 0 and self._writes:
            db.execute("PRAGMA journal_mode = WAL")
            with _transaction(db):
                for statement in _TABLES:
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {VERSION}")
        elif version != VERSION:
            db.close()
            raise StoreError(
                f"{self.path} is no evidence index of this version: expected {VERSION}, received {version}. "
                "Use the version of Linewatch that wrote it"
            )
        if self._writes:
            db.execute("PRAGMA synchronous = NORMAL")
        return db

    def _unreadable(self, error: Exception) -> StoreError:
        return StoreError(
            f"The evidence index {self.path} cannot be used: {error}. Remove it, and the station makes it anew from "
            "the folders when it starts"
        )

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._db
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in what is kept now; a row of the same name is replaced."""
        marks = ", ".join(f":{name}" for name in _FILLED)
        with self._guarded() as db, _transaction(db):
            db.executemany(
                f"INSERT OR REPLACE INTO evidence ({', '.join(_FILLED)}) VALUES ({marks})",  # noqa: S608 - ours
                rows,
            )

    def remove(self, names: Sequence[str]) -> None:
        """Forget what is kept no longer."""
        with self._guarded() as db, _transaction(db):
            db.executemany("DELETE FROM evidence WHERE name = ?", [(name,) for name in names])

    def judge(self, judgement: Judgement) -> None:
        """Note the judgement that now stands; it has not been exported."""
        with self._guarded() as db, _transaction(db):
            db.execute(
                "UPDATE evidence SET judgement = ?, judged_at = ?, user = ?, class = ?, comment = ?, exported_at = NULL"
                " WHERE name = ?",
                (
                    judgement.judgement,
                    iso(judgement.at),
                    judgement.user,
                    judgement.class_name,
                    judgement.comment,
                    judgement.name,
                ),
            )

    def exported(self, names: Sequence[str], at: datetime) -> None:
        """Note what has been exported."""
        with self._guarded() as db, _transaction(db):
            db.executemany("UPDATE evidence SET exported_at = ? WHERE name = ?", [(iso(at), name) for name in names])

    @property
    def bytes(self) -> int:
        """Tell what all of it takes on the disk."""
        with self._guarded() as db:
            ((total,),) = db.execute("SELECT ifnull(sum(bytes), 0) FROM evidence").fetchall()
        return int(total)

    def places(self) -> dict[str, str]:
        """Return where each lies, below the folder, by its name."""
        with self._guarded() as db:
            return {row["name"]: row["place"] for row in db.execute("SELECT name, place FROM evidence")}

    def kept(self) -> list[Kept]:
        """Return what retention decides on."""
        with self._guarded() as db:
            return [
                Kept(
                    row["name"],
                    Kind(row["kind"]),
                    datetime.fromisoformat(row["at"]),
                    row["bytes"],
                    row["judgement"] is not None and row["exported_at"] is None,
                )
                for row in db.execute("SELECT name, kind, at, bytes, judgement, exported_at FROM evidence")
            ]

    def one(self, name: str) -> dict[str, Any] | None:
        """Return the row of a name; None where there is none."""
        with self._guarded() as db:
            found = db.execute(f"SELECT {_COLUMNS} FROM evidence WHERE name = ?", (name,)).fetchone()  # noqa: S608 - of our own constants
        return None if found is None else dict(found)

    def find(self, sought: Sought, limit: int, offset: int = 0) -> list[dict[str, Any]]:
        """Return the rows that are looked for, the newest first."""
        where, given = _where(sought)
        with self._guarded() as db:
            found = db.execute(
                f"SELECT {_COLUMNS} FROM evidence{where} ORDER BY at DESC, name DESC LIMIT ? OFFSET ?",  # noqa: S608 - of our own constants
                (*given, limit, offset),
            )
            return [dict(row) for row in found]

    def count(self, sought: Sought) -> int:
        """Return how many rows are looked for."""
        where, given = _where(sought)
        with self._guarded() as db:
            ((count,),) = db.execute(f"SELECT count(*) FROM evidence{where}", given).fetchall()  # noqa: S608 - of our own constants
        return int(count)

    def beside(self, sought: Sought, name: str) -> tuple[str | None, str | None]:
        """Return the names of the newer and the older neighbour of one, among what is looked for."""
        row = self.one(name)
        if row is None:
            return None, None
        where, given = _where(sought)
        joined = f"{where} AND" if where else " WHERE"
        found = []
        for sign, order in ((">", "ASC"), ("<", "DESC")):
            with self._guarded() as db:
                beside = db.execute(
                    f"SELECT name FROM evidence{joined} (at, name) {sign} (?, ?)"  # noqa: S608 - of our own constants
                    f" ORDER BY at {order}, name {order} LIMIT 1",
                    (*given, row["at"], name),
                ).fetchone()
            found.append(None if beside is None else str(beside["name"]))
        return found[0], found[1]


_COLUMNS = ", ".join(_ROW)


def _where(sought: Sought) -> tuple[str, list[Any]]:
    terms: list[str] = []
    given: list[Any] = []
    for term, value in (
        ("at >= ?", sought.since and iso(sought.since)),
        ("at < ?", sought.until and iso(sought.until)),
        ("recipe = ?", sought.recipe),
        ("part_id = ?", sought.part_id),
        ("judgement = ?", sought.judgement),
    ):
        if value is not None:
            terms.append(term)
            given.append(value)
    for column, values in (("verdict", sought.verdicts), ("kind", sought.kinds)):
        if values:
            terms.append(f"{column} IN ({', '.join('?' * len(values))})")
            given += values
    if sought.judged is not None:
        terms.append(f"judgement IS {'NOT ' if sought.judged else ''}NULL")
    return (f" WHERE {' AND '.join(terms)}" if terms else ""), given


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def iso(moment: datetime) -> str:
    """Write a time as UTC to the millisecond, so that times sort as text."""
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")
