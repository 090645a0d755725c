"""Pictures tried beside a station, by its own settings and bundles: one at a time, in a thread that gives way.

The engine is opened with the first picture and kept. It has one processor thread of the lowest priority, so that the
station's own inspection does not wait for it.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from edge.app.engines import proven_engine
from edge.bundle import Bundle
from edge.errors import LinewatchError, SettingsError
from edge.inspection.inference import Inference
from edge.inspection.inspector import FileReading, Inspected, InspectedPicture, Inspector, inspect_pictures
from edge.inspection.limits import no_read
from edge.inspection.report import HtmlReport, as_row, drawn
from edge.inspection.trying import BusyError, Tried, TriedPicture
from edge.opencv import cv2
from edge.pictures.header import read_header
from edge.pictures.not_readable import NotReadableError
from edge.protocols import Engine
from edge.quality.learning import open_gate
from edge.settings import Settings, effective_thresholds, load_bundles, load_settings

WAITING_AT_MOST = 3
PIXELS_AT_MOST = 60_000_000
_BYTES_LOOKED_AT = 4_000_000
_NICE = 15
_PICTURE_PX, _REPORT_PX = 1600, 1100
_JPEG_QUALITY = 85


class PictureTrials:
    """Inspects pictures by the settings of a station's file, which is read again when it has changed."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="trials", initializer=_give_way)
        self._lock = threading.Lock()
        self._waiting = 0
        self._read_ns = 0
        self._settings: Settings | None = None
        self._engines = ExitStack()
        self._inspectors: dict[tuple[str, str], tuple[Inspector, Bundle]] = {}
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._pool.submit(self._close)
        self._pool.shutdown(wait=True)

    def views(self) -> Sequence[tuple[str, str]]:
        """Return the recipes and their cameras, the recipe of the start first. Raises SettingsError."""
        settings = load_settings(self._config)
        recipes = settings.station_recipes
        names = [settings.first_recipe, *(name for name in recipes if name != settings.first_recipe)]
        return [(name, camera) for name in names for camera in recipes[name].views]

    def inspect(self, recipe: str, camera: str, files: Sequence[tuple[str, Path]]) -> Tried:
        """Inspect files, one after the other, behind those that wait already. Raises LinewatchError."""
        with self._lock:
            if self._waiting >= WAITING_AT_MOST:
                raise BusyError("Other pictures are being tried. Try again when they are done")
            self._waiting += 1
        try:
            return self._pool.submit(self._inspect, recipe, camera, files).result()
        finally:
            with self._lock:
                self._waiting -= 1

    def _inspect(self, recipe: str, camera: str, files: Sequence[tuple[str, Path]]) -> Tried:
        inspector, bundle = self._inspector(recipe, camera)
        assert self._settings is not None  # noqa: S101 - read with the inspector
        view = self._settings.of_view(camera, recipe)
        reading = FileReading(view.camera.depth(bundle), view.camera.watched_files(), open_gate(view.camera.quality))
        told: list[TriedPicture] = []
        with tempfile.TemporaryDirectory(prefix="linewatch-try-") as folder:
            path = Path(folder) / "report.html"
            with HtmlReport(path, bundle, view.inspect, _REPORT_PX) as report:
                for name, file in files:
                    picture = _called(self._one(inspector, file, reading), name, file)
                    report.add(picture)
                    told.append(TriedPicture(as_row(picture), _jpeg(picture, bundle)))
                report.write("Stopped." if self._stop.is_set() else "")
            content = path.read_bytes()
        manifest = bundle.manifest
        return Tried(tuple(told), content, f"{manifest.name} {manifest.version}", recipe, camera)

    def _one(self, inspector: Inspector, file: Path, reading: FileReading) -> InspectedPicture:
        try:
            with file.open("rb") as opened:
                header = read_header(opened.read(_BYTES_LOOKED_AT))
        except NotReadableError as error:
            return InspectedPicture(file, Inspected(no_read(f"it is no picture that can be read: {error}")))
        if header.width * header.height > PIXELS_AT_MOST:
            size = f"{header.width} x {header.height} px"
            return InspectedPicture(
                file, Inspected(no_read(f"it has {size}; expected at most {PIXELS_AT_MOST:,} px in all"))
            )
        return next(inspect_pictures([file], inspector, self._stop, reading), InspectedPicture(file, _STOPPED))

    def _inspector(self, recipe: str, camera: str) -> tuple[Inspector, Bundle]:
        changed_ns = self._changed_ns()
        if self._settings is None or changed_ns != self._read_ns:
            self._close()
            self._settings, self._read_ns = load_settings(self._config), changed_ns
        if (recipe, camera) not in self._inspectors:
            self._inspectors[recipe, camera] = self._opened(self._settings, recipe, camera)
        return self._inspectors[recipe, camera]

    def _opened(self, settings: Settings, recipe: str, camera: str) -> tuple[Inspector, Bundle]:
        view = settings.of_view(camera, recipe)
        if view.bundle is None:
            raise SettingsError(f"{self._config}: No bundle: expected the key bundle in the settings, received none")
        bundle = load_bundles(view)[view.bundle]
        engine: Engine = self._engines.enter_context(
            proven_engine(
                view.engine.without_simulation().model_copy(update={"threads": 1, "missing": "refuse"}),
                bundle,
                stop=self._stop,
            )
        )
        inference = Inference(engine, effective_thresholds(view.inspect, bundle), bundle.manifest.tile.overlap_px)
        return Inspector(inference, bundle, view.inspect), bundle

    def _changed_ns(self) -> int:
        try:
            return self._config.stat().st_mtime_ns
        except OSError as error:
            raise SettingsError(f"{self._config} cannot be read: {error.strerror or error}") from error

    def _close(self) -> None:
        self._inspectors.clear()
        with suppress(LinewatchError):
            self._engines.close()


_STOPPED = Inspected(no_read("it was stopped before"))


def _give_way() -> None:
    """Let whatever else this device computes go first; an engine's threads inherit it."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def _called(picture: InspectedPicture, name: str, file: Path) -> InspectedPicture:
    """Return a picture under the name that people know it by, also in what was told of it."""
    judgement = picture.outcome.judgement
    reason = None if judgement.reason is None else judgement.reason.replace(str(file), name)
    outcome = replace(picture.outcome, judgement=replace(judgement, reason=reason))
    return replace(picture, path=Path(name), outcome=outcome)


def _jpeg(picture: InspectedPicture, bundle: Bundle) -> bytes | None:
    canvas = drawn(picture, bundle.classes, _PICTURE_PX)
    if canvas is None:
        return None
    return bytes(cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])
