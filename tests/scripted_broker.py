"""A broker that does what a test wants: it refuses, or breaks the connection over, whatever the test says."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from typing_extensions import Self

CUT = -1  # in place of an answer: the connection ends, without a word
SILENT = -2  # no answer
_CONNECT, _PUBLISH, _SUBSCRIBE, _PINGREQ, _DISCONNECT = 1, 3, 8, 12, 14


class ScriptedBroker:
    """Speaks as much MQTT 5 as a line needs. `judge` is told topic and payload and returns a PUBACK's reason code.

    CUT and SILENT stand for none. A judge that returns (CUT, code) has the broker say so in a DISCONNECT first. Taken
    messages are in `messages`, in order; `connections` counts who connected. It forgets every session.
    """

    def __init__(self, judge: Callable[[str, bytes], int | tuple[int, int]] = lambda *_: 0) -> None:
        self.judge = judge
        self.messages: list[tuple[str, bytes]] = []
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, name="scripted broker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End every connection, as a bad link does."""
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def payloads(self, topic: str) -> list[bytes]:
        """Return what was taken of a topic."""
        return [payload for of, payload in list(self.messages) if of == topic]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        self._open.add(connection)
        with connection, connection.makefile("rb") as stream, suppress(OSError):
            while head := stream.read(1):
                size, shift = 0, 0
                while True:
                    (byte,) = stream.read(1)
                    size, shift = size | (byte & 0x7F) << shift, shift + 7
                    if byte < 0x80:
                        break
                if not self._answer(connection, head[0], stream.read(size)):
                    break
        self._open.discard(connection)

    def _answer(self, connection: socket.socket, head: int, body: bytes) -> bool:
        kind = head >> 4
        if kind == _CONNECT:
            self.connections += 1
            connection.sendall(b"\x20\x03\x00\x00\x00")
        elif kind == _SUBSCRIBE:
            connection.sendall(b"\x90\x04" + body[:2] + b"\x00\x01")
        elif kind == _PINGREQ:
            connection.sendall(b"\xd0\x00")
        elif kind == _PUBLISH:
            return self._publish(connection, (head >> 1) & 3, body)
        return kind != _DISCONNECT

    def _publish(self, connection: socket.socket, qos: int, body: bytes) -> bool:
        (length,) = struct.unpack(">H", body[:2])
        topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
        packet, rest = (rest[:2], rest[2:]) if qos else (b"", rest)
        size, shift, used = 0, 0, 0
        while True:
            byte, used = rest[used], used + 1
            size, shift = size | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                break
        payload = rest[used + size :]
        verdict = self.judge(topic, payload)
        code, told = verdict if isinstance(verdict, tuple) else (verdict, None)
        if code == CUT:
            if told is not None:
                connection.sendall(bytes([0xE0, 1, told]))
            return False
        if code != SILENT:
            if code < 0x80:
                self.messages.append((topic, payload))
            if qos:
                connection.sendall(b"\x40\x04" + packet + bytes([code, 0]))
        return True
