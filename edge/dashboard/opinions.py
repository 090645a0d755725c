"""People's opinions of the parts of a station, from the history: the last word on each."""

from __future__ import annotations

from edge.dashboard.history import History
from edge.figures.false_rejects import Opinions, opinions
from edge.records import Verdict

_SAID = (
    "SELECT verdict, opinion FROM opinion JOIN result ON result.station = opinion.station "
    "AND result.evidence_id = opinion.evidence_id WHERE result.station = (SELECT id FROM station WHERE place = ?) "
    "AND result.at_ms >= ? AND result.at_ms < ? AND challenge = 0"
)


def opinions_of(history: History, place: str, within_ms: tuple[int, int], ng_parts: int) -> Opinions | None:
    """Add up what people said of the parts of a time; None where nobody said anything."""
    judged = [(Verdict(row["verdict"]), row["opinion"]) for row in history.rows(_SAID, place, *within_ms)]
    return opinions(judged, ng_parts) if judged else None
