"""The files of `linewatch inspect`: one HTML file that needs nothing else, a table as CSV or JSON, overlays.

Everything that comes from outside, file names above all, is escaped; the page runs no script and loads nothing. Its
pictures go to a temporary file beside it as they come: memory does not grow with their number.
"""

from __future__ import annotations

import base64
import csv
import io
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from typing_extensions import Self

from edge import __version__
from edge.bundle import Bundle, safe_name
from edge.errors import StoreError
from edge.files import replacing, write_bytes
from edge.inspection.grading import GradeCounts
from edge.inspection.inspector import InspectedPicture
from edge.inspection.overlaying import overlay
from edge.inspection.settings import InspectSettings
from edge.opencv import cv2
from edge.pictures import as_text
from edge.preparing import map_to_frame
from edge.printable import printable
from edge.records import Defect, DefectClass, Measurement, UInt8, Verdict
from edge.web.page import FOOT, escaped, head
from edge.wording import counted

NG_EXIT, NO_READ_EXIT, FAILED_EXIT = 12, 5, 6
_DEFECTS_LISTED = 100
_JPEG_QUALITY = 85
_BARS = 20
_FIRST = 10


@dataclass
class PictureTotals:
    """The sums of a run over pictures. `failed`: inference failed, counted in `no_read` too. Areas in px, or mm²."""

    ok: int = 0
    ng: int = 0
    no_read: int = 0
    failed: int = 0
    tiles: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    coverages: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    grades: GradeCounts = field(default_factory=GradeCounts)

    def add(self, picture: InspectedPicture) -> None:
        """Count one picture."""
        verdict = picture.outcome.judgement.verdict
        self.ok += verdict is Verdict.OK
        self.ng += verdict is Verdict.NG
        self.no_read += verdict is Verdict.NO_READ
        self.failed += picture.failed
        self.tiles += picture.tiles
        self.grades.add(picture.outcome.grade)
        if picture.outcome.measurement is None:
            return
        self.coverages.append(picture.outcome.measurement.coverage)
        for defect in picture.outcome.measurement.defects:
            self.by_class[defect.class_name] = self.by_class.get(defect.class_name, 0) + 1
            self.areas.append(defect.area_px if defect.area_mm2 is None else defect.area_mm2)

    @property
    def pictures(self) -> int:
        """The number of pictures that were inspected."""
        return self.ok + self.ng + self.no_read

    @property
    def exit_code(self) -> int:
        """The worst of them: 6 inference failed, 5 a picture was NO_READ, 12 one was NG, 0 all are OK."""
        if self.failed:
            return FAILED_EXIT
        return NO_READ_EXIT if self.no_read else NG_EXIT if self.ng else 0


def shown_name(path: Path) -> str:
    """Return a path as text that any file can hold: bytes that are no UTF-8 are written as escapes."""
    return as_text(str(path))


def as_row(picture: InspectedPicture) -> dict[str, Any]:
    """Return what one picture came to, for JSON; a missing measurement is None. Sizes in px of the picture, mm, mm²."""
    outcome, frame = picture.outcome, picture.frame
    seen = outcome.measurement
    row: dict[str, Any] = {
        "picture": shown_name(picture.path),
        "verdict": outcome.judgement.verdict.value,
        "reason": outcome.judgement.reason and as_text(outcome.judgement.reason),
        "grade": outcome.grade and outcome.grade.name,
        "value_factor": outcome.grade and outcome.grade.value_factor,
        "width": frame and frame.pixels.shape[1],
        "height": frame and frame.pixels.shape[0],
        "coverage": seen and seen.coverage,
        "coverage_mm2": seen and seen.coverage_mm2,
        "region_px": seen and seen.region_px,
        "classes": seen and {name: {"coverage": c.coverage, "count": c.count} for name, c in seen.classes.items()},
        "defects": seen and [_defect_row(defect) for defect in seen.defects],
        "zones": seen and {name: _zone_row(zone) for name, zone in outcome.zones.items()},
        "told": list(picture.told),
    }
    return row


