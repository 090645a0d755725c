"""Small exports as labelling tools write them, all of the same two defects on the same pictures, for tests.

Each writer takes an empty folder and returns what the import is given.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge.opencv import cv2
from edge.records import UInt8
from tests.trainer.importing.pictures import rectangle, save, surface

SIZE = (60, 80)
SCRATCH, STAIN = rectangle(SIZE, 10, 12, 20, 30), rectangle(SIZE, 40, 60, 4, 15)
# x, y of the corners, as tools count: the first pixel is from 0 to 1
SCRATCH_CORNERS = [[12, 10], [42, 10], [42, 30], [12, 30]]
STAIN_CORNERS = [[60, 40], [75, 40], [75, 44], [60, 44]]
DEFECTIVE, CLEAN = "a.png", "b.png"


def write_pictures(folder: Path, *, suffix: str = ".png") -> None:
    """Write a.png, which has both defects, and b.png, which has none."""
    for seed, name in enumerate((DEFECTIVE, CLEAN)):
        save(folder / Path(name).with_suffix(suffix).name, surface(seed, SIZE), quality=95)


def flat(corners: list[list[int]]) -> list[float]:
    """Return x and y by turns."""
    return [float(value) for point in corners for value in point]


def coco(**changes: Any) -> dict[str, Any]:
    """Return COCO's JSON: category ids that are neither dense nor from 1, a path of another machine."""
    return {
        "images": [
            {"id": 7, "file_name": f"C:\\data\\{DEFECTIVE}", "width": SIZE[1], "height": SIZE[0]},
            {"id": 3, "file_name": CLEAN, "width": SIZE[1], "height": SIZE[0]},
        ],
        "categories": [{"id": 0, "name": "scratch"}, {"id": 90, "name": "stain"}, {"id": 5, "name": "never"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 0, "segmentation": [flat(SCRATCH_CORNERS)], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 90, "segmentation": [flat(STAIN_CORNERS)], "iscrowd": 0},
        ],
        **changes,
    }


def write_coco(folder: Path, **changes: Any) -> Path:
    """Write COCO's JSON beside its pictures."""
    write_pictures(folder / "images")
    (folder / "annotations.json").write_text(json.dumps(coco(**changes)))
    return folder / "annotations.json"


def write_yolo(folder: Path) -> Path:
    """Write YOLO's folders; data.yaml names folders of another machine."""
    write_pictures(folder / "images" / "train")
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True)
    shares = [
        " ".join(f"{value / SIZE[1 - place % 2]:.6f}" for place, value in enumerate(flat(corners)))
        for corners in (SCRATCH_CORNERS, STAIN_CORNERS)
    ]
    (labels / "a.txt").write_text(f"0 {shares[0]}\n1 {shares[1]}\n")
    (labels / "b.txt").write_text("")
    (folder / "data.yaml").write_text(
        "path: /content/datasets/x\ntrain: images/train\nnames:\n  0: scratch\n  1: stain\n"
    )
    return folder


def labelme_shape(label: str, points: Any, kind: str = "polygon", **more: Any) -> dict[str, Any]:
    """Return one of labelme's shapes."""
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}, **more}


def labelme(shapes: list[dict[str, Any]], picture: str, **changes: Any) -> str:
    """Return labelme's JSON of one picture."""
    return json.dumps(
        {
            "version": "5.4.1",
            "flags": {},
            "shapes": shapes,
            "imagePath": picture,
            "imageData": None,
            "imageHeight": SIZE[0],
            "imageWidth": SIZE[1],
            **changes,
        }
    )


def png64(mask: UInt8) -> str:
    """Encode a mask as labelme embeds it."""
    return base64.b64encode(cv2.imencode(".png", np.where(mask > 0, np.uint8(1), np.uint8(0)))[1].tobytes()).decode()


def write_labelme(folder: Path) -> Path:
    """Write labelme's JSON beside the pictures: a polygon, and a mask."""
    write_pictures(folder)
    shapes = [
        labelme_shape("scratch", SCRATCH_CORNERS),
        labelme_shape("stain", [[60, 40], [74, 43]], "mask", mask=png64(STAIN[40:44, 60:75])),
    ]
    (folder / "a.json").write_text(labelme(shapes, "..\\elsewhere\\a.png"))
    (folder / "b.json").write_text(labelme([], "b.png"))
    return folder


def write_mvtec(folder: Path) -> Path:
    """Write MVTec's folders."""
    save(folder / "train" / "good" / "000.png", surface(5, SIZE))
    save(folder / "test" / "good" / "000.png", surface(6, SIZE))
    for seed, (name, mask) in enumerate({"scratch": SCRATCH, "stain": STAIN}.items()):
        save(folder / "test" / name / "000.png", surface(seed, SIZE))
        save(folder / "ground_truth" / name / "000_mask.png", mask)
    return folder


def write_side_by_side(folder: Path) -> Path:
    """Write magnetic tiles' folders: JPEG and PNG of one name."""
    for seed, (name, mask) in enumerate({"MT_Scratch": SCRATCH, "MT_Free": 0 * SCRATCH}.items()):
        save(folder / name / "Imgs" / "exp1_num_5.jpg", surface(seed, SIZE))
        save(folder / name / "Imgs" / "exp1_num_5.png", mask)
    return folder


def write_kolektor(folder: Path) -> Path:
    """Write KolektorSDD's folders: pieces, and masks whose names end in _label."""
    for seed, piece in enumerate(("kos01", "kos02")):
        for part in ("Part0", "Part1"):
            save(folder / piece / f"{part}.jpg", surface(seed, SIZE))
            save(folder / piece / f"{part}_label.bmp", SCRATCH if part == "Part0" else 0 * SCRATCH)
    return folder


# verb → what writes its export into a folder and returns what the import is given
WRITERS: dict[str, Callable[[Path], Path]] = {
    "coco": write_coco,
    "yolo": write_yolo,
    "labelme": write_labelme,
    "mvtec": write_mvtec,
}
