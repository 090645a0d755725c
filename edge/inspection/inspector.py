"""One frame from its pixels to its verdict; the line does it for a camera's frames, `inspect` for files.

A thread of their own reads pictures one ahead. It prepares and cuts one while the engine works on the one before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from edge.bundle import Bundle
from edge.cameras.camera_watch import WatchSettings, blind
from edge.errors import EngineError, ProductNotFoundError, SourceError
from edge.inspection.frame_history import RecentFrames
from edge.inspection.inference import FrameJob, Infers
from edge.inspection.limits import no_read
from edge.inspection.measuring import Region, Sight, measure
from edge.inspection.scale import Scale
from edge.inspection.settings import InspectSettings, drift_watch
from edge.inspection.zoning import Shown, Zoning, judge_zones, measured_zones
from edge.opencv import cv2
from edge.pictures import SUFFIXES, as_frame_of, as_text, depth_of, levels_lost, list_pictures, read_decoded
from edge.pictures.decoding import Decoded
from edge.pictures.tables import inside, read_table
from edge.preparing import prepare_and_locate
from edge.quality.gate import QualityGate
from edge.records import (
    DefectMap,
    Drifted,
    Float64,
    Frame,
    Grade,
    Judgement,
    Measurement,
    NotFound,
    PartBox,
    PreparedFrame,
    UInt8,
    Verdict,
)


@dataclass(frozen=True)
class Inspected:
    """The outcome of one frame. `measurement` and `kept`, the map without specks, are None exactly when it is NO_READ.

    `zones`: what lies within each named zone, as if that were all that is inspected. `grade`: None without a table.
    """

    judgement: Judgement
    measurement: Measurement | None = None
    kept: DefectMap | None = None
    zones: Mapping[str, Measurement] = field(default_factory=dict)
    grade: Grade | None = None


class Inspector:
    """Prepares frames, has them inferred, measures and judges them, by one bundle and one line's settings.

    `scale`: how large its pixels are; None takes that of the settings, if any.
    """

    def __init__(
        self, inference: Infers, bundle: Bundle, settings: InspectSettings, scale: Scale | None = None
    ) -> None:
        self._inference = inference
        self._bundle = bundle
        self._settings = settings
        self._scale = settings.scale if scale is None else scale
        self._calibrated = settings.calibrated
        self._drift = drift_watch(settings)
        self._zoning = Zoning(settings, self._scale)
        self._recent = RecentFrames(bundle.manifest.frames)

    def begin(self, frame: Frame) -> FrameJob | Judgement:
        """Prepare a frame and start the engine on it; NO_READ where that cannot be done."""
        if garbled := garbled_pixels(frame.pixels):
            return no_read(garbled)
        if distrust := self._miscalibrated(frame):
            return distrust
        manifest = self._bundle.manifest
        try:
            pixels, to_frame, part = prepare_and_locate(frame.pixels, manifest.preparing, manifest.channels)
        except ProductNotFoundError as error:
            return NotFound(Verdict.NO_READ, f"the product was not found: {error}")
        try:
            part = self._part(frame.pixels, part)
        except ProductNotFoundError as error:
            return NotFound(Verdict.NO_READ, f"the part was not found: {error}")
        prepared = PreparedFrame(frame, pixels, to_frame, part=part)
        (job,) = self._inference.begin([self._recent.follow(prepared)])
        return job

    def _part(self, pixels: UInt8, by_bundle: PartBox | None) -> PartBox | None:
        """Return where the part lies, None where it is not looked for. Raises ProductNotFoundError."""
        finding = self._settings.part
        if finding is None:
            return None
        if finding.find != "bundle":
            return finding.look(pixels)
        if by_bundle is None:
            raise ProductNotFoundError("the bundle's preparing does not look for it. Set inspect.part.find")
        return by_bundle

    def part_outline(self, pixels: UInt8) -> Float64 | None:
        """Return the outline of the part in a frame, float64 [N, 2] px; None where it is not looked for, or found."""
        if self._settings.part is None:
            return None
        manifest = self._bundle.manifest
        try:
            _, _, by_bundle = prepare_and_locate(pixels, manifest.preparing, manifest.channels)
            found = self._part(pixels, by_bundle)
        except ProductNotFoundError:
            return None
        return None if found is None else found.outline

    def _miscalibrated(self, frame: Frame) -> Judgement | None:
        """Return NO_READ where the calibration does not hold for a frame: of another size, or known to be off."""
        if self._calibrated is None:
            return None
        if misfit := self._calibrated.misfit((frame.pixels.shape[1], frame.pixels.shape[0])):
            return no_read(misfit)
        drifted = "" if self._drift is None else self._drift.told(frame.captured_ns)
        return Drifted(Verdict.NO_READ, drifted) if drifted else None

    def forget(self) -> None:
        """Begin a new sequence, for models of several frames: what comes next does not follow what came before."""
        self._recent.forget()

    def finish(self, job: FrameJob) -> Inspected:
        """Wait for the engine's answers, measure and judge them. Raises EngineError."""
        stitched = self._inference.finish(job)
        frame, to_frame = job.prepared.frame, job.prepared.to_frame
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        placed = self._zoning.place(stitched, to_frame, size, job.prepared.part)
        if placed.problem:
            return Inspected(no_read(placed.problem))
        if hidden := self._never_found(placed.inspected.cells * stitched.stride**2):
            return Inspected(no_read(hidden))
        classes = self._bundle.classes
        part = job.prepared.part
        sight = Sight(frame.pixels, None if part is None else part.outline, self._settings.joining)
        measurement, kept = measure(stitched, classes, placed.inspected, to_frame, self._scale, sight=sight)
        # specks are gone already; a defect's share within a zone may be small
        pieces = tuple(replace(each, min_area_px=0.0) for each in classes)

        def again(shown: DefectMap, within: Region) -> Measurement:
            return measure(shown, pieces, within, to_frame, self._scale, sight=sight)[0]

        def cut(shown: DefectMap, within: Region) -> Measurement:
            # the picture has no edge where a zone's border cuts a defect: a piece has the size of its cells
            return measure(shown, pieces, within, to_frame, self._scale, sight=replace(sight, pixels=None))[0]

        zones = measured_zones(kept, placed, measurement, cut)
        judgement, graded = judge_zones(Shown(kept, placed, measurement, zones), self._settings, again)
        return Inspected(judgement, measurement, kept, zones, graded)

    def highest_level(self, job: FrameJob, answered: DefectMap) -> int | None:
        """Return the largest score, 0-255, that a map has within what is inspected of a job's frame; None for nothing.

        `answered`: the job's frame at a threshold that hardly any pixel lies below.
        """
        frame, to_frame = job.prepared.frame, job.prepared.to_frame
        size = (frame.pixels.shape[1], frame.pixels.shape[0])
        placed = self._zoning.place(answered, to_frame, size, job.prepared.part)
        if placed.problem:
            return None
        return int(cv2.minMaxLoc(answered.scores, placed.inspected.mask)[1])

    def _never_found(self, area_px: int) -> str:
        """Say so if a class could not be found were all of it defective, `area_px` prepared pixels: never OK then."""
        for entry in self._bundle.classes:
            if entry.min_area_px > area_px:
                return (
                    f"no {entry.name} could be found: its smallest area is {entry.min_area_px:g} prepared px, and "
                    f"{area_px} are inspected"
                )
        return ""


