"""docs/glossary.md: one word for one thing, each once, and what it names is there."""

from __future__ import annotations

import re
from collections import Counter

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
WORDS = [row.split("|")[1].strip() for row in PAGE.splitlines() if row.startswith("| ") and "| meaning |" not in row]


def test_every_word_stands_once() -> None:
    """A word with two meanings, or in two sections, would be two things; one may say whose it is: recipe (trainer)."""
    assert len(WORDS) > 100
    assert [word for word, count in Counter(WORDS).items() if count > 1] == []


def test_every_word_has_a_meaning() -> None:
    """No row is empty or unfinished."""
    rows = [row.split("|")[1:3] for row in PAGE.splitlines() if re.match(r"\| [^-]", row)]
    assert [word for word, meaning in rows if not word.strip() or len(meaning.strip()) < 4] == []


def test_what_it_names_is_there() -> None:
    """Links and paths of the tree lead somewhere."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE)
    paths = re.findall(r"`((?:edge|trainer|converters|docs)/[\w/.]+)`", PAGE)
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []
