from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import datetime, time, timezone
from pathlib import Path

import pytest
from pydantic import BaseModel, TypeAdapter

from edge.bundle import Bundle, ClassEntry, Manifest, TileEntry
from edge.dashboard.settings import load_dashboard_settings
from edge.errors import SettingsError
from edge.parts.shifts import ShiftPlan
from edge.preparing import PreparingStep
from edge.settings import (
    SHIPPED_BUNDLE,
    Settings,
    effective_thresholds,
    load_settings,
    require_bundle,
    require_known_classes,
    unknown_classes,
)
from edge.yaml_settings import load_yaml
from tests.conftest import ROOT
from trainer.comparing.grid import GridSettings, runs_of
from trainer.recipe.good_parts_settings import GoodPartsRecipe, learns_from_good_parts
from trainer.recipe.settings import TrainSettings


def write(folder: Path, text: str) -> Path:
    """Write settings."""
    path = folder / "line.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_configuration_is_valid(path: Path) -> None:
    """Each file in config/ can be used as it is: the settings of lines, recipes, grids, and the rules of Prometheus."""
    if path.name.startswith("alerts."):
        what = "check" if path.stem == "alerts" else "test"
        assert subprocess.run(["promtool", what, "rules", str(path)], check=False).returncode == 0
    elif path.name.startswith("train."):
        load_yaml(path, GoodPartsRecipe if learns_from_good_parts(path) else TrainSettings)
    elif path.name.startswith("grid."):
        runs_of(load_yaml(path, GridSettings))
    elif path.name == "dashboard.yaml":
        load_dashboard_settings(path)
    else:
        load_settings(path)


def keys_of(schema: object) -> set[str]:
    """Return the names of all properties in a JSON Schema, however deep."""
    if isinstance(schema, list):
        return {key for part in schema for key in keys_of(part)}
    if not isinstance(schema, dict):
        return set()
    own = schema.get("properties")
    return (set(own) if isinstance(own, dict) else set()) | {key for part in schema.values() for key in keys_of(part)}


