"""Two stations judge the very same frames in one pass: each as it would alone, and what differs is told."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.bundle import write_manifest
from edge.cli.against import CHANGED
from edge.cli.commands import app
from edge.opencv import cv2
from edge.records import CameraCondition, Frame
from edge.replaying.sharing import SharedCamera, Turns
from tests.bright_bundle import part, write_bright_bundle
from tests.edge.recording.test_recording import ListedCamera, frames
from tests.edge.recording.test_verdicts import SIMULATED, linewatch
from tests.edge.station.recipe_line import grey_scratch

SETTINGS = "camera: {name: eye}\nbundle: a\nstore: {path: o.db}\n"
# `a` sees a scratch of brightness 135, `b` does not; both see one of 250
PICTURES = {
    "0.png": part(),
    "1 <b>&.png": grey_scratch(135),
    "2.png": part(100, 150, (60, 70, 10, 5)),
}


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write two bundles, settings and pictures, and go there."""
    monkeypatch.chdir(tmp_path)
    write_bright_bundle(tmp_path / "a")
    write_bright_bundle(tmp_path / "b", white=280)
    (tmp_path / "line.yaml").write_text(SETTINGS)
    (tmp_path / "pictures").mkdir()
    for name, pixels in PICTURES.items():
        cv2.imwrite(str(tmp_path / "pictures" / name), pixels)
    return tmp_path


def replay(against: str, *more: str, recording: str = "pictures") -> tuple[int, str]:
    """Replay with the settings that are here, against what is named."""
    given = ["replay", recording, "--config", "line.yaml", "--events", "events.jsonl", "--against", against]
    return linewatch(*given, *more)


def events(path: str = "events.jsonl") -> list[dict[str, Any]]:
    """Read the events of the last replay."""
    return [json.loads(row) for row in Path(path).read_text().splitlines()]


def verdicts_alone(bundle: str) -> list[tuple[str, Any]]:
    """Replay with one bundle alone."""
    code, told = linewatch("replay", "pictures", "--config", "line.yaml", "--events", "alone.jsonl", "--bundle", bundle)
    assert code == 0, told
    return [(event["verdict"], event["reason"]) for event in events("alone.jsonl")]


@pytest.mark.usefixtures("line")
def test_each_station_judges_as_it_would_alone() -> None:
    """The verdicts of both are those of two replays apart; the first one's events are as ever, but for `against`."""
    code, told = replay("b", "--diff", "diff.json")
    assert code == 0, told
    both = events()
    assert [(event["verdict"], event["reason"]) for event in both] == verdicts_alone("a")
    assert [(e["against"]["verdict"], e["against"]["reason"]) for e in both] == verdicts_alone("b")
    assert [len(event["against"]["lost"]) for event in both] == [0, 1, 0]
    lost = both[1]["against"]["lost"][0]
    assert (lost["class"], lost["bbox"], lost["area_mm2"]) == ("scratch", [10, 10, 20, 4], None)
    assert lost["area_px"] == pytest.approx(80, abs=2)
    assert "3 frames compared, 1 verdict would differ (NG → OK: 1); scratch: 0 gained, 1 lost" in told
    diff = json.loads(Path("diff.json").read_text())
    assert (diff["compared"], diff["skipped"], diff["classes"]) == (3, 0, {"scratch": {"gained": 0, "lost": 1}})
    assert diff["verdicts"] == [{"former": "NG", "new": "OK", "count": 1}]
    assert [each["frame"] for each in diff["differing"]] == ["eye 1 1 <b>&.png"]
    assert diff["former"]["models"]["default/eye"]["sha256"] != diff["new"]["models"]["default/eye"]["sha256"]


@pytest.mark.usefixtures("line")
def test_the_page_shows_both_beside_each_other_and_loads_nothing() -> None:
    """Two pictures for the frame that differs; a file's name is text in it."""
    assert replay("b", "--html", "page.html")[0] == 0
    page = Path("page.html").read_text()
    assert len(re.findall(r'src="data:image/jpeg;base64,', page)) == 2
    assert "1 &lt;b&gt;&amp;.png: NG → OK" in page
    assert "1 <b>" not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)


@pytest.mark.usefixtures("line")
def test_second_settings_change_verdicts_where_no_defect_differs() -> None:
    """A limit of one scratch makes good what was NG. The exit code says so only if it is asked to."""
    Path("second.yaml").write_text(SETTINGS + "inspect: {limits: {scratch: {max_count: 1}}}\n")
    code, told = replay("second.yaml")
    assert (code, "2 verdicts would differ (NG → OK: 2); no defect gained or lost" in told) == (0, True), told
    done = CliRunner().invoke(
        app, ["replay", "pictures", "--config", "line.yaml", "--events", "e", "--against", "second.yaml",
              "--fail-on-change"], standalone_mode=False,
    )  # fmt: skip
    assert done.return_value == CHANGED


@pytest.mark.usefixtures("line")
def test_the_same_bundle_is_said_and_nothing_differs() -> None:
    """A slip that would read as a proof; with --fail-on-change it ends with 0."""
    code, told = replay("a", "--fail-on-change")
    assert code == 0
    assert "0 verdicts would differ" in told


