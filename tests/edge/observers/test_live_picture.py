"""Live pictures: drawn for who watches, and gone with the camera."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from edge.monitoring.server import NoStreamError
from edge.observers.live_picture import LivePictures
from edge.opencv import cv2
from edge.records import Frame, FrameResult, Judgement, Verdict
from edge.records.decided import Decided
from tests.brokers import wait_for

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)


def frame(index: int, grey: int, camera: str = "top") -> Decided:
    """Return a decided frame of one grey."""
    pixels = np.full((96, 128), grey, np.uint8)
    result = FrameResult(camera, index, "", NOW, 0, 1.0, Judgement(Verdict.OK, None), None)
    return Decided(result, {}, Frame(camera, index, pixels, 0, NOW), None, ())


def lost(reason: str, camera: str = "top") -> Decided:
    """Return what is decided of a camera that gives no frames."""
    result = FrameResult(camera, None, "", NOW, 0, None, Judgement(Verdict.NO_READ, reason), None)
    return Decided(result, {}, None, None, ())


def pictures(*, stale_s: float = 60.0, most: int = 2) -> LivePictures:
    """Return the encoder of two cameras."""
    return LivePictures({"top": stale_s, "side": stale_s}, {}, pictures_per_s=1000, most=most)


def grey(jpeg: bytes) -> int:
    """Return the grey of a picture's lower middle, which no text is on."""
    opened: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    return int(np.median(opened[-8:]))


def until(stream: Iterator[bytes], value: int) -> bytes:
    """Return the first picture of this grey."""
    return next(jpeg for jpeg in stream if abs(grey(jpeg) - value) <= 2)


def test_nothing_is_drawn_while_nobody_watches() -> None:
    """A thousand frames of a camera that nobody watches cost no picture, also while another one is watched."""
    with pictures() as live:
        for index in range(1000):
            live.offer(frame(index, 100))
        assert live.encoded == 0
        with live.watch("side") as side:
            next(side)  # a card: it has no picture yet
            before = live.encoded
            for index in range(1000):
                live.offer(frame(index, 100, "top"))
            live.offer(frame(0, 200, "side"))
            until(side, 200)
            assert live.encoded - before <= 2  # the card may have come again
        wait_for(lambda: live.watchers == 0)


def test_two_who_watch_share_each_picture() -> None:
    """Both see the same JPEG, which was drawn once. A third viewer is told that there is no room."""
    with pictures() as live, live.watch("top") as one, live.watch("top") as other:
        with pytest.raises(NoStreamError, match="2 watch already"), live.watch("side"):
            pass
        with pytest.raises(NoStreamError, match="expected one of top, side"), live.watch("../etc"):
            pass
        live.offer(frame(1, 180))
        assert until(one, 180) is until(other, 180)


def test_who_is_slow_misses_pictures_and_sees_the_newest() -> None:
    """Of hundred frames that come while somebody reads nothing, the next that is read is the last."""
    with pictures() as live, live.watch("top") as quick, live.watch("top") as slow:
        for value in range(100, 200):
            live.offer(frame(value, value))
            until(quick, value)
        assert grey(next(slow)) == pytest.approx(199, abs=2)


def test_a_dead_camera_leaves_no_picture_standing() -> None:
    """A card with the reason replaces the last frame after too long a silence, again and again."""
    with pictures(stale_s=0.2) as live, live.watch("top") as stream:
        live.offer(frame(1, 200))
        until(stream, 200)
        live.offer(lost("no frame for 1204 ms (lost): unplugged"))
        shown = until(stream, 48)
        again = next(stream)
        assert grey(again) == 48
        assert shown != again  # its time goes on
        live.offer(frame(2, 150))
        until(stream, 150)


def test_the_end_of_the_station_ends_the_streams() -> None:
    """A watcher gets no further picture when the station ends, and does not wait for one."""
    live = pictures()
    with live:
        scope = live.watch("top")
        stream = scope.__enter__()
        next(stream)
    assert list(stream) == []
    scope.__exit__(None, None, None)
