"""`linewatch-train import evidence`: what people said of kept pictures decides which labels they have."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from edge.errors import DatasetError
from edge.evidence.choosing import Chosen, Kind, evidence_id
from edge.evidence.exporting import export
from edge.evidence.folder import EvidenceFolder
from edge.evidence.index import Sought
from edge.evidence.judging import Judgement, Word
from edge.evidence.pictures import Job, Shot, ViewFacts, written
from edge.evidence.reading import EvidenceReader
from edge.evidence.settings import EvidenceSettings
from edge.messages.writer import Identity
from edge.records import DefectClass, DefectMap, Frame, Transform, UInt8
from edge.records.models import ModelIdentity
from tests.bright_bundle import part
from trainer.__main__ import app
from trainer.datasets.dataset import read_manifest
from trainer.datasets.masks import read_mask
from trainer.importing.evidence import read_evidence

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
SETTINGS = EvidenceSettings(min_free_gb=0, pictures="png")
WHO = Identity("e", "s", "a", "l", "c", "d", "phone", ModelIdentity("m", "1.0.0", None), "4dbf8f4e")
CLASSES = (
    DefectClass(1, "scratch", "major", (200, 30, 40), 0.5, 4.0),
    DefectClass(2, "stain", "minor", (30, 30, 240), 0.5, 4.0),
)
# Number of the part: verdict, views, what is said, and the class that is named.
SAID: dict[int, tuple[str, int, Word | None, str | None]] = {
    0: ("NG", 2, "right", None),
    1: ("NG", 1, "right", "crack"),
    2: ("NG", 1, "false_reject", "dust"),
    3: ("OK", 1, "missed", "stain"),
    4: ("OK", 1, "missed", None),
    5: ("OK", 2, "missed", "stain"),
    6: ("NG", 1, "unsure", None),
    7: ("NG", 1, None, None),
    8: ("NO_READ", 1, "right", None),
    9: ("OK", 1, "right", None),
}


def shot(view: str, number: int, *, bad: bool) -> tuple[Shot, UInt8]:
    """Return a view of a part, with a scratch where it is bad, and its map."""
    pixels = part(60, 80, (10, 10 + number, 20, 4)) if bad else part(60, 80)
    pixels[0, 0] = number  # or the same picture would come twice
    found = np.where(pixels[..., 0] > 128, np.uint8(1), np.uint8(0))
    frame = Frame(view, number, pixels, 0, NOW)
    kept = DefectMap(found, np.zeros_like(found))
    return Shot(view, "", frame, kept, Transform.identity(), ViewFacts({}, CLASSES, 0.1)), found


def keep_and_export(home: Path, name_of_zip: str) -> None:
    """Keep ten parts in `home`, have them judged, and export them."""
    with EvidenceFolder(home / "kept", SETTINGS) as folder:
        for number, (verdict, views, _, _) in SAID.items():
            shots = tuple(
                shot(view, number, bad=verdict == "NG" and view == "top")[0] for view in ("top", "side")[:views]
            )
            name = evidence_id(WHO.epoch, number, f"p{number}")
            told = (f"p{number}", "phone", {}, {"verdict": verdict})
            job = Job(name, Chosen(Kind(verdict.lower()), ""), verdict, None, *told, shots)
            folder.keep(job.row, *written(job, SETTINGS, WHO, NOW))
    with EvidenceReader(home / "kept") as reader:
        for number, (_, _, word, class_name) in SAID.items():
            if word is not None:
                name = evidence_id(WHO.epoch, number, f"p{number}")
                reader.judge(Judgement(name, word, NOW, "ann", class_name))
        export(reader, reader.find(Sought(), 100), home / name_of_zip, now=NOW, user="ann")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what was kept, its zip, and that unpacked."""
    home = tmp_path_factory.mktemp("evidence")
    keep_and_export(home, "out.zip")
    with zipfile.ZipFile(home / "out.zip") as archive:
        archive.extractall(home / "unpacked")
    return home


@pytest.mark.parametrize("source", ["out.zip", "unpacked", "kept"])
def test_judgements_become_labels(source: str, kept: Path, tmp_path: Path) -> None:
    """From zip, its folder or the station's: right keeps masks, false is clean, missed is a class without a mask."""
    done = CliRunner().invoke(app, ["import", "evidence", str(kept / source), "--out", str(tmp_path / "data")])
    assert done.exit_code == 0, done.output
    entries = {Path(entry.image).name: entry for entry in read_manifest(tmp_path / "data", need_masks=False)}

    def of(number: int, view: str = "top") -> str:
        return f"{evidence_id(WHO.epoch, number, f'p{number}')}-{view}.png"

    assert set(entries) == {of(0), of(0, "side"), of(1), of(2), of(3), of(9)}
    assert entries[of(0)].labels == {"scratch"}
    assert entries[of(1)].labels == {"crack"}
    assert entries[of(2)].labels == entries[of(9)].labels == entries[of(0, "side")].labels == frozenset()
    assert (entries[of(3)].labels, entries[of(3)].masks) == ({"stain"}, ())
    ((name, path),) = entries[of(0)].masks
    mask = read_mask(path, entries[of(0)].path, (60, 80))
    assert name == "scratch"
    assert ((mask > 0) == (shot("top", 0, bad=True)[1] > 0)).all()
    assert entries[of(0)].group == entries[of(0, "side")].group != entries[of(1)].group
    said = " ".join(done.output.split())
    for count, why in ((1, "who judged it was unsure"), (1, "nobody said which class"), (1, "in which view")):
        assert f"{count} result: {'missed, and ' if 'said' in why or 'which view' in why else ''}" in said
        assert why in said
    if source != "kept":
        assert "1 result: nobody judged it" in said


def test_nothing_judged_is_told(kept: Path, tmp_path: Path) -> None:
    """An export in which nothing is judged is no dataset, and says what it has."""
    with EvidenceReader(kept / "kept") as reader:
        export(reader, reader.find(Sought(judged=False), 9), tmp_path / "none.zip", now=NOW, user="ann")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(DatasetError, match="1 result: nobody judged it"):
        read_evidence(tmp_path / "none.zip", tmp_path / "scratch")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """Write a zip again, each file changed, or left out with None."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as out:
        for name in archive.namelist():
            content = change(name, archive.read(name))
            if content is not None:
                out.writestr(name, content)
    return target


def climbing(name: str, content: bytes) -> bytes:
    """Have the manifest name a file outside."""
    return content.replace(b"top.png", b"../../top.png") if name == "manifest.json" else content


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (climbing, "names what no result can have"),
        (lambda name, content: None if name.endswith("top.png") else content, "expected what its manifest names"),
        (lambda name, content: None if name == "manifest.json" else content, "expected what its manifest names"),
        (lambda name, content: b"[" * 100_000 if name == "manifest.json" else content, "expected the manifest"),
        (lambda name, content: b"{}" if name == "manifest.json" else content, "expected the manifest"),
        (lambda name, content: content.replace(b"unsure", b"maybe") if name == "manifest.json" else content, "maybe"),
    ],
)
def test_zips_that_are_none_are_refused(
    change: Callable[[str, bytes], bytes | None], says: str, kept: Path, tmp_path: Path
) -> None:
    """Paths that climb, missing files, and manifests that are none are refused; nothing is written outside."""
    (tmp_path / "deep" / "scratch").mkdir(parents=True)
    zipped = rewritten(kept / "out.zip", tmp_path / "bad.zip", change)
    with pytest.raises(DatasetError, match=says):
        read_evidence(zipped, tmp_path / "deep" / "scratch")
    assert not list(tmp_path.rglob("top.png")) or change is not climbing


def test_altered_pictures_are_broken_ones(kept: Path, tmp_path: Path) -> None:
    """A picture that is not the one of the manifest is named, and no dataset is made."""
    zipped = rewritten(
        kept / "out.zip", tmp_path / "bad.zip", lambda name, content: b"x" if name.endswith("top.png") else content
    )
    done = CliRunner().invoke(app, ["import", "evidence", str(zipped), "--out", str(tmp_path / "data")])
    assert isinstance(done.exception, DatasetError)
    assert "received another" in str(done.exception)
    assert not (tmp_path / "data").exists()


def test_what_is_no_evidence(tmp_path: Path) -> None:
    """A text, an empty folder and a missing path are refused with what was expected."""
    (tmp_path / "a.zip").write_text(json.dumps({}))
    (tmp_path / "empty").mkdir()
    for wrong in ("a.zip", "empty", "missing"):
        with pytest.raises(DatasetError, match="expected a zip"):
            read_evidence(tmp_path / wrong, tmp_path / "empty")
