"""The trigger `presence` on a whole station: each part of the simulated belt is one part."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge.app import StandIns, Watchers, run_station
from edge.bundle import Bundle, load_bundle, write_manifest
from edge.observers.direct import DirectObserver
from edge.opencv import cv2
from edge.outbox.reader import OutboxReader
from edge.parts.belt import learn_belt, write_belt
from edge.preparing.crop_rectangle import CropRectangle
from edge.preparing.flat_field import FlatField
from edge.protocols import Camera
from edge.publishers.memory import MemoryPublisher
from edge.records import UInt8
from edge.records.decided import Decided, DecidedPart
from edge.records.parts import PartResult
from edge.settings import SHIPPED_BUNDLE, CameraSettings, Settings
from edge.simulation.belt import PartTruth
from edge.simulation.camera import SimulatedCamera
from edge.simulation.recording import part_truths, read_parts, station_cameras, write_parts
from edge.simulation.rendering import CLASS_NAMES, RenderedLine, SimulatedLineSettings
from tests.bright_bundle import part, write_bright_bundle
from tests.edge.station.test_station import ListedCamera

MS = 1_000_000
FRAME_MS = 40
# x 256-384 of 640: the next part comes into sight when the one before has just left this region
REGION = (256, 0, 128, 480)
SEEDS = [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))]


def presence(looks: dict[str, Any], **also: Any) -> Settings:
    """Make settings whose parts are told by what is in the picture."""
    parts = {"trigger": "presence", "timeout_ms": 2000, "presence": looks}
    return Settings.model_validate_json(json.dumps({"parts": parts, **also}))


def line(seed: int, frames: int = 0, **also: object) -> SimulatedLineSettings:
    """Return the simulated line of one seed: glass alone, seen from above, 25 frames a second."""
    top = station_cameras((480, 640), seed, products=("glass",))["top"]
    return top.model_copy(update={"frames": frames, "edge_share": 0.0, **also})


def truth_of(seed: int, frames: int, folder: Path) -> Sequence[PartTruth]:
    """Return the parts of a recording, as its table has them."""
    write_parts(folder / "parts.csv", list(part_truths({"top": line(seed)}, frames)))
    return read_parts(folder / "parts.csv")


def run(
    settings: Settings, bundle: Bundle, cameras: dict[str, Camera], folder: Path
) -> tuple[list[PartResult], list[Decided]]:
    """Take recordings through a station by its own trigger, and return its parts and what else was told."""
    decided: list[Decided | DecidedPart] = []
    run_station(
        settings,
        bundle,
        threading.Event(),
        store=folder / "outbox.db",
        live=False,
        instead=StandIns(cameras, None, MemoryPublisher()),
        watchers=Watchers([DirectObserver(decided.append)]),
    )
    parts = [one.part for one in decided if isinstance(one, DecidedPart)]
    return parts, [one for one in decided if isinstance(one, Decided)]


def simulated(seed: int, frames: int) -> SimulatedCamera:
    """Return the line as a recording: frame n was captured at n x 40 ms."""
    clock = itertools.count(0, FRAME_MS * MS)
    return SimulatedCamera("top", line(seed, frames, fps=0.0), monotonic_ns=lambda: next(clock))


def matched(parts: Sequence[PartResult], truth: Sequence[PartTruth]) -> None:
    """Check that each part of the table is one part: windows overlap one to one, in order, and nothing is beside."""
    assert len(parts) == len(truth)
    for seen, true in zip(parts, truth, strict=True):
        assert seen.closing.value == "trigger"
        assert seen.opened_ns <= true.closed_ns
        assert true.opened_ns <= seen.closed_ns
    for before, after in itertools.pairwise(parts):
        assert before.closed_ns < after.opened_ns


def verdicts(seed: int, parts: Sequence[PartResult]) -> list[str]:
    """Tell from the drawn truth alone: NG where, in a frame of the part, the region holds a defect that is no speck."""
    drawn, (x, _, w, _) = RenderedLine(line(seed)), REGION
    smallest = {entry.name: entry.min_area_px for entry in load_bundle(SHIPPED_BUNDLE).classes}
    told = []
    for each in parts:
        frames = range(each.opened_ns // (FRAME_MS * MS), each.closed_ns // (FRAME_MS * MS) + 1)
        maps = [drawn.frame(index)[1] for index in frames]
        told.append("NG" if any(_holds_a_defect(one, slice(x, x + w), smallest) for one in maps) else "OK")
    return told


def _holds_a_defect(truth: UInt8, columns: slice, smallest: dict[str, float]) -> bool:
    for class_id, name in enumerate(CLASS_NAMES, start=1):
        count, pieces = cv2.connectedComponents((truth == class_id).astype(np.uint8), connectivity=8)
        for piece in range(1, count):
            there = pieces == piece
            if there.sum() >= smallest[name] and there[:, columns].any():
                return True
    return False


LIMITS = {name: {"max_count": 0} for name in CLASS_NAMES}
FRAMES = 98  # three parts, and the belt behind the last of them


@pytest.mark.parametrize("seed", SEEDS)
def test_each_part_on_the_belt_is_one_part(seed: int, tmp_path: Path) -> None:
    """By the learned belt: three parts of the table are three parts, NG where a defect was drawn; no other result."""
    empty = RenderedLine(line(seed, offset_frames=40))
    write_belt(tmp_path / "belt.npz", learn_belt([empty.frame(index)[0] for index in range(20)], REGION))
    settings = presence(
        {"belt": str(tmp_path / "belt.npz")},
        camera={"name": "top"},
        bundle=str(SHIPPED_BUNDLE),
        engine={"backend": "simulated"},
        inspect={"region": {"rectangle": REGION}, "limits": LIMITS},
    )
    truth = truth_of(seed, FRAMES, tmp_path)
    parts, others = run(settings, load_bundle(SHIPPED_BUNDLE), {"top": simulated(seed, FRAMES)}, tmp_path)
    matched(parts, truth)
    assert [part.judgement.verdict.value for part in parts] == verdicts(seed, parts)
    assert [one.inspection.frame for one in others if one.body is not None] == []


@pytest.mark.parametrize("seed", SEEDS)
def test_each_product_that_is_located_is_one_part(seed: int, tmp_path: Path) -> None:
    """Without a belt: a part is there while preparing finds the product with all four sides, under levelled light."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    steps = (FlatField(order=1), CropRectangle(min_area=0.2, min_contrast=20))
    bundle = write_manifest(bundle.path, bundle.manifest.model_copy(update={"preparing": steps}))
    settings = presence({}, camera={"name": "top"}, bundle=str(bundle.path))
    parts, _ = run(settings, bundle, {"top": simulated(seed, FRAMES)}, tmp_path)
    matched(parts, truth_of(seed, FRAMES, tmp_path))


