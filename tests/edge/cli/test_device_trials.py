"""`linewatch check` looks at the device: disk against budgets, clock, and who may read and write what."""

from __future__ import annotations

import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from edge.cli.device_trials import Need, Warned, judge_room, needs_of, try_clock, try_disk, try_permissions
from edge.errors import SettingsError, StoreError
from edge.messages.writer import Stamp
from edge.outbox import Outbox
from edge.settings import Settings, load_settings
from tests.brokers import free_port
from tests.edge.cli.test_check import check, write
from tests.edge.outbox.test_journal import entry

GB = 1e9
HERE = Path("/var/lib/linewatch")
NOW = datetime(2026, 6, 1, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("free", "needs", "enough", "says"),
    [
        (10.0, [Need("outbox", HERE, 2 * GB, 0.5 * GB)], True, "outbox 2.0 GB at most, 1.5 GB of that still to come"),
        (1.5, [Need("outbox", HERE, 2 * GB, 0.5 * GB)], True, "1.5 GB free"),
        (1.4, [Need("outbox", HERE, 2 * GB, 0.5 * GB)], False, "0.1 GB too little. Lower store.max_results"),
        # the room of one over its budget is no room for the other
        (
            9.0,
            [Need("outbox", HERE, GB, 3 * GB), Need("evidence", HERE, 11 * GB, GB)],
            False,
            "1.0 GB too little. Lower evidence.budget_gb",
        ),
    ],
)
def test_room_is_compared_with_what_may_still_come(free: float, needs: list[Need], enough: bool, says: str) -> None:
    """Free room is enough for what each may still take beyond what it takes now. Else the lack is told."""
    found, well = judge_room(HERE, free * GB, needs)
    assert well is enough
    assert says in found


def test_a_full_disk_is_an_error() -> None:
    """Below 0.2 GB a line would lose messages, whatever it may take."""
    with pytest.raises(StoreError, match=r"only 0.10 GB left.*Free some space"):
        judge_room(HERE, 0.1 * GB, [])


def test_the_needs_are_those_of_the_settings(tmp_path: Path) -> None:
    """More results kept, or a larger budget of evidence, need more; a store and its log count as taken."""
    small = Settings.model_validate({"store": {"path": tmp_path / "s.db", "max_results": 1000}})
    large = small.model_copy(update={"store": small.store.model_copy(update={"max_results": 101_000})})
    (one,), (other,) = needs_of(small), needs_of(large)
    assert other.may_take - one.may_take == pytest.approx(100_000 * 2000)
    (tmp_path / "s.db").write_bytes(b"x" * 1000)
    (tmp_path / "s.db-wal").write_bytes(b"x" * 500)
    assert next(iter(needs_of(small))).takes == 1500
    kept = Settings.model_validate(
        {"store": {"path": tmp_path / "s.db"}, "evidence": {"folder": tmp_path / "kept", "budget_gb": 3}}
    )
    assert [(need.what, need.may_take) for need in needs_of(kept)][1] == ("evidence", 4 * GB)
    assert "evidence 4.0 GB" in try_disk(kept)


def stamps(*ticks: tuple[float, float], synced: bool | None) -> Any:
    """Return what reads both clocks: of each tick the seconds that wall and steady clock went on since NOW."""
    found = iter([Stamp(NOW + timedelta(seconds=wall), round(steady * 1e9), synced) for wall, steady in ticks])
    return lambda: next(found)


@pytest.mark.parametrize(
    ("synced", "second", "warned", "says"),
    [
        (True, (1.0, 1.0), False, "follows a reference (asked the kernel, adjtimex)"),
        (False, (1.0, 1.0), True, "follows no reference (asked the kernel, adjtimex)"),
        (None, (1.0, 1.0), False, "unknown whether it follows a reference"),
        (True, (61.0, 1.0), True, "it was set by +60.0 s just now"),
        (True, (-59.0, 1.0), True, "it was set by -60.0 s just now"),
    ],
)
def test_a_clock_is_judged_by_what_is_known(
    tmp_path: Path, synced: bool | None, second: tuple[float, float], warned: bool, says: str
) -> None:
    """Synchronised, not, or unknown, and how that was found out; a clock that is set meanwhile is told."""
    read = stamps((0.0, 0.0), second, synced=synced)
    found = try_clock(tmp_path / "none.db", read, lambda _: None, rtc=tmp_path)
    assert says in found
    assert isinstance(found, Warned) is warned
    assert ("timedatectl" in found) is (synced is not True)


