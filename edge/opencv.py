"""The one place that imports cv2: any version from 4.6 on serves, JetPack's own included.

The cap on decoded pixels must be in the environment before cv2 is imported, so the import lives here. OpenCV works in
the thread that asks it. OPENCV_FOR_THREADS_NUM in the environment lets it use more.
"""

from __future__ import annotations

import os
import re
from typing import Any

from edge.errors import DependencyError
from edge.installing import how_to_install

OLDEST = (4, 6)

# Its warnings repeat what our own messages say, and may name sources with their passwords.
os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
# Refuse decompression bombs: 2^27 pixels is an 11,585 x 11,585 picture.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**27))

_THREADS = "OPENCV_FOR_THREADS_NUM"

_HOW = (
    f"On a workstation: {how_to_install('opencv-python-headless', extra='desktop')}. "
    "On a Jetson: use JetPack's own OpenCV "
    "(sudo apt install python3-opencv, in a virtual environment made with --system-site-packages)"
)


def _load() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise DependencyError(f"OpenCV is needed and `import cv2` failed: {error}. {_HOW}") from error
    version = tuple(int(part) for part in re.findall(r"\d+", str(cv2.__version__))[:2])
    if version < OLDEST:
        raise DependencyError(f"OpenCV 4.6 or later is needed, found {cv2.__version__}. {_HOW}")
    if _THREADS not in os.environ:
        cv2.setNumThreads(1)
    return cv2


cv2: Any = _load()
