"""Draws docs/pictures/data-flow.svg and threads.svg, the two drawings of docs/architecture.md. Run: make picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
BOX_PX, HEIGHT_PX = 128, 38
_ARROW_HEAD = (
    '<defs><marker id="a" markerWidth="8" markerHeight="8" refX="7" refY="3" orient="auto">'
    '<path d="M0,0 L7,3 L0,6 z" fill="#374151"/></marker></defs>'
)
_BLUE, _GREEN, _GREY = "#dbeafe", "#dcfce7", "#f3f4f6"


@dataclass(frozen=True)
class Box:
    """A named box; `x`, `y`: its top-left corner, px."""

    name: str
    x: int
    y: int
    colour: str = _BLUE


def drawn(boxes: list[Box], arrows: list[tuple[str, str, str]], size: tuple[int, int]) -> str:
    """Return an SVG of boxes and of arrows from one to another, each with a word. `size`: width, height, px."""
    at = {box.name: box for box in boxes}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif">',
        _ARROW_HEAD,
        f'<rect width="{size[0]}" height="{size[1]}" fill="white"/>',
    ]
    for start, end, word in arrows:
        (x1, y1), (x2, y2) = _between(at[start], at[end])
        lines.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#374151" marker-end="url(#a)"/>')
        if word:
            x, y = (x1 + x2) // 2, (y1 + y2) // 2 - 4
            lines.append(
                f'<text x="{x}" y="{y}" font-size="11" text-anchor="middle" fill="#374151">{escape(word)}</text>'
            )
    for box in boxes:
        lines.append(
            f'<rect x="{box.x}" y="{box.y}" width="{BOX_PX}" height="{HEIGHT_PX}" rx="6" fill="{box.colour}" '
            'stroke="#6b7280"/>'
        )
        middle = box.x + BOX_PX // 2, box.y + HEIGHT_PX // 2 + 5
        lines.append(
            f'<text x="{middle[0]}" y="{middle[1]}" font-size="13" text-anchor="middle">{escape(box.name)}</text>'
        )
    return "\n".join([*lines, "</svg>", ""])


def _between(start: Box, end: Box) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where an arrow leaves one box and meets the other."""
    across = abs(end.x - start.x) >= abs(end.y - start.y)
    if across:
        right = end.x > start.x
        return (
            (start.x + (BOX_PX if right else 0), start.y + HEIGHT_PX // 2),
            (end.x + (0 if right else BOX_PX), end.y + HEIGHT_PX // 2),
        )
    below = end.y > start.y
    return (
        (start.x + BOX_PX // 2, start.y + (HEIGHT_PX if below else 0)),
        (end.x + BOX_PX // 2, end.y + (0 if below else HEIGHT_PX)),
    )


def data_flow() -> str:
    """Draw what passes from room to room."""
    boxes = [
        Box("camera", 20, 40),
        Box("view", 220, 40),
        Box("batcher, engine", 220, 150, _GREY),
        Box("trigger", 20, 150),
        Box("decider", 420, 40, _GREEN),
        Box("recorder", 620, 40, _GREEN),
        Box("outbox", 820, 40),
        Box("broker", 820, 150, _GREY),
        Box("observers", 620, 150),
        Box("commands", 420, 150),
    ]
    arrows = [
        ("camera", "view", "frame"),
        ("view", "batcher, engine", "tiles, map"),
        ("view", "decider", "frame result"),
        ("trigger", "decider", "part opened, closed"),
        ("decider", "recorder", "part, verdict"),
        ("recorder", "outbox", "one commit"),
        ("outbox", "broker", "sender"),
        ("recorder", "observers", "decided"),
        ("commands", "decider", "recipe, bypass"),
    ]
    return drawn(boxes, arrows, (970, 220))


def threads() -> str:
    """Draw the threads of a station."""
    boxes = [
        Box("camera x n", 20, 40),
        Box("view x n", 220, 40),
        Box("batcher x m", 220, 130, _GREY),
        Box("engine x m", 420, 130, _GREY),
        Box("decider", 420, 40, _GREEN),
        Box("outbox", 620, 40),
        Box("sender", 820, 40),
        Box("network", 820, 130, _GREY),
        Box("observer x k", 620, 130),
        Box("recipe loader", 420, 220),
        Box("shell", 620, 220),
        Box("watchdog", 820, 220),
    ]
    arrows = [
        ("camera x n", "view x n", "newest frame"),
        ("view x n", "batcher x m", "tiles"),
        ("batcher x m", "engine x m", "batch"),
        ("view x n", "decider", "bounded"),
        ("decider", "outbox", "queue"),
        ("outbox", "sender", "rows"),
        ("sender", "network", ""),
        ("decider", "observer x k", "bounded"),
        ("recipe loader", "engine x m", "opens"),
    ]
    return drawn(boxes, arrows, (970, 280))


def main() -> None:
    """Write both."""
    for name, text in (("data-flow", data_flow()), ("threads", threads())):
        (ROOT / "docs" / "pictures" / f"{name}.svg").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
