"""A small archive that anybody can check by eye, and the command that judges it again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from edge.cli.commands import app
from edge.errors import LinewatchError
from edge.opencv import cv2
from edge.reinspecting.shards import rows_in
from tests.bright_bundle import part, write_bright_bundle

COLUMNS = [
    *("picture", "sha256", "part_id", "view", "verdict", "reason", "coverage", "defects"),
    *("recipe", "model", "seconds"),
]


def write_archive(folder: Path, count: int = 12, *, unreadable: bool = True) -> Path:
    """Write pictures of 64 px, a third of them good, half in a folder below, and one that is none."""
    (folder / "below").mkdir(parents=True)
    for number in range(count):
        scratches = [(5 + number % 30, 20, 20, 6)] if number % 3 else []
        place = folder / "below" if number % 2 else folder
        cv2.imwrite(str(place / f"{number:04d}.png"), part(64, 64, *scratches))
    if unreadable:
        (folder / "torn.png").write_bytes(b"\x89PNG torn")
    return folder


def write_bundles(folder: Path) -> tuple[Path, Path]:
    """Write a bundle, and one that sees only what is brighter than the scratches of an archive are."""
    write_bright_bundle(folder / "bright")
    write_bright_bundle(folder / "blind", white=520)
    return folder / "bright", folder / "blind"


def reinspect(*words: object) -> tuple[int, str]:
    """Run the command in this process; return its exit code and what it said, or its error."""
    done = CliRunner().invoke(app, ["reinspect", *map(str, words)], standalone_mode=False)
    if isinstance(done.exception, LinewatchError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None, done.exception
    return int(done.return_value or 0), done.output


def rows(out: Path, folder: str = "results") -> dict[str, dict[str, Any]]:
    """Return the rows by their pictures; each has one."""
    found = list(rows_in(out / folder))
    assert len({row["picture"] for row in found}) == len(found)
    return {row["picture"]: row for row in found}


def but_seconds(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows without the time that each took, by their pictures."""
    told = [{key: value for key, value in row.items() if key != "seconds"} for row in found]
    return sorted(told, key=lambda row: row["picture"])


def run_json(out: Path) -> dict[str, Any]:
    """Read what a folder of results tells of itself."""
    told: dict[str, Any] = json.loads((out / "run.json").read_text(encoding="utf-8"))
    return told
