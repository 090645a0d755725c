"""`evaluate` on bundles whose answers are known beforehand, with masks, with labels, and on what cannot be judged."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from edge.bundle import ClassEntry, Manifest, TileEntry, write_manifest
from edge.errors import BundleError, DatasetError, StoreError
from edge.opencv import cv2
from edge.records import UInt8
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT
from tests.trainer.levels_bundle import TILE, note_split, write_levels_bundle
from tests.trainer.painted import write_painted
from trainer.__main__ import app
from trainer.evaluation.evaluating import Evaluation, Judged, Wanted, evaluate, tables
from trainer.evaluation.ranking import UNRANKED

LEVELS = {"clean": 40, "stain": 130, "scratch": 220}


def judged(bundle: Path, data: Path, wanted: Wanted | None = None) -> Evaluation:
    """Evaluate, printing to nobody."""
    return evaluate(bundle, data, Console(file=io.StringIO()), wanted=wanted)


def printed(evaluation: Evaluation) -> str:
    """Return the tables as a terminal shows them."""
    console = Console(file=io.StringIO(), width=100)
    for table in tables(evaluation.report):
        console.print(table)
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # a StringIO, made one line above


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 24 pictures: 8 scratched, 8 stained, 8 clean, in 12 groups."""
    return write_painted(tmp_path_factory.mktemp("painted") / "data")


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the segmenter that tells scratches and stains by their brightness."""
    return write_levels_bundle(tmp_path_factory.mktemp("levels") / "bundle").path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the classifier that tells tiles by their mean brightness."""
    return write_levels_bundle(tmp_path_factory.mktemp("levels") / "classifier", classifier=True).path


def write_labelled(folder: Path, rows: list[tuple[str, UInt8]]) -> Path:
    """Write a dataset with labels and no masks: (label, grey pixels) each."""
    folder.mkdir(parents=True)
    lines = []
    for place, (label, pixels) in enumerate(rows):
        cv2.imwrite(str(folder / f"{place}.png"), pixels)
        lines.append((f"{place}.png", "", label, f"piece{place}"))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask", "class", "group"), *lines])
    return folder


def flat(*levels: str) -> UInt8:
    """Paint tiles of one level each in a row."""
    return np.hstack([np.full((TILE, TILE), LEVELS[level], np.uint8) for level in levels])


def test_what_is_all_right_is_scored_as_all_right(levels: Path, painted: Path) -> None:
    """A model that answers every pixel rightly scores 1 everywhere, and the empty baseline stands beside it."""
    seen: list[Judged] = []
    evaluation = evaluate(
        levels, painted, Console(file=io.StringIO()), wanted=Wanted(tolerance_px=2), watch=seen.append
    )
    report = evaluation.report
    assert (report["pictures"], report["model"]) == (24, "model.keras")
    assert report["miou"] == report["pixel_accuracy"] == 1
    for part in ("by_pixel", "by_defect", "by_picture", "tolerant"):
        assert set(report[part]["f1"].values()) == {1.0}
    for part in ("by_pixel", "by_picture"):
        for name in ("scratch", "stain"):
            assert report["ranking"][part][name]["average_precision"] == pytest.approx(1)
    assert report["missed_pictures"]["all"] == report["false_pictures"]["all"] == 0
    # 16 pictures are defective, two of each piece: 8 pieces, so at most 1 - 0.025^(1/8)
    assert report["intervals"]["missed_pictures"]["all"] == [0, pytest.approx(0.3694, abs=1e-4)]
    assert report["confusion"]["pictures"] == [[8, 0, 0], [0, 8, 0], [0, 0, 8]]
    assert report["accuracy"] is None
    assert report["empty_baseline"]["by_pixel"]["recall"]["all"] == 0
    assert report["empty_baseline"]["missed_region"]["all"] == 1
    assert [one.picture.entry.image for one in seen] == [row["image"] for row in evaluation.pictures]
    assert all((one.answer == one.picture.truth).all() for one in seen)
    words = printed(evaluation)
    assert "0.000 to 0.369" in words
    assert "pixels within 2 px" in words


def test_without_the_second_pass_the_figures_are_the_same(levels: Path, painted: Path) -> None:
    """The ranking is left out, and nothing else changes."""
    whole, short = judged(levels, painted), judged(levels, painted, Wanted(ranking=False))
    assert short.report["ranking"] is None
    assert short.curves == {}
    assert {**whole.report, "ranking": None, **UNRANKED} == short.report


