"""ONNX files that somebody else wrote: one table of what is hidden in each, and of the words that refuse it.

The package onnx builds them; the runtime, which has no such package, refuses them before any engine sees them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from converters.__main__ import app as convert
from converters.file_facts import facts
from converters.foreign.nets import OnnxNet
from converters.tensorrt.building import EngineOptions, build_engine
from edge.bundle import INT8_MODEL, ONNX_MODEL, Bundle, load_bundle, write_manifest
from edge.engines.onnx_scan import OPERATORS, scan_onnx
from edge.engines.onnxruntime import OnnxRuntimeEngine
from edge.engines.openvino import OpenVinoEngine
from edge.engines.tensorrt import TensorRtEngine, TensorRtOptions
from edge.errors import BundleError, ContractError
from edge.simulation.device import SimulatedDevice
from tests.bright_bundle import write_bright_bundle
from tests.conftest import ROOT

Harm = Callable[[Any], object]


def outside(name: str = "secret", location: str = "etc/passwd") -> Any:
    """Make a tensor whose numbers are another file's bytes."""
    tensor = TensorProto(name=name, data_type=TensorProto.UINT8, dims=[16], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def inner_graph(tensor: Any) -> Any:
    """Make a graph for a branch, with a weight."""
    node = helper.make_node("Identity", [tensor.name], ["inside"])
    value = helper.make_tensor_value_info("inside", TensorProto.UINT8, [16])
    return helper.make_graph([node], "branch", [], [value], [tensor])


def add(model: Any, *nodes: Any) -> None:
    """Add nodes to a model's graph."""
    model.graph.node.extend(nodes)


def in_branch(depth: int) -> Harm:
    """Hide the tensor so many branches deep."""

    def harm(model: Any) -> None:
        graph = inner_graph(outside())
        for level in range(depth):
            branch = helper.make_node("If", ["yes"], ["inside"], name=f"if{level}", then_branch=graph)
            value = helper.make_tensor_value_info("inside", TensorProto.UINT8, [16])
            graph = helper.make_graph([branch], "branch", [], [value])
        add(model, *graph.node)

    return harm


def sparse(part: str) -> Any:
    """Make a sparse tensor with one of its parts outside."""
    values = helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("indices", TensorProto.INT64, [1], [0])
    made = helper.make_sparse_tensor(values, indices, [16])
    getattr(made, part).CopyFrom(outside(part))
    return made


def attribute(name: str, value: Any) -> Any:
    """Make an attribute of any kind of value, lists of tensors among them."""
    return helper.make_attribute(name, value)


def with_attribute(value: Any, name: str = "value") -> Harm:
    """Give a constant an attribute."""

    def harm(model: Any) -> None:
        node = helper.make_node("Constant", [], ["constant"])
        node.attribute.append(attribute(name, value))
        add(model, node)

    return harm


def location_only(model: Any) -> None:
    """Say `external` without an entry that says where."""
    model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL))


def entries_only(model: Any) -> None:
    """Name a file, and say that the weights are inside."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    tensor.external_data.add(key="location", value="etc/passwd")
    model.graph.initializer.append(tensor)


def function(model: Any, domain: str = "mine", *nodes: Any) -> None:
    """Add a function of the model's own."""
    model.functions.append(
        helper.make_function(
            domain, "f", ["x"], ["y"], list(nodes) or [helper.make_node("Identity", ["x"], ["y"])], model.opset_import
        )
    )


def called_function(model: Any) -> None:
    """Add a function with a weight outside, and call it."""
    function(model, "mine", constant_of(outside()), helper.make_node("Identity", ["constant"], ["y"]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    add(model, helper.make_node("f", ["thresholds"], ["called"], domain="mine"))


def training(model: Any) -> None:
    """Add a graph for training, with a weight outside."""
    info = model.training_info.add()
    info.algorithm.CopyFrom(inner_graph(outside()))


def overlong_shape(model: Any) -> None:
    """Promise numbers that are not there."""
    model.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[1 << 20, 1 << 20], raw_data=b"1234"))


def huge_sparse(model: Any) -> None:
    """Promise a dense shape that no memory holds."""
    made = sparse("values")
    made.values.CopyFrom(helper.make_tensor("values", TensorProto.FLOAT, [1], [1.0]))
    del made.dims[:]
    made.dims.extend([1 << 20, 1 << 20])
    model.graph.sparse_initializer.append(made)


