"""`linewatch replay --against`: a second station judges the very same frames in the same pass."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from edge.cli.console import load_station, output, warn
from edge.cli.given_recordings import require_views
from edge.errors import LinewatchError, SettingsError
from edge.printable import printable
from edge.wording import counted

CHANGED = 15  # the exit code of --fail-on-change
_ROWS = 40


@dataclass(frozen=True)
class Asked:
    """The request of the command line. `against`: a bundle or settings; the others, files to be written."""

    against: Path
    diff: Path | None
    html: Path | None


def second_station(against: Path, config: Path, bundle: Path | None, settings: Any, bundles: Any) -> tuple[Any, Any]:
    """Return settings and bundles of the second station. Raises SettingsError for what could be both, or is neither."""
    from edge.bundle import MANIFEST, load_bundle
    from edge.settings import load_settings, require_known_classes, shipped_if_demo

    given = shipped_if_demo(against)
    if given.is_dir():
        if not (given / MANIFEST).is_file():
            raise SettingsError(f"--against: expected a bundle or a file of settings, received the folder {given}")
        if settings.recipes:
            raise SettingsError(
                f"--against {given}: expected a second file of settings, for each view of the recipes names a bundle "
                "of its own; received a bundle. Copy the settings and change recipes.NAME.views.CAMERA.bundle"
            )
        second = settings.with_bundle(given)
        new = load_bundle(given)
        loaded: Any = {given: new}
        require_known_classes(second, loaded, config)
        _tell_classes(settings, bundles, new)
    else:
        named = load_settings(given)
        second, loaded = load_station(given, None if named.recipes or named.bundle is not None else bundle)
    _require_comparable(settings, second)
    return second, loaded


def _tell_classes(settings: Any, bundles: Any, new: Any) -> None:
    """Say where two bundles know other classes, and where they are one and the same."""
    from edge.recipes.loaded import model_of

    former = bundles[settings.bundle]
    if model_of(former).sha256 == model_of(new).sha256 and former.classes == new.classes:
        warn(f"--against {new.path} is the same model as {former.path}: nothing can differ")
    known, others = {entry.name for entry in former.classes}, {entry.name for entry in new.classes}
    if known != others:
        told = [f"{name} is new" for name in sorted(others - known)]
        told += [f"{name} is not known to it" for name in sorted(known - others)]
        warn(f"--against {new.path} has other classes: {', '.join(told)}")


def _require_comparable(settings: Any, second: Any) -> None:
    views = second.station_recipes[second.first_recipe].views
    if unknown := [name for name in views if name not in settings.station_recipes[settings.first_recipe].views]:
        raise SettingsError(
            f"--against: expected no cameras but those of --config, {', '.join(settings.station_cameras)}; received "
            f"{', '.join(unknown)}"
        )
    if settings.parts.exist != second.parts.exist:
        one, other = settings.parts.trigger, second.parts.trigger
        raise SettingsError(
            f"--against: expected both to tell parts apart, or neither; received parts.trigger {one} and {other}"
        )


def require_same_pixels(settings: Any, bundles: Any, second: Any, loaded: Any) -> None:
    """Raise SettingsError where the second station would make other pixels of the same pictures of 16 bits."""
    for name in second.station_recipes[second.first_recipe].views:
        one, other = settings.of_view(name), second.of_view(name)
        depths = [one.camera.depth(bundles[one.bundle]), other.camera.depth(loaded[other.bundle])]
        if depths[0] != depths[1]:
            raise SettingsError(
                f"--against: expected the same depth_bits of the camera {name}, so that both see the same pixels; "
                f"received {depths[0]} and {depths[1]}"
            )


class Against:
    """The second station, in a thread of its own, and what both make of the same parts."""

    def __init__(self, asked: Asked, first: tuple[Any, Any, Path], second: tuple[Any, Any]) -> None:
        from edge.replaying.page import DifferingPictures
        from edge.replaying.pairs import Pairs
        from edge.replaying.sharing import Turns
        from edge.replaying.telling import Comparison

        self._asked = asked
        settings, bundles, config = first
        self.second, self._loaded = second
        self.unit = "part" if settings.parts.exist else "frame"
        self._pictures = None
        if asked.html is not None:
            self._pictures = DifferingPictures(_classes(settings, bundles), _classes(*second))
        self.pairs = Pairs(parts=settings.parts.exist, seen=None if self._pictures is None else self._pictures.seen)
        named = asked.against if asked.against.is_file() else config
        self.comparison = Comparison(
            self.unit, _station(settings, bundles, config), _station(self.second, self._loaded, named)
        )
        self.turns = Turns()
        self._error: Exception | None = None

    def shared(self, sources: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the cameras of the first station and of the second; each frame is decoded once for both."""
        from edge.replaying.sharing import SharedCamera

        require_views(self.second, list(sources))
        wanted = self.second.station_recipes[self.second.first_recipe].views
        shares = {name: SharedCamera(source, self.turns) for name, source in sources.items() if name in wanted}
        own = {name: shares[name].for_reader(0) if name in shares else source for name, source in sources.items()}
        return own, {name: share.for_reader(1) for name, share in shares.items()}

    @contextmanager
    def running(self, cameras: dict[str, Any], trigger: Any, store: Path, stop: threading.Event) -> Iterator[None]:
        """Let the second station judge while the block runs the first; raise here what ended it early."""
        thread = threading.Thread(target=self._run, args=(cameras, trigger, store, stop), name="second station")
        thread.start()
        try:
            yield
        except BaseException:
            stop.set()
            raise
        finally:
            self.turns.leave(0)
            thread.join()
        if isinstance(self._error, LinewatchError):
            raise type(self._error)(f"--against {self._asked.against}: {self._error}") from self._error
        if self._error is not None:
            raise self._error

    def _run(self, cameras: dict[str, Any], trigger: Any, store: Path, stop: threading.Event) -> None:
        from edge.app import StandIns, Watchers, run_station
        from edge.observers.direct import DirectObserver
        from edge.publishers.memory import MemoryPublisher
        from edge.replaying.pairs import NEW

        try:
            run_station(
                self.second,
                self._loaded,
                stop,
                store=store,
                live=False,
                instead=StandIns(cameras=cameras, trigger=trigger, publisher=MemoryPublisher()),
                watchers=Watchers([DirectObserver(self.pairs.watch(NEW))]),
            )
        except Exception as error:  # noqa: BLE001 - raised again in the thread that waits for it
            self._error = error
            stop.set()
        finally:
            self.turns.leave(1)

    def take(self, write: Callable[[dict[str, Any]], None], *, all_of_it: bool = False) -> None:
        """Count what is paired by now, and `write` an event of each. Raises StoreError."""
        from edge.replaying.telling import event_of

        for twice in self.pairs.take(all_of_it=all_of_it):
            self.comparison.add(twice)
            if self._pictures is not None:
                self._pictures.add(twice)
            write(event_of(self.unit, twice))
        self.comparison.only_new = self.pairs.only_new

    def tell(self) -> None:
        """Print what differs, and write the files that were asked for. Raises StoreError."""
        comparison = self.comparison
        if self._asked.diff is not None:
            comparison.write(self._asked.diff)
        if self._asked.html is not None and self._pictures is not None:
            self._pictures.write(self._asked.html, comparison)
        if comparison.differing:
            output.print(_table(comparison))
        if len(comparison.differing) > _ROWS:
            output.print(f"and {counted(len(comparison.differing) - _ROWS, self.unit)} more; --diff writes them all")
        output.print(f"against {self._asked.against}: {comparison.diff.told(self.unit)}")
        if comparison.only_new:
            output.print(f"{counted(comparison.only_new, self.unit)} that the second station alone has")


