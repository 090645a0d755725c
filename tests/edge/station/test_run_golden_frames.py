"""`linewatch run` replays the bundle's golden frames before it says that it inspects."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge.bundle import load_bundle, write_manifest
from edge.cli.demo import BUNDLE
from edge.opencv import cv2
from tests.brokers import free_port
from tests.conftest import ROOT

SETTINGS = """
bundle: bundle
camera: {{source: simulated, simulated: {{width: 256, height: 256, frames: 3}}}}
store: {{path: outbox.db}}
broker: {{port: {port}}}
"""


def line_of(folder: Path) -> Path:
    """Write settings around a copy of the shipped bundle; the line ends by itself after three frames."""
    shutil.copytree(BUNDLE, folder / "bundle")
    (folder / "line.yaml").write_text(SETTINGS.format(port=free_port()))
    return folder / "line.yaml"


def linewatch(verb: str, config: Path) -> subprocess.CompletedProcess[str]:
    """Run a verb of the real command to its end."""
    command = [sys.executable, "-m", "edge", verb, str(config)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)


def test_a_bundle_that_sees_what_it_saw_is_run(tmp_path: Path) -> None:
    """The shipped bundle starts, and inspects."""
    told = linewatch("run", line_of(tmp_path))
    assert told.returncode == 0, told.stderr
    assert "ended after 3 frames" in told.stderr


@pytest.mark.parametrize("verb", ["run", "check"])
def test_a_golden_frame_that_is_seen_otherwise_keeps_a_line_from_starting(tmp_path: Path, verb: str) -> None:
    """A map with a defect that the model does not find, its hash in order: exit code 4, and the frame is named."""
    config = line_of(tmp_path)
    bundle = load_bundle(tmp_path / "bundle")
    golden = bundle.manifest.golden[0]
    path = bundle.path / golden.expected_map
    expected = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    expected[:40, :40] = 2
    cv2.imwrite(str(path), expected)
    write_manifest(bundle.path, bundle.manifest)
    told = linewatch(verb, config)
    assert told.returncode == 4, told.stderr
    assert "does not see here what it saw when it was converted" in told.stderr.replace("\n", " ")
    assert golden.image in told.stderr.replace("\n", "")


def test_a_golden_frame_that_was_swapped_is_refused(tmp_path: Path) -> None:
    """A picture of another hash is refused before it is looked at."""
    config = line_of(tmp_path)
    golden = load_bundle(tmp_path / "bundle").manifest.golden[0]
    (tmp_path / "bundle" / golden.image).write_bytes(b"another picture")
    told = linewatch("run", config)
    assert told.returncode == 4
    assert "altered" in told.stderr
