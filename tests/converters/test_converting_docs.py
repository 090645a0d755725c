"""Every command of docs/converting.md is run here as it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bundle import load_bundle
from edge.opencv import cv2
from tests.conftest import ROOT
from tests.converters.conftest import TILE, glass
from tests.converters.onnx_bundles import float_model_of
from tests.converters.test_flow import run

TEXT = (ROOT / "docs" / "converting.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Return each command of the page's plain code blocks."""
    blocks = re.findall(r"^```\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith("convert ")]


def levels_net() -> Any:
    """Build a net that finds the bright, the dark and the very dark of a picture averaged over 5 x 5 pixels."""
    import keras

    pixels = keras.Input((TILE, TILE, 1))
    x = keras.layers.AveragePooling2D(5, strides=1, padding="same")(keras.layers.Rescaling(1 / 255)(pixels))
    last = keras.layers.Conv2D(3, 1, activation="sigmoid")
    net = keras.Model(pixels, last(x))
    last.set_weights([np.array([[[[30.0, -30.0, -30.0]]]], np.float32), np.array([-24.0, 6.0, 3.0], np.float32)])
    return net


def test_every_command_works(
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a bundle of the trainer's kind all end with 0, one after the other, and the bundle verifies."""
    make_bundle(tmp_path / "scratch-1.0.0", levels_net())
    (tmp_path / "pictures").mkdir()
    for seed in (3, 4):
        cv2.imwrite(str(tmp_path / "pictures" / f"{seed}.png"), glass(80, 100, seed))
    float_model_of(tmp_path / "scratch-1.0.0" / "model.keras", tmp_path / "net.onnx")
    monkeypatch.chdir(tmp_path)
    found = commands()
    assert len(found) >= 10
    for command in found:
        assert run(*shlex.split(command)[1:]) == 0, f"{command}\n{capsys.readouterr().err}"
    made = load_bundle(tmp_path / "scratch-1.0.0")
    assert {"model.onnx", "model.fp16.onnx", "model.int8.onnx"} <= set(made.manifest.files)
    assert load_bundle(tmp_path / "from-onnx").manifest.channels == 1


def test_the_exit_codes_are_those_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The table and --help name the same codes."""
    assert run("--help") == 0
    told = " ".join(capsys.readouterr().out.split()).partition("Exit codes:")[2].partition(" An interrupted")[0]
    stated = {int(code) for code in re.findall(r"(?:^|[ ;])(\d+) (?=[a-z])", told)} - {16}
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)}
    assert stated == table