def garbled_pixels(pixels: UInt8) -> str:
    """Say so if pixels do not fit a model. A wrong format must not be measured as a surface."""
    if pixels.dtype.name == "uint8" and (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in {1, 3})):
        return ""
    return (
        f"the camera gives {pixels.dtype.name} {list(pixels.shape)}, expected uint8 [H, W] or [H, W, 3]; let a "
        "GStreamer pipeline end in: videoconvert ! video/x-raw,format=BGR ! appsink"
    )


@dataclass(frozen=True)
class InspectedPicture:
    """One file that was inspected. `frame` and `prepared` are None where it could not be read or prepared.

    `failed`: its inference failed. `tiles`: how many were answered. `told`: how its pixels were understood, where that
    is worth a word: turned, or fewer levels than the file has.
    """

    path: Path
    outcome: Inspected
    frame: Frame | None = None
    prepared: PreparedFrame | None = None
    failed: bool = False
    tiles: int = 0
    told: tuple[str, ...] = ()


@dataclass(frozen=True)
class FileReading:
    """The rules by which files are read and watched before they are inspected, as a camera's frames are.

    `depth_bits`: how many bits of 16 count, where that is known. `watch`: when a picture shows nothing; None = never.
    `quality`: tells when a picture is not good enough; None = that is not looked at.
    """

    depth_bits: int | None = None
    watch: WatchSettings | None = field(default_factory=WatchSettings)
    quality: QualityGate | None = None


def pictures_at(paths: Sequence[Path], tell: Callable[[str], object] = lambda _: None) -> list[Path]:
    """List the pictures at files and under folders, each once; of a dataset those that its manifest.csv names.

    `tell` is called with what was left out and why. Raises SourceError where there is nothing.
    """
    return list(dict.fromkeys(picture for path in paths for picture in _readable(path, tell)))


def _readable(path: Path, tell: Callable[[str], object]) -> list[Path]:
    try:
        return _at(path, tell)
    except OSError as error:
        raise SourceError(f"{as_text(str(path))} cannot be read: {error.strerror}. Look at its rights") from error


