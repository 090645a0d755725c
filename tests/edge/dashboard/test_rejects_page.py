"""The screen Rejects: what it lists, the pictures it shows, and what becomes of an operator's judgement."""

from __future__ import annotations

import http.server
import io
import json
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.dashboard.evidence_sources import NoEvidenceError, RemoteEvidence, evidence_sources
from edge.dashboard.serving import dashboard
from edge.dashboard.settings import DashboardSettings, HistorySettings, ListenSettings
from edge.errors import SettingsError
from edge.evidence.choosing import Chosen, Kind, evidence_id
from edge.evidence.folder import EvidenceFolder
from edge.evidence.index import EvidenceIndex
from edge.evidence.judging import Judgement, Judgements
from edge.evidence.pictures import Job, Shot, ViewFacts, written
from edge.evidence.reading import EvidenceReader
from edge.evidence.settings import EvidenceSettings
from edge.messages.writer import Identity
from edge.opencv import cv2
from edge.records import DefectClass, DefectMap, Frame, Transform
from edge.records.models import ModelIdentity
from tests.bright_bundle import part as drawn_part
from tests.edge.dashboard.stations import EPOCH, NOW, PLACE, Bench, bench, message, part
from tests.edge.dashboard.test_access import log_in, with_users

SETTINGS = EvidenceSettings(min_free_gb=0, pictures="png")
WHO = Identity("acme", "ulm", "glass", "l1", "c1", "d", "phone", ModelIdentity("m", "1.0.0", None), EPOCH)
PICTURE = drawn_part(60, 80, (10, 10, 20, 4))
SCRATCH = DefectClass(1, "scratch", "major", (200, 30, 40), 0.5, 4.0)
DEFECT = {
    "class": "scratch",
    "score": 0.913,
    "area_px": 80.0,
    "area_mm2": 1.7187,
    "length_mm": 4.417,
    "width_mm": 0.44,
    "bbox": [10, 10, 20, 4],
}
KEY = "k" * 32


def name_of(number: int) -> str:
    """Return the evidence id of part `number`."""
    return evidence_id(EPOCH, number, f"phone-{number:06d}")


def keep(folder: EvidenceFolder, number: int) -> None:
    """Keep an NG part as a station does."""
    frame = Frame("top", number, PICTURE, 0, NOW)
    found = (PICTURE[..., 0] > 128).astype(np.uint8)
    kept = DefectMap(found, np.zeros_like(found))
    shot = Shot("top", "", frame, kept, Transform.identity(), ViewFacts({}, (SCRATCH,), 0.1))
    told = ("top: scratch", f"phone-{number:06d}", "phone", {}, {"verdict": "NG"})
    job = Job(name_of(number), Chosen(Kind.NG, "NG"), "NG", *told, (shot,))
    folder.keep(job.row, *written(job, SETTINGS, WHO, NOW))


def told(number: int, verdict: str = "NG", **more: Any) -> Any:
    """Return the message of part `number`, a minute after the one before."""
    body = part(number, verdict, 0.002, evidence_id=name_of(number), at=NOW - timedelta(minutes=60 - number), **more)
    if verdict == "NG":
        body["views"]["top"] |= {"defects": [DEFECT], "defects_omitted": 3, "reason": "scratch: 1 defect"}
    return message("event/result", body, number)


@dataclass(frozen=True)
class Looked:
    """A dashboard with six results, of which three left pictures, and an operator and a viewer."""

    bench: Bench
    folder: Path

    def get(self, address: str) -> str:
        """Return a page."""
        answer = self.bench.browser.get(address)
        assert answer.status_code == 200, answer.text
        return str(answer.text)

    def place_of(self, number: int) -> Path:
        """Return the folder of a part's pictures."""
        (place,) = self.folder.glob(f"2*/{name_of(number)}")
        return place

    def post(self, number: int, **form: str) -> Any:
        """Judge result `number`."""
        page = self.bench.browser.get(f"/rejects/{number}").text
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        return self.bench.browser.post(f"/rejects/{number}/judge", data={"csrf": csrf, **form})


@contextmanager
def looked(folder: Path, **settings: Any) -> Iterator[Looked]:
    """Give such a dashboard."""
    kept = folder / "kept"
    with EvidenceFolder(kept, SETTINGS) as evidence:
        for number in (2, 3, 4):
            keep(evidence, number)
    with bench(folder, **{"evidence": {PLACE: str(kept)}, **settings}) as site:
        with_users(site, anna="operator", vera="viewer")
        site.online()
        site.hear(told(1, "OK"), told(2), told(3), told(4, recipe="tablet"), told(5), told(6, "NO_READ"))
        yield Looked(site, kept)


def listed(page: str) -> list[int]:
    """Return the numbers of the results that a filmstrip shows, in its order."""
    return [int(number) for number in re.findall(r'<li><a href="/rejects/(\d+)\?', page)]


