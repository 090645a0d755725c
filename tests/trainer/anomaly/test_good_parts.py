"""Learning from good parts, from the command to the engine, on drawn parts with the encoder as it is shipped."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from converters.__main__ import app as convert_app
from edge.bundle import load_bundle
from edge.errors import ConversionError, DatasetError, LinewatchError, StoreError
from edge.opencv import cv2
from trainer.__main__ import app
from trainer.anomaly.memory import Memory
from trainer.evaluation.keras_engine import load_model

SIDE = 96
RECIPE = """
learn: good-parts
name: drawn
channels: 1
preparing: [{step: grey}]
tile: {height: 96, width: 96, overlap_px: 0}
components: 24
memory: 64
samples: 1000
smooth_cells: 1
copies: {count: 0}
false_alarms: 0.1
folds: 2
"""


def drawn(number: int, *, spot: int = 0, size: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """Draw a part of stripes and noise; `spot`: grey levels of a blot in its middle."""
    rng = np.random.default_rng(number)
    height, width = size
    picture = 120 + 30 * np.sin(np.arange(width) / 4)[None, :] + rng.normal(0, 4, (height, width))
    if spot:
        picture[height // 2 - 9 : height // 2 + 9, width // 2 - 9 : width // 2 + 9] += spot
    return np.clip(picture, 0, 255).astype(np.uint8)


def dataset(folder: Path, good: range, bad: range, *, spot: int = 90) -> Path:
    """Write a dataset of drawn parts; the defective ones are of two classes, without masks."""
    folder.mkdir()
    rows = [("image", "mask", "class", "group")]
    for number in good:
        cv2.imwrite(str(folder / f"good{number}.png"), drawn(number))
        rows.append((f"good{number}.png", "", "ok", f"g{number}"))
    for number in bad:
        cv2.imwrite(str(folder / f"bad{number}.png"), drawn(number, spot=spot))
        rows.append((f"bad{number}.png", "", "blot" if number % 2 else "stain", f"b{number}"))
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def invoke(command: Any, *words: str | Path, code: int = 0) -> str:
    """Run a command within this process, and return what it printed."""
    done = CliRunner().invoke(command, [*map(str, words)])
    if isinstance(done.exception, LinewatchError):
        assert done.exception.exit_code == code, str(done.exception)
        return str(done.exception)
    assert done.exit_code == code, done.output + repr(done.exception)
    return done.output


def marked(folder: Path, good: range, bad: range, *, spot: int) -> Path:
    """Write a dataset of drawn parts whose defective ones have masks, but for the last."""
    dataset(folder, good, range(0))
    with (folder / "manifest.csv").open("a", newline="", encoding="utf-8") as file:
        for number in bad:
            cv2.imwrite(str(folder / f"bad{number}.png"), drawn(number, spot=spot))
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[SIDE // 2 - 9 : SIDE // 2 + 9, SIDE // 2 - 9 : SIDE // 2 + 9] = 255
            cv2.imwrite(str(folder / f"mask{number}.png"), mask)
            name = f"mask{number}.png" if number != bad[-1] else ""
            csv.writer(file).writerow((f"bad{number}.png", name, "blot", f"b{number}"))
    return folder


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a recipe, data, further data, and a bundle that was fitted and converted."""
    folder = tmp_path_factory.mktemp("good-parts")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    dataset(folder / "data", range(12), range(100, 104))
    dataset(folder / "other", range(200, 206), range(300, 304))
    told = invoke(app, "fit", folder / "recipe.yaml", "--data", folder / "data", "--out", folder / "bundle")
    assert "12 good pictures to learn from; 4 defective ones for the figures only" in told
    assert "good parts held out would be flagged" in told
    invoke(convert_app, folder / "bundle", "--to", "onnxruntime")
    return folder


def probabilities(bundle: Path, pixels: np.ndarray) -> np.ndarray:
    """Answer one tile, uint8 [H, W], with the bundle's own model; float32 [H, W]."""
    model = load_model(bundle / "model.keras")
    return np.asarray(model(pixels[None, :, :, None].astype(np.float32)))[0, :, :, 0]


