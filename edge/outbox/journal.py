"""The journal's tables: three parts that keep their own length, and a chain of hashes through the rows of each.

A row's hash is the SHA-256 of the hash before it and of the row. So no row can be altered, taken out or put in unless
the rest of the chain is written anew. `chain` holds the two ends of each part. The oldest rows of a part go when it is
full. The chain then begins at the hash of the last row that went.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timezone
from typing import Any, get_args

from edge.records import JournalEntry, JournalPart

PARTS: tuple[JournalPart, ...] = get_args(JournalPart)
FIRST_HASH = "0" * 64
COLUMNS = (
    "entry, part, number, at, boot_id, monotonic_ns, kind, alarm, occurrence_id, user, comment, detail, account, hash"
)
TABLES = (
    """CREATE TABLE journal (
      entry INTEGER PRIMARY KEY AUTOINCREMENT, part TEXT NOT NULL, number INTEGER NOT NULL, at TEXT NOT NULL,
      boot_id TEXT NOT NULL, monotonic_ns INTEGER NOT NULL, kind TEXT NOT NULL, alarm TEXT NOT NULL,
      occurrence_id TEXT, user TEXT NOT NULL, comment TEXT NOT NULL, detail TEXT NOT NULL, account TEXT NOT NULL,
      hash TEXT NOT NULL
    )""",
    "CREATE UNIQUE INDEX journal_by_part ON journal (part, number)",
    """CREATE TABLE chain (
      part TEXT PRIMARY KEY, first INTEGER NOT NULL, before TEXT NOT NULL, last INTEGER NOT NULL, hash TEXT NOT NULL
    )""",
)
_NO_TIME = datetime(1970, 1, 1, tzinfo=timezone.utc)  # of a row whose time cannot be read
_LAST = 1 << 62  # no line comes to that number
_FINDINGS_AT_MOST = 20  # of a part: more tell nothing new


@dataclass(frozen=True)
class JournalRow:
    """An entry as it is kept. `place` grows over all parts, `number` counts within its part from 1."""

    place: int
    part: str
    number: int
    entry: JournalEntry
    hash: str


@dataclass(frozen=True)
class Link:
    """The two ends of a part's chain: the numbers of its rows, and the hashes `before` and at its end."""

    first: int = 1
    before: str = FIRST_HASH
    last: int = 0
    hash: str = FIRST_HASH


def _sound(link: Link) -> Link:
    """Return a link from which can be gone on. Raises sqlite3.DatabaseError, as for any damage."""
    numbers, hashes = (link.first, link.last), (link.before, link.hash)
    if not all(isinstance(n, int) and 0 <= n < _LAST for n in numbers) or not all(isinstance(h, str) for h in hashes):
        raise sqlite3.DatabaseError(f"expected the two ends of the journal's chain, found {link!r:.200}")
    return link


def digest(before: str, values: Sequence[Any]) -> str:
    """Return the hash of a row: of the hash before it, and of its values in the order of COLUMNS."""
    return hashlib.sha256(f"{before}\n{json.dumps(list(values), default=ascii)}".encode()).hexdigest()


class JournalTables:
    """Writes the journal within the store's transactions. `caps`: how many rows each part keeps."""

    def __init__(self, caps: Mapping[JournalPart, int]) -> None:
        self._caps = caps
        self.links: dict[str, Link] = {}
        self._place = 0

    def load(self, db: sqlite3.Connection) -> None:
        """Take up the chains where they end."""
        found = db.execute("SELECT part, first, before, last, hash FROM chain").fetchall()
        self.links = {part: _sound(Link(*link)) for part, *link in found}
        rows = db.execute(
            "SELECT part, max(number), max(entry) FROM journal WHERE typeof(number) = 'integer' GROUP BY part"
        ).fetchall()
        for part, number, _ in rows:  # an end that somebody took back: the chain stays broken there, and goes on
            link = self.links.get(part, Link())
            self.links[part] = _sound(replace(link, last=max(link.last, number)))
        (counted,) = db.execute(
            "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'journal' AND typeof(seq) = 'integer'"
        ).fetchone()
        self._place = max(counted, *(place for _, _, place in rows), 0)

    def state(self) -> tuple[dict[str, Link], int]:
        """Return what `back_to` takes when a transaction is undone."""
        return dict(self.links), self._place

    def back_to(self, state: tuple[dict[str, Link], int]) -> None:
        """Forget what was added since."""
        self.links, self._place = state

    def add(self, db: sqlite3.Connection, entries: Sequence[JournalEntry]) -> None:
        """Append entries, each to its part."""
        for entry in entries:
            link = self.links.get(entry.part, Link())
            self._place += 1
            values = (self._place, entry.part, link.last + 1, *_values(entry))
            link = replace(link, last=link.last + 1, hash=digest(link.hash, values))
            marks = ", ".join("?" * (len(values) + 1))
            db.execute(f"INSERT INTO journal ({COLUMNS}) VALUES ({marks})", (*values, link.hash))  # noqa: S608 - ours
            self.links[entry.part] = link
        for part in {entry.part for entry in entries}:
            self._forget(db, part)
            db.execute("INSERT OR REPLACE INTO chain VALUES (?, ?, ?, ?, ?)", (part, *astuple(self.links[part])))

    def _forget(self, db: sqlite3.Connection, part: JournalPart) -> None:
        """Let the oldest rows of a part go beyond its length."""
        link = self.links[part]
        first = link.last - self._caps[part] + 1
        if first <= link.first:
            return
        gone = db.execute("SELECT hash FROM journal WHERE part = ? AND number = ?", (part, first - 1)).fetchone()
        db.execute("DELETE FROM journal WHERE part = ? AND number < ?", (part, first))
        # a row that somebody took out leaves the chain broken, as it must
        self.links[part] = replace(link, first=first, before=gone[0] if gone else link.before)


