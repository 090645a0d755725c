"""A camera's answers, and the outcome of an inspected frame: defects, measurement, verdict, grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from edge.records.models import ModelIdentity


class CameraCondition(str, Enum):
    """The reason for which a camera gave no frame."""

    STARTING = "starting"
    NO_FRAME_YET = "no_frame_yet"
    LOST = "lost"
    UNREADABLE = "unreadable"
    END_OF_STREAM = "end_of_stream"


@dataclass(frozen=True)
class CameraState:
    """A camera's answer in place of a frame. `detail` says what happened, for people.

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
    """A live camera's facts beside its frames.

    `missed`: frames that it numbered or timed and that never came, since the start. `unreadable`: pictures that came
    and could not be believed. `differences`: what it did not take of its settings, each a sentence.
    """

    missed: int = 0
    unreadable: int = 0
    differences: tuple[str, ...] = ()


@dataclass(frozen=True)
class Defect:
    """One 8-connected defect, or several that are one scratch. `bbox` (x, y, w, h), px and mm: docs/measuring.md.

    Pixels are of the camera's frame; mm are None where no scale is known. `score`: mean probability over its pixels,
    0-1. `length`: along its middle, all branches together; of a compact defect the long side of the smallest rectangle
    around it. `width`: its mean, measured across; `width_max`: its largest. `u_…`: expanded uncertainties (k = 2);
    `u_mm` is the length's. `contrast`: grey levels above what surrounds it, negative where darker, None where it shows
    no edge. `orientation_deg`: from the picture's x axis towards its top, 0 to 180, None where it has none.
    `edge_distance`: to the part's edge, None where the part is not looked for. `by_grey`: measured at the grey-value
    edge of the picture; else by its mask, less certainly. `pieces`: how many dashes were joined.
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
    width_max_px: float = 0.0
    width_max_mm: float | None = None
    u_mm: float | None = None
    u_width_mm: float | None = None
    u_area_mm2: float | None = None
    contrast: float | None = None
    orientation_deg: float | None = None
    edge_distance_px: float | None = None
    edge_distance_mm: float | None = None
    by_grey: bool = False
    pieces: int = 1


@dataclass(frozen=True)
class ClassMeasure:
    """One class in one frame: `coverage` as a fraction of the inspected region, `count` of defects."""

    coverage: float
    count: int


@dataclass(frozen=True)
class Measurement:
    """The measures of one frame. `coverage` is the defective fraction (0-1) of the inspected region."""

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


@dataclass(frozen=True)
class Drifted(Judgement):
    """NO_READ because the view's calibration was found off: no length in mm holds until it is calibrated again."""


class CameraFault(str, Enum):
    """A fault of a camera: no frames come, the same one comes again and again, or it shows nothing.

    Or its frames are not good enough to be judged: out of focus, wrongly exposed, with glare or motion blur, or from a
    camera that was moved. Or its calibration was found off.
    """

    LOST = "lost"
    FROZEN = "frozen"
    BLIND = "blind"
    OUT_OF_FOCUS = "out_of_focus"
    EXPOSURE = "exposure"
    GLARE = "glare"
    MOTION_BLUR = "motion_blur"
    MOVED = "moved"
    DRIFTED = "drifted"


class EngineFault(str, Enum):
    """A fault of an engine: it hangs, fails, answers what no model may, or is too slow for the line."""

    HANGS = "hangs"
    FAILS = "fails"
    WRONG_ANSWER = "wrong_answer"
    SLOW = "slow"


@dataclass(frozen=True)
class Grade:
    """The worth of a part: the grade's name, and the share of the full price, 0-1 or more."""

    name: str
    value_factor: float


@dataclass(frozen=True)
class FrameResult:
    """One decided frame of one view: what the `event/result` message is made of.

    `recipe`, `model`: what judged it; None before any was loaded. `edition`: how often the recipe was loaded anew
    before. `frame` is None where no frame came at all. `measurement` is None exactly when the verdict is NO_READ.
    `age_ms`: from capture to decision on the line's clock. `zones`: what each named zone of the settings shows, for
    alarms. `grade`: None without a table of grades, and on NO_READ. `camera_fault`: why the camera cannot be believed;
    `engine_fault`: why the engine gave no answer, or none that can be believed.
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
    engine_fault: EngineFault | None = None
    edition: int = 0

    @property
    def view(self) -> str:
        """The view's name, which is its camera's."""
        return self.camera
