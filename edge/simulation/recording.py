"""A simulated station as recordings with one time base, and a table of what each part truly shows."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path

from edge.errors import SourceError
from edge.files import write_text
from edge.records.parts import PartClosed, PartOpened, TriggerEvent
from edge.simulation.belt import PartTruth, belt_part, check_one_belt
from edge.simulation.camera import VIDEO_FPS, write_video
from edge.simulation.products import PRODUCT_NAMES, ProductName
from edge.simulation.rendering import CLASS_NAMES, RenderedLine, SimulatedLineSettings

_COLUMNS = ("part_id", "product", "opened_ns", "closed_ns", "defective", "classes")


def station_cameras(
    size: tuple[int, int],
    seed: int,
    *,
    products: Sequence[ProductName] = PRODUCT_NAMES,
    parts_per_product: int = 1,
    fps: float = VIDEO_FPS,
) -> dict[str, SimulatedLineSettings]:
    """Return the cameras of the simulated station, `top` and `side`, of `size` (height, width) px."""
    top = SimulatedLineSettings(
        width=size[1],
        height=size[0],
        seed=seed,
        fps=fps,
        products=tuple(products),
        parts_per_product=parts_per_product,
        edge_share=0.5,
    )
    return {"top": top, "side": top.model_copy(update={"view": "side"})}


def part_truths(cameras: Mapping[str, SimulatedLineSettings], frames: int) -> Iterator[PartTruth]:
    """Tell of each part that passes the first camera's barrier within `frames` frames what every camera is shown.

    Raises SettingsError where the cameras look at different belts.
    """
    check_one_belt(cameras)
    first = next(iter(cameras.values()))
    lines = {name: RenderedLine(settings) for name, settings in cameras.items()}
    fps = first.fps or VIDEO_FPS
    for number in count():
        part = belt_part(first, number)
        if part.closed > frames - 1:
            return
        shown = {name: line.shown(number) for name, line in lines.items()}
        yield PartTruth(part.part_id, part.product, part.opened_ns(fps), part.closed_ns(fps), shown)


def write_station(
    out: Path,
    cameras: Mapping[str, SimulatedLineSettings],
    frames: int,
    each: Callable[[], object] = lambda: None,
) -> int:
    """Write `out`/<camera>.mp4 with its truth for each camera, and `out`/parts.csv; return how many parts it has.

    Frames of one index were captured at one moment: `index` / 25 s. Parts that are not closed within the recording are
    left out. `each` is called after each frame of each camera. Raises StoreError where something cannot be written,
    SettingsError where the cameras do not fit together.
    """
    recorded = {name: settings.model_copy(update={"fps": VIDEO_FPS}) for name, settings in cameras.items()}
    parts = list(part_truths(recorded, frames))
    write_parts(out / "parts.csv", parts)
    for name, settings in recorded.items():
        write_video(out / f"{name}.mp4", settings, frames, each)
    return len(parts)


def write_parts(path: Path, parts: Sequence[PartTruth]) -> None:
    """Write the table of parts: times in ns after the first frame, class names apart by spaces. Raises StoreError."""
    views = list(parts[0].shown) if parts else []
    rows = [[*_COLUMNS, *views]]
    for part in parts:
        own = [part.part_id, part.product, str(part.opened_ns), str(part.closed_ns), "yes" if part.defective else "no"]
        rows.append([*own, " ".join(part.classes), *(" ".join(part.shown[view]) for view in views)])
    write_text(path, "".join(",".join(row) + "\n" for row in rows))


def read_parts(path: Path) -> tuple[PartTruth, ...]:
    """Read the table that `write_parts` wrote. Raises SourceError with the line that is not understood."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            views = [name for name in table.fieldnames or () if name not in _COLUMNS]
            return tuple(_part(row, views, f"{path}, line {table.line_num}") for row in table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}. Expected a table of parts in UTF-8") from error


def _part(row: Mapping[str, str | None], views: Sequence[str], where: str) -> PartTruth:
    missing = [name for name in _COLUMNS if row.get(name) is None]
    if missing:
        raise SourceError(f"{where}: expected {', '.join(_COLUMNS)}; {', '.join(missing)} is missing")
    try:
        opened, closed = int(row["opened_ns"] or ""), int(row["closed_ns"] or "")
    except ValueError as error:
        raise SourceError(f"{where}: expected whole ns in opened_ns and closed_ns; {error}") from error
    if not 0 <= opened <= closed:
        raise SourceError(
            f"{where}: expected a part that is opened from 0 ns on and closed no sooner; received {opened} to {closed}"
        )
    shown = {view: tuple((row[view] or "").split()) for view in views}
    unknown = [name for names in shown.values() for name in names if name not in CLASS_NAMES]
    if unknown:
        raise SourceError(f"{where}: expected classes {', '.join(CLASS_NAMES)}; received {unknown[0]!r}")
    return PartTruth(row["part_id"] or "", row["product"] or "", opened, closed, shown)


def trigger_events(parts: Iterable[PartTruth], *, recipes: bool = False) -> tuple[TriggerEvent, ...]:
    """Return what the light barrier saw of `parts`, in order. `recipes`: with the product's name as recipe.

    A part without an id, or a product, is told of without one.
    """
    events: list[TriggerEvent] = []
    for part in parts:
        recipe = part.product or None if recipes else None
        events.append(PartOpened(part.opened_ns, part.part_id or None, recipe))
        events.append(PartClosed(part.closed_ns, part.part_id or None))
    return tuple(sorted(events, key=lambda event: event.at_ns))
