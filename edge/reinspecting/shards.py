"""Rows as Parquet, a shard at a time: a shard is whole or absent, and a picture in a finished shard is done."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edge.errors import StoreError
from edge.files import write_bytes
from edge.reinspecting.storage import load_arrow

Row = dict[str, Any]
_BATCH = 4096


def row_schema() -> Any:
    """Return the columns of a result, in their order; docs/archives.md tells them."""
    arrow = load_arrow()
    return arrow.schema(
        [
            arrow.field("picture", arrow.string(), nullable=False),
            arrow.field("sha256", arrow.string()),
            arrow.field("part_id", arrow.string()),
            arrow.field("view", arrow.string()),
            arrow.field("verdict", arrow.string(), nullable=False),
            arrow.field("reason", arrow.string()),
            arrow.field("coverage", arrow.float64()),
            arrow.field("defects", arrow.list_(defect_type())),
            arrow.field("recipe", arrow.string(), nullable=False),
            arrow.field("model", arrow.string(), nullable=False),
            arrow.field("seconds", arrow.float64(), nullable=False),
        ]
    )


def defect_type() -> Any:
    """Return the fields of one defect."""
    arrow = load_arrow()
    box = arrow.struct([arrow.field(side, arrow.int32()) for side in ("x", "y", "w", "h")])
    return arrow.struct(
        [
            arrow.field("class", arrow.string()),
            arrow.field("area_mm2", arrow.float64()),
            arrow.field("length_mm", arrow.float64()),
            arrow.field("box_px", box),
        ]
    )


def write_shard(path: Path, rows: Sequence[Row], schema: Any) -> None:
    """Write rows as one Parquet file, synced to the disk and then renamed. Raises StoreError."""
    arrow, parquet = load_arrow(), load_arrow("pyarrow.parquet")
    content = io.BytesIO()
    parquet.write_table(arrow.Table.from_pylist(list(rows), schema=schema), content, compression="zstd")
    write_bytes(path, content.getbuffer())


def shards_in(folder: Path) -> list[Path]:
    """Return the finished shards of a folder, in the order of their names. Raises StoreError."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".parquet" and path.name[:1] != ".")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror or error}. Look at its rights") from error


def rows_in(folder: Path, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of all finished shards of a folder, a few thousand at a time. Raises StoreError."""
    for path in shards_in(folder):
        yield from rows_of_file(path, columns)


def rows_of_file(path: Path, columns: Sequence[str] | None = None, group: int | None = None) -> Iterator[Row]:
    """Yield the rows of a Parquet file, or of one of its groups. Raises StoreError."""
    arrow, parquet = load_arrow(), load_arrow("pyarrow.parquet")
    try:
        # opened here: pyarrow itself takes no name that is not UTF-8
        with path.open("rb") as opened, parquet.ParquetFile(opened) as file:
            groups = None if group is None else [group]
            for batch in file.iter_batches(_BATCH, row_groups=groups, columns=None if columns is None else [*columns]):
                yield from batch.to_pylist()
    except (OSError, ValueError, KeyError, arrow.ArrowException) as error:
        raise StoreError(
            f"{path} cannot be read: {' '.join(str(error).split())[:200]}. It was altered or is damaged: remove it, "
            "and its pictures are judged again"
        ) from error
