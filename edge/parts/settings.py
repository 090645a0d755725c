"""The section `parts` of the settings: what opens and closes a part, and what it needs to be judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.bundle import Name
from edge.yaml_settings import StrictModel

TriggerKind = Literal["every_frame", "presence", "camera", "mqtt", "machine", "software"]


class PresenceSettings(StrictModel):
    """Settings of presence: a view differs from the empty belt in `belt`, or the product is located in it.

    `view`: the view that is looked at; none = the only one. `belt`: what `linewatch learn-belt` wrote. `on_frames`,
    `off_frames`: so many in a row begin and end a part.
    """

    view: Name | None = None
    belt: Path | None = None
    on_frames: Annotated[int, Field(ge=1, le=100)] = 1
    off_frames: Annotated[int, Field(ge=1, le=1000)] = 2


class PartSettings(StrictModel):
    """Settings of parts: what opens and closes them, and when they are judged.

    `trigger` is one of these:

    - every_frame = there are no parts, each frame has its own verdict;
    - presence = a part is in the picture;
    - camera = the cameras are triggered, `frames` of each view are a part;
    - mqtt = `cmd/part`; machine = an input of the rule part;
    - software = the simulated light barrier.

    `timeout_ms`: the longest that a part stays open. `wait_ms`: how long after its end its frames may still be judged.
    With presence it is also how long a frame waits for the news whether it shows a part. `frames_per_view`: readable
    frames without which a part is NO_READ; `ng_frames`: NG frames from which a part is NG. `together_ms`: frames of
    several triggered cameras belong together if no farther apart.
    """

    trigger: TriggerKind = "every_frame"
    timeout_ms: Annotated[int, Field(ge=10, le=3_600_000)] = 10_000
    wait_ms: Annotated[int, Field(ge=0, le=60_000)] = 1000
    frames_per_view: Annotated[int, Field(ge=1, le=1000)] = 1
    ng_frames: Annotated[int, Field(ge=1, le=1000)] = 1
    frames: Annotated[int, Field(ge=1, le=1000)] = 1
    together_ms: Annotated[int, Field(ge=0, le=60_000)] = 50
    presence: PresenceSettings = PresenceSettings()

    @property
    def exist(self) -> bool:
        """Tell whether the station tells parts apart."""
        return self.trigger != "every_frame"

    @model_validator(mode="after")
    def _frames_are_of_triggered_cameras(self) -> PartSettings:
        if self.frames != 1 and self.trigger != "camera":
            raise ValueError(
                f"expected frames for the trigger camera only, received {self.frames} for {self.trigger}; "
                "frames_per_view says how many readable frames a part needs"
            )
        return self

    @model_validator(mode="after")
    def _a_part_can_be_judged(self) -> PartSettings:
        for key, wanted in (("frames_per_view", self.frames_per_view), ("ng_frames", self.ng_frames)):
            if problem := self.beyond(wanted):
                raise ValueError(f"expected {key} {problem}")
        return self

    def beyond(self, wanted: int) -> str:
        """Say why so many frames of a view are more than a part can have; or nothing."""
        if self.trigger != "camera" or wanted <= self.frames:
            return ""
        return (
            f"of at most parts.frames, {self.frames}, since the trigger camera gives a part no more; received {wanted}"
        )
