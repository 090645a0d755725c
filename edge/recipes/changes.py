"""Changes of a station's recipe, and what becomes of each wish for one. Pure: time and facts are arguments.

A wish is fulfilled between two parts. A part that names a recipe is of that recipe: the station changes as of its
opening, and stays with it. Parts of a recipe that is not ready are NO_READ until it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

RETRY_NS = 30_000_000_000  # after a recipe that parts are of could not be loaded


@dataclass(frozen=True)
class ChangeRules:
    """The rules of every change.

    `recipes`: that the station has. `timeout_ns`: the longest that a wish waits for a gap between parts. `drains`: the
    running engines are closed before others are opened.
    """

    recipes: Collection[str]
    timeout_ns: int
    drains: bool = False


@dataclass(frozen=True)
class Wish:
    """Somebody wants another recipe. `number` tells wishes apart; `since_ns`: when it came, on the station's clock."""

    recipe: str
    number: int
    since_ns: int


@dataclass(frozen=True)
class Changes:
    """All that is remembered between two events.

    `recipe`: that new parts are of. `unread`: why they are not judged, None = they are. `before`: the recipe to go back
    to if `recipe`, for which the engines were closed, cannot be loaded. `wish`: that waits. `loading`: asked for and
    not answered. `failed`: why a recipe could not be loaded, and when. `due_ns`: since when a change waits for a gap.
    """

    recipe: str
    unread: str | None = None
    before: str | None = None
    wish: Wish | None = None
    loading: frozenset[str] = frozenset()
    failed: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    due_ns: int | None = None


@dataclass(frozen=True)
class PartBegins:
    """A part is opened. `recipe`: that it names, None = none."""

    recipe: str | None
    at_ns: int


@dataclass(frozen=True)
class Loaded:
    """A recipe is ready."""

    recipe: str


@dataclass(frozen=True)
class NotLoaded:
    """A recipe cannot be made ready, and `why`."""

    recipe: str
    why: str


@dataclass(frozen=True)
class Gap:
    """Time passes. `free`: no part is open to frames."""

    free: bool


@dataclass(frozen=True)
class Renewed:
    """The settings and bundles changed: what was loaded, or could not be, says nothing any more."""


@dataclass(frozen=True)
class Load:
    """Make a recipe ready. `drained`: close the other engines first."""

    recipe: str
    drained: bool = False


@dataclass(frozen=True)
class Use:
    """Judge by a recipe that is ready what is captured and opened from a moment on."""

    recipe: str
    from_ns: int


@dataclass(frozen=True)
class Hold:
    """Let everything from a moment on be of a recipe that cannot judge yet: NO_READ, for this reason."""

    recipe: str
    reason: str
    from_ns: int


@dataclass(frozen=True)
class Answer:
    """A wish has come to its end."""

    wish: Wish
    outcome: Literal["ok", "superseded", "failed"]
    detail: str


Event = Wish | PartBegins | Loaded | NotLoaded | Gap | Renewed
Action = Load | Use | Hold | Answer


@dataclass(frozen=True)
class _Step:
    """One step: its rules and its moment, and what is to be done."""

    rules: ChangeRules
    now_ns: int
    ready: Callable[[str], bool]
    todo: list[Action] = field(default_factory=list)


def step(
    rules: ChangeRules, changes: Changes, event: Event, now_ns: int, ready: Callable[[str], bool]
) -> tuple[Changes, tuple[Action, ...]]:
    """Take one event and return what is to be done, in order. `ready`: whether a recipe can judge at once."""
    now = _Step(rules, now_ns, ready)
    if isinstance(event, Wish):
        changes = _wished(now, changes, event)
    elif isinstance(event, PartBegins):
        changes = _part_begins(now, changes, event)
    elif isinstance(event, Loaded):
        failed = {name: told for name, told in changes.failed.items() if name != event.recipe}
        changes = replace(changes, loading=changes.loading - {event.recipe}, failed=failed)
    elif isinstance(event, NotLoaded):
        changes = _not_loaded(now, changes, event)
    elif isinstance(event, Renewed):
        changes = _renewed(now, changes)
    else:
        changes = _time_passes(now, changes, free=event.free)
    return changes, tuple(now.todo)


def _wished(now: _Step, changes: Changes, wish: Wish) -> Changes:
    changes = _superseded(now, changes, f"recipe {wish.recipe} was wished for after it")
    if wish.recipe == changes.recipe and changes.unread is None:
        now.todo.append(Answer(wish, "ok", f"recipe {wish.recipe} is in force"))
        return replace(changes, due_ns=None)
    changes = replace(changes, wish=wish, due_ns=None)
    if now.ready(wish.recipe) or (now.rules.drains and wish.recipe != changes.recipe):
        return changes  # it waits for a gap
    return _load(now, changes, wish.recipe)


def _part_begins(now: _Step, changes: Changes, part: PartBegins) -> Changes:
    wanted = part.recipe
    if wanted is None or wanted == changes.recipe:
        return _change_if_due(now, changes, part.at_ns, named=wanted)
    if changes.wish is not None and changes.wish.recipe != wanted:
        changes = _superseded(now, changes, f"a part of recipe {wanted} came")
    if wanted not in now.rules.recipes:
        return _hold(now, changes, wanted, part.at_ns, _lacking(wanted))
    if now.ready(wanted):
        return _use(now, changes, wanted, part.at_ns)
    if failed := _failed(changes, wanted, now.now_ns):
        return _hold(now, changes, wanted, part.at_ns, failed)
    return _load(now, _hold(now, changes, wanted, part.at_ns), wanted)


