"""Changes of a station's recipe, as pure decisions: what is wished, what parts name, what is ready."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.recipes.changes import (
    RETRY_NS,
    Action,
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

MS = 1_000_000
RECIPES = ("a", "b", "c")
RULES = ChangeRules(RECIPES, 100 * MS)
DRAINS = ChangeRules(RECIPES, 100 * MS, drains=True)


@dataclass
class Line:
    """Steps changes by what happens, and keeps what was to be done."""

    rules: ChangeRules = RULES
    changes: Changes = field(default_factory=lambda: Changes("a"))
    ready: set[str] = field(default_factory=lambda: {"a"})

    def do(self, event: Event, at_ms: int = 0) -> tuple[Action, ...]:
        """Take one event."""
        if isinstance(event, Loaded):
            self.ready.add(event.recipe)
        self.changes, todo = step(self.rules, self.changes, event, at_ms * MS, self.ready.__contains__)
        for one in todo:
            if isinstance(one, Load) and one.drained:
                self.ready.clear()
        return todo


def test_a_wish_is_loaded_then_fulfilled_between_two_parts() -> None:
    """Loading changes nothing; the change is at the first gap after it, and answers the wish."""
    line, wish = Line(), Wish("b", 1, 0)
    assert line.do(wish) == (Load("b"),)
    assert line.do(Gap(free=True), 10) == ()
    assert line.do(Loaded("b"), 20) == ()
    assert line.do(Gap(free=False), 30) == ()
    assert line.do(Gap(free=True), 40) == (Use("b", 40 * MS), Answer(wish, "ok", "recipe b is in force"))
    assert line.do(Gap(free=True), 50) == ()


def test_a_wish_waits_for_a_gap_no_longer_than_a_part_may_be_open() -> None:
    """The change comes the time limit of a part after it could first be made, if parts overlap without end."""
    line = Line(ready={"a", "b"})
    line.do(Wish("b", 1, 0))
    told = {at: line.do(Gap(free=False), at) for at in (500, 599, 600)}
    assert [at for at, todo in told.items() if todo] == [600]


def test_the_last_of_several_wishes_wins() -> None:
    """The earlier one is answered at once, the recipe that it had loaded stays aside."""
    line, first, second = Line(), Wish("b", 1, 0), Wish("c", 2, 0)
    line.do(first)
    assert line.do(second)[0] == Answer(first, "superseded", "recipe c was wished for after it")
    line.do(Loaded("b"))
    assert line.do(Gap(free=True)) == ()
    line.do(Loaded("c"))
    assert line.do(Gap(free=True))[0] == Use("c", 0)


def test_what_was_closed_before_its_turn_came_is_loaded_again() -> None:
    """Told late that a recipe was loaded, which was in force and closed since: its next wish does not wait for ever."""
    line = Line()
    line.do(Wish("b", 1, 0))
    line.ready.add("b")  # which is heard of later
    assert line.do(Gap(free=True), 10)[0] == Use("b", 10 * MS)
    assert line.do(Wish("a", 2, 20 * MS), 20) == ()
    line.do(Gap(free=True), 30)
    line.ready = {"a"}
    wish = Wish("b", 3, 40 * MS)
    assert line.do(wish, 40) == ()  # it is still being loaded, as far as is known
    line.do(Loaded("b"), 50)
    line.ready = {"a"}
    assert line.do(Gap(free=False), 60) == (Load("b"),)
    line.do(Loaded("b"), 70)
    assert line.do(Gap(free=True), 80) == (Use("b", 80 * MS), Answer(wish, "ok", "recipe b is in force"))


def test_a_wish_that_cannot_be_loaded_changes_nothing() -> None:
    """It is answered with the reason; nothing is used or held; a new wish tries again."""
    line, wish = Line(), Wish("b", 1, 0)
    line.do(wish)
    assert line.do(NotLoaded("b", "its bundle is gone")) == (Answer(wish, "failed", "its bundle is gone"),)
    assert line.changes.recipe == "a"
    assert line.do(Gap(free=True)) == ()
    assert line.do(Wish("b", 2, 0)) == (Load("b"),)


def test_a_part_that_names_a_warm_recipe_changes_it_as_of_its_opening() -> None:
    """The moment is the part's, not that of the decision; parts that name none stay with it."""
    line = Line(ready={"a", "b"})
    assert line.do(PartBegins("b", 7 * MS), 10) == (Use("b", 7 * MS),)
    assert line.do(PartBegins(None, 20 * MS), 20) == ()
    assert line.changes.recipe == "b"


