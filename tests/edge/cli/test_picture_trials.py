"""`linewatch check` says where part and zones lie in the camera's frame, and whether that is good enough."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.bundle import Bundle
from edge.cli.check_command import _parts
from edge.cli.commands import app
from edge.cli.device_trials import Warned
from edge.cli.picture_trials import try_places, try_quality
from edge.cli.trials import CameraTrial
from edge.errors import SettingsError
from edge.opencv import cv2
from edge.quality.learning import learn_quality, write_quality
from edge.records import Frame, UInt8
from edge.settings import Settings, load_settings
from tests.bright_bundle import write_bright_bundle
from tests.edge.inspection.test_zoning import shown
from tests.edge.quality.scenes import BAD, scene

HALF = "{part: {find: rectangle}, zones: {half: {on: part, rectangle: [0, 0, 0.5, 1]}}}"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("b") / "bundle")


def looking_at(pixels: UInt8) -> CameraTrial:
    """Return a camera that was tried, and shows this."""
    return CameraTrial(Frame("top", 0, pixels, 0, datetime.now(timezone.utc)))


def settings(folder: Path, bundle: Bundle, text: str) -> Settings:
    """Return the settings of one view."""
    (folder / "line.yaml").write_text(f"bundle: {bundle.path}\n{text}\n")
    return load_settings(folder / "line.yaml").of_view()


def test_where_part_and_zones_lie_is_said(bundle: Bundle, tmp_path: Path) -> None:
    """A frame without a part is a warning, since the belt may be empty. A zone that does not lie in it is an error."""
    view = settings(tmp_path, bundle, f"inspect: {HALF}")
    told = try_places(view, bundle, looking_at(shown()))
    assert told.startswith("the part of 20")
    assert "px is found, 1 zone within it, 20," in told
    empty = try_places(view, bundle, looking_at(np.full((300, 400, 3), 100, np.uint8)))
    assert isinstance(empty, Warned)
    assert "this frame shows no part, and would be NO_READ" in empty
    outside = settings(tmp_path, bundle, "inspect: {zones: {rim: {rectangle: [390, 0, 20, 20]}}}")
    with pytest.raises(SettingsError, match="key inspect: the zone rim does not lie within the frame of 400 x 300 px"):
        try_places(outside, bundle, looking_at(shown()))


def test_whether_the_frame_is_good_enough_is_said(bundle: Bundle, tmp_path: Path) -> None:
    """A flaw is a warning; another size is an error, for no frame would ever be read."""
    write_quality(tmp_path / "q.npz", learn_quality([scene(seed) for seed in range(6)]))
    view = settings(tmp_path, bundle, "camera: {name: top, source: simulated, quality: q.npz}")
    assert try_quality(view, looking_at(scene(30))) == "the camera's frame is good enough"
    flawed = try_quality(view, looking_at(BAD["glare"][1](scene(30))))
    assert isinstance(flawed, Warned)
    assert flawed.startswith("not now: glare")
    with pytest.raises(SettingsError, match=r"key camera\.quality: the frame has 240 x 360 px"):
        try_quality(view, looking_at(scene(30)[:, :240]))


def test_the_command_tries_what_the_settings_have(bundle: Bundle, tmp_path: Path) -> None:
    """Zones without a camera too; neither where nothing says where to look, or what is good."""
    write_quality(tmp_path / "q.npz", learn_quality([scene(seed) for seed in range(5)]))
    camera = "camera: {name: top, source: simulated, quality: q.npz}"
    (tmp_path / "line.yaml").write_text(f"bundle: {bundle.path}\n{camera}\ninspect: {HALF}\n")
    full = load_settings(tmp_path / "line.yaml")
    bundles = {full.bundle: bundle}
    assert {"zones", "quality"} <= set(_parts(full, bundles, tmp_path, offline=False))
    assert list(_parts(full, bundles, tmp_path, offline=True)) == ["zones", "speed"]
    plain = settings(tmp_path, bundle, "")
    assert not {"zones", "quality"} & set(_parts(plain, {plain.bundle: bundle}, tmp_path, offline=False))


def test_inspect_tells_each_zone(bundle: Bundle, tmp_path: Path) -> None:
    """In the JSON of `linewatch inspect`: coverage, area and classes of each, and the report says what is inspected."""
    settings(tmp_path, bundle, f"inspect: {HALF}")
    cv2.imwrite(str(tmp_path / "a.png"), shown(defects=((20, 50, 40, 20),)))
    words = ["inspect", str(tmp_path / "a.png"), "--config", str(tmp_path / "line.yaml")]
    words += ["--report", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 12, done.output
    (row,) = json.loads((tmp_path / "r.json").read_text())["pictures"]
    half = row["zones"]["half"]
    assert half["coverage"] == pytest.approx(800 / 10_000, rel=0.03)
    assert (half["coverage_mm2"], half["classes"]["scratch"]["count"]) == (None, 1)
    assert "of it the part (rectangle); zones: half" in (tmp_path / "r.html").read_text()
