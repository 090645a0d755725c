"""No text says "1 pictures": what is counted before a noun goes through `counted`, or can never be one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

NOUNS = (
    "alarms|bytes|cells|classes|commands|defects|drawings|epochs|events|files|findings|folders|frames|gradings|groups|"
    "labels|layers|levels|lines|masks|messages|minutes|nodes|objects|pages|parts|photos|pictures|pieces|pixels|"
    "recipes|results|rows|seconds|sets|steps|tiles|values|views|things|channels|colours|settings|sequences|"
    "entries|pieces|stations|cameras|thresholds|tries|connections|boxes|strokes|copies"
)
# Words that can never be one, and why.
NEVER_ONE: dict[tuple[str, str], str] = {
    ("down * across", "tiles"): "told where it is beyond a limit of many",
    ("self._entries_at_most", "files"): "a limit of many",
    ("total", "bytes"): "told where it is beyond a limit of many",
    ("size", "bytes"): "told where it is beyond a limit of many",
    ("path.stat().st_size", "bytes"): "told where it is beyond a limit of many",
    ("argument", "things"): "told where it is more than the file has bytes",
    ("len(data)", "bytes"): "a pickle of a file of weights has more",
    ("cut['of_steps']", "steps"): "told where at least one was taken and one is left",
}


def counts(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, expression and noun of each count before a plural noun in a file's f-strings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.JoinedStr):
            continue
        for value, text in zip(node.values, node.values[1:], strict=False):
            if not (isinstance(value, ast.FormattedValue) and isinstance(text, ast.Constant)):
                continue
            found = re.match(rf" ({NOUNS})\b", str(text.value))
            expression = ast.unparse(value.value)
            shown = ast.unparse(value.format_spec) if value.format_spec else ""
            fraction = re.search(r"\.\d", shown)
            constant = expression.rpartition(".")[2].strip("_").isupper()
            shape = expression.rpartition(".")[2] == "shape"
            if found and not shape and not fraction and not constant and "counted(" not in expression:
                yield node.lineno, expression, found[1]


def files() -> list[Path]:
    """List the modules of the three packages."""
    return [path for package in ("edge", "trainer", "converters") for path in sorted((ROOT / package).rglob("*.py"))]


def test_no_text_counts_one_of_several() -> None:
    """Each count before a plural is `counted`, a fraction, a limit in capitals, or stands below with its reason."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {{{expression}}} {noun}"
        for path in files()
        for line, expression, noun in counts(path)
        if (expression, noun) not in NEVER_ONE
    ]
    assert not wrong, "\n".join(wrong)


def test_the_walk_finds_what_it_is_for(tmp_path: Path) -> None:
    """A plain count is found; `counted`, limits and fractions are not."""
    source = tmp_path / "m.py"
    source.write_text(
        'f"{n} pictures"; f"{len(a):,} tiles at once"\n'
        "f\"{counted(n, 'picture')}; {MOST} tiles, {s:.1f} frames/s, {self._MOST} rows\"\n"
    )
    assert [(expression, noun) for _, expression, noun in counts(source)] == [("n", "pictures"), ("len(a)", "tiles")]


@pytest.mark.parametrize(("expression", "noun"), NEVER_ONE)
def test_what_is_excused_is_there(expression: str, noun: str) -> None:
    """An excuse that nothing needs any more is taken out."""
    assert any((expression, noun) == found[1:] for path in files() for found in counts(path))
