"""The machine's words: parts for the trigger, wishes for the decider, the belt's way for the pulses."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping

from edge.outputs import inputs as deciding
from edge.outputs.encoder import Encoder
from edge.outputs.input_settings import InputRule
from edge.outputs.inputs import InputEvent, Inputs, Released, StationNow, Triggered, Wish
from edge.parts.triggers import ToldTrigger
from edge.records.outputs import Reading

# Wishes that wait for the decider; a machine that wishes faster is not obeyed each time.
_MOST_WISHES = 20


class MachineInputs:
    """Takes readings in the link's thread. `trigger`: that parts are told to. `handshake`: told of its steps.

    `station` is how the station stands, as the decider says it; `wishes` are for the decider.
    """

    def __init__(
        self,
        rules: Mapping[str, InputRule],
        trigger: ToldTrigger | None,
        encoder: Encoder,
        handshake: Callable[[Triggered | Released | None], None],
    ) -> None:
        self._rules = dict(rules)
        self._trigger = trigger
        self._encoder = encoder
        self._encoder_name = next((name for name, rule in rules.items() if rule.rule == "encoder"), None)
        self._handshake = handshake
        self._inputs = Inputs()
        self._lock = threading.Lock()
        self.station = StationNow()
        self.wishes: deque[Wish] = deque(maxlen=_MOST_WISHES)
        self.last: Reading | None = None
        self._since: dict[str, int] = {}

    @property
    def line_stands(self) -> bool:
        """Tell whether the machine says that its line stands; from any thread. False where it says nothing."""
        bits = self._inputs.bits
        return any(
            rule.rule == "running" and name in bits and not bits[name].level for name, rule in self._rules.items()
        )

    @property
    def since_ns(self) -> dict[str, int]:
        """The time since which each input reads as it does; from any thread. Unread inputs are left out."""
        with self._lock:
            return dict(self._since)

    def heard(self, reading: Reading) -> None:
        """Take a reading."""
        with self._lock:
            before = {} if self.last is None else self.last.values
            self._since |= {name: reading.at_ns for name, value in reading.values.items() if before.get(name) != value}
            self.last = reading
            if self._encoder_name is not None:
                self._encoder.read(reading.at_ns, reading.values[self._encoder_name])
                self._handshake(None)
            self._inputs, events = deciding.step(self._rules, self._inputs, reading, self.station)
        for event in events:
            self._tell(event)

    def lost(self) -> None:
        """Forget how the signals stood."""
        with self._lock:
            self._inputs = deciding.lost(self._inputs)
            self.last = None
            self._since = {}

    def _tell(self, event: InputEvent) -> None:
        if isinstance(event, Wish):
            self.wishes.append(event)
        elif isinstance(event, Triggered | Released):
            self._handshake(event)
        elif self._trigger is not None:
            self._trigger.tell(event)