def constant_of(tensor: Any) -> Any:
    """Make a constant node around a tensor."""
    node = helper.make_node("Constant", [], ["constant"])
    node.attribute.append(attribute("value", tensor))
    return node


def weight(value: Any) -> Any:
    """Make a weight of four numbers of a kind."""
    return numpy_helper.from_array(np.full(4, value), "number")


def typed(kind: int, field_name: str, *numbers: float, dims: int | None = None, **also: Any) -> Harm:
    """Add a weight whose numbers stand one by one in a field."""

    def harm(model: Any) -> None:
        tensor = TensorProto(name="typed", data_type=kind, dims=[len(numbers) if dims is None else dims], **also)
        getattr(tensor, field_name).extend(numbers)
        model.graph.initializer.append(tensor)

    return harm


def raw(kind: int, content: bytes) -> Harm:
    """Add a weight of one number, by its bytes."""
    return lambda model: model.graph.initializer.append(
        TensorProto(name="raw", data_type=kind, dims=[1], raw_data=content)
    )


def dense_and_sparse(model: Any) -> None:
    """Give a weight a second value, as a sparse one."""
    made = sparse("values")
    made.values.CopyFrom(helper.make_tensor(model.graph.initializer[0].name, TensorProto.FLOAT, [1], [0.5]))
    made.indices.CopyFrom(helper.make_tensor("at", TensorProto.INT64, [1], [0]))
    model.graph.sparse_initializer.append(made)


def another(model: Any, inputs: list[str], name: str) -> None:
    """Add a node that answers a name."""
    add(model, helper.make_node("Identity", inputs, [name]))


def attribute_twice(model: Any) -> None:
    """Give a node one attribute with two values."""
    node = helper.make_node("Concat", ["thresholds", "thresholds"], ["both"], axis=0)
    node.attribute.append(attribute("axis", 1))
    add(model, node)


def text_value(model: Any) -> None:
    """Say of a value that it is text."""
    model.graph.value_info.append(helper.make_tensor_value_info("said", TensorProto.STRING, [1]))


