"""The kinds of archives: recordings, evidence exports, lists, storages; and the sources that are refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from edge.cli.commands import app
from edge.errors import SourceError
from edge.evidence.exporting import export
from edge.evidence.index import Sought
from edge.evidence.reading import EvidenceReader
from edge.opencv import cv2
from edge.pictures import LeftOut
from edge.pictures.folders import pictures_below
from edge.recording.playing import RecordedCamera, load_recording
from edge.records import Frame
from edge.reinspecting.listed import Listed
from edge.reinspecting.nodes import require_reachable
from edge.reinspecting.reading import Reader
from edge.reinspecting.shards import rows_of_file
from edge.reinspecting.storage import UnreachableError
from tests.bright_bundle import part
from tests.edge.recording.test_recording import NOW, ListedCamera, recorded
from tests.edge.reinspecting.archive import but_seconds, reinspect, rows, write_archive, write_bundles

STATION = """
cameras: {{top: {{source: simulated}}, side: {{source: simulated}}}}
recipes:
  phone:
    views: {{top: {{bundle: {0}/bright}}, side: {{bundle: {0}/blind}}}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an archive, two bundles, and settings of two views."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / "archive", 4, unreadable=False)
    write_bundles(folder)
    (folder / "station.yaml").write_text(STATION.format(folder))
    return folder


def frame(camera: str, number: int) -> Frame:
    """Return one frame of a part; each second one is scratched."""
    pixels = part(64, 64, *([(10, 20, 20, 6)] if number % 2 else []))
    return Frame(camera, number, pixels, 10**9 * (number + 1), NOW, "")


def test_a_recording_is_judged_frame_by_frame_and_view_by_view(place: Path, tmp_path: Path) -> None:
    """Each frame is a picture of its camera's view; its hash is that of its pixels, which are without loss."""
    names = ("top", "side")
    recorded(tmp_path / "kept", [ListedCamera(name, [frame(name, n) for n in range(3)]) for name in names])
    code, told = reinspect(tmp_path / "kept", "--config", place / "station.yaml", "--out", tmp_path / "out")
    assert code == 0, told
    found = rows(tmp_path / "out")
    assert {name: row["verdict"] for name, row in found.items()} == {
        **{f"top/{n:08d}": "NG" if n == 1 else "OK" for n in range(3)},
        **{f"side/{n:08d}": "OK" for n in range(3)},  # its bundle does not see what is there
    }
    assert {row["view"] for row in found.values()} == {"top", "side"}
    assert {row["model"].split()[0] for row in found.values()} == {"bright"}
    assert len({row["model"] for row in found.values()}) == 2
    assert {row["recipe"] for row in found.values()} == {"phone"}
    pixels = frame("top", 1).pixels
    assert found["top/00000001"]["sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert RecordedCamera("top", load_recording(tmp_path / "kept"), "top").total == 3


def test_a_folder_of_recordings_and_a_video_are_sources(place: Path, tmp_path: Path) -> None:
    """Recordings in one folder have their names before their frames; a clip alone is a video of as many pictures."""
    (tmp_path / "all").mkdir()
    for day in ("monday", "tuesday"):
        recorded(tmp_path / "all" / day, [ListedCamera("eye", [frame("eye", n) for n in range(2)])])
    words = ("--bundle", place / "bright", "--out")
    assert reinspect(tmp_path / "all", *words, tmp_path / "o1")[0] == 0
    assert sorted(rows(tmp_path / "o1"))[::2] == ["monday/eye/00000000", "tuesday/eye/00000000"]
    clip = tmp_path / "all" / "monday" / "eye" / "0001.mkv"
    assert reinspect(clip, *words, tmp_path / "o2")[0] == 0
    verdicts = [rows(tmp_path / "o2")[f"0001.mkv/{n:08d}"]["verdict"] for n in range(2)]
    assert verdicts == ["OK", "NG"]


def test_an_evidence_export_is_judged_with_its_parts_and_views(place: Path, tmp_path: Path) -> None:
    """Each kept picture has a row with the part and the view that it was kept of. Unpacked, it is the same."""
    settings = f"camera: {{name: eye}}\nbundle: {place}/bright\nstore: {{path: o.db}}\nevidence: {{pictures: png}}\n"
    (tmp_path / "line.yaml").write_text(settings)
    words = ["replay", str(place / "archive"), "--config", str(tmp_path / "line.yaml")]
    words += ["--events", str(tmp_path / "events.jsonl"), "--evidence", str(tmp_path / "kept")]
    assert CliRunner().invoke(app, words, standalone_mode=False).exception is None
    with EvidenceReader(tmp_path / "kept") as reader:
        kept = reader.find(Sought(), 100)
        export(reader, kept, tmp_path / "export.zip", now=NOW, user="me")
    code, told = reinspect(tmp_path / "export.zip", "--bundle", place / "bright", "--out", tmp_path / "out")
    assert code == 0, told
    found = rows(tmp_path / "out")
    assert {picture.split("/")[0]: row["verdict"] for picture, row in found.items()} == {
        each["name"]: each["verdict"] for each in kept
    }
    assert {row["view"] for row in found.values()} == {"eye"}
    with zipfile.ZipFile(tmp_path / "export.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    assert reinspect(tmp_path / "unpacked", "--bundle", place / "bright", "--out", tmp_path / "again")[0] == 0
    assert but_seconds(rows(tmp_path / "again").values()) == but_seconds(found.values())


def test_lists_name_pictures_parts_and_views(place: Path, tmp_path: Path) -> None:
    """CSV and Parquet alike; a relative path is below the list; a picture that is gone is NO_READ."""
    shutil.copytree(place / "archive", tmp_path / "archive")
    table = {
        "path": ["archive/0000.png", "archive/below/0001.png", "archive/gone.png"],
        "part_id": ["a", "a", "b"],
        "view": ["top", "side", "top"],
    }
    lines = [";".join(row) for row in zip(*table.values(), strict=True)]
    (tmp_path / "list.csv").write_text("\n".join([";".join(table), *lines]))
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    for name in ("list.csv", "list.parquet"):
        out = tmp_path / f"of-{name}"
        code, told = reinspect(tmp_path / name, "--config", place / "station.yaml", "--out", out)
        assert code == 5, told
        assert [
            (row["picture"], row["part_id"], row["view"], row["verdict"]) for row in but_seconds(rows(out).values())
        ] == [
            ("archive/0000.png", "a", "top", "OK"),
            ("archive/below/0001.png", "a", "side", "OK"),
            ("archive/gone.png", "b", "top", "NO_READ"),
        ]
        parts = {row["part_id"]: row for row in rows_of_file(out / "parts.parquet")}
        assert {part: row["verdict"] for part, row in parts.items()} == {"a": "OK", "b": "NO_READ"}
        assert parts["b"]["missing_views"] == ["top", "side"]
        assert "2 parts: 1 OK, 1 NO_READ" in told


def test_folders_named_like_views_tell_view_and_part(place: Path, tmp_path: Path) -> None:
    """Pictures of one part have the same name in the folder of each view."""
    for view in ("top", "side"):
        (tmp_path / "archive" / view).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "archive" / view / "part-7.png"), part(64, 64, (10, 20, 20, 6)))
    words = ("--config", place / "station.yaml", "--out", tmp_path / "out")
    assert reinspect(tmp_path / "archive", *words)[0] == 0
    told = [(row["view"], row["part_id"], row["verdict"]) for row in rows(tmp_path / "out").values()]
    assert sorted(told) == [("side", "part-7", "OK"), ("top", "part-7", "NG")]
    (one,) = rows_of_file(tmp_path / "out" / "parts.parquet")
    assert one.pop("reason") == "top: scratch: 1 defect, at most 0 allowed"
    assert one == {"part_id": "part-7", "verdict": "NG", "recipe": "phone", "missing_views": [], "pictures": 2}
    cv2.imwrite(str(tmp_path / "archive" / "lone.png"), part(64, 64))
    code, said = reinspect(tmp_path / "archive", *words[:2], "--out", tmp_path / "out2")
    assert code == 3
    assert "lone.png: expected one of the views top, side of the recipe phone" in said


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("absent", None, "Nothing at"),
        ("a.txt", b"what", "received another kind of file"),
        ("a.csv", b"path\na.png\n./a.png\n", "The picture a.png is named twice"),
        ("a.csv", b"path\nb/../a.png\n.//a.png\n", "The picture a.png is named twice"),
        ("a.csv", b"path\na.png\n{here}/a.png\n", "The picture a.png is named twice"),
        ("a.csv", b"path\na.png\n/{here}//a.png\n", "The picture a.png is named twice"),
        ("a.csv", b"path\na.png\nfile://{here}/a.png\n", "The picture a.png is named twice"),
        ("a.csv", b"path\nhere/a.png\na.png\n", "The picture a.png is named twice, also as here/a.png"),
        ("a.csv", b"file\na.png\n", "expected the columns path"),
        ("a.csv", b"path,view\na.png\n", "line 2: expected 2 values"),
        ("a.csv", b"path\n", "No pictures in"),
        ("a.parquet", b"PAR1", "is no Parquet that can be read"),
        ("a.zip", b"PK", "is no evidence export that can be read"),
        ("a.mp4", b"video", "is no video that can be read"),
    ],
)
def test_what_is_no_source_is_refused(name: str, content: bytes | None, told: str, place: Path, tmp_path: Path) -> None:
    """Each says what was expected; nothing is judged."""
    (tmp_path / "here").symlink_to(".")
    if content is not None:
        (tmp_path / name).write_bytes(content.replace(b"{here}", bytes(tmp_path)))
    code, said = reinspect(tmp_path / name, "--bundle", place / "bright", "--out", tmp_path / "out")
    assert code == 5, said
    assert told in said
    assert not list((tmp_path / "out").glob("results/*"))


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"file": ["a.png"]}, "expected the column path, received file"),
        ({"path": [7]}, "row 1: expected a path, received 7"),
        ({"path": ["a.png", None]}, "row 2: expected a path, received None"),
        ({"path": [["a.png"]]}, "row 1: expected a path, received ['a.png']"),
        ({}, "expected the column path, received none"),
        ({"Path": ["a.png"], "path": ["b.png"]}, "expected each column once, received twice: path"),
    ],
)
def test_a_list_in_parquet_names_paths(table: dict[str, list[object]], told: str, place: Path, tmp_path: Path) -> None:
    """Another column or another type is refused with its row."""
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    code, said = reinspect(tmp_path / "list.parquet", "--bundle", place / "bright", "--out", tmp_path / "out")
    assert code == 5, said
    assert told in said


