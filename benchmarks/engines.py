"""ONNX Runtime and OpenVINO side by side on this CPU: tiles per second, and whether they find the same defects.

The engines answer the same tiles of the golden frames in turn, round by round. So a busy moment meets all of them.
Ratios are taken within a round, and every figure is the median. bf16 answers what is in doubt again in FP32: "twice" is
the share of such tiles. Every clip is judged, also those of products that a bundle is not for ("foreign"). Many a speck
there is at the edge of its threshold and of its smallest area. Run: make bench
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converters.comparing_files import Operand, compare
from edge.bundle import INT8_MODEL, INT8_OPENVINO_MODEL, Bundle, load_bundle
from edge.engines.autotune import Candidate, cpu_has_bf16, cpu_name
from edge.engines.cascade import CascadeEngine, openvino_bf16
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.inspection.golden import golden_tiles
from edge.protocols import Engine
from edge.records import Float32, Ticket
from edge.simulation.camera import write_video
from edge.simulation.rendering import SimulatedLineSettings

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "edge" / "bundles" / "simulated-glass"
SHARED_CLIPS = ("phone_line.mp4", "conveyor_mjz001.mp4", "bolts.mp4", "car-detection.mp4")
YARDSTICK = Candidate("onnxruntime", "fp32")
FASTER_WITH_BF16 = 1.6  # where the processor multiplies bf16 matrices (AMX); elsewhere bf16 is reported, and no claim
AGREE_AT_LEAST = 0.999
FRAMES_OF_OWN_CLIP = 24
FRAMES_OF_OTHERS = 8
ROUNDS = 11
BATCH = 4
BUFFERS = 3  # of each engine
BATCHES = 4  # per round: short, so that all engines meet the same moments


@dataclass(frozen=True)
class Agreement:
    """One engine against ONNX Runtime FP32 on one clip. `agree`: share of pixels of the same class, 0-1.

    `own`: of the product that the bundle is for.
    """

    engine: str
    clip: str
    frames: int
    agree: float
    defects: int
    lost: int
    gained: int
    own: bool = False


def engines_of(bundle: Bundle) -> dict[Candidate, Engine]:
    """Name every way in which this machine runs the bundle."""
    contract = bundle.contract(BATCH)
    engines: dict[Candidate, Engine] = {
        YARDSTICK: OnnxRuntimeEngine(bundle.onnx_path, contract),
        Candidate("openvino", "fp32"): OpenVinoEngine(bundle.onnx_path, contract),
    }
    if cpu_has_bf16():
        engines[Candidate("openvino", "bf16")] = openvino_bf16(bundle.onnx_path, contract, bundle.classes)
    if INT8_MODEL in bundle.manifest.files:
        engines[Candidate("onnxruntime", "int8")] = OnnxRuntimeEngine(bundle.path / INT8_MODEL, contract)
    if INT8_OPENVINO_MODEL in bundle.manifest.files:
        engines[Candidate("openvino", "int8")] = OpenVinoEngine(bundle.path / INT8_OPENVINO_MODEL, contract)
    return engines


@dataclass(frozen=True)
class Round:
    """One engine in one round: tiles per second by the clock, and CPU time per tile, which other load changes less.

    `twice`: share of the tiles that were in doubt and answered again, 0-1.

    ONNX Runtime's threads spin while they wait for each other, and that counts as CPU time too.
    """

    tiles_per_s: float
    cpu_ms_per_tile: float
    twice: float = 0.0


def one_round(engine: Engine, thresholds: Float32) -> Round:
    """Answer a few batches, two under way, of what the buffers hold."""
    waiting: list[Ticket] = []
    again = engine.asked_again if isinstance(engine, CascadeEngine) else 0
    started_s, busy_s = time.perf_counter(), time.process_time()
    for _ in range(BATCHES):
        waiting.append(engine.submit(engine.buffer(), BATCH, thresholds))
        if len(waiting) == 2:
            engine.collect(waiting.pop(0))
    engine.collect(waiting.pop())
    tiles = BATCH * BATCHES
    took_s, worked_s = time.perf_counter() - started_s, time.process_time() - busy_s
    twice = (engine.asked_again - again) / tiles if isinstance(engine, CascadeEngine) else 0.0
    return Round(tiles / took_s, worked_s / tiles * 1e3, twice)


def rounds_of(bundle: Bundle, rounds: int) -> dict[Candidate, list[Round]]:
    """Measure each engine once per round, all of them in turn.

    A first round warms them up and does not count.
    """
    thresholds = np.array([entry.threshold for entry in bundle.classes], np.float32)
    measured: dict[Candidate, list[Round]] = {}
    tiles = golden_tiles(bundle)
    # as many as the buffers hold, from all of the golden frames
    spread = np.linspace(0, len(tiles) - 1, BUFFERS * BATCH).round().astype(int).reshape(BUFFERS, BATCH)
    turn = itertools.cycle(spread)
    with ExitStack() as scope:
        engines = {name: scope.enter_context(engine) for name, engine in engines_of(bundle).items()}
        for engine in engines.values():
            for _ in range(BUFFERS):
                engine.buffer().tiles[:] = tiles[next(turn)]
        for number in range(rounds + 1):
            for name, engine in engines.items():
                found = one_round(engine, thresholds)
                if number:
                    measured.setdefault(name, []).append(found)
    return measured


def agreement_of(bundle: Bundle, candidate: Candidate, clip: Path, *, own: bool, whole: bool = False) -> Agreement:
    """Compare one engine with ONNX Runtime FP32 on a sample of a clip's frames, or on the `whole` of them."""
    every = 1 if whole else max(1, frames_in(clip) // (FRAMES_OF_OWN_CLIP if own else FRAMES_OF_OTHERS))
    difference = compare(
        Operand(bundle.path, *YARDSTICK), Operand(bundle.path, *candidate), clip, lambda items, _: items, every
    )
    total = difference.total
    return Agreement(
        str(candidate),
        clip.name,
        total.pictures,
        1 - total.changed_share,
        total.defects,
        total.total_lost,
        total.total_gained,
        own,
    )


def frames_in(clip: Path) -> int:
    """Count a clip's frames."""
    from edge.opencv import cv2

    return int(cv2.VideoCapture(str(clip)).get(cv2.CAP_PROP_FRAME_COUNT))


def measure(bundle: Bundle, clips: list[Path], own_clip: str, rounds: int, *, whole: bool) -> dict[str, Any]:
    """Measure one bundle: speeds, ratios to the yardstick, and agreement on every clip."""
    measured = rounds_of(bundle, rounds)
    speeds = {name: [each.tiles_per_s for each in found] for name, found in measured.items()}
    busy = {name: [each.cpu_ms_per_tile for each in found] for name, found in measured.items()}
    ratios = {
        str(name): statistics.median(a / b for a, b in zip(values, speeds[YARDSTICK], strict=True))
        for name, values in speeds.items()
    }
    savings = {
        str(name): statistics.median(b / a for a, b in zip(values, busy[YARDSTICK], strict=True))
        for name, values in busy.items()
    }
    agreements = [
        agreement_of(bundle, name, clip, own=clip.name == own_clip, whole=whole)
        for name in speeds
        if name != YARDSTICK
        for clip in clips
    ]
    return {
        "bundle": f"{bundle.manifest.name}-{bundle.manifest.version}",
        "model_sha256": bundle.model_sha256,
        "tiles_per_s": {str(name): statistics.median(values) for name, values in speeds.items()},
        "spread": {str(name): [min(values), max(values)] for name, values in speeds.items()},
        "times_onnxruntime_fp32": ratios,
        "cpu_ms_per_tile": {str(name): statistics.median(values) for name, values in busy.items()},
        "times_onnxruntime_fp32_by_cpu_time": savings,
        "answered_twice": {
            str(name): statistics.mean(each.twice for each in found) for name, found in measured.items()
        },
        "agreement": [asdict(each) for each in agreements],
    }


def print_tables(found: dict[str, Any]) -> None:
    """Print one bundle's figures."""
    print(f"\n{found['bundle']}")
    print(f"{'engine':20} {'tiles/s':>8} {'spread':>16} {'x fp32':>7} {'CPU ms/tile':>12} {'x fp32':>7} {'twice':>6}")
    for name, speed in found["tiles_per_s"].items():
        low, high = found["spread"][name]
        spread = f"{low:.1f} - {high:.1f}"
        print(
            f"{name:20} {speed:8.1f} {spread:>16} {found['times_onnxruntime_fp32'][name]:7.2f} "
            f"{found['cpu_ms_per_tile'][name]:12.2f} {found['times_onnxruntime_fp32_by_cpu_time'][name]:7.2f} "
            f"{found['answered_twice'][name]:6.1%}"
        )
    print(f"{'against ONNX Runtime fp32':20} {'clip':22} {'frames':>6} {'agree':>9} {'defects':>8} {'lost':>5} gained")
    for each in found["agreement"]:
        print(
            f"{each['engine']:20}      {each['clip']:22} {each['frames']:6} {each['agree']:9.4%} {each['defects']:8} "
            f"{each['lost']:5} {each['gained']:6}{'' if each['own'] else '   foreign'}"
        )


def missed(found: dict[str, Any]) -> list[str]:
    """Say which claims do not hold here: of bf16's speed, of agreement, of defects."""
    bf16 = str(Candidate("openvino", "bf16"))
    ratio = found["times_onnxruntime_fp32"].get(bf16)
    slow = ratio is not None and ratio < FASTER_WITH_BF16 and _has_amx()
    told = [f"{bf16}: {ratio:.2f} x, expected {FASTER_WITH_BF16}"] if slow else []
    for each in found["agreement"]:
        if "int8" in each["engine"]:
            continue  # the loss of int8 is measured, and limited, when it is made
        if each["agree"] < AGREE_AT_LEAST or each["lost"]:
            told.append(f"{each['engine']} on {each['clip']}: {each['agree']:.4%} agree, {each['lost']} defects lost")
    return told


def _has_amx() -> bool:
    return "amx_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8")


