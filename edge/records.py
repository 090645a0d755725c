"""The frozen records that pass between the rooms. Shapes, dtypes and units are stated once, here.

A record is checked where it is made, at its border, and trusted inside. Pixel coordinates are (x right, y down), the
origin is the top-left pixel's corner, and sizes are given as height, width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """One picture as the camera gave it.

    `pixels`: uint8 [H, W, 3] in BGR order, or [H, W] grey. `captured_ns`: the line's clock when the pixels left the
    camera (monotonic when live; the recording's own time in a replay). `captured_at`: the same moment as UTC wall time.
    `name`: what the source calls the frame (a file name); empty for a live camera.
    """

    camera: str
    index: int
    pixels: UInt8
    captured_ns: int
    captured_at: datetime
    name: str = ""


class CameraCondition(str, Enum):
    """Why a camera gave no frame."""

    STARTING = "starting"
    NO_FRAME_YET = "no_frame_yet"
    LOST = "lost"
    UNREADABLE = "unreadable"
    END_OF_STREAM = "end_of_stream"


@dataclass(frozen=True)
class CameraState:
    """What a camera answers in place of a frame. `detail` says what happened, for people.

    UNREADABLE is about one frame, whose `index`, `name` and times are given; the next may be good. After END_OF_STREAM
    nothing follows; a `detail` then says that the stream ended before its time.
    """

    camera: str
    condition: CameraCondition
    detail: str = ""
    index: int | None = None
    name: str = ""
    captured_ns: int | None = None
    captured_at: datetime | None = None


@dataclass(frozen=True)
class Transform:
    """Where prepared pixels lie in the camera's frame.

    `matrix`: float64 [2, 3], affine: frame (x, y) = matrix @ (prepared x, prepared y, 1), in pixels.
    """

    matrix: Float64

    @staticmethod
    def identity() -> Transform:
        """Return the transform of steps that move no pixel."""
        return Transform(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))

    @property
    def area_scale(self) -> float:
        """Frame pixels per prepared pixel, by area: the determinant of the linear part."""
        (a, b, _), (c, d, _) = self.matrix
        return float(abs(a * d - b * c))

    def apply(self, points: Float64) -> Float64:
        """Map float64 [N, 2] prepared points to float64 [N, 2] frame points."""
        return points @ self.matrix[:, :2].T + self.matrix[:, 2]


@dataclass(frozen=True)
class PreparedFrame:
    """Pixels ready to be cut into tiles: `pixels` uint8 [H, W, C]; `to_frame` leads back to the camera's frame.

    `earlier`: the prepared pixels of the frames before it, oldest first, for models of several frames; empty for a
    picture that stands alone.
    """

    frame: Frame
    pixels: UInt8
    to_frame: Transform
    earlier: tuple[UInt8, ...] = ()


@dataclass(frozen=True)
class Cell:
    """Where one tile lies and which of its pixels are kept.

    `y`, `x`: the tile's top-left corner in the padded prepared frame. `keep_*`: the half-open rectangle, in prepared
    pixels, for which this tile, and no other, answers.
    """

    index: int
    y: int
    x: int
    keep_y0: int
    keep_y1: int
    keep_x0: int
    keep_x1: int


@dataclass(frozen=True)
class TileRef:
    """Which tile of which frame of which camera stands at one place of a batch."""

    camera: str
    frame: int
    cell: Cell


@dataclass(frozen=True)
class DefectClass:
    """One kind of defect.

    `id`: its value in a defect map, 1…K. `threshold`: a probability. `min_area_px`: in prepared
    pixels, in which it was fitted.
    `colour`: (red, green, blue), 0-255.
    """

    id: int
    name: str
    severity: str
    colour: tuple[int, int, int]
    threshold: float
    min_area_px: float


@dataclass(frozen=True)
class GraphContract:
    """What every engine promises: sizes in pixels, `stride` in pixels per answered cell, `classes` in id order 1…K.

    In: uint8 tiles [N, (frames,) tile_height, tile_width, channels] and float32 thresholds [K].
    Out: uint8 classes and uint8 scores, each [N, tile_height / stride, tile_width / stride].
    """

    tile_height: int
    tile_width: int
    channels: int
    frames: int
    stride: int
    classes: tuple[str, ...]
    max_batch: int


@dataclass
class Batch:
    """A buffer owned by an engine, into which tiles are cut; not frozen because it is memory, not a fact.

    `tiles`: uint8 [B, (T,) H, W, C]. `refs`: one per filled tile, in order.
    """

    tiles: UInt8
    refs: list[TileRef] = field(default_factory=list)


@dataclass(frozen=True)
class Ticket:
    """A promise of an engine to answer a batch: `serial` in order of submission, `count` filled tiles."""

    serial: int
    count: int
    token: Any = None


@dataclass(frozen=True)
class Maps:
    """An engine's answer: `classes`, `scores` uint8 [count, h, w]; valid until the ticket's buffer is reused."""

    classes: UInt8
    scores: UInt8


@dataclass(frozen=True)
class DefectMap:
    """The stitched answer for one prepared frame.

    `classes`: uint8 [h, w], 0 = clean, else the class id 1…K. `scores`: uint8 [h, w], that class's probability x 255,
    0 where clean. `stride`: prepared pixels per map cell (1 for segmenters). `size_px`: (height, width) of the prepared
    frame, beyond which the last cells of a coarser map may reach; None = they do not.
    """

    classes: UInt8
    scores: UInt8
    stride: int = 1
    size_px: tuple[int, int] | None = None

    def classes_per_pixel(self) -> UInt8:
        """Return the classes at the prepared frame's size, uint8 [H, W]: each cell as large as what it answers for."""
        if self.stride == 1:
            return self.classes
        height, width = self.size_px or (side * self.stride for side in self.classes.shape)
        whole: UInt8 = self.classes.repeat(self.stride, axis=0).repeat(self.stride, axis=1)[:height, :width]
        return whole


@dataclass(frozen=True)
class Defect:
    """One 8-connected defect. Pixels and `bbox` (x, y, w, h) are of the camera's frame; mm are None if uncalibrated.

    `score`: mean probability over its pixels, 0-1. `length`: the long side of the smallest rectangle, at any angle,
    around it; of a curved or branched defect, which leaves most of that rectangle empty, its fibre length if that is
    more. `width`: the mean width, area / length.
    """

    class_id: int
    class_name: str
    score: float
    area_px: float
    bbox: tuple[int, int, int, int]
    length_px: float
    width_px: float
    area_mm2: float | None
    length_mm: float | None
    width_mm: float | None


@dataclass(frozen=True)
class ClassMeasure:
    """One class in one frame: `coverage` as a fraction of the inspected region, `count` of defects."""

    coverage: float
    count: int


@dataclass(frozen=True)
class Measurement:
    """What one frame shows. `coverage` is the defective fraction (0-1) of the inspected region."""

    coverage: float
    coverage_mm2: float | None
    region_px: float
    classes: dict[str, ClassMeasure]
    defects: tuple[Defect, ...]


class Verdict(str, Enum):
    """OK, NG (not good), or NO_READ: nothing trustworthy was seen, which is never OK."""

    OK = "OK"
    NG = "NG"
    NO_READ = "NO_READ"


@dataclass(frozen=True)
class Judgement:
    """A verdict and, unless it is OK, the limit or trouble that made it so."""

    verdict: Verdict
    reason: str | None


class CameraFault(str, Enum):
    """What is wrong with a camera: no frames come, the same one comes again and again, or it shows nothing."""

    LOST = "lost"
    FROZEN = "frozen"
    BLIND = "blind"


@dataclass(frozen=True)
class Grade:
    """What a part is worth: the grade's name, and the share of the full price, 0-1 or more."""

    name: str
    value_factor: float


@dataclass(frozen=True)
class Inspection:
    """One decided frame: what the `event/result` message is made of.

    `frame` is None where no frame came at all. `measurement` is None exactly when the verdict is NO_READ. `age_ms`:
    from capture to decision on the line's clock. `zones`: what each named zone of the settings shows, for alarms.
    `grade`: None without a table of grades, and on NO_READ. `camera_fault`: why the camera cannot be believed.
    """

    camera: str
    frame: int | None
    name: str
    captured_at: datetime
    captured_ns: int
    age_ms: float | None
    judgement: Judgement
    measurement: Measurement | None
    zones: Mapping[str, Measurement] = field(default_factory=dict)
    grade: Grade | None = None
    camera_fault: CameraFault | None = None


AlarmTransition = Literal[
    "raised",
    "re_alarmed",
    "acknowledged",
    "cleared",
    "reset",
    "shelved",
    "unshelved",
    "suppressed",
    "unsuppressed",
    "removed_from_service",
    "returned_to_service",
]


# What becomes of a command about an alarm.
AlarmOutcome = Literal[
    "ok",
    "already_acked",
    "unknown_occurrence",
    "unknown_alarm",
    "not_authorised",
    "not_latched",
    "not_shelved",
    "out_of_range",
]


@dataclass(frozen=True)
class AlarmEvent:
    """One transition of one alarm. `state`: its condition afterwards. `at_ns`: the line's clock.

    `occurrence_id` names the activation that the alarm is in, or was in last; None before the first. `value`: what was
    measured, of an acknowledgement or a reset what had raised the alarm; `limit`: what it was measured against; None
    where nothing was measured. `shown`: whether an operator is to see the alarm, which is not shelved, suppressed, out
    of service or one of a flood. `user` and `comment`: of a command. `detail`: why, for people.
    """

    alarm: str
    transition: AlarmTransition
    state: str
    occurrence_id: str | None
    priority: Literal["low", "medium", "high"]
    at_ns: int
    value: float | None
    limit: float | None
    text: str
    shown: bool = True
    user: str | None = None
    comment: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class StandingShelf:
    """How long an alarm is still put aside, and by whom. `kind`: until it returns (`one_shot`), or for a time."""

    kind: Literal["one_shot", "timed"]
    left_ns: int
    user: str
    comment: str


@dataclass(frozen=True)
class AlarmStanding:
    """How one alarm stands, for those who show it. `state`: its condition, since `at_ns` of the line's clock.

    `user`, `comment`: who acknowledged the occurrence. `raises_last_minute`: how often it was raised; three times or
    more is `chattering`. `members`: of the flood alarm, how many raisings it stands for; else None.
    """

    alarm: str
    state: str
    occurrence_id: str | None
    priority: Literal["low", "medium", "high"]
    at_ns: int
    value: float | None
    limit: float | None
    text: str
    user: str | None
    comment: str | None
    shown: bool
    shelf: StandingShelf | None
    suppressed_by: tuple[str, ...]
    out_of_service: bool
    chattering: bool
    raises_last_minute: int
    members: int | None


@dataclass(frozen=True)
class Message:
    """One MQTT publication. `expiry_s` None = never expires. `urgent`: committed at once, not in a group.

    `kind` names the schema of the body. `id` is unique for ever; consumers drop what they have seen. `durable`: by way
    of the outbox, which keeps JSON only. `correlation`: what an answer gives back to who asked. `resent`: a broker
    has acknowledged it before, so a consumer may have it.
    """

    id: str
    kind: str
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_s: int | None = None
    urgent: bool = False
    durable: bool = True
    content_type: str = "application/json"
    correlation: bytes | None = None
    resent: bool = False


@dataclass(frozen=True)
class AlarmRecord:
    """What is to be remembered of one alarm across restarts. `body`: JSON that only the alarm room reads."""

    alarm: str
    body: str


@dataclass(frozen=True)
class JournalEntry:
    """One line of the journal on the device: what happened to `alarm`, and by whom.

    `at`: UTC wall time. `monotonic_ns` means something within `boot_id` only. `kind`: a transition, or a command and
    its outcome. `user`, `comment`, `detail` are for people and may be empty.
    """

    at: datetime
    boot_id: str
    monotonic_ns: int
    kind: str
    alarm: str
    occurrence_id: str | None
    user: str
    comment: str
    detail: str


@dataclass(frozen=True)
class DeliveryState:
    """How it stands between deciding and the broker: what alarms about delivery are decided from.

    `oldest_s`: how long the oldest message has waited for the broker, in seconds; 0 = none waits. The others say in
    words what is wrong, None = nothing: `disk`, nothing can be written; `broker`, it is not there; `refused`, it
    refused messages, which are parked; `no_consumer`, nobody there takes what expects a consumer; `set_aside`, a
    corrupt store was moved away and a new one begun; `overflow`, alarms had to be dropped for want of room.
    """

    oldest_s: float = 0.0
    disk: str | None = None
    broker: str | None = None
    refused: str | None = None
    no_consumer: str | None = None
    set_aside: str | None = None
    overflow: str | None = None


@dataclass(frozen=True)
class Token:
    """What a publisher gives for an accepted message; its `Acknowledged` or `Refused` carries the same number."""

    number: int


@dataclass(frozen=True)
class Acknowledged:
    """The broker took the message. `reason_code` < 0x80 (MQTT 5); 0x10 = no subscriber matched."""

    token: Token
    reason_code: int = 0


@dataclass(frozen=True)
class Refused:
    """The broker refused the message for good: `reason_code` >= 0x80 (MQTT 5), `reason` in words."""

    token: Token
    reason_code: int
    reason: str


@dataclass(frozen=True)
class Connected:
    """The broker accepted the connection. Without `session_present` it has forgotten earlier unfinished messages.

    `window`: how many messages it takes before it has acknowledged any; None = it does not say.
    """

    session_present: bool
    window: int | None = None


@dataclass(frozen=True)
class SessionLost:
    """The connection ended or could not be made; the publisher keeps trying. `reason` in words."""

    reason: str


@dataclass(frozen=True)
class Received:
    """A message from the broker to this line. `expiry_s`: what is left of its time, None = it never expires."""

    topic: str
    payload: bytes
    retained: bool = False
    expiry_s: int | None = None
    response_topic: str | None = None
    correlation: bytes | None = None


@dataclass(frozen=True)
class Unheard:
    """The broker lets this line hear none of its commands. `reason` in words."""

    reason: str


PublisherEvent = Acknowledged | Refused | Connected | SessionLost | Received | Unheard
