"""A wall clock that can be set for one process.

An administrator or a time server sets it so for all of them. The process is started with `environment()`; its clocks
that only run (CLOCK_MONOTONIC) are left as they are.
"""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static volatile int64_t *ahead_s;
static int (*ask)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    int file = open(getenv("STEPPED_CLOCK"), O_RDONLY | O_CLOEXEC);
    ask = dlsym(RTLD_NEXT, "clock_gettime");
    ahead_s = mmap(0, sizeof *ahead_s, PROT_READ, MAP_SHARED, file, 0);
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    if (!ask)
        ask = dlsym(RTLD_NEXT, "clock_gettime");
    int found = ask(which, now);
    if (!found && ahead_s && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead_s;
    return found;
}

time_t time(time_t *also)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (also)
        *also = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *found, void *zone)
{
    (void)zone;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""


class SteppedClock:
    """The clock's offset, kept in `folder`. It is built with gcc, which the tests need anyway."""

    def __init__(self, folder: Path) -> None:
        self._offset, self._library = folder / "offset", folder / "stepped_clock.so"
        self._offset.write_bytes(bytes(8))
        source = folder / "stepped_clock.c"
        source.write_text(_SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", self._library, source, "-ldl"], check=True)

    def environment(self) -> dict[str, str]:
        """Return what the environment of a process by this clock holds besides."""
        return {"LD_PRELOAD": str(self._library), "STEPPED_CLOCK": str(self._offset)}

    def set(self, ahead_s: int) -> None:
        """Let the clock be so far ahead of the true one from now on; below 0, behind."""
        with self._offset.open("r+b") as file:
            os.pwrite(file.fileno(), struct.pack("=q", ahead_s), 0)
