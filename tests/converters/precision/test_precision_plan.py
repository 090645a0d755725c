from __future__ import annotations

import json
from pathlib import Path

import pytest

from converters.precision.plan import Pin, PrecisionPlan, read_plan, write_plan
from edge.errors import BundleError, StoreError

PLAN = PrecisionPlan("fp16", "ab" * 32, (Pin("net/3/Conv", "overflows: 3e5"), Pin("head/best", "the last step")))


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Precision, hash, and pins in their order survive the file; nothing else is left beside it."""
    write_plan(tmp_path / "precision.json", PLAN)
    assert read_plan(tmp_path / "precision.json") == PLAN
    assert [path.name for path in tmp_path.iterdir()] == ["precision.json"]
    assert PLAN.pinned_nodes == {"net/3/Conv", "head/best"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": "linewatch/precision/2"}',
        json.dumps({"schema": "linewatch/precision/1", "precision": "fp8", "onnx_sha256": "ab" * 32, "pinned": []}),
        json.dumps({"schema": "linewatch/precision/1", "precision": "fp16", "onnx_sha256": "../x", "pinned": []}),
        json.dumps({"schema": "linewatch/precision/1", "precision": "fp16", "onnx_sha256": "ab" * 32, "pinned": [1]}),
    ],
)
def test_a_file_that_is_no_plan_is_a_bundle_error(tmp_path: Path, text: str) -> None:
    """Anything else in the file is refused with its path and what to run."""
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(BundleError, match=r"p\.json is no precision plan.*convert BUNDLE"):
        read_plan(tmp_path / "p.json")


def test_without_a_plan_the_command_is_named(tmp_path: Path) -> None:
    """A bundle that was never prepared says what prepares it."""
    with pytest.raises(BundleError, match=r"No precision plan at .*--precision fp16"):
        read_plan(tmp_path / "precision.json")


def test_a_folder_that_is_gone_is_a_store_error(tmp_path: Path) -> None:
    """A place that cannot be written to is a StoreError."""
    with pytest.raises(StoreError, match="cannot be written"):
        write_plan(tmp_path / "gone" / "p.json", PLAN)
