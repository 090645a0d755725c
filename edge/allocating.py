"""Freed memory stays with the process: a frame's large arrays are the next frame's.

The C library of Linux gives large blocks back to the kernel as soon as they are freed. Each frame then pays for a
thousand pages anew, which the kernel clears one by one: a millisecond or two at 1080p.
"""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), and what they are set to: blocks below this size come from the heap, whose unused end is
# given back where it is larger than that.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_BLOCK_BYTES, _KEPT_BYTES = 32 << 20, 64 << 20


def keep_freed_memory() -> bool:
    """Keep freed memory, up to 64 MiB, for the next use; tell whether this C library can do so."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _BLOCK_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
