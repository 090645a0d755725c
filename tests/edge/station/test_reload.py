"""New models and settings under a running station: taken between two parts, compared before, given up where bad."""

from __future__ import annotations

import itertools
import shlex
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from edge.bundle import Bundle
from edge.cli.commands import app
from edge.errors import BundleError, CommandError, LinewatchError, SettingsError
from edge.records import UInt8
from edge.records.parts import PartClosed, PartOpened
from tests.bright_bundle import add_golden, part, write_bright_bundle
from tests.conftest import ROOT
from tests.edge.station.recipe_line import WAIT_S, RecipeLine, grey_scratch, running

PARTS = {"trigger": "mqtt", "timeout_ms": 60_000, "wait_ms": 60_000}
SLOW = 3_600_000  # the machine may be busy
RELOAD = {"shadow_parts": 2, "watch_parts": 2, "disagreement_at_most": 0.5}
SAME, BLIND = 260.0, 280.0  # half of 260 is 130: a scratch of 135 is seen; half of 280 is 140: it is not


def given(folder: Path, **more: Any) -> dict[str, Any]:
    """Return settings of a station with one recipe, whose new models judge two parts before and after the change."""
    views = {"top": {"bundle": str(folder / "model")}}
    own = {"cameras": {"top": {"max_age_ms": SLOW}}, "recipes": {"a": {"views": views}}}
    return own | {"parts": PARTS, "reload": RELOAD, **more}


def edit(folder: Path, **changes: Any) -> None:
    """Change keys of the settings file; None takes one out."""
    file = folder / "station.yaml"
    settings = yaml.safe_load(file.read_text()) | changes
    file.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))


def replace_bundle(folder: Path, white: float = SAME, *, not_a_number: bool = False) -> Bundle:
    """Put another model in the place of the one on the disk."""
    shutil.rmtree(folder / "model")
    return write_bright_bundle(folder / "model", white=white, not_a_number=not_a_number)


def reloaded(line: RecipeLine, pixels: UInt8 | None = None, **body: Any) -> dict[str, Any]:
    """Reload, let parts pass until that has come to its end, and return what it came to."""
    assert line.reload(**body)[0] == "accepted"
    return end_of(line, pixels)


def end_of(line: RecipeLine, pixels: UInt8 | None = None, count: int = 1) -> dict[str, Any]:
    """Let parts pass until so many reloads have come to their end, and return the last answer."""
    pass_parts(line, lambda: len(line.reloading()["answers"]) == count, pixels)
    answer: dict[str, Any] = line.reloading()["answers"][-1]
    return answer


def pass_parts(line: RecipeLine, until: Callable[[], bool], pixels: UInt8 | None = None) -> None:
    """Let parts pass until something is so."""
    until_s = time.monotonic() + WAIT_S
    while not until():
        assert time.monotonic() < until_s, line.reloading()
        line.verdict(f"p{len(line.parts)}", pixels)


def models_of_parts(line: RecipeLine) -> list[str]:
    """Return the model in each part's message, in order; envelope and body agree on it, and no part is lost."""
    line.opened.outbox.flush(120)
    line.wait(lambda: line.opened.outbox.counts().pending == 0)
    told = [one for one in line.told() if one["body"]["schema"].startswith("linewatch/part/")]
    for one in told:
        judged = {view["model"]["sha256"] for view in one["body"]["views"].values() if view["model"]}
        assert judged <= {one["model_sha256"]}
    assert [one["body"]["part_id"] for one in told] == [one.part.part_id for one in line.parts]
    return [one["model_sha256"] for one in told]


def stages(line: RecipeLine) -> list[str]:
    """Return the stages that were told to the broker."""
    line.wait(lambda: any(one["body"]["schema"] == "linewatch/reload/1" for one in line.told()))
    return [one["body"]["stage"] for one in line.told() if one["body"]["schema"] == "linewatch/reload/1"]


