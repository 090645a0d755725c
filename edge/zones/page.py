"""The page on which an engineer draws zones onto a picture: served to this machine alone, until it is ended.

The address has a secret in its path, which another page in the same browser does not know. The server answers to the
names of loopback alone.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from typing_extensions import Self

from edge.errors import LinewatchError, StoreError
from edge.strict_json import parse_json
from edge.web.page import FOOT, STYLE, escaped, head

BYTES_AT_MOST = 1_000_000
_DROPPED_AT_ONCE = 65_536
_READ_WITHIN_S = 10.0
_POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Content-Security-Policy": f"{_POLICY}; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_OWN_STYLE = """
main { max-width: 1500px; }
#sheet { position: relative; margin-top: 12px; border: 1px solid var(--line); background: #222; touch-action: none; }
#sheet img { width: 100%; } #sheet svg { position: absolute; inset: 0; width: 100%; height: 100%; cursor: crosshair; }
#sheet polygon, #sheet polyline { fill: rgba(0, 220, 90, .2); stroke: #00dc5a; stroke-width: 2;
  vector-effect: non-scaling-stroke; }
#sheet polygon.ignored { fill: rgba(235, 60, 50, .35); stroke: #eb3c32; }
#sheet polygon.chosen { stroke-width: 4; } #sheet polyline { fill: none; }
.tools { display: flex; flex-wrap: wrap; gap: 10px; align-items: center; margin-top: 12px; }
button, input { font: inherit; padding: 6px 12px; } button[aria-pressed=true] { background: #1c2733; color: #fff; }
#told { min-height: 1.5em; } #told.bad { color: var(--bad); } #told.good { color: var(--good); }
#list { padding: 0; list-style: none; } #list li { display: flex; gap: 10px; align-items: center; margin: 4px 0; }
"""


def page_html(title: str, what: str) -> str:
    """Return the page, which takes its picture and zones from beside itself."""
    return (
        head(title, STYLE + _OWN_STYLE, _POLICY)
        + f"""<h1>{escaped(title)}</h1>
<p class="soft">{escaped(what)}</p>
<div class="tools" role="toolbar" aria-label="Tools">
<button id="rectangle" aria-pressed="true">Rectangle</button>
<button id="polygon" aria-pressed="false">Polygon</button>
<span id="how" class="soft"></span>
<button id="save">Save</button>
</div>
<p id="told" role="status"></p>
<ul id="list" aria-label="Zones"></ul>
<div id="sheet"><img id="picture" src="picture.png" alt="What the camera sees">
<svg id="drawing" preserveAspectRatio="none" role="img" aria-label="The zones"></svg></div>
<script src="zones.js"></script>"""
        + FOOT
    )


class ZonesPage:
    """Serves one page on loopback. `zones`: what is drawn already; `save` takes what was drawn and says what it did.

    `save` raises LinewatchError for what it refuses. Entering begins to listen, leaving ends it. Raises StoreError
    where the port is taken.
    """

    def __init__(
        self, html: str, picture_png: bytes, zones: Mapping[str, Any], save: Callable[[Any], str], port: int = 0
    ) -> None:
        script = (Path(__file__).parent / "static" / "zones.js").read_bytes()
        self._files = {
            "": ("text/html; charset=utf-8", html.encode()),
            "picture.png": ("image/png", picture_png),
            "zones.js": ("text/javascript; charset=utf-8", script),
            "zones.json": ("application/json", json.dumps(zones).encode()),
        }
        self._secret = secrets.token_urlsafe(16)
        try:
            self._server = _Server(("127.0.0.1", port), self._secret, self._files, save)
        except OSError as error:
            raise StoreError(
                f"No page can be served at 127.0.0.1:{port}: {error.strerror or error}. Name another --port"
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="zones page", daemon=True)

    @property
    def url(self) -> str:
        """Tell where the page is; anybody who knows it may draw."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{self._secret}/"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        secret: str,
        files: Mapping[str, tuple[str, bytes]],
        save: Callable[[Any], str],
    ) -> None:
        super().__init__(address, _Handler)
        self.secret, self.files, self.save = secret, files, save
        self.saving = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _READ_WITHIN_S
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "linewatch", ""

    def _name(self) -> str | None:
        """Return what is asked for; None where it is not for this page, or not from this machine's own name."""
        host = self.headers.get("Host", "")
        own = f"127.0.0.1:{self.server.server_address[1]}", f"localhost:{self.server.server_address[1]}"
        _, secret, *rest = [*self.path.partition("?")[0].split("/"), ""]
        if host not in own or not secrets.compare_digest(secret.encode(), self.server.secret.encode()):
            return None
        return "/".join(rest[:-1])

    def do_GET(self) -> None:
        """Give one of the page's own files."""
        name = self._name()
        if self.path == "/favicon.ico":  # every browser asks for one
            self._answer(HTTPStatus.NO_CONTENT, "image/x-icon", b"")
            return
        if name is None or name not in self.server.files:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"no such page\n")
            return
        self._answer(HTTPStatus.OK, *self.server.files[name])

    def do_POST(self) -> None:
        """Take what was drawn."""
        length, origin = self.headers.get("Content-Length", ""), self.headers.get("Origin")
        same = origin is None or urlsplit(origin).netloc == self.headers.get("Host")
        if self._name() != "zones.json" or not same:
            self._drop(length)
            self._told(HTTPStatus.NOT_FOUND, "no such page")
        elif not (length.isascii() and length.isdecimal() and int(length) <= BYTES_AT_MOST):
            self._drop(length)
            self._told(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {BYTES_AT_MOST:,} bytes")
        else:
            try:
                given = parse_json(self.rfile.read(int(length)))
                with self.server.saving:
                    told = self.server.save(given)
            except (LinewatchError, ValueError) as error:
                self._told(HTTPStatus.BAD_REQUEST, str(error))
            else:
                self._told(HTTPStatus.OK, told)

    def _drop(self, length: str) -> None:
        """Read what is not taken: to a client that is still sending, an answer before its end is a broken pipe."""
        left = int(length) if length.isascii() and length.isdecimal() and len(length) < 9 else 0
        while left > 0 and (dropped := self.rfile.read(min(left, _DROPPED_AT_ONCE))):
            left -= len(dropped)

    def _told(self, status: HTTPStatus, told: str) -> None:
        self.close_connection = status is not HTTPStatus.OK  # its body may be unread
        self._answer(status, "application/json", json.dumps({"told": told}).encode())

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's own name
        """Log nothing: the address is a secret."""
