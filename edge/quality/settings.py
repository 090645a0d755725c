"""The section `quality` of a camera: the file that was learned, which checks are made, and limits of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edge.yaml_settings import StrictModel

Check = Literal["exposure", "glare", "camera_moved", "motion_blur", "focus"]
# In this order: what hides others comes first.
CHECKS: tuple[Check, ...] = ("exposure", "glare", "camera_moved", "motion_blur", "focus")

_Share = Annotated[float, Field(ge=0, le=1)]


class QualitySettings(StrictModel):
    """Settings for frames that are not good enough, and NO_READ. `learned`: what `linewatch learn-quality` wrote.

    `checks`: those that are made. The limits are the learned ones unless they are given:

    - `blur_px`, how much edges may be blurred; `streak`, how many times more along one direction than another;
    - `glare`, `black`, `clipped`: shares of the pixels; `median`: grey levels from and to;
    - `moved_px`, `turned_deg`: how far the picture may lie from where it was.
    """

    learned: Path
    checks: Annotated[tuple[Check, ...], Field(min_length=1, max_length=5)] = CHECKS
    blur_px: Annotated[float, Field(gt=0, le=100)] | None = None
    streak: Annotated[float, Field(gt=1, le=100)] | None = None
    glare: _Share | None = None
    black: _Share | None = None
    clipped: _Share | None = None
    median: tuple[Annotated[float, Field(ge=0, le=255)], Annotated[float, Field(ge=0, le=255)]] | None = None
    moved_px: Annotated[float, Field(ge=0, le=10_000)] | None = None
    turned_deg: Annotated[float, Field(ge=0, le=180)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_file_alone(cls, given: object) -> object:
        return {"learned": given} if isinstance(given, str | Path) else given

    @model_validator(mode="after")
    def _median_in_order(self) -> QualitySettings:
        if self.median is not None and self.median[0] >= self.median[1]:
            raise ValueError(f"expected median as [from, to] with from below to, received {list(self.median)}")
        return self
