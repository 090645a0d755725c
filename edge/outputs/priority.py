"""The threads between a verdict and the machine go before others, where the operating system lets them."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

_NICE = -20


def go_first() -> None:
    """Have the calling thread run as soon as it can, on Linux with the right to (LimitNICE); else nothing changes."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
