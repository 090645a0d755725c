"""The screen Try a picture: what is dropped is judged by the station's own settings, and nonsense is told as such."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app.trials import WAITING_AT_MOST, PictureTrials
from edge.bundle import Bundle
from edge.dashboard.screens.trial import BYTES_AT_MOST, FILES_AT_MOST
from edge.inspection.trying import BusyError, Tried
from edge.opencv import cv2
from edge.records import UInt8
from tests.bright_bundle import part, write_bright_bundle
from tests.brokers import wait_for
from tests.edge.dashboard.stations import Bench, bench
from tests.edge.dashboard.test_access import log_in, with_users

BAD = part(100, 150, (10, 10, 20, 4))
Files = Sequence[tuple[str, bytes]]


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Write a bundle that finds bright pixels."""
    return write_bright_bundle(tmp_path_factory.mktemp("try") / "bundle")


def png(pixels: UInt8) -> bytes:
    """Return a picture's file."""
    return bytes(cv2.imencode(".png", pixels)[1])


@contextmanager
def trying(folder: Path, bright: Bundle) -> Iterator[Bench]:
    """Give a dashboard beside a station of two cameras, of which one tolerates a scratch."""
    limits = {"scratch": {"max_count": 1}}
    views = {
        "top": {"bundle": str(bright.path), "inspect": {"mm_per_px": 0.1}},
        "side": {"bundle": str(bright.path), "inspect": {"limits": limits}},
    }
    settings = {"cameras": {"top": {}, "side": {}}, "recipes": {"phone": {"views": views}}}
    (folder / "line.yaml").write_text(json.dumps(settings))
    with bench(folder) as site, PictureTrials(folder / "line.yaml") as tries:
        with_users(site, anna="operator", otto="operator", vera="viewer")
        site.online()
        site.pages.tries = tries
        yield site


def post(site: Bench, files: Files, view: str = "phone/top") -> Any:
    """Send files as the form does."""
    csrf = site.browser.get("/try").text.partition('name="csrf" value="')[2].partition('"')[0]
    sent = [("pictures", (name, content)) for name, content in files]
    return site.browser.post("/try", data={"csrf": csrf, "view": view}, files=sent)


def test_a_dropped_picture_is_judged_as_at_the_line(bright: Bundle, tmp_path: Path) -> None:
    """Verdict, defects in mm, the marked picture and the report come to what inspecting at the line does."""
    with trying(tmp_path, bright) as site:
        log_in(site, "anna")
        done = post(site, [("a.png", png(BAD)), ("folder/b.png", png(part()))])
        assert done.status_code == 303
        address = done.headers["location"]
        page = site.browser.get(address).text
        assert page.index("verdict-NG") < page.index("folder/b.png") < page.index("verdict-OK")
        assert "scratch: 1 defect, at most 0 allowed" in page
        assert "2.00" in page  # mm: 20 px of 0.1 mm
        assert "10, 10, 20, 4" in page
        marked = cv2.imdecode(np.frombuffer(site.browser.get(f"{address}/1.jpg").content, np.uint8), cv2.IMREAD_COLOR)
        assert marked.shape == BAD.shape
        assert marked[12, 20, 2] > marked[12, 20, 1] + 40
        report = site.browser.get(f"{address}/report.html")
        assert report.headers["content-disposition"].startswith("attachment")
        assert "scratch: 1 defect" in report.text
        assert (
            "verdict-OK" in site.browser.get(post(site, [("a.png", png(BAD))], "phone/side").headers["location"]).text
        )
        notes = site.history.rows("SELECT user, subject FROM journal WHERE kind = 'tried' ORDER BY id")
        site.history.flush()
        notes = site.history.rows("SELECT user, subject FROM journal WHERE kind = 'tried' ORDER BY id")
        assert [tuple(row) for row in notes] == [("anna", "phone/top"), ("anna", "phone/side")]


