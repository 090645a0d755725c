"""Switch off what libraries tell their makers. It must happen before they are imported, so `edge` does it first.

- ONNX Runtime (seen with 1.31) sends events to Microsoft and keeps a device id below HOME. ORT_DISABLE_TELEMETRY stops
  it.
- OpenVINO (seen with 2026.4) tells Google Analytics that it was imported and keeps an id below HOME. It looks at a file
  below HOME alone, at no variable. But it goes on where its package `openvino_telemetry` cannot be imported.
- Ray sends how a cluster is used; RAY_USAGE_STATS_ENABLED stops it. Stopped, it (seen with 2.60) still asks the
  addresses at which Azure, Google's and Amazon's machines tell of themselves. It asks by `requests`, which takes a
  proxy for each host from the environment. There these lead to a port of this machine at which nobody listens.
"""

from __future__ import annotations

import os
import sys

_VARIABLES = {"ORT_DISABLE_TELEMETRY": "1", "RAY_USAGE_STATS_ENABLED": "0", "DO_NOT_TRACK": "1"}
_NOWHERE = "http://127.0.0.1:9"
_VARIABLES |= {f"http://{host}_proxy": _NOWHERE for host in ("169.254.169.254", "metadata.google.internal")}
_PACKAGES = ("openvino_telemetry",)


def switch_off() -> None:
    """Switch telemetry off for this process and those that it starts; a value that was set before does not count."""
    os.environ.update(_VARIABLES)
    for package in _PACKAGES:
        sys.modules[package] = None  # type: ignore[assignment]  # makes its import fail
