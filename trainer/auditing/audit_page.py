"""The audit as one HTML file: tables, and the pictures that findings are about with their masks; nothing is loaded."""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence

import numpy as np

from edge.errors import SourceError
from edge.inspection.overlaying import overlay
from edge.opencv import cv2
from edge.pictures import read_to_look_at
from edge.records import UInt8
from edge.web.page import FOOT, escaped, head
from edge.wording import counted
from trainer.auditing.annotator_styles import MEASURES
from trainer.auditing.audit import KINDS, Audit, Finding, by_kind
from trainer.auditing.audit_reading import PictureFacts, read_mask
from trainer.datasets.colours import COLOURS

_PICTURE_PX = 320
_FINDINGS_SHOWN = 12
_PICTURES_EACH = 4
_QUALITY = 80
_STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
th, td { border-bottom: 1px solid #8886; padding: .3rem .8rem; text-align: left; vertical-align: top }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums }
.refused { color: #c62828 } .doubtful { color: #b26a00 } .note { color: #757575 }
figure { display: inline-block; margin: .3rem .6rem .3rem 0; vertical-align: top; width: 20rem }
figure img { display: block; max-height: 24rem; max-width: 100% }
figcaption { font-size: 12px; overflow-wrap: anywhere }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .3em }
section { margin: 2rem 0 } .finding { margin: .8rem 0; overflow-wrap: anywhere }
.alone { display: inline-block; margin-right: 1rem; vertical-align: top; width: 20rem }
"""


def audit_page(found: Audit) -> str:
    """Return the page: every name and text escaped, pictures as data URIs, at most 12 findings of a kind shown."""
    names = [line.name for line in found.balance]
    drawer = _Drawer(found.pictures, names)
    refused, doubtful = found.count("refused"), found.count("doubtful")
    read = counted(len(found.pictures), "picture")
    sums = (
        f"<p>{read} read. <b class=refused>{refused}</b> findings that training refuses, "
        f"<b class=doubtful>{doubtful}</b> doubtful.</p>"
    )
    parts = [
        f"<h1>Audit of {escaped(str(found.data))}</h1>",
        sums,
        _summary(found),
        _classes(found),
        _groups(found),
        _styles(found),
        *(_section(kind, own, drawer) for kind, own in by_kind(found.findings)),
    ]
    return head(f"Audit of {found.data.name}", _STYLE) + "".join(parts) + FOOT


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Collection[int] = ()) -> str:
    """Return a table; cells are HTML already. `numbers`: the columns of figures, which stand to the right."""
    kinds = [" class=n" if column in numbers else "" for column in range(len(columns))]
    heads = "".join(f"<th{kind}>{escaped(name)}</th>" for kind, name in zip(kinds, columns, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>" for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _summary(found: Audit) -> str:
    rows = [
        (
            f"<span class={KINDS[kind].severity}>{KINDS[kind].severity}</span>",
            f'<a href="#{kind}">{escaped(KINDS[kind].title)}</a>',
            str(len(own)),
        )
        for kind, own in by_kind(found.findings)
    ]
    return _table(("", "finding", "count"), rows, {2}) if rows else "<p>Nothing was found.</p>"


def _classes(found: Audit) -> str:
    rows: list[tuple[str, ...]] = [
        (
            f"<span class=swatch style='background:rgb{COLOURS[place % len(COLOURS)]}'></span>{escaped(line.name)}",
            f"{line.pictures:,}",
            f"{line.groups:,}",
            f"{line.defects:,}",
            f"{line.pixels:,}",
            f"{line.pixel_share:.3%}",
            "-" if line.median_area_px is None else f"{line.median_area_px:,.0f} px",
        )
        for place, line in enumerate(found.balance)
    ]
    if found.clean[0]:
        rows.append(("(clean)", *(f"{number:,}" for number in found.clean), "", "", "", ""))
    columns = ("class", "pictures", "groups", "defects", "pixels", "of all pixels", "median area per defect")
    return "<h2>Classes</h2>" + _table(columns, rows, range(1, len(columns)))


def _groups(found: Audit) -> str:
    """Return how many pictures of which class each group has, folded up: there may be hundreds."""
    kinds = sorted(
        {kind for group in found.groups for kind in group.pictures}, key=lambda kind: (kind == "clean", kind)
    )
    rows = [(escaped(group.name), *(str(group.pictures.get(kind, "")) for kind in kinds)) for group in found.groups]
    table = _table(("group", *kinds), rows, range(1, len(kinds) + 1))
    return f"<details><summary>Pictures of each class in {counted(len(rows), 'group')}</summary>{table}</details>"


def _styles(found: Audit) -> str:
    if not found.styles:
        return ""
    shown = found.styles if found.by == "annotator" else [style for style in found.styles if style.differs]
    rows = [
        (
            escaped(style.annotator),
            escaped(style.class_name),
            MEASURES[style.measure] + (", px²" if style.measure == "defect_area_px" else ", px"),
            str(style.masks),
            f"{style.own:,.1f}",
            f"{style.others:,.1f}",
            f"{style.p:.2g}",
            "<span class=doubtful>differs</span>" if style.differs else "",
        )
        for style in shown
    ]
    columns = (found.by, "class", "measure", "masks", "median", "of others", "p (Mann-Whitney, corrected)", "")
    return f"<h2>Drawing styles, by {found.by}</h2>" + (
        _table(columns, rows, range(3, 7)) if rows else "<p>No difference.</p>"
    )


def _section(kind: str, own: Sequence[Finding], drawer: _Drawer) -> str:
    shown = "".join(
        f"<div class='finding{' alone' if len(finding.images) == 1 else ''}'><div>{escaped(finding.text)}</div>"
        f"{''.join(drawer.figure(image) for image in finding.images[:_PICTURES_EACH])}</div>"
        for finding in own[:_FINDINGS_SHOWN]
    )
    rest = [escaped(finding.text) for finding in own[_FINDINGS_SHOWN:]]
    more = (
        f"<details><summary>{len(rest)} more</summary><ul>{''.join(f'<li>{text}</li>' for text in rest)}</ul></details>"
        if rest
        else ""
    )
    of_kind = KINDS[kind]
    return (
        f'<section id="{kind}"><h2><span class={of_kind.severity}>{of_kind.severity}</span>: '
        f"{escaped(of_kind.title)} ({len(own)})</h2>{shown}{more}</section>"
    )


class _Drawer:
    """Draws pictures with their masks, each once."""

    def __init__(self, pictures: Sequence[PictureFacts], names: Sequence[str]) -> None:
        self._pictures = {picture.image: picture for picture in pictures}
        self._ids = {name: class_id for class_id, name in enumerate(names, start=1)}
        self._colours = {class_id: COLOURS[(class_id - 1) % len(COLOURS)] for class_id in self._ids.values()}
        self._drawn: dict[str, str] = {}

    def figure(self, image: str) -> str:
        """Return a figure of a picture by its name in the manifest; without a picture where it cannot be read."""
        if image not in self._drawn:
            self._drawn[image] = self._figure(image)
        return self._drawn[image]

    def _figure(self, image: str) -> str:
        picture = self._pictures.get(image)
        if picture is None:
            return ""
        try:
            pixels = read_to_look_at(picture.path)
        except SourceError:
            return ""
        scale = min(1.0, _PICTURE_PX / max(pixels.shape[:2]))
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        drawn = overlay(small, self._classes(picture, size), self._colours, opacity=0.2)
        _, encoded = cv2.imencode(".jpg", drawn, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        uri = base64.b64encode(encoded.tobytes()).decode("ascii")
        kinds = " and ".join(picture.classes) or "clean"
        who = " and ".join(sorted({mask.row.annotator for mask in picture.masks if mask.row.annotator}))
        caption = escaped(f"{image}: {kinds}, group {picture.group}" + (f", drawn by {who}" if who else ""))
        return f'<figure><img alt="" src="data:image/jpeg;base64,{uri}"><figcaption>{caption}</figcaption></figure>'

    def _classes(self, picture: PictureFacts, size: tuple[int, int]) -> UInt8:
        """Return the class map made small, uint8 [h, w]; a defect of one pixel stays visible."""
        classes: UInt8 = np.zeros((size[1], size[0]), np.uint8)
        for facts in picture.masks:
            mask = read_mask(facts.path)
            if mask is not None:
                share = cv2.resize((mask > 0).astype(np.float32), size, interpolation=cv2.INTER_AREA)
                classes[share > 0] = self._ids[facts.row.name]
        return classes
