"""`linewatch-train pod`: what is drawn, where, and what comes of it with a bundle whose answers are known."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from edge.bundle import load_bundle, write_manifest
from edge.errors import LinewatchError
from edge.opencv import cv2
from edge.records import UInt8
from edge.simulation.known_marks import Mark, MarkShape, add_mark
from edge.web.page import escaped
from tests.trainer.pod.step_bundle import write_step_bundle
from trainer.__main__ import app
from trainer.pod.clean_parts import simulated_parts
from trainer.pod.curve import Curve, fit_curve
from trainer.pod.plan import NINTHS, ORIENTATIONS, Asked, Draw, ninth_of, placed, plan_draws
from trainer.pod.summary import blind_spots, sentence, summarise
from trainer.pod.trials import Trial
from trainer.reports.pod_section import pod_section


def run(*words: object) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["pod", *map(str, words)], catch_exceptions=False)


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
@pytest.mark.parametrize("size", [7.5, 40.0])
def test_a_line_covers_its_length_times_its_width(size: float, angle: float) -> None:
    """The grey levels that a line adds come to its area times its contrast, whatever its angle and place."""
    dark: UInt8 = np.full((100, 120), 20, np.uint8)
    drawn, truth = add_mark(dark, Mark("line", 60.3, 50.6, size, 100, 2.5, angle))
    assert float((drawn.astype(np.float64) - 20).sum()) / 100 == pytest.approx(size * 2.5, rel=0.06, abs=3)
    points = np.flatnonzero(truth)
    assert np.hypot(*(np.array(divmod(points, 120)) - [[50.6], [60.3]])).max() == pytest.approx(size / 2, abs=1.6)


def test_a_spot_is_a_disc_and_a_dark_one_darkens() -> None:
    """A spot covers the area of its circle; below the range of grey levels nothing wraps around."""
    light: UInt8 = np.full((60, 60, 3), 200, np.uint8)
    drawn, _ = add_mark(light, Mark("spot", 30, 30, 20, -100))
    assert float((200 - drawn[:, :, 0].astype(np.float64)).sum()) / 100 == pytest.approx(np.pi * 100, rel=0.02)
    assert add_mark(light, Mark("spot", 30, 30, 20, -250))[0].min() == 0


def test_a_mark_beyond_the_picture_or_the_part_is_not_drawn() -> None:
    """A mark that lies outside changes nothing, and is no truth."""
    dark: UInt8 = np.full((40, 40), 20, np.uint8)
    for mark in (Mark("line", -90, 20, 30, 100), Mark("spot", 20, 20, 10, 100)):
        drawn, truth = add_mark(dark, mark, np.zeros((40, 40), np.uint8))
        assert not truth.any()
        assert (drawn == dark).all()


def test_sizes_are_spread_over_each_orientation_and_ninth() -> None:
    """Each of 108 places gets one size of each equal logarithmic step; the same seed draws the same."""
    asked = Asked(contrasts=(40.0,), each=4)
    draws = plan_draws("scratch", "line", asked, (8.0, 128.0))
    assert len(draws) == len(ORIENTATIONS) * len(NINTHS) * 4
    for orientation in ORIENTATIONS:
        own = sorted(d.size_px for d in draws if (d.orientation, d.ninth) == (orientation, 4))
        assert [int(np.log2(size)) for size in own] == [3, 4, 5, 6]
    assert draws == plan_draws("scratch", "line", asked, (8.0, 128.0))


@pytest.mark.parametrize("shape", ["line", "spot"])
def test_a_defect_lies_in_its_ninth_and_on_the_part(shape: MarkShape) -> None:
    """The middle lies in the ninth of the box around the part, both ends on it. Without room nothing is drawn."""
    part: UInt8 = np.zeros((200, 300), np.uint8)
    part[20:182, 30:270] = 1
    g = np.random.default_rng(1)
    for ninth in range(9):
        mark = placed(Draw("scratch", shape, 50.0, 40.0, 90, ninth), part, 2.0, g)
        assert mark is not None
        assert ninth_of(mark.x - 29.5, mark.y - 19.5, (162, 240)) == ninth
        assert all(29 <= x <= 271 and 19 <= y <= 183 for x, y in mark.ends())
    assert placed(Draw("scratch", shape, 400.0, 40.0, 90, 4), part, 2.0, g) is None
    assert placed(Draw("scratch", shape, 5.0, 40.0, 90, 4), np.zeros_like(part), 2.0, g) is None


def test_simulated_parts_are_clean_whole_and_drawn_again() -> None:
    """Each part lies wholly in its frame; the same seed gives the same pixels."""
    parts = list(simulated_parts("glass", 2, 0, height=240))
    for part in parts:
        assert part.within is not None
        assert part.within.any()
        border = [part.within[0], part.within[-1], part.within[:, 0], part.within[:, -1]]
        assert not any(side.any() for side in border)
    again = next(iter(simulated_parts("glass", 2, 0, height=240)))
    assert (again.pixels == parts[0].pixels).all()


def trials(orientation: int, ninth: int, found: list[bool]) -> list[Trial]:
    """Return large scratches of one place."""
    return [Trial("scratch", 50.0 + k, 40.0, orientation, ninth, hit) for k, hit in enumerate(found)]


def test_a_blind_spot_is_named_by_the_largest_place_that_holds_it() -> None:
    """Missed at 0° everywhere: one spot. Missed in one corner at 90° alone: that corner at 90°. Else none."""
    everywhere = [t for o in ORIENTATIONS for n in range(9) for t in trials(o, n, [o != 0] * 10)]
    whole = Curve(1080, 990, 50.0, 59.0, a90=50.0, a90_95=50.0)
    (spot,) = blind_spots(everywhere, whole)
    assert (spot.orientation, spot.ninth, spot.found, spot.judged) == (0, None, 0, 90)
    corner = [t for o in ORIENTATIONS for n in range(9) for t in trials(o, n, [(o, n) != (90, 8)] * 10)]
    (spot,) = blind_spots(corner, whole)
    assert (spot.orientation, spot.ninth) == (90, 8)
    assert spot.words() == "along columns (90°) in the bottom right ninth: 0 of 10 found"
    usual = [t for o in ORIENTATIONS for n in range(9) for t in trials(o, n, [True] * 9 + [False])]
    assert blind_spots(usual, whole) == ()


def test_the_sentence_says_size_confidence_and_blindness() -> None:
    """In mm where the scale is known, in px else; a class never missed or never found is said so."""
    g = np.random.default_rng(3)
    drawn = [
        Trial("scratch", float(size), 40.0, 0, 4, bool(g.random() < 1 / (1 + (20 / size) ** 8)))
        for size in np.linspace(5, 100, 200)
    ]
    summary = summarise("scratch", "line", [40.0], drawn, width_px=2.0)
    curve = fit_curve(np.array([t.size_px for t in drawn]), np.array([t.found for t in drawn]))
    assert curve.a90 is not None
    assert curve.a90_95 is not None
    assert sentence(summary, None) == (
        f"scratch of ≥ {curve.a90:.3g} px at contrast ≥ 40 is found with 90% probability (95% confidence: "
        f"{curve.a90_95:.3g} px); blind: nowhere"
    )
    assert f"(95% confidence: {curve.a90_95 * 0.1:.2g} mm)" in sentence(summary, 0.1)
    never = summarise("scratch", "line", [40.0], trials(0, 4, [False] * 20), width_px=2.0)
    assert "has no known size from which on it is found with 90% probability: none of 20" in sentence(never, None)
    always = summarise("scratch", "line", [40.0], trials(0, 4, [True] * 20), width_px=2.0)
    assert "is always found (20 of 20)" in sentence(always, None)
    sizes = np.linspace(10, 100, 100)
    drawn = [Trial("scratch", float(size), 40.0, 0, 4, found=place != 45) for place, size in enumerate(sizes)]
    often = sentence(summarise("scratch", "line", [40.0], drawn, width_px=2.0), None)
    assert often.startswith("scratch of ≥ 10 px at contrast ≥ 40 is nearly always found (99 of 100")


def test_the_command_measures_a_bundle_whose_answers_are_known(tmp_path: Path) -> None:
    """Lines 3 px wide have 2 to 3 bright rows. So 20 to 30 px of length reach 60 px, in every place.

    At a contrast that the model cannot see none is found. The manifest notes it, until thresholds change.
    """
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=60).path
    assert f"linewatch-train pod {bundle}" in "".join(pod_section(load_bundle(bundle)).blocks)
    result = run(
        bundle, "--json", tmp_path / "pod.json", "--plot", tmp_path / "pod.png", "--contrast", 150, "--contrast", 30,
        "--width-px", 3, "--size-px", 8, 90, "--each", 2, "--parts", 3, "--mm-per-px", 0.1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "pod.json").read_text(encoding="utf-8"))
    scratch = told["classes"]["scratch"]
    assert 18 <= scratch["a90_px"] <= scratch["a90_95_px"] <= 36
    assert scratch["a90_mm"] == pytest.approx(scratch["a90_px"] / 10, rel=1e-3)
    assert scratch["judged"] == 216
    assert set(scratch["by_orientation"]) == {str(angle) for angle in ORIENTATIONS}
    assert set(scratch["by_region"]) == set(NINTHS)
    assert scratch["by_contrast"]["30"]["a90_px"] is None
    assert "none of 108 was found" in scratch["by_contrast"]["30"]["reason"]
    assert scratch["blind"] == []
    assert (told["clean"]["parts"], told["clean"]["flagged"]) == (3, 0)
    assert "--shape chip=" in told["classes"]["chip"]["reason"]
    assert cv2.imread(str(tmp_path / "pod.png")) is not None
    noted = load_bundle(bundle)
    assert noted.finds == (scratch["sentence"],)
    shown = "".join(pod_section(noted).blocks)
    assert escaped(scratch["sentence"]) in shown
    assert "0 of 3 clean parts" in shown
    strict = [entry.model_copy(update={"min_area_px": 200.0}) for entry in noted.manifest.classes]
    write_manifest(bundle, noted.manifest.model_copy(update={"classes": tuple(strict)}))
    assert load_bundle(bundle).finds == ()
    assert "at other thresholds" in "".join(pod_section(load_bundle(bundle)).blocks)


def test_real_defects_and_clean_pictures_of_a_dataset_are_judged(tmp_path: Path) -> None:
    """Defects are drawn onto the clean pictures; each real one counts by its own length."""
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    lines = ["image,mask,class,group"]
    for k in range(12):
        pixels: UInt8 = np.full((120, 160, 3), 60, np.uint8)
        mask: UInt8 = np.zeros((120, 160), np.uint8)
        if k:
            mask[50:53, 20 : 20 + 8 * k] = 255
            pixels[mask > 0] = 200
            cv2.imwrite(str(data / "masks" / f"{k}.png"), mask)
        cv2.imwrite(str(data / f"{k}.png"), pixels)
        lines.append(f"{k}.png,masks/{k}.png,scratch,p{k}" if k else f"{k}.png,,ok,p{k}")
    (data / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=60).path
    asked = ("--contrast", 150, "--each", 1, "--parts", 2, "--size-px", 8, 30, "--no-note")
    result = run(bundle, data, "--json", tmp_path / "pod.json", "--csv", tmp_path / "hits.csv", *asked)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "pod.json").read_text(encoding="utf-8"))
    real = told["classes"]["scratch"]["real"]
    # 3 rows of 8 k pixels reach 60 from k = 3 on
    assert (real["judged"], real["found"], real["a90_px"]) == (11, 9, 24.0)
    with (tmp_path / "hits.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["size_px"], row["found"]) for row in rows if not row["contrast"]] == [
        (f"{8 * k}", "1" if k > 2 else "0") for k in range(1, 12)
    ]
    drawn = [row for row in rows if row["contrast"] == "150"]
    scratch = told["classes"]["scratch"]
    assert (len(drawn), sum(row["found"] == "1" for row in drawn)) == (scratch["judged"], scratch["found"])
    assert told["clean"]["parts"] == 1
    assert load_bundle(bundle).finds == ()


def test_what_a_dataset_ignores_is_neither_drawn_on_nor_judged(tmp_path: Path) -> None:
    """An answer there flags no clean part, no mark lies there, and a defect that reaches there is left out."""
    data = tmp_path / "data"
    data.mkdir()
    clean: UInt8 = np.full((120, 160, 3), 60, np.uint8)
    clean[:, 100:] = 220
    mask: UInt8 = np.zeros((120, 160), np.uint8)
    mask[50:56, 70:120] = 255
    ignored: UInt8 = np.zeros((120, 160), np.uint8)
    ignored[:, 90:] = 255
    for name, pixels in (("clean", clean), ("bad", clean), ("mask", mask), ("ignored", ignored)):
        cv2.imwrite(str(data / f"{name}.png"), pixels)
    rows = ("clean.png,,ok,a,ignored.png", "bad.png,mask.png,scratch,b,ignored.png")
    (data / "manifest.csv").write_text(
        "\n".join(["image,mask,class,group,ignore_mask", *rows]) + "\n", encoding="utf-8"
    )
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=6).path
    asked = ("--contrast", 150, "--each", 1, "--parts", 1, "--size-px", 16, 26, "--no-note")
    result = run(bundle, data, "--json", tmp_path / "pod.json", *asked)
    assert result.exit_code == 0, result.output
    told = json.loads((tmp_path / "pod.json").read_text(encoding="utf-8"))
    assert (told["clean"]["parts"], told["clean"]["flagged"]) == (1, 0)
    assert told["classes"]["scratch"]["real"] is None
    assert told["classes"]["scratch"]["found"] == told["classes"]["scratch"]["judged"] > 0


def one_clean_picture(folder: Path, level: int) -> Path:
    """Write a dataset of one clean picture of one grey level."""
    folder.mkdir()
    cv2.imwrite(str(folder / "clean.png"), np.full((120, 160, 3), level, np.uint8))
    (folder / "manifest.csv").write_text("image,mask,class,group\nclean.png,,ok,a\n", encoding="utf-8")
    return folder


def test_clean_parts_that_are_flagged_as_they_are_get_a_word(tmp_path: Path) -> None:
    """Nothing that is drawn on them changes the answer: a table of misses alone would blame the model's eyes."""
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=6).path
    asked = ("--contrast", 50, "--each", 1, "--parts", 1, "--size-px", 16, 26, "--no-note")
    told = run(bundle, one_clean_picture(tmp_path / "data", 200), *asked)
    words = " ".join(told.output.split())
    assert "1 of 1 clean part are flagged before anything is drawn" in words
    assert "size, light, colour" in words


