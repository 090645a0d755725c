"""Decisions, as those who watch a station are told of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge.records.alarms import AlarmEvent
from edge.records.arrays import DefectMap, Frame, Transform
from edge.records.inspection import FrameResult
from edge.records.parts import PartResult


@dataclass(frozen=True)
class Decided:
    """One decided frame.

    `body`: the result message's body; None where the station tells parts apart, and the part has the message. `frame`:
    None where there are no pixels that can be looked at. `alarms`: the transitions that it caused. `to_frame`: leads
    from the map's prepared pixels to the frame; None without a map.
    """

    inspection: FrameResult
    body: dict[str, Any] | None
    frame: Frame | None
    defect_map: DefectMap | None
    alarms: tuple[AlarmEvent, ...]
    to_frame: Transform | None = None


@dataclass(frozen=True)
class DecidedPart:
    """One decided part. `body`: the result message's body. `alarms`: the transitions that it caused."""

    part: PartResult
    body: dict[str, Any]
    alarms: tuple[AlarmEvent, ...]