def standing(line: RecipeLine) -> list[str]:
    """Return the alarms that an operator is to see."""
    return line.opened.decider.recorder.alarms.manager.shown_alarms


def test_a_replaced_bundle_is_taken_after_a_shadow_run(tmp_path: Path) -> None:
    """The running model's verdicts stand until the change, the new one's after it; each message names its own."""
    old = write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        new = replace_bundle(tmp_path)
        answer = reloaded(line)
        assert (answer["outcome"], answer["exit_code"]) == ("ok", 0), answer
        assert answer["detail"] == (
            "shadow run: 2 parts compared, 0 verdicts would differ; no defect gained or lost; "
            "watched: 2 parts compared, 0 verdicts would differ; no defect gained or lost"
        )
        line.verdict("after")
        shas = [old.model_sha256, new.model_sha256]
        told = models_of_parts(line)
        assert told == sorted(told, key=shas.index)
        assert set(told) == set(shas)
        line.wait(lambda: line.opened.engines.count == 1)
        assert [one.detail.split(":")[0].split(";")[0] for one in line.journal("reload")] == [
            "shadow run",
            "changed between two parts, and watched",
            "done",
        ]
        assert {(one.user, one.comment) for one in line.journal("reload")} == {("anna", "May")}
        assert line.told()[-1]["recipe"] == "a"
        assert "done" in stages(line)
        assert "reload-failed" not in standing(line)


def test_a_model_that_disagrees_does_not_come_into_force(tmp_path: Path) -> None:
    """The running one stays, no part is judged otherwise; the answer has the diff; an alarm stands till a success."""
    old = write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        replace_bundle(tmp_path, BLIND)
        answer = reloaded(line)
        assert (answer["outcome"], answer["exit_code"]) == ("rolled_back", CommandError.exit_code)
        assert "2 verdicts would differ (NG → OK: 2); scratch: 0 gained, 2 lost" in answer["detail"]
        assert "the files on the disk are still the new ones" in answer["detail"]
        assert line.verdict("after") == "NG"
        assert set(models_of_parts(line)) == {old.model_sha256}
        assert "reload-failed" in standing(line)
        line.wait(lambda: line.opened.engines.count == 1)
        replace_bundle(tmp_path)
        assert line.reload()[0] == "accepted"
        assert end_of(line, count=2)["outcome"] == "ok"
        # the part at the change may be NO_READ, with an alarm of its own
        assert "reload-failed" in [one.alarm for one in line.journal("cleared")]


def test_a_model_that_disagrees_after_the_change_is_taken_back(tmp_path: Path) -> None:
    """Without a shadow run it judges; then the former one comes back between two parts, and no part is lost."""
    old = write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        new = replace_bundle(tmp_path, BLIND)
        answer = reloaded(line, shadow_parts=0)
        assert answer["outcome"] == "rolled_back"
        line.verdict("next")
        assert line.verdict("after") == "NG"
        models = models_of_parts(line)
        assert models[-1] == old.model_sha256
        assert new.model_sha256 in models
        assert stages(line)[-1] == "rolled_back"
        assert "reload-failed" in standing(line)
        line.wait(lambda: line.opened.engines.count == 1)


@pytest.mark.parametrize("shadow_parts", [2, 0])
def test_a_model_that_answers_no_numbers_is_given_up(shadow_parts: int, tmp_path: Path) -> None:
    """NaN is never OK: in the shadow run it costs nothing; after the change its parts are NO_READ, and it goes back."""
    old = write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        replace_bundle(tmp_path, not_a_number=True)
        answer = reloaded(line, shadow_parts=shadow_parts)
        assert answer["outcome"] == "rolled_back"
        assert "NaN" in answer["detail"]
        line.verdict("next")
        assert line.verdict("after") == "NG"
        assert models_of_parts(line)[-1] == old.model_sha256
        verdicts = [one.body["verdict"] for one in line.parts]
        assert set(verdicts) == ({"NG"} if shadow_parts else {"NG", "NO_READ"})


