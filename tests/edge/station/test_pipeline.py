from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.alarms import NO_READ_ALARM, AlarmManager, alarm_rules
from edge.app import RunResult, identity_of, run_line
from edge.bundle import Bundle
from edge.cameras.capture import CapturedCamera
from edge.cameras.opencv import OpenCvSource
from edge.engines.time_limit import TimeLimitedEngine
from edge.errors import EngineError
from edge.inspection.batcher import Batcher
from edge.inspection.settings import InspectSettings
from edge.messages.writer import MessageWriter
from edge.outbox import Outbox
from edge.publishers.memory import MemoryPublisher
from edge.recipes.loaded import LoadedView
from edge.records import CameraCondition, CameraFault, CameraState, Frame, UInt8
from edge.records.decided import Decided
from edge.settings import Settings
from edge.simulation.camera import SimulatedCamera
from edge.simulation.engine import SimulatedEngine, Truth
from edge.simulation.rendering import SimulatedLineSettings
from edge.station.alarm_service import AlarmService
from edge.station.command_desk import CommandDesk
from edge.station.decider import Decider
from edge.station.recorder import Recorder
from edge.station.view import View, ViewRules
from tests.bright_bundle import write_bright_bundle
from tests.brokers import wait_for


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle for 64 px tiles."""
    return write_bright_bundle(tmp_path_factory.mktemp("b") / "bundle")


def settings(text: str) -> Settings:
    """Make settings of JSON."""
    return Settings.model_validate_json(text)


def run_until(
    count: int, bundle: Bundle, line: Settings, tmp_path: Path, camera: CapturedCamera | SimulatedCamera
) -> tuple[RunResult, list[Decided], MemoryPublisher]:
    """Run a live line until it has decided `count` times."""
    stop, decided, publisher = threading.Event(), [], MemoryPublisher()

    def watch(one: Decided) -> None:
        decided.append(one)
        if len(decided) >= count:
            stop.set()

    result = run_line(
        line, bundle, stop, store=tmp_path / "o.db", live=True, camera=camera, publisher=publisher, watchers=[watch]
    )
    return result, decided, publisher


def assert_unread(decided: list[Decided], why: str) -> None:
    """Nothing that was not seen may look as if it had been measured."""
    for one in decided:
        assert one.body["verdict"] == "NO_READ"
        assert why in one.body["reason"]
        assert {one.body[key] for key in ("coverage", "coverage_mm2", "classes", "defects")} == {None}
        assert one.defect_map is None


def test_a_dead_camera_is_no_read_and_an_alarm(bundle: Bundle, tmp_path: Path) -> None:
    """A device that is not there never reads as OK: NO_READ without a frame, again and again, and the alarm stands."""
    absent = str(tmp_path / "video9")
    camera = CapturedCamera("eye", lambda: OpenCvSource("device", absent), live=True)
    line = settings('{"camera": {"name": "eye", "max_age_ms": 50}}')
    result, decided, publisher = run_until(2, bundle, line, tmp_path, camera)
    assert_unread(decided, "no frame for")
    assert "there is no" in decided[-1].body["reason"]
    assert {one.body["frame"] for one in decided} == {None}
    assert (result.counts.frames, result.counts.no_read, result.counts.alarms_raised) == (0, 2, 2)
    standing = {
        topic.rsplit("/", 1)[1]: json.loads(message.payload)["body"]
        for topic, message in publisher.retained.items()
        if "/alarm/" in topic and message.payload
    }
    # the camera is what the operator sees; that nothing can be read stands too, suppressed by it
    assert {name: body["shown"] for name, body in standing.items()} == {"camera-lost": True, NO_READ_ALARM.id: False}
    assert standing[NO_READ_ALARM.id]["suppressed_by"] == ["camera-lost"]


def test_a_frame_that_grew_old_is_no_read(bundle: Bundle, tmp_path: Path) -> None:
    """An engine that takes longer than max_age_ms makes stale results, and stale is not OK."""
    camera = SimulatedCamera("eye", SimulatedLineSettings(width=64, height=64, fps=0, frames=3))
    line = settings(
        '{"camera": {"max_age_ms": 50, "watch": "off"},"engine": {"backend": "simulated", "simulated_tiles_per_s": 5}}'
    )  # watched, its pictures of an empty belt would be frozen on a busy machine
    _, decided, _ = run_until(9, bundle, line, tmp_path, camera)
    assert_unread(decided, "ms old, at most 50 ms allowed")
    assert [one.body["frame"] for one in decided] == [0, 1, 2]
    assert min(one.body["age_ms"] for one in decided) > 50


class StuckCamera(SimulatedCamera):
    """A camera that repeats its first picture, and after every few of them is in another `condition`."""

    condition = CameraCondition.LOST
    _first: Frame | None = None
    _reads = 0

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the first frame again, or tell of something else."""
        self._reads += 1
        if self._reads % 4 == 0:
            return CameraState(self.name, self.condition, "it is so")
        item = super().read(timeout_s)
        if not isinstance(item, Frame):
            return item
        self._first = self._first or item
        return replace(item, pixels=self._first.pixels.copy())


