"""`convert` as on a device, whose TensorRT and GPU are simulated: python -m tests.tensorrt.convert_simulated."""

from __future__ import annotations

import os
import sys
import time

from converters import __main__ as command
from converters.tensorrt import building
from edge.simulation.device import SimulatedDevice

if __name__ == "__main__":
    vendor = SimulatedDevice().vendor
    sys.modules["tensorrt"] = vendor.tensorrt
    building.load_vendor = lambda: vendor
    time.sleep(float(os.environ.get("SIMULATED_BUILD_S", "0")))
    command.main()
