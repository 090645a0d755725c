"""Trying pictures on a page: what they come to, and what the page needs of whoever has an engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edge.errors import LinewatchError


class BusyError(LinewatchError):
    """So many wait already that no more are taken."""


@dataclass(frozen=True)
class TriedPicture:
    """One picture that was tried. `row`: as `linewatch inspect --json` has it; `drawn`: a JPEG, None = unreadable."""

    row: Mapping[str, Any]
    drawn: bytes | None


@dataclass(frozen=True)
class Tried:
    """The outcome of pictures. `report`: the page of `linewatch inspect`, whole. `model`: which judged, for people."""

    pictures: tuple[TriedPicture, ...]
    report: bytes
    model: str
    recipe: str
    camera: str

    @property
    def counts(self) -> dict[str, int]:
        """Tell how many pictures have each verdict."""
        verdicts = [str(picture.row["verdict"]) for picture in self.pictures]
        return {verdict: verdicts.count(verdict) for verdict in ("OK", "NG", "NO_READ")}


class Tries(Protocol):
    """Inspects pictures beside a station. Methods raise LinewatchError, and may take long."""

    def views(self) -> Sequence[tuple[str, str]]:
        """Return the recipes and their cameras, each pair once."""
        ...

    def inspect(self, recipe: str, camera: str, files: Sequence[tuple[str, Path]]) -> Tried:
        """Inspect files, each with the name that people know it by. Raises BusyError where too many wait."""
        ...
