"""`cmd/resend`: a consumer that saw a gap in the numbers of events gets them again."""

from __future__ import annotations

from collections.abc import Callable
from threading import Semaphore

from edge.commands.requests import Command, CommandOutcome, Resend
from edge.outbox import Outbox, Resent

WISHES_AT_MOST = 4  # under way at once: each keeps the disk busy for a while


class EventResender:
    """Has events sent again that the broker has acknowledged, as far as the outbox still has them.

    `answer` is told what came of it once that is known, from the outbox's thread. Further wishes are refused while
    WISHES_AT_MOST are under way.
    """

    def __init__(self, outbox: Outbox, answer: Callable[[Command, CommandOutcome, str], None]) -> None:
        self._outbox = outbox
        self._answer = answer
        self._under_way = Semaphore(WISHES_AT_MOST)

    def __call__(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str] | None:
        """Obey the command: say at once why not, or None where the answer comes later."""
        del now_ns
        body = command.body
        assert isinstance(body, Resend)  # noqa: S101 - the line gives each its own
        if body.epoch != self._outbox.epoch:
            return "unknown_epoch", f"this store is {self._outbox.epoch}; what another one held is not here"

        if not self._under_way.acquire(blocking=False):
            return "crowded_out", f"{WISHES_AT_MOST} wishes to send again are under way; ask later"

        def done(came_to: Resent) -> None:
            self._under_way.release()
            told = f"{came_to.resent} sent again, {came_to.waiting} not yet acknowledged, {came_to.missing} missing"
            self._answer(command, "some_missing" if came_to.missing else "ok", told)

        self._outbox.resend(body.from_seq, body.to_seq, done)
        return None
