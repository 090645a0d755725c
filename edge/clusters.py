"""A Ray cluster: joined at the address of its head, or begun on this machine for as long as a command runs.

Ray reads variables, takes over signals and waits without end for what is no cluster. The remedies are here.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from edge.errors import DependencyError, EngineError, LinewatchError, SettingsError
from edge.installing import how_to_install

LOCAL = "local"
_LOOPBACK = "127.0.0.1"
_NO_TOKEN = b"AuthenticationError"
Look = tuple[Any, ...]
Differing = Callable[[Any], str]
_CONNECT_S, _ANSWER_S, _NODE_S, _KILLED_S = 10.0, 120.0, 600.0, 10.0
# A line of Ray's own code on stderr begins with file and line; its log files hold it too.
_OWN_WORDS = re.compile(r"\[\d{4}-\d\d-\d\d [\d:,]+ [IWE] \d+ \d+\] \S+\.cc:\d+: ")
_native = logging.getLogger("edge.native")
_START = "Start one with: ray start --head --port=6379; or give --ray local"


def _load_ray(modules: Sequence[str]) -> Any:
    """Return Ray, with further modules of it imported. Raises DependencyError with what to do."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import; `edge` has set it already
    try:
        for module in ("ray", *modules):
            importlib.import_module(module)
    except ImportError as error:
        raise DependencyError(
            f"--ray needs Ray, which cannot be imported: {error}. {how_to_install('ray[data]', extra='ray')}"
        ) from error
    return sys.modules["ray"]


@contextmanager
def cluster(address: str, here: Mapping[str, Any], modules: Sequence[str] = ()) -> Iterator[Any]:
    """Join the cluster at `address`, HOST:PORT; for `local` begin one with the arguments `here`, and end it at last.

    Yields Ray, with further modules of it imported. Raises SettingsError where no cluster of this version answers,
    DependencyError without Ray, EngineError where no cluster can be begun here.
    """
    if address == LOCAL:
        # by default Ray's workers give way to all that a desktop does
        os.environ.setdefault("RAY_worker_niceness", "0")
        started = {"address": LOCAL, "include_dashboard": False, "_node_ip_address": _LOOPBACK, **here}
    else:
        _require_cluster(address)
        started = {"address": address}
    ray = _load_ray(modules)  # not before: it reads its variables once
    before = _processes_below()
    _native.addFilter(_is_for_people)
    try:
        with _sigterm_stays_ours():
            try:
                ray.init(**started, log_to_driver=False, logging_level=logging.ERROR)
            except Exception as error:  # Ray raises exceptions of many kinds here; each becomes one of ours
                raise _not_joined(address, error) from error
        yield ray
    finally:
        with undisturbed():
            begun = [process for process in _processes_below() if process not in before]
            with suppress(Exception):
                ray.shutdown()
            _end(begun)
        _native.removeFilter(_is_for_people)


def _processes_below() -> list[Any]:
    """Return the processes that this one began, and those below them. Ray brings psutil along."""
    return list(importlib.import_module("psutil").Process().children(recursive=True))


def _end(processes: Sequence[Any]) -> None:
    """End what outlives its cluster: on a busy machine Ray kills a node, and two of its helpers stay for minutes."""
    psutil = importlib.import_module("psutil")
    _, alive = psutil.wait_procs(processes, timeout=0)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=_KILLED_S)


def _is_for_people(record: logging.LogRecord) -> bool:
    return not _OWN_WORDS.match(record.getMessage())


def said_last(error: BaseException) -> str:
    """Return the line of an error of Ray's that names what went wrong: the last that names an error, else the last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return (named or lines or [type(error).__name__])[-1][:300]


def nodes_with(ray: Any, cpus: float, gpus: float) -> list[dict[str, Any]]:
    """Return the nodes that are alive and have room for something of so many CPUs and GPUs."""
    return [node for node in ray.nodes() if node["Alive"] and room_of(node, cpus, gpus)]


def room_of(node: Mapping[str, Any], cpus: float, gpus: float) -> int:
    """Return how many things of so many CPUs and GPUs a node has room for, were it idle."""
    owned = node["Resources"]
    rooms = [int(owned.get(name, 0.0) / each + 1e-9) for name, each in (("CPU", cpus), ("GPU", gpus)) if each]
    return min(rooms, default=1)


def require_alike(ray: Any, nodes: Sequence[Mapping[str, Any]], look: Look, differing: Differing) -> list[str]:
    """Have each node look at itself, and return their names. Raises DependencyError naming those that differ.

    `look` is a function with its arguments, and is called on the node. `differing` is called here: it says in what the
    answer is not as it must be, if in anything.
    """
    there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    function, *given = look
    task = ray.remote(num_cpus=0, max_retries=0)(function)
    answers = {
        _name_of(node): task.options(scheduling_strategy=there(node["NodeID"], soft=False)).remote(*given)
        for node in nodes
    }
    told = []
    for name, answer in answers.items():
        try:
            problem = differing(ray.get(answer, timeout=_NODE_S))
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be done on this node
            problem = f"Linewatch cannot be run there: {said_last(error)}"
        told += [f"the node {name}: {problem}"] if problem else []
    if told:
        raise DependencyError(
            f"{'. '.join(told)}. Expected the same on each node: what comes out may not depend on where it is made. "
            "Install and copy what differs"
        )
    return sorted(answers)


def _name_of(node: Mapping[str, Any]) -> str:
    """Name a node by its host, its address, and the first digits of its own id."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _not_joined(address: str, error: Exception) -> LinewatchError:
    said = " ".join(str(error).split())
    if "version mismatch" in said.lower():
        return SettingsError(
            f"--ray {address}: the cluster runs another version of Ray or of Python than this command: {said[:400]}. "
            "Install the same on each machine"
        )
    if address == LOCAL:
        return EngineError(
            f"--ray {LOCAL}: Ray cannot be started here: {said_last(error)}. It needs room in the folder for temporary "
            "files and in memory; without --ray the same command does the work in this process"
        )
    return SettingsError(f"--ray {address}: no Ray cluster answers there: {said_last(error)}. {_START}")


def _require_cluster(address: str) -> None:
    """See that a cluster answers, for which Ray itself would wait without end. Raises SettingsError."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or "/" in address:
        raise SettingsError(f"--ray: expected {LOCAL}, or HOST:PORT of a cluster's head; received {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise SettingsError(f"--ray {address}: no Ray cluster answers there: {error}. {_START}") from error
    said = _status(address)
    if _NO_TOKEN in said and "RAY_AUTH_MODE" not in os.environ:
        # `ray start` takes a token that lies in ~/.ray by itself, and Ray's way to join a cluster does not
        os.environ["RAY_AUTH_MODE"] = "token"
        said = _status(address)
    if _NO_TOKEN in said:
        raise SettingsError(
            f"--ray {address}: the cluster takes another token than this command has. Copy the head's "
            "~/.ray/auth_token to each machine"
        )
    if b"Timed out while waiting for GCS" in said:
        raise SettingsError(
            f"--ray {address}: what listens there does not answer as a Ray cluster. Name the head's address; `ray "
            "status` says whether it is one"
        )


def _status(address: str) -> bytes:
    """Return what Ray says of a cluster; it gives up after a while, where its other ways wait without end."""
    asked = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        done = subprocess.run(asked, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=_ANSWER_S)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired:
        return b"Timed out while waiting for GCS"
    return done.stdout + done.stderr


@contextmanager
def _sigterm_stays_ours() -> Iterator[None]:
    """Give SIGTERM back to who had it: Ray has it end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hear no Ctrl-C meanwhile: the end is on its way, and a second one would leave it half done."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
