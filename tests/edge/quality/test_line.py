"""Bad frames are NO_READ on the line, in a replay and in `inspect`, with one alarm each."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.app import run_line
from edge.bundle import load_bundle
from edge.cameras.images import ImagesCamera
from edge.cli.commands import app
from edge.errors import SettingsError
from edge.opencv import cv2
from edge.publishers.memory import MemoryPublisher
from edge.quality.learning import read_quality
from edge.records.decided import Decided
from edge.settings import load_settings
from tests.bright_bundle import write_bright_bundle
from tests.edge.quality.scenes import BAD, scene

ALARMS = {
    "exposure": "exposure",
    "glare": "glare",
    "moved": "camera-moved",
    "motion_blur": "motion-blur",
    "out_of_focus": "out-of-focus",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bundle, ten good pictures, and the settings that name what they teach."""
    folder = tmp_path_factory.mktemp("line")
    write_bright_bundle(folder / "bundle")
    (folder / "good").mkdir()
    for seed in range(10):
        cv2.imwrite(str(folder / "good" / f"{seed}.png"), scene(seed))
    (folder / "plain.yaml").write_text("bundle: bundle\ncamera: {name: top, source: good}\n")
    (folder / "line.yaml").write_text("bundle: bundle\ncamera: {name: top, source: good, quality: quality.npz}\n")
    return folder


@pytest.fixture(scope="module")
def learned(folder: Path) -> str:
    """Learn from the good pictures, as an engineer does, and return what was said."""
    words = ["learn-quality", str(folder / "plain.yaml"), "top", "--out", str(folder / "quality.npz")]
    done = CliRunner().invoke(app, [*words, "--pictures", str(folder / "good")])
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


@pytest.mark.usefixtures("learned")
def test_each_flaw_is_no_read_with_an_alarm_of_its_own(folder: Path, tmp_path: Path) -> None:
    """A good frame between them is judged and ends the alarm; the alarm says cause and consequence."""
    (tmp_path / "frames").mkdir()
    names = ["blurred", "dark", "glare", "streaked", "shifted"]
    for index, name in enumerate(names):
        cv2.imwrite(str(tmp_path / "frames" / f"{2 * index}.png"), BAD[name][1](scene(60 + index)))
        cv2.imwrite(str(tmp_path / "frames" / f"{2 * index + 1}.png"), scene(70 + index))
    decided: list[Decided] = []
    settings = load_settings(folder / "line.yaml")
    run_line(
        settings,
        load_bundle(folder / "bundle"),
        threading.Event(),
        store=tmp_path / "o.db",
        live=False,
        camera=ImagesCamera("top", tmp_path / "frames"),
        publisher=MemoryPublisher(),
        watchers=[decided.append],
    )
    for index, name in enumerate(names):
        spoilt, good = decided[2 * index], decided[2 * index + 1]
        fault = BAD[name][0]
        assert spoilt.inspection.camera_fault is not None, (name, spoilt.body["reason"])
        assert (spoilt.body["verdict"], spoilt.inspection.camera_fault.value) == ("NO_READ", fault)
        raised = [event.alarm for event in spoilt.alarms if event.transition == "raised"]
        assert set(raised) - {"no-read"} == {ALARMS[fault]}  # which suppresses no-read
        assert good.body["verdict"] != "NO_READ", good.body["reason"]
        cleared = [event.alarm for event in good.alarms if event.transition == "cleared"]
        assert set(cleared) - {"no-read"} == {ALARMS[fault]}
    rules = {rule.id: rule for rule in settings.alarm_rules}
    assert all(rules[name].cause and rules[name].consequence and rules[name].text for name in ALARMS.values())


def test_what_was_learned_is_said(folder: Path, learned: str) -> None:
    """Each limit, and how much of the picture stands still."""
    assert "quality.npz: good frames of top, from 10 frames of 480 x 360 px. Region 0,0,480,360" in learned
    assert "focus: edges blurred by at most " in learned
    assert "of the picture stand still" in learned
    assert read_quality(folder / "quality.npz").tells_moves


@pytest.mark.usefixtures("learned")
def test_files_are_looked_at_alike(folder: Path, tmp_path: Path) -> None:
    """`inspect` gives the same verdicts and reasons, also for a picture of another size."""
    (tmp_path / "p").mkdir()
    for name, pixels in {
        "a": scene(60),
        "b": BAD["blurred"][1](scene(60)),
        "c": cv2.resize(scene(60), (240, 180)),
    }.items():
        cv2.imwrite(str(tmp_path / "p" / f"{name}.png"), pixels)
    words = ["inspect", str(tmp_path / "p"), "--config", str(folder / "line.yaml")]
    words += ["--report", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 5, done.output
    rows = json.loads((tmp_path / "r.json").read_text())["pictures"]
    told = {Path(row["picture"]).stem: (row["verdict"], str(row["reason"])) for row in rows}
    assert told["a"][0] != "NO_READ"
    assert told["b"][0] == "NO_READ"
    assert told["b"][1].startswith("it is out of focus: its edges are blurred by")
    assert told["c"][1].startswith("the frame has 240 x 180 px, and its quality was learned in 480 x 360")


def test_nothing_is_looked_at_unless_it_is_asked_for(folder: Path) -> None:
    """Without the section no such alarm exists."""
    ids = {rule.id for rule in load_settings(folder / "plain.yaml").alarm_rules}
    assert not ids & set(ALARMS.values())


def test_settings_without_what_was_learned_are_refused(tmp_path: Path) -> None:
    """At the start, with what would make it; a camera among several has alarms of its own."""
    (tmp_path / "line.yaml").write_text(
        "cameras: {top: {source: simulated, quality: none.npz}, side: {source: simulated}}\nbundle: bundle\n"
    )
    settings = load_settings(tmp_path / "line.yaml")
    assert {rule.id: rule.cameras for rule in settings.alarm_rules}["out-of-focus"] == ("top",)
    write_bright_bundle(tmp_path / "bundle")
    with pytest.raises(SettingsError, match=r"none\.npz holds no learned quality: .*No such file"):
        run_line(settings, load_bundle(tmp_path / "bundle"), threading.Event(), store=tmp_path / "o.db", live=False)


def test_frames_in_which_nothing_stands_still_are_told(folder: Path, tmp_path: Path) -> None:
    """A camera that was moved cannot be told then, and an engineer should know."""
    (tmp_path / "moving").mkdir()
    for seed in range(6):
        noise = np.random.default_rng(seed).integers(60, 160, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "moving" / f"{seed}.png"), cv2.resize(noise, (480, 360), interpolation=0))
    words = ["learn-quality", str(folder / "plain.yaml"), "top", "--out", str(tmp_path / "q.npz")]
    done = CliRunner().invoke(app, [*words, "--pictures", str(tmp_path / "moving")])
    assert done.exit_code == 0, done.output
    assert "a camera that was moved cannot be told" in " ".join(done.output.split())
