"""Tables of pictures as people have them: CSV by any program, and the files that their rows name."""

from __future__ import annotations

import csv
import io
import re
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edge.errors import SourceError
from edge.pictures.names import as_text

_BYTES_AT_MOST = 1 << 28
_FIELD_AT_MOST = 1 << 27  # a mask of runs may be a million characters
_NAME_BYTES_AT_MOST, _PATH_AT_MOST = 255, 1000  # a file system's own limits are 255 and 4096
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class TableRow:
    """One row that is not empty. `number`: its line, from 1, as an editor shows it. `values`: by column, stripped.

    `fewer`, `more`: it has fewer or more values than there are columns.
    """

    number: int
    values: Mapping[str, str]
    fewer: bool = False
    more: bool = False


@dataclass(frozen=True)
class Table:
    """A table's columns, called as they were asked for where the same but for capitals, and its rows."""

    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def read_table(path: Path, *wanted: Sequence[str]) -> Table:
    """Read a CSV that has the columns of one of `wanted`, in any capitals and any order, beside others.

    Commas, semicolons, tabs or bars may separate; Excel's `sep=;`, its UTF-16, and empty rows are taken as meant.
    Raises SourceError saying what was received.
    """
    shown = as_text(str(path))
    told, begins, text = _beyond_sep(_text(path, shown))
    for delimiter in [told] if told else _DELIMITERS:
        table = _split(text, begins, delimiter, shown)
        columns = [_as_wanted(column, wanted) for column in table.columns]
        if any(set(each) <= set(columns) for each in wanted):
            asked = {name for each in wanted for name in each}
            if twice := sorted({column for column in columns if columns.count(column) > 1 and column in asked}):
                raise SourceError(f"{shown}: expected each column once, received twice: {', '.join(twice)}")
            renamed = dict(zip(table.columns, columns, strict=True))
            rows = [
                TableRow(row.number, {renamed[name]: value for name, value in row.values.items()}, row.fewer, row.more)
                for row in table.rows
            ]
            return Table(tuple(columns), tuple(rows))
    received = _split(text, begins, told or ",", shown).columns
    missing = sorted(set(wanted[0]) - {_as_wanted(column, wanted) for column in received})
    raise SourceError(
        f"{shown}: expected the columns {_or(wanted)}, received {', '.join(received)[:200] or 'none'}"
        + (f": missing {', '.join(missing)}" if len(wanted) == 1 else "")
    )


def _or(wanted: Sequence[Sequence[str]]) -> str:
    return " or ".join(", ".join(each) for each in wanted)


def _text(path: Path, shown: str) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{shown} is no file: expected a table, received something else")
        if status.st_size > _BYTES_AT_MOST:
            raise SourceError(
                f"{shown}: expected a table of at most {_BYTES_AT_MOST // 2**20} MiB, received a larger one"
            )
        raw = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{shown} cannot be read: {error.strerror or error}") from error
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise SourceError(f"{shown} is a workbook, and no CSV. Save it as `CSV UTF-8`")
    if (b"\0" in raw and raw[:2] not in {b"\xff\xfe", b"\xfe\xff"}) or raw[:4] == b"\xff\xfe\0\0":
        raise SourceError(f"{shown} cannot be read as CSV: it has zero bytes, as no UTF-8 has. Save it as `CSV UTF-8`")
    encoding = "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise SourceError(
            f"{shown} cannot be read as CSV in UTF-8: line {line} has the byte {raw[error.start]:#04x}. "
            "Save it as `CSV UTF-8`"
        ) from error


def _beyond_sep(text: str) -> tuple[str, int, str]:
    """Return what Excel's first line `sep=;` says, or nothing; the first line of the table, from 1; and its text."""
    match = re.match(r'\s*"?sep=(.)"?[ \t]*\r?\n', text, re.IGNORECASE)
    return (match.group(1), 1 + match.group().count("\n"), text[match.end() :]) if match else ("", 1, text)


def _split(text: str, begins: int, delimiter: str, shown: str) -> Table:
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_AT_MOST))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns: tuple[str, ...] | None = None
    rows: list[TableRow] = []
    try:
        while True:
            number = begins + reader.line_num
            values = next(reader, None)
            if values is None:
                break
            if not any(value.strip() for value in values):
                continue
            if columns is None:
                columns = tuple(value.strip() for value in values)
                continue
            named = {column: value.strip() for column, value in zip(columns, values, strict=False)}
            extra = any(value.strip() for value in values[len(columns) :])
            rows.append(TableRow(number, named, fewer=len(values) < len(columns), more=extra))
    except csv.Error as error:
        raise SourceError(f"{shown} cannot be read as CSV: line {begins + reader.line_num}: {error}") from error
    return Table(columns or (), tuple(rows))


def _as_wanted(column: str, wanted: Sequence[Sequence[str]]) -> str:
    known = {name.casefold(): name for each in wanted for name in each}
    return known.get(column.casefold(), column)


def inside(folder: Path, name: str) -> Path:
    """Return the file that a table calls `name`, below `folder`; it need not be there.

    Backslashes separate folders where there is no such file. Letters with accents count as the same however they are
    written (Macs take them apart). Raises SourceError for a name that leads out of the folder.
    """
    if max(map(len, map(_bytes_of, re.split(r"[/\\]", name)))) > _NAME_BYTES_AT_MOST or len(name) > _PATH_AT_MOST:
        raise SourceError(f"{as_text(name[:40])!r}… has {len(name)} characters; expected the name of a file")
    written = name if (folder / name).exists() else name.replace("\\", "/")
    parts = PurePosixPath(written).parts
    if ".." in parts or "\0" in name or written.startswith("/") or re.match(r"[A-Za-z]:", written):
        raise SourceError(f"{as_text(name)!r} leads out of {as_text(str(folder))}; expected a file below it")
    path = folder
    for part in parts:
        forms = (part, unicodedata.normalize("NFC", part), unicodedata.normalize("NFD", part))
        path /= next((form for form in forms if (path / form).exists()), part)
    return path


def _bytes_of(name: str) -> bytes:
    return name.encode(errors="surrogatepass")


def below(folder: Path, name: str) -> str:
    """Return what a table calls `name` as one name for one file: below its folder, `/` between. Raises SourceError."""
    return inside(folder, name).relative_to(folder).as_posix() if name else ""
