"""The rescue of messages from a store that was set aside while open, as far as it can be read."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from edge.outbox.records import Put, Row
from edge.outbox.store import BUSY_S, COLUMNS, DEAD_LETTER, PENDING, SOUND, Store, as_row
from edge.strict_json import parse_json
from edge.wording import counted

_log = logging.getLogger(__name__)

_AT_ONCE = 1000  # rows in one commit


def take_over(store: Store, aside: Path, acknowledged: Collection[str]) -> str:
    """Write the messages that wait in the file `aside` to `store`; return a sentence that says how many.

    Their numbers and their order stay. `acknowledged`: ids of messages that the broker took and that the file still
    holds. Raises sqlite3.Error where `store` cannot be written; it may then be called again.
    """
    taken, after, trouble = 0, 0, ""
    while True:
        page, trouble = _read_page(aside, after)
        rows = [row for row in page if row.message.id not in acknowledged and _is_whole(row.message.payload)]
        store.commit([Put(row.seq, (row.message,)) for row in rows])
        taken += len(rows)
        if trouble or len(page) < _AT_ONCE:
            break
        after = page[-1].row
    told = f"{counted(taken, 'message')} that waited in it went on"
    if trouble:
        told += f"; what else it holds cannot be read: {trouble}"
    _log.error("The outbox %s: %s", aside, told)
    return told


def _read_page(path: Path, after: int) -> tuple[list[Row], str]:
    """Return the next sound rows that the broker has not taken, in order.

    Return, too, what ended that.
    """
    found: list[Row] = []
    # without a log beside it nothing is to be made beside it either
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=BUSY_S)) as db:
            rows = db.execute(
                f"SELECT {COLUMNS} FROM message NOT INDEXED WHERE state IN (?, ?) AND row > ? AND {SOUND}"  # noqa: S608 - ours
                " ORDER BY row LIMIT ?",
                (PENDING, DEAD_LETTER, after, _AT_ONCE),
            )
            for columns in rows:  # one by one: a damaged page takes nothing that came before it
                found.append(as_row(columns))  # noqa: PERF401
    except sqlite3.Error as error:
        return found, str(error)
    return found, ""


def _is_whole(payload: bytes) -> bool:
    """Tell whether a payload is one that was put: all that is durable is JSON, or empty."""
    try:
        return not payload or parse_json(payload) is not None
    except ValueError:
        return False