@pytest.mark.parametrize(
    ("name", "model", "elsewhere"),
    [
        ("line.yaml", Settings, None),
        ("train.phone.yaml", TrainSettings, "preparing.md"),  # each step's keys are in a table of their own
    ],
)
def test_every_key_is_explained(name: str, model: type[BaseModel], elsewhere: str | None) -> None:
    """The example that is said to explain every key does: each stands in it, with a comment or in one."""
    text = (ROOT / "config" / name).read_text(encoding="utf-8")
    steps = keys_of(TypeAdapter(PreparingStep).json_schema()) if elsewhere else set()
    wanted = keys_of(model.model_json_schema(by_alias=True)) - steps
    assert len(wanted) > 50
    assert [key for key in sorted(wanted) if not re.search(rf"\b{key}\b", text)] == []
    there = (ROOT / "docs" / elsewhere).read_text(encoding="utf-8") if elsewhere else ""
    assert [key for key in sorted(steps) if not re.search(rf"\b{key}\b", there)] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # (the fault, the key path, the expected, the received)
        ("report: {health_every_s: .inf}", r"key report\.health_every_s: expected .*finite"),
        ("report: {sequence_every_s: .nan}", r"key report\.sequence_every_s: expected .*finite"),
        ("camera: {nmae: a}", r"line\.yaml, key camera\.nmae: no such key"),
        (
            "alarms: [{id: a, measure: ng, text: t, severity: low}]",
            r"key alarms\.0\.severity: this key is called priority now; rename it",
        ),
        (
            "camera: {max_age_ms: soon}",
            r"key camera\.max_age_ms: expected a number without .*; received 'soon' \(str\)",
        ),
        (
            "camera: {max_age_ms: 0}",
            r"key camera\.max_age_ms: expected greater than or equal to 10; received 0 \(int\)",
        ),
        ("camera: {kind: usb}", r"key camera\.kind: expected 'auto', .*; received 'usb'"),
        ("line: {cell: 'a/b'}", r"key line\.cell: expected a name of 1 to 64 letters.*; received 'a/b'"),
        ("inspect: {region: {}}", r"key inspect\.region: expected either a rectangle .* or a polygon"),
        ("inspect: {region: {rectangle: [0, 0, 0, 9]}}", "with a width and height above 0"),
        (
            "inspect: {limits: {scratch: {max_length_mm: 2}}}",
            "expected mm_per_px or calibration, since the limits of scratch are",
        ),
        ("inspect: {thresholds: {scratch: 1.5}}", r"key inspect\.thresholds\.scratch: .*less than 1; received 1\.5"),
        ("inspect: {mm_per_px: .nan}", r"key inspect\.mm_per_px"),
        ("alarms: [{id: a, measure: ng, text: t}, {id: a, measure: ng, text: t}]", "received twice: a"),
        ("alarms: [{id: a, measure: coverage, text: t}]", r"key alarms\.0: expected raise_at"),
        ("broker: {password: [hunter2], username: u}", r"key broker\.password.*not shown here"),
        ("camera: {max_age_ms: '1000'}", r"key camera\.max_age_ms: expected a number without quotes; received '1000'"),
        ("inspect: {mm_per_px: true}", r"key inspect\.mm_per_px: expected a number; received True"),
        ("broker: {password: hunter2, a", "is no valid YAML: .* in line 1, column"),
        ("camera: {source: [rtsp://eye:hunter2@h/1]}", r"key camera\.source"),
        ("[1, 2]", r"expected keys with values, received \[1, 2\] \(list\)"),
        ("", "expected keys with values, received nothing"),
        ("a: [", "is no valid YAML"),
        ("line: {cell: a}\nline: {cell: b}", "the key 'line' is given twice"),
        ("!!python/object/apply:os.system ['true']", "is no valid YAML"),
        ("1: 2", "expected a word as key, received 1"),
        ("time_zone: Mars/Base", r"key time_zone: expected the IANA name of a time zone.*; received 'Mars/Base'"),
        ("time_zone: ../etc/passwd", "expected the IANA name"),
        ("shifts: [06:00, 24:00]", "key shifts: expected times of day as HH:MM, .*'24:00' is none"),
        ("shifts: [6:00]", "'6:00' is none"),
        ("shifts: ['06:00', '06:00']", "key shifts: expected each shift to begin later in the day"),
        ("shifts: [14:00, 06:00]", "key shifts: expected each shift to begin later in the day"),
        ("shifts: []", "key shifts: .*at least 1"),
        (f"shifts: {[f'{hour:02}:00' for hour in range(13)]}", "key shifts: .*at most 12"),
        ("shifts: 06:00", "key shifts: expected a valid tuple"),
    ],
)
def test_wrong_settings_name_file_key_expected_and_received(tmp_path: Path, text: str, says: str) -> None:
    """An engineer finds the mistake from the message alone, and no message shows a password."""
    with pytest.raises(SettingsError, match=says) as caught:
        load_settings(write(tmp_path, text))
    assert "line.yaml" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody has to start the line five times for five mistakes."""
    with pytest.raises(SettingsError) as caught:
        load_settings(write(tmp_path, "camera: {kind: usb, max_age_ms: x}\nengine: {batch: 0}"))
    assert len(str(caught.value).splitlines()) == 3


def test_absent_or_binary_settings_are_an_error(tmp_path: Path) -> None:
    """A path that is wrong, and a file that is no text, say so."""
    with pytest.raises(SettingsError, match="No settings at"):
        load_settings(tmp_path / "absent.yaml")
    (tmp_path / "line.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read as UTF-8"):
        load_settings(tmp_path / "line.yaml")


def test_relative_paths_count_from_the_settings_file(tmp_path: Path) -> None:
    """Settings mean the same wherever the command is started."""
    (tmp_path / "clips").mkdir()
    broker = "broker: {username: u, password_file: pw, tls: {ca_file: ca.pem}}"
    settings = load_settings(write(tmp_path, "bundle: b\ncamera: {source: clips}\nstore: {path: o.db}\n" + broker))
    assert settings.bundle == tmp_path / "b"
    assert settings.camera.source == str(tmp_path / "clips")
    assert settings.store.path == tmp_path / "o.db"
    assert settings.broker.password_file == tmp_path / "pw"
    assert settings.broker.tls is not None
    assert settings.broker.tls.ca_file == tmp_path / "ca.pem"
    assert settings.camera.resolved_kind() == "images"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("0", "device"),
        ("/dev/video2", "device"),
        ("rtsp://u:p@h/1", "rtsp"),
        ("v4l2src ! appsink", "gstreamer"),
        ("line.mp4", "file"),
        ("http://camera/video.mjpg", "rtsp"),
        ("udpsrc port=5000 caps=application/x-rtp ! rtph264depay ! appsink " + "x" * 300, "gstreamer"),
        ("simulated", "simulated"),
    ],
)
def test_auto_tells_the_kind_by_the_source(tmp_path: Path, source: str, kind: str) -> None:
    """Nobody needs to know what OpenCV calls its backends."""
    settings = load_settings(write(tmp_path, f"camera: {{source: '{source}'}}"))
    assert settings.camera.resolved_kind() == kind


def bundle(*names: str) -> Bundle:
    """Make a bundle with these classes."""
    classes = tuple(
        ClassEntry(id=i, name=name, colour=(0, 0, 0), threshold=0.5, min_area_px=1) for i, name in enumerate(names, 1)
    )
    tile = TileEntry(height=64, width=64, overlap_px=0)
    return Bundle(Path("b"), Manifest(name="glass", version="1.0.0", classes=classes, tile=tile))


def test_a_class_that_the_bundle_lacks_is_named_with_its_key(tmp_path: Path) -> None:
    """A limit, threshold, grade or alarm of an unknown class is refused with key and intended class."""
    text = """
    inspect:
      limits: {scrach: {}, scratch: {}}
      thresholds: {dent: 0.4, scratch: 0.7}
      grades: [{name: A, value_factor: 1, limits: {Stain: {}}}, {name: B, value_factor: 0}]
    alarms: [{id: dented, measure: count, class: dent, raise_at: 1, text: t}]
    """
    settings = load_settings(write(tmp_path, text))
    own = bundle("scratch", "stain")
    of = "expected a class of the bundle glass (scratch, stain)"
    assert unknown_classes(settings, {None: own}) == [
        f"key inspect.limits.scrach: {of}, received 'scrach'; did you mean scratch?",
        f"key inspect.thresholds.dent: {of}, received 'dent'",
        f"key inspect.grades.A.limits.Stain: {of}, received 'Stain'; did you mean stain?",
        f"key alarms.dented.class: {of}, received 'dent'",
    ]
    with pytest.raises(SettingsError, match=r"line.yaml: key inspect.limits.scrach"):
        require_known_classes(settings, {None: own}, Path("line.yaml"))
    require_known_classes(settings, {None: bundle("scrach", "scratch", "dent", "Stain")}, Path("line.yaml"))
    assert effective_thresholds(settings.inspect, own) == (0.7, 0.5)


def test_demo_is_the_shipped_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--bundle demo` means the model that comes with Linewatch; a folder of that name is asked about."""
    monkeypatch.chdir(tmp_path)
    assert require_bundle(Settings(), Path("demo")) == SHIPPED_BUNDLE
    (tmp_path / "demo").mkdir()
    with pytest.raises(SettingsError, match="Give the folder's whole path"):
        require_bundle(Settings(), Path("demo"))
    assert require_bundle(Settings(), tmp_path / "demo") == tmp_path / "demo"