def _at(path: Path, tell: Callable[[str], object]) -> list[Path]:
    if path.is_dir():
        return _of_folder(path, tell)
    if not path.exists():
        raise SourceError(f"Nothing at {as_text(str(path))}: expected a picture, or a folder with pictures")
    return [path]


def _of_folder(folder: Path, tell: Callable[[str], object]) -> list[Path]:
    manifest = folder / "manifest.csv"
    if not manifest.is_file():
        listing = list_pictures(folder)
        for told in listing.told():
            tell(told)
        if not listing.files:
            raise SourceError(f"No pictures under {as_text(str(folder))}: expected files with {', '.join(SUFFIXES)}")
        return list(listing.files)
    try:
        names = [row.values.get("image", "") for row in read_table(manifest, ("image",)).rows]
        own = [inside(folder, name) for name in dict.fromkeys(names) if name]
    except SourceError as error:
        raise SourceError(f"{error}. Mend {as_text(str(manifest))}, or name the folder of pictures") from error
    if not own:
        raise SourceError(f"{as_text(str(manifest))} names no picture; expected at least one row")
    return own


# Returns a picture's pixels, and what is to be told of them. Raises SourceError.
ReadPicture = Callable[[Path], tuple[UInt8, tuple[str, ...]]]


def understood(path: Path, decoded: Decoded, reading: FileReading) -> tuple[UInt8, tuple[str, ...]]:
    """Return the pixels of a file that was decoded, and what is to be told of them. Raises SourceError."""
    pixels = as_frame_of(path, decoded, reading.depth_bits)
    told = ["turned as its orientation says"] if decoded.header.turned else []
    count = depth_of(decoded.pixels, reading.depth_bits, decoded.header.declared_bits)
    return pixels, tuple(filter(None, (*told, levels_lost(decoded.pixels, count))))


def inspect_pictures(
    paths: Sequence[Path],
    inspector: Inspector,
    stop: threading.Event,
    reading: FileReading | None = None,
    read: ReadPicture | None = None,
) -> Iterator[InspectedPicture]:
    """Inspect files in their order until `stop` is set; an unreadable or empty picture is NO_READ, with why.

    `read`: reads each of them, in a thread of its own, in their order; None = as files at these paths.
    """
    reading = reading or FileReading()
    given = read or (lambda path: understood(path, read_decoded(path), reading))
    begun: tuple[Path, FrameJob, tuple[str, ...]] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="pictures") as reader:
        ahead: Future[tuple[UInt8, tuple[str, ...]]] | None = reader.submit(given, paths[0]) if paths else None
        for index, path in enumerate(paths):
            if stop.is_set() or ahead is None:
                break
            current = ahead
            ahead = reader.submit(given, paths[index + 1]) if index + 1 < len(paths) else None
            frame: Frame | None = None
            told: tuple[str, ...] = ()
            try:
                pixels, told = current.result()
                frame = Frame("inspect", index, pixels, 0, datetime.now(timezone.utc), as_text(str(path)))
                job = _begin(inspector, frame, reading)
            except SourceError as error:
                job = no_read(str(error))
            except Exception as error:  # noqa: BLE001 - one picture never ends the others
                job = no_read(f"it cannot be prepared: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
            if begun is not None:
                yield _finished(inspector, *begun)
            begun = (path, job, told) if isinstance(job, FrameJob) else None
            if isinstance(job, Judgement):
                yield InspectedPicture(path, Inspected(job), frame, told=told)
        if begun is not None:
            yield _finished(inspector, *begun)


def _begin(inspector: Inspector, frame: Frame, reading: FileReading) -> FrameJob | Judgement:
    inspector.forget()  # pictures of a folder are no recording
    if (distrust := blind(reading.watch, frame.pixels)) is not None:
        return no_read(distrust.reason)
    gate = reading.quality
    if gate is not None:
        if misfit := gate.misfit(frame.pixels):
            return no_read(misfit)
        if (flaw := gate.look(frame.pixels, inspector.part_outline)) is not None:
            return no_read(flaw.reason)
    return inspector.begin(frame)


def _finished(inspector: Inspector, path: Path, job: FrameJob, told: tuple[str, ...]) -> InspectedPicture:
    prepared = job.prepared
    try:
        outcome = inspector.finish(job)
    except EngineError as error:
        outcome = Inspected(no_read(f"inference failed: {error}"))
        return InspectedPicture(path, outcome, prepared.frame, None, failed=True, told=told)
    except Exception as error:  # noqa: BLE001 - one picture never ends the others
        reason = f"it cannot be measured: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return InspectedPicture(path, Inspected(no_read(reason)), prepared.frame, None, told=told)
    return InspectedPicture(path, outcome, prepared.frame, prepared, tiles=len(job.tiles.cells), told=told)
