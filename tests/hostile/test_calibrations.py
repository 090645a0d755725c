"""Files of calibrations that somebody damaged or made up: our own error, and nothing is measured by them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.calibration.record import _hash, read_calibration, write_calibration
from edge.cli.commands import app
from edge.errors import LinewatchError, SettingsError
from tests.edge.calibration.scenes import calibration


def forged(**changed: Any) -> Callable[[Path], object]:
    """Return what writes a calibration with other values, and the SHA-256 that they would have."""

    def write(path: Path) -> None:
        write_calibration(path, calibration())
        body = json.loads(path.read_text())
        body.pop("sha256")
        body.update(changed)
        path.write_text(json.dumps({**body, "sha256": _hash(body)}))

    return write


BAD: dict[str, Callable[[Path], object]] = {
    "absent": lambda _: None,
    "a folder": Path.mkdir,
    "a pipe to which nobody writes": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "3 GB": lambda path: (path.touch(), os.truncate(path, 3_000_000_000)),
    "empty": Path.touch,
    "no UTF-8": lambda path: path.write_bytes(b"\xff\xfe\x00a"),
    "brackets without end": lambda path: path.write_bytes(b"[" * 100_000),
    "escapes": lambda path: path.write_text('{"schema": "\\u001b[2J\\nerror: forged"}'),
    "a plane that is none": forged(plane=[0] * 9),
    "a plane of words": forged(plane=["a"] * 9),
    "a plane of eight": forged(plane=[1] * 8),
    "a lens of another kind": forged(lens={"k9": 1.0}),
    "no size": forged(size_px=[]),
    "a size below nothing": forged(size_px=[-480, 360]),
    "a camera that is none": forged(camera="top"),
    "points that are none": forged(points=[{"x": 1}]),
    "a residual of words": forged(residual_mm="small"),
    "a pixel's size of words": forged(residual_px="small", worst_px=None),
}


@pytest.mark.parametrize("name", BAD)
def test_no_settings_are_read_with_what_is_no_calibration(name: str, tmp_path: Path) -> None:
    """The file is named, in lines that steer no terminal; `check` and `calibrate --verify` end with exit code 3."""
    path = tmp_path / "top.json"
    BAD[name](path)
    with pytest.raises(SettingsError, match=r"top\.json"):
        read_calibration(path)
    (tmp_path / "line.yaml").write_text("camera: {name: top, source: simulated}\ninspect: {calibration: top.json}\n")
    verify = ["calibrate", "line.yaml", "top", "--verify", "--target", "chessboard:9x6:10mm", "--picture", "t.png"]
    given = [str(tmp_path / word) if word.endswith(("yaml", "png")) else word for word in verify]
    for words in (["check", str(tmp_path / "line.yaml"), "--bundle", "demo"], given):
        error = CliRunner().invoke(app, words, standalone_mode=False).exception
        assert isinstance(error, LinewatchError), repr(error)
        assert error.exit_code in {3, 5}  # 5: the picture is missing, which is found first
        assert all(line.isprintable() for line in str(error).split("\n"))