def test_a_model_that_is_too_slow_is_given_up(tmp_path: Path) -> None:
    """No model judges six million pixels within a millisecond."""
    write_bright_bundle(tmp_path / "model")
    slow = RELOAD | {"latency_ms": 1, "shadow_parts": 50}
    with running(tmp_path, given(tmp_path, reload=slow)) as line:
        replace_bundle(tmp_path)
        answer = reloaded(line, part(2000, 3000))
        assert answer["outcome"] == "rolled_back"
        assert "the new model is too slow" in answer["detail"]


def test_a_bundle_that_was_damaged_or_sees_otherwise_is_refused(tmp_path: Path) -> None:
    """The hashes are verified and the golden frames replayed before anything changes; exit code 4; an alarm stands."""
    add_golden(write_bright_bundle(tmp_path / "model"))
    with running(tmp_path, given(tmp_path)) as line:
        model = tmp_path / "model" / "model.onnx"
        good = model.read_bytes()
        model.write_bytes(good + b"\0")
        damaged = reloaded(line)
        assert (damaged["outcome"], damaged["exit_code"]) == ("failed", BundleError.exit_code)
        assert "corrupt or was altered" in damaged["detail"]
        assert "reload-failed" in standing(line)
        shutil.rmtree(tmp_path / "model")
        add_golden(write_bright_bundle(tmp_path / "model", white=1000.0))
        assert line.reload()[0] == "accepted"
        blind = end_of(line, count=2)
        assert (blind["outcome"], blind["exit_code"]) == ("failed", BundleError.exit_code)
        assert "golden" in blind["detail"]
        assert line.verdict("after") == "NG"
        assert line.opened.engines.count == 1


def test_limits_are_taken_between_two_parts(tmp_path: Path) -> None:
    """Other limits of the same model judge the next parts; the engine is shared, the journal has the settings."""
    write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        assert line.verdict("before") == "NG"
        settings = given(tmp_path, reload=RELOAD | {"disagreement_at_most": 1.0})
        settings["recipes"]["a"]["views"]["top"]["inspect"] = {"limits": {"scratch": {"max_count": 5}}}
        edit(tmp_path, recipes=settings["recipes"], reload=settings["reload"])
        answer = reloaded(line)
        assert answer["outcome"] == "ok"
        assert "NG → OK" in answer["detail"]
        assert line.verdict("after") == "OK"
        assert line.opened.engines.count == 1
        assert "reloaded" in line.journal("settings")[-1].detail


def test_settings_that_change_nothing_that_judges_are_taken_at_once(tmp_path: Path) -> None:
    """No shadow run is made where there is nothing to compare."""
    write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        edit(tmp_path, keep_recipes=5)
        line.reload()
        line.wait(lambda: bool(line.reloading()["answers"]))
        assert line.reloading()["answers"][0]["detail"] == "nothing was compared"


