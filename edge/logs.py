"""The log on stderr: each thing once, then counted; and what libraries in C write there, caught and told the same way.

FFmpeg, GStreamer and image libraries write to file descriptor 2 and know no logging. Below `native_lines_caught` that
descriptor is a pipe; a thread reads it, hides secrets, and tells each line once. Our own log, tracebacks and consoles
go past the pipe to where descriptor 2 led before.
"""

from __future__ import annotations

import faulthandler
import fcntl
import io
import logging
import os
import re
import selectors
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import Any, Literal

from edge.printable import PrintableFormatter, as_json
from edge.redacting import redacted
from edge.repeats import Repeats, likeness

_native = logging.getLogger("edge.native")
# A library's line is told once; its count comes once an hour and at the end.
_NATIVE_EVERY_S = 3600.0
_LINE_BYTES_AT_MOST = 2_000
_PIPE_BYTES = 1 << 20
_TICK_S = 1.0
_LINE = "%(levelname)s %(name)s: %(message)s"
_MAY_HIDE = re.compile("[:=]")


class CountingHandler(logging.Handler):
    """Writes each record once to what stderr is just then, and then once a minute how often it came again.

    Records are the same when they differ in numbers only. Lines to `edge.native` are counted for an hour.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic_s = monotonic_s
        self._repeats: Repeats[logging.LogRecord] = Repeats()
        self._native: Repeats[logging.LogRecord] = Repeats(_NATIVE_EVERY_S)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it; called with the handler's lock held."""
        repeats = self._native if record.name == _native.name else self._repeats
        cause = record.exc_info[0] if record.exc_info else None
        kind = (record.name, record.levelno, likeness(record.getMessage()), cause)
        if repeats.told(kind, record, self._monotonic_s()):
            self._write(record)

    def _write(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except Exception:  # noqa: BLE001 - logging's own rule: no record ends what is logged
            self.handleError(record)

    def close(self) -> None:
        """Tell what was counted since: the process ends."""
        with suppress(OSError, ValueError):  # its reader has gone
            self.tell_counts(all_of_it=True)
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing of a stderr that nobody reads, which is no reason to stop.

        Any other failure is said there.
        """
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def tell_counts(self, *, all_of_it: bool = False) -> None:
        """Write how often what came again, where a minute is over."""
        self.acquire()
        try:
            now_s = self._monotonic_s()
            for repeats in (self._repeats, self._native):
                for count, last, seconds in repeats.due(now_s, all_of_it=all_of_it):
                    self._write(_counted(last, count, seconds))
        finally:
            self.release()


def _counted(last: logging.LogRecord, count: int, seconds: float) -> logging.LogRecord:
    told = f"{count} more in {seconds:.0f} s, the last: {last.getMessage()}"
    record = logging.LogRecord(last.name, last.levelno, last.pathname, last.lineno, told, None, None)
    record.__dict__.update(repeated=count, within_s=round(seconds, 1))
    return record


class JsonFormatter(logging.Formatter):
    """Writes each record as one line of JSON, for programs: time, level, logger, message, and a traceback's lines.

    A count of what came again has `repeated` and `within_s` too.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        told: dict[str, Any] = {
            "ts": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: getattr(record, name) for name in ("repeated", "within_s") if hasattr(record, name)}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info).splitlines()
        return as_json(told)


def log_as(form: Literal["text", "json"]) -> None:
    """Write the log in this form from now on, where `log_on_stderr` writes it."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, CountingHandler):
            handler.setFormatter(JsonFormatter() if form == "json" else PrintableFormatter(_LINE))


@contextmanager
def log_on_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Write the log to stderr, counted; at the end tell what was counted since."""
    handler = CountingHandler()
    handler.setFormatter(PrintableFormatter(_LINE))
    logging.basicConfig(level=level, handlers=[handler])
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(_TICK_S):
            handler.tell_counts()

    thread = threading.Thread(target=tick, name="log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        logging.getLogger().removeHandler(handler)
        handler.close()


@contextmanager
def native_lines_caught() -> Iterator[None]:
    """Give the lines that C libraries write to descriptor 2 to the log, as warnings of `edge.native`.

    Neither they nor we ever wait for each other: a library that fills the pipe while it keeps Python from running loses
    lines. Nothing is done without a descriptor 2, or where Python's stderr is not it.
    """
    try:
        sys.stderr.flush()
        real = os.dup(2) if sys.stderr.fileno() == 2 else None
    except (AttributeError, OSError, ValueError):  # a test's own stderr, or none
        real = None
    if real is None:
        yield
        return
    reading, writing = os.pipe()
    with suppress(OSError):  # the system's limit for pipes
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    before = sys.stderr
    sys.stderr = io.TextIOWrapper(
        os.fdopen(os.dup(real), "wb", 0), before.encoding, before.errors, line_buffering=True, write_through=True
    )
    told_before = faulthandler.is_enabled()
    faulthandler.enable(real)  # a crash's words must not end in the pipe
    os.dup2(writing, 2)
    os.close(writing)
    wake_reading, wake_writing = os.pipe()
    thread = threading.Thread(target=_read_lines, args=(reading, wake_reading), name="native", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(real, 2)
        os.write(wake_writing, b"x")
        thread.join()
        caught, sys.stderr = sys.stderr, before
        (faulthandler.enable if told_before else faulthandler.disable)()
        with suppress(OSError):
            caught.close()
        for number in (reading, wake_reading, wake_writing, real):
            os.close(number)


def _read_lines(reading: int, wake: int) -> None:
    """Log each line that comes, until woken; then what is in the pipe, without waiting for more."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            woken = any(key.fd == wake for key, _ in selector.select())
            while chunk := _chunk(reading):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    _tell(line)
                if len(rest) > _LINE_BYTES_AT_MOST:
                    _tell(rest)
                    rest = b""
            if woken:
                _tell(rest)
                return


def _chunk(reading: int) -> bytes:
    try:
        return os.read(reading, 1 << 16)
    except BlockingIOError:
        return b""


def _tell(line: bytes) -> None:
    text = line.strip(b"\r \t").decode("utf-8", "backslashreplace")
    if text:
        # looked at only where a secret may be: hiding is slow on a long word
        _native.warning("%s", redacted(text) if _MAY_HIDE.search(text) else text)
