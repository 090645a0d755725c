from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import SettingsError
from edge.records import CameraCondition, CameraState, Frame
from edge.records.parts import PartClosed, PartOpened, TriggerEvent
from edge.simulation.belt import SimulatedBelt, SimulatedTrigger, belt_part, check_one_belt
from edge.simulation.camera import SimulatedCamera
from edge.simulation.rendering import CLASS_NAMES, RenderedLine, SimulatedLineSettings

SMALL = SimulatedLineSettings(
    width=160, height=120, fps=0, seed=3, defective_share=1, products=("glass", "disc", "tile"), edge_share=0.5
)
SIDE = SMALL.model_copy(update={"view": "side"})


def station(frames: int = 0, *, fps: float = 0.0) -> tuple[SimulatedBelt, list[SimulatedCamera], SimulatedTrigger]:
    """Put two cameras and a light barrier over one belt."""
    belt = SimulatedBelt(fps, ["top", "side"])
    cameras = [
        SimulatedCamera(name, line.model_copy(update={"frames": frames, "fps": fps}), belt=belt)
        for name, line in (("top", SMALL), ("side", SIDE))
    ]
    return belt, cameras, SimulatedTrigger(belt, SMALL, recipes=True)


def got(camera: SimulatedCamera) -> Frame:
    """Read a frame that must be there."""
    frame = camera.read(5.0)
    assert isinstance(frame, Frame)
    return frame


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.sampled_from([(160, 120), (192, 108), (240, 120)]),
    offset=st.sampled_from([0, 7]),
    per_part=st.sampled_from([12, 30]),
)
def test_while_the_barrier_is_broken_a_view_shows_that_part_alone_and_all_of_it(
    seed: int, size: tuple[int, int], offset: int, per_part: int
) -> None:
    """The classes in the class maps of a part's frames are those that are told of it: no more, and none is missed."""
    for view in ("top", "side"):
        changes = {"seed": seed, "width": size[0], "height": size[1], "view": view, "offset_frames": offset}
        line = SMALL.model_copy(update={**changes, "frames_per_part": per_part})
        rendered = RenderedLine(line)
        for number in range(3):
            part, seen = belt_part(line, number), set[str]()
            for index in range(-(-part.opened.numerator // part.opened.denominator), int(part.closed) + 1):
                there = np.unique(rendered.frame(index)[1])
                seen |= {CLASS_NAMES[class_id - 1] for class_id in there if class_id}
            assert seen == set(rendered.shown(number)), (view, number)


def test_the_barrier_stands_where_the_arithmetic_says() -> None:
    """640 x 480 px, 28 px a frame; glass 456 px, disc 240, tile 355; the barrier stands at 840 - 456 px."""
    line = SimulatedLineSettings(products=("glass", "disc", "tile"))
    assert [(part.opened, part.closed) for part in (belt_part(line, number) for number in range(3))] == [
        (Fraction(384, 28), Fraction(384 + 456, 28)),
        (30 + Fraction(384, 28), 30 + Fraction(384 + 240, 28)),
        (60 + Fraction(384, 28), 60 + Fraction(384 + 355, 28)),
    ]
    assert belt_part(line, 0).opened_ns(25) == round(384 / 28 / 25 * 1e9)
    assert belt_part(line, 1).part_id == "disc-000002"


def test_products_come_in_turn() -> None:
    """Two of each, then from the beginning; every view and size has the same order, and the same flaws."""
    line = SMALL.model_copy(update={"parts_per_product": 2})
    large = SIDE.model_copy(update={"parts_per_product": 2, "width": 320, "height": 240})
    assert [belt_part(line, number).product for number in range(8)] == ["glass"] * 2 + ["disc"] * 2 + ["tile"] * 2 + [
        "glass"
    ] * 2
    one, other = RenderedLine(line), RenderedLine(large)
    assert [one.plan(number) for number in range(20)] == [other.plan(number) for number in range(20)]


def test_two_cameras_see_one_belt_at_one_moment() -> None:
    """Frames of one index have one moment under threads of their own, one slow, and none is left out."""
    _, cameras, _ = station(40)
    read: dict[str, list[tuple[int, int]]] = {"top": [], "side": []}

    def look(camera: SimulatedCamera) -> None:
        pause = threading.Event()
        while isinstance(frame := camera.read(5.0), Frame):
            read[camera.name].append((frame.index, frame.captured_ns))
            if camera.name == "side" and frame.index % 10 == 0:
                pause.wait(0.02)
        assert frame == CameraState(camera.name, CameraCondition.END_OF_STREAM)

    threads = [threading.Thread(target=look, args=(camera,)) for camera in cameras]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert read["top"] == read["side"]
    assert [index for index, _ in read["top"]] == list(range(40))
    assert all(np.diff([at_ns for _, at_ns in read["top"]]) > 0)


def test_a_camera_that_waits_for_the_other_says_so_and_one_that_left_is_not_waited_for() -> None:
    """A second frame comes only when the other has taken the first, or has gone."""
    _, (top, side), _ = station()
    with top:
        with side:
            assert got(top).index == 0
            assert top.read(0.01) == CameraState("top", CameraCondition.NO_FRAME_YET)
            assert got(side).index == 0
            assert got(top).index == 1
        assert [got(top).index for _ in range(3)] == [2, 3, 4]
        with side:  # a late one sees the next
            assert [got(top).index, got(side).index] == [5, 5]


def test_frames_of_a_paced_belt_are_a_period_apart() -> None:
    """At 100 frames/s the moments of six frames lie 10 ms apart or, where a reader was late, more."""
    _, (top, side), _ = station(fps=100.0)
    with top, side:
        moments = [(got(top).captured_ns, got(side).captured_ns)[0] for _ in range(6)]
    assert min(np.diff(moments)) >= 10_000_000


def played(trigger: SimulatedTrigger, cameras: Sequence[SimulatedCamera], frames: int) -> list[TriggerEvent]:
    """Read so many frames of each camera, and ask the trigger after each."""
    events: list[TriggerEvent] = []
    for _ in range(frames):
        for camera in cameras:
            got(camera)
            events += trigger.events()
    return events


def test_the_trigger_tells_of_a_part_before_its_first_frame_is_read() -> None:
    """Each event is there with the first frame at or after its position, and its moment lies between two frames."""
    _, cameras, trigger = station()
    top, side = cameras
    stamps: list[int] = []
    heard: list[tuple[int, TriggerEvent]] = []
    with top, side:
        for index in range(80):
            stamps.append(got(top).captured_ns)
            heard += [(index, event) for event in trigger.events()]
            got(side)
    expected = [(part.opened, part.closed, part) for part in (belt_part(SMALL, number) for number in range(2))]
    positions = [position for opened, closed, _ in expected for position in (opened, closed)]
    assert [index for index, _ in heard[:4]] == [-(-p.numerator // p.denominator) for p in positions]
    for (index, event), position in zip(heard, positions, strict=False):
        share = position - (index - 1)
        assert event.at_ns == pytest.approx(stamps[index - 1] + share * (stamps[index] - stamps[index - 1]), abs=2)
    kinds = [(type(event), event.part_id) for _, event in heard[:4]]
    assert kinds == [
        (PartOpened, "glass-000001"),
        (PartClosed, "glass-000001"),
        (PartOpened, "disc-000002"),
        (PartClosed, "disc-000002"),
    ]
    assert [event.recipe for _, event in heard[:4] if isinstance(event, PartOpened)] == ["glass", "disc"]


def test_a_trigger_without_ids_leaves_the_numbers_to_the_station() -> None:
    """Its events come at the same places, without ids and without recipes."""
    belt, (top, side), _ = station()
    trigger = SimulatedTrigger(belt, SMALL, ids=False)
    with top, side:
        events = played(trigger, (top, side), 40)
    assert [(type(event), event.part_id) for event in events] == [(PartOpened, None), (PartClosed, None)]
    assert isinstance(events[0], PartOpened)
    assert events[0].recipe is None


def test_cameras_of_different_belts_are_refused() -> None:
    """The error names the camera, the key, and both values."""
    check_one_belt({"top": SMALL, "side": SIDE})
    with pytest.raises(SettingsError, match=r"cameras\.side\.simulated\.seed: expected 3 as of camera top, received 4"):
        check_one_belt({"top": SMALL, "side": SIDE.model_copy(update={"seed": 4})})
