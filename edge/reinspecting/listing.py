"""The list of what is still to be judged: each picture once, none that is done, in a file that machines share.

SQLite sorts and compares on disk, so that memory does not grow with the number of pictures.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from edge.errors import SettingsError, SourceError, StoreError
from edge.reinspecting.judging import Station
from edge.reinspecting.listed import Listed, listed_of
from edge.reinspecting.shards import rows_of_file
from edge.reinspecting.storage import load_arrow
from edge.stopping import end_if_asked
from edge.wording import counted

_MOST_PER_SHARD, _LEAST_PER_SHARD = 500, 8
_SHARDS_PER_ENGINE = 16  # at least so many, where there are pictures enough: engines end at about the same time
_COLUMNS = "picture, kind, place, within, frame, part_id, view"
_TABLES = f"""
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE done (picture TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE listed ({_COLUMNS}, PRIMARY KEY (picture), UNIQUE (kind, place, within, frame)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class ToDo:
    """The pictures still to be judged. `path`: a group of rows for each shard. `listed`: in the whole source."""

    path: Path
    shards: int
    pictures: int
    listed: int

    def shard(self, number: int) -> list[Listed]:
        """Return the pictures of one shard. Raises StoreError."""
        return [listed_of(row) for row in rows_of_file(self.path, group=number)]


def with_view(listed: Listed, station: Station, *, strict: bool) -> Listed:
    """Return a picture with the view that shows it. Raises SettingsError where that is not known.

    A folder of the view's name tells the view where a recipe has several and nothing else does. The rest of the
    picture's name without its suffix is then its part. `strict`: a view must be one of the recipe's.
    """
    views = station.views
    if listed.view is None and len(views) > 1:
        folder, _, rest = listed.picture.partition("/")
        if folder in views and rest:
            listed = replace(listed, view=folder, part_id=listed.part_id or rest.rpartition(".")[0] or rest)
    if listed.view in views or (len(views) == 1 and (listed.view is None or not strict)):
        return listed
    received = "nothing that tells" if listed.view is None else f"the view {listed.view}"
    raise SettingsError(
        f"{listed.picture}: expected one of the views {', '.join(views)} of the recipe {station.recipe}, received "
        f"{received}. Name it in a list with the columns path, part_id and view, or in the name of a folder"
    )


class Listing:
    """Takes what is done and what there is, and writes what is to do. `scratch`: a file that is removed afterwards."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def write(self, done: Iterable[str], pictures: Iterable[Listed], path: Path, engines: int) -> ToDo:
        """Write the list to `path`, for so many engines.

        Raises SourceError where a picture is named twice, StoreError.
        """
        self._scratch.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(self._scratch)) as database:
                database.executescript(_TABLES)
                database.executemany("INSERT OR IGNORE INTO done VALUES (?)", ((each,) for each in done))
                self._insert(database, pictures)
                database.commit()
                return self._written(database, path, engines)
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self._scratch} cannot be written: {error}. Free some space") from error
        finally:
            self._scratch.unlink(missing_ok=True)

    @staticmethod
    def _insert(database: sqlite3.Connection, pictures: Iterable[Listed]) -> None:
        for number, listed in enumerate(pictures):
            if number % 1000 == 0:
                end_if_asked()
            try:
                database.execute("INSERT INTO listed VALUES (?, ?, ?, ?, ?, ?, ?)", astuple(listed))
            except sqlite3.IntegrityError as error:
                other = _also_called(database, listed)
                raise SourceError(
                    f"The picture {listed.picture} is named twice{other}; expected each once, so that it has one row. "
                    "Take it out of the list"
                ) from error

    @staticmethod
    def _written(database: sqlite3.Connection, path: Path, engines: int) -> ToDo:
        (listed,) = database.execute("SELECT count(*) FROM listed").fetchone()
        left = "FROM listed WHERE picture NOT IN (SELECT picture FROM done)"
        (pictures,) = database.execute(f"SELECT count(*) {left}").fetchone()
        size = per_shard(pictures, engines)
        rows = database.execute(f"SELECT {_COLUMNS} {left} ORDER BY picture")
        shards = 0
        arrow, parquet = load_arrow(), load_arrow("pyarrow.parquet")
        try:
            with path.open("wb") as opened, parquet.ParquetWriter(opened, _list_schema()) as file:
                while group := rows.fetchmany(size):
                    told = [Listed(*row).as_row() for row in group]
                    file.write_table(arrow.Table.from_pylist(told, schema=_list_schema()))
                    shards += 1
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror or error}. Free some space") from error
        return ToDo(path, shards, pictures, listed)


def _also_called(database: sqlite3.Connection, listed: Listed) -> str:
    """Say what else a picture is called that lies where another one does; nothing where names are the same."""
    place = (listed.kind, listed.where, listed.within, listed.index)
    asked = "SELECT picture FROM listed WHERE kind = ? AND place = ? AND within = ? AND frame = ? AND picture <> ?"
    found = database.execute(asked, (*place, listed.picture)).fetchone()
    return f", also as {found[0]}" if found else ""


def per_shard(pictures: int, engines: int) -> int:
    """Return how many pictures a shard has, so that a kill costs little and each engine has several."""
    return max(_LEAST_PER_SHARD, min(_MOST_PER_SHARD, pictures // (_SHARDS_PER_ENGINE * engines)))


def _list_schema() -> Any:
    arrow = load_arrow()
    kinds = {"where": arrow.binary(), "index": arrow.int64()}
    return arrow.schema([(name, kinds.get(name, arrow.string())) for name in Listed("", "file", b"").as_row()])


def require_pictures(todo: ToDo, source: str) -> None:
    """Raise SourceError for a source without pictures."""
    if not todo.listed:
        raise SourceError(f"No pictures in {source}: expected at least one. Look at what the source holds")


def once_each(scratch: Path, pictures: Iterable[str]) -> Iterator[str]:
    """Yield each name as it comes. Raises StoreError at one that came before."""
    scratch.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(scratch)) as database:
            database.executescript(_TABLES)
            for number, picture in enumerate(pictures, start=1):
                try:
                    database.execute("INSERT INTO done VALUES (?)", (picture,))
                except sqlite3.IntegrityError as error:
                    raise StoreError(
                        f"{picture} has two rows, of {counted(number, 'row')} read. Expected one: were shards copied "
                        "into the results?"
                    ) from error
                yield picture
    except sqlite3.OperationalError as error:
        raise StoreError(f"{scratch} cannot be written: {error}. Free some space") from error
    finally:
        scratch.unlink(missing_ok=True)
