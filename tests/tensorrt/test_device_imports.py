from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT


def test_building_on_a_device_needs_no_training_framework() -> None:
    """The modules that build and run an engine on a device import neither TensorFlow, Keras nor onnx."""
    code = (
        "import sys\n"
        "import converters.__main__, converters.flow, converters.tensorrt.building, edge.engines.tensorrt\n"
        "heavy = {'tensorflow', 'keras', 'onnx', 'tf2onnx', 'onnxruntime', 'openvino', 'tensorrt', 'pycuda'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