def test_the_filmstrip_has_what_its_address_asks_for(tmp_path: Path) -> None:
    """By verdict, recipe, class and time, the newest first; links carry the filters on; odd values are no error."""
    with looked(tmp_path) as site:
        log_in(site.bench, "vera")
        assert listed(site.get("/rejects")) == [5, 4, 3, 2]
        assert listed(site.get("/rejects?verdict=")) == [6, 5, 4, 3, 2, 1]
        assert listed(site.get("/rejects?verdict=NO_READ")) == [6]
        assert listed(site.get("/rejects?recipe=tablet")) == [4]
        assert listed(site.get("/rejects?class=scratch&from=2026-01-31T11:03&to=2026-01-31T11:05")) == [4, 3]
        assert listed(site.get("/rejects?class=dent")) == []
        assert listed(site.get("/rejects?said=none")) == [5, 4, 3, 2]
        assert listed(site.get("/rejects?said=right")) == listed(site.get("/rejects?said=some")) == []
        assert listed(site.get("/rejects?verdict=FINE&said=x&place=nowhere&before=a.b")) == [5, 4, 3, 2]
        page = site.get("/rejects?recipe=phone&verdict=NG")
        assert "recipe=phone" in re.findall(r'<li><a href="([^"]+)"', page)[0]
        assert site.bench.browser.get("/rejects?from=soon").status_code == 400
        assert "recipe=phone&amp;" in site.get("/rejects/3?recipe=phone&verdict=NG")


def test_one_result_has_its_neighbours_pictures_and_millimetres(tmp_path: Path) -> None:
    """Newer and older are those of the filter; the defect stands in the table in mm. Both pictures can be had."""
    with looked(tmp_path) as site:
        log_in(site.bench, "vera")
        page = site.get("/rejects/3?verdict=NG")
        assert re.search(r'rel="prev" href="/rejects/4\?', page)
        assert re.search(r'rel="next" href="/rejects/2\?', page)
        for figure in ("4.42", "0.44", "1.719", "10, 10, 20, 4", "3"):
            assert figure in page
        clean = site.bench.browser.get("/rejects/3/top/clean")
        assert clean.headers["content-type"] == "image/png"
        assert (cv2.imdecode(np.frombuffer(clean.content, np.uint8), cv2.IMREAD_COLOR) == PICTURE).all()
        for which in ("marked", "small"):
            marked = site.bench.browser.get(f"/rejects/3/top/{which}")
            pixels = cv2.imdecode(np.frombuffer(marked.content, np.uint8), cv2.IMREAD_COLOR)
            assert pixels[12, 20, 2] > pixels[12, 20, 1] + 40  # the defect is tinted
        assert "/rejects/3/top/clean" in site.get("/rejects/3?show=clean")


def words_of(answer: Any) -> str:
    """Return the words of a picture that says why there is none."""
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["x-linewatch-picture"] == "none"
    return "".join(re.findall(r"<tspan[^>]*>([^<]*)", answer.text))


def test_what_is_gone_or_altered_is_told_and_never_shown(tmp_path: Path) -> None:
    """Deleted by hand, replaced by nonsense or by another picture, never kept: words in place of a picture."""
    with looked(tmp_path) as site:
        log_in(site.bench, "vera")
        (site.place_of(2) / "top.png").unlink()
        (site.place_of(3) / "top.png").write_bytes(b"no picture at all")
        (site.place_of(4) / "record.json").unlink()
        get = site.bench.browser.get
        assert "deleted by hand" in words_of(get("/rejects/2/top/clean"))
        assert "altered" in words_of(get("/rejects/3/top/marked"))
        assert "deleted" in words_of(get("/rejects/4/top/small"))
        assert "not kept" in words_of(get("/rejects/5/top/small"))
        assert "no view" in words_of(get("/rejects/2/side/clean"))
        for number in (4, 5):
            page = site.get(f"/rejects/{number}")
            assert "No pictures:" in page
            assert "verdict-OK" not in page


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/rejects/3/..%2f..%2fsecret/clean", {200, 404}),
        ("/rejects/3/top/..%2fsecret", {404}),
        ("/rejects/3/top/record.json", {404}),
        ("/rejects/99", {404}),
        ("/rejects/99999999999999999999999", {404}),
        ("/rejects/-1", {404}),
        ("/rejects/3%00/top/clean", {404}),
    ],
)
def test_tricks_with_paths_get_nothing(tmp_path: Path, address: str, status: set[int]) -> None:
    """No file but a kept picture is handed out, whatever a path says."""
    (tmp_path / "secret").write_bytes(b"\x89PNG secret")
    with looked(tmp_path) as site:
        log_in(site.bench, "anna")
        answer = site.bench.browser.get(address)
        assert answer.status_code in status
        assert b"PNG secret" not in answer.content