def test_scores_of_an_onnx_model_rank_as_well(painted: Path, tmp_path: Path) -> None:
    """A converted bundle alone: scratches of 220 / 255 rank above stains of 130 / 255, which it takes for scratches.

    Its class list has no stain: such pictures count as clean, which is said, and all 8 of them are falsely flagged.
    """
    bundle = write_bright_bundle(tmp_path / "bright").path
    heard = io.StringIO()
    report = evaluate(bundle, painted, Console(file=heard, width=200)).report
    assert "no class stain; such defects count as clean" in heard.getvalue()
    assert report["ranking"]["source"] == "model.onnx, the leading class alone"
    assert report["ranking"]["by_picture"]["scratch"]["average_precision"] == 1
    assert report["ranking"]["by_picture"]["scratch"]["chance"] == pytest.approx(8 / 24)
    # every threshold above 130 parts the pixels without an error
    assert report["ranking"]["by_pixel"]["scratch"]["best_f1"] == 1
    assert report["false_pictures"]["all"] == 8 / 16
    assert report["missed_pictures"]["all"] == 0
    assert report["by_picture"]["precision"]["scratch"] == 8 / 16


def test_pictures_that_were_learned_from_are_left_out(painted: Path, tmp_path: Path) -> None:
    """By their content; and where all of them were, that is an error rather than a figure."""
    bundle = write_levels_bundle(tmp_path / "bundle").path
    names = [f"images/{k}.png" for k in range(24)]
    note_split(bundle, painted, names[:18])
    report = judged(bundle, painted, Wanted(ranking=False)).report
    assert (report["pictures"], report["excluded_pictures"]) == (6, 18)
    assert judged(bundle, painted, Wanted(ranking=False, include_training=True)).report["pictures"] == 24
    note_split(bundle, painted, names)
    with pytest.raises(DatasetError, match="was learned from"):
        judged(bundle, painted)


def test_labels_without_masks_give_accuracy_and_a_confusion(classifier: Path, tmp_path: Path) -> None:
    """Four pictures, of which three are answered as they are labelled; figures that need pixels are None."""
    rows = [
        ("scratch", flat("scratch")),
        ("stain", flat("stain", "stain", "clean")),  # the majority of its cells
        ("stain", flat("scratch")),
        ("ok", flat("clean", "stain", "clean")),
    ]
    data = write_labelled(tmp_path / "labels", rows)
    evaluation = judged(classifier, data)
    report = evaluation.report
    assert report["labels_only"] is True
    assert report["accuracy"] == 3 / 4
    assert report["confusion"]["pictures"] == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert (report["miou"], report["pixel_accuracy"], report["confusion"]["pixels"]) == (None, None, None)
    assert report["empty_baseline"]["accuracy"] == 1 / 4
    assert report["majority_baseline"] == {"class": "stain", "accuracy": 2 / 4}
    assert report["missed_pictures"] == {"all": 1 / 3, "scratch": 0, "stain": 1 / 2}
    assert report["intervals"]["accuracy"][1] <= 1
    assert report["ranking"]["by_pixel"] == {}
    # by the highest cell: scratch 1.0, and a picture labelled stain as well; stain 1.0 of a true one and of a clean one
    assert report["ranking"]["by_picture"]["scratch"]["positives"] == 1
    assert [row["answered"] for row in evaluation.pictures] == [["scratch"], ["stain"], ["scratch"], []]
    assert "always saying stain" in printed(evaluation)


def test_classes_with_long_names_are_told_apart_in_a_narrow_terminal(classifier: Path, tmp_path: Path) -> None:
    """The confusion of pictures names each class in full, if need be on several lines."""
    report = judged(classifier, write_labelled(tmp_path / "labels", [("scratch", flat("scratch"))])).report
    names = ["clean", *[f"rolled-in-scale-{k}" for k in range(6)]]
    report["confusion"] |= {"picture_classes": names, "pictures": np.eye(7, dtype=int).tolist()}
    console = Console(file=io.StringIO(), width=80)
    console.print(tables(report)[-1])
    printed = str(console.file.getvalue())  # type: ignore[attr-defined]  # a StringIO, made two lines above
    assert "…" not in printed
    assert all(name in printed for name in names[1:])  # each row's
    columns = [line.split("┃") for line in printed.splitlines() if "┃" in line]
    assert ["".join(cell.strip() for cell in column) for column in zip(*columns, strict=True)][2:-1] == names


