"""Settings → parts → a station that runs. With cameras.py and engines.py all that names concrete classes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edge.alarms import AlarmManager
from edge.app.cameras import Sources
from edge.app.engines import proven_engine
from edge.app.evidence import Evidence, open_evidence
from edge.app.machine import Machine, open_machine
from edge.app.monitoring import Monitoring, StationNow, open_monitoring
from edge.bundle import Bundle
from edge.commands.requests import UNSEEN, Inbox
from edge.commands.socket import CommandSocket
from edge.engines.device import Vendor
from edge.messages.writer import Identity, MessageWriter
from edge.observers.direct import DirectObserver
from edge.observers.preview import LastPicture
from edge.observers.queued import QueuedObserver
from edge.outbox import AckPolicy, Outbox, OutboxCounts, OwnTopics, Sender
from edge.parts.triggers import Trigger
from edge.protocols import Camera, Observer, Output, Publisher
from edge.publishers.client_id import default_client_id
from edge.publishers.mqtt import MqttPublisher
from edge.publishers.network import Reload
from edge.recipes.edition import Edition, Read
from edge.recipes.engines import OpenEngines
from edge.recipes.loaded import LoadedRecipe, model_of
from edge.recipes.loader import RecipeLoader
from edge.records import AlarmEvent, DefectClass, Message
from edge.records.decided import Decided, DecidedPart
from edge.settings import Settings, StoreSettings
from edge.station.alarm_service import AlarmService
from edge.station.announcements import Announcements
from edge.station.command_desk import CommandDesk
from edge.station.counter_command import CounterResetter
from edge.station.counts import LineCounts
from edge.station.decider import Decider
from edge.station.device_watch import DeviceWatch
from edge.station.engine_start import build_missing_engine
from edge.station.glance import Glance
from edge.station.home_assistant import tell_home_assistant
from edge.station.interventions import Interventions
from edge.station.live_status import LiveStatus
from edge.station.looks import Looks, counters
from edge.station.part_command import PartTeller
from edge.station.part_stream import PartStream
from edge.station.recipe_desk import RecipeDesk
from edge.station.recorder import Recorder, Waiting
from edge.station.reload_desk import ReloadDesk
from edge.station.reload_reports import Reporting
from edge.station.resend import EventResender
from edge.station.shift_book import ShiftBook
from edge.station.station_journal import StationJournal
from edge.station.status import HealthReader, Reporter
from edge.station.view import View
from edge.station.watchdog import Heartbeats, Watchdog, notify

_LOG = logging.getLogger(__name__)
# The time for which a stopping line tries to hand over its messages. The rest waits in the outbox for the next start.
DRAIN_S = 3.0


@dataclass(frozen=True)
class RunResult:
    """The end of a run: what was inspected, and what became of the messages.

    `published`: rows handed to the broker. `engine_hangs`: an inference had not come back when the line was stopped.
    """

    counts: LineCounts
    outbox: OutboxCounts
    published: int
    engine_hangs: bool = False


def make_outbox(path: Path, settings: StoreSettings) -> Outbox:
    """Return the outbox at `path`, not yet opened."""
    return Outbox(path, max_results=settings.max_results, kept_s=settings.kept_h * 3600)


def identity_of(settings: Settings, bundle: Bundle | Bundles, epoch: str) -> Identity:
    """Say who speaks: the station's place, its device, and the recipe and model that it begins with."""
    line, recipe = settings.line, settings.station_recipes[settings.first_recipe]
    first = next(iter(recipe.views.values()))
    return Identity(
        enterprise=line.enterprise,
        site=line.site,
        area=line.area,
        line=line.line,
        cell=line.cell,
        device=line.device,
        recipe=settings.first_recipe,
        model=model_of(bundles_of(settings, bundle)[first.bundle]),
        epoch=epoch,
    )


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
    own.leaves(will)  # the broker may publish it when this line comes back
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
class OpenStation:
    """A station whose parts are all open."""

    decider: Decider
    outbox: Outbox
    sender: Sender
    messages: MessageWriter
    engines: OpenEngines
    recipes: RecipeDesk
    reloads: ReloadDesk
    machine: Machine

    def stop(self) -> None:
        """Send what waits for a few seconds, then the farewell, so that the Will is not needed; once is enough."""
        self.reloads.stop()
        self.recipes.stop()
        self.decider.recorder.alarms.note_refusals(time.monotonic_ns(), all_of_it=True)
        self.sender.stop(DRAIN_S, self.messages.status("offline", "stopped"))
        self.outbox.flush(DRAIN_S)


