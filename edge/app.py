"""The only file that names concrete classes: settings → parts → a line that runs."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from edge.alarms import AlarmManager, alarm_rules
from edge.bundle import INT8_MODEL, INT8_OPENVINO_MODEL, ONNX_MODEL, Bundle
from edge.cameras.capture import CapturedCamera, CaptureLimits, PictureSource
from edge.cameras.images import ImagesCamera
from edge.cameras.looping import LoopingCamera
from edge.cameras.network import NetworkStream
from edge.cameras.opencv import OpenCvSource, require_gstreamer
from edge.cameras.pacing import PacedCamera
from edge.cameras.recordings import recorded_camera
from edge.commands.requests import Command, CommandOutcome, Inbox
from edge.commands.socket import CommandSocket
from edge.engines.autotune import Candidate, cache_file, choose, cpu_has_bf16, machine_key
from edge.engines.cascade import openvino_bf16
from edge.engines.device import Vendor
from edge.engines.engine_files import Precision, plan_path
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.engines.time_limit import TimeLimitedEngine
from edge.errors import SettingsError, SourceError
from edge.inspection.golden import check_golden, golden_tiles, require_golden, require_passed
from edge.inspection.inference import Inference
from edge.messages.writer import Counters, Identity, MessageWriter, ModelIdentity
from edge.observers.preview import LastPicture
from edge.outbox import AckPolicy, Outbox, OutboxCounts, OwnTopics, Sender
from edge.pictures import SUFFIXES, as_text
from edge.protocols import Camera, Engine, Publisher
from edge.publishers.client_id import default_client_id
from edge.publishers.mqtt import MqttPublisher
from edge.publishers.network import Reload
from edge.records import CameraCondition, CameraState, Grade, Message, UInt8
from edge.settings import PRECISIONS, CameraSettings, EngineSettings, Settings, StoreSettings, effective_thresholds
from edge.simulation.camera import SimulatedCamera
from edge.simulation.engine import SimulatedEngine
from edge.station.alarm_service import AlarmService
from edge.station.change_log import ChangeLog
from edge.station.engine_start import Waiting, build_missing_engine
from edge.station.glance import Glance
from edge.station.live_status import LiveStatus
from edge.station.pipeline import Decided, Line, LineCounts
from edge.station.resend import EventResender
from edge.station.station_journal import StationJournal
from edge.station.status import Reporter
from edge.station.watchdog import Heartbeats, Watchdog, notify
from edge.wording import command

_LOG = logging.getLogger(__name__)
# How long a stopping line tries to hand over what is left; what remains waits in the outbox for the next start.
DRAIN_S = 3.0
_LOOK_EVERY_NS = 500_000_000
# Bundles are judged on it when they are converted; any other engine is proven before it judges.
REFERENCE = Candidate("onnxruntime", "fp32")


@dataclass(frozen=True)
class RunResult:
    """How a run ended: what was inspected, and what became of the messages.

    `published`: rows handed to the broker. `engine_hangs`: an inference had not come back when the line was stopped.
    """

    counts: LineCounts
    outbox: OutboxCounts
    published: int
    engine_hangs: bool = False


def make_camera(settings: CameraSettings, progress: Heartbeats, depth_bits: int | None = None) -> Camera:
    """Return the settings' camera for a live line, not yet opened: a recording plays as if it were live.

    `depth_bits`: how many bits of levels of 16 count, where that is known. A camera with a thread of its own marks its
    `progress`. Raises SettingsError without a source.
    """
    kind = settings.resolved_kind()
    if kind == "simulated":
        return SimulatedCamera(settings.name, settings.simulated)
    if settings.source is None:
        raise SettingsError(
            "key camera.source: expected a device, file, folder, RTSP URL, GStreamer pipeline or `simulated`; "
            "received nothing"
        )
    if kind == "images" or kind == "file":  # noqa: PLR1714 - mypy narrows the kind by this
        play = partial(make_recording, settings.name, Path(str(settings.source)), depth_bits, settings.expected_px)
        return PacedCamera(LoopingCamera(settings.name, play) if settings.loop else play(), as_live=True)
    if kind == "gstreamer":
        require_gstreamer(settings.name)
    limits = CaptureLimits(settings.max_age_ms, settings.expected_px)
    make = partial(_live_source, settings, kind, depth_bits)
    return CapturedCamera(settings.name, make, live=True, limits=limits, alive=progress.mark("camera"))


def _live_source(
    settings: CameraSettings, kind: Literal["device", "rtsp", "gstreamer"], depth_bits: int | None
) -> PictureSource:
    source, age_ms, clock = str(settings.source), settings.max_age_ms, settings.compare_clocks
    if kind == "rtsp":
        return NetworkStream(source, max_age_ms=age_ms, clock=clock, depth_bits=depth_bits)
    return OpenCvSource(kind, source, max_age_ms=age_ms, device=settings.device, clock=clock, depth_bits=depth_bits)


def make_recording(
    name: str, path: Path, depth_bits: int | None = None, expected_px: tuple[int, int] | None = None
) -> ImagesCamera | CapturedCamera:
    """Return the camera that plays a folder, a picture or a video. Raises SourceError if there is nothing at `path`.

    `depth_bits`: how many bits of pictures of 16 count, where that is known. `expected_px`: width and height that a
    video's pictures must have; without it, those of the first one.
    """
    try:
        if not path.exists():
            raise SourceError(
                f"Nothing at {as_text(str(path))}: expected a video, a picture, or a folder with pictures"
            )
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:
        told = getattr(error, "strerror", None) or error
        raise SourceError(f"{as_text(str(path))} cannot be read: {told}. Look at its name and its rights") from error
    if is_folder or path.suffix.lower() in SUFFIXES:
        return ImagesCamera(name, path, depth_bits=depth_bits)
    return recorded_camera(name, path, size_px=expected_px, depth_bits=depth_bits)


def make_engine(
    settings: EngineSettings,
    bundle: Bundle,
    truth: Callable[[int], UInt8] | None = None,
    vendor: Vendor | None = None,
) -> Engine:
    """Return the settings' engine, not opened, without a time limit; the simulated one needs the line's `truth`.

    `auto` measures here what is the fastest, the first time; later starts remember it. `vendor` stands in for NVIDIA's
    modules. Raises SettingsError for a simulated engine without truth, and for bf16 on a CPU without it.
    """
    if settings.backend == "simulated":
        if truth is None:
            raise SettingsError("key engine.backend: the simulated engine answers only for the simulated camera")
        tiles_per_s, fault = settings.simulated_tiles_per_s, settings.simulated_fault
        return SimulatedEngine(bundle.contract(settings.batch), truth, tiles_per_s, fault)
    return _open_engine(_chosen(settings, bundle, vendor), settings, bundle, vendor)


def _chosen(settings: EngineSettings, bundle: Bundle, vendor: Vendor | None) -> Candidate:
    """Return what the settings ask for; of several, the fastest that sees the golden frames."""
    candidates = _candidates(settings, bundle)
    if not bundle.manifest.golden and REFERENCE in candidates:
        candidates = [REFERENCE]  # nothing could prove another
    if len(candidates) == 1:
        return candidates[0]

    def opener(each: Candidate) -> TimeLimitedEngine:  # what hangs while it is measured is not chosen
        return TimeLimitedEngine(
            _open_engine(each, settings, bundle, vendor), settings.max_batch_s, f"the engine {each}"
        )

    openers = {each: partial(opener, each) for each in candidates}
    built = [plan_path(bundle.path, each.precision) for each in openers if each.backend == "tensorrt"]
    about = {
        "batch": settings.batch,
        "threads": settings.threads,
        "of": [str(each) for each in openers],
        "built": [plan.stat().st_mtime_ns for plan in built],
        # they decide how much bf16 looks at twice
        "counts": [(entry.threshold, entry.min_area_px) for entry in bundle.classes],
    }
    key = machine_key(json.dumps(bundle.manifest.files, sort_keys=True), **about)
    thresholds = np.array([entry.threshold for entry in bundle.classes], np.float32)
    tiles = partial(golden_tiles, bundle)
    return choose(openers, key, partial(_why_not, bundle), thresholds, cache_file(), tiles=tiles).candidate


def make_limited_engine(
    settings: EngineSettings,
    bundle: Bundle,
    truth: Callable[[int], UInt8] | None = None,
    vendor: Vendor | None = None,
    stop: threading.Event | None = None,
) -> TimeLimitedEngine:
    """Return what `make_engine` returns, with the time limit for a batch; a shorter one once `stop` is set."""
    engine = make_engine(settings, bundle, truth, vendor)
    return TimeLimitedEngine(engine, settings.max_batch_s, f"the engine ({settings.backend})", stop)


@contextmanager
def proven_engine(
    settings: EngineSettings,
    bundle: Bundle,
    truth: Callable[[int], UInt8] | None = None,
    vendor: Vendor | None = None,
    stop: threading.Event | None = None,
    *,
    live: bool = False,
) -> Iterator[TimeLimitedEngine]:
    """Open what `make_limited_engine` returns for what judges by it, once it saw the bundle's golden frames alike.

    An engine that is not the reference (ONNX Runtime in fp32, on which a bundle is judged when it is converted) is
    proven whenever it opens; a bundle without golden frames is refused there. A `live` line proves the reference as
    well, and only warns where it cannot. The simulated engine answers for the simulated camera alone: nothing to prove.
    Raises BundleError, and as `make_limited_engine`.
    """
    if settings.simulated:
        with make_limited_engine(settings, bundle, truth, vendor, stop) as engine:
            yield engine
        return
    chosen = _chosen(settings, bundle, vendor)
    reference = chosen == REFERENCE
    if not reference:
        require_golden(bundle, f"the engine {chosen}")
    made = _open_engine(chosen, settings, bundle, vendor)
    with TimeLimitedEngine(made, settings.max_batch_s, f"the engine ({settings.backend})", stop) as engine:
        if live or not reference:
            _prove(bundle, engine, chosen)
        yield engine


def _prove(bundle: Bundle, engine: Engine, chosen: Candidate) -> None:
    results = check_golden(bundle, engine)
    if not results:
        _LOG.warning(
            "%s has no golden frames, so nothing shows that it sees here what it saw when it was converted. "
            "Convert it again: %s",
            bundle.path,
            command("convert", bundle.path, "--to", "onnxruntime", "--data", "PICTURES"),
        )
    require_passed(bundle, results, f"the engine {chosen}" if chosen != REFERENCE else "")


def _candidates(settings: EngineSettings, bundle: Bundle) -> list[Candidate]:
    """List what the settings leave open and this bundle and machine can run. Raises SettingsError for none."""
    backends = PRECISIONS if settings.backend == "auto" else (settings.backend,)
    asked = [
        Candidate(backend, precision)
        for backend in backends
        for precision in PRECISIONS[backend]
        if settings.precision in {"auto", precision}
    ]
    lacking = {each: _lacking(each, bundle) for each in asked}
    usable = [each for each, lack in lacking.items() if not lack]
    # TensorRT itself says how a missing engine is built
    if not usable and settings.backend != "tensorrt":
        raise SettingsError(f"key engine: {'; '.join(f'{each}: {lack}' for each, lack in lacking.items())}")
    return usable or asked[:1]


def _lacking(candidate: Candidate, bundle: Bundle) -> str:
    """Say what a candidate needs and this machine or bundle has not; or nothing."""
    backend, precision = candidate
    if backend == "tensorrt":
        return "" if plan_path(bundle.path, precision).exists() else "no engine was built on this device"
    if precision == "bf16" and not cpu_has_bf16():
        return "this CPU does not compute in bf16 (no avx512_bf16 or amx_bf16 in /proc/cpuinfo); use fp32"
    if precision == "int8" and _int8_model(backend) not in bundle.manifest.files:
        return (
            f"the bundle holds no {_int8_model(backend)}, which is chosen and judged on {backend} itself; run convert "
            f"{bundle.path} --to {backend} --precision int8"
        )
    return ""


def _int8_model(backend: str) -> str:
    """Name the INT8 graph of a backend: each rounds in its own way, and is judged by what it finds itself."""
    return INT8_OPENVINO_MODEL if backend == "openvino" else INT8_MODEL


def _open_engine(
    candidate: Candidate, settings: EngineSettings, bundle: Bundle, vendor: Vendor | None = None
) -> Engine:
    contract = bundle.contract(settings.batch)
    if candidate.backend == "tensorrt":
        options = TensorRtOptions(
            cast("Precision", candidate.precision), settings.memory, cuda_graphs=settings.cuda_graphs
        )
        return TensorRtEngine(bundle, contract, options, vendor)
    model = bundle.file(_int8_model(candidate.backend) if candidate.precision == "int8" else ONNX_MODEL)
    match candidate.backend:
        case "openvino":
            if candidate.precision == "bf16":
                return openvino_bf16(model, contract, bundle.classes, settings.threads)
            return OpenVinoEngine(model, contract, settings.threads)
        case _:
            return OnnxRuntimeEngine(model, contract, settings.threads)


def _why_not(bundle: Bundle, engine: Engine) -> str:
    """Say why an engine must not be chosen: a golden frame that it sees otherwise; or nothing."""
    failed = [result.image for result in check_golden(bundle, engine) if not result.passed]
    return f"it sees {', '.join(failed)} otherwise than at conversion" if failed else ""


def make_outbox(path: Path, settings: StoreSettings) -> Outbox:
    """Return the outbox at `path`, not yet opened."""
    return Outbox(path, max_results=settings.max_results, kept_s=settings.kept_h * 3600)


def identity_of(settings: Settings, bundle: Bundle, epoch: str) -> Identity:
    """Say who speaks: the line's place, its device, recipe and model."""
    line, manifest = settings.line, bundle.manifest
    return Identity(
        enterprise=line.enterprise,
        site=line.site,
        area=line.area,
        line=line.line,
        cell=line.cell,
        device=line.device,
        recipe=line.recipe,
        model=ModelIdentity(manifest.name, manifest.version, bundle.model_sha256),
        epoch=epoch,
    )


