"""The console of every command: what it is given is text, and nothing in it can steer a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from edge.printable import PrintableFormatter, as_json, printable


class Terminal(Console):
    """A console that shows each str as one line of text, also in a table.

    Brackets and colons mean nothing; line breaks, terminal escapes and the like are shown as escapes. What is to be
    coloured, or has lines of its own, is a rich Text of what `printable` gave.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False} | how)

    def render_str(self, text: str, **how: Any) -> Text:
        """Return what a str is shown as."""
        return super().render_str(printable(text), **how)

    def print_json(self, json: str | None = None, *, data: Any = None, **_how: Any) -> None:
        """Print JSON: `data`, or what is JSON already."""
        text = Text(as_json(data, indent=2) if json is None else printable(json, keep="\n"))
        JSONHighlighter().highlight(text)
        self.print(text)


def warn(console: Console, text: str) -> None:
    """Print a warning of one line."""
    console.print(Text.assemble(("warning", "yellow"), ": ", printable(text)))


def lines(*texts: str, style: str = "") -> Text:
    """Return several lines, each made printable."""
    return Text("\n".join(printable(text) for text in texts), style=style)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Have the log written to stderr, one line for each record, and let no character end a command."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test has put something else in its place
            stream.reconfigure(errors="backslashreplace")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
