"""Docstrings and comments are plain: no docstring opens with a clause, and no sentence is longer than 20 words."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.sentences import count_words, paragraphs, pieces, sentences

# each opens a clause, as a question word or as a condition
CLAUSES = (
    "what", "how", "whether", "which", "where", "when", "while", "who", "why",
    "whatever", "however", "whichever", "wherever", "whenever", "whoever",
)  # fmt: skip
# each opens a later sentence in the same way
LATER_CLAUSES = (*CLAUSES, "if", "because", "since", "although", "though", "unless", "until", "once")
PLACES = ("edge", "trainer", "converters", "benchmarks", "tests")
WORDS_AT_MOST = 20


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


@cache
def sentences_of(place: str) -> tuple[tuple[str, str], ...]:
    """Return each sentence of a room's docstrings, after its file and line."""
    return tuple(
        (f"{path.relative_to(ROOT)}:{line}", sentence)
        for path in sorted((ROOT / place).rglob("*.py"))
        for line, text in docstrings(path)
        for paragraph in paragraphs(text.splitlines())
        for sentence in sentences(paragraph)
    )


@pytest.mark.parametrize("place", PLACES)
def test_no_sentence_is_too_long(place: str) -> None:
    """Each has 20 words at most; a colon begins to count anew."""
    found = [(at, piece) for at, sentence in sentences_of(place) for piece in pieces(sentence)]
    assert len(found) > 100
    wrong = [f"{at}: {count_words(piece)} words: {piece}" for at, piece in found if count_words(piece) > WORDS_AT_MOST]
    assert not wrong, "say less, or part it:\n" + "\n".join(wrong)


@pytest.mark.parametrize("place", PLACES)
def test_no_later_sentence_opens_with_a_clause(place: str) -> None:
    """A sentence begins with its subject; a question may begin as questions do."""
    wrong = [
        f"{at}: {sentence}"
        for at, sentence in sentences_of(place)
        if first_word(sentence) in LATER_CLAUSES and not sentence.endswith("?")
    ]
    assert not wrong, "begin with the subject:\n" + "\n".join(wrong)


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each comment; lines of comments below each other are one."""
    block: list[str] = []
    begins = ends = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        stands_alone = not token.line[: token.start[1]].strip()
        if block and not (stands_alone and token.start[0] == ends + 1):
            yield begins, " ".join(block)
            block = []
        begins, ends = (begins if block else token.start[0]), (token.start[0] if stands_alone else -1)
        block.append(token.string.lstrip("# "))
    if block:
        yield begins, " ".join(block)


@pytest.mark.parametrize("place", PLACES)
def test_no_comment_is_too_long(place: str) -> None:
    """Each sentence of a comment has 20 words at most."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {count_words(piece)} words: {piece}"
        for path in sorted((ROOT / place).rglob("*.py"))
        for line, text in comments(path.read_text(encoding="utf-8"))
        for piece in pieces(text)
        if count_words(piece) > WORDS_AT_MOST
    ]
    assert not wrong, "say less, or part it:\n" + "\n".join(wrong)


def test_comments_below_each_other_are_one() -> None:
    """A comment behind code is one of its own."""
    source = "# One\n# two.\nx = 1  # three\n# four\n"
    assert list(comments(source)) == [(1, "One two."), (3, "three"), (4, "four")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("One two.", 2),
        ("`a b c` and uint8 [H, W].", 3),
        ("Tiles of 3 x 3 px.", 4),
        ("See [a page](a.md) - now.", 4),
    ],
)
def test_code_shapes_and_sizes_are_one_word(text: str, words: int) -> None:
    """A reader takes each in at once."""
    assert count_words(text) == words


def test_a_paragraph_falls_into_sentences_and_pieces() -> None:
    """A full stop within code or a number ends nothing; lists, tables and code stand apart."""
    text = [
        "Takes `a. b` of 0.5: one;",
        "two. If so,",
        "three.",
        "",
        "- item",
        "  goes on",
        "",
        "| a | b. |",
        "    x = 1.",
    ]
    first, item = paragraphs(text)
    assert list(sentences(first)) == ["Takes `a. b` of 0.5: one; two.", "If so, three."]
    assert list(pieces(first)) == ["Takes `a. b` of 0.5:", "one; two.", "If so, three."]
    assert item == "- item goes on"


@pytest.mark.parametrize(
    ("text", "word"), [("What a file is.", "what"), ("What if: again.", "what"), ("However it is.", "however")]
)
def test_the_first_word_decides(text: str, word: str) -> None:
    """The first word counts, and whole."""
    assert first_word(text) == word