class _Announcements:
    """What is said at every connection: who the line is and whether it is ready."""

    def __init__(self, messages: MessageWriter, settings: Settings, bundle: Bundle) -> None:
        self.own = OwnTopics(messages.identity.root, settings.line.device)
        self._messages = messages
        self._status: Literal["starting", "online"] = "starting"
        self._reason = "opening the camera and the model"
        self._camera_told = False
        self._cameras = [settings.camera.name]
        self._classes = [entry.name for entry in bundle.classes]
        self.rules = alarm_rules(settings.alarms)
        self._operators = settings.operators
        self._grades = [Grade(row.name, row.value_factor) for row in settings.inspect.grades]

    def __call__(self) -> list[Message]:
        return [
            self._messages.status(self._status, self._reason),
            self._messages.birth(self._cameras, self._classes, self.rules, self._operators, self._grades),
            self._messages.recipe(),
        ]

    def starting(self, reason: str) -> list[Message]:
        """Note why frames are not taken yet, and return what is to be said at once."""
        self._reason = reason
        return self()

    def said(self) -> tuple[str, str]:
        """Return the status and its reason, as they were last said."""
        return self._status, self._reason

    def opened(self, camera: str, *, live: bool) -> list[Message]:
        """Return what is to be said when all is open: a recording is inspected, a camera's first frame is awaited."""
        return self.starting(f"waiting for the first frame of the camera {camera}") if live else self.ready()

    def of_camera(self, sees: bool, state: CameraState | None) -> list[Message]:
        """Return what is to be said when the first frame is there, and when the camera cannot be opened."""
        if self._status == "online":
            return []
        if sees:
            notify("STATUS=inspecting")
            return self.ready()
        if state is None or state.condition is not CameraCondition.LOST or self._camera_told:
            return []
        self._camera_told = True
        return self.starting(f"the camera is lost: {state.detail}")

    def ready(self) -> list[Message]:
        """Note that frames are taken from now on, and return what is to be said at once."""
        self._status, self._reason = "online", "inspecting"
        return self()


