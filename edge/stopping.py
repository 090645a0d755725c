"""Signals that stop long work at its next step, not in the middle of one.

And the ways a process ends at all. A thread that is held in a driver's or codec's own code cannot be ended. Python may
shut down around it. The thread then comes back into what is gone, and the process dies of SIGABRT. A caller that gives
up on a thread names it here. The command then ends without that shutdown, after everything was said, sent and written.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

_LEFT_BEHIND: list[threading.Thread] = []
_WISHES: list[Callable[[], bool]] = []


def leave_behind(thread: threading.Thread) -> None:
    """Note that a thread is held in foreign code and is no longer waited for."""
    _LEFT_BEHIND.append(thread)


def end_process(code: int, *, at_once: bool = False) -> None:
    """End the process, if asked `at_once` or if a thread that was left behind is still held; return otherwise."""
    if at_once or any(thread.is_alive() for thread in _LEFT_BEHIND):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def hold_back_sighup() -> None:
    """Let SIGHUP wait: what comes is not heard, and is not lost, until `let_sighup_through`. Of the main thread."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def let_sighup_through() -> None:
    """Have SIGHUP heard again, also one that came meanwhile. Of the main thread; others begin as it is then."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextmanager
def heard_by_long_work(asked: Callable[[], bool]) -> Iterator[None]:
    """Have long work of the process end by `end_if_asked` once `asked` says yes; a signal's handler sets it."""
    _WISHES.append(asked)
    try:
        yield
    finally:
        _WISHES.remove(asked)


def end_if_asked() -> None:
    """Raise KeyboardInterrupt, as Ctrl-C does by itself, where a signal has asked the command to stop."""
    if any(asked() for asked in _WISHES):
        raise KeyboardInterrupt


@contextmanager
def stopping_on_signals(*numbers: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Give a question that is answered with yes from the first of these signals on.

    A second does what it always did. Only the main thread may listen to signals; elsewhere the answer stays no.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, _frame: object) -> None:
        asked.set()
        signal.signal(number, before[number])

    before: dict[int, Any] = {heard: signal.signal(heard, ask) for heard in numbers}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