@pytest.mark.parametrize("condition", [CameraCondition.LOST, CameraCondition.UNREADABLE])
def test_a_frozen_camera_is_found_though_it_fails_besides(
    bundle: Bundle, tmp_path: Path, condition: CameraCondition
) -> None:
    """Neither a connection that breaks nor a damaged picture, now and then, hides a camera that repeats its last."""
    camera = StuckCamera("eye", SimulatedLineSettings(width=64, height=64, fps=50, frames=200))
    camera.condition = condition
    watch = '{"frozen_ms": 300, "frozen_frames": 5, "contrast_below": 0}'
    line = settings(f'{{"camera": {{"max_age_ms": 60000, "watch": {watch}}}, "engine": {{"backend": "simulated"}}}}')
    _, decided, _ = run_until(60, bundle, line, tmp_path, camera)
    frozen = [one for one in decided if one.inspection.camera_fault is CameraFault.FROZEN]
    assert "the camera is frozen" in frozen[-1].body["reason"]
    assert decided[-1].body["verdict"] == "NO_READ"


class OddCamera(SimulatedCamera):
    """The simulated line through a camera that was set to 16 bits, and then to a format of two planes."""

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame in its odd format."""
        item = super().read(timeout_s)
        if not isinstance(item, Frame):
            return item
        pixels = item.pixels.astype(np.uint16) if item.index == 0 else item.pixels[:, :, :2]
        return replace(item, pixels=pixels)


def test_pixels_of_another_format_are_no_read(bundle: Bundle, tmp_path: Path) -> None:
    """16 bits would wrap around and read as clean; pixels that cannot be fed to the model are not measured."""
    camera = OddCamera("eye", SimulatedLineSettings(width=64, height=64, fps=0, frames=2))
    line = settings('{"camera": {"max_age_ms": 60000}, "engine": {"backend": "simulated"}}')
    _, decided, _ = run_until(9, bundle, line, tmp_path, camera)
    assert_unread(decided, "expected uint8 [H, W] or [H, W, 3]")
    assert [one.body["frame"] for one in decided] == [0, 1]


def failing(frame: int, truth: Callable[[int], UInt8]) -> Truth:
    """Make an engine's truth fail on one frame."""

    def answer(camera: str, index: int) -> UInt8:
        del camera
        if index == frame:
            raise EngineError("the accelerator fell off the bus")
        return truth(index)

    return answer


def decider_of(view: View, bundle: Bundle, outbox: Outbox, **told: Any) -> Decider:
    """Return the decider of a live line with one view."""
    messages = MessageWriter(identity_of(Settings(), bundle, outbox.epoch))
    alarms = AlarmService(AlarmManager(alarm_rules(())), messages, outbox)
    recorder = Recorder(messages, outbox, alarms, live=True)
    return Decider([view], recorder, CommandDesk(tuple, lambda _: None, alarms, messages, outbox), live=True, **told)


def test_a_recording_that_ends_meanwhile_is_no_lost_camera(bundle: Bundle, tmp_path: Path) -> None:
    """The end of all there is to see is no camera that others go on without. The loop may come to it late."""
    camera = SimulatedCamera("eye", SimulatedLineSettings(width=64, height=64, fps=0, frames=3))
    engine = TimeLimitedEngine(SimulatedEngine(bundle.contract(1), camera.truth), 10.0)
    decided: list[Decided] = []

    def until_it_is_over() -> None:
        wait_for(lambda: "view eye" not in {thread.name for thread in threading.enumerate()})

    with Outbox(tmp_path / "o.db") as outbox, engine, camera, Batcher(engine, 8) as batcher:
        view = View("eye", camera, ViewRules(1, live=True))
        view.use(LoadedView("default", bundle, InspectSettings(), batcher))
        decider_of(view, bundle, outbox, watch=decided.append, each_turn=until_it_is_over).run(threading.Event())
    assert [one.inspection.frame for one in decided] == [0, 1, 2]
    assert not [one for one in decided if one.inspection.camera_fault is CameraFault.LOST]


def test_a_failed_inference_is_no_read_and_the_line_goes_on(bundle: Bundle, tmp_path: Path) -> None:
    """The frame whose inference failed is NO_READ with the reason; those before and after are inspected."""
    camera = SimulatedCamera("eye", SimulatedLineSettings(width=64, height=64, fps=0, frames=4))
    # a frame to a batch: those that share one fail together
    engine = TimeLimitedEngine(SimulatedEngine(bundle.contract(1), failing(2, camera.truth)), 10.0)
    decided: list[Decided] = []
    with Outbox(tmp_path / "o.db") as outbox, engine, camera, Batcher(engine, 8) as batcher:
        view = View("eye", camera, ViewRules(60_000, live=True))
        view.use(LoadedView("default", bundle, InspectSettings(), batcher))
        counts = decider_of(view, bundle, outbox, watch=decided.append).run(threading.Event())
    assert [one.body["verdict"] == "NO_READ" for one in decided] == [False, False, True, False]
    assert_unread([decided[2]], "the accelerator fell off the bus")
    # no-read, and engine-fails, which says why
    assert (counts.engine_errors, counts.alarms_raised, counts.alarms_cleared) == (1, 2, 2)


