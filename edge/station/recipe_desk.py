"""Changes the recipe of a running station: by a wish, or because a part names another one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any

from edge.commands.requests import ChangeRecipe, Command, CommandOutcome
from edge.errors import LinewatchError
from edge.recipes.changes import (
    Answer,
    ChangeRules,
    Changes,
    Event,
    Gap,
    Hold,
    Load,
    Loaded,
    NotLoaded,
    PartBegins,
    Renewed,
    Use,
    Wish,
    step,
)
from edge.recipes.loaded import LoadedRecipe
from edge.recipes.loader import RecipeLoader
from edge.records.parts import PartOpened, TriggerFault, TriggerTrouble
from edge.settings import Settings
from edge.station.decider import Decider
from edge.wording import counted

_ANSWERS_KEPT = 20
# Parts that name their recipes change it all day: the journal tells of the first change, and then how many there were.
_NOTED_EVERY_NS = 60_000_000_000


@dataclass(frozen=True)
class RecipesNow:
    """The state of a station's recipes, for those who ask.

    `recipe`: that new parts are of; `unread`: why they are not judged, None = they are. `wish`: that is not fulfilled.
    `loading`: recipes that are being loaded. `answers`: the last wishes that came to their end, each with its number.
    """

    recipe: str
    unread: str | None = None
    wish: str | None = None
    loading: tuple[str, ...] = ()
    answers: tuple[tuple[int, str, CommandOutcome, str], ...] = ()


@dataclass
class _Noting:
    """The last note of a change that parts brought: when, and how many were not noted since."""

    at_ns: int = -_NOTED_EVERY_NS
    count: int = 0


@dataclass
class _Wishes:
    """The commands behind wishes that have not come to their end, by the wish's number."""

    last: int = 0
    commands: dict[int, Command] = field(default_factory=dict)


