"""Signals that stop long work at its next step, rather than in the middle of one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def stopping_on_signals(*numbers: signal.Signals) -> Iterator[Callable[[], bool]]:
    """Give a question that is answered with yes from the first of these signals on; a second does what it always did.

    Only the main thread may listen to signals; elsewhere the answer stays no.
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
