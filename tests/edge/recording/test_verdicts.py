"""A recording is judged as the line judged its cameras: the same pixels, and so the same events."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.app import StandIns, Watchers, run_station
from edge.cli.commands import app
from edge.cli.console import load_station
from edge.commands.socket import CommandSocket
from edge.errors import LinewatchError
from edge.observers.direct import DirectObserver
from edge.publishers.memory import MemoryPublisher
from tests.bright_bundle import part, write_bright_bundle
from tests.edge.station.test_replay import write_pictures

CONFIG = """
bundle: bundle
store: {{path: outbox.db}}
broker: {{username: line, password: geheim}}
{cameras}
"""
# no frame of a line on a busy machine is too old here
SIMULATED = "{source: simulated, max_age_ms: 3600000, simulated: {width: 160, height: 96, fps: 50, frames: 40%s}}"


def settings(folder: Path, cameras: str) -> Path:
    """Write a bundle and the settings of a station."""
    if not (folder / "bundle").exists():
        write_bright_bundle(folder / "bundle")
    (folder / "line.yaml").write_text(CONFIG.format(cameras=cameras))
    return folder / "line.yaml"


def linewatch(*words: str | Path) -> tuple[int, str]:
    """Run a command here; return its exit code and what it said."""
    done = CliRunner().invoke(app, [str(word) for word in words], standalone_mode=False)
    if isinstance(done.exception, LinewatchError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None, done.exception
    return int(done.return_value or 0), done.output


def timeless(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return events without what depends on when they were judged."""
    return [{key: each[key] for key in each if key not in {"captured_at", "age_ms", "opened_at"}} for each in events]


def replayed(config: Path, recording: Path, out: Path, *more: str) -> list[dict[str, Any]]:
    """Replay a recording and return its events."""
    code, told = linewatch("replay", recording, "--config", config, "--events", out, *more)
    assert code == 0, told
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_a_live_line_its_recording_and_the_replay_agree(tmp_path: Path) -> None:
    """The simulated line is the same each time: what it judged live is what its recording comes to, frame by frame."""
    # of the glass a few pixels are as bright as 94 of 255, in every other frame
    config = settings(tmp_path, f"inspect: {{thresholds: {{scratch: 0.3686}}}}\ncamera: {SIMULATED % ''}")
    live: list[dict[str, Any]] = []
    ours, bundles = load_station(config, None)
    run_station(
        ours,
        bundles,
        threading.Event(),
        store=tmp_path / "live.db",
        live=True,
        instead=StandIns(publisher=MemoryPublisher()),
        watchers=Watchers([DirectObserver(lambda decided: live.append(decided.body or {}))]),
    )
    code, told = linewatch("record", config, "--out", tmp_path / "r")
    assert code == 0, told
    assert "camera: 40 frames; " in told
    assert "geheim" not in "".join(file.read_text() for file in (tmp_path / "r").glob("*.json"))
    back = replayed(config, tmp_path / "r", tmp_path / "events.jsonl")
    judged = [event for event in live if event["frame"] is not None]  # it is silent once its frames are over
    assert len(back) == 40
    assert timeless(back) == timeless(judged)
    assert {event["verdict"] for event in back} == {"OK", "NG"}


def test_two_cameras_and_their_light_barrier_are_replayed_as_parts(tmp_path: Path) -> None:
    """Without a table of parts: the recording knows when they were opened; two replays tell the same."""
    cameras = "".join(f"\n  {name}: {SIMULATED % more}" for name, more in (
        ("top", ", edge_share: 0.5"), ("side", ", edge_share: 0.5, view: side"),
    ))  # fmt: skip
    config = settings(tmp_path, f"cameras: {cameras}\nparts: {{trigger: software}}")
    code, told = linewatch("record", config, "--frames", "40", "--out", tmp_path / "r")
    assert code == 0, told
    events = replayed(config, tmp_path / "r", tmp_path / "a.jsonl")
    assert events == replayed(config, tmp_path / "r", tmp_path / "b.jsonl")
    assert events
    assert set(events[0]["views"]) == {"top", "side"}
    assert events[0]["part_id"] == "glass-000001"


