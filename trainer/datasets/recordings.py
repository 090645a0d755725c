"""Pictures for a model of several frames that is judged: a group's pictures in their order, or stills.

A recipe that says `sequence.recording: true` learned from groups that are recordings. It is judged on them as on a
line. Each picture comes with those before it, and the first ones repeat the oldest. A gap in between begins a new
sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from edge.bundle import Manifest
from edge.inspection.frame_history import RecentFrames
from edge.records import Frame, PreparedFrame, Transform
from edge.wording import counted
from trainer.datasets.dataset import Entry, Picture


@dataclass(frozen=True)
class Place:
    """A picture to judge, and its place in its group, from 0, with left-out ones counted."""

    entry: Entry
    index: int


def judged_as(manifest: Manifest) -> str | None:
    """Say how a bundle's model of several frames is judged, `recording` or `stills`; None for a model of one frame."""
    if manifest.frames == 1:
        return None
    recipe = manifest.training.get("recipe")
    sequence = recipe.get("sequence") if isinstance(recipe, dict) else None
    return "recording" if isinstance(sequence, dict) and sequence.get("recording") is True else "stills"


def told(judged: str, frames: int) -> str:
    """Say in words what `judged_as` found."""
    if judged == "recording":
        return f"in recordings: the pictures of a group in their order, {counted(frames, 'frame')} at a time"
    return f"on stills: each picture shown {frames} times"


def places(entries: Sequence[Entry], used: Sequence[Entry], *, recording: bool) -> list[Place]:
    """Put the pictures to judge in order: the dataset's own, or of recordings one group after the other."""
    wanted = {entry.image for entry in used}
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.group, []).append(entry)
    found = [Place(e, k) for own in groups.values() for k, e in enumerate(own) if e.image in wanted]
    if recording:
        return found
    order = {entry.image: place for place, entry in enumerate(entries)}
    return sorted(found, key=lambda place: order[place.entry.image])


class Shower:
    """Turns each picture, in the order of `places`, into what the line would give the model."""

    def __init__(self, frames: int, *, recording: bool) -> None:
        self._recent = RecentFrames(frames) if recording else None

    def shown(self, place: Place, picture: Picture) -> PreparedFrame:
        """Return the picture as a frame of the camera that its group is, with the frames before it."""
        group, image = place.entry.group, place.entry.image
        frame = Frame(group, place.index, picture.pixels, 0, datetime.now(timezone.utc), image)
        prepared = PreparedFrame(frame, picture.pixels, Transform.identity())
        return prepared if self._recent is None else self._recent.follow(prepared)
