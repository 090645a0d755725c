"""Draws the wiring pictures of docs/machine.md into docs/pictures. Run: make picture.

The places in them (coil 0, register 0 …) are those of the page's three examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
_INK, _SOFT, _BLUE, _GREEN, _GREY, _RED = "#1f2937", "#4b5563", "#dbeafe", "#dcfce7", "#f3f4f6", "#fee2e2"
_WIDTH = 860
_HEAD = (
    '<defs><marker id="a" markerWidth="11" markerHeight="9" refX="8" refY="3.5" orient="auto" '
    'markerUnits="userSpaceOnUse">'
    f'<path d="M0,0 L9,3.5 L0,7 z" fill="{_INK}"/></marker></defs>'
)


class Sheet:
    """An SVG under way. All lengths are px from the top-left corner."""

    def __init__(self, title: str, height: int) -> None:
        self._height = height
        self._lines = [f"<title>{escape(title)}</title>", _HEAD]
        self._lines.append(f'<rect width="{_WIDTH}" height="{height}" fill="white"/>')

    def box(self, x: int, y: int, size: tuple[int, int], words: Sequence[str] = (), colour: str = _GREY) -> None:
        """Draw a box with lines of words in its middle, the first of them bold."""
        width, height = size
        self._lines.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="5" fill="{colour}" stroke="{_SOFT}"/>'
        )
        first = y + height / 2 + 5 - 8 * (len(words) - 1)
        for place, line in enumerate(words):
            self.text(x + width // 2, round(first + 16 * place), line, bold=place == 0)

    def text(self, x: int, y: int, words: str, *, anchor: str = "middle", bold: bool = False, size: int = 13) -> None:
        """Write a line."""
        weight = ' font-weight="600"' if bold else ""
        self._lines.append(
            f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{_INK}"{weight}>'
            f"{escape(words)}</text>"
        )

    def wire(self, *points: tuple[int, int], arrow: bool = True, dashed: bool = False, thick: bool = False) -> None:
        """Draw a wire from point to point."""
        path = " ".join(f"{x},{y}" for x, y in points)
        end = ' marker-end="url(#a)"' if arrow else ""
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self._lines.append(
            f'<polyline points="{path}" fill="none" stroke="{_INK}" stroke-width="{3 if thick else 1.5}"{dash}{end}/>'
        )

    def disc(self, x: int, y: int, radius: int, colour: str = "white") -> None:
        """Draw a circle about a point."""
        self._lines.append(f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{colour}" stroke="{_SOFT}"/>')

    def whole(self) -> str:
        """Return the picture."""
        begin = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {self._height}" font-family="sans-serif">'
        )
        return "\n".join([begin, *self._lines, "</svg>", ""])


def _belt(sheet: Sheet, y: int, ends: tuple[int, int], parts: Sequence[tuple[int, str, str]]) -> None:
    """Draw a belt with its rollers, and parts on it: x, word, colour."""
    left, right = ends
    sheet.wire((left, y), (right, y), arrow=False, thick=True)
    sheet.wire((left, y + 24), (right, y + 24), arrow=False, thick=True)
    for x in (left, right):
        sheet.disc(x, y + 12, 12)
    for x, word, colour in parts:
        sheet.box(x, y - 30, (52, 28), [word] if word else (), colour)
    sheet.wire((right + 20, y + 12), (right + 55, y + 12))


def gate() -> str:
    """Draw the reject gate: barrier and encoder to the PLC, the PLC to the valve, Modbus to the station."""
    sheet = Sheet("A reject gate with a light barrier", 470)
    _belt(sheet, 130, (60, 720), [(120, "part", _BLUE), (520, "bad", _RED)])
    sheet.box(262, 20, (76, 34), ["camera"], _GREEN)
    sheet.wire((300, 54), (300, 92), dashed=True, arrow=False)
    sheet.box(290, 96, (20, 20), (), _GREY)
    sheet.box(290, 168, (20, 20), (), _GREY)
    sheet.wire((300, 116), (300, 168), dashed=True, arrow=False)
    sheet.text(318, 84, "light barrier", anchor="start")
    sheet.box(630, 60, (70, 34), ["gate"], _GREY)
    sheet.wire((665, 94), (665, 128))
    sheet.wire((300, 210), (665, 210), arrow=True)
    sheet.text(482, 204, "2,000 encoder counts")
    sheet.disc(110, 142, 5, _INK)
    sheet.text(110, 178, "encoder")
    sheet.box(60, 290, (600, 110), (), _BLUE)
    sheet.text(80, 385, "PLC", anchor="start", bold=True)
    for x, terminal, place in (
        (110, "HSC 0", "input 0"),
        (300, "DI 0", "discrete 0"),
        (560, "DO 0", "coil 0"),
    ):
        sheet.box(x - 34, 296, (68, 24), [terminal], "white")
        sheet.text(x, 340, place)
    sheet.wire((110, 184), (110, 294))
    sheet.wire((300, 188), (300, 294))
    sheet.text(310, 258, "24 V, PNP", anchor="start")
    sheet.wire((560, 296), (560, 250), (760, 250), (760, 77), (702, 77))
    sheet.text(752, 244, "valve, 24 V, with a free-wheeling diode", anchor="end")
    sheet.box(700, 300, (140, 60), ["station", "Linewatch"], _GREEN)
    sheet.wire((660, 330), (698, 330), arrow=False, thick=True)
    sheet.text(770, 382, "Modbus TCP, port 502")
    sheet.box(360, 350, (280, 40), ["watches register 0", "no change for 2 s: open the gate"], "white")
    sheet.text(430, 440, "The PLC watches the heartbeat: a dead station lets no part pass.")
    return sheet.whole()


_STEPS = (
    ("ready", "coil 0, to the PLC", ((0, 1),)),
    ("id", "register 20, 21", ((0, 0), (60, 2), (470, 0))),
    ("trigger", "coil 20, from the PLC", ((0, 0), (100, 1), (350, 0))),
    ("busy", "coil 1, to the PLC", ((0, 0), (125, 1), (290, 0))),
    ("ok, ng, no_read", "coil 3, 4, 5", ((0, 2), (270, 2))),
    ("result_counter", "register 0", ((0, 2), (280, 2))),
    ("done", "coil 2, to the PLC", ((0, 0), (300, 1), (375, 0))),
)
_LEFT, _LINE_PX = 260, 46


def _trace(sheet: Sheet, y: int, steps: Sequence[tuple[int, int]]) -> None:
    """Draw a signal over time: steps of x and level; 0 = down, 1 = up, 2 = a value, which changes at the step."""
    ends = [*(x for x, _ in steps[1:]), 560]
    for (x, level), end in zip(steps, ends, strict=True):
        left, right = _LEFT + x, _LEFT + end
        if level == 2:
            sheet.wire((left, y), (left + 6, y - 18), (right - 6, y - 18), (right, y), arrow=False)
            sheet.wire((left, y - 18), (left + 6, y), (right - 6, y), (right, y - 18), arrow=False)
            continue
        height = y - 18 * level
        sheet.wire((left, height), (right, height), arrow=False)
        if x:
            sheet.wire((left, y), (left, y - 18), arrow=False)
    if steps[-1][1] < 2 and len(steps) > 1:
        sheet.wire((_LEFT + steps[-1][0], y), (_LEFT + steps[-1][0], y - 18), arrow=False)


def handshake() -> str:
    """Draw the wires of a handshake, and below them the signals over time."""
    sheet = Sheet("A handshake with a PLC, and its signals over time", 640)
    sheet.box(60, 30, (150, 130), ["PLC"], _BLUE)
    sheet.box(650, 30, (150, 130), ["station", "Linewatch"], _GREEN)
    sheet.wire((212, 60), (648, 60))
    sheet.text(430, 52, "trigger, id, count, acknowledge: coils and registers from 20 on")
    sheet.wire((648, 100), (212, 100))
    sheet.text(430, 92, "ready, busy, done, ok, ng, no_read: coils 0 to 5")
    sheet.wire((648, 140), (212, 140))
    sheet.text(430, 132, "result_counter, heartbeat, coverage: registers 0 to 2")
    sheet.text(430, 180, "one Ethernet cable, Modbus TCP; the station asks every 10 ms")
    top = 240
    for place, (name, where, steps) in enumerate(_STEPS):
        y = top + _LINE_PX * place
        sheet.text(20, y - 8, name, anchor="start", bold=True)
        sheet.text(20, y + 8, where, anchor="start", size=11)
        _trace(sheet, y, steps)
    bottom = top + _LINE_PX * (len(_STEPS) - 1) + 10
    for number, x in enumerate((60, 100, 125, 270, 300, 350, 375), 1):
        sheet.wire((_LEFT + x, top - 26), (_LEFT + x, bottom), arrow=False, dashed=True)
        sheet.disc(_LEFT + x, top - 36, 9)
        sheet.text(_LEFT + x, top - 32, str(number), size=11)
    told = (
        "1 the PLC writes id and product · 2 it raises the trigger, if ready is up · 3 the station is busy",
        "4 verdict first, then the counter; busy falls · 5 done: the PLC reads both · 6 it takes the trigger back",
        "7 the station takes done back. Each step waits for the one before; one that does not come is an alarm.",
    )
    for place, line in enumerate(told):
        sheet.text(20, bottom + 34 + 20 * place, line, anchor="start", size=12)
    return sheet.whole()


def stop() -> str:
    """Draw the stop: the station's coil and its heartbeat in the PLC, beside a safety controller of its own."""
    sheet = Sheet("Stop at three bad parts of five", 470)
    row = [("OK", _GREEN), ("NG", _RED), ("NG", _RED), ("OK", _GREEN), ("NG", _RED)]
    _belt(sheet, 110, (60, 480), [(90 + 74 * place, word, colour) for place, (word, colour) in enumerate(row)])
    sheet.text(270, 60, "three of the last five are NG")
    sheet.disc(60, 122, 12, _GREY)
    sheet.box(25, 160, (70, 34), ["motor"], _GREY)
    sheet.wire((60, 160), (60, 136))
    sheet.box(20, 240, (80, 40), ["K1", "contactor"], "white")
    sheet.wire((60, 240), (60, 196))
    sheet.box(160, 220, (330, 150), (), _BLUE)
    sheet.text(180, 355, "PLC", anchor="start", bold=True)
    sheet.box(180, 240, (190, 40), ["DO 1 = run and not stop", "and the heartbeat lives"], "white")
    sheet.wire((180, 260), (102, 260))
    sheet.box(390, 235, (90, 26), ["coil 0"], "white")
    sheet.box(390, 300, (90, 26), ["register 0"], "white")
    sheet.wire((390, 248), (372, 252))
    sheet.wire((390, 313), (340, 313), (340, 282))
    sheet.text(262, 318, "no change for 2 s: stop", size=11)
    sheet.box(640, 230, (160, 110), ["station", "Linewatch"], _GREEN)
    sheet.wire((638, 248), (482, 248))
    sheet.text(560, 240, "stop, safe: true")
    sheet.wire((638, 313), (482, 313))
    sheet.text(560, 305, "heartbeat")
    sheet.text(560, 280, "Modbus TCP", size=11)
    sheet.box(25, 400, (330, 46), ["safety controller: emergency stop, doors", "knows nothing of Linewatch"], _RED)
    sheet.wire((60, 400), (60, 282), thick=True)
    sheet.text(375, 420, "The stop is up when the station is dead or blind, too.", anchor="start")
    sheet.text(375, 440, "It is no safety function: people are protected by the red box alone.", anchor="start")
    return sheet.whole()


WIRING = {"wiring-gate.svg": gate, "wiring-handshake.svg": handshake, "wiring-stop.svg": stop}


def main() -> None:
    """Write all of them."""
    for name, drawing in WIRING.items():
        (ROOT / "docs" / "pictures" / name).write_text(drawing(), encoding="utf-8")


if __name__ == "__main__":
    main()
