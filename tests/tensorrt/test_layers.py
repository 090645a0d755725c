"""The texts of each version's engine inspector, in the shapes that NVIDIA documents."""

from __future__ import annotations

import json

from converters.tensorrt.layers import EngineInformation, read_information

_LAYERS = [
    {"Name": "a", "Outputs": [{"Name": "x", "Format/Datatype": "Row major linear FP16 format"}]},
    {"Name": "b", "Outputs": [{"Name": "y", "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
    {"Name": "c", "Outputs": [{"Name": "fp16-like-name", "Format/Datatype": "Row major linear FP32"}]},
    {"Name": "d", "Outputs": [{"Name": "z", "Format": "Linear", "Datatype": "Half"}]},
    {"Name": "e", "Outputs": []},
    {"Name": "f", "Outputs": [{"Name": "v", "Format/Datatype": "FP32"}], "Weights": {"Type": "Half", "Count": 9}},
]


def test_the_edges_are_read_under_their_old_and_new_name() -> None:
    """`Bindings` up to 10, `I/O Tensors` in 11; by name or as records."""
    for key, edges in (
        ("Bindings", ["tiles", "classes"]),
        ("I/O Tensors", ["tiles", "classes"]),
        ("I/O Tensors", [{"Name": "tiles"}, {"Name": "classes"}]),
    ):
        told = read_information(json.dumps({"Layers": _LAYERS, key: edges}))
        assert told == EngineInformation(6, 4, ("tiles", "classes"))
        assert told.half_share == 4 / 6


def test_what_is_not_detailed_json_tells_nothing() -> None:
    """Names alone, as without detailed verbosity, and text that is no JSON are unknown, not zero."""
    assert read_information('{"Layers": ["a", "b"]}') is None
    assert read_information("Layer(CaskConvolution): a") is None
    assert read_information("[]") is None
    nothing = read_information('{"Layers": []}')
    assert nothing is not None
    assert nothing.half_share == 0
