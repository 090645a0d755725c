"""The folder of results: whose rows it holds, whose turn it is to write into it, and what it comes to.

A turn is one start of the command. Only shards of the turn that is running come into the folder: each is renamed under
a lock, by which a new turn begins too. So a worker that outlives its driver's kill adds nothing.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from edge.errors import SettingsError, StoreError
from edge.files import write_bytes, write_text
from edge.printable import as_json
from edge.reinspecting.shards import Row, rows_in, shards_in, write_shard
from edge.strict_json import parse_json, read_json

RUN = "run.json"
SCHEMA = "linewatch/reinspection/1"
RESULTS, AGAINST, MAPS = "results", "against", "maps"
_TURN, _GATE, _DRIVER = ".turn", ".gate.lock", ".run.lock"
_LOOKED_EVERY_S = 0.5


class TurnOverError(StoreError):
    """Another start of the command writes into the folder now."""


@dataclass(frozen=True)
class Turn:
    """One start of the command, as its workers know it. `folder`: which each machine sees at the same path."""

    folder: Path
    number: int

    def write(self, shard: int, rows: Sequence[Row], schema: Any, into: str = RESULTS) -> None:
        """Write a shard, unless the turn is over. Raises TurnOverError, StoreError.

        A shard that is judged again in the same turn takes its own place.
        """
        with _gate(self.folder, fcntl.LOCK_SH):
            if self._told()["turn"] != self.number:
                raise TurnOverError(f"{self.folder} is written by a later start of the command")
            _made(self.folder / into)
            write_shard(self.folder / into / f"{self.number:04d}-{shard:06d}.parquet", rows, schema)

    def begun(self, what: str) -> int:
        """Note that something is begun, and return how often it was in this turn without an end. Raises StoreError."""
        try:
            with self._note(what).open("ab") as file:
                file.write(b".")
                return file.tell()
        except OSError as error:
            raise StoreError(
                f"{self.folder} cannot be written here: {error.strerror or error}. Free some space"
            ) from error

    def ended(self, what: str) -> None:
        """Note that what was begun came to an end, well or with an error that is told."""
        with suppress(OSError):
            self._note(what).unlink()

    def _note(self, what: str) -> Path:
        return self.folder / f".{self.number:04d}-{what}.begun.tmp"

    def stop(self) -> None:
        """Ask all workers to end with the picture that they judge. Raises StoreError."""
        _write_turn(self.folder, self.number, stop=True)

    @property
    def stopping(self) -> bool:
        """Tell whether workers are to end."""
        told = self._told()
        return bool(told["stop"] or told["turn"] != self.number)

    def _told(self) -> dict[str, Any]:
        try:
            told = parse_json((self.folder / _TURN).read_bytes())
            return {"turn": int(told["turn"]), "stop": bool(told["stop"])}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{self.folder / _TURN} cannot be read here: {error}. Expected a folder that each machine sees at the "
                "same path"
            ) from error


class StopOfTurn(threading.Event):
    """An event that is set once the turn is stopped, or over; it looks at the folder twice a second."""

    def __init__(self, turn: Turn) -> None:
        super().__init__()
        self._turn = turn
        self._looked_s = 0.0

    def is_set(self) -> bool:
        """Tell whether to stop."""
        now_s = time.monotonic()
        if not super().is_set() and now_s - self._looked_s >= _LOOKED_EVERY_S:
            self._looked_s = now_s
            if self._turn.stopping:
                self.set()
        return super().is_set()


class ResultFolder:
    """A folder of results, held by this process. `identity`: what its rows depend on; it may not change.

    Raises StoreError where another process holds it, SettingsError for results of something else.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self._identity = identity
        self._lock = -1
        self.run: dict[str, Any] = {}
        self.turn = Turn(path, 0)

    def __enter__(self) -> Self:
        try:
            self._require_ours()
            (self.path / RESULTS).mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.path / _DRIVER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be made: {error.strerror or error}. Expected a folder that this user may write; "
                "name another with --out"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StoreError(
                f"{self.path} is written by another start of this command. Wait for it, or name another folder with "
                "--out"
            ) from error
        self._require_ours()  # again: another start may have ended just now
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._lock)

    def done(self) -> Iterator[str]:
        """Yield the pictures that have a row. Raises StoreError."""
        for row in rows_in(self.path / RESULTS, ["picture"]):
            yield row["picture"]

    def scratch(self, name: str) -> Path:
        """Return the name of a file that the next start removes."""
        return self.path / f".{name}.tmp"

    def tell(self, told: dict[str, Any]) -> None:
        """Write `run.json` with what is known more. Raises StoreError."""
        self.run |= told
        write_text(self.path / RUN, as_json(self.run, indent=2) + "\n")

    def _begin(self) -> None:
        """Begin a turn: after this no shard of an earlier one comes, and half-written ones are gone."""
        with _gate(self.path, fcntl.LOCK_EX):
            number = int(self.run.get("turns", 0)) + 1
            _write_turn(self.path, number, stop=False)
            for folder in (self.path, self.path / RESULTS, self.path / AGAINST):
                for unfinished in folder.glob(".*.tmp"):
                    with suppress(OSError):
                        unfinished.unlink()
            self._leave_none_alone()
        self.turn = Turn(self.path, number)
        self.tell({"schema": SCHEMA, "identity": self._identity, "turns": number, "complete": False})

    def _leave_none_alone(self) -> None:
        """Remove the shards of one station without those of the other: their pictures are judged again by both."""
        results, against = ({path.name for path in shards_in(self.path / folder)} for folder in (RESULTS, AGAINST))
        for name in against - results:
            (self.path / AGAINST / name).unlink()
        for name in results - against if self._identity.get("against") else ():
            (self.path / RESULTS / name).unlink()

    def _require_ours(self) -> None:
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise StoreError(f"{self.path} is no folder; expected one for results. Name another with --out")
        if not (self.path / RUN).exists():
            if any(not _begun_here(each.name) for each in self.path.iterdir()):
                raise SettingsError(
                    f"{self.path} holds something else than results: expected a folder that is empty or absent, or one "
                    f"with {RUN}. Name another with --out"
                )
            return
        try:
            self.run = dict(read_json(self.path / RUN))
            known = self.run["schema"], dict(self.run["identity"]), int(self.run["turns"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SettingsError(
                f"{self.path / RUN} cannot be read: {error}. It was altered: name another folder with --out"
            ) from error
        if known[0] != SCHEMA:
            raise SettingsError(
                f"{self.path} holds results of another version of Linewatch: expected {SCHEMA}, received {known[0]}. "
                "Name another folder with --out"
            )
        if shards_in(self.path / RESULTS):
            _require_same(self.path, known[1], self._identity)
        elif known[1] != self._identity:  # a start that made no row, such as one with a mistyped source
            self.run = {"turns": known[2]}


def _begun_here(name: str) -> bool:
    """Tell whether a start that was killed at once leaves a file or folder of this name."""
    return name in {RESULTS, _TURN, _GATE, _DRIVER} or name.endswith(".tmp")


def _require_same(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Raise SettingsError where results depend on something else than those that are there."""
    differing = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if differing:
        told = "; ".join(f"{name}: there {before.get(name)}, here {now.get(name)}" for name in differing)
        raise SettingsError(
            f"{path} holds results of something else. {told}. Rows of both would be mixed: name another folder with "
            "--out"
        )


@contextmanager
def _gate(folder: Path, how: int) -> Iterator[None]:
    try:
        lock = os.open(folder / _GATE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be written here: {error.strerror or error}. Expected a folder that each machine may write"
        ) from error
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


def _made(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror or error}. Free some space") from error


def _write_turn(folder: Path, number: int, *, stop: bool) -> None:
    write_bytes(folder / _TURN, as_json({"turn": number, "stop": stop}).encode())
