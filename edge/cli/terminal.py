"""The console of every command: what it is given is text, and nothing in it can steer a terminal."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import Any

from rich.console import Console, ConsoleDimensions
from rich.highlighter import JSONHighlighter
from rich.text import Text

from edge.printable import PrintableFormatter, as_json, printable

_WIDTH, _HEIGHT = 80, 25


class Terminal(Console):
    """A console that shows each str as one line of text, also in a table.

    Brackets and colons mean nothing; line breaks, terminal escapes and the like are shown as escapes. Coloured text, or
    text with lines of its own, is a rich Text of what `printable` gave.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False} | how)

    @property
    def size(self) -> ConsoleDimensions:
        """Width and height; of those that are 0, as some containers say, nothing could be seen."""
        size = super().size
        return ConsoleDimensions(size.width or _WIDTH, size.height or _HEIGHT)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size

    def print(self, *objects: Any, **how: Any) -> None:
        """Print, but for what stderr does not take: it only tells, and nothing may end for it."""
        try:
            super().print(*objects, **how)
        except OSError:
            if not self.stderr:
                raise

    def on_broken_pipe(self) -> None:
        """Be silent on stderr that nobody reads, which is no reason to end; of stdout the command decides."""
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True

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
    let_no_character_end_a_command()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])


def let_no_character_end_a_command() -> None:
    """Show what an output's encoding lacks as an escape; give a command that was started without outputs some."""
    for number in range(3):
        if not os.path.exists(f"/dev/fd/{number}"):  # noqa: PTH110 - a pipe's has no path to be resolved
            # else the next file to be opened would take its place, and be printed into
            with suppress(OSError):  # a root without devices
                os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as we run
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as we run
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a test has put something else in its place
            stream.reconfigure(errors="backslashreplace")
