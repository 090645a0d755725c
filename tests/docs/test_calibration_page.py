"""docs/calibration.md: its commands do what it says, one after the other in one folder."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from edge.calibration.finding import find_target
from edge.calibration.targets import parse_target
from edge.cli.commands import app
from edge.inspection.settings import InspectSettings
from edge.pictures import read_picture
from edge.simulation.target_scene import PinholeCamera, painted
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
# The reader has a camera before which the printed target lies, and more pictures of it.
SETTINGS = "camera: {name: top, source: before.png, loop: true}\nbundle: none\n"


def blocks(language: str) -> list[str]:
    """Return the page's fenced blocks of a language, without the margin of a list."""
    found = re.findall(r"^ *```(\w*)\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for name, text in found if name == language]


def seen(path: Path, spec: str, **how: float) -> None:
    """Write what a camera sees of a target."""
    from edge.opencv import cv2

    camera = PinholeCamera((640, 480), **{"mm_per_px": 0.2, "k1": -0.2, **how})  # type: ignore[arg-type] - numbers
    cv2.imwrite(str(path), camera.picture(painted(parse_target(spec))))


def test_each_command_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All end well; their output tells what the page's table says, and no more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    (tmp_path / "line.yaml").write_text(SETTINGS)
    seen(tmp_path / "before.png", "chessboard:9x6:20mm", mm_per_px=0.4)
    seen(tmp_path / "tilted.png", "chessboard:9x6:10mm", tilt_deg=-25)
    seen(tmp_path / "turned.png", "chessboard:9x6:10mm", turn_deg=30, tilt_deg=15, mm_per_px=0.26)
    commands = [line for text in blocks("") for line in text.splitlines()]
    making = [line for line in commands if line.startswith("linewatch simulate")]
    rest = [line for line in commands if line not in making]
    assert len(rest) == 7
    codes = {}
    for line in [*making, *rest]:
        word, *words = shlex.split(line)
        assert word == "linewatch"
        done = CliRunner().invoke(app, words, standalone_mode=False)
        codes[line] = getattr(done.exception, "exit_code", 1) if done.exception else 0
    assert {line: code for line, code in codes.items() if code} == {}
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["residual_px"] < 0.3
    told = set(re.findall(r"^\| (`[^|]*`) \|", PAGE, re.MULTILINE))
    keys = {key for names in told for key in re.findall(r"`(\w+)`", names)}
    assert set(found) - {"camera", "target", "size_px", "pictures", "points", "file", "sha256"} <= keys


def test_its_picture_is_the_one_that_the_command_writes() -> None:
    """The chessboard in it is seen by a camera that is tilted by 30° and bends by -0.2."""
    pixels = read_picture(ROOT / "docs" / "pictures" / "calibration.jpg")
    camera = PinholeCamera((640, 480), 0.2, tilt_deg=30, k1=-0.2)
    spec = parse_target("chessboard:9x6:10mm")
    known = spec.points_mm - spec.points_mm.mean(axis=0)
    assert abs(find_target(spec, pixels).sighting.px - camera.seen(known)).max() < 0.5


def test_its_settings_are_settings() -> None:
    """The example is accepted as a view's."""
    for text in blocks("yaml"):
        InspectSettings.model_validate_json(json.dumps(yaml.safe_load(text)["inspect"]))


def test_every_target_of_the_table_is_one(tmp_path: Path) -> None:
    """Each is parsed, and printed."""
    named = re.findall(r"^\| `(\w+:\d+x[^`]+)`", PAGE, re.MULTILINE)
    assert {each.partition(":")[0] for each in named} == {"chessboard", "charuco", "circles", "acircles"}
    for spec in named:
        out = tmp_path / "target.svg"
        done = CliRunner().invoke(app, ["calibrate", "--print-target", spec, "--out", str(out)], standalone_mode=False)
        assert done.exception is None, spec
        assert 'width="297mm"' in out.read_text() or 'width="210mm"' in out.read_text()
