"""Commands from the device's own shell: a Unix socket beside the store, that its owner alone may open.

One line of JSON each way: `{"command": "ack", "body": {…}}`, answered by `{"outcome": "ok", "detail": ""}`. What comes
is put where MQTT's commands wait, so the loop obeys both alike.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.commands.requests import MAX_BYTES, CommandOutcome
from edge.errors import CommandError, StoreError
from edge.records import Received

_log = logging.getLogger(__name__)

ANSWER_S = 5.0
_HEAR_S = 2.0
_LOOK_S = 0.2

Put = Callable[[Received, Callable[[CommandOutcome, str], None]], None]


def socket_path(store: Path) -> Path:
    """Return where the line that runs on this store listens."""
    return store.with_name(f"{store.name}.sock")


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Yield a name for `path` that is short enough for a socket's address, whose limit is 108 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class CommandSocket:
    """Listens beside `store`, in a thread of its own, and hands what comes to `put`, with a way to answer.

    `root`: what the line's topics begin with. The socket has mode 0600: who may open it may give commands.
    `answer_s`: for how long a command waits for the loop. Entering raises StoreError where there can be no socket.
    """

    def __init__(self, store: Path, root: str, put: Put, *, answer_s: float = ANSWER_S) -> None:
        self._path = socket_path(store)
        self._answer_s = answer_s
        self._root = root
        self._put = put
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # the mode that the file gets when it is bound, so that there is no moment when others may open it
            os.fchmod(self._socket.fileno(), 0o600)
            with _address(self._path) as address:
                self._path.unlink(missing_ok=True)  # of a line that was killed: ours alone is running on this store
                self._socket.bind(address)
            self._socket.listen(8)
            self._socket.settimeout(_LOOK_S)
        except OSError as error:
            self._socket.close()
            raise StoreError(
                f"The socket {self._path} for commands cannot be made: {error.strerror or error}. "
                "Expected a folder that this user may write; name another with the key store.path"
            ) from error
        self._thread = threading.Thread(target=self._listen, name="command socket", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._answer_s + _HEAR_S + 1)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                caller, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError as error:
                _log.warning("The socket for commands fails: %s", error)
                self._stop.wait(_LOOK_S)
                continue
            with caller:
                try:
                    self._serve(caller)
                except OSError as error:
                    _log.warning("A command of the shell was not heard to its end: %s", error)

    def _serve(self, caller: socket.socket) -> None:
        caller.settimeout(_HEAR_S)
        answer = self._answer(_line_of(caller))
        caller.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, str]:
        try:
            asked = json.loads(line)
            name, body = asked["command"], json.dumps(asked["body"]).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"outcome": "invalid", "detail": "expected one line of JSON with a command and a body"}
        answered: list[dict[str, str]] = []
        ready = threading.Event()

        def reply(outcome: CommandOutcome, detail: str) -> None:
            answered.append({"outcome": outcome, "detail": detail})
            ready.set()

        self._put(Received(f"{self._root}/cmd/{name}", body, expiry_s=math.ceil(self._answer_s)), reply)
        if not ready.wait(self._answer_s):
            return {"outcome": "no_answer", "detail": f"the line did not come to it within {self._answer_s:g} s"}
        return answered[0]


def _line_of(caller: socket.socket) -> bytes:
    """Read up to the end of a line, or MAX_BYTES and a little more."""
    heard = b""
    while not heard.endswith(b"\n") and len(heard) <= MAX_BYTES + 1000:
        part = caller.recv(4096)
        if not part:
            break
        heard += part
    return heard


def tell(store: Path, command: str, body: dict[str, Any]) -> tuple[str, str]:
    """Give a command to the line that runs on this store; return its outcome and what is said of it.

    Raises CommandError where none runs, where this user may not, or where it does not answer.
    """
    path = socket_path(store)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, _address(path) as address:
            line.settimeout(ANSWER_S + 2 * _HEAR_S)
            line.connect(address)
            line.sendall(json.dumps({"command": command, "body": body}).encode() + b"\n")
            answer = json.loads(_line_of(line))
            return str(answer["outcome"]), str(answer["detail"])
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise CommandError(
            f"No line runs on the store {store}: nothing listens at {path}. Start it with `linewatch run`, or name the "
            "settings of the line that runs"
        ) from error
    except PermissionError as error:
        raise CommandError(
            f"The line on the store {store} takes commands from its own user only. Ask as that user, e.g. with "
            "sudo -u linewatch"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"The line on the store {store} does not answer: {error or type(error).__name__}. See whether it is stuck: "
            "journalctl -u linewatch"
        ) from error
