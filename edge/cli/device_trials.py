"""The trials of `linewatch check` about the device: room on the disk, the clock, and who may read and write what.

Each says what to do. A trial tells as unknown what it cannot find out, and as a warning what a line can live with.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edge.errors import SettingsError, StoreError
from edge.evidence.index import INDEX, EvidenceIndex
from edge.messages.writer import Stamp, stamp_now
from edge.monitoring.judging import DISK_FULL_BYTES
from edge.outbox import OutboxReader
from edge.outbox.store import Caps
from edge.settings import Settings
from edge.station.device_watch import ClockJumps
from edge.wording import command

# The average size of one of each on the disk, bytes: results by a line of parts, the others by their rows.
_RESULT_BYTES, _ALARM_BYTES, _ENTRY_BYTES = 2_000, 1_000, 500
_LOOKED_AT = 1_000  # results of a store whose size is looked at
_GB = 1e9
_WATCH_S = 1.0
_RTC = Path("/dev/rtc0")
# Nothing that this version wrote is older: a clock that says so is wrong.
_NOT_BEFORE = datetime(2026, 1, 1, tzinfo=timezone.utc)


class Warned(str):
    """A finding of a trial, where somebody should look though a line would run."""

    __slots__ = ()


@dataclass(frozen=True)
class Need:
    """Something that grows on a disk: how much it may take by the settings, and how much it takes now, bytes."""

    what: str
    folder: Path
    may_take: float
    takes: float


def try_disk(settings: Settings) -> str:
    """Compare the room on each disk with what outbox and evidence may still take. Raises StoreError for a full one."""
    told: list[str] = []
    warned = False
    for folder, needs in _by_disk(list(needs_of(settings))):
        usage = shutil.disk_usage(folder)
        found, enough = judge_room(folder, usage.free, needs)
        told.append(found)
        warned = warned or not enough
    return (Warned if warned else str)("; ".join(told))


def judge_room(folder: Path, free: float, needs: Sequence[Need]) -> tuple[str, bool]:
    """Say whether a disk has room for what may still be written, and what to do. Raises StoreError for a full one."""
    if free < DISK_FULL_BYTES:
        raise StoreError(
            f"the disk of {folder} has only {free / _GB:.2f} GB left: a line would lose messages. Free some space, or "
            "name another disk with the key store.path"
        )
    growth = sum(max(0.0, need.may_take - need.takes) for need in needs)
    names = " and ".join(f"{need.what} {need.may_take / _GB:.1f} GB" for need in needs)
    told = f"{folder}: {free / _GB:.1f} GB free; {names} at most, {growth / _GB:.1f} GB of that still to come"
    if free >= growth:
        return told, True
    do = "Lower evidence.budget_gb" if any(need.what == "evidence" for need in needs) else "Lower store.max_results"
    return f"{told}: {(growth - free) / _GB:.1f} GB too little. {do}, or take a larger disk", False


def needs_of(settings: Settings) -> Iterator[Need]:
    """Yield what grows on the device's disks by the settings."""
    caps, path = Caps(results=settings.store.max_results), settings.store.path
    store = (
        caps.results * _result_bytes(path)
        + caps.kept_results_bytes
        + caps.kept_alarms_bytes
        + caps.alarms * _ALARM_BYTES
        + sum(caps.of_journal.values()) * _ENTRY_BYTES
    )
    yield Need(
        "outbox", _there(path.parent), store, sum(_size(path.with_name(path.name + end)) for end in ("", "-wal"))
    )
    evidence = settings.evidence
    if evidence.folder is not None:
        may_take = (evidence.budget_gb + evidence.min_free_gb) * _GB
        yield Need("evidence", _there(evidence.folder), may_take, _kept_bytes(evidence.folder))


def _by_disk(needs: Sequence[Need]) -> list[tuple[Path, list[Need]]]:
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(need.folder.stat().st_dev, []).append(need)
    return [(found[0].folder, found) for found in disks.values()]