def test_one_clean_picture_takes_all_that_is_drawn(tmp_path: Path) -> None:
    """With fewer pictures than `--parts`, each takes more: two in each orientation and ninth are 216."""
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=6).path
    data = one_clean_picture(tmp_path / "data", 60)
    asked = ("--contrast", 50, "--each", 2, "--size-px", 8, 12, "--no-note", "--json", tmp_path / "pod.json")
    assert run(bundle, data, *asked).exit_code == 0
    told = json.loads((tmp_path / "pod.json").read_text(encoding="utf-8"))
    assert (told["classes"]["scratch"]["judged"], told["not_drawn"]) == (216, 0)


def test_what_had_no_room_was_not_measured(tmp_path: Path) -> None:
    """It is no real one, and it was not missed."""
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=6).path
    data = one_clean_picture(tmp_path / "data", 60)
    told = run(bundle, data, "--contrast", 50, "--each", 1, "--size-px", 500, 900, "--no-note").output
    assert "scratch was not measured: nothing was drawn" in " ".join(told.split())
    assert "real" not in told.replace("no real one was met", "")


def test_reasons_have_the_unit_of_the_sizes(tmp_path: Path) -> None:
    """In a table in mm no reason is in px."""
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=6).path
    asked = ("--contrast", 10, "--each", 2, "--size-px", 10, 40, "--no-note", "--mm-per-px", 0.5)
    result = run(bundle, one_clean_picture(tmp_path / "data", 60), *asked, "--json", tmp_path / "pod.json")
    assert result.exit_code == 0, result.output
    scratch = json.loads((tmp_path / "pod.json").read_text(encoding="utf-8"))["classes"]["scratch"]
    assert re.fullmatch(r"none of \d+ was found, up to (19|20) mm", scratch["reason"])
    assert " px" not in scratch["sentence"]