WRONG = {
    "unknown key": ({"bundel": 3}, "key bundel"),
    "wrong value": ({"keep_recipes": 0}, "key keep_recipes"),
    "no yaml": (None, "station.yaml"),
    "fixed": ({"store": {"path": "outbox.db", "max_results": 500}}, "key store.max_results: expected 200000"),
    "trigger": ({"parts": PARTS | {"trigger": "camera"}}, "key parts.trigger: expected mqtt"),
    "broker": ({"broker": {"port": 10}}, "key broker.port: expected 9"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_settings_are_refused_whole(wrong: str, tmp_path: Path) -> None:
    """Exit code 3, with the key, what was expected and received; nothing changes, and no alarm stands for it."""
    write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        changes, told = WRONG[wrong]
        if changes is None:
            (tmp_path / "station.yaml").write_text("a: [")
        else:
            edit(tmp_path, **changes)
        line.reload()
        line.wait(lambda: bool(line.reloading()["answers"]))
        answer = line.reloading()["answers"][0]
        assert (answer["outcome"], answer["exit_code"]) == ("failed", SettingsError.exit_code)
        assert told in answer["detail"]
        assert standing(line) == []
        assert line.verdict("after") == "NG"


def test_settings_without_the_recipe_in_force_are_refused(tmp_path: Path) -> None:
    """A station is never left without a recipe; another one may be put in force first."""
    write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        edit(tmp_path, recipes={"b": given(tmp_path)["recipes"]["a"]})
        line.reload()
        line.wait(lambda: bool(line.reloading()["answers"]))
        assert "expected a, which is in force, received b" in line.reloading()["answers"][0]["detail"]


def test_a_recipe_that_comes_into_force_meanwhile_is_not_taken_from_the_station(tmp_path: Path) -> None:
    """A part that names a recipe which the new settings lack, just before the change, keeps the former ones."""
    write_bright_bundle(tmp_path / "model")
    recipes = two_recipes(tmp_path)
    with running(tmp_path, given(tmp_path, recipes=recipes, recipe="a")) as line:
        old = replace_bundle(tmp_path)
        assert reloaded(line, shadow_parts=0)["outcome"] == "ok"
        edit(tmp_path, recipes={"a": recipes["a"]})
        replace_bundle(tmp_path, 262.0)
        line.trigger.tell(PartOpened(time.monotonic_ns(), "a-long"))
        line.reload(shadow_parts=0)
        line.wait(lambda: line.reloading()["phase"] == "switching")
        line.trigger.tell(PartOpened(time.monotonic_ns(), "b-named"))
        line.wait(lambda: line.ask()["recipe"] == "b")
        line.trigger.tell(PartClosed(time.monotonic_ns(), "a-long"))
        line.trigger.tell(PartClosed(time.monotonic_ns(), "b-named"))
        line.wait(lambda: len(line.reloading()["answers"]) == 2)
        answer = line.reloading()["answers"][-1]
        assert (answer["outcome"], answer["exit_code"]) == ("failed", SettingsError.exit_code)
        assert "expected b, which is in force, received a" in answer["detail"]
        assert line.verdict("b-after") == "NG"
        assert models_of_parts(line)[-1] == old.model_sha256


def test_a_recipe_of_what_was_given_up_judges_nothing_more(tmp_path: Path) -> None:
    """The station goes back from settings that brought a recipe which is in force: NO_READ, until another is chosen."""
    old = write_bright_bundle(tmp_path / "model")
    recipes = two_recipes(tmp_path)
    with running(tmp_path, given(tmp_path, recipes={"a": recipes["a"]})) as line:
        replace_bundle(tmp_path)
        edit(tmp_path, recipes=recipes, recipe="a")
        line.reload(shadow_parts=0)
        line.wait(lambda: line.reloading()["phase"] == "watching")
        assert line.change("b")["outcome"] == "ok"
        line.reload(action="cancel")
        line.wait(lambda: len(line.reloading()["answers"]) == 1)
        line.verdict("p-first")  # a frame of it may have been judged before
        assert line.verdict("p-next") == "NO_READ"
        assert "this station has no recipe b" in line.of("p-next")["reason"]
        assert "trigger-fault" in standing(line)
        assert line.change("a")["outcome"] == "ok"
        line.verdict("p-changed")
        assert line.verdict("p-after") == "NG"
        assert models_of_parts(line)[-1] == old.model_sha256


def two_recipes(folder: Path) -> dict[str, Any]:
    """Return the settings of two recipes that are judged by one model; a part's id names its own."""
    views = given(folder)["recipes"]["a"]["views"]
    return {name: {"views": views, "part_id_prefixes": [f"{name}-"]} for name in ("a", "b")}


def test_only_one_reload_runs_and_it_can_be_cancelled(tmp_path: Path) -> None:
    """A second one is refused; a cancelled one leaves the running model, also after the change."""
    old = write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path, operators=["anna"])) as line:
        assert line.reload(user="mallory")[0] == "not_authorised"
        assert line.reload(action="cancel")[0] == "not_running"
        replace_bundle(tmp_path)
        line.reload()
        assert line.reload()[0] == "already_running"
        line.wait(lambda: line.reloading()["phase"] == "shadow")
        assert line.reload(action="cancel") == ("ok", "")
        assert end_of(line)["outcome"] == "cancelled"
        line.reload(shadow_parts=0)
        line.wait(lambda: line.reloading()["phase"] == "watching")
        line.reload(action="cancel")
        assert end_of(line, count=2)["outcome"] == "cancelled"
        line.verdict("next")
        line.verdict("after")
        assert models_of_parts(line)[-1] == old.model_sha256
        assert "reload-failed" not in standing(line)


