"""The outcome of `--against`: sums as JSON, and a page of the pictures that two stations judge most differently."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edge.inspection.report import drawn
from edge.opencv import cv2
from edge.recipes.comparing import Diff
from edge.recipes.loaded import model_of
from edge.records import Judgement, Verdict
from edge.reinspecting.comparing import differing_columns, summed_up
from edge.reinspecting.folder import AGAINST
from edge.reinspecting.judging import JudgedPicture, Station
from edge.reinspecting.listed import Listed
from edge.reinspecting.shards import Row, rows_in
from edge.reinspecting.working import Task, Worker
from edge.replaying.page import SeenTwice, write_page
from edge.replaying.telling import Comparison
from edge.replaying.telling import Station as ToldStation
from edge.settings import fingerprint

PAGE, SUMS = "against.html", "against.json"
_LONG_SIDE_PX, _JPEG_QUALITY = 900, 85


def compared(folder: Path, task: Task, pictures: Iterable[Listed], stop: threading.Event) -> Diff:
    """Write what differs, from all rows, and return the sums. `pictures`: of the source, to look at some again.

    Raises LinewatchError.
    """
    diff, worst = summed_up(rows_in(folder / AGAINST, differing_columns()))
    wanted = {row["picture"] for row in worst}
    there = {each.picture: each for each in pictures if each.picture in wanted} if wanted else {}
    with Worker(task) as worker:
        told = [_told(worker, side, station) for side, station in enumerate((task.station, task.against)) if station]
        comparison = Comparison("picture", told[0], told[1], diff)
        shown = [_shown(worker, row, there.get(row["picture"]), stop) for row in worst]
    comparison.write(folder / SUMS)
    write_page(folder / PAGE, "Comparison on an archive", comparison, shown)
    return diff


def _told(worker: Worker, side: int, station: Station) -> ToldStation:
    models = {f"{station.recipe}/{view}": asdict(model_of(worker.bundle(side, view))) for view in station.views}
    return ToldStation(("former", "new")[side], fingerprint(station.settings), models)


def _shown(worker: Worker, row: Row, listed: Listed | None, stop: threading.Event) -> SeenTwice:
    judged = [] if listed is None else worker.judged_twice([listed], stop)
    former = Judgement(Verdict(row["former_verdict"]), row["former_reason"])
    new = Judgement(Verdict(row["verdict"]), row["reason"])
    pictures: Sequence[tuple[bytes, bytes, str]] = ()
    if listed is not None and judged:
        sides = [_jpeg(worker, side, each, listed) for side, each in enumerate(judged[0])]
        pictures = [(sides[0], sides[1], row["picture"])] if all(sides) else ()
    return SeenTwice(row["picture"], former, new, len(row["gained"]), len(row["lost"]), pictures)


def _jpeg(worker: Worker, side: int, judged: JudgedPicture, listed: Listed) -> Any:
    canvas = drawn(judged.seen, worker.classes(side, listed), _LONG_SIDE_PX)
    if canvas is None:
        return b""
    return bytes(cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])