def _to_broker(
    settings: Settings,
    messages: MessageWriter,
    own: OwnTopics,
    progress: Heartbeats,
    *,
    live: bool,
    reload: Reload | None,
) -> MqttPublisher:
    """Return the way to the settings' broker, not yet opened. A replay's client id is not that of the line itself."""
    will, root = messages.will(), messages.identity.root
    speaker = settings.line.device if live else f"{settings.line.device} replay"
    own.sent(will)  # which the broker may publish when this line comes back
    return MqttPublisher(
        settings.broker,
        settings.broker.client_id or default_client_id(root, speaker),
        will,
        [f"{root}/cmd/+"],
        progress.mark("network"),
        watches=own.filters,
        reload=reload,
    )


class _StoppedEarlyError(Exception):
    """The line was stopped before it could inspect; with what the run came to, once all is closed."""

    def __init__(self, result: Callable[[], RunResult]) -> None:
        super().__init__("stopped while starting")
        self.result = result


@dataclass(frozen=True)
class OpenLine:
    """A line whose parts are all open."""

    line: Line
    outbox: Outbox
    sender: Sender
    messages: MessageWriter
    engine: TimeLimitedEngine

    def stop(self) -> None:
        """Send what waits for a few seconds, then the farewell, so that the Will is not needed; once is enough."""
        self.line.alarms.note_refusals(time.monotonic_ns(), all_of_it=True)
        self.sender.stop(DRAIN_S, self.messages.status("offline", "stopped"))
        self.outbox.flush(DRAIN_S)


