"""Live pictures of a station, fetched from its own server (`monitoring`) while somebody watches, and passed on.

A browser gets no address of a station. A card whose station gives nothing says so in place of its last picture.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from urllib.parse import urlsplit

NOTHING_S = 3.0  # after so long without a picture a card is shown
AGAIN_S = 2.0  # between two attempts to reach the station
JPEG_AT_MOST = 1_000_000
_LINE_AT_MOST = 1_000
_LENGTH = re.compile(rb"content-length:\s*([0-9]{1,8})\s*", re.IGNORECASE)
_JPEG = b"\xff\xd8\xff"


class NoPictureError(Exception):
    """There is no picture just now; its text says why."""


async def pictures(base: str, camera: str) -> AsyncGenerator[bytes | str, None]:
    """Yield the JPEGs of a camera as they come, and in their place why there is none; for ever.

    `base`: where the station serves, as `http://127.0.0.1:9464`. `camera`: a name of the settings' own kind.
    """
    parts = urlsplit(base)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    while True:
        try:
            async with aclosing(_connected(host, port, camera)) as found:
                async for jpeg in found:
                    yield jpeg
            why = "the station ended the pictures"
        except NoPictureError as error:
            why = str(error)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
            why = getattr(error, "strerror", None) or "the connection broke"
        yield f"no live pictures from the station: {why}"
        await asyncio.sleep(AGAIN_S)


async def _connected(host: str, port: int, camera: str) -> AsyncGenerator[bytes | str, None]:
    """Yield what one connection gives, until it ends."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port, limit=1 << 16), NOTHING_S)
    try:
        writer.write(f"GET /live/{camera}.mjpg HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        await writer.drain()
        status = await asyncio.wait_for(_line(reader), NOTHING_S)
        await asyncio.wait_for(_headers(reader), NOTHING_S)
        words = status.split(b" ", 2)
        if len(words) < 2 or words[1] != b"200":
            raise NoPictureError(_SAID.get(words[1] if len(words) > 1 else b"", "it refuses"))
        while True:
            length = await _next_part(reader)
            if length is None:
                yield "the camera gives nothing"
                continue
            jpeg = await asyncio.wait_for(reader.readexactly(length), NOTHING_S)
            if not jpeg.startswith(_JPEG):
                raise NoPictureError("it sends what is no picture")
            yield jpeg
    except asyncio.TimeoutError as error:
        raise NoPictureError("it does not answer") from error
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


_SAID = {b"404": "it has no such camera", b"503": "as many watch already as may"}


async def _next_part(reader: asyncio.StreamReader) -> int | None:
    """Return the length of the next picture; None where none came for a while. Raises what ends a connection."""
    try:
        first = await asyncio.wait_for(_line(reader), NOTHING_S)
    except asyncio.TimeoutError:
        return None
    headers = [first, *await asyncio.wait_for(_headers(reader), NOTHING_S)]
    lengths = [int(found[1]) for line in headers if (found := _LENGTH.fullmatch(line))]
    if len(lengths) != 1 or not 0 < lengths[0] <= JPEG_AT_MOST:
        raise NoPictureError("it sends what is no picture")
    return lengths[0]


async def _headers(reader: asyncio.StreamReader) -> list[bytes]:
    """Read lines up to an empty one that follows others."""
    found: list[bytes] = []
    while line := await _line(reader):
        found.append(line)
        if len(found) > 50:
            raise NoPictureError("it sends what is no picture")
    return found


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readuntil(b"\n")
    if len(line) > _LINE_AT_MOST:
        raise NoPictureError("it sends what is no picture")
    return line.strip()
