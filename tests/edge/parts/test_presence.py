"""A part begins and ends with the frames that show it, and the belt is what was learned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import SettingsError
from edge.parts.belt import BeltWatch, learn_belt, read_belt, write_belt
from edge.parts.presence import Presence, PresenceRules, step
from edge.records import UInt8
from edge.records.parts import PartClosed, PartOpened, TriggerEvent


def play(rules: PresenceRules, shown: str) -> list[TriggerEvent]:
    """Step through one frame a nanosecond: `#` shows a part, `.` the belt, `?` cannot be read."""
    state, told = Presence(), []
    for at_ns, letter in enumerate(shown):
        present = None if letter == "?" else letter == "#"
        state, events = step(rules, state, present=present, captured_ns=at_ns)
        told += events
    return told


def test_parts_are_the_runs_of_frames_that_show_one() -> None:
    """`..###..#..`: a part from frame 2 to 4 and one of a single frame, 7."""
    assert play(PresenceRules(), "..###..#..") == [PartOpened(2), PartClosed(4), PartOpened(7), PartClosed(7)]


def test_one_frame_without_it_does_not_end_a_part() -> None:
    """With two frames to end, a reflection in one frame makes no second part. An unread frame says nothing at all."""
    assert play(PresenceRules(off_frames=2), "##.##?.??.") == [PartOpened(0), PartClosed(5)]
    assert play(PresenceRules(on_frames=2), "#.##...") == [PartOpened(2), PartClosed(3)]


@given(st.text("#.?", max_size=60), st.integers(1, 3), st.integers(1, 3))
def test_openings_and_closings_alternate(shown: str, on_frames: int, off_frames: int) -> None:
    """Parts do not overlap; each begins at a frame that shows it and ends before one that does not."""
    told = play(PresenceRules(on_frames, off_frames), shown)
    assert [type(event) for event in told] == [PartOpened, PartClosed] * (len(told) // 2) + [PartOpened] * (
        len(told) % 2
    )
    assert all(shown[event.at_ns] == "#" for event in told[::2])
    assert all(shown[event.at_ns + 1] == "." for event in told[1::2])
    times = [event.at_ns for event in told]
    assert times == sorted(times)


def belt_frame(seed: int, light: float = 1.0) -> UInt8:
    """Draw an empty belt, BGR [240, 320, 3]: a gradient with noise, under more or less light."""
    across = np.linspace(60, 120, 320, dtype=np.float32)[None, :].repeat(240, axis=0)
    noisy = across * light + np.random.default_rng(seed).normal(0, 3, (240, 320))
    grey = np.clip(noisy, 0, 255).astype(np.uint8)
    return np.dstack([grey] * 3)


def with_part(frame: UInt8, level: int, side: int = 60) -> UInt8:
    """Lay a square of one grey level onto a frame."""
    shown = frame.copy()
    shown[80 : 80 + side, 100 : 100 + side] = level
    return shown


BELT = learn_belt([belt_frame(seed) for seed in range(10)])


@pytest.mark.parametrize("light", [0.8, 1.0, 1.25])
def test_a_part_is_told_from_the_belt_also_under_other_light(light: float) -> None:
    """A part of 60 x 60 of 240 x 320 px is 4.7 % of the picture. A lamp that lost a fifth of its light is no part."""
    for seed in range(100, 120):
        assert BeltWatch(BELT).shows_part(belt_frame(seed, light)) is False
        assert BeltWatch(BELT).shows_part(with_part(belt_frame(seed, light), 20)) is True
        assert BeltWatch(BELT).shows_part(with_part(belt_frame(seed, light), 200)) is True


def test_light_is_followed_as_it_changes_slowly() -> None:
    """Over 40 frames the lamp loses a fifth: never a part. A fifth at once, as a part that fills the region: one."""
    watch, lamp = BeltWatch(BELT), np.linspace(1.0, 0.8, 40)
    assert not any(watch.shows_part(belt_frame(200 + k, light)) for k, light in enumerate(lamp))
    whole = np.full((240, 320, 3), 60, np.uint8)
    assert watch.shows_part(whole)
    assert watch.shows_part(belt_frame(300, 0.6))
    assert not watch.shows_part(belt_frame(301, 0.8))  # and the light that was usual is still known


def test_a_flat_part_that_fills_the_region_is_no_lamp() -> None:
    """A sheet of 100 levels hides a belt of 80 all over. By its quotient it could be a brighter lamp."""
    noise = [np.random.default_rng(seed).normal(80, 3, (240, 320, 1)) for seed in range(12)]
    frames = [np.clip(each, 0, 255).astype(np.uint8).repeat(3, axis=2) for each in noise]
    watch = BeltWatch(learn_belt(frames[:10]))
    assert not watch.shows_part(frames[10])
    assert watch.shows_part(frames[11] + np.uint8(20))


def test_a_belt_on_which_something_moves_is_not_learned() -> None:
    """A part that is elsewhere in each frame is in none of them like in the others. So nothing would be a part."""
    frames = [belt_frame(seed) for seed in range(10)]
    for place, frame in enumerate(frames):
        frame[80:160, 30 * place : 30 * place + 60] = 230
    with pytest.raises(SettingsError, match="look"):
        learn_belt(frames)


def test_what_cannot_be_known_or_learned_is_said(tmp_path: Path) -> None:
    """A frame of another size is unknown; too few frames, a part among them and a region outside are refused."""
    small = np.zeros((120, 160, 3), np.uint8)
    assert BeltWatch(BELT).shows_part(small)  # something that is not the belt: a part, which is NO_READ
    assert "160 x 120 px, and the empty belt was learned in 320 x 240" in BeltWatch(BELT).misfit(small)
    frames = [belt_frame(seed) for seed in range(8)]
    with pytest.raises(SettingsError, match="at least 5"):
        learn_belt(frames[:4])
    with pytest.raises(SettingsError, match="frame 8 of 8 does not look like the others"):
        learn_belt([*frames[:7], with_part(frames[7], 200)])
    with pytest.raises(SettingsError, match="does not lie in"):
        learn_belt(frames, (300, 0, 40, 40))
    with pytest.raises(SettingsError, match="one size"):
        learn_belt([*frames, frames[0][:100]])
    for content in (b"no belt", b"", b"PK\x03\x04cut", np.lib.format.MAGIC_PREFIX + b"\1\0v\0"):
        (tmp_path / "belt.npz").write_bytes(content)
        with pytest.raises(SettingsError, match=r"it is no archive of NumPy with the tables of a belt\. .* learn-belt"):
            read_belt(tmp_path / "belt.npz")


def test_a_belt_survives_its_file(tmp_path: Path) -> None:
    """A belt that was written is read back the same."""
    write_belt(tmp_path / "belt.npz", BELT)
    again = read_belt(tmp_path / "belt.npz")
    frame = with_part(belt_frame(5), 200)
    assert again.look(frame) == BELT.look(frame)
    assert (again.size_px, again.region, again.share) == (BELT.size_px, BELT.region, BELT.share)
