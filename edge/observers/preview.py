"""The picture of the last frame with what was found in it: small enough to send, drawn too seldom to cost anything."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from edge.inspection.overlaying import as_bgr, write_on
from edge.messages.writer import MessageWriter
from edge.opencv import cv2
from edge.outbox import Sender
from edge.outbox.size_limits import LARGEST_PICTURE
from edge.printable import printable
from edge.records import DefectClass, FrameResult, UInt8, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartResult

LARGEST_BYTES = LARGEST_PICTURE
_SMALLEST_PX = 32
_LONG_SIDE_PX = 1280
_QUALITIES = (80, 60, 40, 20)
_GREEN, _RED, _YELLOW = (80, 175, 76), (54, 67, 244), (59, 235, 255)  # blue, green, red
_COLOURS = {Verdict.OK: _GREEN, Verdict.NG: _RED, Verdict.NO_READ: _YELLOW}


def draw(
    pixels: UInt8,
    inspection: FrameResult,
    classes: Sequence[DefectClass],
    largest_bytes: int = LARGEST_BYTES,
    part: PartResult | None = None,
) -> bytes:
    """Return a JPEG of at most `largest_bytes`: the frame, a box around each defect, the verdict and its reason.

    `pixels`: uint8 [H, W] or BGR [H, W, 3], left as they are. `part`: the last part, whose verdict is written too. The
    picture is made smaller until it fits. One that would be too small to show anything is returned as it is.
    """
    long_side = min(_LONG_SIDE_PX, max(pixels.shape[:2]))
    while True:
        drawn = _drawn(pixels, inspection, classes, long_side / max(pixels.shape[:2]))
        if part is not None:
            told = f"part {part.part_id}  {part.judgement.verdict.value}  {part.judgement.reason or ''}"
            write_on(drawn, printable(told), (4, 30), _COLOURS[part.judgement.verdict])
        for quality in _QUALITIES:
            _, encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if encoded.size <= largest_bytes or long_side <= _SMALLEST_PX:
                return bytes(encoded)
        long_side //= 2  # noise at its worst takes about 1 byte per pixel: 640 px across always fit


def _drawn(pixels: UInt8, inspection: FrameResult, classes: Sequence[DefectClass], scale: float) -> UInt8:
    height, width = pixels.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = as_bgr(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    colours = {entry.id: entry.colour[::-1] for entry in classes}
    for defect in inspection.measurement.defects if inspection.measurement else ():
        x, y, w, h = (side * scale for side in defect.bbox)
        corner, opposite = (int(x) - 2, int(y) - 2), (int(x + w) + 2, int(y + h) + 2)
        colour = colours.get(defect.class_id, _RED)  # another recipe, whose classes differ, may have come since
        cv2.rectangle(canvas, corner, opposite, colour, 1)
        size_told = "" if defect.length_mm is None else f" {defect.length_mm:.1f} mm"
        write_on(canvas, f"{defect.class_name}{size_told}", (corner[0], corner[1] - 3), colour)
    judgement = inspection.judgement
    frame = "" if inspection.frame is None else f"frame {inspection.frame}  "
    told = f"{frame}{judgement.verdict.value}  {judgement.reason or ''}"
    write_on(canvas, told, (4, 14), _COLOURS[judgement.verdict])
    return canvas


class LastPicture:
    """Watches a line and offers a picture each `every_s` seconds; 0 = never. NO_READ frames are shown too.

    It is called by an observer's thread, with the newest that was decided. `classes`: of each view's bundle.
    """

    def __init__(
        self,
        every_s: float,
        classes: Mapping[str, Sequence[DefectClass]],
        messages: MessageWriter,
        sender: Sender,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every_s = every_s
        self.classes = classes
        self._messages = messages
        self._sender = sender
        self._monotonic_s = monotonic_s
        self._due_s = 0.0
        self._part: PartResult | None = None

    def __call__(self, decided: Decided | DecidedPart) -> None:
        """Draw the frame if a picture is due and anybody could get it; remember a part."""
        if isinstance(decided, DecidedPart):
            self._part = decided.part
            return
        now_s = self._monotonic_s()
        if decided.frame is None or not self._every_s or now_s < self._due_s or not self._sender.connected:
            return
        largest_bytes = min(LARGEST_BYTES, self._sender.picture_bytes)
        if not largest_bytes:
            return
        self._due_s = now_s + self._every_s
        jpeg = draw(
            decided.frame.pixels,
            decided.inspection,
            self.classes.get(decided.inspection.view, ()),
            largest_bytes,
            self._part,
        )
        self._sender.offer(self._messages.picture(jpeg))
