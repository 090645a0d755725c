"""The pictures of one view of a result: the clean one, and the defect map on the picture's own pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edge.evidence.choosing import Chosen
from edge.evidence.folder import SCHEMA
from edge.evidence.settings import EvidenceSettings
from edge.inspection.limits import Limit
from edge.messages.writer import Identity
from edge.opencv import cv2
from edge.preparing import map_to_frame
from edge.records import DefectClass, DefectMap, Frame, Transform, UInt8


@dataclass(frozen=True)
class ViewFacts:
    """The facts by which a view is judged, as far as evidence must know them."""

    limits: Mapping[str, Limit] = field(default_factory=dict)
    classes: Sequence[DefectClass] = ()
    mm_per_px: float | None = None


@dataclass(frozen=True)
class Shot:
    """One view's picture. `missing`: why there is none, in words; else empty. `facts`: what it was judged by."""

    view: str
    missing: str = ""
    frame: Frame | None = None
    defect_map: DefectMap | None = None
    to_frame: Transform | None = None
    facts: ViewFacts = ViewFacts()


@dataclass(frozen=True)
class Job:
    """One result whose pictures are to be kept. `models`: by view, as the messages name them."""

    name: str
    chosen: Chosen
    verdict: str
    reason: str | None
    part_id: str
    recipe: str
    models: Mapping[str, Any]
    body: Mapping[str, Any]
    shots: tuple[Shot, ...]
    challenge: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """Return its entry of the index, but for place, time and size."""
        return {
            "name": self.name,
            "kind": self.chosen.kind.value,
            "verdict": self.verdict,
            "part_id": self.part_id,
            "recipe": self.recipe,
            "reason": self.reason,
            "why": self.chosen.why,
        }


def written(
    job: Job, settings: EvidenceSettings, who: Identity, now: datetime
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a result's record, and its files by their names."""
    files: dict[str, bytes] = {}
    views = []
    for shot in job.shots:
        view, own = _view(shot, settings)
        views.append(view)
        files |= own
    record = {
        "schema": SCHEMA,
        "id": job.name,
        "kind": job.chosen.kind.value,
        "why": job.chosen.why,
        "kept_at": now.isoformat(timespec="milliseconds"),
        "station": who.root,
        "device": who.device,
        "epoch": who.epoch,
        "verdict": job.verdict,
        "reason": job.reason,
        "part_id": job.part_id,
        "recipe": job.recipe,
        "models": dict(job.models),
        "challenge": job.challenge,
        "views": views,
        "body": dict(job.body),
    }
    return record, files


def _view(shot: Shot, settings: EvidenceSettings) -> tuple[dict[str, Any], dict[str, bytes]]:
    told: dict[str, Any] = {
        "view": shot.view,
        "missing": shot.missing or None,
        "picture": None,
        "map": None,
        "width": None,
        "height": None,
        "captured_at": None,
        "mm_per_px": shot.facts.mm_per_px,
        "classes": [{"id": entry.id, "name": entry.name, "colour": list(entry.colour)} for entry in shot.facts.classes],
    }
    if shot.frame is None:
        return told, {}
    pixels = shot.frame.pixels
    height, width = pixels.shape[:2]
    name = f"{shot.view}.{'png' if settings.pictures == 'png' else 'jpg'}"
    files = {name: encoded(pixels, settings)}
    told |= {"width": width, "height": height, "captured_at": shot.frame.captured_at.isoformat(timespec="milliseconds")}
    told["picture"] = _file(name, files[name])
    if shot.defect_map is not None and shot.to_frame is not None:
        name = f"{shot.view}.map.png"
        classes = map_to_frame(shot.defect_map.classes, shot.to_frame, (height, width), shot.defect_map.stride)
        files[name] = cv2.imencode(".png", classes, [cv2.IMWRITE_PNG_COMPRESSION, 3])[1].tobytes()
        told["map"] = _file(name, files[name])
    return told, files


def _file(name: str, content: bytes) -> dict[str, str]:
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}


def encoded(pixels: UInt8, settings: EvidenceSettings) -> bytes:
    """Return a picture as the settings say: PNG, which loses nothing, or JPEG of their quality."""
    if settings.pictures == "png":
        _, file = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    else:
        _, file = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, settings.quality])
    return bytes(file)
