"""Draw the pictures of the documentation from simulated parts, by the commands that it describes. Run: make picture."""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from edge.alarms import AlarmManager, AlarmRule
from edge.cli.commands import app as linewatch
from edge.inspection.limits import judge
from edge.opencv import cv2
from edge.pictures import read_picture
from edge.records import ClassMeasure, FrameResult, Measurement, UInt8
from edge.simulation.dataset import write_dataset
from trainer.__main__ import app as linewatch_train
from trainer.datasets.contact_sheets import SheetCell, contact_sheet
from trainer.reports.galleries import tinted

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
_CELL_PX = 300
_COLOURS = {1: (230, 25, 75)}
_QUALITY = 82
_S = 1_000_000_000


def main() -> None:
    """Draw all of them."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "glass", 24, 5, (480, 640))
        for draw in (draw_labels, draw_report, draw_preparing, draw_figures):
            write(draw.__name__.removeprefix("draw_"), draw(folder))
    (PICTURES / "alarms.svg").write_text(draw_alarms(), encoding="utf-8")


def write(name: str, pixels: UInt8) -> None:
    """Write one of the pictures."""
    cv2.imwrite(str(PICTURES / f"{name}.jpg"), pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])


def run(app: object, *words: object, code: int = 0) -> None:
    """Run a command line as a user does."""
    done = CliRunner().invoke(app, [str(word) for word in words])  # type: ignore[arg-type]
    if (done.exit_code or getattr(done.exception, "exit_code", 0)) != code:
        raise SystemExit(f"{' '.join(map(str, words))}: {done.output} {done.exception}")


def shown(folder: Path, *, defective: bool) -> tuple[UInt8, UInt8]:
    """Return a picture of the simulated dataset that shows scratches, or is clean, with its mask of 0 and 255."""
    rows = [row.split(",") for row in (folder / "glass" / "manifest.csv").read_text(encoding="utf-8").split()[1:]]
    image, mask = next(row[:2] for row in rows if row[2] == ("scratch" if defective else "ok"))
    pixels = read_picture(folder / "glass" / image)
    return pixels, cv2.imread(str(folder / "glass" / mask), 0) if mask else np.zeros(pixels.shape[:2], np.uint8)


def draw_labels(folder: Path) -> UInt8:
    """Draw a photo, the same with a defect painted red, and the mask that `import red-marker` makes of the two."""
    photo, mask = shown(folder, defective=True)
    painted = photo.copy()
    outlines, _ = cv2.findContours(
        cv2.dilate(mask, np.ones((7, 7), np.uint8)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(painted, outlines, -1, (0, 0, 255), 3)
    for name, pixels in (("photos", photo), ("drawings", painted)):
        (folder / name).mkdir()
        cv2.imwrite(str(folder / name / "part.png"), pixels)
    out = folder / "scratches"
    run(
        linewatch_train,
        "import",
        "red-marker",
        folder / "photos",
        folder / "drawings",
        "--class",
        "scratch",
        "--out",
        out,
    )
    made = cv2.imread(str(next((out / "masks").rglob("*.png"))))
    cells = [SheetCell(photo, "a photo"), SheetCell(painted, "the same, painted red"), SheetCell(made, "the mask")]
    return contact_sheet(cells, columns=3, cell_px=_CELL_PX)


def draw_report(folder: Path) -> UInt8:
    """Draw four pictures as `inspect` lays what it found over them."""
    overlays = folder / "overlays"
    pictures = folder / "glass" / "images"
    words = ("inspect", pictures, "--bundle", "demo", "--report", folder / "r.html", "--overlays", overlays)
    run(linewatch, *words, code=12)
    paths = sorted(overlays.iterdir())
    cells = [SheetCell(cv2.imread(str(path)), path.stem[6:]) for path in paths[:6]]
    return contact_sheet(cells, columns=3, cell_px=_CELL_PX)


def draw_preparing(folder: Path) -> UInt8:
    """Draw what the shipped model's preparing makes of a picture, as `linewatch-train preparing` draws it."""
    picture = min((folder / "glass" / "images").iterdir())
    sheet = folder / "sheet.png"
    run(linewatch_train, "preparing", ROOT / "config" / "train.glass-lines.yaml", picture, "--out", sheet)
    whole = cv2.imread(str(sheet))
    small: UInt8 = cv2.resize(whole, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    return small


def draw_figures(folder: Path) -> UInt8:
    """Draw what found, missed and falsely flagged mean: the truth above, an answer below."""
    defective, mask = shown(folder, defective=True)
    clean, nothing = shown(folder, defective=False)
    true = (mask > 0).astype(np.uint8)
    half = true.copy()
    half[:, : int(np.flatnonzero(true.any(axis=0)).mean())] = 0
    wrong = nothing.copy()
    cv2.ellipse(wrong, (clean.shape[1] // 2, clean.shape[0] // 2), (40, 8), 30, 0, 360, 1, -1)
    truths = [(defective, true, "true"), (defective, true, "true"), (clean, nothing, "true: clean")]
    answers = [
        (defective, half, "answered: found, in part"),
        (defective, nothing, "answered: missed, passed"),
        (clean, wrong, "answered: falsely flagged"),
    ]
    cells = [SheetCell(tinted(pixels, found, _COLOURS, 600), text) for pixels, found, text in (*truths, *answers)]
    return contact_sheet(cells, columns=3, cell_px=_CELL_PX)


def draw_alarms() -> str:
    """Draw a coverage over 12 s, its limits, and when the alarm manager lets the alarm stand, as SVG."""
    rule = AlarmRule.model_validate(
        {
            "id": "scratched",
            "measure": "coverage",
            "raise_at": 0.006,
            "clear_below": 0.003,
            "on_delay_ms": 1000,
            "off_delay_ms": 1000,
            "text": "Scratched: check the rollers",
        }
    )
    times_s = np.arange(0, 12, 0.1)
    coverages = 0.0045 + 0.0042 * np.sin(times_s * 0.9 - 1.2) + 0.0016 * np.sin(times_s * 5.3)
    coverages = np.clip(coverages, 0, None)
    manager = AlarmManager((rule,))
    stands = []
    for time_s, coverage in zip(times_s, coverages, strict=True):
        manager.look_at(_result(float(coverage), float(time_s)), round(time_s * _S) + 1)
        stands.append("scratched" in manager.active)
    return _svg(times_s.tolist(), coverages.tolist(), stands, rule)


def _result(coverage: float, time_s: float) -> FrameResult:
    measurement = Measurement(coverage, None, 1000.0, {"scratch": ClassMeasure(coverage, 1)}, ())
    at = datetime.fromtimestamp(time_s, timezone.utc)
    return FrameResult(
        "camera", round(time_s * 10), "", at, round(time_s * _S), 0.0, judge(measurement, {}), measurement
    )


def _svg(times_s: list[float], coverages: list[float], stands: list[bool], rule: AlarmRule) -> str:
    def x(time_s: float) -> float:
        return 60 + time_s * 55

    def y(coverage: float) -> float:
        return 200 - coverage * 16000

    line = " ".join(f"{x(t):.1f},{y(c):.1f}" for t, c in zip(times_s, coverages, strict=True))
    bars = "".join(
        f'<rect x="{x(t):.1f}" y="222" width="5.6" height="16" fill="#b3261e"/>'
        for t, on in zip(times_s, stands, strict=True)
        if on
    )
    levels = "".join(
        f'<line x1="60" x2="715" y1="{y(level):.1f}" y2="{y(level):.1f}" stroke="#5b6875" stroke-dasharray="5 4"/>'
        f'<text x="64" y="{y(level) - 5:.1f}">{key} {level:g}</text>'
        for key, level in (("raise_at", rule.raise_at), ("clear_below", rule.clear_below))
        if level is not None
    )
    ticks = "".join(f'<text x="{x(t):.0f}" y="262">{t} s</text>' for t in range(0, 12, 2))
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 740 275" font-family="sans-serif" font-size="13">'
        '<rect width="740" height="275" fill="#fff"/>'
        f'{levels}<polyline points="{line}" fill="none" stroke="#3b6ea8" stroke-width="2"/>'
        f'<text x="8" y="16">coverage</text><text x="8" y="235">alarm</text>{bars}{ticks}</svg>\n'
    )


if __name__ == "__main__":
    main()
