"""The parts that keep a station's evidence: chosen in the loop, written in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from edge.errors import StoreError
from edge.evidence.choosing import Kind, evidence_id
from edge.evidence.clips import ClipJob, Clips
from edge.evidence.folder import EvidenceFolder
from edge.evidence.observer import EvidenceObserver, EvidenceWriter, Open
from edge.evidence.pictures import Job, ViewFacts
from edge.messages.writer import MessageWriter
from edge.observers.queued import QueuedObserver
from edge.protocols import Observer
from edge.recipes.loaded import LoadedRecipe
from edge.records.decided import Decided, DecidedPart
from edge.settings import Settings

# Results that wait for the disk; each holds its pixels.
_WAITING_AT_MOST = 16
_MS = 1_000_000


class Evidence:
    """A station's evidence. Without a folder in the settings it keeps nothing."""

    def __init__(
        self, observer: EvidenceObserver | None = None, writer: EvidenceWriter | None = None, clips: Clips | None = None
    ) -> None:
        self._observer = observer
        self._writer = writer
        self._clips = clips

    @property
    def observers(self) -> list[Observer]:
        """Tell who watches the station for it."""
        return [] if self._observer is None else [self]

    def offer(self, decided: Decided | DecidedPart) -> None:
        """Take note of a frame or part."""
        if self._observer is not None:
            self._observer.offer(decided)
        if self._clips is not None:
            self._clips.offer(decided)

    @property
    def trouble(self) -> str | None:
        """Return why pictures are not kept, None = they are."""
        if self._observer is None or self._writer is None:
            return None
        return self._writer.trouble or self._observer.trouble

    def use(self, recipe: LoadedRecipe) -> None:
        """Know by what the views of a recipe judge from now on."""
        if self._observer is not None:
            self._observer.facts[recipe.name] = {
                name: ViewFacts(view.inspect.limits, tuple(view.bundle.classes), view.inspect.centre_mm_per_px)
                for name, view in recipe.views.items()
            }


@contextmanager
def open_evidence(settings: Settings, messages: MessageWriter, *, live: bool) -> Iterator[Evidence]:
    """Open the folder, repair it, and name each result's evidence from now on.

    A replay, which is not `live`, writes before it goes on, and its names do not depend on its store.
    """
    own = settings.evidence
    if own.folder is None:
        yield Evidence()
        return
    with ExitStack() as scope:
        writer = scope.enter_context(EvidenceWriter(EvidenceFolder(own.folder, own), own, messages.identity))
        messages.evidence_id = partial(evidence_id, messages.identity.epoch if live else None)
        put = _queued(scope, writer) if live else _at_once(writer)
        offsets = [view.offset_ms for recipe in settings.station_recipes.values() for view in recipe.views.values()]
        longest_ms = settings.parts.timeout_ms + settings.parts.wait_ms + max(map(abs, offsets), default=0)
        clips = Clips(own.clip, put, messages.identity.epoch if live else None) if own.clip.wanted else None
        yield Evidence(EvidenceObserver(own, put, 2 * longest_ms * _MS), writer, clips)
        if clips is not None:
            clips.close()


def _queued(scope: ExitStack, writer: EvidenceWriter) -> Callable[[Job | ClipJob], bool]:
    queue: QueuedObserver[Job | ClipJob | Open] = scope.enter_context(
        QueuedObserver("evidence", writer, most=_WAITING_AT_MOST, keeps="oldest", pixels=True, closes_within_s=10.0)
    )
    queue.offer(Open())

    def put(job: Job | ClipJob) -> bool:
        """Hand a job on; an OK part makes room for another kind where many wait."""
        if job.chosen.kind in {Kind.OK, Kind.NEAR} and queue.waiting >= _WAITING_AT_MOST // 2:
            return False
        before = queue.dropped
        queue.offer(job)
        return queue.dropped == before

    return put


def _at_once(writer: EvidenceWriter) -> Callable[[Job | ClipJob], bool]:
    """Return what writes before a replay goes on. A disk that takes nothing ends it: it raises StoreError."""

    def write(job: Job | ClipJob | Open) -> bool:
        writer(job)
        if writer.trouble is not None:
            raise StoreError(writer.trouble)
        return True

    write(Open())
    return write
