"""The code prints what the checklist for a device says must be printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from converters.tensorrt.dialects import dialect_of
from edge.errors import DependencyError
from tests.conftest import ROOT
from tests.tensorrt import test_on_gpu

CHECKLIST = (ROOT / "docs" / "on-a-jetson.md").read_text(encoding="utf-8")
PHRASES = {
    "is being converted by another process": "converters/locking.py",
    "it was altered or cut off since it was built: expected sha256": "edge/engines/engine_files.py",
    "is open to other users: expected mode 0700": "edge/engines/engine_files.py",
    "building the engine": "edge/station/engine_start.py",
    "config.set_flag(BuilderFlag.FP16)": None,
    "config.get_timing_cache().serialize()": None,
    "half_share": "edge/engines/engine_files.py",
    "fastest at": "edge/cli/bench_engine_command.py",
}


@pytest.mark.parametrize("phrase", PHRASES)
def test_every_phrase_of_the_checklist_is_printed(phrase: str) -> None:
    """A checklist that expects what is never printed sends people looking for defects that are none."""
    assert phrase in CHECKLIST
    source = PHRASES[phrase]
    if source is not None:
        assert phrase in (ROOT / source).read_text(encoding="utf-8")


def test_the_checklist_counts_the_tests_for_a_device() -> None:
    """`10 passed`: as many as are marked, each of their parameters counted."""
    text = Path(test_on_gpu.__file__).read_text(encoding="utf-8")
    total = 0
    for marks in re.findall(r"((?:^@pytest\.mark\.parametrize\(.*\)\n)*)^def test_", text, re.MULTILINE):
        count = 1
        for values in re.findall(r"parametrize\([^,]+, \[(.*)\]\)", marks):
            count *= len(values.split(","))
        total += count
    assert f"`{total} passed`" in CHECKLIST


def test_the_table_of_jetpacks_names_versions_that_are_built_with() -> None:
    """Each TensorRT of the table is spoken to as the page says: typed from 10 on; 11 on a Jetson from 11.4.1 only."""
    page = (ROOT / "docs" / "tensorrt.md").read_text(encoding="utf-8")
    table = page[page.index("| JetPack | TensorRT |") :].split("\n\n", 1)[0]
    rows = dict(re.findall(r"^\| ([\d., ]+|later) \| (.+?) \|$", table, re.MULTILINE))
    brought = {jetpack: re.findall(r"\d+\.\d+(?:\.\d+)?", text) for jetpack, text in rows.items()}
    assert brought == {"6.0": ["8.6"], "6.1, 6.2": ["10.3"], "7.2": ["10.16"], "later": ["11.4.1"]}
    for (version,) in brought.values():
        assert dialect_of(version, jetson=True).typed == (not version.startswith("8."))
    with pytest.raises(DependencyError, match="does not support Jetson"):
        dialect_of("11.4.0", jetson=True)
