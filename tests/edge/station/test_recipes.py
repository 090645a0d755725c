"""Recipes that change under a running station: by command, by a part's id, by the trigger; and what must not happen."""

from __future__ import annotations

import shlex
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edge.bundle import Bundle
from edge.cli.commands import app
from edge.errors import CommandError
from edge.outputs.simulated import SimulatedMachine
from edge.records.parts import PartClosed, PartOpened
from tests.bright_bundle import part
from tests.brokers import wait_for
from tests.conftest import ROOT
from tests.edge.station.recipe_line import RecipeLine, grey_scratch, recipes, running, write_bundles

S = 1_000_000_000
SLOW = 3_600_000  # nothing here is about the age of frames, and the machine may be busy
PARTS = {"trigger": "mqtt", "timeout_ms": 60_000, "wait_ms": 60_000}
SCRATCHED = {"id": "scratched", "measure": "count", "class": "scratch", "raise_at": 1, "text": "!", "needs_ack": False}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """Write the bundles of three recipes."""
    return write_bundles(tmp_path_factory.mktemp("bundles"))


def given(bundles: dict[str, Bundle], cameras: tuple[str, ...] = ("top",), **more: Any) -> dict[str, Any]:
    """Return settings of a station with three recipes."""
    folder = next(iter(bundles.values())).path.parent
    own = {name: {"max_age_ms": SLOW} for name in cameras}
    return {"cameras": own, "recipes": recipes(folder, cameras=cameras), "recipe": "a", "parts": PARTS, **more}


