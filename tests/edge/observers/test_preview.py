"""The picture of the last frame: small, true to the frame, and drawn no oftener than asked."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.messages.writer import MessageWriter
from edge.observers.preview import LARGEST_BYTES, LastPicture, draw
from edge.opencv import cv2
from edge.outbox import Outbox, Sender
from edge.publishers.memory import MemoryPublisher
from edge.records import Defect, Frame, FrameResult, Judgement, Measurement, UInt8, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import Closing, PartResult
from tests.bright_bundle import write_bright_bundle
from tests.brokers import wait_for
from tests.edge.messages.test_messages import IDENTITY

NOW = datetime(2026, 1, 31, tzinfo=timezone.utc)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """Return a bundle whose class 1 is called scratch."""
    return write_bright_bundle(tmp_path / "bundle")


def inspection(*boxes: tuple[int, int, int, int]) -> FrameResult:
    """Return the inspection of a frame with a defect of class 1 in each box."""
    found = tuple(Defect(1, "scratch", 0.9, 9.0, box, 5.0, 1.0, None, 4.417, None) for box in boxes)
    judgement = Judgement(Verdict.NG, "scratch: 1 defects") if boxes else Judgement(Verdict.OK, None)
    return FrameResult("top", 7, "", NOW, 0, 1.0, judgement, Measurement(0.1, None, 9.0, {}, found))


def opened(jpeg: bytes) -> Any:
    """Decode a picture as a consumer would."""
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("shape", [(480, 640), (480, 640, 3), (2160, 3840, 3), (40, 9000), (3, 2)])
def test_even_noise_fits(shape: tuple[int, ...], bundle: Bundle) -> None:
    """A frame of noise, the worst for a JPEG, stays within 200 kB whatever its size, and keeps its shape."""
    pixels = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    before = pixels.copy()
    jpeg = draw(pixels, inspection(), bundle.classes)
    assert len(jpeg) <= LARGEST_BYTES
    height, width = opened(jpeg).shape[:2]
    assert width / height == pytest.approx(shape[1] / shape[0], rel=0.1)
    assert np.array_equal(pixels, before)


def test_a_box_is_where_the_defect_is(bundle: Bundle) -> None:
    """On a grey frame of twice the picture's size, everything drawn but the two texts lies around the defect."""
    pixels = np.full((1440, 2560), 128, np.uint8)
    drawn = opened(draw(pixels, inspection((1000, 800, 400, 200)), bundle.classes))
    assert drawn.shape == (720, 1280, 3)
    changed = np.abs(drawn.astype(int) - 128).max(axis=2) > 24
    changed[:24] = False  # the verdict
    changed[380:398] = False  # the defect's name, above its box
    rows, columns = np.nonzero(changed)
    # 1000/2 - 2 … (1000 + 400)/2 + 2 and 800/2 - 2 … (800 + 200)/2 + 2, and what JPEG bleeds
    assert (columns.min(), columns.max()) == pytest.approx((498, 702), abs=3)
    assert (rows.min(), rows.max()) == pytest.approx((398, 502), abs=3)


def test_pictures_are_offered_at_their_interval_and_only_while_somebody_may_get_them(
    bundle: Bundle, tmp_path: Path
) -> None:
    """Eight frames in a second give one picture, the ninth another; without broker, frame or interval there is none."""
    pixels: UInt8 = np.zeros((48, 64), np.uint8)
    frame = Frame("top", 7, pixels, 0, NOW)
    decided = Decided(inspection(), {}, frame, None, ())
    now_s = [100.0]
    messages = MessageWriter(IDENTITY)
    with (
        Outbox(tmp_path / "o.db") as outbox,
        MemoryPublisher(away=True) as publisher,
        Sender(outbox, publisher, list) as sender,
    ):
        watch = LastPicture(1.0, {"top": bundle.classes}, messages, sender, lambda: now_s[0])
        watch(decided)
        publisher.come_back()
        wait_for(lambda: sender.connected)
        for _ in range(9):
            watch(decided)
            watch(replace(decided, frame=None))
            LastPicture(0.0, {"top": bundle.classes}, messages, sender, lambda: now_s[0])(decided)
            wait_for(lambda: publisher.messages)
            now_s[0] += 0.125
        wait_for(lambda: len(publisher.messages) == 2)
        assert {message.kind for message in publisher.messages} == {"picture"}
        assert opened(publisher.messages[0].payload).shape == (48, 64, 3)


def test_the_last_part_is_written_on_the_picture(bundle: Bundle, tmp_path: Path) -> None:
    """A second line is written beneath the frame's own where there are parts: the last part with its verdict."""
    pixels: UInt8 = np.full((480, 640), 128, np.uint8)
    decided = Decided(inspection(), {}, Frame("top", 7, pixels, 0, NOW), None, ())
    judgement = Judgement(Verdict.NG, "top: 1 scratch")
    part = DecidedPart(PartResult(1, "P-1", False, None, 0, 1, Closing.TRIGGER, judgement), {}, ())
    with Outbox(tmp_path / "o.db") as outbox, MemoryPublisher() as publisher, Sender(outbox, publisher, list) as sender:
        wait_for(lambda: sender.connected)
        watch = LastPicture(1e-9, {"top": bundle.classes}, MessageWriter(IDENTITY), sender)
        watch(decided)
        wait_for(lambda: publisher.messages)
        watch(part)
        watch(decided)
        wait_for(lambda: len(publisher.messages) == 2)
    before, after = (opened(message.payload)[20:36] for message in publisher.messages)
    assert (before == 128).all()
    assert (after < 64).mean() > 0.1  # the dark bar
