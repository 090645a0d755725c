"""A frame gets what the one before it freed, without asking the kernel again."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest


def test_large_blocks_are_not_given_back_between_frames() -> None:
    """With it, a hundred frames of arrays touch no new pages; without it each frame would touch a thousand."""
    told = textwrap.dedent("""
        import resource
        import numpy as np
        from edge.allocating import keep_freed_memory

        def frame():
            return [np.ones(2_000_000, np.uint8) for _ in range(4)]

        kept = keep_freed_memory()
        for _ in range(3):
            frame()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(100):
            frame()
        print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """)
    asked = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    kept, faults = asked.stdout.split()
    if kept != "True":
        pytest.skip("this C library keeps nothing back")
    assert int(faults) < 10_000