def test_an_operator_judges_one_by_one(tmp_path: Path) -> None:
    """An opinion is in the folder's file, the history and the journal; the next is shown; the last word stands."""
    with looked(tmp_path) as site:
        log_in(site.bench, "anna")
        done = site.post(3, opinion="false_reject", **{"class": "scratch"}, comment="dust", link="verdict=NG", next="2")
        assert (done.status_code, done.headers["location"]) == (303, "/rejects/2?verdict=NG")
        site.post(3, opinion="right", comment="no, it is deep")
        lines = list(Judgements(site.folder).lines())
        assert [(line["judgement"], line["user"], line["id"]) for line in lines] == [
            ("false_reject", "anna", name_of(3)),
            ("right", "anna", name_of(3)),
        ]
        site.bench.history.flush()
        assert listed(site.get("/rejects?said=right")) == [3]
        assert listed(site.get("/rejects?said=none")) == [5, 4, 2]
        assert "no, it is deep" in site.get("/rejects/3")
        kinds = site.bench.history.rows("SELECT user, outcome FROM journal WHERE kind = 'judged' ORDER BY id")
        assert [tuple(row) for row in kinds] == [("anna", "false_reject"), ("anna", "right")]
        with EvidenceIndex(site.folder, writes=False) as index:
            assert (index.one(name_of(3)) or {})["judgement"] == "right"


def test_what_was_said_at_a_shell_is_heard(tmp_path: Path) -> None:
    """A judgement by the command is on the page at its next look."""
    with looked(tmp_path) as site:
        log_in(site.bench, "vera")
        with EvidenceReader(site.folder) as reader:
            reader.judge(Judgement(name_of(4), "unsure", NOW, "bob"))
        assert listed(site.get("/rejects?said=unsure")) == [4]
        assert "bob" in site.get("/rejects/4")


def test_who_may_not_judges_nothing(tmp_path: Path) -> None:
    """Nobody, a viewer, a form without its token, another word, too long a text, and lost pictures: nothing is said."""
    with looked(tmp_path) as site:
        assert site.bench.browser.post("/rejects/3/judge", data={"opinion": "right"}).status_code in {303, 403}
        log_in(site.bench, "vera")
        assert 'name="opinion"' not in site.get("/rejects/3")
        assert site.post(3, opinion="right").status_code == 403
        log_in(site.bench, "anna")
        assert site.bench.browser.post("/rejects/3/judge", data={"opinion": "right", "csrf": "x"}).status_code == 403
        assert site.post(3, opinion="fine").headers["location"].endswith("refused=opinion")
        refused = site.post(5, opinion="right")  # never kept
        assert "There is no evidence" in site.get(refused.headers["location"])
        assert site.post(3, opinion="right", **{"class": "c" * 101}).status_code == 303
        assert not list(Judgements(site.folder).lines())
        assert site.bench.history.value("SELECT count(*) FROM opinion") == 0


@contextmanager
def other_dashboard(folder: Path) -> Iterator[str]:
    """Serve the pictures of PLACE from another dashboard, and return its address."""
    kept = folder / "kept"
    with EvidenceFolder(kept, SETTINGS) as evidence:
        keep(evidence, 3)
    key = folder / "key"
    key.write_text(f"{KEY}\n")
    key.chmod(0o600)
    settings = DashboardSettings(
        sites=(PLACE,),
        listen=ListenSettings(port=0),
        users=folder / "none.json",
        history=HistorySettings(path=folder / "other.db"),
        evidence={PLACE: str(kept)},
        evidence_key_file=key,
    )
    with dashboard(settings) as served:
        yield served.url


def test_pictures_and_judgements_of_another_dashboard(tmp_path: Path) -> None:
    """With the same key its pictures are shown here and judgements are written there; with another key neither."""
    (tmp_path / "far").mkdir()
    with other_dashboard(tmp_path / "far") as address:
        place = {"evidence": {PLACE: address}, "evidence_key_file": tmp_path / "far" / "key"}
        with looked(tmp_path, **place) as site:
            log_in(site.bench, "anna")
            page = site.get("/rejects/3")
            assert 'src="/rejects/3/top/marked"' in page
            assert KEY not in page
            clean = site.bench.browser.get("/rejects/3/top/clean")
            assert (cv2.imdecode(np.frombuffer(clean.content, np.uint8), cv2.IMREAD_COLOR) == PICTURE).all()
            assert "There is no such evidence" in site.get("/rejects/2")
            assert site.post(3, opinion="missed", comment="far away").status_code == 303
        (line,) = Judgements(tmp_path / "far" / "kept").lines()
        assert (line["judgement"], line["user"], line["comment"]) == ("missed", "anna", "far away")
        with pytest.raises(NoEvidenceError, match="does not take our key"):
            RemoteEvidence(address, "x" * 32).record(name_of(3))


