"""A web camera: a real HTTP server that sends JPEGs as multipart/x-mixed-replace, in the ways of real ones. Not a test.

Its pictures are 320 x 240 px, grey. The picture's number n is a bright column at x = 3 n mod 320.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from edge.opencv import cv2

BOUNDARY = "myboundary"
SIGNS_IN = "Basic " + base64.b64encode(b"eye:p@ss").decode()


def jpeg(number: int, comment: bytes = b"") -> bytes:
    """Draw and encode a picture; `comment` stands in it as a JPEG comment."""
    pixels = np.full((240, 320, 3), 90, np.uint8)
    pixels[:, 3 * number % 320] = 230
    encoded = cv2.imencode(".jpg", pixels)[1].tobytes()
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment if comment else b""
    return encoded[:2] + segment + encoded[2:]


@dataclass
class WebCamera:
    """The way it sends. `boundary`: as its header states it; `lengths`: whether each picture has a Content-Length.

    `comment`: in each JPEG. `signs_in`: whether it asks for eye:p@ss. `breaks_at`: the picture that it breaks off in
    its middle, each time. `number`: the next picture.
    """

    boundary: str = BOUNDARY
    lengths: bool = True
    comment: bytes = b""
    signs_in: bool = False
    breaks_at: int | None = None
    fps: float = 40
    number: int = 0
    port: int = 0
    ends: threading.Event = field(default_factory=threading.Event)

    def send(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one viewer until it leaves or the camera ends."""
        if self.signs_in and handler.headers.get("Authorization") != SIGNS_IN:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="camera"')
            handler.end_headers()
            return
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={self.boundary}")
        handler.end_headers()
        mark = "--" + self.boundary.strip('"').removeprefix("--")
        while not self.ends.is_set():
            picture = jpeg(self.number, self.comment)
            length = f"Content-Length: {len(picture)}\r\n" if self.lengths else ""
            head = f"{mark}\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode()
            if self.number == self.breaks_at:
                self.breaks_at = None
                handler.wfile.write(head + picture[: len(picture) // 2])
                return
            handler.wfile.write(head + picture + b"\r\n")
            self.number += 1
            time.sleep(1 / self.fps)


@contextmanager
def web_camera(**how: Any) -> Iterator[WebCamera]:
    """Serve on 127.0.0.1; `port` 0 takes a free one. Leaving ends all connections."""
    camera = WebCamera(**how)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def do_GET(self) -> None:
            with suppress(OSError):
                camera.send(self)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

    with Server(("127.0.0.1", camera.port), Handler) as server:
        camera.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield camera
        finally:
            camera.ends.set()
            server.shutdown()
            thread.join()
