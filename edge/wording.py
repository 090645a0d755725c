"""Numbers with their nouns, and commands that can be pasted into a shell."""

from __future__ import annotations

import shlex


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return `1 defect`, `2 defects`; `plural` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def command(*words: object) -> str:
    """Return a command line that a shell takes as exactly these words, paths with blanks and quotes included."""
    return shlex.join(str(word) for word in words)
