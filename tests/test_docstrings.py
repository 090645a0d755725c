"""Docstrings are plain statements: none opens with a clause, which would make the reader wait for the subject."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

# each opens a clause, as a question word or as a condition
CLAUSES = (
    "what", "how", "whether", "which", "where", "when", "while", "who", "why",
    "whatever", "however", "whichever", "wherever", "whenever", "whoever",
)  # fmt: skip
PLACES = ("edge", "trainer", "converters", "benchmarks", "tests")


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring of a module, its classes and its functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def first_word(text: str) -> str:
    """Return the first word of a text in small letters, without the mark behind it."""
    return text.split(maxsplit=1)[0].rstrip(":,").lower()


@pytest.mark.parametrize("place", PLACES)
def test_no_docstring_opens_with_a_clause(place: str) -> None:
    """A docstring opens with a verb or a noun: `Return …`, `Tell whether …`, `One …`, `A …`."""
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / place).rglob("*.py"))]
    texts = [(path, line, text) for path in paths for line, text in docstrings(ROOT / path)]
    assert len(texts) > 100
    wrong = [f"{path}:{line}: {text.splitlines()[0]}" for path, line, text in texts if first_word(text) in CLAUSES]
    assert not wrong, "open with a verb or a noun:\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "word"), [("What a file is.", "what"), ("What if: again.", "what"), ("However it is.", "however")]
)
def test_the_first_word_decides(text: str, word: str) -> None:
    """The first word counts, and whole."""
    assert first_word(text) == word
