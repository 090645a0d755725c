from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest

from edge.bundle import Bundle
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.errors import ContractError, EngineError
from edge.inspection.inference import Inference
from edge.records import Frame, GraphContract, PreparedFrame, Transform, UInt8
from tests.bright_bundle import TILE, write_bright_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Return a bundle whose answer is the pixel itself."""
    return write_bright_bundle(tmp_path_factory.mktemp("bundles") / "bright")


@pytest.fixture
def engine(bundle: Bundle) -> Iterator[OnnxRuntimeEngine]:
    """Open the real engine with batches of 4."""
    with OnnxRuntimeEngine(bundle.onnx_path, bundle.contract(4)) as opened:
        yield opened


def prepared(pixels: UInt8, camera: str = "c", index: int = 0) -> PreparedFrame:
    """Wrap grey pixels [H, W]."""
    frame = Frame(camera, index, pixels, 0, datetime.now(timezone.utc))
    return PreparedFrame(frame, pixels[:, :, None], Transform.identity())


def noise(seed: int, height: int, width: int) -> UInt8:
    """Draw random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def expected(pixels: UInt8) -> tuple[UInt8, UInt8]:
    """Compute the whole map at once: scratched from 128 on (128/255 ≥ 0.5 > 127/255), the score is the pixel."""
    scratched = pixels >= 128
    return scratched.astype(np.uint8), np.where(scratched, pixels, 0).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 63), (200, 301)])
def test_the_stitched_map_is_what_the_model_says_of_the_whole_frame(
    engine: OnnxRuntimeEngine, size: tuple[int, int]
) -> None:
    """Tiles, batches and seams leave no trace, whatever the frame's size."""
    pixels = noise(1, *size)
    inference = Inference(engine, [0.5], overlap_px=8)
    (job,) = inference.begin([prepared(pixels)])
    found = inference.finish(job)
    classes, scores = expected(pixels)
    np.testing.assert_array_equal(found.classes, classes)
    np.testing.assert_array_equal(found.scores, scores)


def test_cameras_share_batches_and_keep_their_own_maps(engine: OnnxRuntimeEngine) -> None:
    """Frames of several cameras and sizes go through the same batches, and each gets its own tiles back."""
    frames = [prepared(noise(seed, 70 + seed, 90 - seed), f"camera{seed}", seed) for seed in range(5)]
    inference = Inference(engine, [0.5], overlap_px=8)
    jobs = inference.begin(frames)
    for job, frame in reversed(list(zip(jobs, frames, strict=True))):
        np.testing.assert_array_equal(inference.finish(job).classes, expected(frame.pixels[:, :, 0])[0])


def test_the_threshold_is_an_input(engine: OnnxRuntimeEngine) -> None:
    """Another threshold needs no other engine: at 0.9 a pixel must reach 230 (229.5 / 255)."""
    pixels = noise(2, 64, 64)
    inference = Inference(engine, [0.9], overlap_px=8)
    (job,) = inference.begin([prepared(pixels)])
    np.testing.assert_array_equal(inference.finish(job).classes, (pixels >= 230).astype(np.uint8))


def test_a_failed_batch_spoils_its_own_frame_only(bundle: Bundle) -> None:
    """An engine that fails on one frame says so for that frame, and answers the next."""
    with OnnxRuntimeEngine(bundle.onnx_path, bundle.contract(4)) as engine:
        inference = Inference(engine, [0.5, 0.5], overlap_px=8)  # two thresholds: the graph takes one
        (job,) = inference.begin([prepared(noise(3, 64, 64))])
        with pytest.raises(EngineError, match="ONNX Runtime failed on a batch of 1 tile"):
            inference.finish(job)
        good = Inference(engine, [0.5], overlap_px=8)
        (job,) = good.begin([prepared(noise(3, 64, 64))])
        assert good.finish(job).classes.shape == (64, 64)


def test_a_graph_of_another_shape_is_refused(bundle: Bundle) -> None:
    """A graph that does not keep its manifest's contract says what was expected and what it has."""
    other = GraphContract(TILE, TILE, 3, 1, 1, ("scratch",), 4)
    says = r"expected tiles as tensor\(uint8\) \[N, 64, 64, 3\], received tensor\(uint8\) \[N, 64, 64, 1\]"
    with pytest.raises(ContractError, match=says), OnnxRuntimeEngine(bundle.onnx_path, other):
        pass


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, bundle: Bundle) -> None:
    """Any words of ONNX Runtime on a broken file become an error of ours, with the remedy."""
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    engine = OnnxRuntimeEngine(tmp_path / "model.onnx", bundle.contract(1))
    with pytest.raises(ContractError, match="Convert the bundle again"), engine:
        pass