def test_one_camera_of_two_is_recorded_and_replayed_under_another_name(tmp_path: Path) -> None:
    """`--camera` leaves the other alone; the one that is there plays for the one that is wanted."""
    pictures = write_pictures(tmp_path / "pictures", part(), part(100, 150, (10, 10, 20, 4)))
    top = f"{{source: {pictures}, fps: 100, triggered: true}}"  # none of its frames is left out
    two = f"cameras: {{top: {top}, side: {{source: {tmp_path}/none, kind: images}}}}"
    code, told = linewatch("record", settings(tmp_path, two), "--camera", "top", "--out", tmp_path / "r")
    assert code == 0, told
    config = settings(tmp_path, "camera: {name: eye}")
    from_recording = replayed(config, tmp_path / "r", tmp_path / "a.jsonl")
    from_camera = replayed(config, tmp_path / "r" / "top", tmp_path / "b.jsonl")
    of_pictures = replayed(config, pictures, tmp_path / "c.jsonl")
    assert from_recording == from_camera
    assert timeless(from_recording) == timeless(of_pictures)
    assert [event["verdict"] for event in from_recording] == ["OK", "NG"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--camera", "up"], 3, "--camera: expected some of camera, received up"),
        (["--frames", "2", "--max-gb", "0.001"], 0, "2 frames"),
        (["--keep-free-gb", "100000000"], 8, "stay so"),
    ],
)
def test_how_a_recording_ends(words: list[str], code: int, told: str, tmp_path: Path) -> None:
    """Each end has its exit code and says what happened."""
    config = settings(tmp_path, f"camera: {SIMULATED % ''}")
    ended = linewatch("record", config, "--out", tmp_path / "r", *words)
    assert ended[0] == code, ended
    assert told in ended[1]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    """Nothing is mixed with another recording."""
    config = settings(tmp_path, f"camera: {SIMULATED % ''}")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "mine.txt").write_text("mine")
    assert linewatch("record", config, "--out", tmp_path / "r")[0] == 8
    assert [each.name for each in (tmp_path / "r").iterdir()] == ["mine.txt"]


def test_a_recording_of_another_size_or_other_cameras_is_told(tmp_path: Path) -> None:
    """A size that the settings ask for is held, frame by frame; a camera that was not recorded is missed."""
    config = settings(tmp_path, f"camera: {SIMULATED % ''}")
    assert linewatch("record", config, "--frames", "2", "--out", tmp_path / "r")[0] == 0
    other = settings(tmp_path, "camera: {size_px: [320, 200]}")
    events = tmp_path / "events.jsonl"
    code, told = linewatch("replay", tmp_path / "r", "--config", other, "--events", events)
    assert (code, "2 pictures could not be read" in told) == (5, True), told
    assert {json.loads(line)["verdict"] for line in events.read_text().splitlines()} == {"NO_READ"}
    assert "160 x 96 px, expected the 320 x 200 px" in events.read_text()
    two = settings(tmp_path, "cameras: {top: {}, side: {}}")
    code, told = linewatch("replay", tmp_path / "r", "--config", two, "--events", events)
    assert (code, "missing: top, side" in told) == (3, True), told


def test_a_camera_of_a_running_line_is_left_to_it(tmp_path: Path) -> None:
    """A USB camera has one owner: the line that answers on the settings' store. Without the line it is opened."""
    config = settings(tmp_path, "camera: {source: /dev/video97}")
    with CommandSocket(tmp_path / "outbox.db", "root", lambda *_: None, questions={"status": lambda _: {}}):
        code, told = linewatch("record", config, "--seconds", "0.1", "--out", tmp_path / "r")
    assert (code, "The line runs and has camera, which can be opened only once" in told) == (5, True), told
    assert not (tmp_path / "r").exists()
    code, told = linewatch("record", config, "--seconds", "0.1", "--out", tmp_path / "r")
    assert (code, "No frame came from camera" in told) == (5, True), told
