"""docs/screens.md: each picture of it is one that `make screenshots` writes, and none is left out."""

from __future__ import annotations

import re
import struct

from benchmarks.screens import DESK, PHONE, SCREENS, WALL
from edge.dashboard.screens import NAV
from tests.conftest import ROOT

FOLDER = ROOT / "docs" / "screens"


def test_the_page_shows_each_picture_that_the_command_writes() -> None:
    """Eleven pictures, each in the folder and on the page."""
    page = (ROOT / "docs" / "screens.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\(screens/([\w-]+)\.png\)", page)
    assert len(SCREENS) == 11
    assert shown == [screen.name for screen in SCREENS]
    assert sorted(path.stem for path in FOLDER.glob("*.png")) == sorted(shown)


def test_each_picture_is_as_wide_as_its_screen() -> None:
    """A PNG's head gives the width of a wall, a desk or a phone.

    It gives the height, too, unless the whole page is shown.
    """
    for screen in SCREENS:
        raw = (FOLDER / f"{screen.name}.png").read_bytes()
        assert raw.startswith(b"\x89PNG\r\n\x1a\n"), screen
        width, height = struct.unpack(">II", raw[16:24])
        assert screen.size in {DESK, WALL, PHONE}
        assert (width, height) == screen.size or (screen.whole and width == screen.size[0] and height >= 300)


def test_the_addresses_are_those_of_screens() -> None:
    """Each leads to a screen of the head of the pages, or is found by the command itself."""
    known = {entry.path for entry in NAV} | {""}
    assert {screen.path.partition("?")[0] for screen in SCREENS} <= known


def test_the_readme_shows_pictures_that_are_there() -> None:
    """A picture that is renamed breaks no link."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\((docs/screens/[\w-]+\.png)\)", readme)
    assert len(shown) >= 4
    assert [path for path in shown if not (ROOT / path).is_file()] == []
