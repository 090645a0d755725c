"""The beginning of the `linewatch-train` command: see `edge/starting.py`."""

from __future__ import annotations

from collections.abc import Callable

from edge.starting import begin


def linewatch_train() -> None:
    """Run `linewatch-train`."""
    begin(_linewatch_train)


def _linewatch_train() -> Callable[[], None]:
    from trainer.__main__ import main

    return main
