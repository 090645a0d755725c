"""Sees what a station decides, and has the pictures kept that are worth it.

Choosing happens in the loop's thread and costs next to nothing: frames are held, not copied. Writing happens elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.errors import LinewatchError
from edge.evidence.choosing import Chosen, Kind, choose, nearness
from edge.evidence.clips import ClipJob, clip_written
from edge.evidence.folder import EvidenceFolder
from edge.evidence.pictures import Job, Shot, ViewFacts, written
from edge.evidence.settings import EvidenceSettings
from edge.messages.writer import Identity
from edge.records import FrameResult, Verdict
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import ViewResult
from edge.wording import counted

_NS = 1_000_000_000
_DROPPED_TOLD_NS = 60 * _NS
_MB = 1_000_000
# Frames of a view that stay whatever memory they take: the newest, and the one that is wanted most.
_AT_LEAST = 2
Facts = Mapping[str, ViewFacts]


@dataclass(frozen=True)
class _Held:
    """A frame that its part may still be shown by."""

    result: FrameResult
    shot: Shot
    bytes: int

    @property
    def rank(self) -> tuple[int, float, int]:
        """Tell how likely its part is shown by it: NG before NO_READ before OK, then by coverage, then the newer."""
        verdict, seen = self.result.judgement.verdict, self.result.measurement
        order = (Verdict.OK, Verdict.NO_READ, Verdict.NG)
        return order.index(verdict), 0.0 if seen is None else seen.coverage, self.result.captured_ns


class HeldFrames:
    """The frames of parts that are not decided yet: at most so many bytes in all, and none older than `longest_ns`."""

    def __init__(self, most_bytes: int, longest_ns: int) -> None:
        self._most_bytes = most_bytes
        self._longest_ns = longest_ns
        self._views: dict[str, list[_Held]] = {}
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Tell what is held."""
        return self._bytes

    def hold(self, result: FrameResult, shot: Shot) -> None:
        """Hold a frame; where memory is short what is least likely wanted goes."""
        assert shot.frame is not None  # noqa: S101 - callers see to it
        one = _Held(result, shot, shot.frame.pixels.nbytes)
        view = self._views.setdefault(result.view, [])
        view.append(one)
        self._bytes += one.bytes
        self._drop(result.view, lambda held: held.result.captured_ns < result.captured_ns - self._longest_ns)
        while self._bytes > self._most_bytes:
            spare = [(held, name) for name, own in self._views.items() if len(own) > _AT_LEAST for held in own[:-1]]
            if not spare:
                return
            least, name = min(spare, key=lambda each: each[0].rank)
            self._views[name].remove(least)
            self._bytes -= least.bytes

    def of(self, result: FrameResult) -> Shot | None:
        """Return what a frame of a view showed; None where it is no longer held."""
        for held in self._views.get(result.view, ()):
            if held.result.captured_ns == result.captured_ns and held.result.frame == result.frame:
                return held.shot
        return None

    def forget_before(self, captured_ns: int) -> None:
        """Let go of what was captured before a moment."""
        for view in self._views:
            self._drop(view, lambda held: held.result.captured_ns < captured_ns)

    def _drop(self, view: str, old: Callable[[_Held], bool]) -> None:
        kept = [held for held in self._views[view] if not old(held)]
        self._bytes -= sum(held.bytes for held in self._views[view]) - sum(held.bytes for held in kept)
        self._views[view] = kept


@dataclass(frozen=True)
class Open:
    """Has the folder opened and repaired, before anything is kept: with many results that takes seconds."""


class EvidenceWriter:
    """Writes jobs into the folder; called by one thread. `trouble`: why the last could not be kept, None = it was.

    A folder that cannot be opened is a trouble, and tried again with each job.
    """

    def __init__(self, folder: EvidenceFolder, settings: EvidenceSettings, who: Identity) -> None:
        self._folder, self._settings, self._who = folder, settings, who
        self._open = False
        self.trouble: str | None = None
        self.kept = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open:
            self._folder.__exit__(kind, error, trace)

    def __call__(self, job: Job | ClipJob | Open) -> None:
        """Keep one. A disk that takes nothing is a trouble, and no error."""
        try:
            self._opened()
            self._keep(job)
        except LinewatchError as error:
            self.trouble = str(error)
        else:
            self.trouble = None

    def _keep(self, job: Job | ClipJob | Open) -> None:
        now = datetime.now(timezone.utc)
        if isinstance(job, Open):
            return
        if isinstance(job, ClipJob):
            record, files = clip_written(job, self._who, now)
        else:
            record, files = written(job, self._settings, self._who, now)
        self._folder.keep(job.row, record, files)
        self.kept += 1

    def _opened(self) -> None:
        if not self._open:
            self._folder.__enter__()
            self._open = True


