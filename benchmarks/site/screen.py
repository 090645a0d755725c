"""An operator's browser at the dashboard's page of alarms: when it shows which alarm. It draws nothing."""

from __future__ import annotations

import http.client
import re
import threading
import time
from contextlib import suppress
from types import TracebackType
from urllib.parse import urlencode

from typing_extensions import Self

PAGE = "/live/alarms"
_OCCURRENCE = re.compile(rb'data-occurrence="([0-9a-f-]{36})"')
_AGAIN_S = 0.5
_SILENT_S = 30.0


class Screen:
    """Logs in as an operator and follows the page's own stream until left. `shown`: when each alarm came first, ns."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.shown: dict[str, int] = {}
        self.updates = self.opened = self.bytes = 0
        self._port, self._user, self._password = port, user, password
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2 * _SILENT_S)

    def _run(self) -> None:
        while not self._stop.wait(_AGAIN_S):
            with suppress(OSError, http.client.HTTPException):
                self._follow()

    def _follow(self) -> None:
        """Log in, and read the stream until it ends."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SILENT_S)
        try:
            form = urlencode({"name": self._user, "password": self._password})
            connection.request("POST", "/login", form, {"Content-Type": "application/x-www-form-urlencoded"})
            answer = connection.getresponse()
            answer.read()
            cookie = (answer.getheader("Set-Cookie") or "").partition(";")[0]
            connection.request("GET", PAGE, headers={"Cookie": cookie, "Accept": "text/event-stream"})
            stream = connection.getresponse()
            if stream.status != http.client.OK:
                return
            self.opened += 1
            self._read(stream)
        finally:
            connection.close()

    def _read(self, stream: http.client.HTTPResponse) -> None:
        event = bytearray()
        while not self._stop.is_set():
            line = stream.readline()
            if not line:
                return
            if line.strip():
                event += line
                continue
            if event.startswith(b"event: ended"):
                return
            if not event.startswith(b"event:"):
                self._look(bytes(event), time.monotonic_ns())
            event.clear()

    def _look(self, html: bytes, now_ns: int) -> None:
        self.updates += 1
        self.bytes += len(html)
        for found in _OCCURRENCE.findall(html):
            self.shown.setdefault(found.decode(), now_ns)