def test_a_bundle_must_be_named_somewhere(tmp_path: Path) -> None:
    """The command line wins over the settings, and without either the error says where to name one."""
    settings = load_settings(write(tmp_path, "line: {cell: a}"))
    assert require_bundle(settings, Path("x")) == Path("x")
    with pytest.raises(SettingsError, match="expected the key `bundle` in the settings, or --bundle"):
        require_bundle(settings, None)


RULE = "id: dented, measure: coverage, raise_at: 0.1, text: t"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"alarms: [{{{RULE}, zone: rim}}]", r"alarms.dented.zone: expected one of inspect.zones \[\], received 'rim'"),
        (
            "alarms: [{id: poor, measure: grade, grades: [C], text: t}]",
            r"key alarms.poor.grades: expected some of inspect.grades \[\], received \['C'\]",
        ),
        (
            "alarms: [{id: long, measure: length_mm, raise_at: 3, text: t}]",
            "key inspect.mm_per_px: expected a size, or calibration, for alarms.long is in millimetres",
        ),
        (
            f"alarms: [{{{RULE}, suppressed_by: [nobody]}}]",
            r"key alarms.dented.suppressed_by: expected ids of alarms, received \['nobody'\]",
        ),
        (
            f"alarms: [{{{RULE}, suppressed_by: [b]}}, {{id: b, measure: ng, text: t, suppressed_by: [dented]}}]",
            "key alarms: expected no alarm to be suppressed by itself, received",
        ),
        (f"alarms: [{{{RULE}, re_alarm_ms: 5}}]", "alarms.0.re_alarm_ms: expected greater than or equal to 1000"),
        (f"alarms: [{{{RULE}, frames: {{at_least: 3}}}}]", "alarms.0.frames.of: expected a value, received nothing"),
        (f"alarms: [{{{RULE}, latch: 3}}]", "alarms.0.latch"),
        ("operators: ['']", "operators.0"),
        ("inspect: {zones: {a b: {rectangle: [0, 0, 1, 1]}}}", "inspect.zones.a b"),
        ("inspect: {zones: {rim: {rectangle: [0, 0, 0, 1]}}}", "inspect.zones.rim: expected a rectangle with"),
        ("inspect: {grades: [{name: A, value_factor: 1, max_count: 0}]}", "inspect: expected no limits for the last"),
        ("camera: {watch: {frozen_s: 3}}", "camera.watch"),
        ("camera: {watch: sometimes}", "camera.watch"),
    ],
)  # fmt: skip
def test_alarms_zones_and_grades_that_make_no_sense_name_their_key(tmp_path: Path, text: str, expected: str) -> None:
    """Each is an error of the settings that says where and what."""
    with pytest.raises(SettingsError, match=expected):
        load_settings(write(tmp_path, text))


