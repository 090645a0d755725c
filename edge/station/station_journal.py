"""The journal of the station itself: starts and ends, and with which settings and bundle it inspected."""

from __future__ import annotations

import os
import platform
import pwd
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

import edge
from edge.bundle import Bundle
from edge.errors import StoreError
from edge.messages.writer import MessageWriter
from edge.outbox import Outbox, OutboxReader
from edge.records import JournalEntry
from edge.settings import Settings, fingerprint
from edge.station.change_log import log_entry

# Challenges, bypasses and changes of recipe of the last run stand behind its start.
_ROWS_LOOKED_AT = 5_000


class StationJournal:
    """Writes down when the line on `outbox` starts and ends, and with which settings and bundle.

    Entering notes the start, and whether they are others than at the last one. Leaving notes the end, and the error
    that brought it, if any did. From then on the log tells what else the journal takes of the station itself.
    """

    def __init__(
        self, messages: MessageWriter, outbox: Outbox, settings: Settings, bundles: Mapping[Path | None, Bundle]
    ) -> None:
        self._messages = messages
        self._outbox = outbox
        self._settings = settings
        self._bundles = bundles

    def __enter__(self) -> Self:
        self._outbox.on_entry = log_entry
        last = self._last()
        software = f"linewatch {edge.__version__}, Python {platform.python_version()}"
        if last and "ended" not in last:
            software += "; the run before did not come to its end"
        entries = [
            self._entry("started", software),
            self._entry("settings", _compared(f"sha256 {fingerprint(self._settings)}", last.get("settings"))),
            self._entry("bundle", _compared(_all_told(self._bundles), last.get("bundle"))),
        ]
        self._outbox.put(None, journal=entries)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        told = "stopped" if error is None or kind is None else f"{kind.__name__}: {error}"
        self._outbox.put(None, journal=[self._entry("ended", told[:500])])

    def _entry(self, kind: str, detail: str) -> JournalEntry:
        return self._messages.journal_entry(kind, detail=detail, account=account())

    def adopted(self, settings: Settings, bundles: Mapping[Path | None, Bundle]) -> None:
        """Note with which settings and bundles the line goes on."""
        self._outbox.put(
            None,
            journal=[
                self._entry("settings", f"sha256 {fingerprint(settings)}; reloaded"),
                self._entry("bundle", f"{_all_told(bundles)}; reloaded"),
            ],
        )

    def _last(self) -> dict[str, str]:
        """Return what the last run told of itself, by kind; nothing where nothing can be read."""
        try:
            with OutboxReader(self._outbox.path) as reader:
                rows = reader.journal_rows(_ROWS_LOOKED_AT, part="station")
        except StoreError:
            return {}
        told: dict[str, str] = {}
        for row in rows:
            if row.entry.kind == "started":
                told.clear()
            told[row.entry.kind] = row.entry.detail
        return told


def _all_told(bundles: Mapping[Path | None, Bundle]) -> str:
    return ", ".join(dict.fromkeys(_told(bundle) for bundle in bundles.values()))


def _told(bundle: Bundle) -> str:
    manifest = bundle.manifest
    model = f"{manifest.name} {manifest.version}, model sha256 {bundle.model_sha256 or 'unknown'}"
    return f"{model}, {bundle.path}"


def _compared(told: str, before: str | None) -> str:
    """Say, where there was a last time, whether it is the same."""
    if before is None:
        return told
    return f"{told}; {'as' if before.partition(';')[0] == told else 'other than'} at the last start"


def account() -> str:
    """Say in which account of the device this process runs: `linewatch (uid 998, pid 4711)`."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = "without a name"
    return f"{name} (uid {os.getuid()}, pid {os.getpid()})"