def test_a_label_that_the_bundle_lacks_counts_as_clean(classifier: Path, tmp_path: Path) -> None:
    """As with masks: it is named, and a picture that has another label besides keeps that."""
    data = write_labelled(tmp_path / "labels", [("crazing", flat("clean")), ("scratch", flat("scratch"))])
    with (data / "manifest.csv").open("a", newline="") as file:
        csv.writer(file).writerow(("1.png", "", "crazing", "piece1"))
    heard = io.StringIO()
    report = evaluate(classifier, data, Console(file=heard, width=200)).report
    assert "no class crazing" in heard.getvalue()
    assert report["confusion"]["pictures"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_a_segmenter_is_judged_by_labels_too(levels: Path, tmp_path: Path) -> None:
    """A defect of a part of the picture names it, where a classifier's answer would be the majority's."""
    small = flat("clean", "clean", "clean")
    small[10:20, 30:50] = LEVELS["scratch"]
    data = write_labelled(tmp_path / "labels", [("scratch", small), ("ok", flat("clean"))])
    report = judged(levels, data).report
    assert (report["accuracy"], report["miou"]) == (1.0, None)


def test_a_classifier_is_judged_by_masks_too(classifier: Path, painted: Path) -> None:
    """Answers of cells are laid over the pixels: figures of area are poor, and nothing crashes or shines."""
    report = judged(classifier, painted, Wanted(tolerance_px=2)).report
    assert report["labels_only"] is False
    assert 0 <= report["accuracy"] <= 1
    assert report["miou"] < 0.6


def test_a_defect_without_a_mask_among_masks_is_an_error(levels: Path, painted: Path, tmp_path: Path) -> None:
    """A forgotten mask is not taken for a label: the row is named."""
    lines = (painted / "manifest.csv").read_text().splitlines()
    lines[1] = lines[1].replace("masks/0.png", "")
    data = tmp_path / "data"
    data.mkdir()
    for folder in ("images", "masks"):
        (data / folder).symlink_to(painted / folder)
    (data / "manifest.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match="row 2: the class scratch is a defect and has no mask"):
        judged(levels, data)


def test_clean_pictures_alone_give_false_alarms_alone(levels: Path, tmp_path: Path) -> None:
    """Without a defect nothing can be missed: those figures are None."""
    data = write_labelled(tmp_path / "clean", [("ok", flat("clean")), ("good", flat("clean", "stain"))])
    report = judged(levels, data).report
    assert report["missed_pictures"] == {"all": None, "scratch": None, "stain": None}
    assert report["false_pictures"]["all"] == 1 / 2
    assert report["ranking"]["by_picture"]["stain"]["average_precision"] is None


def write_flicker_bundle(path: Path, sequence: dict[str, bool]) -> Path:
    """Write a bundle of two frames per answer that calls a scratch what was not bright in the frame before."""
    import keras

    path.mkdir()
    tiles = keras.Input((2, TILE, TILE, 1))
    keras.Model(tiles, (tiles[:, 1] - tiles[:, 0]) / 255).save(path / "model.keras")
    manifest = Manifest(
        name="flicker",
        version="1.0.0",
        classes=(ClassEntry(id=1, name="scratch", colour=(230, 25, 75), threshold=0.5, min_area_px=4),),
        tile=TileEntry(height=TILE, width=TILE, overlap_px=8),
        frames=2,
        training={"recipe": {"sequence": sequence}},
    )
    write_manifest(path, manifest)
    return path


def write_films(folder: Path) -> Path:
    """Write two recordings of four pictures, by turns in the table: a flash in the third picture of each stays on.

    It is new in the third picture alone, which is the one with a mask.
    """
    folder.mkdir()
    rows = []
    for place in range(4):
        for film in ("a", "b"):
            pixels, mask = (np.zeros((TILE, 80), np.uint8) for _ in range(2))
            if place >= 2:
                pixels[10:30, 20:50] = 250
            mask[10:30, 20:50] = 255
            cv2.imwrite(str(folder / f"{film}{place}.png"), pixels + len(rows))  # no two files are the same
            cv2.imwrite(str(folder / "mask.png"), mask)
            shows = place == 2
            rows.append((f"{film}{place}.png", "mask.png" if shows else "", "scratch" if shows else "ok", film))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "mask", "class", "group"), *rows])
    return folder


@pytest.mark.parametrize("ranking", [True, False])
def test_a_model_of_several_frames_is_judged_on_recordings(tmp_path: Path, ranking: bool) -> None:
    """A group's pictures come in their order if its recipe says so, whatever lies between them in the table.

    A flash is found where it is new, and nowhere else. On stills, each shown twice, nothing is ever new.
    """
    films = write_films(tmp_path / "films")
    heard = io.StringIO()
    console, wanted = Console(file=heard, width=200), Wanted(ranking=ranking)
    filmed = write_flicker_bundle(tmp_path / "filmed", {"recording": True})
    report = evaluate(filmed, films, console, wanted=wanted).report
    assert report["sequence"] == {"frames": 2, "judged_as": "recording"}
    assert report["missed_pictures"]["all"] == report["false_pictures"]["all"] == 0
    assert report["iou"]["scratch"] == 1
    assert "judged in recordings: the pictures of a group in their order, 2 frames at a time" in heard.getvalue()
    still = write_flicker_bundle(tmp_path / "still", {"recording": False})
    evaluation = evaluate(still, films, console, wanted=wanted)
    assert evaluation.report["sequence"] == {"frames": 2, "judged_as": "stills"}
    assert evaluation.report["missed_pictures"]["all"] == 1
    assert "judged on stills: each picture shown 2 times" in heard.getvalue()
    assert [row["image"] for row in evaluation.pictures][:3] == ["a0.png", "b0.png", "a1.png"]


