"""OpenCV works in the thread that asks it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_VARIABLE = "OPENCV_FOR_THREADS_NUM"


def _threads(environment: dict[str, str]) -> int:
    told = "from edge.opencv import cv2; print(cv2.getNumThreads())"
    asked = subprocess.run([sys.executable, "-c", told], env=environment, capture_output=True, text=True, check=True)
    return int(asked.stdout)


def test_opencv_has_one_thread() -> None:
    """OpenCV has one thread, whatever the number of cores: those of a station fill the cores."""
    assert _threads({name: value for name, value in os.environ.items() if name != _VARIABLE}) == 1


def test_an_engineer_may_give_opencv_more_threads() -> None:
    """With OPENCV_FOR_THREADS_NUM in the environment, OpenCV alone decides."""
    told = "import cv2; print(cv2.getNumThreads())"
    with_variable = os.environ | {_VARIABLE: "3"}
    asked = subprocess.run([sys.executable, "-c", told], env=with_variable, capture_output=True, text=True, check=True)
    if int(asked.stdout) == 1:
        pytest.skip("this OpenCV has one thread in any case")
    assert _threads(with_variable) == int(asked.stdout)