@pytest.mark.parametrize("name", ["line.yaml", "phone.yaml"])
def test_the_shipped_settings_are_valid(name: str) -> None:
    """With every key that they show."""
    settings = load_settings(ROOT / "config" / name)
    assert settings.alarms


def test_the_examples_in_the_page_on_alarms_are_valid(tmp_path: Path) -> None:
    """Each YAML block of docs/alarms.md can be taken into settings, with the zone and the alarm that it names."""
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "alarms.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    alarms, grades = blocks
    alarms = alarms.replace("[dirty]", "[camera-lost]")
    zones = "inspect: {mm_per_px: 0.1, zones: {edge: {rectangle: [0, 0, 9, 9]}}}\n"
    rule = load_settings(write(tmp_path, zones + alarms)).alarms[0]
    assert (rule.frames.at_least, rule.frames.of, rule.re_alarm_ms) == (3, 5, 600_000)
    graded = load_settings(write(tmp_path, grades.replace("inspect:", "inspect:\n  mm_per_px: 0.1")))
    assert [row.name for row in graded.inspect.grades] == ["A", "B", "C", "scrap"]


def test_shifts_and_time_zone_make_a_plan(tmp_path: Path) -> None:
    """Shifts are as they are written, with or without quotes; without the keys a day in UTC is one shift."""
    plain = load_settings(write(tmp_path, "line: {}"))
    assert (plain.shifts, plain.time_zone, plain.shift_plan) == (
        ("00:00",),
        "UTC",
        ShiftPlan((time(),), timezone.utc),
    )
    three = load_settings(write(tmp_path, "shifts: [06:00, '14:00', 22:00]\ntime_zone: Europe/Berlin"))
    plan = three.shift_plan
    shift = plan.at(datetime(2026, 11, 30, 5, tzinfo=timezone.utc))
    assert (shift.name, plan.key(shift)) == ("2026-11-30 06:00", "2026-11-30T06:00+01:00")


def test_a_system_without_time_zones_says_what_to_install() -> None:
    """UTC needs no data base of time zones; any other name tells of the package that brings one."""
    program = (
        "import sys; sys.modules['tzdata'] = None\n"
        "from edge.settings import Settings\n"
        "print(Settings().shift_plan.zone)\n"
        "Settings(time_zone='Europe/Berlin')"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout == "UTC\n"
    assert "install its package tzdata (apt install tzdata)" in run.stderr