def take_over_version_2(db: sqlite3.Connection, caps: Mapping[JournalPart, int]) -> None:
    """Bring the journal of version 2, which had one part and no chain, into these tables, within `caps`."""
    rows = db.execute(
        "SELECT at, boot_id, monotonic_ns, kind, alarm, occurrence_id, user, comment, detail FROM journal"
        " ORDER BY entry"
    ).fetchall()
    db.execute("DROP TABLE journal")
    for statement in TABLES:
        db.execute(statement)
    tables = JournalTables(caps)
    tables.load(db)
    tables.add(db, [_entry((*row, "")) for row in rows])


def _values(entry: JournalEntry) -> tuple[Any, ...]:
    at = entry.at.astimezone(timezone.utc).isoformat(timespec="microseconds")
    return (
        at,
        entry.boot_id,
        entry.monotonic_ns,
        entry.kind,
        entry.alarm,
        entry.occurrence_id,
        entry.user,
        entry.comment,
        entry.detail,
        entry.account,
    )


def _entry(values: Sequence[Any]) -> JournalEntry:
    at, boot_id, monotonic_ns, kind, alarm, occurrence_id, user, comment, detail, account = values
    try:
        moment, ticks = datetime.fromisoformat(str(at)).astimezone(timezone.utc), int(monotonic_ns)
    except (ValueError, OverflowError):  # somebody wrote into the file; `verified` says so as well
        moment, ticks = _NO_TIME, 0
        detail = f"{detail} (this row was altered: its time was {at!r:.80}, {monotonic_ns!r:.80} ns)"
    return JournalEntry(
        at=moment,
        boot_id=str(boot_id),
        monotonic_ns=ticks,
        kind=str(kind),
        alarm=str(alarm),
        occurrence_id=None if occurrence_id is None else str(occurrence_id),
        user=str(user),
        comment=str(comment),
        detail=str(detail),
        account=str(account),
    )


def as_row(values: Sequence[Any]) -> JournalRow:
    """Return the row that a SELECT of COLUMNS gave."""
    place, part, number, *told, row_hash = values
    return JournalRow(int(place), str(part), int(number), _entry(told), str(row_hash))


def verified(db: sqlite3.Connection) -> tuple[dict[str, Link], list[str]]:
    """Follow each chain; return where each ends, and in words whatever is altered, missing or put in."""
    links = {part: Link(*link) for part, *link in db.execute("SELECT part, first, before, last, hash FROM chain")}
    found: list[str] = []
    for part in sorted({*PARTS, *links, *(part for (part,) in db.execute("SELECT DISTINCT part FROM journal"))}):
        wrong = _broken(db, part, links.get(part, Link()))
        for count, finding in enumerate(wrong):
            if count == _FINDINGS_AT_MOST:
                found.append(f"{part}: and more; not all of it is told")
                break
            found.append(f"{part}: {finding}")
    return links, found


def _broken(db: sqlite3.Connection, part: str, link: Link) -> Iterator[str]:
    before, number, place = link.before, link.first - 1, 0
    for values in db.execute(
        f"SELECT {COLUMNS} FROM journal WHERE part = ? ORDER BY number, entry",  # noqa: S608 - ours
        (part,),
    ):
        told = f"row {values[2]} of {values[3]}"
        if not isinstance(values[2], int) or values[2] <= number:
            yield f"{told} was put in"
            continue
        if values[2] > number + 1:
            yield f"rows {number + 1} to {values[2] - 1} are missing"
        if values[2] > link.last:
            yield f"{told} was put in behind the end"
            continue
        followed = values[2] == number + 1  # behind a gap nobody can know what it follows
        number = values[2]
        if followed and digest(before, values[:-1]) != values[-1]:
            yield f"{told} was altered, or the one before it"
        if values[0] <= place:
            yield f"{told} was moved"
        before, place = str(values[-1]), values[0]
    if number < link.last:
        yield f"rows {number + 1} to {link.last} are missing"
    elif before != link.hash:
        yield f"row {link.last} is not the one that the chain ends with"
