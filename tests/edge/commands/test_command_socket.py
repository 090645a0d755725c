"""Commands from the device's own shell: who may give them, and what becomes of nonsense."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge.commands.requests import MAX_BYTES, Acknowledge, CommandOutcome, Inbox
from edge.commands.socket import CommandSocket, ask, socket_path, tell
from edge.errors import CommandError, StoreError
from edge.records import Received
from tests.brokers import wait_for
from tests.edge.commands.test_commands import ACK, ROOT


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store whose path is longer than a socket's address may be."""
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    return folder / "outbox.db"


@pytest.fixture
def inbox() -> Inbox:
    """Return what commands wait in."""
    return Inbox(ROOT)


@pytest.fixture
def line(store: Path, inbox: Inbox) -> Iterator[CommandSocket]:
    """Listen beside the store, and obey as a loop would: an acknowledgement is acknowledged."""
    stop = threading.Event()

    def obey() -> None:
        while not stop.wait(0.005):
            for command in inbox.take():
                assert command.reply is not None
                obeyed = isinstance(command.body, Acknowledge)
                command.reply("ok" if obeyed else command.outcome, command.problem)

    loop = threading.Thread(target=obey)
    loop.start()
    with CommandSocket(store, ROOT, inbox.put) as listening:
        yield listening
    stop.set()
    loop.join()


def raw(store: Path, sent: bytes) -> dict[str, str]:
    """Send bytes to the socket and return what comes back."""
    folder = os.open(store.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
            caller.settimeout(120)
            caller.connect(f"/proc/self/fd/{folder}/{socket_path(store).name}")
            caller.sendall(sent)
            caller.shutdown(socket.SHUT_WR)
            answer: dict[str, str] = json.loads(caller.recv(65_536))
            return answer
    finally:
        os.close(folder)


@pytest.mark.usefixtures("line")
def test_a_command_is_told_and_answered(store: Path) -> None:
    """The line's answer comes back, as often as it is asked."""
    for _ in range(3):
        assert tell(store, "ack", ACK) == ("ok", "")
    outcome, detail = tell(store, "ack", ACK | {"occurrence_id": "7"})
    assert outcome == "invalid"
    assert "occurrence_id" in detail
    assert tell(store, "dance", {})[0] == "unknown_command"


@pytest.mark.usefixtures("line")
def test_only_its_owner_may_command(store: Path) -> None:
    """The socket has mode 0600 whatever the umask is."""
    mode = socket_path(store).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.usefixtures("line")
@pytest.mark.parametrize(
    "sent",
    [b"", b"\n", b"{}\n", b"[" * 5000 + b"\n", b'{"command": "ack"}\n', b"\xff\xfe\n", b"x" * (MAX_BYTES + 2000)],
)
def test_nonsense_is_refused_and_the_line_listens_on(store: Path, sent: bytes) -> None:
    """The next command is obeyed, whatever is written into the socket."""
    assert raw(store, sent)["outcome"] == "invalid"
    assert tell(store, "ack", ACK)[0] == "ok"


def test_where_no_line_runs_the_shell_is_told_so(store: Path, inbox: Inbox) -> None:
    """Never started, stopped, and killed so that its socket is left behind."""
    with pytest.raises(CommandError, match="No line runs on the store"):
        tell(store, "ack", ACK)
    with CommandSocket(store, ROOT, inbox.put):
        pass
    assert not socket_path(store).exists()
    with socket.socket(socket.AF_UNIX) as left:
        folder = os.open(store.parent, os.O_PATH)
        left.bind(f"/proc/self/fd/{folder}/{socket_path(store).name}")
        os.close(folder)
    with pytest.raises(CommandError, match="No line runs on the store"):
        tell(store, "ack", ACK)
    with CommandSocket(store, ROOT, inbox.put):  # the next line takes the place of the killed one
        pass


def test_a_line_that_is_stuck_is_said_to_be(store: Path) -> None:
    """The shell does not wait for ever for a loop that does not turn."""
    heard: list[Received] = []

    def put(received: Received, _reply: Callable[[CommandOutcome, str], None], _account: str) -> None:
        heard.append(received)

    with CommandSocket(store, ROOT, put, answer_s=0.2):
        assert tell(store, "ack", ACK) == ("no_answer", "the line did not come to it within 0.2 s")
    assert heard[0].topic == f"{ROOT}/cmd/ack"


def test_who_gave_a_command_is_what_the_kernel_says(store: Path) -> None:
    """A command comes with the account at the other end, whatever user its body names."""
    given: list[str] = []

    def put(_received: Received, reply: Callable[[CommandOutcome, str], None], account: str) -> None:
        given.append(account)
        reply("ok", "")

    with CommandSocket(store, ROOT, put):
        assert tell(store, "ack", ACK | {"user": "somebody else"}) == ("ok", "")
    assert given == [f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()}, pid {os.getpid()})"]


QUESTIONS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "none such": (lambda _: 1 / 0, "does not tell its other: unknown"),
    "without a key": (lambda body: body["limit"], "KeyError: 'limit'"),
    "of a disk that fails": (lambda _: (_ for _ in ()).throw(StoreError("no disk")), "failed no disk"),
}


@pytest.mark.parametrize(("answer", "said"), QUESTIONS.values(), ids=QUESTIONS)
def test_a_question_that_cannot_be_answered_says_why(
    store: Path, answer: Callable[[dict[str, Any]], Any], said: str
) -> None:
    """The shell gets a reason, and the socket goes on to answer."""
    asked = "other" if "other" in said else "journal"

    def put(_received: Received, reply: Callable[[CommandOutcome, str], None], _account: str) -> None:
        reply("unknown_command", "")

    with CommandSocket(store, ROOT, put, questions={"journal": answer, "status": lambda body: body | {"up": True}}):
        with pytest.raises(CommandError, match=said):
            ask(store, asked)
        assert ask(store, "status", {"name": "half\ud83d"}) == {"name": r"half\ud83d", "up": True}
        assert raw(store, b'{"command": "status", "body": []}')["outcome"] == "invalid"
        assert raw(store, b'{"command": ["status"], "body": {}}')["outcome"] in {"unknown_command", "invalid"}


def answers(store: Path) -> bool:
    """Tell whether the line is asked and answers; the name of a socket is there a moment before it listens."""
    try:
        return ask(store, "status") == "here"
    except CommandError:
        return False


def test_a_socket_that_somebody_removed_is_made_again(store: Path) -> None:
    """Removed, or replaced by a file, it is there again within moments, for its owner alone."""
    with CommandSocket(store, ROOT, lambda *_: None, questions={"status": lambda _: "here"}):
        for replaced in (False, True):
            socket_path(store).unlink()
            if replaced:
                socket_path(store).write_text("no socket")
            wait_for(lambda: socket_path(store).is_socket())
            assert stat.S_IMODE(socket_path(store).stat().st_mode) == 0o600
            wait_for(lambda: answers(store))
