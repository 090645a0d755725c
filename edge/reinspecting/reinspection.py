"""The whole of `linewatch reinspect`: list, judge what is not done, sum up. The judge may be here or elsewhere."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol

from edge.bundle import MANIFEST, Bundle, sha256_of
from edge.errors import SettingsError, SourceError, StoreError
from edge.pictures import as_text
from edge.recipes.comparing import Diff
from edge.redacting import redacted
from edge.reinspecting.against import compared
from edge.reinspecting.folder import RESULTS, ResultFolder
from edge.reinspecting.judging import Station
from edge.reinspecting.listed import Listed
from edge.reinspecting.listing import Listing, once_each, require_pictures, with_view
from edge.reinspecting.parts import COLUMNS, PARTS, parts_of, write_parts
from edge.reinspecting.shards import Row, rows_in
from edge.reinspecting.sources import pictures_of_source
from edge.reinspecting.storage import is_address, load_arrow
from edge.reinspecting.versions import versions
from edge.reinspecting.working import ShardDone, Task, Worker
from edge.settings import Settings, fingerprint
from edge.wording import counted

FAILURES_TOLD = 100
Each = Callable[[], object]  # called after each picture
Progress = Callable[[int], AbstractContextManager[Each]]  # of so many pictures


@dataclass(frozen=True)
class Asked:
    """The pictures to judge again. `strict_views`: a view that a source tells must be one of the recipe's."""

    source: str
    out: Path
    station: Station
    against: Station | None = None
    maps: bool = False
    strict_views: bool = False


class Road(Protocol):
    """The way in which shards are worked at. `engines`: at once."""

    engines: int

    def check(self, task: Task) -> dict[str, Any]:
        """Look that the task can be done, and return what `run.json` tells of who does it. Raises LinewatchError."""
        ...

    def work(self, task: Task, stop: threading.Event, each: Each) -> Iterator[ShardDone]:
        """Yield each shard when it is done, until all are or `stop` is set. Raises LinewatchError."""
        ...


@dataclass(frozen=True)
class Outcome:
    """The outcome of a start. `earlier`: rows that were there before; `left`: pictures without a row.

    `diff`: what a second station judges otherwise; None without one, or while pictures are left. `parts`: how many have
    each verdict.
    """

    earlier: int
    made: int
    failed: int
    left: int
    counts: Mapping[str, int] = field(default_factory=dict)
    diff: Diff | None = None
    parts: Mapping[str, int] = field(default_factory=dict)


class OneEngine:
    """Works in this process, on one engine for each bundle."""

    engines = 1

    def check(self, task: Task) -> dict[str, Any]:
        """Return nothing more than what `run.json` has anyway."""
        del task
        return {}

    def work(self, task: Task, stop: threading.Event, each: Each) -> Iterator[ShardDone]:
        """Yield each shard when it is done."""
        if not task.todo.shards:
            return
        with Worker(task) as worker:
            for number in range(task.todo.shards):
                if stop.is_set():
                    return
                yield worker.work(number, stop, each)


def station_of(settings: Settings, bundles: Mapping[Path | None, Bundle]) -> Station:
    """Return who judges by settings and their bundles; the simulated engine answers for the simulated camera alone."""
    engine = settings.engine.without_simulation()
    hashes = {str(path): sha256_of(bundle.path / MANIFEST) for path, bundle in bundles.items()}
    return Station(settings.model_copy(update={"engine": engine}), hashes)


