"""The scan of an ONNX file before any engine is given it: of the very bytes that the engine is then given.

An ONNX file can name other files as the home of its weights. An engine resolves them from the working directory, `/`
under systemd: a published score could then be a byte of the broker's password. It can name operators of other
libraries, which are code. So the whole ModelProto is walked, by the field numbers of onnx.proto (IR version 11): the
graph, graphs nested in attributes, tensors in attributes, sparse tensors. An unknown operator is refused, and so are
functions and training graphs, which no line needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edge.bundle import HashedFile
from edge.engines.protobuf import BYTES, FIXED32, FIXED64, VARINT, fields, packed
from edge.errors import ContractError
from edge.wording import counted

BYTES_AT_MOST = 1 << 30
DEPTH_AT_MOST = 8  # graphs within graphs
NODES_AT_MOST = 50_000
FIELDS_AT_MOST = 500_000  # a second of walking
NAME_BYTES_AT_MOST = 4096
TENSOR_DIMS_AT_MOST = 16
ONE_BY_ONE_AT_MOST = 1 << 20  # numbers of 16 bits or fewer that are not in raw_data: a second of looking
ELEMENTS_AT_MOST = 1 << 28  # of one tensor

# Operators of ONNX itself that compute with numbers alone: no path, no text, no code, no chance. Those that `convert`
# writes are among them; the others are what exported nets are made of. Not here: operators of text, of sequences and
# optional values, ImageDecoder, and whatever draws random numbers.
_LINES = (
    # element by element
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike",
    "Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity",
    "IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round",
    "Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor",
    # nets
    "Attention AveragePool BatchNormalization Col2Im Conv ConvInteger ConvTranspose DeformConv Dropout GRU Gemm",
    "GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization Hardmax InstanceNormalization LRN LSTM",
    "LayerNormalization LogSoftmax LpNormalization LpPool MatMul MatMulInteger MaxPool MaxRoiPool MaxUnpool",
    "MeanVarianceNormalization RMSNormalization RNN RoiAlign RotaryEmbedding Softmax",
    # numbers of other kinds
    "DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul QuantizeLinear",
    # along axes
    "ArgMax ArgMin CumSum Det Einsum ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin",
    "ReduceProd ReduceSum ReduceSumSquare TopK",
    # shapes and places
    "AffineGrid CenterCropPad Compress Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten Gather",
    "GatherElements GatherND GridSample NonMaxSuppression NonZero OneHot Pad Range Reshape Resize ReverseSequence",
    "ScatterElements ScatterND Scatter Shape Size Slice SpaceToDepth Split Squeeze TensorScatter Tile Transpose Trilu",
    "Unique Unsqueeze Upsample",
    # branches and loops: recurrent nets are exported so; a loop without end meets the time limit of a batch
    "If Loop Scan",
)
OPERATORS = frozenset(word for line in _LINES for word in line.split())
DOMAINS = frozenset({"", "ai.onnx"})

# The known operator sets of ONNX itself, and the known versions of the file's own form. Nobody here knows the meaning
# of an operator in a later one, and OpenVINO takes any.
OPSETS = range(7, 28)
IR_VERSIONS = range(3, 14)

_STRING_TENSOR = 8  # TensorProto.STRING
_OF_ANY_TYPE = frozenset({"Cast", "CastLike"})
_TEXTS = frozenset({"value_string", "value_strings"})  # of Constant
# TensorProto.DataType → bits of one number in raw_data.
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
_BITS |= {17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2}
# Those whose numbers can be NaN, and how numpy reads them; bfloat16 is the upper half of a float32.
_FLOATS = {1: "<f4", 10: "<f2", 11: "<f8", 14: "<f4", 15: "<f8"}
_BFLOAT16 = 16
_COMPLEX = frozenset({14, 15})
# FLOAT8E4M3FN, FLOAT8E4M3FNUZ, FLOAT8E5M2, FLOAT8E5M2FNUZ, FLOAT8E8M0
_EIGHT_BIT_NANS = {
    17: [0x7F, 0xFF],
    18: [0x80],
    19: [0x7D, 0x7E, 0x7F, 0xFD, 0xFE, 0xFF],
    20: [0x80],
    24: [0xFF],
}
# The field of TensorProto that holds the numbers of a type one by one, where it is not int32_data.
_FIELDS = {
    1: "float_data",
    7: "int64_data",
    11: "double_data",
    12: "uint64_data",
    13: "uint64_data",
    14: "float_data",
    15: "double_data",
}
_AGAIN = (
    "Convert the bundle again: convert BUNDLE --to onnxruntime; a bare model is to be exported with all weights inside "
    "and plain ONNX operators"
)

_Value = int | memoryview


@dataclass(frozen=True)
class OnnxScan:
    """The content of a file that passed: its bytes' hash, its operators, and its number of nodes."""

    sha256: str
    operators: frozenset[str]
    nodes: int


