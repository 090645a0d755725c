"""The state of a running line at a glance: for a terminal, and for one line of the log a minute."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edge.wording import counted

_MINUTE_NS = 60_000_000_000


@dataclass(frozen=True)
class Glance:
    """The state of a line at `at_ns` of its clock. The counts are since its start.

    `ok`, `ng`, `no_read`: of parts where the station tells parts apart (`parts` is not None), else of frames. `camera`:
    why no frame comes, or empty. `age_ms`: of the oldest picture that was judged last, None without one.
    `broker`: why it is not there, or empty. `waiting`: messages that it has not acknowledged. `alarms`: id and text of
    those that an operator is to see. `recipe`: the one in force, changed `recipe_changes` times. `sent`: messages that
    were handed to the broker, `taken`: that it acknowledged.
    """

    at_ns: int
    frames: int
    parts: int | None
    ok: int
    ng: int
    no_read: int
    dropped: int
    age_ms: float | None
    camera: str
    connected: bool
    broker: str
    waiting: int
    alarms: tuple[tuple[str, str], ...]
    recipe: str = ""
    recipe_changes: int = 0
    sent: int = 0
    taken: int = 0


@dataclass(frozen=True)
class Minute:
    """Rates of the last minute, or since the start, per second and per minute. `seconds`: the time that they are of."""

    seconds: float
    frames_per_s: float
    ok: int
    ng: int
    no_read: int

    @property
    def verdicts_per_minute(self) -> float:
        """Verdicts of all kinds, as many as a whole minute would have."""
        return (self.ok + self.ng + self.no_read) * 60 / self.seconds if self.seconds else 0.0


class LastMinute:
    """Tells from the counts of glances what the last minute brought. Pure: time is in the glances."""

    def __init__(self) -> None:
        self._glances: deque[Glance] = deque()

    def of(self, glance: Glance) -> Minute:
        """Take one more glance, and return the minute that ends with it."""
        self._glances.append(glance)
        while len(self._glances) > 2 and self._glances[1].at_ns <= glance.at_ns - _MINUTE_NS:
            self._glances.popleft()
        first = self._glances[0]
        seconds = (glance.at_ns - first.at_ns) / 1e9
        frames = glance.frames - first.frames
        return Minute(
            seconds,
            frames / seconds if seconds else 0.0,
            glance.ok - first.ok,
            glance.ng - first.ng,
            glance.no_read - first.no_read,
        )


def told(glance: Glance, minute: Minute) -> str:
    """Write a glance and its minute as one line for the log."""
    verdicts = minute.ok + minute.ng + minute.no_read
    age = "no picture" if glance.age_ms is None else f"picture {glance.age_ms:.0f} ms old"
    camera = f"camera: {glance.camera}; " if glance.camera else ""
    broker = "broker connected" if glance.connected else glance.broker or "no broker"
    alarms = ", ".join(alarm for alarm, _ in glance.alarms) or "none"
    return (
        f"{minute.frames_per_s:.1f} frames/s, {counted(verdicts, 'verdict')} in {minute.seconds:.0f} s: "
        f"{minute.ok} OK, {minute.ng} NG, {minute.no_read} NO_READ; {camera}{age}; "
        f"{broker}, {glance.waiting} wait; alarms: {alarms}"
    )