def test_a_file_that_cannot_be_written_ends_it_before_anything_is_drawn(tmp_path: Path) -> None:
    """A folder in the file's place is told at once, and not after minutes."""
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=6).path
    for option in ("--json", "--csv", "--plot"):
        with pytest.raises(LinewatchError, match=r"Is a directory\. Nothing was begun") as caught:
            run(bundle, tmp_path / "absent", option, tmp_path)
        assert caught.value.exit_code == 8
    plot = tmp_path / "new" / "plot.png"
    asked = ("--contrast", 90, "--each", 1, "--parts", 1, "--size-px", 16, 26, "--no-note")
    assert run(bundle, one_clean_picture(tmp_path / "data", 60), *asked, "--plot", plot).exit_code == 0
    assert plot.is_file()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--size-px", "50", "10"], 3, "the smaller one first"),
        (["--contrast", "40", "--contrast", "40"], 3, "each once"),
        (["--mm-per-px", "0"], 3, "above 0 mm"),
        (["--product", "plate"], 3, "glass, disc, tile"),
        (["--shape", "scratch"], 3, "scratch=line"),
        (["--shape", "dent=spot"], 4, "no class dent"),
    ],
)
def test_what_cannot_be_measured_is_refused(words: list[str], code: int, told: str, tmp_path: Path) -> None:
    """A wrong option ends with its exit code and says what was expected, before anything is judged."""
    bundle = write_step_bundle(tmp_path / "bright", min_area_px=60).path
    with pytest.raises(LinewatchError) as caught:
        run(bundle, *words)
    assert caught.value.exit_code == code
    assert told in str(caught.value)
    shutil.rmtree(bundle)