def scan_onnx(model: bytes, name: object = "The model") -> OnnxScan:
    """Walk a whole serialised model. Raises ContractError, which names the file, for what no engine may be given."""
    try:
        if len(model) > BYTES_AT_MOST:
            raise _refused("a model that large", f"at most {BYTES_AT_MOST} bytes", f"{len(model)}")
        scanner = _Scanner()
        scanner.model(memoryview(model))
    except _RefusedError as refused:
        raise ContractError(f"{name} is refused: {refused}. {_AGAIN}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise ContractError(
            f"{name} is refused: expected a serialised ONNX model, received {counted(len(model), 'byte')} of "
            f"another kind: "
            f"{error}. {_AGAIN}"
        ) from error
    return OnnxScan(hashlib.sha256(model).hexdigest(), frozenset(scanner.operators), scanner.nodes)


def read_onnx(model: Path | HashedFile, by: str = "") -> bytes:
    """Read a model once, and return the very bytes that were hashed and scanned. Raises BundleError, ContractError.

    `by`: who would run it, for messages: "ONNX Runtime cannot load".
    """
    file = model if isinstance(model, HashedFile) else HashedFile(model)
    if not file.path.exists():
        raise ContractError(f"{by or 'An engine cannot load'} {file.path}: there is no such file. {_AGAIN}")
    content = file.read()
    scan_onnx(content, f"{by} {file.path}: it" if by else file.path)
    return content


class _RefusedError(Exception):
    """A refusal of a graph, in words."""


def _refused(what: str, expected: str, received: str) -> _RefusedError:
    return _RefusedError(f"{what}: expected {expected}, received {received}")