def test_a_list_is_the_same_wherever_it_is_reached_from(place: Path, tmp_path: Path) -> None:
    """A linked folder, or a path from the root, gives no picture a second name and so no second row."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to("kept")
    shutil.copy(place / "archive" / "0000.png", tmp_path / "kept" / "a.png")
    pq.write_table(pa.table({" Path": [f"{tmp_path}/kept/a.png"]}), tmp_path / "kept" / "list.parquet")
    for folder in ("kept", "link"):
        source = tmp_path / folder / "list.parquet"
        assert reinspect(source, "--bundle", place / "bright", "--out", tmp_path / "out")[0] == 0
        assert list(rows(tmp_path / "out")) == ["a.png"]


def test_parts_of_a_list_may_be_of_any_type(place: Path, tmp_path: Path) -> None:
    """Numbers and lists are parts as their text is."""
    named = [str(place / "archive" / "0000.png"), str(place / "archive" / "below" / "0001.png")]
    for parts in ([7, 8], [["a"], ["b", "c"]]):
        pq.write_table(pa.table({"path": named, "part_id": parts}), tmp_path / "list.parquet")
        out = tmp_path / f"out-{parts[0]}"
        assert reinspect(tmp_path / "list.parquet", "--bundle", place / "bright", "--out", out)[0] == 0
        assert {row["part_id"] for row in rows(out).values()} == {str(part) for part in parts}


def test_links_are_pictures_and_names_may_be_odd(place: Path, tmp_path: Path) -> None:
    """Two names of one file are two pictures, each with its row; behind a link `..` is the kernel's."""
    archive, picture = tmp_path / "archive", place / "archive" / "below" / "0001.png"
    (archive / "real" / "deep").mkdir(parents=True)
    for name in (b"a\nb.png", b"\xff.png", "ü 划.png".encode(), b"-x.png", b"'\"$(id).png", b"hard.png"):
        os.link(picture, archive / os.fsdecode(name))
    (archive / "soft.png").symlink_to("hard.png")
    (archive / "link").symlink_to("real/deep")
    (archive / "nothing.png").symlink_to("gone.png")
    os.link(picture, archive / "real" / "p.png")
    code, said = reinspect(archive, "--bundle", place / "bright", "--out", tmp_path / "out")
    assert code == 0, said
    assert "a link to nothing: nothing.png" in said
    assert {row["verdict"] for row in rows(tmp_path / "out").values()} == {"NG"}
    assert len(rows(tmp_path / "out")) == 8
    (archive / "list.csv").write_text("path\nlink/../p.png\n")
    assert reinspect(archive / "list.csv", "--bundle", place / "bright", "--out", tmp_path / "of-list")[0] == 0


