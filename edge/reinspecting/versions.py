"""The versions of what judges."""

from __future__ import annotations

import platform
from importlib import metadata

from edge import __version__
from edge.opencv import cv2

_PACKAGES = ("numpy", "onnxruntime", "openvino", "tensorrt", "pyarrow", "ray")


def versions() -> dict[str, str]:
    """Return the versions of Linewatch, Python, OpenCV and those engines and packages that are installed here."""
    found = {"linewatch": __version__, "python": platform.python_version(), "opencv": cv2.__version__}
    return found | {package: version for package in _PACKAGES if (version := _version(package))}


def _version(package: str) -> str:
    """Return the version of a package, nothing where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
