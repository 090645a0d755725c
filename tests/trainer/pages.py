"""The code blocks and tables of a page of docs/, for the tests that hold it to its word."""

from __future__ import annotations

import re

from tests.conftest import ROOT


def read_page(name: str) -> str:
    """Return the text of a page of docs/."""
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def code_blocks(name: str, language: str = "") -> list[str]:
    """Return the page's fenced code blocks that are of `language`."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", read_page(name), re.DOTALL | re.MULTILINE)
    return [text for of, text in fenced if of == language]


def page_commands(name: str) -> list[str]:
    """Return each line of each code block of no language: the commands, in the page's order."""
    return [line.strip() for block in code_blocks(name) for line in block.splitlines() if line.strip()]