def _not_loaded(now: _Step, changes: Changes, event: NotLoaded) -> Changes:
    changes = replace(
        changes,
        loading=changes.loading - {event.recipe},
        failed={**changes.failed, event.recipe: (event.why, now.now_ns)},
    )
    if changes.wish is not None and changes.wish.recipe == event.recipe:
        now.todo.append(Answer(changes.wish, "failed", event.why))
        changes = replace(changes, wish=None, due_ns=None)
    if changes.unread is None or changes.recipe != event.recipe:
        return changes
    back = changes.before
    if back is None:
        return _hold(now, changes, event.recipe, now.now_ns, _failed(changes, event.recipe, now.now_ns))
    if now.ready(back):
        return _use(now, changes, back, now.now_ns)
    return _load(now, _hold(now, changes, back, now.now_ns), back)


def _renewed(now: _Step, changes: Changes) -> Changes:
    """Judge the recipe in force by what is new, at once; NO_READ where that lacks it. A wish goes on, if it may."""
    changes = replace(changes, loading=frozenset(), failed={}, before=None)
    wish = changes.wish
    if wish is not None and wish.recipe not in now.rules.recipes:
        now.todo.append(Answer(wish, "failed", f"the settings have no recipe {wish.recipe} any more"))
        changes = replace(changes, wish=None, due_ns=None)
    if changes.recipe not in now.rules.recipes:  # by what it was judged is in force no more
        changes = _hold(now, changes, changes.recipe, now.now_ns, _lacking(changes.recipe))
    elif now.ready(changes.recipe):
        changes = _use(now, changes, changes.recipe, now.now_ns)
    else:
        changes = _load(now, _hold(now, changes, changes.recipe, now.now_ns), changes.recipe)
    if changes.wish is not None and not now.ready(changes.wish.recipe) and not now.rules.drains:
        changes = _load(now, changes, changes.wish.recipe)
    return changes


def _time_passes(now: _Step, changes: Changes, *, free: bool) -> Changes:
    for recipe in _waited_for(now, changes):
        changes = _load(now, changes, recipe)
    if not _due(now, changes):
        return replace(changes, due_ns=None)
    due_ns = now.now_ns if changes.due_ns is None else changes.due_ns
    if not free and now.now_ns - due_ns < now.rules.timeout_ns:
        return replace(changes, due_ns=due_ns)
    return _change_if_due(now, changes, now.now_ns)


def _waited_for(now: _Step, changes: Changes) -> list[str]:
    """List the recipes that something waits for and that are not ready, but those that failed a short while ago.

    A recipe that was ready may be closed before its turn comes. One that is told as loaded may be closed by then.
    """
    waited = []
    if changes.unread is not None and changes.recipe in now.rules.recipes:
        waited.append(changes.recipe)
    if changes.wish is not None and not now.rules.drains:
        waited.append(changes.wish.recipe)
    return [one for one in waited if not now.ready(one) and not _failed(changes, one, now.now_ns)]


def _due(now: _Step, changes: Changes) -> bool:
    """Tell whether a change only waits for a gap."""
    if changes.wish is None or changes.wish.recipe == changes.recipe:
        return changes.unread is not None and now.ready(changes.recipe)
    wanted = changes.wish.recipe
    return now.ready(wanted) or (now.rules.drains and wanted not in changes.loading)


def _change_if_due(now: _Step, changes: Changes, from_ns: int, *, named: str | None = None) -> Changes:
    """Change as of a moment between parts, if a change waits. `named`: the recipe of the part that begins there."""
    if not _due(now, changes):
        return changes
    wanted = changes.recipe if changes.wish is None else changes.wish.recipe
    if named not in {None, wanted}:
        return changes
    if now.ready(wanted):
        return _use(now, changes, wanted, from_ns)
    before = changes.recipe if changes.unread is None else changes.before
    return _load(now, replace(_hold(now, changes, wanted, from_ns), before=before), wanted)


def _use(now: _Step, changes: Changes, recipe: str, from_ns: int) -> Changes:
    now.todo.append(Use(recipe, from_ns))
    wish = changes.wish
    if wish is not None and wish.recipe == recipe:
        now.todo.append(Answer(wish, "ok", f"recipe {recipe} is in force"))
        wish = None
    return replace(changes, recipe=recipe, unread=None, before=None, wish=wish, due_ns=None)


def _hold(now: _Step, changes: Changes, recipe: str, from_ns: int, reason: str = "") -> Changes:
    reason = reason or f"recipe {recipe} is being loaded"
    now.todo.append(Hold(recipe, reason, from_ns))
    return replace(changes, recipe=recipe, unread=reason, before=None, due_ns=None)


def _load(now: _Step, changes: Changes, recipe: str) -> Changes:
    if recipe in changes.loading:
        return changes
    now.todo.append(Load(recipe, now.rules.drains))
    return replace(changes, loading=changes.loading | {recipe})


def _lacking(recipe: str) -> str:
    return f"this station has no recipe {recipe}"


def _superseded(now: _Step, changes: Changes, why: str) -> Changes:
    if changes.wish is None:
        return changes
    now.todo.append(Answer(changes.wish, "superseded", why))
    return replace(changes, wish=None)


def _failed(changes: Changes, recipe: str, now_ns: int) -> str:
    """Say why a recipe cannot be loaded, where that is known and it is too early for a new try."""
    why, at_ns = changes.failed.get(recipe, ("", 0))
    return f"recipe {recipe} cannot be loaded: {why}" if why and now_ns - at_ns < RETRY_NS else ""