NONSENSE: dict[str, tuple[str, bytes]] = {
    "ten megabytes": ("a.png", random.Random(1).randbytes(10_000_000)),
    "empty": ("empty.png", b""),
    "a text": ("<script>alert(1)</script>.jpg", b"<script>alert(1)</script>"),
    "cut off": ("cut.png", png(BAD)[:200]),
    "a bomb": ("bomb.png", png(BAD)[:16] + (60_000).to_bytes(4, "big") * 2 + png(BAD)[24:]),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_no_read_with_its_reason(kind: str, bright: Bundle, tmp_path: Path) -> None:
    """A file that is no picture is NO_READ and says why; the picture beside it is judged. No server path is told."""
    with trying(tmp_path, bright) as site:
        log_in(site, "anna")
        done = post(site, [NONSENSE[kind], ("good.png", png(BAD))])
        page = site.browser.get(done.headers["location"]).text
        assert page.index("verdict-NO_READ") < page.index("good.png") < page.index("verdict-NG")
        assert "verdict-OK" not in page
        assert "linewatch-sent-" not in page
        assert "<script>alert" not in page
        report = site.browser.get(f"{done.headers['location']}/report.html").text
        assert "linewatch-sent-" not in report
        assert "<script>alert" not in report


def test_names_are_no_paths(bright: Bundle, tmp_path: Path) -> None:
    """A name that climbs is a name, and nothing is written where it points."""
    with trying(tmp_path, bright) as site:
        log_in(site, "anna")
        names = ("../../../climbed.png", "..\\..\\climbed.png", "/etc/climbed.png", "C:\\climbed.png", "x" * 900)
        done = post(site, [(name, png(BAD)) for name in names])
        page = site.browser.get(done.headers["location"]).text
        assert page.count('class="verdict verdict-NG"') == len(names)
        assert "../climbed" not in page
    assert not list(tmp_path.parent.glob("**/climbed.png"))


def test_bounds_and_rights(bright: Bundle, tmp_path: Path) -> None:
    """Without log-in, as a viewer, with another token, too many files, too many bytes, or none: refused, in words."""
    with trying(tmp_path, bright) as site:
        assert site.browser.post("/try", data={"view": "phone/top"}).status_code in {303, 403}
        log_in(site, "vera")
        assert 'type="file"' not in site.browser.get("/try").text
        assert post(site, [("a.png", png(BAD))]).status_code == 403
        log_in(site, "anna")
        assert site.browser.post("/try", files=[("pictures", ("a", b"a"))], data={"csrf": "x"}).status_code == 403
        assert post(site, [("a.png", b"a")] * (FILES_AT_MOST + 1)).status_code == 400
        answer = site.browser.post("/try", content=b"", headers={"content-length": str(BYTES_AT_MOST + 1)})
        assert answer.status_code == 413
        assert "Choose at least one picture" in post(site, []).text
        assert "Expected a recipe of phone" in post(site, [("a.png", png(BAD))], "tablet/top").text
        mine = post(site, [("a.png", png(BAD))]).headers["location"]
        assert site.browser.get(f"{mine}/2.jpg").status_code == 404
        assert site.browser.get(f"{mine}/report.html").status_code == 200
        log_in(site, "otto")
        for address in (mine, f"{mine}/1.jpg", f"{mine}/report.html", "/try/nothing"):
            assert site.browser.get(address).status_code == 404


def test_settings_that_change_are_read_again_and_broken_ones_are_told(bright: Bundle, tmp_path: Path) -> None:
    """A new limit in the file is judged by at the next picture; a file that is broken says where."""
    with trying(tmp_path, bright) as site:
        log_in(site, "anna")
        assert "verdict-NG" in site.browser.get(post(site, [("a.png", png(BAD))]).headers["location"]).text
        config = tmp_path / "line.yaml"
        told = json.loads(config.read_text())
        told["recipes"]["phone"]["views"]["top"]["inspect"]["limits"] = {"scratch": {"max_count": 5}}
        config.write_text(json.dumps(told))
        assert "verdict-OK" in site.browser.get(post(site, [("a.png", png(BAD))]).headers["location"]).text
        config.write_text("recipes: {phone: {vews: {}}}")
        page = site.browser.get("/try")
        assert page.status_code == 200
        assert "vews" in page.text


def test_a_crowd_waits_or_is_told(bright: Bundle, tmp_path: Path) -> None:
    """A few wait while one is inspected, and the rest are told at once; each that waited is answered."""
    del bright
    held, go = threading.Event(), threading.Event()

    class Held(PictureTrials):
        def _inspect(self, recipe: str, camera: str, files: Sequence[tuple[str, Path]]) -> Tried:
            del files
            held.set()
            assert go.wait(120)
            return Tried((), b"", "m", recipe, camera)

    answers: list[Tried] = []
    with Held(tmp_path / "line.yaml") as tries:
        crowd = [
            threading.Thread(target=lambda: answers.append(tries.inspect("r", "c", []))) for _ in range(WAITING_AT_MOST)
        ]
        for one in crowd:
            one.start()
        assert held.wait(120)
        wait_for(lambda: tries._waiting >= WAITING_AT_MOST)
        with pytest.raises(BusyError, match="Try again"):
            tries.inspect("r", "c", [])
        go.set()
        for one in crowd:
            one.join(120)
    assert len(answers) == WAITING_AT_MOST
