"""JSON that a labelling tool wrote, value by value: each knows where it stands, and says what was expected of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from edge.errors import DatasetError
from edge.pictures import as_text
from edge.records import Float64

Key = int | str
BYTES_AT_MOST = 256_000_000
_SHOWN = 40
_CONSTANTS = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True)
class Node:
    """One value of a JSON file. `where`: the file and the way to the value, for messages."""

    value: Any
    where: str

    def has(self, key: str) -> bool:
        """Tell whether it is an object that has `key`, with a value other than null."""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def get(self, key: str) -> Node:
        """Return the value of a key; of null where there is none. Raises DatasetError where it is no object."""
        if not isinstance(self.value, dict):
            raise self.wrong("an object")
        return Node(self.value.get(key), f"{self.where}, {as_text(key)}")

    def items(self) -> Iterator[Node]:
        """Yield the values of a list. Raises DatasetError where it is none."""
        if not isinstance(self.value, list):
            raise self.wrong("a list")
        for place, value in enumerate(self.value, start=1):
            yield Node(value, f"{self.where} {place}")

    def text(self, otherwise: str | None = None) -> str:
        """Return a text; `otherwise` of null. Raises DatasetError."""
        if self.value is None and otherwise is not None:
            return otherwise
        if not isinstance(self.value, str):
            raise self.wrong("a text")
        return as_text(self.value)

    def number(self, otherwise: float | None = None) -> float:
        """Return a number; `otherwise` of null. Raises DatasetError."""
        if self.value is None and otherwise is not None:
            return otherwise
        value = self.value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > 1e15:
            raise self.wrong("a number")
        return float(value)

    def whole(self, otherwise: int | None = None) -> int:
        """Return a whole number; `otherwise` of null. Raises DatasetError."""
        number = self.number(otherwise)
        if number != math.floor(number):
            raise self.wrong("a whole number")
        return int(number)

    def key(self) -> Key:
        """Return what an object is numbered or called by: a whole number or a text. Raises DatasetError."""
        return self.text() if isinstance(self.value, str) else self.whole()

    def numbers(self) -> Sequence[float]:
        """Return a list of numbers. Raises DatasetError."""
        if isinstance(self.value, list) and all(type(v) in {int, float} and abs(v) <= 1e15 for v in self.value):
            return self.value
        raise self.wrong("a list of numbers")

    def points(self) -> Float64:
        """Return a list of [x, y] as float64 [N, 2]. Raises DatasetError."""
        pairs = [item.numbers() for item in self.items()]
        if wrong := next((place for place, pair in enumerate(pairs, start=1) if len(pair) != 2), None):
            raise DatasetError(f"{self.where} {wrong}: expected x and y, received {len(pairs[wrong - 1])} numbers")
        return np.array(pairs, np.float64).reshape(-1, 2)

    def wrong(self, expected: str) -> DatasetError:
        """Say what was expected here."""
        shown = as_text(json.dumps(self.value, ensure_ascii=False, default=str))
        received = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
        return DatasetError(f"{self.where}: expected {expected}, received {received}")


def read_label_json(path: Path) -> Node:
    """Read a JSON file. Raises DatasetError naming it for what is none, or what two readers could read differently."""
    shown = as_text(str(path))
    try:
        if path.stat().st_size > BYTES_AT_MOST:
            raise DatasetError(f"{shown}: expected labels of at most {BYTES_AT_MOST // 1_000_000} MB, received more")
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{shown} cannot be read: {error.strerror or error}") from error
    return parse_label_json(raw, shown)


def parse_label_json(raw: bytes, where: str) -> Node:
    """Parse UTF-8 JSON, as `read_label_json` does."""
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_once_only, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise DatasetError(f"{where}: expected JSON in UTF-8, received something else: {error.reason}") from error
    except RecursionError as error:
        raise DatasetError(f"{where}: its values lie too deep in one another") from error
    except ValueError as error:
        raise DatasetError(f"{where} is no JSON: {error}{_place_of_constant(error, raw)}. Export it again") from error
    return Node(value, where)


def _place_of_constant(error: ValueError, raw: bytes) -> str:
    """Say where a text has what JSON has not: the parser does not."""
    name = str(error).partition(" ")[0]
    found = re.search(rf'(?<!["\w]){re.escape(name)}(?!["\w])'.encode(), raw) if name in _CONSTANTS else None
    if found is None:
        return ""
    line, before = raw.count(b"\n", 0, found.start()) + 1, raw.rfind(b"\n", 0, found.start())
    around = raw[max(before + 1, found.start() - _SHOWN) : found.end()].decode("utf-8", "replace")
    return f", in line {line}, column {found.start() - before}: {as_text(around)}"


def _once_only(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {as_text(twice)!r} is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
