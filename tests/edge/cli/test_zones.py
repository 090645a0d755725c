"""`linewatch zones` draws zones where they lie, writes files that the settings take, and serves one machine a page."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.bundle import load_bundle
from edge.cli.commands import app
from edge.errors import LinewatchError, SettingsError
from edge.inspection.zone_drawing import Sheet, sheet_of, write_zones
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.settings import load_settings
from edge.zones.page import ZonesPage, page_html
from tests.bright_bundle import write_bright_bundle
from tests.edge.inspection.test_zoning import shown


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a bundle, a picture of a turned device, and settings that find it."""
    write_bright_bundle(tmp_path / "bundle")
    cv2.imwrite(str(tmp_path / "device.png"), shown(210, 140, 12))
    (tmp_path / "line.yaml").write_text(
        """
bundle: bundle
camera: {name: top, source: simulated}
inspect:
  part: {find: rectangle}
  zones:
    rim: {on: part, rectangle: [0, 0, 1, 0.2], limits: {scratch: {max_count: 2}}}
    corner: {rectangle: [0, 0, 40, 30], ignore: true}
"""
    )
    return tmp_path


def ran(folder: Path, *words: str) -> Any:
    """Run the verb upon the picture."""
    given = ["zones", str(folder / "line.yaml"), "top", "--picture", str(folder / "device.png")]
    return CliRunner().invoke(app, [*given, *words], standalone_mode=False)


def test_zones_are_drawn_where_they_lie(folder: Path) -> None:
    """As PNG on the turned part and in the frame's corner. As SVG with the picture in it, and no address."""
    done = ran(folder, "--draw", str(folder / "z.png"))
    assert done.exception is None, done.output
    assert "z.png: 2 zones on 400 x 300 px" in done.output
    drawn, plain = read_picture(folder / "z.png").astype(int), read_picture(folder / "device.png").astype(int)
    changed = np.abs(drawn - plain).max(axis=2) > 40
    # the middle of the rim's lower side: 0.5, 0.2 of 200 x 100 px, turned by 12 degrees about (210, 140)
    turn = np.radians(12)
    x, y = 210 - np.sin(turn) * -30, 140 + np.cos(turn) * -30
    assert changed[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3].any()
    assert drawn[10:20, 10:20, 2].mean() > plain[10:20, 10:20, 2].mean() + 20  # red where it is ignored
    assert not changed[240:, :].any()
    assert ran(folder, "--draw", str(folder / "z.svg")).exception is None
    text = (folder / "z.svg").read_text()
    assert text.count("<polygon") == 3
    assert "data:image/png;base64," in text
    assert text.count("http") == 1  # the namespace


def test_what_is_written_is_taken_by_the_settings(folder: Path) -> None:
    """From YAML the very same zones, limits too; from SVG the same shapes, where all are of one place."""
    before = load_settings(folder / "line.yaml").inspect
    assert ran(folder, "--out", str(folder / "zones.yaml")).exception is None
    (folder / "again.yaml").write_text("inspect: {part: {find: rectangle}, zones: {file: zones.yaml}}\n")
    assert load_settings(folder / "again.yaml").inspect.zones == before.zones
    refused = ran(folder, "--out", str(folder / "zones.svg")).exception
    assert isinstance(refused, SettingsError)
    assert "expected zones of one place in an SVG file, received zones on frame and part" in str(refused)
    only = {name: zone for name, zone in before.zones.items() if zone.on == "part"}
    sheet = sheet_of(read_picture(folder / "device.png"), before, load_bundle(folder / "bundle"))
    write_zones(folder / "zones.svg", only, sheet)
    (folder / "svg.yaml").write_text("inspect: {part: {find: rectangle}, zones: {svg: zones.svg, on: part}}\n")
    again = load_settings(folder / "svg.yaml").inspect.zones["rim"]
    assert np.array(again.corners) == pytest.approx(np.array(only["rim"].corners), abs=1e-5)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "expected --draw or --out"),
        (("--edit",), "--edit: expected --out"),
        (("--draw", "z.txt"), "ends in .png or .svg, received z.txt"),
        (("--out", "z.txt"), "ends in .yaml or .svg, received z.txt"),
        (("--edit", "--out", "z.txt"), "ends in .yaml or .svg, received z.txt"),
        (("--draw", "z.png", "--recipe", "b"), "Expected a recipe of default"),
    ],
)
def test_what_cannot_be_made_is_refused(folder: Path, words: tuple[str, ...], told: str) -> None:
    """Before a page is served or a file written."""
    assert told in str(ran(folder, *words).exception)


def test_a_picture_without_the_part_is_refused(folder: Path) -> None:
    """Zones on it would lie nowhere."""
    cv2.imwrite(str(folder / "device.png"), np.full((300, 400, 3), 90, np.uint8) + np.arange(3, dtype=np.uint8))
    error = ran(folder, "--draw", str(folder / "z.png")).exception
    assert isinstance(error, LinewatchError)
    assert not (folder / "z.png").exists()


