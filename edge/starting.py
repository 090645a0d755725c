"""The beginning of the `linewatch` command, while Python still imports it: no signal ends it in a traceback.

Importing takes a second, and longer on a device. Each import here takes time before anybody listens.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from edge.stopping import hold_back_sighup

_INTERRUPTED = 130


def begin(load: Callable[[], Callable[[], None]]) -> None:
    """Import a command by `load` and run it. A Ctrl-C meanwhile ends it by 130, as it does later."""
    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.default_int_handler:  # else whoever started it wants none to be heard
        signal.signal(signal.SIGINT, _leave)
    main = load()
    signal.signal(signal.SIGINT, heard)
    try:
        main()
    except KeyboardInterrupt:
        with suppress(OSError, ValueError):  # the reader of a pipe may be gone
            sys.stdout.flush()
        _leave()


def _leave(*_: object) -> None:
    """End at once: imports may be there by half, and a command that was interrupted has closed its own things."""
    with suppress(OSError):
        os.write(2, b"interrupted\n")
    os._exit(_INTERRUPTED)


def linewatch() -> None:
    """Run `linewatch`. A SIGHUP waits until the verb says what it is to it: a line that starts is not ended by one."""
    hold_back_sighup()
    begin(_linewatch)


def _linewatch() -> Callable[[], None]:
    from edge.cli.commands import main

    return main
