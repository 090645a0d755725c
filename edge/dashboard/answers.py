"""The lines' answers to commands, kept for the page that a browser is led to after a form."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass

from starlette.requests import Request

from edge.dashboard.collector import Answered
from edge.dashboard.pages import visitor_of

_AT_MOST = 200


@dataclass(frozen=True)
class Said:
    """One answer of a line, and for whom. `subject`: an alarm, or a signal; `act`: what was asked for."""

    user: str
    place: str
    subject: str
    act: str
    answer: Answered


class Answers:
    """The last answers, each by a key that stands in an address."""

    def __init__(self) -> None:
        self._said: OrderedDict[str, Said] = OrderedDict()

    def keep(self, said: Said) -> str:
        """Keep an answer, and return its key."""
        key = secrets.token_urlsafe(8)
        self._said[key] = said
        while len(self._said) > _AT_MOST:
            self._said.popitem(last=False)
        return key

    def of(self, request: Request) -> Said | None:
        """Return the answer that an address names, to who got it; None for anybody else."""
        said, session = self._said.get(request.query_params.get("answer", "")), visitor_of(request).session
        return said if said is not None and session is not None and said.user == session.user else None
