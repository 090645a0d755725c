"""Phone pictures and their clip replayed through the line: what is found on its mask, and what others are given."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results.running import ROOT, command
from edge.bundle import Bundle, load_bundle
from edge.opencv import cv2
from edge.pictures import read_decoded
from edge.records import UInt8
from trainer.datasets.masks import plane_of
from trainer.evaluation.bootstrap import share_interval

SHIPPED = ROOT / "edge" / "bundles" / "simulated-glass"
CONFIG = ROOT / "config" / "phone.yaml"


@dataclass(frozen=True)
class Seen:
    """One frame: its true class and mask, and what the replay answered. `answered` maps class names to uint8 masks.

    `group`: the piece that it shows, as its manifest names it.
    """

    kind: str
    group: str
    mask: UInt8
    answered: dict[str, UInt8]

    def found(self) -> bool:
        """Tell whether an answered defect of the true class overlaps the mask."""
        answer = self.answered.get(self.kind)
        return answer is not None and bool((answer[self.mask > 127] > 0).any())

    def wrongly(self, name: str) -> bool:
        """Tell whether a class that the frame does not show was answered."""
        return self.kind != name and name in self.answered and bool(self.answered[name].any())


def replay(recording: Path, bundle: Path, out: Path) -> list[dict[str, Any]]:
    """Replay a recording and return its events; maps lie in `out`/maps.

    With config/phone.yaml, or without limits where the bundle does not know all its classes.
    """
    events, config = out / "events.jsonl", CONFIG
    out.mkdir(parents=True, exist_ok=True)
    if not any(entry.name == "oil" for entry in load_bundle(bundle).classes):
        config = out / "settings.yaml"
        config.write_text("camera: {name: phone, max_age_ms: 1000}\n", encoding="utf-8")
    command(
        "linewatch",
        "replay",
        recording,
        "--bundle",
        bundle,
        "--config",
        config,
        "--events",
        events,
        "--maps",
        out / "maps",
    )
    return [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines()]


def seen(event: dict[str, Any], bundle: Bundle, maps: Path, row: dict[str, str], folder: Path) -> Seen:
    """Put one event beside its truth: a `row` of the manifest of the dataset in `folder`."""
    drawn = read_decoded(maps / f"{event['frame']:06d}.png").pixels
    mask = plane_of(read_decoded(folder / row["mask"])).levels
    if mask.shape != drawn.shape:  # maps are of a model's own pixels, and no bundle here crops
        mask = cv2.resize(mask, drawn.shape[::-1], interpolation=cv2.INTER_AREA)
    answered = {
        entry.name: (drawn == entry.id).astype(np.uint8) for entry in bundle.classes if (drawn == entry.id).any()
    }
    return Seen(row["class"], row["group"], mask, answered)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Read a CSV table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def of_pictures(folder: Path, bundle: Path, out: Path) -> list[Seen]:
    """Replay a dataset's pictures and put each beside its truth."""
    truth = {row["image"].removeprefix("images/"): row for row in rows_of(folder / "manifest.csv")}
    loaded = load_bundle(bundle)
    return [
        seen(event, loaded, out / "maps", truth[event["name"]], folder)
        for event in replay(folder / "images", bundle, out)
    ]


def of_clip(data: Path, bundle: Path, out: Path) -> tuple[list[Seen], list[Seen]]:
    """Replay the clip; return the frames of held-out pictures, and all frames."""
    learned = {row["image"] for row in rows_of(bundle / "split.csv") if row["split"] != "test"}
    loaded, everything, held_out = load_bundle(bundle), [], []
    pictures = {row["image"]: row for row in rows_of(data / "phone_msd" / "manifest.csv")}
    rows = {int(row["frame"]): pictures[row["image"]] for row in rows_of(data / "video" / "phone_line.csv")}
    for event in replay(data / "video" / "phone_line.mp4", bundle, out):
        row = rows[event["frame"]]
        one = seen(event, loaded, out / "maps", row, data / "phone_msd")
        everything.append(one)
        if row["image"] not in learned:
            held_out.append(one)
    return held_out, everything


def count(part: Iterable[bool]) -> str:
    """Say how many of how many."""
    values = list(part)
    return f"{sum(values)} of {len(values)}" + (f" ({sum(values) / len(values):.0%})" if values else "")


def found_table(groups: Sequence[tuple[str, Sequence[Seen]]], kinds: Sequence[str]) -> str:
    """Lay out how many pictures of each class were found, and how many others were falsely given it."""
    lines = ["| | class | found on its mask | given to others |", "|---|---|---|---|"]
    for title, frames in groups:
        for kind in kinds:
            own = count(one.found() for one in frames if one.kind == kind)
            others = count(one.wrongly(kind) for one in frames if one.kind != kind)
            lines.append(f"| {title} | {kind} | {own} | {others} |")
    return "\n".join(lines)


def replayed(bundle: Path, data: Path, out: Path) -> str:
    """Replay what the phone bundle never saw, and the clip; return the table of what was found."""
    pictures = data / "phone_msd"
    shutil.rmtree(out / "held-out", ignore_errors=True)  # of a run that did not come to its end
    command("linewatch-train", "held-out", bundle, "--data", pictures, "--out", out / "held-out")
    held_out = of_pictures(out / "held-out", bundle, out / "held-out-replay")
    clip_held_out, clip = of_clip(data, bundle, out / "clip-replay")
    groups = [("held-out pictures", held_out), ("clip, held-out pictures", clip_held_out), ("clip, all frames", clip)]
    return found_table(groups, ["scratch", "stain", "oil"])


@dataclass(frozen=True)
class Shipped:
    """Figures of the shipped model, which never saw a real picture; shares 0-1 with their intervals."""

    table: str
    found: float
    false: float
    intervals: tuple[list[float] | None, list[float] | None]


def shipped(data: Path, out: Path) -> Shipped:
    """Replay every phone picture with the shipped model."""
    seen_pictures = of_pictures(data / "phone_msd", SHIPPED, out / "shipped-all")
    scratched = [one for one in seen_pictures if one.kind == "scratch"]
    others = [one for one in seen_pictures if one.kind != "scratch"]
    found, false = [one.found() for one in scratched], [one.wrongly("scratch") for one in others]
    return Shipped(
        found_table([("all 70 pictures", seen_pictures)], ["scratch", "stain"]),
        sum(found) / len(found),
        sum(false) / len(false),
        (
            share_interval(found, [one.group for one in scratched]),
            share_interval(false, [one.group for one in others]),
        ),
    )
