"""The rules by which a station is ok, in a warning, in error or unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.messages.writer import CameraHealth, DeviceHealth, Health, health_body
from edge.monitoring.judging import NEEDED, REASONS, Check, judged_health, judged_station, ready, worst
from edge.records.health import EngineNow

GB = 1_000_000_000
ENGINE = EngineNow("glass 1.0.0", "auto auto", "openvino fp32", hangs=False, batches=9, tiles=30, full=5)
CAMERA = CameraHealth("running", "", 12.5, 40.0, 0, 1000, 0.1)
DEVICE = DeviceHealth(60 * GB, 100 * GB, clock_synced=True)
WELL = Health({"top": CAMERA}, True, 3, 0, None, None, (ENGINE,), DEVICE)
ONLINE = judged_station("online")
LOW = {"disk": ("warning", "disk_low")}


def found(health: Health) -> dict[str, tuple[str, str]]:
    """Return level and code of each subject that is not ok."""
    checks = judged_health(health_body(health))
    return {check.subject: (check.level, check.code) for check in checks if check.level != "ok"}


def test_all_is_well() -> None:
    """Frames come, the engine answers, the broker is there, the disk has room, the clock follows: all ok, and ready."""
    checks = [ONLINE, *judged_health(health_body(WELL))]
    assert [(check.level, check.reason) for check in checks] == [("ok", "")] * 7
    assert ready(checks)
    assert worst(checks) == "ok"


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        (replace(WELL, cameras={"top": replace(CAMERA, fault="frozen")}), {"camera": ("error", "camera_fault")}),
        (replace(WELL, cameras={"top": replace(CAMERA, ready=False)}), {"camera": ("error", "camera_starting")}),
        (replace(WELL, cameras={"top": replace(CAMERA, age_ms=1000.5)}), {"camera": ("error", "frame_stale")}),
        (
            replace(WELL, cameras={"top": replace(CAMERA, condition="unreadable")}),
            {"camera": ("warning", "frame_unreadable")},
        ),
        (replace(WELL, engines=()), {"engine": ("error", "no_engine")}),
        (replace(WELL, engines=(replace(ENGINE, hangs=True),)), {"engine": ("error", "engine_hangs")}),
        (replace(WELL, engines=(replace(ENGINE, asked="tensorrt fp16"),)), {"engine": ("warning", "engine_other")}),
        (replace(WELL, engines=(replace(ENGINE, asked="openvino auto"),)), {}),
        (replace(WELL, connected=False, broker_trouble="refused"), {"broker": ("warning", "broker_lost")}),
        (replace(WELL, outbox_trouble="disk full"), {"outbox": ("error", "disk_refuses")}),
        (replace(WELL, outbox_dead_letters=2), {"outbox": ("warning", "dead_letters")}),
        (replace(WELL, outbox_pending=1000), {}),
        (replace(WELL, outbox_pending=1001), {"outbox": ("warning", "many_wait")}),
        # 5 % of 100 GB, 2 GB of a small disk, 0.2 GB of any
        (replace(WELL, device=replace(DEVICE, free_bytes=5 * GB)), {}),
        (replace(WELL, device=replace(DEVICE, free_bytes=5 * GB - 1)), LOW),
        (replace(WELL, device=replace(DEVICE, free_bytes=2 * GB - 1, size_bytes=8 * GB)), LOW),
        (replace(WELL, device=replace(DEVICE, free_bytes=199_999_999)), {"disk": ("error", "disk_full")}),
        (replace(WELL, device=replace(DEVICE, free_bytes=None)), {"disk": ("unknown", "not_told")}),
        (replace(WELL, device=replace(DEVICE, clock_synced=False)), {"clock": ("warning", "clock_unsynced")}),
        (replace(WELL, device=replace(DEVICE, clock_synced=None)), {"clock": ("unknown", "clock_unknown")}),
        (replace(WELL, device=replace(DEVICE, jumped_s=3599.0)), {"clock": ("warning", "clock_jumped")}),
        (replace(WELL, device=replace(DEVICE, jumped_s=3600.0)), {}),
    ],
)  # fmt: skip
def test_each_trouble_is_told_of_its_own_subject(health: Health, expected: dict[str, tuple[str, str]]) -> None:
    """One thing that is wrong makes one subject a warning, an error or unknown, and no other."""
    assert found(health) == expected


@pytest.mark.parametrize(
    ("station", "health", "is_ready"),
    [
        (ONLINE, WELL, True),
        (judged_station("online", bypassed=True), WELL, False),
        (judged_station("starting", "waiting for the first frame"), WELL, False),
        (judged_station("offline"), WELL, False),
        (judged_station(None), WELL, False),
        # it goes on inspecting, and its messages wait on the disk
        (ONLINE, replace(WELL, connected=False), True),
        (ONLINE, replace(WELL, device=DeviceHealth()), True),
        (ONLINE, replace(WELL, outbox_trouble="disk full"), False),
        (ONLINE, replace(WELL, cameras={}), False),
        (ONLINE, replace(WELL, engines=(replace(ENGINE, in_use=""),)), False),
    ],
)
def test_ready_is_a_station_that_does_its_work(station: Check, health: Health, is_ready: bool) -> None:
    """It inspects, is believed, and its findings are kept; a rule that needs no parts judged does not count."""
    assert ready([station, *judged_health(health_body(health))]) is is_ready


def test_an_old_word_is_not_believed() -> None:
    """A body older than is believed makes everything unknown, whatever it says."""
    checks = judged_health(health_body(WELL), 31.0, believed_s=30.0)
    assert {check.level for check in checks} == {"unknown"}
    assert checks[0].reason == "its last word is 31 s old"
    assert not ready([ONLINE, *checks])


@pytest.mark.parametrize("key", ["cameras", "engines", "broker", "outbox", "disk", "clock"])
@pytest.mark.parametrize("value", [None, 7, "x", [], {}, {"top": None}, [None], {"connected": "yes", "pending": "3"}])
def test_what_is_not_told_is_never_ok(key: str, value: Any) -> None:
    """A part of the body that is lacking or odd leaves its subject unknown or in error; nothing ends."""
    subject = {"cameras": "camera", "engines": "engine"}.get(key, key)
    checks = [check for check in judged_health(health_body(WELL) | {key: value}) if check.subject == subject]
    assert checks
    assert all(check.level in {"unknown", "error"} for check in checks)
    without = {name: part for name, part in health_body(WELL).items() if name != key}
    assert any(check.subject == subject and check.level == "unknown" for check in judged_health(without))


_ANY = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    body=_ANY | st.dictionaries(st.sampled_from(sorted(health_body(WELL))), _ANY),
    camera=st.dictionaries(st.sampled_from(sorted(health_body(WELL)["cameras"]["top"])), _ANY),
)
def test_no_forged_body_ends_anything(body: Any, camera: dict[str, Any]) -> None:
    """Each subject has an answer with a reason that can be written, whatever a stranger sends."""
    for told in (body, health_body(WELL) | {"cameras": {"top": camera}}):
        checks = judged_health(told)
        assert {check.subject for check in checks} >= NEEDED - {"station"}
        assert all(isinstance(check.reason, str) and check.code in REASONS for check in checks)
