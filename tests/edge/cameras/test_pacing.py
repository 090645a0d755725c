from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.cameras.images import ImagesCamera
from edge.cameras.pacing import PacedCamera
from edge.opencv import cv2
from edge.records import CameraCondition, Frame


class Clock:
    """A clock that only sleeping moves."""

    now_ns = 5_000_000_000

    def __call__(self) -> int:
        """Tell the time in nanoseconds."""
        return self.now_ns

    def sleep_s(self, seconds: float) -> None:
        """Move the time."""
        self.now_ns += round(seconds * 1e9)


@pytest.mark.parametrize("as_live", [False, True])
def test_frames_come_when_the_recording_says(tmp_path: Path, as_live: bool) -> None:
    """Pictures are a second apart; as live they are stamped with the line's clock, else with their own."""
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((2, 2, 3), np.uint8))
    clock = Clock()
    with PacedCamera(ImagesCamera("c", tmp_path), as_live=as_live, monotonic_ns=clock, sleep_s=clock.sleep_s) as camera:
        seen = []
        for _ in range(3):
            frame = camera.read(0.4)
            while not isinstance(frame, Frame):
                assert frame.condition is CameraCondition.NO_FRAME_YET
                frame = camera.read(0.4)
            seen.append((clock.now_ns, frame.captured_ns))
    assert [now for now, _ in seen] == [5_000_000_000, 6_000_000_000, 7_000_000_000]
    own = [0, 1_000_000_000, 2_000_000_000]
    assert [captured for _, captured in seen] == ([now for now, _ in seen] if as_live else own)
