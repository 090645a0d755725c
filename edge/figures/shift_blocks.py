"""The report of a shift in words: tables for a terminal and a page, rows for CSV, and an object for JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from edge import __version__
from edge.figures.shift_report import BYPASS_BEGINS, BYPASS_ENDS, CHALLENGE, Figures, ShiftReport, Stretch
from edge.printable import csv_cell
from edge.records import JournalEntry
from edge.records.ledger import WORST_KEPT, WorstPart
from edge.web.page import Card, Section, bar, page, paragraph, table
from edge.wording import counted

CSV_COLUMNS = ("shift", "section", "recipe", "item", "figure", "value")
_KINDS = {BYPASS_BEGINS: "bypass begins", BYPASS_ENDS: "bypass ends", CHALLENGE: "challenge"}


@dataclass(frozen=True)
class Block:
    """One table of a report. `bars`: of each row a share, 0-1, to be drawn. `words`: it holds more words than figures.

    `notes` stand below the table, or alone where nothing is to be shown.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    bars: Sequence[float] | None = None
    words: bool = False


def heading(report: ShiftReport) -> str:
    """Return which shift it is, by the clock on the wall."""
    stretch, zone = report.stretch, report.zone
    begins, ends = stretch.begins.astimezone(zone), stretch.ends.astimezone(zone)
    until = f"{ends:%H:%M}" if ends.date() == begins.date() else f"{ends:%Y-%m-%d %H:%M}"
    known = f", as of {stretch.known_to.astimezone(zone):%H:%M}" if stretch.running else ""
    return f"Shift {begins:%Y-%m-%d %H:%M} to {until}, {zone}{known}"


def blocks(report: ShiftReport, *, worst_at_most: int = WORST_KEPT, reasons: bool = True) -> list[Block]:
    """Return the report's tables. `reasons`: whether the worst parts tell theirs, which makes the table wide."""
    found = [
        _parts(report),
        _classes(report.total),
        _grades(report.total),
        _worst(report, worst_at_most, reasons=reasons),
        _alarms(report),
        _time(report),
        _entries(report),
    ]
    if report.total.others:
        rows = [(name, f"{by:g}") for name, by in report.total.others.items()]
        found.append(Block("Other counters", ("counter", "value"), rows))
    return found


def noun(figures: Figures) -> str:
    """Return what was counted: frames, where each stands for itself, or parts."""
    return "frames" if figures.parts and figures.frames == figures.parts else "parts"


def percent(share: float | None) -> str:
    """Write a share; a bar where there is none.

    A share short of all is never rounded to all, nor one above nothing to nothing.
    """
    if share is None:
        return "-"
    text = f"{100 * share:.2f}"
    text = "99.99" if text == "100.00" and share < 1 else "0.01" if text == "0.00" and share > 0 else text
    return f"{text} %"