@dataclass(frozen=True)
class StandIns:
    """Stand-ins for the settings' own, for tests, replays and the demo. None, or nothing, = the settings' own.

    `cameras`: by name, or the only one. `trigger`: what opens and closes parts. `vendor`: NVIDIA's modules. `output`:
    the link to the machine.
    """

    cameras: Mapping[str, Camera] | None = None
    trigger: Trigger | None = None
    publisher: Publisher | None = None
    outbox: Outbox | None = None
    ack_policy: AckPolicy | None = None
    vendor: Vendor | None = None
    output: Output | None = None


@dataclass(frozen=True)
class Watchers:
    """Watchers of a station. `observers`: of what is decided, called in its loop. `glances`: told twice a second."""

    observers: Sequence[Observer] = ()
    glances: Callable[[Glance], None] | None = None


Bundles = Mapping[Path | None, Bundle]


def bundles_of(settings: Settings, bundle: Bundle | Bundles) -> Bundles:
    """Return the bundles by their path in the settings; one bundle is that of every view."""
    if isinstance(bundle, Mapping):
        return bundle
    paths = {view.bundle for recipe in settings.station_recipes.values() for view in recipe.views.values()}
    return dict.fromkeys(paths, bundle)


@dataclass(frozen=True)
class _Delivery:
    """The ways of messages to the broker and of commands from it, and what tells how the station is, open.

    `classes`: the defect classes of each view, as the recipe in force has them. `monitoring`: None where nothing is
    served.
    """

    outbox: Outbox
    messages: MessageWriter
    announcements: Announcements
    inbox: Inbox
    sender: Sender
    status: LiveStatus
    health: HealthReader
    monitoring: Monitoring | None
    classes: dict[str, tuple[DefectClass, ...]]
    evidence: Evidence
    journal: StationJournal | None


