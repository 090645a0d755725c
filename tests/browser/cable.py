"""A cable that can be cut: a TCP proxy that goes silent, with connections left open as a pulled plug leaves them."""

from __future__ import annotations

import selectors
import socket
import threading
from types import TracebackType

from typing_extensions import Self

_STEP_S = 0.05


class Cable:
    """Leads a free port of loopback to `port`. After `cut` nothing passes and nobody is told; `mend` ends that.

    Bytes in the cable at its cut are lost: connections of before are dead for good.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ, None)
        self._dead: list[socket.socket] = []
        self._is_cut = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(120)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr] # the test knows which of the union
        for each in self._dead:
            each.close()
        self._selector.close()

    def cut(self) -> None:
        """Let nothing pass."""
        self._is_cut.set()

    def mend(self) -> None:
        """Let new connections pass."""
        self._is_cut.clear()

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(_STEP_S):
                if key.fileobj is self._listening:
                    self._accept()
                else:
                    self._pass(key.fileobj, key.data)  # type: ignore[arg-type]
            if self._is_cut.is_set():
                self._leave()

    def _accept(self) -> None:
        near, _ = self._listening.accept()
        if self._is_cut.is_set():
            self._dead.append(near)
            return
        far = socket.create_connection(("127.0.0.1", self._to))
        self._selector.register(near, selectors.EVENT_READ, far)
        self._selector.register(far, selectors.EVENT_READ, near)

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        try:
            data = source.recv(65_536)
            if data:
                target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (source, target):
                self._selector.unregister(each)
                each.close()

    def _leave(self) -> None:
        """Forget every connection without a word to either end."""
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._listening:
                self._selector.unregister(key.fileobj)
                self._dead.append(key.fileobj)  # type: ignore[arg-type]
