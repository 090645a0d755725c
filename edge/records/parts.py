"""Parts: what a trigger says of them, and what each comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from edge.records.inspection import FrameResult, Grade, Judgement
from edge.records.models import ModelIdentity


@dataclass(frozen=True)
class PartOpened:
    """A part begins. `at_ns`: the station's clock. `part_id`: the trigger's own, None = the station numbers it.

    `recipe`: which product it is, None = the recipe in force. `exactly`: each view will show it in so many frames, as a
    camera does that is triggered itself. None = in any number. `shot`: the number of the triggering, where the trigger
    itself says which frames are the part's. None = those captured while it is open. `alone`: the one before it has
    ended by then, though nobody may have seen it.
    """

    at_ns: int
    part_id: str | None = None
    recipe: str | None = None
    exactly: int | None = None
    shot: int | None = None
    alone: bool = False


@dataclass(frozen=True)
class PartClosed:
    """A part ends: that of its `shot`, or else of its `part_id`, or else the first opened of those open to frames."""

    at_ns: int
    part_id: str | None = None
    shot: int | None = None


@dataclass(frozen=True)
class FrameLost:
    """A frame of a view that was captured at `at_ns` and will never be judged: it was dropped.

    `opens_parts`: of the camera whose frames open parts; there is one for each frame that was dropped. Of another
    camera the one right before the next frame says how `many` were dropped since `since_ns`.
    """

    view: str
    at_ns: int
    opens_parts: bool = False
    many: int = 0
    since_ns: int = 0


@dataclass(frozen=True)
class ViewResult:
    """The frames of a part in one view.

    `frames`: how many were judged; `readable`, `ng`: how many of them could be read, were NG. `lost`: how many were
    dropped unjudged; `misjudged`: how many were judged by another recipe than the part's. `worst`: of the readable
    frames the one that speaks for the view. `unread`: the first that could not be read. Both are None where there was
    none. `judged_ns`: when each frame was captured that was judged.
    """

    frames: int = 0
    readable: int = 0
    ng: int = 0
    lost: int = 0
    misjudged: int = 0
    worst: FrameResult | None = None
    unread: FrameResult | None = None
    judged_ns: tuple[int, ...] = ()


class Closing(str, Enum):
    """The reason for which a part ended."""

    TRIGGER = "trigger"
    TIMEOUT = "timeout"
    CROWDED = "crowded"
    STOPPED = "stopped"


@dataclass(frozen=True)
class PartResult:
    """One part with its verdict.

    `number` counts parts of this station from 1. `part_id`: the trigger's, else one made of the number; `repeated`: a
    part before it had the same id. `opened_ns`, `closed_ns`: the station's clock. `views`: by name, all that the recipe
    has; `missing_views`: those with fewer readable frames than the recipe asks for, or with a lost one. `grade`: of the
    worst frame of all views, None unless the part was judged. `models`: that the recipe judges its views by.
    `decided_ns`: when the verdict stood, of the station's clock. `exactly`: frames of each view that its trigger gives,
    None = as many as come.
    """

    number: int
    part_id: str
    repeated: bool
    recipe: str | None
    opened_ns: int
    closed_ns: int
    closing: Closing
    judgement: Judgement
    views: Mapping[str, ViewResult] = field(default_factory=dict)
    missing_views: tuple[str, ...] = ()
    grade: Grade | None = None
    models: Mapping[str, ModelIdentity] = field(default_factory=dict)
    decided_ns: int = 0
    exactly: int | None = None


@dataclass(frozen=True)
class StrayFrame:
    """A judged frame that belongs to no part that is still open. `reason` in words."""

    result: FrameResult
    reason: str


class TriggerFault(str, Enum):
    """The faults of a trigger."""

    CLOSES_NOTHING = "closes_nothing"
    REPEATS_ID = "repeats_id"
    NEVER_CLOSES = "never_closes"
    TOO_MANY_OPEN = "too_many_open"
    GOES_BACK = "goes_back"
    UNKNOWN_RECIPE = "unknown_recipe"
    UNHEARD = "unheard"
    TOO_FAST = "too_fast"
    NOT_READY = "not_ready"
    DOUBLED = "doubled"
    LOST = "lost"
    NOT_RELEASED = "not_released"


@dataclass(frozen=True)
class TriggerTrouble:
    """A trigger did what no part can do; `detail` in words, `at_ns` of the station's clock.

    `still`: it was told before, and goes on.
    """

    fault: TriggerFault
    at_ns: int
    detail: str
    still: bool = False


# A trigger's events: beginnings, ends, and events that it could not take.
TriggerEvent = PartOpened | PartClosed | TriggerTrouble