def test_a_station_that_is_stopped_meanwhile_answers(tmp_path: Path) -> None:
    """A change that the station's end leaves open is in the journal, and its threads end with it."""
    write_bright_bundle(tmp_path / "model")
    before = set(threading.enumerate())
    with running(tmp_path, given(tmp_path)) as line:
        replace_bundle(tmp_path)
        line.reload()
        line.wait(lambda: line.reloading()["phase"] == "shadow")
        line.opened.stop()
        assert "the station was stopped" in line.journal("reload")[-1].detail
    left = {one.name for one in set(threading.enumerate()) - before}
    assert not {"shadow run", "recipe loader", "batcher"} & left


def test_a_station_without_parts_compares_frames(tmp_path: Path) -> None:
    """So many frames are judged by both models; each result names the model that judged it."""
    old = write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path, parts={}), parts=False) as line:
        new = replace_bundle(tmp_path)
        line.reload()
        until_s = time.monotonic() + WAIT_S
        for count in itertools.count():
            if line.reloading()["answers"] or time.monotonic() > until_s:
                break
            line.cameras["top"].feed(grey_scratch())
            line.wait(lambda count=count: len(line.frames) > count)  # type: ignore[misc] # mypy#15459
        assert "2 frames compared" in line.reloading()["answers"][0]["detail"]
        models = [one.body["model"]["sha256"] for one in line.frames if one.body]
        assert models == sorted(models, key=[old.model_sha256, new.model_sha256].index)
        assert {one.body["verdict"] for one in line.frames if one.body} == {"NG"}


def test_recipes_change_during_a_reload(tmp_path: Path) -> None:
    """Parts that name their recipe are compared each by its own; a reloaded one is loaded for both."""
    write_bright_bundle(tmp_path / "model")
    views = given(tmp_path)["recipes"]["a"]["views"]
    recipes = {name: {"views": views, "part_id_prefixes": [name]} for name in ("a", "b")}
    with running(tmp_path, given(tmp_path, recipes=recipes, recipe="a")) as line:
        new = replace_bundle(tmp_path)
        assert line.reload(shadow_parts=6)[0] == "accepted"
        until_s = time.monotonic() + WAIT_S
        for number in itertools.count():
            if line.reloading()["answers"] or time.monotonic() > until_s:
                break
            line.verdict(f"{'ab'[number // 3 % 2]}{number}")  # the first part of a change may be NO_READ
        assert line.reloading()["answers"][0]["outcome"] == "ok"
        assert line.change("b")["outcome"] == "ok"
        line.verdict("b-next")
        assert line.verdict("b-after") == "NG"
        assert models_of_parts(line)[-1] == new.model_sha256
        assert all(one.body["recipe"][0] == one.part.part_id[0] for one in line.parts)


