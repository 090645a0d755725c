"""The verdict of one part's pictures together, by the rules of the line's own assembler."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path
from typing import Any

from edge.errors import StoreError
from edge.files import write_bytes
from edge.parts.assembler import judged_again
from edge.parts.rules import PartRules
from edge.recipes.loaded import part_rules
from edge.records import FrameResult, Judgement, Measurement, Verdict
from edge.records.parts import Closing, PartResult, ViewResult
from edge.reinspecting.judging import Station
from edge.reinspecting.shards import Row
from edge.reinspecting.storage import load_arrow

PARTS = "parts.parquet"
COLUMNS = ("part_id", "view", "picture", "verdict", "reason", "coverage")
_BATCH = 4096
_NO_TIME = datetime.fromtimestamp(0, timezone.utc)
_PENDING = Judgement(Verdict.NO_READ, "no picture of it was judged")


def parts_of(scratch: Path, rows: Iterable[Row], station: Station) -> Iterator[Row]:
    """Yield what each part comes to, in the order of their ids. `rows`: with COLUMNS. Raises StoreError.

    A part is NG where a view is NG. Else it is NO_READ where a view has too few readable pictures, else OK.
    """
    rules = _rules(station)
    scratch.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(scratch)) as database:
            database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;")
            database.execute(f"CREATE TABLE picture ({', '.join(COLUMNS)})")
            told = (tuple(row[name] for name in COLUMNS) for row in rows if row["part_id"] is not None)
            database.executemany("INSERT INTO picture VALUES (?, ?, ?, ?, ?, ?)", told)
            ordered = database.execute("SELECT * FROM picture ORDER BY part_id, picture")
            for part_id, own in groupby(ordered, key=lambda row: row[0]):
                yield _part(part_id, [dict(zip(COLUMNS, row, strict=True)) for row in own], station, rules)
    except sqlite3.OperationalError as error:
        raise StoreError(f"{scratch} cannot be written: {error}. Free some space") from error
    finally:
        scratch.unlink(missing_ok=True)


def write_parts(path: Path, parts: Iterator[Row]) -> dict[str, int]:
    """Write parts as Parquet, and return how many have each verdict; of no part nothing is written."""
    arrow, parquet = load_arrow(), load_arrow("pyarrow.parquet")
    texts = [(name, arrow.string()) for name in ("part_id", "verdict", "reason", "recipe")]
    schema = arrow.schema([*texts, ("missing_views", arrow.list_(arrow.string())), ("pictures", arrow.int32())])
    counts: dict[str, int] = {}
    content, waiting = io.BytesIO(), []
    with parquet.ParquetWriter(content, schema, compression="zstd") as file:
        for part in parts:
            counts[part["verdict"]] = counts.get(part["verdict"], 0) + 1
            waiting.append(part)
            if len(waiting) == _BATCH:
                file.write_table(arrow.Table.from_pylist(waiting, schema=schema))
                waiting = []
        file.write_table(arrow.Table.from_pylist(waiting, schema=schema))
    if counts:
        write_bytes(path, content.getbuffer())
    return counts


def _rules(station: Station) -> PartRules:
    return part_rules(station.settings.parts, station.settings.station_recipes[station.recipe], {})


def _part(part_id: str, rows: list[Row], station: Station, rules: PartRules) -> Row:
    frames: dict[str, list[FrameResult]] = {name: [] for name in rules.views}
    for row in rows:
        view = station.views[0] if len(station.views) == 1 else row["view"]
        frames[view].append(_frame(view, row))
    part = PartResult(
        1, part_id, False, station.recipe, 0, 0, Closing.TRIGGER, _PENDING, dict.fromkeys(frames, ViewResult())
    )
    judged = judged_again(rules, part, frames)
    missing = [name for name, own in frames.items() if _readable(own) < rules.views[name].frames]
    told: dict[str, Any] = {"part_id": part_id, "verdict": judged.verdict.value, "reason": judged.reason}
    return told | {"recipe": station.recipe, "missing_views": missing, "pictures": len(rows)}


def _readable(frames: list[FrameResult]) -> int:
    return sum(frame.judgement.verdict is not Verdict.NO_READ for frame in frames)


def _frame(view: str, row: Row) -> FrameResult:
    measured = None if row["coverage"] is None else Measurement(row["coverage"], None, 0.0, {}, ())
    judgement = Judgement(Verdict(row["verdict"]), row["reason"])
    return FrameResult(view, None, row["picture"], _NO_TIME, 0, None, judgement, measured)
