from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.inspection.frame_history import RecentFrames
from edge.records import Frame, PreparedFrame, Transform


def prepared(index: int, side: int = 2, camera: str = "c") -> PreparedFrame:
    """Wrap a picture whose pixels are its index."""
    pixels = np.full((side, side, 1), index, np.uint8)
    return PreparedFrame(Frame(camera, index, pixels, 0, datetime.now(timezone.utc)), pixels, Transform.identity())


def seen(recent: RecentFrames, frame: PreparedFrame) -> list[int]:
    """Return the indices of a frame's sequence, oldest first."""
    sequence = recent.follow(frame)
    return [int(pixels[0, 0, 0]) for pixels in (*sequence.earlier, sequence.pixels)]


def test_a_frame_comes_with_those_before_it() -> None:
    """At most three, oldest first; the first ones with fewer."""
    recent = RecentFrames(3)
    assert [seen(recent, prepared(index)) for index in range(4)] == [[0], [0, 1], [0, 1, 2], [1, 2, 3]]


def test_a_gap_begins_anew() -> None:
    """A missing frame, another size, another camera, or a lost one: what was before is no part of the sequence."""
    recent = RecentFrames(3)
    assert seen(recent, prepared(0)) == [0]
    assert seen(recent, prepared(2)) == [2]
    assert seen(recent, prepared(3, side=4)) == [3]
    assert seen(recent, prepared(4, side=4, camera="d")) == [4]
    recent.forget()
    assert seen(recent, prepared(5, side=4, camera="d")) == [5]
    assert seen(recent, prepared(6, side=4, camera="d")) == [5, 6]


def test_a_model_of_one_frame_remembers_none() -> None:
    """Nothing is kept where nothing is asked for."""
    recent = RecentFrames(1)
    assert [seen(recent, prepared(index)) for index in range(3)] == [[0], [1], [2]]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=30), st.integers(1, 6))
def test_a_sequence_has_no_gaps(indices: list[int], frames: int) -> None:
    """The sequence ends with the frame that came in, follows frame by frame, and is not longer than asked."""
    recent = RecentFrames(frames)
    for index in indices:
        sequence = seen(recent, prepared(index))
        assert sequence == list(range(index - len(sequence) + 1, index + 1))
        assert len(sequence) <= frames