def empty_and(*shown: UInt8 | None) -> list[tuple[int, UInt8]]:
    """List frames at 40 ms: the empty belt where None."""
    return [(FRAME_MS * place, part() if pixels is None else pixels) for place, pixels in enumerate(shown)]


GREY = part(100, 150, (10, 10, 120, 80)) // 3  # a part without a defect: brighter than the belt, below 128
SCRATCHED = GREY.copy()
SCRATCHED[20:24, 20:40] = 250


def two_views(folder: Path, bundle: Bundle, **rules: int) -> Settings:
    """Make settings of two cameras, of which `top` tells whether a part is there, by a learned belt."""
    write_belt(folder / "belt.npz", learn_belt([part() + np.uint8(k % 3) for k in range(8)]))
    looks = {"view": "top", "belt": str(folder / "belt.npz"), **rules}
    return presence(looks, cameras={"side": {}, "top": {}}, bundle=str(bundle.path))


def test_the_frames_in_which_a_part_was_decided_belong_to_it(tmp_path: Path) -> None:
    """With three frames to begin and to end: the defect that only the first frame shows is the part's, in any view."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    settings = two_views(tmp_path, bundle, on_frames=3, off_frames=3)
    for place, shows in enumerate([(SCRATCHED, GREY), (GREY, SCRATCHED)]):
        top = ListedCamera("top", empty_and(None, None, shows[0], GREY, GREY, None, None, None, None, None))
        side = ListedCamera("side", empty_and(None, None, shows[1], GREY, GREY, None, None, None, None, None))
        folder = tmp_path / str(place)
        folder.mkdir()
        parts, others = run(settings, bundle, {"side": side, "top": top}, folder)
        (one,) = parts
        assert (one.opened_ns, one.closed_ns) == (80 * MS, 200 * MS - 1)
        assert one.judgement.verdict.value == "NG"
        assert {view: seen.frames for view, seen in one.views.items()} == {"side": 3, "top": 3}
        assert not any(one.body for one in others)


def test_frames_of_another_size_than_the_belt_s_are_an_alarm(tmp_path: Path) -> None:
    """No presence can be known then: one part is NO_READ, and the alarm stands, with what to do."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    settings = two_views(tmp_path, bundle).model_copy(update={"cameras": {"top": CameraSettings()}})
    frames = [(FRAME_MS * place, part(120, 160)) for place in range(80)]
    parts, _ = run(settings, bundle, {"top": ListedCamera("top", frames)}, tmp_path)
    (one,) = parts
    assert one.judgement.verdict.value == "NO_READ"
    assert "160 x 120 px, and the empty belt was learned in 150 x 100" in str(one.judgement.reason)
    with OutboxReader(tmp_path / "outbox.db") as reader:
        raised = {row.entry.alarm for row in reader.journal_rows(50) if row.entry.kind == "raised"}
    assert {"no-read", "trigger-fault"} <= raised


def test_a_product_that_was_located_is_a_part_though_the_engine_fails(tmp_path: Path) -> None:
    """Without a belt: parts that pass while the model answers nothing that can be believed are each NO_READ."""
    bundle = write_bright_bundle(tmp_path / "bundle", not_a_number=True)
    steps = (CropRectangle(min_area=0.2, min_contrast=20),)
    bundle = write_manifest(bundle.path, bundle.manifest.model_copy(update={"preparing": steps}))
    settings = presence({}, camera={"name": "top"}, bundle=str(bundle.path))
    frames = empty_and(None, None, GREY, GREY, None, None, None, GREY, GREY, None, None, None)
    parts, _ = run(settings, bundle, {"top": ListedCamera("top", frames)}, tmp_path)
    assert [one.judgement.verdict.value for one in parts] == ["NO_READ", "NO_READ"]
    assert all("inference failed" in str(one.judgement.reason) for one in parts)
