"""`convert BUNDLE --to tensorrt` as a device runs it: a process, its words, its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.bundle import Bundle, write_manifest
from edge.engines.engine_files import plan_path
from tests.conftest import ROOT


def convert(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `convert` on a simulated device."""
    command = [sys.executable, "-m", "tests.tensorrt.convert_simulated", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_an_engine_is_built_from_the_command_line(bundle: Bundle, tmp_path: Path) -> None:
    """It says where the plan lies, and the JSON holds what stands in the sidecar."""
    report = tmp_path / "built.json"
    asked = ("--to", "tensorrt", "--precision", "fp16", "--batch", "1,2,3", "--workspace-mb", 256, "--json", report)
    done = convert(bundle.path, *asked)
    assert done.returncode == 0, done.stderr
    plan = plan_path(bundle.path, "fp16")
    assert f"Wrote {plan}" in done.stdout.replace("\n", "")
    engine = json.loads(report.read_text())["engine"]
    assert (engine["plan"], engine["tensorrt"], engine["batch"]) == (str(plan), "10.3.0", [1, 2, 3])
    assert (engine["workspace_mb"], engine["half_share"]) == (256, 20 / 21)


def test_what_cannot_be_built_ends_with_a_message_and_a_code(bundle: Bundle) -> None:
    """6 where TensorRT cannot, 2 where the command line cannot, 4 where the bundle cannot; never a traceback."""
    wrong = (
        (("--precision", "fp32", "--workspace-mb", 10_000_000), 6, "A workspace of 10000000 MB cannot be"),
        (("--precision", "fp32", "--batch", "4,2,1"), 2, "--batch"),
    )
    for arguments, code, told in wrong:
        done = convert(bundle.path, "--to", "tensorrt", *arguments)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert told in done.stderr
    (bundle.path / "precision.json").write_text("{}")
    done = convert(bundle.path, "--to", "tensorrt", "--precision", "fp16")
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr
    assert "precision.json is corrupt or was altered" in done.stderr.replace("\n", " ")
    assert not (bundle.path / "engines" / "fp16.plan").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_command_that_is_told_to_end_leaves_nothing(bundle: Bundle, tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of a TensorRT build: exit code 130; no plan, and no file in bundle, cache or temporary folder."""
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "temporary").mkdir()
    begun = tmp_path / "begun"
    own = {"SIMULATED_STEP_S": "0.5", "SIMULATED_BEGUN": str(begun), "TMPDIR": str(tmp_path / "temporary")}
    command = [sys.executable, "-m", "tests.tensorrt.convert_simulated", str(bundle.path)]
    with subprocess.Popen(
        [*command, "--to", "tensorrt", "--precision", "fp16"],
        cwd=ROOT, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        while not begun.exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    begun.unlink()
    assert {path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size} == before


def test_a_bundle_without_golden_frames_is_not_built(bundle: Bundle) -> None:
    """Nothing could prove the engine: exit code 4, and the command that adds golden frames."""
    write_manifest(bundle.path, bundle.manifest.model_copy(update={"golden": ()}))
    done = convert(bundle.path, "--to", "tensorrt", "--precision", "fp32")
    assert (done.returncode, "Traceback" in done.stderr) == (4, False), done.stderr
    assert "has no golden frames" in done.stderr
    assert "--data PICTURES" in " ".join(done.stderr.split())
    assert not plan_path(bundle.path, "fp32").exists()