OUTSIDE = "external data"
HOSTILE: dict[str, tuple[Harm, str]] = {
    "a weight outside": (lambda m: m.graph.initializer.append(outside()), OUTSIDE),
    "a weight outside by an absolute path": (
        lambda m: m.graph.initializer.append(outside("w", "/etc/passwd")),
        OUTSIDE,
    ),
    "a weight outside without a place": (location_only, OUTSIDE),
    "a place, and weights inside": (entries_only, OUTSIDE),
    "in a sparse weight's values": (lambda m: m.graph.sparse_initializer.append(sparse("values")), OUTSIDE),
    "in a sparse weight's indices": (lambda m: m.graph.sparse_initializer.append(sparse("indices")), OUTSIDE),
    "in an attribute": (lambda m: add(m, constant_of(outside())), OUTSIDE),
    "in a list of tensors": (with_attribute([outside()]), OUTSIDE),
    "in a sparse attribute": (with_attribute(sparse("values"), "sparse_value"), OUTSIDE),
    "in a list of sparse tensors": (with_attribute([sparse("values")], "sparse_value"), OUTSIDE),
    "in a branch": (in_branch(1), OUTSIDE),
    "in a branch of a branch": (in_branch(3), OUTSIDE),
    "in a list of graphs": (with_attribute([inner_graph(outside())]), OUTSIDE),
    "in a branch's sparse weight": (
        lambda m: in_branch(1)(m) or m.graph.node[-1].attribute[0].g.sparse_initializer.append(sparse("values")),
        OUTSIDE,
    ),
    "in a training graph": (training, "training graphs"),
    "in a function": (lambda m: function(m, "mine", constant_of(outside())), "functions of the model's own"),
    "in a function that is called": (called_function, "is refused"),
    "a function in the place of ONNX's own operator": (lambda m: function(m, ""), "functions of the model's own"),
    "graphs 30 deep": (in_branch(30), "at most 8 levels"),
    "another library's operator": (
        lambda m: add(m, helper.make_node("Gelu", ["thresholds"], ["g"], domain="com.microsoft")),
        "'Gelu' of 'com.microsoft'",
    ),
    "ONNX's other domain": (
        lambda m: add(m, helper.make_node("Scaler", ["thresholds"], ["g"], domain="ai.onnx.ml")),
        "of 'ai.onnx.ml'",
    ),
    "an operator in a branch": (
        lambda m: in_branch(1)(m) or m.graph.node[-1].attribute[0].g.node[0].__setattr__("domain", "evil"),
        "of 'evil'",
    ),
    "an operator that no ONNX has": (lambda m: add(m, helper.make_node("ReadFile", [], ["g"])), "'ReadFile'"),
    "an operator of text": (lambda m: add(m, helper.make_node("StringNormalizer", ["a"], ["g"])), "StringNormalizer"),
    "an operator that decodes pictures": (lambda m: add(m, helper.make_node("ImageDecoder", ["a"], ["g"])), "ImageDec"),
    "an operator of chance": (lambda m: add(m, helper.make_node("RandomNormal", [], ["g"], shape=[1])), "RandomNormal"),
    "an operator by its case": (lambda m: add(m, helper.make_node("RELU", ["a"], ["g"])), "'RELU'"),
    "an operator without a name": (lambda m: add(m, helper.make_node("", ["a"], ["g"])), "received ''"),
    "a tensor of text": (
        lambda m: m.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"text"])),
        "a tensor of text",
    ),
    "a shape without numbers": (overlong_shape, "numbers in it"),
    "a dense shape that no memory holds": (huge_sparse, "a shape of at most"),
    "17 dimensions": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[1] * 17, raw_data=b"1234")),
        "at most 16 dimensions",
    ),
    "a name of 5,000 bytes": (lambda m: m.graph.node[0].__setattr__("name", "n" * 5000), "at most 4096 bytes"),
    "an operator set of the future": (lambda m: m.opset_import[0].__setattr__("version", 999), "received 999"),
    "an operator set below all": (lambda m: m.opset_import[0].__setattr__("version", -5), "one operator set"),
    "no operator set": (lambda m: m.ClearField("opset_import"), "received none"),
    "two operator sets": (lambda m: m.opset_import.append(helper.make_opsetid("", 7)), "received 17, 7"),
    "two by the domain's other name": (lambda m: m.opset_import.append(helper.make_opsetid("ai.onnx", 17)), "17, 17"),
    "a file of the future": (lambda m: m.__setattr__("ir_version", 99), "received 99"),
    "ONNX's domain in capitals": (lambda m: m.graph.node[0].__setattr__("domain", "AI.ONNX"), "of 'AI.ONNX'"),
    "a domain of a zero byte": (lambda m: m.graph.node[0].__setattr__("domain", "\0"), "another library's code"),
    "a weight twice": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "received several"),
    "weights of NaN": (lambda m: m.graph.initializer.append(weight(np.float32(np.nan))), "received NaN"),
    "weights of NaN in half": (lambda m: m.graph.initializer.append(weight(np.float16(np.nan))), "received NaN"),
    "weights of NaN in double": (lambda m: m.graph.initializer.append(weight(np.float64(np.nan))), "received NaN"),
    "weights of NaN one by one": (
        lambda m: m.graph.initializer.append(helper.make_tensor("n", TensorProto.FLOAT, [2], [1.0, np.nan])),
        "received NaN",
    ),
    "weights of NaN in bfloat16": (
        lambda m: m.graph.initializer.append(TensorProto(name="n", data_type=16, dims=[1], raw_data=b"\xc0\x7f")),
        "received NaN",
    ),
    "an attribute of NaN": (with_attribute(float("nan"), "value_float"), "received NaN"),
    "attributes of NaN": (with_attribute([1.0, float("nan")], "value_floats"), "received NaN"),
    "fewer bytes than the shape": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=1, dims=[2], raw_data=b"1234")),
        "expected 8 bytes",
    ),
    "more bytes than the shape": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=7, dims=[0], raw_data=b"12345678")),
        "expected 0 bytes",
    ),
    "numbers of no type": (
        lambda m: m.graph.initializer.append(TensorProto(name="w", data_type=99, dims=[1], raw_data=b"1234")),
        "received type 99",
    ),
    "NaN in half one by one": (typed(10, "int32_data", 15360, 32256), "received NaN"),
    "NaN in bfloat16 one by one": (typed(16, "int32_data", 0x7FC0), "received NaN"),
    "NaN in double one by one": (typed(11, "double_data", np.nan), "received NaN"),
    "NaN in complex": (raw(14, np.complex64(np.nan).tobytes()), "received NaN"),
    "NaN in complex one by one": (typed(14, "float_data", 1.0, np.nan, dims=1), "received NaN"),
    "NaN in 8 bits": (raw(17, b"\x7f"), "received NaN"),
    "NaN in 8 bits of another kind": (raw(19, b"\xfe"), "received NaN"),
    "NaN in 8 bits without a sign": (raw(18, b"\x80"), "received NaN"),
    "NaN in 8 bits one by one": (typed(17, "int32_data", 0xFF), "received NaN"),
    "fewer numbers than the shape": (typed(1, "float_data", 1.0, dims=2), "expected 2 numbers in float_data"),
    "more numbers than the shape": (typed(1, "float_data", 1.0, 2.0, dims=1), "expected 1 numbers in float_data"),
    "numbers of another field": (typed(1, "int64_data", 5), "expected 1 numbers in float_data, received 0"),
    "numbers of two fields": (typed(1, "float_data", 5.0, int64_data=[5]), "expected 1 numbers in float_data"),
    "no numbers": (typed(7, "int64_data", dims=1), "expected 1 numbers in int64_data"),
    "numbers twice": (typed(1, "float_data", 1.0, raw_data=b"\0\0\0\x40"), "of which readers take another one"),
    "a million half numbers one by one": (typed(10, "int32_data", *[0] * (1 << 20), 0), "expected raw_data"),
    "a weight that is sparse too": (dense_and_sparse, "received several"),
    "an answer that is a weight": (
        lambda m: another(m, ["thresholds"], m.graph.initializer[0].name),
        "received several",
    ),
    "an answer that is an input": (lambda m: another(m, ["thresholds"], "tiles"), "received several"),
    "an answer of two nodes": (lambda m: another(m, ["thresholds"], m.graph.node[0].output[0]), "received several"),
    "a weight that answers": (
        lambda m: m.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 1), np.float32), "classes")),
        "received several",
    ),
    "an input twice": (lambda m: m.graph.input.append(m.graph.input[0]), "received several"),
    "an attribute twice": (attribute_twice, "received several"),
    "a constant of text": (
        lambda m: add(m, helper.make_node("Constant", [], ["text"], value_string="/etc/passwd")),
        "a tensor of text",
    ),
    "a constant of texts": (
        lambda m: add(m, helper.make_node("Constant", [], ["text"], value_strings=["a", "b"])),
        "a tensor of text",
    ),
    "numbers made text": (lambda m: add(m, helper.make_node("Cast", ["thresholds"], ["g"], to=8)), "a tensor of text"),
    "a value of text": (text_value, "a tensor of text"),
    "an input of text": (
        lambda m: m.graph.input[0].type.tensor_type.__setattr__("elem_type", TensorProto.STRING),
        "a tensor of text",
    ),
    "a sequence": (
        lambda m: m.graph.value_info.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, [1])),
        "no tensor's",
    ),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a model that is well: the probability of a scratch is a pixel's brightness."""
    return write_bright_bundle(tmp_path_factory.mktemp("good") / "bundle").onnx_path.read_bytes()


