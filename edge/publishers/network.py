"""The thread on which paho works. It outlives whatever goes wrong on it, and tells whether it moves."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from paho.mqtt.enums import MQTTErrorCode

from edge.errors import LinewatchError
from edge.publishers.paho_client import PahoClient

_log = logging.getLogger(__name__)

RECONNECT_S = (1.0, 30.0)  # between attempts, doubled each time; drawn from the upper half, so that lines spread
_TURN_S = 0.25
_SERVED_S = 1.0  # a message that comes or goes ends the wait, and so does a stop. A word to the broker does not
_MOVES_WITHIN_S = 10.0
_CONNECTS_WITHIN_S = 120.0  # a name server that answers nothing may hold an attempt for so long
_LEAVES_WITHIN_S = 1.0
_LETS_IN_WITHIN_S = 20.0


class Reload:
    """A wish, of any thread or signal handler, that certificates and passwords be read again."""

    def __init__(self) -> None:
        self.asked = 0

    def set(self) -> None:
        """Wish it."""
        self.asked += 1


class NetworkThread:
    """Connects and serves one client after another until stopped; `trouble` is told of each failure, in words.

    `make` gives a new client for each connection. It reads certificates and passwords as they are then. Nothing that an
    earlier connection had begun comes again by itself.

    paho's own thread ends for good at an exception, and nobody is told. Here an exception ends the connection only,
    which is then made anew. `revive` replaces a thread that ended all the same. A set `reload` puts a new client in the
    connection's place, if one can be made. `make` and `trouble` are called from this thread.
    """

    def __init__(
        self, make: Callable[[], PahoClient], name: str, trouble: Callable[[str], None], reload: Reload
    ) -> None:
        self._make = make
        self._name = name
        self._trouble = trouble
        self._reload = reload
        self._read = reload.asked
        self._stopping = threading.Event()
        self._inside = threading.Event()
        self._settled = threading.Event()
        self._given_up = ""
        self._displaced = threading.Event()
        self._due_s = 0.0
        self._client: PahoClient | None = None

    def start(self) -> None:
        """Begin, or begin again."""
        self._move(_MOVES_WITHIN_S)
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def let_in(self) -> None:
        """Note that the broker has let the client in."""
        self._inside.set()

    def accepted(self) -> None:
        """Note that the broker has answered what came after that: the next attempt comes soon again.

        A broker that lets in and then throws out is asked ever more seldom.
        """
        self._settled.set()

    def give_up(self, why: str) -> None:
        """End the connection, on which nothing goes on; of any thread."""
        self._given_up = why

    def displaced(self) -> None:
        """Note that another client took the connection over: whoever comes back at once only throws it out in turn."""
        self._displaced.set()

    @property
    def moves(self) -> bool:
        """True while the thread is there and has moved within its time."""
        return self._thread.is_alive() and time.monotonic() < self._due_s

    def revive(self) -> bool:
        """Replace the thread if it has ended; whether it had."""
        if self._stopping.is_set() or self._thread.is_alive():
            return False
        _log.error("The thread %s ended; a new one takes over", self._name)
        self.start()
        return True

    def stop(self, timeout_s: float) -> None:
        """Disconnect and end, at the latest after `timeout_s`: a broker that hangs is not waited for."""
        self._stopping.set()
        if (client := self._client) is not None:
            client.wake()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = RECONNECT_S[0]
        while not self._stopping.is_set():
            self._inside.clear()
            self._settled.clear()
            self._given_up = ""
            began_s = time.monotonic()
            self._read = self._reload.asked  # all that it asks to read is read now
            try:
                self._move(_CONNECTS_WITHIN_S)
                self._client = client = self._make()
                try:
                    client.reconnect()
                    self._serve(client)
                finally:
                    client.close()
            except LinewatchError as error:
                self._trouble(f"is not asked: {error}")
            except OSError as error:
                self._trouble(f"cannot be reached: {error}")
            except Exception as error:  # noqa: BLE001 - it may be anything, and would end the thread unseen
                _log.exception("paho failed; its connection is made anew")
                self._trouble(f"is no longer served: {error!r}")
            lasted = time.monotonic() - began_s > RECONNECT_S[1]
            at_once = (self._settled.is_set() or lasted) and not self._displaced.is_set()
            wait_s = RECONNECT_S[0] if at_once else min(2 * wait_s, RECONNECT_S[1])
            self._displaced.clear()
            self._pause(wait_s * random.uniform(0.5, 1.0))

    def _pause(self, seconds: float) -> None:
        """Wait for the next attempt; who asks for a new connection need not."""
        until_s = time.monotonic() + seconds
        self._move(seconds + _MOVES_WITHIN_S)
        while not self._is_to_reload and (left_s := until_s - time.monotonic()) > 0:
            if self._stopping.wait(min(_TURN_S, left_s)):
                return

    def _serve(self, client: PahoClient) -> None:
        leave_at_s: float | None = None
        lets_in_by_s = time.monotonic() + _LETS_IN_WITHIN_S
        turn_s = min(_SERVED_S, client.keepalive / 8)
        while leave_at_s is None or time.monotonic() < leave_at_s:
            self._move(_MOVES_WITHIN_S)
            if client.loop(turn_s) != MQTTErrorCode.MQTT_ERR_SUCCESS:
                return
            if not self._inside.is_set() and time.monotonic() > lets_in_by_s:
                self._given_up = (
                    f"took the connection and said nothing for {_LETS_IN_WITHIN_S:g} s. Check broker.host, broker.port "
                    "and broker.tls"
                )
            if self._given_up:
                self._trouble(self._given_up)
                return
            if leave_at_s is None and (self._stopping.is_set() or (self._is_to_reload and self._renewable())):
                leave_at_s = time.monotonic() + _LEAVES_WITHIN_S
                client.disconnect()

    @property
    def _is_to_reload(self) -> bool:
        return self._reload.asked != self._read

    def _renewable(self) -> bool:
        """Tell whether the files of the settings make a client; a fault is told, and changes nothing."""
        try:
            self._make().close()
        except LinewatchError as error:
            self._read = self._reload.asked
            _log.error("Not reloaded, the connection stays as it was: %s", error)
            return False
        _log.info("Certificates and passwords are read again; a new connection is made")
        return True

    def _move(self, for_s: float) -> None:
        self._due_s = time.monotonic() + for_s
