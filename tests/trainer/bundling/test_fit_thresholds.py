"""Thresholds fitted anew on further pictures, against `evaluate`, which counts with code of its own."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge.bundle import GOLDEN, KERAS_MODEL, ONNX_MODEL, Bundle, load_bundle, read_manifest, write_manifest
from edge.errors import BundleError, DatasetError, StoreError
from tests.trainer.painted import RECIPE, quiet, recipe, write_painted
from trainer.__main__ import app
from trainer.bundling.fit_thresholds import fit_thresholds_again
from trainer.evaluation.evaluating import evaluate, learned_from
from trainer.evaluation.thresholds import MIN_AREAS_PX
from trainer.fitting import fit

SHORT = RECIPE.replace("epochs: 8", "epochs: 4").replace("steps_per_epoch: 15", "steps_per_epoch: 8")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 48 small pictures to learn from."""
    return write_painted(tmp_path_factory.mktemp("data") / "painted", 48)


@pytest.fixture(scope="module")
def further(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Draw 20 others."""
    return write_painted(tmp_path_factory.mktemp("further") / "painted", 20, (96, 136))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Train briefly."""
    folder = tmp_path_factory.mktemp("trained")
    return fit(recipe(folder, SHORT), data, folder / "bundle", quiet())


@pytest.fixture
def bundle(trained: Bundle, tmp_path: Path) -> Path:
    """Return a copy of the trained bundle."""
    return Path(shutil.copytree(trained.path, tmp_path / "bundle"))


def test_what_it_counts_is_what_evaluate_counts(bundle: Path, further: Path) -> None:
    """The missed and falsely flagged pictures in the manifest are those of `evaluate` at the new thresholds."""
    refitted = fit_thresholds_again(bundle, further, quiet(), miss_cost=4)
    report = evaluate(bundle, further, quiet(), include_training=True).report
    for entry in refitted.classes:
        counted = refitted.manifest.validation[entry.name]
        others = 20 - counted["shown"]
        assert counted["shown"] > 0
        assert report["missed_pictures"][entry.name] == pytest.approx(counted["missed"] / counted["shown"])
        if others:
            assert report["false_pictures"][entry.name] == pytest.approx(counted["false"] / others)
        assert entry.threshold == counted["threshold"]
        assert entry.min_area_px in MIN_AREAS_PX
    train, step = refitted.manifest.provenance
    assert (train["step"], step["step"], step["pictures"]) == ("train", "fit_thresholds", 20)
    assert step["costs"]["miss_cost"] == 4
    assert step["costs"]["false_cost"] == 1


def test_what_chose_judges_no_more(bundle: Path, further: Path, data: Path) -> None:
    """The further pictures are left out of every later evaluation; the held-out ones of before still judge."""
    before = evaluate(bundle, data, quiet()).report["pictures"]
    known = learned_from(bundle)
    fit_thresholds_again(bundle, further, quiet())
    assert len(learned_from(bundle)) == len(known) + 20
    with pytest.raises(DatasetError, match="Every picture"):
        evaluate(bundle, further, quiet())
    assert evaluate(bundle, data, quiet()).report["pictures"] == before
    with pytest.raises(DatasetError, match="knows every picture"):
        fit_thresholds_again(bundle, further, quiet())


def test_neither_known_nor_held_out_pictures_choose(bundle: Path, data: Path) -> None:
    """The dataset that was split holds no picture that could choose again, and nothing is written."""
    manifest = (bundle / "manifest.json").read_bytes()
    with pytest.raises(DatasetError, match="knows every picture of"):
        fit_thresholds_again(bundle, data, quiet())
    assert (bundle / "manifest.json").read_bytes() == manifest


def test_a_conversion_of_before_is_gone(bundle: Path, further: Path) -> None:
    """A model that was judged by other thresholds, and maps drawn with them, are removed; the raw pictures stay."""
    raw = sorted((bundle / GOLDEN).glob("*.png"))
    (bundle / ONNX_MODEL).write_bytes(b"as converted")
    (bundle / GOLDEN / "0-clean.map.png").write_bytes(b"as drawn")
    write_manifest(bundle, read_manifest(bundle))
    refitted = fit_thresholds_again(bundle, further, quiet())
    assert not (bundle / ONNX_MODEL).exists()
    assert sorted((bundle / GOLDEN).glob("*.png")) == raw
    assert refitted.manifest.golden == ()
    assert load_bundle(bundle, need_onnx=False).manifest == refitted.manifest


def test_a_class_that_no_further_picture_shows_keeps_what_it_has(bundle: Path, further: Path) -> None:
    """Of stains nothing is known where none is shown: threshold, area and counts stay, and the command says so."""
    before = load_bundle(bundle, need_onnx=False)
    lines = (further / "manifest.csv").read_text().splitlines()
    scratched = further.with_name("scratched")
    shutil.copytree(further, scratched)
    (scratched / "manifest.csv").write_text("\n".join(line for line in lines if ",stain," not in line) + "\n")
    told = CliRunner().invoke(app, ["fit-thresholds", str(bundle), str(scratched), "--miss-cost", "3"])
    assert told.exit_code == 0, told.output
    assert "No further picture shows stain: thresholds, areas and counts are those of before" in told.output
    after = load_bundle(bundle, need_onnx=False)
    assert [entry.name for entry in after.classes] == ["scratch", "stain"]
    assert after.classes[1] == before.classes[1]
    assert after.manifest.validation["stain"] == before.manifest.validation["stain"]
    assert after.manifest.validation["scratch"]["shown"] == sum(",scratch," in line for line in lines)


def test_a_bundle_that_cannot_be_written_is_as_it_was(bundle: Path, further: Path) -> None:
    """Every file is back, the conversion too, if the manifest cannot be replaced. A later refit makes it whole."""
    (bundle / ONNX_MODEL).write_bytes(b"as converted")
    write_manifest(bundle, load_bundle(bundle, need_onnx=False).manifest)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    # the name that edge/files.py writes to before it renames it
    (in_the_way := bundle / f".manifest.json.{os.getpid()}-{threading.get_ident()}.tmp").mkdir()
    with pytest.raises(StoreError, match="cannot be written"):
        fit_thresholds_again(bundle, further, quiet())
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    in_the_way.rmdir()
    fit_thresholds_again(bundle, further, quiet())
    assert load_bundle(bundle, need_onnx=False).manifest.provenance[-1]["pictures"] == 20
    assert not list(bundle.rglob("*.tmp"))


@pytest.mark.parametrize("cost", ["inf", "nan", "1e9"])
def test_costs_have_the_recipe_s_limits(bundle: Path, further: Path, cost: str) -> None:
    """A cost that nothing could be weighed by is refused in words before anything is read."""
    told = CliRunner().invoke(app, ["fit-thresholds", str(bundle), str(further), "--miss-cost", cost])
    assert told.exit_code != 0
    assert not isinstance(told.exception, ValueError)
    assert "--miss-cost" in str(told.exception) + told.output


def test_a_shipped_bundle_is_refused(bundle: Path, further: Path) -> None:
    """Without its Keras model a bundle cannot be fitted, and is told so."""
    manifest = load_bundle(bundle, need_onnx=False).manifest
    (bundle / KERAS_MODEL).unlink()
    write_manifest(bundle, manifest)
    with pytest.raises(BundleError, match=r"holds no model\.keras"):
        fit_thresholds_again(bundle, further, quiet())


def test_the_command_says_what_it_chose_and_what_to_do(bundle: Path, further: Path) -> None:
    """It prints thresholds and smallest areas, and that the bundle is to be converted; a cost of 0 is refused."""
    told = CliRunner().invoke(app, ["fit-thresholds", str(bundle), str(further), "--miss-cost", "2"])
    assert told.exit_code == 0, told.output
    for entry in load_bundle(bundle, need_onnx=False).classes:
        assert f"{entry.name}: threshold {entry.threshold:g}, from {entry.min_area_px:g} px on" in told.output
    assert f"convert {bundle} --to onnxruntime" in told.output
    assert CliRunner().invoke(app, ["fit-thresholds", str(bundle), str(further), "--miss-cost", "0"]).exit_code == 2


def test_the_earlier_name_of_the_command_tells_the_new_one() -> None:
    """`refit` ends with exit code 2 and names `fit-thresholds`, whatever it is given."""
    told = CliRunner().invoke(app, ["refit", "bundle", "data", "--miss-cost", "3"])
    assert told.exit_code == 2
    assert "fit-thresholds" in told.output
