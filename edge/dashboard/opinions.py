"""What people said of the parts of a station, from the file of judgements beside its evidence."""

from __future__ import annotations

from pathlib import Path

from edge.dashboard.history import History
from edge.evidence.judging import Judgements, judgement_of
from edge.figures.false_rejects import Opinion, Opinions, opinions
from edge.records import Verdict

_NAMED = (
    "SELECT evidence_id, verdict FROM result WHERE station = (SELECT id FROM station WHERE place = ?) AND at_ms >= ? "
    "AND at_ms < ? AND evidence_id IS NOT NULL AND challenge = 0"
)


def opinions_of(
    history: History, place: str, evidence: str | None, within_ms: tuple[int, int], ng_parts: int
) -> Opinions | None:
    """Add up the last word on each part of a time; None where nobody said one, or the evidence is not on this device.

    Raises StoreError, JournalError for a file that cannot be read or was altered.
    """
    if evidence is None or "://" in evidence:
        return None
    said: dict[str, Opinion] = {}
    for line in Judgements(Path(evidence)).lines():
        if (judgement := judgement_of(line)) is not None:
            said[judgement.name] = judgement.judgement
    if not said:
        return None
    rows = history.rows(_NAMED, place, *within_ms)
    judged = [(Verdict(row["verdict"]), said[row["evidence_id"]]) for row in rows if row["evidence_id"] in said]
    return opinions(judged, ng_parts) if judged else None
