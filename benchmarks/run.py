"""The speed that Linewatch claims, measured here: a table, and JSON in out/bench/.

Ratios are taken side by side in one run, alternating; every figure is the median of several. Run: make bench
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from edge.allocating import keep_freed_memory
from edge.app import make_recording, run_line
from edge.bundle import Bundle, load_bundle, write_manifest
from edge.cameras.recordings import recorded_camera
from edge.inspection.measuring import Sight, measure, region
from edge.inspection.scale import UniformScale
from edge.inspection.tiling import TilePlan, canvas, cut, pad, plan, stitch
from edge.observers.replay_files import EventsFile
from edge.opencv import cv2
from edge.preparing import prepare
from edge.publishers.memory import MemoryPublisher
from edge.records import Cell, DefectMap, Frame, Transform, UInt8
from edge.settings import Settings
from edge.simulation.camera import write_video
from edge.simulation.rendering import SimulatedLineSettings

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "edge" / "bundles" / "simulated-glass"
FRAMES = 40
ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its target. `spread`: smallest and largest of the rounds."""

    name: str
    value: float
    unit: str
    target: str
    reached: bool
    spread: tuple[float, float]


def at_least(name: str, values: list[float], unit: str, target: float) -> Figure:
    """Judge the median of values that should be high."""
    value = statistics.median(values)
    return Figure(name, value, unit, f"≥ {target:g}", value >= target, (min(values), max(values)))


def at_most(name: str, values: list[float], unit: str, target: float) -> Figure:
    """Judge the median of values that should be low."""
    value = statistics.median(values)
    return Figure(name, value, unit, f"≤ {target:g}", value <= target, (min(values), max(values)))


def informative(name: str, values: list[float], unit: str) -> Figure:
    """Report a median that has no target."""
    return Figure(name, statistics.median(values), unit, "", True, (min(values), max(values)))


def cut_tiles(clip: Path, bundle: Bundle, tiles: TilePlan) -> UInt8:
    """Return every tile of the clip, prepared and cut as the line does: uint8 [N, H, W, C]."""
    manifest = bundle.manifest
    cut_out = []
    with recorded_camera("bench", clip) as camera:
        while isinstance(frame := camera.read(10.0), Frame):
            prepared, _ = prepare(frame.pixels, manifest.preparing, manifest.channels)
            padded = pad(prepared, tiles)
            for cell in tiles.cells:
                tile = np.empty((tiles.tile_height, tiles.tile_width, manifest.channels), np.uint8)
                cut(padded, tiles, cell, tile)
                cut_out.append(tile)
    return np.stack(cut_out)


def at_full_size(folder: Path) -> Bundle:
    """Return the shipped bundle without the step that makes frames smaller: each 1080p frame has 45 tiles then."""
    shutil.copytree(SHIPPED, folder)
    manifest = load_bundle(SHIPPED).manifest
    steps = tuple(step for step in manifest.preparing if step.step != "resize")
    return write_manifest(folder, manifest.model_copy(update={"preparing": steps, "golden": ()}))


def bare_tiles_per_s(session: onnxruntime.InferenceSession, batch: int, tiles: UInt8, thresholds: list[float]) -> float:
    """Answer cut tiles with a session as ONNX Runtime makes it, with every core for a batch."""
    asked = np.array(thresholds, np.float32)
    started_s = time.perf_counter()
    for first in range(0, len(tiles), batch):
        session.run(["classes", "scores"], {"tiles": tiles[first : first + batch], "thresholds": asked})
    return len(tiles) / (time.perf_counter() - started_s)


def replay_tiles_per_s(clip: Path, bundle: Bundle, settings: Settings, folder: Path) -> float:
    """Replay the clip through the whole line: decoding, preparing, measuring, deciding, outbox and events file."""
    with ExitStack() as scope:
        store = Path(scope.enter_context(tempfile.TemporaryDirectory(dir=folder))) / "outbox.db"
        events = scope.enter_context(EventsFile(folder / "events.jsonl"))
        ends_s: list[float] = []

        def keep(decided: object) -> None:
            events.write(decided.body)  # type: ignore[attr-defined]  # a pipeline.Decided
            ends_s.append(time.perf_counter())

        camera = make_recording("bench", clip)
        result = run_line(
            settings,
            bundle,
            threading.Event(),
            store=store,
            live=False,
            camera=camera,
            publisher=MemoryPublisher(),
            watchers=[keep],
        )
    # From the first decided frame on: loading the model, which the bare session does not time, is left out.
    per_frame = result.counts.tiles / result.counts.frames
    return per_frame * (len(ends_s) - 1) / (ends_s[-1] - ends_s[0])


