"""Zones are drawn in a real browser, by mouse and keyboard, and saved to a file that the settings take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from edge.bundle import load_bundle
from edge.inspection.zone_drawing import sheet_of, write_zones
from edge.opencv import cv2
from edge.settings import load_settings
from edge.zones.page import ZonesPage, page_html
from tests.bright_bundle import write_bright_bundle
from tests.browser.watched_page import serious_findings, watched_page
from tests.edge.inspection.test_zoning import shown


def test_a_rectangle_and_a_polygon_are_drawn_and_saved(browser: Browser, tmp_path: Path) -> None:
    """No error and no foreign request; a refusal is said, and the saved zones are what the settings read."""
    write_bright_bundle(tmp_path / "bundle")
    (tmp_path / "line.yaml").write_text("bundle: bundle\ninspect: {part: {find: rectangle}}\n")
    inspect = load_settings(tmp_path / "line.yaml").inspect
    sheet = sheet_of(shown(210, 140, 12), inspect, load_bundle(tmp_path / "bundle"))
    out = tmp_path / "zones.yaml"

    def save(given: Any) -> str:
        taken = sheet.taken(given, {})
        write_zones(out, taken, sheet)
        return f"Saved {len(taken)} zones"

    picture = bytes(cv2.imencode(".png", sheet.shown)[1])
    with (
        ZonesPage(page_html("Zones of top", "drawn on the part"), picture, sheet.page_zones({}), save) as served,
        watched_page(browser, served.url, "station") as (page, faults),
    ):
        faults.allow("400 .*zones.json|status of 400")  # the refused ones
        page.goto(served.url)
        page.wait_for_selector("body[data-ready=yes]")
        page.wait_for_function("document.getElementById('picture').complete")
        box = page.locator("#drawing").bounding_box()
        assert box is not None
        left, top, width, height = box["x"], box["y"], box["width"], box["height"]
        page.mouse.move(left + 0.1 * width, top + 0.2 * height)
        page.mouse.down()
        page.mouse.move(left + 0.6 * width, top + 0.6 * height)
        page.mouse.up()
        page.get_by_label("Name of zone 1").fill("lens")
        page.get_by_role("button", name="Polygon").click()
        box = page.locator("#drawing").bounding_box()  # the list above it has grown
        assert box is not None
        left, top = box["x"], box["y"]
        for x, y in ((0.7, 0.1), (0.9, 0.1), (0.9, 0.8)):
            page.mouse.click(left + x * width, top + y * height)
        page.keyboard.press("Enter")
        page.get_by_label("Name of zone 2").fill("lens")
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector("#told.bad")
        assert "received 'lens' twice" in page.locator("#told").inner_text()
        assert not out.exists()
        page.get_by_label("Name of zone 2").fill("logo")
        page.locator("#list li:nth-child(2) input[type=checkbox]").check()
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector("#told.good")
        assert page.locator("#told").inner_text() == "Saved 2 zones"
        assert serious_findings(page) == []
    (tmp_path / "line.yaml").write_text(
        "bundle: bundle\ninspect: {part: {find: rectangle}, zones: {file: zones.yaml}}\n"
    )
    zones = load_settings(tmp_path / "line.yaml").inspect.zones
    assert zones["lens"].rectangle == pytest.approx((0.1, 0.2, 0.5, 0.4), abs=0.02)
    assert zones["logo"].ignore
    assert [round(value, 1) for point in zones["logo"].corners for value in point] == [0.7, 0.1, 0.9, 0.1, 0.9, 0.8]
