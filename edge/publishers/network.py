"""The thread on which paho works. It outlives whatever goes wrong on it, and tells whether it moves."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from paho.mqtt.client import Client
from paho.mqtt.enums import MQTTErrorCode

_log = logging.getLogger(__name__)

RECONNECT_S = (1.0, 30.0)  # between attempts, doubled each time; drawn from the upper half, so that lines spread
_TURN_S = 0.25
_MOVES_WITHIN_S = 10.0
_CONNECTS_WITHIN_S = 120.0  # a name server that answers nothing may hold an attempt for so long


class NetworkThread:
    """Connects and serves `client`, again and again, until stopped; `trouble` is told of each failure, in words.

    paho's own thread ends for good at an exception, with nobody told. Here an exception ends the connection only, which
    is then made anew: what paho has accepted stays with it. A thread that ended all the same is replaced by `revive`.
    `trouble` is called from this thread.
    """

    def __init__(self, client: Client, name: str, trouble: Callable[[str], None]) -> None:
        self._client = client
        self._name = name
        self._trouble = trouble
        self._stopping = threading.Event()
        self._accepted = threading.Event()
        self._due_s = 0.0
        # else publish() would write to the socket from its caller's thread, beside this one
        client.on_socket_register_write = lambda *_: None

    def start(self) -> None:
        """Begin, or begin again."""
        self._move(_MOVES_WITHIN_S)
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def accepted(self) -> None:
        """Note that the broker has accepted the connection: the next attempt comes soon again."""
        self._accepted.set()

    @property
    def moves(self) -> bool:
        """Whether the thread is there and has moved within its time."""
        return self._thread.is_alive() and time.monotonic() < self._due_s

    def revive(self) -> bool:
        """Replace the thread if it has ended; whether it had."""
        if self._stopping.is_set() or self._thread.is_alive():
            return False
        _log.error("The thread %s ended; a new one takes over", self._name)
        self.start()
        return True

    def stop(self, timeout_s: float) -> None:
        """End once the client has disconnected, or after `timeout_s`: a broker that hangs is not waited for."""
        self._stopping.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = RECONNECT_S[0]
        while not self._stopping.is_set():
            self._accepted.clear()
            try:
                self._move(_CONNECTS_WITHIN_S)
                self._client.reconnect()
                self._serve()
            except OSError as error:
                self._trouble(f"cannot be reached: {error}")
            except Exception as error:  # noqa: BLE001 - it may be anything, and would end the thread unseen
                _log.exception("paho failed; its connection is made anew")
                self._trouble(f"is no longer served: {error!r}")
            wait_s = RECONNECT_S[0] if self._accepted.is_set() else min(2 * wait_s, RECONNECT_S[1])
            self._move(wait_s + _MOVES_WITHIN_S)
            self._stopping.wait(wait_s * random.uniform(0.5, 1.0))

    def _serve(self) -> None:
        leaving = 0
        while leaving * _TURN_S < 1.0:
            self._move(_MOVES_WITHIN_S)
            if self._client.loop(_TURN_S) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            leaving += self._stopping.is_set()

    def _move(self, for_s: float) -> None:
        self._due_s = time.monotonic() + for_s
