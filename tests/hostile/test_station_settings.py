"""Settings that people write in good faith and that cannot be meant.

Triggers that do what none may.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.app import StandIns, open_station
from edge.bundle import load_bundle
from edge.errors import LinewatchError, SettingsError
from edge.outbox.reader import OutboxReader
from edge.publishers.memory import MemoryPublisher
from edge.records.parts import PartClosed, PartOpened
from edge.settings import load_settings, require_known_classes
from tests.bright_bundle import part, write_bright_bundle
from tests.brokers import Mosquitto, Subscriber, wait_for
from tests.edge.station.test_run import bodies, status
from tests.edge.station.test_station import ListedCamera, opened_and_closed, replayed, station
from tests.hostile.test_running_stores import line, linewatch, stopped, write_line
from tests.stepped_clock import SteppedClock

TWO = "cameras: {top: {}, side: {}}\n"
VIEWS = "{views: {top: {bundle: b}, side: {bundle: b}}}"
RECIPES = f"recipes: {{r: {VIEWS}}}\n"
REFUSED = [
    ("cameras: {top: {}, top: {}}", "line 1", "the key 'top' is given twice"),
    ("cameras: {top: {}, 'top ': {}}", "cameras", "top "),
    ("cameras: {top: {source: /dev/video0}, side: {source: /dev/video0}}", "cameras.side.source", "cameras.top"),
    (TWO + "recipes: {}\nrecipe: r", "recipe", "received 'r'"),
    (TWO + "recipes: {r: {views: {}}}", "recipes.r.views", ""),
    (TWO + "recipes: {r: {}}", "recipes.r.views", ""),
    (TWO + "recipes: {r: {views: {top: {bundle: b}, front: {bundle: b}}}}", "recipes.r.views.front", "top, side"),
    (TWO + "recipes: {r: {views: {top: {bundle: b}, side: {}}}}", "recipes.r.views.side.bundle", "received none"),
    (TWO + "recipes: {r: {views: {top: {bundle: b}}}}", "cameras.side", "expected a view of it"),
    (TWO + RECIPES + "recipe: s", "recipe", "expected one of r, received 's'"),
    (TWO + f"recipes: {{r: {VIEWS}, s: {VIEWS}}}", "recipe", "expected one of r, s, received none"),
    (TWO + f"recipes: {{r: {VIEWS}, r: {VIEWS}}}", "line 2", "the key 'r' is given twice"),
    ("camera: {source: simulated}\n" + TWO, "cameras", "either camera or cameras, received both"),
    (TWO + RECIPES + "bundle: b", "recipes", "either recipes or bundle, received both"),
    (TWO + RECIPES + "inspect: {}", "recipes", "either recipes or inspect, received both"),
    ("cameras: {top: {name: eye}}", "cameras.top.name", "expected no name"),
    (TWO + "alarms: [{id: a, measure: ng, cameras: [front], text: t}]", "alarms.a.cameras", "top, side"),
    (TWO + "alarms: [{id: a, measure: ng, per: part, text: t}]", "alarms.a.per", "parts.trigger is every_frame"),
    (TWO + "parts: {trigger: presence}", "parts.presence.view", "expected one of top, side, received none"),
    (TWO + "parts: {trigger: presence, presence: {view: front}}", "parts.presence.view", "received 'front'"),
    (
        TWO + "recipes: {r: {views: {top: {bundle: b}}}, s: {views: {side: {bundle: b}}}}\nrecipe: r\n"
        "parts: {trigger: presence, presence: {view: top}}",
        "parts.presence.view",
        "which s does not",
    ),
    ("parts: {trigger: mqtt, frames: 3}", "parts", "expected frames for the trigger camera only"),
    ("parts: {trigger: barrier}", "parts.trigger", "'presence'"),
    ("parts: {trigger: mqtt, timeout_ms: 0}", "parts.timeout_ms", "10"),
    ("parts: {trigger: camera, together_ms: -1}", "parts.together_ms", "0"),
    (TWO + "recipes: {r: {views: {top: {bundle: b, offset_ms: 1e9}, side: {bundle: b}}}}", "offset_ms", ""),
    ("camera: {source: /dev/video0, fps: 5}", "camera", "fps for a folder of pictures only"),
    ("camera: {source: simulated, fps: 5}", "camera", "fps for a folder of pictures only"),
    ("camera: {source: /dev/video0, loop: true}", "camera", "loop for a file or folder only"),
    ("cameras: {" + ", ".join(f"c{n}: {{}}" for n in range(17)) + "}", "cameras", "16"),
    (
        TWO + "recipes: {r: {views: {top: {bundle: b}, side: {bundle: b}}, part_id_prefixes: [A]}, "
        "s: {views: {top: {bundle: b}}, part_id_prefixes: [A]}}\nrecipe: r",
        "recipes.s.part_id_prefixes",
        "that of r",
    ),
    (
        TWO + "recipes: {r: {views: {top: {bundle: b}, side: {bundle: b}}, part_id_prefixes: [A, A]}}",
        "recipes.r.part_id_prefixes",
        "expected 'A' once",
    ),
    ("cameras: {top: {}, Top: {}}", "cameras.Top", "differs from cameras.top by more than capitals"),
    (TWO + f"recipes: {{r: {VIEWS}, R: {VIEWS}}}\nrecipe: r", "recipes.R", "differs from recipes.r"),
    ("cameras: {töp: {}}", "key cameras.töp: ", "expected a name of 1 to 64 letters A-Z and a-z, digits, _ and -"),
    ("challenge: {each_shift: true}", "challenge.each_shift", "expected false"),
    ("line: {cell: a/b}", "line.cell", "expected a name of 1 to 64 letters"),
    ("parts: {trigger: camera, ng_frames: 2}", "parts", "expected ng_frames of at most parts.frames, 1"),
    ("parts: {trigger: camera, frames: 2, frames_per_view: 3}", "parts", "expected frames_per_view of at most"),
    *(
        (
            TWO + f"recipes: {{r: {{views: {{top: {{bundle: b, {own}}}, side: {{bundle: b}}}}}}}}\n"
            "parts: {trigger: camera}",
            f"recipes.r.views.top.{own.partition(':')[0]}",
            says,
        )
        for own, says in (
            ("ng_frames: 2", "of at most parts.frames, 1"),
            ("frames: 2", "of at most parts.frames, 1"),
            ("offset_ms: 40", "expected 0 with parts.trigger camera"),
        )
    ),
]


@pytest.mark.parametrize(("text", "key", "says"), REFUSED)
def test_settings_that_cannot_be_meant_are_refused(text: str, key: str, says: str, tmp_path: Path) -> None:
    """Each names the key, what was expected and what came, and is exit code 3."""
    config = tmp_path / "station.yaml"
    config.write_text(text + "\n", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(config)
    assert key in str(caught.value), str(caught.value)
    assert says in str(caught.value), str(caught.value)
    assert caught.value.exit_code == 3


NOT_OPENED = [
    ("camera: {source: /dev/video99}\nparts: {trigger: software}", "key parts.trigger: software is the light barrier"),
    (
        "camera: {source: simulated}\nparts: {trigger: presence, presence: {belt: absent.npz}}",
        "absent.npz is no learned belt",
    ),
    ("cameras: {top: {source: simulated, simulated: {seed: 1}}, side: {source: simulated}}", "simulated.seed"),
]


@pytest.mark.parametrize(("text", "says"), NOT_OPENED)
def test_what_a_station_needs_and_has_not_is_said_when_it_opens(text: str, says: str, tmp_path: Path) -> None:
    """An error of ours, with what to do; nothing is left behind that the next start would stumble over."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    config = tmp_path / "station.yaml"
    config.write_text(f"bundle: bundle\n{text}\n", encoding="utf-8")
    for _ in range(2):
        with (
            pytest.raises(LinewatchError, match=says),
            open_station(
                load_settings(config),
                load_bundle(bundle.path),
                store=tmp_path / "outbox.db",
                live=True,
                instead=StandIns(publisher=MemoryPublisher()),
            ),
        ):
            pass