@contextmanager
def open_line(
    settings: Settings,
    bundle: Bundle,
    *,
    store: Path,
    live: bool,
    camera: Camera | None = None,
    publisher: Publisher | None = None,
    outbox: Outbox | None = None,
    ack_policy: AckPolicy | None = None,
    watchers: Sequence[Callable[[Decided], None]] = (),
    stop: threading.Event | None = None,
    reload: Reload | None = None,
    vendor: Vendor | None = None,
    glances: Callable[[Glance], None] | None = None,
) -> Iterator[OpenLine]:
    """Open every part of a line, ready to `run`; stop and close them all, in order, on every path.

    `camera`, `publisher`, `outbox` and `ack_policy` stand in for the settings' own, `vendor` for NVIDIA's modules. A
    TensorRT engine that is missing is built first, if the settings say so, until `stop` is set. When `reload` is set,
    the broker's certificates and password are read again. `glances` is told twice a second how the line stands.
    """
    with ExitStack() as parts:
        progress = Heartbeats()
        outbox = parts.enter_context(outbox or make_outbox(store, settings.store))
        messages = MessageWriter(identity_of(settings, bundle, outbox.epoch))
        announcements = _Announcements(messages, settings, bundle)
        publisher = parts.enter_context(
            publisher or _to_broker(settings, messages, announcements.own, progress, live=live, reload=reload)
        )
        inbox = Inbox(messages.identity.root, answer_prefix=settings.commands.prefix(messages.identity.root))
        # a recording's events are for whoever is there while it is replayed
        ack_policy = ack_policy or AckPolicy(settings.store.expect_consumer if live else ())
        if live:
            parts.enter_context(StationJournal(messages, outbox, settings, bundle))
        sender = parts.enter_context(
            Sender(
                outbox,
                publisher,
                announcements,
                inbox.put,
                ack_policy=ack_policy,
                alive=progress.mark("outbox"),
                own=announcements.own,
            )
        )
        # reached with the sender still open only where something below failed to open
        parts.callback(lambda: sender.stop(DRAIN_S, messages.status("offline", "could not start")))
        status = _live_status(settings, messages, announcements, outbox, sender)
        if live:  # as early as can be, to tell what a start waits for
            parts.enter_context(CommandSocket(store, messages.identity.root, inbox.put, questions=status.questions()))
        camera = camera or make_camera(settings.camera, progress, settings.camera.depth(bundle))
        truth = camera.truth if isinstance(camera, SimulatedCamera) else None
        alarms = AlarmService(AlarmManager(announcements.rules, settings.operators), messages, outbox)
        alarms.begin(time.monotonic_ns() if live else 0, live=live)
        waiting = Waiting(settings.camera.name, alarms, messages, outbox if live else None)
        build = partial(build_missing_engine, settings.engine, bundle, vendor=vendor, waiting=waiting)
        if not build(stop or threading.Event(), say=lambda reason: _offer(sender, announcements.starting(reason))):
            sender.stop(DRAIN_S, messages.status("offline", "stopped"))
            raise _StoppedEarlyError(lambda: RunResult(LineCounts(), outbox.counts(), sender.published))
        engine = parts.enter_context(proven_engine(settings.engine, bundle, truth, vendor, stop, live=live))
        parts.enter_context(camera)
        reporter = Reporter(settings.report, messages=messages, camera=camera, outbox=outbox, sender=sender)
        pictures = [LastPicture(settings.report.picture_every_s, bundle, messages, sender)] if live else []
        moved = turns_of(progress, engine)

        def answer_replay(command: Command, outcome: CommandOutcome, detail: str) -> None:
            alarms.audit(command, outcome, detail)
            line.answer_command(command, outcome, detail)

        look = _Looks(glances, live=live)

        def each_turn() -> None:
            moved()
            look.if_due(line, camera, outbox, sender)
            _offer(sender, announcements.of_camera(line.sees, line.camera_state))
            reporter.report_if_due(_counters(line, camera, outbox, sender, inbox), line.camera_state, line.last_age_ms)

        line = Line(
            camera=camera,
            inference=Inference(engine, effective_thresholds(settings, bundle), bundle.manifest.tile.overlap_px),
            bundle=bundle,
            inspect=settings.inspect,
            max_age_ms=settings.camera.max_age_ms,
            alarms=alarms,
            messages=messages,
            outbox=outbox,
            live=live,
            watchers=(*watchers, *pictures, *look.watchers, *([status] if live else [])),
            each_turn=each_turn,
            commands=inbox.take,
            answer=sender.offer,
            obey_also={"replay": EventResender(outbox, answer_replay)},
            delivery=lambda: sender.delivery,
            watch=settings.camera.watched(live=live),
        )
        line.counts.alarms_raised += waiting.raised
        status.camera_state = lambda: line.camera_state
        _offer(sender, announcements.opened(camera.name, live=live))
        if live:
            parts.enter_context(Watchdog(progress))
            notify("READY=1\nSTATUS=waiting for the first frame")
            parts.callback(notify, "STOPPING=1")
        opened = OpenLine(line, outbox, sender, messages, engine)
        parts.callback(opened.stop)
        yield opened


