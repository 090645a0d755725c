"""`convert BUNDLE --to tensorrt` as a device runs it: a process, its words, its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edge.bundle import Bundle
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