@dataclass
class _Scanner:
    """One walk; it counts, so that no file keeps it busy for long.

    Each message is read by a table, field number → (wire types, what is done with the value). `once` holds the fields
    that are not repeated: readers differ in what a second one means.
    """

    nodes: int = 0
    seen: int = 0
    operators: set[str] = field(default_factory=set)

    _MODEL_ONCE: ClassVar[frozenset[int]] = frozenset({1, 2, 3, 4, 5, 6, 7})

    def model(self, raw: memoryview) -> None:
        """ModelProto."""
        told: dict[str, Any] = {"ir": 0, "opsets": []}
        self._walk(
            raw,
            "the model",
            {
                1: (VARINT, lambda value: told.update(ir=value)),  # ir_version
                2: _TEXT,  # producer_name
                3: _TEXT,  # producer_version
                4: _TEXT,  # domain
                5: _NUMBER,  # model_version
                6: _BLOB,  # doc_string
                7: (BYTES, lambda value: self.graph(value, 1)),
                8: (BYTES, lambda value: self._opset(value, told["opsets"])),
                14: (BYTES, self._pair),  # metadata_props
                20: (BYTES, lambda _: self._never("training graphs")),
                25: (BYTES, lambda _: self._never("functions of the model's own")),
                26: (BYTES, lambda _: self._never("a configuration of devices")),
            },
            once=self._MODEL_ONCE,
        )
        if not self.nodes:
            raise ValueError("no graph with nodes")
        if told["ir"] not in IR_VERSIONS:
            raise _refused("the model", f"an IR version of {_span(IR_VERSIONS)}", str(told["ir"]))
        if len(told["opsets"]) != 1 or told["opsets"][0] not in OPSETS:
            received = ", ".join(map(str, told["opsets"])) or "none"
            raise _refused("the model", f"one operator set of ONNX itself, of version {_span(OPSETS)}", received)

    def graph(self, raw: memoryview, depth: int) -> None:
        """GraphProto."""
        names: dict[str, set[str]] = {"weight": set(), "input": set(), "node's answer": set()}
        if depth > DEPTH_AT_MOST:
            raise _refused("graphs within graphs", f"at most {DEPTH_AT_MOST} levels", "more")
        self._walk(
            raw,
            "a graph",
            {
                1: (BYTES, lambda value: self._node(value, depth, names["node's answer"])),
                2: _TEXT,  # name
                5: (BYTES, lambda value: _once_each(names, "weight", self._tensor(value, "a weight"))),
                10: _BLOB,  # doc_string
                11: (BYTES, lambda value: _once_each(names, "input", self._value_info(value))),
                12: (BYTES, self._value_info),  # output
                13: (BYTES, self._value_info),
                14: (BYTES, self._annotation),
                15: (BYTES, lambda value: _once_each(names, "weight", self._sparse(value, "a sparse weight"))),
                16: (BYTES, self._pair),  # metadata_props
            },
            once=frozenset({2, 10}),
        )
        for name in names["node's answer"] & (names["weight"] | names["input"]):
            raise _refused("a graph", f"one thing named {name!r:.200}", "several, of which readers take another one")

    def _node(self, raw: memoryview, depth: int, answers: set[str]) -> None:
        self.nodes += 1
        if self.nodes > NODES_AT_MOST:
            raise _refused("a graph that large", f"at most {NODES_AT_MOST} nodes", "more")
        told = {3: "", 4: "", 7: ""}
        attributes: dict[str, Any] = {}
        self._walk(
            raw,
            "a node",
            {
                1: _TEXT,  # input
                2: (BYTES, lambda value: _answer(answers, _text(value))),  # output
                3: (BYTES, lambda value: told.update({3: _text(value)})),  # name
                4: (BYTES, lambda value: told.update({4: _text(value)})),  # op_type
                5: (BYTES, lambda value: self._attribute(value, depth, attributes)),
                6: _BLOB,  # doc_string
                7: (BYTES, lambda value: told.update({7: _text(value)})),  # domain
                8: (BYTES, lambda value: self._never("an operator's overload") if len(value) else None),
                9: (BYTES, self._pair),  # metadata_props
                10: (BYTES, lambda _: self._never("a configuration of devices")),
            },
            once=frozenset({3, 4, 6, 7, 8}),
        )
        name, operator, domain = told[3], told[4], told[7]
        if domain not in DOMAINS:
            raise _refused(
                f"the node {name!r:.200}",
                "operators of ONNX itself",
                f"{operator!r:.80} of {domain!r:.80}, which is another library's code",
            )
        if operator not in OPERATORS:
            raise _refused(
                f"the node {name!r:.200}",
                "an operator that computes with numbers alone (edge/engines/onnx_scan.py lists them)",
                f"{operator!r:.80}",
            )
        if (operator in _OF_ANY_TYPE and attributes.get("to") == _STRING_TENSOR) or _TEXTS & set(attributes):
            self._never("a tensor of text")
        self.operators.add(operator)

    def _attribute(self, raw: memoryview, depth: int, found: dict[str, Any]) -> None:
        told: dict[str, Any] = {"name": "", "i": None}
        self._walk(
            raw,
            "an attribute",
            {
                1: (BYTES, lambda value: told.update(name=_text(value))),
                2: (FIXED32, lambda value: _refuse_nan("an attribute", value, "<f4")),  # f
                3: (VARINT, lambda value: told.update(i=value)),
                4: _TEXT,  # s
                5: (BYTES, lambda value: self._tensor(value, "a tensor in an attribute")),
                6: (BYTES, lambda value: self.graph(value, depth + 1)),
                7: ((BYTES, FIXED32), lambda value: _refuse_nan("an attribute", value, "<f4")),  # floats
                8: ((BYTES, VARINT), _nothing),  # ints
                9: _TEXT,  # strings
                10: (BYTES, lambda value: self._tensor(value, "a tensor in an attribute")),
                11: (BYTES, lambda value: self.graph(value, depth + 1)),
                13: _BLOB,  # doc_string
                14: (BYTES, self._type),  # tp
                15: (BYTES, self._type),  # type_protos
                20: _NUMBER,  # type
                21: (BYTES, lambda value: self._never("an attribute of a function") if len(value) else None),
                22: (BYTES, lambda value: self._sparse(value, "a sparse tensor in an attribute")),
                23: (BYTES, lambda value: self._sparse(value, "a sparse tensor in an attribute")),
            },
            once=frozenset({1, 2, 3, 4, 5, 6, 13, 14, 20, 21, 22}),
        )
        if told["name"] in found:
            raise _refused(
                "a node", f"one attribute {told['name']!r:.200}", "several, of which readers take another one"
            )
        found[told["name"]] = told["i"]

    def _tensor(self, raw: memoryview, what: str) -> str:
        """TensorProto; return its name."""
        told: dict[str, Any] = {"name": "", "dims": [], "type": 0, "raw": None, "typed": {}}

        def typed(kind: str) -> Callable[[_Value], None]:
            return lambda value: told["typed"].setdefault(kind, []).append(value)

        self._walk(
            raw,
            what,
            {
                1: ((BYTES, VARINT), lambda value: self._dims(told["dims"], value)),
                2: (VARINT, lambda value: told.update(type=value)),
                3: (BYTES, lambda _: self._never("a tensor in segments")),
                4: ((BYTES, FIXED32), typed("float_data")),
                5: ((BYTES, VARINT), typed("int32_data")),
                6: (BYTES, lambda _: self._never("a tensor of text")),
                7: ((BYTES, VARINT), typed("int64_data")),
                8: (BYTES, lambda value: told.update(name=_text(value))),
                9: (BYTES, lambda value: told.update(raw=value)),  # raw_data
                10: ((BYTES, FIXED64), typed("double_data")),
                11: ((BYTES, VARINT), typed("uint64_data")),
                12: _BLOB,  # doc_string
                13: (BYTES, lambda _: self._outside(what, told["name"])),  # external_data
                14: (VARINT, lambda value: self._outside(what, told["name"]) if value else None),  # data_location
                16: (BYTES, self._pair),  # metadata_props
            },
            once=frozenset({2, 3, 8, 9, 12, 14}),
        )
        if told["type"] == _STRING_TENSOR:
            self._never("a tensor of text")
        # no encoding holds more than two numbers in a byte
        if _elements(told["dims"]) > 2 * len(raw):
            raise _refused(
                f"{what} {told['name']!r:.200}", f"at most {2 * len(raw)} numbers in it", f"a shape of {told['dims']}"
            )
        self._numbers(told, what)
        return str(told["name"])

    def _numbers(self, told: dict[str, Any], what: str) -> None:
        """Refuse bytes of another number than the shape says, and NaN, which would give a verdict that means OK."""
        what = f"{what} {told['name']!r:.200}"
        bits = _BITS.get(told["type"])
        if bits is None:
            raise _refused(what, "numbers of a type that ONNX has", f"type {told['type']}")
        elements = _elements(told["dims"])
        if told["raw"] is None:
            self._typed(what, told["type"], elements, told["typed"])
            return
        if told["typed"]:
            raise _refused(what, "its numbers once", "them twice, of which readers take another one")
        length = (elements * bits + 7) // 8
        if len(told["raw"]) != length:
            raise _refused(what, f"{counted(length, 'byte')}, as its shape {told['dims']} says", str(len(told["raw"])))
        _refuse_nan_of(what, told["raw"], told["type"])

    def _typed(self, what: str, kind: int, elements: int, typed: dict[str, list[_Value]]) -> None:
        """Refuse numbers that stand one by one and are too few, too many, of another type, or NaN."""
        field_of_kind = _FIELDS.get(kind, "int32_data")
        bits = _BITS[kind]
        expected = (elements * bits + 7) // 8 if bits < 8 else elements * (2 if kind in _COMPLEX else 1)
        wire = {"float_data": 4, "double_data": 8}.get(field_of_kind, 0)
        received = sum(_count(value, wire) for value in typed.get(field_of_kind, ()))
        if received != expected or set(typed) - {field_of_kind}:
            raise _refused(what, f"{expected} numbers in {field_of_kind}", f"{received} there, and {sorted(typed)}")
        for value in typed.get(field_of_kind, ()):
            if wire:
                _refuse_nan(what, value, f"<f{wire}")
        if not wire and (kind in _FLOATS or kind == _BFLOAT16 or kind in _EIGHT_BIT_NANS):
            if received > ONE_BY_ONE_AT_MOST:
                raise _refused(what, f"raw_data for more than {ONE_BY_ONE_AT_MOST} numbers", str(received))
            numbers = np.array([number & 0xFFFF for value in typed.get(field_of_kind, ()) for number in packed(value)])
            width = "<u1" if kind in _EIGHT_BIT_NANS else "<u2"
            _refuse_nan_of(what, numbers.astype(width).tobytes(), kind)

    def _sparse(self, raw: memoryview, what: str) -> str:
        """SparseTensorProto; return its name, which is that of its values."""
        dims: list[int] = []
        names: list[str] = [""]
        self._walk(
            raw,
            what,
            {
                1: (BYTES, lambda value: names.append(self._tensor(value, what))),  # values
                2: (BYTES, lambda value: self._tensor(value, what)),  # indices
                3: ((BYTES, VARINT), lambda value: self._dims(dims, value)),
            },
            once=frozenset({1, 2}),
        )
        if (elements := _elements(dims)) > ELEMENTS_AT_MOST:
            raise _refused(what, f"a shape of at most {ELEMENTS_AT_MOST} numbers", f"{dims}, which is {elements}")
        return names[-1]

    def _value_info(self, raw: memoryview) -> str:
        names: list[str] = [""]
        known: _Table = {
            1: (BYTES, lambda value: names.append(_text(value))),
            2: (BYTES, self._type),
            3: _BLOB,
            4: (BYTES, self._pair),
        }
        self._walk(raw, "an input, output or value", known, once=frozenset({1, 2, 3}))
        return names[-1]

    def _type(self, raw: memoryview) -> None:
        """TypeProto: a tensor's; sequences, maps and optional values are no numbers that an engine is to answer."""
        known: _Table = {1: (BYTES, self._tensor_type), 6: _TEXT}
        self._walk(raw, "a type that is no tensor's", known, once=frozenset({1, 6}))

    def _tensor_type(self, raw: memoryview) -> None:
        known: _Table = {
            1: (VARINT, lambda value: self._never("a tensor of text") if value == _STRING_TENSOR else None),
            2: (BYTES, self._shape),
        }
        self._walk(raw, "a tensor's type", known, once=frozenset({1, 2}))

    def _shape(self, raw: memoryview) -> None:
        dim: _Table = {1: _NUMBER, 2: _TEXT, 3: _TEXT}
        self._walk(raw, "a shape", {1: (BYTES, lambda value: self._walk(value, "a dimension", dim))})

    def _annotation(self, raw: memoryview) -> None:
        self._walk(raw, "a quantisation's note", {1: _TEXT, 2: (BYTES, self._pair)})

    def _opset(self, raw: memoryview, found: list[int]) -> None:
        told: dict[int, Any] = {1: "", 2: 0}
        known: _Table = {
            1: (BYTES, lambda value: told.update({1: _text(value)})),
            2: (VARINT, lambda value: told.update({2: value})),
        }
        self._walk(raw, "an operator set", known, once=frozenset({1, 2}))
        if told[1] in DOMAINS:
            found.append(told[2])

    def _pair(self, raw: memoryview) -> None:
        self._walk(raw, "metadata", {1: _BLOB, 2: _BLOB})

    def _dims(self, dims: list[int], value: _Value) -> None:
        dims += packed(value)
        if len(dims) > TENSOR_DIMS_AT_MOST:
            raise _refused("a tensor", f"at most {TENSOR_DIMS_AT_MOST} dimensions", "more")

    def _outside(self, what: str, name: str) -> None:
        raise _refused(
            f"{what} {name!r:.200}", "all numbers inside the file", "external data, which could be any file of this one"
        )

    def _never(self, what: str) -> None:
        raise _refused("the model", "a plain graph of tensors", what)

    def _walk(self, raw: memoryview, what: str, known: _Table, once: frozenset[int] = frozenset()) -> None:
        found: set[int] = set()
        for number, wire, value in fields(raw):
            self.seen += 1
            if self.seen > FIELDS_AT_MOST:
                raise _refused("a file of that many parts", f"at most {FIELDS_AT_MOST}", "more")
            wires, act = known.get(number, ((), _nothing))
            if wire not in (wires if isinstance(wires, tuple) else (wires,)):
                raise _refused(what, "what onnx.proto describes", f"field {number} of wire type {wire}")
            if number in once and number in found:
                raise _refused(what, f"one field {number}", "several, which readers understand differently")
            found.add(number)
            act(value)


