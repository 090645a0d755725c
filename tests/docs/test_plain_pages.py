"""Sentences of pages, tables, decisions and schemas are plain."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import edge
from tests.conftest import ROOT
from tests.sentences import cells, count_words, paragraphs, pieces, sentences
from tests.test_docstrings import LATER_CLAUSES, WORDS_AT_MOST, first_word

# a benchmark writes its notes, which are series of figures
WRITTEN = ("docs/proof.md",)
# `make results` writes its tables, which are series of figures
WRITTEN_TABLES = (*WRITTEN, "docs/results.md")
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [
    *("README.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "systemd").rglob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))),
    *(path.relative_to(ROOT).as_posix() for path in DECISIONS),
]
SCHEMAS = sorted((Path(edge.__file__).parent / "schemas").glob("*.json"))

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARK = re.compile(r"([-*]|\d+\.)\s+")


def opening(sentence: str) -> str:
    """Return the first word of a sentence, behind a list's mark, emphasis, a link or a quotation mark."""
    text = _MARK.sub("", _LINK.sub(r"\1", sentence), count=1)
    return first_word(text.lstrip('*_"“(')).rstrip('*_"”)')


def assert_plain(texts: Iterable[str]) -> None:
    """Assert that no sentence opens with a clause or has too many words; a colon begins to count anew."""
    found = [one for text in texts for one in sentences(text)]
    assert found
    opened = [one for one in found if opening(one) in LATER_CLAUSES and not one.endswith("?")]
    assert not opened, "begin with the subject:\n" + "\n".join(opened)
    long = [one for sentence in found for one in pieces(sentence) if count_words(one) > WORDS_AT_MOST]
    assert not long, "say less, or part it:\n" + "\n".join(long)


def lines_of(page: str) -> list[str]:
    """Return the lines of a page, by its path below the root."""
    return (ROOT / page).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("page", [page for page in PAGES if page not in WRITTEN])
def test_each_page_is_written_plainly(page: str) -> None:
    """Outside of tables no sentence opens with a clause, and none has more than 20 words."""
    assert_plain(paragraphs(lines_of(page)))


def test_tables_are_written_plainly() -> None:
    """No cell's sentence opens with a clause, and none has more than 20 words."""
    assert_plain(cell for page in PAGES if page not in WRITTEN_TABLES for cell in cells(lines_of(page)))


@pytest.mark.parametrize("name", [path.stem for path in DECISIONS])
def test_each_decision_has_its_number_status_date_context_and_decision(name: str) -> None:
    """One opens with `# N. Title`, then its status and date; its context stands before what was decided."""
    lines = (ROOT / "docs" / "decisions" / f"{name}.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith(f"# {int(name[:4])}. ")
    status = re.match(r"Status: (?:accepted|rejected|superseded)\. Date: (\d{4}-\d\d-\d\d)\.", lines[2])
    assert status, f"expected `Status: accepted. Date: YYYY-MM-DD.`, received: {lines[2]}"
    assert date.fromisoformat(status.group(1))
    sections = [line for line in lines if line.startswith("## ")]
    assert sections[:1] == ["## Context"]
    assert "## Decision" in sections


def descriptions(schema: Any) -> Iterator[str]:
    """Yield each description of a schema, and of all that it holds."""
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "description" and isinstance(value, str):
                yield value
            else:
                yield from descriptions(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from descriptions(value)


@pytest.mark.parametrize("name", [path.name for path in SCHEMAS])
def test_each_schema_is_described_plainly(name: str) -> None:
    """No description of a key opens with a clause or has a sentence of more than 20 words."""
    (path,) = (path for path in SCHEMAS if path.name == name)
    assert_plain(descriptions(json.loads(path.read_text(encoding="utf-8"))))


def test_all_schemas_and_decisions_are_found() -> None:
    """A folder that moved leaves no test without its files."""
    assert len(SCHEMAS) >= 26
    assert len(DECISIONS) >= 60


@pytest.mark.parametrize(
    ("sentence", "word"),
    [
        ("- **If** so, no.", "if"),
        ("1. When so.", "when"),
        ("**What if** shows.", "what"),
        ("![how so](a.svg)", "how"),
        ("A `b`.", "a"),
    ],
)
def test_the_opening_stands_behind_marks(sentence: str, word: str) -> None:
    """A list's mark and emphasis hide no clause."""
    assert opening(sentence) == word


def test_cells_are_those_below_the_heading_and_behind_the_name() -> None:
    """A name may open as it likes; a bar behind a backslash parts no cell."""
    assert list(cells(["| what | b |", "|---|:-:|", "| what if | a \\| b |", "", "| no | table |"])) == ["a \\| b"]