def test_what_no_good_part_shows_is_found_and_counts_for_every_label(parts: Path) -> None:
    """Classes that the bundle never heard of are `anomaly`; the device's model finds them all."""
    invoke(app, "evaluate", parts / "bundle", parts / "other", "--json", parts / "figures.json")
    told = json.loads((parts / "figures.json").read_text(encoding="utf-8"))
    assert told["model"] == "model.onnx"
    assert told["pictures"] == 10
    assert told["picture_auroc"] == 1.0
    assert told["found_at_false_alarms"]["0.05"] == 1.0
    assert told["missed_pictures"]["all"] == 0


def evaluated(parts: Path, data: Path, tmp_path: Path) -> tuple[str, dict[str, Any]]:
    """Judge the fitted bundle on a dataset; return what was printed, in one line, and the figures."""
    told = invoke(app, "evaluate", parts / "bundle", data, "--json", tmp_path / "figures.json")
    return " ".join(told.split()), json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))


def test_a_few_masks_among_defective_pictures_are_left_aside(parts: Path, tmp_path: Path) -> None:
    """`teach` takes such a folder, so it is judged as well: by whole pictures, which is said."""
    told, report = evaluated(parts, marked(tmp_path / "data", range(200, 206), range(300, 304), spot=90), tmp_path)
    assert "1 of 4 defective pictures have no mask" in told
    assert "told from good ones with an AUROC of 1.000 (0." in told
    assert (report["labels_only"], report["picture_auroc"]) == (True, 1.0)
    assert report["passed_pictures"]["all"] == 0


def test_a_defective_picture_with_an_empty_mask_is_a_defective_one(parts: Path, tmp_path: Path) -> None:
    """Its class says so: among the good ones it would have the highest score of them."""
    data = marked(tmp_path / "data", range(200, 206), range(300, 304), spot=90)
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("bad303.png,,", "bad303.png,mask303.png,"))
    cv2.imwrite(str(data / "mask302.png"), np.zeros((SIDE, SIDE), np.uint8))
    told, report = evaluated(parts, data, tmp_path)
    assert (report["labels_only"], report["picture_auroc"]) == (False, 1.0)
    assert report["counts"]["defective"] == 3  # what is counted by pixels has none there
    assert "have no mask" not in told


def test_many_pictures_of_few_pieces_get_a_word(parts: Path, tmp_path: Path) -> None:
    """With two positions as groups, each is judged by what the other taught: that threshold is no good one."""
    data = dataset(tmp_path / "data", range(20), range(0))
    manifest = data / "manifest.csv"
    lines = manifest.read_text().splitlines()
    rows = [f"{line.rpartition(',')[0]},position{place % 2}" for place, line in enumerate(lines[1:])]
    manifest.write_text("\n".join([lines[0], *rows]) + "\n")
    told = invoke(app, "fit", parts / "recipe.yaml", "--data", data, "--out", tmp_path / "bundle")
    assert "the good pictures show 2 pieces (column group)" in " ".join(told.split())


def test_good_parts_by_another_name_are_asked_about(parts: Path, tmp_path: Path) -> None:
    """They count as defects, for a class may be called anything; the warning says how to make them good."""
    data = dataset(tmp_path / "data", range(200, 203), range(300, 302))
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace(",ok,", ",normal,"))
    told, report = evaluated(parts, data, tmp_path)
    assert report["counts"]["defective"] == 5
    assert "the class normal sounds as if nothing were wrong, and counts as a defect" in told
    assert told.count("sounds as if") == 1  # neither blot nor stain does
    refused = CliRunner().invoke(
        app, ["fit", str(parts / "recipe.yaml"), "--data", str(data), "--out", str(tmp_path / "b")]
    )
    assert "--rename normal=ok --out NEW" in " ".join(refused.output.split())
    assert isinstance(refused.exception, DatasetError)