def reinspect(
    asked: Asked, road: Road, stop: threading.Event, tell: Callable[[str], object], progress: Progress
) -> Outcome:
    """Give each picture of the source its row. Raises LinewatchError; rows that are written by then stay good."""
    load_arrow("pyarrow.parquet")  # before anything is made
    asked = _anywhere(asked)
    with ResultFolder(asked.out, _identity(asked)) as folder:
        folder.tell({"source": _source_of(asked), "versions": versions(), "began_at": _now(), "engines": road.engines})
        path = folder.scratch("list.parquet")
        todo = Listing(folder.scratch("listing")).write(folder.done(), _pictures(asked, tell), path, road.engines)
        require_pictures(todo, _source_of(asked))
        earlier = todo.listed - todo.pictures
        task = Task(asked.station, asked.against, asked.source, todo, folder.turn, asked.maps)
        folder.tell(road.check(task))
        made, failed = _worked(road, task, stop, progress)
        path.unlink(missing_ok=True)
        left = todo.pictures - made
        if left and not stop.is_set():
            raise StoreError(f"{counted(left, 'picture has', 'pictures have')} no row. Start the same command again")
        summary = _summary(folder)
        if not left:
            rows = rows_in(folder.path / RESULTS, COLUMNS)
            parts = parts_of(folder.scratch("parts"), rows, asked.station)
            summary |= {"parts": write_parts(folder.path / PARTS, parts)}
        folder.tell(summary | {"ended_at": _now(), "complete": not left})
        diff = None
        if asked.against is not None and not left:
            diff = compared(folder.path, task, _pictures(asked, lambda _: None), stop)
        return Outcome(earlier, made, failed, left, summary["counts"], diff, summary.get("parts", {}))


def _worked(road: Road, task: Task, stop: threading.Event, progress: Progress) -> tuple[int, int]:
    made = failed = 0
    with progress(task.todo.pictures) as each:
        for shard in road.work(task, stop, each):
            made, failed = made + shard.pictures, failed + shard.failed
    return made, failed


def _anywhere(asked: Asked) -> Asked:
    """Return the same with paths that mean the same on other machines. Raises SourceError, SettingsError."""
    if not asked.source:  # such as a variable of the shell that is not set; it would be taken for the folder of now
        raise SourceError("SOURCE: expected a folder, recordings, an export, a list or an address; received ''")
    if asked.out.parts[:1] and asked.out.parts[0].endswith(":") and not asked.out.parent.is_dir():
        raise SettingsError(
            f"--out: expected a folder that this machine sees, with locks; received {asked.out}, "
            "which looks like an address. Copy results there when they are whole"
        )
    source = asked.source if is_address(asked.source) else str(Path(asked.source).absolute())
    return replace(asked, source=source, out=asked.out.absolute())


def _pictures(asked: Asked, tell: Callable[[str], object]) -> Iterable[Listed]:
    return (
        with_view(listed, asked.station, strict=asked.strict_views)
        for listed in pictures_of_source(asked.source, tell, asked.out)
    )


def _source_of(asked: Asked) -> str:
    """Name the source without secrets."""
    return redacted(asked.source) if is_address(asked.source) else as_text(os.path.realpath(asked.source))


def _identity(asked: Asked) -> dict[str, Any]:
    """Return what rows depend on."""
    told = {"source": _source_of(asked), **_told_station(asked.station), "maps": asked.maps, "against": None}
    return told if asked.against is None else told | {"against": _told_station(asked.against)}


def _told_station(station: Station) -> dict[str, Any]:
    # a bundle's place changes no row; its hash tells which one it is
    settings = station.settings.model_copy(update={"bundle": None})
    views = station.settings.station_recipes[station.recipe].views
    return {
        "bundle": {name: station.bundles[str(view.bundle)] for name, view in views.items()},
        "settings": fingerprint(settings),
        "recipe": station.recipe,
    }


def _summary(folder: ResultFolder) -> dict[str, Any]:
    """Count all rows; a picture with two is an error."""
    counts, defects = Counter[str](), Counter[str]()
    failures: list[dict[str, Any]] = []

    def rows() -> Iterator[str]:
        for row in rows_in(folder.path / RESULTS, ["picture", "verdict", "reason", "defects"]):
            _count(row, counts, defects, failures)
            yield row["picture"]

    for _ in once_each(folder.scratch("counting"), rows()):
        pass
    verdicts = {verdict: counts[verdict] for verdict in ("OK", "NG", "NO_READ")}
    told = {"pictures": counts.total(), **verdicts}
    return {"counts": told, "defects": dict(sorted(defects.items())), "failures": failures}


def _count(row: Row, counts: Counter[str], defects: Counter[str], failures: list[dict[str, Any]]) -> None:
    counts[row["verdict"]] += 1
    defects.update(defect["class"] for defect in row["defects"] or ())
    if row["verdict"] == "NO_READ" and len(failures) < FAILURES_TOLD:
        failures.append({"picture": row["picture"], "reason": row["reason"]})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
