"""The settings of GPIO."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edge.yaml_settings import StrictModel


class GpioSettings(StrictModel):
    """One chip of lines.

    `poll_ms`: between two readings of the inputs; `retry_ms`: between two tries to have the lines.
    """

    chip: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^/dev/[\w./-]+$")] = "/dev/gpiochip0"
    poll_ms: Annotated[int, Field(ge=1, le=1000)] = 2
    retry_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