def test_marks_beside_few_good_parts_get_a_word(parts: Path, tmp_path: Path) -> None:
    """Twelve parts chose the threshold; of a folder with four that is lost, and said so."""
    shutil.copytree(parts / "bundle", tmp_path / "bundle")
    few = marked(tmp_path / "few", range(30, 34), range(600, 605), spot=90)
    told = " ".join(invoke(app, "teach", tmp_path / "bundle", "--data", few).split())
    assert "chosen on 4 good parts now, on 12 before" in told
    more = marked(tmp_path / "more", range(40, 52), range(700, 704), spot=90)
    assert "before: beside marked defects" not in " ".join(
        invoke(app, "teach", tmp_path / "bundle", "--data", more).split()
    )


def test_a_place_that_cannot_be_written_is_told_before_the_fit(parts: Path) -> None:
    """Exit code 8 at once, and not after the pictures were learned."""
    words = ["fit", str(parts / "recipe.yaml"), "--data", str(parts / "data"), "--out", "/proc/linewatch-bundle"]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, StoreError)
    assert "to learn from" not in refused.output


def test_the_report_speaks_of_good_parts(parts: Path, tmp_path: Path) -> None:
    """The figures that matter are on it, held-out scores are counted, and no curves of a training are missed."""
    data = marked(tmp_path / "data", range(200, 206), range(300, 303), spot=90)
    manifest = data / "manifest.csv"
    manifest.write_text(manifest.read_text().replace("bad302.png,,", "bad302.png,mask302.png,"))
    invoke(app, "report", parts / "bundle", data, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "AUROC of pictures" in page
    assert "found at 5 % false alarms: 100.0%" in page
    assert "12 values" in page
    assert "no network was trained" in page
    assert "log.csv" not in page
    assert "flagged beside the mark counts as missed here" in page
    assert "on validation" not in page
    assert f"linewatch-train pod {parts / 'bundle'} DATA" in page


def test_it_is_said_why_pictures_cannot_be_ranked(parts: Path, tmp_path: Path) -> None:
    """Without good pictures there is no AUROC, and `null` alone does not tell why."""
    told, report = evaluated(parts, dataset(tmp_path / "data", range(0), range(300, 303)), tmp_path)
    assert report["picture_auroc"] is None
    assert "AUROC of pictures: not known, for that takes good pictures and defective ones" in told


def test_a_bundle_of_good_pictures_alone_is_converted(parts: Path, tmp_path: Path) -> None:
    """It finds nothing on the only golden picture, a good part, and nobody has to confirm that."""
    dataset(tmp_path / "data", range(8), range(0))
    invoke(app, "fit", parts / "recipe.yaml", "--data", tmp_path / "data", "--out", tmp_path / "bundle")
    told = invoke(convert_app, tmp_path / "bundle", "--to", "onnxruntime")
    assert "can hardly be right" not in told
    invoke(app, "evaluate", tmp_path / "bundle", parts / "other", "--json", tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))["model"] == "model.onnx"


def test_a_bundle_that_finds_none_of_its_defects_is_doubted(parts: Path, tmp_path: Path) -> None:
    """The fit had defective pictures, and nothing can be seen on them: that has to be confirmed, as for any model."""
    data = dataset(tmp_path / "data", range(8), range(900, 902))
    for number in (900, 901):
        shutil.copy(data / f"good{number - 900}.png", data / f"bad{number}.png")
    invoke(app, "fit", parts / "recipe.yaml", "--data", data, "--out", tmp_path / "bundle")
    doubted = CliRunner().invoke(convert_app, [str(tmp_path / "bundle"), "--to", "onnxruntime"])
    assert isinstance(doubted.exception, ConversionError), doubted.output
    assert "can hardly be right: it finds no defect on 3 pictures" in str(doubted.exception)


def test_the_clearest_defect_of_each_class_becomes_a_golden_frame(parts: Path, tmp_path: Path) -> None:
    """A faint one before it in the manifest does not take its place. So a right model is not doubted."""
    data = dataset(tmp_path / "data", range(8), range(500, 506, 2))
    faint = cv2.imread(str(data / "good0.png"))
    cv2.imwrite(str(data / "bad500.png"), faint)
    invoke(app, "fit", parts / "recipe.yaml", "--data", data, "--out", tmp_path / "bundle")
    shown = cv2.imread(str(tmp_path / "bundle" / "golden" / "1-stain.png"))
    assert any((shown == cv2.imread(str(data / f"bad{number}.png"))).all() for number in (502, 504))


