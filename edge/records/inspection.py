"""What a camera answers, and what an inspected frame comes to: defects, measurement, verdict, grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from edge.records.models import ModelIdentity


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
class CameraFacts:
    """What a live camera tells of itself beside its frames.

    `missed`: frames that it numbered or timed and that never came, since the start. `unreadable`: pictures that came
    and could not be believed. `differences`: what it did not take of its settings, each a sentence.
    """

    missed: int = 0
    unreadable: int = 0
    differences: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class NotFound(Judgement):
    """NO_READ because the product was not found in the frame: where parts come and go, none is there."""


class CameraFault(str, Enum):
    """What is wrong with a camera: no frames come, the same one comes again and again, or it shows nothing.

    Or its frames are not good enough to be judged: out of focus, wrongly exposed, with glare or motion blur, or from a
    camera that was moved.
    """

    LOST = "lost"
    FROZEN = "frozen"
    BLIND = "blind"
    OUT_OF_FOCUS = "out_of_focus"
    EXPOSURE = "exposure"
    GLARE = "glare"
    MOTION_BLUR = "motion_blur"
    MOVED = "moved"


class EngineFault(str, Enum):
    """What is wrong with an engine: it hangs, fails, answers what no model may, or is too slow for the line."""

    HANGS = "hangs"
    FAILS = "fails"
    WRONG_ANSWER = "wrong_answer"
    SLOW = "slow"


@dataclass(frozen=True)
class Grade:
    """What a part is worth: the grade's name, and the share of the full price, 0-1 or more."""

    name: str
    value_factor: float


@dataclass(frozen=True)
class FrameResult:
    """One decided frame of one view: what the `event/result` message is made of.

    `recipe`, `model`: what judged it; None before any was loaded. `edition`: how often the recipe was loaded anew
    before.
    `trigger_count`: how often the camera was triggered, None where it is not or does not tell. `frame` is None where
    no frame came at all. `measurement` is None exactly when the verdict is NO_READ. `age_ms`: from capture to decision
    on the line's clock. `zones`: what each named zone of the settings shows, for alarms. `grade`: None without a table
    of grades, and on NO_READ. `camera_fault`: why the camera cannot be believed; `engine_fault`: why the engine gave no
    answer, or none that can be believed.
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
    recipe: str | None = None
    model: ModelIdentity | None = None
    trigger_count: int | None = None
    engine_fault: EngineFault | None = None
    edition: int = 0

    @property
    def view(self) -> str:
        """The view's name, which is its camera's."""
        return self.camera