@pytest.mark.usefixtures("line")
def test_parts_of_a_recording_are_compared_and_two_runs_tell_the_same() -> None:
    """Two cameras and their light barrier: parts are paired, with the defects of both views."""
    simulated = [SIMULATED % ", edge_share: 0.5", SIMULATED % ", edge_share: 0.5, view: side"]
    cameras = f"cameras: {{top: {simulated[0]}, side: {simulated[1]}}}\nparts: {{trigger: software}}\nbundle: a\n"
    Path("line.yaml").write_text(f"{cameras}inspect: {{thresholds: {{scratch: 0.3686}}}}\nstore: {{path: o.db}}\n")
    assert linewatch("record", "line.yaml", "--out", "r")[0] == 0
    told = []
    for name in ("one", "two"):
        assert replay("b", "--diff", f"{name}.json", recording="r")[0] == 0
        told.append((json.loads(Path(f"{name}.json").read_text()), events()))
    assert told[0] == told[1]
    diff, parts = told[0]
    assert diff["unit"] == "part"
    assert diff["compared"] == len(parts) > 0
    assert diff["classes"]["scratch"]["gained"] == 0  # it takes more light for the second model
    assert diff["classes"]["scratch"]["lost"] == sum(len(each["against"]["lost"]) for each in parts) > 0


def other_classes(line: Path) -> str:
    """Write a bundle that knows pits only."""
    bundle = write_bright_bundle(line / "c")
    pit = bundle.manifest.classes[0].model_copy(update={"name": "pit"})
    write_manifest(line / "c", bundle.manifest.model_copy(update={"classes": (pit,)}))
    return "c"


def test_other_classes_are_told_and_a_limit_of_one_that_is_gone_is_refused(line: Path) -> None:
    """All of the one are lost and all of the other gained. A limit that never acts would make all good."""
    other_classes(line)
    code, told = replay("c")
    assert code == 0
    assert "pit: 2 gained, 0 lost; scratch: 0 gained, 2 lost" in told
    Path("line.yaml").write_text(SETTINGS + "inspect: {limits: {scratch: {max_count: 1}}}\n")
    code, told = replay("c")
    assert (code, "expected a class of the bundle bright (pit), received 'scratch'" in told) == (3, True)


@pytest.mark.parametrize(
    ("against", "settings", "code", "told"),
    [
        ("pictures", SETTINGS, 3, "expected a bundle or a file of settings, received the folder pictures"),
        ("nowhere", SETTINGS, 3, "nowhere"),
        ("parts.yaml", SETTINGS, 3, "expected both to tell parts apart, or neither"),
        ("other.yaml", SETTINGS, 3, "expected no cameras but those of --config, eye; received top"),
        ("b", "camera: {name: eye}\nrecipes: {x: {views: {eye: {bundle: a}}}}\n", 3, "a second file of settings"),
    ],
)
@pytest.mark.usefixtures("line")
def test_what_cannot_be_compared_is_refused(against: str, settings: str, code: int, told: str) -> None:
    """Nothing is guessed, and no events are written for half a comparison."""
    Path("line.yaml").write_text(settings)
    Path("parts.yaml").write_text(SETTINGS + "parts: {trigger: mqtt}\n")
    Path("other.yaml").write_text("camera: {name: top}\nbundle: a\n")
    ended = replay(against)
    assert (ended[0], told in ended[1]) == (code, True), ended


@pytest.mark.usefixtures("line")
def test_options_of_a_comparison_need_one() -> None:
    """A page of nothing would be empty, and its reader misled."""
    for option in (["--diff", "d"], ["--html", "h"], ["--fail-on-change"]):
        done = CliRunner().invoke(
            app, ["replay", "pictures", "--config", "line.yaml", "--events", "e", *option], standalone_mode=True
        )
        assert done.exit_code == 2


def test_two_readers_get_every_frame_and_each_is_decoded_once() -> None:
    """One reads on while the other has not begun, as far as it may. Both see the same frames and the end."""
    given = frames("eye", 30)
    asked = 0

    class Counted(ListedCamera):
        def read(self, timeout_s: float) -> Any:
            nonlocal asked
            asked += 1
            return super().read(timeout_s)

    turns = Turns()
    shared = SharedCamera(Counted("eye", given), turns)
    got: dict[int, list[Any]] = {0: [], 1: []}

    def play(reader: int) -> None:
        with shared.for_reader(reader) as camera:
            while isinstance(item := camera.read(1), Frame):
                got[reader].append(item)
            assert item.condition is CameraCondition.END_OF_STREAM
        turns.leave(reader)

    threads = [threading.Thread(target=play, args=(reader,)) for reader in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got[0] == got[1] == given
    assert asked == 31


def test_readers_that_would_wait_for_each_other_go_on() -> None:
    """One reads all of the top before the side, the other all of the side before the top."""
    turns = Turns()
    cameras = {name: SharedCamera(ListedCamera(name, frames(name, 20)), turns) for name in ("top", "side")}
    counts: dict[int, int] = {}

    def play(reader: int, order: tuple[str, ...]) -> None:
        own = [cameras[name].for_reader(reader) for name in order]
        for camera in own:
            with camera:
                while isinstance(camera.read(1), Frame):
                    counts[reader] = counts.get(reader, 0) + 1
        turns.leave(reader)

    threads = [
        threading.Thread(target=play, args=(0, ("top", "side")), daemon=True),
        threading.Thread(target=play, args=(1, ("side", "top")), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert counts == {0: 40, 1: 40}
