"""Links of pages lead to files that are there, and to headings that they have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def broken(path: Path) -> Iterator[str]:
    """Yield each link of a page that leads to no file, or to no heading of its file."""
    for file, anchor in _LINK.findall(path.read_text(encoding="utf-8")):
        if "://" in file or file.startswith("mailto:"):
            continue
        to = path.parent / file if file else path
        if not to.exists():
            yield f"{path.name}: no file {file}"
        elif anchor and anchor not in anchors(to.read_text(encoding="utf-8")):
            yield f"{path.name}: {to.name} has no heading #{anchor}"


def test_each_link_leads_somewhere() -> None:
    """A page that was renamed, or a heading, leaves no link behind."""
    paths = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "systemd").rglob("*.md")]
    assert len(paths) > 100
    assert not [link for path in sorted(paths) for link in broken(path)]


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    """Neither a missing file nor a missing heading passes."""
    (tmp_path / "b.md").write_text("# What `is` *there*\n", encoding="utf-8")
    page = tmp_path / "a.md"
    page.write_text(
        "[1](b.md#what-is-there) [2](https://c.example/d) [3](c.md) [4](b.md#no) [5](#no)\n", encoding="utf-8"
    )
    assert list(broken(page)) == [
        "a.md: no file c.md",
        "a.md: b.md has no heading #no",
        "a.md: a.md has no heading #no",
    ]
