"""The plan of a build on another version; that it is the build's own calls is shown in test_bindings.py."""

from __future__ import annotations

import doctest

import pytest

from converters.tensorrt import api
from converters.tensorrt.api import Parameter, Signature, known_apis, signatures
from converters.tensorrt.building import EngineOptions
from converters.tensorrt.planning import planned_calls
from edge.bundle import Bundle
from edge.errors import SettingsError
from tests.tensorrt.bundles import PINNED


def test_the_plan_of_each_version_names_its_way_to_half_precision(bundle: Bundle) -> None:
    """`BuilderFlag.FP16` on 8.6 and 10.3, a typed graph above; batches, workspace and level as asked for."""
    for version in ("8.6", "10.3", "10.13", "10.16", "11.4"):
        calls = planned_calls(bundle, version, EngineOptions("fp16", (1, 2, 3), 256, builder_level=5))
        flagged = version == "8.6"
        graph = "model.onnx" if flagged else "model.fp16.onnx"
        assert f"parser.parse(<bytes of {bundle.path}/{graph}>)" in calls
        assert ("config.set_flag(BuilderFlag.FP16)" in calls) == flagged
        assert any(call.endswith(f"precision = DataType.FLOAT  # {PINNED}") for call in calls) == flagged
        assert "profile.set_shape('tiles', (1, 64, 64, 1), (2, 64, 64, 1), (3, 64, 64, 1))" in calls
        assert f"config.set_memory_pool_limit(MemoryPoolType.WORKSPACE, {256 << 20})" in calls
        assert "config.clear_flag(BuilderFlag.TF32)" in calls
        assert "config.builder_optimization_level = 5" in calls


def test_a_workspace_that_only_the_device_knows_is_said_in_words(bundle: Bundle) -> None:
    """No number is invented for it."""
    calls = planned_calls(bundle, "10.3", EngineOptions("fp16", (1, 1, 1), None))
    assert "config.set_memory_pool_limit(MemoryPoolType.WORKSPACE, <half of the device's free memory>)" in calls


def test_a_version_without_known_signatures_is_refused(bundle: Bundle) -> None:
    """The error names the versions in their order."""
    with pytest.raises(SettingsError, match=r"--for: expected one of 8.6, 10.3, 10.13, 10.16, 11.4.* received 10.9"):
        planned_calls(bundle, "10.9", EngineOptions("fp16", (1, 1, 1), None))
    assert planned_calls(bundle, "8.6.1", EngineOptions("fp32", (1, 1, 1), None))


def test_signatures_are_read_from_docstrings() -> None:
    """Overloads, defaults, brackets and C++ names, as pybind11 writes them."""
    doc = """set_input_shape(*args, **kwargs)
Overloaded function.

1. set_input_shape(self: t.t.Context, name: str, shape: tuple) -> bool

    Set it.

2. set_input_shape(self: t.t.Context, name: str, shapes: List[Tuple[int, int]] = [(1, 2)]) -> nvinfer1::v_1_0::IShape
"""
    assert signatures(doc, "set_input_shape") == (
        Signature((Parameter("name", "str"), Parameter("shape", "tuple")), "bool"),
        Signature((Parameter("name", "str"), Parameter("shapes", "List[Tuple[int, int]]", optional=True)), "IShape"),
    )
    assert signatures("Initialize self.  See help(type(self)).", "__init__") == ()
    assert doctest.testmod(api).failed == 0


def test_what_is_kept_reads_as_it_was_written() -> None:
    """JSON and back is the same."""
    for kept in known_apis().values():
        assert api.api_from_json(kept.as_json()) == kept