def test_what_was_left_out_begins_a_new_sequence(tmp_path: Path) -> None:
    """The second picture was learned from: the third follows none, so that its flash is not new to the model."""
    films = write_films(tmp_path / "films")
    bundle = write_flicker_bundle(tmp_path / "bundle", {"recording": True})
    note_split(bundle, films, ["a1.png"])
    rows = {row["image"]: row["met"] for row in evaluate(bundle, films, Console(file=io.StringIO())).pictures}
    assert "a1.png" not in rows
    assert (rows["a2.png"], rows["b2.png"]) == ([], ["scratch"])


def test_a_picture_may_have_any_number_of_tiles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Batches of one to eight tiles are one program, which TensorFlow does not trace, nor complain of, eight times."""
    bundle = write_levels_bundle(tmp_path / "bundle").path
    rows = [("scratch", flat(*["scratch"] * count)) for count in range(1, 9)]
    data = write_labelled(tmp_path / "labels", rows)
    assert judged(bundle, data).report["accuracy"] == 1
    assert "retracing" not in caplog.text


def test_a_bundle_without_a_model_is_named(tmp_path: Path, painted: Path, levels: Path) -> None:
    """A manifest alone cannot be judged."""
    empty = tmp_path / "empty"
    empty.mkdir()
    manifest = json.loads((levels / "manifest.json").read_text())
    (empty / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    with pytest.raises(BundleError, match=r"neither model\.onnx nor model\.keras"):
        judged(empty, painted)


def test_the_command_takes_a_tolerance_and_ends_bad_input_with_its_code(
    levels: Path, painted: Path, tmp_path: Path
) -> None:
    """`--tolerance-px` adds the figure of thin lines; no dataset ends with 10, and a tolerance below 0 with 2."""
    command = [sys.executable, "-m", "trainer", "evaluate", str(levels)]
    figures = tmp_path / "figures.json"
    options = ["--json", str(figures), "--tolerance-px", "1.5", "--no-ranking"]
    done = subprocess.run([*command, str(painted), *options], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    assert report["tolerant"]["tolerance_px"] == 1.5
    assert report["ranking"] is None
    assert len(report["per_picture"]) == 24
    for arguments, code in ((str(tmp_path), 10), (str(painted), 2)):
        bad = [*command, arguments, "--json", str(figures), *(["--tolerance-px", "-1"] if code == 2 else [])]
        result = subprocess.run(bad, capture_output=True, text=True, check=False, cwd=ROOT)
        assert (result.returncode, "Traceback" in result.stderr) == (code, False), result.stderr


def test_figures_that_cannot_be_written_are_told_before_the_judging(levels: Path, painted: Path) -> None:
    """A folder is named in place of a file: exit code 8, at once."""
    with pytest.raises(StoreError, match="Nothing was begun") as caught:
        CliRunner().invoke(app, ["evaluate", str(levels), str(painted), "--json", str(painted)], catch_exceptions=False)
    assert caught.value.exit_code == 8


@pytest.mark.real_data
def test_the_shipped_model_is_judged_on_real_pictures(real_data: Path, tmp_path: Path) -> None:
    """On two phone screens the figures are there, and the IoU is what counting in the maps gives."""
    rows = (real_data / "phone_msd" / "manifest.csv").read_text().splitlines()
    data = tmp_path / "data"
    data.mkdir()
    for folder in ("images", "masks"):
        (data / folder).symlink_to(real_data / "phone_msd" / folder)
    chosen = [next(row for row in rows if f",{kind}," in row) for kind in ("scratch", "stain")]
    (data / "manifest.csv").write_text("\n".join([rows[0], *chosen]) + "\n")
    seen: list[Judged] = []
    shipped = ROOT / "edge" / "bundles" / "simulated-glass"
    report = evaluate(shipped, data, Console(file=io.StringIO()), watch=seen.append).report
    scratch = [name for name in report["iou"] if name != "background"].index("scratch") + 1
    pairs = [(one.answer == scratch, one.picture.truth == scratch) for one in seen]
    both, either = (sum(int(join(*pair).sum()) for pair in pairs) for join in (np.logical_and, np.logical_or))
    assert report["iou"]["scratch"] == pytest.approx(both / either)
    assert 0 <= report["ranking"]["by_pixel"]["scratch"]["average_precision"] <= 1
    assert report["intervals"]["groups"] == 2