def test_a_linked_folder_has_one_name_whatever_the_order_of_the_disk(tmp_path: Path) -> None:
    """Its pictures are those of the folder itself, so that no later start finds them by another name."""
    for number in range(20):
        (tmp_path / f"real-{number}").mkdir()
        (tmp_path / f"real-{number}" / "a.png").touch()
        (tmp_path / f"link-{number}").symlink_to(f"real-{number}")
    left_out: list[LeftOut] = []
    found = {path.parent.name for path in pictures_below(tmp_path, left_out)}
    assert found == {f"real-{number}" for number in range(20)}
    assert len(left_out) == 20


def test_a_link_to_itself_and_names_that_are_no_text_stop_nothing(place: Path, tmp_path: Path) -> None:
    """The link is told; a second start finds its rows in a folder whose name is no UTF-8."""
    archive, out = (tmp_path / os.fsdecode(name) for name in (b"in\xff", b"out\xff"))
    shutil.copytree(place / "archive", archive)
    (archive / "loop").symlink_to("loop")
    (archive / "it\x1b's.png").write_bytes(b"torn")
    for told in ("5 judged now, 0 before", "0 judged now, 5 before"):
        code, said = reinspect(archive, "--bundle", place / "bright", "--out", out)
        assert code == 5, said
        assert told in said
        assert "it cannot be read (Too many levels of symbolic links): loop" in said
    (archive / "it\x1b's.png").unlink()
    (archive / "list.csv").write_text("path\nit\x1b's.png\n")
    assert reinspect(archive / "list.csv", "--bundle", place / "bright", "--out", tmp_path / "of-list")[0] == 5
    (row,) = rows(tmp_path / "of-list").values()
    assert row["reason"] == r"No picture at it\x1b's.png: there is no such file"