# --- the page


def sheet(folder: Path) -> Sheet:
    """Return what is drawn upon."""
    bundle = load_bundle(folder / "bundle")
    return sheet_of(read_picture(folder / "device.png"), load_settings(folder / "line.yaml").inspect, bundle)


def drawn(**zone: Any) -> dict[str, Any]:
    """Return what the page sends of one zone."""
    return {"zones": [{"name": "a", "points": [[0, 0], [100, 0], [100, 50], [0, 50]], **zone}]}


def test_what_is_drawn_on_the_part_becomes_shares(folder: Path) -> None:
    """The page shows the part upright; limits stay, and so do zones on the frame."""
    upon, before = sheet(folder), load_settings(folder / "line.yaml").inspect.zones
    assert upon.size_px == pytest.approx((200, 100), abs=2)
    assert upon.shown.shape[:2] == upon.size_px[::-1]
    assert abs(int(upon.shown[5:-5, 5:-5].max()) - 30) < 12  # nothing but the device
    taken = upon.taken(drawn(name="rim", rectangle=True), before)
    assert set(taken) == {"corner", "rim"}
    assert taken["rim"].rectangle == pytest.approx((0, 0, 0.5, 0.5), abs=0.01)
    assert taken["rim"].limits == before["rim"].limits
    given = upon.page_zones(before)
    assert [zone["name"] for zone in given["zones"]] == ["rim"]
    assert given["zones"][0]["points"][2] == pytest.approx([upon.size_px[0], 0.2 * upon.size_px[1]], abs=0.02)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([], "valid dictionary"),
        ({"zones": [], "more": 1}, "more"),
        (drawn(points=[[0, 0], [50, 50], [50, 0], [0, 50]]), "zone a: expected a polygon that does not cross itself"),
        (drawn(points=[[0, 0], [9999, 0], [0, 50]]), "zone a: expected it within the picture"),
        (drawn(points=[[0, 0], [1, 0]]), "zones.0.points"),
        (drawn(name="a b"), "zones.a b"),
        (drawn(name="corner"), "received 'corner' twice"),
        ({"zones": [*drawn()["zones"], *drawn()["zones"]]}, "received 'a' twice"),
        ({"zones": [{**drawn()["zones"][0], "name": f"z{index}"} for index in range(21)]}, "at most 20"),
    ],
)
def test_what_is_no_zone_is_refused_by_the_page(folder: Path, given: Any, told: str) -> None:
    """The page does not believe what the browser sends."""
    with pytest.raises(SettingsError) as error:
        sheet(folder).taken(given, load_settings(folder / "line.yaml").inspect.zones)
    assert told in str(error.value)


def asked(url: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask a page, or send to it; return status, headers and body."""
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - of this machine
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own address
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_the_page_is_for_this_machine_and_its_own_address() -> None:
    """Without the secret, by another name, from another page or with too much nothing is shown or taken."""
    taken: list[Any] = []

    def save(given: Any) -> str:
        taken.append(given)
        if given == {"zones": "bad"}:
            raise SettingsError("expected other zones")
        return "saved"

    with ZonesPage(page_html("Zones of <top>", "x"), b"png", {"zones": []}, save) as page:
        base = page.url.rsplit("/", 2)[0]
        assert base.startswith("http://127.0.0.1:")
        status, headers, body = asked(page.url)
        assert status == 200
        assert b"Zones of &lt;top&gt;" in body
        assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert [asked(f"{page.url}{name}")[0] for name in ("picture.png", "zones.js", "zones.json")] == [200] * 3
        for url in (base, f"{base}/", f"{base}/x/", f"{base}/x/zones.json", f"{page.url}../zones.js", f"{page.url}x"):
            assert asked(url)[0] == 404, url
        assert asked(page.url, Host="evil.example")[0] == 404
        send = f"{page.url}zones.json"
        assert asked(send, b'{"zones": []}')[::2] == (200, b'{"told": "saved"}')
        assert asked(send, b'{"zones": []}', Origin=base)[0] == 200
        assert asked(send, b'{"zones": "bad"}')[::2] == (400, b'{"told": "expected other zones"}')
        assert asked(send, b'{"zones": [], "zones": []}')[0] == 400
        assert asked(send, b"[" * 1000)[0] == 400
        before = len(taken)
        assert asked(send, b'{"zones": []}', Origin="http://evil.example")[0] == 404
        assert asked(f"{base}/x/zones.json", b"{}")[0] == 404
        assert asked(page.url, b"{}")[0] == 404
        assert asked(send, b"{}", **{"Content-Length": "9999999999"})[0] == 413
        assert asked(send, json.dumps([0] * 400_000).encode())[0] == 413
        assert len(taken) == before