def harmed(good: bytes, harm: Harm) -> bytes:
    """Return the model with what is hidden in it."""
    model = onnx.load_model_from_string(good)
    harm(model)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_model_is_refused(good: bytes, tmp_path: Path, name: str) -> None:
    """Both engines on the CPU, `convert` of a bare model and `convert inspect` refuse it in the same words."""
    harm, says = HOSTILE[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(harmed(good, harm))
    contract = Bundle(tmp_path, write_bright_bundle(tmp_path / "bundle").manifest).contract(1)
    for engine in (OnnxRuntimeEngine(path, contract), OpenVinoEngine(path, contract)):
        with pytest.raises(ContractError, match="is refused: ") as refused, engine:
            pass
        assert says in str(refused.value)
    with pytest.raises(ContractError):
        OnnxNet(path, None)
    with pytest.raises(BundleError):
        facts(path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda m: m.graph.output.append(helper.make_tensor_value_info("thresholds", TensorProto.FLOAT, [1])),
        lambda m: m.graph.output.append(m.graph.output[0]),
    ],
)
def test_outputs_that_are_too_many_are_refused(good: bytes, tmp_path: Path, harm: Harm) -> None:
    """An output under an input's name, or one twice, breaks the contract for both engines on the CPU."""
    (tmp_path / "model.onnx").write_bytes(harmed(good, harm))
    contract = write_bright_bundle(tmp_path / "bundle").contract(1)
    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        with (
            pytest.raises(ContractError, match="does not keep the graph contract"),
            engine(tmp_path / "model.onnx", contract),
        ):
            pass


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "tensorrt", "auto"])
def test_no_backend_starts_with_a_hostile_bundle(tmp_path: Path, good: bytes, backend: str) -> None:
    """`check` ends with 4 and says why, whatever the engine, in every graph of the bundle that it would run."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    bundle.onnx_path.write_bytes(harmed(good, HOSTILE["in an attribute"][0]))
    write_manifest(bundle.path, bundle.manifest)
    (tmp_path / "line.yaml").write_text(f"bundle: bundle\ncamera: {{source: x}}\nengine: {{backend: {backend}}}\n")
    command = [sys.executable, "-m", "edge", "check", str(tmp_path / "line.yaml")]
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)
    assert "Traceback" not in told.stderr
    if backend == "tensorrt":  # no such device here: the simulated one is driven in tests/tensorrt
        assert told.returncode in {4, 7}, told.stderr
    else:
        assert (told.returncode, OUTSIDE in told.stderr) == (4, True), told.stderr


def test_tensorrt_builds_and_starts_no_hostile_model(tmp_path: Path, good: bytes) -> None:
    """No engine is built of such a graph; and a plan beside one, however it came there, is not read."""
    device = SimulatedDevice()
    bundle = write_bright_bundle(tmp_path / "bundle")
    options = EngineOptions("fp32", (1, 1, 1))
    build_engine(bundle, options, lambda *_: None, vendor=device.vendor)
    bundle.onnx_path.write_bytes(harmed(good, HOSTILE["in a branch"][0]))
    bundle = write_manifest(bundle.path, bundle.manifest)
    with pytest.raises(ContractError, match=OUTSIDE):
        build_engine(bundle, options, lambda *_: None, vendor=device.vendor)
    engine = TensorRtEngine(bundle, bundle.contract(1), TensorRtOptions("fp32"), device.vendor)
    with pytest.raises(ContractError, match=OUTSIDE), engine:
        pass


def test_a_graph_of_another_precision_is_looked_at_too(tmp_path: Path, good: bytes) -> None:
    """The INT8 graph of a bundle is scanned as model.onnx is."""
    bundle = write_bright_bundle(tmp_path / "bundle")
    (bundle.path / INT8_MODEL).write_bytes(harmed(good, HOSTILE["in an attribute"][0]))
    write_manifest(bundle.path, bundle.manifest)
    loaded = load_bundle(bundle.path)
    with pytest.raises(ContractError, match=OUTSIDE), OnnxRuntimeEngine(loaded.file(INT8_MODEL), loaded.contract(1)):
        pass


def test_what_is_scanned_is_what_is_run(tmp_path: Path, good: bytes) -> None:
    """A model that is swapped after the bundle was verified is not run, harmless as it may look."""
    bundle = load_bundle(write_bright_bundle(tmp_path / "bundle").path)
    model = onnx.load_model_from_string(good)
    model.doc_string = "another"
    bundle.onnx_path.write_bytes(model.SerializeToString())
    for engine in (OnnxRuntimeEngine, OpenVinoEngine):
        with pytest.raises(BundleError, match="altered"), engine(bundle.file(ONNX_MODEL), bundle.contract(1)):
            pass


def test_a_password_is_not_published(tmp_path: Path, good: bytes) -> None:
    """The attack itself: run from the folder of the secret, no byte of it reaches an answer."""
    (tmp_path / "password").write_bytes(b"0123456789abcdef")

    def harm(model: Any) -> None:
        secret = outside("secret", "password")
        model.graph.initializer.append(secret)

    (tmp_path / "model.onnx").write_bytes(harmed(good, harm))
    code = (
        "import sys\nfrom pathlib import Path\nfrom edge.engines.onnxruntime import OnnxRuntimeEngine\n"
        "from edge.records import GraphContract\nfrom edge.errors import ContractError\n"
        "try:\n    OnnxRuntimeEngine(Path('model.onnx'), GraphContract(64, 64, 1, 1, 1, ('scratch',), 1)).__enter__()\n"
        "except ContractError as error:\n    print(error)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
    )
    assert OUTSIDE in told.stdout


# Only bytes can say these: two readers could understand each of them differently.
def varint(value: int) -> bytes:
    """Write a varint."""
    out = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """Write a field that has a length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