def _table(comparison: Any) -> Table:
    table = Table(comparison.unit, "former", "new", "gained", "lost", "reason")
    for row in comparison.differing[:_ROWS]:
        table.add_row(
            printable(row[comparison.unit]),
            row["former"]["verdict"],
            row["new"]["verdict"],
            _named(row["gained"]),
            _named(row["lost"]),
            printable(row["new"]["reason"] or row["former"]["reason"] or ""),
        )
    return table


def _named(defects: list[dict[str, Any]]) -> str:
    """Count defects by class."""
    classes = [defect["class"] for defect in defects]
    return ", ".join(f"{classes.count(name)} {name}" for name in dict.fromkeys(classes))


def _classes(settings: Any, bundles: Any) -> dict[str, Any]:
    views = settings.station_recipes[settings.first_recipe].views
    return {name: bundles[view.bundle].classes for name, view in views.items()}


def _station(settings: Any, bundles: Any, config: Path) -> Any:
    from edge.recipes.loaded import model_of
    from edge.replaying.telling import Station
    from edge.settings import fingerprint

    models = {
        f"{recipe}/{name}": asdict(model_of(bundles[view.bundle]))
        for recipe, entry in settings.station_recipes.items()
        for name, view in entry.views.items()
    }
    return Station(str(config), fingerprint(settings), models)