class RecipeDesk:
    """Takes wishes for another recipe, has it loaded, and changes to it between two parts. Called by the decider alone.

    `in_force`: told of each recipe that comes into force. Recipes are loaded beside the running one; a replay waits for
    them, so that two replays decide the same.
    """

    def __init__(
        self,
        settings: Settings,
        loader: RecipeLoader,
        decider: Decider,
        in_force: Callable[[LoadedRecipe], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._loader = loader
        self.decider = decider
        self._in_force = in_force
        self._live = decider.live
        self._rules = _rules_of(settings)
        self._changes = Changes(settings.first_recipe)
        self._prefixes = _by_prefix(settings)
        self._loads: dict[str, Future[LoadedRecipe]] = {}
        self._wishes = _Wishes()
        self._noting = _Noting()
        self._lock = threading.Lock()
        self._now = RecipesNow(settings.first_recipe)

    def begin(self, first: LoadedRecipe) -> None:
        """Judge by the first recipe from the beginning on."""
        self._loader.used(first.name)
        self.decider.use(first)
        self._in_force(first)
        if self.decider.parts is not None:
            self.decider.parts.opening = self.part_begins

    @property
    def now(self) -> RecipesNow:
        """Tell how it stands; from any thread."""
        with self._lock:
            return self._now

    def told(self, _asked: dict[str, Any] | None = None) -> dict[str, Any]:
        """Tell how it stands, in values that JSON holds; from any thread."""
        now = self.now
        return {
            "recipe": now.recipe,
            "not_judged": now.unread,
            "wish": now.wish,
            "loading": list(now.loading),
            "recipes": {
                name: {"views": list(recipe.views), "part_id_prefixes": list(recipe.part_id_prefixes)}
                for name, recipe in self._settings.station_recipes.items()
            },
            "answers": [
                {"number": number, "recipe": recipe, "outcome": outcome, "detail": detail}
                for number, recipe, outcome, detail in now.answers
            ],
        }

    def obey(self, command: Command, now_ns: int) -> tuple[CommandOutcome, str] | None:
        """Obey `cmd/recipe`. It is answered when the recipe is in force or cannot be; the shell at once as well."""
        body = command.body
        assert isinstance(body, ChangeRecipe)  # noqa: S101 - the desk gives each its own
        operators, known = self._settings.operators, self._settings.station_recipes
        if operators and body.user not in operators:
            return "not_authorised", f"{body.user!r} is not among the operators"
        if body.recipe not in known:
            return "unknown_recipe", f"expected one of {', '.join(known)}, received {body.recipe!r}"
        self._wishes.last += 1
        self._wishes.commands[self._wishes.last] = command
        self._step(Wish(body.recipe, self._wishes.last, now_ns), now_ns)
        if self._wishes.last in self._wishes.commands and command.reply is not None:
            command.reply("accepted", f"recipe {body.recipe} comes into force between two parts, once it is loaded")
        return None

    def part_begins(self, event: PartOpened) -> None:
        """Hear of a part before it is opened, and change the recipe as of its moment, if it names another."""
        recipe = event.recipe or self._recipe_of(event.part_id)
        now_ns = self.decider.now_ns
        if not self._live and recipe in self._settings.station_recipes and self._loader.ready(recipe) is None:
            self._load(Load(recipe))
            self._hear_of_loads(now_ns)
        self._step(PartBegins(recipe, event.at_ns), now_ns)

    def turn(self, now_ns: int) -> None:
        """Take what was loaded, and change where it is time to."""
        self._hear_of_loads(now_ns)
        changes = self._changes
        if changes.wish is not None or changes.unread is not None:
            now_ns = self.decider.now_ns  # a frame that was begun since is judged by the former recipe
            self._step(Gap(free=self.decider.between_parts(now_ns)), now_ns)

    def stop(self) -> None:
        """Answer the wish that the station's end leaves open."""
        wish, self._changes = self._changes.wish, replace(self._changes, wish=None)
        if wish is not None:
            self._answer(Answer(wish, "failed", "the station was stopped"))

    def renew(self, settings: Settings, now_ns: int) -> None:
        """Judge by the edition that the loader has now, from this moment on; `settings` are its own."""
        self._settings, self._rules, self._prefixes = settings, _rules_of(settings), _by_prefix(settings)
        self._loads.clear()
        self._step(Renewed(), now_ns)

    def _recipe_of(self, part_id: str | None) -> str | None:
        """Return the recipe of the longest prefix that a part's id begins with."""
        if part_id is None:
            return None
        return next((recipe for prefix, recipe in self._prefixes if part_id.startswith(prefix)), None)

    def _hear_of_loads(self, now_ns: int) -> None:
        for recipe, answer in list(self._loads.items()):
            if not answer.done():
                continue
            del self._loads[recipe]
            try:
                answer.result()
            except LinewatchError as error:
                self._failed(recipe, str(error), now_ns)
            else:
                self._step(Loaded(recipe), now_ns)

    def _failed(self, recipe: str, why: str, now_ns: int) -> None:
        recorder = self.decider.recorder
        recorder.note("recipe", f"{recipe} cannot be loaded: {why}"[:500])
        self.decider.counts.count_alarms(recorder.alarms.recipe_failed(f"recipe {recipe}: {why}", now_ns))
        self._step(NotLoaded(recipe, why), now_ns)

    def _step(self, event: Event, now_ns: int) -> None:
        self._changes, actions = step(
            self._rules, self._changes, event, now_ns, lambda recipe: self._loader.ready(recipe) is not None
        )
        ends = (one.wish for one in actions if isinstance(one, Answer) and one.outcome == "ok")
        fulfilled = next(ends, None)
        for action in actions:
            if isinstance(action, Load):
                self._load(action)
            elif isinstance(action, Use):
                self._use(action, event, fulfilled, now_ns)
            elif isinstance(action, Hold):
                self._hold(action, now_ns)
            else:
                self._answer(action)
        changes = self._changes
        with self._lock:
            self._now = RecipesNow(
                changes.recipe,
                changes.unread,
                None if changes.wish is None else changes.wish.recipe,
                tuple(sorted(changes.loading)),
                self._now.answers,
            )

    def _load(self, load: Load) -> None:
        answer = self._loads[load.recipe] = self._loader.request(load.recipe, drained=load.drained)
        if not self._live:
            answer.exception()  # which waits

    def _use(self, use: Use, event: Event, fulfilled: Wish | None, now_ns: int) -> None:
        ready = self._loader.ready(use.recipe)
        assert ready is not None  # noqa: S101 - asked in this very step, and kept since
        before, recorder, counts = self.decider.in_force, self.decider.recorder, self.decider.counts
        self._loader.used(use.recipe)
        self.decider.use(ready, use.from_ns)
        counts.count_alarms(recorder.alarms.recipe_failed(None, now_ns))
        if before == use.recipe:
            if isinstance(event, Renewed):
                counts.count_alarms(recorder.alarms.recipe_changed(now_ns, "reloaded"))
                self._in_force(ready)
            return
        counts.recipe_changes += 1
        counts.count_alarms(recorder.alarms.recipe_changed(now_ns))
        told = f"{before} → {use.recipe}"
        if fulfilled is not None:
            body = self._wishes.commands[fulfilled.number].body
            assert isinstance(body, ChangeRecipe)  # noqa: S101 - no other is a wish
            recorder.note("recipe", told, user=body.user, comment=body.comment)
        elif isinstance(event, PartBegins):
            self._note_named(told, now_ns)
        else:
            recorder.note("recipe", told)
        self._in_force(ready)

    def _note_named(self, told: str, now_ns: int) -> None:
        """Note a change that a part brought.

        Of many in a short time the first is noted, and how many followed.
        """
        noting = self._noting
        if now_ns - noting.at_ns < _NOTED_EVERY_NS:
            noting.count += 1
            return
        more = f"; {counted(noting.count, 'more change', 'more changes')} since the last entry" if noting.count else ""
        self.decider.recorder.note("recipe", f"{told}, as a part names it{more}")
        self._noting = _Noting(now_ns)

    def _hold(self, hold: Hold, now_ns: int) -> None:
        self.decider.use(self._loader.unready(hold.recipe, hold.reason), hold.from_ns)
        if hold.recipe not in self._rules.recipes:
            self.decider.trouble(TriggerTrouble(TriggerFault.UNKNOWN_RECIPE, now_ns, hold.reason))

    def _answer(self, answer: Answer) -> None:
        with self._lock:
            told = (answer.wish.number, answer.wish.recipe, answer.outcome, answer.detail)
            now = self._now
            self._now = RecipesNow(now.recipe, now.unread, now.wish, now.loading, (*now.answers, told)[-_ANSWERS_KEPT:])
        command = self._wishes.commands.pop(answer.wish.number, None)
        if command is not None:
            self.decider.desk.answer_later(command, answer.outcome, answer.detail)


def _rules_of(settings: Settings) -> ChangeRules:
    return ChangeRules(
        settings.station_recipes, settings.parts.timeout_ms * 1_000_000, drains=settings.swap == "drain_first"
    )


def _by_prefix(settings: Settings) -> list[tuple[str, str]]:
    """List the prefixes of part ids with their recipes, the longest first."""
    pairs = [(prefix, name) for name, recipe in settings.station_recipes.items() for prefix in recipe.part_id_prefixes]
    return sorted(pairs, key=lambda pair: -len(pair[0]))