EXTERNAL_TENSOR = field(8, b"w") + b"\x70\x01"
BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda _: b"", "no graph with nodes"),
    "text": (lambda _: b"no model at all", "of another kind"),
    "cut off": (lambda good: good[:-5], "cut off"),
    "a second graph": (lambda good: good + field(7, b""), "one field 7"),
    "an unknown field": (lambda good: good + field(99, b"x"), "field 99"),
    "a field of another wire type": (lambda good: good + b"\x38\x01", "field 7 of wire type 0"),
    "a group": (lambda good: good + b"\x3b\x3c", "wire type 3"),
    "a number of 70 bits": (lambda good: good + b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
    "external by a number that is cut to 32 bits": (
        lambda _: field(7, field(5, field(8, b"w") + b"\x70" + varint((1 << 32) + 1))),
        OUTSIDE,
    ),
    "external said twice, inside at last": (lambda _: field(7, field(5, EXTERNAL_TENSOR + b"\x70\x00")), OUTSIDE),
    "a domain said twice": (lambda _: field(7, field(1, field(7, b"evil") + field(7, b""))), "one field 7"),
    "600,000 empty parts": (lambda good: good + b"\x72\x00" * 600_000, "parts"),
    "a nested graph without end": (lambda _: nested(5000), "levels"),
}


