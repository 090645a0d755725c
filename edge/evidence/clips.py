"""The frames around an alarm that a result raised: some seconds before and after, of each view, as Motion JPEG."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge.errors import StoreError
from edge.evidence.choosing import Chosen, Kind, evidence_id
from edge.evidence.folder import SCHEMA
from edge.evidence.settings import ClipSettings
from edge.files import scratch_folder
from edge.inspection.overlaying import as_bgr
from edge.messages.writer import Identity
from edge.opencv import cv2
from edge.records import AlarmEvent, Frame
from edge.records.decided import Decided, DecidedPart

_NS, _MB = 1_000_000_000, 1_000_000
# Alarms that are raised while so many clips are being taken have none of their own.
_AT_ONCE = 4


@dataclass(frozen=True)
class ClipJob:
    """A clip that is complete. `frames`: of each view, in their order."""

    name: str
    event: AlarmEvent
    frames: Mapping[str, Sequence[Frame]]
    fps: float

    @property
    def chosen(self) -> Chosen:
        """Tell what it is kept as."""
        return Chosen(Kind.CLIP, f"the alarm {self.event.alarm} was raised")

    @property
    def row(self) -> dict[str, Any]:
        """Tell what the index says of it, but for place, time and size."""
        return {
            "name": self.name,
            "kind": Kind.CLIP.value,
            "verdict": None,
            "part_id": "",
            "recipe": "",
            "reason": self.event.text,
            "why": self.chosen.why,
        }


@dataclass
class _Begun:
    """A clip that goes on until `ends_ns`; `bytes` of it are held."""

    event: AlarmEvent
    ends_ns: int
    frames: dict[str, list[Frame]] = field(default_factory=dict)
    bytes: int = 0


class Clips:
    """Holds the frames of the last seconds, and hands a clip on when its time after an alarm is over.

    `put` tells whether it was taken. `epoch`: of the store, None in a replay. Time is that of the frames.
    """

    def __init__(self, settings: ClipSettings, put: Callable[[ClipJob], bool], epoch: str | None) -> None:
        self._settings = settings
        self._put = put
        self._epoch = epoch
        self._recent: dict[str, deque[Frame]] = {}
        self._bytes = 0
        self._begun: list[_Begun] = []
        self.lost = 0

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Take note of a frame, and of what it raised."""
        if isinstance(decided, DecidedPart):
            now_ns = decided.part.closed_ns
        else:
            now_ns = decided.inspection.captured_ns
            if decided.frame is not None:
                self._frame(decided.frame)
        for event in decided.alarms:
            if event.transition == "raised":
                self._begin(event, now_ns)
        for clip in [clip for clip in self._begun if now_ns > clip.ends_ns]:
            self._end(clip)

    def close(self) -> None:
        """Hand on what was begun, as far as it got."""
        for clip in list(self._begun):
            self._end(clip)

    def _frame(self, frame: Frame) -> None:
        recent = self._recent.setdefault(frame.camera, deque())
        if recent and frame.captured_ns - recent[-1].captured_ns < 0.95 * _NS / self._settings.fps:
            return
        recent.append(frame)
        self._bytes += frame.pixels.nbytes
        from_ns = frame.captured_ns - round(self._settings.pre_s * _NS)
        most = self._settings.memory_mb * _MB
        while len(recent) > 1 and (recent[0].captured_ns < from_ns or self._bytes > most):
            self._bytes -= recent.popleft().pixels.nbytes
        for clip in self._begun:
            if frame.captured_ns <= clip.ends_ns and clip.bytes + frame.pixels.nbytes <= most:
                clip.frames.setdefault(frame.camera, []).append(frame)
                clip.bytes += frame.pixels.nbytes

    def _begin(self, event: AlarmEvent, now_ns: int) -> None:
        if len(self._begun) >= _AT_ONCE:
            self.lost += 1
            return
        before = {view: list(frames) for view, frames in self._recent.items()}
        size = sum(frame.pixels.nbytes for frames in before.values() for frame in frames)
        self._begun.append(_Begun(event, now_ns + round(self._settings.post_s * _NS), before, size))

    def _end(self, clip: _Begun) -> None:
        self._begun.remove(clip)
        event = clip.event
        name = evidence_id(self._epoch, clip.ends_ns // 1_000_000, f"{event.alarm} {event.occurrence_id}")
        frames = {view: tuple(frames) for view, frames in clip.frames.items() if frames}
        if frames and not self._put(ClipJob(name, event, frames, self._settings.fps)):
            self.lost += 1


def clip_written(job: ClipJob, who: Identity, now: datetime) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a clip's record, and its files by their names. Raises StoreError."""
    files: dict[str, bytes] = {}
    views = []
    for view, frames in job.frames.items():
        name = f"{view}.avi"
        files[name] = as_avi(frames, job.fps)
        clip = {"file": name, "sha256": hashlib.sha256(files[name]).hexdigest()}
        first, last = (frame.captured_at.isoformat(timespec="milliseconds") for frame in (frames[0], frames[-1]))
        views.append(
            {"view": view, "missing": None, "picture": None, "map": None, "clip": clip, "from": first, "to": last}
        )
    record = {
        "schema": SCHEMA,
        "id": job.name,
        "kind": Kind.CLIP.value,
        "why": job.chosen.why,
        "kept_at": now.isoformat(timespec="milliseconds"),
        "station": who.root,
        "device": who.device,
        "epoch": who.epoch,
        "verdict": None,
        "reason": job.event.text,
        "part_id": "",
        "recipe": "",
        "models": {},
        "challenge": False,
        "views": views,
        "body": vars(job.event),
    }
    return record, files


def as_avi(frames: Sequence[Frame], fps: float) -> bytes:
    """Return frames as Motion JPEG in AVI; one of another size than the first is left out. Raises StoreError."""
    height, width = frames[0].pixels.shape[:2]
    with scratch_folder("linewatch-clip-") as folder:
        path = folder / "clip.avi"
        code = cv2.VideoWriter_fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, code, fps, (width, height))
        try:
            if not writer.isOpened():
                raise StoreError(f"No clip can be written in {folder}. Free some space there, or name another TMPDIR")
            for frame in frames:
                if frame.pixels.shape[:2] == (height, width):
                    writer.write(as_bgr(frame.pixels))
        finally:
            writer.release()
        try:
            return path.read_bytes()
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror or error}. Free some space there") from error