@dataclass(frozen=True)
class _Told:
    """The origin of a result: its part, recipe, and models by view."""

    part_id: str
    recipe: str
    models: Mapping[str, Any]


class EvidenceObserver:
    """Chooses what is kept, by the settings. `put` hands a job on, and tells whether it was taken.

    `longest_ns`: how long a part may wait for its verdict. `facts`: of each view by recipe, for those it knows.
    """

    def __init__(
        self,
        settings: EvidenceSettings,
        put: Callable[[Job], bool],
        longest_ns: int,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.facts: dict[str, Facts] = {}
        self._settings = settings
        self._put = put
        self._held = HeldFrames(settings.memory_mb * _MB, longest_ns)
        self._monotonic_ns = monotonic_ns
        self._good = 0
        self.lost = 0
        self._lost_ns: int | None = None

    @property
    def trouble(self) -> str | None:
        """Return why something was not kept within the last minute, None = nothing."""
        if self._lost_ns is None or self._monotonic_ns() - self._lost_ns > _DROPPED_TOLD_NS:
            return None
        told = counted(self.lost, "result was", "results were")
        return f"{told} not kept since the start: the disk is slower than the line"

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Hold a frame of a part; choose of a result whether it is kept. Returns at once, never raises."""
        if isinstance(decided, DecidedPart):
            self._part(decided)
        elif decided.body is None:
            if decided.frame is not None:
                self._held.hold(decided.inspection, self._shot(decided))
        elif decided.frame is not None:  # nothing is kept of a part without a frame
            self._frame(decided)

    def _shot(self, decided: Decided) -> Shot:
        facts = self.facts.get(decided.inspection.recipe or "", {}).get(decided.inspection.view, ViewFacts())
        return Shot(decided.inspection.view, "", decided.frame, decided.defect_map, decided.to_frame, facts)

    def _frame(self, decided: Decided) -> None:
        result, body = decided.inspection, decided.body or {}
        shot = self._shot(decided)
        near = nearness(result.measurement, shot.facts.limits)
        if (chosen := self._chosen(result.judgement.verdict, near, body)) is not None:
            models = {result.view: body["model"]}
            told = _Told(f"{result.view}:{result.frame}", result.recipe or "", models)
            self._hand_on(chosen, told, body, (shot,))

    def _part(self, decided: DecidedPart) -> None:
        part = decided.part
        facts = self.facts.get(part.recipe or "", {})
        near = max(
            (
                nearness(seen.worst.measurement, facts.get(view, ViewFacts()).limits)
                for view, seen in part.views.items()
                if seen.worst is not None
            ),
            default=0.0,
        )
        if (chosen := self._chosen(part.judgement.verdict, near, decided.body)) is not None:
            models = {view: told["model"] for view, told in decided.body["views"].items()}
            shots = tuple(self._shown(view, seen) for view, seen in part.views.items())
            self._hand_on(chosen, _Told(part.part_id, part.recipe or "", models), decided.body, shots)
        self._held.forget_before(part.opened_ns)

    def _shown(self, view: str, seen: ViewResult) -> Shot:
        result = seen.worst or seen.unread
        if result is None:
            return Shot(view, "no frame of the part was judged")
        if result.frame is None:
            return Shot(view, "no frame came")
        return self._held.of(result) or Shot(view, "its frame had no pixels, or was no longer in memory")

    def _chosen(self, verdict: Verdict, near: float, body: Mapping[str, Any]) -> Chosen | None:
        self._good += verdict is Verdict.OK
        name = body.get("evidence_id")
        return None if name is None else choose(self._settings, verdict, near, self._good, name)

    def _hand_on(self, chosen: Chosen, told: _Told, body: Mapping[str, Any], shots: tuple[Shot, ...]) -> None:
        job = Job(
            body["evidence_id"],
            chosen,
            body["verdict"],
            body["reason"],
            told.part_id,
            told.recipe,
            told.models,
            body,
            shots,
            bool(body.get("challenge")),
        )
        if not self._put(job):
            self.lost += 1
            if chosen.kind in {Kind.NG, Kind.NO_READ}:
                self._lost_ns = self._monotonic_ns()