def test_defective_pictures_are_never_learned_from(parts: Path, tmp_path: Path) -> None:
    """Other defective pictures change the figures, and neither memory nor threshold."""
    dataset(tmp_path / "data", range(12), range(500, 507), spot=-80)
    invoke(app, "fit", parts / "recipe.yaml", "--data", tmp_path / "data", "--out", tmp_path / "bundle")
    ours, theirs = (load_model(folder / "bundle" / "model.keras").get_weights() for folder in (parts, tmp_path))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    noted = [load_bundle(folder / "bundle", need_onnx=False).manifest.training for folder in (parts, tmp_path)]
    assert noted[0]["good_parts"] == noted[1]["good_parts"]
    assert (noted[0]["defective"], noted[1]["defective"]) == (4, 7)


def test_the_graph_answers_the_distance_to_the_nearest_good_cell(parts: Path) -> None:
    """The network answers p = d^2 / (d^2 + t^2), d by search and mean in numpy."""
    import keras

    from trainer.anomaly.network import learned_by

    bundle = load_bundle(parts / "bundle", need_onnx=False)
    model = load_model(bundle.keras_path)
    picture = drawn(777, spot=60)
    features = np.asarray(
        keras.Model(model.input, model.get_layer("neighbours").output)(picture[None, :, :, None].astype(np.float32))
    )[0]
    learned = learned_by(model)
    assert isinstance(learned.known, Memory)
    memory = learned.known.points
    points = learned.whitening.of(features).reshape(-1, 24)
    nearest = np.sqrt(((points[:, None] - memory[None]) ** 2).sum(axis=2).min(axis=1)).reshape(features.shape[:2])
    rows, columns = nearest.shape
    smooth = np.array(
        [[nearest[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean() for x in range(columns)] for y in range(rows)]
    )
    ratio = (smooth / bundle.manifest.training["good_parts"]["distance"]) ** 2
    expected = cv2.resize((ratio / (1 + ratio)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    assert np.allclose(probabilities(parts / "bundle", picture), expected, atol=2e-3)


def test_each_memory_weighs_the_squared_distance_to_it(parts: Path) -> None:
    """The graph answers the least of d^2 w, by search in numpy, and gives the weights back as they were."""
    import keras

    from edge.yaml_settings import load_yaml
    from trainer.anomaly.learning import Learned
    from trainer.anomaly.memory import Whitening
    from trainer.anomaly.network import encoder, learned_by, scorer
    from trainer.recipe.good_parts_settings import GoodPartsRecipe

    recipe = load_yaml(parts / "recipe.yaml", GoodPartsRecipe).model_copy(update={"smooth_cells": 0})
    encoded, rng = encoder(recipe), np.random.default_rng(5)
    features = encoded.outputs[0].shape[-1]
    whitening = Whitening(np.zeros(features, np.float32), rng.normal(0, 0.3, (features, 24)).astype(np.float32))
    tile = drawn(5, spot=50)[None, :, :, None].astype(np.float32)
    points = whitening.of(np.asarray(encoded(tile))[0]).reshape(-1, 24)
    memory = Memory(
        points[::5] + rng.normal(0, 1, points[::5].shape).astype(np.float32), rng.uniform(0.3, 3, 8).astype(np.float32)
    )
    model = scorer(encoded, recipe, Learned(whitening, memory), 4.0)
    p = np.asarray(keras.Model(model.input, model.get_layer("to_full_size").input)(tile))[0].ravel()
    squares = (((points[:, None] - memory.points[None]) ** 2).sum(axis=2) * memory.weights).min(axis=1)
    assert np.allclose(p / (1 - p), squares / 16, rtol=1e-2, atol=1e-3)
    back = learned_by(model).known
    assert isinstance(back, Memory)
    assert np.allclose(back.weights, memory.weights, rtol=1e-5)
    assert np.array_equal(back.points, memory.points)


def test_contrast_takes_away_what_cells_have_in_common_with_those_around_them(parts: Path) -> None:
    """With `contrast_cells: 3` a cell's features are less their mean over the 3 x 3 cells around it that there are."""
    from edge.yaml_settings import load_yaml
    from trainer.anomaly.network import encoder
    from trainer.recipe.good_parts_settings import GoodPartsRecipe

    recipe = load_yaml(parts / "recipe.yaml", GoodPartsRecipe)
    tile = drawn(3, spot=50)[None, :, :, None].astype(np.float32)
    plain = np.asarray(encoder(recipe)(tile))[0]
    contrast = np.asarray(encoder(recipe.model_copy(update={"contrast_cells": 3}))(tile))[0]
    rows, columns = plain.shape[:2]
    around = np.array(
        [
            [plain[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean(axis=(0, 1)) for x in range(columns)]
            for y in range(rows)
        ]
    )
    assert np.allclose(contrast, plain - around, atol=1e-4)


def test_cells_of_the_deepest_stages_are_32_px_wide(parts: Path) -> None:
    """Cells of stages 6 and 7 hold the network's features after 15 and 16 blocks, as means over 3 x 3 cells."""
    import keras

    from edge.yaml_settings import load_yaml
    from trainer.anomaly.network import encoder
    from trainer.models.efficientnet_lite import EfficientNetLite0, preprocess_input
    from trainer.recipe.good_parts_settings import GoodPartsRecipe

    deep = {"stages": (7, 6), "cell_px": 32}
    recipe = load_yaml(parts / "recipe.yaml", GoodPartsRecipe).model_copy(update=deep)
    tile = drawn(4, spot=50)[None, :, :, None].astype(np.float32)
    cells = np.asarray(encoder(recipe)(tile))[0]
    whole = EfficientNetLite0(weights="imagenet", input_shape=(SIDE, SIDE, 3))
    outputs = [whole.get_layer(f"block{number}_out").output for number in (14, 15)]
    answers = keras.Model(whole.input, outputs)(preprocess_input(np.repeat(tile, 3, axis=-1)))
    plain = np.concatenate([np.asarray(one)[0] for one in answers], axis=-1)
    assert plain.shape == (3, 3, 192 + 320)
    around = np.array(
        [[plain[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean(axis=(0, 1)) for x in range(3)] for y in range(3)]
    )
    assert np.allclose(cells, around, atol=1e-3)


def test_a_recipe_of_the_deepest_stages_goes_all_the_way_to_the_device(parts: Path, tmp_path: Path) -> None:
    """Cells of 32 px are fitted, converted and judged; the graph finds every blot of the parts that came later."""
    shipped = RECIPE.replace("components: 24", "components: 48").replace("smooth_cells: 1", "smooth_cells: 0")
    (tmp_path / "recipe.yaml").write_text(f"{shipped}stages: [6, 7]\ncell_px: 32\n", encoding="utf-8")
    invoke(app, "fit", tmp_path / "recipe.yaml", "--data", parts / "data", "--out", tmp_path / "bundle")
    invoke(convert_app, tmp_path / "bundle", "--to", "onnxruntime")
    invoke(app, "evaluate", tmp_path / "bundle", parts / "other", "--json", tmp_path / "figures.json")
    told = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert told["model"] == "model.onnx"
    assert told["picture_auroc"] == 1.0


HEAD_OF_DRAWN = "stages: [6, 7]\ncell_px: 32\nneighbours: 10\ndrawn: {tiles: 100, rounds: 1}\n"


@pytest.fixture(scope="module")
def with_drawn(parts: Path) -> Path:
    """Give a bundle with a head of drawn defects, fitted and converted."""
    recipe = parts / "drawn.yaml"
    recipe.write_text(RECIPE.replace("components: 24", "components: 48") + HEAD_OF_DRAWN, encoding="utf-8")
    told = invoke(app, "fit", recipe, "--data", parts / "data", "--out", parts / "drawn-bundle")
    assert "drawn defects, in 96 tiles: told from good parts" in " ".join(told.split())
    invoke(convert_app, parts / "drawn-bundle", "--to", "onnxruntime")
    return parts / "drawn-bundle"


def test_a_head_of_drawn_defects_goes_all_the_way_to_the_device(with_drawn: Path, parts: Path, tmp_path: Path) -> None:
    """The graph finds every blot of later parts, the manifest says what it is worth; defective parts teach nothing."""
    invoke(app, "evaluate", with_drawn, parts / "other", "--json", tmp_path / "figures.json")
    told = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert told["model"] == "model.onnx"
    assert told["picture_auroc"] == 1.0
    figures = load_bundle(with_drawn).manifest.training["drawn"]
    assert figures["tiles"] == 96
    assert 0.5 < figures["tile_auroc"] <= 1
    invoke(app, "report", with_drawn, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"taught a head to tell them: AUROC {figures['tile_auroc']:.3f}" in page
    dataset(tmp_path / "data", range(12), range(500, 507), spot=-80)
    invoke(app, "fit", parts / "drawn.yaml", "--data", tmp_path / "data", "--out", tmp_path / "bundle")
    ours, theirs = (load_model(folder / "model.keras").get_weights() for folder in (with_drawn, tmp_path / "bundle"))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_engine_answers_what_keras_does_with_a_head_of_drawn_defects(with_drawn: Path) -> None:
    """ONNX Runtime scores each pixel within 2 of 255 levels of the bundle's own model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(with_drawn / "model.onnx"), providers=["CPUExecutionProvider"])
    tiles = np.stack([drawn(900 + number, spot=40 * number) for number in range(3)])[..., None]
    _, scores = session.run(["classes", "scores"], {"tiles": tiles, "thresholds": np.zeros(1, np.float32)})
    expected = np.stack([255 * probabilities(with_drawn, tile[..., 0]) for tile in tiles])
    assert np.abs(scores.reshape(expected.shape).astype(np.float32) - expected).max() <= 2


def test_teaching_keeps_the_head_of_drawn_defects(with_drawn: Path, tmp_path: Path) -> None:
    """Good parts leave it as it is. Marked ones teach it anew on the good parts beside them; it is as large."""
    from trainer.anomaly.network import learned_by

    shutil.copytree(with_drawn, tmp_path / "bundle")
    before = load_model(tmp_path / "bundle" / "model.keras")
    dataset(tmp_path / "more", range(30, 36), range(0))
    invoke(app, "teach", tmp_path / "bundle", "--data", tmp_path / "more")
    head, kept = learned_by(before).drawn, learned_by(load_model(tmp_path / "bundle" / "model.keras")).drawn
    assert head is not None
    assert kept is not None
    assert all(np.array_equal(a, b) for a, b in zip(head.taps, kept.taps, strict=True))
    data = marked(tmp_path / "marked", range(24), range(600, 606), spot=20)
    told = " ".join(invoke(app, "teach", tmp_path / "bundle", "--data", data).split())
    assert "marked defects, each judged by what others taught" in told
    after = load_model(tmp_path / "bundle" / "model.keras")
    assert [one.shape for one in after.get_weights()] == [one.shape for one in before.get_weights()]
    told_of = [
        load_bundle(one, need_onnx=False).manifest.training["drawn"] for one in (with_drawn, tmp_path / "bundle")
    ]
    assert told_of[0]["tile_auroc"] != told_of[1]["tile_auroc"]
    taught = learned_by(after).drawn
    assert taught is not None
    assert not np.array_equal(taught.taps[0], head.taps[0])


def test_teaching_takes_a_false_alarm_back_and_adds_no_byte(parts: Path, tmp_path: Path) -> None:
    """Parts with a stamp are flagged; taught, they pass, a blot is still found, and the memory is as large."""
    shutil.copytree(parts / "bundle", tmp_path / "bundle")
    folder = tmp_path / "stamped"
    dataset(folder, range(0), range(0))
    rows = ["image,mask,class,group"]
    for number in range(700, 708):
        picture = drawn(number)
        picture[8:30, 8:30] = 40
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        rows.append(f"{number}.png,,ok,s{number}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    stamped = cv2.imread(str(folder / "703.png"), cv2.IMREAD_GRAYSCALE)
    before = probabilities(tmp_path / "bundle", stamped)
    weights = [one.shape for one in load_model(tmp_path / "bundle" / "model.keras").get_weights()]
    assert before.max() >= 0.5
    told = invoke(app, "teach", tmp_path / "bundle", "--data", folder)
    assert "8 further pictures taught" in told
    assert probabilities(tmp_path / "bundle", stamped).max() < 0.5
    assert probabilities(tmp_path / "bundle", drawn(800, spot=110)).max() >= 0.5
    assert [one.shape for one in load_model(tmp_path / "bundle" / "model.keras").get_weights()] == weights
    bundle = load_bundle(tmp_path / "bundle", need_onnx=False)
    assert not bundle.onnx_path.exists()
    with zipfile.ZipFile(bundle.keras_path) as saved:  # taught twice the same, it is the same file
        assert {one.date_time[0] for one in saved.infolist()} == {1980}
    assert [step["step"] for step in bundle.manifest.provenance] == ["train", "teach"]
    assert "does not know, received none" in invoke(app, "teach", tmp_path / "bundle", "--data", folder, code=10)


def test_marked_defects_that_were_missed_are_learned(parts: Path, tmp_path: Path) -> None:
    """Faint blots are missed by distance alone; marked beside good parts they are found, and the model is as large."""
    shutil.copytree(parts / "bundle", tmp_path / "bundle")
    data = marked(tmp_path / "marked", range(24), range(600, 613), spot=9)
    before = load_model(tmp_path / "bundle" / "model.keras")
    told = " ".join(invoke(app, "teach", tmp_path / "bundle", "--data", data).split())
    assert "1 defective picture without a mask: left out" in told
    assert "it is used" in told
    after = load_model(tmp_path / "bundle" / "model.keras")
    assert [one.shape for one in after.get_weights()] == [one.shape for one in before.get_weights()]
    bundle = load_bundle(tmp_path / "bundle", need_onnx=False)
    figures = bundle.manifest.training["good_parts"]["head"]
    assert (figures["used"], figures["marked"]) == (True, 12)
    assert figures["with_head"]["found"] > figures["without_head"]["found"]
    assert figures["with_head"]["picture_auroc"] >= figures["without_head"]["picture_auroc"]
    unseen = [drawn(number, spot=9) for number in range(650, 662)]
    found = [sum(probabilities(path, one).max() >= 0.5 for one in unseen) for path in (parts / "bundle", bundle.path)]
    assert found[1] > found[0]
    assert bundle.manifest.provenance[-1]["pictures"] == 24  # 12 of the good ones were known
    assert "does not know, received none" in invoke(app, "teach", bundle.path, "--data", data, code=10)


def test_a_head_multiplies_the_squared_distance_by_at_most_four(parts: Path) -> None:
    """With any weights the graph answers r / (r + 1), r = (d / t)^2 exp(clip(h)), by numpy. As d is, h is smoothed."""
    import keras

    from trainer.anomaly.network import HEAD, WHITENING

    model = load_model(parts / "bundle" / "model.keras")
    picture = drawn(778, spot=60)[None, :, :, None].astype(np.float32)
    cells = keras.Model(model.input, [model.get_layer(WHITENING).output, model.get_layer("to_full_size").input])
    whitened, plain = (np.asarray(one)[0] for one in cells(picture))
    weights = np.random.default_rng(0).normal(0, 0.4, 24).astype(np.float32)
    model.get_layer(HEAD).set_weights([weights[None, None, :, None], np.array([0.3], np.float32)])
    answered = np.asarray(keras.Model(model.input, model.get_layer("to_full_size").input)(picture))[0, :, :, 0]
    logit = whitened @ weights + 0.3
    rows, columns = logit.shape
    smooth = np.array(
        [[logit[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean() for x in range(columns)] for y in range(rows)]
    )
    assert smooth.min() < -np.log(4) < np.log(4) < smooth.max()
    ratio = plain[:, :, 0] / (1 - plain[:, :, 0]) * np.clip(np.exp(smooth), 0.25, 4)
    assert np.allclose(answered, ratio / (ratio + 1), atol=1e-4)


def test_parts_in_a_fixture_have_statistics_of_each_place(parts: Path, tmp_path: Path) -> None:
    """With `placed` a mark that all parts have is good in its place and found in another."""
    dataset(tmp_path / "data", range(0), range(0))
    rows = ["image,mask,class,group"]
    for number in range(14):
        picture = drawn(number)
        picture[10:34, 10:34] = 40
        cv2.imwrite(str(tmp_path / "data" / f"{number}.png"), picture)
        rows.append(f"{number}.png,,good,p{number}")
    (tmp_path / "data" / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(f"{RECIPE}placed: true\n", encoding="utf-8")
    invoke(app, "fit", tmp_path / "recipe.yaml", "--data", tmp_path / "data", "--out", tmp_path / "bundle")
    in_place, elsewhere = drawn(900), drawn(900)
    in_place[10:34, 10:34] = 40
    elsewhere[60:84, 60:84] = 40
    assert probabilities(tmp_path / "bundle", in_place).max() < 0.5
    assert probabilities(tmp_path / "bundle", elsewhere).max() >= 0.5
    assert "placed parts" in invoke(app, "teach", tmp_path / "bundle", "--data", parts / "other", code=4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("tile: {height: 100, width: 96, overlap_px: 0}", "multiple of 16"),
        ("placed: true\ntile: {height: 96, width: 96, overlap_px: 16}", "overlap_px 0 beside placed"),
        ("false_alarms: 0", "false_alarms"),
        ("stages: [6]\ntile: {height: 96, width: 80, overlap_px: 0}", "tile.width as a multiple of 32"),
        ("cell_px: 32\ntile: {height: 80, width: 96, overlap_px: 0}", "tile.height as a multiple of 32"),
        ("stages: [8]", "stages"),
        ("drawn: {}\nplaced: true", "drawn: null beside placed"),
        ("drawn: {}\ntile: {height: 80, width: 96, overlap_px: 0}", "tile.height as a multiple of 32"),
        ("drawn: {weight: 0}", "drawn.weight"),
        ("stages: [4, 4]", "each once"),
        ("contrast_cells: 4", "odd and from 3 on"),
        ("epochs: 3", "no such key"),
        ("learn: bad-parts", "good-parts"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_its_key(tmp_path: Path, change: str, words: str) -> None:
    """Exit code 3, before anything is read."""
    kept = [
        line
        for line in RECIPE.splitlines()
        if line.split(":")[0] not in {one.split(":")[0] for one in change.splitlines()}
    ]
    (tmp_path / "recipe.yaml").write_text("\n".join([*kept, change]) + "\n", encoding="utf-8")
    told = invoke(app, "fit", tmp_path / "recipe.yaml", "--data", tmp_path, "--out", tmp_path / "bundle", code=3)
    assert words in " ".join(told.split())


def test_what_cannot_be_fitted_is_refused(parts: Path, tmp_path: Path) -> None:
    """Too few pieces, a full target, options of another kind of fit, and thresholds fitted otherwise."""
    dataset(tmp_path / "one", range(1), range(100, 103))
    recipe, bundle = parts / "recipe.yaml", parts / "bundle"
    assert "1 piece" in invoke(app, "fit", recipe, "--data", tmp_path / "one", "--out", tmp_path / "out", code=10)
    assert "not empty" in invoke(app, "fit", recipe, "--data", parts / "data", "--out", bundle, code=8)
    told = invoke(app, "fit", recipe, "--data", parts / "data", "--out", tmp_path / "out", "--resume", code=2)
    assert "begun anew" in " ".join(told.replace("│", " ").split())
    assert "Teach it further good parts" in " ".join(
        invoke(app, "fit-thresholds", bundle, parts / "other", code=4).split()
    )