def main() -> None:
    """Measure, print, write; end with 1 where a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, action="append", help="default: the shipped one")
    parser.add_argument("--data", type=Path, help="folder with video/, further clips to compare on")
    parser.add_argument("--own-clip", default="phone_line.mp4", help="clip of what --bundle is for (%(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds per figure (default %(default)s)")
    parser.add_argument("--whole-clips", action="store_true", help="compare on every frame; few of them flatter")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench", help="folder for engines.json")
    options = parser.parse_args()
    shared = [options.data / "video" / name for name in SHARED_CLIPS] if options.data else []
    with tempfile.TemporaryDirectory(prefix="linewatch-bench-") as folder:
        rendered = Path(folder) / "simulated.mp4"
        write_video(rendered, SimulatedLineSettings(width=1280, height=720, seed=11), 240)
        clips = [rendered, *(clip for clip in shared if clip.is_file())]
        own = options.own_clip if options.bundle else rendered.name
        results = [
            measure(load_bundle(path), clips, own, options.rounds, whole=options.whole_clips)
            for path in options.bundle or [SHIPPED]
        ]
    for found in results:
        print_tables(found)
    told = [line for found in results for line in missed(found)]
    report = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "bf16": cpu_has_bf16(),
            "load": os.getloadavg(),
            "onnxruntime": version("onnxruntime"),
            "openvino": version("openvino"),
        },
        "rounds": options.rounds,
        "whole_clips": options.whole_clips,
        "bundles": results,
        "missed": told,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "engines.json"
    target.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print("\n".join(["", *told, f"written: {target}"]))
    if told:
        sys.exit(1)


if __name__ == "__main__":
    main()