def duration(milliseconds: float) -> str:
    """Write how long, as h:mm:ss; a time below a second in ms."""
    if 0 < milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    seconds = round(milliseconds / 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _interval(figures: Figures) -> str:
    sides = figures.interval
    return "-" if sides is None else f"{percent(sides[0])} to {percent(sides[1])}"


def _parts(report: ShiftReport) -> Block:
    total = report.total
    several = list(report.recipes.items()) if len(report.recipes) > 1 else []
    rows = [_parts_row(recipe or "no recipe", figures) for recipe, figures in several]
    rows.append(_parts_row("all" if several else next(iter(report.recipes), "") or "all", total))
    notes = []
    if 0 < total.frames < total.parts:
        notes.append(f"Of these parts {counted(total.frames, 'is a frame', 'are frames')} that stood for themselves.")
    if total.missed:
        notes.append(f"Of the NO_READ {counted(total.missed, 'part was', 'parts were')} triggered and not seen at all.")
    if total.repeated:
        notes.append(f"{counted(total.repeated, 'part', 'parts')} came under the id of an earlier one.")
    headers = ("recipe", noun(total), "OK", "NG", "NO_READ", "yield", "95 % interval")
    return Block(noun(total).capitalize(), headers, rows, notes)


def _parts_row(name: str, figures: Figures) -> tuple[str, ...]:
    numbers = (figures.parts, figures.ok, figures.ng, figures.no_read)
    return (name, *map(str, numbers), percent(figures.yield_share), _interval(figures))


def _classes(total: Figures) -> Block:
    what = noun(total)
    most = max((each.ng for each in total.classes), default=0)
    rows = [
        (each.name, str(each.ng), str(each.shown), percent(each.ng / total.ng if total.ng else None))
        for each in total.classes
    ]
    bars = [each.ng / most if most else 0.0 for each in total.classes]
    notes = [] if rows else ["No defect was seen."]
    return Block("Classes", ("class", "NG", f"all {what}", "of all NG"), rows, notes, bars)


def _grades(total: Figures) -> Block:
    graded = sum(total.grades.values())
    rows = [(name, str(count), percent(count / graded if graded else None)) for name, count in total.grades.items()]
    if total.value_mean is None:
        return Block("Grades", ("grade", noun(total), "share"), rows, ["Nothing was graded."])
    note = f"Worth {total.value_mean:.3f} of the full price on average, {total.value:.1f} full prices in all."
    return Block("Grades", ("grade", noun(total), "share"), rows, [note])


def _worst(report: ShiftReport, at_most: int, *, reasons: bool) -> Block:
    what = noun(report.total)
    rows = []
    for each in report.worst[:at_most]:
        at = f"{each.at.astimezone(report.zone):%H:%M:%S}"
        row = (each.part_id, at, each.verdict.value, percent(each.coverage), _size(each), each.grade)
        rows.append((*row, each.reason) if reasons else row)
    more = len(report.worst) - len(rows)
    notes = [f"and {more} more in the files"] if more > 0 else []
    headers = (what.removesuffix("s"), "at", "verdict", "coverage", "largest defect", "grade")
    return Block(
        f"Worst {what}",
        (*headers, "reason") if reasons else headers,
        rows,
        notes or ([] if rows else ["None shows a defect."]),
        words=True,
    )


def _size(part: WorstPart) -> str:
    size = (
        f"{part.length_px:.0f} px" if part.length_mm is None else f"{part.length_mm:.2f} mm ({part.length_px:.0f} px)"
    )
    return f"{part.class_name} {size}"


def _alarms(report: ShiftReport) -> Block:
    rows = []
    for each in report.alarms:
        active = duration(each.active / timedelta(milliseconds=1))
        stands = active + (", stands" if each.stands else "")
        rows.append((each.alarm, str(each.raised), stands, ", ".join(each.acknowledged_by) or "-"))
    notes = [] if rows else ["No alarm was raised."]
    return Block("Alarms", ("alarm", "raised", "active", "acknowledged by"), rows, notes)


def _time(report: ShiftReport) -> Block:
    spent = report.time
    passed_ms = spent.up_ms + sum(spent.down_ms.values()) + spent.off_ms
    told = [("inspecting", spent.up_ms), *((f"down: {why}", ms) for why, ms in spent.down_ms.items())]
    told.append(("the station did not run", spent.off_ms))
    rows = [(what, duration(ms), percent(ms / passed_ms if passed_ms else None)) for what, ms in told]
    return Block("Time", ("what", "h:mm:ss", "share"), rows)


def _entries(report: ShiftReport) -> Block:
    zone = report.zone
    rows = [_entry_row(entry, zone, "%H:%M:%S") for entry in report.entries]
    if report.bypassed is not None:
        rows.insert(0, _entry_row(report.bypassed, zone, "%m-%d %H:%M:%S"))
    notes = [] if rows else ["There was no challenge and no bypass."]
    return Block("Challenges and bypass", ("at", "what", "by", "told"), rows, notes, words=True)


def _entry_row(entry: JournalEntry, zone: tzinfo, how: str) -> tuple[str, ...]:
    told = "; ".join(text for text in (entry.comment, entry.detail) if text)
    return f"{entry.at.astimezone(zone):{how}}", _KINDS[entry.kind], entry.user or entry.account or "-", told


def as_html(report: ShiftReport, now: datetime) -> str:
    """Return the report as one page."""
    total, what = report.total, noun(report.total)
    sections = []
    for block in blocks(report):
        headers, rows = list(block.headers), [list(row) for row in block.rows]
        if block.bars is not None:
            headers.append("")
            rows = [[*row, bar(share)] for row, share in zip(rows, block.bars, strict=True)]
        shown = [table(headers, rows, words=block.words)] if rows else []
        sections.append(Section(block.title, [*shown, *(paragraph(text, soft=True) for text in block.notes)]))
    cards = [
        Card("yield", percent(total.yield_share), [f"95 % interval {_interval(total)}", "OK of OK and NG"]),
        Card(what, str(total.parts), [f"{total.repeated} under an id that came before"] if total.repeated else []),
        Card("OK", str(total.ok), [], "good"),
        Card("NG", str(total.ng), [], "bad" if total.ng else ""),
        Card("NO_READ", str(total.no_read), [f"{total.missed} of them not seen at all"] if total.missed else []),
    ]
    written = f"{report.station}, written {now.astimezone(report.zone):%Y-%m-%d %H:%M} by linewatch {__version__}"
    return page(heading(report), written, cards, sections)


def as_csv(report: ShiftReport) -> str:
    """Return the report as one value in each row, under CSV_COLUMNS. Times are ISO 8601, shares 0 to 1."""
    return csv_of(report.stretch.shift, _cells(report))


def csv_of(shift: str, cells: Iterable[tuple[object, ...]]) -> str:
    """Write rows of section, recipe, item, figure and value under CSV_COLUMNS."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in cells:
        writer.writerow([csv_cell(value) for value in (shift, *row)])
    return text.getvalue()


def figure_cells(total: Figures, recipes: Mapping[str, Figures]) -> Iterator[tuple[object, ...]]:
    """Yield section, recipe, item, figure and value of all parts, and of those of each recipe."""
    for recipe, figures in (("", total), *recipes.items()):
        section = "recipe" if figures is not total else "total"
        yield from ((section, recipe, "", name, value) for name, value in _numbers(figures).items())
        for each in figures.classes:
            yield section, recipe, f"class:{each.name}", "ng", each.ng
            yield section, recipe, f"class:{each.name}", "shown", each.shown
        for grade, count in figures.grades.items():
            yield section, recipe, f"grade:{grade}", "parts", count
        yield from ((section, recipe, "", name, by) for name, by in figures.others.items())


def _cells(report: ShiftReport) -> Iterator[tuple[object, ...]]:
    """Yield section, recipe, item, figure and value."""
    yield from figure_cells(report.total, report.recipes)
    for place, part in enumerate(report.worst, 1):
        told = _worst_as_json(part)
        yield from (("worst", part.recipe, place, name, value) for name, value in told.items() if name != "recipe")
    for alarm in report.alarms:
        yield "alarm", "", alarm.alarm, "raised", alarm.raised
        yield "alarm", "", alarm.alarm, "active_s", alarm.active.total_seconds()
        yield "alarm", "", alarm.alarm, "stands", int(alarm.stands)
        yield "alarm", "", alarm.alarm, "acknowledged_by", ", ".join(alarm.acknowledged_by)
    yield "time", "", "", "up_ms", report.time.up_ms
    yield from (("time", "", why, "down_ms", spent_ms) for why, spent_ms in report.time.down_ms.items())
    yield "time", "", "", "off_ms", report.time.off_ms
    for place, entry in enumerate(_all_entries(report), 1):
        yield from (("entry", "", place, name, value) for name, value in _entry_as_json(entry).items())


def as_object(report: ShiftReport) -> dict[str, Any]:
    """Return the report as JSON can hold it. Times are ISO 8601, shares 0 to 1."""
    return {
        "station": report.station,
        "shift": _stretch_as_json(report.stretch, report.zone),
        "total": _figures_as_json(report.total),
        "recipes": {recipe: _figures_as_json(figures) for recipe, figures in report.recipes.items()},
        "worst": [_worst_as_json(part) for part in report.worst],
        "alarms": [
            {
                "alarm": alarm.alarm,
                "raised": alarm.raised,
                "active_s": alarm.active.total_seconds(),
                "stands": alarm.stands,
                "acknowledged_by": list(alarm.acknowledged_by),
            }
            for alarm in report.alarms
        ],
        "time": asdict(report.time),
        "entries": [_entry_as_json(entry) for entry in _all_entries(report)],
    }


def _stretch_as_json(stretch: Stretch, zone: tzinfo) -> dict[str, Any]:
    moments = {"begins": stretch.begins, "ends": stretch.ends, "known_to": stretch.known_to}
    local = {name: moment.astimezone(zone).isoformat(timespec="seconds") for name, moment in moments.items()}
    return {"shift": stretch.shift, **local, "running": stretch.running, "time_zone": str(zone)}


def _numbers(figures: Figures) -> dict[str, float | None]:
    low, high = figures.interval or (None, None)
    return {
        "parts": figures.parts,
        "frames": figures.frames,
        "ok": figures.ok,
        "ng": figures.ng,
        "no_read": figures.no_read,
        "no_read_trigger": figures.missed,
        "repeated_ids": figures.repeated,
        "yield": figures.yield_share,
        "yield_low": low,
        "yield_high": high,
        "value": figures.value,
        "value_factor_mean": figures.value_mean,
    }


def _figures_as_json(figures: Figures) -> dict[str, Any]:
    return {
        **_numbers(figures),
        "classes": {each.name: {"ng": each.ng, "shown": each.shown} for each in figures.classes},
        "grades": dict(figures.grades),
        "others": dict(figures.others),
    }


def _worst_as_json(part: WorstPart) -> dict[str, Any]:
    return {
        "recipe": part.recipe,
        "part_id": part.part_id,
        "number": part.number,
        "at": part.at.isoformat(timespec="milliseconds"),
        "verdict": part.verdict.value,
        "reason": part.reason,
        "coverage": part.coverage,
        "class": part.class_name,
        "length_mm": part.length_mm,
        "length_px": part.length_px,
        "grade": part.grade,
    }


def _all_entries(report: ShiftReport) -> list[JournalEntry]:
    return [*([] if report.bypassed is None else [report.bypassed]), *report.entries]


def _entry_as_json(entry: JournalEntry) -> dict[str, Any]:
    return {
        "at": entry.at.isoformat(timespec="seconds"),
        "kind": entry.kind,
        "user": entry.user,
        "account": entry.account,
        "comment": entry.comment,
        "detail": entry.detail,
    }
