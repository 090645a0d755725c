from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from edge.wording import command, counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 defects"), (1, "1 defect"), (2, "2 defects"), (1000, "1000 defects")]
)
def test_a_number_has_its_noun(number: int, words: str) -> None:
    """One defect, and no `1 defects`."""
    assert counted(number, "defect") == words


def test_another_plural() -> None:
    """Words that take more than an s have their own."""
    assert counted(1, "message waits", "messages wait") == "1 message waits"
    assert counted(3, "message waits", "messages wait") == "3 messages wait"


@pytest.mark.parametrize("path", ["out/bundle", "my bundle", "it's here", 'a"b', "a;rm -rf b", "$HOME", "naïve"])
def test_a_command_can_be_pasted(path: str) -> None:
    """A shell reads back the very words, whatever is in a path."""
    assert shlex.split(command("convert", Path(path), "--to", "onnxruntime")) == [
        "convert",
        path,
        "--to",
        "onnxruntime",
    ]
