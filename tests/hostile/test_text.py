"""Text from outside that would steer a terminal, forge a line or break a page: one table, and where it is shown."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table

from edge.cli.terminal import Terminal, warn
from edge.errors import SettingsError, SourceError
from edge.printable import PrintableFormatter, as_json, encodable, printable
from edge.web.page import escaped, page, paragraph
from tests.conftest import ROOT

# A text from outside, and a person's reading of it.
HOSTILE = [
    ("\x1b[2J\x1b[1;1H", r"\x1b[2J\x1b[1;1H"),  # clears the screen
    ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
    ("\x9b31m", r"\x9b31m"),  # the same as ESC [ in one character
    ("\x1b]8;;http://evil\x1b\\ok\x1b]8;;\x1b\\", "\\x1b]8;;http://evil\\x1b\\ok\\x1b]8;;\\x1b\\"),
    ("bad\nINFO edge: all is well", r"bad\nINFO edge: all is well"),
    ("bad\r OK", r"bad\r OK"),
    ("a\tb\vc\fd", r"a\tb\x0bc\x0cd"),
    ("x\x08\x08\x7f", r"x\x08\x08\x7f"),
    ("nul\x00", r"nul\x00"),
    ("next\x85line", r"next\x85line"),
    ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
    ("good\u202edab\u202c", r"good\u202edab\u202c"),  # reads from the right
    ("\u2066isolated\u2069\u200f\u061c", r"\u2066isolated\u2069\u200f\u061c"),
    ("zero\u200bwidth\ufeff\u00ad", r"zero\u200bwidth\ufeff\xad"),
    ("tag\U000e0041", r"tag\U000e0041"),
    ("name\udcff.png", r"name\udcff.png"),  # a file name's byte that is no UTF-8
    ("half\ud83d", r"half\ud83d"),
    ("[red]no markup[/red] [/x] :fire:", "[red]no markup[/red] [/x] :fire:"),
    ("Müller: 5 µm ≤ 日本 🙂 a\u00a0b", "Müller: 5 µm ≤ 日本 🙂 a\u00a0b"),  # nothing wrong with these
    (r"C:\new", r"C:\new"),
]
each = pytest.mark.parametrize(("text", "shown"), HOSTILE, ids=[shown for _, shown in HOSTILE])


def safe(text: str) -> bool:
    """Tell whether nothing in a text steers a terminal; line breaks are looked at elsewhere."""
    return all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in text.replace("\n", ""))


@each
def test_unsafe_characters_are_shown_as_escapes(text: str, shown: str) -> None:
    """Each is an escape, all else stays, and safe text is not escaped once more."""
    assert printable(text) == shown
    assert printable(shown) == shown


@given(st.text(st.characters(codec=None)))
def test_every_text_is_made_safe(text: str) -> None:
    """Any text becomes one line without controls that UTF-8 can hold; the JSON of it means the same."""
    assert safe(printable(text))
    assert "\n" not in printable(text)
    assert printable(printable(text)) == printable(text)
    written = as_json({"text": text})
    assert safe(written)
    assert json.loads(written.encode()) == {"text": encodable(text)}
    assert encodable(text).encode().decode() == encodable(text)


@each
def test_no_console_is_steered(text: str, shown: str) -> None:
    """A str is one line as it is, printed, warned of, and in a table with columns that fit."""
    heard = io.StringIO()
    terminal = Terminal(file=heard, width=200, force_terminal=True, color_system=None)
    terminal.print(text)
    warn(terminal, text)
    table = Table("a", "b")
    table.add_row(text, "|")
    terminal.print(table)
    first, second, *framed = heard.getvalue().splitlines()
    assert (first, second) == (shown, f"warning: {shown}")
    assert shown in framed[3]
    assert len(framed) == 5
    assert safe(heard.getvalue())


@each
def test_json_on_a_terminal_means_what_it_says(text: str, shown: str) -> None:
    """`--json` shows nothing that steers a terminal, and a program reads what was meant."""
    heard = io.StringIO()
    Terminal(file=heard, width=200, force_terminal=True, color_system=None).print_json(data=[{"name": text}])
    assert safe(heard.getvalue()), shown
    assert json.loads(heard.getvalue()) == [{"name": encodable(text)}]


@each
def test_one_record_is_one_line_of_the_log(text: str, shown: str) -> None:
    """No argument, message or traceback begins a line that could pass as another record."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    handler.setFormatter(PrintableFormatter("%(levelname)s %(name)s: %(message)s"))
    log = logging.Logger("edge")  # noqa: LOG001 - of this test alone
    log.addHandler(handler)
    log.error("camera %s", text)
    assert heard.getvalue() == f"ERROR edge: camera {shown}\n"
    log.error("failed", exc_info=RuntimeError(text))
    after = heard.getvalue().split("\n")[2:-1]
    assert after
    assert all(line.startswith("  | ") for line in after)
    assert safe(heard.getvalue())


