"""Traits that OpenVINO has alone; the rest is in the contract suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from converters.graph.onnx_from_keras import add_head
from edge.bundle import load_bundle
from edge.engines.autotune import cpu_has_bf16
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.errors import ContractError, EngineError
from edge.inspection.golden import check_golden
from edge.pictures import read_picture
from edge.preparing import prepare
from edge.records import Batch
from tests.bright_bundle import TILE, write_bright_bundle
from tests.conftest import ROOT

NUMBERS = {"scale": 1 / 255, "offset": 0.1, "divisor": 3.0}
SHIPPED = ROOT / "edge" / "bundles" / "simulated-glass"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_shipped_model_sees_its_golden_frames(precision: str) -> None:
    """In fp32, and in bf16 (which a CPU without it computes in fp32), no golden frame is seen otherwise."""
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("this CPU has no bf16, and make_engine refuses it")
    bundle = load_bundle(SHIPPED)
    chosen = "bf16" if precision == "bf16" else "fp32"
    with OpenVinoEngine(bundle.onnx_path, bundle.contract(4), precision=chosen) as engine:
        assert all(result.passed for result in check_golden(bundle, engine))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_precision_is_what_was_asked_for(precision: str) -> None:
    """The last three fifths of the convolutions run in bf16 where asked for and the CPU has it. The head never does.

    Nor is anything rounded from the tiles to the last convolution of the first two fifths, pooling included.
    """
    if precision == "bf16" and not cpu_has_bf16():
        pytest.skip("this CPU has no bf16, and make_engine refuses it")
    bundle = load_bundle(SHIPPED)
    chosen = "bf16" if precision == "bf16" else "fp32"
    with OpenVinoEngine(bundle.onnx_path, bundle.contract(1), precision=chosen) as engine:
        compiled = engine._requests[0].get_compiled_model()
        kinds = {
            name: op.get_rt_info()["runtimePrecision"].astype(str)
            for op in compiled.get_runtime_model().get_ordered_ops()
            for name in op.get_rt_info()["originalLayersNames"].astype(str).split(",")
        }
    expected = "bf16" if precision == "bf16" else "f32"
    convolutions = [name for name in kinds if name.endswith("Conv")]
    assert len(convolutions) == 18
    assert {kinds[name] for name in convolutions[7:]} == {expected}
    names = list(kinds)
    assert "bf16" not in {kinds[name] for name in names[: names.index(convolutions[6]) + 1]}
    head = {kind for name, kind in kinds.items() if name.startswith("head/") or name.endswith("Softmax")}
    assert "f32" in head
    assert "bf16" not in head


def test_what_looks_like_a_softmax_is_not_taken_for_one(tmp_path: Path) -> None:
    """exp(x - 0.1) of one channel over a constant, no softmax, is answered as by ONNX Runtime in FP32."""
    bundle = write_bright_bundle(tmp_path / "b")
    contract = bundle.contract(1)
    net = helper.make_graph(
        [
            helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Concat", ["planes", "planes"], ["both"], axis=1),
            helper.make_node("Mul", ["both", "scale"], ["scaled"]),
            helper.make_node("Sub", ["scaled", "offset"], ["shifted"]),
            helper.make_node("Exp", ["shifted"], ["raised"]),
            helper.make_node("Slice", ["raised", "one", "two", "one"], ["kept"]),
            helper.make_node("Div", ["kept", "divisor"], ["divided"]),
            helper.make_node("Transpose", ["divided"], ["answer"], perm=[0, 2, 3, 1]),
        ],
        "alike",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [helper.make_tensor_value_info("answer", TensorProto.FLOAT, ["N", TILE, TILE, 1])],
        [
            *(helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in NUMBERS.items()),
            *(helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("one", 1), ("two", 2))),
        ],
    )
    bundle.onnx_path.write_bytes(add_head(net, contract).SerializeToString())
    tiles = np.random.default_rng(2).integers(0, 256, (1, TILE, TILE, 1), np.uint8)
    answers = []
    with OpenVinoEngine(bundle.onnx_path, contract) as ours, OnnxRuntimeEngine(bundle.onnx_path, contract) as other:
        for engine in (ours, other):
            batch = engine.buffer()
            batch.tiles[:] = tiles
            answers.append(engine.collect(engine.submit(batch, 1, np.array([0.5], np.float32))))
        assert len(np.unique(answers[1].scores)) > 50
        np.testing.assert_array_equal(answers[0].classes, answers[1].classes)
        np.testing.assert_allclose(answers[0].scores.astype(int), answers[1].scores, atol=1)


def test_a_full_disk_is_not_taken_for_a_wrong_graph() -> None:
    """bf16 says that no file can be written (limit: 0 bytes), and what to do. fp32 writes none and starts."""
    script = f"""
import resource, signal
from pathlib import Path
from edge.bundle import load_bundle
from edge.engines.openvino import OpenVinoEngine
from edge.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
bundle = load_bundle(Path({str(SHIPPED)!r}))
with OpenVinoEngine(bundle.onnx_path, bundle.contract(1)):
    print("fp32 runs")