def stitch_and_measure_ms(bundle: Bundle, tiles: TilePlan) -> float:
    """Time stitching and measuring one 1080p frame with 20 defects, each by its edges in the picture."""
    rng = np.random.default_rng(3)
    whole: UInt8 = np.zeros((1080, 1920), np.uint8)
    for number in range(20):
        x, y = 90 * number + 20, int(rng.integers(60, 1000))
        cv2.line(whole, (x, y), (x + 60, y + int(rng.integers(-50, 50))), 1 + number % 2, 6)
    padded = pad(whole[:, :, None], tiles)
    answers: list[tuple[Cell, UInt8]] = []
    for cell in tiles.cells:
        tile = np.empty((tiles.tile_height, tiles.tile_width, 1), np.uint8)
        cut(padded, tiles, cell, tile)
        answers.append((cell, tile[:, :, 0]))
    here = Transform.identity()
    inspected = region((1080, 1920), None, here)
    sight = Sight(cv2.GaussianBlur(np.where(whole > 0, np.uint8(190), np.uint8(60)), (0, 0), 0.7))
    started_s = time.perf_counter()
    stitched: DefectMap = canvas(tiles)
    for cell, answer in answers:
        stitch(answer, answer, tiles, cell, stitched)
    seen, _ = measure(stitched, bundle.classes, inspected, here, UniformScale(0.05), sight=sight)
    elapsed_ms = (time.perf_counter() - started_s) * 1e3
    if len(seen.defects) != 20:
        raise RuntimeError(f"the drawing should have 20 defects, it has {len(seen.defects)}")
    return elapsed_ms


def ready_s(folder: Path) -> float:
    """Time `linewatch run` from its start to READY=1, with a broker that is absent."""
    config = folder / "ready.yaml"
    config.write_text(
        f"bundle: {SHIPPED}\ncamera: {{kind: simulated, source: simulated}}\nstore: {{path: {folder}/ready.db}}\n"
        "broker: {host: 127.0.0.1, port: 9}\n"
    )
    address = folder / "notify"
    address.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(address))
        systemd.settimeout(60)
        started_s = time.perf_counter()
        line = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", str(config)],
            env=os.environ | {"NOTIFY_SOCKET": str(address)},
            stderr=subprocess.DEVNULL,
        )
        try:
            while not systemd.recv(4096).startswith(b"READY=1"):
                pass
            return time.perf_counter() - started_s
        finally:
            line.terminate()
            line.wait()


def replay_rss_mb(clip: Path, folder: Path) -> float:
    """Return the largest resident memory of `linewatch replay` of the clip, in MB."""
    config = folder / "rss.yaml"
    config.write_text("{line: {line: bench}}")
    command = [
        "replay",
        str(clip),
        "--bundle",
        str(SHIPPED),
        "--config",
        str(config),
        "--events",
        str(folder / "e.jsonl"),
    ]
    # A child's peak begins with its parent's at the fork, so a small parent of its own asks for it.
    asking = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    asked = [sys.executable, "-c", asking, sys.executable, "-m", "edge", *command]
    return int(subprocess.run(asked, capture_output=True, text=True, check=True).stdout) / 1024


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds per figure (default %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench", help="folder for bench.json")
    options = parser.parse_args()
    keep_freed_memory()  # as `linewatch` does
    rounds: int = options.rounds
    settings = Settings()
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="linewatch-bench-") as name:
        folder = Path(name)
        bundle = at_full_size(folder / "bundle")
        thresholds = [entry.threshold for entry in bundle.classes]
        tile = bundle.manifest.tile
        tiles = plan(1080, 1920, (tile.height, tile.width), tile.overlap_px)
        clip = folder / "clip.mp4"
        write_video(clip, SimulatedLineSettings(width=1920, height=1080, seed=11), FRAMES)
        pixels = cut_tiles(clip, bundle, tiles)
        bare, whole, ratio = [], [], []
        session = onnxruntime.InferenceSession(bundle.onnx_path, providers=["CPUExecutionProvider"])
        bare_tiles_per_s(session, settings.engine.batch, pixels[:90], thresholds)
        for _ in range(rounds):
            bare.append(bare_tiles_per_s(session, settings.engine.batch, pixels, thresholds))
            whole.append(replay_tiles_per_s(clip, bundle, settings, folder))
            ratio.append(whole[-1] / bare[-1])
        figures.append(informative("bare ONNX Runtime session, 1080p tiles", bare, "tiles/s"))
        figures.append(informative("whole replay of a 1080p clip", whole, "tiles/s"))
        figures.append(at_least("whole replay ÷ bare session", ratio, "", 0.95))
        repeat: Callable[[], list[float]] = lambda: [stitch_and_measure_ms(bundle, tiles) for _ in range(10 * rounds)]  # noqa: E731 - named for the line below
        figures.append(at_most("stitch + measure one 1080p frame, 20 defects", repeat(), "ms", 3.0))
        figures.append(at_most("linewatch run, start to ready", [ready_s(folder) for _ in range(rounds)], "s", 3.0))
        figures.append(at_most("resident memory of a 1080p replay", [replay_rss_mb(clip, folder)], "MB", 350.0))
    print(f"{'figure':48} {'median':>10} {'unit':8} {'target':>8}  {'':3} spread")
    for figure in figures:
        mark = "" if not figure.target else "yes" if figure.reached else "NO"
        low, high = figure.spread
        print(
            f"{figure.name:48} {figure.value:10.2f} {figure.unit:8} {figure.target:>8}  {mark:3} {low:.2f} - {high:.2f}"
        )
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "opencv": cv2.__version__,
        },
        "rounds": rounds,
        "own_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "figures": [asdict(figure) for figure in figures],
    }
    (options.out / "bench.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {options.out / 'bench.json'}")
    if not all(figure.reached for figure in figures):
        sys.exit(1)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