def _live_status(
    settings: Settings, messages: MessageWriter, announcements: _Announcements, outbox: Outbox, sender: Sender
) -> LiveStatus:
    return LiveStatus(
        messages.identity,
        announcements.rules,
        outbox,
        sender,
        said=announcements.said,
        camera=settings.camera.name,
        max_age_ms=settings.camera.max_age_ms,
        broker="{}:{}".format(*settings.broker.address),
    )


def run_line(
    settings: Settings,
    bundle: Bundle,
    stop: threading.Event,
    *,
    store: Path,
    live: bool,
    camera: Camera | None = None,
    publisher: Publisher | None = None,
    outbox: Outbox | None = None,
    ack_policy: AckPolicy | None = None,
    watchers: Sequence[Callable[[Decided], None]] = (),
    reload: Reload | None = None,
    vendor: Vendor | None = None,
    glances: Callable[[Glance], None] | None = None,
) -> RunResult:
    """Run a line until its stream ends or `stop` is set; see `open_line`."""
    parts: dict[str, Any] = {
        "camera": camera,
        "publisher": publisher,
        "outbox": outbox,
        "ack_policy": ack_policy,
        "watchers": watchers,
        "reload": reload,
        "vendor": vendor,
        "glances": glances,
    }
    try:
        with open_line(settings, bundle, store=store, live=live, stop=stop, **parts) as opened:
            counts = opened.line.run(stop)
            opened.stop()
            hangs = opened.engine.hangs
    except _StoppedEarlyError as early:
        return early.result()
    # only a closed outbox knows what it lost
    return RunResult(counts, opened.outbox.counts(), opened.sender.published, hangs)