try:
    OpenVinoEngine(bundle.onnx_path, bundle.contract(1), precision="bf16").__enter__()
except StoreError as error:
    print(error)
"""
    ran = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "fp32 runs" in ran.stdout
    assert "TMPDIR" in ran.stdout
    assert "engine.precision: fp32" in ran.stdout


def test_partial_batches_and_full_ones_may_alternate(tmp_path: Path) -> None:
    """Batches of 3, 1 and 2 tiles are answered as by ONNX Runtime. Maps stay until their buffer is used again."""
    bundle = write_bright_bundle(tmp_path / "b")
    contract = bundle.contract(3)
    rng = np.random.default_rng(1)
    tiles = rng.integers(0, 256, (3, TILE, TILE, 1), np.uint8)
    thresholds = np.array([0.5], np.float32)
    with OpenVinoEngine(bundle.onnx_path, contract) as ours, OnnxRuntimeEngine(bundle.onnx_path, contract) as other:
        kept = []
        for count in (3, 1, 2):
            batch = ours.buffer()
            batch.tiles[:count] = tiles[:count]
            kept.append((count, ours.collect(ours.submit(batch, count, thresholds))))
        expected = other.buffer()
        expected.tiles[:] = tiles
        right = other.collect(other.submit(expected, 3, thresholds))
        for count, maps in kept:
            np.testing.assert_array_equal(maps.classes, right.classes[:count])
            np.testing.assert_array_equal(maps.scores, right.scores[:count])
        with pytest.raises(EngineError, match="not the OpenVINO engine's"):
            ours.submit(Batch(tiles), 3, thresholds)


def test_other_models_are_refused(tmp_path: Path) -> None:
    """A model of other classes, half a model and no model are ContractErrors that name the file."""
    bundle = write_bright_bundle(tmp_path / "b")
    two_classes = load_bundle(SHIPPED).contract(1)
    with (
        pytest.raises(ContractError, match="does not keep the graph contract"),
        OpenVinoEngine(bundle.onnx_path, two_classes),
    ):
        pass
    half = tmp_path / "half.onnx"
    half.write_bytes(bundle.onnx_path.read_bytes()[:200])
    for path in (half, tmp_path / "none.onnx"):
        with pytest.raises(ContractError, match=rf"OpenVINO cannot load .*{path.name}"):
            OpenVinoEngine(path, bundle.contract(1)).__enter__()


def test_without_openvino_it_says_what_to_install(tmp_path: Path) -> None:
    """Without OpenVINO a line that asks for it ends with exit code 7 and the pip command."""
    write_bright_bundle(tmp_path / "bundle")
    (tmp_path / "line.yaml").write_text("bundle: bundle\nengine: {backend: openvino, precision: fp32}\n")
    # None in sys.modules is how Python itself marks a module that cannot be imported
    code = "import sys; sys.modules['openvino'] = None; "
    code += f"sys.argv = ['linewatch', 'check', {str(tmp_path / 'line.yaml')!r}]\n"
    code += "from edge.cli.commands import main\nmain()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 7, done.stderr
    assert "pip install openvino;" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


CLOSED_ELSEWHERE = """
import os, signal, sys, threading
from pathlib import Path
from edge.bundle import load_bundle
from edge.engines.openvino import OpenVinoEngine

signal.signal(signal.SIGUSR1, lambda *_: print("heard", flush=True))
bundle = load_bundle(Path(sys.argv[1]))
engine = OpenVinoEngine(bundle.onnx_path, bundle.contract(1))
engine.__enter__()
closing = threading.Thread(target=engine.__exit__, args=(None, None, None))
closing.start()
closing.join()
del engine
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_is_heard_after_the_engine_was_closed(tmp_path: Path) -> None:
    """A line whose engine another thread closed is stopped by a signal, and not by a segmentation fault."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    command = [sys.executable, "-c", CLOSED_ELSEWHERE, str(bundle.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_maps_are_read_where_openvino_wrote_them() -> None:
    """The maps are views of OpenVINO's own memory, and the tiles that it reads are the buffer's: nothing is copied."""
    bundle = load_bundle(SHIPPED)
    picture = read_picture(next((SHIPPED / "golden").glob("*-scratch.png")))
    pixels, _ = prepare(picture, bundle.manifest.preparing, 1)
    with OpenVinoEngine(bundle.onnx_path, bundle.contract(1)) as engine:
        batch = engine.buffer()
        batch.tiles[0] = pixels[:256, :256]
        ticket = engine.submit(batch, 1, np.array([0.5] * 3, np.float32))
        maps = engine.collect(ticket)
        request = engine._requests[0]
        assert not maps.classes.flags.owndata
        assert request.get_tensor("tiles").data.ctypes.data == batch.tiles.ctypes.data
        assert request.get_tensor("classes").data.ctypes.data == maps.classes.ctypes.data
