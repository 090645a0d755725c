r"""Text from outside, made safe for a person to read.

File names, comments, users, models, cameras and vendors' words may hold terminal escapes or line breaks. They may turn
the direction of writing, or hold bytes that are no text at all. Each such
character is shown as an escape, such as `\x1b`, `\n`, `\u202e` or `\udcff`. Safe text stays as it is, so that it may be
made safe twice.
"""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from typing import Any

# Controls (Cc), formats such as overrides of direction (Cf), halves of surrogate pairs (Cs), line and paragraph ends.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_ODD = re.compile(r"[^\x20-\x7e]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# A spreadsheet would take text that begins so for a formula, and who wrote it may be anybody.
_FORMULA = ("=", "+", "-", "@")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: object, keep: str = "") -> str:
    """Return a text, or what an object reads as, with each unsafe character as an escape; those in `keep` stay."""
    told = str(text)
    return told if told.isascii() and told.isprintable() else _ODD.sub(lambda odd: _shown(odd[0], keep), told)


def _shown(character: str, keep: str) -> str:
    if character in keep or unicodedata.category(character) not in _UNSAFE:
        return character
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: a half of a surrogate pair, such as a file name's odd byte, is an escape."""
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def csv_cell(value: object) -> str:
    """Return what stands for a value in a CSV: printable, nothing for None, and no text that is taken for a formula."""
    text = "" if value is None else printable(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def as_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON that UTF-8 can hold and a terminal can show, and that means the same.

    Unsafe characters are JSON's own escapes, halves of surrogate pairs are the text of one. Raises ValueError for a
    number that is infinite or none.
    """
    separators = None if indent is not None else (",", ":")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return text if text.isascii() and text.isprintable() else _ODD.sub(_shown_in_json, text)


def _shown_in_json(odd: re.Match[str]) -> str:
    character = odd[0]
    # a line break of the text is an escape already: this one is of the layout
    if character == "\n" or unicodedata.category(character) not in _UNSAFE:
        return character
    number = ord(character)
    if 0xD800 <= number <= 0xDFFF:
        return f"\\\\u{number:04x}"
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"


class PrintableFormatter(logging.Formatter):
    """Writes each record of the log as one line.

    A traceback's lines follow it, marked, so that none passes as a record.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line of a record."""
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the lines of a traceback."""
        return _marked(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Return the lines of a stack."""
        return _marked(stack_info)


def _marked(lines: str) -> str:
    return "\n".join(f"  | {printable(line)}" for line in lines.split("\n"))
