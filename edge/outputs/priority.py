"""The threads between a verdict and the machine go before others, where the operating system lets them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

_NICE = -20


def go_first() -> None:
    """Have the calling thread run as soon as it wakes; without the right to (LimitRTPRIO, LimitNICE) nothing changes.

    A thread of normal priority waits until others have had their slice of some ms, however nice they are.
    """
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
