"""The choice of evidence: what is kept, its name, and what has to go. Pure: time, names, numbers are arguments."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from edge.evidence.settings import EvidenceSettings
from edge.inspection.limits import Limit
from edge.records import Measurement, Verdict

_ID = re.compile(r"[0-9a-f]{8}-[0-9]{8,19}-[0-9a-f]{8}")
_PLACE = re.compile(r"[0-9a-f]{8}")
_OF_A_REPLAY = "0" * 8


class Kind(str, Enum):
    """The reason for keeping something; from what goes first where room is short to what goes last."""

    OK = "ok"
    NEAR = "near"
    CLIP = "clip"
    NO_READ = "no_read"
    NG = "ng"


GOES_FIRST: Sequence[Kind] = tuple(Kind)


def evidence_id(epoch: str | None, seq: int, part_id: str) -> str:
    """Name the evidence of a result: by its store's epoch, its event number and its part. `epoch` None: of a replay.

    The same result always has the same name, and another result has another.
    """
    place = _OF_A_REPLAY if epoch is None else epoch[:8]
    if not _PLACE.fullmatch(place):
        place = hashlib.sha256(place.encode()).hexdigest()[:8]
    part = hashlib.sha256(part_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{place}-{seq:08d}-{part}"


def is_evidence_id(text: str) -> bool:
    """Tell whether a text is a name of evidence; nothing else is ever made a part of a path."""
    return _ID.fullmatch(text) is not None


def nearness(measurement: Measurement | None, limits: Mapping[str, Limit]) -> float:
    """Return how near a frame is to a limit of its class: the greatest share of any.

    At 1 the limit is reached; without any share it is 0. A limit of nothing cannot be near: a frame keeps it or is NG.
    """
    if measurement is None:
        return 0.0
    shares = [0.0]
    for name, seen in measurement.classes.items():
        limit = limits.get(name)
        if limit is None:
            continue
        own = [defect for defect in measurement.defects if defect.class_name == name]
        for value, most in (
            (float(seen.count), limit.max_count),
            (seen.coverage, limit.max_coverage),
            (max((defect.area_mm2 or 0.0 for defect in own), default=0.0), limit.max_area_mm2),
            (max((defect.length_mm or 0.0 for defect in own), default=0.0), limit.max_length_mm),
        ):
            if most:
                shares.append(value / most)
    return max(shares)


@dataclass(frozen=True)
class Chosen:
    """The kind that a result is kept as, and why in words."""

    kind: Kind
    why: str


def choose(settings: EvidenceSettings, verdict: Verdict, near: float, good: int, name: str) -> Chosen | None:
    """Say whether a result's pictures are kept, and as what.

    `near`: its nearness to a limit. `good`: which OK part it is since the start, from 1. `name`: its evidence id, which
    decides the random share, so that the same result is always chosen alike.
    """
    if verdict is Verdict.NG:
        return Chosen(Kind.NG, "NG")
    if verdict is Verdict.NO_READ:
        return Chosen(Kind.NO_READ, "NO_READ")
    if settings.near_margin > 0 and near >= 1 - settings.near_margin:
        return Chosen(Kind.NEAR, f"at {near:.0%} of a limit")
    if settings.every_nth and good % settings.every_nth == 0:
        return Chosen(Kind.OK, f"every {settings.every_nth}th OK part")
    if _share(name) < settings.random_share:
        return Chosen(Kind.OK, f"a random share of {settings.random_share:g}")
    return None


def _share(name: str) -> float:
    """Return a number from 0 to below 1 that the name alone decides, evenly spread."""
    return int.from_bytes(hashlib.sha256(f"share {name}".encode()).digest()[:7], "big") / (1 << 56)


@dataclass(frozen=True)
class Kept:
    """One kept thing. `bytes`: what it takes on the disk. `bound`: judged, and not exported since."""

    name: str
    kind: Kind
    at: datetime
    bytes: int
    bound: bool = False


def too_old(settings: EvidenceSettings, kept: Iterable[Kept], now: datetime) -> list[Kept]:
    """Return what is older than its kind may become; never what was judged and not exported."""
    ages = settings.ages_d
    return [
        one for one in kept if not one.bound and now - one.at > timedelta(days=float(getattr(ages, one.kind.value)))
    ]


def to_make_room(kept: Iterable[Kept], over: int) -> list[Kept]:
    """Return what goes where `over` bytes are too many: OK before NG, of a kind the oldest first; no more than needed.

    Judged evidence that was not exported never goes, so that it may come to less than `over`.
    """
    going: list[Kept] = []
    for one in sorted(
        (one for one in kept if not one.bound), key=lambda one: (GOES_FIRST.index(one.kind), one.at, one.name)
    ):
        if over <= 0:
            break
        going.append(one)
        over -= one.bytes
    return going