def _once_each(names: dict[str, set[str]], kind: str, name: str) -> None:
    if name in names[kind]:
        raise _refused("a graph", f"one {kind} named {name!r:.200}", "several, of which readers take another one")
    names[kind].add(name)


def _refuse_nan(what: str, value: Any, numbers: str) -> None:
    if np.isnan(np.frombuffer(value, numbers)).any():
        raise _refused(what, "numbers", "NaN, of which every answer would be NaN, or none")


def _span(versions: range) -> str:
    return f"{versions[0]} to {versions[-1]}"


def _refuse_nan_of(what: str, raw: Any, kind: int) -> None:
    """Refuse NaN among the numbers of a type, as they stand in raw_data."""
    if kind in _FLOATS:
        _refuse_nan(what, raw, _FLOATS[kind])
    elif kind == _BFLOAT16:
        halves = np.frombuffer(raw, "<u2").astype(np.uint32)
        _refuse_nan(what, (halves << 16).tobytes(), "<f4")
    elif kind in _EIGHT_BIT_NANS and np.isin(np.frombuffer(raw, "u1"), _EIGHT_BIT_NANS[kind]).any():
        raise _refused(what, "numbers", "NaN, of which every answer would be NaN, or none")


def _count(value: _Value, wire: int) -> int:
    """Return how many numbers a piece of a repeated field holds; `wire`: bytes of each, 0 = varints."""
    if isinstance(value, int):
        return 1
    return len(value) // wire if wire else int(np.count_nonzero(np.frombuffer(value, "u1") < 0x80))


def _answer(answers: set[str], name: str) -> None:
    """Note a node's answer; one without a name is nobody's."""
    if name and name in answers:
        raise _refused("a graph", f"one answer named {name!r:.200}", "several, of which readers take another one")
    answers.add(name)


def _nothing(_: Any) -> None:
    return None


def _text(value: Any) -> str:
    if len(value) > NAME_BYTES_AT_MOST:
        raise _refused("a name", f"at most {NAME_BYTES_AT_MOST} bytes", str(len(value)))
    return bytes(value).decode("utf-8")


def _elements(dims: list[int]) -> int:
    product = 1
    for dim in dims:
        product *= dim
    return product


_Table = dict[int, tuple[int | tuple[int, ...], Callable[[Any], object]]]
_NUMBER = (VARINT, _nothing)
_TEXT = (BYTES, _text)
_BLOB = (BYTES, _nothing)