def test_no_part_is_lost_in_a_reload_under_load(tmp_path: Path) -> None:
    """Parts pass as fast as the station takes them: each is judged by one model; few that come at the change are not.

    Ten come at once: on a busy machine all of them may come while the change is made.
    """
    old = write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path, reload=RELOAD | {"shadow_parts": 20, "watch_parts": 20})) as line:
        new = replace_bundle(tmp_path)
        line.reload()
        shown = 0
        until_s = time.monotonic() + WAIT_S
        while not line.reloading()["answers"]:
            assert time.monotonic() < until_s
            for _ in range(10):
                line.show(f"p{shown}")
                shown += 1
            line.wait(lambda shown=shown: len(line.parts) > shown - 20)  # type: ignore[misc] # mypy#15459
        line.wait(lambda: len(line.parts) == shown)
        assert line.reloading()["answers"][0]["outcome"] == "ok"
        models = models_of_parts(line)
        assert models == sorted(models, key=[old.model_sha256, new.model_sha256].index)
        assert [one.part.part_id for one in line.parts] == [f"p{number}" for number in range(shown)]
        verdicts = [one.body["verdict"] for one in line.parts]
        assert verdicts.count("NO_READ") <= 10
        assert verdicts.count("NG") == shown - verdicts.count("NO_READ")
        assert sum(one.inspection.frame is not None for one in line.frames) == 2 * shown


def shell(folder: Path, *words: str) -> tuple[int, str]:
    """Run `linewatch reload` on the station's settings; return its exit code and what it printed."""
    done = CliRunner().invoke(app, ["reload", str(folder / "station.yaml"), "--user", "anna", *words])
    if isinstance(done.exception, LinewatchError):
        return done.exception.exit_code, done.output + f"error: {done.exception}"
    return done.exit_code, done.output


def while_parts_pass(line: RecipeLine, work: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """Let parts pass while something is waited for."""
    came: list[tuple[int, str]] = []
    waits = threading.Thread(target=lambda: came.append(work()))
    waits.start()
    while waits.is_alive():
        line.verdict(f"p{len(line.parts)}")
    return came[0]


def test_the_shell_waits_for_the_end_and_has_its_exit_code(tmp_path: Path) -> None:
    """0 is in force, 13 was given up, 3 is wrong settings, 4 a wrong bundle."""
    write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        replace_bundle(tmp_path, BLIND)
        code, told = while_parts_pass(line, lambda: shell(tmp_path))
        assert (code, "rolled_back, the new model disagrees" in told) == (13, True)
        (tmp_path / "model" / "model.onnx").write_bytes(b"?")
        assert shell(tmp_path)[0] == 4
        shutil.rmtree(tmp_path / "model")
        write_bright_bundle(tmp_path / "model", white=SAME)
        edit(tmp_path, shifts=["06:00"])
        code, told = shell(tmp_path)
        assert (code, "key shifts" in told) == (3, True)
        edit(tmp_path, shifts=None)
        code, told = shell(tmp_path, "--wait-s", "0.2")
        assert (code, "has not come to its end after 0.2 s" in told) == (13, True)
        assert shell(tmp_path, "--cancel") == (0, "ok\n")
        line.wait(lambda: line.opened.engines.count == 1)
    assert "No line runs" in shell(tmp_path)[1]


def test_the_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    """Each reload of docs/recipes-at-the-line.md, given to a station, prints the lines that the page shows."""
    page = (ROOT / "docs" / "recipes-at-the-line.md").read_text()
    section = page.split("## New models and settings")[1]
    session = [one for block in section.split("```console\n$ ")[1:] for one in block.split("```")[0].split("\n$ ")]
    assert len(session) == 3
    write_bright_bundle(tmp_path / "model")
    with running(tmp_path, given(tmp_path)) as line:
        for number, asked in enumerate(session):
            replace_bundle(tmp_path, SAME + 2 * (number == 0))
            if number == 1:
                edit(tmp_path, reload=RELOAD | {"watch_parts": 0})
            if number == 2:
                edit(tmp_path, parts=PARTS | {"trigger": "camera"})
            command, _, answer = asked.partition("\n")
            words = shlex.split(command)[3:]
            _, told = while_parts_pass(line, lambda words=words: shell(tmp_path, *words))  # type: ignore[misc]
            assert told.strip() == answer.strip()
