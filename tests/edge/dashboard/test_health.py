"""The screen Health, and what machines ask of the dashboard."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from edge.dashboard.texts import LANGUAGES, all_texts
from edge.messages.writer import health_body
from edge.monitoring.judging import REASONS
from edge.records import SessionLost, Unheard
from tests.conftest import ROOT
from tests.edge.dashboard.stations import PLACE, Bench, alarm, bench, message
from tests.edge.monitoring.test_judging import CAMERA, WELL

EVIL = "<script>alert(1)</script>\u202e"


def levels(page: str) -> dict[str, str]:
    """Return the level of each check of a page."""
    rows = re.findall(r'<th scope="row">([^<]+)</th>\s*<td>.*?<b>(\w+)</b>', page, re.DOTALL)
    return {" ".join(what.split()): level for what, level in rows}


def say(site: Bench, health: Any) -> None:
    """Have the station tell how it is."""
    site.hear(message("state/health", health_body(health)))


def birth() -> dict[str, Any]:
    """Return the part of a birth that tells of the software."""
    return {"schema": "linewatch/birth/2", "software": {"linewatch": "0.1.0", "python": "3.11.7"}}


def test_a_station_that_is_well_is_ok_in_every_row(tmp_path: Path) -> None:
    """Each check is OK, with the figures that the broker told: rate, engine asked for and in use, batches, disk."""
    with bench(tmp_path) as site:
        site.online()
        say(site, WELL)
        site.hear(message("birth", birth()))
        page = site.browser.get("/health").text
    assert levels(page) == dict.fromkeys(
        ["Station", "Camera top", "Engine glass 1.0.0", "Broker", "Outbox", "Disk", "Clock", "Software"], "OK"
    )
    for told in ("12.5 frames/s", "asked for: auto auto", "in use: openvino fp32", "9 batches of 3.3 tiles, 5 of them"):
        assert told in page
    assert "60.0 of 100.0 GB free" in page
    assert "linewatch 0.1.0, python 3.11.7" in page


def test_what_is_wrong_stands_with_its_reason(tmp_path: Path) -> None:
    """A frozen camera, a bypass and a full disk are errors, each in its own row, and nothing else is."""
    with bench(tmp_path) as site:
        site.online()
        frozen = replace(CAMERA, fault="frozen", detail="the same picture for 12 s")
        say(site, replace(WELL, cameras={"top": CAMERA, "side": frozen}, outbox_trouble="no space left"))
        site.hear(message("alarm/bypass", alarm(alarm="bypass"), 1))
        page = site.browser.get("/health").text
    found = levels(page)
    assert {what for what, level in found.items() if level == "ERROR"} == {"Station", "Camera side", "Outbox"}
    assert "frozen: the same picture for 12 s" in page
    assert "inspection is taken out, and no part is judged" in page
    assert "nothing can be written: no space left" in page


@pytest.mark.parametrize("silence", ["old", "no broker", "retained only", "never told"])
def test_what_is_old_or_not_told_is_unknown(tmp_path: Path, silence: str) -> None:
    """No row is OK of a station whose word is old, retained, or was never heard. The dashboard's own rows may be."""
    with bench(tmp_path) as site:
        site.online()
        if silence == "retained only":
            site.hear(message("state/health", health_body(WELL), retained=True))
        elif silence != "never told":
            say(site, WELL)
        if silence == "old":
            site.clock.move(60)
        if silence == "no broker":
            site.site.take(SessionLost("the broker is gone"))
        found = levels(site.browser.get("/health").text)
    station = found.pop("Station")
    assert station == ("OK" if silence in {"retained only", "never told"} else "UNKNOWN")
    assert found.pop("Software") == "UNKNOWN"
    assert found
    assert set(found.values()) == {"UNKNOWN"}


