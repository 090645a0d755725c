"""Every command of docs/other-models.md is run here as it stands, on nets that are built here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from edge.cameras.images import read_picture
from tests.conftest import ROOT
from tests.converters.foreign.nets import TILE, torch_like, write_parts
from tests.converters.foreign.test_foreign_keras import proved, red_net
from tests.converters.test_flow import run

TEXT = (ROOT / "docs" / "other-models.md").read_text(encoding="utf-8")
TORCH = os.environ.get("LINEWATCH_TORCH_PYTHON", "")


def section(title: str) -> str:
    """Return one section of the page."""
    return TEXT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def blocks(title: str, kind: str = "") -> list[str]:
    """Return the code blocks of a section, of one kind."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section(title), re.DOTALL | re.MULTILINE)
    return [text for named, text in found if named == kind]


def obey(title: str, capsys: pytest.CaptureFixture[str]) -> int:
    """Run each command of a section; return how many there were."""
    found = [line for block in blocks(title) for line in block.splitlines() if line]
    for command in found:
        words = shlex.split(command)
        if words[0] == "convert":
            assert run(*words[1:]) == 0, f"{command}\n{capsys.readouterr().err}"
        else:
            assert words[0] == "python", command
            ended = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
            assert ended.returncode == 0, f"{command}\n{ended.stderr[-2000:]}"
    return len(found)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with pictures, as the page does."""
    write_parts(tmp_path / "pictures", count=3, height=TILE, width=TILE)
    monkeypatch.chdir(tmp_path)


def test_from_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By flags and by the YAML of the page, which are read alike."""
    torch_like(tmp_path / "unet.onnx")
    torch_like(tmp_path / "mine.onnx", opset=20, batch="N")
    (tmp_path / "mine.yaml").write_text(blocks("From ONNX", "yaml")[0])
    assert obey("From ONNX", capsys) == 2
    proved(tmp_path / "unet-1.0.0")
    proved(tmp_path / "mine-1.0.0")
    assert "`convert mine-1.0.0 --to onnxruntime`" in section("From ONNX")
    assert run("mine-1.0.0", "--to", "onnxruntime") == 0


def test_from_pytorch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`export.py` of the page, run by a Python that has torch, and what it wrote, against torch's own answers."""
    if not TORCH:
        pytest.skip("PyTorch: set LINEWATCH_TORCH_PYTHON to a python that has torch, onnx and onnxscript")
    shutil.copy(ROOT / "tests" / "converters" / "foreign" / "torch_net.py", tmp_path / "net.py")
    for path in sorted((tmp_path / "pictures").glob("*.png")):
        np.save(tmp_path / f"{path.stem}.npy", read_picture(path))
    (tmp_path / "export.py").write_text(blocks("From PyTorch", "python")[0])
    save = "import torch; from net import Net; torch.manual_seed(0); torch.save(Net().state_dict(), 'weights.pt')"
    for arguments in (["-c", save], ["net.py", "."], ["export.py"]):
        ended = subprocess.run([TORCH, *arguments], capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr[-2000:]
    assert obey("From PyTorch", capsys) == 2


def test_from_keras(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A .keras file, and an .h5 file by way of one."""
    red_net(TILE).save(tmp_path / "tutorial.keras")
    red_net(TILE).save(tmp_path / "old.h5")
    assert obey("From Keras", capsys) == 3
    proved(tmp_path / "tutorial-1.0.0")
    proved(tmp_path / "old-1.0.0")


def test_from_tensorflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A SavedModel and a TensorFlow Lite file, by way of tf2onnx."""
    net = red_net(TILE)
    net.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    (tmp_path / "lite.tflite").write_bytes(converter.convert())
    assert obey("From TensorFlow", capsys) == 4
    proved(tmp_path / "saved-1.0.0")
    proved(tmp_path / "lite-1.0.0")


def test_the_flags_of_the_page_are_those_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Each key of the table is a flag of `convert --help`."""
    assert run("--help") == 0
    told = capsys.readouterr().out
    rows = re.findall(r"^\| (`.*?) \|", TEXT, re.MULTILINE)
    keys = [key for row in rows for key in re.findall(r"`([a-z-]+)`", row) if not row.startswith("`.h5")]
    assert len(keys) >= 12
    for key in keys:
        assert f"--{key}" in told
