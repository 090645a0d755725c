"""Judges listed pictures as `inspect` and the line do, and tells each as a row.

A Task says what judges, and travels to other machines; each opens its own engines.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from typing_extensions import Self

from edge.app.engines import proven_engine
from edge.bundle import MANIFEST, Bundle, load_bundle, sha256_of
from edge.errors import BundleError
from edge.inspection.inference import Inference
from edge.inspection.inspector import FileReading, InspectedPicture, Inspector, inspect_pictures
from edge.pictures import as_text
from edge.quality.learning import open_gate
from edge.recipes.loaded import model_of
from edge.records import UInt8
from edge.reinspecting.listed import Listed
from edge.reinspecting.reading import Reader
from edge.settings import Settings, effective_thresholds

Row = dict[str, Any]


@dataclass(frozen=True)
class Station:
    """One station: settings of which one recipe is used. `bundles`: the SHA-256 of each bundle's manifest, by path."""

    settings: Settings
    bundles: Mapping[str, str]

    @property
    def recipe(self) -> str:
        """The recipe that judges."""
        return self.settings.first_recipe

    @property
    def views(self) -> tuple[str, ...]:
        """The views of the recipe."""
        return tuple(self.settings.station_recipes[self.recipe].views)

    def judged_by(self, listed: Listed) -> str:
        """Return the view that judges a picture; a recipe of one view judges all."""
        return self.views[0] if len(self.views) == 1 else str(listed.view)


@dataclass(frozen=True)
class JudgedPicture:
    """One picture with its row. `seen`: all that was found in it."""

    row: Row
    seen: InspectedPicture


class Judge:
    """Has an engine for each bundle of a station's recipe, and judges the pictures that `reader` reads."""

    def __init__(self, station: Station, reader: Reader) -> None:
        self._station = station
        self._reader = reader
        self._scope = ExitStack()
        self._inspectors: dict[str, tuple[Inspector, FileReading, Bundle]] = {}
        self._engines: dict[str, Any] = {}
        self.engines: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            for view in self._station.views:
                self._inspectors[view] = self._opened(opening, view)
            self._scope = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scope.close()

    def bundle(self, view: str) -> Bundle:
        """Return the bundle of a view."""
        return self._inspectors[view][2]

    def judge(self, pictures: Sequence[Listed], stop: threading.Event) -> Iterator[JudgedPicture]:
        """Judge pictures, view by view, until `stop` is set. An unreadable picture is NO_READ, with why."""
        by_view: dict[str, list[Listed]] = {}
        for listed in pictures:
            by_view.setdefault(self._station.judged_by(listed), []).append(listed)
        for view, own in by_view.items():
            yield from self._of_view(view, own, stop)

    def _of_view(self, view: str, pictures: Sequence[Listed], stop: threading.Event) -> Iterator[JudgedPicture]:
        inspector, reading, bundle = self._inspectors[view]
        named = {Path(each.picture): each for each in pictures}
        hashes: dict[str, str] = {}

        def read(path: Path) -> tuple[UInt8, tuple[str, ...]]:
            return self._reader.pixels(named[path], reading, hashes)

        begun_s = time.perf_counter()
        for seen in inspect_pictures(list(named), inspector, stop, reading, read):
            listed, now_s = named[seen.path], time.perf_counter()
            row = row_of(listed, seen, hashes.pop(listed.picture, None))
            told = {"recipe": self._station.recipe, "model": told_model(bundle), "seconds": now_s - begun_s}
            begun_s = now_s
            yield JudgedPicture(row | told, seen)

    def _opened(self, scope: ExitStack, view: str) -> tuple[Inspector, FileReading, Bundle]:
        settings = self._station.settings.of_view(view, self._station.recipe)
        assert settings.bundle is not None  # noqa: S101 - stations are made of settings that have one
        bundle = load_bundle(settings.bundle)
        expected = self._station.bundles[str(settings.bundle)]
        if (found := sha256_of(bundle.path / MANIFEST)) != expected:
            raise BundleError(
                f"{bundle.path} is another bundle here: expected the manifest with SHA-256 {expected[:12]}, received "
                f"{found[:12]}. Copy the bundle to each machine"
            )
        key = str(settings.bundle)
        if key not in self._engines:
            truth = _nothing_there if settings.engine.simulated else None
            self._engines[key] = scope.enter_context(proven_engine(settings.engine, bundle, truth))
            self.engines[key] = self._engines[key].in_use
        thresholds = effective_thresholds(settings.inspect, bundle)
        inference = Inference(self._engines[key], thresholds, bundle.manifest.tile.overlap_px)
        camera = settings.camera
        reading = FileReading(camera.depth(bundle), camera.watched_files(), open_gate(camera.quality))
        return Inspector(inference, bundle, settings.inspect), reading, bundle


def _nothing_there(camera: str, frame: int) -> UInt8:
    """Return what the simulated engine answers of pictures, whose truth nobody knows: it only takes its time."""
    del camera, frame
    return np.zeros((1, 1), np.uint8)


def told_model(bundle: Bundle) -> str:
    """Name the model that judges: the bundle's name and version, and the first digits of its model's SHA-256."""
    model = model_of(bundle)
    return f"{model.name} {model.version} {(model.sha256 or 'unknown')[:12]}"


def row_of(listed: Listed, seen: InspectedPicture, sha256: str | None) -> Row:
    """Return what one picture came to: px of the picture, mm where there is a scale; a missing measurement is None."""
    outcome = seen.outcome
    measured = outcome.measurement
    reason = outcome.judgement.reason
    return {
        "picture": listed.picture,
        "sha256": sha256,
        "part_id": listed.part_id,
        "view": listed.view,
        "verdict": outcome.judgement.verdict.value,
        "reason": None if reason is None else as_text(reason),
        "coverage": None if measured is None else measured.coverage,
        "defects": None if measured is None else [defect_row(each) for each in measured.defects],
    }


def defect_row(defect: Any) -> Row:
    """Return one defect: its class, its sizes where a scale is known, and its box in px of the picture."""
    x, y, w, h = defect.bbox
    return {
        "class": defect.class_name,
        "area_mm2": defect.area_mm2,
        "length_mm": defect.length_mm,
        "box_px": {"x": x, "y": y, "w": w, "h": h},
    }
