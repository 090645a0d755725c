"""Every picture goes through edge/pictures: no other room decodes one, or has a list of suffixes of its own."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from edge.pictures import SUFFIXES
from tests.conftest import ROOT

READER = Path("edge/pictures")
# These say as what a picture is written.
WRITERS = {Path("edge/cli/simulate_command.py"), Path("trainer/datasets/contact_sheets.py")}
# All that makes pixels of a picture's bytes, or of its file.
DECODERS = {"imread", "imdecode", "imreadmulti", "imdecodemulti", "imreadanimation", "decode_jpeg"}


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    """Yield each piece of the product's code with its file."""
    for room in ("edge", "trainer", "converters"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                yield path.relative_to(ROOT), node


def test_nothing_else_reads_pictures_or_says_what_their_files_are_called() -> None:
    """`inspect`, `replay`, `run`, `check`, the trainer and the converter cannot differ in what they read."""
    decoding, naming = set(), set()
    for path, node in nodes():
        if isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in DECODERS:
            decoding.add(path)
        if isinstance(node, ast.Tuple | ast.List | ast.Set):
            values = {each.value for each in node.elts if isinstance(each, ast.Constant)}
            if len(values & set(SUFFIXES)) > 1:
                naming.add(path)
    assert {path.parent for path in decoding} == {READER}
    assert naming - WRITERS == {READER / "folders.py"}
