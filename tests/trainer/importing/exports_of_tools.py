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


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><name>x</name></task></meta>{images}</annotations>
"""


def cvat_image(name: str, inside: str = "") -> str:
    """Return a picture of CVAT's XML."""
    return f'<image id="0" name="{name}" width="{SIZE[1]}" height="{SIZE[0]}">{inside}</image>'


def cvat_points(corners: list[list[int]]) -> str:
    """Return points as CVAT writes them."""
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)


def write_cvat(folder: Path) -> Path:
    """Write "CVAT for images 1.1": a polygon, and a mask along the rows of its box."""
    write_pictures(folder / "images")
    polygon = f'<polygon label="scratch" occluded="0" points="{cvat_points(SCRATCH_CORNERS)}" z_order="0"/>'
    mask = '<mask label="stain" rle="0, 60" left="60" top="40" width="15" height="4" z_order="1"/>'
    (folder / "annotations.xml").write_text(
        CVAT.format(images=cvat_image(DEFECTIVE, mask + polygon) + cvat_image(CLEAN))
    )
    return folder / "annotations.xml"


def write_cvat_masks(folder: Path) -> Path:
    """Write "Segmentation mask 1.1": colours of labelmap.txt, one of which no picture shows."""
    write_pictures(folder / "JPEGImages")
    mask = np.zeros((*SIZE, 3), np.uint8)
    mask[SCRATCH > 0], mask[STAIN > 0] = (0, 0, 250), (50, 183, 250)
    save(folder / "SegmentationClass" / "a.png", mask)
    save(folder / "SegmentationClass" / "b.png", np.zeros_like(mask))
    (folder / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nnever:9,9,9::\nscratch:250,0,0::\nstain:250,183,50::\n"
    )
    return folder


def brush_of(mask: UInt8) -> list[int]:
    """Pack a mask as Label Studio's editor does (thi.ng/rle-pack): words of 8 bits, each value by itself."""
    values = np.repeat(np.where(mask > 0, 255, 0).reshape(-1, 1), 4, axis=1).reshape(-1).astype(np.uint8)
    bits = f"{len(values):032b}{7:05b}" + f"{15:04b}" * 4
    for first in range(0, len(values), 1 << 16):
        part = values[first : first + (1 << 16)]
        bits += f"0{0:02b}{len(part) - 1:016b}" + "".join(f"{value:08b}" for value in part.tolist())
    padded = bits + "0" * (-len(bits) % 8)
    return [int(padded[place : place + 8], 2) for place in range(0, len(padded), 8)]


def studio_result(kind: str, label: str, value: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return one region of Label Studio's."""
    own = {"original_width": SIZE[1], "original_height": SIZE[0], "image_rotation": 0, "id": label, **more}
    return {**own, "type": kind, "from_name": "label", "to_name": "image", "value": {**value, kind: [label]}}


def percent(corners: list[list[int]]) -> list[list[float]]:
    """Return corners in percent of the picture's size."""
    return [[100 * x / SIZE[1], 100 * y / SIZE[0]] for x, y in corners]


def studio_task(results: list[dict[str, Any]], picture: str, **more: Any) -> dict[str, Any]:
    """Return a task of Label Studio's, whose picture was uploaded."""
    return {
        "id": 1,
        "data": {"image": f"/data/upload/1/0a1b2c3d-{picture}"},
        "annotations": [{"id": 1, "was_cancelled": False, "result": results}],
        "predictions": [],
        **more,
    }


def write_label_studio(folder: Path) -> Path:
    """Write Label Studio's JSON: a polygon in percent, and a brush."""
    write_pictures(folder / "images")
    results = [
        studio_result("polygonlabels", "scratch", {"points": percent(SCRATCH_CORNERS)}),
        studio_result("brushlabels", "stain", {"format": "rle", "rle": brush_of(STAIN)}),
    ]
    (folder / "export.json").write_text(json.dumps([studio_task(results, DEFECTIVE), studio_task([], CLEAN)]))
    return folder / "export.json"


def datumaro(annotations: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Return Datumaro's JSON."""
    labels = [{"name": "never", "parent": "", "attributes": []}, {"name": "scratch"}, {"name": "stain"}]
    item = {"attr": {}, "point_cloud": {"path": ""}, "info": {}}
    return {
        "info": {},
        "categories": {"label": {"labels": labels}},
        "items": [
            {**item, "id": "a", "annotations": annotations, "image": {"path": DEFECTIVE, "size": list(SIZE)}},
            {**item, "id": "b", "annotations": [], "image": {"path": "", "size": list(SIZE)}},
        ],
        **changes,
    }


def write_datumaro(folder: Path) -> Path:
    """Write Datumaro's folders: a polygon, and a mask down the columns."""
    write_pictures(folder / "images" / "default")
    columns = [60 * 60 + 40, *([4, 56] * 14), 4, 60 * 80 - (74 * 60 + 44)]
    annotations = [
        {"id": 1, "type": "polygon", "label_id": 1, "points": flat(SCRATCH_CORNERS), "z_order": 0},
        {"id": 2, "type": "mask", "label_id": 2, "rle": {"counts": columns, "size": list(SIZE)}, "z_order": 1},
    ]
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "default.json").write_text(json.dumps(datumaro(annotations)))
    return folder


def lookout_line(picture: str, label: str, mask: str = "", **colours: str) -> dict[str, Any]:
    """Return a line of Lookout for Vision's manifest, whose files lie in a bucket."""
    line: dict[str, Any] = {
        "source-ref": f"s3://bucket/set/images/{picture}",
        "anomaly-label": int(label != "normal"),
        "anomaly-label-metadata": {"class-name": label, "type": "groundtruth/image-classification"},
    }
    if mask:
        named = {"BACKGROUND": "#ffffff", **colours}
        colour_map = {
            str(place): {"class-name": name, "hex-color": colour, "confidence": 0.0}
            for place, (name, colour) in enumerate(named.items())
        }
        line["anomaly-mask-ref"] = f"s3://bucket/set/masks/{mask}"
        line["anomaly-mask-ref-metadata"] = {"internal-color-map": colour_map}
    return line


def write_lookout(folder: Path) -> Path:
    """Write Lookout for Vision's manifest: a mask of two colours on white."""
    write_pictures(folder / "images")
    mask = np.full((*SIZE, 3), 255, np.uint8)
    mask[SCRATCH > 0], mask[STAIN > 0] = (44, 160, 44), (14, 127, 255)
    save(folder / "masks" / "a.png", mask)
    lines = [
        lookout_line(DEFECTIVE, "anomaly", "a.png", scratch="#2ca02c", stain="#ff7f0e"),
        lookout_line(CLEAN, "normal"),
    ]
    (folder / "train.manifest").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return folder / "train.manifest"


WRITERS |= {
    "cvat": write_cvat,
    "label-studio": write_label_studio,
    "datumaro": write_datumaro,
    "lookout": write_lookout,
}
