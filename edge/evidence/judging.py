"""People's opinions of evidence: an append-only file beside it, each line chained to the one before by its hash.

It is the journal of judgements and exports. A line is on the disk before anybody is told that it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, cast, get_args

from edge.errors import JournalError, StoreError
from edge.printable import as_json, encodable

FILE = "judgements.jsonl"
Word = Literal["right", "false_reject", "missed", "unsure"]
WORDS: tuple[Word, ...] = get_args(Word)
COMMENT_CHARACTERS, NAME_CHARACTERS = 500, 100
_FIRST = "0" * 64
_TAIL = 65_536


@dataclass(frozen=True)
class Judgement:
    """A person's opinion of a verdict: right, a false reject, a defect was missed, or they are unsure.

    `class_name`: which defect it is, or was missed, None = not said.
    """

    name: str
    judgement: Word
    at: datetime
    user: str
    class_name: str | None = None
    comment: str = ""


class Judgements:
    """The file of judgements in an evidence folder. Several processes may write it. Raises StoreError."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE

    def judge(self, judgement: Judgement) -> None:
        """Write a judgement; one that came before stays in the file, and the last one stands. Raises ValueError."""
        if judgement.judgement not in WORDS:
            raise ValueError(f"expected one of {', '.join(WORDS)}, received {judgement.judgement!r:.40}")
        if len(judgement.comment) > COMMENT_CHARACTERS:
            raise ValueError(f"expected a comment of at most {COMMENT_CHARACTERS} characters, received more")
        if max(len(judgement.user), len(judgement.class_name or "")) > NAME_CHARACTERS:
            raise ValueError(f"expected names of at most {NAME_CHARACTERS} characters, received more")
        if not judgement.user:
            raise ValueError("expected the name of who judges, received none")
        told = {
            "id": judgement.name,
            "judgement": judgement.judgement,
            "class": judgement.class_name and encodable(judgement.class_name),
            "comment": encodable(judgement.comment),
        }
        self._append([("judged", judgement.at, encodable(judgement.user), told)])

    def exported(self, names: Sequence[str], at: datetime, user: str) -> None:
        """Write what has been exported."""
        self._append([("exported", at, encodable(user), {"id": name}) for name in names])

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield each whole line, oldest first. Raises JournalError for one that was altered."""
        before, number = _FIRST, 0
        try:
            with self.path.open("rb") as file:
                for raw in file:
                    if not raw.endswith(b"\n"):
                        return  # its writer was killed, and nobody was told of it
                    number += 1
                    line = _read(raw)
                    if line is None or line["n"] != number or line["before"] != before:
                        raise JournalError(
                            f"{self.path}, line {number}: expected the line that follows the one before, received "
                            f"{raw[:80]!r}. The file was altered; compare it with an export or a backup"
                        )
                    before = hashlib.sha256(raw).hexdigest()
                    yield line
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def _append(self, lines: Sequence[tuple[str, datetime, str, dict[str, Any]]]) -> None:
        try:
            with self._locked() as handle:
                number, before = _last(handle, self.path)
                written = b""
                for kind, at, user, told in lines:
                    number += 1
                    head = {"n": number, "kind": kind, "at": at.isoformat(timespec="milliseconds"), "user": user}
                    raw = f"{as_json({**head, **told, 'before': before})}\n".encode()
                    before = hashlib.sha256(raw).hexdigest()
                    written += raw
                end = os.lseek(handle, 0, os.SEEK_END)
                try:
                    _write_all(handle, written)
                    os.fsync(handle)
                except OSError:
                    with contextlib.suppress(OSError):
                        os.ftruncate(handle, end)
                    raise
        except OSError as error:
            raise StoreError(
                f"{self.path} cannot be written: {error.strerror or error}. The judgement was not taken; free some "
                "space, or run as the user of the station"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle
        finally:
            os.close(handle)


def _write_all(handle: int, raw: bytes) -> None:
    while raw:
        raw = raw[os.write(handle, raw) :]


def _last(handle: int, path: Path) -> tuple[int, str]:
    """Return the number and the hash of the last whole line.

    The rest of a killed writer is cut off.
    """
    size = os.fstat(handle).st_size
    start = max(0, size - _TAIL)
    tail = os.pread(handle, size - start, start)
    whole = tail.rfind(b"\n") + 1
    if whole < len(tail):
        os.ftruncate(handle, start + whole)
    if not whole:
        return 0, _FIRST
    raw = tail[tail.rfind(b"\n", 0, whole - 1) + 1 : whole]
    line = _read(raw)
    if line is None:
        raise StoreError(f"{path}: its last line is no judgement, so it was altered. Restore it from a backup")
    return line["n"], hashlib.sha256(raw).hexdigest()


def _read(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
    except ValueError:
        return None
    texts = ("kind", "at", "user", "id", "before")
    if not isinstance(line, dict) or not isinstance(line.get("n"), int):
        return None
    return line if all(isinstance(line.get(key), str) for key in texts) else None


def judgement_of(line: dict[str, Any]) -> Judgement | None:
    """Return the judgement of a line of the file; None of another kind of line."""
    if line["kind"] != "judged" or line.get("judgement") not in WORDS:
        return None
    said = line.get("class")
    return Judgement(
        line["id"],
        cast("Word", line["judgement"]),
        datetime.fromisoformat(line["at"]),
        line["user"],
        None if said is None else str(said),
        str(line.get("comment", "")),
    )