def test_a_forged_body_is_text(tmp_path: Path) -> None:
    """Names and reasons of the wire are escaped; a body of nonsense leaves a page of unknowns."""
    with bench(tmp_path) as site:
        site.online()
        say(site, replace(WELL, cameras={EVIL: replace(CAMERA, fault=EVIL, detail=EVIL)}, broker_trouble=EVIL))
        page = site.browser.get("/health").text
        site.hear(message("state/health", {"cameras": [EVIL], "engines": {"a": EVIL}, "disk": EVIL, "clock": 7}))
        nonsense = site.browser.get("/health")
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert nonsense.status_code == 200
    assert {level for what, level in levels(nonsense.text).items() if what != "Station"} == {"UNKNOWN"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_reason_has_its_words(language: str) -> None:
    """Every code of the rules has a sentence in every language, with the very same blanks."""
    for code, english in REASONS.items():
        if code == "ok":
            continue
        words = all_texts()[f"health.reason_{code}"][language]
        assert set(re.findall(r"{(\w+)}", words)) == set(re.findall(r"{(\w+)}", english)), code
    for kind in ("station", "camera", "engine", "broker", "outbox", "disk", "clock", "software"):
        assert all_texts()[f"health.check_{kind}"][language]


def test_machines_are_told_whether_it_works(tmp_path: Path) -> None:
    """`/readyz` follows the broker and what it lets us hear; `/healthz` the collector, which does not run here."""
    with bench(tmp_path) as site:
        assert site.browser.get("/readyz").status_code == 503
        site.online()
        assert site.browser.get("/readyz").json() == {"ready": True, "reasons": []}
        site.site.take(Unheard("not authorised", "acme/ulm/#"))
        assert site.browser.get("/readyz").json()["reasons"] == ["acme/ulm/# is not heard: not authorised"]
        site.site.take(SessionLost("the broker is gone"))
        assert site.browser.get("/readyz").json()["reasons"][0] == "broker: the broker is gone"
        answer = site.browser.get("/healthz")
        assert (answer.status_code, answer.json()["healthy"]) == (503, False)


def test_metrics_are_accepted_and_bounded(tmp_path: Path) -> None:
    """Promtool blames nothing; a station is in one state; unbelieved messages are counted; no part is named."""
    with bench(tmp_path) as site:
        site.online()
        say(site, WELL)
        answer = site.browser.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=answer.text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "linewatch" in done.stderr) == (0, False), done.stderr
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    states = {one.labels["state"]: one.value for one in samples if one.name == "linewatch_dashboard_station_state"}
    assert [state for state, value in states.items() if value] == ["online"]
    assert {label for one in samples for label in one.labels} <= {"station", "state", "version"}
    assert {one.labels["station"] for one in samples if "station" in one.labels} == {"", PLACE}


def test_every_metric_of_the_rules_is_there(tmp_path: Path) -> None:
    """A name of the dashboard's in alerts.yaml or docs/monitoring.md is among its metrics."""
    name = re.compile(r"linewatch_dashboard_[a-z_]+")
    rules = yaml.safe_load((ROOT / "config" / "alerts.yaml").read_text())
    wanted = {each for group in rules["groups"] for rule in group["rules"] for each in name.findall(rule["expr"])}
    page = (ROOT / "docs" / "monitoring.md").read_text()
    wanted |= set(name.findall(page))
    wanted |= {f"linewatch_dashboard_{each}" for each in re.findall(r"`…_([a-z_]+)`", page)}
    with bench(tmp_path) as site:
        site.online()
        text = site.browser.get("/metrics").text
    there = {one.name for family in text_string_to_metric_families(text) for one in family.samples}
    assert len(wanted) > 8
    assert wanted - there == set()


def test_strangers_are_told_no_names(tmp_path: Path) -> None:
    """With users, another machine that has not logged in gets yes or no, no reasons and no metrics."""
    from edge.dashboard.users import hashed

    with bench(tmp_path) as site:
        site.users.save({"anna": hashed("anna", "viewer", "a long password")})
        site.online()
        here = site.browser.get("/readyz")
        assert "reasons" in here.json()
        site.browser._transport.client = ("192.0.2.7", 4711)  # type: ignore[attr-defined]
        assert site.browser.get("/readyz").json() == {"ready": True}
        assert site.browser.get("/metrics").status_code == 403
        assert site.browser.get("/health").status_code == 303  # to log in
