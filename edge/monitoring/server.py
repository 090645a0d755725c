"""A small HTTP server in threads of its own: pages that are made when they are asked for, and live pictures.

It reads only, knows no users, and is on loopback unless the settings say otherwise. At most MOST_CALLERS are served at
a time; a caller slow to ask, or to read, is let go. A port that is taken is tried again: no line ends for its
monitoring.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.monitoring.settings import is_loopback
from edge.printable import as_json

_log = logging.getLogger(__name__)

MOST_CALLERS = 16  # beside those who watch live pictures
ASK_WITHIN_S = 5.0  # s; from the connection to the end of the question
READ_WITHIN_S = 5.0  # s; for each piece of an answer
AGAIN_EVERY_S = 5.0  # s; between two attempts to listen on a port that is taken
BOUNDARY = "linewatch-picture"
_POLL_S = 0.2
_SAFE = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-site"),
)


@dataclass(frozen=True)
class Page:
    """An answer: HTTP status, content type and body."""

    status: int
    content_type: str
    body: bytes


def json_page(status: int, told: Any) -> Page:
    """Return an answer in JSON."""
    return Page(status, "application/json", as_json(told, indent=2).encode() + b"\n")


class NoStreamError(Exception):
    """There is nothing to watch: `status` and `why`, for who asked."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


Streams = Callable[[str], AbstractContextManager[Iterator[bytes]]]


class MonitoringServer:
    """Serves `pages` by their paths, and `/live/NAME.mjpg` by `stream`, which gives JPEGs until it ends.

    `stream` raises NoStreamError where there is no such picture. Entering begins to listen, also later where the port
    is taken. Leaving ends all that is served within a second or two.
    """

    def __init__(
        self, listen: str, port: int, pages: Mapping[str, Callable[[], Page]], stream: Streams | None = None
    ) -> None:
        self._address = (listen.strip("[]"), port)
        self._pages = pages
        self._stream = stream
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="monitoring", daemon=True)
        self.listening = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2 * _POLL_S + 1)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                server = _Server(self._address, self._answer, self._stream, self._stop)
            except OSError as error:
                _log.warning("Monitoring cannot listen on %s port %d: %s", *self._address, error.strerror or error)
                self._stop.wait(AGAIN_EVERY_S)
                continue
            with server:
                _log.info("Monitoring listens on http://%s:%d", *self._address)
                self.listening.set()
                try:
                    server.serve_until(self._stop)
                except Exception:  # noqa: BLE001 - no line ends for its monitoring
                    _log.exception("Monitoring failed, and begins anew")
                finally:
                    self.listening.clear()

    def _answer(self, path: str) -> Page:
        page = self._pages.get(path)
        if page is None:
            known = [*self._pages, *(["/live/CAMERA.mjpg"] if self._stream else [])]
            return json_page(404, {"error": f"no such page; expected one of {', '.join(known)}"})
        try:
            return page()
        except Exception as error:  # noqa: BLE001 - one page that cannot be made silences no other
            _log.exception("Monitoring cannot answer %s", path)
            return json_page(500, {"error": f"{type(error).__name__}; the log says more"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 16

    def __init__(
        self, address: tuple[str, int], answer: Callable[[str], Page], stream: Streams | None, stop: threading.Event
    ) -> None:
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        self.answer = answer
        self.stream = stream
        self.stop = stop
        self.timeout = _POLL_S
        self._room = threading.BoundedSemaphore(MOST_CALLERS)
        self._asking: dict[int, tuple[float, socket.socket]] = {}
        super().__init__(address, _Caller)

    def serve_until(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.handle_request()

    def server_bind(self) -> None:
        """Bind without asking a name server for our name, which may take long."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "linewatch", self.socket.getsockname()[1]

    def service_actions(self) -> None:
        """Let go of those who do not come to the end of their question."""
        now_s = time.monotonic()
        for since_s, caller in list(self._asking.values()):
            if now_s - since_s > ASK_WITHIN_S:
                with suppress(OSError):
                    caller.shutdown(socket.SHUT_RDWR)

    def handle_request(self) -> None:
        """Serve the next caller, if one comes within the poll's time."""
        super().handle_request()
        self.service_actions()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a caller in a thread of its own, if there is room."""
        if not self._room.acquire(blocking=False):
            with suppress(OSError):
                request.settimeout(0.1)
                request.sendall(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
            self.shutdown_request(request)
            return
        self._asking[id(request)] = (time.monotonic(), request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a caller, and make room again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            if self.heard(request):  # the viewer has given up the room already
                self._room.release()

    def heard(self, request: Any) -> bool:
        """Note that a question has come to its end; False where that was noted before."""
        return self._asking.pop(id(request), None) is not None

    def make_room(self, request: Any) -> None:
        """Let another caller in: this one watches, and is counted elsewhere."""
        if self.heard(request):
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a caller who left."""
        del request, client_address


class _Caller(BaseHTTPRequestHandler):
    server: _Server
    timeout = READ_WITHIN_S
    server_version = "Linewatch"
    sys_version = ""

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def _serve(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        if not self._meant():
            self._send(json_page(421, {"error": "this name is not one of this device's"}), body=body)
        elif path.startswith("/live/") and path.endswith(".mjpg") and self.server.stream is not None:
            self._watch(path.removeprefix("/live/").removesuffix(".mjpg"), body=body)
        else:
            self._send(self.server.answer(path), body=body)

    def _meant(self) -> bool:
        """Tell whether a question is for us: on loopback a foreign name is that of a page of somebody else's.

        A browser would let that page read the answers, since to it they come from the page's own site.
        """
        host = self.headers.get("Host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return not name or is_loopback(name) or not is_loopback(str(self.server.server_address[0]))

    def _send(self, page: Page, *, body: bool) -> None:
        self.send_response(page.status)
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(page.body)))
        self._end_headers()
        if body:
            self.wfile.write(page.body)

    def _end_headers(self) -> None:
        for name, value in _SAFE:
            self.send_header(name, value)
        self.end_headers()

    def _watch(self, name: str, *, body: bool) -> None:
        stream = self.server.stream
        if stream is None:
            return
        try:
            with stream(name) as pictures:
                self.server.make_room(self.request)
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={BOUNDARY}")
                self._end_headers()
                self.wfile.write(f"--{BOUNDARY}\r\n".encode())
                for jpeg in pictures if body else ():
                    if self.server.stop.is_set():
                        return
                    self._send_picture(jpeg)
        except NoStreamError as error:
            self._send(json_page(error.status, {"error": str(error)}), body=body)

    def _send_picture(self, jpeg: bytes) -> None:
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        # the boundary at once: a browser shows a picture when it knows that it is over
        self.wfile.write(head.encode() + jpeg + f"\r\n--{BOUNDARY}\r\n".encode())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no question, in JSON, without quoting it."""
        del message, explain
        self.close_connection = True
        self.request_version = "HTTP/1.0"  # else what has no version gets no headers
        told = {"error": "expected GET or HEAD" if code == 501 else HTTPStatus(code).phrase}
        with suppress(OSError):
            self._send(Page(code, "application/json", json.dumps(told).encode() + b"\n"), body=True)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: a scrape each few seconds is no event."""
