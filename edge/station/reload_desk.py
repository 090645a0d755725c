"""Takes new models and settings while the station runs: reads, compares, changes between two parts, and goes back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from edge.commands.requests import Command, CommandOutcome, ReloadFiles
from edge.errors import CommandError, LinewatchError, SettingsError
from edge.parts.rules import PartRules
from edge.recipes.comparing import Compared, Diff
from edge.recipes.edition import Edition, Read, require_recipe
from edge.recipes.loaded import LoadedRecipe
from edge.recipes.loader import RecipeLoader
from edge.recipes.pairing import Pair, Pairing
from edge.recipes.reloads import (
    Asked,
    BeginShadow,
    Broken,
    Cancelled,
    Event,
    Finish,
    Gap,
    GoBack,
    Judged,
    NotRead,
    Outcome,
    Phase,
    Prepare,
    Reload,
    ReloadRules,
    Skipped,
    Switch,
    Took,
    step,
)
from edge.recipes.reloads import Read as HasRead
from edge.records import EngineFault, FrameResult
from edge.records.decided import Decided, DecidedPart
from edge.station.decider import Decider
from edge.station.recipe_desk import RecipeDesk
from edge.station.reload_reports import Reporting, Stage
from edge.station.shadow_run import ShadowFrame, ShadowRun

_ANSWERS_KEPT = 20
_BROKEN = {EngineFault.HANGS, EngineFault.FAILS, EngineFault.WRONG_ANSWER}
_STOPPED = "the station was stopped"
_ON_DISK = "; the files on the disk are still the new ones: put the former ones back before the next start"


@dataclass(frozen=True)
class ReloadNow:
    """The state of a change, for those who ask. `answers`: of the last ones, each with number and exit code."""

    phase: Phase = "idle"
    shadow: Diff = field(default_factory=Diff)
    watch: Diff = field(default_factory=Diff)
    shadow_parts: int = 0
    watch_parts: int = 0
    answers: tuple[tuple[int, CommandOutcome, str, int], ...] = ()


@dataclass
class _Change:
    """The change that is under way: who asked, what is read, and what judges beside the running model."""

    number: int
    command: Command
    former: Edition
    new: Edition | None = None
    reading: Future[Edition] | None = None
    run: ShadowRun | None = None
    pairing: Pairing | None = None
    reason: str = ""
    exit_code: int = 0

    @property
    def body(self) -> ReloadFiles:
        """Tell what was asked."""
        assert isinstance(self.command.body, ReloadFiles)  # noqa: S101 - the desk gives each its own
        return self.command.body


class ReloadDesk:
    """Takes `cmd/reload`, and carries it out. Called by the decider alone, but for `told`.

    `read`: reads settings and bundles from their files, in the loader's thread; None where there are no files.
    `adopted`: told of each edition by which the station judges from now on.
    """

    def __init__(
        self,
        read: Read | None,
        loader: RecipeLoader,
        recipes: RecipeDesk,
        decider: Decider,
        *,
        reporting: Reporting,
        adopted: Callable[[Edition], None] = lambda _: None,
    ) -> None:
        self._read = read
        self._loader = loader
        self._recipes = recipes
        self._decider = decider
        self._reporting = reporting
        self._adopted = adopted
        self._state = Reload()
        self._change: _Change | None = None
        self._number = 0
        self._lock = threading.Lock()
        self._now = ReloadNow()

    def told(self, _asked: dict[str, Any] | None = None) -> dict[str, Any]:
        """Tell how it stands, in values that JSON holds; from any thread."""
        with self._lock:
            now = self._now
        return {
            "phase": now.phase,
            "shadow_parts": now.shadow_parts,
            "watch_parts": now.watch_parts,
            "compared": now.shadow.compared,
            "watched": now.watch.compared + now.watch.skipped,
            "skipped": now.shadow.skipped,
            "answers": [
                {"number": number, "outcome": outcome, "detail": detail, "exit_code": code}
                for number, outcome, detail, code in now.answers
            ],
        }

    def obey(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str] | None:
        """Obey `cmd/reload`. It is answered when it is done; the shell at once as well."""
        body = command.body
        assert isinstance(body, ReloadFiles)  # noqa: S101 - the desk gives each its own
        operators = self._loader.edition.settings.operators
        if operators and body.user not in operators:
            return "not_authorised", f"{body.user!r} is not among the operators"
        if body.action == "cancel":
            if self._change is None:
                return "not_running", "nothing is being reloaded"
            self._step(Cancelled(body.user), now_ns)
            return "ok", ""
        if self._read is None:
            return "failed", "this station was not started from a settings file"
        if self._change is not None:
            return "already_running", f"a reload is under way: {self._state.phase}; cancel it first"
        self._number += 1
        self._change = _Change(self._number, command, self._loader.edition)
        if command.reply is not None:
            command.reply("accepted", "the settings and bundles are read again, beside the running ones")
        self._step(Asked(), now_ns)
        return None

    def watch(self, decided: Decided | DecidedPart) -> None:
        """Hear of what was decided, and have it judged a second time where a change is under way."""
        change = self._change
        if change is None or change.run is None or change.pairing is None:
            return
        if isinstance(decided, DecidedPart):
            change.pairing.part(decided.part)
            return
        result, frame = decided.inspection, decided.frame
        if self._state.phase == "watching":
            self._look(result)
            if self._change is not change:
                return
        if frame is None or result.camera_fault is not None or not self._concerns(change, result):
            return
        change.pairing.begun(result)
        change.run.offer(frame, result)

    def turn(self, now_ns: int) -> None:
        """Go on with a change, if one is under way."""
        change = self._change
        if change is None:
            return
        if change.reading is not None and change.reading.done():
            self._has_read(change, change.reading, now_ns)
        run, pairing = change.run, change.pairing
        if run is not None and pairing is not None:
            for one in run.take():
                pairing.judged(one.key, one.result)
                if change.run is run:
                    self._shadow_frame(one, now_ns)
            for pair in pairing.take():
                if change.run is run:
                    self._step(Skipped() if pair is None else Judged(self._compared(pair)), now_ns)
        if self._change is change:
            now_ns = self._decider.now_ns  # a frame that was begun since is judged by the former model
            free = self._free(now_ns)  # it hears of parts, which may name a recipe
            if self._state.phase == "switching" and change.new is not None:
                self._refuse_without_recipe(change, change.new, now_ns)
            self._step(Gap(free=free), now_ns)

    def _refuse_without_recipe(self, change: _Change, new: Edition, now_ns: int) -> None:
        """Keep what is in force where its recipe, newer than the read files, is not in the new edition."""
        try:
            require_recipe(new, self._decider.in_force)
        except SettingsError as error:
            change.exit_code = error.exit_code
            self._step(NotRead(str(error)), now_ns)

    def stop(self) -> None:
        """Answer what the station's end leaves open."""
        change = self._change
        if change is None:
            return
        watched = self._state.phase == "watching"
        told = "in force; the station was stopped before it was watched to the end" if watched else _STOPPED
        self._finish(change, Finish("ok" if watched else "cancelled", told), self._decider.now_ns)

    def _free(self, now_ns: int) -> bool:
        """Tell whether the station may change now."""
        return self._state.phase in {"switching", "returning"} and self._decider.between_parts(now_ns)

    def _concerns(self, change: _Change, result: FrameResult) -> bool:
        """Tell whether a frame was judged by the running edition, and can be judged by the other one."""
        interventions = self._decider.recorder.interventions
        if interventions is not None and interventions.bypassed(self._decider.now_ns):
            return False
        judges = change.run is not None and change.run.judges(result.recipe or "", result.view)
        return judges and result.edition == self._loader.edition.number

    def _look(self, result: FrameResult) -> None:
        """Look at a frame that the new model judged after the change."""
        if result.edition != self._loader.edition.number:
            return
        now_ns = self._decider.now_ns
        if result.engine_fault in _BROKEN:
            self._step(Broken(f"{result.view}: {result.judgement.reason}"), now_ns)
        elif result.age_ms is not None:
            self._step(Took(self._slow(result.view, result.age_ms)), now_ns)

    def _slow(self, camera: str, took_ms: float) -> bool:
        change = self._change
        edition = self._loader.edition if change is None or change.new is None else change.new
        limit = edition.settings.reload.latency_ms or edition.settings.station_cameras[camera].max_age_ms
        return took_ms > limit

    def _shadow_frame(self, one: ShadowFrame, now_ns: int) -> None:
        """Look at the new model's judgement of a frame in the shadow run; after the change, the former one's."""
        if self._state.phase != "shadow":
            return
        if one.failed:
            self._step(Broken(f"{one.key[0]}: {one.failed}"), now_ns)
        elif one.took_ms is not None:
            self._step(Took(self._slow(one.key[0], one.took_ms)), now_ns)

    def _compared(self, pair: Pair) -> Compared:
        """Put a pair the right way round: after the change the running model is the new one."""
        if self._state.phase == "watching":
            turned = {name: replace(one, gained=one.lost, lost=one.gained) for name, one in pair.classes.items()}
            return Compared(pair.second, pair.running, turned)
        return Compared(pair.running, pair.second, pair.classes)

    def _has_read(self, change: _Change, reading: Future[Edition], now_ns: int) -> None:
        change.reading = None
        try:
            change.new = new = reading.result()
        except LinewatchError as error:
            change.exit_code = error.exit_code
            self._step(NotRead(str(error)), now_ns)
            return
        settings = new.settings
        own, wanted = settings.reload, change.body.shadow_parts
        known = change.former.settings.station_recipes
        alike = all(change.former.judges_as(new, name) for name in known if name in settings.station_recipes)
        rules = ReloadRules(
            own.shadow_parts if wanted is None else wanted,
            own.watch_parts,
            round(own.within_s * 1e9),
            own.disagreement_at_most,
            settings.parts.timeout_ms * 1_000_000,
            "frame" if self._decider.parts is None else "part",
        )
        self._step(HasRead(rules, alike), now_ns)

    def _step(self, event: Event, now_ns: int) -> None:
        change = self._change
        if change is None:
            return
        before = self._state.phase
        self._state, actions = step(self._state, event, now_ns)
        if before == "shadow" and self._state.phase == "switching":
            self._end_run(change)
            self._report(change, "compared", self._state.shadow.told(self._state.rules.unit))
        if before == "watching" and self._state.phase == "returning":
            self._end_run(change)
        for action in actions:
            if isinstance(action, Prepare):
                assert self._read is not None  # noqa: S101 - nothing is asked for without it
                change.reading = self._loader.prepare(self._read, self._decider.in_force)
            elif isinstance(action, BeginShadow):
                self._begin_run(change, change.new)
            elif isinstance(action, Switch):
                self._switch(change, action, now_ns)
            elif isinstance(action, GoBack):
                self._go_back(change, now_ns)
            else:
                self._finish(change, action, now_ns)
        self._publish()

    def _begin_run(self, change: _Change, edition: Edition | None) -> None:
        """Let an edition judge beside the running one, in every recipe of which its engines are open."""
        assert edition is not None  # noqa: S101 - it was read
        ready: dict[str, LoadedRecipe] = {}
        for name in edition.settings.station_recipes:
            recipe = self._loader.ready(name, edition)
            if recipe is not None:
                ready[name] = recipe
        rules: dict[str, PartRules] = {name: recipe.rules for name, recipe in ready.items()}
        views = {(name, view): one for name, recipe in ready.items() for view, one in recipe.views.items()}
        change.pairing = Pairing(rules.get, parts=self._decider.parts is not None)
        change.run = ShadowRun(views)
        change.run.start()

    def _end_run(self, change: _Change) -> None:
        if change.run is not None:
            change.run.stop()
        change.run = change.pairing = None

    def _switch(self, change: _Change, switch: Switch, now_ns: int) -> None:
        assert change.new is not None  # noqa: S101 - it was read
        self._end_run(change)
        self._loader.adopt(change.new)
        self._take(change.new, now_ns)
        if switch.watched:
            self._begin_run(change, change.former)
            self._report(change, "switched", "")

    def _go_back(self, change: _Change, now_ns: int) -> None:
        self._end_run(change)
        self._take(self._loader.go_back(), now_ns)

    def _take(self, edition: Edition, now_ns: int) -> None:
        """Judge by the edition that the loader has from this moment on."""
        self._adopted(edition)
        self._recipes.renew(edition.settings, now_ns)

    def _finish(self, change: _Change, finish: Finish, now_ns: int) -> None:
        self._end_run(change)
        outcome, detail = finish.outcome, finish.detail
        if outcome == "ok":
            self._loader.settle()
        elif change.reading is not None:  # its outcome is not wanted
            change.reading.add_done_callback(lambda _: self._loader.give_up())
        else:
            self._loader.give_up()
        if outcome in {"rolled_back", "cancelled"}:
            detail += _ON_DISK
        alarms, counts = self._decider.recorder.alarms, self._decider.counts
        settings_alone = outcome == "failed" and change.exit_code == SettingsError.exit_code
        if outcome == "ok":
            counts.count_alarms(alarms.reload_failed(None, now_ns))
        elif outcome in {"failed", "rolled_back"} and not settings_alone:
            counts.count_alarms(alarms.reload_failed(detail, now_ns))
        self._report(change, "done" if outcome == "ok" else outcome, detail)
        self._change = None
        self._answer(change, outcome, detail)

    def _report(self, change: _Change, stage: Stage, reason: str) -> None:
        self._reporting.report(
            stage,
            reason,
            asked=change.body,
            editions=(change.former, change.new),
            recipe=self._decider.in_force,
            state=self._state,
        )

    def _answer(self, change: _Change, outcome: Outcome, detail: str) -> None:
        code = 0 if outcome == "ok" else change.exit_code or CommandError.exit_code
        with self._lock:
            now = self._now
            answers = (*now.answers, (change.number, outcome, detail, code))[-_ANSWERS_KEPT:]
            self._now = replace(now, answers=answers)
        command = replace(change.command, reply=None)  # the shell was answered, and asks how it went on
        self._decider.desk.answer_later(command, outcome, detail[:500])

    def _publish(self) -> None:
        state = self._state
        with self._lock:
            self._now = replace(
                self._now,
                phase=state.phase,
                shadow=state.shadow,
                watch=state.watch,
                shadow_parts=state.rules.shadow_parts,
                watch_parts=state.rules.watch_parts,
            )
