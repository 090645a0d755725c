"""Advice about missing packages can be followed, and installs nothing of other people's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import tomllib

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("edge", "trainer", "converters", "benchmarks")
OWN_NAME = re.compile(r"linewatch\[")


def packages_of(extra: str) -> set[str]:
    """Name the packages that installing an extra brings: everybody's, its own, and those of extras that it takes in."""
    names: set[str] = set()
    for requirement in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra]]:
        if own := re.match(r"linewatch\[([^\]]+)\]", requirement):
            names |= {name for inner in own[1].split(",") for name in packages_of(inner)}
        else:
            names.add(re.split(r"[<>=!~; ]", requirement)[0])
    return names


def hints() -> list[tuple[str, list[str], str]]:
    """Find each call of `how_to_install`: its file, packages and extra."""
    found = []
    for path in (
        path for room in ("edge", "trainer", "converters", "benchmarks") for path in (ROOT / room).rglob("*.py")
    ):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "how_to_install":
                extra = next(keyword.value.value for keyword in node.keywords)  # type: ignore[attr-defined]
                found.append((path.name, [name for word in node.args for name in words_of(word, tree)], extra))
    return found


def words_of(word: ast.expr, tree: ast.Module) -> list[str]:
    """Return the word that is given, or all of the module's _PACKAGES for those of them that are missing."""
    if isinstance(word, ast.Starred):
        named = next(each for each in tree.body if isinstance(each, ast.Assign) and "_PACKAGES" in ast.unparse(each))
        return list(ast.literal_eval(named.value))
    return [str(ast.literal_eval(word))]


@pytest.mark.parametrize(("file", "packages", "extra"), hints())
def test_what_is_to_be_installed_is_in_the_extra(file: str, packages: list[str], extra: str) -> None:
    """Each package that a message names is one that this project asks for, by that extra."""
    assert packages, file
    assert set(packages) <= packages_of(extra), file


def test_there_are_hints() -> None:
    """The test above has something to look at."""
    assert len(hints()) >= 10


def test_nothing_tells_people_to_install_our_name_from_an_index() -> None:
    """`pip install 'linewatch[…]'` would fetch what a stranger published; no file but pyproject's own says it."""
    rooms = (*PACKAGES, "docs", "config", "systemd", "tests")
    files = [path for room in rooms for path in (ROOT / room).rglob("*")] + list(ROOT.iterdir())
    own = {ROOT / "pyproject.toml", ROOT / "edge" / "installing.py", Path(__file__)}
    for path in set(files) - own:
        if path.suffix in {".py", ".md", ".yaml", ".service", ""} and path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            assert not OWN_NAME.search(text), path
            assert not re.search(r"pip install [^\n]*\blinewatch\b(?!['\"]?/)", text), path