def nested(depth: int) -> bytes:
    """Write a graph whose node has a graph, and so on."""
    graph = b""
    for _ in range(depth):
        graph = field(1, field(5, field(6, graph)))
    return field(7, graph)


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_ambiguous_are_refused(good: bytes, name: str) -> None:
    """Each is refused in our own words, and soon."""
    make, says = BYTES[name]
    with pytest.raises(ContractError) as refused:
        scan_onnx(make(good))
    assert says in str(refused.value)


def test_every_cut_and_many_flips_end_in_words(good: bytes) -> None:
    """No damage ends in anything but a refusal or a scan."""
    rng = np.random.default_rng(0)
    for _ in range(400):
        raw = bytearray(good[: int(rng.integers(1, len(good)))] if rng.random() < 0.5 else good)
        for place in rng.integers(0, len(raw), 3):
            raw[place] = int(rng.integers(0, 256))
        try:
            scan_onnx(bytes(raw))
        except ContractError as error:
            assert "refused" in str(error)  # noqa: PT017 - either outcome is right


def test_the_shipped_models_pass_and_are_of_the_list() -> None:
    """The graphs that `convert` wrote are run: all their operators are in the list."""
    found = [scan_onnx(path.read_bytes(), path) for path in (ROOT / "edge" / "bundles").rglob("*.onnx")]
    assert found
    for scan in found:
        assert scan.operators <= OPERATORS
        assert scan.nodes > 10


def test_the_list_holds_no_operator_of_text_code_or_chance() -> None:
    """By ONNX's own schemas: every listed operator exists, is deterministic, and takes no text but as a mode."""
    schemas = {schema.name: schema for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    assert set(schemas) >= OPERATORS
    for name in OPERATORS - {"Cast", "CastLike", "Constant"}:
        for value in schemas[name].inputs:
            assert set(value.types) != {"tensor(string)"}, name
    assert not {name for name in OPERATORS if name.startswith(("Random", "String", "Sequence", "Optional", "Image"))}


def test_a_plain_sparse_weight_and_a_branch_are_no_attack(good: bytes) -> None:
    """A weight inside the file is allowed, wherever it stands."""

    def harm(model: Any) -> None:
        weight = numpy_helper.from_array(np.zeros(16, np.uint8), "w")
        branch = inner_graph(weight)
        add(model, helper.make_node("If", ["yes"], ["b"], then_branch=branch, else_branch=branch), constant_of(weight))

    assert scan_onnx(harmed(good, harm)).nodes == scan_onnx(good).nodes + 4


def test_inspect_ends_with_4_on_a_hostile_model(good: bytes, tmp_path: Path) -> None:
    """`convert inspect FILE` says what is hidden in it."""
    (tmp_path / "model.onnx").write_bytes(harmed(good, HOSTILE["a weight outside"][0]))
    told = CliRunner().invoke(convert, ["inspect", str(tmp_path / "model.onnx")])
    assert isinstance(told.exception, ContractError)
    assert told.exception.exit_code == 4