def _zone_row(zone: Measurement) -> dict[str, Any]:
    classes = {name: {"coverage": c.coverage, "count": c.count} for name, c in zone.classes.items()}
    return {
        "coverage": zone.coverage,
        "coverage_mm2": zone.coverage_mm2,
        "region_px": zone.region_px,
        "classes": classes,
    }


def _defect_row(defect: Defect) -> dict[str, Any]:
    return {
        "class": defect.class_name,
        "score": round(defect.score, 3),
        "area_px": round(defect.area_px, 1),
        "area_mm2": _rounded(defect.area_mm2),
        "u_area_mm2": _rounded(defect.u_area_mm2),
        "length_px": round(defect.length_px, 2),
        "length_mm": _rounded(defect.length_mm),
        "u_mm": _rounded(defect.u_mm),
        "width_px": round(defect.width_px, 2),
        "width_mm": _rounded(defect.width_mm),
        "width_max_px": round(defect.width_max_px, 2),
        "width_max_mm": _rounded(defect.width_max_mm),
        "u_width_mm": _rounded(defect.u_width_mm),
        "contrast": None if defect.contrast is None else round(defect.contrast, 1),
        "orientation_deg": None if defect.orientation_deg is None else round(defect.orientation_deg, 1) % 180,
        "edge_distance_px": None if defect.edge_distance_px is None else round(defect.edge_distance_px, 1),
        "edge_distance_mm": _rounded(defect.edge_distance_mm),
        "measured_by": "grey" if defect.by_grey else "mask",
        "pieces": defect.pieces,
        "bbox": list(defect.bbox),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 5)


# The columns of a defect in the table, beside its place among its picture's and its box.
_OF_DEFECT: tuple[str, ...] = (
    *("class", "score", "length_mm", "width_mm", "width_max_mm", "area_mm2", "u_mm", "u_width_mm", "u_area_mm2"),
    *("length_px", "width_px", "width_max_px", "area_px", "contrast", "orientation_deg"),
    *("edge_distance_mm", "edge_distance_px", "measured_by", "pieces"),
)


def as_csv(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Return one line per defect, and one for a picture without any; each tells its picture's figures too.

    The picture's: verdict, coverage, and per class the count and coverage; empty if unmeasured. A defect's: its place
    among them, the largest first, its sizes in mm, which are empty without a scale, and in px.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    plain = ["picture", "verdict", "reason", "grade", "value_factor", "width", "height", "coverage"]
    plain += ["coverage_mm2", "region_px"]
    of_class = [f"{name}_{what}" for name in names for what in ("count", "coverage")]
    heads = ["defect", *_OF_DEFECT, "x", "y", "w", "h"]
    writer.writerow([*plain, "defects", "largest_px", "largest_mm2", *of_class, *heads])
    for row in rows:
        defects = row["defects"]
        largest = defects[0] if defects else {"area_px": 0, "area_mm2": None}
        counted = ["", "", ""] if defects is None else [len(defects), largest["area_px"], largest["area_mm2"]]
        classes = row["classes"] or {}
        per_class = [classes[name][what] if classes else "" for name in names for what in ("count", "coverage")]
        of_picture = [*(row[key] for key in plain), *counted, *per_class]
        for place, defect in enumerate(defects or [None], start=1):
            of_defect: list[Any] = [""] * len(heads)
            if defect is not None:
                of_defect = [place, *(defect[key] for key in _OF_DEFECT), *defect["bbox"]]
            writer.writerow(["" if value is None else printable(value) for value in (*of_picture, *of_defect)])
    return text.getvalue()


def drawn(picture: InspectedPicture, classes: Sequence[DefectClass], long_side_px: int | None = None) -> UInt8 | None:
    """Return the picture with what was found in it, BGR uint8, its longer side at most `long_side_px`; None if unread.

    Made smaller, a defect keeps at least a pixel, so that hairlines are still seen.
    """
    if picture.frame is None:
        return None
    pixels = picture.frame.pixels
    height, width = pixels.shape[:2]
    scale = min(1.0, (long_side_px or max(height, width)) / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    found: UInt8 = np.zeros((size[1], size[0]), np.uint8)
    kept, prepared = picture.outcome.kept, picture.prepared
    if kept is not None and prepared is not None:
        whole = map_to_frame(kept.classes, prepared.to_frame, (height, width), kept.stride)
        for entry in classes:
            own = cv2.compare(whole, entry.id, cv2.CMP_EQ)
            found[cv2.resize(own, size, interpolation=cv2.INTER_AREA) > 0] = entry.id
    return overlay(small, found, {entry.id: entry.colour for entry in classes})


class OverlaysFolder:
    """Writes each picture with its findings, whole, as JPEG; named by its place in the run and its name."""

    def __init__(self, folder: Path, classes: Sequence[DefectClass]) -> None:
        self._folder, self._classes, self._next = folder, classes, 0
        make_folder(folder)

    def add(self, picture: InspectedPicture) -> None:
        """Write `00012-name.jpg`, or nothing for a picture that could not be read. Raises StoreError."""
        place, self._next = self._next, self._next + 1
        canvas = drawn(picture, self._classes)
        if canvas is not None:
            write_bytes(self._folder / f"{place:05d}-{safe_name(picture.path.stem)}.jpg", _jpeg(canvas))


def _jpeg(pixels: UInt8) -> bytes:
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1])


