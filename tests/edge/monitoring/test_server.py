"""The small HTTP server: bounded, and silent about what it does not know."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge.monitoring import server as module
from edge.monitoring.server import MOST_CALLERS, MonitoringServer, NoStreamError, Page, json_page
from tests.brokers import HOST, free_port, wait_for

PAGES = {
    "/metrics": lambda: Page(200, "text/plain", b"linewatch 1\n"),
    "/broken": lambda: json_page(200, {1: object()}),
}


@contextmanager
def served(stream: module.Streams | None = None) -> Iterator[int]:
    """Serve PAGES on a free port."""
    port = free_port()
    with MonitoringServer(HOST, port, PAGES, stream) as server:
        assert server.listening.wait(120)
        yield port


def asked(port: int, path: str, method: str = "GET") -> tuple[int, bytes, http.client.HTTPMessage]:
    """Ask once, and return status, body and headers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=120)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.headers


def test_pages_are_answered_and_nothing_else_is() -> None:
    """A page is given to GET, its head to HEAD. Other paths are 404, other methods 501, what fails is 500."""
    with served() as port:
        status, body, headers = asked(port, "/metrics?x=1")
        assert (status, body) == (200, b"linewatch 1\n")
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert asked(port, "/metrics", "HEAD")[:2] == (200, b"")
        for path in ("/", "/../etc/passwd", "/%2e%2e/etc/passwd", "/metrics/", "/live/top.mjpg"):
            assert asked(port, path)[0] == 404, path
        assert asked(port, "/metrics", "POST")[0] == 501
        status, body, _ = asked(port, "/broken")
        assert (status, json.loads(body)) == (500, {"error": "TypeError; the log says more"})


def test_what_is_no_question_is_refused_and_not_repeated() -> None:
    """Nonsense, and lines that are too long, get 400 or 414 without their own words; the server goes on."""
    with served() as port:
        for nonsense in (b"<script>\r\n\r\n", b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"\x00\xff\r\n\r\n"):
            with socket.create_connection((HOST, port), 30) as caller:
                caller.sendall(nonsense)
                answer = b"".join(iter(lambda caller=caller: caller.recv(65_536), b""))  # type: ignore[misc]
            assert b"script" not in answer
        assert asked(port, "/metrics")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("localhost", 200),
        ("[::1]:9464", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example:9464", 421),
    ],
)
def test_a_page_of_somebody_else_reads_nothing_through_a_name_of_its_own(host: str, status: int) -> None:
    """On loopback a question to another name, which was made to lead here, is not answered."""
    with served() as port:
        connection = http.client.HTTPConnection(HOST, port, timeout=120)
        connection.putrequest("GET", "/metrics", skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == status
        assert (b"linewatch" in answer.read()) is (status == 200)


def test_idle_callers_hold_no_place_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers that ask nothing, or drip, take all places only until their time is over."""
    monkeypatch.setattr(module, "ASK_WITHIN_S", 3.0)
    with served() as port:
        idle = [socket.create_connection((HOST, port), 30) for _ in range(MOST_CALLERS + 1)]
        try:
            assert idle[-1].recv(100).startswith(b"HTTP/1.0 503")
            idle[0].sendall(b"GET /metr")
            wait_for(lambda: asked(port, "/metrics")[0] == 200)
        finally:
            for caller in idle:
                caller.close()


def test_a_taken_port_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose port another program has begins to serve when that one is gone."""
    monkeypatch.setattr(module, "AGAIN_EVERY_S", 0.1)
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        server = MonitoringServer(HOST, port, PAGES)
        with server:
            assert not server.listening.wait(0.5)
            other.close()
            assert server.listening.wait(120)
            assert asked(port, "/metrics")[0] == 200


def test_pictures_are_streamed_until_it_ends() -> None:
    """A stream is JPEGs between boundaries; it makes room for others, and ends with the server."""
    stop = threading.Event()

    @contextmanager
    def stream(name: str) -> Iterator[Iterator[bytes]]:
        if name != "top":
            raise NoStreamError(404, "no such camera")

        def pictures() -> Iterator[bytes]:
            while not stop.is_set():
                yield b"jpeg"
                time.sleep(0.01)

        yield pictures()

    with served(stream) as port:
        assert asked(port, "/live/side.mjpg")[0] == 404
        viewers = [http.client.HTTPConnection(HOST, port, timeout=120) for _ in range(MOST_CALLERS + 2)]
        for viewer in viewers:  # each has given up its place once its pictures begin
            viewer.request("GET", "/live/top.mjpg")
            answer = viewer.getresponse()
            assert answer.status == 200
            assert answer.headers["Content-Type"] == f"multipart/x-mixed-replace; boundary={module.BOUNDARY}"
            head = f"--{module.BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: 4\r\n\r\njpeg\r\n".encode()
            assert answer.read(len(head)) == head
        assert asked(port, "/metrics")[0] == 200
    last = viewers[0].sock
    stop.set()
    assert last is None or last.close() is None
