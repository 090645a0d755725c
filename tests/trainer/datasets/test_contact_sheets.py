"""Contact sheets: each picture in its place, whole, with its shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.errors import StoreError
from edge.opencv import cv2
from trainer.datasets.contact_sheets import SheetCell, contact_sheet, write_sheet


def test_each_picture_stands_in_its_own_cell(tmp_path: Path) -> None:
    """Of three pictures in two columns the second is to the right of the first and the third below it. Shapes hold."""
    cells = [SheetCell(np.full((10, 20 * (k + 1)), 100 + 50 * k, np.uint8), f"picture {k}") for k in range(3)]
    sheet = contact_sheet(cells, columns=2, cell_px=100)
    # 4 + 100 + 4 + 100 + 4 wide; each row is 4 + 100 + 20 high, and 4 below
    assert sheet.shape == (2 * 124 + 4, 212, 3)
    for k, (x0, y0) in enumerate([(4, 4), (108, 4), (4, 128)]):
        seen = (sheet[y0 : y0 + 100, x0 : x0 + 100] == 100 + 50 * k).all(axis=2)
        # 100 wide, and high by the picture's shape: 10/20, 10/40, 10/60 of that
        assert seen.any(axis=0).sum() == 100
        assert seen.any(axis=1).sum() == round(100 * 10 / (20 * (k + 1)))
    write_sheet(tmp_path / "deep" / "sheet.png", sheet)
    assert (cv2.imread(str(tmp_path / "deep" / "sheet.png")) == sheet).all()


def test_a_sheet_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    """A folder that is a file is named, with what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_sheet(tmp_path / "file" / "sheet.png", contact_sheet([], columns=1))
