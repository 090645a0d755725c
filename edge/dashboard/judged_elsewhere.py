"""Opinions given by the command `linewatch evidence` or at another dashboard, taken over into the history."""

from __future__ import annotations

from edge.dashboard import rejects
from edge.dashboard.evidence_sources import LocalEvidence
from edge.dashboard.pages import Pages
from edge.errors import JournalError, StoreError


def hear(pages: Pages, place: str) -> None:
    """Take note of what was said of a station's results since the last call."""
    source = pages.evidence.of.get(place)
    heard = pages.history.value("SELECT 1 FROM station WHERE place = ?", place)
    if heard and isinstance(source, LocalEvidence):
        try:
            rejects.note(pages.history, place, source.news())
        except (StoreError, JournalError) as error:
            pages.note(place, "judgements", "", outcome="unreadable", detail=str(error)[:500])
