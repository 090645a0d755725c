"""`convert` as on a device, whose TensorRT and GPU are simulated: python -m tests.tensorrt.convert_simulated."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from converters import __main__ as command
from converters.tensorrt import building
from converters.tensorrt.network import build_plan
from edge.simulation.device import SimulatedDevice


def slow_build(module: Any, dialect: Any, order: Any, progress: Any, stopped: Any) -> Any:
    """Build with a pause at each step, once SIMULATED_BEGUN was written at the first."""

    def step(name: str, done: int, total: int) -> None:
        Path(os.environ["SIMULATED_BEGUN"]).touch()
        time.sleep(float(os.environ["SIMULATED_STEP_S"]))
        progress(name, done, total)

    return build_plan(module, dialect, order, step, stopped)


if __name__ == "__main__":
    if "SIMULATED_STEP_S" in os.environ:
        building.build_plan = slow_build
    vendor = SimulatedDevice().vendor
    sys.modules["tensorrt"] = vendor.tensorrt
    building.load_vendor = lambda: vendor
    time.sleep(float(os.environ.get("SIMULATED_BUILD_S", "0")))
    command.main()
