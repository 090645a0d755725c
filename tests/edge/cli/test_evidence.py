"""`linewatch evidence`: what it lists, exports, judges and verifies is what the station kept."""

from __future__ import annotations

import hashlib
import json
import zipfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.errors import JournalError, LinewatchError
from edge.evidence.choosing import Chosen, Kind, evidence_id
from edge.evidence.folder import EvidenceFolder
from edge.evidence.pictures import Job, Shot, ViewFacts, written
from edge.evidence.reading import EvidenceReader, GoneError
from edge.evidence.settings import EvidenceSettings
from edge.messages.writer import Identity
from edge.opencv import cv2
from edge.records import DefectClass, DefectMap, Frame, Transform
from edge.records.models import ModelIdentity
from tests.bright_bundle import part

WHO = Identity("e", "s", "a", "l", "c", "d", "phone", ModelIdentity("m", "1.0.0", None), "4dbf8f4e-epoch")
KINDS = (Kind.NG, Kind.NO_READ, Kind.OK, Kind.NG)
PICTURE = part(60, 80, (10, 10, 20, 4))
STEERS = "\x1b[31m=1+1"
SCRATCH = DefectClass(1, "scratch", "major", (200, 30, 40), 0.5, 4.0)


def keep(folder: EvidenceFolder, number: int, kind: Kind) -> str:
    """Keep result `number` of a kind as a station does, and return its name."""
    name = evidence_id(WHO.epoch, number, f"p{number}")
    frame = Frame("top", number, PICTURE, 0, datetime(2026, 1, 31, tzinfo=timezone.utc))
    found = DefectMap((PICTURE[..., 0] > 128).astype(np.uint8), np.zeros((60, 80), np.uint8))
    facts = ViewFacts({}, (SCRATCH,), 0.1)
    shot = Shot("top", "", frame, found, Transform.identity(), facts)
    if kind is Kind.NO_READ:
        shot = Shot("top", "no frame of the part was judged", facts=facts)
    verdict = "OK" if kind is Kind.OK else kind.name
    reason = None if kind is Kind.OK else f"top: {STEERS}"
    body = {"verdict": verdict, "reason": reason}
    told = ("phone", {"top": {"name": "m", "version": "1.0.0", "sha256": None}})
    job = Job(name, Chosen(kind, kind.value), verdict, reason, f"p{number}{STEERS}", *told, body, (shot,))
    folder.keep(job.row, *written(job, EvidenceSettings(), WHO, datetime.now(timezone.utc)))
    return name


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Keep four results, and return the settings that name their folder."""
    with EvidenceFolder(tmp_path / "kept", EvidenceSettings(min_free_gb=0)) as folder:
        for number, kind in enumerate(KINDS):
            keep(folder, number, kind)
    (tmp_path / "line.yaml").write_text("evidence: {folder: kept}\n")
    return tmp_path / "line.yaml"


def told(config: Path, *arguments: str, code: int = 0) -> str:
    """Run the command and return what it printed."""
    result = CliRunner().invoke(app, ["evidence", str(config), *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def listed(config: Path, *arguments: str) -> list[dict[str, Any]]:
    """Return what `list --json` prints."""
    rows: list[dict[str, Any]] = json.loads(told(config, "list", "--json", *arguments))
    return rows


def test_the_list_shows_what_is_sought(config: Path) -> None:
    """By verdict, time, part, recipe and judgement; the newest first; no name of a part steers a terminal."""
    names = [evidence_id(WHO.epoch, number, f"p{number}") for number in range(4)]
    assert [row["id"] for row in listed(config)] == names[::-1]
    assert [row["id"] for row in listed(config, "--verdict", "NG")] == [names[3], names[0]]
    assert [row["id"] for row in listed(config, "--verdict", "NG", "--verdict", "OK", "-n", "2")] == [
        names[3],
        names[2],
    ]
    assert listed(config, "--until", "1h") == []
    assert len(listed(config, "--since", "1h", "--recipe", "phone", "--unjudged")) == 4
    assert listed(config, "--recipe", "other") == listed(config, "--judged") == []
    assert listed(config, "--part", f"p2{STEERS}")[0]["kind"] == "ok"
    shown = told(config, "list", "-n", "3")
    assert "\x1b[31m" not in shown
    assert "1 more; --limit shows them" in shown


def test_an_export_is_whole_and_says_what_it_holds(config: Path, tmp_path: Path) -> None:
    """Each file in the zip has the manifest's hash, pictures are the kept ones, and the export is noted."""
    newest = evidence_id(WHO.epoch, 3, "p3")
    told(config, "judge", newest, "--as", "false_reject", "--class", "scratch", "-m", "dust", "--user", "ann")
    told(config, "export", "--verdict", "NG", "--out", str(tmp_path / "out.zip"), "--user", "bob")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        for entry in manifest["results"]:
            for name, digest in entry["files"].items():
                assert hashlib.sha256(archive.read(f"{entry['id']}/{name}")).hexdigest() == digest
        picture = cv2.imdecode(np.frombuffer(archive.read(f"{newest}/top.jpg"), np.uint8), cv2.IMREAD_COLOR)
        assert np.abs(picture.astype(int) - PICTURE).mean() < 2
        assert set(archive.namelist()) == {
            "manifest.json",
            *(f"{entry['id']}/{name}" for entry in manifest["results"] for name in entry["files"]),
        }
    first, second = manifest["results"]
    judgement = first["judgement"]
    assert (judgement["judgement"], judgement["user"], judgement["class"]) == ("false_reject", "ann", "scratch")
    assert second["judgement"] is None
    assert (first["recipe"], first["models"]["top"]["name"]) == ("phone", "m")
    row = listed(config, "--judged")[0]
    assert (row["id"], row["comment"]) == (newest, "dust")
    assert row["exported_at"] is not None
    with EvidenceReader(config.parent / "kept") as reader:
        assert [(line["kind"], line["user"]) for line in reader.journal()] == [
            ("judged", "ann"),
            ("exported", "bob"),
            ("exported", "bob"),
        ]