class _Looks:
    """Looks at a running line twice a second, for who watches it and for the log."""

    def __init__(self, glances: Callable[[Glance], None] | None, *, live: bool) -> None:
        self._glances = glances
        self._changes = ChangeLog() if live else None
        self.watchers = [self._changes.decided] if self._changes else []
        self._next_ns = 0

    def if_due(self, line: Line, camera: Camera, outbox: Outbox, sender: Sender) -> None:
        """Look, if it is time to."""
        now_ns = time.monotonic_ns()
        if now_ns < self._next_ns or (self._glances is None and self._changes is None):
            return
        self._next_ns = now_ns + _LOOK_EVERY_NS
        if self._changes is not None:
            self._changes.delivery(sender.delivery)
        if self._glances is not None:
            self._glances(_glance(now_ns, line, camera, outbox, sender))


def _glance(now_ns: int, line: Line, camera: Camera, outbox: Outbox, sender: Sender) -> Glance:
    counts, stored, state = line.counts, outbox.counts(), line.camera_state
    manager = line.alarms.manager
    shown = set(manager.shown_alarms)
    silent = state is not None and (line.last_age_ms is None or state.condition is not CameraCondition.NO_FRAME_YET)
    return Glance(
        at_ns=now_ns,
        frames=counts.frames,
        ok=counts.ok,
        ng=counts.ng,
        no_read=counts.no_read,
        dropped=camera.dropped,
        age_ms=line.last_age_ms,
        camera=f"{state.condition.value} {state.detail}".strip() if state is not None and silent else "",
        connected=sender.connected,
        broker=sender.trouble or "",
        waiting=stored.pending + stored.waiting,
        alarms=tuple((rule.id, rule.text) for rule in manager.rules if rule.id in shown),
    )