@each
def test_errors_tell_one_line_for_each_of_ours(text: str, shown: str) -> None:
    """The message of an error holds no line that came from outside, wherever it is read."""
    assert str(SourceError(f"{text} cannot be read")) == f"{shown} cannot be read"
    assert str(SettingsError(f"a: {text}", "b")).split("\n") == [f"a: {shown}", "b"]


@each
def test_pages_hold_nothing_that_turns_the_text_around(text: str, shown: str) -> None:
    """A page can be written as UTF-8, and shows controls, overrides of direction and odd bytes as escapes."""
    whole = page(text, text, [], []) + paragraph(text)
    whole.encode()
    assert safe(whole.replace("\t", ""))
    assert escaped("<b>") == "&lt;b&gt;"
    if "\n" not in text and "\t" not in text:
        assert escaped(text) == escaped(shown)


NAMED = b"\x1b[31mred\nerror: forged\xff.yaml"
COMMANDS = {
    "settings that are absent": ["check", NAMED],
    "a recording that is absent": ["replay", NAMED, "--config", "config/line.yaml", "--events", "/dev/null"],
    "an option that is none": ["run", b"--" + NAMED],
    "journal of no settings": ["journal", NAMED],
    "sizes that are none": ["bench-engine", "nowhere", b"--batch", NAMED],
    "an export of another kind": ["journal", "nowhere", b"--export", NAMED],
    "a part that is none": ["journal", "nowhere", b"--part", NAMED],
    "a time that is none": ["shelve", "nowhere", "alarm", b"--for", NAMED],
    "a picture's size that is none": ["simulate", "--video", "x.mp4", b"--size", NAMED],
    "a shift that is none": ["report", "nowhere", b"--shift", NAMED],
    "a verb that is none": [NAMED],
    "a picture's size of 5,000 digits": ["simulate", "--video", "x.mp4", b"--size", b"9" * 5_000 + b"x" + NAMED],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_no_command_lets_a_name_through(words: list[str | bytes]) -> None:
    """A hostile file name on the command line is shown as escapes, in one line, and ends in no traceback."""
    command = [os.fsencode(sys.executable), b"-m", b"edge", *map(os.fsencode, words)]
    done = subprocess.run(command, capture_output=True, timeout=240, check=False, cwd=ROOT)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode in {2, 3, 5}, said
    assert "Traceback" not in said
    assert safe(said)
    # typer puts a complaint into a box
    assert not any(line.strip(" │").startswith("error: forged") for line in said.splitlines())
    assert "forged" in said


def test_names_in_settings_are_shown_as_escapes(tmp_path: Path) -> None:
    """Keys and values of a settings file steer no terminal, each complaint of it is one line."""
    config = tmp_path / "line.yaml"
    config.write_text('"\\e[2Jkey\\nerror: forged": 1\ncamera: {name: "a\\u202eb", max_age_ms: "\\x9b1m"}\n')
    done = subprocess.run(
        [sys.executable, "-m", "edge", "check", str(config)], capture_output=True, timeout=240, check=False, cwd=ROOT
    )
    said = done.stderr.decode()
    assert done.returncode == 3
    assert safe(said)
    assert len(said.splitlines()) == 3, said
    assert all(f"{config}, key" in line for line in said.splitlines())