def test_what_was_altered_is_never_exported(config: Path, tmp_path: Path) -> None:
    """A picture that was replaced or deleted, and a lost record, are told; the rest is exported."""
    names = [evidence_id(WHO.epoch, number, f"p{number}") for number in range(4)]
    assert "4 results as kept" in told(config, "verify")
    places = [next((config.parent / "kept").glob(f"2*/{name}")) for name in names]
    (places[0] / "top.jpg").write_bytes(b"no picture")
    (places[2] / "top.jpg").unlink()
    (places[3] / "record.json").unlink()
    said = told(config, "export", "--out", str(tmp_path / "out.zip"))
    assert "was altered" in said
    assert "deleted" in said
    assert "1 result left out" in said
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert not [name for name in archive.namelist() if name.endswith("top.jpg")]
    with pytest.raises(JournalError, match="3 files"):
        told(config, "verify")


def test_no_name_leads_out_of_the_folder(config: Path) -> None:
    """Names that are paths, records that name other files, links and strange views are refused in words."""
    name = evidence_id(WHO.epoch, 0, "p0")
    (place,) = (config.parent / "kept").glob(f"2*/{name}")
    (config.parent / "secret.jpg").write_bytes((place / "top.jpg").read_bytes())
    with EvidenceReader(config.parent / "kept") as reader:
        assert reader.picture(name, "top").type == "image/jpeg"
        for wrong in ("../secret", "..", "", f"{name}/..", "\0", name.upper()):
            with pytest.raises(GoneError, match="There is no evidence"):
                reader.picture(wrong, "top")
        for view in ("side", "../../secret", ""):
            with pytest.raises(GoneError, match="no view"):
                reader.picture(name, view)
        record = json.loads((place / "record.json").read_text())
        for file in ("../../../secret.jpg", "/etc/passwd", "record.json", "a/b.jpg"):
            record["views"][0]["picture"]["file"] = file
            (place / "record.json").write_text(json.dumps(record))
            with pytest.raises(GoneError, match="no such file"):
                reader.picture(name, "top")
        record["views"][0]["picture"]["file"] = "top.jpg"
        (place / "record.json").write_text(json.dumps(record))
        (place / "top.jpg").unlink()
        (place / "top.jpg").symlink_to(config.parent / "secret.jpg")
        with pytest.raises(GoneError, match="replaced by a link"):
            reader.picture(name, "top")


def test_the_marked_picture_shows_the_defect_alone(config: Path) -> None:
    """The picture is tinted in a defect's colour where the map has the defect. Elsewhere it is the clean picture."""
    name = evidence_id(WHO.epoch, 0, "p0")
    with EvidenceReader(config.parent / "kept") as reader:
        clean = cv2.imdecode(np.frombuffer(reader.picture(name, "top").content, np.uint8), cv2.IMREAD_COLOR)
        marked = reader.marked(name, "top")
    found = PICTURE[..., 0] > 128
    outside = ~cv2.dilate(found.astype(np.uint8), np.ones((3, 3))).astype(bool)
    assert (marked[outside] == clean[outside]).all()
    assert (marked[11:13, 11:29, 2] > marked[11:13, 11:29, 1] + 40).all()  # red above green


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list", "--since", "soon"), "expected a time"),
        (("list", "--since", "999999d"), "expected a time"),
        (("judge",), "expected ids and --as"),
        (("list", "4dbf8f4e-00000000-00000000"), "expected ids and --as"),
        (("judge", "4dbf8f4e-00000000-00000000", "--as", "right", "-m", "x" * 501), "There is no evidence"),
    ],
)
def test_wrong_command_lines_are_told(config: Path, arguments: tuple[str, ...], says: str) -> None:
    """A command line that cannot be meant is refused with what was expected."""
    try:
        said = " ".join(told(config, *arguments, code=2).split())
    except LinewatchError as error:
        said = str(error)
    assert says in said


def test_settings_without_evidence(tmp_path: Path) -> None:
    """Settings that name no folder are told which key is missing."""
    (tmp_path / "line.yaml").write_text("{}\n")
    with pytest.raises(LinewatchError, match=r"evidence\.folder"):
        told(tmp_path / "line.yaml", "list")
