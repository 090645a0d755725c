"""A disk that becomes read-only for one process, as a kernel makes it when it no longer trusts the device.

A file system cannot be mounted anew while a process writes there. So the calls by which SQLite writes are answered as
such a disk answers them (EROFS). That is for files whose names begin with that of the store.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static volatile char *read_only;
static const char *store;

__attribute__((constructor)) static void begin(void)
{
    int file = open(getenv("READ_ONLY_DISK"), O_RDONLY | O_CLOEXEC);
    store = getenv("READ_ONLY_STORE");
    read_only = mmap(0, 1, PROT_READ, MAP_SHARED, file, 0);
}

static int refused(int file)
{
    char link[64], path[4096];
    if (!read_only || read_only == MAP_FAILED || !*read_only)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0)
        return 0;
    path[size] = 0;
    if (strncmp(path, store, strlen(store)))
        return 0;
    errno = EROFS;
    return 1;
}

#define WRITES(type, name, args, ...) \
    type name args \
    { \
        static type(*real) args; \
        if (!real) \
            real = (type(*) args)dlsym(RTLD_NEXT, #name); \
        return refused(file) ? -1 : real(__VA_ARGS__); \
    }

WRITES(ssize_t, write, (int file, const void *from, size_t size), file, from, size)
WRITES(ssize_t, pwrite, (int file, const void *from, size_t size, off_t at), file, from, size, at)
WRITES(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), file, from, size, at)
WRITES(int, ftruncate, (int file, off_t size), file, size)
WRITES(int, ftruncate64, (int file, off64_t size), file, size)
WRITES(int, fallocate, (int file, int mode, off_t at, off_t size), file, mode, at, size)
WRITES(int, fallocate64, (int file, int mode, off64_t at, off64_t size), file, mode, at, size)
"""


class ReadOnlyDisk:
    """The switch of such a disk, kept in `folder`, for the files of `store`. It is built with gcc."""

    def __init__(self, folder: Path, store: Path) -> None:
        self._switch, self._library, self._store = folder / "switch", folder / "read_only_disk.so", store
        self._switch.write_bytes(bytes(1))
        source = folder / "read_only_disk.c"
        source.write_text(_SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", self._library, source, "-ldl"], check=True)

    def environment(self) -> dict[str, str]:
        """Return what the environment of a process on this disk holds besides."""
        return {
            "LD_PRELOAD": str(self._library),
            "READ_ONLY_DISK": str(self._switch),
            "READ_ONLY_STORE": str(self._store),
        }

    def set(self, *, read_only: bool) -> None:
        """Let the disk take nothing from now on, or let it take everything again."""
        with self._switch.open("r+b") as file:
            os.pwrite(file.fileno(), bytes([read_only]), 0)
