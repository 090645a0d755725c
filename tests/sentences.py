"""Sentences of docstrings and of pages, and the number of their words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_CODE = re.compile(r"``[^`]*``|`[^`]*`|https?://\S+|\]\([^)]*\)")
_END = re.compile(r"[.:!?][\"'”)*_]*(?=\s|$)")
_ITEM = re.compile(r"([-*]|\d+\.)\s")
_BAR = re.compile(r"(?<!\\)\|")
_RULE = re.compile(r"\|[-:| ]+\|")
_NO_PROSE = (">>>", "|", "├", "│", "└", "#", "<")


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Yield each paragraph and each item of a list as one line, without code, tables and headings."""
    found: list[str] = []
    is_code = False
    for line in [*lines, ""]:
        text = line.strip()
        if text.startswith("```"):
            is_code, text = not is_code, ""
        goes_on = bool(found) and _ITEM.match(found[0])
        no_prose = is_code or text.startswith(_NO_PROSE) or (line.startswith("    ") and not goes_on)
        if (not text or no_prose or _ITEM.match(text)) and found:
            yield " ".join(found)
            found = []
        if text and not no_prose:
            found.append(text.removeprefix("> "))


def cells(lines: Iterable[str]) -> Iterator[str]:
    """Yield the cells of each table of a page: no heading, and not the first of a row, which is a name."""
    is_below = False
    for line in lines:
        text = line.strip()
        is_row = len(text) > 1 and text[0] == text[-1] == "|"
        if is_row and is_below and not _RULE.fullmatch(text):
            yield from (cell.strip() for cell in _BAR.split(text)[2:-1] if cell.strip())
        is_below = is_row and (is_below or bool(_RULE.fullmatch(text)))


def pieces(text: str) -> Iterator[str]:
    """Yield the pieces of a paragraph that end with a full stop, a colon or the like."""
    closed = _CODE.sub(lambda code: re.sub(r"[.:!?\s]", "x", code.group()), text)
    start = 0
    for end in [*(found.end() for found in _END.finditer(closed)), len(text)]:
        if piece := text[start:end].strip():
            yield piece
        start = end


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a paragraph, each with its colons."""
    sentence = ""
    for piece in pieces(text):
        sentence = f"{sentence} {piece}".strip()
        if piece.rstrip("\"'”)*_")[-1:] in ".!?":
            yield sentence
            sentence = ""
    if sentence:
        yield sentence


def count_words(text: str) -> int:
    """Return how many words a text has: code, an address, a shape such as [H, W] and a size such as 3 x 3 are one."""
    text = _CODE.sub("code", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))
    text = re.sub(r"\[[^\]]*\]", "", text)
    text = re.sub(r"\d+ [x\u00d7] \d+", "size", text)
    return sum(bool(re.search(r"\w", word)) for word in text.split())