def test_a_bundle_that_finds_no_product_opens_no_parts(tmp_path: Path) -> None:
    """Without a learned belt every frame would show a part: it is refused, and says how to learn one."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    config = tmp_path / "station.yaml"
    config.write_text("bundle: bundle\ncamera: {source: simulated}\nparts: {trigger: presence}\n", encoding="utf-8")
    with pytest.raises(
        SettingsError, match=r"key parts\.presence\.belt: expected an empty belt, for the bundle bright"
    ):
        require_known_classes(load_settings(config), {bundle.path: load_bundle(bundle.path)}, config)


MS = 1_000_000
# (the trigger's words, each part's verdict, the faults in the journal)
TROUBLED = [
    ([PartOpened(0, "a")], [("a", "timeout")], ["never_closes"]),
    ([PartOpened(0)], [("cell-1", "timeout")], ["never_closes"]),
    ([*opened_and_closed(("a", 0, 100)), PartClosed(200 * MS, "a")], [("a", "trigger")], ["closes_nothing"]),
    ([PartClosed(0), PartClosed(1, "a")], [], ["closes_nothing", "closes_nothing"]),
    (opened_and_closed(("a", 0, 100), ("a", 200, 300)), [("a", "trigger"), ("a", "trigger")], ["repeats_id"]),
    (
        [PartOpened(0, "a"), PartOpened(50 * MS, "a"), PartClosed(100 * MS, "a"), PartClosed(150 * MS, "a")],
        [("a", "trigger"), ("a", "trigger")],
        ["repeats_id"],
    ),
    (
        [PartOpened(100 * MS, "b"), PartOpened(50 * MS, "a"), PartClosed(150 * MS, "a"), PartClosed(150 * MS, "b")],
        [("b", "trigger"), ("a", "trigger")],
        ["goes_back"],
    ),
    ([PartOpened(k * MS, f"p{k}") for k in range(66)], None, ["too_many_open"] * 2 + ["never_closes"] * 64),
]


@pytest.mark.parametrize(("events", "parts", "faults"), TROUBLED)
def test_a_trigger_that_does_what_none_may(
    events: list[PartOpened | PartClosed], parts: list[tuple[str, str]] | None, faults: list[str], tmp_path: Path
) -> None:
    """Every part that was opened is judged once, every fault is in the journal, and the alarm is raised."""
    bright = write_bright_bundle(tmp_path / "bundle")
    settings = station(bright, "cameras: {top: {}}\nparts: {trigger: mqtt, wait_ms: 100, timeout_ms: 1000}")
    top = ListedCamera("top", [(at, part()) for at in range(0, 2500, 50)])
    told, _ = replayed(settings, bright, tmp_path, [top], events)
    came = [(one.part.part_id, one.part.closing.value) for one in told]
    if parts is not None:
        assert sorted(came) == sorted(parts)
    opened = [event for event in events if isinstance(event, PartOpened)]
    assert [one.part.number for one in sorted(told, key=lambda one: one.part.number)] == list(range(1, len(opened) + 1))
    with OutboxReader(tmp_path / "outbox.db") as reader:
        rows = [row.entry for row in reader.journal_rows(1000)]
    assert [entry.detail.split(":")[0] for entry in rows if entry.kind == "trigger"] == faults
    assert "trigger-fault" in {entry.alarm for entry in rows if entry.kind == "raised"}


def test_parts_do_not_feel_a_clock_that_is_set(tmp_path: Path) -> None:
    """Under a clock set by days every part is opened, closed by its trigger and judged, in order."""
    clock = SteppedClock(tmp_path)
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        parts = "parts: {trigger: software, timeout_ms: 120000, wait_ms: 60000}\n"
        config = write_line(tmp_path, tmp_path / "outbox.db", broker.port, also=parts)
        clock.set(0)
        with line(config, **clock.environment()) as process:
            for ahead_s in (-3 * 86_400, 30 * 86_400, 0):
                wait_for(lambda: "online" in status(desk))
                seen = len(bodies(desk, "event/result"))
                wait_for(lambda seen=seen: len(bodies(desk, "event/result")) >= seen + 3)  # type: ignore[misc]
                clock.set(ahead_s)
            seen = len(bodies(desk, "event/result"))
            wait_for(lambda: len(bodies(desk, "event/result")) >= seen + 3)
            assert stopped(process) == 0
        results = [body for body in bodies(desk, "event/result") if body["closing"] != "stopped"]
        assert [body["part_number"] for body in results] == list(range(1, len(results) + 1))
        assert {body["closing"] for body in results} == {"trigger"}
        assert {body["verdict"] for body in results} <= {"OK", "NG"}
        assert "trigger-fault" not in {body["alarm"] for body in bodies(desk, "event/alarm")}


def test_two_settings_files_on_one_store(tmp_path: Path) -> None:
    """The second station ends with exit code 8 and says whose the store is; the first goes on."""
    store = tmp_path / "outbox.db"
    with Mosquitto(tmp_path) as broker, Subscriber(broker.port) as desk:
        first = write_line(tmp_path, store, broker.port)
        second = tmp_path / "second.yaml"
        second.write_text(first.read_text() + "line: {cell: other}\n")
        with line(first) as process:
            wait_for(lambda: "online" in status(desk))
            code, told = linewatch("run", second)
            assert (code, "in use by another Linewatch process" in told) == (8, True), told
            seen = len(bodies(desk, "event/result"))
            wait_for(lambda: len(bodies(desk, "event/result")) > seen)
            assert stopped(process) == 0
