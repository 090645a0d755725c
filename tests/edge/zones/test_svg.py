"""Zones from SVG: what is drawn is read where it is drawn, and what could do harm or mean two things is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import SettingsError
from edge.inspection.settings import InspectSettings
from edge.inspection.zone_files import ZonesFile, with_files, zones_of
from edge.zones.svg import drawing_of, read_drawing

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" viewBox="0 0 100 50">'


def drawn(inside: str) -> dict[str, list[list[float]]]:
    """Return the corners of what an SVG document holds."""
    shapes = drawing_of(f"{HEAD}{inside}</svg>").shapes
    return {name: np.round(corners, 6).tolist() for name, corners in shapes.items()}


SQUARE = [[2, 3], [6, 3], [6, 7], [2, 7]]


@pytest.mark.parametrize(
    "shape",
    [
        '<rect id="a" x="2" y="3" width="4" height="4px"/>',
        '<rect id="a" width="4" height="4" transform="translate(2,3)"/>',
        '<g transform="translate(2 3)"><g transform="scale(2)"><rect id="a" width="2" height="2"/></g></g>',
        '<rect id="a" width="2" height="2" transform="matrix(2 0 0 2 2 3)"/>',
        '<polygon id="a" points="2,3 6,3 6,7 2,7"/>',
        '<path id="a" d="M2 3L6 3 6 7 2 7Z"/>',
        '<path id="a" d="m2 3h4v4h-4z"/>',
        '<path id="a" d="M2,3 H6 V7 H2 V3"/>',
    ],
)
def test_one_square_is_drawn_in_many_ways(shape: str) -> None:
    """All of them are the same square."""
    assert drawn(shape) == {"a": SQUARE}


def test_a_turned_square_is_turned_clockwise_about_its_point() -> None:
    """As SVG 1.1, section 7.6, has it: y runs down, so 90 degrees lead from right to down."""
    assert drawn('<rect id="a" x="2" y="3" width="4" height="2" transform="rotate(90 2 3)"/>') == {
        "a": [[2, 3], [2, 7], [0, 7], [0, 3]]
    }


def test_a_curve_is_followed() -> None:
    """A quarter circle as a cubic: each corner lies on the circle to 0.03 %."""
    k = 0.5522847
    corners = drawn(f'<path id="a" d="M10 0 C10 {10 * k} {10 * k} 10 0 10 L0 0 Z"/>')["a"][:-1]
    assert np.hypot(*np.array(corners).T) == pytest.approx(np.full(len(corners), 10), rel=3e-4)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ('<!DOCTYPE svg [<!ENTITY a "&b;"><!ENTITY b "x">]><svg/>', "no document type"),
        ('<!DOCTYPE svg SYSTEM "file:///etc/passwd"><svg/>', "no document type"),
        ("<?xml-stylesheet href='http://a/b.css'?><svg/>", "the instruction <?xml-stylesheet"),
        (f"{HEAD}<script>1</script></svg>", "the element script"),
        (f'{HEAD}<rect id="a" onload="x()" width="1" height="1"/></svg>', "the attribute onload"),
        (f'{HEAD}<use x:href="#a"/></svg>', "the element use"),
        (f'{HEAD}<image href="http://a/b.png"/></svg>', "the element image"),
        (f'{HEAD}<rect id="a" x:href="file:///" width="1" height="1"/></svg>', "the attribute href"),
        (f'{HEAD}<rect id="a" style="fill: URL(http://a)" width="1" height="1"/></svg>', "the attribute style"),
        (f'{HEAD}<defs><rect id="a" width="1" height="1"/></defs></svg>', "no rect within defs"),
        (f'{HEAD}<text id="a">x</text></svg>', "the element text"),
        (f'{HEAD}<svg viewBox="0 0 1 1"/></svg>', "the element svg"),
        ("<html/>", "the element svg first"),
        (f"{HEAD}", "no well-formed XML"),
        (f"{HEAD}</svg>", "shapes with ids"),
        ('<svg xmlns="http://www.w3.org/2000/svg"><rect id="a" width="1" height="1"/></svg>', "with a viewBox"),
        (f'{HEAD}<rect width="1" height="1"/></svg>', "a rect has none"),
        (f'{HEAD}<rect id="a" width="1" height="1"/><circle id="a" r="1"/></svg>', "received a twice"),
        (f'{HEAD}<rect id="a" rx="1" width="9" height="9"/></svg>', "sharp corners"),
        (f'{HEAD}<rect id="a" width="1mm" height="9"/></svg>', "expected numbers"),
        (f'{HEAD}<rect id="a" width="NaN" height="9"/></svg>', "expected numbers"),
        (f'{HEAD}<rect id="a" width="1e999" height="9"/></svg>', "expected numbers"),
        (f'{HEAD}<rect id="a" width="0" height="9"/></svg>', "above 0"),
        (f'{HEAD}<path id="a" d="M0 0 L4 4 L8 0"/></svg>', "closed path, received an open one"),
        (f'{HEAD}<path id="a" d="M0 0 A1 1 0 0 0 3 3 Z"/></svg>', "the steps M L H V C Q Z, received A"),
        (f'{HEAD}<path id="a" d="M0 0 L4 0 L4 4 Z M9 9 L10 9 L10 10 Z"/></svg>', "one closed piece"),
        (f'{HEAD}<path id="a" d="L4 0 L4 4 Z"/></svg>', "begins with M"),
        (f'{HEAD}<path id="a" d="M0 0 L4 0 4 Z"/></svg>', "2 numbers after L"),
        (f'{HEAD}<path id="a" d="M0 0 L{" 1 2" * 5000} Z"/></svg>', "at most 500 corners"),
        (f'{HEAD}<path id="a" d="{"(" * 9}"/></svg>', "expected steps with numbers"),
        (f'{HEAD}<rect id="a" width="1" height="1" transform="skewX(4)"/></svg>', "translate, scale, rotate or matrix"),
        (f'{HEAD}<rect id="a" width="9" height="9" style="fill:red;display:none"/></svg>', "the style display"),
        (f'{HEAD}<rect id="a" width="9" height="9" style="transform: rotate(9deg)"/></svg>', "the style transform"),
        (f'{HEAD}<g display="none"><rect id="a" width="9" height="9"/></g></svg>', "display at g"),
        (f'{HEAD}<rect id="a" width="9" height="9" visibility="hidden"/></svg>', "visibility at rect"),
        (f"{HEAD}{'<g>' * 30}{'</g>' * 30}</svg>", "20 deep"),
        (f"{HEAD}{'<g/>' * 6000}</svg>", "at most 5,000 elements"),
    ],
)
def test_what_is_no_plain_drawing_is_refused(document: str, told: str) -> None:
    """It ends at once in a sentence of ours."""
    with pytest.raises(ValueError, match="expected") as error:
        drawing_of(document)
    assert told in str(error.value)


def test_a_file_that_is_too_large_or_missing_is_refused(tmp_path: Path) -> None:
    """A path of a gigabyte is not read to its end."""
    path = tmp_path / "zones.svg"
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_drawing(path)
    path.write_text(f'{HEAD}<path id="a" d="M0 0', encoding="utf-8")
    with path.open("r+b") as file:
        file.truncate(1_000_000_000)
    with pytest.raises(SettingsError, match="at most 1,000,000 characters"):
        read_drawing(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="cannot be read"):
        read_drawing(path)


def test_a_zone_beyond_the_frame_that_it_was_drawn_on_is_refused(tmp_path: Path) -> None:
    """The viewBox is the frame: a shape that reaches beyond it was drawn on another one."""
    path = tmp_path / "zones.svg"
    path.write_text(f'{HEAD}<rect id="a" x="90" y="0" width="30" height="9"/></svg>')
    with pytest.raises(SettingsError, match="the zone a within the viewBox, which is the frame of 100 x 50 px"):
        zones_of(ZonesFile(svg=path), "inspect.zones")
    path.write_text(f'{HEAD}<rect id="a" x="90" y="0" width="10" height="50"/></svg>')
    assert list(zones_of(ZonesFile(svg=path), "inspect.zones")) == ["a"]


def test_a_drawing_of_another_frame_is_refused(tmp_path: Path) -> None:
    """Half as large a viewBox would put each zone elsewhere, though within the frame."""
    (tmp_path / "zones.svg").write_text(
        f'{HEAD}<rect id="a" x="9" y="9" width="30" height="9" style="fill:red"/></svg>'
    )
    inspect = with_files(InspectSettings(zones_file=ZonesFile(svg=Path("zones.svg"))), tmp_path, "inspect")
    assert inspect.beyond((100, 50)) == ""
    assert "expected its viewBox to be the frame of 200 x 100 px, received 100 x 50" in inspect.beyond((200, 100))