def turns_of(progress: Heartbeats, engine: TimeLimitedEngine) -> Callable[[], None]:
    """Return what the loop calls on every turn. While the engine hangs systemd is not told that all is well.

    It then restarts the line, which is what helps against a hung driver.
    """
    pipeline, answering = progress.mark("pipeline"), progress.mark("engine")

    def moved() -> None:
        pipeline()
        if not engine.hangs:
            answering()

    return moved


def _offer(sender: Sender, messages: Sequence[Message]) -> None:
    for message in messages:
        sender.offer(message)


def _counters(line: Line, camera: Camera, outbox: Outbox, sender: Sender, inbox: Inbox) -> Counters:
    counts, stored = line.counts, outbox.counts()
    return Counters(
        frames=counts.frames,
        ok=counts.ok,
        ng=counts.ng,
        no_read=counts.no_read,
        frames_dropped=camera.dropped,
        alarms_raised=counts.alarms_raised,
        alarms_cleared=counts.alarms_cleared,
        acknowledged=stored.acknowledged,
        parked=stored.parked,
        results_dropped=stored.dropped,
        alarms_chattering=line.alarms.manager.chattered,
        commands_refused=inbox.dropped,
        answers_withheld=inbox.unanswered,
        **vars(sender.counts),
        grades=dict(counts.grades.counts),
        value_factor_mean=counts.grades.value_factor_mean,
    )