class BrokenTransform(SimulatedCamera):
    """The simulated line, of which one frame is so odd that a library fails on it."""

    def read(self, timeout_s: float) -> Frame | CameraState:
        """Return the next frame; the second one has no pixel."""
        item = super().read(timeout_s)
        return replace(item, pixels=item.pixels[:0]) if isinstance(item, Frame) and item.index == 1 else item


def test_a_frame_on_which_a_library_fails_ends_no_line(bundle: Bundle, tmp_path: Path) -> None:
    """It is NO_READ with the reason, and the frames behind it are inspected."""
    camera = BrokenTransform("eye", SimulatedLineSettings(width=64, height=64, fps=0, frames=4))
    line = settings('{"camera": {"max_age_ms": 60000}, "engine": {"backend": "simulated"}}')
    _, decided, _ = run_until(9, bundle, line, tmp_path, camera)
    assert [one.body["verdict"] == "NO_READ" for one in decided] == [False, True, False, False]
    assert_unread([decided[1]], "it cannot be prepared: ")


def test_a_class_that_no_frame_could_show_is_no_read(bundle: Bundle, tmp_path: Path) -> None:
    """A smallest area beyond the frame would wipe every defect, however large: that is never OK."""
    entry = bundle.manifest.classes[0]
    entries = (entry.model_copy(update={"min_area_px": 5000.0}), *bundle.manifest.classes[1:])
    blinded = Bundle(bundle.path, bundle.manifest.model_copy(update={"classes": entries}))
    camera = SimulatedCamera("eye", SimulatedLineSettings(width=64, height=64, fps=0, frames=2, defective_share=1))
    line = settings('{"camera": {"max_age_ms": 60000}, "engine": {"backend": "simulated"}}')
    _, decided, _ = run_until(9, blinded, line, tmp_path, camera)
    assert_unread(decided, f"no {entry.name} could be found: its smallest area is 5000 prepared px")


def test_what_is_measured_is_what_was_simulated(bundle: Bundle, tmp_path: Path) -> None:
    """With an engine that knows the truth, tiles, stitching and measuring add and lose no pixel of a scratch."""
    scratched_line = SimulatedLineSettings(width=300, height=200, fps=0, frames=80, defective_share=1)
    camera = SimulatedCamera("eye", scratched_line)
    line = settings('{"camera": {"max_age_ms": 60000}, "engine": {"backend": "simulated"}}')
    _, decided, _ = run_until(80, bundle, line, tmp_path, camera)
    scratched = 0
    with SimulatedCamera("eye", scratched_line) as again:
        for one in decided:
            again.read(0)
            assert one.inspection.frame is not None
            truth = again.truth(one.inspection.frame) == 1  # the simulated line's first class is its scratch
            assert one.defect_map is not None
            found = one.defect_map.classes == 1
            assert not (found & ~truth).any()
            missing = int((truth & ~found).sum())  # only specks below the bundle's 4 px
            assert missing <= 4 * 20
            scratched += bool(found.any())
    assert scratched > 5


def test_a_camera_that_is_not_there_leaves_the_status_at_starting(bundle: Bundle, tmp_path: Path) -> None:
    """Nobody is told `online: inspecting` of a line that has seen nothing; the reason is the camera's."""
    absent = str(tmp_path / "video9")
    camera = CapturedCamera("eye", lambda: OpenCvSource("device", absent), live=True)
    line = settings('{"camera": {"name": "eye", "max_age_ms": 50}}')
    _, _, publisher = run_until(2, bundle, line, tmp_path, camera)
    said = statuses(publisher)
    assert "online" not in {status for status, _ in said}
    assert any(status == "starting" and "there is no" in reason for status, reason in said)


def test_the_first_frame_makes_a_line_online(bundle: Bundle, tmp_path: Path) -> None:
    """And not before."""
    camera = SimulatedCamera("eye", SimulatedLineSettings(width=64, height=64, fps=20, frames=4))
    line = settings('{"camera": {"max_age_ms": 5000}}')
    _, _, publisher = run_until(9, bundle, line, tmp_path, camera)
    said = [status for status, _ in statuses(publisher)]
    assert "starting" in said
    assert said.index("starting") < said.index("online")


def statuses(publisher: MemoryPublisher) -> list[tuple[str, str]]:
    """List what was said of the line's status, in order."""
    bodies = [json.loads(m.payload)["body"] for m in publisher.messages if m.kind == "status"]
    return [(body["status"], body["reason"]) for body in bodies]