def _result_bytes(path: Path) -> float:
    """Return what a result takes in this store on average, or usually where there are none."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=1)) as db:
            (mean,) = db.execute(
                "SELECT avg(size) FROM (SELECT length(payload) AS size FROM message WHERE NOT urgent"
                " ORDER BY row DESC LIMIT ?)",
                (_LOOKED_AT,),
            ).fetchone()
    except sqlite3.Error:
        return _RESULT_BYTES
    return _RESULT_BYTES if mean is None else float(mean) + _ENTRY_BYTES


def _kept_bytes(folder: Path) -> float:
    if not (folder / INDEX).is_file():
        return 0.0
    try:
        with EvidenceIndex(folder, writes=False) as index:
            return float(sum(kept.bytes for kept in index.kept()))
    except StoreError:  # the station makes it anew when it starts
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _there(folder: Path) -> Path:
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def try_clock(
    store: Path, stamp: Callable[[], Stamp] = stamp_now, wait: Callable[[float], None] = time.sleep, rtc: Path = _RTC
) -> str:
    """Say whether the clock on the wall follows a reference, jumps, or is behind what was written before."""
    jumps = ClockJumps()
    first = stamp()
    jumps.look(first)
    wait(_WATCH_S)
    by_s = jumps.look(stamp())
    how = {
        True: "follows a reference",
        False: "follows no reference",
        None: "unknown whether it follows a reference: the system does not tell",
    }[first.synced]
    told = [f"{how} (asked the kernel, adjtimex)"]
    last, wrong = _last_written(store), False
    if by_s:
        told, wrong = [*told, f"it was set by {by_s:+.1f} s just now: two programs may set it"], True
    if last is not None and first.wall < last:
        behind = f"it is behind the store's last entry of {last:%Y-%m-%d %H:%M:%S} UTC: it was set back"
        told, wrong = [*told, behind], True
    if first.wall < _NOT_BEFORE:
        told, wrong = [*told, f"{first.wall:%Y-%m-%d} cannot be"], True
    if not rtc.exists():
        told.append("no clock of the hardware was found: after a power cut it is wrong until a time server answers")
    if first.synced is not True:
        told.append("Run: timedatectl set-ntp true, or chrony; results bear its time")
    return (Warned if wrong or first.synced is False else str)("; ".join(told))


def _last_written(store: Path) -> datetime | None:
    try:
        with OutboxReader(store) as reader:
            rows = reader.journal_rows(1)
    except StoreError:
        return None
    return rows[-1].entry.at if rows else None


def try_permissions(settings: Settings, config: Path) -> str:
    """Look at who may read and write settings, store, secrets and evidence. Raises SettingsError for what is open."""
    folder = config.absolute().parent
    open_to_all = [path for path in (config, folder) if _mode(path) & stat.S_IWOTH and not _mode(path) & stat.S_ISVTX]
    if open_to_all:
        replaced = "" if open_to_all[0] == config else " (its files could be replaced)"
        raise SettingsError(
            f"every user of this device may change {open_to_all[0]}{replaced}, and with it what a line does. "
            f"Run: {command('chmod', 'o-w', open_to_all[0])}"
        )
    store, broker = settings.store.path, settings.broker
    secrets = [broker.password_file, broker.tls.key_file if broker.tls is not None else None]
    written = [store.parent, store, settings.evidence.folder]
    read = [store, Path(f"{store}-wal"), settings.evidence.folder]
    told = [
        f"every user may write {path}; run: {command('chmod', 'o-w', path)}"
        for path in written
        if path is not None and _mode(path) & stat.S_IWOTH and not _mode(path) & stat.S_ISVTX
    ]
    told += [
        f"every user may read {path}; run: {command('chmod', 'o-rwx', path)}"
        for path in read
        if path is not None and not _hidden(path) and _mode(path) & stat.S_IROTH
    ]
    told += [
        f"the group {path.stat().st_gid} may write the secret {path}; run: {command('chmod', 'g-w', path)}"
        for path in secrets
        if path is not None and _mode(path) & stat.S_IWGRP
    ]
    if told:
        return Warned("; ".join(told))
    who = "unknown for the service's user: this is root, who may all. Run it with sudo -u linewatch; " * (
        os.geteuid() == 0
    )
    return f"{who}no other user may change settings, or read and change what the station keeps"


def _hidden(path: Path) -> bool:
    """Tell whether no other user comes to a path at all, since a folder above it lets none through."""
    return any(not _mode(folder) & stat.S_IXOTH for folder in path.absolute().parents if folder.exists())


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
