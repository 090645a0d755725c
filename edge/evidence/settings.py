"""The section `evidence` of the settings: what is kept, where, for how long and in how much room."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from edge.yaml_settings import StrictModel

_Days = Annotated[float, Field(gt=0, le=36_500)]
_Gigabytes = Annotated[float, Field(gt=0, le=1_000_000)]


class AgeSettings(StrictModel):
    """For how many days each kind is kept at most."""

    ng: _Days = 90.0
    no_read: _Days = 30.0
    clip: _Days = 30.0
    near: _Days = 30.0
    ok: _Days = 7.0


class ClipSettings(StrictModel):
    """A clip around each alarm that is raised: so many seconds before and after, 0 and 0 = none; pictures per second.

    `memory_mb`: what frames of all cameras may hold in memory for the time before an alarm.
    """

    pre_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    post_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    fps: Annotated[float, Field(gt=0, le=60)] = 5.0
    memory_mb: Annotated[int, Field(ge=1, le=16_384)] = 256

    @property
    def wanted(self) -> bool:
        """True where a clip is to be kept."""
        return self.pre_s > 0 or self.post_s > 0


class EvidenceSettings(StrictModel):
    """Settings of evidence: results whose pictures stay on the device. NG and NO_READ do; without a `folder` none does.

    `budget_gb`: how much all of it may take; `min_free_gb`: what must stay free on the disk. OK parts within
    `near_margin` (a share) of a limit are kept. So are every `every_nth` (0 = none) and a `random_share` of them.
    `pictures`: lossless PNG, or JPEG of a `quality`. `memory_mb`: what frames may hold in memory until their part is
    decided.
    """

    folder: Path | None = None
    budget_gb: _Gigabytes = 10.0
    min_free_gb: Annotated[float, Field(ge=0, le=1_000_000)] = 1.0
    ages_d: AgeSettings = AgeSettings()
    every_nth: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    random_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    near_margin: Annotated[float, Field(ge=0, le=1)] = 0.1
    pictures: Literal["jpeg", "png"] = "jpeg"
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    memory_mb: Annotated[int, Field(ge=1, le=16_384)] = 256
    clip: ClipSettings = ClipSettings()
