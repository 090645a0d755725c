"""Live pictures through the dashboard: from a running station to who watches, and never an old one left standing."""

from __future__ import annotations

import asyncio
import http.client
import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.dashboard.live_pictures import pictures
from edge.dashboard.screens.live import BOUNDARY
from edge.opencv import cv2
from tests.brokers import HOST, Mosquitto, free_port, wait_for
from tests.edge.dashboard.stations import PLACE, bench
from tests.edge.dashboard.test_dashboard_command import serving
from tests.edge.station.test_monitoring import one
from tests.edge.station.test_run import ALARM, running, write_line

STATION = "enterprise/site/area/line/cell"
CARD, FRAME = (240, 640), (100, 150)


@contextmanager
def watching(url: str, path: str) -> Iterator[Iterator[Any]]:
    """Open a stream of the dashboard, and give its pictures, opened."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    with closing(connection):
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["content-type"] == f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        yield _shown(answer)


def _shown(answer: http.client.HTTPResponse) -> Iterator[Any]:
    while True:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += answer.read(1)
        found = re.search(rb"Content-Length: (\d+)", head)
        assert found is not None
        yield cv2.imdecode(np.frombuffer(answer.read(int(found[1])), np.uint8), cv2.IMREAD_COLOR)


def test_they_come_from_the_station_and_go_with_it(tmp_path: Path) -> None:
    """The page shows the camera's frames; a station that ends leaves a card, and one that is back its frames."""
    port = free_port()
    with Mosquitto(tmp_path) as broker:
        config = write_line(tmp_path, broker.port, f"{ALARM}monitoring: {{port: {port}}}\n")
        with serving(config) as (_, url), running(config) as line:
            wait_for(lambda: f"/watch/camera/{STATION}" in _page(url, f"/station/{STATION}"))
            page = _page(url, f"/watch/camera/{STATION}")
            assert f'<img src="/pictures/camera/{STATION}"' in page
            with watching(url, f"/pictures/camera/{STATION}") as shown:
                wait_for(lambda: next(shown).shape[:2] == FRAME)
                wait_for(lambda: one(port, "live_viewers") == 1)
                line.send_signal(signal.SIGTERM)
                line.communicate(timeout=120)
                wait_for(lambda: next(shown).shape[:2] == CARD)
                with running(config):
                    wait_for(lambda: next(shown).shape[:2] == FRAME)
                    with watching(url, f"/pictures/nobody/{STATION}") as nobody:
                        assert next(nobody).shape[:2] == CARD
                    wait_for(lambda: one(port, "live_viewers") == 1)


def _page(url: str, path: str) -> str:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def test_a_station_without_them_says_so(tmp_path: Path) -> None:
    """Without an address the page says which keys lack. A name that is none, or an unknown station, is not found."""
    with bench(tmp_path) as site:
        site.online()
        assert "serves no live pictures" in site.browser.get(f"/watch/top/{PLACE}").text
        for path in (
            f"/pictures/top/{PLACE}",
            f"/watch/a%20b/{PLACE}",
            "/watch/top/no/such/place/at/all",
            "/pictures/a/b",
        ):
            assert site.browser.get(path).status_code == 404, path


ANSWERS = {
    "refuses": (b"HTTP/1.0 503 no\r\n\r\n", "as many watch already as may"),
    "is no station": (b"HTTP/1.1 200 OK\r\n\r\n<html>\r\n\r\n", "it sends what is no picture"),
    "sends no JPEG": (
        b"HTTP/1.0 200 OK\r\n\r\n--x\r\nContent-Length: 5\r\n\r\nhello\r\n--x\r\n",
        "it sends what is no picture",
    ),
    "sends too much": (
        b"HTTP/1.0 200 OK\r\n\r\n--x\r\nContent-Length: 99999999\r\n\r\n",
        "it sends what is no picture",
    ),
    "sends a line without end": (b"HTTP/1.0 200 OK\r\n" + b"x" * 200_000, "the connection broke"),
    "ends": (b"", "the connection broke"),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_what_is_no_station_is_told(what: str) -> None:
    """A server that refuses, ends, or sends anything but pictures gives a reason and no picture."""
    answer, why = ANSWERS[what]

    async def first() -> bytes | str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, HOST, 0)
        async with server:
            found = pictures(f"http://{HOST}:{server.sockets[0].getsockname()[1]}", "top")
            told = await anext(found)
            await found.aclose()
            return told

    told = asyncio.run(first())
    assert isinstance(told, str)
    assert told == f"no live pictures from the station: {why}"