def make_folder(folder: Path) -> None:
    """Make a folder and those above it. Raises StoreError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"{path} cannot be written: {error.strerror or error}. Free some space or choose another place")


class HtmlReport:
    """Collects inspected pictures and writes one HTML file. Raises StoreError, on entering if it is sure to fail.

    `picture_px`: longer side of the pictures in it; 0 = none.
    """

    def __init__(self, path: Path, bundle: Bundle, settings: InspectSettings, picture_px: int) -> None:
        self.totals = PictureTotals()
        self._path, self._bundle, self._settings, self._picture_px = path, bundle, settings, picture_px
        self._rows: list[str] = []
        self._unread: list[str] = []
        self._worst: list[tuple[float, int, str]] = []
        self._sections: IO[str] | None = None
        self._started = datetime.now(timezone.utc)

    def __enter__(self) -> Self:
        if self._path.is_dir():
            raise StoreError(f"{self._path} is a folder; expected the name of a file to write the report to")
        make_folder(self._path.parent)
        try:
            self._sections = tempfile.TemporaryFile("w+", dir=self._path.parent, encoding="utf-8")
        except OSError as error:
            raise _unwritable(self._path, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sections is not None:
            self._sections.close()

    def add(self, picture: InspectedPicture) -> None:
        """Take one more picture."""
        self.totals.add(picture)
        row, place = as_row(picture), self.totals.pictures
        if row["verdict"] == Verdict.NO_READ.value:
            self._unread.append(f'<a href="#p{place}">{escaped(row["picture"])}</a>')
        elif row["verdict"] == Verdict.NG.value:
            link = f'<a href="#p{place}">{escaped(row["picture"])}</a>: {escaped(row["reason"] or "")}'
            # the worst first; of two alike the one that came first
            self._worst = sorted([*self._worst, (-(row["coverage"] or 0.0), place, link)])[:_FIRST]
        self._rows.append(_table_row(place, row, self._names, calibrated=self._calibrated))
        canvas = drawn(picture, self._bundle.classes, self._picture_px) if self._picture_px else None
        self._guarded(lambda file: file.write(_section(place, row, canvas, calibrated=self._calibrated)))

    def write(self, ended_early: str = "") -> None:
        """Write the page; `ended_early` says why it does not show all that was asked for."""

        def whole(sections: IO[str]) -> None:
            sections.seek(0)
            with replacing(self._path) as unfinished, unfinished.open("w", encoding="utf-8") as page:
                page.write(self._head(ended_early))
                shutil.copyfileobj(sections, page, 1 << 20)
                page.write(FOOT)

        self._guarded(whole)

    def _guarded(self, act: Callable[[IO[str]], object]) -> None:
        if self._sections is None:
            raise StoreError(f"{self._path} is closed; open it with `with` before adding pictures")
        try:
            act(self._sections)
        except OSError as error:
            raise _unwritable(self._path, error) from error

    @property
    def _names(self) -> list[str]:
        return [entry.name for entry in self._bundle.classes]

    @property
    def _calibrated(self) -> bool:
        return self._settings.has_scale

    @property
    def _facts(self) -> list[tuple[str, str]]:
        manifest = self._bundle.manifest
        return [
            ("inspected", self._started.strftime("%Y-%m-%d %H:%M UTC")),
            ("bundle", f"{manifest.name} {manifest.version}, model {(self._bundle.model_sha256 or '-')[:12]}"),
            ("preparing", " → ".join(step.step for step in manifest.preparing) or "none"),
            ("pixel", _pixel(self._settings)),
            ("region", self._inspected),
            ("linewatch", __version__),
        ]

    @property
    def _inspected(self) -> str:
        """Tell what is inspected, in words."""
        region = "as set" if self._settings.region else "the whole picture"
        part = f", of it the part ({self._settings.part.find})" if self._settings.part else ""
        zones = ", ".join(self._settings.zones)
        return f"{region}{part}{'; zones: ' if zones else ''}{zones}"

    @property
    def _tiles(self) -> list[tuple[str, int, str]]:
        """The name, the number and the mood of each tile."""
        totals = self.totals
        tiles = [("pictures", totals.pictures, ""), ("OK", totals.ok, "ok"), ("NG", totals.ng, "ng")]
        tiles.append(("NO_READ", totals.no_read, "no_read"))
        tiles += [(f"grade {row.name}", totals.grades.counts.get(row.name, 0), "") for row in self._settings.grades]
        tiles += [(entry.name, totals.by_class.get(entry.name, 0), "") for entry in self._bundle.classes]
        return tiles

    def _head(self, ended_early: str) -> str:
        manifest, totals = self._bundle.manifest, self.totals
        title = f"Inspection with {manifest.name} {manifest.version}"
        legend = "".join(
            f'<li><span class="swatch" style="background:rgb({r},{g},{b})"></span>{escaped(entry.name)}: '
            f"{escaped(self._rule(entry))}</li>"
            for entry in self._bundle.classes
            for r, g, b in [entry.colour]
        )
        mood = "ng" if totals.ng else "no_read" if totals.no_read else "ok"
        area = "mm²" if self._calibrated else "px"
        columns = ["picture", "verdict", "coverage", *([f"defective {area}"] if self._calibrated else []), *self._names]
        return "".join(
            [
                head(title, _STYLE),
                f'<h1 class="{mood}">{escaped(headline(totals))}</h1>',
                f"<p>{escaped(title)}, {self._started:%Y-%m-%d %H:%M} UTC</p>",
                f'<p class="no_read">{escaped(ended_early)}</p>' if ended_early else "",
                self._first(),
                f'<p class="no_read">Not read: {", ".join(self._unread)}</p>' if self._unread else "",
                '<div class="tiles">',
                *(f'<div class="tile {c}"><b>{count}</b>{escaped(name)}</div>' for name, count, c in self._tiles),
                "</div>",
                f'<ul class="legend">{legend}</ul><div class="charts">',
                histogram([100 * value for value in totals.coverages], "coverage per picture", "%", "pictures"),
                histogram(totals.areas, "area per defect", area, "defects", logarithmic=True),
                "</div><details><summary>How they were inspected</summary><dl>",
                *(f"<dt>{escaped(k)}</dt><dd>{escaped(v)}</dd>" for k, v in self._facts),
                "</dl></details>",
                '<h2>Pictures</h2><div class="wide"><table><thead><tr><th>#</th>',
                *(f"<th>{escaped(name)}</th>" for name in columns),
                f"<th>largest, {area}</th><th>reason</th></tr></thead><tbody>",
                *self._rows,
                "</tbody></table></div>",
            ]
        )

    def _first(self) -> str:
        """List the NG pictures to look at first: those with the largest coverage, each with its reason."""
        if not self._worst:
            return ""
        more = self.totals.ng - len(self._worst)
        rest = f"<p>and {more} more in the table below</p>" if more else ""
        listed = "".join(f"<li>{link}</li>" for _, _, link in self._worst)
        return f'<h2>Look at these first</h2><ol class="first">{listed}</ol>{rest}'

    def _rule(self, entry: DefectClass) -> str:
        threshold = self._settings.thresholds.get(entry.name, entry.threshold)
        limit = self._settings.limits.get(entry.name)
        kept = limit.model_dump(exclude_none=True) if limit else {"max_count": 0}
        allowed = ", ".join(f"{key} {value:g}" for key, value in kept.items()) or "no limit"
        return f"from probability {threshold:g} and {entry.min_area_px:g} prepared px on; {allowed}"


def headline(totals: PictureTotals) -> str:
    """Say in one line what a person asks first: how many pictures are NG or were not read, and what was found."""
    if not totals.pictures:
        return "No picture was inspected"
    whole = counted(totals.pictures, "picture")
    of = "The one picture" if totals.pictures == 1 else f"All {whole}"
    if totals.ok == totals.pictures:
        return f"{of} {'is' if totals.pictures == 1 else 'are'} OK"
    said = [f"{totals.ng} of {whole} NG"] if totals.ng else []
    said += [f"{totals.no_read} of {whole} NO_READ"] if totals.no_read else []
    found = ", ".join(f"{count} {name}" for name, count in sorted(totals.by_class.items()) if count)
    return ", ".join(said) + (f". Found: {found}" if found else "")


def _number(value: float | None) -> str:
    """Show a measured number with three digits; nothing where it was not measured."""
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _pixel(settings: InspectSettings) -> str:
    """Say how large a pixel is."""
    if (calibrated := settings.calibrated) is not None:
        return (
            f"{calibrated.mm_per_px:.4g} mm in the centre, calibrated {calibrated.made_at[:10]} by {calibrated.target}"
        )
    return f"{settings.mm_per_px:g} mm" if settings.mm_per_px else "not calibrated"


def _table_row(place: int, row: dict[str, Any], names: Sequence[str], *, calibrated: bool) -> str:
    defects, classes = row["defects"], row["classes"] or {}
    largest = (defects[0]["area_mm2"] if calibrated else defects[0]["area_px"]) if defects else None
    cells = [
        f'<span class="verdict {row["verdict"].lower()}">{row["verdict"]}</span>',
        "" if row["coverage"] is None else f"{row['coverage']:.4%}",
        *([_number(row["coverage_mm2"])] if calibrated else []),
        *(str(classes[name]["count"]) if classes else "" for name in names),
        _number(largest),
    ]
    link = f'<a href="#p{place}">{escaped(row["picture"])}</a>'
    middle = "".join(f"<td>{cell}</td>" for cell in cells)
    reason = escaped(row["reason"] or "")
    return f'<tr><td>{place}</td><td class="long">{link}</td>{middle}<td class="long">{reason}</td></tr>\n'


def _section(place: int, row: dict[str, Any], canvas: UInt8 | None, *, calibrated: bool) -> str:
    size = f"{row['width']} x {row['height']} px" if row["width"] else "unreadable"
    name = escaped(row["picture"])
    verdict = f'<span class="verdict {row["verdict"].lower()}">{row["verdict"]}</span>'
    parts = [
        f'<section id="p{place}"><h3>{verdict} {place}. {name} <small>{size}</small></h3>',
        f"<p>{escaped(row['reason'])}</p>" if row["reason"] else "",
    ]
    if canvas is not None:
        source = base64.b64encode(_jpeg(canvas)).decode()
        parts.append(f'<img alt="{name} with what was found" src="data:image/jpeg;base64,{source}">')
    if row["defects"]:
        parts.append(_defects_table(row["defects"], calibrated=calibrated))
    return "".join([*parts, "</section>\n"])


def _defects_table(defects: Sequence[dict[str, Any]], *, calibrated: bool) -> str:
    columns = [
        "area_px",
        *(["area_mm2", "length_mm", "u_mm", "width_mm"] if calibrated else ["length_px", "width_px"]),
        "score",
    ]
    titles = [
        name.replace("u_mm", "± mm").replace("_px", ", px").replace("_mm2", ", mm²").replace("_mm", ", mm")
        for name in columns
    ]
    rows = "".join(
        f"<tr><td>{escaped(d['class'])}</td>"
        + "".join(f"<td>{_number(d[column])}</td>" for column in columns)
        + f"<td>{', '.join(map(str, d['bbox']))}</td></tr>"
        for d in defects[:_DEFECTS_LISTED]
    )
    more = len(defects) - _DEFECTS_LISTED
    return (
        f'<div class="wide"><table><thead><tr><th>defect</th>{"".join(f"<th>{t}</th>" for t in titles)}'
        f"<th>x, y, width, height</th></tr></thead><tbody>{rows}</tbody></table></div>"
        + (f"<p>and {more} smaller ones</p>" if more > 0 else "")
    )


def bars(values: Sequence[float], *, logarithmic: bool = False) -> list[tuple[float, float, int]]:
    """Count values, each 0 or more, in up to 20 equal parts from the least to the greatest: (from, to, count) of each.

    Equal on a logarithmic scale if asked for; values of 0 then have a part of their own. The last part has its end.
    """
    zeros = sum(value <= 0 for value in values) if logarithmic else 0
    used = [value for value in values if not logarithmic or value > 0]
    parts = [(0.0, 0.0, zeros)] if zeros else []
    if not used:
        return parts
    low, high = (min(used), max(used)) if logarithmic else (0.0, max(used))
    if low >= high:
        return [*parts, (low, high, len(used))]
    edges = np.geomspace(low, high, _BARS + 1) if logarithmic else np.linspace(low, high, _BARS + 1)
    edges[0], edges[-1] = low, high  # geomspace may miss them by a rounding
    counts, _ = np.histogram(used, edges)
    return [*parts, *((float(a), float(b), int(n)) for a, b, n in zip(edges, edges[1:], counts, strict=False))]


def histogram(values: Sequence[float], title: str, unit: str, counted: str, *, logarithmic: bool = False) -> str:
    """Draw how often values occur, as inline SVG that needs no script; each bar says its numbers when pointed at."""
    parts = bars(values, logarithmic=logarithmic)
    label = f"{title}, {unit}" + (", logarithmic" if logarithmic else "")
    if not parts:
        return f"<figure><figcaption>{escaped(label)}: nothing to show</figcaption></figure>"
    most = max(count for _, _, count in parts)
    pitch, height = 400 / len(parts), 120
    said = [f"{_number(low)} to {_number(high)} {unit}: {count} {counted}" for low, high, count in parts]
    drawn_bars = "".join(
        f'<rect x="{10 + place * pitch:.1f}" y="{20 + height * (1 - count / most):.1f}" '
        f'width="{max(1, pitch - 2):.1f}" height="{height * count / most:.1f}">'
        f"<title>{escaped(said[place])}</title></rect>"
        for place, (_, _, count) in enumerate(parts)
    )
    return (
        f'<figure><figcaption>{escaped(label)}</figcaption><svg viewBox="0 0 420 165" role="img" '
        f'aria-label="{escaped(label)}"><text x="10" y="13">{most} {escaped(counted)}</text>{drawn_bars}'
        f'<line x1="10" y1="140" x2="410" y2="140"/><text x="10" y="157">{_number(parts[0][0])}</text>'
        f'<text x="410" y="157" text-anchor="end">{_number(parts[-1][1])} {escaped(unit)}</text></svg></figure>'
    )


_STYLE = """
:root{color-scheme:light}body{margin:0;background:#f4f5f7;color:#1d232b;font:15px/1.45 system-ui,sans-serif}
main{max-width:1100px;margin:0 auto;padding:24px}h1{font-size:24px;margin:0 0 4px}
h1.ok{color:#1d7a34}h1.ng{color:#b3261e}
h1.no_read{color:#8a5a00}.first li{overflow-wrap:anywhere}details{margin:12px 0}summary{cursor:pointer}
h2{font-size:19px;margin:28px 0 8px}
h3{font-size:16px;margin:0 0 8px;overflow-wrap:anywhere}small{color:#5b6572;font-weight:400}
dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px;margin:0 0 16px}dt{color:#5b6572}dd{margin:0}
.tiles{display:flex;flex-wrap:wrap;gap:10px}.tile{background:#fff;border-radius:8px;padding:10px 18px;min-width:70px}
.tile b{display:block;font-size:24px}.tile.ok b{color:#1d7a34}.tile.ng b{color:#b3261e}.tile.no_read b{color:#8a5a00}
.legend{list-style:none;padding:0;margin:14px 0}.swatch{display:inline-block;width:14px;height:14px;margin-right:8px;
border-radius:3px;vertical-align:-2px;border:1px solid #0003}.charts{display:flex;flex-wrap:wrap;gap:16px}
figure{margin:0;background:#fff;border-radius:8px;padding:12px;flex:1 1 380px}figcaption{font-weight:600}
svg{width:100%;height:auto}svg rect{fill:#3b6ea8}svg line{stroke:#5b6572}svg text{font-size:12px;fill:#5b6572}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;background:#fff;border-radius:8px;font-size:14px}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid #e3e6ea;vertical-align:top}
td.long{overflow-wrap:anywhere;min-width:140px}
th{color:#5b6572;font-weight:600;white-space:nowrap}
section{background:#fff;border-radius:8px;padding:16px;margin:16px 0;break-inside:avoid}
section img{max-width:100%;height:auto;display:block;margin-bottom:10px}
.verdict{border-radius:4px;padding:1px 7px;color:#fff;font-size:13px;font-weight:600;white-space:nowrap}
.verdict.ok{background:#1d7a34}.verdict.ng{background:#b3261e}.verdict.no_read{background:#8a5a00}
p.no_read{background:#fff3d6;padding:10px 14px;border-radius:8px}a{color:#1f5f9e}
"""


def write_inspection(
    pictures: Iterable[InspectedPicture],
    report: HtmlReport | PictureTotals,
    *,
    overlays: OverlaysFolder | None = None,
    each: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Take inspected pictures into an open report, or their totals, and overlays; return rows for CSV and JSON."""
    rows = []
    for picture in pictures:
        report.add(picture)
        if overlays is not None:
            overlays.add(picture)
        rows.append(as_row(picture))
        each()
    return rows


def figures(totals: PictureTotals, rows: Sequence[dict[str, Any]], bundle: Bundle) -> dict[str, Any]:
    """Return the whole table as one JSON object."""
    return {
        "bundle": {
            "name": bundle.manifest.name,
            "version": bundle.manifest.version,
            "model_sha256": bundle.model_sha256,
        },
        "totals": {
            "pictures": totals.pictures,
            "ok": totals.ok,
            "ng": totals.ng,
            "no_read": totals.no_read,
            "inference_failed": totals.failed,
            "defects": totals.by_class,
            "grades": totals.grades.counts,
            "value_factor_mean": totals.grades.value_factor_mean,
            "mean_coverage": math.fsum(totals.coverages) / len(totals.coverages) if totals.coverages else None,
        },
        "pictures": list(rows),
    }