def test_a_command_changes_the_recipe_of_the_next_part(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """A part NG by one recipe is OK by the next; alarms of the surface end. Journal, status and messages say it."""
    with running(tmp_path, given(bundles, alarms=[SCRATCHED])) as line:
        assert line.verdict("1") == "NG"
        assert "scratched" in line.opened.decider.recorder.alarms.manager.shown_alarms
        assert line.change("b") == {"number": 1, "recipe": "b", "outcome": "ok", "detail": "recipe b is in force"}
        assert "scratched" not in line.opened.decider.recorder.alarms.manager.shown_alarms
        assert line.verdict("2") == "OK"
        assert line.of("2")["recipe"] == "b"
        assert [(one.detail, one.user, one.comment) for one in line.journal("recipe")] == [("a → b", "anna", "lot 7")]
        assert [one.detail for one in line.journal("cleared") if one.alarm == "scratched"] == ["recipe changed"]
        assert line.opened.decider.counts.recipe_changes == 1
        line.wait(lambda: bool(in_force(line) and in_force(line)[-1] == "b"))
        assert line.wish("b") == ("ok", "recipe b is in force")
        agree(line, bundles, {"1": "a", "2": "b"})


def in_force(line: RecipeLine) -> list[str]:
    """Return which recipes were said to be in force, in order."""
    bodies = [one["body"] for one in line.told()]
    return [body["name"] for body in bodies if body["schema"].startswith("linewatch/recipe/")]


def agree(line: RecipeLine, bundles: dict[str, Bundle], recipe_of: dict[str, str]) -> None:
    """Look at every message: its envelope, its body, the part's recipe and the models agree; and no part is lost."""
    shas = {name: bundle.model_sha256 for name, bundle in bundles.items()}
    seen = []
    for one in line.told():
        assert one["model_sha256"] == shas[one["recipe"]], one
        body = one["body"]
        if body["schema"].startswith("linewatch/part/"):
            seen.append(body["part_id"])
            assert body["recipe"] == one["recipe"] == recipe_of[body["part_id"]]
            models = {view["model"]["sha256"] for view in body["views"].values() if view["model"]}
            assert models <= {one["model_sha256"]}
    line.opened.outbox.flush(120)
    line.wait(lambda: line.opened.outbox.counts().pending == 0)
    told = [one["body"]["part_id"] for one in line.told() if one["body"]["schema"].startswith("linewatch/part/")]
    assert told == [one.part.part_id for one in line.parts]
    assert sorted(told) == sorted(recipe_of)


def test_a_part_s_id_says_which_recipe_it_is(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """A cold recipe makes its parts NO_READ, with the reason, until it is loaded; a warm one judges at once."""
    with running(tmp_path, given(bundles)) as line:
        assert line.verdict("A-1") == "NG"
        assert line.verdict("B-1") == "NO_READ"
        line.wait(lambda: line.ask()["not_judged"] is None)
        assert line.verdict("B-2") == "OK"
        assert line.verdict("?") == "OK"  # it names none, so it is of the recipe in force
        line.verdict("A-2")
        assert line.verdict("A-3") == "NG"
        names = {one.part.part_id: one.body["recipe"] for one in line.parts}
        assert names == {"A-1": "a", "B-1": "b", "B-2": "b", "?": "b", "A-2": "a", "A-3": "a"}
        agree(line, bundles, names)


def test_a_part_of_a_recipe_that_the_station_lacks_is_no_read(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """It is never judged by another recipe; the trigger's alarm and the journal say so; the next part is judged."""
    with running(tmp_path, given(bundles)) as line:
        line.verdict("x", recipe="z")
        assert line.verdict("y", recipe="z") == "NO_READ"
        assert "this station has no recipe z" in line.of("y")["reason"]
        line.verdict("1", recipe="a")
        assert line.verdict("2", recipe="a") == "NG"
        assert [one.detail for one in line.journal("trigger")] == ["unknown_recipe: this station has no recipe z"]


def test_an_unknown_recipe_is_refused_by_command(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """Nothing changes, and the answer names the recipes; so is one of somebody who is no operator."""
    with running(tmp_path, given(bundles, operators=["anna"])) as line:
        assert line.wish("z") == ("unknown_recipe", "expected one of a, b, c, received 'z'")
        assert line.wish("b", user="mallory")[0] == "not_authorised"
        assert line.verdict("1") == "NG"
        assert line.opened.decider.counts.recipe_changes == 0


def test_a_recipe_whose_bundle_disappears_leaves_the_running_one(tmp_path: Path) -> None:
    """The wish fails with the reason, and an alarm stands until a recipe is loaded; no part is lost meanwhile."""
    own = write_bundles(tmp_path / "bundles")
    away = own["b"].path.with_name("away")
    shutil.move(own["b"].path, away)
    shutil.copytree(away, own["b"].path)  # it is there when the station starts
    with running(tmp_path, given(own)) as line:
        shutil.rmtree(own["b"].path)
        answer = line.change("b")
        assert answer["outcome"] == "failed"
        assert "No bundle at" in answer["detail"]
        alarms = line.opened.decider.recorder.alarms.manager
        assert "recipe-failed" in alarms.shown_alarms
        assert line.verdict("1") == "NG"
        assert "b cannot be loaded" in line.journal("recipe")[0].detail
        shutil.move(away, own["b"].path)
        assert line.change("b")["outcome"] == "ok"
        assert [one.alarm for one in line.journal("cleared")] == ["recipe-failed"]
        assert line.verdict("2") == "OK"


def test_a_bundle_that_was_replaced_is_not_taken_by_a_change_of_recipe(tmp_path: Path) -> None:
    """Another model under the same name is refused, and named: nobody has seen what it does."""
    own = write_bundles(tmp_path / "bundles")
    with running(tmp_path, given(own)) as line:
        shutil.rmtree(own["b"].path)
        shutil.copytree(own["c"].path, own["b"].path)
        answer = line.change("b")
        assert (answer["outcome"], "was replaced" in answer["detail"]) == ("failed", True)
        assert line.verdict("1") == "NG"


def test_engines_of_recent_recipes_stay_warm_and_others_are_closed(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """With `keep_recipes: 2` two engines are open after any change, and threads do not grow."""
    before = set(threading.enumerate())  # an engine that was made to hang in another test has a thread for ever
    with running(tmp_path, given(bundles, keep_recipes=2)) as line:
        engines = line.opened.engines
        for number, name in enumerate("bcabca"):
            assert line.change(name)["outcome"] == "ok"
            line.wait(lambda: engines.count == 2)
            assert line.verdict(str(number)) == ("NG" if name == "a" else "OK")
        batchers = [each for each in set(threading.enumerate()) - before if each.name == "batcher"]
        assert len(batchers) == 2
    ours = {"batcher", "engine", "recipe loader", "view top"}
    wait_for(lambda: not ours & {each.name for each in set(threading.enumerate()) - before})


def test_where_memory_is_short_one_recipe_is_open_at_a_time(tmp_path: Path) -> None:
    """With `swap: drain_first` the running engine is closed before the next opens; one that fails is followed by it."""
    own = write_bundles(tmp_path / "bundles")
    with running(tmp_path, given(own, swap="drain_first", keep_recipes=1)) as line:
        assert line.verdict("1") == "NG"
        assert line.change("b")["outcome"] == "ok"
        assert line.opened.engines.count == 1
        assert line.verdict("2") == "OK"
        shutil.rmtree(own["c"].path)
        assert line.change("c")["outcome"] == "failed"
        line.wait(lambda: line.ask()["not_judged"] is None and line.ask()["recipe"] == "b")
        assert line.verdict("3") == "OK"
        agree(line, own, {"1": "a", "2": "b", "3": "b"})


def test_the_recipe_changes_while_a_camera_hangs(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """The other camera's frames are judged by the new recipe; no part waits for the change longer than it must."""
    cameras = ("top", "side")
    with running(tmp_path, given(bundles, cameras, parts=PARTS | {"wait_ms": 300})) as line:
        line.cameras["side"].hangs.set()
        assert line.verdict("1") == "NG"
        assert line.change("b")["outcome"] == "ok"
        assert line.verdict("2") == "NO_READ"
        assert line.of("2")["missing_views"] == ["side"]
        assert line.of("2")["views"]["top"]["model"]["sha256"] == bundles["b"].model_sha256
        agree(line, bundles, {"1": "a", "2": "b"})
        line.cameras["side"].hangs.clear()


def test_a_station_without_parts_changes_between_two_frames(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """Each frame is told with the recipe and the model that judged it."""
    with running(tmp_path, given(bundles, parts={}), parts=False) as line:
        line.cameras["top"].feed(grey_scratch())
        line.wait(lambda: len(line.frames) == 1)
        line.change("b")
        line.cameras["top"].feed(grey_scratch())
        line.wait(lambda: len(line.frames) == 2)
        told = [(one.body["verdict"], one.body["model"]["sha256"]) for one in line.frames if one.body]
        assert told == [("NG", bundles["a"].model_sha256), ("OK", bundles["b"].model_sha256)]


def test_the_shell_lists_and_changes_recipes(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """`linewatch recipe CONFIG NAME` returns once it is in force; without a name it lists them; 13 where refused."""

    def shell(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["recipe", str(tmp_path / "station.yaml"), *words])
        if isinstance(done.exception, CommandError):
            return CommandError.exit_code, str(done.exception)
        return done.exit_code, done.output

    with running(tmp_path, given(bundles)) as line:
        assert shell("b", "--user", "anna") == (
            0,
            ("accepted: recipe b comes into force between two parts, once it is loaded\nok: recipe b is in force\n"),
        )
        assert line.ask()["recipe"] == "b"
        code, shown = shell()
        assert code == 0
        assert [row.split()[:3] for row in shown.splitlines() if " in force " in row] == [["│", "b", "│"]]
        assert shell("z", "--user", "anna") == (
            CommandError.exit_code,
            "The line refused to recipe: unknown_recipe, expected one of a, b, c, received 'z'",
        )
    assert "No line runs" in shell("b", "--user", "anna")[1]


def test_the_commands_of_the_page_print_what_it_shows(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """Each command of docs/recipes-at-the-line.md, given to a station, prints the lines that the page shows."""
    page = (ROOT / "docs" / "recipes-at-the-line.md").read_text()
    session = page.split("```console\n$ ")[1].split("```")[0].split("\n$ ")
    assert len(session) >= 3
    own = given(bundles)
    own |= {"recipes": {f"phone-{name}": own["recipes"][name] for name in "ab"}, "recipe": "phone-a"}
    with running(tmp_path, own):
        for asked in session:
            command, _, answer = asked.partition("\n")
            words = shlex.split(command.replace("config/station.yaml", str(tmp_path / "station.yaml")))[1:]
            done = CliRunner().invoke(app, words)
            told = f"error: {done.exception}" if isinstance(done.exception, CommandError) else done.output
            assert told.strip() == answer.strip()


def many_changes(line: RecipeLine, changes: int) -> dict[str, str]:
    """Let four parts of each recipe pass in turn, as fast as the station takes them. Return the recipe of each."""
    recipe_of: dict[str, str] = {}
    for change in range(changes):
        name = "ab"[change % 2]
        for _ in range(4):
            part_id = f"{name.upper()}-{len(recipe_of)}"
            recipe_of[part_id] = name
            line.show(part_id, part() if len(recipe_of) % 5 == 0 else grey_scratch())
            line.wait(lambda: len(line.parts) > len(recipe_of) - 3)
    line.wait(lambda: len(line.parts) == len(recipe_of))
    return recipe_of


def warm_changes(bundles: dict[str, Bundle], folder: Path, changes: int) -> None:
    """Change between two warm recipes under load, and look at every part and every message."""
    with running(folder, given(bundles)) as line:
        line.change("b")
        line.change("a")
        before = line.opened.decider.counts.recipe_changes
        recipe_of = many_changes(line, changes)
        assert line.opened.decider.counts.recipe_changes - before == changes - 1
        lost = [one.part.part_id for one in line.parts if one.body["verdict"] == "NO_READ"]
        # at most a part for each change; on a busy machine that need not be the first one after it
        assert len(lost) <= changes
        for place, (part_id, name) in enumerate(recipe_of.items()):
            if part_id not in lost:
                bad = name == "a" and (place + 1) % 5 != 0
                assert line.of(part_id)["verdict"] == ("NG" if bad else "OK"), part_id
        agree(line, bundles, recipe_of)


def test_changes_under_load_lose_no_part_and_name_no_wrong_model(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """Warm, a change costs at most a part; each verdict is by the part's own recipe; all parts are told."""
    warm_changes(bundles, tmp_path, 10)


@pytest.mark.soak
def test_two_hundred_changes_under_load(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    """The same, two hundred times."""
    warm_changes(bundles, tmp_path, 200)


def test_a_view_that_the_next_recipe_lacks_judges_the_parts_on_their_way_to_it(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """A part that its last view sees two seconds later is judged by it, though the recipe changed meanwhile."""
    settings = given(bundles, cameras=("top", "side"))
    settings["recipes"]["a"]["views"]["side"]["offset_ms"] = 2000
    del settings["recipes"]["b"]["views"]["side"]
    with running(tmp_path, settings) as line:
        assert [line.change(name)["outcome"] for name in ("b", "a")] == ["ok", "ok"]  # both are warm
        top, side = line.cameras["top"], line.cameras["side"]
        begin_ns = time.monotonic_ns() - 5 * S
        line.trigger.tell(PartOpened(begin_ns, "A-1"))
        top.feed(part(), begin_ns + S // 2)
        line.trigger.tell(PartClosed(begin_ns + S, "A-1"))
        line.trigger.tell(PartOpened(begin_ns + S + 1, "B-1"))
        line.wait(lambda: line.ask()["recipe"] == "b")
        side.feed(grey_scratch(), begin_ns + 2 * S + S // 2)
        for camera in (top, side):
            camera.feed(part(), begin_ns + 4 * S)
        line.wait(lambda: len(line.parts) == 1)
        assert (line.of("A-1")["verdict"], line.of("A-1")["recipe"]) == ("NG", "a")


def test_the_machine_is_told_a_grade_s_place_in_the_table_of_its_part_s_recipe(
    bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """A part that is decided after the next recipe came into force keeps the place in its own recipe's table."""
    outputs = {name: {"rule": rule, "at": name} for name, rule in (("place", "grade"), ("count", "result_counter"))}
    settings = given(bundles, machine={"link": "simulated"}, outputs=outputs)
    for recipe, names in (("a", ("best", "fair")), ("b", ("other", "best"))):
        rows = [{"name": name, "value_factor": 1.0, "limits": {}} for name in names]
        settings["recipes"][recipe]["grades"] = [*rows, {"name": "scrap", "value_factor": 0}]
    machine = SimulatedMachine()
    with running(tmp_path, settings, output=machine) as line:
        assert [line.change(name)["outcome"] for name in ("b", "a")] == ["ok", "ok"]
        camera = line.cameras["top"]
        line.trigger.tell(PartOpened(time.monotonic_ns(), "A-1"))
        camera.feed(part())
        line.trigger.tell(PartClosed(time.monotonic_ns(), "A-1"))
        line.trigger.tell(PartOpened(time.monotonic_ns(), "B-1"))
        line.wait(lambda: line.ask()["recipe"] == "b")
        camera.feed(part())  # after which nothing more can come of the first part
        line.wait(lambda: len(line.parts) == 1)
        line.wait(lambda: machine.levels.get("count") == 1)
        assert (line.of("A-1")["grade"]["name"], machine.levels["place"]) == ("best", 1)