class Liar(http.server.BaseHTTPRequestHandler):
    """Answers what no dashboard does."""

    def do_GET(self) -> None:
        """Send elsewhere, or answer what is no picture."""
        if self.path.endswith("record"):
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:1/")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "image/png")
        self.end_headers()
        self.wfile.write(b"<script>alert(1)</script>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_another_dashboard_that_lies_is_not_believed() -> None:
    """A redirection is not followed, nonsense is no picture, and nobody there is told in words."""
    server = http.server.HTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        remote = RemoteEvidence(f"http://127.0.0.1:{server.server_port}", KEY)
        with pytest.raises(NoEvidenceError, match="302"):
            remote.record(name_of(3))
        with pytest.raises(NoEvidenceError, match="no picture"):
            remote.picture(name_of(3), "top", "clean")
        with pytest.raises(NoEvidenceError, match="There is no evidence"):
            remote.record("../../etc/passwd")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with pytest.raises(NoEvidenceError, match="cannot be reached"):
        remote.record(name_of(3))


def test_keys_that_are_none_are_refused(tmp_path: Path) -> None:
    """Another dashboard needs a key, which is long, for its user alone. It needs an address of the web."""
    key = tmp_path / "key"
    with pytest.raises(SettingsError, match="received none"):
        evidence_sources({PLACE: "http://box:8080"}, None)
    with pytest.raises(SettingsError, match="expected a readable file"):
        evidence_sources({}, key)
    key.write_text("short")
    key.chmod(0o600)
    with pytest.raises(SettingsError, match="20 characters"):
        evidence_sources({}, key)
    key.write_text(KEY)
    with pytest.raises(SettingsError, match="https://host"):
        evidence_sources({PLACE: "ftp://box"}, key)
    key.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 0640"):
        evidence_sources({}, key)


def test_an_engineer_exports_what_the_filters_show(tmp_path: Path) -> None:
    """The zip has the kept results of the filter with what was said; an operator gets none. The export is noted."""
    with looked(tmp_path) as site:
        with_users(site.bench, anna="operator", erik="engineer")
        log_in(site.bench, "anna")
        site.post(3, opinion="right")
        assert "/rejects/export" not in site.get("/rejects")
        csrf = site.get("/rejects/3").partition('name="csrf" value="')[2].partition('"')[0]
        assert site.bench.browser.post("/rejects/export", data={"csrf": csrf}).status_code == 403
        log_in(site.bench, "erik")
        page = site.get("/rejects?recipe=phone&verdict=NG")
        address = re.search(r'action="(/rejects/export[^"]*)"', page)
        assert address is not None
        csrf = page.partition('name="csrf" value="')[2].partition('"')[0]
        done = site.bench.browser.post(address[1].replace("&amp;", "&"), data={"csrf": csrf})
        assert done.headers["content-disposition"].endswith('.zip"')
        with zipfile.ZipFile(io.BytesIO(done.content)) as archive:
            entries = json.loads(archive.read("manifest.json"))["results"]
        said = {entry["id"]: entry["judgement"] and entry["judgement"]["judgement"] for entry in entries}
        assert said == {name_of(3): "right", name_of(2): None}
        with EvidenceIndex(site.folder, writes=False) as index:
            assert (index.one(name_of(3)) or {})["exported_at"] is not None
        nothing = site.bench.browser.post("/rejects/export?verdict=NO_READ", data={"csrf": csrf})
        assert "Of none of these" in site.get(nothing.headers["location"])


def test_what_the_shell_judged_is_on_the_shift_page_at_once(tmp_path: Path) -> None:
    """Nobody opens Rejects: the page of the shift hears of the command's judgement by itself."""
    with looked(tmp_path) as site:
        log_in(site.bench, "vera")
        shift = {"shift": "current"}
        assert "Nobody has judged" in site.bench.browser.get("/shift", params=shift).text
        with EvidenceReader(site.folder) as reader:
            reader.judge(Judgement(name_of(3), "false_reject", NOW, "carl"))
        assert "100.00 % (1 of 1)" in site.bench.browser.get("/shift", params=shift).text


def test_without_a_scale_the_table_is_in_pixels_and_says_so(tmp_path: Path) -> None:
    """No column of mm stands there with a dash: width and height of the box do, and the reason."""
    with bench(tmp_path) as site:
        site.online()
        body = part(1, "NG", 0.002)
        plain = {**DEFECT, "area_mm2": None, "length_mm": None, "width_mm": None}
        body["views"]["top"] |= {"defects": [plain], "defects_omitted": 0}
        site.hear(message("event/result", body, 1))
        page = site.browser.get("/rejects/1").text
    assert "20 \u00d7 4" in page
    assert "this view has no scale" in page
    assert "mm²" not in page
