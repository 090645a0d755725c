"""What the checklist for a device says must be printed is what the code prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
