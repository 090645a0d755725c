"""Run a command with no network but loopback.

Count its questions to a name server and what it sends outside. `python tests/alone.py COMMAND…` needs a network and a
mount namespace of its own: see `run_alone`. It prints JSON: `code`, `stdout`, `stderr`, `questions` (names that were
asked for) and `packets` (sent to any address but loopback).
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Alone:
    """The outcome of a command, and what it wanted of the network. `home`: files below its HOME, relative."""

    code: int
    stdout: str
    stderr: str
    questions: list[str]
    packets: int
    home: list[str]


def run_alone(command: Sequence[str], home: Path, *, cwd: Path | None = None, timeout_s: float = 240) -> Alone:
    """Run a command in a network namespace of its own. HOME is `home`, and nothing in the environment speaks of it."""
    as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
    # a variable that switches a maker's telemetry off would prove nothing about us
    told = {"ORT_DISABLE_TELEMETRY", "CI", "TF_BUILD", "JENKINS_URL", "DO_NOT_TRACK", "XDG_CACHE_HOME"}
    environment = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(
        ["unshare", *as_root, "--net", "--mount", sys.executable, __file__, *command],
        env=environment | {"HOME": str(home), "PYTHONPATH": str(ROOT)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = sorted(str(path.relative_to(home)) for path in home.rglob("*"))
    return Alone(**json.loads(done.stdout), home=files)


def _name_in(question: bytes) -> str:
    """Return the first name that a DNS message asks for (RFC 1035, 4.1.2): labels after a header of 12 bytes."""
    labels, place = [], 12
    while place < len(question) and (length := question[place]):
        labels.append(question[place + 1 : place + 1 + length].decode("ascii", "replace"))
        place += 1 + length
    return ".".join(labels)


def _answer_nothing(server: socket.socket, questions: list[str]) -> None:
    while True:
        question, who = server.recvfrom(4096)
        questions.append(_name_in(question))
        # the same question, marked as an answer that says NXDOMAIN
        server.sendto(question[:2] + b"\x81\x83" + question[4:], who)


def _make_network() -> None:
    resolv = Path(tempfile.mkdtemp()) / "resolv.conf"
    # its own chatter would be counted
    Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
    resolv.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    for command in (
        ["ip", "link", "set", "lo", "up"],
        # all other addresses lead to a cable whose far end nobody reads
        ["ip", "link", "add", "outside", "type", "veth", "peer", "name", "far"],
        ["ip", "link", "set", "far", "up"],
        ["ip", "address", "add", "192.0.2.1/24", "dev", "outside"],
        ["ip", "link", "set", "outside", "up"],
        ["ip", "route", "add", "default", "dev", "outside"],
        ["mount", "--bind", str(resolv), "/etc/resolv.conf"],
    ):
        subprocess.run(command, check=True)


def main() -> None:
    """Run the command of the command line and print what it did."""
    _make_network()
    questions: list[str] = []
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threading.Thread(target=_answer_nothing, args=(server, questions), daemon=True).start()
    counter = Path("/proc/net/dev").read_text
    before = _sent(counter())
    done = subprocess.run(sys.argv[1:], capture_output=True, text=True, check=False)
    told = {"code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
    sys.stdout.write(json.dumps(told | {"questions": questions, "packets": _sent(counter()) - before}))


def _sent(table: str) -> int:
    """Return how many packets left by `outside`: the tenth figure of its line in /proc/net/dev."""
    line = next(line for line in table.splitlines() if line.strip().startswith("outside:"))
    return int(line.split(":")[1].split()[9])


if __name__ == "__main__":
    main()
