"""Commands and questions from the device's own shell: a Unix socket beside the store, that its owner alone may open.

One line of JSON each way: `{"command": "ack", "body": {…}}`, answered by `{"outcome": "ok", "detail": ""}`. A command
is put where MQTT's commands wait, so the loop obeys both alike. A question, such as `status`, is answered at once, also
by a line whose loop is stuck: `{"outcome": "ok", "detail": "", "told": {…}}`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import pwd
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.commands.requests import MAX_BYTES, CommandOutcome
from edge.errors import CommandError, LinewatchError, StoreError
from edge.printable import as_json
from edge.records import Received

_log = logging.getLogger(__name__)

ANSWER_S = 5.0
_HEAR_S = 2.0
_LOOK_S = 0.2
_TOLD_BYTES = 16_000_000  # of an answer

Put = Callable[[Received, Callable[[CommandOutcome, str], None], str], None]
Question = Callable[[dict[str, Any]], Any]


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
    """Listens beside `store`, in a thread of its own, and hands commands to `put`.

    Each comes with a way to answer and an account. `root`: the beginning of the line's topics. `questions`: the
    callable that answers each, by its name, from this thread; it may raise LinewatchError. The socket has mode 0600:
    who may open it may give commands. It is made again where somebody removed it. `answer_s`: so long a command waits
    for the loop. Entering raises StoreError where there can be no socket.
    """

    def __init__(
        self,
        store: Path,
        root: str,
        put: Put,
        *,
        questions: Mapping[str, Question] | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._path = socket_path(store)
        self._answer_s = answer_s
        self._root = root
        self._put = put
        self._questions = questions or {}
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        try:
            self._open()
        except OSError as error:
            raise StoreError(
                f"The socket {self._path} for commands cannot be made: {error.strerror or error}. "
                "Expected a folder that this user may write; name another with the key store.path"
            ) from error
        self._thread = threading.Thread(target=self._listen, name="command socket", daemon=True)
        self._thread.start()
        return self

    def _open(self) -> None:
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            # the file gets this mode when it is bound, so that others may open it at no moment
            os.fchmod(listening.fileno(), 0o600)
            with _address(self._path) as address:
                self._path.unlink(missing_ok=True)  # of a line that was killed: ours alone is running on this store
                listening.bind(address)
            listening.listen(8)
            listening.settimeout(_LOOK_S)
            self._inode = self._path.lstat().st_ino
        except OSError:
            listening.close()
            raise
        self._socket = listening

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(self._answer_s + _HEAR_S + 1)
        self._socket.close()
        with contextlib.suppress(OSError):  # the folder may be gone
            self._path.unlink(missing_ok=True)

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                caller, _ = self._socket.accept()
            except TimeoutError:
                self._open_again()
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
                except Exception:  # noqa: BLE001 - one caller's trouble silences no other
                    _log.exception("A command of the shell could not be answered")

    def _open_again(self) -> None:
        """Make the socket again where its file is gone, or is another's."""
        with contextlib.suppress(OSError):  # as when the folder is gone; it is looked at again
            try:
                if self._path.lstat().st_ino == self._inode:
                    return
            except FileNotFoundError:
                pass
            before = self._socket
            self._open()
            before.close()
            _log.warning("The socket %s was removed; it is there again", self._path)

    def _serve(self, caller: socket.socket) -> None:
        caller.settimeout(_HEAR_S)
        answer = self._answer(_line_of(caller), _account_of(caller))
        caller.sendall(as_json(answer).encode() + b"\n")

    def _answer(self, line: bytes, account: str) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            name, given = asked["command"], asked["body"]
            body = json.dumps(given).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"outcome": "invalid", "detail": "expected one line of JSON with a command and a body"}
        question = self._questions.get(name) if isinstance(name, str) else None
        if question is not None:
            return _told(question, given)
        answered: list[dict[str, str]] = []
        ready = threading.Event()

        def reply(outcome: CommandOutcome, detail: str) -> None:
            answered.append({"outcome": outcome, "detail": detail})
            ready.set()

        received = Received(f"{self._root}/cmd/{name}", body, expiry_s=math.ceil(self._answer_s))
        self._put(received, reply, account)
        if not ready.wait(self._answer_s):
            return {"outcome": "no_answer", "detail": f"the line did not come to it within {self._answer_s:g} s"}
        return dict(answered[0])


def _told(question: Question, given: Any) -> dict[str, Any]:
    if not isinstance(given, dict):
        return {"outcome": "invalid", "detail": "expected a body with keys and values"}
    try:
        return {"outcome": "ok", "detail": "", "told": question(given)}
    except (KeyError, TypeError, ValueError) as error:
        return {"outcome": "invalid", "detail": f"{type(error).__name__}: {error}"}
    except LinewatchError as error:
        return {"outcome": "failed", "detail": str(error)}


def _account_of(caller: socket.socket) -> str:
    """Say which account of the device is at the other end, as the kernel knows it: `anna (uid 1000, pid 4711)`."""
    pid, uid, _ = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "without a name"
    return f"{name} (uid {uid}, pid {pid})"


def _line_of(caller: socket.socket, at_most: int = MAX_BYTES + 1000) -> bytes:
    """Read up to the end of a line, or a little more than `at_most` bytes."""
    heard = bytearray()
    while not heard.endswith(b"\n") and len(heard) <= at_most:
        part = caller.recv(65_536)
        if not part:
            break
        heard += part
    return bytes(heard)


def tell(store: Path, command: str, body: dict[str, Any]) -> tuple[str, str]:
    """Give a command to the line that runs on this store; return its outcome and what is said of it.

    Raises CommandError where none runs, where this user may not, or where it does not answer.
    """
    answer = _asked(store, command, body)
    return answer["outcome"], answer["detail"]


def ask(store: Path, question: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the line that runs on this store; return what it tells.

    Raises CommandError where none runs, where this user may not, or where it does not answer.
    """
    answer = _asked(store, question, body or {})
    if answer["outcome"] != "ok" or "told" not in answer:
        raise CommandError(
            f"The line on the store {store} does not tell its {question}: {answer['outcome']} {answer['detail']}"
        )
    return answer["told"]


def _asked(store: Path, command: str, body: dict[str, Any]) -> dict[str, Any]:
    path = socket_path(store)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line, _address(path) as address:
            line.settimeout(ANSWER_S + 2 * _HEAR_S)
            line.connect(address)
            line.sendall(json.dumps({"command": command, "body": body}).encode() + b"\n")
            answer: dict[str, Any] = json.loads(_line_of(line, _TOLD_BYTES))
            return answer | {"outcome": str(answer["outcome"]), "detail": str(answer["detail"])}
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
