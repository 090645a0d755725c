"""The pieces of an HTML page that is one file: everything is escaped, pictures are within it, and nothing is loaded."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge.printable import printable


class Html(str):
    """Text that is markup already; every other text is escaped on its way into the page."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """A part of the page: its title and what stands below it."""

    title: str
    blocks: Sequence[Html]


@dataclass(frozen=True)
class Card:
    """A figure that stands large: what it is, its value, and what puts it in proportion."""

    title: str
    value: str
    beside: Sequence[str]
    mood: str = ""


FOOT = "\n</main></body></html>\n"
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
:root { --ink: #1c2733; --soft: #5b6875; --line: #d9dfe5; --ground: #f5f7f9; --good: #1b7a43; --bad: #b3261e; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 26px; margin: 8px 0 0; }
h2 { font-size: 19px; margin: 0 0 12px; }
h3 { font-size: 15px; margin: 18px 0 6px; }
p { margin: 6px 0; max-width: 80ch; }
.soft { color: var(--soft); }
section { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 18px 20px; margin-top: 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 12px; margin-top: 18px; }
.card { background: #fff; border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
.card b { display: block; font-size: 27px; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { display: block; color: var(--soft); font-size: 13px; }
.card span:first-child { color: var(--ink); }
.good b { color: var(--good); } .bad b { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { padding: 5px 22px 5px 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child, .words td, .words th,
.named2 td:nth-child(2), .named2 th:nth-child(2) { text-align: left; }
.words td { white-space: normal; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
img { max-width: 100%; height: auto; display: block; }
figure { margin: 12px 0 0; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 4px; max-width: 80ch; }
pre { background: var(--ground); border: 1px solid var(--line); border-radius: 6px; padding: 12px; overflow-x: auto;
  font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
.note { border-left: 4px solid var(--soft); padding: 4px 0 4px 12px; margin: 10px 0; }
.note.bad { border-color: var(--bad); } .note.good { border-color: var(--good); }
.chip { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px;
  border: 1px solid rgba(0, 0, 0, .3); }
.bar { background: var(--line); border-radius: 3px; width: 180px; height: 11px; overflow: hidden; }
.bar i { display: block; height: 100%; background: var(--bad); }
.row { display: flex; flex-wrap: wrap; gap: 18px; align-items: flex-start; } .row figure { flex: 1 1 300px; }
summary { cursor: pointer; font-weight: 600; }
@media print { section, .card { break-inside: avoid; } body { background: #fff; } }
"""


def page(title: str, subtitle: str, cards: Sequence[Card], sections: Iterable[Section]) -> str:
    """Put a whole page together. A policy in its head forbids the browser to load anything."""
    body = [
        f"<h1>{escaped(title)}</h1>",
        f'<p class="soft">{escaped(subtitle)}</p>',
        '<div class="cards">' if cards else "",
        *(_card(card) for card in cards),
        "</div>" if cards else "",
        *(f"<section><h2>{escaped(part.title)}</h2>{''.join(part.blocks)}</section>" for part in sections),
    ]
    return head(title, STYLE) + "\n".join(line for line in body if line) + FOOT


def head(title: str, style: str, policy: str = _POLICY) -> str:
    """Return all that stands before the content, which `FOOT` follows. Its policy lets the browser load nothing.

    `policy`: another one, for a page that is served and has files of its own beside it.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(title)}</title>\n<style>{style}</style></head>\n<body><main>\n"
    )


def paragraph(text: str, *, soft: bool = False) -> Html:
    """Write one paragraph."""
    return Html(f"<p{' class=' + chr(34) + 'soft' + chr(34) if soft else ''}>{escaped(text)}</p>")


def heading(text: str) -> Html:
    """Write a heading within a section."""
    return Html(f"<h3>{escaped(text)}</h3>")


def note(title: str, text: str, mood: str = "") -> Html:
    """Write a remark that stands out: `mood` is good, bad or nothing."""
    return Html(f'<div class="note {escaped(mood)}"><b>{escaped(title)}</b><br>{escaped(text)}</div>')


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False, named: int = 1) -> Html:
    """Write a table of figures, right-aligned but for the first `named` columns; or of `words`, left-aligned."""
    heads = "".join(f"<th>{escaped(header)}</th>" for header in headers)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    kind = f' class="{"words" if words else f"named{named}"}"'
    return Html(f'<div class="scroll"><table{kind}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>')


def bar(share: float) -> Html:
    """Draw a share, 0 to 1, as a bar."""
    return Html(f'<div class="bar"><i style="width: {100 * min(1.0, max(0.0, share)):.1f}%"></i></div>')


def picture(data: bytes, kind: str, alt: str, caption: str = "") -> Html:
    """Put a picture into the page as a data URI; `kind` is png or jpeg."""
    source = base64.b64encode(data).decode()
    below = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return Html(f'<figure><img src="data:image/{kind};base64,{source}" alt="{escaped(alt)}">{below}</figure>')


def beside(blocks: Sequence[Html]) -> Html:
    """Put blocks beside each other where the page is wide enough."""
    return Html(f'<div class="row">{"".join(blocks)}</div>')


def folded(summary: str, text: str) -> Html:
    """Write long text that is shown when asked for, its spaces kept."""
    return Html(f"<details><summary>{escaped(summary)}</summary><pre>{escaped(text)}</pre></details>")


def coloured(name: str, colour: tuple[int, int, int]) -> Html:
    """Write a class's name with a patch of its colour (red, green, blue)."""
    red, green, blue = (int(part) for part in colour)
    return Html(f'<span class="chip" style="background: rgb({red}, {green}, {blue})"></span>{escaped(name)}')


def _card(card: Card) -> str:
    lines = "".join(f"<span>{escaped(line)}</span>" for line in card.beside)
    return (
        f'<div class="card {escaped(card.mood)}"><span>{escaped(card.title)}</span><b>{escaped(card.value)}</b>'
        f"{lines}</div>"
    )


def escaped(text: object) -> str:
    """Escape text for HTML, also within quotes, unsafe characters too; `Html` stays as it is."""
    return text if isinstance(text, Html) else html.escape(printable(text, keep="\n\t"), quote=True)
