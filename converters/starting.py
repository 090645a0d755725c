"""The beginning of the `convert` command: see `edge/starting.py`."""

from __future__ import annotations

from collections.abc import Callable

from edge.starting import begin


def convert() -> None:
    """Run `convert`."""
    begin(_convert)


def _convert() -> Callable[[], None]:
    from converters.__main__ import main

    return main
