"""The section `reload` of the settings: how far a new model, or new settings, are trusted by a running station."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edge.yaml_settings import StrictModel

PARTS_AT_MOST = 10_000


class ReloadSettings(StrictModel):
    """Settings of `linewatch reload`, and of the way back. Frames count where there are no parts.

    `shadow_parts`: parts that the new model judges beside the running one before the change; 0 = none. `watch_parts`:
    parts after the change that the former model judges beside the new one; 0 = none. `within_s`: the longest that
    either may take. `disagreement_at_most`: the share of those parts whose verdict may differ, 0 to 1. `latency_ms`: in
    which a frame must be judged; none = `max_age_ms` of its camera.
    """

    shadow_parts: Annotated[int, Field(ge=0, le=PARTS_AT_MOST)] = 20
    watch_parts: Annotated[int, Field(ge=0, le=PARTS_AT_MOST)] = 20
    within_s: Annotated[float, Field(ge=1, le=86_400)] = 900.0
    disagreement_at_most: Annotated[float, Field(ge=0, le=1)] = 0.2
    latency_ms: Annotated[int, Field(ge=1, le=3_600_000)] | None = None
