from __future__ import annotations

import pytest

from tests.conftest import ROOT
from tests.sentences import count_words, paragraphs, pieces, sentences
from tests.test_docstrings import LATER_CLAUSES, WORDS_AT_MOST, first_word

# a benchmark writes its notes, which are series of figures
WRITTEN = ("proof.md",)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", [path.name for path in PAGES if path.name not in WRITTEN])
def test_each_page_is_written_plainly(page: str) -> None:
    """Outside of tables no sentence opens with a clause, and none has more than 20 words."""
    (path,) = (path for path in PAGES if path.name == page)
    found = [one for text in paragraphs(path.read_text(encoding="utf-8").splitlines()) for one in sentences(text)]
    assert found
    opened = [one for one in found if first_word(one) in LATER_CLAUSES and not one.endswith("?")]
    assert not opened, "begin with the subject:\n" + "\n".join(opened)
    long = [one for sentence in found for one in pieces(sentence) if count_words(one) > WORDS_AT_MOST]
    assert not long, "say less, or part it:\n" + "\n".join(long)