def test_what_lies_beside_recordings_is_told(place: Path, tmp_path: Path) -> None:
    """It is left out; a recording's name may be no text, and results may lie beside."""
    (tmp_path / "kept").mkdir()
    recorded(tmp_path / "kept" / os.fsdecode(b"day\xff"), [ListedCamera("eye", [frame("eye", 0)])])
    shutil.copy(place / "archive" / "0000.png", tmp_path / "kept" / "a.png")
    (tmp_path / "kept" / "loop").symlink_to("loop")
    for _ in range(2):
        code, said = reinspect(tmp_path / "kept", "--bundle", place / "bright", "--out", tmp_path / "kept" / "out")
        assert code == 0, said
        assert "no recording, and beside some: a.png, loop\n" in said
        assert list(rows(tmp_path / "kept" / "out")) == [r"day\udcff/eye/00000000"]


@pytest.mark.parametrize("suffix", ["csv", "parquet", "zip", "mp4", "png"])
def test_a_pipe_is_not_waited_for(suffix: str, place: Path, tmp_path: Path) -> None:
    """Nobody writes into it; it is refused at once."""
    os.mkfifo(tmp_path / f"a.{suffix}")
    code, said = reinspect(tmp_path / f"a.{suffix}", "--bundle", place / "bright", "--out", tmp_path / "out")
    assert code == 5
    assert "is no file" in said