def test_a_clock_behind_the_journal_was_set_back(tmp_path: Path) -> None:
    """A device whose store has an entry of tomorrow has a wrong clock now, or had one then."""
    with Outbox(tmp_path / "s.db") as outbox:
        outbox.put(None, journal=[entry(1)])  # of today, by the device that runs this
        assert outbox.flush(120)
    before = stamps((-3_000_000_000.0, 0.0), (-2_999_999_999.0, 1.0), synced=True)
    found = try_clock(tmp_path / "s.db", before, lambda _: None, rtc=tmp_path / "no rtc")
    assert isinstance(found, Warned)
    assert "behind the store's last entry" in found
    assert "cannot be" in found
    assert "no clock of the hardware" in found


@pytest.fixture
def station(tmp_path: Path) -> tuple[Settings, Path]:
    """Write settings and a store as a service keeps them: for itself alone."""
    config = write(tmp_path, 1, broker="{port: 1, username: line, password_file: secret}", evidence="{folder: kept}")
    with Outbox(tmp_path / "outbox.db"):
        pass
    (tmp_path / "kept").mkdir()
    (tmp_path / "secret").write_text("hunter2")
    for path, mode in ((config, 0o640), (tmp_path / "outbox.db", 0o600), (tmp_path / "secret", 0o600)):
        path.chmod(mode)
    for folder in (tmp_path, tmp_path / "kept"):
        folder.chmod(0o755)
    (tmp_path / "kept").chmod(0o700)
    return load_settings(config), config


@pytest.mark.parametrize(
    ("name", "mode", "says"),
    [
        ("outbox.db", 0o644, "every user may read {path}; run: chmod o-rwx {path}"),
        ("outbox.db", 0o606, "every user may write {path}; run: chmod o-w {path}"),
        ("kept", 0o755, "every user may read {path}"),
        ("secret", 0o620, "may write the secret {path}; run: chmod g-w {path}"),
    ],
)
def test_what_is_open_is_told_with_the_command_that_closes_it(
    station: tuple[Settings, Path], name: str, mode: int, says: str
) -> None:
    """Store, evidence and secrets that others may read or write are a warning; closed ones are none."""
    settings, config = station
    for folder in config.parents:  # pytest's own folders let nobody through
        if folder.name.startswith("pytest-"):
            folder.chmod(0o755)
    well = try_permissions(settings, config)
    assert not isinstance(well, Warned)
    assert ("unknown for the service's user: this is root" in well) is (os.geteuid() == 0)
    path = config.parent / name
    path.chmod(mode)
    found = try_permissions(settings, config)
    assert isinstance(found, Warned)
    assert says.format(path=path) in found


@pytest.mark.parametrize(("name", "mode"), [("line.yaml", 0o646), ("", 0o777)])
def test_settings_that_everybody_may_change_are_an_error(station: tuple[Settings, Path], name: str, mode: int) -> None:
    """A user who may write the settings, or replace them in their folder, decides what a line does."""
    settings, config = station
    (config.parent / name).chmod(mode)
    with pytest.raises(SettingsError, match=r"every user of this device may change .*Run: chmod o-w"):
        try_permissions(settings, config)


def test_the_command_tells_all_three(tmp_path: Path) -> None:
    """`check` names disk, clock and permissions with what was found, and a warning is no failure."""
    tmp_path.chmod(0o755)
    done = check(write(tmp_path, free_port()))
    said = " ".join(done.stdout.split())
    assert done.returncode == 9, said  # there is no broker
    assert "disk: ok, " in said or "disk: warning, " in said
    assert "(asked the kernel, adjtimex)" in said
    assert "permissions: ok, " in said