def test_parts_of_a_recipe_that_is_not_ready_are_held_until_it_is() -> None:
    """They are NO_READ with the reason, parts after them that name none as well; others are judged meanwhile."""
    line = Line()
    assert line.do(PartBegins("b", 10 * MS), 10) == (Hold("b", "recipe b is being loaded", 10 * MS), Load("b"))
    assert line.do(PartBegins("b", 20 * MS), 20) == ()
    assert line.do(PartBegins("a", 30 * MS), 30) == (Use("a", 30 * MS),)
    assert line.do(PartBegins("b", 40 * MS), 40) == (Hold("b", "recipe b is being loaded", 40 * MS),)
    assert line.do(PartBegins(None, 50 * MS), 50) == ()
    line.do(Loaded("b"), 60)
    assert line.do(PartBegins(None, 70 * MS), 70) == (Use("b", 70 * MS),)


def test_a_recipe_that_parts_are_of_is_tried_again() -> None:
    """A recipe that cannot be loaded says why in each result.

    It is loaded again after a while, not for each part.
    """
    line = Line()
    line.do(PartBegins("b", 0))
    reason = "recipe b cannot be loaded: no memory"
    assert line.do(NotLoaded("b", "no memory")) == (Hold("b", reason, 0),)
    assert line.do(PartBegins("a", MS), 1) == (Use("a", MS),)
    assert line.do(PartBegins("b", 2 * MS), 2) == (Hold("b", reason, 2 * MS),)
    assert line.do(Gap(free=False), RETRY_NS // MS - 1) == ()
    assert line.do(Gap(free=False), RETRY_NS // MS) == (Load("b"),)


def test_a_recipe_that_the_station_lacks_is_never_guessed() -> None:
    """A part that names one is NO_READ, and nothing is loaded for it."""
    assert Line().do(PartBegins("z", 5)) == (Hold("z", "this station has no recipe z", 5),)


def test_where_memory_is_short_the_engines_are_closed_first() -> None:
    """The running recipe is judged up to a gap. Then parts are of the new one, NO_READ until it is loaded."""
    line, wish = Line(DRAINS), Wish("b", 1, 0)
    assert line.do(wish) == ()
    assert line.do(Gap(free=False), 10) == ()
    assert line.do(Gap(free=True), 20) == (Hold("b", "recipe b is being loaded", 20 * MS), Load("b", drained=True))
    assert line.do(Gap(free=True), 30) == ()
    line.do(Loaded("b"))
    assert line.do(Gap(free=True), 40) == (Use("b", 40 * MS), Answer(wish, "ok", "recipe b is in force"))


def test_where_the_engines_were_closed_in_vain_the_former_recipe_is_loaded_again() -> None:
    """A wish that fails after that is answered, and the station goes back by itself."""
    line, wish = Line(DRAINS), Wish("b", 1, 0)
    line.do(wish)
    line.do(Gap(free=True))
    assert line.do(NotLoaded("b", "broken")) == (
        Answer(wish, "failed", "broken"),
        Hold("a", "recipe a is being loaded", 0),
        Load("a", drained=True),
    )
    line.do(Loaded("a"))
    assert line.do(Gap(free=True)) == (Use("a", 0),)


NAMES = st.sampled_from(RECIPES)
EVENTS = st.one_of(
    st.tuples(st.just("wish"), NAMES),
    st.tuples(st.just("part"), st.sampled_from([None, "a", "b", "c", "z"])),
    st.tuples(st.just("load"), st.booleans()),
    st.tuples(st.just("gap"), st.booleans()),
    st.tuples(st.just("close"), NAMES),
)


class Told:
    """A line that is told anything in any order, and what must hold after each step."""

    def __init__(self, rules: ChangeRules) -> None:
        self.line = Line(rules)
        self.wishes = 0
        self.answered: list[int] = []
        self.loading: list[str] = []
        self.judging = "a"

    def event(self, what: str, of: object, at_ms: int) -> Event | None:
        """Return what happens next, if it can."""
        if what == "wish":
            self.wishes += 1
            return Wish(str(of), self.wishes, at_ms * MS)
        if what == "part":
            return PartBegins(None if of is None else str(of), at_ms * MS - 3)
        if what == "load" and self.loading:
            recipe = self.loading.pop(0)
            return Loaded(recipe) if of else NotLoaded(recipe, "it is broken")
        if what == "close" and of != self.line.changes.recipe:
            self.line.ready.discard(str(of))
        return Gap(free=bool(of)) if what == "gap" else None

    def do(self, event: Event, at_ms: int) -> None:
        """Take an event, and look at what is to be done."""
        for one in self.line.do(event, at_ms):
            if isinstance(one, Load):
                assert one.recipe not in self.loading
                self.loading.append(one.recipe)
            elif isinstance(one, Answer):
                self.answered.append(one.wish.number)
            else:
                assert isinstance(one, Hold) or one.recipe in self.line.ready
                self.judging = one.recipe
        waits = [] if self.line.changes.wish is None else [self.line.changes.wish.number]
        assert sorted(self.answered + waits) == list(range(1, self.wishes + 1))
        assert self.judging == self.line.changes.recipe


@pytest.mark.parametrize("rules", [RULES, DRAINS], ids=["side by side", "drain first"])
@given(told=st.lists(EVENTS, max_size=60))
def test_no_order_of_events_judges_by_what_is_not_ready(rules: ChangeRules, told: list[tuple[str, object]]) -> None:
    """Only a ready recipe is used; a part that names a recipe gets it. Each wish is answered once, or still waits."""
    all_of_it = Told(rules)
    for place, (what, of) in enumerate(told):
        event = all_of_it.event(what, of, 10 * place)
        if event is not None:
            all_of_it.do(event, 10 * place)
        if isinstance(event, PartBegins) and event.recipe is not None:
            assert all_of_it.judging == event.recipe


@given(told=st.lists(EVENTS, max_size=40))
def test_every_wish_comes_to_its_end(told: list[tuple[str, object]]) -> None:
    """A gap ends every wish, by fulfilling the last, once all that is asked for is loaded, whatever came before."""
    line, loading, last = Line(), set[str](), 0
    for at, (what, of) in enumerate(told):
        event: Event = Gap(free=False)
        if what == "wish":
            last += 1
            event = Wish(str(of), last, at * MS)
        elif what == "part":
            event = PartBegins(None if of is None else str(of), at * MS)
        loading |= {one.recipe for one in line.do(event, at) if isinstance(one, Load)}
    wish = line.changes.wish
    for recipe in loading:
        line.do(Loaded(recipe), 1000)
    line.do(Gap(free=True), 1001)
    assert line.changes.wish is None
    assert wish is None or line.changes.recipe == wish.recipe
    assert line.changes.unread is None or line.changes.recipe == "z"


def test_what_is_in_force_is_judged_anew_by_what_is_new() -> None:
    """A recipe that is ready judges at once by the new edition. One that is not is held until it is loaded."""
    line = Line()
    assert line.do(Renewed(), 5) == (Use("a", 5 * MS),)
    line.ready.clear()
    assert line.do(Renewed(), 6) == (Hold("a", "recipe a is being loaded", 6 * MS), Load("a"))
    line.do(Loaded("a"))
    assert line.do(Gap(free=True), 7) == (Use("a", 7 * MS),)


def test_a_wish_outlives_what_is_new_if_its_recipe_does() -> None:
    """A recipe that was being loaded is loaded again, by what is new; one that is gone answers its wish."""
    line, wish = Line(), Wish("b", 1, 0)
    line.do(wish)
    assert line.do(Renewed()) == (Use("a", 0), Load("b"))
    line.do(Loaded("b"))
    assert line.do(Gap(free=True))[0] == Use("b", 0)
    line = Line()
    line.do(wish)
    line.rules = ChangeRules(("a", "c"), 100 * MS)
    assert line.do(Renewed())[0] == Answer(wish, "failed", "the settings have no recipe b any more")


def test_what_is_new_without_the_recipe_in_force_judges_nothing_by_it() -> None:
    """Parts are NO_READ until another recipe is wished for; a recipe that comes back is judged again."""
    line = Line(ChangeRules(("b", "c"), 100 * MS), ready={"b"})
    assert line.do(Renewed(), 5) == (Hold("a", "this station has no recipe a", 5 * MS),)
    assert line.do(Gap(free=True), 6) == ()
    assert line.do(PartBegins(None, 7 * MS), 7) == ()
    line.rules, line.ready = RULES, {"a"}
    assert line.do(Renewed(), 8) == (Use("a", 8 * MS),)