@contextmanager
def _open_delivery(
    settings: Settings,
    bundles: Bundles,
    progress: Heartbeats,
    *,
    store: Path,
    live: bool,
    reload: Reload | None,
    instead: StandIns,
) -> Iterator[_Delivery]:
    with ExitStack() as scope:
        outbox = scope.enter_context(instead.outbox or make_outbox(store, settings.store))
        messages = MessageWriter(identity_of(settings, bundles, outbox.epoch))
        announcements = Announcements(messages, settings)
        publisher = scope.enter_context(
            instead.publisher or _to_broker(settings, messages, announcements.own, progress, live=live, reload=reload)
        )
        inbox = Inbox(messages.identity.root, answer_prefix=settings.commands.prefix(messages.identity.root))
        # a recording's events are for whoever is there while it is replayed
        ack_policy = instead.ack_policy or AckPolicy(settings.store.expect_consumer if live else ())
        journal = scope.enter_context(StationJournal(messages, outbox, settings, bundles)) if live else None
        if live:
            tell_home_assistant(settings, messages.identity, outbox)
        sender = scope.enter_context(
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
        scope.callback(lambda: sender.stop(DRAIN_S, messages.status("offline", "could not start")))
        status = _live_status(settings, messages, announcements, outbox, sender)
        if live:  # as early as can be, to tell what a start waits for
            scope.enter_context(CommandSocket(store, messages.identity.root, inbox.put, questions=status.questions()))
        health, classes = HealthReader(outbox, sender), dict[str, tuple[DefectClass, ...]]()
        monitoring = None
        if live:
            device = scope.enter_context(DeviceWatch(store))
            health.device = lambda: device.now
        if live and settings.monitoring is not None:
            now = StationNow(outbox, sender, inbox, messages, announcements=announcements, health=health)
            monitoring = scope.enter_context(open_monitoring(settings, settings.monitoring, now, progress, classes))
        evidence = scope.enter_context(open_evidence(settings, messages, live=live))
        yield _Delivery(
            outbox,
            messages,
            announcements,
            inbox,
            sender,
            status,
            health,
            monitoring,
            classes,
            evidence,
            journal=journal,
        )


@contextmanager
def open_station(
    settings: Settings,
    bundle: Bundle | Bundles,
    *,
    store: Path,
    live: bool,
    stop: threading.Event | None = None,
    reload: Reload | None = None,
    read: Read | None = None,
    instead: StandIns = StandIns(),
    watchers: Watchers = Watchers(),
) -> Iterator[OpenStation]:
    """Open every part of a station, ready to `run`; stop and close them all, in order, on every path.

    A TensorRT engine that is missing is built first, if the settings say so, until `stop` is set. A set `reload` has
    the broker's certificates and password read again. `read` reads settings and bundles from their files again, for
    `cmd/reload`.
    """
    bundles, stop = bundles_of(settings, bundle), stop or threading.Event()
    with ExitStack() as scope:
        progress = Heartbeats()
        delivery = scope.enter_context(
            _open_delivery(settings, bundles, progress, store=store, live=live, reload=reload, instead=instead)
        )
        outbox, sender, announcements = delivery.outbox, delivery.sender, delivery.announcements
        sources = Sources(settings, bundles, progress, instead.cameras, instead.trigger)
        alarms = _alarms(settings, delivery, live=live)
        machine = scope.enter_context(
            open_machine(settings, alarms, progress, sources.trigger, live=live, output=instead.output)
        )
        opened_parts: list[PartStream] = []
        recorder = _recorder(settings, delivery, alarms, opened_parts, live=live)
        waiting = Waiting(tuple(settings.station_cameras), recorder if live else None)
        open_engine = partial(
            proven_engine, settings.engine, truth=sources.truths, vendor=instead.vendor, stop=stop, live=live
        )
        engines = scope.enter_context(OpenEngines(open_engine, asked=settings.engine.asked))
        loader = scope.enter_context(RecipeLoader(settings, bundles, engines, _builder(settings, instead.vendor)))
        built = _build_engines(
            settings,
            loader.bundles_of(settings.first_recipe),
            stop,
            vendor=instead.vendor,
            waiting=waiting,
            say=lambda reason: _offer(sender, announcements.starting(reason)),
        )
        if not built:
            sender.stop(DRAIN_S, delivery.messages.status("offline", "stopped"))
            raise _StoppedEarlyError(lambda: RunResult(LineCounts(), outbox.counts(), sender.published))
        first = loader.load(settings.first_recipe)
        views = _views(scope, sources, progress, live=live)
        loader.in_use = lambda batcher: any(view.holds(batcher) for view in views)
        parts = _part_stream(settings, first, sources.trigger, outbox, live=live)
        opened_parts += [parts] if parts is not None else []
        look = Looks(watchers.glances, live=live)
        observers = [
            *machine.observers,
            *watchers.observers,
            *_own_observers(scope, settings, first, delivery, look, live=live),
        ]
        desk = _desk(delivery, recorder, sources.trigger, settings)
        reporter = Reporter(
            settings.report, messages=delivery.messages, outbox=outbox, sender=sender, health=delivery.health
        )
        moved = turns_of(progress, engines)

        def each_turn() -> None:
            moved()
            recipes.turn(decider.now_ns)
            reloads.turn(decider.now_ns)
            cameras = decider.cameras
            events = _told_troubles(alarms, delivery, decider)
            decider.counts.count_alarms([*events, *machine.turn(decider, cameras)])
            look.if_due(decider, outbox, sender)
            _offer(sender, announcements.of_cameras(cameras))
            reporter.report_if_due(lambda: counters(decider, outbox, sender, delivery.inbox), cameras)

        decider = Decider(
            views,
            recorder,
            desk,
            live=live,
            parts=parts,
            watch=lambda decided: _offer_to(observers, decided),
            each_turn=each_turn,
            delivery=lambda: sender.delivery,
        )
        decider.counts.alarms_raised += waiting.raised
        recipes = _recipe_desk(settings, delivery, loader, decider, machine)
        reloads = _reload_desk(read, delivery, loader, recipes, observers)
        recipes.begin(first)
        _tell_readers(delivery, decider, engines, observers)
        _offer(sender, announcements.opened(live=live))
        if live:
            scope.enter_context(Watchdog(progress))
            notify("READY=1\nSTATUS=waiting for the first frame")
        yield _opened(
            scope,
            OpenStation(decider, outbox, sender, delivery.messages, engines, recipes, reloads, machine),
            settings.operators,
        )


def _told_troubles(alarms: AlarmService, delivery: _Delivery, decider: Decider) -> tuple[AlarmEvent, ...]:
    """Raise or end the alarms about what is found beside the results: pictures that are not kept, drift of a model."""
    now_ns = decider.now_ns
    unkept = alarms.evidence_unkept(delivery.evidence.trouble, now_ns)
    return (*unkept, *alarms.model_drift(decider.drift.told(now_ns), now_ns))


def _opened(scope: ExitStack, opened: OpenStation, operators: Sequence[str]) -> OpenStation:
    """Let a station be stopped on every path, and its counters be reset."""
    decider = opened.decider
    decider.desk.add({"reset-counters": CounterResetter(decider.counts, operators)})
    scope.callback(opened.stop)
    return opened


def _alarms(settings: Settings, delivery: _Delivery, *, live: bool) -> AlarmService:
    """Return the alarms, as a former run left them."""
    manager = AlarmManager(delivery.announcements.rules, settings.operators)
    alarms = AlarmService(manager, delivery.messages, delivery.outbox)
    alarms.begin(time.monotonic_ns() if live else 0, live=live)
    return alarms


def _views(scope: ExitStack, sources: Sources, progress: Heartbeats, *, live: bool) -> list[View]:
    """Return a view for each camera, which is opened."""
    return [
        View(name, scope.enter_context(camera), sources.rules(name, live=live), alive=progress.mark(f"view {name}"))
        for name, camera in sources.cameras.items()
    ]


def _own_observers(
    scope: ExitStack,
    settings: Settings,
    first: LoadedRecipe,
    delivery: _Delivery,
    look: Looks,
    *,
    live: bool,
) -> list[Observer]:
    """Return those who watch every live station, each in a thread of its own; of a replay the evidence alone."""
    if not live:
        return delivery.evidence.observers
    scope.callback(notify, "STOPPING=1")
    delivery.classes.update(first.classes)
    picture = LastPicture(settings.report.picture_every_s, delivery.classes, delivery.messages, delivery.sender)
    return [
        *delivery.evidence.observers,
        *(() if delivery.monitoring is None else delivery.monitoring.watchers),
        scope.enter_context(QueuedObserver("picture", picture, most=2, pixels=True)),
        scope.enter_context(QueuedObserver("status", delivery.status)),
        scope.enter_context(QueuedObserver("log", look.changes)),
    ]


def _tell_readers(delivery: _Delivery, decider: Decider, engines: OpenEngines, observers: Sequence[Observer]) -> None:
    """Tell those who read how the station is that it is open."""
    delivery.status.cameras = lambda: decider.cameras
    delivery.health.engines = engines.now
    delivery.health.drift = lambda: decider.drift.now
    if delivery.monitoring is not None:
        delivery.monitoring.opened(decider, observers)


def _recorder(
    settings: Settings, delivery: _Delivery, alarms: AlarmService, parts: Sequence[PartStream], *, live: bool
) -> Recorder:
    """Return who records. `parts`: what puts parts together, once it is open; nothing where there are none."""
    if not live:
        return Recorder(delivery.messages, delivery.outbox, alarms, live=False)
    interventions = Interventions(
        settings.challenge,
        settings.shift_plan,
        alarms,
        delivery.messages,
        delivery.outbox,
        operators=settings.operators,
        last_number=lambda: parts[0].last_number if parts else None,
    )
    book = ShiftBook(settings.shift_plan)
    book.recipe = settings.first_recipe
    return Recorder(delivery.messages, delivery.outbox, alarms, live=True, interventions=interventions, book=book)


def _desk(delivery: _Delivery, recorder: Recorder, trigger: Trigger | None, settings: Settings) -> CommandDesk:
    """Return who obeys the station's commands."""
    desk = CommandDesk(delivery.inbox.take, delivery.sender.offer, recorder.alarms, delivery.messages, delivery.outbox)
    told = None if settings.parts.trigger == "machine" else trigger
    parts = PartTeller(told, settings.station_recipes)
    desk.add({"resend": EventResender(delivery.outbox, desk.answer_later), "part": parts})
    desk.refused |= dict.fromkeys(("part", UNSEEN), parts.refused)
    if recorder.interventions is not None:
        desk.add(dict.fromkeys(("challenge", "bypass"), recorder.interventions.obey))
    return desk


def _recipe_desk(
    settings: Settings, delivery: _Delivery, loader: RecipeLoader, decider: Decider, machine: Machine
) -> RecipeDesk:
    """Return who changes the recipe. The classes of each view, for pictures, are kept as the one in force has them."""

    def in_force(recipe: LoadedRecipe) -> None:
        delivery.classes.update(recipe.classes)
        delivery.evidence.use(recipe)
        machine.in_force(recipe)
        _offer(delivery.sender, delivery.announcements.in_force(recipe))

    recipes = RecipeDesk(settings, loader, decider, in_force)
    machine.opened(decider, recipes, lambda told: delivery.sender.offer(delivery.messages.signals(told)))
    decider.desk.add({"recipe": recipes.obey})
    delivery.status.recipes = recipes.told
    delivery.status.signals = machine.told
    return recipes


def _reload_desk(
    read: Read | None, delivery: _Delivery, loader: RecipeLoader, recipes: RecipeDesk, observers: list[Observer]
) -> ReloadDesk:
    """Return who takes new models and settings, one of the `observers`. `read`: reads them from their files."""
    decider = recipes.decider

    def adopted(edition: Edition) -> None:
        delivery.announcements.adopt(edition.settings)
        parts = decider.desk.obey["part"]
        if isinstance(parts, PartTeller):
            parts.recipes = edition.settings.station_recipes
        if delivery.journal is not None:
            delivery.journal.adopted(edition.settings, edition.bundles)

    def say(message: Message) -> None:
        delivery.announcements.reloaded(message)
        delivery.sender.offer(message)

    reporting = Reporting(delivery.messages, delivery.outbox, say)
    reloads = ReloadDesk(read, loader, recipes, decider, reporting=reporting, adopted=adopted)
    decider.desk.add({"reload": reloads.obey})
    delivery.status.reload = reloads.told
    observers.append(DirectObserver(reloads.watch))
    return reloads


def _builder(settings: Settings, vendor: Vendor | None) -> Callable[[Bundle, threading.Event], bool]:
    """Return what builds the engine of a recipe beside the running one, where this device lacks it."""
    nobody = Waiting((), None)

    def build(bundle: Bundle, stop: threading.Event) -> bool:
        return build_missing_engine(
            settings.engine, bundle, stop, vendor=vendor, waiting=nobody, say=lambda reason: _LOG.info("%s", reason)
        )

    return build


def _build_engines(
    settings: Settings,
    bundles: Sequence[Bundle],
    stop: threading.Event,
    *,
    vendor: Vendor | None,
    waiting: Waiting,
    say: Callable[[str], None],
) -> bool:
    """Build the engines that the settings want and this device lacks; False where `stop` was set meanwhile."""
    return all(
        build_missing_engine(settings.engine, bundle, stop, vendor=vendor, waiting=waiting, say=say)
        for bundle in bundles
    )


def _offer(sender: Sender, messages: Sequence[Message]) -> None:
    for message in messages:
        sender.offer(message)


def _offer_to(observers: Sequence[Observer], decided: Decided | DecidedPart) -> None:
    for observer in observers:
        observer.offer(decided)


def _part_stream(
    settings: Settings, recipe: LoadedRecipe, trigger: Trigger | None, outbox: Outbox, *, live: bool
) -> PartStream | None:
    """Return what puts parts together; None where each frame has a verdict of its own.

    Ids that a live station gives are unique: each part takes at least one number of the store's events. A replay gives
    the same ones each time.
    """
    if trigger is None:
        return None
    name = f"{settings.line.cell}-{outbox.epoch[:8]}" if live else settings.line.cell
    return PartStream(trigger, recipe.rules, recipe.name, name, outbox.committed)


def _live_status(
    settings: Settings, messages: MessageWriter, announcements: Announcements, outbox: Outbox, sender: Sender
) -> LiveStatus:
    return LiveStatus(
        messages,
        announcements.rules,
        outbox,
        sender,
        said=announcements.said,
        max_age_ms={name: camera.max_age_ms for name, camera in settings.station_cameras.items()},
        broker="{}:{}".format(*settings.broker.address),
        parts=settings.parts.exist,
    )


def run_station(
    settings: Settings,
    bundle: Bundle | Bundles,
    stop: threading.Event,
    *,
    store: Path,
    live: bool,
    reload: Reload | None = None,
    read: Read | None = None,
    instead: StandIns = StandIns(),
    watchers: Watchers = Watchers(),
) -> RunResult:
    """Run a station until its streams end or `stop` is set; see `open_station`."""
    try:
        with open_station(
            settings,
            bundle,
            store=store,
            live=live,
            stop=stop,
            reload=reload,
            read=read,
            instead=instead,
            watchers=watchers,
        ) as opened:
            counts = opened.decider.run(stop)
            opened.stop()
            hangs = opened.engines.hangs
    except _StoppedEarlyError as early:
        return early.result()
    # only a closed outbox knows what it lost
    return RunResult(counts, opened.outbox.counts(), opened.sender.published, hangs)


def run_line(
    settings: Settings,
    bundle: Bundle | Bundles,
    stop: threading.Event,
    *,
    store: Path,
    live: bool,
    camera: Camera | None = None,
    publisher: Publisher | None = None,
    watchers: Sequence[Callable[[Any], None]] = (),
    **instead: Any,
) -> RunResult:
    """Run a station of one camera; `watchers` are called in its loop with everything that is decided."""
    glances, reload = instead.pop("glances", None), instead.pop("reload", None)
    cameras = None if camera is None else {next(iter(settings.station_cameras)): camera}
    return run_station(
        settings,
        bundle,
        stop,
        store=store,
        live=live,
        reload=reload,
        instead=StandIns(cameras=cameras, publisher=publisher, **instead),
        watchers=Watchers([DirectObserver(watch) for watch in watchers], glances),
    )


def turns_of(progress: Heartbeats, engines: OpenEngines) -> Callable[[], None]:
    """Return what the loop calls on every turn. systemd is not told that all is well while an engine hangs.

    It then restarts the station, which is what helps against a hung driver.
    """
    decider, answering = progress.mark("decider"), progress.mark("engine")

    def moved() -> None:
        decider()
        if not engines.hangs:
            answering()

    return moved
