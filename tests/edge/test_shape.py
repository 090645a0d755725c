"""The shape of the code in `edge`: functions that fit on a screen, and constructors that can be called by hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import edge

LINES = 40
LONGER_AT_MOST = 0.01  # of all functions
PARAMETERS = 8  # beside self


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield each function of the package with the place where it stands."""
    root = Path(edge.__file__).parent
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(root)}:{node.lineno} {node.name}", node


def test_one_function_in_a_hundred_may_be_longer_than_a_screen() -> None:
    """At most 1 % of all functions have more than 40 lines, signature and docstring counted."""
    lines = {where: (node.end_lineno or node.lineno) - node.lineno + 1 for where, node in functions()}
    longer = {where: count for where, count in lines.items() if count > LINES}
    assert len(lines) > 1000
    assert len(longer) <= LONGER_AT_MOST * len(lines), longer


def test_no_constructor_has_more_than_eight_parameters() -> None:
    """A constructor that needs more is given a record of its own."""
    counts = {
        where: len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]) - 1
        for where, node in functions()
        if node.name == "__init__"
    }
    assert len(counts) > 100
    assert {where: count for where, count in counts.items() if count > PARAMETERS} == {}
