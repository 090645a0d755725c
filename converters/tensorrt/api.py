"""The offer of a version of TensorRT's Python binding: classes, methods, signatures, properties, enumerations.

It is read from the binding itself, whose docstrings (pybind11's) carry every signature. `apis/` keeps, as JSON, the
part of the five versions that the build and the engine may use. The tests compare it with the bindings.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

# The kept part of a binding. Of the network only what reads it: it is made by the ONNX parser.
CLASSES = (
    "Builder",
    "EngineInspector",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILayer",
    "INetworkDefinition",
    "IOptimizationProfile",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)
ENUMERATIONS = (
    "BuilderFlag",
    "DataType",
    "LayerInformationFormat",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "ProfilingVerbosity",
    "TensorIOMode",
)
FUNCTIONS = ("init_libnvinfer_plugins",)
# Classes that are inherited from or made of plain values; they really work without TensorRT's libraries.
INTERFACES = ("Dims", "ILogger", "IProgressMonitor")
# Some signatures name the C++ class.
_CPP_NAMES = {"IParserError": "ParserError", "IEngineInspector": "EngineInspector"}


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its type as the binding names it, and whether it may be left out."""

    name: str
    type: str
    optional: bool = False


@dataclass(frozen=True)
class Signature:
    """One way to call a method, without `self`, and the type of its answer."""

    parameters: tuple[Parameter, ...]
    answer: str


@dataclass(frozen=True)
class Property:
    """A property's type, and whether it may be set."""

    type: str
    writable: bool


@dataclass(frozen=True)
class Class:
    """One class. `methods`: every overload of each; `__init__` among them where it can be made."""

    methods: dict[str, tuple[Signature, ...]]
    properties: dict[str, Property]


@dataclass(frozen=True)
class Api:
    """One version of the binding. `interfaces`, `functions`: those of INTERFACES and FUNCTIONS that it has."""

    version: str
    interfaces: tuple[str, ...]
    classes: dict[str, Class]
    enumerations: dict[str, dict[str, int]]
    functions: dict[str, tuple[Signature, ...]]

    def as_json(self) -> str:
        """Return what `apis/` keeps."""
        return json.dumps(asdict(self), indent=0, sort_keys=True) + "\n"


def api_from_json(text: str) -> Api:
    """Read what `as_json` wrote."""
    raw = json.loads(text)
    classes = {
        name: Class(
            {method: tuple(_signature(one) for one in overloads) for method, overloads in entry["methods"].items()},
            {prop: Property(**one) for prop, one in entry["properties"].items()},
        )
        for name, entry in raw["classes"].items()
    }
    functions = {name: tuple(_signature(one) for one in each) for name, each in raw["functions"].items()}
    return Api(raw["version"], tuple(raw["interfaces"]), classes, raw["enumerations"], functions)


def _signature(raw: dict[str, Any]) -> Signature:
    return Signature(tuple(Parameter(**one) for one in raw["parameters"]), raw["answer"])


def known_apis() -> dict[str, Api]:
    """Return the kept versions by their major.minor, such as "10.3"."""
    kept = (files("converters.tensorrt") / "apis").iterdir()
    found = [api_from_json(entry.read_text(encoding="utf-8")) for entry in kept if entry.name.endswith(".json")]
    return {".".join(api.version.split(".")[:2]): api for api in found}


def api_of(binding: Any) -> Api:
    """Read an imported binding (`tensorrt`)."""
    classes = {}
    for name in CLASSES:
        kind = getattr(binding, name)
        methods, properties = {}, {}
        for member, value in vars(kind).items():
            if member == "__init__":
                if overloads := signatures(value.__doc__ or "", member):
                    methods[member] = overloads
            elif member.startswith("_") or (name == "INetworkDefinition" and member.startswith("add_")):
                continue
            elif isinstance(value, property):
                properties[member] = Property(_getter_type(value), value.fset is not None)
            elif callable(value) and (overloads := signatures(value.__doc__ or "", member)):
                methods[member] = overloads
        classes[name] = Class(methods, properties)
    enumerations = {
        name: {member: int(value) for member, value in getattr(binding, name).__members__.items()}
        for name in ENUMERATIONS
    }
    interfaces = tuple(name for name in INTERFACES if name in vars(binding))
    functions = {name: signatures(getattr(binding, name).__doc__ or "", name) for name in FUNCTIONS}
    return Api(binding.__version__, interfaces, classes, enumerations, functions)


def _getter_type(value: property) -> str:
    """Return the type that a property answers, or, where its getter says nothing, takes."""
    for function in (value.fget, value.fset):
        found = re.search(r"->\s*(\S.*)$", (function.__doc__ or "").strip().split("\n")[0]) if function else None
        if found and found[1] != "None":
            return _short(found[1])
    return "object"


def signatures(doc: str, method: str) -> tuple[Signature, ...]:
    """Parse a pybind11 docstring: every overload, without `self`; none where it holds no signature.

    >>> signatures("get(self: a.b.Engine, index: int = 0) -> a.b.Tensor", "get")[0].answer
    'Tensor'
    """
    found = []
    for line in doc.split("\n"):
        match = re.fullmatch(rf"(?:\d+\.\s+)?{re.escape(method)}\((.*)\)\s*->\s*(.+)", line.strip())
        if match and match[1] != "*args, **kwargs":
            found.append(Signature(tuple(_parameters(match[1])), _short(match[2])))
    return tuple(found)


def _parameters(text: str) -> list[Parameter]:
    parameters = []
    for part in _split(text):
        name, _, rest = part.partition(":")
        if name.strip() == "self":
            continue
        kind, default, _ = rest.partition("=")
        parameters.append(Parameter(name.strip(), _short(kind), bool(default)))
    return parameters


def _split(text: str) -> list[str]:
    """Split at commas that are not within brackets: `a: List[int, str], b: int`."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[<(") - (character in "]>)")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts if part.strip()]


def _short(kind: str) -> str:
    """Name a type without its modules: List[tensorrt_bindings.tensorrt.Dims] → List[Dims]."""
    name = re.sub(r"[A-Za-z_][\w.]*\.(?=\w)", "", re.sub(r"\w+::(?:v_\d_\d::)?", "", kind.strip()))
    name = re.sub(r"\blist\[", "List[", name)
    return _CPP_NAMES.get(name, name)
