"""docs/architecture.md: its table of rooms is the package, and what it names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# Beside the rooms: how Python starts a package, and data.
NO_ROOMS = {"__init__.py", "__main__.py", "__pycache__", "bundles", "schemas", "defaults"}


def rows() -> Iterator[tuple[list[str], str]]:
    """Yield of each row of the table the rooms that it is about, and what it says of them."""
    for names, told in re.findall(r"^\| (`[^|]+`) \| (.+) \|$", PAGE, re.MULTILINE):
        yield re.findall(r"`([^`]+)`", names), told


def test_each_room_has_its_row() -> None:
    """Each folder and module of `edge` stands in the table, and none that is gone."""
    there = {path.name for path in (ROOT / "edge").iterdir() if path.suffix in {"", ".py"}} - NO_ROOMS
    told = {name.rstrip("/") for names, _ in rows() for name in names}
    assert told == there


def test_each_module_that_a_row_names_is_in_its_room() -> None:
    """A row names modules of its own room alone."""
    for names, told in rows():
        for module in re.findall(r"`(\w+\.py)`", told):
            assert any((ROOT / "edge" / name / module).is_file() for name in names), f"{names}: {module}"


def test_each_path_that_the_page_names_is_there() -> None:
    """Links, and paths of the tree, lead somewhere."""
    paths = re.findall(r"`((?:edge|converters|trainer)/[\w/.-]+)`", PAGE)
    links = [f"docs/{link}" for link in re.findall(r"\]\(([\w/.-]+)\)", PAGE)]
    assert len(paths) > 3
    assert [path for path in (*paths, *links) if not (ROOT / path).exists()] == []
