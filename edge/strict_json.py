"""JSON from files that somebody else may have written: what is ambiguous or absurd in it is refused, never guessed."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

from edge.wording import counted

DEPTH_AT_MOST = 64
# Python takes some twenty times as much memory for the worst of it.
BYTES_AT_MOST = 8 * 1024 * 1024

# Brackets, and strings, whose brackets do not count.
_DEPTH_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def read_json(path: Path) -> Any:
    """Read a regular file as `parse_json` does. Raises ValueError, OSError; a pipe is not waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("expected a file, received something else")
        return parse_json(file.read(BYTES_AT_MOST + 1))


def parse_json(raw: bytes, *, depth_at_most: int = DEPTH_AT_MOST) -> Any:
    """Parse UTF-8 JSON. Raises ValueError, in words, for what is none and for what two readers could read differently.

    Refused are a key given twice, NaN and infinity (1e999 too), nesting deeper than `depth_at_most`, and more than
    BYTES_AT_MOST. Refused is text that is no Unicode (a lone surrogate).
    """
    if len(raw) > BYTES_AT_MOST:
        raise ValueError(f"expected at most {BYTES_AT_MOST} bytes, received more")
    # as many brackets as levels, or fewer, cannot nest deeper
    few = raw.count(b"{") + raw.count(b"[") <= depth_at_most
    if not few and (depth := _depth(raw, depth_at_most)) > depth_at_most:
        raise ValueError(f"expected at most {counted(depth_at_most, 'level')} of nesting, received {depth} or more")
    value = json.loads(
        raw.decode("utf-8"), object_pairs_hook=_once_only, parse_constant=_no_constant, parse_float=_finite
    )
    if b"\\u" in raw:  # UTF-8 holds no surrogate, so only an escape can give one
        _check_text(value)
    return value


def _depth(raw: bytes, enough: int) -> int:
    """Return how deep the nesting goes; not looked at further than one level beyond `enough`."""
    deepest = depth = 0
    for token in _DEPTH_TOKENS.finditer(raw):
        if token[0] in {b"[", b"{"}:
            depth += 1
            deepest = max(deepest, depth)
            if deepest > enough:
                break
        elif token[0] in {b"]", b"}"}:
            depth -= 1
    return deepest


def _once_only(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice!r:.80} is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"expected numbers, received {name}")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"expected a number that a computer can hold, received {text:.40}")
    return value


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        value.encode("utf-8")  # UnicodeEncodeError, which is a ValueError, for a lone surrogate
    elif isinstance(value, list):
        for each in value:
            _check_text(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            key.encode("utf-8")
            _check_text(each)
