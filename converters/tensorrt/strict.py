"""A TensorRT that knows one version's signatures and refuses every call that this version would not take.

It stands before the simulated device. Each call is written down and handed on. Before that it is checked against the
version's own signatures (names, count, keywords and types of arguments). So the very code that builds and runs engines
can be driven through every version without any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np

from converters.tensorrt.api import Api, Class, Signature
from edge.simulation.tensorrt import plain_values

_INTEGERS = ("int", "SupportsInt")
_BUFFERS = ("buffer", "Buffer")
_CAPSULES = ("capsule", "CapsuleType")
_NAMES = {
    "EngineInspector": "inspector",
    "IBuilderConfig": "config",
    "ICudaEngine": "engine",
    "IExecutionContext": "context",
    "INetworkDefinition": "network",
    "IOptimizationProfile": "profile",
    "ILogger": "logger",
    "IProgressMonitor": "monitor",
    "ITimingCache": "cache",
    "OnnxParser": "parser",
}


class WrongCallError(AssertionError):
    """A call that this version of TensorRT lacks or does not take.

    It is a defect of the caller, whatever it was given.
    """


def values_of(api: Api) -> Any:
    """Make the enumerations and interfaces of a version from what is known of it."""
    plain = plain_values()
    enumerations = {name: IntEnum(name, members) for name, members in api.enumerations.items()}
    return SimpleNamespace(**{name: getattr(plain, name) for name in api.interfaces}, **enumerations)


class StrictTensorRT:
    """Stands in for the module `tensorrt` of one version.

    `target`: what calls are handed on to, once they are found right. `values`: the version's enumerations, `Dims` and
    interfaces, from `values_of` or the binding itself. `calls`: what was called that changed something, as text.
    """

    def __init__(self, api: Api, target: Any, values: Any) -> None:
        self.api = api
        self.values = values
        self.calls: list[str] = []
        self._target = target

    @property
    def __version__(self) -> str:
        return self.api.version

    def __getattr__(self, name: str) -> Any:
        api = self.api
        if name in api.enumerations or name in api.interfaces:
            return getattr(self.values, name)
        if name in api.functions:
            return self._function(name)
        made = api.classes.get(name)
        if made is None or "__init__" not in made.methods:
            raise WrongCallError(f"TensorRT {api.version} has no tensorrt.{name}")

        def make(*positional: Any, **named: Any) -> Any:
            self._check(f"tensorrt.{name}", made.methods["__init__"], positional, named)
            variable = _variable(name)
            self.calls.append(f"{variable} = tensorrt.{name}({self._arguments(positional, named)})")
            constructor = getattr(self._target, name)
            return _StrictObject(
                self, name, constructor(*self._plain(positional), **self._plain_named(named)), variable
            )

        return make

    def _function(self, name: str) -> Any:
        def call(*positional: Any, **named: Any) -> Any:
            self._check(f"tensorrt.{name}", self.api.functions[name], positional, named)
            self.calls.append(f"tensorrt.{name}({self._arguments(positional, named)})")
            return getattr(self._target, name)(*self._plain(positional), **self._plain_named(named))

        return call

    def _check(
        self, call: str, overloads: Sequence[Signature], positional: Sequence[Any], named: dict[str, Any]
    ) -> Signature:
        """Return the overload that takes these arguments."""
        for signature in overloads:
            if self._takes(signature, positional, named):
                return signature
        wanted = " or ".join(f"({', '.join(f'{p.name}: {p.type}' for p in one.parameters)})" for one in overloads)
        raise WrongCallError(
            f"TensorRT {self.api.version}: {call} takes {wanted}, received ({self._arguments(positional, named)})"
        )

    def _takes(self, signature: Signature, positional: Sequence[Any], named: dict[str, Any]) -> bool:
        parameters = signature.parameters
        if len(positional) > len(parameters):
            return False
        given = dict(zip((parameter.name for parameter in parameters), positional, strict=False))
        if set(given) & set(named) or set(named) - {parameter.name for parameter in parameters}:
            return False
        given.update(named)
        return all(
            self.fits(parameter.type, given[parameter.name]) if parameter.name in given else parameter.optional
            for parameter in parameters
        )

    def fits(self, kind: str, value: Any) -> bool:
        """Tell whether the binding would take a value for a parameter of this type, without any conversion."""
        if kind in _INTEGERS:
            return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if kind in _BUFFERS:
            return isinstance(value, (bytes, bytearray, memoryview))
        if kind in self.api.classes:
            return isinstance(value, _StrictObject) and value.strict_class == kind
        if kind in self.api.enumerations or kind in self.api.interfaces:
            return isinstance(value, getattr(self.values, kind))
        if kind in _CAPSULES:  # the binding takes its logger as a bare pointer
            return isinstance(value, self.values.ILogger)
        plain = {"bool": bool, "str": str, "float": float, "tuple": tuple, "list": list, "object": object}.get(kind)
        return plain is not None and isinstance(value, plain)

    def wrap(self, kind: str, value: Any, label: str) -> Any:
        """Return an answer as this version gives it: objects stay strict; a plain value must be of its type."""
        if kind in self.api.classes and value is not None:
            # the bytes of a plan or a cache are read as a buffer, which only the object itself can give
            return value if kind == "IHostMemory" else _StrictObject(self, kind, value, label)
        if kind in {*_INTEGERS, "bool", "str"} and not self.fits(kind, value):
            raise WrongCallError(f"The simulation answers {label} with {value!r}; TensorRT answers with {kind}")
        return value

    def call(self, caller: _StrictObject, method: str, positional: Sequence[Any], named: dict[str, Any]) -> Any:
        """Check one call, write it down and hand it on."""
        overloads = self.api.classes[caller.strict_class].methods[method]
        signature = self._check(f"{caller.strict_class}.{method}", overloads, positional, named)
        text = f"{caller.strict_label}.{method}({self._arguments(positional, named)})"
        label = text
        if method == "get_engine_information" or not method.startswith("get_"):
            known = signature.answer in _NAMES
            label = _variable(signature.answer) if known else text
            comment = self._comment(method, positional) or caller.strict_comment
            self.calls.append((f"{label} = " if known else "") + text + comment)
        answer = getattr(caller.strict_target, method)(*self._plain(positional), **self._plain_named(named))
        return self.wrap(signature.answer, answer, label)

    def _comment(self, method: str, positional: Sequence[Any]) -> str:
        """Say in words what the number given to `create_network` means."""
        if method != "create_network" or not positional or not positional[0]:
            return ""
        kind = "NetworkDefinitionCreationFlag"
        flags = [name for name, place in self.api.enumerations[kind].items() if positional[0] & 1 << place]
        return "  # " + " | ".join(f"1 << {kind}.{name}" for name in flags)

    def _plain(self, values: Sequence[Any]) -> list[Any]:
        return [value.strict_target if isinstance(value, _StrictObject) else value for value in values]

    def _plain_named(self, named: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(named, self._plain(list(named.values())), strict=True))

    def _arguments(self, positional: Sequence[Any], named: dict[str, Any]) -> str:
        shown = [self.shown(value) for value in positional]
        return ", ".join(shown + [f"{name}={self.shown(value)}" for name, value in named.items()])

    def shown(self, value: Any) -> str:
        """Write an argument as a person would."""
        if isinstance(value, _StrictObject):
            return value.strict_label
        for name in self.api.enumerations:
            if isinstance(value, getattr(self.values, name)):
                return f"{name}.{value.name}"
        for name in self.api.interfaces:
            if isinstance(value, getattr(self.values, name)):
                return str(tuple(value)) if name == "Dims" else _variable(name)
        return "<bytes>" if type(value) is bytes and value else repr(value)


class _StrictObject:
    """An object of one of the version's classes: only what that class has can be called, read or set."""

    strict_module: StrictTensorRT
    strict_class: str
    strict_target: Any
    strict_label: str

    def __init__(self, module: StrictTensorRT, name: str, target: Any, label: str) -> None:
        for attribute, value in (("module", module), ("class", name), ("target", target), ("label", label)):
            object.__setattr__(self, f"strict_{attribute}", value)

    @property
    def strict_comment(self) -> str:
        """Return what a layer was made of, to stand behind the call as a comment."""
        return f"  # {self.strict_target.name}" if self.strict_class == "ILayer" else ""

    @property
    def _known(self) -> Class:
        return self.strict_module.api.classes[self.strict_class]

    def __getattr__(self, name: str) -> Any:
        module = self.strict_module
        if name in self._known.methods:

            def method(*positional: Any, **named: Any) -> Any:
                return module.call(self, name, positional, named)

            return method
        if name in self._known.properties:
            kind = self._known.properties[name].type
            return module.wrap(kind, getattr(self.strict_target, name), f"{self.strict_label}.{name}")
        raise WrongCallError(f"TensorRT {module.api.version}: {self.strict_class} has no {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        module, known = self.strict_module, self._known.properties.get(name)
        if known is None or not known.writable:
            raise WrongCallError(f"TensorRT {module.api.version}: {self.strict_class} has no {name} that can be set")
        if not module.fits(known.type, value):
            raise WrongCallError(
                f"TensorRT {module.api.version}: {self.strict_class}.{name} is {known.type}, received {value!r}"
            )
        module.calls.append(f"{self.strict_label}.{name} = {module.shown(value)}{self.strict_comment}")
        setattr(self.strict_target, name, value.strict_target if isinstance(value, _StrictObject) else value)


def _variable(name: str) -> str:
    return _NAMES.get(name, name.lower())