def test_nothing_is_no_source(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty SOURCE is not taken for the folder in which the command is given."""
    monkeypatch.chdir(place / "archive")
    code, said = reinspect("", "--bundle", place / "bright", "--out", tmp_path / "out")
    assert code == 5
    assert "received ''" in said
    assert not (tmp_path / "out").exists()


def test_a_disk_that_went_away_gives_no_row(tmp_path: Path) -> None:
    """A folder that holds nothing any more ends the command, while one picture that is gone is NO_READ."""
    archive = write_archive(tmp_path / "archive", 2)
    gone = Listed("gone.png", "file", bytes(archive / "gone.png"))
    reader = Reader(str(archive))
    with pytest.raises(SourceError, match="No picture at gone"):
        reader.content(gone)
    assert reader.trouble is None
    require_reachable(str(archive), gone)
    shutil.rmtree(archive)
    for _ in range(2):
        with pytest.raises(UnreachableError, match="is away: gone"):
            reader.content(gone)
        assert reader.trouble is not None
        with pytest.raises(UnreachableError, match="is away: gone"):
            require_reachable(str(archive), gone)
        archive.mkdir(exist_ok=True)


def test_an_empty_folder_is_refused(place: Path, tmp_path: Path) -> None:
    """It is no archive that is all well."""
    (tmp_path / "empty").mkdir()
    code, said = reinspect(tmp_path / "empty", "--bundle", place / "bright", "--out", tmp_path / "out")
    assert (code, said.split(" in ")[0]) == (5, "No pictures")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Serve S3 on loopback; yield what its addresses end in."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-written-down")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    yield f"endpoint_override={host}:{port}&scheme=http&region=eu-central-1"
    server.stop()


def test_a_bucket_is_judged_as_the_folder_that_was_copied_there(place: Path, s3: str, tmp_path: Path) -> None:
    """The same rows, but for their times; the address is written down without its query."""
    options = dict(pair.split("=") for pair in s3.split("&"))
    bucket = pyarrow.fs.S3FileSystem(**options, allow_bucket_creation=True)
    bucket.create_dir("line-7")
    pyarrow.fs.copy_files(str(place / "archive"), "line-7/2026", destination_filesystem=bucket)
    words = ("--bundle", place / "bright", "--out")
    code, told = reinspect(f"s3://line-7/2026?{s3}", *words, tmp_path / "o1")
    assert code == 0, told
    reinspect(place / "archive", *words, tmp_path / "o2")
    assert but_seconds(rows(tmp_path / "o1").values()) == but_seconds(rows(tmp_path / "o2").values())
    assert "endpoint_override" not in (tmp_path / "o1" / "run.json").read_text()
    assert reinspect(f"file://{place}/archive", *words, tmp_path / "o3")[0] == 0
    assert but_seconds(rows(tmp_path / "o3").values()) == but_seconds(rows(tmp_path / "o2").values())
    code, told = reinspect(f"s3://line-7/nothing?{s3}", *words, tmp_path / "o4")
    assert (code, told.split(":")[0]) == (5, "Nothing at s3")


def test_a_key_that_cannot_be_read_stops_no_other(place: Path, s3: str, tmp_path: Path) -> None:
    """A picture in Glacier is NO_READ with its reason. A key with two slashes in a row is told and left out."""
    import boto3

    host = s3.partition("=")[2].partition("&")[0]
    client = boto3.client("s3", endpoint_url=f"http://{host}", region_name="eu-central-1")
    client.create_bucket(Bucket="line-9", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    picture = (place / "archive" / "0000.png").read_bytes()
    for key, kind in (("a.png", "STANDARD"), ("cold.png", "GLACIER"), ("sub//b.png", "STANDARD")):
        client.put_object(Bucket="line-9", Key=f"p/{key}", Body=picture, StorageClass=kind)
    client.put_object(Bucket="line-9", Key="p/sub/c.png", Body=picture)
    words = (f"s3://line-9/p?{s3}", "--bundle", place / "bright", "--out", tmp_path / "out")
    code, told = reinspect(*words)
    assert code == 5, told
    assert "two slashes in a row, which nobody can read here: line-9/p/sub//\n" in told
    found = rows(tmp_path / "out")
    assert {name: row["verdict"] for name, row in found.items()} == {
        "a.png": "OK",
        "cold.png": "NO_READ",
        "sub/c.png": "OK",
    }
    assert "storage class" in found["cold.png"]["reason"]


def authorize(s3: str, after: str) -> None:
    """Have the S3 server look at credentials after so many requests."""
    host = s3.partition("=")[2].partition("&")[0]
    asked = urllib.request.Request(
        f"http://{host}/moto-api/reset-auth", data=after.encode(), headers={"Content-Type": "text/plain"}
    )
    with urllib.request.urlopen(asked, timeout=60):  # noqa: S310 - ours
        pass


def test_a_bucket_without_credentials_says_so(
    place: Path, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 5 and what to set; a picture that was refused meanwhile has no row, and one with credentials."""
    options = dict(pair.split("=") for pair in s3.split("&"))
    bucket = pyarrow.fs.S3FileSystem(**options, allow_bucket_creation=True)
    bucket.create_dir("line-8")
    pyarrow.fs.copy_files(str(place / "archive"), "line-8", destination_filesystem=bucket)
    words = (f"s3://line-8?{s3}", "--bundle", place / "bright", "--out", tmp_path / "out")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for wrong in (False, True):
        with monkeypatch.context() as without:
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
                if wrong:
                    without.setenv(name, "of-somebody-else")
                else:
                    without.delenv(name)
            for after in ("0", "5"):  # at once; and while pictures are read
                authorize(s3, after)
                code, told = reinspect(*words)
                assert code == 5, told
                assert "s3://line-8?*** cannot be read without credentials" in told
                assert "AWS_ACCESS_KEY_ID" in told
                assert not list((tmp_path / "out" / "results").iterdir())
    authorize(s3, "inf")
    assert reinspect(*words)[0] == 0
